"""A run of a kind, built without its data: the FLOPs of its forward passes, and how fast it is. Nothing is trained to its end or stored."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain, count, islice, pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from layerlocal.data import Split
from layerlocal.data.task import Task
from layerlocal.kernels import kernels_in_use
from layerlocal.networks.flops import layer_flops
from layerlocal.rules import Rule
from layerlocal.rules.core.frozen import with_gradients
from layerlocal.runs.looks import Pace
from layerlocal.runs.run import build_rule, load_task, plugin_errors
from layerlocal.spec import RunSpec
from layerlocal.training.evaluate import EVALUATION_BATCH, evaluate_split
from layerlocal.training.rehearsal import rehearse
from layerlocal.training.train import Training, clock, losses_of, refuse_what_does_not_fit
from layerlocal.types import InputError

__all__ = ["build_on", "look_at", "measure_pace", "noise", "one_thread", "time_kind"]

SAMPLES = 4
"""That go forward once."""
TIMED_STEPS = 3
WHOLE_STEP = 1.15
"""A step over its forward and backward: what the optimizer and the making of a batch add, about."""
MOST_FLOPS = 1e9
"""Of the forward passes of a timed step; larger batches are timed in part, of `FEWEST` samples at least."""
FEWEST = 4


def noise(task: Task, samples: int) -> tuple[Tensor, Tensor]:
    """(samples, *sample_shape) and labels (samples, *label_shape), in place of data."""
    generator = torch.Generator().manual_seed(0)
    shape = (samples, *task.sample_shape)
    x = (
        torch.randn(shape, generator=generator)
        if task.vocabulary is None
        else torch.randint(task.vocabulary, shape, generator=generator)
    )
    return x, torch.randint(task.num_classes, (samples, *task.label_shape), generator=generator)


def build_on(task: Task, spec: RunSpec) -> Rule:
    """The fresh rule of a spec, without its data, and not compiled, which would take longer than all that is asked here.

    Raises:
        InputError: a network, a rule or an option that does not fit.
    """
    network = spec.network.model_copy(update={"compile": False})
    return build_rule(spec.model_copy(update={"network": network}), task)


def look_at(task: Task, spec: RunSpec) -> float:
    """Build the rule and go forward once.

    Returns:
        FLOPs a sample of the convolutions and linear layers in the forward passes of a training step.

    Raises:
        InputError: as the run itself would before its first step, or a rule of the user's own that fails.
    """
    if spec.network.fused:
        kernels_in_use()  # it warns once a process where there are none, which is not to be lost below
    with plugin_errors(spec), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run itself says what there is to warn of
        rule = build_on(task, spec)
        refuse_what_does_not_fit(rule, spec.recipe, task, validates=task.num_validation > 0)
        flops = _forward_flops(rule, task)
        if spec.has_own_code:
            _rehearse(rule, task, spec)
    return flops


@with_gradients()
def _rehearse(rule: Rule, task: Task, spec: RunSpec) -> None:
    """A step and a prediction of a rule or a network of the user's own on noise; where that shows a fault, the data have the last word."""
    try:
        rehearse(rule, partial(noise, task), spec.recipe)
    except InputError:
        Training(build_on(task, spec), load_task(spec.data), spec.recipe, seed=spec.seed)


def _forward_flops(rule: Rule, task: Task) -> float:
    seen = [1.0]  # at least one, so that work can be compared

    def count(module: nn.Module, _: Any, output: Any) -> None:
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        seen[0] += layer_flops(weight.shape, output.shape) / SAMPLES

    for module in rule.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.random.fork_rng(devices=[]):
        for _ in rule.train().losses(*noise(task, SAMPLES)):
            pass
    return seen[0]


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


def _now(device: str) -> float:
    """Of the processor that this process has had, which what else runs here leaves alone; on a GPU `clock`."""
    return time.process_time() if device == "cpu" else clock(device)


def time_kind(spec: RunSpec, task: Task, flops: float, device: str) -> Pace:
    """Forward and backward of some batches of noise, whole ones where that is soon done, and predictions of the last.

    Args:
        spec: of which data count by their ``task`` alone.
        task: of the data.
        flops: a sample of its forward passes (`look_at`).
        device: ``"cpu"`` or a CUDA device.

    Raises:
        InputError: a rule of the user's own that fails.
    """
    with plugin_errors(spec):
        return _time(spec, task, flops, device)


def _time(spec: RunSpec, task: Task, flops: float, device: str) -> Pace:
    batch = min(spec.recipe.batch_size, max(FEWEST, int(MOST_FLOPS / flops)))
    rule = build_on(task, spec).to(device).train()
    x, y = (part.to(device) for part in noise(task, batch))
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
def one_thread() -> Iterator[None]:
    """Of torch, inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
