"""Accuracy of a rule on a split, and what a rule chooses on validation data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from layerlocal.data import Batches, Data, Split
from layerlocal.data.splits import refuse_unlike
from layerlocal.devices import Device, find_device
from layerlocal.rules import Rule
from layerlocal.types import InputError

__all__ = ["Evaluation", "calibrate", "evaluate", "evaluate_split"]

EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Evaluation:
    """Accuracy on one split, in [0, 1]: after fusion, of each readout alone, and after fusion on each of the split's groups."""

    accuracy: float
    block_accuracies: dict[str, float]
    num_samples: int
    group_accuracies: dict[str, float] = field(default_factory=dict)


@torch.no_grad()
def evaluate(rule: Rule, batches: Batches, groups: Mapping[str, Tensor] | None = None) -> Evaluation:
    """Accuracy of a rule on every sample of ``batches``; the rule sees inputs only, never a label.

    Args:
        rule: put in evaluation mode for the time.
        batches: in order.
        groups: bool (N,) by name: accuracy after fusion on each is given too; an empty one is left out.
    """
    was_training = rule.training
    rule.eval()
    names = rule.readout_blocks
    found = []
    for x, y in batches.epoch(0):
        scores = rule.block_scores(x)
        answers = torch.cat([scores.argmax(-1), rule.fuse(scores).argmax(-1)[None]])
        found.append(answers == y)
    rule.train(was_training)
    correct = torch.cat(found, dim=1).cpu()  # (L + 1, N)
    *blocks, fused = correct.double().mean(1).tolist()
    by_group = {name: float(correct[-1, mask].double().mean()) for name, mask in (groups or {}).items() if mask.any()}
    return Evaluation(fused, dict(zip(names, blocks, strict=True)), correct.shape[1], by_group)


def _in_order(rule: Rule, data: Data, split: Split, device: str) -> Batches:
    return Batches(
        split, batch_size=EVALUATION_BATCH, mean=data.mean, std=data.std, shuffle=False, device=device,
        channels_last=rule.network.channels_last, seed=0,
    )  # fmt: skip


def evaluate_split(rule: Rule, data: Data, split: Split, *, device: Device = "cpu") -> Evaluation:
    """`evaluate` on a split of ``data``, normalized as training was.

    Raises:
        InputError: a split of other data, a device that is not here.
    """
    for name, given, kind in (("rule", rule, Rule), ("data", data, Data), ("split", split, Split)):
        if not isinstance(given, kind):
            raise InputError(f"{name} must be a {kind.__name__}, got {type(given).__name__}")
    if len(split) == 0:
        raise InputError("the split is empty: no accuracy can be said of it")
    if data.num_classes != rule.num_classes:
        raise InputError(f"the rule was made for {rule.num_classes} classes, the data have {data.num_classes}")
    refuse_unlike("given", split, data.train, data.num_classes)
    if data.sample_shape != rule.network.sample_shape:
        raise InputError(
            f"the network takes samples of shape {rule.network.sample_shape}, the data have {data.sample_shape}"
        )
    return evaluate(rule, _in_order(rule, data, split, find_device(device)), split.groups)


@torch.no_grad()
def calibrate(rule: Rule, data: Data, device: str = "cpu") -> None:
    """Let the rule choose on the validation split what it chooses there (fusion weights)."""
    assert data.validation is not None
    rule.eval()
    found = [(rule.block_scores(x), y) for x, y in _in_order(rule, data, data.validation, device).epoch(0)]
    rule.calibrate(torch.cat([scores for scores, _ in found], dim=1), torch.cat([y for _, y in found]))
