"""The network of the fastest CIFAR training (arXiv:2404.00498, airbench94), each convolution a block.

Fixed filters that whiten 2×2 patches of the training images, GELU, then three groups of 3×3 convolutions of 64, 256 and 256 channels; the first
of a group pools 2×2. After every convolution batch norm without a scale, and GELU. Convolutions begin as the identity on as many channels as
they have inputs.
Differs: the whitening has no trained bias, so that nobody trains what no block owns; the last 3×3 max pooling is the readout's.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerlocal.networks.base import Network, build_blocks
from layerlocal.networks.blocks import SeesImages
from layerlocal.networks.cosine import cosine_filters
from layerlocal.types import InputError

__all__ = ["Whitening", "speedrun", "whitening_filters"]

WIDTHS = (64, 256, 256)
KERNEL = 2
LEAST_SIDE = 9
"""Pixels: below it the third pooling has nothing left to pool."""
LEAST_VARIANCE = 5e-4
"""Added to the variances of patches, so that directions without any are not blown up (the paper's)."""
MOMENTUM = 0.4
"""Share of the newest batch in the running statistics (the paper's 0.6 is what is kept)."""


class Whitening(SeesImages):
    """Fixed 2×2 filters, each with both signs: (B, C, H, W) → (B, 8·C, H − 1, W − 1).

    They are `cosine_filters` until `see` makes them of training images. A buffer, so that a saved network has them.

    Args:
        channels: C.
    """

    weight: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", cosine_filters(2 * channels * KERNEL**2, channels, KERNEL))

    def see(self, images: Tensor) -> None:
        """Make the filters those that whiten the patches of normalized images (N, C, H, W)."""
        self.weight.copy_(whitening_filters(images, KERNEL))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, 8·C, H − 1, W − 1)."""
        return F.conv2d(x, self.weight)


def whitening_filters(images: Tensor, kernel: int) -> Tensor:
    """Eigenvectors of the covariance of patches, each over the root of its variance, those of most variance first, then their negatives.

    Args:
        images: (N, C, H, W).
        kernel: side of a patch.

    Returns:
        (2 · C · kernel², C, kernel, kernel).
    """
    channels = images.shape[1]
    patches = F.unfold(images.contiguous(), kernel).transpose(1, 2).flatten(0, 1).double()
    patches = patches - patches.mean(0)
    values, vectors = torch.linalg.eigh(patches.T @ patches / max(1, len(patches) - 1))
    filters = (vectors / (values.clamp(min=0) + LEAST_VARIANCE).sqrt()).T.flip(0)
    filters = filters.reshape(-1, channels, kernel, kernel).float()
    return torch.cat([filters, -filters])


def speedrun(
    *,
    in_channels: int,
    image_size: int,
    width: float = 1.0,
    depth: int = 6,
    per_block: int = 1,
    seed: int | None = None,
) -> Network:
    """The network of arXiv:2404.00498 as a chain of blocks.

    Args:
        in_channels: channels of the input image.
        image_size: side of the input in pixels, ≥ 9.
        width: factor on the channel counts 64, 256, 256, > 0.
        depth: convolutions, a multiple of 3: as many in each group.
        per_block: convolutions a block; divides ``depth``.
        seed: of the initial weights, block by block.

    Raises:
        InputError: sizes out of their range.
    """
    if width <= 0:
        raise InputError(f"width must be positive, got {width}")
    if image_size < LEAST_SIDE:
        raise InputError(
            f"the network 'speedrun' pools three times and needs images of {LEAST_SIDE} px or more, got {image_size}"
        )
    if not 3 <= depth <= 999 or depth % 3:
        raise InputError(f"depth of 'speedrun' must be a multiple of 3, from 3 to 999, got {depth}")
    if per_block < 1 or depth % per_block:
        raise InputError(f"per_block must divide the {depth} convolutions, got {per_block}")
    makers = list(_layers(in_channels, width, depth))
    chunks = [makers[start : start + per_block] for start in range(0, depth, per_block)]
    blocks = build_blocks([partial(_block, chunk) for chunk in chunks], seed)
    return Network(list(blocks), sample_shape=(in_channels, image_size, image_size))


def _layers(in_channels: int, width: float, depth: int) -> Iterator[partial[nn.Sequential]]:
    """What makes each convolution with all that follows it."""
    channels = 2 * in_channels * KERNEL**2
    for group, size in enumerate(WIDTHS):
        out = max(1, round(size * width))
        for index in range(depth // 3):
            white = in_channels if group == index == 0 else None
            yield partial(_layer, channels, out, pool=index == 0, white=white)
            channels = out


def _layer(in_channels: int, out_channels: int, *, pool: bool, white: int | None) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    nn.init.dirac_(conv.weight[:in_channels])
    norm = nn.BatchNorm2d(out_channels, eps=1e-12, momentum=MOMENTUM)
    norm.weight.requires_grad_(False)
    parts = [Whitening(white), nn.GELU()] if white is not None else []
    return nn.Sequential(*parts, conv, *([nn.MaxPool2d(2)] if pool else []), norm, nn.GELU())


def _block(makers: list[partial[nn.Sequential]]) -> nn.Sequential:
    return nn.Sequential(*(part for make in makers for part in make()))
