"""The trials of a study of methods at their best: runs of its own plan with other seeds, judged on validation data, at one list of points."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from layerlocal.experiments.studies.base import Study, StudyPlan, plan_runs
from layerlocal.experiments.studies.choice import Choice, SearchPlan, Trial, best_of
from layerlocal.experiments.studies.controls import LONGER, ORDINARY
from layerlocal.experiments.tune import Dimension, of_rule, setting_of, shared_points
from layerlocal.runs.store import RunStore
from layerlocal.spec import RunSpec
from layerlocal.types import InputError

__all__ = ["PlannedTrial", "choose", "planned_trials"]

POINTS_SEED = 0
"""Of the list of points."""
VALIDATION = 0.2
"""Share of the training images that judge a trial, unless the plan sets one: twice the usual, as nothing is chosen by chance for less."""


@dataclass(frozen=True)
class PlannedTrial:
    """Settings of one method of one cell, and the runs that they are judged by.

    Args:
        rule, position, data, method: whose.
        number: in the list.
        settings: what is tried, dotted.
        usual: the same settings as they are.
        specs: seed → run.
    """

    rule: str
    position: int
    data: str
    method: str
    number: int
    settings: dict[str, Any]
    usual: dict[str, Any]
    specs: dict[int, RunSpec]


def planned_trials(study: Study, plan: StudyPlan) -> Iterator[PlannedTrial]:
    """Every trial of every rule, data set and method."""
    search = plan.search
    assert search is not None
    unchosen = plan.model_copy(update={"seeds": search.seed_list, "chosen": {}})
    judged = plan_runs(study, unchosen)
    first = [key for key in judged if key[1] == search.seed_list[0]]
    for (rule, position), keys in groupby(first, key=lambda key: (key[0], key[2])):
        methods = [key[3] for key in keys if key[3] != LONGER]  # which has the settings of ordinary BP
        space = of_rule(search.space, rule)
        specs = {
            method: {seed: judged[rule, seed, position, method] for seed in search.seed_list} for method in methods
        }
        usual = {
            method: {d.key: setting_of(of[search.seed_list[0]], d.key) for d in space if is_of(d.key, method)}
            for method, of in specs.items()
        }
        _refuse_without_usual(space, usual)
        whole = [found for found in usual.values() if len(found) == len(space)]
        points = shared_points(space, whole, search.trials, seed=POINTS_SEED)
        data = study.cells(unchosen, rule, search.seed_list[0])[position].at["data"]
        for number, settings in enumerate(points):
            for method, of in specs.items():
                own = {key: value for key, value in settings.items() if is_of(key, method)}
                runs = {seed: _trial_run(spec, plan, search, own) for seed, spec in of.items()}
                yield PlannedTrial(rule, position, data, method, number, own, usual[method], runs)


def _refuse_without_usual(space: Sequence[Dimension], usual: Mapping[str, Mapping[str, Any]]) -> None:
    """What is usual is a trial of every method, so that a search cannot make one worse than it was.

    Raises:
        InputError: a dimension that does not hold it.
    """
    for dimension in space:
        for method, settings in usual.items():
            if dimension.key in settings and not dimension.holds(settings[dimension.key]):
                raise InputError(
                    f"--space {dimension.text} does not hold {dimension.key}={settings[dimension.key]}, which {method} has unless it is "
                    "searched; widen it, or set another value with --set"
                )


def is_of(key: str, method: str) -> bool:
    """Whether a setting is one of a method: ordinary BP has no options of rules."""
    return method != ORDINARY or not key.startswith("rule.")


def _trial_run(spec: RunSpec, plan: StudyPlan, search: SearchPlan, settings: Mapping[str, Any]) -> RunSpec:
    """The run that would be judged, with these settings, as long as trials are, and a test split that stays closed."""
    length, epochs, steps = search.length, spec.recipe.epochs, spec.recipe.steps
    shorter = {"recipe.epochs": max(1, round(length * epochs)), "recipe.steps": steps and max(1, round(length * steps))}
    validation = {} if "data.validation" in plan.settings else {"data.validation": VALIDATION}
    return spec.with_settings({**shorter, **validation, **settings, "judged_on": "validation"})


def choose(
    trials: Sequence[PlannedTrial], store: RunStore, reasons: Mapping[str, str]
) -> tuple[dict[str, dict[str, dict[str, Choice]]], dict[tuple[str, int], str]]:
    """What is chosen for each method, and where one of a cell has none, why.

    Args:
        trials: `planned_trials`, each with as many finished runs as there will be.
        store: that has them.
        reasons: hash → why a run has no result.

    Returns:
        Rule → data set → method → choice; and (rule, position) → reason.
    """
    cells: dict[tuple[str, int, str], dict[str, list[PlannedTrial]]] = {}
    for trial in trials:
        cells.setdefault((trial.rule, trial.position, trial.data), {}).setdefault(trial.method, []).append(trial)
    chosen: dict[str, dict[str, dict[str, Choice]]] = {}
    without: dict[tuple[str, int], str] = {}
    for (rule, position, data), methods in cells.items():
        choices = {}
        for method, made in methods.items():
            found = [_worth(trial, store, reasons) for trial in made]
            best = best_of(found)
            if best is None:
                why = f"no trial of {method} of {rule} on {data} ended: {found[0].reason}"
                without.setdefault((rule, position), why)
                continue
            choices[method] = Choice(settings=best.settings, usual=made[0].usual, trials=tuple(found))
        if (rule, position) not in without:
            chosen.setdefault(rule, {})[data] = choices
    return chosen, without


def _worth(trial: PlannedTrial, store: RunStore, reasons: Mapping[str, str]) -> Trial:
    missing = [spec for spec in trial.specs.values() if not store.is_done(spec)]
    if missing:
        return Trial(settings=trial.settings, reason=reasons.get(missing[0].hash, "not run yet"))
    values = [store.load(spec.hash).result["validation_accuracy"] for spec in trial.specs.values()]
    return Trial(settings=trial.settings, values=tuple(values))
