"""Residual networks (1512.03385): a stem block, then one residual block a block, with CIFAR and 224 px stems."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerlocal.kernels import fuses, norm_act
from layerlocal.networks.base import Network, build_blocks
from layerlocal.networks.blocks import FusableBlock
from layerlocal.networks.cosine import begin
from layerlocal.networks.vgg import ConvBlock, conv_block
from layerlocal.types import InputError

__all__ = ["RESNET_PLANS", "ResidualBlock", "resnet"]

RESNET_PLANS: dict[str, tuple[tuple[int, int, int, int], bool]] = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
}
"""Residual blocks in each of the four stages (64, 128, 256, 512 channels at width 1), and whether they are bottlenecks."""

LARGE_IMAGE = 128
"""Images at least this large (pixels) get the 7×7 stride-2 stem with pooling, smaller ones a 3×3 stem."""


class ResidualBlock(FusableBlock):
    """ReLU(branch(x) + shortcut(x)): (B, Ci, H, W) → (B, Co, H/stride, W/stride).

    Args:
        in_channels: Ci.
        out_channels: Co.
        stride: of the first 3×3 convolution and of the shortcut.
        bottleneck: 1×1 – 3×3 – 1×1 with a quarter of the channels inside, instead of two 3×3 convolutions.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, bottleneck: bool = False) -> None:
        super().__init__()
        inner = max(1, out_channels // 4) if bottleneck else out_channels
        if bottleneck:
            layers = [
                *conv_norm(in_channels, inner, 1, 1), nn.ReLU(inplace=True),
                *conv_norm(inner, inner, 3, stride), nn.ReLU(inplace=True),
                *conv_norm(inner, out_channels, 1, 1),
            ]  # fmt: skip
        else:
            layers = [
                *conv_norm(in_channels, inner, 3, stride), nn.ReLU(inplace=True),
                *conv_norm(inner, out_channels, 3, 1),
            ]  # fmt: skip
        self.branch = nn.Sequential(*layers)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Sequential(*conv_norm(in_channels, out_channels, 1, stride))
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, Ci, H, W) → (B, Co, H/stride, W/stride)."""
        if not (self.fused and all(fuses(norm) for norm in [*self.branch][1::3])):
            return self.activation(self.branch(x).add_(self.shortcut(x)))
        *inner, conv, norm = self.branch
        h = x
        for position in range(0, len(inner), 3):  # convolution, norm, ReLU
            h = norm_act(inner[position](h), inner[position + 1])
        return norm_act(conv(h), norm, residual=self.shortcut(x), grid=self.cells)


class NarrowShortcut(nn.Conv2d):
    """A 1×1 convolution with stride as one without stride on every other row and column: the same numbers.

    On the CPU of torch 2.13 the backward of the former writes beyond its memory where fewer than 8 channels come in, channels-last.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, Ci, H, W) → (B, Co, ⌈H/stride⌉, ⌈W/stride⌉)."""
        down, across = self.stride
        kept = x[..., ::down, ::across]
        layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        return F.conv2d(kept.contiguous(memory_format=layout), self.weight)


NARROW = 8
"""Channels from which on torch's own strided 1×1 convolution is used."""


def conv_norm(in_channels: int, out_channels: int, kernel: int, stride: int) -> list[nn.Module]:
    """A convolution without bias and its batch normalization."""
    kind = NarrowShortcut if kernel == 1 and stride > 1 and in_channels < NARROW else nn.Conv2d
    conv = kind(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return [conv, nn.BatchNorm2d(out_channels)]


def large_stem(in_channels: int, out_channels: int) -> ConvBlock:
    """7×7 stride 2 – batch norm – ReLU – 3×3 max pooling stride 2: a quarter of the side."""
    layers = conv_norm(in_channels, out_channels, 7, 2)
    return ConvBlock(*layers, nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2, padding=1))


def resnet(
    stages: tuple[int, ...],
    bottleneck: bool,
    *,
    in_channels: int,
    image_size: int,
    width: float = 1.0,
    stem: str = "auto",
    first: str = "learned",
    seed: int | None = None,
) -> Network:
    """A stem and ``sum(stages)`` residual blocks.

    Args:
        stages: residual blocks a stage; the channels double and the side halves from stage to stage.
        bottleneck: kind of residual block.
        in_channels: channels of the input image.
        image_size: side of the input in pixels.
        width: factor on every channel count, > 0.
        stem: ``"cifar"`` (3×3, keeps the side), ``"imagenet"`` (7×7 and pooling) or ``"auto"`` (by ``image_size``).
        first: ``"learned"``, or ``"cosine"``: fixed filters of the cosine transform in the first convolution (`networks.cosine`).
        seed: of the initial weights, block by block.
    """
    if width <= 0:
        raise InputError(f"width must be positive, got {width}")
    if stem not in ("auto", "cifar", "imagenet"):
        raise InputError(f"stem must be 'auto', 'cifar' or 'imagenet', got {stem!r}")
    large = stem == "imagenet" or (stem == "auto" and image_size >= LARGE_IMAGE)
    channels = max(1, round(64 * width))
    makers: list[Callable[[], nn.Module]] = [partial(large_stem if large else conv_block, in_channels, channels)]
    for stage, repeats in enumerate(stages):
        outputs = max(1, round(64 * 2**stage * width)) * (4 if bottleneck else 1)
        for index in range(repeats):
            stride = 2 if stage and not index else 1
            makers.append(partial(ResidualBlock, channels, outputs, stride=stride, bottleneck=bottleneck))
            channels = outputs
    network = Network(list(build_blocks(makers, seed)), sample_shape=(in_channels, image_size, image_size))
    return begin(network, first)
