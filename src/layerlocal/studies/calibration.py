"""Study `calibration`: can a synthetic task predict the gap on real data?

The plain K-sweep predicts a real task's gap from its number of classes alone. The calibrated one also sets the teacher's dial to the real
task's separability, measured without any rule: both are regressions of the synthetic gap, on log2 K, or on log2 K and separability.
Each gets one constant fitted on the other real data sets (none of the one predicted), so that only the shape is in question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from layerlocal.spec import DataSpec
from layerlocal.stats import estimate, regress
from layerlocal.studies.base import (
    Cell,
    Conclusion,
    Row,
    Study,
    StudyPlan,
    estimates,
    group_rows,
    quantity,
    twins_of_rule,
)
from layerlocal.studies.effects import doublings
from layerlocal.studies.scale import readout_of, scale_of
from layerlocal.studies.words import axis, block_figure, points

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

    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """The synthetic grid, then the real tasks."""
        scale = scale_of(plan)
        methods = twins_of_rule(plan, rule, **readout_of(plan, rule))
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
            chosen = {} if options.get("classes") is None and not options.get("draw") else {"seed": seed}
            data = scale.images(source, **options, **chosen)
            cells.append(Cell({"task": task, "data": source}, data, scale.network, scale.recipe, methods))
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
            told = {name: estimate(list(by.values())) for name, by in errors.items()}
            found.sentences.append(
                f"{rule}: predicting the gap of a data set left out, the K-sweep errs by {points(told['k_sweep'])}, the calibrated task by "
                f"{points(told['calibrated'])}, the other sets' mean gap by {points(told['constant'])}; the calibration saves "
                f"{points(estimate(list(reduction.values())))}.".replace("+", "")
            )
            found.figures.append(_figure(rule, guesses))
            real = [row for row in part if row["task"] != "synthetic"]
            found.figures.append(block_figure(f"calibration-blocks-{rule}", real, panel="task"))
            found.tables.append(_table(rule, guesses))
        return found


def _predictions(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Of one seed: the gap of each real task, predicted from synthetic tasks and from real tasks of other data sets."""
    synthetic = [row for row in rows if row["task"] == "synthetic"]
    real = [row | {"classes": row["num_classes"]} for row in rows if row["task"] != "synthetic"]
    if len({row["data"] for row in real}) < 2:
        return []
    found = []
    for name, factors in PREDICTORS.items():
        try:
            surface = (
                regress({f: [FACTORS[f](row) for row in synthetic] for f in factors}, [row["gap"] for row in synthetic])
                if factors
                else {}
            )
        except ValueError:
            return []
        shape = {row["task"]: sum(surface[f] * FACTORS[f](row) for f in factors) for row in real}
        for row in real:
            others = [other for other in real if other["data"] != row["data"]]
            constant = sum(other["gap"] - shape[other["task"]] for other in others) / len(others)
            found.append(
                {
                    "seed": row["seed"], "task": row["task"], "classes": row["classes"], "separability": row["separability"],
                    "gap": row["gap"], "predictor": name, "predicted": shape[row["task"]] + constant,
                }
            )  # fmt: skip
    return found


def _errors(guesses: Sequence[Mapping[str, Any]], predictor: str) -> dict[int, float]:
    """Seed → mean absolute error over real tasks."""
    found: dict[int, list[float]] = {}
    for guess in guesses:
        if guess["predictor"] == predictor:
            found.setdefault(guess["seed"], []).append(abs(guess["predicted"] - guess["gap"]))
    return {seed: sum(values) / len(values) for seed, values in found.items()}


def _figure(rule: str, guesses: Sequence[Row]) -> dict[str, Any]:
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
            dots.append({"x": value["gap"], "y": value["predicted"], "label": task})
        series.append({"name": name, "panel": None, "points": dots})
    return {
        "name": f"calibration-{rule}",
        "kind": "points",
        "caption": f"{rule}: gap predicted for each real task from synthetic tasks and the other data sets, against the measured one. "
        "A perfect prediction lies where both are equal. 95 % intervals over seeds.",
        "x": axis("measured gap: local − BP", "pp"),
        "y": axis("predicted gap", "pp"),
        "series": series,
    }


def _table(rule: str, guesses: Sequence[Row]) -> dict[str, Any]:
    body = []
    for (task,), of in group_rows(guesses, "task").items():
        row: dict[str, Any] = {"task": task, **estimates(of, "classes", "separability", "gap")}
        row["classes"] = of[0]["classes"]
        for name in PREDICTORS:
            row |= {name: estimates([guess for guess in of if guess["predictor"] == name], "predicted")["predicted"]}
        body.append(row)
    columns = [
        {"key": "task", "label": "real task", "kind": "text"},
        {"key": "classes", "label": "K", "kind": "int"},
        {"key": "separability", "label": "separability", "kind": "percent"},
        {"key": "gap", "label": "measured gap", "kind": "points"},
        {"key": "k_sweep", "label": "predicted by the K-sweep", "kind": "points"},
        {"key": "calibrated", "label": "predicted, calibrated", "kind": "points"},
        {"key": "constant", "label": "mean of the other sets", "kind": "points"},
    ]
    return {"caption": f"{rule}: predicted and measured gaps", "columns": columns, "rows": body}
