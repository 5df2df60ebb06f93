"""FF: Hinton's Forward-Forward with positive and negative data.

Paper: arXiv:2212.13345 (2022). The label is part of the input: positive data carry the true label, negative data a wrong one (never the true
one). Each block raises the goodness of positive data above θ and keeps that of negative data below it.
Differs: mini-batches of both kinds go through the network together; blocks have batch normalization; the label is written either as a
one-hot on the first K inputs (as in the paper) or, so that convolutions can see it everywhere, as a plane wave added to the image (as in
arXiv:2312.14924). Peer normalization, which a widely used code (loeweX/Forward-Forward) adds so that no unit is always or never active, is an
option; it is off by default.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerlocal.networks import Network
from layerlocal.rules.core.export import ExportParts, Goodness, LabelSum, RMSNormalize, WriteLabels
from layerlocal.rules.core.functional import ff_loss, goodness, rms_normalize, wrong_labels
from layerlocal.rules.core.readout import SpatialReadout
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import RuleInfo
from layerlocal.rules.core.walk import BlockwiseRule
from layerlocal.types import InputError

__all__ = ["FF", "PeerMean", "label_patterns"]


def label_patterns(num_classes: int, sample_shape: tuple[int, ...]) -> Tensor:
    """One fixed pattern of unit root mean square a class: (K, *sample_shape). Plane waves for images, random signs for vectors."""
    generator = torch.Generator().manual_seed(0)
    if len(sample_shape) != 3:
        return torch.randint(0, 2, (num_classes, *sample_shape), generator=generator).float() * 2 - 1
    channels, height, width = sample_shape
    row = torch.arange(height, dtype=torch.float32)[:, None] / height
    column = torch.arange(width, dtype=torch.float32)[None, :] / width
    waves = []
    for _ in range(num_classes):
        down, across, phase = (torch.rand(3, generator=generator) * torch.tensor([8.0, 8.0, 1.0])).tolist()
        waves.append(torch.cos(2 * torch.pi * (down * row + across * column + phase)) * 2**0.5)
    return torch.stack(waves)[:, None].expand(-1, channels, -1, -1).contiguous()


class PeerMean(nn.Module):
    """How active each channel of a block is on positive data, averaged over samples, positions and, with momentum, steps: (B, C, ...) → (C,).

    Args:
        channels: C.
        momentum: share of the old average kept at each step, in [0, 1); it begins with 0.5 everywhere.

    Attributes:
        whole_mean: from means over a part of a batch to those over all of it; set by data-parallel training on whatever module has it.
    """

    active: Tensor
    whole_mean: Callable[[Tensor], Tensor] | None = None

    def __init__(self, channels: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("active", torch.full((channels,), 0.5))

    def forward(self, positive: Tensor) -> Tensor:
        """The average with this step's, whose share has a graph; in training it is kept."""
        found = positive.flatten(2).mean((0, 2)) if positive.dim() > 2 else positive.mean(0)
        if self.whole_mean is not None:
            found = found + (self.whole_mean(found.detach()) - found.detach())  # its value, with the graph of this part
        average = self.momentum * self.active + (1 - self.momentum) * found
        if self.training:
            self.active.copy_(average.detach())
        return average


