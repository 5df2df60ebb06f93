"""From a store or published results to verdicts: whole families, one hash, whatever is shown and whoever shows it. Nothing is trained."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from typer.main import get_command

from layerlocal.claims import VERDICTS, load_claims
from layerlocal.cli import app
from layerlocal.experiments.public import beside_published
from layerlocal.experiments.stored import judge_claims, read_plan, write_report
from layerlocal.experiments.studies import find_study
from layerlocal.experiments.studies.base import StudyPlan
from layerlocal.experiments.studies.quantities import known_quantities
from layerlocal.report.formats import DOWNLOADS
from layerlocal.runs.table import RUNS_TABLE, load_runs, write_rows
from layerlocal.types import InputError

RESULTS = Path(__file__).parents[2] / "results"
STUDIES = ("study-composition-quick.json", "study-hybrid-quick.json")


@pytest.fixture(scope="module")
def judged():
    rows, claims, warnings = judge_claims(RESULTS)
    assert warnings == []
    return {row["id"]: row for row in rows}, claims


@pytest.fixture
def published(tmp_path):
    """Two studies, without their figures, which take long to draw, and the table of their runs."""
    folder = tmp_path / "published"
    folder.mkdir()
    for name in STUDIES:
        (folder / name).write_text(json.dumps(json.loads((RESULTS / name).read_text()) | {"figures": []}))
    rows = [row for row in load_runs(RESULTS).to_pylist() if {row["published_in"]} & {*STUDIES}]
    write_rows(rows, folder / RUNS_TABLE)
    return folder


# --- whole families, one hash ----------------------------------------------------------------------------------------------------------------


def test_the_published_verdicts_are_those_of_the_published_results(judged):
    rows, claims = judged
    content = json.loads((RESULTS / "claims.json").read_text())
    assert content["claims_sha256"] == claims.sha256 == load_claims().sha256
    assert json.loads(json.dumps(list(rows.values()))) == content["claims"]


def test_no_choice_of_what_is_shown_changes_a_verdict(judged):
    """P1-cifar100, O6 and others have p ≤ 0.05 by themselves and not within their family: shown alone they stay open."""
    rows, claims = judged
    alone = [row for row in rows.values() if row["p"] is not None and row["p"] <= 0.05 < row["p_adjusted"]]
    assert len(alone) >= 4 and {row["verdict"] for row in alone} == {"inconclusive"}
    for row in alone[:2]:
        found, same, _ = judge_claims(RESULTS, names=[f"{row['id']}@{row['rule']}"])
        assert found == [row] and same.sha256 == claims.sha256


@pytest.mark.parametrize(("options", "changes"), [({"rule": "ff"}, {"rule": "ff"}), ({"alpha": 0.2}, {"alpha": 0.2})])
def test_another_rule_or_level_judges_the_whole_file_too(judged, options, changes):
    rows, _ = judged
    found, claims, _ = judge_claims(RESULTS, **options)
    whole = [f"{name}@ff" for name in rows if "@" not in name] if "rule" in options else list(rows)
    assert [row["id"] for row in found] == whole == [claim.id for claim in claims.claims]
    assert all(row[key] == value for row in found for key, value in changes.items())
    shown, same, _ = judge_claims(RESULTS, names=["P1"], **options)
    assert shown == [row for row in found if row["id"].startswith("P1-")] and same.sha256 == claims.sha256


def test_page_texts_and_terminal_have_one_hash_and_the_same_verdicts(judged, published, cli):
    """A folder without most studies: the page's hash is that of every claim all the same."""
    code, text, _ = cli("claims", "--out", published, "--json")
    terminal = json.loads(text)
    content = json.loads(write_report(published, form="json"))
    assert code == 0 and content["claims_sha256"] == terminal["claims_sha256"] == judged[1].sha256
    assert content["claims"] == terminal["claims"] and len(terminal["claims"]) == len(judged[0])
    assert judged[1].sha256 in write_report(published).read_text()
    assert judged[1].sha256[:12] in cli("claims", "--out", published)[1]


def test_what_is_not_run_is_one_line_of_the_page(published):
    content = json.loads(write_report(published, form="json"))
    left = [row["id"] for row in content["claims"] if row["verdict"] == "not run"]
    assert len(left) > 15
    page = write_report(published).read_text()
    assert f"{len(left)} claims are not run: {', '.join(left)}" in page
    judged, _, folded = page.partition("claims are not run: ")
    assert ">P11<" in judged and ">P2<" not in judged and ">P2<" in folded


