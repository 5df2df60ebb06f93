"""Plain convolutional networks: one 3×3 convolution a block, pooling inside the block (VGG, 1409.1556; VGG8b, 1901.06656)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from layerlocal.kernels import fuses, norm_act
from layerlocal.networks.base import Network, build_blocks, check_depth
from layerlocal.networks.blocks import FusableBlock
from layerlocal.networks.cosine import begin
from layerlocal.types import InputError

__all__ = ["VGG_PLANS", "ConvBlock", "conv_block", "vgg"]

POOL = "P"
VGG_PLANS: dict[str, list[int | str]] = {
    "plain": [64],
    "cnn4": [32, POOL, 64, POOL, 128, POOL, 128],
    "vgg8": [128, 256, POOL, 256, 512, POOL, 512, POOL, 512, POOL],
    "vgg11": [64, POOL, 128, POOL, 256, 256, POOL, 512, 512, POOL, 512, 512, POOL],
    "vgg16": [64, 64, POOL, 128, 128, POOL, 256, 256, 256, POOL, 512, 512, 512, POOL, 512, 512, 512, POOL],
}
"""Output channels at width 1; ``P`` pools at the end of the block before it. ``cnn4`` and ``plain`` are ours: real
images in seconds on a CPU, and equal blocks to any depth."""


class ConvBlock(FusableBlock, nn.Sequential):
    """Convolution – (batch norm) – ReLU – (max pooling), the modules one after another or, where ``fused``, all but the first as one."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, Ci, H, W) → (B, Co, H', W')."""
        if not (self.fused and len(self) > 2 and fuses(self[1])):
            return super().forward(x)
        conv, norm, _, *pools = self
        by_two = any(isinstance(pool, nn.MaxPool2d) and pool.kernel_size == 2 for pool in pools)
        a = norm_act(conv(x), norm, pool=by_two, grid=self.cells if by_two or not pools else 0)
        return a if by_two or not pools else pools[0](a)


def conv_block(in_channels: int, out_channels: int, *, pool: bool = False, norm: bool = True) -> ConvBlock:
    """Convolution 3×3 – batch norm – ReLU (– 2×2 max pooling): (B, Ci, H, W) → (B, Co, H, W) or (B, Co, ⌈H/2⌉, ⌈W/2⌉)."""
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=not norm)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    layers: list[nn.Module] = [conv]
    if norm:
        layers.append(nn.BatchNorm2d(out_channels))
    layers.append(nn.ReLU(inplace=True))
    if pool:
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
    return ConvBlock(*layers)


def vgg(
    plan: Sequence[int | str],
    *,
    in_channels: int,
    image_size: int,
    width: float = 1.0,
    depth: int | None = None,
    norm: bool = True,
    first: str = "learned",
    seed: int | None = None,
) -> Network:
    """A chain of `conv_block` after a plan such as ``[128, "P", 256]``.

    Args:
        plan: output channels block by block; ``"P"`` pools the block before it.
        in_channels: channels of the input image.
        image_size: side of the input in pixels; any size ≥ 1 (pooling rounds up).
        width: factor on every channel count, > 0; counts are rounded and at least 1.
        depth: number of blocks, 1 to 1,000; fewer cut the plan, more repeat its last block without pooling; ``None`` follows the plan.
        norm: batch normalization in every block.
        first: ``"learned"``, or ``"cosine"``: fixed filters of the cosine transform in the first convolution (`networks.cosine`).
        seed: of the initial weights, block by block.
    """
    if width <= 0:
        raise InputError(f"width must be positive, got {width}")
    shape = plan_blocks(plan)
    if depth is not None:
        check_depth(depth)
        shape = (shape + [(shape[-1][0], False)] * depth)[:depth]
    makers = []
    channels = in_channels
    for size, pool in shape:
        out_channels = max(1, round(size * width))
        makers.append(partial(conv_block, channels, out_channels, pool=pool, norm=norm))
        channels = out_channels
    network = Network(list(build_blocks(makers, seed)), sample_shape=(in_channels, image_size, image_size))
    return begin(network, first)


def plan_blocks(plan: Sequence[int | str]) -> list[tuple[int, bool]]:
    """``[64, 64, "P"]`` → ``[(64, False), (64, True)]``: channels and whether the block ends with pooling."""
    blocks: list[tuple[int, bool]] = []
    for entry in plan:
        if isinstance(entry, str):
            if entry != POOL or not blocks:
                raise InputError(
                    f"a network plan is a list of channel counts and 'P' after one of them, got {list(plan)}"
                )
            blocks[-1] = (blocks[-1][0], True)
        else:
            blocks.append((int(entry), False))
    return blocks
