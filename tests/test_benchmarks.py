"""The benchmarks plan the very runs that the committed results name: a change to one of them, or to what a run's name is made of, shows here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])


def names_in(file):
    return set(json.loads((ROOT / "results" / file).read_text())["runs"].values())


@pytest.mark.parametrize(
    ("data", "file"), [("cifar10", "borrowed_panel.json"), ("cifar100", "borrowed_panel_cifar100.json")]
)
def test_borrowed_plans_the_runs_of_its_results(benchmarks, data, file):
    import borrowed

    planned = {
        spec.hash
        for (method, _), spec in borrowed.runs_of("panel", data).items()
        if data == "cifar100" or method != borrowed.OWN
    }
    assert planned == names_in(file)


def test_free_segments_plans_the_runs_of_its_results(benchmarks):
    import free_segments

    assert {spec.hash for spec in free_segments.runs_of("cifar10").values()} == names_in("free_segments.json")


@pytest.mark.parametrize(("rule", "data"), [("committee", "cifar100"), ("dtg-ff", "cifar10")])
def test_first_filters_changes_the_first_convolution_alone(benchmarks, rule, data):
    import first_filters

    runs = first_filters.runs_of(rule, data)
    assert {method for method, _ in runs} == {name for pair in first_filters.PAIRS.values() for name in pair}
    for (method, seed), run in runs.items():
        assert run.network.options == ({"first": "cosine"} if method.endswith("fixed") else {})
        learned = runs.get((method.replace("fixed", "learned"), seed))
        assert learned is None or run.model_copy(update={"network": learned.network}) == learned


@pytest.mark.parametrize(
    ("rule", "data", "file"),
    [
        ("committee", "cifar100", "first_filters_committee_cifar100.json"),
        ("dtg-ff", "cifar10", "first_filters_dtg-ff.json"),
    ],
)
def test_first_filters_plans_the_runs_of_its_results(benchmarks, rule, data, file):
    import first_filters

    assert {spec.hash for spec in first_filters.runs_of(rule, data).values()} == names_in(file)


def test_rules_that_the_protocol_reads_differently_are_tuned_one_at_a_time(benchmarks):
    import tuned

    from layerlocal.types import InputError

    assert tuned.plan_of(("dtg-ff",), 8, False).settings == {"rule.grid": 4}
    with pytest.raises(InputError, match="reads committee, dtg-ff in different ways; tune them one at a time"):
        tuned.plan_of(("committee", "dtg-ff"), 8, False)


def test_only_the_twin_has_a_second_best_setting(benchmarks):
    import tuned

    trials = [{"value": value, "settings": {"x": value}} for value in (0.2, None, 0.5, 0.4)]
    methods = [{"label": label, "trials": trials, "best": trials[2]} for label in ("a", "bp of a", "bp-deepsup of a")]
    best = tuned.best_of(methods)
    assert {label: tuned.settings_of(best, label, "second")["x"] for label in best} == {
        "a": 0.5,
        "bp of a": 0.5,
        "bp-deepsup of a": 0.4,
    }
    assert all(tuned.settings_of(best, label, "tuned") == {"x": 0.5} for label in best)


def test_settings_of_another_search(benchmarks, tmp_path):
    import tuned

    from layerlocal.types import InputError

    plan = tuned.plan_of(("committee",), 8, False, "cifar100", "cosine", {"rule.wide": True})
    methods, budget = tuned.found_in(Path("results/tuned_cifar100_long.json"), plan)
    assert budget == "8 trials a method, tpe, 2 dimensions, validation split, of results/tuned_cifar100_long.json"
    assert [method["label"] for method in methods] == [method.label for method in plan.methods]
    assert tuned.best_of(methods)["committee"]["settings"] == {
        "recipe.learning_rate": 0.0101,
        "rule.label_smoothing": 0.189,
    }
    with pytest.raises(
        InputError, match="has no trials of committee, bp of committee, bp-deepsup of committee; it has dtg-ff"
    ):
        tuned.found_in(Path("results/tuned_dtg-ff_long.json"), plan)
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(InputError, match="is no results file"):
        tuned.found_in(tmp_path / "other.json", plan)
    with pytest.raises(InputError, match="there is no file"):
        tuned.found_in(tmp_path / "none.json", plan)


def test_the_table_of_the_docs_is_that_of_the_results(benchmarks):
    from trainer_figure import table

    assert table(json.loads((ROOT / "results/trainer.json").read_text())) in (ROOT / "results/trainer.md").read_text()


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_the_smallest_price_in_the_card_is_that_of_the_results(benchmarks, data):
    import price_figure

    from layerlocal.words import difference

    price = price_figure.prices()[data]["+ wide readers"]
    assert difference(price).removesuffix(", n=3") in (ROOT / "docs/rules/committee.md").read_text()


def protocol_at_best():
    import cpu_protocol

    tasks = [task.with_first(cpu_protocol.FIRST) for task in cpu_protocol.TASKS]
    return cpu_protocol.AtBest(tasks, cpu_protocol.STRONGEST, smoke=False)


def test_the_protocol_plans_the_runs_of_its_results(benchmarks):
    planned = {spec.hash for runs, _ in protocol_at_best().found.values() for spec in runs.values()}
    found = json.loads((ROOT / "results/cpu_protocol.json").read_text())
    assert planned == set(found["runs"])
    assert not any("learning_rate" in task["recipe"] for task in found["tasks"]), "each method has its own: in its row"


def test_methods_of_the_protocol_differ_in_their_rule_and_in_what_trials_found_alone(benchmarks):
    study = protocol_at_best()
    assert study.found.keys() == {(rule, task.name) for rule in ("committee", "dtg-ff") for task in study.tasks}
    for (rule, task), (runs, said) in study.found.items():
        assert {seed for _, seed in runs} == {1, 2, 3}
        for (method, seed), spec in runs.items():
            found = said["settings"][method]
            assert spec.recipe.learning_rate == found["recipe.learning_rate"]
            assert spec.rule.options["label_smoothing"] == found["rule.label_smoothing"]
            assert spec.rule.name == (rule if method == "local" else method)
            local = runs["local", seed]
            options = {"of", "label_smoothing"}
            assert {**local.rule.options, **dict.fromkeys(options)} == {**spec.rule.options, **dict.fromkeys(options)}
            assert spec.judged_on == "test" and spec.network.options == {"first": "cosine"}
            [of] = [t for t in study.tasks if t.name == task]
            assert (spec.data, spec.network, spec.recipe.epochs) == (of.data, of.network, of.recipe.epochs)


@pytest.mark.parametrize("name", ["cpu_protocol", "cpu_protocol_one_setting"])
def test_the_tables_of_the_protocol_in_the_docs_are_those_of_the_results(benchmarks, name):
    from protocol import table

    assert (
        table(json.loads((ROOT / f"results/{name}.json").read_text())["rows"])
        in (ROOT / "docs/findings.md").read_text()
    )


def test_what_rules_keep_is_counted_for_all_and_as_the_trainer_counts_it(benchmarks):
    from layerlocal.rules import list_rules

    rows = {row["rule"]: row for row in json.loads((ROOT / "results/rule_memory.json").read_text())["rows"]}
    assert rows.keys() == set(list_rules())
    for other in json.loads((ROOT / "results/trainer.json").read_text())["memory"]:
        rule, _, fused = other["method"].partition(", ")
        if other["network"] == "vgg8" and fused == "fused" and rule in rows:
            assert rows[rule]["width"] == other["width"]
            assert rows[rule]["peak_saved_bytes"] == other["peak_saved_bytes"]
            assert rows[rule]["flops_per_step"] == other["flops_per_step"]
