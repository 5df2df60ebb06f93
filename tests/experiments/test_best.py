"""Each method at its best: the same points for all, chosen by validation data only, judged on other seeds, and cut off without loss."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
import time
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import qmc

import layerlocal.runs.run
from layerlocal.data import Data
from layerlocal.experiments.stored import study_summaries
from layerlocal.experiments.studies import find_study
from layerlocal.experiments.studies.base import StudyPlan, plan_runs
from layerlocal.experiments.studies.choice import Choice, Trial, best_of, search_of
from layerlocal.experiments.studies.running import forecast_study, run_study
from layerlocal.experiments.studies.trials import choose, planned_trials
from layerlocal.experiments.tune import parse_dimension
from layerlocal.runs.comparable import comparable
from layerlocal.runs.store import RunStore
from layerlocal.spec import RuleSpec
from layerlocal.types import InputError
from sizes import shrink_quick

METHODS = ["local", "bp", "bp-deepsup"]
RATE = "recipe.learning_rate=log:0.001:1"
BEST = find_study("best")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Quick, made quicker still."""
    shrink_quick(monkeypatch, num_train=300, num_test=100, recipe={"epochs": 1})


def plan_of(*space, size="quick", trials=4, trial_seeds=2, **options):
    search = search_of(size, space=space, trials=trials, trial_seeds=trial_seeds)
    return StudyPlan(study="best", size=size, search=search, **options)


def run(out, **asked):
    return run_study(
        out, "best", **{"trials": 3, "seeds": 2, "workers": 1, "console": Console(quiet=True), "space": [RATE], **asked}
    )


def content_of(summary):
    """As it is written, but for when."""
    found = json.loads(summary.model_dump_json())
    return {key: value for key, value in found.items() if key not in ("created", "command", "environment")}


# --- the trials -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["class-goodness", "sigprop"])
def test_every_method_is_tried_at_the_same_points_on_the_same_images_and_differs_in_its_rule_alone(rule):
    """The twins of `sigprop`, which has no readout a block, are those of another rule."""
    twins = {"sigprop": "local-heads"} if rule == "sigprop" else {}
    trials = list(planned_trials(BEST, plan_of(rules=(rule,), twins_of=twins, trials=8)))
    lists = {method: [t for t in trials if t.method == method] for method in METHODS}
    assert len(trials) == 24 and [t.number for t in lists["local"]] == list(range(8))
    for local, bp, deepsup in zip(*lists.values(), strict=True):
        assert local.settings == bp.settings == deepsup.settings
        for seed in (10_000, 10_001):
            specs = [trial.specs[seed] for trial in (local, bp, deepsup)]
            assert len({spec.model_copy(update={"rule": RuleSpec()}).model_dump_json() for spec in specs}) == 1
            assert [spec.rule.name for spec in specs] == [rule, "bp", "bp-deepsup"]
            assert specs[0].recipe.learning_rate == local.settings["recipe.learning_rate"]
            assert (specs[0].seed, specs[0].data.seed, specs[0].judged_on) == (seed, seed, "validation")
    assert lists["local"][0].settings == {"recipe.learning_rate": 5e-3, "recipe.weight_decay": 1e-2}, "as it is"
    assert len({json.dumps(trial.settings) for trial in lists["local"]}) == 8


@pytest.mark.parametrize(("size", "share"), [("quick", 1), ("medium", 1), ("standard", 0.125), ("full", 0.25)])
def test_a_trial_is_a_run_of_the_study_but_for_seed_length_and_what_it_is_judged_on(size, share):
    plan = plan_of(size=size, seeds=(0,), data=("cifar10",))
    judged = {method: spec for (*_, method), spec in plan_runs(BEST, plan).items()}
    for trial in planned_trials(BEST, plan):
        spec, like = trial.specs[10_000], judged[trial.method]
        usual = {key: getattr(like.recipe, key) for key in ("learning_rate", "weight_decay")}
        recipe = spec.recipe.model_copy(update={**usual, "epochs": like.recipe.epochs})
        assert recipe == like.recipe and spec.recipe.epochs == share * like.recipe.epochs
        assert (spec.network, spec.rule) == (like.network, like.rule)
        assert spec.data.model_copy(update={"seed": 0, "validation": 0.1}) == like.data and spec.data.validation == 0.2


