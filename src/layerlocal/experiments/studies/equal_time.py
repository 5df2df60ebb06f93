"""Study `equal-time`: rules and their twins, each trained as long as BP takes for the recipe.

A step of every method is timed before the first run (`layerlocal.experiments.studies.paced`), in turns on one thread; whoever is twice as fast
makes twice the steps, over which its learning rate falls to 0. The clock runs for training only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from layerlocal.experiments.studies.accuracy import AccuracyStudy
from layerlocal.experiments.studies.base import Conclusion, Row, StudyPlan, group_rows
from layerlocal.experiments.studies.controls import LONGER
from layerlocal.experiments.studies.parts import called
from layerlocal.stats import estimate
from layerlocal.summary import Axis, Column, Figure, Point, Series, Table
from layerlocal.words import ratio

__all__ = ["EqualTimeStudy"]

APART = 0.1
"""A share of BP's time by which a method may miss it before a note says so."""


class EqualTimeStudy(AccuracyStudy):
    """Is a rule that is faster also better for it?"""

    name = "equal-time"
    title = "Equal time of training"
    question = "How far is each local rule from backprop after the same seconds of training?"

    def sources(self, plan: StudyPlan) -> tuple[str, ...]:
        """What is always at hand; a larger size has CIFAR-10 too."""
        return ("fashion_mnist_subset",) if plan.size == "quick" else ("fashion_mnist_subset", "cifar10")

    def with_history(self, row: Row, metrics: Callable[[str], Any]) -> Row:
        """With ``curves``: method → (seconds of training so far, validation accuracy) after each epoch."""
        return row | {
            "curves": {method: _curve(metrics(run)) for method, run in row["runs"].items() if method != LONGER}
        }

    def conclude(self, plan: StudyPlan, rows: Sequence[Row]) -> Conclusion:
        """Differences, what each method trained in its time, and how accurate it was when."""
        found = super().conclude(plan, rows)
        timed = [row for row in rows if row.get("curves")]
        if timed and plan.chosen:
            found.tables.append(_table(plan, timed))
            found.figures.append(_figure(timed))
            found.notes += _apart(timed)
        return found


def _curve(table: Any) -> list[tuple[float, float]]:
    found: dict[str, list[float]] = {"train_seconds": [], "validation_accuracy": []}
    for entry in table.sort_by("epoch").to_pylist():
        if entry["block"] in ("all", "fused") and entry["metric"] in found:
            found[entry["metric"]].append(entry["value"])
    return list(zip(accumulate(found["train_seconds"]), found["validation_accuracy"], strict=True))


def _seconds(rows: Sequence[Row], method: str) -> list[float]:
    """Of training, a value a seed."""
    return [row["curves"][method][-1][0] for row in rows]


def _table(plan: StudyPlan, rows: Sequence[Row]) -> Table:
    body = []
    for (rule, data), part in group_rows(rows, "rule", "data").items():
        for method, choice in plan.chosen[rule][data].items():
            body.append(
                {"rule": rule, "data": data, "method": called(rule, method), "steps": choice.settings["recipe.steps"],
                 "step": choice.seconds_per_step, "seconds": estimate(_seconds(part, method))}
            )  # fmt: skip
    return Table(
        caption="What each method trained in the time of BP",
        columns=(
            Column(key="rule", label="rule"), Column(key="data", label="data set"), Column(key="method", label="method"),
            Column(key="steps", label="steps", kind="int"), Column(key="step", label="seconds a step, timed before", kind="number"),
            Column(key="seconds", label="seconds of training", kind="number"),
        ),
        rows=tuple(body),
    )  # fmt: skip


def _figure(rows: Sequence[Row]) -> Figure:
    """Validation accuracy after each epoch against seconds of training, means over seeds."""
    series = [
        Series(name=called(rule, method), panel=f"{rule}, {data}", points=tuple(_points(part, method)))
        for (rule, data), part in group_rows(rows, "rule", "data").items()
        for method in part[0]["curves"]
    ]
    return Figure(
        name="equal-time-curves",
        caption="Validation accuracy after each epoch against seconds of training. 95 % intervals over seeds.",
        x=Axis(label="seconds of training", unit="s"),
        y=Axis(label="validation accuracy", unit="%"),
        series=tuple(series),
    )


def _points(rows: Sequence[Row], method: str) -> Iterator[Point]:
    for spots in zip(*(row["curves"][method] for row in rows), strict=True):
        yield Point(x=sum(seconds for seconds, _ in spots) / len(spots), y=estimate([value for _, value in spots]))


def _apart(rows: Sequence[Row]) -> list[str]:
    """Where a method had another time than BP after all: paces are timed before, and a machine may change its own."""
    notes = []
    for (rule, data), part in group_rows(rows, "rule", "data").items():
        whole = sum(_seconds(part, "bp"))
        for method in part[0]["curves"]:
            share = sum(_seconds(part, method)) / whole
            if abs(share - 1) > APART:
                notes.append(
                    f"{called(rule, method)} of {rule} on {data} trained {ratio(share)} the seconds of BP: its pace was another than when "
                    "it was timed."
                )
    return notes
