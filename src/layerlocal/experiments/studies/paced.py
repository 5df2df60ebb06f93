"""Studies at equal cost: steps are timed, then each method trains with what follows from it for it. The plan keeps that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

from layerlocal.experiments.driver import How, Round, forecast, prepare, run
from layerlocal.experiments.stored import read_plan
from layerlocal.experiments.studies.base import StudyPlan
from layerlocal.experiments.studies.choice import Choice
from layerlocal.experiments.studies.driver import Studied
from layerlocal.experiments.studies.equal import EqualStudy, steps_of
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
        chosen: rule → data set → method → what was settled.
    """

    chosen: Chosen = field(default_factory=dict)

    def plan(self, out: Path, how: How) -> StudyPlan:
        """With what was settled."""
        return super().plan(out, how).model_copy(update={"chosen": self.chosen})


def run_paced(out: Path, study: EqualStudy, *, how: How, **asked: Any) -> Any:
    """Time what is not timed yet, finish the runs that are not finished yet, and conclude.

    Args:
        out: the run store.
        study: one at equal cost.
        how: where runs are made.
        **asked: of `Studied`.

    Raises:
        InputError: as `run_study`.
    """
    ready = prepare(Paced(study, **asked), out, how)
    chosen = _known(out, study, asked["size"])
    with how.console.status("timing steps of every method"):
        for rule, data, specs in _untimed(study, ready.plan, ready.kept, chosen):
            chosen.setdefault(rule, {})[data] = study.settle(specs, paces(specs, how.device), roughly=False)
    return run(Paced(study, chosen=chosen, **asked), out, how)


def forecast_paced(out: Path, study: EqualStudy, *, how: How, **asked: Any) -> dict[str, Any]:
    """What `run_paced` would train and for how long (`layerlocal.experiments.driver.forecast`), from steps that are only estimated where they
    are not timed yet. Writes nothing.

    Raises:
        InputError: as `run_paced`.
    """
    ready = prepare(Paced(study, **asked), out, how)
    chosen = _known(out, study, asked["size"])
    for rule, data, specs in _untimed(study, ready.plan, ready.kept, chosen):
        took = dict(zip(specs, forecast_seconds(list(specs.values()), device=how.device), strict=True))
        pace = {name: took[name] / steps_of(specs[name]) for name in specs}
        chosen.setdefault(rule, {})[data] = study.settle(specs, pace, roughly=True)
    return forecast(Paced(study, chosen=chosen, **asked), out, how)


def _known(out: Path, study: EqualStudy, size: str) -> Chosen:
    """What an earlier call settled: a study that goes on has the steps that it began with."""
    before = read_plan(out, study.name, size)
    return {} if before is None else {rule: dict(found) for rule, found in before.chosen.items()}


def _untimed(
    study: EqualStudy, plan: StudyPlan, kept: Round, chosen: Chosen
) -> list[tuple[str, str, dict[str, RunSpec]]]:
    """Rule, data set and one run of each method that is timed, where nothing is settled yet."""
    first = [key for key in kept if key[1] == plan.seeds[0]]
    cells = {(rule, place): list(keys) for (rule, place), keys in groupby(first, key=lambda key: (key[0], key[2]))}
    found = []
    for (rule, _), keys in cells.items():
        runs = {key[3]: kept[key] for key in keys}
        specs = {method: runs[method] for method in study.timed(tuple(runs))}
        data = specs["local"].data.source
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
