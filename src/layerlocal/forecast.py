"""How long runs would take: a few steps and predictions of each kind of run are timed; nothing is trained to its end, nothing is stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count, islice, pairwise
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from layerlocal.data import Data, Split
from layerlocal.evaluate import EVALUATION_BATCH, evaluate_split
from layerlocal.pin import pin_all
from layerlocal.run import build, load_task, plugin_errors
from layerlocal.spec import RunSpec
from layerlocal.store import RunStore
from layerlocal.train import Training, clock, refuse_less_than_a_batch
from layerlocal.workers import usual_workers

__all__ = ["Pace", "forecast_runs", "forecast_seconds", "measure_pace"]

TIMED_STEPS = 8


@dataclass(frozen=True)
class Pace:
    """How fast a kind of run is.

    Attributes:
        step: seconds of a training step, its batch included.
        prediction: seconds of a predicted sample.
    """

    step: float
    prediction: float

    def seconds(self, spec: RunSpec, data: Data) -> float:
        """Of a whole run: its steps, validation after each epoch, the test."""
        batches = len(data.train) // spec.recipe.batch_size
        steps = spec.recipe.count_steps(batches)
        validated = -(-steps // batches) * len(data.validation or ())
        tested = data.provenance["num_images"]["test"] if spec.judged_on == "test" else 0
        return steps * self.step + (validated + tested) * self.prediction


def measure_pace(training: Training, steps: int = TIMED_STEPS) -> Pace:
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
    left.sort(key=lambda spec: spec.data.model_dump_json())  # so that each task is loaded once
    timed = forecast_seconds(left, device=device)
    found = list(track(timed, "timing some steps", len(left), console=console, transient=True))
    seconds = max([sum(found) / workers, *found])
    return {"planned": len(planned), "finished": len(planned) - len(left), "workers": workers, "seconds": seconds}


def forecast_seconds(specs: Sequence[RunSpec], *, device: str = "cpu") -> Iterator[float]:
    """Seconds that each run would take a worker of one thread, one after another.

    Not in it: loading data, the certificate of locality and the measures of cost (some seconds a run), and what workers cost one another.
    Runs that differ in seed, length or images alone are of one kind, which is timed once.

    Raises:
        InputError: a spec that cannot be built, or a rule of the user's own that fails.
    """
    paces: dict[str, Pace] = {}
    for spec in pin_all(specs):
        data = load_task(spec.data)
        refuse_less_than_a_batch(data, spec.recipe)
        recipe = spec.recipe.model_copy(update={"epochs": 1, "steps": None})
        parts = [part.model_dump_json() for part in (spec.rule, spec.network, recipe)]
        kind = f"{parts} {data.sample_shape} {data.num_classes}"
        if kind not in paces:
            with _one_thread(), plugin_errors(spec):
                paces[kind] = measure_pace(Training(build(spec)[1], data, spec.recipe, seed=spec.seed, device=device))
        yield paces[kind].seconds(spec, data)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
