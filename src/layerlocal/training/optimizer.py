"""The optimizer of a run: groups by block, the rate of a step, clipping, and steps for all blocks at once or block by block."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from layerlocal.rules import Rule
from layerlocal.spec import Recipe
from layerlocal.types import InputError, trained_blocks

__all__ = [
    "Stepper",
    "learning_rate",
    "load_optimizer_tensors",
    "loss_without_name",
    "make_optimizer",
    "optimizer_tensors",
    "second_loss",
    "set_rate",
]

BEGIN, END = 0.2, 0.07
"""Shares of the peak at the first and at the last step of a triangular schedule (airbench94)."""
Group = dict[str, Any]
"""One parameter group of a torch optimizer, with the name of its block."""


def make_optimizer(rule: Rule, recipe: Recipe) -> torch.optim.Optimizer:
    """One optimizer, its parameters grouped by block; vectors (biases, norms) are not decayed."""
    faster = _of_norms(rule) if recipe.norm_rate != 1 else set()  # the groups of recipes without it stay as they were
    groups: list[Group] = []
    for name, parameters in rule.block_parameters().items():
        for decay, factor, chosen in [
            (recipe.weight_decay, 1.0, [p for p in parameters if p.dim() > 1]),
            (0.0, 1.0, [p for p in parameters if p.dim() <= 1 and id(p) not in faster]),
            (0.0, recipe.norm_rate, [p for p in parameters if id(p) in faster]),
        ]:
            if chosen:
                rate = {"rate": factor, "lr": factor * recipe.learning_rate}
                groups.append({"params": chosen, "weight_decay": decay, "block": name, **rate})
    if not groups:
        raise InputError(f"rule {rule.info.name!r} has no trainable parameter")
    if recipe.optimizer == "sgd":
        nesterov = recipe.momentum > 0
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=nesterov)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(recipe.momentum, 0.999))


def _of_norms(rule: Rule) -> set[int]:
    """The parameters, by id, that normalization layers learn."""
    norms = (
        part
        for part in rule.modules()
        if isinstance(part, nn.modules.batchnorm._NormBase | nn.LayerNorm | nn.GroupNorm)
    )
    return {id(parameter) for part in norms for parameter in part.parameters(recurse=False)}


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The rate at a step (from 0) of a run of ``steps``: linear warm-up, then decay. A function of the step alone."""
    warm, triangular = round(recipe.warmup * steps), recipe.schedule == "triangular"
    if step < warm:
        return recipe.learning_rate * (BEGIN + (1 - BEGIN) * step / warm if triangular else (step + 1) / warm)
    left = 1 - (step - warm) / max(1, steps - warm)
    factor = {
        "constant": 1.0, "linear": left, "cosine": 0.5 * (1 + math.cos(math.pi * (1 - left))), "triangular": END + (1 - END) * left,
    }[recipe.schedule]  # fmt: skip
    return recipe.learning_rate * factor


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The rate of the next step, in each group times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate"]


def second_loss(block: str) -> InputError:
    """Of a step a block: an earlier loss of the batch has trained it."""
    return InputError(
        f"two losses of one step train {block}, and the second would see it changed; leave recipe.step_per_block off"
    )


def loss_without_name(block: str) -> InputError:
    """Of a step a block: it has gradients, and no loss named it."""
    return InputError(
        f"a loss reaches {block} without naming it, so recipe.step_per_block cannot step it; name the blocks a loss trains"
    )


class Stepper:
    """Clips gradients block by block, steps the optimizer and frees the gradients: at the end of a batch, or after each loss.

    After each loss (``recipe.step_per_block``) the weights become the same, to the last bit, as at the end, and only the gradients of the
    blocks that one loss trains exist at any moment. It needs losses that each train blocks of their own, computed once a step and in order.

    Args:
        rule: whose parameters the optimizer has.
        optimizer: as `make_optimizer` makes it, with the block's name in every group.
        recipe: for ``clip`` and ``step_per_block``; ``None``: neither.

    Raises:
        InputError: a step a block with gradients that are summed over micro-batches.
    """

    def __init__(self, rule: Rule, optimizer: torch.optim.Optimizer, recipe: Recipe | None = None) -> None:
        self.optimizer = optimizer
        self.clip = recipe.clip if recipe else None
        self.per_block = recipe.step_per_block if recipe else False
        if recipe and self.per_block and recipe.micro_batches > 1:
            raise InputError(
                "recipe.step_per_block frees a block's gradients before the next micro-batch could add to them; "
                "set recipe.micro_batches to 1 or leave recipe.step_per_block off"
            )
        self.parameters = rule.block_parameters() if self.clip is not None or self.per_block else {}
        self.of_loss: dict[str, tuple[list[str], list[Group]]] = {}
        self.stepped: set[str] = set()

    def after_loss(self, name: str) -> None:
        """The loss ``name`` has had its backward; with a step a block, its blocks are stepped now.

        Raises:
            InputError: a block that an earlier loss of this batch has trained.
        """
        if not self.per_block:
            return
        if name not in self.of_loss:
            self.of_loss[name] = self._trained_by(name)
        blocks, groups = self.of_loss[name]
        for block in blocks:
            if block in self.stepped:
                raise second_loss(block)
        self.stepped.update(blocks)
        self._clip(blocks)
        every = self.optimizer.param_groups
        try:
            self.optimizer.param_groups = groups
            self.optimizer.step()
        finally:
            self.optimizer.param_groups = every
        for block in blocks:
            for parameter in self.parameters[block]:
                parameter.grad = None

    def after_batch(self) -> None:
        """All losses of a batch have had their backward; with a step a block, nothing is left to do.

        Raises:
            InputError: with a step a block, gradients in blocks that no loss named.
        """
        if self.per_block:
            self.stepped.clear()
            left = [block for block, group in self.parameters.items() if any(p.grad is not None for p in group)]
            if left:
                raise loss_without_name(left[0])
            return
        self._clip(self.parameters)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _clip(self, blocks: Iterable[str]) -> None:
        """Each block on its own, never all together: that would couple them."""
        if self.clip is not None:
            for block in blocks:
                torch.nn.utils.clip_grad_norm_(self.parameters[block], self.clip)

    def _trained_by(self, name: str) -> tuple[list[str], list[Group]]:
        trained = trained_blocks(name, list(self.parameters))
        groups = [group for group in self.optimizer.param_groups if group["block"] in trained]
        return [block for block in self.parameters if block in trained], groups


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by flat names, ``"<parameter>/<name>"``."""
    return {
        f"{index}/{name}": torch.as_tensor(value)
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
        if value is not None
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave; the groups' own numbers stay."""
    content = optimizer.state_dict()
    content["state"] = {}
    for name, value in tensors.items():
        index, key = name.split("/")
        content["state"].setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(content)
