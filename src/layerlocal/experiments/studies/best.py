"""Study `best`: rules and their twins, each method with settings of its own, which as many trials on validation data found for it.

The trials come first (`layerlocal.experiments.studies.trials`): the same points, seeds and length for every method. The runs that are judged
have other seeds, and each opens the test split once, after its last epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from layerlocal.experiments.studies.accuracy import AccuracyStudy
from layerlocal.experiments.studies.base import Conclusion, Row, StudyPlan, quantity
from layerlocal.experiments.studies.choice import Choice, SearchPlan, Trial, best_of
from layerlocal.experiments.studies.parts import called
from layerlocal.experiments.studies.scale import Scale, trained_options, trained_scale_of
from layerlocal.experiments.tune import Dimension, of_rule, settings_words
from layerlocal.stats import estimate
from layerlocal.summary import Axis, Column, Figure, Point, Series, Table
from layerlocal.words import percent

__all__ = ["BestStudy"]

DATA = {
    "quick": ("fashion_mnist_subset",),
    "medium": ("fashion_mnist_subset", "cifar10"),
    "standard": ("cifar10",),
    "full": ("cifar10", "cifar100"),
}
"""Size → data sets: what fits into its time, and at the smallest what is always at hand."""
Found = tuple[str, str, str, Choice]
"""Rule, data set, method and what was chosen for it."""


class BestStudy(AccuracyStudy):
    """How far are rules from backprop when nobody's settings are another's?"""

    name = "best"
    title = "Each method at its best"
    question = "How far is each local rule from backprop when every method has its own best settings?"

    def sources(self, plan: StudyPlan) -> tuple[str, ...]:
        """Few, as every one is searched."""
        return DATA[plan.size]

    def scale(self, plan: StudyPlan) -> Scale:
        """Its own where networks are trained to their end."""
        return trained_scale_of(plan)

    def options(self, plan: StudyPlan, rule: str) -> dict[str, Any]:
        """Labels are smoothed there, for every method alike."""
        return trained_options(plan, rule)

    def conclude(self, plan: StudyPlan, rows: Sequence[Row]) -> Conclusion:
        """Differences, and what was chosen for each method out of what."""
        found = super().conclude(plan, rows)
        choices = [
            (rule, data, method, choice)
            for rule, by_data in plan.chosen.items()
            for data, by_method in by_data.items()
            for method, choice in by_method.items()
        ]
        if plan.search is None or not choices:
            return found
        for rule, data, method, choice in choices:
            values = dict(zip(plan.search.seed_list, _best(choice).values, strict=True))
            found.quantities.setdefault(rule, {})[f"validation/{method}/{data}"] = quantity(
                f"validation accuracy of {called(rule, method)} on {data}, best of its trials", values, unit="%"
            )
        found.sentences += [_sentence(one, plan.search) for one in choices]
        found.tables.append(_table(choices, plan.search))
        found.figures += _figures(choices, plan.search)
        found.notes += [*_notes(plan.search), *_failed(choices), *_edges(choices, plan.search)]
        return found


def _best(choice: Choice) -> Trial:
    best = best_of(choice.trials)
    assert best is not None and best.settings == choice.settings
    return best


def _usual(choice: Choice) -> float | None:
    """What the settings as they are were worth, where they were tried."""
    return next((trial.value for trial in choice.trials if trial.settings == choice.usual), None)


def _sentence(one: Found, search: SearchPlan) -> str:
    rule, data, method, choice = one
    whose = rule if method == "local" else f"{called(rule, method)} of {rule}"
    usual = _usual(choice)
    as_it_is = "" if usual is None else f", as it is {percent(usual)}"
    return (
        f"{whose} on {data}: {settings_words(choice.settings)}, the best of {len(choice.trials)} trials "
        f"(validation accuracy {percent(_best(choice).value)}{as_it_is})."
    )


def _table(choices: Sequence[Found], search: SearchPlan) -> Table:
    keys = list(dict.fromkeys(dimension.key for dimension in search.space))
    body = []
    for rule, data, method, choice in choices:
        best, ended = _best(choice), sum(trial.value is not None for trial in choice.trials)
        body.append(
            {"rule": rule, "data": data, "method": called(rule, method), **choice.settings, "validation": estimate(best.values),
             "usual": _usual(choice), "trials": f"{ended} of {len(choice.trials)}"}
        )  # fmt: skip
    return Table(
        caption=f"Settings of each method: the best of {search.words}",
        columns=(
            Column(key="rule", label="rule"), Column(key="data", label="data set"), Column(key="method", label="method"),
            *(Column(key=key, label=key, kind=_kind(key, search)) for key in keys),
            Column(key="validation", label="best validation accuracy", kind="percent"),
            Column(key="usual", label="as it is", kind="percent"), Column(key="trials", label="trials that ended"),
        ),
        rows=tuple(body),
    )  # fmt: skip


def _kind(key: str, search: SearchPlan) -> Literal["text", "number"]:
    return "text" if any(d.key == key and d.kind == "choices" for d in search.space) else "number"


def _figures(choices: Sequence[Found], search: SearchPlan) -> Iterator[Figure]:
    """A figure a setting: every trial, a panel a rule and data set, a series a method."""
    scales: dict[str, Literal["log2", "linear", "category"]] = {
        "log": "log2",
        "linear": "linear",
        "choices": "category",
    }
    for key in dict.fromkeys(dimension.key for dimension in search.space):
        series = []
        for rule, data, method, choice in choices:
            tried = [trial for trial in choice.trials if key in trial.settings and trial.value is not None]
            points = [
                Point(x=trial.settings[key], y=trial.value, label=settings_words(trial.settings)) for trial in tried
            ]
            series.append(Series(name=called(rule, method), panel=f"{rule}, {data}", points=tuple(points)))
        kind = next(dimension.kind for dimension in search.space if dimension.key == key)
        yield Figure(
            name=f"best-{key.replace('.', '-')}",
            kind="points",
            caption=f"Validation accuracy of every trial, mean of {search.seeds} seeds, against {key}. The test split stayed closed.",
            x=Axis(label=key, scale=scales[kind]),
            y=Axis(label="validation accuracy", unit="%"),
            series=tuple(series),
        )


def _notes(search: SearchPlan) -> list[str]:
    trained = "" if search.length == 1 else f" Trials train {search.length:.3g} as long as the runs that are judged."
    return [
        f"Settings: {search.words}. The highest mean validation accuracy decides, of equal ones the first of the list; its own value is too "
        f"high by chance, the runs of the tables have other seeds.{trained}"
    ]


def _failed(choices: Sequence[Found]) -> list[str]:
    """Trials without a value count as trials; where there are some, a note says so."""
    found = []
    for rule, data, method, choice in choices:
        failed = [trial for trial in choice.trials if trial.value is None]
        if failed:
            found.append(
                f"{called(rule, method)} of {rule} on {data}: {len(failed)} of {len(choice.trials)} trials did not end; "
                f"the first, {settings_words(failed[0].settings)}: {failed[0].reason}"
            )
    return found


def _edges(choices: Sequence[Found], search: SearchPlan) -> list[str]:
    """The best at the edge of its space: a better one may lie beyond it."""

    def at_edge(rule: str, choice: Choice) -> Iterator[tuple[Dimension, str]]:
        for dimension in of_rule(search.space, rule):
            if dimension.key not in choice.settings:
                continue
            side = dimension.edge(choice.settings[dimension.key])
            if side is not None:
                yield dimension, side

    return [
        f"{called(rule, method)} of {rule} on {data}: its best {settings_words({d.key: choice.settings[d.key]})} is at the {side} edge of what "
        f"was tried ({d.text.partition('=')[2]}); a better one may lie beyond it."
        for rule, data, method, choice in choices
        for d, side in at_edge(rule, choice)
    ]
