"""Auxiliary heads with hidden layers: what a local loss may read a block's activity through, and what that costs.

Paper: Decoupled Greedy Learning, arXiv:1901.08164, whose auxiliary nets are MLP-aux (averages on 2×2 cells, three hidden layers), MLP-SR-aux
(averages over 4×4 positions first, three 1×1 convolutions, then MLP-aux) and CNN-aux (two 3×3 convolutions at the block's own resolution).
Differs: one hidden layer by default; by default convolutions are CNN-aux's at MLP-SR-aux's resolution, followed by one linear map; the last
map is read like a block's activity (`SpatialReadout`: statistic and grid of one's choice, standardized over the batch).
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from layerlocal.kernels import cell_sizes
from layerlocal.networks import Network
from layerlocal.networks.flops import forward_flops
from layerlocal.rules.core.readout import SpatialReadout
from layerlocal.rules.core.walk import BlockwiseRule
from layerlocal.types import InputError

__all__ = [
    "HEAD_SIZES",
    "MOST_MEMBERS",
    "AuxiliaryRule",
    "ConvReadout",
    "HeadCost",
    "MLPReadout",
    "head_cost",
    "head_sizes",
    "make_head",
]

HEAD_SIZES: dict[str, dict[str, int | None]] = {
    "linear": {},
    "mlp": {"head_layers": 1, "head_width": 128},
    "conv": {"head_layers": 1, "head_width": None, "head_kernel": 3, "head_reduction": 4},
}
"""Kinds of heads, their sizes and the sizes' defaults; no width: as many channels as the activity has."""
SHOWN = 3
"""Blocks that a warning of costs gives the numbers of."""
MOST_MEMBERS = 1000
"""Layers of a head, or nets beside one another."""
TINY = 1e-12  # added to a mean square, so that the root of 0 has a gradient


