"""Mono-Forward: every block learns by the cross-entropy of one linear projection of its activity, its class goodness.

Paper: Gong, Li and Abdulla, Mono-Forward, arXiv:2501.09238 (2025). Goodness of class k at layer l: G_l,k = ⟨a_l, M_l,k⟩, with one matrix M_l a
layer that is learned beside the layer; loss_l = CE(G_l, y). One pass, no negative data. Prediction: the last layer's goodness, or the
goodness summed over layers.
Differs: blocks have batch normalization; a map is averaged on a small grid before the projection (``grid`` at least as large as the map:
every position, the flattened map). The fused score is the mean of log softmax(G_l) as in every rule here: it is (Σ_l G_l) / L up to a
number that all classes of a sample share, so that its prediction is that of the summed goodness.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from layerlocal.networks import Network
from layerlocal.rules.core.readout import SpatialReadout
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import RuleInfo
from layerlocal.rules.core.walk import BlockwiseRule

__all__ = ["MonoForward", "Projection", "projected_goodness"]


def projected_goodness(activity: Tensor, projection: Tensor) -> Tensor:
    """G = a Mᵀ: (B, D), (K, D) → (B, K). No bias, and the activity as it is."""
    return activity @ projection.T


class _Projection(nn.Linear):
    """Its weight is M (K, D)."""

    def __init__(self, features: int, num_classes: int) -> None:
        super().__init__(features, num_classes, bias=False)

    def forward(self, activity: Tensor) -> Tensor:
        return projected_goodness(activity, self.weight)


class Projection(SpatialReadout):
    """The mean of each channel on a grid, not standardized, and one projection: (B, C, H, W) or (B, D) → goodness (B, K).

    Args:
        activity_shape: of the activity, without the batch dimension.
        num_classes: K.
        **reads: ``grid`` and ``factors`` of `SpatialReadout`.
    """

    def __init__(self, activity_shape: Sequence[int], num_classes: int, **reads: Any) -> None:
        super().__init__(activity_shape, num_classes, statistic="mean", **reads)
        self.standardize = nn.Identity()  # type: ignore[assignment]
        self.linear = _Projection(self.linear.in_features, self.linear.out_features)


@register_rule
class MonoForward(BlockwiseRule):
    """loss_l = CE(G_l, y) with G_l = ā_l M_lᵀ, ā_l the activity averaged on a grid.

    Args:
        network: what is trained.
        num_classes: K ≥ 2.
        seed: of the projections.
        grid: cells a side, ≥ 1; as large as the map or larger: the flattened map.
        fusion: ``"uniform"`` (summed goodness), ``"last"`` (the last block's), ``"fitted"`` or ``"best"`` (`BlockwiseRule`).
        label_smoothing: in [0, 1).
        factors: ``"AxB"`` where a class is a pair (`SpatialReadout`).

    Raises:
        InputError: a value out of its range.
    """

    info = RuleInfo(
        name="mono-forward",
        locality="block",
        summary="cross-entropy of one linear projection of every block's activity, its class goodness",
        references=("arXiv:2501.09238",),
    )

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        grid: int = 4,
        fusion: str = "uniform",
        label_smoothing: float = 0.0,
        factors: str | None = None,
    ) -> None:
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion, label_smoothing=label_smoothing)
        shapes = self.read_shapes
        self.heads = self.head_per_block(lambda i: Projection(shapes[i], num_classes, grid=grid, factors=factors))
