"""What rules share whose blocks have several readers, each with a loss of its own (`committee`, `panel`): the members' loss, head and scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerlocal.networks import Network
from layerlocal.networks.vgg import ConvBlock
from layerlocal.rules.auxiliary import TINY, AuxiliaryRule, averages
from layerlocal.rules.readout import SpatialReadout, pair_scores, parse_factors

__all__ = ["CommitteeHead", "MemberRule", "NetScores", "committee_loss", "is_fused", "small_block"]


def committee_loss(member_scores: Tensor, y: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of M members, each on its own: (B, M, K), (B,) → scalar."""
    labels = y.repeat_interleave(member_scores.shape[1], output_size=member_scores.shape[:2].numel())
    return F.cross_entropy(member_scores.flatten(0, 1), labels, label_smoothing=label_smoothing)


class NetScores(nn.Module):
    """The last maps of N nets side by side as scores of each: (B, N·W, H, W) → (B, N, K).

    A statistic of each channel in each cell, standardized over the batch, and a linear map for each net. In ordinary operations, so that it
    exports as it is.

    Args:
        maps_shape: (N·W, H, W).
        num_classes: K.
        nets: N.
        statistic: ``"rms"`` or ``"mean"``, as ``grid`` and ``factors`` of `SpatialReadout`.
        grid: cells a side.
        factors: ``"AxB"`` where a class is a pair.
    """

    rows: Tensor
    columns: Tensor

    def __init__(
        self, maps_shape: Sequence[int], num_classes: int, *, nets: int, statistic: str, grid: int, factors: str | None
    ) -> None:
        super().__init__()
        self.read(maps_shape, num_classes, nets=nets, statistic=statistic, grid=grid, factors=factors)

    def read(
        self, maps_shape: Sequence[int], num_classes: int, *, nets: int, statistic: str, grid: int, factors: str | None
    ) -> None:
        """Make the readout, after the layers of a class that has some: parameters keep their order."""
        self.nets, self.statistic = nets, statistic
        self.factors = parse_factors(factors, num_classes)
        channels, *sizes = maps_shape
        for name, size in zip(("rows", "columns"), sizes, strict=True):
            self.register_buffer(name, averages(size, grid), persistent=False)
        features = channels * len(self.rows) * len(self.columns)
        scores = sum(self.factors) if self.factors else num_classes
        self.standardize = nn.BatchNorm1d(features, affine=False)
        self.linear = nn.Conv1d(features, nets * scores, 1, groups=nets)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, N, K)."""
        squares = self.statistic == "rms"
        cells = self.rows @ ((maps.square() if squares else maps) @ self.columns.T)  # (B, N·W, s, t)
        found = self.standardize(((cells + TINY).sqrt() if squares else cells).flatten(1))
        scores: Tensor = self.linear(found[..., None]).unflatten(1, (self.nets, -1))[..., 0]
        return pair_scores(scores, self.factors) if self.factors else scores


def small_block(conv: nn.Conv2d, *, pools: bool = False, fused: bool = False) -> ConvBlock:
    """Convolution – batch norm – ReLU (– 2×2 max pooling)."""
    pool = [nn.MaxPool2d(2, ceil_mode=True)] if pools else []
    block = ConvBlock(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU(inplace=True), *pool)
    block.fused = fused
    return block


class CommitteeHead(nn.Module):
    """The members of one block: nets and a linear readout, either of which may be missing. Its score is their mean log-probability."""

    def __init__(self, nets: nn.Module | None, linear: SpatialReadout | None) -> None:
        super().__init__()
        self.nets, self.linear = nets, linear

    @property
    def rms_cells(self) -> int:
        """Of the linear readout, which a fused block can make on its way."""
        return self.linear.rms_cells if self.linear else 0

    def member_scores(self, activity: Tensor) -> Tensor:
        """(B, M, K): what each member answers, the linear one last."""
        found = [self.nets(activity)] if self.nets else []
        return torch.cat([*found, self.linear(activity)[:, None]] if self.linear else found, 1)

    def forward(self, activity: Tensor) -> Tensor:
        """Class scores (B, K)."""
        return self.member_scores(activity).log_softmax(-1).mean(1)


class MemberRule(AuxiliaryRule):
    """A rule whose blocks are read by nets, a linear map or both, each with a cross-entropy of its own."""

    def read_blocks(
        self, make_nets: Callable[[Sequence[int]], nn.Module | None], *, linear: bool, **reads: Any
    ) -> None:
        """Give every block its `CommitteeHead`: ``make_nets`` of an activity's shape, and a `SpatialReadout` of ``reads`` if ``linear``."""

        def head_of(index: int) -> nn.Module:
            shape = self.network.activity_shapes[index]
            readout = SpatialReadout(shape, self.num_classes, **reads)  # first: it knows what may be read
            return CommitteeHead(make_nets(shape), readout if linear else None)

        self.heads = self.head_per_block(head_of)
        self.weigh_heads()

    def local_loss(self, index: int, activity: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean of the members' own cross-entropies; the first one warns of costs."""
        self.warn_of_costs()
        head = self.heads[self.network.block_names[index]]
        assert isinstance(head, CommitteeHead)
        return committee_loss(head.member_scores(activity), y, self.label_smoothing), {}


def is_fused(network: Network) -> bool:
    """Whether blocks of the network are computed as one operation: its readers are then, too."""
    return any(getattr(part, "fused", False) for part in network.modules())