@register_rule
class FF(BlockwiseRule):
    """Goodness of positive data up, of negative data down: loss_l = softplus(θ − g⁺) + softplus(g⁻ − θ).

    Args:
        network: what is trained; the label is written into its input.
        num_classes: K ≥ 2.
        seed: of the one-pass readout.
        goodness: ``"sum"`` of squares over channels (positions averaged) or their ``"mean"``.
        theta: threshold; ``None``: the block's width for the sum, 1 for the mean.
        label: how the label is written: ``"pattern"`` (added everywhere) or ``"one-hot"`` (replaces the first K inputs).
        label_scale: root mean square of the pattern, or height of the one-hot, in units of normalized inputs, > 0.
        prediction: ``"labels"`` tries every label (K passes; goodness summed over all blocks but the first) or ``"softmax"`` (one pass with a
            neutral label; a linear readout of each block's normalized activity, trained beside it on a third pass and changing no block).
        peer_normalization: weight ≥ 0 of mean_c (mean_c r_c − r_c)², r_c the average activity of a channel on positive data (`PeerMean`).
            0.03 of loeweX/Forward-Forward is 0.06 here: there the two parts of the loss are averaged, here they are added.
        peer_momentum: of r over steps, in [0, 1); 0.9 there too.
    """

    info = RuleInfo(
        name="ff",
        locality="block",
        summary="Hinton's Forward-Forward: goodness of positive data up, of negative data down",
        references=("arXiv:2212.13345", "arXiv:2312.14924"),
        passes_per_step=2,
        passes_per_prediction="num_classes",
        negatives=True,
    )
    predicts_by = (*BlockwiseRule.predicts_by, "write_label")
    token_reading = "positions"
    makes_inputs = True
    patterns: Tensor

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        goodness: str = "sum",
        theta: float | None = None,
        label: str = "pattern",
        label_scale: float = 1.0,
        prediction: str = "labels",
        peer_normalization: float = 0.0,
        peer_momentum: float = 0.9,
    ) -> None:
        super().__init__(network, num_classes=num_classes, seed=seed)
        for name, value, known in [
            ("goodness", goodness, ("sum", "mean")),
            ("label", label, ("pattern", "one-hot")),
            ("prediction", prediction, ("labels", "softmax")),
        ]:
            if value not in known:
                raise InputError(f"{name} must be {known[0]!r} or {known[1]!r}, got {value!r}")
        if not label_scale > 0:
            raise InputError(f"label_scale must be positive, got {label_scale}")
        inputs = torch.Size(network.sample_shape).numel()
        if label == "one-hot" and inputs < num_classes:
            raise InputError(
                f"a one-hot label of {num_classes} classes does not fit into {inputs} inputs; use label='pattern'"
            )
        if theta is not None and theta <= 0:
            raise InputError(f"theta must be above 0, as goodness is, got {theta}")
        if not 0 <= peer_normalization < math.inf:
            raise InputError(f"peer_normalization must be at least 0 and finite, got {peer_normalization}")
        if not 0 <= peer_momentum < 1:
            raise InputError(f"peer_momentum must be in [0, 1), got {peer_momentum}")
        self.goodness = goodness
        self.theta = theta
        self.label = label
        self.label_scale = label_scale
        self.prediction = prediction
        self.register_buffer("patterns", label_patterns(num_classes, network.sample_shape), persistent=False)
        self.peer_normalization = peer_normalization
        self.peer_momentum = peer_momentum
        if prediction == "softmax" or peer_normalization:
            self.heads = self.head_per_block(self._head)

    def _head(self, index: int) -> nn.Module:
        """The one-pass readout, and what peer normalization remembers, where there are such."""
        shape = self.read_shapes[index]
        peers = PeerMean(shape[0], self.peer_momentum) if self.peer_normalization else None
        if self.prediction == "labels":
            return nn.ModuleDict({"peers": peers} if peers else {})
        readout = SpatialReadout(shape, self.num_classes, grid=1)
        if peers:
            readout.add_module("peers", peers)
        return readout

    @property
    def passes_per_step(self) -> int:
        """Positive and negative, and a neutral one where the one-pass readout is trained."""
        return 3 if self.prediction == "softmax" else 2

    @property
    def passes_per_prediction(self) -> int:
        """One for the softmax readout, K where every label is tried."""
        return 1 if self.prediction == "softmax" else self.num_classes

    @property
    def reads(self) -> str:
        """The goodness itself, or what the softmax readout reads."""
        return super().reads if self.prediction == "softmax" else "goodness under every label"

    def write_label(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Inputs that carry the labels (B,), or the neutral label (the mean of all) where there is none: same shape as x."""
        if self.label == "pattern":
            pattern = self.patterns.mean(0) if y is None else self.patterns[y]
            return x + self.label_scale * pattern
        flat = x.flatten(1).clone()
        neutral = torch.full((1, self.num_classes), 1 / self.num_classes, device=x.device)
        code = neutral if y is None else F.one_hot(y, self.num_classes).to(x.dtype)
        flat[:, : self.num_classes] = self.label_scale * code
        return flat.view_as(x)

    def inputs(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Positive, negative (and neutral) data, one after the other: (2B or 3B, ...)."""
        parts = [self.write_label(x, y), self.write_label(x, wrong_labels(y, self.num_classes))]
        if self.prediction == "softmax":
            parts.append(self.write_label(x, None))
        return self.network.prepare(torch.cat(parts)), y

    def feed(self, index: int, activity: Tensor) -> Tensor:
        """The activity at unit root mean square: its length, the goodness, must not be handed on."""
        return rms_normalize(activity)

    def local_loss(self, index: int, activity: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """`goodness_loss` of the block, plus the readout's cross-entropy where there is one."""
        count = len(y)
        positive, negative = goodness(activity[: 2 * count], self.goodness).split(count)
        loss = self.goodness_loss(activity, positive, negative)
        if self.peer_normalization:
            active = self.heads[f"block{index}"].get_submodule("peers")(activity[:count])
            loss = loss + self.peer_normalization * (active.mean() - active).square().mean()
        if self.prediction == "softmax":
            neutral = rms_normalize(activity[2 * count :].detach())
            loss = loss + F.cross_entropy(self.heads[f"block{index}"](neutral), y)
        return loss, {"goodness_pos": positive.detach().mean(), "goodness_neg": negative.detach().mean()}

    def goodness_loss(self, activity: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """softplus(θ − g⁺) + softplus(g⁻ − θ), from the goodness (B,) of positive and of negative data."""
        theta = self.theta if self.theta is not None else (activity.shape[1] if self.goodness == "sum" else 1.0)
        return ff_loss(positive, negative, theta)

    def block_score(self, index: int, activity: Tensor) -> Tensor:
        """(B, K) of the one-pass readout; where every label is tried, the goodness (B,) under the label that the input carries."""
        if self.prediction == "labels":
            return goodness(activity, self.goodness)
        return self.heads[f"block{index}"](rms_normalize(activity))

    def block_scores(self, x: Tensor) -> Tensor:
        """(L, B, K): goodness of each block under each label (K passes), or the one-pass readout's scores."""
        if self.prediction == "softmax":
            return super().block_scores(self.write_label(x, None))
        labels = torch.arange(self.num_classes, device=x.device)
        goodness_of = super().block_scores
        return torch.stack([goodness_of(self.write_label(x, label.expand(len(x)))) for label in labels], dim=-1)

    def fuse(self, block_scores: Tensor) -> Tensor:
        """Goodness summed over all blocks but the first (whose goodness sees the label directly); the readouts' mean log-probability."""
        if self.prediction == "softmax":
            return super().fuse(block_scores)
        skip = 1 if self.readouts[0] == 0 and len(block_scores) > 1 else 0
        return block_scores[skip:].sum(0)

    def export_parts(self) -> ExportParts:
        """All labels (or the neutral one) written into the batch at once."""
        adds, one_pass = self.label == "pattern", self.prediction == "softmax"
        codes = self.patterns if adds else torch.eye(self.num_classes)
        writes = [WriteLabels(self.label_scale * (codes.mean(0, keepdim=True) if one_pass else codes), adds=adds)]
        if one_pass:
            return replace(super().export_parts(), writes=writes, feed=RMSNormalize())
        names = self.readout_blocks
        kept = names[1:] if names[0] == "block0" and len(names) > 1 else names
        readouts = {name: Goodness(self.goodness) for name in kept}
        return ExportParts(readouts, LabelSum(self.num_classes), RMSNormalize(), writes)

    def export_readout(self, name: str) -> nn.Module:
        """The one-pass readout, of the normalized activity."""
        return nn.Sequential(RMSNormalize(), super().export_readout(name))
