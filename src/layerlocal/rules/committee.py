"""Committee: every block learns to be read by two small nets and by a linear map at once, gradients stopped between blocks.

Ours. A block under deep supervision serves every head after it; a block with one local head serves that head alone, and what the head has no
use for is lost to the blocks that follow. So each block is read in unlike ways, each with a cross-entropy of its own, of equal weight:

    loss_l = (1/M) Σ_m CE(s_lm, y),    scores_l = (1/M) Σ_m log softmax(s_lm)

A linear reader asks for what is linear in the block already; a net has the shape of the rest of a network at a small width, and asks for what
blocks to come could use. Such a net alone is the head of AugLocal, arXiv:2402.17318 (built there after the blocks to come).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from layerlocal.networks import Network
from layerlocal.rules.core.auxiliary import MOST_MEMBERS
from layerlocal.rules.core.members import (
    CommitteeHead,
    GroupedNets,
    MemberRule,
    beginning,
    committee_loss,
    small_block,
)
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import RuleInfo
from layerlocal.types import InputError

__all__ = ["Committee", "CommitteeHead", "committee_loss", "small_nets"]


def small_nets(
    activity_shape: Sequence[int], num_classes: int, *, nets: int, width: int, layers: int, side: int, grid: int, fused: bool,
    wide: bool = False, **reads: Any,
) -> GroupedNets:  # fmt: skip
    """`GroupedNets` of few channels, (B, C, H, W) or (B, D) → (B, N, K).

    Each: where the map is larger, a convolution without overlap to at most ``side`` positions a side; then ``layers`` times convolution 3×3 –
    batch norm – ReLU, with 2×2 max pooling between them as far as ``grid`` positions are left. As many channels as the activity has, but at
    most ``width``; or ``width``, if ``wide``. For vectors convolutions are 1×1.

    Args:
        activity_shape: of the activity, without the batch dimension.
        num_classes: K.
        nets: N.
        width: channels of each net at most.
        layers: convolutions, that to fewer positions aside.
        side: positions a side at most.
        grid: cells a side that are read.
        fused: normalization, activation and pooling as one operation, as in the blocks of the network.
        wide: whether nets have ``width`` channels where the activity has fewer, too.
        **reads: ``statistic`` and ``factors`` of `GroupedNets`.
    """
    channels, step, sizes, kernel = beginning(activity_shape, side)
    total, blocks = nets * (width if wide else min(width, channels)), []
    if step > 1:
        blocks.append(small_block(nn.Conv2d(channels, total, step, stride=step, bias=False), fused=fused))
    for index in range(layers):
        inputs, groups = (total, nets) if blocks else (channels, 1)
        conv = nn.Conv2d(inputs, total, kernel, padding=kernel // 2, groups=groups, bias=False)
        pools = index + 1 < layers and min(sizes) // 2 >= grid
        blocks.append(small_block(conv, pools=pools, fused=fused))
        sizes = [-(-size // 2) for size in sizes] if pools else sizes
    return GroupedNets(blocks, (total, *sizes), num_classes, nets=nets, grid=grid, **reads)


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
        wide: whether nets have ``head_width`` channels at every block, also where the activity has fewer.
        head_layers: convolutions 3×3 (of vectors: hidden layers) of a net, ≥ 1.
        head_side: positions a side at which a net begins, ≥ 1; larger maps are brought to no more by a convolution without overlap.
        readout: what is read of each channel in each cell: ``"rms"``, ``"mean"`` or ``"max"``.
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
        wide: bool = False,
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
        for name, value in (("nets", nets), ("head_layers", head_layers)):
            if value > MOST_MEMBERS:
                raise InputError(f"{name} must be at most {MOST_MEMBERS}, got {value}")
        if nets < 0 or not (nets or linear):
            raise InputError(f"a block needs a reader: nets of at least 0, or linear, got {nets=} and {linear=}")
        reads: dict[str, Any] = {"statistic": readout, "grid": grid, "factors": factors}
        fused = network.fused

        def make_nets(shape: Sequence[int]) -> nn.Module | None:
            return small_nets(shape, num_classes, nets=nets, wide=wide, fused=fused, **sizes, **reads) if nets else None

        self.read_blocks(make_nets, linear=linear, **reads)
