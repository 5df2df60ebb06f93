"""Two images in one: the label is the pair of their classes, and some pairs are kept from training (compositional generalization).

Letters: A and B classes of the first and the second factor, pair (a, b) has label a·B + b.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from layerlocal.data.selection import balanced_quota
from layerlocal.types import InputError, derive_seed, unknown_name
from layerlocal.words import several

__all__ = ["HOW", "Composition", "check_pairs", "compose_split", "plan_composition"]

HOW = ("side", "overlay")


@dataclass(frozen=True, eq=False)
class Composition:
    """How images are paired.

    Attributes:
        how: ``"side"`` or ``"overlay"``.
        first: base classes of the first factor, A of them.
        second: base classes of the second factor, B of them.
        held_out: bool (A, B), pairs that training never shows.
    """

    how: str
    first: list[int]
    second: list[int]
    held_out: np.ndarray

    @property
    def num_pairs(self) -> int:
        """A·B: classes of the task."""
        return len(self.first) * len(self.second)


def plan_composition(num_classes: int, *, how: str, held_out: float, seed: int) -> Composition:
    """Which base classes make which factor, and which pairs are held out.

    Every class of either factor is in at least one pair that is trained, and trained pairs link all classes, so that the factors can
    be told apart: pairs are held out along shifted diagonals, the same number of every class of the first factor, up to one.

    Raises:
        InputError: an unknown way, too few classes, or so large a share that it is not so.
    """
    if how not in HOW:
        raise unknown_name("compose", how, HOW)
    if not 0 <= held_out < 1:
        raise InputError(f"held_out={held_out} must be at least 0 and below 1 (the share of the pairs)")
    if how == "side":
        first = second = list(range(num_classes))
    else:
        first, second = list(range(num_classes // 2)), list(range(num_classes // 2, num_classes))
    if len(first) < 2 or len(second) < 2:
        raise InputError(
            f"compose={how!r} needs at least {2 if how == 'side' else 4} classes, the data has {num_classes}"
        )
    rows, columns = len(first), len(second)
    number = round(held_out * rows * columns)
    rng = np.random.default_rng(derive_seed(seed, "held_out", how))
    order_a, order_b = rng.permutation(rows), rng.permutation(columns)
    mask = np.zeros((rows, columns), dtype=bool)
    for position in range(number):  # a diagonal of every row, then the next diagonal
        row, diagonal = position % rows, position // rows
        mask[order_a[row], order_b[(row + diagonal) % columns]] = True
    linked = np.linalg.matrix_power(~mask @ ~mask.T, rows)  # classes of the first factor, by way of trained pairs
    if not linked.all() or mask.all(0).any():
        raise InputError(
            f"held_out={held_out} of {rows}×{columns} pairs leaves too few to tell the factors apart; lower it"
        )
    return Composition(how, first, second, mask)


def check_pairs(labels: np.ndarray, plan: Composition, *, number: int, what: str, unseen: bool) -> np.ndarray:
    """The pairs a split may show, ascending; refuses a split that cannot show each of them. Looks at labels only.

    Raises:
        InputError: fewer images than pairs, or a base class without an image.
    """
    allowed = np.flatnonzero((~plan.held_out | unseen).reshape(-1))
    if number < len(allowed):
        raise InputError(
            f"{several(number, f'{what} image')} {'is' if number == 1 else 'are'} too few for {len(allowed)} pairs of classes; "
            "ask for at least one a pair (num_train, of which validation takes its share, and num_test)"
        )
    missing = sorted({*plan.first, *plan.second} - set(labels.tolist()))
    if missing:
        raise InputError(f"the {what} images have none of class {missing[0]}; leave the class out with classes=[…]")
    return allowed


def compose_split(
    images: Tensor, labels: np.ndarray, plan: Composition, *, number: int, seed: int, what: str, unseen: bool
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """``number`` composed images, as many of every allowed pair as can be, drawn with replacement from the base images.

    Args:
        images: (N, C, H, W) base images.
        labels: (N,) base classes.
        plan: of the pairs.
        number: of composed images.
        seed: of the draws.
        what: ``"train"``, ``"validation"`` or ``"test"``, part of the seed.
        unseen: allow held-out pairs too.

    Returns:
        images (number, C, H, W), labels int64 (number,), and bool masks (number,) ``{"seen": ..., "unseen": ...}``.

    Raises:
        InputError: as `check_pairs`.
    """
    allowed = check_pairs(labels, plan, number=number, what=what, unseen=unseen)
    rng = np.random.default_rng(derive_seed(seed, "compose", plan.how, what))
    pairs = np.repeat(allowed, balanced_quota(np.full(len(allowed), number), number))
    pairs = pairs[rng.permutation(number)]
    chosen = []
    for factor, classes in ((pairs // len(plan.second), plan.first), (pairs % len(plan.second), plan.second)):
        rows = np.empty(number, dtype=np.int64)
        for position, base in enumerate(classes):
            at = np.flatnonzero(factor == position)
            rows[at] = rng.choice(np.flatnonzero(labels == base), len(at))
        chosen.append(images[torch.from_numpy(rows)])
    held_out = torch.from_numpy(plan.held_out.reshape(-1)[pairs])
    return _join(chosen[0], chosen[1], plan.how), torch.from_numpy(pairs), {"seen": ~held_out, "unseen": held_out}


def _join(first: Tensor, second: Tensor, how: str) -> Tensor:
    """(N, C, H, W) twice → once: side by side at half width each (columns averaged in twos), or their mean."""
    if how == "overlay":
        return ((first.short() + second.short() + 1) // 2).to(first.dtype)
    width = first.shape[-1] // 2 * 2
    halves = [
        image[..., :width].unflatten(-1, (-1, 2)).float().mean(-1).round().to(image.dtype) for image in (first, second)
    ]
    return (
        torch.cat(halves, dim=-1)
        if width == first.shape[-1]
        else torch.nn.functional.pad(torch.cat(halves, dim=-1), (0, 1))
    )
