"""About how long runs would take: a few kinds are timed for a second or so, the others go by FLOPs. Nothing is trained to its end or stored."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count, islice, pairwise
from statistics import median
from typing import Any

import torch
from rich.console import Console

from layerlocal.data import Split
from layerlocal.evaluate import EVALUATION_BATCH, evaluate_split
from layerlocal.pin import pin_all
from layerlocal.preview import Task, build_on, kind_of, look_ahead
from layerlocal.run import plugin_errors
from layerlocal.spec import RunSpec
from layerlocal.store import RunStore
from layerlocal.train import Training, clock, losses_of
from layerlocal.workers import usual_workers

__all__ = ["Pace", "forecast_runs", "forecast_seconds", "measure_pace"]

TIMED_STEPS = 3
WHOLE_STEP = 1.15
"""A step over its forward and backward: what the optimizer and the making of a batch add, about."""
SECONDS = 0.5
"""Of timing, after which kinds of runs are no longer timed; the kind that was begun is ended."""
MOST_FLOPS = 1e9
"""Of the forward passes of a timed step; larger batches are timed in part, of `FEWEST` samples at least."""
FEWEST = 4


@dataclass(frozen=True)
class Pace:
    """How fast a kind of run is.

    Attributes:
        step: seconds of a training step, its batch included.
        prediction: seconds of a predicted sample.
    """

    step: float
    prediction: float

    def seconds(self, spec: RunSpec, task: Task) -> float:
        """Of a whole run: its steps, validation after each epoch, the test."""
        batches = task.num_train // spec.recipe.batch_size
        steps = spec.recipe.count_steps(batches)
        validated = -(-steps // batches) * task.num_validation
        tested = task.num_test if spec.judged_on == "test" else 0
        return steps * self.step + (validated + tested) * self.prediction


def measure_pace(training: Training, steps: int = 8) -> Pace:
    """The median of ``steps`` ≥ 1 steps after one that is not counted, and one batch of predictions, the second. Trains the rule."""
    rule, data = training.rule, training.data
    rule.train()
    times = []
    for x, y in islice(chain.from_iterable(map(training.batches.epoch, count())), steps + 1):
        training.step(x, y, lambda _: None)
        times.append(clock(training.device))
    samples = data.train.gather(torch.arange(min(EVALUATION_BATCH, len(data.train))))
    batch = Split(samples.images, samples.labels)
    evaluate_split(rule, data, batch, device=training.device)  # not counted: what is compiled or made once
    before = clock(training.device)
    evaluate_split(rule, data, batch, device=training.device)
    predicted = clock(training.device) - before
    return Pace(median(later - earlier for earlier, later in pairwise(times)), predicted / len(batch))


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

    Runs of one network and one rule are of one kind. The kinds with the most work are timed for `SECONDS` in all, one at least; another kind
    takes as long a FLOP as the timed one that is most like it.
    Not in it: loading data, the certificate of locality and the measures of cost (some seconds a run), and what workers cost one another.

    Raises:
        InputError: a spec that cannot be built, or a rule of the user's own that fails.
    """
    kinds: dict[str, _Kind] = {}
    found: list[tuple[RunSpec, Task, _Kind]] = []
    for spec in pin_all(specs):
        task, flops = look_ahead(spec)
        recipe = spec.recipe.model_copy(update={"epochs": 1, "steps": None})
        kind = kinds.setdefault(f"{kind_of(task, spec)} {recipe.model_dump_json()}", _Kind(spec, task, flops))
        kind.work += Pace(3 * flops * spec.recipe.batch_size, flops).seconds(spec, task)
        found.append((spec, task, kind))
    with _one_thread():
        _time(list(kinds.values()), device)
    for spec, task, kind in found:
        yield kind.pace.seconds(spec, task)


@dataclass
class _Kind:
    """The first run of a kind, its task, FLOPs a sample of its forward passes, and the FLOPs of all its runs."""

    spec: RunSpec
    task: Task
    flops: float
    work: float = 0.0
    pace: Pace = Pace(0.0, 0.0)

    @property
    def network(self) -> str:
        """Its network and batch."""
        return f"{self.spec.network.model_dump_json()} {self.task.sample_shape} {self.spec.recipe.batch_size}"


def _time(kinds: Sequence[_Kind], device: str) -> None:
    """Give every kind its pace: first of each network the kind with the most work is timed, then the others."""
    by_work = sorted(kinds, key=lambda kind: kind.work, reverse=True)
    firsts = {kind.network: kind for kind in reversed(by_work)}
    order = sorted(by_work, key=lambda kind: firsts[kind.network] is not kind)
    timed: list[_Kind] = []
    begun = time.perf_counter()
    for kind in order:
        if timed and time.perf_counter() - begun > SECONDS:
            break
        with plugin_errors(kind.spec):
            kind.pace = _pace(kind, device)
        timed.append(kind)
    for kind in order[len(timed) :]:
        like = min(timed, key=lambda other: _distance(kind, other))
        more = kind.flops / like.flops
        batches = kind.spec.recipe.batch_size / like.spec.recipe.batch_size
        kind.pace = Pace(like.pace.step * more * batches, like.pace.prediction * more)


def _distance(kind: _Kind, other: _Kind) -> tuple[bool, bool, bool]:
    """Sorts first what is most like a kind: the same network, then the same rule."""
    one, two = kind.spec, other.spec
    return kind.network != other.network, one.network.name != two.network.name, one.rule.name != two.rule.name


def _now(device: str) -> float:
    """Of the processor that this process has had, which what else runs here leaves alone; on a GPU `clock`."""
    return time.process_time() if device == "cpu" else clock(device)


def _pace(kind: _Kind, device: str) -> Pace:
    """Forward and backward of some batches of noise, whole ones where that is soon done, and predictions of the last."""
    spec, task = kind.spec, kind.task
    batch = min(spec.recipe.batch_size, max(FEWEST, int(MOST_FLOPS / kind.flops)))
    rule = build_on(task, spec).to(device).train()
    x, y = (part.to(device) for part in task.noise(batch))
    times = [_now(device)]
    for _ in range(1 + TIMED_STEPS):  # the first is not counted
        for loss in losses_of(rule, x, y, spec.recipe.precision):
            loss.value.backward()
        rule.zero_grad()
        times.append(_now(device))
    with torch.no_grad():
        rule.eval().scores(x)
    predicted = _now(device) - times[-1]
    step = median(later - earlier for earlier, later in pairwise(times[1:]))
    return Pace(WHOLE_STEP * step * spec.recipe.batch_size / batch, predicted / batch)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
