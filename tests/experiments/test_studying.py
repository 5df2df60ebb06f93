"""`layerlocal study`, `claims` and `report` on tiny studies that really train, and on planted stores."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import layerlocal.experiments.studies.scale as scale_module
from layerlocal.claims import judge, load_claims
from layerlocal.experiments.driver import Refusal, _told
from layerlocal.experiments.stored import judge_claims, study_place, write_report
from layerlocal.experiments.studies import STUDIES, find_study
from layerlocal.experiments.studies.base import StudyPlan, plan_runs
from layerlocal.experiments.studies.controls import CONTROLS
from layerlocal.experiments.studies.running import forecast_study, run_study
from layerlocal.experiments.studies.summary import summarize_study
from layerlocal.runs.store import RunRecord, RunStore, write_atomic
from layerlocal.types import InputError
from sizes import shrink_quick

TRAINED = ("local", "bp", "bp-deepsup")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Quick, made quicker still."""
    shrink_quick(monkeypatch, num_train=500, num_test=200, recipe={"epochs": 1}, synthetic_train=256, draws=1)


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    """A finished study on the embedded images, in a store."""
    out = tmp_path_factory.mktemp("study") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        tiny.__wrapped__(patch)
        summary = run_study(out, "composition", seeds=2, workers=1, command="layerlocal study composition --seeds 2")
    return out, summary


def one_sentence(err):
    [line] = [line for line in err.splitlines() if line.strip()]
    assert line.startswith("error: ")
    return line


# --- a study that really trains ---------------------------------------------------------------------------------------


def test_a_study_trains_everything_it_planned_and_says_what_it_found(composed):
    out, summary = composed
    assert (summary.finished, summary.planned, summary.missing) == (20, 20, ())
    assert len(RunStore(out).finished()) == 20
    assert {row["how"] for row in summary.rows} == {"side", "overlay"}
    for row in summary.rows:
        assert set(row["groups"]) - set(CONTROLS) == set(TRAINED) and set(row["groups"]["local"]) == {"seen", "unseen"}
        assert row["gap"] == pytest.approx(row["local"] - row["bp"])
        assert 0.4 < row["separability"] < 1
    assert set(summary.quantities["class-goodness"]["unseen_minus_seen"].values) == {"0", "1"}


def test_a_dry_run_by_the_command(composed, tmp_path, cli):
    code, text, _ = cli("study", "composition", "--seeds", 3, "--out", composed[0], "--dry-run", "--workers", 2)
    assert code == 0
    assert text.splitlines()[0] == "28 runs: 20 finished, 8 to train"
    assert text.splitlines()[1].startswith("about ") and "on 2 workers" in text
    code, text, _ = cli("study", "composition", "--seeds", 2, "--out", composed[0], "--dry-run", "--json")
    assert code == 0 and json.loads(text)["seconds"] == 0
    code, _, err = cli("study", "composition", "--dry-run", "--ray", "local", "--out", tmp_path / "runs")
    assert code == 2 and "leave out --ray" in one_sentence(err)


def test_a_dry_run_says_what_would_be_left_out_and_makes_no_store(tmp_path):
    found = forecast_study(tmp_path / "runs", "accuracy", data=["fashion_mnist_subset", "mnist"], seeds=1, workers=3)
    assert (found["planned"], found["finished"], found["left_out"], found["workers"]) == (5, 0, 5, 3)
    [reason] = found["reasons"]
    assert "mnist" in reason
    assert not (tmp_path / "runs").exists()


def test_a_number_of_seeds_that_could_judge_no_claim_is_refused_before_anything_begins(
    tmp_path, composed, refused, capsys
):
    """P11 is about composition and has a t test: two seeds. Those of an earlier call count; a seed that is named is only warned of."""
    out = tmp_path / "runs"
    sentence = refused("study", "composition", "--seeds", "1", "--out", out)
    assert sentence.startswith("P11 cannot be judged by 1 seed") and "needs 2 or more" in sentence and not out.exists()
    forecast_study(out, "composition", seeds=[0], workers=1)
    assert "warning: P11 cannot be judged by 1 seed" in capsys.readouterr().err
    for asked in ({"seeds": 2}, {"seeds": 1, "rules": ["local-heads"]}, {"seeds": 1, "data": ["fashion_mnist_subset"]}):
        forecast_study(tmp_path / "other", "composition" if "data" not in asked else "accuracy", workers=1, **asked)
    forecast_study(composed[0], "composition", seeds=1, workers=1)
    assert "cannot be judged" not in capsys.readouterr().err


