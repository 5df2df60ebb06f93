"""CwComp: a block's channels are dealt to the classes, which compete for the most goodness; one pass, no negatives.

Paper: arXiv:2312.12668 (AAAI 2024), Papachristodoulou, Kyrkou, Timotheou, Theocharides: channel-wise competitive learning.
Differs: its loss (CwC) is taken, and its networks are not: blocks are any of ours or yours instead of CFSE blocks, whose every second
convolution is grouped by class. In ours batch normalization comes before the ReLU, so goodness is read from activities ≥ 0; theirs comes
last, and squares normalized activities of either sign. All blocks learn at every step, not one after another (their interleaved layer
training). The last block's goodness predicts, as there; their softmax classifier on top is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from layerlocal.kernels import cells_of
from layerlocal.networks import Network
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import BlockwiseRule, RuleInfo
from layerlocal.types import InputError

__all__ = ["ChannelGroups", "CwComp", "class_goodness", "fitting_width", "mean_by_class", "refuse_uneven_channels"]

WIDTH_STEPS = 128
WIDEST = 4
MOST_WIDTHS = 64
"""Widths that are tried for a proposal: multiples of 1/128 up to 4 that may fit, nearest first, at most as many."""


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
    if numbers.dim() > 2:
        numbers = numbers.flatten(2).mean(2)
    return mean_by_class(numbers, num_classes)


class ChannelGroups(nn.Module):
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
        self.rms_cells = (
            1 if statistic == "mean-square" else 0
        )  # a mean square is the square of the root mean square of one cell

    @property
    def reads(self) -> str:
        """What it reads, in a few words."""
        return f"{self.statistic.replace('-', ' ')} of each class's channels"

    def forward(self, activity: Tensor) -> Tensor:
        """Class scores (B, K)."""
        if self.training and self.statistic == "mean-square" and activity.dim() == 4:
            squares = cells_of(activity, 1).square()  # the same numbers; their gradient is one product
            found = mean_by_class(squares, self.num_classes)
        else:
            found = class_goodness(activity, self.num_classes, self.statistic)
        return found / self.temperature


def refuse_uneven_channels(network: Network, num_classes: int) -> None:
    """Channels can be dealt to K classes only where K divides their number, in every block.

    Raises:
        InputError: the first block where it does not, with the nearest width that works.
    """
    for name, shape in zip(network.block_names, network.activity_shapes, strict=True):
        if shape[0] % num_classes:
            word = "channels" if len(shape) > 1 else "units"
            raise InputError(
                f"{name} has {shape[0]} {word}, which cannot be dealt evenly to {num_classes} classes; "
                f"{_way_out(network, num_classes, shape[0])}, or take a rule whose readout works with any number of {word} "
                "('asge', 'local-heads')"
            )


def fitting_width(network: Network, num_classes: int) -> float | None:
    """The width nearest to the network's at which K divides the channels of every block; ``None``: not found, or a network of one's own."""
    first = network.activity_shapes[0][0]

    def may_fit(width: float) -> bool:
        scale = width / network.width  # the first block's channels were rounded once and will be again
        return (scale * (first + 0.5) + 0.5) // num_classes > (scale * (first - 0.5) - 0.5) // num_classes

    widths = [step / WIDTH_STEPS for step in range(1, WIDEST * WIDTH_STEPS + 1)] if network.resized else []
    for width in sorted(filter(may_fit, widths), key=lambda width: abs(width - network.width))[:MOST_WIDTHS]:
        if all(each % num_classes == 0 for each in _channels(network, width)):
            return width
    return None


def _channels(network: Network, width: float) -> list[int]:
    """Of every block, were the network of this width."""
    with torch.device("meta"):
        return [shape[0] for shape in network.resized(width=width).activity_shapes]  # type: ignore[misc]


def _way_out(network: Network, num_classes: int, count: int) -> str:
    """Part of a sentence: the width to set; without one, the nearest number for the block that has ``count``."""
    width = fitting_width(network, num_classes)
    if width is not None:
        return (
            f"set the network's width to {width:.9g} ({', '.join(map(str, dict.fromkeys(_channels(network, width))))})"
        )
    nearest = max(1, round(count / num_classes)) * num_classes
    return f"give it {nearest} or another multiple of {num_classes}"


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
        refuse_uneven_channels(network, num_classes)
        self.heads = self.head_per_block(
            lambda _: ChannelGroups(num_classes, statistic="mean-square", temperature=temperature)
        )