def test_how_much_is_searched_at_each_size_and_where_the_list_begins():
    """A study that goes on has the points that it began with, so these are held to scrambled Sobol numbers of their own making."""
    usual = {size: search_of(size) for size in ("quick", "medium", "standard", "full")}
    assert {size: (found.trials, found.seeds, found.length) for size, found in usual.items()} == {
        "quick": (8, 2, 1.0), "medium": (16, 2, 1.0), "standard": (6, 2, 0.125), "full": (16, 2, 0.25),
    }  # fmt: skip
    digits = hashlib.sha256(b"0/points/1").digest()[:8]
    generator = np.random.default_rng(int.from_bytes(digits, "big") >> 1)
    shares = qmc.Sobol(1, scramble=True, seed=generator).random_base2(2)[:, 0]
    rates = [t.settings["recipe.learning_rate"] for t in planned_trials(BEST, plan_of(RATE)) if t.method == "bp"]
    assert rates[0] == 5e-3 and rates[1:] == [float(f"{10 ** (3 * share - 3):.3g}") for share in shares[:3]]


def test_settings_of_the_plan_are_those_of_every_trial_and_of_every_run():
    plan = plan_of(settings={"recipe.steps": 40, "data.validation": 0.3, "rule.grid": 1}, size="standard", seeds=(0,))
    specs = [spec for trial in planned_trials(BEST, plan) for spec in trial.specs.values()]
    assert {(spec.recipe.steps, spec.data.validation, spec.rule.options["grid"]) for spec in specs} == {(5, 0.3, 1)}
    judged = plan_runs(BEST, plan).values()
    assert {(spec.recipe.steps, spec.data.validation, spec.rule.options["grid"]) for spec in judged} == {(40, 0.3, 1)}


# --- the choice -------------------------------------------------------------------------------------------------------


def test_the_first_of_equal_trials_is_chosen_and_one_that_failed_never():
    trials = [
        Trial(settings={"x": 0}, reason="it broke"),
        Trial(settings={"x": 1}, values=(0.5, 0.7)),
        Trial(settings={"x": 2}, values=(0.4, 0.8)),
        Trial(settings={"x": 3}, values=(0.59, 0.6)),
    ]
    assert best_of(trials).settings == {"x": 1} and best_of(trials[::-1]).settings == {"x": 2}
    assert best_of(trials[:1]) is None


def plant(store, spec, *, validation, test):
    """PLANTED: a finished run with made-up accuracies."""
    result = {"run": spec.hash, "validation_accuracy": validation, "test_accuracy": test, "block_accuracies": {}}
    with store.open(spec) as folder:
        folder.finish(env={}, result=result, metrics=[])


def worth(trial, seed):
    """PLANTED validation accuracy: highest at a rate of 0.1 for the rule and of 0.01 for its twins."""
    best = -1 if trial.method == "local" else -2
    return 0.9 - 0.1 * abs(math.log10(trial.settings["recipe.learning_rate"]) - best) + 0.001 * (seed % 2)


def test_validation_accuracy_alone_chooses_whatever_a_test_split_would_say(tmp_path):
    trials = list(planned_trials(BEST, plan_of(RATE, trials=16)))
    for trial in trials:
        for seed, spec in trial.specs.items():
            plant(RunStore(tmp_path), spec, validation=worth(trial, seed), test=1 - worth(trial, seed))
    chosen, without = choose(trials, RunStore(tmp_path), {})
    assert without == {}
    for method, choice in chosen["class-goodness"]["fashion_mnist_subset"].items():
        of = [trial for trial in trials if trial.method == method]
        assert choice.settings == max(of, key=lambda trial: worth(trial, 0)).settings
        assert [trial.values for trial in choice.trials] == [(worth(t, 10_000), worth(t, 10_001)) for t in of]
    found = {m: c.settings["recipe.learning_rate"] for m, c in chosen["class-goodness"]["fashion_mnist_subset"].items()}
    assert found["bp"] == found["bp-deepsup"] < 0.05 < found["local"]


def test_a_trial_of_which_one_run_failed_is_no_choice_and_a_method_without_any_takes_no_part(tmp_path):
    trials = list(planned_trials(BEST, plan_of(RATE, rules=("class-goodness", "local-heads"))))
    store, best = RunStore(tmp_path), max(range(4), key=lambda number: worth(trials[3 * number], 0))
    failed = {}
    for trial in trials:
        for seed, spec in trial.specs.items():
            one_broke = (trial.rule, trial.method, trial.number, seed) == ("class-goodness", "local", best, 10_001)
            if one_broke or (trial.rule, trial.method) == ("local-heads", "bp"):
                failed[spec.hash] = "the loss is not finite"
            else:
                plant(store, spec, validation=worth(trial, seed), test=0.0)
    chosen, without = choose(trials, store, failed)
    choice = chosen["class-goodness"]["fashion_mnist_subset"]["local"]
    assert choice.trials[best].value is None and choice.trials[best].reason == "the loss is not finite"
    assert choice.settings != choice.trials[best].settings
    assert "local-heads" not in chosen and without == {
        ("local-heads", 0): "no trial of bp of local-heads on fashion_mnist_subset ended: the loss is not finite"
    }