def test_a_second_rule_joins_the_study_and_one_that_cannot_take_part_is_left_out(composed, tmp_path, capsys):
    out = shutil.copytree(composed[0], tmp_path / "runs")
    found = run_study(out, "composition", rules=["ff", "local-heads"], seeds=1, workers=1)
    assert found.rules == ("class-goodness", "ff", "local-heads")
    assert {row["rule"] for row in found.rows} == {"class-goodness", "local-heads"}
    reasons = {entry.reason: entry.runs for entry in found.missing}
    why = "ff: it has no option 'factors', which the study 'composition' sets, so it cannot take part"
    assert reasons[why] == 12
    assert f"left out: {why}" in " ".join(capsys.readouterr().err.split())


def test_a_rule_that_cannot_take_part_alone_is_refused(tmp_path, cli):
    code, _, err = cli("study", "composition", "--rules", "ff", "--out", tmp_path / "runs", "--workers", 1)
    assert code == 2 and "factors" in one_sentence(err)
    assert not list((tmp_path / "runs").glob("*/spec.json"))


def three_classes(folder):
    """Noise in folders of images: 200 a class to train on, 70 to test on."""
    numbers = np.random.default_rng(0)
    for split, many in (("train", 200), ("test", 70)):
        for name in ("a", "b", "c"):
            (folder / split / name).mkdir(parents=True)
            for i in range(many):
                Image.fromarray(numbers.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / split / name / f"{i}.png")
    return str(folder)


def test_a_rule_that_does_not_fit_one_data_set_takes_part_in_the_others(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "layerlocal.experiments.studies.widths.WIDER", 3
    )  # ten channels and not four in the first block
    folder = three_classes(tmp_path / "three")
    found = run_study(
        tmp_path / "runs", "accuracy", rules=["cwcomp", "local-heads"], seeds=1, data=["fashion_mnist_subset", folder], workers=1
    )  # fmt: skip
    both = {("local-heads", "fashion_mnist_subset"), ("local-heads", folder), ("cwcomp", "fashion_mnist_subset")}
    assert {(row["rule"], row["data"]) for row in found.rows} == both
    [missing] = found.missing
    assert (
        missing.runs == 3
        and missing.left_out
        and missing.reason.startswith(f"cwcomp on {folder}, in the network of size quick: block0 has 4 channels")
    )
    assert f"left out: cwcomp on {folder}" in "".join(capsys.readouterr().err.splitlines())


def test_the_ablation_is_of_two_rules(tmp_path, refused):
    sentence = refused("study", "ablation", "--rules", "ff,local-heads", "--out", tmp_path / "runs")
    assert sentence.startswith(
        "ff: the study 'ablation' is about dtg-ff and class-goodness alone; local-heads: the study 'ablation' is about"
    )


def test_other_data_need_another_store(composed, tmp_path):
    out = shutil.copytree(composed[0], tmp_path / "runs")
    before = study_place(out, "composition", "quick").plan.path.read_bytes()
    with pytest.raises(InputError, match=r"own data; .*--out"):
        run_study(out, "composition", data=["teacher_student"], seeds=1, workers=1)
    assert study_place(out, "composition", "quick").plan.path.read_bytes() == before


def test_a_rule_without_readouts_cannot_take_part_where_twins_of_another_would_change_the_question(tmp_path, cli):
    (tmp_path / "mine.py").write_text(
        "from layerlocal import Rule, RuleInfo\n\n\nclass Mine(Rule):\n    info = RuleInfo(name='mine', locality='block')\n"
    )
    code, _, err = cli("study", "hybrid", "--rules", f"{tmp_path / 'mine.py'}:Mine", "--out", tmp_path / "runs")
    assert code == 2 and "no readout at every block" in one_sentence(err)


