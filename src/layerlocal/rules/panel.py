"""Panel: every block learns to be read by nets whose width does not depend on it, and by a linear map, gradients stopped between blocks.

Ours, after `committee`, whose nets have at most the channels of the block. What locality costs is made at the first blocks, and these have few
channels: their readers are the smallest. Here a net's channels times its positions a side are constant instead, as in the networks themselves,
whatever the block has; so first blocks are read as later ones are, and readers of wide blocks cost little. Each has a cross-entropy of its
own, of equal weight:

    loss_l = (1/M) Σ_m CE(s_lm, y),    scores_l = (1/M) Σ_m log softmax(s_lm)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from layerlocal.networks import Network
from layerlocal.networks.vgg import ConvBlock
from layerlocal.rules.base import RuleInfo
from layerlocal.rules.members import MemberRule, NetScores, is_fused, small_block
from layerlocal.rules.registry import register_rule
from layerlocal.types import InputError

__all__ = ["Panel", "PyramidNets", "parse_nets"]


class PyramidNets(nn.Module):
    """Nets that begin at the same number of positions, side by side, the deepest first: (B, C, H, W) or (B, D) → (B, N, K).

    A convolution without overlap to at most ``side`` positions a side; then convolution 3×3 – batch norm – ReLU as often as a net is deep, with
    2×2 max pooling between them as far as ``grid`` positions are left, ``budget`` over the positions a side as channels; then `NetScores`.
    Convolutions have a group a net; a net leaves after its last one. A vector is a map of one position, with convolutions 1×1.

    Args:
        activity_shape: of the activity, without the batch dimension.
        num_classes: K.
        depths: convolutions of each net, the first to fewer positions aside.
        side: positions a side at most.
        budget: channels of a net times the positions a side of its map, ≥ ``side``.
        grid: cells a side that are read.
        fused: normalization, activation and pooling as one operation, as in the blocks of the network.
        **reads: ``statistic`` and ``factors`` of `NetScores`.
    """

    def __init__(
        self, activity_shape: Sequence[int], num_classes: int, *, depths: Sequence[int], side: int, budget: int, grid: int, fused: bool,
        **reads: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        self.is_map = len(activity_shape) == 3
        channels, *sizes = activity_shape if self.is_map else (*activity_shape, 1, 1)
        step, kernel = min(-(-max(sizes) // side), *sizes), 3 if self.is_map else 1
        sizes = [size // step for size in sizes]
        self.left = [
            sum(depth > layer for depth in depths) for layer in range(max(depths) + 1)
        ]  # nets that go on after a layer
        width = budget // max(sizes)
        first = nn.Conv2d(channels, len(depths) * width, step, stride=step, bias=False)
        layers: list[ConvBlock] = [small_block(first, fused=fused)]
        self.widths, self.pools, self.reads = [width], [False], nn.ModuleDict()
        for layer in range(1, len(self.left)):
            nets, inputs, width = self.left[layer - 1], width, budget // max(sizes)
            conv = nn.Conv2d(nets * inputs, nets * width, kernel, padding=kernel // 2, groups=nets, bias=False)
            leaving, halves = nets - self.left[layer], self.left[layer] > 0 and min(sizes) // 2 >= grid
            layers.append(small_block(conv, pools=halves and not leaving, fused=fused))
            if leaving:
                self.reads[str(layer)] = NetScores((leaving * width, *sizes), num_classes, nets=leaving, grid=grid, **reads)  # fmt: skip
            sizes = [-(-size // 2) for size in sizes] if halves else sizes
            self.widths.append(width)
            self.pools.append(halves and leaving > 0)
        self.layers = nn.ModuleList(layers)

    def forward(self, activity: Tensor) -> Tensor:
        """(B, N, K)."""
        maps = activity if self.is_map else activity[:, :, None, None]
        found: list[Tensor] = []
        for index, layer in enumerate(self.layers):
            maps = layer(maps)
            going = self.left[index] * self.widths[index]
            if str(index) in self.reads:
                found.append(self.reads[str(index)](maps[:, going:]))
                maps = maps[:, :going]
            if self.pools[index]:
                maps = nn.functional.max_pool2d(maps, 2, ceil_mode=True)
        return torch.cat(found[::-1], 1)


class EveryNet(nn.ModuleList):
    """`PyramidNets` of several beginnings, as one: (B, N, K)."""

    def forward(self, activity: Tensor) -> Tensor:
        """(B, N, K)."""
        return torch.cat([nets(activity) for nets in self], 1)


def parse_nets(text: str) -> dict[int, list[int]]:
    """``"3@16+2@8+1@8"`` → {16: [3], 8: [2, 1]}: depths by positions a side, the deepest first.

    Raises:
        InputError: something else.
    """
    found: dict[int, list[int]] = {}
    for word in text.split("+"):
        numbers = word.split("@")
        if len(numbers) != 2 or not all(number.isdecimal() and int(number) for number in numbers):
            raise InputError(
                f"nets are LAYERS@POSITIONS joined by '+', such as '2@16+1@8', with numbers from 1, got {text!r}"
            )
        found.setdefault(int(numbers[1]), []).append(int(numbers[0]))
    return {side: sorted(depths, reverse=True) for side, depths in sorted(found.items(), reverse=True)}


@register_rule
class Panel(MemberRule):
    """Every block learns through nets of its own and a linear readout: loss_l = mean_m CE(s_lm(a_l), y).

    The first loss warns, once, where the members of a block together have more FLOPs or parameters than the block.

    Args:
        network: what is trained.
        num_classes: K ≥ 2.
        seed: of the heads.
        nets: nets a block as ``LAYERS@POSITIONS`` joined by ``+``: convolutions 3×3 (of vectors: hidden layers) and the positions a side at
            which they begin; larger maps are brought to no more by a convolution without overlap.
        budget: channels of a net times the positions a side of its map, at least those where nets begin (of vectors: hidden units). The cost
            of a net grows with its square.
        linear: whether there is a linear readout beside them.
        readout: what is read of each channel in each cell: ``"rms"`` or ``"mean"``.
        grid: cells a side, ≥ 1.
        fusion: ``"uniform"``, ``"fitted"``, ``"best"`` or ``"last"`` (`BlockwiseRule`).
        label_smoothing: in [0, 1).
        factors: ``"AxB"`` where a class is a pair (`SpatialReadout`).

    Raises:
        InputError: a value out of its range.
    """

    info = RuleInfo(
        name="panel",
        locality="block",
        summary="cross-entropy through nets as wide as their resolution allows, whatever the block, each with a loss of its own",
        references=("arXiv:2402.17318", "arXiv:1901.08164"),
    )

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        nets: str = "3@16+3@16",
        budget: int = 512,
        linear: bool = True,
        readout: str = "rms",
        grid: int = 2,
        fusion: str = "uniform",
        label_smoothing: float = 0.0,
        factors: str | None = None,
    ) -> None:
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion, label_smoothing=label_smoothing)
        groups = parse_nets(nets)
        if budget < max(groups):
            raise InputError(
                f"budget must be at least {max(groups)}, the positions a side at which nets begin, got {budget}"
            )
        reads: dict[str, Any] = {"grid": grid, "factors": factors}
        fused = is_fused(network)

        def make_nets(shape: Sequence[int]) -> nn.Module:
            sizes = {"budget": budget, "fused": fused, "statistic": readout, **reads}
            return EveryNet(
                PyramidNets(shape, num_classes, depths=depths, side=side, **sizes) for side, depths in groups.items()
            )

        self.read_blocks(make_nets, linear=linear, statistic=readout, **reads)
