"""Study `calibration`: can a synthetic task predict the gap on real data?

The plain K-sweep predicts a real task's gap from its number of classes alone, by a line through the gaps of plain teacher-student tasks. The
calibrated prediction reads the gap off a plane through all synthetic tasks, over log2 K and separability, at the real task's K and
separability (measured without any rule). Each gets one constant fitted on the other real data sets, none of the one predicted, so that
only the shape is in question. The interval is over seeds; there are few data sets, and it says nothing of others. A prediction is no slope:
it is computed here, a column of each real task, and what is said and shown of it is declared.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from layerlocal.experiments.studies.axis import AxisStudy, Finding
from layerlocal.experiments.studies.base import Cell, StudyPlan, group_rows
from layerlocal.experiments.studies.effects import Factor, Measure, doublings, minus
from layerlocal.experiments.studies.scale import methods_of, scale_of
from layerlocal.experiments.studies.views import Along, Blocks, Grid, Marks
from layerlocal.stats import regress
from layerlocal.summary import Axis, Row

__all__ = ["CalibrationStudy"]

DIALS = {
    "quick": (0.0, 0.9),
    "medium": (0.0, 0.8, 0.95),
    "standard": (0.0, 0.5, 0.8, 0.95),
    "full": (0.0, 0.5, 0.8, 0.95),
}
NOISES = (0.0, 0.3)
CLASSES = {
    "quick": (5, 20, 100),
    "medium": (5, 10, 20, 100),
    "standard": (5, 10, 20, 50, 100),
    "full": (5, 10, 20, 50, 100),
}
TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "Fashion-MNIST": ("fashion_mnist_subset", {}),
    "CIFAR-10": ("cifar10", {}),
    "CIFAR-100, 5 random": ("cifar100", {"classes": 5}),
    "CIFAR-100, 5 within": ("cifar100", {"classes": 5, "draw": "within"}),
    "CIFAR-100, 20 random": ("cifar100", {"classes": 20}),
    "CIFAR-100, 20 coarse": ("cifar100", {"draw": "superclasses"}),
    "CIFAR-100, fine": ("cifar100", {}),
}
PREDICTORS: dict[str, tuple[str, tuple[str, ...]]] = {
    "k_sweep": ("plain K-sweep", ("dimension",)),
    "calibrated": ("calibrated on separability", ("dimension", "separability")),
    "constant": ("mean of the other sets", ()),
}
"""Predictor → what it is, and the factors that it reads a gap off."""
FACTORS = {"dimension": doublings("classes"), "separability": lambda row: row["separability"]}
TASK = Along("task", "real task")


def error(predictor: str) -> Measure:
    """Mean absolute error of a prediction of the gap, each data set counting alike however many tasks it gave."""
    return lambda rows: {
        seed: _mean_by_set([row | {"error": abs(row[predictor] - row["gap"])} for row in part], "error")
        for (seed,), part in group_rows(rows, "seed").items()
    }


class CalibrationStudy(AxisStudy):
    """Is there a synthetic benchmark that predicts real gaps?"""

    name = "calibration"
    takes_text = False
    title = "Predicting the real gap from synthetic tasks"
    question = "Does a synthetic task whose dial is set to the real separability predict the real gap better than a plain K-sweep?"
    optional_data = True
    most_data = 0
    axis = TASK
    measured = (
        *(
            Finding(
                f"error/{name}",
                f"mean absolute error of the {name} prediction of the real gap",
                error(name),
                signed=False,
            )
            for name in PREDICTORS
        ),
        Finding(
            "error_reduction",
            "error of the K-sweep − error of the calibrated prediction",
            minus(error("k_sweep"), error("calibrated")),
            "{rule}: predicting the gap of a data set left out, the K-sweep errs by {error/k_sweep}, the calibrated task by "
            "{error/calibrated}, the other sets' mean gap by {error/constant}; the calibration saves {found}.",
            signed=False,
        ),
    )
    shown = (
        Marks(
            "", "{rule}: gap predicted for each real task from synthetic tasks and the other data sets, against the measured one. "
            "A perfect prediction lies where both are equal. 95 % intervals over seeds.",
            ("gap", Axis(label="measured gap: local − BP", unit="pp")),
            ({key: words for key, (words, _) in PREDICTORS.items()}, Axis(label="predicted gap", unit="pp")),
            of=("task",), label="task", apart=True,
        ),
        Blocks(TASK, apart=True),
        Grid(
            "{rule}: predicted and measured gaps", (TASK, Along("classes", "K", kind="int")),
            (
                ("separability", "separability", "percent"), ("gap", "measured gap", "points"),
                ("k_sweep", "predicted by the K-sweep", "points"), ("calibrated", "predicted, calibrated", "points"),
                ("constant", "mean of the other sets", "points"),
            ), apart=True,
        ),
    )  # fmt: skip

    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """The synthetic grid, then the real tasks."""
        scale, methods, cells = scale_of(plan), methods_of(plan, rule), []
        for k, similarity, noise in product(CLASSES[plan.size], DIALS[plan.size], NOISES):
            data = scale.teacher_student(k, seed, groups=2, similarity=similarity, noise=noise)
            at = {"task": "synthetic", "classes": k, "similarity": similarity, "noise": noise}
            cells.append(Cell(at, data, scale.mlp, scale.synthetic_recipe, methods))
        for task, (source, options) in TASKS.items():
            data, at = scale.images(source, **options, seed=seed), {"task": task, "data": source}
            cells.append(Cell(at, data, scale.network, scale.recipe_for(data.num_train or 0), methods))
        return cells

    def entries(self, rows: Sequence[Row]) -> list[Row]:
        """The real tasks, each with its gap as every predictor tells it."""
        return [entry for part in group_rows(rows, "rule", "seed").values() for entry in _predictions(part)]


def _predictions(rows: Sequence[Row]) -> list[Row]:
    """Of one seed: the gap of each real task, predicted from synthetic tasks and from real tasks of other data sets."""
    synthetic = [row for row in rows if row["task"] == "synthetic"]
    real = [row | {"classes": row["num_classes"]} for row in rows if row["task"] != "synthetic"]
    if len({row["data"] for row in real}) < 2:
        return []
    for name, (_, factors) in PREDICTORS.items():
        learned = [row for row in synthetic if name != "k_sweep" or row["similarity"] == row["noise"] == 0]
        try:
            shape = _surface(learned, factors)
        except ValueError:
            return []
        left = [row | {"left": row["gap"] - shape(row)} for row in real]
        others = {row["data"]: [other for other in left if other["data"] != row["data"]] for row in real}
        real = [row | {name: shape(row) + _mean_by_set(others[row["data"]], "left")} for row in real]
    return real


def _surface(rows: Sequence[Row], factors: Sequence[str]) -> Factor:
    """The gap of a row by the plane through these rows, but for a constant; of no factors 0."""
    gaps = [row["gap"] for row in rows]
    fitted = regress({name: [FACTORS[name](row) for row in rows] for name in factors}, gaps) if factors else {}
    return lambda row: sum(fitted[name] * FACTORS[name](row) for name in factors)


def _mean_by_set(rows: Sequence[Row], key: str) -> float:
    """Mean over data sets of the mean over their tasks."""
    means = [sum(row[key] for row in part) / len(part) for part in group_rows(rows, "data").values()]
    return sum(means) / len(means)
