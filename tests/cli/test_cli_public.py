"""`layerlocal site` and `layerlocal merge`: a folder of pages, other people's runs; bad input is one sentence and exit code 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from planted_store import plant_run, planted_specs

RESULTS = Path(__file__).parents[2] / "results"


def test_published_results_become_a_site(cli, tmp_path):
    code, out, err = cli("site", str(RESULTS), "--to", "pages")
    assert code == 0 and out.strip() == "pages/index.html" and "pages written" in err
    assert f"{len(list(Path('pages').rglob('*.html')))} pages written" in err
    index = Path("pages/index.html").read_text()
    assert "<code>class-goodness</code>" in index and f"layerlocal site {RESULTS} --to pages" in index
    assert Path("pages/rules/class-goodness.html").exists() and Path("pages/claims/p1-cifar10.html").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["site", "nowhere"], "there is no run store at nowhere"),
        (["site", "empty"], "nothing is finished in empty yet"),
        (["site", "file.txt"], "file.txt is a file, not a run store"),
        (["site", str(RESULTS), "--to", "file.txt"], "file.txt is a file"),
        (["merge"], "missing argument 'STORE...'"),
        (["merge", "nowhere"], "there is no run store at nowhere"),
        (["merge", "empty", "--out", "empty"], "leave it out, or give another with --out"),
        (["merge", "file.txt"], "file.txt is a file"),
    ],
)
def test_a_store_that_cannot_be_read_is_named(refused, words, said):
    Path("empty").mkdir()
    Path("file.txt").write_text("")
    assert said in refused(*words)


def test_runs_of_others_come_in_and_what_does_not_is_said(cli):
    content = {"content_sha256": "ab" * 32}
    specs = [spec.model_copy(update={"data": spec.data.model_copy(update=content)}) for spec in planted_specs(3)]
    for spec in specs:
        plant_run(Path("theirs"), spec)
    plant_run(Path("runs"), specs[0])
    (Path("theirs") / specs[1].hash / "result.json").write_text("{}")
    code, out, err = cli("merge", "theirs")
    assert code == 0 and out.strip() == "theirs: 1 run taken, 1 here already, 0 with other numbers, 1 left out"
    assert "result.json is not what was written" in err
    found = json.loads(cli("merge", "theirs", "--json")[1])
    assert found["out"] == "runs" and found["stores"][0]["same"] == sorted([specs[0].hash, specs[2].hash])
    assert found["stores"][0]["taken"] == [] and len(found["stores"][0]["left_out"]) == 1


def test_a_merged_plan_that_names_somebodys_file_is_reported_without_running_it(cli, tmp_path):
    from layerlocal.experiments.stored import study_place
    from layerlocal.experiments.studies.base import StudyPlan

    evil = tmp_path / "evil.py"
    evil.write_text(f"open({str(tmp_path / 'executed')!r}, 'w').close()\n")
    plan = StudyPlan(study="accuracy", size="quick", rules=(f"{evil}:Rule",), seeds=(0, 1, 2), twins_of={})
    Path("theirs").mkdir()
    study_place(Path("theirs"), "accuracy", "quick").plan.write(plan)
    assert cli("merge", "theirs")[0] == 0
    for words in (["report"], ["claims"], ["site", "--to", "pages"], ["show"]):
        cli(*words)
    assert not (tmp_path / "executed").exists()