def test_the_best_at_the_edge_of_its_space_is_told():
    rates = {"local": 0.9, "bp": 0.03, "bp-deepsup": 0.0011}
    choices = {
        method: Choice(settings=settings, trials=(Trial(settings=settings, values=(0.5, 0.6)),))
        for method, rate in rates.items()
        for settings in [{"recipe.learning_rate": rate, "rule.grid": 1}]
    }
    plan = plan_of(RATE, "rule.grid=1,2,4", chosen={"class-goodness": {"fashion_mnist_subset": choices}})
    told = [note for note in BEST.conclude(plan, []).notes if "edge" in note]
    assert len(told) == 2
    assert "class-goodness" in told[0] and "recipe.learning_rate=0.9 is at the upper edge" in told[0]
    assert "BP-DeepSup" in told[1] and "recipe.learning_rate=0.0011 is at the lower edge" in told[1]


# --- a study that trains ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished study in a store; and what a dry run said before it."""
    out = tmp_path_factory.mktemp("best") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        tiny.__wrapped__(patch)
        before = forecast_study(out, "best", trials=3, seeds=2, space=[RATE])
        opened = []
        take = Data.take_test
        patch.setattr(Data, "take_test", lambda data: opened.append(data) or take(data))
        return out, run(out), before, len(opened)


def test_each_method_is_judged_at_what_its_trials_found_on_other_seeds(finished):
    out, _, _, opened = finished
    records = RunStore(out).finished()
    trials = RunStore(out / "tune").finished()
    assert (len(records), len(trials), opened) == (10, 24, 10), (
        "the test split is opened once a judged run, by no trial"
    )
    assert {r.spec.seed for r in records} == {0, 1} and {r.spec.seed for r in trials} == {10_000, 10_001}
    assert not any("test_accuracy" in record.result for record in trials)
    for name in ("class-goodness", "bp", "bp-deepsup"):
        twins = {"class-goodness", None}  # ordinary BP is of another rule
        of = [r for r in trials if r.spec.rule.name == name and r.spec.rule.options.get("of") in twins]
        rates = groupby(
            sorted(of, key=lambda r: r.spec.recipe.learning_rate), key=lambda r: r.spec.recipe.learning_rate
        )
        means = {rate: sum(r.result["validation_accuracy"] for r in found) / 2 for rate, found in rates}
        used = {
            r.spec.recipe.learning_rate
            for r in records
            if r.spec.rule.name == name and r.spec.rule.options.get("of") in twins
        }
        assert len(means) == 3 and len(used) == 1
        assert means[used.pop()] == max(means.values())


def test_the_summary_has_differences_settings_and_all_trials(finished):
    out, summary, *_ = finished
    assert (summary.finished, summary.planned, summary.missing) == (10, 10, ())
    own = summary.quantities["class-goodness"]
    assert set(own["gap/fashion_mnist_subset"].values) == {"0", "1"}
    assert set(own["validation/bp/fashion_mnist_subset"].values) == {"10000", "10001"}
    [table] = [table for table in summary.tables if table.caption.startswith("Settings of each method")]
    assert [row["method"] for row in table.rows] == ["class-goodness", "BP", "BP-DeepSup", "ordinary BP"]
    [figure] = [figure for figure in summary.figures if figure.name == "best-recipe-learning_rate"]
    assert [len(series.points) for series in figure.series] == [3, 3, 3, 3]
    assert {point.x for point in figure.series[0].points} == {point.x for point in figure.series[1].points}
    [again] = study_summaries(out, comparable(out)[0])
    assert content_of(again) == content_of(summary), "a page is made from the plan and the runs, without the trials"


def test_a_dry_run_counts_what_then_runs_and_writes_nothing(finished, tmp_path):
    out, _, before, _ = finished
    assert {key: before[key] for key in ("planned", "finished", "trials", "left_out")} == {
        "planned": 34, "finished": 0, "trials": 24, "left_out": 0,
    }  # fmt: skip
    assert before["seconds"] > 0
    files = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    now = forecast_study(out, "best", trials=3, seeds=4, space=[RATE])
    assert (now["planned"], now["finished"], now["trials"]) == (42, 34, 24)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == files
    forecast_study(tmp_path / "runs", "best", trials=3, space=[RATE])
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def trained(monkeypatch):
    """Hashes of the runs that are trained from here on, in order; the run that ``stops`` has is cut off."""
    seen, stops = [], []
    train = layerlocal.runs.run._train_run

    def watched(spec, *rest):
        if len(seen) in stops:
            stops.clear()
            raise KeyboardInterrupt
        seen.append(spec.hash)
        return train(spec, *rest)

    monkeypatch.setattr(layerlocal.runs.run, "_train_run", watched)
    return seen, stops