# --- what the terminal says --------------------------------------------------------------------------------------------------------------


def test_without_a_store_the_statements_are_listed(cli, tmp_path):
    code, text, error = cli("claims")
    assert code == 0 and "there is no store at runs yet" in error and not (tmp_path / "runs").exists()
    for claim in load_claims().claims:
        assert f"{claim.id} {claim.sentence}" in text
    assert "supported if shown to lie below −0.25 pp per doubling of K" in text and "$ layerlocal study classes" in text
    assert not any(f"{sign} {word}" in text for word, sign in VERDICTS.items())
    rows = json.loads(cli("claims", "--json")[1])["claims"]
    assert {row["verdict"] for row in rows} == {"not run"} and len(rows) == len(load_claims().claims)


def test_every_claim_of_ours_and_every_published_quantity_is_one_that_its_study_is_known_to_have():
    known = known_quantities()
    load_claims(known_studies=known, known_quantities=known)
    for path in RESULTS.glob("study-*.json"):
        study = path.stem.removeprefix("study-").rpartition("-")[0]
        for of in json.loads(path.read_text())["quantities"].values():
            assert [name for name in of if not any(fnmatchcase(name, one) for one in known[study])] == []


def test_the_command_of_every_open_claim_parses_and_names_the_study_the_judged_rule_and_the_data(judged):
    program = get_command(app)
    rows = [row for row in judged[0].values() if row["verdict"] in ("inconclusive", "not run")]
    for row in rows:
        words = shlex.split(row["command"])[1:]
        given = program.commands[words[0]].make_context(words[0], list(words[1:])).params
        assert given["rules"] == [row["rule"]], row["id"]
        trained = row["family"] in ("trained", "length", "small")
        assert given["size"] == (row["size"] or ("standard" if trained else "quick")) and (
            words[0] == "cost" or given["name"] == row["study"]
        )
        if words[0] == "study" and row["n"]:
            plan = json.loads((RESULTS / f"study-{row['study']}-{row['size']}.json").read_text())["plan"]
            assert (given["data"] or []) == plan["data"] and int(str(given["seeds"])) >= row["n_needed"] > row["n"]
    assert len(rows) > 10


def test_the_page_says_which_commands_download_their_data():
    """Of the studies that have claims; those whose data are in the package, or computed, are named."""
    inside = {"fashion_mnist_subset", "teacher_student", "python_library"}
    needs = {}
    claims = [claim for claim in load_claims().claims if claim.study != "cost"]
    for name, size in {claim.study: "standard" if claim.trained else "quick" for claim in claims}.items():
        plan = StudyPlan(study=name, size=size, rules=("class-goodness",), seeds=(0,))
        cells = find_study(name).cells(plan, "class-goodness", 0)
        needs[name] = {cell.data.source for cell in cells} - inside
    free = {name for name, found in needs.items() if not found}
    assert needs["resolution"] == {"caltech101_224"}
    told = DOWNLOADS.split(".")[0]
    assert set(re.findall(r"`([\w-]+)`", told)) == free | {"cost", "resolution"}


def test_an_open_claim_shows_reported_measured_range_and_command(cli, judged):
    row = judged[0]["P2"]
    code, text, _ = cli("claims", "--out", RESULTS, "--claim", "P2@class-goodness")
    assert code == 0 and "1 of 64 shown, whole families judged" in text
    least, most = row["n_needed_range"]
    for said in (
        "? inconclusive P2 ",
        "reported: 2.40 → 5.93 pp from 10 to 100 classes; measured: +0.4 pp [−0.9, +1.6], n = 3, medium, headroom not measured",
        "neither below −0.25 pp, which would support the claim, nor above −0.25 pp",
        f"If the mean stays, {least} to {most} seeds would settle it, {row['n_needed']} if the spread stays too.",
        f"$ layerlocal study classes --size medium --seeds {row['n_needed']}",
    ):
        assert said in text, said


