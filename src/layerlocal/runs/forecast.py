"""About how long runs would take: usual kinds are known, a few others are timed, the rest goes by FLOPs. Nothing is stored."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from layerlocal.data.task import Task, task_of
from layerlocal.runs.environment import usual_workers
from layerlocal.runs.looks import Pace, find_look, keep_look, kind_of, pace_of, yardstick
from layerlocal.runs.pin import pin_all
from layerlocal.runs.preview import look_ahead
from layerlocal.runs.store import RunStore
from layerlocal.spec import RunSpec

__all__ = ["forecast_runs", "forecast_seconds", "known_seconds"]

UNKNOWN = Pace(0.0, 0.0)
SECONDS = 0.5
"""Of timing, after which kinds of runs are no longer timed; the kind that was begun is ended."""


def forecast_runs(
    specs: Iterable[RunSpec], store: RunStore, *, workers: int | None, device: str = "cpu", console: Console
) -> dict[str, Any]:
    """What is left of some runs: ``planned``, ``finished``, ``workers``, and ``seconds`` that the others take (`forecast_seconds`).

    Writes nothing. ``workers`` of ``None`` is one a core.
    """
    planned, workers = {spec.hash: spec for spec in pin_all(specs)}, workers or usual_workers(device)
    left = [spec for spec in planned.values() if not store.is_done(spec)]
    with console.status("looking at the runs and timing some steps"):
        found = list(forecast_seconds(left, device=device))
    seconds = max([sum(found) / workers, *found])
    return {"planned": len(planned), "finished": len(planned) - len(left), "workers": workers, "seconds": seconds}


def forecast_seconds(specs: Sequence[RunSpec], *, device: str = "cpu") -> Iterator[float]:
    """Seconds that each run would take a worker of one thread, one after another: a rough estimate.

    Runs of one network and one rule are of one kind. How long the usual kinds take is known, and that of kinds which were found on this
    machine before (`layerlocal.runs.looks`). Of the others those with the most work are timed for `SECONDS` in all, one at least; another
    kind takes as long a FLOP as the one that is most like it.
    Not in it: loading data, the certificate of locality and the measures of cost (some seconds a run), and what workers cost one another.

    Raises:
        InputError: a spec that cannot be built, or a rule of the user's own that fails.
    """
    kinds: dict[tuple[str, str], _Kind] = {}
    found: list[tuple[RunSpec, Task, _Kind]] = []
    for spec in pin_all(specs):
        task, flops = look_ahead(spec)
        key = kind_of(task, spec), pace_of(task, spec)
        kind = kinds.setdefault(key, _Kind(spec, task, flops))
        kind.work += Pace(3 * flops * spec.recipe.batch_size, flops).seconds(spec, task)
        found.append((spec, task, kind))
    known = {key: look.pace for key in kinds if device == "cpu" and (look := find_look(*key)) and look.pace}
    for key, pace in known.items():
        kinds[key].pace = pace * yardstick()
    if others := [kind for key, kind in kinds.items() if key not in known]:
        _time(others, [kinds[key] for key in known], device)
        for kind in others if device == "cpu" else ():
            keep_look(kind.spec, kind.task, kind.flops, kind.pace)
    for spec, task, kind in found:
        yield kind.pace.seconds(spec, task)


def known_seconds(specs: Sequence[RunSpec], *, workers: int, device: str = "cpu") -> float | None:
    """Seconds of runs of usual kinds; ``None`` where one of them would have to be timed. Builds nothing, needs no torch."""
    found = []
    for spec in specs:
        task = task_of(spec.data)
        look = find_look(kind_of(task, spec), pace_of(task, spec)) if device == "cpu" else None
        if look is None or look.pace is None:
            return None
        found.append(look.pace.seconds(spec, task))
    return yardstick() * max([sum(found) / workers, *found])


@dataclass
class _Kind:
    """The first run of a kind, its task, FLOPs a sample of its forward passes, and the FLOPs of all its runs."""

    spec: RunSpec
    task: Task
    flops: float
    work: float = 0.0
    pace: Pace = UNKNOWN

    @property
    def network(self) -> str:
        """Its network and batch."""
        return f"{self.spec.network.model_dump_json()} {self.task.sample_shape} {self.spec.recipe.batch_size}"


def _time(kinds: Sequence[_Kind], known: Sequence[_Kind], device: str) -> None:
    """Give every kind its pace: first of each network the kind with the most work is timed, then the others."""
    from layerlocal.runs.timing import one_thread, time_kind

    by_work = sorted(kinds, key=lambda kind: kind.work, reverse=True)
    firsts = {kind.network: kind for kind in reversed(by_work)}
    order = sorted(by_work, key=lambda kind: firsts[kind.network] is not kind)
    timed: list[_Kind] = []
    begun = time.perf_counter()
    with one_thread():
        for kind in order:
            if timed and time.perf_counter() - begun > SECONDS:
                break
            kind.pace = time_kind(kind.spec, kind.task, kind.flops, device)
            timed.append(kind)
    for kind in order[len(timed) :]:
        like = min([*timed, *known], key=lambda other: _distance(kind, other))
        more = kind.flops / like.flops
        batches = kind.spec.recipe.batch_size / like.spec.recipe.batch_size
        kind.pace = Pace(like.pace.step * more * batches, like.pace.prediction * more)


def _distance(kind: _Kind, other: _Kind) -> tuple[bool, bool, bool]:
    """Sorts first what is most like a kind: the same network, then the same rule."""
    one, two = kind.spec, other.spec
    return kind.network != other.network, one.network.name != two.network.name, one.rule.name != two.rule.name
