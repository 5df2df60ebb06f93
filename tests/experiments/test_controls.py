"""Ordinary backprop beside every rule: three terms that add up, headroom on two seeds, and no option of a rule on it."""

from __future__ import annotations

import pytest
from test_studies import planted

from layerlocal.experiments.studies import STUDIES, find_study
from layerlocal.experiments.studies.base import StudyPlan, make_rows, plan_runs
from layerlocal.experiments.studies.controls import HEADROOM_SEEDS, doubled
from layerlocal.experiments.studies.summary import drawn_by_seeds, summarize_study
from layerlocal.spec import DataSpec, Recipe, RuleSpec, RunSpec

PLANTED = {"local": 0.60, "bp": 0.66, "bp-deepsup": 0.69, "ordinary": 0.65, "ordinary-2x": 0.67}
"""Objective +1 pp, extra supervision +3, price of locality −9: −5 in all; headroom 2."""


def plan_of(study, **more):
    return StudyPlan(study=study, size="quick", seeds=(0, 1, 2), controls=True, **more)


def flat(spec, seed, method):
    return PLANTED.get(method, 0.6) + 0.001 * seed


@pytest.mark.parametrize("study", sorted(set(STUDIES) - {"ablation"}))
def test_every_task_of_every_study_has_ordinary_bp_and_twice_the_steps_on_two_seeds(study):
    plan = plan_of(study)
    runs = plan_runs(find_study(study), plan)
    tasks = {key[:3] for key in runs}
    assert {key[:3] for key in runs if key[3] == "ordinary"} == tasks
    longer = {key for key in runs if key[3] == "ordinary-2x"}
    if study == "language":  # how long it is trained is what it asks
        assert not longer
        return
    assert {key[:3] for key in longer} == {task for task in tasks if task[1] in plan.seeds[:HEADROOM_SEEDS]}
    for rule, seed, position, _ in longer:
        usual, twice = (runs[rule, seed, position, name] for name in ("ordinary", "ordinary-2x"))
        assert usual.rule == twice.rule and (usual.rule.name, usual.rule.options["of"]) == ("bp", "local-heads")
        assert twice.recipe.count_steps(10) == 2 * usual.recipe.count_steps(10)
        assert usual.network == runs[rule, seed, position, "local"].network


def test_several_rules_share_the_runs_of_a_task():
    plan = plan_of("accuracy", rules=("local-heads", "class-goodness"), data=("fashion_mnist_subset",))
    runs = plan_runs(find_study("accuracy"), plan)
    assert len({spec.hash for key, spec in runs.items() if key[3] == "ordinary"}) == len(plan.seeds)


def test_settings_of_rules_are_none_of_ordinary_bps():
    settings = {"rule.temperature_max": 2.0, "recipe.epochs": 5, "network.width": 0.25}
    runs = plan_runs(find_study("depth"), plan_of("depth", settings=settings))
    for (*_, method), spec in runs.items():
        assert ("temperature_max" in spec.rule.options) == (method not in ("ordinary", "ordinary-2x"))
        assert spec.network.width == 0.25 and spec.recipe.epochs == (10 if method == "ordinary-2x" else 5)


@pytest.mark.parametrize(("network", "reads"), [("speedrun", ("max", 1)), ("vgg8", ("mean", 2))])
def test_ordinary_bp_reads_what_is_best_on_the_network_that_is_set(network, reads):
    plan = plan_of("accuracy", data=("fashion_mnist_subset",), settings={"network.name": network})
    found = {
        spec.rule.options["readout"]: spec
        for key, spec in plan_runs(find_study("accuracy"), plan).items()
        if "ordinary" in key[3]
    }
    assert [(name, spec.rule.options["grid"], spec.network.name) for name, spec in found.items()] == [(*reads, network)]


def test_the_three_terms_add_up_to_the_difference_to_ordinary_bp():
    plan = plan_of("accuracy", data=("fashion_mnist_subset",))
    for row in make_rows(find_study("accuracy"), plan, planted(plan, flat)):
        terms = [row[key] for key in ("objective", "extra_supervision", "price_of_locality")]
        assert terms == pytest.approx([0.01, 0.03, -0.09]) and row["total"] == pytest.approx(sum(terms))
        assert row.get("headroom") == (pytest.approx(0.02) if row["seed"] < HEADROOM_SEEDS else None)


def test_quantities_stand_beside_their_headroom():
    """Headroom 1 pp at 4 blocks, 2 at 8, 3 at 16: that of a slope over depth is 1 pp per doubling, whatever the slope is."""

    def deeper(spec, seed, method):
        more = {4: 0.01, 8: 0.02, 16: 0.03}[spec.network.options["depth"]]
        return 0.5 + (more if method == "ordinary-2x" else 0) + 0.001 * seed

    plan = plan_of("depth")
    own = summarize_study(plan, planted(plan, deeper)).quantities["class-goodness"]
    slopes = [of.headroom for name, of in own.items() if name.endswith("depth_slope") or "slope" in name]
    assert slopes and any(headroom == pytest.approx(0.01) for headroom in slopes)


def test_tables_show_the_terms_and_plans_without_controls_have_none():
    plan = plan_of("accuracy", data=("fashion_mnist_subset",))
    summary = summarize_study(plan, planted(plan, flat))
    assert {"ordinary", "total", "objective", "headroom"} <= {column.key for column in summary.tables[0].columns}
    own = summary.quantities["class-goodness"]
    assert own["objective/fashion_mnist_subset"].values == pytest.approx({"0": 0.01, "1": 0.01, "2": 0.01})
    assert own["headroom/fashion_mnist_subset"].values == pytest.approx({"0": 0.02, "1": 0.02})
    assert own["gap/fashion_mnist_subset"].headroom == pytest.approx(0.02)
    bare = plan.model_copy(update={"controls": False})
    before = summarize_study(bare, planted(bare, flat))
    assert not {"ordinary", "objective"} & {column.key for column in before.tables[0].columns}
    assert before.quantities["class-goodness"]["gap/fashion_mnist_subset"].headroom is None


@pytest.mark.parametrize(("recipe", "steps"), [(Recipe(epochs=3), 60), (Recipe(epochs=1, steps=7), 14)])
def test_doubled_is_twice_as_long_and_nothing_else(recipe, steps):
    spec = RunSpec(recipe=recipe, rule=RuleSpec(name="bp"))
    twice = doubled(spec)
    assert twice.recipe.count_steps(10) == steps
    same = recipe.model_copy(update={"epochs": twice.recipe.epochs, "steps": twice.recipe.steps})
    assert twice == spec.model_copy(update={"recipe": same})


def test_a_summary_says_what_a_seed_draws():
    whole = [RunSpec(data=DataSpec(source="cifar10"), seed=seed) for seed in range(3)]
    drawn = [RunSpec(data=DataSpec(source="cifar10", num_train=500, seed=seed), seed=seed) for seed in range(3)]
    synthetic = [RunSpec(data=DataSpec(source="teacher_student", classes=4, seed=seed), seed=seed) for seed in range(3)]
    assert "the same for all seeds" in drawn_by_seeds(whole)
    assert "which images" in drawn_by_seeds(drawn) and "teacher" not in drawn_by_seeds(drawn)
    assert drawn_by_seeds(synthetic).endswith("and the teacher.")