def test_data_that_cannot_be_reached_are_left_out_and_data_that_do_not_fit_are_refused(tmp_path, monkeypatch, capsys):
    from layerlocal.types import UnreachableError

    def offline(info, **_):
        raise UnreachableError(f"cannot reach {info.hub_id}")

    monkeypatch.setattr("layerlocal.data.raw.hub_sources", offline)
    found = run_study(tmp_path / "runs", "accuracy", data=["fashion_mnist_subset", "mnist"], seeds=1, workers=1)
    assert (found.finished, found.planned, found.failed) == (5, 10, ())
    assert [entry.reason for entry in found.missing] == ["cannot reach ylecun/mnist"]
    with pytest.raises(InputError, match="num_test"):
        monkeypatch.setattr(scale_module, "SIZES_OF", {})
        run_study(tmp_path / "other", "accuracy", data=["fashion_mnist_subset"], size="medium", seeds=1, workers=1)


def test_claims_for_a_rule_that_no_study_ran_list_those_that_did(composed, cli):
    code, _, err = cli("claims", "--out", composed[0], "--rule", "nope")
    assert code == 2 and "class-goodness" in one_sentence(err)


def test_claims_changed_after_a_study_was_begun_are_seen(composed, tmp_path, cli):
    out = shutil.copytree(composed[0], tmp_path / "runs")
    path = study_place(out, "composition", "quick").plan.path
    content = json.loads(path.read_text())
    assert content["claims_sha256"] == load_claims().sha256_about(STUDIES)
    assert "not those that stood" not in write_report(out).read_text()
    path.write_text(json.dumps(content | {"claims_sha256": "0" * 64}))
    assert "not those that stood when these studies were begun: composition (quick)" in write_report(out).read_text()
    assert "not those that stood" in cli("claims", "--out", out)[2]


def test_the_page_and_the_texts_show_the_study(composed, tmp_path):
    out = shutil.copytree(composed[0], tmp_path / "runs")
    page = write_report(out).read_text()
    summary = composed[1]
    for text in (summary.title, "P11", "unseen", *(row["runs"]["local"] for row in summary.rows)):
        assert text in page
    assert summary.sentences[0].split(":")[0] in page
    rows = list(csv.DictReader(io.StringIO(write_report(out, form="csv"))))
    assert len(rows) == 4 and {row["name"] for row in rows} == {"composition"}
    assert float(rows[0]["gap"]) == pytest.approx(summary.rows[0]["gap"])
    content = json.loads(write_report(out, form="json"))
    assert content["summaries"][0]["quantities"] == summary.to_dict()["quantities"]
    assert summary.title in write_report(out, form="md")


def test_claims_on_a_store_judge_what_was_run_and_name_the_command_for_the_rest(composed, cli):
    code, text, _ = cli("claims", "--out", composed[0], "--json")
    assert code == 0
    rows = {row["id"]: row for row in json.loads(text)["claims"]}
    assert rows["P11"]["n"] == 2
    assert rows["P11"]["verdict"] in ("supported", "contradicted", "inconclusive", "undertrained")
    assert rows["P2"]["verdict"] == "not run" and "layerlocal study classes" in rows["P2"]["command"]
    code, text, _ = cli("claims", "--out", composed[0])
    assert code == 0 and "not run" in text


