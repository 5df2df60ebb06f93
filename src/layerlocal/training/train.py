"""The one loop, for every rule.

    for each micro-batch of a batch:
        for loss in rule.losses(x, y):
            loss.value.backward()        # before the next segment's forward: its graph is gone by then
    clip each block on its own; one optimizer step, or one a block after its backward

Nothing in it waits for the device; sums are read once in `CHECK_EVERY` steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from math import prod
from typing import Any

import torch
from torch import Tensor

from layerlocal.data import Augment, Batches, Data
from layerlocal.data.batches import as_inputs
from layerlocal.data.shaped import Shaped
from layerlocal.data.task import refuse_less_than_a_batch
from layerlocal.devices import Device, drawn_from, find_device, this_device
from layerlocal.networks.blocks import refuse_other_types
from layerlocal.options import check_kind, seed_number
from layerlocal.rules import Rule
from layerlocal.rules.core.frozen import with_gradients
from layerlocal.spec import Recipe
from layerlocal.training.averaging import Average
from layerlocal.training.evaluate import Evaluation, calibrate, evaluate_split
from layerlocal.training.meter import Meter
from layerlocal.training.optimizer import (
    Stepper,
    learning_rate,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
    set_rate,
)
from layerlocal.training.rehearsal import losses_of, rehearse
from layerlocal.types import BlockLoss, InputError, derive_seed

__all__ = ["EpochRecord", "Training", "clock", "learning_rate", "losses_of", "make_optimizer",
    "refuse_what_does_not_fit", "train_rule", "train_step", "use_device", "with_gradients",
]  # fmt: skip

CHECK_EVERY = 100
SEEN = 5000
"""Images, at most, that parts of a network are made of (`Network.see`): of the first epoch's order."""
StepReport = Callable[[int, int], None]


def clock(device: str) -> float:
    """Seconds, once the device has done all it was given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()


def use_device(device: str) -> None:
    """Make ``cuda:N`` the GPU of everything that names none: clocks, random numbers, peaks of memory."""
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch did. Losses and metrics are means over steps, by the name of the loss or ``metric/block``."""

    epoch: int
    seconds: float
    samples_per_s: float
    learning_rate: float
    losses: dict[str, float]
    metrics: dict[str, float]
    validation: Evaluation | None


def train_step(
    rule: Rule,
    x: Tensor,
    y: Tensor,
    optimizer: torch.optim.Optimizer | Stepper,
    *,
    recipe: Recipe | None = None,
    observe: Callable[[BlockLoss], None] | None = None,
) -> None:
    """One optimizer step on one batch: the body of the loop.

    Args:
        rule: in training mode.
        x: (B, *sample_shape).
        y: (B,).
        optimizer: of `make_optimizer`, or a `Stepper` made of it once and for all.
        recipe: for ``micro_batches``, ``precision``, ``clip`` and ``step_per_block``; ``None``: plain.
        observe: called with each loss after its backward.
    """
    stepper = optimizer if isinstance(optimizer, Stepper) else Stepper(rule, optimizer, recipe)
    parts = recipe.micro_batches if recipe else 1
    precision = recipe.precision if recipe else "float32"
    for x_part, y_part in zip(x.tensor_split(parts), y.tensor_split(parts), strict=True):
        for loss in losses_of(rule, x_part, y_part, precision):
            (loss.value if parts == 1 else loss.value * (len(x_part) / len(x))).backward()
            if observe is not None:
                observe(loss)
            stepper.after_loss(loss.block)
            del loss
    stepper.after_batch()


