"""Local heads: cross-entropy at every block through a small auxiliary head, gradients stopped between blocks.

Paper: Decoupled Greedy Learning, arXiv:1901.08164 (and Nøkland & Eidnes, arXiv:1901.06656, its "pred" loss).
Differs: the head reads the root mean square of each channel on a small spatial grid and, by default, is linear; DGL's heads are small
networks, here ``head="mlp"`` and ``head="conv"`` (`auxiliary`, which says what differs there).
"""

from __future__ import annotations

from torch import Tensor

from layerlocal.networks import Network
from layerlocal.rules.core.auxiliary import AuxiliaryRule, head_sizes, make_head
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import RuleInfo

__all__ = ["LocalHeads"]


@register_rule
class LocalHeads(AuxiliaryRule):
    """Every block learns to classify through a head of its own: loss_l = CE(W_l r(a_l), y).

    The first loss warns, once, where a head with hidden layers has more FLOPs or parameters than the block it reads.

    Args:
        network: what is trained.
        num_classes: K ≥ 2.
        seed: of the heads.
        readout: what the head reads of each channel in each cell: ``"rms"``, ``"mean"`` or ``"max"``.
        grid: cells a side, ≥ 1.
        fusion: ``"uniform"``, ``"fitted"``, ``"best"`` or ``"last"`` (`BlockwiseRule`).
        label_smoothing: in [0, 1).
        factors: ``"AxB"`` where a class is a pair (`SpatialReadout`).
        head: ``"linear"``, ``"mlp"`` (hidden layers, `MLPReadout`) or ``"conv"`` (a convolutional net, for maps, `ConvReadout`).
        head_layers: hidden layers of an mlp or convolutions, ≥ 1; 1 where left out.
        head_width: units of a hidden layer, 128 where left out; channels of a convolution, those of the activity where left out; ≥ 1.
        head_kernel: side of the convolutions, odd; 3 where left out.
        head_reduction: positions a side averaged before the convolutions, as far as ``grid`` cells are left, ≥ 1; 4 where left out.

    Raises:
        InputError: a value out of its range, or a size that the head does not have.
    """

    info = RuleInfo(
        name="local-heads",
        locality="block",
        summary="cross-entropy through a small auxiliary head at every block",
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
        head: str = "linear",
        head_layers: int | None = None,
        head_width: int | None = None,
        head_kernel: int | None = None,
        head_reduction: int | None = None,
    ) -> None:
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion, label_smoothing=label_smoothing)
        given = {
            "head_layers": head_layers, "head_width": head_width, "head_kernel": head_kernel, "head_reduction": head_reduction,
        }  # fmt: skip
        sizes = head_sizes(head, given)
        shapes = self.read_shapes
        self.heads = self.head_per_block(
            lambda i: make_head(head, shapes[i], num_classes, sizes, statistic=readout, grid=grid, factors=factors)
        )
        if head != "linear":
            self.weigh_heads()

    def local_loss(self, index: int, activity: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of the head's scores; the first one warns of costs."""
        self.warn_of_costs()
        return super().local_loss(index, activity, y)
