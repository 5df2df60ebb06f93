"""The scaling law: a planted one is found and extended; a prediction is kept before what it predicts is trained, and is judged by it."""

from __future__ import annotations

from math import log2

import pytest
from rich.console import Console
from test_studies import plan_of, planted

from layerlocal.experiments.stored import read_plan
from layerlocal.experiments.studies import find_study, scaling
from layerlocal.experiments.studies.base import make_rows, plan_runs
from layerlocal.experiments.studies.running import forecast_study, run_study
from layerlocal.runs.store import RunStore
from sizes import shrink_quick

STUDY = find_study("scaling")
RULE = "class-goodness"
LAW = {"width": 0.004, "images": -0.002, "depth": -0.01, "modules": -0.006}
"""PLANTED: what each doubling does to the price."""


def law(spec):
    """−3 pp at width 0.5, 2,500 images, depth 4 and one block a module."""
    depth, pair = spec.network.options["depth"], spec.rule.options.get("segment_size", 1)
    at = {
        "width": spec.network.width / 0.5,
        "images": spec.data.num_train / 2500,
        "depth": depth / 4,
        "modules": depth / pair / 4,
    }
    return -0.03 + sum(slope * log2(at[key]) for key, slope in LAW.items())


def lawful(spec, seed, method):
    """BP with the same readouts has 60 %, and the rule the price less; a little different each seed."""
    return 0.6 + 0.001 * seed + (law(spec) + 0.0005 * (seed - 1) if method in ("local", "modules") else 0.0)


def concluded(accuracy=lawful, **plan):
    plan = plan_of("scaling", seeds=(0, 1, 2), controls=True, **plan)
    return STUDY.conclude(plan, make_rows(STUDY, plan, planted(plan, accuracy)))


def test_a_planted_law_is_found_and_extended_to_four_times_the_parameters():
    found = concluded()
    own = found.quantities[RULE]
    for key, slope in LAW.items():
        assert own[f"{key}_effect"].values == pytest.approx(dict.fromkeys("012", slope))
    expected = -0.03 + LAW["width"] + LAW["depth"] + LAW["modules"]
    assert own["prediction"].values == pytest.approx({str(seed): expected + 0.0005 * (seed - 1) for seed in range(3)})
    assert found.sentences[0].endswith("The same command again trains it.")
    [figure] = found.figures
    assert {series.panel for series in figure.series} == {"625 images", "2,500 images"}
    assert sorted({series.name for series in figure.series}) == [
        "depth 4, 2 modules", "depth 4, 4 modules", "depth 8, 4 modules", "depth 8, 8 modules",
    ]  # fmt: skip
    assert all([point.x for point in series.points] == [0.25, 0.5] for series in figure.series)
    assert "(width 1, 2,500 images, depth 8) is predicted to have a price of −4.2 pp [" in found.sentences[0]


def test_the_larger_network_has_four_times_the_weights_of_the_largest_corner():
    from layerlocal import create_network

    def weights(width):
        network = create_network("cnn4", in_channels=3, image_size=32, seed=0, width=width, depth=8)
        return sum(p.numel() for block in network.blocks[1:] for p in block.parameters() if p.dim() > 1)

    largest = max(scaling.GRIDS["quick"].width)
    assert weights(scaling.GRIDS["quick"].target[0]) == 4 * weights(largest)


@pytest.mark.parametrize(
    ("price", "spread", "said"),
    [
        (-0.0425, 0.0005, "a hit"),
        (-0.02, 0.0005, "a miss"),
        (-0.0425, 0.02, "not told apart, by intervals too wide for a hit"),
    ],
)
def test_a_prediction_is_held_to_what_was_measured_later(price, spread, said):
    values = {str(seed): -0.042 + 0.0005 * (seed - 1) for seed in range(3)}

    def accuracy(spec, seed, method):
        is_target = spec.network.width == 1.0 and method == "local"
        return 0.6 + price + spread * (seed - 1) if is_target else lawful(spec, seed, method) - 0.001 * seed

    found = concluded(accuracy, predicted={RULE: values})
    assert (
        found.sentences[0].endswith(f": {said}.") and "was predicted to have a price of −4.2 pp [" in found.sentences[0]
    )
    assert found.quantities[RULE]["prediction"].values == pytest.approx(values)
    measured = found.quantities[RULE]["price/target"].values
    assert measured == pytest.approx({str(seed): price + spread * (seed - 1) for seed in range(3)})


@pytest.mark.parametrize("without", [(0, 1), (1,)])
def test_while_a_corner_of_any_seed_is_missing_nothing_is_predicted(without):
    """What is predicted is never predicted again, so that it waits for all of them."""
    plan = plan_of("scaling", seeds=(0, 1), controls=True)
    records = planted(plan, lawful)
    for seed in without:
        del records[plan_runs(STUDY, plan)[RULE, seed, 3, "local"].hash]
    found = STUDY.conclude(plan, make_rows(STUDY, plan, records))
    assert "prediction" not in found.quantities[RULE] and not [text for text in found.sentences if "predicted" in text]


@pytest.fixture
def tiny(monkeypatch):
    """Quick, made quicker still."""
    shrink_quick(monkeypatch, num_train=120, num_test=40, recipe={"epochs": 1})
    monkeypatch.setitem(scaling.GRIDS, "quick", scaling.Corners((0.0625, 0.125), (60, 120), (2, 4)))


def test_the_first_call_predicts_and_the_second_trains_what_it_predicted(tiny, tmp_path):
    def call():
        return run_study(
            tmp_path, "scaling", seeds=1, rules=["local-heads"], data=["fashion_mnist_subset"], workers=1,
            console=Console(quiet=True), controls=False,
        )  # fmt: skip

    first = call()
    said = first.quantities["local-heads"]["prediction"].values
    assert read_plan(tmp_path, "scaling", "quick").predicted == {}
    assert {record.spec.network.width for record in RunStore(tmp_path).finished()} == {0.0625, 0.125}
    dry = forecast_study(
        tmp_path, "scaling", seeds=1, rules=["local-heads"], data=["fashion_mnist_subset"], controls=False
    )
    assert dry["planned"] - dry["finished"] == 5
    second = call()
    assert second.finished == first.finished + 5
    assert {record.spec.network.width for record in RunStore(tmp_path).finished()} == {0.0625, 0.125, 0.25}
    assert read_plan(tmp_path, "scaling", "quick").predicted == {"local-heads": said}
    assert second.quantities["local-heads"]["prediction"].values == said
    assert second.sentences[0].startswith("local-heads: the larger network") and second.sentences[0].endswith(
        "one seed, not judged."
    )
    assert call().rows == second.rows
