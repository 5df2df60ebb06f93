"""Length and data: steps alike for every number of images, and a planted change of sign that is found where it was planted."""

from __future__ import annotations

from math import log2

import pytest
from test_studies import plan_of, planted

from layerlocal.experiments.studies import find_study
from layerlocal.experiments.studies.base import StudyPlan, make_rows, plan_runs
from layerlocal.experiments.studies.scale import TRAINED

STUDY = find_study("length")


def planned(size):
    plan = plan_of("length", size=size, rules=("local-heads",), seeds=(0,), controls=True)
    cells = STUDY.cells(plan, "local-heads", 0)
    return cells, plan_runs(STUDY, plan)


@pytest.mark.parametrize(
    ("size", "usual", "images", "lengths"),
    [
        ("quick", 3 * (2250 // 32), (500, 2500), (0.25, 0.5, 1, 2)),
        ("medium", 6 * (4500 // 32), (1000, 5000), (0.25, 0.5, 1, 2)),
        ("standard", 16 * (45_000 // 500), (2500, 10_000, 50_000), (0.125, 0.25, 0.5, 1, 2)),
    ],
)
def test_lengths_are_counted_in_steps_whatever_the_number_of_images(size, usual, images, lengths):
    """A tenth of the images is held out for validation."""
    cells, _ = planned(size)
    steps = {(cell.at["images"], cell.at["length"]): (cell.data.num_train, cell.recipe.steps) for cell in cells}
    assert steps == {(n, x): (n, round(usual * x)) for n in images for x in lengths}


def test_trained_networks_are_those_of_the_study_best():
    cells, _ = planned("standard")
    assert all(cell.network == TRAINED["standard"].network for cell in cells)
    assert all(cell.methods["local"].options["label_smoothing"] == 0.2 for cell in cells)
    assert {cell.recipe.optimizer for cell in cells} == {"sgd"}


def test_ordinary_backprop_with_twice_the_steps_is_that_of_twice_the_length():
    cells, runs = planned("standard")
    place = {(cell.at["images"], cell.at["length"]): position for position, cell in enumerate(cells)}
    for (images, length), position in place.items():
        if (images, 2 * length) in place:
            twice = runs["local-heads", 0, place[images, 2 * length], "ordinary"]
            assert runs["local-heads", 0, position, "ordinary-2x"].hash == twice.hash


def test_a_change_of_sign_is_found_where_it_was_planted():
    """PLANTED: the rule loses 1 pp on ordinary BP with every doubling of the training, on 2,500 images from half the training on below it;
    on 500 it is always above."""
    plan = StudyPlan(study="length", seeds=(0, 1, 2), controls=True)

    def accuracy(spec, seed, method):
        lead = 0.03 if spec.data.num_train == 500 else -0.005
        lead -= 0.01 * log2(spec.recipe.steps / 210) + (0.015 if spec.data.num_train == 2500 else 0)
        return 0.5 + 0.002 * seed + (lead if method == "local" else 0.0)

    found = STUDY.conclude(plan, make_rows(STUDY, plan, planted(plan, accuracy)))
    own = found.quantities["class-goodness"]
    values = own["total/2500/0.25"].values
    assert list(values) == ["0", "1", "2"] and values["0"] == pytest.approx(-0.02 - 0.01 * log2(52 / 210))
    assert own["total/500/2"].values["1"] == pytest.approx(0.03 - 0.01 * log2(420 / 210))
    for images in (500, 2500):
        slopes = own[f"total_length_slope/{images}"].values
        assert all(value == pytest.approx(-0.01, abs=1e-4) for value in slopes.values())
    assert own["total_images_slope"].values["2"] == pytest.approx((-0.02 - 0.03) / log2(5))
    on_few, on_more, moved, asked = found.sentences
    assert on_few.startswith(
        "class-goodness on 500 images: above ordinary BP at 1/4, 1/2, 1 and 2 of the training; with every doubling "
    )
    assert "of the training −1.0 pp [" in on_few
    assert (
        on_more.startswith("class-goodness on 2,500 images: ")
        and "below ordinary BP at 1/2, 1 and 2 of the training; " in on_more
    )
    assert moved.startswith(
        "class-goodness at the usual length, with every doubling of the number of images: −2.2 pp ["
    )
    assert "500 images, 1/4; 500 images, 1/2; 500 images, 1; 500 images, 2; " in asked
