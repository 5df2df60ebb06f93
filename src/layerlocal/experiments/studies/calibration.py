"""Study `calibration`: can a synthetic task predict the gap on real data?

The plain K-sweep predicts a real task's gap from its number of classes alone, by a line through the gaps of plain teacher-student tasks. The
calibrated prediction reads the gap off a plane through all synthetic tasks, over log2 K and separability, at the real task's K and
separability (measured without any rule). Each gets one constant fitted on the other real data sets, none of the one predicted, so that
only the shape is in question. The interval is over seeds; there are few data sets, and it says nothing of others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from layerlocal.experiments.studies.base import (
    Cell,
    Conclusion,
    Study,
    StudyPlan,
    estimates,
    group_rows,
    over_seeds,
    quantity,
)
from layerlocal.experiments.studies.effects import doublings
from layerlocal.experiments.studies.parts import block_figure, columns
from layerlocal.experiments.studies.scale import methods_of, scale_of
from layerlocal.spec import DataSpec
from layerlocal.stats import regress
from layerlocal.summary import Axis, Figure, Point, Row, Series, Table
from layerlocal.words import difference

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
PREDICTORS: dict[str, tuple[str, ...]] = {
    "k_sweep": ("dimension",),
    "calibrated": ("dimension", "separability"),
    "constant": (),
}
FACTORS = {"dimension": doublings("classes"), "separability": lambda row: row["separability"]}


class CalibrationStudy(Study):
    """Is there a synthetic benchmark that predicts real gaps?"""

    name = "calibration"
    title = "Predicting the real gap from synthetic tasks"
    question = "Does a synthetic task whose dial is set to the real separability predict the real gap better than a plain K-sweep?"
    optional_data = True
    most_data = 0

    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """The synthetic grid, then the real tasks."""
        scale = scale_of(plan)
        methods = methods_of(plan, rule)
        cells = []
        for k in CLASSES[plan.size]:
            for similarity in DIALS[plan.size]:
                for noise in NOISES:
                    teacher: dict[str, Any] = {"groups": 2, "similarity": similarity, "noise": noise}
                    data = DataSpec(
                        source="teacher_student",
                        classes=k,
                        num_train=scale.synthetic_train,
                        num_test=2048,
                        seed=seed,
                        teacher=teacher,
                    )
                    at = {"task": "synthetic", "classes": k, "similarity": similarity, "noise": noise}
                    cells.append(Cell(at, data, scale.mlp, scale.synthetic_recipe, methods))
        for task, (source, options) in TASKS.items():
            data = scale.images(source, **options, seed=seed)
            cells.append(
                Cell(
                    {"task": task, "data": source}, data, scale.network, scale.recipe_for(data.num_train or 0), methods
                )
            )
        return cells

    def conclude(self, plan: StudyPlan, rows: Sequence[Row]) -> Conclusion:
        """Leave-one-data-set-out errors of each predictor, seed by seed."""
        found = Conclusion()
        for (rule,), part in group_rows(rows, "rule").items():
            guesses = [guess for (_,), of in group_rows(part, "seed").items() for guess in _predictions(of)]
            if not guesses:
                continue
            own = found.quantities.setdefault(rule, {})
            errors = {name: _errors(guesses, name) for name in PREDICTORS}
            for name, by in errors.items():
                own[f"error/{name}"] = quantity(f"mean absolute error of the {name} prediction of the real gap", by)
            reduction = {seed: errors["k_sweep"][seed] - errors["calibrated"][seed] for seed in errors["k_sweep"]}
            own["error_reduction"] = quantity("error of the K-sweep − error of the calibrated prediction", reduction)
            told = {name: over_seeds(by) for name, by in errors.items()}
            found.sentences.append(
                f"{rule}: predicting the gap of a data set left out, the K-sweep errs by {difference(told['k_sweep'])}, the calibrated task by "
                f"{difference(told['calibrated'])}, the other sets' mean gap by {difference(told['constant'])}; the calibration saves "
                f"{difference(over_seeds(reduction))}.".replace("+", "")
            )
            found.figures.append(_figure(rule, guesses))
            real = [row for row in part if row["task"] != "synthetic"]
            found.figures.append(block_figure(f"calibration-blocks-{rule}", real, panel="task"))
            found.tables.append(_table(rule, guesses))
        return found


def _predictions(rows: Sequence[Row]) -> list[Row]:
    """Of one seed: the gap of each real task, predicted from synthetic tasks and from real tasks of other data sets."""
    synthetic = [row for row in rows if row["task"] == "synthetic"]
    real = [row | {"classes": row["num_classes"]} for row in rows if row["task"] != "synthetic"]
    if len({row["data"] for row in real}) < 2:
        return []
    found = []
    for name, factors in PREDICTORS.items():
        learned = [row for row in synthetic if name != "k_sweep" or row["similarity"] == row["noise"] == 0]
        try:
            surface = (
                regress({f: [FACTORS[f](row) for row in learned] for f in factors}, [row["gap"] for row in learned])
                if factors
                else {}
            )
        except ValueError:
            return []
        shape = {row["task"]: sum(surface[f] * FACTORS[f](row) for f in factors) for row in real}
        left = [row | {"left": row["gap"] - shape[row["task"]]} for row in real]
        for row in real:
            constant = _mean_by_set(
                [other for other in left if other["data"] != row["data"]], lambda other: other["left"]
            )
            found.append(
                {
                    "seed": row["seed"], "data": row["data"], "task": row["task"], "classes": row["classes"],
                    "separability": row["separability"], "gap": row["gap"], "predictor": name, "predicted": shape[row["task"]] + constant,
                }
            )  # fmt: skip
    return found


def _errors(guesses: Sequence[Row], predictor: str) -> dict[int, float]:
    """Seed → absolute error, each data set counting alike however many tasks it gave."""
    chosen = [guess for guess in guesses if guess["predictor"] == predictor]
    return {
        seed: _mean_by_set(part, lambda guess: abs(guess["predicted"] - guess["gap"]))
        for (seed,), part in group_rows(chosen, "seed").items()
    }


def _mean_by_set(rows: Sequence[Row], value: Callable[[Row], float]) -> float:
    """Mean over data sets of the mean over their tasks."""
    means = [sum(map(value, part)) / len(part) for part in group_rows(rows, "data").values()]
    return sum(means) / len(means)


def _figure(rule: str, guesses: Sequence[Row]) -> Figure:
    names = {
        "k_sweep": "plain K-sweep",
        "calibrated": "calibrated on separability",
        "constant": "mean of the other sets",
    }
    series = []
    for predictor, name in names.items():
        part = [guess for guess in guesses if guess["predictor"] == predictor]
        dots = []
        for (task,), of in group_rows(part, "task").items():
            value = estimates(of, "gap", "predicted")
            dots.append(Point(x=value["gap"], y=value["predicted"], label=task))
        series.append(Series(name=name, points=tuple(dots)))
    return Figure(
        name=f"calibration-{rule}",
        kind="points",
        caption=f"{rule}: gap predicted for each real task from synthetic tasks and the other data sets, against the measured one. "
        "A perfect prediction lies where both are equal. 95 % intervals over seeds.",
        x=Axis(label="measured gap: local − BP", unit="pp"),
        y=Axis(label="predicted gap", unit="pp"),
        series=tuple(series),
    )


def _table(rule: str, guesses: Sequence[Row]) -> Table:
    body = []
    for (task,), of in group_rows(guesses, "task").items():
        row: Row = {"task": task, **estimates(of, "classes", "separability", "gap")}
        row["classes"] = of[0]["classes"]
        for name in PREDICTORS:
            row |= {name: estimates([guess for guess in of if guess["predictor"] == name], "predicted")["predicted"]}
        body.append(row)
    shown = columns(
        ("task", "real task", "text"),
        ("classes", "K", "int"),
        ("separability", "separability", "percent"),
        ("gap", "measured gap", "points"),
        ("k_sweep", "predicted by the K-sweep", "points"),
        ("calibrated", "predicted, calibrated", "points"),
        ("constant", "mean of the other sets", "points"),
    )
    return Table(caption=f"{rule}: predicted and measured gaps", columns=shown, rows=tuple(body))
