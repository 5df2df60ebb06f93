"""What rules share whose blocks have several readers, each with a loss of its own (`committee`, `panel`): the members' loss, head and scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerlocal.kernels import cell_max
from layerlocal.networks.vgg import ConvBlock
from layerlocal.rules.core.auxiliary import TINY, AuxiliaryRule, averages
from layerlocal.rules.core.export import copied, plain_readout
from layerlocal.rules.core.readout import (
    CellReader,
    SpatialReadout,
    pair_scores,
    parse_factors,
    refuse_unknown_statistic,
)

__all__ = ["CommitteeHead", "GroupedNets", "MemberRule", "beginning", "committee_loss", "small_block"]


def committee_loss(member_scores: Tensor, y: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of M members, each on its own: (B, M, K), (B,) → scalar."""
    labels = y.repeat_interleave(member_scores.shape[1], output_size=member_scores.shape[:2].numel())
    return F.cross_entropy(member_scores.flatten(0, 1), labels, label_smoothing=label_smoothing)


class GroupedNets(nn.Module):
    """N nets of one shape side by side, each with scores of its own: (B, C, H, W) or (B, D) → (B, N, K).

    Layers in which a net has a group of the channels, W at the end; then a statistic of each channel in each cell, standardized over the batch,
    and a linear map for each net. In ordinary operations, so that it exports as it is. A vector is a map of one position.

    Args:
        layers: what makes the last maps.
        maps_shape: of these, (N·W, H, W).
        num_classes: K.
        nets: N.
        statistic: ``"rms"``, ``"mean"`` or ``"max"``, as ``grid`` and ``factors`` of `SpatialReadout`.
        grid: cells a side.
        factors: ``"AxB"`` where a class is a pair.
    """

    rows: Tensor
    columns: Tensor

    def __init__(
        self, layers: Sequence[ConvBlock], maps_shape: Sequence[int], num_classes: int, *, nets: int, statistic: str, grid: int,
        factors: str | None,
    ) -> None:  # fmt: skip
        super().__init__()
        refuse_unknown_statistic(statistic)
        self.layers, self.nets, self.statistic = nn.Sequential(*layers), nets, statistic
        self.factors = parse_factors(factors, num_classes)
        channels, *sizes = maps_shape
        for name, size in zip(("rows", "columns"), sizes, strict=True):
            self.register_buffer(name, averages(size, grid), persistent=False)
        features = channels * len(self.rows) * len(self.columns)
        scores = sum(self.factors) if self.factors else num_classes
        self.standardize = nn.BatchNorm1d(features, affine=False)
        self.linear = nn.Conv1d(features, nets * scores, 1, groups=nets)

    def forward(self, activity: Tensor) -> Tensor:
        """(B, N, K)."""
        maps = self.layers(activity if activity.dim() == 4 else activity[:, :, None, None])
        found = self.standardize(self.read(maps).flatten(1))
        scores: Tensor = self.linear(found[..., None]).unflatten(1, (self.nets, -1))[..., 0]
        return pair_scores(scores, self.factors) if self.factors else scores

    def read(self, maps: Tensor) -> Tensor:
        """The statistic of each channel in each cell: (B, N·W, s, t)."""
        if self.statistic == "max":
            return cell_max(maps, max(len(self.rows), len(self.columns)))
        squares = self.statistic == "rms"
        cells = self.rows @ ((maps.square() if squares else maps) @ self.columns.T)
        return (cells + TINY).sqrt() if squares else cells


def beginning(activity_shape: Sequence[int], side: int) -> tuple[int, int, list[int], int]:
    """Channels; step of a convolution without overlap to at most ``side`` positions a side; the sizes it leaves; kernel of later ones."""
    channels, *sizes = activity_shape if len(activity_shape) == 3 else (*activity_shape, 1, 1)
    step = min(-(-max(sizes) // side), *sizes)
    return channels, step, [size // step for size in sizes], 3 if len(activity_shape) == 3 else 1


def small_block(conv: nn.Conv2d, *, pools: bool = False, fused: bool = False) -> ConvBlock:
    """Convolution – batch norm – ReLU (– 2×2 max pooling)."""
    pool = [nn.MaxPool2d(2, ceil_mode=True)] if pools else []
    block = ConvBlock(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU(inplace=True), *pool)
    block.fused = fused
    return block


class CommitteeHead(CellReader):
    """The members of one block: nets and a linear readout, either of which may be missing. Its score is their mean log-probability."""

    def __init__(self, nets: nn.Module | None, linear: SpatialReadout | None) -> None:
        super().__init__()
        self.nets, self.linear = nets, linear

    @property
    def reads(self) -> str:
        """What it reads, in a few words."""
        return " and ".join([*(["small nets"] if self.nets else []), *([self.linear.reads] if self.linear else [])])

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
            shape = self.read_shapes[index]
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

    def export_readout(self, name: str) -> nn.Module:
        """The members, the linear one in plain operations."""
        head = copied(self.heads[name])
        if isinstance(head, CommitteeHead) and head.linear:
            shape = self.read_shapes[self.network.block_names.index(name)]
            head.linear = plain_readout(head.linear, shape)  # type: ignore[assignment]
        return head
