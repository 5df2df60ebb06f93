"""DeeperForward: class goodness is the mean activity of a class's channels, and is normalized away before the next block.

Paper: Sun, Zhang, He, Wen, Shen, Xie, ICLR 2025, https://openreview.net/forum?id=kOYnXVQCtA. Its loss CE(g, y), its normalization of each
class's channels, and the run of blocks that is fused, chosen on validation data, are taken.
Differs: networks are any of ours or yours, in which batch normalization comes before the ReLU (theirs have none, and add shortcuts after the
normalization instead of inside the block; theirs also normalize the input). Goodness is divided by a temperature: AdamW at 0.08 makes up for
the small scale of a mean there, which would be too fast for batch normalization's weights. Block scores are summed as log-probabilities,
which gives the same answers as their sum of goodness. The run is chosen once, after the last epoch, not after each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerlocal.networks import Network
from layerlocal.networks.tokens import by_token
from layerlocal.rules.core.export import ExportParts, copied
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import RuleInfo
from layerlocal.rules.core.walk import BlockwiseRule
from layerlocal.rules.cwcomp import ChannelGroups
from layerlocal.types import InputError

__all__ = ["DeeperForward", "GroupNormalize", "choose_span", "refuse_lone_numbers"]


def choose_span(block_scores: Tensor, y: Tensor) -> tuple[int, int]:
    """First and last readout of the run whose summed log-probabilities classify the most samples.

    Args:
        block_scores: (L, N, K) of validation data.
        y: (N,).

    Returns:
        Both ends, counted from 0, inclusive. Of equals the run that ends first, and of those the longest.
    """
    log_probabilities = block_scores.log_softmax(-1)
    span, most = (0, 0), -1
    for last in range(len(block_scores)):
        runs = log_probabilities[: last + 1].flip(0).cumsum(0).flip(0)  # (last + 1, N, K): from each first to this last
        correct = (runs.argmax(-1) == y).sum(1).tolist()
        if max(correct) > most:
            most = max(correct)
            span = correct.index(most), last
    return span


class GroupNormalize(nn.Module):
    """Each group of channels of each sample at mean 0 and variance 1 over its channels and positions: (B, C, ...) → the same shape.

    The group's mean goodness cannot be read from what comes out: it is 0 for every sample.

    Args:
        groups: number of groups of consecutive channels, a divisor of C.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, activity: Tensor) -> Tensor:
        """(a − mean) / sqrt(variance + 1e-5) of the own group; of tokens (B, T, D) each token by itself."""
        return by_token(lambda each: F.group_norm(each, self.groups), activity)


@register_rule
class DeeperForward(BlockwiseRule):
    """The channels of the true class must be most active: loss_l = CE(g_l / τ, y), g_l,k the mean activity of the channels of class k.

    Args:
        network: what is trained; the channels of every block (units, in an mlp) must be a multiple of ``num_classes``.
        num_classes: K ≥ 2.
        seed: of no effect: the readouts have no weights.
        temperature: τ > 0; the paper has 1.
        normalization: of what the next block is fed: ``"group"`` (each class's channels by themselves, so no class's goodness is handed
            on), ``"layer"`` (all channels together: only their overall mean is not) or ``"none"``.
        fusion: ``"span"`` (equal weights on the run of blocks that is best on the validation split, on all blocks until it is
            chosen), or ``"uniform"``, ``"fitted"``, ``"best"``, ``"last"`` (`BlockwiseRule`).
        label_smoothing: in [0, 1).

    Raises:
        InputError: channels that cannot be dealt evenly, classes with too few numbers to normalize, or a value out of its range.
    """

    info = RuleInfo(
        name="deeperforward",
        locality="block",
        summary="mean goodness of each class's channels, normalized away between blocks; the fused run of blocks is chosen",
        references=("https://openreview.net/forum?id=kOYnXVQCtA",),
        channel_groups=True,
    )

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        temperature: float = 0.1,
        normalization: str = "group",
        fusion: str = "span",
        label_smoothing: float = 0.0,
    ) -> None:
        if fusion not in ("span", "uniform", "fitted", "best", "last"):
            raise InputError(f"fusion must be 'span', 'uniform', 'fitted', 'best' or 'last', got {fusion!r}")
        if normalization not in ("group", "layer", "none"):
            raise InputError(f"normalization must be 'group', 'layer' or 'none', got {normalization!r}")
        until_chosen = "uniform" if fusion == "span" else fusion
        super().__init__(
            network, num_classes=num_classes, seed=seed, fusion=until_chosen, label_smoothing=label_smoothing
        )
        if normalization == "group":
            refuse_lone_numbers(network, num_classes, network.block_names[:-1])
        self.fusion = fusion
        self.heads = self.head_per_block(
            lambda _: ChannelGroups(num_classes, statistic="mean", temperature=temperature)
        )
        groups = {"group": num_classes, "layer": 1}
        self.normalize = nn.Identity() if normalization == "none" else GroupNormalize(groups[normalization])

    def feed(self, index: int, activity: Tensor) -> Tensor:
        """The normalized activity."""
        return self.normalize(activity)

    def export_parts(self) -> ExportParts:
        """Those of the heads, with what `feed` does."""
        return replace(super().export_parts(), feed=copied(self.normalize))

    @property
    def calibrates(self) -> bool:
        """Where the run is chosen, and where every rule chooses."""
        return self.fusion == "span" or super().calibrates

    def calibrate(self, block_scores: Tensor, y: Tensor) -> None:
        """Choose the run on validation scores (L, N, K) and labels (N,), or what every rule chooses there."""
        if self.fusion != "span":
            super().calibrate(block_scores, y)
            return
        first, last = choose_span(block_scores, y)
        weights = torch.zeros_like(self.fusion_weights)
        weights[first : last + 1] = 1 / (last + 1 - first)
        self.fusion_weights = weights


def refuse_lone_numbers(network: Network, num_classes: int, names: Sequence[str]) -> None:
    """A group of one number is 0 after normalization, whatever it was.

    Args:
        network: of any blocks.
        num_classes: K, the number of groups.
        names: of the blocks whose activity is normalized.

    Raises:
        InputError: the first of them with one number a class.
    """
    for name, shape in zip(network.block_names, network.read_shapes, strict=True):
        if name in names and torch.Size(shape).numel() == num_classes:
            raise InputError(
                f"{name} has one number for each of the {num_classes} classes, and a single number normalized to mean 0 is always 0; "
                "double the network's width, or use normalization='layer'"
            )
