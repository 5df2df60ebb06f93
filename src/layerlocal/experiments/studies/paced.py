"""`layerlocal study equal-time`: a step of every method is timed, then each trains as many as BP's time holds. The plan keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

from layerlocal.data.task import task_of
from layerlocal.experiments.driver import How, Round, forecast, prepare, run
from layerlocal.experiments.stored import read_plan
from layerlocal.experiments.studies.base import StudyPlan
from layerlocal.experiments.studies.choice import Choice
from layerlocal.experiments.studies.controls import LONGER
from layerlocal.experiments.studies.driver import Studied
from layerlocal.experiments.studies.equal_time import EqualTimeStudy
from layerlocal.runs.forecast import forecast_seconds
from layerlocal.spec import RunSpec

__all__ = ["forecast_paced", "paces", "run_paced"]

ROUNDS = 5
"""In which methods take turns."""
STEPS = 8
"""That are timed a round."""

Chosen = dict[str, dict[str, dict[str, Choice]]]


@dataclass(frozen=True)
class Paced(Studied):
    """The runs.

    Args:
        chosen: rule → data set → method → steps.
    """

    chosen: Chosen = field(default_factory=dict)

    def plan(self, out: Path, how: How) -> StudyPlan:
        """With the steps of each method."""
        return super().plan(out, how).model_copy(update={"chosen": self.chosen})


def run_paced(out: Path, *, how: How, **asked: Any) -> Any:
    """Time what is not timed yet, finish the runs that are not finished yet, and conclude.

    Args:
        out: the run store.
        how: where runs are made.
        **asked: of `Studied`.

    Raises:
        InputError: as `run_study`.
    """
    untimed = Paced(EqualTimeStudy(), **asked)
    ready = prepare(untimed, out, how)
    chosen = _known(out, asked["size"])
    with how.console.status("timing steps of every method"):
        for rule, data, specs in _untimed(ready.plan, ready.kept, chosen):
            chosen.setdefault(rule, {})[data] = _equal(specs, paces(specs, how.device))
    return run(Paced(EqualTimeStudy(), chosen=chosen, **asked), out, how)


def forecast_paced(out: Path, *, how: How, **asked: Any) -> dict[str, Any]:
    """What `run_paced` would train and for how long (`layerlocal.experiments.driver.forecast`), from steps that are only estimated where they
    are not timed yet. Writes nothing.

    Raises:
        InputError: as `run_paced`.
    """
    untimed = Paced(EqualTimeStudy(), **asked)
    ready = prepare(untimed, out, how)
    chosen = _known(out, asked["size"])
    for rule, data, specs in _untimed(ready.plan, ready.kept, chosen):
        took = dict(zip(specs, forecast_seconds(list(specs.values()), device=how.device), strict=True))
        chosen.setdefault(rule, {})[data] = _equal(specs, {name: took[name] / _steps(specs[name]) for name in specs})
    return forecast(Paced(EqualTimeStudy(), chosen=chosen, **asked), out, how)


def _known(out: Path, size: str) -> Chosen:
    """What an earlier call timed: a study that goes on has the steps that it began with."""
    before = read_plan(out, EqualTimeStudy.name, size)
    return {} if before is None else {rule: dict(found) for rule, found in before.chosen.items()}


def _untimed(plan: StudyPlan, kept: Round, chosen: Chosen) -> list[tuple[str, str, dict[str, RunSpec]]]:
    """Rule, data set and one run of each method, of those that have no steps yet."""
    first = [key for key in kept if key[1] == plan.seeds[0]]
    cells = {(rule, place): list(keys) for (rule, place), keys in groupby(first, key=lambda key: (key[0], key[2]))}
    found = []
    for (rule, _), keys in cells.items():
        specs = {key[3]: kept[key] for key in keys if key[3] != LONGER}
        data = specs["bp"].data.source
        if data not in chosen.get(rule, {}):
            found.append((rule, data, specs))
    return found


def paces(specs: Mapping[str, RunSpec], device: str) -> dict[str, float]:
    """Method → seconds of a training step on one thread, the median of `ROUNDS` rounds in which all take turns."""
    from layerlocal.runs.run import build
    from layerlocal.runs.timing import measure_pace, one_thread
    from layerlocal.training.train import Training

    trainings = {}
    for method, spec in specs.items():
        data, rule = build(spec)
        trainings[method] = Training(rule, data, spec.recipe, seed=spec.seed, device=device)
    with one_thread():
        rounds = [{method: measure_pace(one, STEPS).step for method, one in trainings.items()} for _ in range(ROUNDS)]
    return {method: median(each[method] for each in rounds) for method in specs}


def _steps(spec: RunSpec) -> int:
    """Of the run as its recipe says."""
    return spec.recipe.count_steps(task_of(spec.data).num_train // spec.recipe.batch_size)


def _equal(specs: Mapping[str, RunSpec], pace: Mapping[str, float]) -> dict[str, Choice]:
    """Method → as many steps as fit into the time that BP takes for its own."""
    seconds = _steps(specs["bp"]) * pace["bp"]
    return {
        method: Choice(settings={"recipe.steps": max(1, round(seconds / pace[method]))}, seconds_per_step=pace[method])
        for method in specs
    }
