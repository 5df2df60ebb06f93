"""A study by its name, with whatever has to be found before it begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from layerlocal.experiments.driver import How, forecast, run
from layerlocal.experiments.studies import find_study
from layerlocal.experiments.studies.at_best import forecast_best, run_best
from layerlocal.experiments.studies.base import SIZES
from layerlocal.experiments.studies.best import BestStudy
from layerlocal.experiments.studies.choice import SearchPlan, search_of
from layerlocal.experiments.studies.driver import Studied
from layerlocal.experiments.studies.equal_time import EqualTimeStudy
from layerlocal.experiments.studies.paced import forecast_paced, run_paced
from layerlocal.types import InputError, unknown_name

__all__ = ["forecast_study", "run_study"]


def run_study(out: Path, name: str, **asked: Any) -> Any:
    """Finish the runs of a study that are not finished yet, and give its summary.

    Args:
        out: the run store.
        name: see `STUDIES`.
        **asked: ``size``, ``rules``, ``seeds``, ``data``, ``settings``, ``command`` of `Studied`; ``space``, ``trials``, ``trial_seeds`` of
            the study `best` (`search_of`); ``workers``, ``ray``, ``device``, ``reread``, ``console`` of
            `layerlocal.experiments.driver.How`.

    Raises:
        InputError: unknown study, size or rule; data that do not fit the study; a store that cannot be written.
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
    """One thing that is done with a study: of the study `best`, of `equal-time`, and of every other."""

    best: Callable[..., Any]
    paced: Callable[..., Any]
    other: Callable[[Studied, Path, How], Any]


_RUN = _Ways(run_best, run_paced, run)
_FORECAST = _Ways(forecast_best, forecast_paced, forecast)


def _call(
    ways: _Ways,
    out: Path,
    name: str,
    *,
    size: str = "quick",
    rules: Sequence[str] = ("class-goodness",),
    seeds: int | Sequence[int] = 3,
    data: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    space: Sequence[str] = (),
    trials: int | None = None,
    trial_seeds: int | None = None,
    command: str = "",
    **here: Any,
) -> Any:
    study, search, how = find_study(name), _search(name, size, space, trials, trial_seeds), How.of(**here)
    asked: dict[str, Any] = {
        "size": size, "rules": rules, "seeds": seeds, "data": data, "settings": settings or {}, "command": command,
    }  # fmt: skip
    if search is not None:
        return ways.best(out, search=search, how=how, **asked)
    if isinstance(study, EqualTimeStudy):
        return ways.paced(out, how=how, **asked)
    return ways.other(Studied(study, **asked), out, how)


def _search(
    name: str, size: str, space: Sequence[str], trials: int | None, trial_seeds: int | None
) -> SearchPlan | None:
    """How settings are searched; nothing for studies that search none."""
    if size not in SIZES:
        raise unknown_name("size", size, SIZES)
    if name == BestStudy.name:
        return search_of(size, space=space, trials=trials, trial_seeds=trial_seeds)
    given = {"--space": space, "--trials": trials, "--trial-seeds": trial_seeds}
    for option, value in given.items():
        if value:
            raise InputError(
                f"{option} is of the study {BestStudy.name!r}; the study {name!r} searches nothing, so leave it out"
            )
    return None
