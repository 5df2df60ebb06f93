"""Local heads: cross-entropy at every block through a small auxiliary head, gradients stopped between blocks.

Paper: Decoupled Greedy Learning, arXiv:1901.08164 (and Nøkland & Eidnes, arXiv:1901.06656, its "pred" loss).
Differs: the head reads the root mean square of each channel on a small spatial grid and is linear; DGL's head is a small network.
"""

from __future__ import annotations

from torch import Tensor

from layerlocal.networks import Network
from layerlocal.rules.base import BlockwiseRule, RuleInfo
from layerlocal.rules.readout import SpatialReadout
from layerlocal.rules.registry import register_rule

__all__ = ["LocalHeads"]


@register_rule
class LocalHeads(BlockwiseRule):
    """Every block learns to classify through a head of its own: loss_l = CE(W_l r(a_l), y).

    Args:
        network: what is trained.
        num_classes: K ≥ 2.
        seed: of the heads.
        readout: what the head reads of each channel in each cell: ``"rms"`` or ``"mean"``.
        grid: cells a side, ≥ 1.
        fusion: ``"uniform"``, ``"fitted"`` or ``"last"`` (`BlockwiseRule`).
        label_smoothing: in [0, 1).
        factors: ``"AxB"`` where a class is a pair (`SpatialReadout`).
    """

    info = RuleInfo(
        name="local-heads",
        locality="block",
        summary="cross-entropy through a linear head at every block",
        references=("arXiv:1901.08164", "arXiv:1901.06656"),
    )

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        readout: str = "rms",
        grid: int = 2,
        fusion: str = "uniform",
        label_smoothing: float = 0.0,
        factors: str | None = None,
    ) -> None:
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion, label_smoothing=label_smoothing)
        shapes = network.activity_shapes
        self.heads = self.head_per_block(
            lambda i: SpatialReadout(shapes[i], num_classes, statistic=readout, grid=grid, factors=factors)
        )

    def block_score(self, index: int, activity: Tensor) -> Tensor:
        """W_l r(a_l): (B, K)."""
        return self.heads[f"block{index}"](activity)
