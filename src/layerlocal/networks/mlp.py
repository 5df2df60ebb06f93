"""Fully connected networks: linear – batch norm – ReLU blocks."""

from __future__ import annotations

from functools import partial

from torch import nn

from layerlocal.networks.base import Network, build_blocks, check_depth
from layerlocal.options import whole_number
from layerlocal.types import InputError

__all__ = ["mlp"]


def linear_block(inputs: int, outputs: int, *, flatten: bool, norm: bool) -> nn.Sequential:
    """(Flatten –) linear – batch norm – ReLU: (B, ...) → (B, outputs)."""
    layers: list[nn.Module] = [nn.Flatten()] if flatten else []
    linear = nn.Linear(inputs, outputs, bias=not norm)
    nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
    layers.append(linear)
    if norm:
        layers.append(nn.BatchNorm1d(outputs))
    layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def mlp(
    *,
    in_channels: int,
    image_size: int,
    width: float = 1.0,
    depth: int = 4,
    hidden: int = 256,
    norm: bool = True,
    seed: int | None = None,
) -> Network:
    """``depth`` blocks of ``round(hidden · width)`` units.

    Args:
        in_channels: channels of the input, or its features D where ``image_size`` is 1 (vectors).
        image_size: side of the input in pixels; 1 for vectors of shape (B, D).
        width: factor on ``hidden``, > 0.
        depth: number of blocks, 1 to 1,000.
        hidden: units a block at width 1, ≥ 1.
        norm: batch normalization in every block.
        seed: of the initial weights, block by block.
    """
    check_depth(depth)
    whole_number("hidden", hidden, least=1)
    if width <= 0:
        raise InputError(f"width must be positive, got {width}")
    units = max(1, round(hidden * width))
    inputs = in_channels * image_size**2
    vectors = image_size == 1
    makers = [
        partial(linear_block, units if index else inputs, units, flatten=not index and not vectors, norm=norm)
        for index in range(depth)
    ]
    sample_shape = (in_channels,) if vectors else (in_channels, image_size, image_size)
    return Network(list(build_blocks(makers, seed)), sample_shape=sample_shape)
