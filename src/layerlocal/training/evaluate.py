"""Accuracy of a rule on a split, and what a rule chooses on validation data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from layerlocal.data import Batches, Data, Split
from layerlocal.data.splits import refuse_unlike
from layerlocal.devices import Device, find_device
from layerlocal.options import check_kind
from layerlocal.rules import Rule
from layerlocal.types import InputError

__all__ = [
    "Evaluation",
    "calibrate",
    "check_finite",
    "check_scores",
    "checked_scores",
    "evaluate_batches",
    "evaluate_split",
]

EVALUATION_BATCH = 500
EVALUATION_LABELS = 4000
"""Samples in one pass, and labels where each sample has several: their scores are held at once."""
OTHER_SCORES = (
    "is not what all_scores() gives, on which accuracy is counted; write block_scores, fuse or all_scores instead of it"
)


@dataclass(frozen=True)
class Evaluation:
    """Accuracy on one split, in [0, 1]: after fusion, of each readout alone, and after fusion on each of the split's groups.

    ``answers`` is one bit a sample, in the split's order (`numpy.packbits`): whether the fused prediction is right. ``places`` is one bit for
    each of the source's samples up to the last one here: whether it is in the split. ``None`` where they are not known.

    Where every token has a label, ``num_samples`` counts labels, and ``nats`` is the mean cross-entropy of a label after fusion, in nats (bits:
    over ln 2), ``block_nats`` that of each readout alone; otherwise they are ``None`` and empty, as ``answers`` is there.
    """

    accuracy: float
    block_accuracies: dict[str, float]
    num_samples: int
    group_accuracies: dict[str, float] = field(default_factory=dict)
    answers: bytes | None = field(default=None, repr=False)
    places: bytes | None = field(default=None, repr=False)
    nats: float | None = None
    block_nats: dict[str, float] = field(default_factory=dict)


def checked_scores(rule: Rule, x: Tensor) -> tuple[Tensor, Tensor]:
    """`Rule.all_scores`, once both have the shapes they must have.

    Raises:
        InputError: as `check_scores`.
    """
    if type(rule).all_scores is Rule.all_scores:
        blocks = rule.block_scores(x)
        letters = "(L, B, T, K)" if rule.label_shape else "(L, B, K)"
        _refuse_other_shape(rule, "block_scores()", blocks, _shape_of_blocks(rule, len(x)), letters)
        return blocks, check_scores(rule, blocks, len(x), rule.fuse(blocks), "fuse()")
    found = rule.all_scores(x)
    if not (isinstance(found, tuple) and len(found) == 2):
        raise InputError(
            f"all_scores() of rule {rule.info.name!r} gives {type(found).__name__}; it must give (block scores, fused scores)"
        )
    return found[0], check_scores(rule, found[0], len(x), found[1], "all_scores()")


def check_scores(rule: Rule, blocks: Tensor, count: int, fused: Tensor, what: str = "scores()") -> Tensor:
    """The fused scores (B, *P, K), once they and the block scores have the shapes they must have.

    Args:
        rule: whose scores they are.
        blocks: what `Rule.block_scores` gave for ``count`` samples.
        count: B.
        fused: the prediction.
        what: the method that gave it.

    Raises:
        InputError: anything but floats of shape (L, B, *P, K) and (B, *P, K).
    """
    letters = "B, T, K" if rule.label_shape else "B, K"
    _refuse_other_shape(rule, "block_scores()", blocks, _shape_of_blocks(rule, count), f"(L, {letters})")
    _refuse_other_shape(rule, what, fused, (count, *rule.label_shape, rule.num_classes), f"({letters})")
    return fused


def _shape_of_blocks(rule: Rule, count: int) -> tuple[int, ...]:
    return len(rule.readout_blocks), count, *rule.label_shape, rule.num_classes


def _refuse_other_shape(rule: Rule, what: str, found: object, shape: tuple[int, ...], letters: str) -> None:
    who = f"{what} of rule {rule.info.name!r} gives"
    if not isinstance(found, Tensor) or not found.is_floating_point():
        kind = f"{found.dtype} numbers" if isinstance(found, Tensor) else type(found).__name__
        raise InputError(f"{who} {kind}; it must give a Tensor of floats of shape {letters} = {shape}")
    if tuple(found.shape) != shape:
        raise InputError(f"{who} shape {tuple(found.shape)}; it must give {letters} = {shape}")


def check_finite(rule: Rule, blocks: Tensor, fused: Tensor, where: str) -> None:
    """Refuse scores, or sums of scores, that are not finite.

    Args:
        rule: whose scores they are.
        blocks: (L, ...), of each readout.
        fused: after fusion.
        where: on which samples, for the message.

    Raises:
        InputError: the first readout with such a score, or the fusion.
    """
    names = [f"the scores of {name}" for name in rule.readout_blocks] + ["the fused scores"]
    finite = [*blocks.flatten(1).isfinite().all(1).tolist(), bool(fused.isfinite().all())]
    for name, good in zip(names, finite, strict=True):
        if not good:
            raise InputError(
                f"{name} of rule {rule.info.name!r} are NaN or infinite {where}; lower recipe.learning_rate, or look at the rule's "
                "block_scores"
            )


@torch.no_grad()
def evaluate_batches(
    rule: Rule, batches: Batches, groups: Mapping[str, Tensor] | None = None, *, where: str = "on these samples"
) -> Evaluation:
    """Accuracy of a rule on every sample of ``batches``; the rule sees inputs only, never a label.

    Args:
        rule: put in evaluation mode for the time.
        batches: in order.
        groups: bool (N,) by name: accuracy after fusion on each is given too; an empty one is left out.
        where: which samples these are, for messages.

    Raises:
        InputError: scores of another shape than (L, B, *P, K), or such that are not finite.
    """
    names = rule.readout_blocks
    found, marks, nats = [], [], []
    with _evaluating(rule):
        for x, y in batches.epoch(0):
            scores, fused = checked_scores(rule, x)
            both = torch.cat([scores, fused[None]])  # (L + 1, B, *P, K)
            found.append((both.argmax(-1) == y).flatten(1))
            marks.append(_mark(both.flatten(1)))
            if rule.label_shape:
                nats.append(_summed_nats(both, y))
    marked = torch.stack(marks, 1)  # read once, after the last batch: no device is waited for before
    check_finite(rule, marked[:-1], marked[-1], where)
    correct = torch.cat(found, dim=1).cpu()  # (L + 1, N)
    *blocks, fused_accuracy = correct.double().mean(1).tolist()
    by_group = {name: float(correct[-1, mask].double().mean()) for name, mask in (groups or {}).items() if mask.any()}
    accuracies = dict(zip(names, blocks, strict=True))
    if nats:
        *losses, fused_nats = (torch.stack(nats).sum(0) / correct.shape[1]).tolist()
        by_block = dict(zip(names, losses, strict=True))
        return Evaluation(fused_accuracy, accuracies, correct.shape[1], by_group, nats=fused_nats, block_nats=by_block)
    answers = np.packbits(correct[-1].numpy()).tobytes()
    return Evaluation(fused_accuracy, accuracies, correct.shape[1], by_group, answers)


def _summed_nats(scores: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of each row of scores, summed over labels, in double precision: (L, B, *P, K), (B, *P) → (L,)."""
    return torch.stack([F.cross_entropy(each.flatten(0, -2), y.flatten(), reduction="sum").double() for each in scores])


