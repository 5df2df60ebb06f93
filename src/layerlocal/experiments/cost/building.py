"""What a `CostCase` stands for, built: its network and rule, and with optimizer and batch a trainer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from layerlocal.experiments.cost.case import CostCase, check_division, why_no_effect
from layerlocal.networks import Network, create_network
from layerlocal.networks.weights import ready
from layerlocal.rules import Rule, create_rule
from layerlocal.runs.timing import one_thread
from layerlocal.training.optimizer import Stepper, make_optimizer
from layerlocal.training.train import train_step, use_device
from layerlocal.types import InputError, derive_seed

__all__ = ["Trainer", "build_network", "build_rule", "check_case", "has_no_effect"]


def build_network(case: CostCase) -> Network:
    """The case's network, on the CPU; what it starts from is not read, as no cost hangs on it, and what is frozen is."""
    spec, options = case.network, dict[str, Any](case.network.options)
    network = create_network(
        spec.name, **case.network_input, width=spec.width, seed=case.seed,
        channels_last=spec.channels_last and case.image_size > 1, compile=spec.compile, fused=spec.fused, **options,
    )  # fmt: skip
    return ready(network, spec, start=False)


def build_rule(case: CostCase) -> Rule:
    """The case's rule with its network, in training mode, on the CPU.

    Raises:
        InputError: an unknown name or option, or sizes that do not fit.
    """
    options = case.rule.options
    return create_rule(
        case.rule.name, build_network(case), num_classes=case.num_classes, seed=case.seed, **options
    ).train()


def check_case(case: CostCase) -> Rule:
    """Build the case, on the CPU and without compiling, to see in seconds whether it can be measured.

    Returns:
        Its rule.

    Raises:
        InputError: what is wrong, where, how to mend it.
    """
    check_division(case)
    network = case.network.model_copy(update={"compile": False})
    with one_thread():  # small pieces: threads would wait for one another
        rule = build_rule(case.but(network=network, device="cpu"))
        refusal = has_no_effect(case.mode, rule)
    if refusal is not None:
        raise InputError(refusal)
    return rule


def has_no_effect(mode: str, rule: Rule) -> str | None:
    """`why_no_effect`, of a rule that is built."""

    def checkpointing() -> str | None:
        try:
            rule.use_checkpointing(rule.network.random_inputs(2))
        except InputError as error:
            return str(error)
        return None

    return why_no_effect(
        mode,
        rule.info.name,
        locality=rule.locality,
        compares_samples=rule.compares_samples,
        checkpointing=checkpointing,
    )


@dataclass
class Trainer:
    """A case ready to train: rule, optimizer and one random batch, on its device.

    Args:
        case: what is measured.
    """

    case: CostCase

    def __post_init__(self) -> None:
        """Weights, optimizer, batch."""
        use_device(self.case.device)
        self.recipe = self.case.recipe
        self.rule = build_rule(self.case).to(self.case.device)
        self.x, self.y = self._batch()
        if self.recipe.checkpointing:
            self.rule.use_checkpointing(self.x[: max(2, len(self.x) // self.recipe.micro_batches)])
        self.stepper = Stepper(self.rule, make_optimizer(self.rule, self.recipe), self.recipe)

    def _batch(self) -> tuple[Tensor, Tensor]:
        """(B, *sample_shape) of a normal distribution, or tokens, and labels (B, *label_shape), in the network's memory format."""
        case = self.case
        generator = torch.Generator().manual_seed(derive_seed(case.seed, "cost", "batch"))
        x = self.rule.network.random_inputs(case.batch_size, generator)
        y = torch.randint(0, case.num_classes, (case.batch_size, *self.rule.label_shape), generator=generator)
        return self.rule.network.prepare(x).to(case.device), y.to(case.device)

    def step(self) -> None:
        """One optimizer step on the batch, as the loop runs it."""
        train_step(self.rule, self.x, self.y, self.stepper, recipe=self.recipe)

    def run(self, steps: int) -> None:
        """So many steps."""
        for _ in range(steps):
            self.step()