class MLPReadout(SpatialReadout):
    """A `SpatialReadout` with hidden layers between its standardized statistics and its scores: (B, C, H, W) or (B, D) → (B, K).

    Args:
        activity_shape: of the activity, without the batch dimension.
        num_classes: K.
        layers: hidden layers (linear – batch norm – ReLU), ≥ 1.
        width: units a hidden layer, ≥ 1.
        **reads: ``statistic``, ``grid`` and ``factors`` of `SpatialReadout`.
    """

    def __init__(
        self, activity_shape: Sequence[int], num_classes: int, *, layers: int = 1, width: int = 128, **reads: Any
    ) -> None:
        super().__init__(activity_shape, num_classes, **reads)
        features, scores = self.linear.in_features, self.linear.out_features
        hidden: list[nn.Module] = []
        for index in range(layers):
            inputs = width if index else features
            hidden += [nn.Linear(inputs, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
        self.linear = nn.Sequential(*hidden, nn.Linear(width, scores))  # type: ignore[assignment]

    @property
    def reads(self) -> str:
        """What it reads, in a few words."""
        return f"{super().reads}, hidden layers"


class ConvReadout(nn.Module):
    """A small convolutional net on a block's map: (B, C, H, W) → (B, K).

    Averages over ``reduction`` × ``reduction`` positions, ``layers`` times convolution – batch norm – ReLU, then the statistics of each
    channel on a grid, standardized, and a linear map. In ordinary operations, so that it exports as it is.

    Args:
        activity_shape: (C, H, W).
        num_classes: K.
        layers: convolutions, ≥ 1.
        width: channels of each, ≥ 1; ``None``: C.
        kernel: their side, odd.
        reduction: positions a side that are averaged first, ≥ 1, as far as ``grid`` cells are left.
        **reads: ``statistic``, ``grid`` and ``factors`` of `SpatialReadout`, of the last map.

    Raises:
        InputError: an activity that is no map.
    """

    rows: Tensor
    columns: Tensor

    def __init__(
        self,
        activity_shape: Sequence[int],
        num_classes: int,
        *,
        layers: int = 1,
        width: int | None = None,
        kernel: int = 3,
        reduction: int = 4,
        **reads: Any,
    ) -> None:
        super().__init__()
        if len(activity_shape) != 3:
            raise InputError(
                f"head='conv' reads maps (B, C, H, W) and a block gives (B, {', '.join(map(str, activity_shape))}); use head='mlp'"
            )
        channels, *sizes = activity_shape
        width = width or channels
        side = max(1, min(reduction, min(sizes) // max(1, reads.get("grid", 2))))
        parts: list[nn.Module] = [] if side == 1 else [nn.AvgPool2d(side, ceil_mode=True)]
        for index in range(layers):
            inputs = width if index else channels
            conv = nn.Conv2d(inputs, width, kernel, padding=kernel // 2, bias=False)
            parts += [conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*parts)
        sizes = [-(-size // side) for size in sizes]
        self.readout = SpatialReadout((width, *sizes), num_classes, **reads)
        for name, size in zip(("rows", "columns"), sizes, strict=True):
            self.register_buffer(name, averages(size, self.readout.grid), persistent=False)

    @property
    def reads(self) -> str:
        """What it reads, in a few words."""
        return f"convolutions, {self.readout.reads}"

    def forward(self, activity: Tensor) -> Tensor:
        """Class scores (B, K)."""
        maps = self.layers(activity)
        if self.readout.statistic == "max":
            largest: Tensor = self.readout(maps)
            return largest
        squares = self.readout.statistic == "rms"
        cells = self.rows @ ((maps.square() if squares else maps) @ self.columns.T)  # (B, W, s, t)
        scores: Tensor = self.readout(((cells + TINY).sqrt() if squares else cells).flatten(1))
        return scores


def averages(size: int, grid: int) -> Tensor:
    """The matrix (s, size) whose product with ``size`` positions is their mean in each cell of the grid (`cell_sizes`)."""
    sizes = cell_sizes(size, grid, torch.device("cpu"))
    return torch.diag(1 / sizes).repeat_interleave(sizes, dim=1)


def head_sizes(head: str, given: Mapping[str, int | None]) -> dict[str, int | None]:
    """The sizes of a head, defaults for those not given, by the names that its class has for them.

    Raises:
        InputError: an unknown head, a size that this one does not have, or a value out of its range.
    """
    if head not in HEAD_SIZES:
        raise InputError(f"head must be 'linear', 'mlp' or 'conv', got {head!r}")
    found = dict(HEAD_SIZES[head])
    for name, value in given.items():
        if value is None:
            continue
        if name not in found:
            kinds = " or ".join(f"head={kind!r}" for kind, sizes in HEAD_SIZES.items() if name in sizes)
            raise InputError(f"{name} belongs to {kinds}, not to head={head!r}; leave it out or set {kinds}")
        if type(value) is not int or value < 1:
            raise InputError(f"{name} must be a whole number of at least 1, got {value!r}")
        if name == "head_layers" and value > MOST_MEMBERS:
            raise InputError(f"head_layers must be at most {MOST_MEMBERS}, got {value}")
        if name == "head_kernel" and value % 2 == 0:
            raise InputError(f"head_kernel must be odd, so that the map keeps its side, got {value}")
        found[name] = value
    return {name.removeprefix("head_"): value for name, value in found.items()}


def make_head(
    head: str, activity_shape: Sequence[int], num_classes: int, sizes: Mapping[str, Any], **reads: Any
) -> nn.Module:
    """One head: its kind, what it reads, its `head_sizes`, and ``statistic``, ``grid`` and ``factors`` of `SpatialReadout`."""
    makers: dict[str, Callable[..., nn.Module]] = {"linear": SpatialReadout, "mlp": MLPReadout, "conv": ConvReadout}
    return makers[head](activity_shape, num_classes, **sizes, **reads)


class HeadCost(NamedTuple):
    """Forward FLOPs of one sample (two a multiply-add) and parameters, of a head and of the block it reads."""

    head_flops: int
    block_flops: int
    head_parameters: int
    block_parameters: int

    @property
    def exceeds(self) -> bool:
        """Whether the head has more FLOPs or more parameters than its block."""
        return self.head_flops > self.block_flops or self.head_parameters > self.block_parameters

    def __str__(self) -> str:
        """The two pairs of numbers."""
        return (
            f"{self.head_flops / 1e6:.3g} against {self.block_flops / 1e6:.3g} MFLOPs a sample, "
            f"{self.head_parameters:,} against {self.block_parameters:,} parameters"
        )


class AuxiliaryRule(BlockwiseRule):
    """A rule whose heads may have hidden layers: it warns, once, where a head costs more than the block it reads."""

    costs: Mapping[str, HeadCost] = MappingProxyType({})
    """By block; of the heads that are dear and not warned of yet."""

    def weigh_heads(self) -> None:
        """Find the heads that have more FLOPs or parameters than their block."""
        network = self.network
        rows = [shape[0] if network.tokens == "every" else 1 for shape in network.activity_shapes]
        parts = (1 if self.token_reading == "tokens" else count for count in rows)
        reads = zip(network.block_names, self.read_shapes, parts, strict=True)
        found = {
            name: head_cost(network, i, self.heads[name], shape, count) for i, (name, shape, count) in enumerate(reads)
        }
        self.costs = {name: cost for name, cost in found.items() if cost.exceeds}

    def warn_of_costs(self) -> None:
        """Of the heads that are kept: a twin has dropped some. Once."""
        dear = [f"{name} {cost}" for name, cost in self.costs.items() if name in self.heads]
        self.costs = {}
        if dear:
            more = f"; and {len(dear) - SHOWN} more" if len(dear) > SHOWN else ""
            warnings.warn(
                f"the heads of {len(dear)} of {len(self.heads)} blocks cost more than the block they read (head against block): "
                f"{'; '.join(dear[:SHOWN])}{more}",
                stacklevel=3,
            )


def head_cost(
    network: Network, index: int, head: nn.Module, read_shape: Sequence[int] | None = None, parts: int = 1
) -> HeadCost:
    """What a head costs beside block ``index``, counted on one sample in evaluation mode; both are left as they were.

    Args:
        network: of the block.
        index: its number.
        head: which reads it.
        read_shape: of what the head reads, without the first dimension; ``None``: of `Network.read_shapes`.
        parts: rows that the head reads of one sample.
    """
    shapes = [network.sample_shape, *network.activity_shapes]
    eager = torch.compiler.set_stance("force_eager") if network.compiled else contextlib.nullcontext()
    with eager:
        head_flops = forward_flops(head, read_shape or network.read_shapes[index], samples=parts)
        whole = network.vocabulary is not None and not index
        block_flops = forward_flops(network.blocks[index], shapes[index], whole=whole)
    sizes = (sum(p.numel() for p in module.parameters()) for module in (head, network.blocks[index]))
    return HeadCost(head_flops, block_flops, *sizes)
