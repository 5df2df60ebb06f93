"""What can be known of a run before it: the size and shape of its task, and whether its rule can be built on it. Trains nothing.

Teacher-student data are not drawn for it, and what differs in its seed alone is looked at once.
"""

from __future__ import annotations

import functools
import shlex
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from layerlocal.data.load import TEACHER_NAME
from layerlocal.data.shaped import Shaped
from layerlocal.data.teacher import TeacherOptions
from layerlocal.kernels import kernels_in_use
from layerlocal.rehearsal import rehearse
from layerlocal.rules import Rule, find_rule
from layerlocal.rules.frozen import with_gradients
from layerlocal.run import build_rule, load_task, plugin_errors
from layerlocal.spec import DataSpec, RuleSpec, RunSpec
from layerlocal.train import Training, refuse_less_than_a_batch, refuse_what_does_not_fit
from layerlocal.types import InputError

__all__ = ["Task", "build_on", "is_about_rule", "kind_of", "look_ahead", "refuse_vectors", "task_of"]

SAMPLES = 4
"""That go forward once."""


@dataclass(frozen=True)
class Task(Shaped):
    """A task in numbers.

    Attributes:
        sample_shape: (C, H, W), or (D,) for vectors.
        num_classes: K.
        num_train: samples that are trained on; those that validate are not among them.
        num_validation: 0 where there is no validation split.
        num_test: samples.
    """

    sample_shape: tuple[int, ...]
    num_classes: int
    num_train: int
    num_validation: int
    num_test: int

    def noise(self, samples: int) -> tuple[Tensor, Tensor]:
        """(samples, *sample_shape) and labels (samples,), in place of data."""
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(samples, *self.sample_shape, generator=generator)
        return x, torch.randint(self.num_classes, (samples,), generator=generator)


def task_of(data: DataSpec) -> Task:
    """The task of a spec; of teacher-student data the one that its options say, counts but for rounding by class.

    Raises:
        InputError: as `layerlocal.load_data`.
    """
    return _task(data.model_copy(update={"seed": 0}).model_dump_json())


@functools.lru_cache(maxsize=4096)
def _task(text: str) -> Task:
    data = DataSpec.model_validate_json(text)
    if data.source == TEACHER_NAME and (data.classes is None or (isinstance(data.classes, int) and data.classes > 1)):
        number = 8192 if data.num_train is None else data.num_train
        validation, tested = round(data.validation * number), 2048 if data.num_test is None else data.num_test
        shape = TeacherOptions.parse(data.teacher).sample_shape
        return Task(shape, data.classes or 10, number - validation, validation, tested)
    found = load_task(data)
    counts = len(found.train), len(found.validation or ()), found.provenance["num_images"]["test"]
    return Task(found.sample_shape, found.num_classes, *counts)


def refuse_vectors(task: Task, source: str, who: str) -> None:
    """Of what has networks for images and no option for another.

    Args:
        task: of the data.
        source: their name.
        who: ``"the audit"``.

    Raises:
        InputError: the samples are vectors.
    """
    if len(task.sample_shape) == 1:
        raise InputError(
            f"{source} has vectors of {task.in_channels} numbers, and {who} trains networks for images: give images with --data or leave it "
            f"out; `layerlocal train --data {shlex.quote(source)} --network mlp` trains on vectors"
        )


def build_on(task: Task, spec: RunSpec) -> Rule:
    """The fresh rule of a spec, without its data, and not compiled, which would take longer than all that is asked here.

    Raises:
        InputError: a network, a rule or an option that does not fit.
    """
    network = spec.network.model_copy(update={"compile": False})
    return build_rule(spec.model_copy(update={"network": network}), task)


def kind_of(task: Task, spec: RunSpec) -> str:
    """Equal for runs whose rules are built alike but for what is drawn; for rules that no number of classes bars, whatever that number."""
    info = find_rule(str(spec.rule.options.get("of") or spec.rule.name)).info
    any_classes = spec.rule.source_sha256 is None and not info.channel_groups and "factors" not in spec.rule.options
    classes = None if any_classes and task.num_classes > 1 else task.num_classes
    return f"{spec.rule.model_dump_json()} {spec.network.model_dump_json()} {task.sample_shape} {classes}"


def look_ahead(spec: RunSpec) -> tuple[Task, float]:
    """Load the task, build the rule and go forward once, if no run of its kind was looked at before, so that a mistake costs seconds.

    Returns:
        The task; and FLOPs a sample of the convolutions and linear layers in the forward passes of a training step, which are most of them.

    Raises:
        InputError: as the run itself would before its first step, or a rule of the user's own that fails.
    """
    task = task_of(spec.data)
    kind = kind_of(task, spec)
    if kind not in _LOOKED_AT:
        if spec.network.fused:
            kernels_in_use()  # it warns once a process where there are none, which is not to be lost below
        with plugin_errors(spec), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the run itself says what there is to warn of
            rule, shape = build_on(task, spec), task.sample_shape
            refuse_what_does_not_fit(
                rule, spec.recipe, sample_shape=shape, num_classes=task.num_classes, validates=task.num_validation > 0
            )
            flops = _forward_flops(rule, task)
            if spec.rule.source_sha256 is not None:
                _rehearse(rule, task, spec)
            _LOOKED_AT[kind] = flops
    refuse_less_than_a_batch(task.num_train, spec.recipe)
    return task, _LOOKED_AT[kind]


@with_gradients()
def _rehearse(rule: Rule, task: Task, spec: RunSpec) -> None:
    """A step and a prediction of a rule of the user's own on noise; where that shows a fault, the data have the last word."""
    try:
        rehearse(rule, task.noise, spec.recipe)
    except InputError:
        Training(build_on(task, spec), load_task(spec.data), spec.recipe, seed=spec.seed)


_LOOKED_AT: dict[str, float] = {}


def _forward_flops(rule: Rule, task: Task) -> float:
    seen = [1.0]  # at least one, so that work can be compared

    def count(module: nn.Module, _: Any, output: Any) -> None:
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        one = output[0] if isinstance(module, nn.Linear) else output[0, 0]
        positions = one.numel() // (weight.shape[0] if isinstance(module, nn.Linear) else 1)
        seen[0] += 2 * len(output) * positions * weight.numel() / SAMPLES

    for module in rule.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.random.fork_rng(devices=[]):
        for _ in rule.train().losses(*task.noise(SAMPLES)):
            pass
    return seen[0]


def is_about_rule(spec: RunSpec) -> bool:
    """Whether the task alone is fine: backprop with the usual heads can be built on it."""
    try:
        look_ahead(spec.model_copy(update={"rule": RuleSpec(name="bp")}))
    except InputError:
        return False
    return True
