"""Equal time: steps of each method from paces that are measured once, and accuracy against seconds from the epochs of the runs."""

from __future__ import annotations

import pytest
from rich.console import Console

from layerlocal.experiments.stored import read_plan, study_summaries
from layerlocal.experiments.studies import find_study, paced
from layerlocal.experiments.studies.base import StudyPlan
from layerlocal.experiments.studies.choice import Choice
from layerlocal.experiments.studies.running import forecast_study, run_study
from layerlocal.runs.comparable import comparable
from layerlocal.runs.store import RunStore
from sizes import shrink_quick

DATA = "fashion_mnist_subset"


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Quick, made quicker still."""
    shrink_quick(monkeypatch, num_train=200, num_test=60, recipe={"epochs": 2, "batch_size": 30})


@pytest.fixture
def planted(monkeypatch):
    """PLANTED paces: the rule twice, DeepSup half as fast as BP, ordinary BP as fast; the rules that were timed."""
    timed = []

    def paces(specs, device):
        timed.append(specs["local"].rule.name)
        return {"local": 0.5, "bp": 1.0, "bp-deepsup": 2.0, "ordinary": 1.0}

    monkeypatch.setattr(paced, "paces", paces)
    return timed


def run(out, **asked):
    return run_study(out, "equal-time", **{"seeds": 1, "workers": 1, "console": Console(quiet=True), **asked})


def steps_of(out):
    ordinary = "local-heads"
    return {
        record.spec.rule.name: record.result["steps"]
        for record in RunStore(out).finished()
        if record.spec.rule.options.get("of") != ordinary
    }


def test_every_method_has_the_steps_that_fit_into_the_time_of_bp_and_keeps_them(planted, tmp_path, monkeypatch):
    """180 images left for training, 30 a batch, 2 epochs: BP makes 12 steps."""
    summary = run(tmp_path)
    assert steps_of(tmp_path) == {"class-goodness": 24, "bp": 12, "bp-deepsup": 6}
    chosen = read_plan(tmp_path, "equal-time", "quick").chosen["class-goodness"][DATA]
    assert {method: choice.settings for method, choice in chosen.items()} == {
        "local": {"recipe.steps": 24}, "bp": {"recipe.steps": 12}, "bp-deepsup": {"recipe.steps": 6},
        "ordinary": {"recipe.steps": 12},
    }  # fmt: skip
    monkeypatch.setattr(paced, "paces", lambda *_: pytest.fail("timed twice"))
    again = run(tmp_path, seeds=2)
    assert again.planned == again.finished == 10
    assert {row["runs"]["local"] for row in summary.rows} <= {row["runs"]["local"] for row in again.rows}


def test_a_rule_that_joins_is_timed_and_the_others_are_not_again(planted, tmp_path):
    run(tmp_path)
    run(tmp_path, rules=["local-heads"])
    assert planted == ["class-goodness", "local-heads"]


def test_a_length_that_is_set_is_that_of_bp(planted, tmp_path):
    run(tmp_path, settings={"recipe.steps": 4})
    assert steps_of(tmp_path) == {"class-goodness": 8, "bp": 4, "bp-deepsup": 2}


def test_accuracy_against_seconds_is_that_of_the_epochs(planted, tmp_path):
    summary = run(tmp_path)
    [row] = summary.rows
    for method, name in row["runs"].items():
        if method == "ordinary-2x":
            continue
        table = RunStore(tmp_path).metrics(name).to_pylist()
        seconds = [e["value"] for e in table if e["metric"] == "train_seconds"]
        accuracy = [e["value"] for e in table if (e["metric"], e["block"]) == ("validation_accuracy", "fused")]
        assert len(seconds) == len(accuracy) == {"local": 4, "bp": 2, "bp-deepsup": 1, "ordinary": 2}[method]
        assert [at for at, _ in row["curves"][method]] == pytest.approx(
            [sum(seconds[: i + 1]) for i in range(len(seconds))]
        )
        assert [value for _, value in row["curves"][method]] == accuracy
    [figure] = [figure for figure in summary.figures if figure.name == "equal-time-curves"]
    assert [(series.name, len(series.points)) for series in figure.series] == [
        ("class-goodness", 4),
        ("BP", 2),
        ("BP-DeepSup", 1),
        ("ordinary BP", 2),
    ]
    [again] = study_summaries(tmp_path, comparable(tmp_path)[0])
    assert again.figures == summary.figures


def test_a_method_that_had_another_time_after_all_is_told():
    """PLANTED curves: DeepSup trained 1.5 times as long as BP, the rule as long but for a twentieth."""
    choices = {
        method: Choice(settings={"recipe.steps": 2}, seconds_per_step=1.0) for method in ("local", "bp", "bp-deepsup")
    }
    plan = StudyPlan(study="equal-time", seeds=(0,), chosen={"class-goodness": {DATA: choices}})
    row = {
        "rule": "class-goodness", "seed": 0, "data": DATA, "local": 0.5, "bp": 0.5, "bp-deepsup": 0.5, "gap": 0.0, "extra_supervision": 0.0,
        "price_of_locality": 0.0, "blocks": {m: {"block0": 0.5} for m in choices},
        "curves": {"local": [[10.5, 0.5]], "bp": [[4.0, 0.4], [10.0, 0.5]], "bp-deepsup": [[15.0, 0.5]]},
    }  # fmt: skip
    [note] = [note for note in find_study("equal-time").conclude(plan, [row]).notes if "seconds of BP" in note]
    assert note.startswith(f"BP-DeepSup of class-goodness on {DATA} trained 1.5")


def test_the_steps_are_those_of_the_paces_that_were_measured(tmp_path):
    summary = run(tmp_path)
    chosen = read_plan(tmp_path, "equal-time", "quick").chosen["class-goodness"][DATA]
    seconds = 12 * chosen["bp"].seconds_per_step
    assert seconds > 0 and summary.finished == 5
    for choice in chosen.values():
        assert choice.settings["recipe.steps"] == max(1, round(seconds / choice.seconds_per_step))


def test_a_dry_run_counts_what_then_runs_and_times_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(paced, "paces", lambda *_: pytest.fail("timed"))
    found = forecast_study(tmp_path / "runs", "equal-time", seeds=2)
    assert (found["planned"], found["finished"]) == (10, 0) and found["seconds"] > 0
    assert not (tmp_path / "runs").exists()