def test_runs_of_another_protocol_are_left_out_and_said_so(composed, tmp_path, cli):
    out = shutil.copytree(composed[0], tmp_path / "runs")
    record = RunStore(out).finished()[0]
    old = record.spec.model_copy(update={"protocol": 0})
    folder = (out / record.hash).rename(out / old.hash)
    sums = json.loads((folder / "DONE").read_text())
    for name, content in (("spec", old.model_dump(mode="json")), ("result", record.result | {"run": old.hash})):
        text = json.dumps(content).encode()
        (folder / f"{name}.json").write_bytes(text)
        sums[f"{name}.json"] = hashlib.sha256(text).hexdigest()
    (folder / "DONE").write_text(json.dumps(sums))
    assert "1 of 20 runs are of protocol 0 and are left out" in write_report(out).read_text()
    code, _, err = cli("claims", "--out", out)
    assert code == 0 and "two protocols do not compare" in err


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("clases",), ("classes", "--size", "huge")])
def test_a_mistyped_study_makes_no_store(refused, tmp_path, words):
    assert "unknown" in refused("study", *words, "--out", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_study_without_its_folder_says_where_the_folder_is_looked_for(refused, monkeypatch):
    monkeypatch.delenv("LAYERLOCAL_DATA", raising=False)
    sentence = refused("study", "resolution", "--dry-run")
    assert "unknown data 'caltech101_224'" in sentence and "LAYERLOCAL_DATA" in sentence


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("study", "clases"), "unknown study 'clases'"),
        (("study", "classes", "--size", "huge"), "unknown size 'huge'"),
        (("study", "classes", "--rules", "dtgff"), "unknown rule 'dtgff'"),
        (("study", "classes", "--rules", "bp"), "bp is a baseline"),
        (("study", "hierarchy", "--data", "fashion_mnist_subset"), "superclasses"),
        (("study", "classes", "--data", "fashion_mnist_subset"), "the data has 10 classes"),
        (("study", "depth", "--data", "no_such_set"), "unknown data 'no_such_set'"),
        (("study", "depth", "--data", "teacher_student"), "the study 'depth' trains networks for images"),
        (("study", "depth", "--device", "tpu"), "unknown device"),
        (("study", "calibration", "--data", "cifar10"), "takes none of your data sets"),
        (("study", "depth", "--data", "cifar10,cifar100"), "takes at most 1 of your data sets"),
        (("claims", "--claim", "P77"), "unknown claim 'P77'"),
    ],
)
def test_what_does_not_fit_is_one_sentence_and_trains_nothing(cli, tmp_path, monkeypatch, words, named):
    monkeypatch.chdir(tmp_path)
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    assert named in one_sentence(err)
    assert not list(tmp_path.glob("runs/*/spec.json"))


def test_too_few_images_for_a_split_is_one_sentence(cli, tmp_path, monkeypatch):
    more = dataclasses.replace(scale_module._SCALES["quick"], num_train=10**6)
    monkeypatch.setitem(scale_module._SCALES, "quick", more)
    monkeypatch.setattr(scale_module, "SIZES_OF", {})
    code, _, err = cli("study", "depth", "--data", "fashion_mnist_subset", "--out", tmp_path / "runs")
    assert code == 2 and "num_train=1000000 is more than" in one_sentence(err)


