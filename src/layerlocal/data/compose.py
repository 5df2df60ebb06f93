"""Two images in one: the label is the pair of their classes (`layerlocal.data.pairs` says which pairs there are)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from layerlocal.data.pairs import Composition, check_pairs
from layerlocal.data.selection import balanced_quota
from layerlocal.types import derive_seed

__all__ = ["compose_split"]


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