def test_recovery_of_a_gap_that_is_none_cannot_be_judged(cli):
    code, text, _ = cli("claims", "--out", RESULTS, "--claim", "P10@class-goodness")
    assert code == 0 and text.count("∅ cannot be judged P10") == 2 and "not run" not in text
    assert "BP is below the local rule here (−6.0 pp [−12.7, +0.8], n=3), so there is nothing to recover." in text
    assert "2 cannot be judged" in write_report(RESULTS, form="md").partition("\n| claim")[0]


# --- published results -------------------------------------------------------------------------------------------------------------------


def test_published_results_open_as_a_store_does(published, cli):
    shutil.copy(RESULTS / "audit-quick.json", published)
    content = json.loads(write_report(published, form="json"))
    audit, *studies = content["summaries"]
    assert [(s["name"], s["size"]) for s in studies] == [("composition", "quick"), ("hybrid", "quick")]
    old = json.loads((published / STUDIES[0]).read_text())
    for key in old.keys() - {"names", "study", "quantities", "tables"}:
        assert studies[0][key] == old[key], key
    values = {name: of["values"] for name, of in old["quantities"]["class-goodness"].items()}
    assert {name: of["values"] for name, of in studies[0]["quantities"]["class-goodness"].items()} == values
    written = json.loads((published / "audit-quick.json").read_text())
    assert (audit["experiment"], audit["sentences"]) == ("audit", written["sentences"])
    assert {row["run"] for row in content["runs"]} >= {row["run"] for row in load_runs(published).to_pylist()}
    assert cli("report", "--out", published, "--format", "csv")[0] == 0
    assert not (published / "summary.json").exists(), "the audit is published as it is"


def test_the_page_of_published_results_lies_beside_them_and_nothing_else_does(published):
    before = sorted(path.name for path in published.iterdir())
    page = write_report(published)
    assert page == published / "report.html" and "+2.6 pp" in page.read_text()
    assert sorted(path.name for path in published.iterdir()) == sorted([*before, "report.html"])


def test_published_accuracies_stand_beside_published_results():
    rows = [row for row in beside_published(RESULTS) if row["method"] == "DTG-FF" and row["status"] == "measured"]
    assert {row["data"] for row in rows} == {"cifar10"} and rows[0]["n"] == 3


def broken(text):
    content = json.loads(text)
    return {
        "not JSON": "{",
        "a list": "[]",
        "deep": "[" * 100_000,
        "no quantities": json.dumps({key: value for key, value in content.items() if key != "quantities"}),
        "quantities of another kind": json.dumps(content | {"quantities": {"class-goodness": [1]}}),
        "a value in words": json.dumps(content | {"quantities": {"class-goodness": {"gap": {"values": {"0": "0.1"}}}}}),
        "a part of its own": json.dumps(content | {"extra": 1}),
        "another study": json.dumps(content | {"study": "depth"}),
        "another size": json.dumps(content | {"size": "full"}),
    }


@pytest.mark.parametrize(
    "kind",
    [
        "not JSON",
        "a list",
        "deep",
        "no quantities",
        "quantities of another kind",
        "a value in words",
        "a part of its own",
        "another study",
        "another size",
    ],
)
def test_a_published_summary_that_cannot_be_read_is_named_and_never_to_be_deleted(published, refused, kind):
    path = published / "study-composition-quick.json"
    path.write_text(broken(path.read_text())[kind])
    for command in ("claims", "report"):
        sentence = refused(command, "--out", published)
        assert sentence.startswith(f"{path} cannot be read") and "put back the file" in sentence
        assert "delete" not in sentence and "damaged" not in sentence


@pytest.mark.parametrize("name", ["cost-quick.json", "audit-quick.json"])
def test_other_published_files_likewise(published, refused, name):
    (published / name).write_text('{"study": 1}')
    sentence = refused("report", "--out", published)
    assert sentence.startswith(f"{published / name} cannot be read") and "delete" not in sentence


def test_a_study_is_not_run_over_what_is_published(published):
    with pytest.raises(InputError, match=r"published summary, .*--out"):
        read_plan(published, "composition", "quick")
    assert read_plan(published, "composition", "medium") is None


def test_a_folder_in_place_of_a_summary_is_named(published, refused):
    path = published / STUDIES[0]
    path.unlink()
    path.mkdir()
    assert refused("claims", "--out", published).startswith(f"{path} cannot be read")
