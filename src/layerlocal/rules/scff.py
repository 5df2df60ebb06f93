"""SCFF: self-contrastive Forward-Forward. Blocks learn without labels to tell a sample paired with itself from two samples.

Paper: arXiv:2409.11593 (2024; Nature Communications 16, 5978, 2025). The input is a pair read through one set of weights, W x + W x': positive
(x, x), negative (x, x') with x' from the same batch. Goodness up for positives, down for negatives; a linear classifier reads the activities.
Differs: by linearity the first block gets the sums x + x and x + x'. Each later block gets what the block before made of them, at unit root
mean square (`FF`). One θ, not two; no penalty on goodness; goodness is averaged over positions before the loss, where the released code
(neurophysics-cnrsthales/contrastive-forward-forward) takes the loss of each position and averages those: ``average="loss"`` does so. ReLU and
batch normalization, not "triangle"; all blocks learn at once, not one after another. Each block has a readout of its own, trained beside it
on the detached activity of (x, x), not one for all of them afterwards.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from layerlocal.networks import Network
from layerlocal.rules.core.export import Double, ExportParts, RMSNormalize
from layerlocal.rules.core.functional import ff_loss, goodness, rms_normalize, wrong_labels
from layerlocal.rules.core.readout import SpatialReadout
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import RuleInfo
from layerlocal.rules.core.walk import BlockwiseRule
from layerlocal.types import InputError

__all__ = ["SCFF", "pair_sums"]


def pair_sums(x: Tensor) -> tuple[Tensor, Tensor]:
    """Positive x_i + x_i and negative x_i + x_j, j drawn uniformly from the others of the batch: (B, ...) → twice (B, ...).

    Raises:
        InputError: a batch of one sample, which has no other to be paired with.
    """
    count = len(x)
    if count < 2:
        raise InputError(f"scff makes a negative of two samples of a batch, and this one has {count}; raise batch_size")
    other = wrong_labels(torch.arange(count, device=x.device), count)  # never the sample itself
    return x + x, x + x[other]


@register_rule
class SCFF(BlockwiseRule):
    """Goodness of (x, x) up, of (x, x') down: loss_l = softplus(θ − g⁺_l) + softplus(g⁻_l − θ); no label reaches a block.

    Args:
        network: what is trained; it gets sums of two inputs.
        num_classes: K ≥ 2, of the readouts.
        seed: of the readouts.
        goodness: ``"mean"`` of squares over channels (positions averaged) or their ``"sum"``.
        theta: threshold, > 0; ``None``: 1 for the mean, the block's width for the sum.
        average: over positions: of ``"goodness"``, before the loss, or of the ``"loss"`` of each position, as in the released code.
        readout: what the linear readout reads of each channel in each cell: ``"rms"``, ``"mean"`` or ``"max"``.
        grid: cells a side of the readout, ≥ 1.
        fusion: ``"uniform"``, ``"fitted"``, ``"best"`` or ``"last"`` (`BlockwiseRule`).

    Raises:
        InputError: an option out of its range.
    """

    info = RuleInfo(
        name="scff",
        locality="block",
        summary="self-contrastive Forward-Forward: blocks learn without labels, a linear readout beside them",
        references=("arXiv:2409.11593",),
        passes_per_step=2,
        compares_samples=True,
        negatives=True,
        unsupervised=True,
    )

    token_reading = "positions"
    makes_inputs = True

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        goodness: str = "mean",
        theta: float | None = None,
        average: str = "goodness",
        readout: str = "rms",
        grid: int = 2,
        fusion: str = "uniform",
    ) -> None:
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion)
        if goodness not in ("mean", "sum"):
            raise InputError(f"goodness must be 'mean' or 'sum', got {goodness!r}")
        if theta is not None and not 0 < theta < math.inf:
            raise InputError(
                f"theta must be positive and finite, got {theta}; leave it out for the default of the block"
            )
        if average not in ("goodness", "loss"):
            raise InputError(f"average must be 'goodness' or 'loss', got {average!r}")
        self.goodness = goodness
        self.theta = theta
        self.average = average
        shapes = self.read_shapes
        self.heads = self.head_per_block(lambda i: SpatialReadout(shapes[i], num_classes, statistic=readout, grid=grid))

    @property
    def needs_whole_batches(self) -> str:
        """Parts of a batch would make other pairs."""
        return "its negatives are pairs of samples of the same batch"

    def _tell_block(self, index: int, head: torch.nn.Module | None) -> None:
        """Nothing: in training the readout reads half of the activity, so root mean squares of all of it are of no use."""

    def inputs(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Positive and negative data, one after the other: (2B, ...)."""
        return self.network.prepare(torch.cat(pair_sums(x))), y

    def feed(self, index: int, activity: Tensor) -> Tensor:
        """The activity at unit root mean square: its length, the goodness, must not be handed on."""
        return rms_normalize(activity)

    def local_loss(self, index: int, activity: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The self-contrastive loss, which sees no label, plus the readout's cross-entropy, which changes no block."""
        count = len(y)
        found = goodness(activity, self.goodness, average=self.average == "goodness")
        positive, negative = found.split(count)
        theta = self.theta if self.theta is not None else (activity.shape[1] if self.goodness == "sum" else 1.0)
        answer = self.block_score(index, activity[:count].detach())
        loss = ff_loss(positive, negative, theta) + F.cross_entropy(answer, y)
        return loss, {"goodness_pos": positive.detach().mean(), "goodness_neg": negative.detach().mean()}

    def block_scores(self, x: Tensor) -> Tensor:
        """(L, B, K): one pass of (x, x), every readout."""
        return super().block_scores(x + x)

    def export_parts(self) -> ExportParts:
        """Those of the heads, with what `block_scores` and `feed` do."""
        return replace(super().export_parts(), writes=[Double()], feed=RMSNormalize())
