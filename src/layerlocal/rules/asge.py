"""ASGE: goodness of each channel in each patch of the map, turned into class scores by a random projection that stays as it is.

Paper: arXiv:2509.12394 (2025), Gong, Staszewski, Xu: adaptive spatial goodness encoding; read were its abstract and descriptions by others.
Taken: patches whose number a side, P_l, falls with the block's channels; goodness of each patch and channel; a linear map to class scores
that is fixed at its random initial weights; loss CE; the three ways to predict (last, fused, best block).
Differs: the formula of P_l was not at hand; what was is that it depends on C_L / C_l (channels of the last block over this one's), α and the
map's side, so P_l = α · C_L / C_l, rounded. Goodness is a root mean square, not a sum of squares, and is standardized over the batch
(`SpatialReadout`). The next block is fed the activity at unit root mean square instead of a layer normalization over channels; networks
are any of ours or yours, with their own pooling instead of theirs by root mean squares.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from layerlocal.networks import Network
from layerlocal.rules.core.export import ExportParts, RMSNormalize
from layerlocal.rules.core.functional import rms_normalize
from layerlocal.rules.core.readout import SpatialReadout
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import RuleInfo
from layerlocal.rules.core.walk import BlockwiseRule
from layerlocal.types import InputError

__all__ = ["ASGE", "patches_per_side"]


def patches_per_side(channels: int, last_channels: int, side: int, alpha: float) -> int:
    """P_l = α · C_L / C_l, rounded, at least 1 and at most the map's side: narrow early blocks are read in finer patches.

    Args:
        channels: C_l of this block.
        last_channels: C_L of the network's last block.
        side: the shorter side of this block's map, in positions.
        alpha: α ≥ 0; 0: one patch everywhere.
    """
    return max(1, min(side, round(alpha * last_channels / channels)))


@register_rule
class ASGE(BlockwiseRule):
    """Goodness in patches, projected: loss_l = CE(W_l z(r_l) + b_l, y), r_l the root mean square of each channel in each of P_l × P_l patches.

    z standardizes over the batch. Blocks of vectors (an mlp) have one position: r_l is the activity.

    Args:
        network: what is trained; any number of channels.
        num_classes: K ≥ 2.
        seed: of the projections.
        alpha: α ≥ 0 of `patches_per_side`.
        projection: ``"fixed"`` (W_l and b_l stay as drawn, as in the paper: the block alone learns) or ``"learned"``.
        decoupled_norm: the next block is fed the activity divided by its root mean square. Off: the activity itself.
        fusion: ``"uniform"``, ``"fitted"``, ``"best"`` or ``"last"`` (`BlockwiseRule`); the paper compares a fused, the best and the last.
        label_smoothing: in [0, 1).

    Raises:
        InputError: a value out of its range.
    """

    info = RuleInfo(
        name="asge",
        locality="block",
        summary="goodness in patches, finer in narrow blocks, through a fixed random projection",
        references=("arXiv:2509.12394",),
    )

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        alpha: float = 1.0,
        projection: str = "fixed",
        decoupled_norm: bool = True,
        fusion: str = "uniform",
        label_smoothing: float = 0.0,
    ) -> None:
        if projection not in ("fixed", "learned"):
            raise InputError(f"projection must be 'fixed' or 'learned', got {projection!r}")
        if not 0 <= alpha < float("inf"):
            raise InputError(f"alpha must be at least 0 and finite, got {alpha}")
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion, label_smoothing=label_smoothing)
        self.decoupled_norm = decoupled_norm
        shapes = self.read_shapes
        grids = [patches_per_side(shape[0], shapes[-1][0], min(shape[1:], default=1), alpha) for shape in shapes]
        self.heads = self.head_per_block(lambda i: SpatialReadout(shapes[i], num_classes, grid=grids[i]))
        if projection == "fixed":
            self.heads.requires_grad_(False)

    def feed(self, index: int, activity: Tensor) -> Tensor:
        """The activity, or (decoupled) the activity at unit root mean square."""
        return rms_normalize(activity) if self.decoupled_norm else activity

    def export_parts(self) -> ExportParts:
        """Those of the heads, with what `feed` does."""
        parts = super().export_parts()
        return replace(parts, feed=RMSNormalize()) if self.decoupled_norm else parts
