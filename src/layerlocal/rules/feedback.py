"""A hybrid: local losses plus the output error, sent to every block through a fixed random matrix.

Paper: Direct Feedback Alignment, Nøkland, arXiv:1609.01596. Differs: the projected error is added to each block's local loss instead of
standing alone; the output is the rule's own fused prediction; the error comes from a forward pass of its own without a graph, so that at
any moment one block's graph exists; inside a block (convolution, normalization, ReLU, pooling) the gradient is exact.

    e = softmax(scores(x)) − onehot(y)                       (B, K), no gradient
    loss_l = local_loss_l + strength · mean_b ⟨ā_l, e B_l⟩      ā_l (B, C): the activity, averaged over positions; B_l (K, C) fixed

B_l ~ N(0, 1/C): ⟨ā, e B⟩ has standard deviation rms(ā)·|e| whatever the width, and the mean over positions makes it so for every map size.
At strength 1 its gradient was 0.1–0.6 of the local one in every block (one batch of 64; cnn4, width 0.25, seed 0, after 0, 2, 10 epochs).

The default strength is from a small look at validation accuracy (1,000 images to train on, 1,000 to validate, mean of seeds 0 and 1, two
CPU cores, torch 2.13; a lead, not a result): of all strengths above 0, 1 is the largest that cost nothing after 2 epochs.

    validation accuracy %          bp     strength 0   0.01   0.1    1      10
    of=class-goodness,      2 epochs       70.9   68.2         68.1   68.2   68.2   64.5
    of=class-goodness,     10 epochs       78.8   76.6                       76.1
    of=local-heads, 2 epochs       67.5   61.3                       62.1   49.3

    layerlocal train --rule feedback --set rule.of=class-goodness --set rule.strength=1 --data fashion_mnist_subset --set data.num_train=2000
        --set data.validation=0.5 --set judged_on=validation --network cnn4 --width 0.25 --epochs 2 --seed 0
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from layerlocal.networks import Network
from layerlocal.rules.core.frozen import call_frozen
from layerlocal.rules.core.functional import average_positions
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import Rule, RuleInfo
from layerlocal.rules.core.walk import segment_losses
from layerlocal.rules.twins import Twin
from layerlocal.types import PARTNER, BlockLoss, InputError, Locality, derive_seed

__all__ = ["Feedback", "feedback_term", "output_error"]


def output_error(scores: Tensor, y: Tensor) -> Tensor:
    """e = softmax(scores) − onehot(y), the gradient of each sample's cross-entropy: (B, K), (B,) → (B, K)."""
    return scores.float().softmax(-1) - F.one_hot(y, scores.shape[-1])


def feedback_term(activity: Tensor, error: Tensor, projection: Tensor) -> Tensor:
    """mean_b ⟨ā_b, e_b B⟩: (B, C, ...), (B, K), (K, C) → scalar. Its gradient at a position is e_b B / (batch · positions)."""
    return (average_positions(activity).float() * (error @ projection)).sum(1).mean()


@register_rule
class Feedback(Twin):
    """The rule ``of``, every block also pushed along a fixed random projection of the output error.

    No gradient crosses a block boundary, yet every block hears of the output at every step, so the rule declares itself global; what it
    saves for backward is that of a local rule.

    Args:
        network: what is trained.
        num_classes: K ≥ 2.
        seed: of the heads and of the projections B_l, one draw a block.
        strength: weight of the projected error, ≥ 0; 0: the rule ``of`` itself, to the last bit and without the second pass.
        of: the rule whose heads, losses and fusion are shared; one that shows each sample once a step.
        **options: of that rule.
    """

    info = RuleInfo(
        name="feedback",
        locality="global",
        summary="local losses plus a fixed random projection of the output error to every block (direct feedback alignment)",
        references=("arXiv:1609.01596", "arXiv:2606.06539"),
        passes_per_step=2,
    )
    strength: float

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        strength: float = 1.0,
        of: str | type[Rule] = PARTNER,
        **options: Any,
    ) -> None:
        if not (math.isfinite(strength) and strength >= 0):
            raise InputError(f"strength must be a number of at least 0, got {strength}")
        super().__init__(network, num_classes=num_classes, seed=seed, **options)
        if super().passes_per_step != 1:
            raise InputError(
                f"feedback needs a rule that shows each sample once a step, and {self.twin_of.info.name} does "
                f"{super().passes_per_step} passes"
            )
        self.strength = strength
        for index, (channels, *_) in enumerate(self.read_shapes):
            generator = None
            if seed is not None:
                generator = torch.Generator().manual_seed(derive_seed(seed, "feedback", index))
            self.register_buffer(
                f"projection{index}", torch.randn(num_classes, channels, generator=generator) / channels**0.5
            )

    @property
    def locality(self) -> Locality:
        """Global by what reaches a block, though not by gradient; the partner's without feedback."""
        return "global" if self.strength else self.twin_of.info.locality

    @property
    def reads_ahead(self) -> int:
        """To the last block."""
        return self.network.depth - 1 if self.strength else 0

    @property
    def locks(self) -> dict[str, bool]:
        """The update waits for the output error, but for nobody's backward, and no weight is sent back."""
        return super().locks | {"backward": False, "weight_transport": False}

    @property
    def passes_per_step(self) -> int:
        """The partner's, and a prediction for the output error."""
        return super().passes_per_step + (self.passes_per_prediction if self.strength else 0)

    def losses(self, x: Tensor, y: Tensor) -> Iterator[BlockLoss]:
        """One loss a block: the local one plus the projected output error."""
        if not self.strength:
            yield from super().losses(x, y)
            return
        with torch.no_grad():
            error = output_error(call_frozen([self], self.scores, x).flatten(0, -2), y.flatten())

        def local_loss(index: int, activity: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            value, metrics = self.block_loss(index, activity, labels)
            term = feedback_term(self.read(activity), error, self.get_buffer(f"projection{index}"))
            return value + self.strength * term, metrics | {"feedback": term.detach()}

        yield from segment_losses(self, x, y, self.segments, local_loss)
