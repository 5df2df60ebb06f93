"""Committee: every block learns to be read by two small nets and by a linear map at once, gradients stopped between blocks.

Ours. A block under deep supervision serves every head after it; a block with one local head serves that head alone, and what the head has no
use for is lost to the blocks that follow. So each block is read in unlike ways, each with a cross-entropy of its own, of equal weight:

    loss_l = (1/M) Σ_m CE(s_lm, y),    scores_l = (1/M) Σ_m log softmax(s_lm)

A linear reader asks for what is linear in the block already; a net has the shape of the rest of a network at a small width, and asks for what
blocks to come could use. Such a net alone is the head of AugLocal, arXiv:2402.17318 (built there after the blocks to come).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerlocal.networks import Network
from layerlocal.networks.vgg import ConvBlock
from layerlocal.rules.auxiliary import TINY, AuxiliaryRule, averages
from layerlocal.rules.base import RuleInfo
from layerlocal.rules.readout import SpatialReadout, pair_scores, parse_factors
from layerlocal.rules.registry import register_rule
from layerlocal.types import InputError

__all__ = [
    "Committee",
    "CommitteeHead",
    "MemberRule",
    "NetScores",
    "SmallNets",
    "committee_loss",
    "is_fused",
    "small_block",
]


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


class SmallNets(NetScores):
    """Nets of one shape side by side, each with scores of its own: (B, C, H, W) or (B, D) → (B, N, K).

    Each: where the map is larger, a convolution without overlap to at most ``side`` positions a side; then ``layers`` times convolution 3×3 –
    batch norm – ReLU, with 2×2 max pooling between them as far as ``grid`` positions are left; then `NetScores`. As many channels as the
    activity has, but at most ``width``. All nets are computed at once: convolutions have a group a net. A vector is a map of one position,
    with convolutions 1×1.

    Args:
        activity_shape: of the activity, without the batch dimension.
        num_classes: K.
        nets: N.
        width: channels of each net at most.
        layers: convolutions, that to fewer positions aside.
        side: positions a side at most.
        grid: cells a side that are read.
        fused: normalization, activation and pooling as one operation, as in the blocks of the network.
        **reads: ``statistic`` and ``factors`` of `NetScores`.
    """

    def __init__(
        self, activity_shape: Sequence[int], num_classes: int, *, nets: int, width: int, layers: int, side: int, grid: int, fused: bool,
        **reads: Any,
    ) -> None:  # fmt: skip
        is_map = len(activity_shape) == 3
        channels, *sizes = activity_shape if is_map else (*activity_shape, 1, 1)
        step = min(-(-max(sizes) // side), *sizes)
        sizes = [size // step for size in sizes]
        total, kernel = nets * min(width, channels), 3 if is_map else 1
        blocks: list[ConvBlock] = []
        if step > 1:
            blocks.append(small_block(nn.Conv2d(channels, total, step, stride=step, bias=False), fused=fused))
        for index in range(layers):
            inputs, groups = (total, nets) if blocks else (channels, 1)
            conv = nn.Conv2d(inputs, total, kernel, padding=kernel // 2, groups=groups, bias=False)
            pools = index + 1 < layers and min(sizes) // 2 >= grid
            blocks.append(small_block(conv, pools=pools, fused=fused))
            sizes = [-(-size // 2) for size in sizes] if pools else sizes
        nn.Module.__init__(self)
        self.layers = nn.Sequential(*blocks)
        self.read((total, *sizes), num_classes, nets=nets, grid=grid, **reads)

    def forward(self, activity: Tensor) -> Tensor:
        """(B, N, K)."""
        return super().forward(self.layers(activity if activity.dim() == 4 else activity[:, :, None, None]))


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


@register_rule
class Committee(MemberRule):
    """Every block learns through small nets and a linear readout: loss_l = mean_m CE(s_lm(a_l), y).

    The first loss warns, once, where the members of a block together have more FLOPs or parameters than the block.

    Args:
        network: what is trained.
        num_classes: K ≥ 2.
        seed: of the heads.
        nets: small nets a block, ≥ 0.
        linear: whether there is a linear readout beside them.
        head_width: channels (of vectors: units) of a net at most, ≥ 1; no more than the activity has. The cost of a net grows with its square.
        head_layers: convolutions 3×3 (of vectors: hidden layers) of a net, ≥ 1.
        head_side: positions a side at which a net begins, ≥ 1; larger maps are brought to no more by a convolution without overlap.
        readout: what is read of each channel in each cell: ``"rms"`` or ``"mean"``.
        grid: cells a side, ≥ 1.
        fusion: ``"uniform"``, ``"fitted"``, ``"best"`` or ``"last"`` (`BlockwiseRule`).
        label_smoothing: in [0, 1).
        factors: ``"AxB"`` where a class is a pair (`SpatialReadout`).

    Raises:
        InputError: a value out of its range, or no member at all.
    """

    info = RuleInfo(
        name="committee",
        locality="block",
        summary="cross-entropy through small nets and a linear readout at every block, each with a loss of its own",
        references=("arXiv:2402.17318", "arXiv:1901.08164"),
    )

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        nets: int = 2,
        linear: bool = True,
        head_width: int = 48,
        head_layers: int = 2,
        head_side: int = 8,
        readout: str = "rms",
        grid: int = 2,
        fusion: str = "uniform",
        label_smoothing: float = 0.0,
        factors: str | None = None,
    ) -> None:
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion, label_smoothing=label_smoothing)
        sizes: dict[str, Any] = {"width": head_width, "layers": head_layers, "side": head_side}
        for name, value in sizes.items():
            if value < 1:
                raise InputError(f"head_{name} must be at least 1, got {value}")
        if nets < 0 or not (nets or linear):
            raise InputError(f"a block needs a reader: nets of at least 0, or linear, got {nets=} and {linear=}")
        reads: dict[str, Any] = {"statistic": readout, "grid": grid, "factors": factors}
        fused = is_fused(network)

        def make_nets(shape: Sequence[int]) -> nn.Module | None:
            return SmallNets(shape, num_classes, nets=nets, fused=fused, **sizes, **reads) if nets else None

        self.read_blocks(make_nets, linear=linear, **reads)
