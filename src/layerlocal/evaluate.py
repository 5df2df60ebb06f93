"""Accuracy of a rule on a split, and what a rule chooses on validation data."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from layerlocal.data import Batches, Data, Split
from layerlocal.rules import Rule

__all__ = ["Evaluation", "calibrate", "evaluate", "evaluate_split"]

EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Evaluation:
    """Accuracy on one split, in [0, 1]: after fusion, and of each readout alone."""

    accuracy: float
    block_accuracies: dict[str, float]
    num_samples: int


@torch.no_grad()
def evaluate(rule: Rule, batches: Batches) -> Evaluation:
    """Accuracy of a rule on every sample of ``batches``; the rule sees inputs only, never a label."""
    was_training = rule.training
    rule.eval()
    names = rule.readout_blocks
    correct = torch.zeros(len(names) + 1, dtype=torch.int64)
    count = 0
    for x, y in batches.epoch(0):
        scores = rule.block_scores(x)
        answers = torch.cat([scores.argmax(-1), rule.fuse(scores).argmax(-1)[None]])
        correct = correct.to(y.device) + (answers == y).sum(1)
        count += len(y)
    rule.train(was_training)
    *blocks, fused = (correct.double() / count).tolist()
    return Evaluation(fused, dict(zip(names, blocks, strict=True)), count)


def _in_order(rule: Rule, data: Data, split: Split, device: str) -> Batches:
    return Batches(
        split, batch_size=EVALUATION_BATCH, mean=data.mean, std=data.std, shuffle=False, device=device,
        channels_last=rule.network.channels_last, seed=0,
    )  # fmt: skip


def evaluate_split(rule: Rule, data: Data, split: Split, *, device: str = "cpu") -> Evaluation:
    """`evaluate` on a split of ``data``, normalized as training was."""
    return evaluate(rule, _in_order(rule, data, split, device))


@torch.no_grad()
def calibrate(rule: Rule, data: Data, device: str = "cpu") -> None:
    """Let the rule choose on the validation split what it chooses there (fusion weights)."""
    assert data.validation is not None
    rule.eval()
    found = [(rule.block_scores(x), y) for x, y in _in_order(rule, data, data.validation, device).epoch(0)]
    rule.calibrate(torch.cat([scores for scores, _ in found], dim=1), torch.cat([y for _, y in found]))