def test_a_claim_file_with_a_missing_field_names_file_claim_and_field(cli, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(
        """
claims:
  - {id: X1, source: me, sentence: s, reported: {value: 1, unit: pp, text: x}, study: classes, direction: less}
"""
    )
    code, _, err = cli("claims", "--file", file, "--out", tmp_path / "runs")
    sentence = one_sentence(err)
    assert code == 2 and "mine.yaml" in sentence and "X1" in sentence and "quantity" in sentence


def test_studies_are_listed_where_none_is_named(cli):
    code, out, _ = cli("study")
    assert code == 0 and "calibration" in out and "hybrid" in out


# --- planted stores: does the whole way from runs to verdicts tell the truth? -----------------------------------------


def planted_records(plan, rng, gap, spread=0.004):
    """Runs of the accuracy study whose true local − BP and local − DeepSup are ``gap``; planted, not measured."""
    records = {}
    noise = {seed: rng.normal(0, 0.01) for seed in plan.seeds}
    for (_, seed, _, method), spec in plan_runs(find_study(plan.study), plan).items():
        value = 0.6 + noise[seed] + rng.normal(0, spread / 2**0.5) + (gap if method == "local" else 0)
        data = {"name": spec.data.source, "separability": 0.8, "provenance": {"checksum": "x"}}
        result = {
            "test_accuracy": value,
            "block_accuracies": {"block0": value},
            "num_classes": 10,
            "chance": 0.1,
            "data": data,
        }
        records[spec.hash] = RunRecord(spec.hash, spec, {"layerlocal": "0", "threads": 1}, result)
    return records


CLAIM = """
claims:
  - {id: below, source: planted, sentence: local is below, reported: {value: null, unit: pp, text: ""}, study: accuracy,
     quantity: gap/cifar10, direction: less, smallest_effect: 0.5}
  - {id: alike, source: planted, sentence: local is not told apart, reported: {value: null, unit: pp, text: ""}, study: accuracy,
     quantity: gap/cifar10, direction: none, smallest_effect: 1.0}
"""


@pytest.mark.parametrize(
    ("gap", "truth"),
    [(-0.03, {"below": "supported", "alike": "contradicted"}), (0.0, {"below": "contradicted", "alike": "supported"})],
)
def test_on_planted_stores_every_verdict_is_right_in_95_of_100_draws(tmp_path, gap, truth):
    """200 draws from runs to verdicts; 12 seeds, the paired difference spreads by 0.4 pp."""
    (tmp_path / "planted.yaml").write_text(CLAIM)
    claims = load_claims(tmp_path / "planted.yaml")
    plan = StudyPlan(study="accuracy", data=("cifar10",), seeds=tuple(range(12)))
    rng = np.random.default_rng(7)
    right = dict.fromkeys(truth, 0)
    for _ in range(200):
        rows = judge(claims, [summarize_study(plan, planted_records(plan, rng, gap))])
        for row in rows:
            right[row["id"]] += row["verdict"] == truth[row["id"]]
    assert min(right.values()) >= 190, right


def test_under_no_effect_a_difference_is_claimed_in_at_most_alpha_of_the_draws(tmp_path):
    """At the boundary, a true gap of exactly the smallest effect that counts: any verdict is a false positive."""
    (tmp_path / "planted.yaml").write_text(CLAIM)
    both = load_claims(tmp_path / "planted.yaml")
    claims = both.model_copy(update={"claims": both.claims[:1]})
    assert [claim.id for claim in claims.claims] == ["below"]
    plan = StudyPlan(study="accuracy", data=("cifar10",), seeds=tuple(range(5)))
    rng = np.random.default_rng(11)
    wrong = 0
    for _ in range(400):
        [row] = judge(claims, [summarize_study(plan, planted_records(plan, rng, -0.005))])
        wrong += row["verdict"] != "inconclusive"
    assert wrong <= 0.05 * 400 + 2.33 * (400 * 0.05 * 0.95) ** 0.5  # 99 % of binomial draws at alpha = 0.05


def test_a_planted_store_on_disk_is_judged_as_its_runs_in_memory(tmp_path):
    plan = StudyPlan(study="accuracy", data=("cifar10",), seeds=(0, 1, 2, 3))
    records = planted_records(plan, np.random.default_rng(3), -0.03)
    store = RunStore(tmp_path / "runs")
    store.prepare()
    for record in records.values():
        with store.open(record.spec) as folder:
            folder.save_checkpoint({}, {"epoch": 1, "rows": [], "seconds": 0.0})
            folder.finish(env=record.env, result=record.result, metrics=[(1, "validation_accuracy", "fused", 0.5)])
    write_atomic(study_place(store.root, "accuracy", "quick").plan.path, plan.model_dump_json().encode())
    (tmp_path / "planted.yaml").write_text(CLAIM)
    rows, *_ = judge_claims(store.root, files=[tmp_path / "planted.yaml"])
    expected = judge(load_claims(tmp_path / "planted.yaml"), [summarize_study(plan, records)])
    assert [row["verdict"] for row in rows] == [row["verdict"] for row in expected] == ["supported", "contradicted"]
    assert [row["p"] for row in rows] == [row["p"] for row in expected]
    assert Path(write_report(store.root)).exists()


def test_data_sets_that_cannot_be_reached_are_told_in_one_line_with_their_names_and_one_alone_with_its_reason():
    narrow = Refusal("ff: too narrow")
    lost = [Refusal(f"cannot reach {name}", unreachable=name) for name in ("mnist", "svhn")]
    own, together = _told([narrow, *lost])
    assert own == "ff: too narrow" and together.startswith("mnist, svhn: these 2 data sets")
    assert _told([narrow, lost[0]]) == ["ff: too narrow", "cannot reach mnist"]
    assert _told([narrow]) == ["ff: too narrow"]