def _mark(scores: Tensor) -> Tensor:
    """0 for every row whose scores are all finite, NaN for the others."""
    return torch.where(scores.isfinite().all(1), 0.0, torch.nan)


@contextmanager
def _evaluating(rule: Rule) -> Iterator[None]:
    was_training = rule.training
    rule.eval()
    try:
        yield
    finally:
        rule.train(was_training)


def _in_order(rule: Rule, data: Data, split: Split, device: str) -> Batches:
    size = min(EVALUATION_BATCH, max(1, EVALUATION_LABELS // torch.Size(rule.label_shape).numel()))
    return Batches(
        split, batch_size=size, mean=data.mean, std=data.std, shuffle=False, device=device,
        channels_last=rule.network.channels_last, seed=0,
    )  # fmt: skip


def evaluate_split(
    rule: Rule, data: Data, split: Split, *, device: Device = "cpu", where: str = "on these samples"
) -> Evaluation:
    """`evaluate_batches` on a split of ``data``, normalized as training was.

    Raises:
        InputError: a split of other data, a device that is not here, scores that `evaluate_batches` refuses.
    """
    for name, given, kind in (("rule", rule, Rule), ("data", data, Data), ("split", split, Split)):
        check_kind(name, given, kind)
    if len(split) == 0:
        raise InputError("the split is empty: no accuracy can be said of it")
    if data.num_classes != rule.num_classes:
        raise InputError(f"the rule was made for {rule.num_classes} classes, the data have {data.num_classes}")
    refuse_unlike("given", split, data.train, data.num_classes)
    if data.sample_shape != rule.network.sample_shape:
        raise InputError(
            f"the network takes samples of shape {rule.network.sample_shape}, the data have {data.sample_shape}"
        )
    found = evaluate_batches(rule, _in_order(rule, data, split, find_device(device)), split.groups, where=where)
    return replace(found, places=split.places)


@torch.no_grad()
def calibrate(rule: Rule, data: Data, device: str = "cpu") -> None:
    """Let the rule choose on the validation split what it chooses there (fusion weights)."""
    assert data.validation is not None
    rule.eval()
    found = []
    for x, y in _in_order(rule, data, data.validation, device).epoch(0):
        scores, fused = checked_scores(rule, x)
        check_finite(rule, scores, fused, "on the validation split, after the last epoch")
        found.append((scores.flatten(1, -2), y.flatten()))
    rule.calibrate(torch.cat([scores for scores, _ in found], dim=1), torch.cat([y for _, y in found]))
