"""Equal cost: ordinary BP with the rule's FLOPs, its time and its memory, from costs that are measured once."""

from __future__ import annotations

import pytest
from rich.console import Console

from layerlocal.data.task import task_of
from layerlocal.experiments.stored import read_plan, study_summaries
from layerlocal.experiments.studies import equal_cost, find_study, paced
from layerlocal.experiments.studies.base import StudyPlan, plan_runs
from layerlocal.experiments.studies.choice import Choice
from layerlocal.experiments.studies.running import forecast_study, run_study
from layerlocal.measure import measure_flops, measure_saved_bytes
from layerlocal.runs.comparable import comparable
from layerlocal.runs.store import RunStore
from layerlocal.runs.timing import build_on, noise
from sizes import shrink_quick

DATA = "fashion_mnist_subset"
METHODS = ("local", "ordinary", "ordinary-flops", "ordinary-time", "ordinary-bytes")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Quick, made quicker still: 180 images left for training, 30 a batch, 2 epochs are 12 steps."""
    shrink_quick(monkeypatch, num_train=200, num_test=60, recipe={"epochs": 2, "batch_size": 30})


@pytest.fixture
def planted(monkeypatch):
    """PLANTED costs: a step of the rule takes half the FLOPs of BP, 1.5 times its time, and 40 of the 100 bytes that a sample of BP saves."""
    monkeypatch.setattr(paced, "paces", lambda specs, device: {"local": 1.5, "ordinary": 1.0})
    monkeypatch.setattr(equal_cost, "_flops", lambda spec: 2.0 if spec.rule.name == "bp" else 1.0)

    def saved(spec, parts):
        return spec.recipe.batch_size // parts * (100 if spec.rule.name == "bp" else 40)

    monkeypatch.setattr(equal_cost, "_saved_bytes", saved)


def run(out, **asked):
    return run_study(out, "equal-cost", **{"seeds": 1, "workers": 1, "console": Console(quiet=True), **asked})


def chosen_in(out):
    return read_plan(out, "equal-cost", "quick").chosen["class-goodness"][DATA]


def test_backprop_has_what_the_rule_spends(planted, tmp_path, monkeypatch):
    """30 samples are cut in 3, the first number of equal parts that save no more than 40 % of all."""
    summary = run(tmp_path)
    assert {method: choice.settings for method, choice in chosen_in(tmp_path).items()} == {
        "local": {"recipe.steps": 12},
        "ordinary": {"recipe.steps": 12},
        "ordinary-flops": {"recipe.steps": 6},
        "ordinary-time": {"recipe.steps": 18},
        "ordinary-bytes": {"recipe.steps": 12, "recipe.micro_batches": 3},
    }
    made = {record.hash: record for record in RunStore(tmp_path).finished()}
    [row] = summary.rows
    steps = {method: made[name].result["steps"] for method, name in row["runs"].items()}
    assert steps == dict(zip(METHODS, (12, 12, 6, 18, 12), strict=True)) | {"ordinary-2x": 24}
    assert made[row["runs"]["ordinary-bytes"]].spec.recipe.micro_batches == 3
    of_bp = {method: made[name].spec.rule for method, name in row["runs"].items() if method != "local"}
    assert (
        len({rule.model_dump_json() for rule in of_bp.values()}) == 1 and of_bp["ordinary"].options["readout"] == "mean"
    )
    for key, other in (("total", 1), ("total_flops", 2), ("total_time", 3), ("total_bytes", 4)):
        assert row[key] == pytest.approx(row["local"] - row[METHODS[other]])
        assert summary.quantities["class-goodness"][f"{key}/{DATA}"].values == {"0": pytest.approx(row[key])}
    monkeypatch.setattr(paced, "paces", lambda *_: pytest.fail("timed twice"))
    again = run(tmp_path, seeds=2)
    assert again.planned == again.finished == 12
    [kept] = study_summaries(tmp_path, comparable(tmp_path)[0])
    assert kept.tables == again.tables and kept.sentences == again.sentences


def test_the_table_says_what_each_method_spends(planted, tmp_path):
    [table] = [table for table in run(tmp_path).tables if table.caption.startswith("What each method")]
    rows = {row["method"]: (row["steps"], row["parts"], row["flops"], row["bytes"]) for row in table.rows}
    assert rows == {
        "class-goodness": (12, None, 12e-12, 1200),
        "ordinary BP": (12, None, 24e-12, 3000),
        "ordinary BP, the rule's FLOPs": (6, None, 12e-12, 3000),
        "ordinary BP, the rule's time": (18, None, 36e-12, 3000),
        "ordinary BP, the rule's memory": (12, 3, 24e-12, 1000),
    }


def test_what_is_measured_is_a_step_of_the_rule_and_of_backprop(tmp_path):
    """By the meters of `layerlocal.measure` on the planned runs; the parts are the fewest that fit."""
    run(tmp_path)
    found = chosen_in(tmp_path)
    specs = {
        key[3]: spec
        for key, spec in plan_runs(find_study("equal-cost"), read_plan(tmp_path, "equal-cost", "quick")).items()
    }

    def step(method, parts):
        task = task_of(specs[method].data)
        return build_on(task, specs[method]), *noise(task, 30 // parts)

    flops = {method: measure_flops(*step(method, 1))["flops_per_step"] for method in ("local", "ordinary")}
    assert {method: found[method].flops_per_step for method in flops} == flops
    assert found["ordinary-flops"].settings["recipe.steps"] == round(12 * flops["local"] / flops["ordinary"])
    room = measure_saved_bytes(*step("local", 1))["peak_saved_bytes"]
    saved = {
        parts: measure_saved_bytes(*step("ordinary", parts))["peak_saved_bytes"] for parts in (1, 2, 3, 5, 6, 10, 15)
    }
    fewest = min(parts for parts, size in saved.items() if size <= room)
    assert found["local"].saved_bytes == room and found["ordinary-bytes"].saved_bytes == saved[fewest]
    assert found["ordinary-bytes"].settings.get("recipe.micro_batches", 1) == fewest
    pace = {method: found[method].seconds_per_step for method in ("local", "ordinary")}
    assert found["ordinary-time"].settings["recipe.steps"] == max(1, round(12 * pace["local"] / pace["ordinary"]))


def test_backprop_that_cannot_come_down_to_the_rule_is_told(planted, tmp_path, monkeypatch):
    monkeypatch.setattr(equal_cost, "_saved_bytes", lambda spec, parts: 100 if spec.rule.name == "bp" else 40)
    summary = run(tmp_path)
    assert chosen_in(tmp_path)["ordinary-bytes"].settings["recipe.micro_batches"] == 15
    assert f"class-goodness on {DATA}: BP in parts of 2 samples still saves more than the rule." in summary.notes


def rows_of(**methods):
    """PLANTED rows of three seeds, whose accuracies lie a little apart."""
    pairs = {
        "total": "ordinary",
        "total_flops": "ordinary-flops",
        "total_time": "ordinary-time",
        "total_bytes": "ordinary-bytes",
    }
    rows = []
    for seed in (0, 1, 2):
        own = {name.replace("_", "-"): value + 0.001 * seed * (name == "local") for name, value in methods.items()}
        differences = {key: own["local"] - own[other] for key, other in pairs.items()}
        rows.append(
            {
                "rule": "class-goodness",
                "seed": seed,
                "data": DATA,
                **own,
                **differences,
                "blocks": {m: {"block0": 0.5} for m in own},
            }
        )
    return rows


@pytest.mark.parametrize(
    ("at_time", "at_memory", "said"),
    [
        (0.7, 0.7, "above ordinary BP at the same steps, FLOPs, time and memory"),
        (0.9, 0.7, "above ordinary BP at the same steps, FLOPs and memory; below ordinary BP at the same time"),
        (
            0.801,
            0.9,
            "above ordinary BP at the same steps and FLOPs; not told apart from ordinary BP at the same time; "
            "below ordinary BP at the same memory",
        ),
    ],
)
def test_how_the_rule_stands_at_each_cost_is_said(at_time, at_memory, said):
    choices = {method: Choice(settings={"recipe.steps": 2}, saved_bytes=1) for method in METHODS}
    plan = StudyPlan(study="equal-cost", seeds=(0, 1, 2), chosen={"class-goodness": {DATA: choices}})
    rows = rows_of(local=0.8, ordinary=0.7, ordinary_flops=0.7, ordinary_time=at_time, ordinary_bytes=at_memory)
    found = find_study("equal-cost").conclude(plan, rows)
    assert found.sentences == [f"class-goodness on {DATA}: {said} (at the same steps +10.1 pp [+9.9, +10.3], n=3)."]
    of = {
        row["same"]: (row["local"]["mean"], row["bp"]["mean"], row["difference"]["mean"])
        for row in found.tables[0].rows
    }
    assert of == {
        what: pytest.approx((0.801, bp, 0.801 - bp))
        for what, bp in {"steps": 0.7, "FLOPs": 0.7, "time": at_time, "memory": at_memory}.items()
    }


def test_another_study_names_it_where_a_rule_is_above_ordinary_backprop():
    plan = StudyPlan(study="accuracy", seeds=(0, 1, 2), data=(DATA,))
    extra = {"gap": 0.0, "extra_supervision": 0.0, "price_of_locality": 0.0, "bp": 0.8, "bp-deepsup": 0.8}
    extra["blocks"] = {method: {"block0": 0.5} for method in ("local", "bp", "bp-deepsup")}
    for best, told in ((0.7, True), (0.9, False)):
        costs = dict.fromkeys(("ordinary_flops", "ordinary_time", "ordinary_bytes"), 0.5)
        rows = [row | extra for row in rows_of(local=0.8, ordinary=best, **costs)]
        sentences = find_study("accuracy").conclude(plan, rows).sentences
        asked = [one for one in sentences if "layerlocal study equal-cost --rules class-goodness" in one]
        assert bool(asked) == told and all(f"above ordinary BP on {DATA}" in one for one in asked)


def test_a_dry_run_counts_what_then_runs_and_measures_nothing(tmp_path, monkeypatch):
    for place, name in ((paced, "paces"), (equal_cost, "_flops"), (equal_cost, "_saved_bytes")):
        monkeypatch.setattr(place, name, lambda *_: pytest.fail("measured"))
    monkeypatch.setattr(paced, "forecast_seconds", lambda specs, **_: [3.0, 2.0])  # the rule, and BP, which is faster
    found = forecast_study(tmp_path / "runs", "equal-cost", seeds=2)
    assert (found["planned"], found["finished"]) == (12, 0) and found["seconds"] > 0
    assert not (tmp_path / "runs").exists()
