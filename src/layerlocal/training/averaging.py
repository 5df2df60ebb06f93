"""Averaged weights: every few steps each number of a rule becomes a moving average of itself (Lookahead, arXiv:1907.08610, as in 2404.00498).

Each weight is averaged with its own past alone, so no block learns of another.
"""

from __future__ import annotations

import torch
from torch import Tensor

from layerlocal.rules import Rule

__all__ = ["Average", "share_kept"]

STRONGEST = 0.95**5
"""Share of the average that is kept at the last step (airbench94)."""


def share_kept(step: int, steps: int) -> float:
    """How much of the average stays at a step (from 1) of a run of ``steps``: little at first, 0.77 at the end."""
    return float(STRONGEST * (step / steps) ** 3)


class Average:
    """The moving average of a rule's numbers: weights, and running statistics with them.

    Args:
        rule: whose weights are averaged, in place.
        every: steps between two averages, ≥ 1.
    """

    def __init__(self, rule: Rule, every: int) -> None:
        self.rule, self.every = rule, every
        self.tensors = {name: value.clone() for name, value in self._numbers().items()}

    def _numbers(self) -> dict[str, Tensor]:
        return {name: value for name, value in self.rule.state_dict().items() if value.is_floating_point()}

    @torch.no_grad()
    def after_step(self, step: int, steps: int) -> None:
        """Average where it is time to, and leave the average behind at the end.

        Args:
            step: of the run, from 1.
            steps: of the run.
        """
        if step % self.every and step != steps:
            return
        kept = share_kept(step, steps) if step % self.every == 0 else 1.0
        values = list(self._numbers().values())
        averages = list(self.tensors.values())
        torch._foreach_lerp_(averages, values, 1 - kept)  # on a GPU a few kernels for all
        torch._foreach_copy_(values, averages)

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from the averages of a checkpoint."""
        for name, value in tensors.items():
            self.tensors[name].copy_(value)
