"""A first convolution that is told nothing of the classes: filters of the cosine transform, with both signs, fixed.

A block that learns by its own loss keeps what its own readers ask for, and what the first block drops no later one gets back. The cosine
transform drops nothing that it has a channel for: its filters are orthonormal, ReLU of a coefficient and of its negative keep all of it, and
since the transform leaves natural images nearly uncorrelated, batch norm after it whitens patches without a look at the data. After the fixed
first layer of arXiv:2404.00498 (for backprop: eigenvectors of the training images' patches, with both signs).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from layerlocal.networks.base import Network
from layerlocal.types import InputError

__all__ = ["begin", "cosine_filters"]

COLOUR = 1.5
"""A difference of channels has about the variance of a luminance coefficient of this frequency (CIFAR: between the first and the second)."""


def cosine_filters(count: int, channels: int, kernel: int) -> Tensor:
    """Orthonormal filters, each followed by its negative, those of most variance on natural images first: (N, channels, kernel, kernel).

    Products of the cosine transform (DCT-II) along channels, rows and columns; of R, G, B it makes luminance and two colour differences.
    N = min(count, 2 · channels · kernel²).
    """
    across, along = _cosine_basis(channels), _cosine_basis(kernel)
    frequencies = [(c, i, j) for c in range(channels) for i in range(kernel) for j in range(kernel)]
    frequencies.sort(key=lambda at: (at[1] + at[2] + (COLOUR if at[0] else 0), at))
    kept = [torch.einsum("c,h,w->chw", across[c], along[i], along[j]) for c, i, j in frequencies[: -(-count // 2)]]
    filters = torch.stack(kept)
    return torch.stack([filters, -filters], 1).flatten(0, 1)[:count].float()


def begin(network: Network, first: str) -> Network:
    """The network with its first convolution ``"learned"`` (as it is) or ``"cosine"``: `cosine_filters` that are not trained.

    They have the mean norm of those that were drawn; filters beyond those of the transform stay as they were drawn, and fixed. What follows the
    convolution (bias, batch norm) learns as before.

    Raises:
        InputError: another word.
    """
    if first not in ("learned", "cosine"):
        raise InputError(f"first must be 'learned' or 'cosine', got {first!r}")
    if first == "cosine":
        conv = next(part for part in network.modules() if isinstance(part, nn.Conv2d))
        filters = cosine_filters(conv.out_channels, conv.in_channels, conv.kernel_size[0])
        with torch.no_grad():
            conv.weight[: len(filters)] = filters * conv.weight.flatten(1).norm(dim=1).mean()
        conv.weight.requires_grad_(False)
    return network


def _cosine_basis(size: int) -> Tensor:
    """Rows of the DCT-II, orthonormal: (size, size), float64."""
    at = torch.arange(size, dtype=torch.float64)
    basis = torch.cos(math.pi / size * at[:, None] * (at + 0.5))
    return basis / basis.norm(dim=1, keepdim=True)