class Training:
    """A run in progress: rule, optimizer, epoch; saved and continued at any epoch's end, bit for bit.

    Args:
        rule: moved to ``device``.
        data: its training and validation splits are used, its test split is not.
        recipe: epochs or steps, batches, optimizer.
        seed: of batches, augmentation and the rule's own draws (one seed an epoch, so a resumed run draws the same).
        device: where tensors live.

    Raises:
        InputError: rule, data and recipe that do not go together, a device that is not here, or a rule that a `rehearse` of one step and
            one prediction finds fault with.
    """

    @with_gradients()
    def __init__(self, rule: Rule, data: Data, recipe: Recipe, *, seed: int = 0, device: Device = "cpu") -> None:
        device, seed = find_device(device), seed_number(seed)
        for name, given, kind in (("rule", rule, Rule), ("data", data, Data), ("recipe", recipe, Recipe)):
            check_kind(name, given, kind)
        refuse_what_does_not_fit(rule, recipe, data, validates=data.validation is not None)
        refuse_less_than_a_batch(len(data.train), recipe)
        use_device(device)
        self.rule = rule.to(device)
        self.recipe = recipe
        self.seed = seed
        self.data = data
        self.device = device
        self.optimizer = make_optimizer(rule, recipe)
        self.stepper = Stepper(rule, self.optimizer, recipe)
        self.average: Average | None = None
        self.validated: Evaluation | None = None
        self.epoch = 0
        self.meter = Meter(rule.network.block_names)
        augment = Augment(crop=recipe.crop, flip=recipe.flip, cutout=recipe.cutout)
        self.batches = Batches(
            data.train, batch_size=recipe.batch_size, mean=data.mean, std=data.std, augment=augment if augment else None, shuffle=True,
            drop_last=True, device=device, channels_last=rule.network.channels_last, seed=derive_seed(seed, "batches"),
        )  # fmt: skip
        if rule.network.sees_images:
            rule.network.see(self._first_samples(SEEN)[0])
        rehearse(rule, self._first_samples, recipe)
        if recipe.average_every:
            self.average = Average(rule, recipe.average_every)
        if recipe.checkpointing:
            rule.use_checkpointing(_some_samples(rule, device))

    def _first_samples(self, count: int) -> tuple[Tensor, Tensor]:
        """Of the first epoch's order, normalized and not augmented: (n, *sample_shape), (n,)."""
        images, labels = self.data.train.gather(self.batches.order(0)[:count])
        x = as_inputs(images.cpu(), self.data).to(self.device)
        return self.rule.network.prepare(x), labels.to(self.device)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.recipe.count_steps(len(self.batches))

    @property
    def epochs(self) -> int:
        """Epochs of the whole run; with ``recipe.steps`` the last one may end early."""
        return math.ceil(self.steps / len(self.batches))

    @property
    def steps_done(self) -> int:
        """Optimizer steps of the epochs that are done."""
        return min(self.epoch * len(self.batches), self.steps)

    @property
    def finished(self) -> bool:
        """All epochs are done."""
        return self.epoch >= self.epochs

    @with_gradients()
    def run_epoch(self, report: StepReport | None = None) -> EpochRecord:
        """Train one epoch, then evaluate on validation data; the clock runs for training only.

        Args:
            report: called after every step with the step of the epoch (from 1) and the samples seen in it.

        Raises:
            InputError: a loss that is not finite: which block, which step.
        """
        meter = self.meter = Meter(self.rule.network.block_names)
        self.rule.train()
        gpus = [this_device(self.device)] if self.device.startswith("cuda") else []
        with drawn_from(derive_seed(self.seed, "epoch", self.epoch), gpus):
            start = clock(self.device)
            samples = self._run_steps(meter, report)
            seconds = clock(self.device) - start
        meter.refuse_non_finite(self.rule.info.name, self.epoch, self.recipe.micro_batches)
        first = self.optimizer.param_groups[0]
        rate = first["lr"] / first["rate"]
        self.epoch += 1
        found = self.validate()
        losses, metrics = meter.means(meter.losses), meter.means(meter.metrics)
        return EpochRecord(self.epoch, seconds, samples / seconds, rate, losses, metrics, found)

    def validate(self) -> Evaluation | None:
        """Accuracy on the validation split, where there is one; after the last epoch the rule makes its choices on it first."""
        if self.data.validation is None:
            return None
        if self.finished and self.rule.calibrates:
            calibrate(self.rule, self.data, self.device)
        where = f"on the validation split after epoch {self.epoch}"
        self.validated = evaluate_split(self.rule, self.data, self.data.validation, device=self.device, where=where)
        return self.validated

    def _run_steps(self, meter: Meter, report: StepReport | None) -> int:
        samples = 0
        done = self.steps_done
        for index, (x, y) in enumerate(islice(self.batches.epoch(self.epoch), self.steps - done)):
            set_rate(self.optimizer, learning_rate(self.recipe, done + index, self.steps))
            self.step(x, y, meter.add)
            if self.average is not None:
                self.average.after_step(done + index + 1, self.steps)
            samples += len(y)
            if (index + 1) % CHECK_EVERY == 0:
                meter.refuse_non_finite(self.rule.info.name, self.epoch, self.recipe.micro_batches)
            if report is not None:
                report(index + 1, samples)
        return samples

    def step(self, x: Tensor, y: Tensor, observe: Callable[[BlockLoss], None]) -> None:
        """`train_step` on one batch; training on several processes has another."""
        train_step(self.rule, x, y, self.stepper, recipe=self.recipe, observe=observe)

    def close(self) -> dict[str, Any]:
        """After the last epoch, before anything is measured: let go of what only training needs, and say what a record should keep of it."""
        return {}

    def test(self) -> Evaluation:
        """Touch the test split, once, after the last epoch."""
        if not self.finished:
            raise RuntimeError("test data are read after the last epoch only")
        where = "on the test split after the last epoch"
        return evaluate_split(self.rule, self.data, self.data.take_test(), device=self.device, where=where)

    def state_tensors(self) -> dict[str, Tensor]:
        """Weights, buffers and optimizer state, by flat names."""
        tensors = {f"rule/{name}": value for name, value in self.rule.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average/{name}": value for name, value in self.average.tensors.items()}
        return tensors | {f"optimizer/{name}": value for name, value in optimizer_tensors(self.optimizer).items()}

    def load_state_tensors(self, tensors: dict[str, Tensor], epoch: int) -> None:
        """Continue from what `state_tensors` gave after ``epoch`` epochs."""
        if epoch >= self.epochs and not any(name.startswith("rule/") for name in tensors):
            self.rule.load_state_dict(tensors)  # a finished run keeps its weights only
            self.epoch = epoch
            return
        parts: dict[str, dict[str, Tensor]] = {"rule": {}, "optimizer": {}, "average": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = value
        self.rule.load_state_dict(parts["rule"])
        load_optimizer_tensors(self.optimizer, parts["optimizer"])
        if self.average is not None:
            self.average.load(parts["average"])
        self.epoch = epoch


def refuse_what_does_not_fit(rule: Rule, recipe: Recipe, task: Shaped, *, validates: bool) -> None:
    """Before any step: rule, data and recipe that do not go together.

    Raises:
        InputError: what does not fit, and what to set.
    """
    sample_shape, num_classes, vocabulary, label_shape = (
        task.sample_shape,
        task.num_classes,
        task.vocabulary,
        task.label_shape,
    )
    refuse_other_types(rule, "rule")
    if sample_shape != rule.network.sample_shape:
        mend = "; vectors need the network 'mlp'" if len(sample_shape) == 1 else ""
        raise InputError(
            f"the network takes samples of shape {rule.network.sample_shape}, the data have {sample_shape}{mend}"
        )
    if num_classes != rule.num_classes:
        raise InputError(f"the rule was made for {rule.num_classes} classes, the data have {num_classes}")
    if vocabulary != rule.network.vocabulary:
        kinds = [f"tokens of a vocabulary of {v}" if v else "numbers" for v in (rule.network.vocabulary, vocabulary)]
        raise InputError(f"the network takes {kinds[0]}, the data are {kinds[1]}")
    if label_shape != rule.label_shape:
        raise InputError(
            f"a sample of the data has {prod(label_shape)} labels, and the network is read for {prod(rule.label_shape)}; make the network with "
            f"tokens={'every' if label_shape else 'mean'!r}"
        )
    if rule.calibrates and not validates:
        raise InputError("fusion is chosen on validation data and there are none; set data.validation above 0")
    if any(parameter.is_inference() for parameter in rule.parameters()):
        raise InputError(
            "the weights were made under torch.inference_mode, so nothing can train them; make network and rule outside of it"
        )
    if recipe.batch_size % recipe.micro_batches or recipe.batch_size // recipe.micro_batches < 2:
        raise InputError(
            f"micro_batches {recipe.micro_batches} must divide batch_size {recipe.batch_size} into parts of 2 or more"
        )
    if recipe.micro_batches > 1 and rule.needs_whole_batches:
        raise InputError(
            f"rule {rule.info.name!r} takes a batch as a whole, because {rule.needs_whole_batches}; set recipe.micro_batches to 1"
        )


def _some_samples(rule: Rule, device: str) -> Tensor:
    """Noise (4, *sample_shape), enough to see what a block saves."""
    return rule.network.random_inputs(4).to(device)


def train_rule(
    rule: Rule,
    data: Data,
    recipe: Recipe | None = None,
    *,
    seed: int = 0,
    device: Device = "cpu",
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> list[EpochRecord]:
    """Train a rule in place and return the record of every epoch. The trained network is ``rule.network``.

    Example:
        >>> from layerlocal import create_network, create_rule, load_data, Recipe
        >>> data = load_data("fashion_mnist_subset", num_train=500, num_test=100)
        >>> network = create_network("mlp", in_channels=1, image_size=28, depth=2)
        >>> records = train_rule(create_rule("class-goodness", network, num_classes=10), data, Recipe(epochs=1))
        >>> 0 <= records[-1].validation.accuracy <= 1
        True
    """
    training = Training(rule, data, recipe or Recipe(), seed=seed, device=device)
    records = []
    while not training.finished:
        records.append(training.run_epoch())
        if on_epoch is not None:
            on_epoch(records[-1])
    return records
