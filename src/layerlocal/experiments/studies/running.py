"""A study by its name, with whatever has to be found before it begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from layerlocal.claims import least_seeds, load_claims
from layerlocal.data.text import find_text
from layerlocal.experiments.driver import How, forecast, run, seeds_of
from layerlocal.experiments.stored import read_plan
from layerlocal.experiments.studies import find_study
from layerlocal.experiments.studies.at_best import forecast_best, run_best
from layerlocal.experiments.studies.base import SIZES, StudyPlan
from layerlocal.experiments.studies.best import BestStudy
from layerlocal.experiments.studies.choice import SearchPlan, search_of
from layerlocal.experiments.studies.driver import Studied
from layerlocal.experiments.studies.equal import EqualStudy
from layerlocal.experiments.studies.paced import forecast_paced, run_paced
from layerlocal.experiments.studies.predicted import forecast_predicted, run_predicted
from layerlocal.experiments.studies.scaling import ScalingStudy
from layerlocal.types import InputError, unknown_name
from layerlocal.words import several, spoken

__all__ = ["forecast_study", "run_study"]


def run_study(out: Path, name: str, **asked: Any) -> Any:
    """Finish the runs of a study that are not finished yet, and give its summary.

    Args:
        out: the run store.
        name: see `STUDIES`.
        **asked: ``size``, ``rules``, ``seeds``, ``data``, ``settings``, ``controls``, ``command`` of `Studied`;
            ``space``, ``trials``, ``trial_seeds`` of
            the study `best` (`search_of`); ``workers``, ``ray``, ``device``, ``reread``, ``console`` of
            `layerlocal.experiments.driver.How`.

    Raises:
        InputError: unknown study, size or rule; data that do not fit the study; fewer seeds than any of its claims needs; a store that cannot
            be written.
    """
    return _call(_RUN, out, name, **asked)


def forecast_study(out: Path, name: str, **asked: Any) -> dict[str, Any]:
    """What `run_study` with the same arguments would do and for how long (`layerlocal.experiments.driver.forecast`). Writes nothing.

    Raises:
        InputError: as `run_study`.
    """
    found: dict[str, Any] = _call(_FORECAST, out, name, **asked)
    return found


class _Ways(NamedTuple):
    """One thing that is done with a study: of the study `best`, of those at equal cost, of `scaling`, and of every other."""

    best: Callable[..., Any]
    paced: Callable[..., Any]
    predicted: Callable[..., Any]
    other: Callable[[Studied, Path, How], Any]


_RUN = _Ways(run_best, run_paced, run_predicted, run)
_FORECAST = _Ways(forecast_best, forecast_paced, forecast_predicted, forecast)


def _call(
    ways: _Ways,
    out: Path,
    name: str,
    *,
    size: str = "quick",
    rules: Sequence[str] = (),
    seeds: int | Sequence[int] = 3,
    data: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    space: Sequence[str] = (),
    trials: int | None = None,
    trial_seeds: int | None = None,
    controls: bool = True,
    command: str = "",
    **here: Any,
) -> Any:
    study, search, how = find_study(name), _search(name, size, data, space, trials, trial_seeds), How.of(**here)
    rules = rules or study.usual
    if not data:
        _look_at_seeds(read_plan(out, name, size), name, rules, seeds, how)
    asked: dict[str, Any] = {
        "size": size, "rules": rules, "seeds": seeds, "data": data, "settings": settings or {}, "command": command,
        "controls": controls,
    }  # fmt: skip
    if search is not None:
        return ways.best(out, search=search, how=how, **asked)
    if isinstance(study, EqualStudy):
        return ways.paced(out, study, how=how, **asked)
    if isinstance(study, ScalingStudy):
        return ways.predicted(out, study, how=how, **asked)
    return ways.other(Studied(study, **asked), out, how)


def _look_at_seeds(
    before: StudyPlan | None, name: str, rules: Sequence[str], seeds: int | Sequence[int], how: How
) -> None:
    """Whether there will be as many seeds as our claims need, those of earlier calls among them. Seeds that are named may have others
    elsewhere: too few of them are only warned of.

    Raises:
        InputError: a number of seeds with which no claim of the study could be judged.
    """
    needs = {c.id: least_seeds(c) for c in load_claims().claims if c.study == name and c.rule in rules}
    planned = {*seeds_of(seeds), *(before.seeds if before else ())}
    if not needs or len(planned) >= max(needs.values()):
        return
    short = [claim for claim, least in needs.items() if least > len(planned)]
    told = (
        f"{spoken(short)} cannot be judged by {several(len(planned), 'seed')}: a claim of the study {name!r} needs "
        f"{min(needs[claim] for claim in short)} or more"
    )
    if isinstance(seeds, int) and len(short) == len(needs):
        raise InputError(f"{told}; give more seeds, or name the one (0,) where others follow")
    how.console.print(f"warning: {told}", style="yellow", markup=False, highlight=False)


def _search(
    name: str, size: str, data: Sequence[str], space: Sequence[str], trials: int | None, trial_seeds: int | None
) -> SearchPlan | None:
    """How settings are searched; nothing for studies that search none."""
    if size not in SIZES:
        raise unknown_name("size", size, SIZES)
    if name == BestStudy.name:
        text = any(find_text(source) is not None for source in data)
        return search_of(size, space=space, trials=trials, trial_seeds=trial_seeds, text=text)
    given = {"--space": space, "--trials": trials, "--trial-seeds": trial_seeds}
    for option, value in given.items():
        if value:
            raise InputError(
                f"{option} is of the study {BestStudy.name!r}; the study {name!r} searches nothing, so leave it out"
            )
    return None
