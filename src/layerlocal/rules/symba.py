"""SymBa: Forward-Forward with one symmetric loss on the gap between positive and negative goodness, and no threshold.

Paper: arXiv:2303.08418 (2023). Loss log(1 + exp(−α (g⁺ − g⁻))) with α = 4: both kinds of data pull with the same force at every step. A fixed
pattern a class ("intrinsic class pattern") carries the label, so that it is not lost on the way up.
Differs: only the abstract and others' accounts could be read. The pattern is a random sign at every input, added to the sample, because our
networks have no input channels to spare; g⁺ and g⁻ are the same sample's under its own and under a wrong label; goodness is the mean of
squares, so that one α serves every width; blocks have batch normalization, as in `FF`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from layerlocal.networks import Network
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import RuleInfo
from layerlocal.rules.ff import FF, label_patterns
from layerlocal.types import InputError

__all__ = ["SymBa", "symba_loss"]


def symba_loss(positive: Tensor, negative: Tensor, alpha: float) -> Tensor:
    """mean softplus(−α (g⁺ − g⁻)): a scalar. arXiv:2303.08418.

    Args:
        positive: g⁺ (B,), goodness of positive data.
        negative: g⁻ (B,), goodness of the negative data that belong to them.
        alpha: steepness α > 0.
    """
    return F.softplus(alpha * (negative - positive)).mean()


@register_rule
class SymBa(FF):
    """Goodness of positive data above that of negative data: loss_l = softplus(−α (g⁺_l − g⁻_l)).

    Args:
        network: what is trained; the label is written into its input.
        num_classes: K ≥ 2.
        seed: of the one-pass readout.
        alpha: steepness α of the loss, > 0 and finite; the larger, the sooner a pair that is told apart counts no longer.
        goodness: ``"mean"`` of squares over channels (positions averaged) or their ``"sum"``, which wants an α smaller by the width.
        label: how the label is written: ``"pattern"`` (the class pattern, added everywhere) or ``"one-hot"`` (replaces the first K inputs).
        label_scale: root mean square of the pattern, or height of the one-hot, in units of normalized inputs, > 0.
        prediction: ``"labels"`` tries every label (K passes) or ``"softmax"`` (one pass with a neutral label), as in `FF`.

    Raises:
        InputError: an α that is not positive and finite, or an option out of `FF`'s ranges.
    """

    info = RuleInfo(
        name="symba",
        locality="block",
        summary="Forward-Forward with a symmetric loss on the goodness gap and no threshold",
        references=("arXiv:2303.08418", "arXiv:2212.13345"),
        passes_per_step=2,
        passes_per_prediction="num_classes",
        negatives=True,
    )

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        alpha: float = 4.0,
        goodness: str = "mean",
        label: str = "pattern",
        label_scale: float = 1.0,
        prediction: str = "labels",
    ) -> None:
        super().__init__(
            network, num_classes=num_classes, seed=seed,
            goodness=goodness, label=label, label_scale=label_scale, prediction=prediction,
        )  # fmt: skip
        if not 0 < alpha < math.inf:
            raise InputError(f"alpha must be positive and finite, got {alpha}")
        self.alpha = alpha
        inputs = torch.Size(network.sample_shape).numel()
        self.patterns.copy_(
            label_patterns(num_classes, (inputs,)).view_as(self.patterns)
        )  # random signs, for images too

    def goodness_loss(self, activity: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """`symba_loss` of the goodness (B,) of a sample's positive and negative data."""
        return symba_loss(positive, negative, self.alpha)
