"""Study `equal-time`: rules and their twins, each trained as long as BP takes for the recipe.

A step of every method is timed before the first run (`layerlocal.experiments.studies.paced`), in turns on one thread; whoever is twice as fast
makes twice the steps, over which its learning rate falls to 0. The clock runs for training only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from layerlocal.experiments.studies.base import Conclusion, Row, StudyPlan, group_rows
from layerlocal.experiments.studies.choice import Choice
from layerlocal.experiments.studies.controls import LONGER
from layerlocal.experiments.studies.equal import EqualStudy, seconds_of, steps_of
from layerlocal.experiments.studies.parts import called
from layerlocal.spec import RunSpec
from layerlocal.words import ratio

__all__ = ["EqualTimeStudy"]

APART = 0.1
"""A share of BP's time by which a method may miss it before a note says so."""


class EqualTimeStudy(EqualStudy):
    """Is a rule that is faster also better for it?"""

    name = "equal-time"
    title = "Equal time of training"
    question = "How far is each local rule from backprop after the same seconds of training?"
    spending = "What each method trained in the time of BP"

    def timed(self, methods: Sequence[str]) -> tuple[str, ...]:
        """All but ordinary BP with twice the steps, which has the settings of ordinary BP."""
        return tuple(method for method in methods if method != LONGER)

    def settle(self, specs: Mapping[str, RunSpec], pace: Mapping[str, float], *, roughly: bool) -> dict[str, Choice]:
        """As many steps as fit into the time that BP takes for its own."""
        seconds = steps_of(specs["bp"]) * pace["bp"]
        return {
            method: Choice(
                settings={"recipe.steps": max(1, round(seconds / pace[method]))}, seconds_per_step=pace[method]
            )
            for method in specs
        }

    def conclude(self, plan: StudyPlan, rows: Sequence[Row]) -> Conclusion:
        """With a note on whoever had another time after all."""
        found = super().conclude(plan, rows)
        if plan.chosen:
            found.notes += _apart([row for row in rows if row.get("curves")])
        return found


def _apart(rows: Sequence[Row]) -> list[str]:
    """Where a method had another time than BP after all: paces are timed before, and a machine may change its own."""
    notes = []
    for (rule, data), part in group_rows(rows, "rule", "data").items():
        whole = sum(seconds_of(part, "bp"))
        for method in part[0]["curves"]:
            share = sum(seconds_of(part, method)) / whole
            if abs(share - 1) > APART:
                notes.append(
                    f"{called(rule, method)} of {rule} on {data} trained {ratio(share)} the seconds of BP: its pace was another than when "
                    "it was timed."
                )
    return notes
