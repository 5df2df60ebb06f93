"""Studies in which methods spend alike: what a step of each takes is measured before the first run, and settings of their own follow from it.

`layerlocal.experiments.studies.paced` times the steps; the plan keeps what was settled, so that a study that goes on keeps it too.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, ClassVar

from layerlocal.data.task import task_of
from layerlocal.experiments.studies.accuracy import AccuracyStudy
from layerlocal.experiments.studies.base import Conclusion, Row, StudyPlan, group_rows
from layerlocal.experiments.studies.choice import Choice
from layerlocal.experiments.studies.controls import LONGER
from layerlocal.experiments.studies.parts import called, columns
from layerlocal.spec import RunSpec
from layerlocal.stats import estimate
from layerlocal.summary import Axis, CellKind, Figure, Point, Series, Table

__all__ = ["EqualStudy", "seconds_of", "steps_of"]

SPENT: tuple[tuple[str, str, CellKind], ...] = (
    ("steps", "steps", "int"),
    ("parts", "micro-batches", "int"),
    ("step", "seconds a step, timed before", "number"),
    ("flops", "TFLOPs of training", "number"),
    ("bytes", "saved for backward", "bytes"),
    ("seconds", "seconds of training", "number"),
)


class EqualStudy(AccuracyStudy):
    """A study of accuracy whose methods have settings that follow from what their steps cost."""

    spending: ClassVar[str]
    """Caption of the table of what each method spent."""

    def sources(self, plan: StudyPlan) -> tuple[str, ...]:
        """What is always at hand; a larger size has CIFAR-10 too."""
        return ("fashion_mnist_subset",) if plan.size == "quick" else ("fashion_mnist_subset", "cifar10")

    @abstractmethod
    def timed(self, methods: Sequence[str]) -> tuple[str, ...]:
        """Whose steps are timed."""

    @abstractmethod
    def settle(self, specs: Mapping[str, RunSpec], pace: Mapping[str, float], *, roughly: bool) -> dict[str, Choice]:
        """What each method has.

        Args:
            specs: a run of each method that is `timed`.
            pace: seconds a step of each.
            roughly: for a forecast: nothing but the pace is known of a step, and nothing is measured.
        """

    def with_history(self, row: Row, metrics: Callable[[str], Any]) -> Row:
        """With ``curves``: method → (seconds of training so far, validation accuracy) after each epoch."""
        return row | {
            "curves": {method: _curve(metrics(run)) for method, run in row["runs"].items() if method != LONGER}
        }

    def conclude(self, plan: StudyPlan, rows: Sequence[Row]) -> Conclusion:
        """Differences, what each method spent, and how accurate it was when."""
        found = super().conclude(plan, rows)
        timed = [row for row in rows if row.get("curves")]
        if timed and plan.chosen:
            found.tables.append(_table(self.spending, plan, timed))
            found.figures.append(_figure(self.name, timed))
        return found


def steps_of(spec: RunSpec) -> int:
    """Of the run as its recipe says."""
    return spec.recipe.count_steps(task_of(spec.data).num_train // spec.recipe.batch_size)


def seconds_of(rows: Sequence[Row], method: str) -> list[float]:
    """Of training, a value a seed."""
    return [row["curves"][method][-1][0] for row in rows]


def _curve(table: Any) -> list[tuple[float, float]]:
    found: dict[str, list[float]] = {"train_seconds": [], "validation_accuracy": []}
    for entry in table.sort_by("epoch").to_pylist():
        if entry["block"] in ("all", "fused") and entry["metric"] in found:
            found[entry["metric"]].append(entry["value"])
    return list(zip(accumulate(found["train_seconds"]), found["validation_accuracy"], strict=True))


def _table(caption: str, plan: StudyPlan, rows: Sequence[Row]) -> Table:
    """A row for each method: what was settled and what was measured before, and the seconds that its training took."""
    body = []
    for (rule, data), part in group_rows(rows, "rule", "data").items():
        for method, choice in plan.chosen[rule][data].items():
            steps, flops, saved = choice.settings["recipe.steps"], choice.flops_per_step, choice.saved_bytes
            spent = {
                "steps": steps, "parts": choice.settings.get("recipe.micro_batches"), "step": choice.seconds_per_step,
                "flops": None if flops is None else steps * flops / 1e12, "bytes": saved,
                "seconds": estimate(seconds_of(part, method)),
            }  # fmt: skip
            body.append({"rule": rule, "data": data, "method": called(rule, method)} | spent)
    filled = [one for one in SPENT if any(row[one[0]] is not None for row in body)]
    head = columns(("rule", "rule", "text"), ("data", "data set", "text"), ("method", "method", "text"), *filled)
    return Table(caption=caption, columns=head, rows=tuple(body))


def _figure(study: str, rows: Sequence[Row]) -> Figure:
    """Validation accuracy after each epoch against seconds of training, means over seeds."""
    series = [
        Series(name=called(rule, method), panel=f"{rule}, {data}", points=tuple(_points(part, method)))
        for (rule, data), part in group_rows(rows, "rule", "data").items()
        for method in part[0]["curves"]
    ]
    return Figure(
        name=f"{study}-curves",
        caption="Validation accuracy after each epoch against seconds of training. 95 % intervals over seeds.",
        x=Axis(label="seconds of training", unit="s"),
        y=Axis(label="validation accuracy", unit="%"),
        series=tuple(series),
    )


def _points(rows: Sequence[Row], method: str) -> Iterator[Point]:
    for spots in zip(*(row["curves"][method] for row in rows), strict=True):
        yield Point(x=sum(seconds for seconds, _ in spots) / len(spots), y=estimate([value for _, value in spots]))
