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

from torch import nn

from layerlocal.networks import Network
from layerlocal.rules.core.auxiliary import MOST_MEMBERS
from layerlocal.rules.core.members import GroupedNets, MemberRule, beginning, small_block
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import RuleInfo
from layerlocal.types import InputError

__all__ = ["Panel", "pyramid_nets"]


def pyramid_nets(
    activity_shape: Sequence[int], num_classes: int, *, nets: int, side: int, budget: int, widest: int, grid: int, fused: bool, **reads: Any
) -> GroupedNets:  # fmt: skip
    """`GroupedNets` that halve what they see and widen: (B, C, H, W) or (B, D) → (B, N, K).

    A convolution without overlap to at most ``side`` positions a side; then convolution 3×3 – batch norm – ReLU, and 2×2 max pooling and another
    one as long as a cell has two positions a side or more after it. As many channels as ``budget`` over the positions a side, at most
    ``widest``. For vectors convolutions are 1×1.

    Args:
        activity_shape: of the activity, without the batch dimension.
        num_classes: K.
        nets: N.
        side: positions a side at most.
        budget: channels of a net times the positions a side of its map, ≥ ``side``.
        widest: channels of a net at most.
        grid: cells a side that are read.
        fused: normalization, activation and pooling as one operation, as in the blocks of the network.
        **reads: ``statistic`` and ``factors`` of `GroupedNets`.
    """
    channels, step, sizes, kernel = beginning(activity_shape, side)
    total, halves = nets * min(widest, budget // max(sizes)), True
    blocks = [small_block(nn.Conv2d(channels, total, step, stride=step, bias=False), fused=fused)]
    while halves:
        inputs, total = total, nets * min(widest, budget // max(sizes))
        conv = nn.Conv2d(inputs, total, kernel, padding=kernel // 2, groups=nets, bias=False)
        halves = min(sizes) >= 4 * grid
        blocks.append(small_block(conv, pools=halves, fused=fused))
        sizes = [-(-size // 2) for size in sizes] if halves else sizes
    return GroupedNets(blocks, (total, *sizes), num_classes, nets=nets, grid=grid, **reads)


@register_rule
class Panel(MemberRule):
    """Every block learns through nets of its own and a linear readout: loss_l = mean_m CE(s_lm(a_l), y).

    The first loss warns, once, where the members of a block together have more FLOPs or parameters than the block.

    Args:
        network: what is trained.
        num_classes: K ≥ 2.
        seed: of the heads.
        nets: nets a block, ≥ 1.
        head_side: positions a side at which a net begins, ≥ 1; larger maps are brought to no more by a convolution without overlap.
        budget: channels of a net times the positions a side of its map, ≥ ``head_side`` (of vectors: hidden units). The cost of a net grows with
            its square.
        head_width: channels (of vectors: units) of a net at most, ≥ 1.
        linear: whether there is a linear readout beside them.
        readout: what is read of each channel in each cell: ``"rms"``, ``"mean"`` or ``"max"``.
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
        nets: int = 2,
        head_side: int = 16,
        budget: int = 512,
        head_width: int = 128,
        linear: bool = True,
        readout: str = "rms",
        grid: int = 2,
        fusion: str = "uniform",
        label_smoothing: float = 0.0,
        factors: str | None = None,
    ) -> None:
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion, label_smoothing=label_smoothing)
        for name, value, least in (
            ("nets", nets, 1),
            ("head_side", head_side, 1),
            ("head_width", head_width, 1),
            ("budget", budget, head_side),
        ):
            if value < least:
                raise InputError(f"{name} must be at least {least}, got {value}")
        if nets > MOST_MEMBERS:
            raise InputError(f"nets must be at most {MOST_MEMBERS}, got {nets}")
        sizes: dict[str, Any] = {"nets": nets, "side": head_side, "budget": budget, "widest": head_width}
        reads: dict[str, Any] = {"statistic": readout, "grid": grid, "factors": factors}
        fused = network.fused

        def make_nets(shape: Sequence[int]) -> nn.Module:
            return pyramid_nets(shape, num_classes, fused=fused, **sizes, **reads)

        self.read_blocks(make_nets, linear=linear, **reads)
