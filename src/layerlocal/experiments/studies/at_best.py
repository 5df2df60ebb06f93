"""`layerlocal study best`: the trials of every method, then the study with what they found for each. Both go on where they were cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from layerlocal.experiments.driver import How, Missing, Refusal, Round, forecast, prepare, run
from layerlocal.experiments.places import Place
from layerlocal.experiments.stored import TRIALS, read_plan
from layerlocal.experiments.studies.base import StudyPlan
from layerlocal.experiments.studies.best import BestStudy
from layerlocal.experiments.studies.choice import Choice, SearchPlan
from layerlocal.experiments.studies.driver import Studied
from layerlocal.experiments.studies.trials import choose, planned_trials
from layerlocal.experiments.tune import refuse_unfair
from layerlocal.runs.store import RunStore
from layerlocal.summary import Summary
from layerlocal.types import InputError

__all__ = ["forecast_best", "run_best"]

Chosen = Mapping[str, Mapping[str, Mapping[str, Choice]]]


@dataclass(frozen=True)
class AtBest(Studied):
    """The runs that are judged.

    Args:
        search: how settings were searched.
        chosen: rule → data set → method → what was found.
        without: (rule, position of the data set) → why nothing was.
    """

    search: SearchPlan | None = None
    chosen: Chosen = field(default_factory=dict)
    without: Mapping[tuple[str, int], str] = field(default_factory=dict)

    def plan(self, out: Path, how: How) -> StudyPlan:
        """With what was found; seeds that judged no trial, and one way of searching in one folder."""
        plan, search = super().plan(out, how), self.search
        assert search is not None
        before = read_plan(out, self.study.name, self.size)
        if before is not None and before.search is not None and before.search != search:
            raise InputError(
                f"{out} holds the study 'best' at this size after {before.search.words} "
                f"({', '.join(d.text for d in before.search.space)}); give another folder with --out for another search"
            )
        refuse_unfair(search.space, plan.rules, plan.settings)
        used = sorted({*plan.seeds} & {*search.seed_list})
        if used:
            raise InputError(
                f"seed {used[0]} is one of the trials, which the settings were chosen by; give other --seeds"
            )
        if plan.settings.get("data.validation") == 0:
            raise InputError(
                "trials are judged on the validation split, and data.validation is 0; give it a share such as 0.1"
            )
        return plan.model_copy(update={"search": search, "chosen": {k: dict(v) for k, v in self.chosen.items()}})

    def refused(self, plan: StudyPlan) -> dict[Any, Refusal]:
        """Also what has no settings."""
        return super().refused(plan) | {at: Refusal(reason) for at, reason in self.without.items()}


@dataclass(frozen=True)
class Trials(AtBest):
    """The runs that settings are chosen by; they are kept apart from those that open the test split."""

    store = TRIALS

    def place(self, out: Path, plan: StudyPlan) -> Place:
        """Beside the study's own folder."""
        return Place(out, self.folder)

    @property
    def folder(self) -> str:
        """Its name."""
        return f"{self.study.name}-{self.size}-trials"

    def jobs(self, plan: StudyPlan) -> Round:
        """Point by point, so that an interrupted search has whole ones."""
        trials = sorted(planned_trials(self.study, plan), key=lambda trial: trial.number)
        return {
            (t.rule, seed, t.position, (t.method, t.number)): spec for t in trials for seed, spec in t.specs.items()
        }

    def looked_at(self, plan: StudyPlan, jobs: Round) -> Round:
        """Seeds are alike."""
        assert plan.search is not None
        return {key: spec for key, spec in jobs.items() if key[1] == plan.search.seed_list[0]}

    def conclude(self, out: Path, plan: StudyPlan, missing: Sequence[Missing], how: How) -> Summary:
        """What every trial was worth."""
        trials = list(planned_trials(self.study, plan))
        chosen, _ = choose(trials, RunStore(out / TRIALS), _reasons(missing))
        rows = [
            {"rule": rule, "data": data, "method": method, "trial": number, **trial.settings, "validation": trial.value, "reason": trial.reason}
            for rule, by_data in chosen.items()
            for data, by_method in by_data.items()
            for method, choice in by_method.items()
            for number, trial in enumerate(choice.trials)
        ]  # fmt: skip
        return Summary(
            experiment="tune", name=self.folder, title="Trials of each method at its best", size=plan.size,
            command=plan.command, rules=plan.rules, rows=tuple(rows),
        )  # fmt: skip


def run_best(out: Path, *, size: str, search: SearchPlan, command: str = "", how: How, **asked: Any) -> Any:
    """Make the trials that are not made yet, then the runs with what they found, and conclude.

    Args:
        out: the run store; the runs of trials are kept in its folder ``tune``.
        size: see `SIZES`.
        search: how settings are searched (`search_of`).
        command: noted beside the numbers.
        how: where runs are made.
        **asked: of `Studied`: ``rules``, ``seeds``, ``data``, ``settings``.

    Raises:
        InputError: as `run_study`; a space that is none, or not the same for all; a method of which no trial ended, where that leaves none.
    """
    study = BestStudy()
    trials = Trials(study, size, search=search, command=command, **asked)
    run(trials, out, how)
    place = Place(out, trials.folder)
    plan = StudyPlan.model_validate(place.plan.read())
    missing = [Missing(**entry) for entry in place.missing.read(kind=list)]
    chosen, without = choose(list(planned_trials(study, plan)), RunStore(out / TRIALS), _reasons(missing))
    at_best = AtBest(study, size, search=search, command=command, chosen=chosen, without=without, **asked)
    return run(at_best, out, how)


def forecast_best(out: Path, *, size: str, search: SearchPlan, how: How, **asked: Any) -> dict[str, Any]:
    """What `run_best` would train and for how long (`layerlocal.experiments.driver.forecast`), ``trials`` of it to choose by. Writes nothing.

    Raises:
        InputError: as `run_best`.
    """
    study = BestStudy()
    trials = Trials(study, size, search=search, **asked)
    ready = prepare(trials, out, how)
    first = trials.forecast(ready.plan, ready.kept, ready.shop)
    quiet = replace(how, console=Console(quiet=True))
    chosen: Chosen = {}
    without: Mapping[tuple[str, int], str] = {}
    searched = first["planned"] == first["finished"]
    if searched:
        chosen, without = choose(
            list(planned_trials(study, ready.plan)), RunStore(out / TRIALS), _reasons(ready.missing)
        )
    then = forecast(AtBest(study, size, search=search, chosen=chosen, without=without, **asked), out, quiet)
    return then | {
        "trials": first["planned"],
        "planned": first["planned"] + then["planned"],
        "finished": first["finished"] + (then["finished"] if searched else 0),
        "seconds": first["seconds"] + then["seconds"],
        "left_out": len({name for entry in ready.missing for name in entry.runs}) + then["left_out"],
    }


def _reasons(missing: Sequence[Missing]) -> dict[str, str]:
    return {name: entry.reason for entry in missing for name in entry.runs}
