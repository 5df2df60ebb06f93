"""Kinds of runs that were looked at when this version was made, kept in ``looks.json``, so that most dry runs need no torch.

``python scripts/make_looks.py`` looks again and writes the file; a test holds it to what building the rules gives. Other kinds are looked at
when a plan has them, and that is kept on the machine (`layerlocal.runs.kept`).
"""

from __future__ import annotations

import functools
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from layerlocal.data.task import Task
from layerlocal.runs.kept import keep_looks, kept_looks
from layerlocal.runs.listing import rule_facts
from layerlocal.spec import RunSpec

__all__ = [
    "LOOKS",
    "Look",
    "Pace",
    "find_look",
    "find_numbers",
    "keep_look",
    "key_of",
    "kind_of",
    "pace_of",
    "yardstick",
]

LOOKS = Path(__file__).with_name("looks.json")
UNPACED = {"epochs", "steps", "learning_rate", "momentum", "weight_decay", "schedule", "warmup"}
"""Of a recipe, what no step takes longer for."""
YARD = (64, 48)
"""Products of so many square matrices of so many rows: small ones, which numpy leaves to one thread."""


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

    def __mul__(self, seconds: float) -> Pace:
        return Pace(self.step * seconds, self.prediction * seconds)


@dataclass(frozen=True)
class Look:
    """What looking at a kind gave.

    Attributes:
        flops: a sample, of the convolutions and linear layers in the forward passes of a training step.
        pace: in `yardstick` instead of seconds, on the CPU; ``None`` where only FLOPs were asked for yet.
    """

    flops: float
    pace: Pace | None


def kind_of(task: Task, spec: RunSpec) -> str:
    """Equal for runs whose rules are built alike but for what is drawn; for rules that no number of classes bars, whatever that number."""
    facts = rule_facts(str(spec.rule.options.get("of") or spec.rule.name))
    any_classes = spec.rule.source_sha256 is None and not facts.channel_groups and "factors" not in spec.rule.options
    classes = None if any_classes and task.num_classes > 1 else task.num_classes
    return f"{spec.rule.model_dump_json()} {spec.network.model_dump_json()} {task.sample_shape} {classes}"


def pace_of(task: Task, spec: RunSpec) -> str:
    """What else of a run its pace depends on."""
    return f"{spec.recipe.model_dump_json(exclude=UNPACED)} {task.num_validation > 0}"


def key_of(kind: str, pace: str) -> str:
    """12 hex digits: the name of a look."""
    return hashlib.sha256(f"{kind} {pace}".encode()).hexdigest()[:12]


def find_look(kind: str, pace: str) -> Look | None:
    """The look at runs of a kind and pace, if there is one: in the file, or kept on this machine."""
    key = key_of(kind, pace)
    found = _looks().get(key) or kept_looks().get(key)
    return None if found is None else Look(found[0], Pace(*found[1:]) if found[1:] else None)


def keep_look(spec: RunSpec, task: Task, flops: float, seconds: Pace | None = None) -> None:
    """Keep a look on this machine for the next dry run, but for code of the user's own (`layerlocal.runs.kept`).

    Args:
        spec: of a run of the kind.
        task: of its data.
        flops: a sample of its forward passes.
        seconds: how fast it is on this machine's CPU, where that was asked.
    """
    if not spec.has_own_code:
        pace = () if seconds is None else (seconds.step / yardstick(), seconds.prediction / yardstick())
        keep_looks({key_of(kind_of(task, spec), pace_of(task, spec)): [flops, *pace]})


def find_numbers(kind: str, pace: str) -> list[float] | None:
    """What the file has of another kind than of runs: of a network whose cost is measured, its own three numbers."""
    return _looks().get(key_of(kind, pace))


@functools.cache
def _looks() -> dict[str, list[float]]:
    looks: dict[str, list[float]] = json.loads(LOOKS.read_text(encoding="utf-8"))
    return looks


@functools.cache
def yardstick() -> float:
    """Seconds of this processor for a fixed piece of arithmetic on one thread: how fast it is beside the one the looks are from."""
    count, side = YARD
    left = np.linspace(-1, 1, count * side * side, dtype=np.float32).reshape(count, side, side)
    times = []
    for _ in range(12):
        begun = time.process_time()
        for _ in range(8):
            np.maximum(left @ left, 0)
        times.append(time.process_time() - begun)
    return min(times[2:])
