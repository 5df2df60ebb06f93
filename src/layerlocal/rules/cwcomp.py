"""CwComp: a block's channels are dealt to the classes, which compete for the most goodness; one pass, no negatives.

Paper: arXiv:2312.12668 (AAAI 2024), Papachristodoulou, Kyrkou, Timotheou, Theocharides: channel-wise competitive learning.
Differs: its loss (CwC) is taken, and its networks are not: blocks are any of ours or yours instead of CFSE blocks, whose every second
convolution is grouped by class. In ours batch normalization comes before the ReLU, so goodness is read from activities ≥ 0; theirs comes
last, and squares normalized activities of either sign. All blocks learn at every step, not one after another (their interleaved layer
training). The last block's goodness predicts, as there; their softmax classifier on top is left out.
"""

from __future__ import annotations

from torch import Tensor

from layerlocal.kernels import cells_of
from layerlocal.networks import Network
from layerlocal.rules.core.functional import average_positions
from layerlocal.rules.core.readout import CellReader
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import RuleInfo
from layerlocal.rules.core.walk import BlockwiseRule
from layerlocal.types import InputError

__all__ = ["ChannelGroups", "CwComp", "class_goodness", "mean_by_class"]


def mean_by_class(numbers: Tensor, num_classes: int) -> Tensor:
    """Mean over the channels of each class: (B, C) → (B, K). Class k owns the C/K channels from k·C/K on."""
    return numbers.unflatten(1, (num_classes, -1)).mean(2)


def class_goodness(activity: Tensor, num_classes: int, statistic: str = "mean-square") -> Tensor:
    """Goodness of each class's channels, positions averaged: (B, C) or (B, C, H, W) → (B, K).

    Args:
        activity: a, its channels second; K divides their number.
        num_classes: K.
        statistic: ``"mean-square"``, g_k = mean a_c² over the channels c of class k (arXiv:2312.12668), or ``"mean"``, g_k = mean a_c.
    """
    numbers = activity.square() if statistic == "mean-square" else activity
    return mean_by_class(average_positions(numbers), num_classes)


class ChannelGroups(CellReader):
    """A readout without weights: (B, C, ...) → `class_goodness` / τ, (B, K).

    Args:
        num_classes: K, a divisor of C.
        statistic: ``"mean-square"`` or ``"mean"``.
        temperature: τ > 0.

    Raises:
        InputError: a temperature that is not above 0.
    """

    def __init__(self, num_classes: int, *, statistic: str, temperature: float) -> None:
        super().__init__()
        if not 0 < temperature < float("inf"):
            raise InputError(f"temperature must be above 0 and finite, got {temperature}")
        self.num_classes = num_classes
        self.statistic = statistic
        self.temperature = temperature

    @property
    def reads(self) -> str:
        """What it reads, in a few words."""
        return f"{self.statistic.replace('-', ' ')} of each class's channels"

    @property
    def rms_cells(self) -> int:
        """A mean square is the square of the root mean square of one cell."""
        return 1 if self.statistic == "mean-square" else 0

    def forward(self, activity: Tensor) -> Tensor:
        """Class scores (B, K)."""
        if self.training and self.statistic == "mean-square" and activity.dim() == 4:
            squares = cells_of(activity, 1).square()  # the same numbers; their gradient is one product
            found = mean_by_class(squares, self.num_classes)
        else:
            found = class_goodness(activity, self.num_classes, self.statistic)
        return found / self.temperature


@register_rule
class CwComp(BlockwiseRule):
    """The channels of the true class must win: loss_l = CE(g_l / τ, y), g_l,k the mean square of the channels of class k.

    Args:
        network: what is trained; the channels of every block (units, in an mlp) must be a multiple of ``num_classes``.
        num_classes: K ≥ 2.
        seed: of no effect: the readouts have no weights.
        temperature: τ > 0; the paper has 1.
        fusion: ``"last"`` (as in the paper), ``"uniform"``, ``"fitted"`` or ``"best"`` (`BlockwiseRule`).
        label_smoothing: in [0, 1).

    Raises:
        InputError: channels that cannot be dealt evenly, or a value out of its range.
    """

    info = RuleInfo(
        name="cwcomp",
        locality="block",
        summary="classes own channels of every block and compete for mean-square goodness",
        references=("arXiv:2312.12668",),
        channel_groups=True,
    )

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        temperature: float = 1.0,
        fusion: str = "last",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion, label_smoothing=label_smoothing)
        self.heads = self.head_per_block(
            lambda _: ChannelGroups(num_classes, statistic="mean-square", temperature=temperature)
        )
