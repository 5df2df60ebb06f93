"""Studies: which runs they plan, and what they say of planted rows; no training here."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import MappingProxyType

import pytest

from layerlocal.experiments.reading import read_summary
from layerlocal.experiments.studies import STUDIES, find_study
from layerlocal.experiments.studies.axis import AxisStudy, Each, Finding
from layerlocal.experiments.studies.base import (
    SIZES,
    StudyPlan,
    by_seed,
    estimates,
    group_rows,
    make_rows,
    plan_runs,
    plotted,
    quantity,
    twins_of_rule,
    whole_seeds,
)
from layerlocal.experiments.studies.effects import (
    chosen,
    contrast,
    doublings,
    effects_by_seed,
    explained,
    factorial_effects,
    mean,
    minus,
    ratio_of_means,
    slope,
    slopes,
    subsets,
)
from layerlocal.experiments.studies.parts import STANDS, fusion_sentence
from layerlocal.experiments.studies.scale import scale_of
from layerlocal.experiments.studies.summary import summarize_study
from layerlocal.experiments.studies.views import Along, Marks
from layerlocal.experiments.studies.widths import fitting_widths
from layerlocal.runs.store import RunRecord
from layerlocal.spec import RunSpec
from layerlocal.summary import Axis, Quantity
from layerlocal.types import InputError

RESULTS = Path(__file__).parents[2] / "results"
ENV = {"layerlocal": "0", "threads": 1}


def plan_of(name, **options):
    return StudyPlan(study=name, **options)


def classes_of(spec):
    """How many classes a task has, told without loading it."""
    data = spec.data
    if data.compose:
        return 100 if data.compose == "side" else 25
    if data.source == "python_library":
        return 256
    if data.draw == "superclasses":
        return 20
    if data.classes is not None:
        return data.classes if isinstance(data.classes, int) else len(data.classes)
    return 100 if data.source in ("cifar100", "caltech101_224") else 10


def separability(spec, seed):
    teacher = spec.data.teacher or {}
    dial = 0.1 * teacher.get("similarity", 0) + 0.05 * teacher.get("noise", 0)
    return 0.9 - 0.2 * (spec.data.draw == "within") - 0.001 * seed - dial


def planted(plan, accuracy):
    """Finished records of every run of a plan whose accuracy is ``accuracy(spec, seed, role)``; planted, not measured."""
    records = {}
    for (_, seed, _, method), spec in plan_runs(find_study(plan.study), plan).items():
        value = accuracy(spec, seed, method)
        depth = int(spec.network.options.get("depth", 4))
        of_text = {"test_nats": 3 - value, "block_nats": {f"block{i}": 3.1 - value - 0.01 * i for i in range(depth)}}
        groups = {"seen": value, "unseen": value - 0.1} if spec.data.compose else {}
        result = {
            "test_accuracy": value,
            "validation_accuracy": value,
            "block_accuracies": {f"block{i}": value - 0.01 * (depth - 1 - i) for i in range(depth)},
            "group_accuracies": groups,
            **(of_text if spec.data.context else {}),
            "num_classes": classes_of(spec),
            "chance": 1 / classes_of(spec),
            "data": {"name": spec.data.source, "separability": separability(spec, seed), "provenance": {"checksum": "x"}},
        }  # fmt: skip
        records[spec.hash] = RunRecord(spec.hash, spec, ENV, result)
    return records


def flat(spec, seed, method):
    """Local 2 pp below both twins, whatever the task; a little different each seed."""
    return 0.5 + 0.01 * seed - (0.02 if method == "local" else 0.0)


def test_the_fifteen_studies_are_there():
    assert list(STUDIES) == [
        "accuracy", "best", "equal-time", "equal-cost", "classes", "hierarchy", "depth", "length", "scaling", "resolution", "composition",
        "hybrid", "calibration", "ablation", "language",
    ]  # fmt: skip


def test_an_unknown_study_lists_the_known_ones():
    with pytest.raises(InputError, match=r"unknown study .clases..*classes"):
        find_study("clases")


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("size", SIZES)
def test_every_plan_is_valid_and_twins_are_exact(name, size):
    """The rule and its twins differ in the rule alone: same task, network, recipe and seed."""
    plan = plan_of(name, size=size, seeds=(0, 1))
    specs = plan_runs(find_study(name), plan)
    trios = {}
    for (rule, seed, position, method), spec in specs.items():
        assert RunSpec.parse(json.loads(spec.model_dump_json())) == spec
        assert spec.seed == seed
        trios.setdefault((rule, seed, position), {})[method] = spec
    for trio in trios.values():
        assert len({spec.model_dump_json(exclude={"rule"}) for spec in trio.values()}) == 1
        if name == "equal-cost":  # the rule beside ordinary BP alone
            assert {spec.rule.options["of"] for method, spec in trio.items() if method != "local"} == {"local-heads"}
            continue
        if name == "language":  # of one readout, so that nothing is fused
            trio["bp"] = trio["bp"].model_copy(
                update={
                    "rule": trio["bp"].rule.model_copy(update={"options": trio["bp"].rule.options | {"fusion": "last"}})
                }
            )
        assert trio["bp"].rule.options == {"of": "class-goodness", **trio["local"].rule.options}
        assert trio["bp-deepsup"].rule.options == trio["bp"].rule.options


@pytest.mark.parametrize("name", STUDIES)
def test_every_seed_has_the_same_axes(name):
    study, plan = find_study(name), plan_of(name)
    axes = [[cell.at for cell in study.cells(plan, "class-goodness", seed)] for seed in (0, 1, 2)]
    assert axes[0] == axes[1] == axes[2]


@pytest.mark.parametrize("name", STUDIES)
def test_a_larger_size_is_no_less_work(name):
    def work(size):
        specs = plan_runs(find_study(name), plan_of(name, size=size)).values()
        return sum(spec.recipe.epochs * (spec.data.num_train or 50_000) * spec.network.width for spec in specs)

    assert work("quick") < work("medium") < work("standard") < work("full")


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_without_rows_says_nothing_and_makes_up_nothing(name):
    found = summarize_study(plan_of(name), {})
    assert (found.finished, found.rows, found.figures, found.tables, found.sentences) == (0, (), (), (), ())
    assert not any(found.quantities.values())
    [entry] = found.missing
    assert found.planned == entry.runs > 0 and entry.reason == "not run yet"
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("name", STUDIES)
def test_planted_rows_give_the_planted_gap_everywhere(name):
    """Every gap quantity of a flat plant is −2 pp, every contrast and slope 0; the summary is strict JSON."""
    plan = plan_of(name)
    found = summarize_study(plan, planted(plan, flat))
    assert found.finished == found.planned > 0 and found.missing == ()
    json.dumps(found.to_dict(), allow_nan=False)
    for key, of in found.quantities["class-goodness"].items():
        assert set(of.values) == {"0", "1", "2"}, key
        for value in of.values.values():
            if key.startswith(("gap/", "price_of_locality/")):
                assert value == pytest.approx(-0.02), key
            elif key.startswith("extra_supervision/") or "slope" in key or "minus" in key or "difficulty" in key:
                varies = key == "modules_slope" or key.startswith("corrected_gap")
                assert varies or value == pytest.approx(0, abs=1e-9), key
            elif key.startswith("recovery/"):
                assert value == pytest.approx(1), key  # hybrids were planted at BP's accuracy
            elif key.startswith(("gain/", "gain_last/")):
                assert value == pytest.approx(0.02), key
            elif key.startswith("error"):
                assert value == pytest.approx(0, abs=1e-9), key


def test_quantities_that_our_claims_name_are_there():
    from layerlocal.claims import load_claims

    claims = [claim for claim in load_claims(known_studies=[*STUDIES, "cost"]).claims if claim.study in STUDIES]
    assert claims
    for claim in claims:
        plan = plan_of(claim.study)
        if claim.trained:
            plan = plan.model_copy(update={"size": "standard", "controls": True})
        if claim.family == "small":
            plan = plan.model_copy(update={"data": ("cifar10_unopened",)})
        found = summarize_study(plan, planted(plan, flat))
        assert claim.quantity in found.quantities["class-goodness"], claim.id


def test_a_planted_slope_over_classes_comes_out():
    """Gap −1 pp per doubling of K on real subsets, +2 pp on teacher-student data."""

    def accuracy(spec, seed, method):
        doublings_of_k = math.log2(classes_of(spec))
        slope = 0.02 if spec.data.source == "teacher_student" else -0.01
        return 0.6 + 0.003 * seed + (slope * doublings_of_k if method == "local" else 0)

    plan = plan_of("classes")
    found = summarize_study(plan, planted(plan, accuracy)).quantities["class-goodness"]
    for arm, planted_slope in (
        ("synthetic", 0.02),
        ("synthetic_per_class", 0.02),
        ("subsets_total", -0.01),
        ("subsets_per_class", -0.01),
    ):
        assert found[f"gap_slope/{arm}"].values["1"] == pytest.approx(planted_slope)
        assert found[f"extra_slope/{arm}"].values["1"] == pytest.approx(0, abs=1e-12)
        assert found[f"price_slope/{arm}"].values["1"] == pytest.approx(planted_slope)
    assert found["slope_difference"].values["0"] == pytest.approx(0.03)
    assert found["dimension_effect"].values["2"] == pytest.approx(-0.01)
    assert found["separability_effect"].values["2"] == pytest.approx(0, abs=1e-9)


def test_a_planted_effect_of_difficulty_is_told_from_that_of_dimension():
    """The gap is planted as 10 × (separability − 0.9): 2 pp... per 10 pp of separability and nothing per doubling of K."""

    def accuracy(spec, seed, method):
        return 0.5 + (0.2 * (separability(spec, seed) - 0.9) if method == "local" else 0)

    plan = plan_of("classes")
    found = summarize_study(plan, planted(plan, accuracy)).quantities["class-goodness"]
    assert found["difficulty_gap/real"].values["0"] == pytest.approx(0.2 * -0.2)
    assert found["separability_effect"].values["0"] == pytest.approx(0.02)
    assert found["dimension_effect"].values["0"] == pytest.approx(0, abs=1e-9)


def test_accuracy_corrected_for_chance_stands_beside_the_raw_one():
    plan = plan_of("classes", seeds=(0,))
    found = summarize_study(plan, planted(plan, lambda spec, seed, method: 0.6 if method == "local" else 0.7))
    table = next(table for table in found.tables if "sweep" in table.caption)
    row = next(row for row in table.rows if row["classes"] == 2)
    assert row["local"]["mean"] == pytest.approx(0.6) and row["local_corrected"]["mean"] == pytest.approx(0.2)
    assert row["corrected_gap"]["mean"] == pytest.approx(-0.2)  # (0.6 − 0.5)/0.5 − (0.7 − 0.5)/0.5


def test_beside_controls_corrected_accuracies_have_a_table_of_their_own():
    tables = []
    for controls in (False, True):
        plan = plan_of("classes", seeds=(0, 1), controls=controls)
        found = summarize_study(plan, planted(plan, flat)).tables
        tables.append({table.caption: {column.key for column in table.columns} for table in found})
    corrected = {"local_corrected", "bp_corrected", "corrected_gap"}
    before, beside = tables
    assert corrected < before["The sweep over K"] and "ordinary" not in before["The sweep over K"]
    assert beside["The sweep over K"] >= {"arm", "classes", "local", "gap", "ordinary", "headroom"}
    assert not corrected & beside["The sweep over K"]
    assert beside["The sweep over K, corrected for chance"] == {"arm", "classes", *corrected}


def test_the_two_variants_of_a_class_sweep_hold_what_they_say():
    specs = plan_runs(find_study("classes"), plan_of("classes", seeds=(0,)))
    cells = find_study("classes").cells(plan_of("classes"), "class-goodness", 0)
    for arm, fixed in (
        ("subsets_total", "total"),
        ("subsets_per_class", "each"),
        ("synthetic", "total"),
        ("synthetic_per_class", "each"),
    ):
        chosen = [cell for cell in cells if cell.at["arm"] == arm]
        totals = {cell.data.num_train for cell in chosen}
        each = {cell.data.num_train // cell.at["classes"] for cell in chosen}
        assert len(totals if fixed == "total" else each) == 1, arm
        assert len(each if fixed == "total" else totals) == len(chosen), arm
    assert specs


def steps_of(cell):
    kept = cell.data.num_train - round(0.1 * cell.data.num_train)
    return cell.recipe.steps or cell.recipe.epochs * (kept // cell.recipe.batch_size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["classes", "hierarchy"])
def test_tasks_of_different_size_are_trained_for_exactly_as_many_steps(name, size):
    cells = find_study(name).cells(plan_of(name, size=size), "class-goodness", 0)
    for source in ("cifar100", "teacher_student"):
        steps = {steps_of(cell) for cell in cells if cell.data.source == source}
        assert len(steps) <= 1, (source, steps)


@pytest.mark.parametrize("size", SIZES)
def test_fixed_total_is_fixed_and_fixed_a_class_is_fixed_at_every_size(size):
    cells = find_study("classes").cells(plan_of("classes", size=size), "class-goodness", 0)
    of = {arm: [cell for cell in cells if cell.at["arm"] == arm] for arm in ("subsets_total", "subsets_per_class")}
    assert len({cell.data.num_train for cell in of["subsets_total"]}) == 1
    assert len({cell.data.num_train / cell.at["classes"] for cell in of["subsets_per_class"]}) == 1
    assert all(cell.data.num_train <= 500 * cell.at["classes"] for cell in cells if cell.data.source == "cifar100")


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_mirrored_that_would_become_another_label(size):
    for cell in find_study("composition").cells(plan_of("composition", size=size), "class-goodness", 0):
        assert not cell.recipe.flip
    for cell in find_study("accuracy").cells(plan_of("accuracy", size=size), "class-goodness", 0):
        assert not cell.recipe.flip or cell.data.source not in ("mnist", "kmnist", "svhn")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["accuracy", "calibration", "composition"])
def test_no_task_asks_for_more_images_than_its_data_set_has(name, size):
    known = {
        "fashion_mnist_subset": (10_000, 2_000),
        "stl10": (5_000, 8_000),
        "cifar100": (50_000, 10_000),
        "imagenet100": (10**9, 5_000),
    }
    for cell in find_study(name).cells(plan_of(name, size=size), "class-goodness", 0):
        train, test = known.get(cell.data.source, (10**9, 10**9))
        share = cell.data.classes / 100 if cell.data.source == "cifar100" and cell.data.classes else 1
        assert cell.data.num_train <= train * share and cell.data.num_test <= test * share


@pytest.mark.parametrize(
    ("rule", "widths"), [("cwcomp", (0.625, 0.5)), ("deeperforward", (0.625, 0.5)), ("class-goodness", (0.5, 0.5))]
)
def test_rules_that_deal_channels_to_classes_get_the_nearest_width_at_which_they_can(rule, widths):
    """cnn4 has 32, 64, 128 channels: at 0.625 20, 40, 80, ten classes; 100 classes want 100 channels, too many more than 16."""
    plan = plan_of("accuracy", rules=(rule,))
    plan = plan.model_copy(update={"widths": fitting_widths(plan, find_study("accuracy").widened(plan))})
    own = summarize_study(plan, planted(plan, flat)).quantities[rule]
    for name, width in zip(("cifar10", "cifar100"), widths, strict=True):
        assert own[f"accuracy/{name}"].protocol == f"cnn4 at width {width:g}, 2,500 images, 3 epochs"
    cells = find_study("accuracy").cells(plan, rule, 0)
    found = {cell.data.source: cell.network.width for cell in cells}
    assert (found["cifar10"], found["cifar100"]) == widths


@pytest.mark.parametrize("name", STUDIES)
def test_data_are_drawn_anew_for_every_seed(name):
    study, plan = find_study(name), plan_of(name)
    draws = [{cell.data.model_dump_json() for cell in study.cells(plan, "class-goodness", seed)} for seed in (0, 1)]
    assert not draws[0] & draws[1]


def test_a_seed_with_half_a_grid_takes_no_part():
    plan = plan_of("classes", seeds=(0, 1))
    records = planted(plan, flat)
    gone = next(name for name, record in records.items() if record.spec.seed == 1 and record.spec.data.classes == 100)
    del records[gone]
    found = summarize_study(plan, records)
    assert {row["seed"] for row in found.rows} == {0, 1}
    assert all(set(of.values) == {"0"} for of in found.quantities["class-goodness"].values())
    assert any("Seeds 1 are not finished" in note for note in found.notes)


def test_the_labellings_of_hierarchy_share_their_images():
    cells = {
        cell.at["labels"]: cell for cell in find_study("hierarchy").cells(plan_of("hierarchy"), "class-goodness", 1)
    }
    tasks = [cells[name].data for name in ("fine", "coarse", "random_groups")]
    assert len({(task.source, task.num_train, task.num_test, task.seed) for task in tasks}) == 1
    assert [task.draw for task in tasks] == ["any", "superclasses", "groups"] and tasks[2].classes == 20


def test_hierarchy_visits_other_superclasses_with_other_seeds():
    found = [
        cell.data.superclass
        for seed in (0, 1, 2)
        for cell in find_study("hierarchy").cells(plan_of("hierarchy"), "class-goodness", seed)
        if cell.at["labels"] == "within"
    ]
    assert len(set(found)) == len(found) == 9


def test_depth_and_modules_are_two_axes():
    specs = plan_runs(find_study("depth"), plan_of("depth", seeds=(0,)))
    at_16 = {method: spec.rule for (*_, method), spec in specs.items() if spec.network.options["depth"] == 16}
    assert at_16.keys() == {
        "local",
        "bp",
        "bp-deepsup",
        *(f"{kind}-{m}" for kind in ("modules", "deepsup") for m in (2, 4, 8)),
    }
    for modules in (2, 4, 8):
        segmented, twin = at_16[f"modules-{modules}"], at_16[f"deepsup-{modules}"]
        assert (segmented.name, twin.name) == ("segmented", "bp-deepsup")
        assert segmented.options == twin.options and segmented.options["segment_size"] == 16 // modules


def test_a_planted_price_of_modules_comes_out():
    """−1 pp per doubling of the module count at every depth; nothing from depth itself at one count."""

    def accuracy(spec, seed, method):
        depth = spec.network.options["depth"]
        modules = {"bp": 1, "bp-deepsup": 1, "local": depth}.get(method)
        modules = modules or (int(method.split("-")[1]) if method.startswith("modules") else 1)
        return 0.7 - 0.01 * math.log2(modules) + 0.002 * seed

    plan = plan_of("depth")
    found = summarize_study(plan, planted(plan, accuracy))
    own = found.quantities["class-goodness"]
    assert own["modules_slope"].values["0"] == pytest.approx(-0.01)
    assert own["depth_slope"].values["0"] == pytest.approx(-0.01)  # one module a block: depth is the module count
    heat = next(figure for figure in found.figures if figure.kind == "heat")
    cells = {(point.y, point.x): point.z["mean"] for point in heat.series[0].points}
    assert cells["16", "4"] == pytest.approx(-0.02) and cells["4", "1"] == 0


def test_recovery_is_the_share_of_the_gap_that_comes_back():
    plan = plan_of("hybrid")

    def accuracy(spec, seed, method):
        return {"local": 0.6, "bp": 0.7, "bp-deepsup": 0.72, "segments-2": 0.65, "feedback": 0.58}.get(
            method, 0.61
        ) + 0.001 * seed

    own = summarize_study(plan, planted(plan, accuracy)).quantities["class-goodness"]
    assert own["recovery/segments-2"].values["0"] == pytest.approx(0.5)
    assert own["price_recovery/segments-2"].values["0"] == pytest.approx(0.05 / 0.12)
    assert own["recovery/feedback"].values["1"] == pytest.approx(-0.2)
    assert own["gain/bp-every-8"].values["2"] == pytest.approx(0.01)


def test_no_gap_no_recovery_and_the_study_says_so():
    plan = plan_of("hybrid")
    found = summarize_study(plan, planted(plan, lambda spec, seed, method: 0.6 if method == "bp" else 0.61))
    own = {name: of for name, of in found.quantities["class-goodness"].items() if name.startswith("recovery/")}
    assert own and not any(of.values for of in own.values())
    assert {of.reason for of in own.values()} == {
        "BP is below the local rule here (−1.0 pp [−1.0, −1.0], n=3), so there is nothing to recover"
    }
    assert f"class-goodness: {next(iter(own.values())).reason}." in found.sentences


def test_no_share_is_given_of_a_gap_that_seeds_cannot_tell_from_zero():
    plan = plan_of("hybrid")
    leads = {0: 0.01, 1: 0.09, 2: 0.05}  # mean 5 pp, t interval of three seeds [-4.9, +14.9]
    found = summarize_study(
        plan, planted(plan, lambda spec, seed, method: 0.6 + (leads[seed] if method in ("bp", "bp-deepsup") else 0.0))
    )
    own = {name: of for name, of in found.quantities["class-goodness"].items() if "recovery/" in name}
    assert own and not any(of.values for of in own.values())
    assert all("not told apart, by 3 seeds, from the local rule" in of.reason for of in own.values())
    assert {f"class-goodness: {of.reason}." for of in own.values()} <= {*found.sentences}


def test_composition_tells_seen_from_unseen():
    plan = plan_of("composition")
    records = planted(plan, lambda spec, seed, method: 0.6 - (0.05 if method == "local" else 0))
    for record in records.values():
        if record.spec.rule.name == "class-goodness":
            record.result["group_accuracies"] = {"seen": 0.5, "unseen": 0.2}
        else:
            record.result["group_accuracies"] = {"seen": 0.6, "unseen": 0.4}
    own = summarize_study(plan, records).quantities["class-goodness"]
    assert own["gap/seen"].values["0"] == pytest.approx(-0.1)
    assert own["gap/unseen"].values["0"] == pytest.approx(-0.2)
    assert own["unseen_minus_seen"].values["0"] == pytest.approx(-0.1)


def test_calibration_predicts_what_follows_separability_and_the_k_sweep_does_not():
    """Synthetic and real gaps are both planted as −0.1 × (1 − separability), real ones 1 pp lower."""
    plan = plan_of("calibration")

    def told(spec):
        dial = (spec.data.teacher or {}).get("similarity", 0) + (spec.data.teacher or {}).get("noise", 0)
        return (
            0.9 - 0.1 * dial
            if spec.data.teacher
            else {"fashion_mnist_subset": 0.95, "cifar10": 0.8, "cifar100": 0.7}[spec.data.source]
        )

    def accuracy(spec, seed, method):
        gap = -0.1 * (1 - told(spec)) - (0 if spec.data.teacher else 0.01)
        return 0.5 + (gap if method == "local" else 0)

    records = planted(plan, accuracy)
    for record in records.values():
        record.result["data"]["separability"] = told(record.spec)
    own = summarize_study(plan, records).quantities["class-goodness"]
    assert own["error/calibrated"].values["0"] == pytest.approx(0, abs=1e-9)
    assert own["error/k_sweep"].values["0"] > 0.005
    assert own["error_reduction"].values["0"] == pytest.approx(own["error/k_sweep"].values["0"])


def test_a_data_sets_own_gap_takes_no_part_in_its_prediction():
    plan = plan_of("calibration")

    def predicted(cifar10_gap):
        records = planted(
            plan,
            lambda spec, seed, method: 0.5 + (cifar10_gap if (spec.data.source, method) == ("cifar10", "local") else 0),
        )
        [table] = summarize_study(plan, records).tables
        return {row["task"]: row["calibrated"]["mean"] for row in table.rows}

    low, high = predicted(-0.1), predicted(0.1)
    assert low["CIFAR-10"] == pytest.approx(high["CIFAR-10"])
    assert low["Fashion-MNIST"] < high["Fashion-MNIST"]


def test_planted_effects_of_the_parts_of_dtg_ff_come_out():
    """Planted: 0.5 + 0.03 T + 0.01 R + 0.02 T·R − 0.04 N, R a random projection; 0.05 by the classifier, 0.02 more shared, 0.01 in the twin."""

    def accuracy(spec, seed, method):
        options = spec.rule.options
        t, n = options.get("learned_temperature", True), options.get("layer_norm", True)
        r = options.get("projection", "random") == "random"
        fixed = {0.25: 0.01, 0.5: 0.02, 2.0: -0.02}.get(options.get("temperature_min"), 0.0)
        value = 0.5 + 0.03 * t + 0.01 * r + 0.02 * (t and r) - 0.04 * n - fixed + 0.001 * seed
        classifier = 0.01 if spec.rule.name == "bp-deepsup" else 0.05
        return value - classifier * (options.get("fusion") == "uniform") + 0.02 * (spec.rule.name == "dtg-ff-shared")

    plan = plan_of("ablation", rules=("dtg-ff",), data=("cifar10",))
    found = summarize_study(plan, planted(plan, accuracy))
    own = {key: list(of.values.values()) for key, of in found.quantities["dtg-ff"].items()}
    expected = {
        "effect/temperature": 0.04, "effect/projection": 0.02, "effect/normalization": -0.04, "effect/temperature+projection": 0.01,
        "effect/temperature+normalization": 0, "effect/projection+normalization": 0, "effect/temperature+projection+normalization": 0,
        "learned_against_fixed": -0.02, "shared_classifier": 0.02, "stopped_classifier": 0.05, "classifier_of_deepsup": 0.01,
    }  # fmt: skip
    assert own == {f"{key}/cifar10": pytest.approx([value] * 3, abs=1e-9) for key, value in expected.items()}
    said = " ".join(found.sentences)
    assert "fixed at 2, the best on validation data" in said and "no gain is shown of LayerNorm onward (" in said
    assert [figure.name for figure in found.figures] == ["ablation-effects"]


def test_the_ablation_of_dtg_ff_trains_every_combination_once_and_the_classifier_at_the_whole_rule():
    """8 combinations, both twins, 3 fixed temperatures; the shared classifier, none, and none of BP-DeepSup."""
    assert find_study("ablation").usual == ("dtg-ff",)
    specs = plan_runs(
        find_study("ablation"), plan_of("ablation", rules=("dtg-ff",), data=("cifar10",), seeds=(0,))
    ).values()
    assert len({spec.hash for spec in specs}) == len(specs) == 8 + 2 + 3 + 3
    parts = ("learned_temperature", "projection", "layer_norm")
    off = [
        {part for part in parts if part in spec.rule.options}
        for spec in specs
        if spec.rule.name == "dtg-ff"
        and "fusion" not in spec.rule.options
        and "temperature_min" not in spec.rule.options
    ]
    assert len(off) == 8 and len({frozenset(each) for each in off}) == 8
    accuracy = plan_runs(
        find_study("accuracy"), plan_of("accuracy", rules=("dtg-ff-shared",), twins_of={"dtg-ff-shared": "dtg-ff"})
    )
    shared = [spec.hash for spec in specs if spec.rule.name == "dtg-ff-shared"]
    assert set(shared) <= {spec.hash for spec in accuracy.values()}


def test_two_rules_taken_apart_have_tables_and_figures_of_their_own():
    both = ("dtg-ff", "class-goodness")
    plan = plan_of("ablation", rules=both, data=("cifar10",))
    found = summarize_study(plan, planted(plan, lambda spec, seed, _: 0.5 + 0.01 * seed))
    assert [table.caption for table in found.tables[::2]] == [f"What each part of {rule} brings" for rule in both]
    assert [len(table.rows) for table in found.tables] == [11, 1, 10, 1]
    assert [figure.name for figure in found.figures] == [f"ablation-effects-{rule}" for rule in both]


def test_planted_effects_and_interactions_of_the_parts_come_out():
    """Planted: 0.5 + 0.03 T + 0.01 N + 0.02 T·N, and 0.04 more with fusion. Effects T 0.04, N 0.02, F 0.04, T·N 0.01, the others 0."""

    def accuracy(spec, seed, method):
        options = spec.rule.options
        t, n = options.get("dynamic_temperature", True), options.get("decoupled_norm", True)
        fixed = {0.25: 0.01, 0.5: 0.02, 2.0: -0.05}.get(options.get("temperature_min"), 0.0)
        return 0.5 + 0.03 * t + 0.01 * n + 0.02 * (t and n) - fixed + 0.001 * seed - 0.03 * (method == "best block")

    plan = plan_of("ablation", data=("cifar10",))
    records = planted(plan, accuracy)
    for record in records.values():
        blocks = record.result["block_accuracies"]
        blocks["block3"] = record.result["test_accuracy"] - 0.04
    found = summarize_study(plan, records)
    own = {key: list(of.values.values()) for key, of in found.quantities["class-goodness"].items()}
    expected = {
        "effect/temperature": 0.04, "effect/normalization": 0.02, "effect/fusion": 0.04, "effect/temperature+normalization": 0.01,
        "effect/temperature+fusion": 0, "effect/normalization+fusion": 0, "effect/temperature+normalization+fusion": 0,
        "dynamic_against_fixed": -0.05, "fusion_against_best_block": 0.03, "fusion_of_deepsup": 0.04,
    }  # fmt: skip
    assert own == {f"{key}/cifar10": pytest.approx([value] * 3, abs=1e-9) for key, value in expected.items()}
    assert "fixed at 2, the best on validation data" in " ".join(found.sentences)
    assert not any("no gain is shown" in text for text in found.sentences)


def test_a_part_that_brings_nothing_is_said_to():
    plan = plan_of("ablation", data=("cifar10",))
    found = summarize_study(plan, planted(plan, lambda spec, seed, _: 0.5 + 0.01 * seed))
    assert any(
        "no gain is shown of dynamic temperature, decoupled normalization, multi-layer fusion" in text
        for text in found.sentences
    )


def test_a_row_needs_every_method_of_its_cell():
    plan = plan_of("depth", seeds=(0,))
    records = planted(plan, flat)
    gone = next(
        name
        for name, record in records.items()
        if record.spec.rule.name == "segmented" and record.spec.network.options["depth"] == 16
    )
    del records[gone]
    rows = make_rows(find_study("depth"), plan, records)
    assert [row["depth"] for row in rows] == [4, 8]
    assert "modules_slope" not in summarize_study(plan, records).quantities["class-goodness"]
    found = summarize_study(plan, records, reasons={gone: "it broke"})
    assert [entry.reason for entry in found.missing] == ["it broke"]


def test_differences_are_paired_and_add_up():
    plan = plan_of("accuracy", data=("cifar10",))
    rows = make_rows(
        find_study("accuracy"),
        plan,
        planted(plan, lambda spec, seed, method: {"local": 0.5, "bp": 0.6, "bp-deepsup": 0.63}[method]),
    )
    for row in rows:
        assert row["gap"] == pytest.approx(-0.1) and row["extra_supervision"] == pytest.approx(0.03)
        assert row["gap"] == pytest.approx(row["extra_supervision"] + row["price_of_locality"])


def test_runs_on_two_copies_of_one_set_are_reported():
    plan = plan_of("accuracy", data=("cifar10",))
    records = planted(plan, flat)
    next(iter(records.values())).result["data"]["provenance"] = {"checksum": "another"}
    assert any("2 different copies" in note for note in summarize_study(plan, records).notes)


def test_a_rule_without_readouts_of_its_own_gets_twins_of_another():
    plan = plan_of(
        "accuracy", rules=("mine.py:Mine",), twins_of={"mine.py:Mine": "local-heads"}, sources={"mine.py:Mine": "abc"}
    )
    found = twins_of_rule(plan, "mine.py:Mine", grid=4)
    assert found["local"].options == {} and found["local"].source_sha256 == "abc"
    assert found["bp"].options == {"of": "local-heads", "grid": 4} and found["bp"].source_sha256 is None


@pytest.mark.parametrize("name", [name for name in STUDIES if name not in ("composition", "ablation")])
def test_two_forms_of_a_rule_share_their_twins_and_every_hybrid(name):
    """The same hash for both, so that each is trained once; the two rules themselves have runs of their own, with the same options."""
    both = ("dtg-ff", "dtg-ff-shared")
    plan = plan_of(name, rules=both, twins_of={"dtg-ff-shared": "dtg-ff"}, seeds=(0,))
    one, other = (
        {key[1:]: spec for key, spec in plan_runs(find_study(name), plan).items() if key[0] == rule} for rule in both
    )
    assert one.keys() == other.keys() and any(key[-1] == "local" for key in one)
    for key, spec in one.items():
        if key[-1] == "local":
            assert (spec.rule.name, other[key].rule.name) == both and spec.rule.options == other[key].rule.options
        else:
            of = "local-heads" if key[-1].startswith("ordinary") else "dtg-ff"
            assert spec.hash == other[key].hash and spec.rule.options["of"] == of


# --- what is published, and what is declared ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(RESULTS.glob("study-*.json")), ids=lambda path: path.stem)
def test_rows_that_are_published_are_concluded_as_they_were(path):
    published = read_summary(path, damaged=lambda path, reason: AssertionError(reason))
    plan = StudyPlan.model_validate(published.plan)
    found = find_study(plan.study).conclude(plan, whole_seeds(published.rows))
    for rule, quantities in published.quantities.items():
        assert found.quantities[rule].keys() == quantities.keys()
        for name, of in quantities.items():
            today = found.quantities[rule][name]
            assert (today.what, today.unit, today.reason, today.protocol) == (of.what, of.unit, of.reason, of.protocol)
            assert today.values == pytest.approx(of.values, rel=1e-9, abs=1e-12), name
    assert len(found.sentences) == len(published.sentences) and set(found.notes) <= set(published.notes)
    for table, before in zip(found.tables, published.tables, strict=True):
        assert (table.caption, table.columns) == (before.caption, before.columns)
        shown = {column.key for column in table.columns}
        words = [
            [{key: v for key, v in row.items() if key in shown and isinstance(v, str | int)} for row in of.rows]
            for of in (table, before)
        ]
        assert words[0] == words[1]
    for figure, before in zip(found.figures, published.figures, strict=True):
        assert figure.model_copy(update={"series": ()}) == before.model_copy(update={"series": ()})
        shapes = [
            [(line.name, line.panel, [p.x for p in line.points if isinstance(p.x, str | int)]) for line in of.series]
            for of in (figure, before)
        ]
        assert shapes[0] == shapes[1]


class Sizes(AxisStudy):
    """PLANTED: the whole declaration of a study of one axis; nothing is trained."""

    name, title, question = "sizes", "Sizes", "Does the gap follow the size?"
    axis = Along("size", "size, cm", {2: "2 cm", 4: "4 cm", 8: "8 cm"}, "log2", head="size")
    differences = (Each("gap", "local − BP at {at}"),)
    measured = (
        Finding("slope", "gap per doubling", slope("gap", "size"), said="{rule}: {what}: {found}, {large_minus_small}"),
        Finding(
            "large_minus_small", "price", minus(mean("price_of_locality", size=8), mean("price_of_locality", size=2))
        ),
    )
    largest = MappingProxyType({"price_of_locality": "{rule}: the price is least at {at}, {price_of_locality}."})
    said = (f"{{rule}}, {STANDS}",)
    table, figure = "At each size", "Against the size"

    def cells(self, plan, rule, seed):
        return []


def size_row(seed, size):
    """The gap is −2 pp at 2 cm and falls by 1 pp a doubling; half of it is the price."""
    gap = -0.01 * (1 + math.log2(size))
    accuracies = {"local": 0.6 + gap + 0.01 * seed, "bp": 0.6 + 0.01 * seed, "bp-deepsup": 0.6 + gap / 2 + 0.01 * seed}
    differences = {"gap": gap, "extra_supervision": gap / 2, "price_of_locality": gap / 2}
    blocks = {method: {"block0": value} for method, value in accuracies.items()}
    return {"rule": "mine", "seed": seed, "size": size, **accuracies, **differences, "blocks": blocks}


def test_a_declared_study_says_what_its_axis_brings():
    found = Sizes().conclude(plan_of("sizes"), [size_row(seed, size) for seed in (0, 1) for size in (2, 4, 8)])
    own = {name: list(of.values.values()) for name, of in found.quantities["mine"].items()}
    assert own == {
        "gap/2": pytest.approx([-0.02] * 2), "gap/4": pytest.approx([-0.03] * 2), "gap/8": pytest.approx([-0.04] * 2),
        "slope": pytest.approx([-0.01] * 2), "large_minus_small": pytest.approx([-0.01] * 2),
    }  # fmt: skip
    assert found.quantities["mine"]["gap/4"].what == "local − BP at 4 cm"
    assert found.sentences == [
        "mine: gap per doubling: −1.0 pp [−1.0, −1.0], n=2, −1.0 pp [−1.0, −1.0], n=2",
        "mine: the price is least at 2 cm, −1.0 pp [−1.0, −1.0], n=2.",
        "mine, 2 cm: below BP (−2.0 pp [−2.0, −2.0], n=2); price of locality −1.0 pp [−1.0, −1.0], n=2.",
        "mine, 4 cm: below BP (−3.0 pp [−3.0, −3.0], n=2); price of locality −1.5 pp [−1.5, −1.5], n=2.",
        "mine, 8 cm: below BP (−4.0 pp [−4.0, −4.0], n=2); price of locality −2.0 pp [−2.0, −2.0], n=2.",
    ]
    [table], [gaps, blocks] = found.tables, found.figures
    assert [column.label for column in table.columns[:2]] == ["rule", "size"] and len(table.rows) == 3
    assert (gaps.name, gaps.kind, gaps.x.label, gaps.x.scale) == ("sizes-gap", "lines", "size, cm", "log2")
    assert [line.panel for line in blocks.series] == [size for size in ("2 cm", "4 cm", "8 cm") for _ in range(3)]


def test_a_difference_needs_both_its_values_and_a_slope_two():
    found = Sizes().conclude(plan_of("sizes"), [size_row(seed, 2) for seed in (0, 1)])
    assert found.quantities["mine"].keys() == {"gap/2"}


# --- the small tools --------------------------------------------------------------------------------------------------


def test_several_rows_of_a_seed_count_as_their_mean():
    rows = [{"seed": 0, "gap": 1.0}, {"seed": 0, "gap": 3.0}, {"seed": 1, "gap": 5.0}, {"seed": 1, "gap": None}]
    assert by_seed(rows, "gap") == {0: 2.0, 1: 5.0}
    assert estimates(rows, "gap")["gap"]["mean"] == 3.5 and estimates(rows, "gap")["gap"]["n"] == 2


def test_groups_keep_their_order_and_points_are_sorted():
    rows = [{"k": 5, "seed": 0, "gap": 0.1}, {"k": 2, "seed": 0, "gap": 0.3}]
    assert list(group_rows(rows, "k")) == [(5,), (2,)]
    assert [point.x for point in plotted(rows, "k", "gap")] == [2, 5]


def test_slopes_are_least_squares_per_doubling():
    rows = [{"seed": seed, "k": k, "gap": 0.5 + seed * math.log2(k)} for seed in (1, 2) for k in (2, 8, 64)]
    assert slopes(rows, "gap", "k") == {1: pytest.approx(1), 2: pytest.approx(2)}


def test_a_seed_whose_factors_do_not_vary_is_left_out():
    rows = [{"seed": 0, "k": 4, "gap": 1.0}, {"seed": 0, "k": 4, "gap": 2.0}]
    assert effects_by_seed(rows, "gap", {"k": doublings("k")}) == {"k": {}}


def test_a_contrast_takes_the_seeds_of_both_sides():
    assert contrast({0: 3.0, 1: 1.0}, {0: 1.0, 2: 9.0}) == {0: 2.0}


def test_rows_are_chosen_by_one_value_or_any_of_several():
    rows = [{"arm": "a", "k": 1}, {"arm": "b", "k": 2}, {"k": 3}]
    assert [row["k"] for row in chosen(rows, {"arm": ("a", "b")})] == [1, 2]
    assert [row["k"] for row in chosen(rows, {"arm": "a", "k": 2})] == [] and chosen(rows, {}) == rows


def test_effects_of_a_factorial_of_parts_are_those_of_its_polynomial():
    """0.5 + Σ ±effect/2 over parts and pairs, the sign + where an even number of the pair is off."""
    planted = {("a",): 0.04, ("b",): -0.02, ("c",): 0.0, ("a", "c"): 0.01, ("a", "b", "c"): 0.03}
    accuracies = {
        off: 0.5 + sum(value / 2 * (-1) ** len({*parts} & {*off}) for parts, value in planted.items())
        for off in subsets("abc")
    }
    found = factorial_effects(accuracies)
    assert len(found) == 7 and found == {parts: pytest.approx(planted.get(parts, 0.0), abs=1e-12) for parts in found}
    assert list(found)[:3] == [("a",), ("b",), ("c",)]


def test_marks_stand_in_the_order_of_their_numbers_and_words_where_they_were():
    """Marks without a number on either axis are left out, and so are series without marks."""
    rows = [
        {"rule": "mine", "seed": seed, "method": method, "family": family, "share": share, "gain": gain}
        for seed in (0, 1)
        for method, family, share, gain in (
            ("z", "one", 0.9, 0.1), ("a", "one", 0.1, 0.2), ("f", "two", None, 0.3), ("g", "three", 0.5, None),
        )
    ]  # fmt: skip
    y = ({"gain": "gain"}, Axis())
    against = Marks("m", "{rule}", ("share", Axis()), y, of=("method", "share"), series=Along("family"), label="method")
    beside = Marks("w", "", ("method", Axis(scale="category")), y, of=("method",))
    numbers, words = against.make("s", "mine", rows), beside.make("s", "", rows)
    assert (numbers.name, numbers.kind, words.name, words.kind) == ("s-m-mine", "lines", "s-w", "points")
    assert [(line.name, [(p.x, p.label) for p in line.points]) for line in numbers.series] == [
        ("one", [(0.1, "a"), (0.9, "z")])
    ]
    assert [[p.x for p in line.points] for line in words.series] == [["z", "a", "f"]]
    assert against.make("s", "mine", [row | {"gain": None} for row in rows]) is None


def test_values_that_have_titles_come_in_their_order():
    rows = [{"arm": arm} for arm in ("c", "b", "a", "b")]
    assert list(Along("arm", titles={"a": "first", "b": "second"}).parts(rows)) == ["first", "second", "c"]


def test_a_quantity_names_its_seeds():
    assert quantity("gap", {1: 0.5, 0: 0.25}) == Quantity(what="gap", unit="pp", values={"0": 0.25, "1": 0.5})


def test_a_ratio_of_means_is_the_ratio_and_pseudo_values_average_to_it_where_it_is_constant():
    assert ratio_of_means({0: 1.0, 1: 2.0, 2: 4.0}, {0: 2.0, 1: 4.0, 2: 8.0}) == {
        seed: pytest.approx(0.5) for seed in (0, 1, 2)
    }
    assert ratio_of_means({3: 1.0}, {3: 4.0}) == {3: 0.25}
    assert ratio_of_means({0: 1.0, 1: 1.0}, {0: 1.0, 1: -1.0}) == {}
    found = ratio_of_means({0: 1.0, 1: 3.0}, {0: 2.0, 1: 4.0})  # 2·(4/6) − 3/4 and 2·(4/6) − 1/2
    assert found == {0: pytest.approx(4 / 3 - 3 / 4), 1: pytest.approx(4 / 3 - 1 / 2)}


def test_variance_is_explained_wholly_partly_or_not_told():
    assert explained({"k": [0.0, 1.0, 2.0]}, [1.0, 3.0, 5.0]) == pytest.approx(1)
    assert explained({"k": [0.0, 1.0, 2.0]}, [1.0, 1.0, 1.0]) is None


def test_equal_steps_whatever_the_number_of_images():
    scale = scale_of(plan_of("classes"))
    assert scale.recipe_for(scale.num_train) == scale.recipe
    few = scale.recipe_for(scale.num_train // 10)
    assert few.steps == 3 * (2250 // 32) and few.batch_size == scale.recipe.batch_size


def test_a_mean_of_blocks_that_hides_a_better_block_is_told():
    def row(seed, fused, *blocks):
        return {
            "seed": seed,
            "local": fused,
            "blocks": {"local": {f"block{i}": value for i, value in enumerate(blocks)}},
        }

    behind = [row(0, 0.60, 0.5, 0.62, 0.63), row(1, 0.61, 0.5, 0.64, 0.7), row(2, 0.60, 0.5, 0.63, 0.3)]
    said = fusion_sentence("here", behind)
    assert said is not None and said.startswith("here: −2.7 pp [−")  # −2, −3, −3 against block1, whose mean is highest
    assert "against block1 alone" in said and "with hindsight" in said
    assert fusion_sentence("here", [row(0, 0.60, 0.59), row(1, 0.61, 0.60)]) is None
    assert fusion_sentence("here", behind[:1]) is None  # one seed says nothing


def test_an_accuracy_says_what_was_trained_with_the_settings_of_the_plan_and_of_the_method():
    chosen = {"class-goodness": {"cifar10": {"local": {"settings": {"recipe.steps": 77}}}}}
    plan = plan_of(
        "accuracy",
        seeds=(0,),
        data=("cifar10",),
        settings={"network.width": 0.25, "data.num_train": 1500},
        chosen=chosen,
    )
    own = summarize_study(plan, planted(plan, flat)).quantities["class-goodness"]
    assert own["accuracy/cifar10"].protocol == "cnn4 at width 0.25, 1,500 images, 77 steps"