@pytest.mark.parametrize("stop", [7, 24])
def test_cut_off_anywhere_it_goes_on_to_the_same_numbers_and_trains_nothing_twice(finished, tmp_path, trained, stop):
    seen, stops = trained
    stops.append(stop)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(tmp_path / "runs")
    summary = run(tmp_path / "runs")
    assert len(seen) == len(set(seen)) == 34
    assert content_of(summary) == content_of(finished[1])


def test_a_rule_that_joins_makes_its_own_trials_alone(finished, tmp_path, trained):
    import shutil

    out = shutil.copytree(finished[0], tmp_path / "runs")
    found = run(out, rules=["local-heads"], seeds=1)
    assert found.rules == ("class-goodness", "local-heads") and found.seeds == (0, 1)
    assert len(trained[0]) == 18 + 6, "two seeds, as the study has"


def test_killed_outright_it_goes_on_to_the_same_numbers(finished, tmp_path):
    """SIGKILL after some trials and again after some judged runs."""
    code = (
        f"import sys; sys.path[:0] = {[str(folder) for folder in Path(__file__).parents[:2]]!r}; import pytest, test_best\n"
        "with pytest.MonkeyPatch.context() as patch:\n"
        f"    test_best.tiny.__wrapped__(patch); test_best.run(test_best.Path({str(tmp_path / 'runs')!r}))"
    )
    for folder, enough in (("tune", 4), (".", 2)):
        process = subprocess.Popen([sys.executable, "-c", code])
        try:
            while len(list((tmp_path / "runs" / folder).glob("*/DONE"))) < enough and process.poll() is None:
                time.sleep(0.02)
        finally:
            process.kill()
            process.wait()
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("DONE")}
    assert done
    summary = run(tmp_path / "runs")
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert content_of(summary) == content_of(finished[1])


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_method_of_which_no_trial_ends_takes_no_part_and_says_why(tmp_path):
    broken = {"recipe.weight_decay": 1e30, "recipe.optimizer": "sgd"}
    with pytest.raises(InputError, match=r"class-goodness on fashion_mnist_subset .*finite"):
        run(tmp_path / "runs", space=["recipe.learning_rate=0.005,0.01"], trials=2, trial_seeds=1, settings=broken)


def test_a_space_that_does_not_hold_what_is_usual_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"recipe\.learning_rate=0\.1,0\.2 does not hold recipe\.learning_rate=0\.005.*widen it"
    ):
        run(tmp_path / "runs", space=["recipe.learning_rate=0.1,0.2"])
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"seeds": [3, 10_001]}, r"seed 10001 .*trials"),
        ({"settings": {"data.validation": 0}}, "data.validation is 0"),
        ({"settings": {"recipe.learning_rate": 0.1}}, "recipe.learning_rate is searched and set"),
        ({"space": ["network.width=0.5:1.5"]}, "methods are compared on one network"),
        ({"space": ["data.num_train=100:200"]}, "methods are compared on one data"),
        ({"space": ["recipe.epochs=1:9"]}, "every method trains equally long"),
        ({"space": ["rule.gird=1,2"]}, "gird"),
        ({"space": ["ff/rule.theta=1:2"]}, "a rule that is not tuned"),
    ],
)
def test_a_search_that_would_not_be_fair_is_refused_before_anything_is_trained(tmp_path, asked, sentence):
    with pytest.raises(InputError, match=sentence):
        run(tmp_path / "runs", **asked)
    assert not list((tmp_path / "runs").rglob("DONE"))


def test_another_search_needs_another_folder(finished):
    with pytest.raises(InputError, match="3 trials of 2 seeds"):
        run(finished[0], trials=4)


def test_a_search_is_of_the_study_best_alone(refused, cli):
    assert "--trials is of the study 'best'" in refused("study", "accuracy", "--trials", 3)
    assert "--space is of the study 'best'" in refused("study", "depth", "--space", RATE)
    words = ("study", "best", "--trials", 2, "--trial-seeds", 3, "--space", RATE, "--seeds", 1, "--dry-run")
    code, out, _ = cli(*words)
    assert code == 0 and out.startswith("29 runs, 24 of them trials: 0 finished, 29 to train")


def test_a_plan_is_read_as_it_was_written():
    plan = plan_of(
        RATE,
        chosen={
            "a": {"b": {"bp": Choice(settings={"x": 0.1}, trials=(Trial(settings={"x": 0.1}, values=(0.1 + 0.2,)),))}}
        },
    )
    assert StudyPlan.model_validate_json(plan.model_dump_json()) == plan
    assert plan.search.space == (parse_dimension(RATE),)
