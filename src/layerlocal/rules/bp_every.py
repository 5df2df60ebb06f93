"""A hybrid: strictly local steps with a global backprop step now and then.

Source: claim P10 of arXiv:2606.06539 (local objectives plus occasional global signals recover some of the loss; press summary, no
equations). The definition is ours: at step t = 0, n, 2n, … the loss is Σ_l loss_l with gradient through all blocks (deep supervision,
as `bp-deepsup`), at every other step each loss_l on its own, as the rule ``of``. The sum, not the last loss alone, so that every step
trains the same parameters. every = 1 is `bp-deepsup`, every = 0 (never) the rule itself, both to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from layerlocal.networks import Network
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import Rule, RuleInfo
from layerlocal.rules.core.walk import segment_losses
from layerlocal.rules.twins import Twin
from layerlocal.types import PARTNER, BlockLoss, InputError, Locality

__all__ = ["BPEvery", "is_global_step"]


def is_global_step(step: int, every: int) -> bool:
    """Whether step ``step`` (from 0) is global: the first of every ``every`` steps, none where ``every`` is 0."""
    return every > 0 and step % every == 0


@register_rule
class BPEvery(Twin):
    """A backprop step through all blocks at every ``every``-th step, from the first on; strictly block-local steps between.

    The position in the cycle is a buffer, so that a run continued from its state goes on as if never interrupted. It advances once a call
    of `losses` in training mode, so a batch cannot be cut into micro-batches unless ``every`` is 0 or 1. Memory and FLOPs of a step are
    those of a global step after `rewind`; on average a step costs less.

    Args:
        network: what is trained.
        num_classes: K ≥ 2.
        seed: of the heads.
        every: n ≥ 0; 1: `bp-deepsup`, 0: the rule ``of`` itself.
        of: the rule whose heads, losses and fusion are shared.
        **options: of that rule.
    """

    info = RuleInfo(
        name="bp-every",
        locality="global",
        summary="a global backprop step (the sum of all local losses) every n steps, block-local steps between",
        references=("arXiv:2606.06539", "arXiv:1409.5185"),
    )
    every: int
    steps: Tensor

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        every: int = 2,
        of: str | type[Rule] = PARTNER,
        **options: Any,
    ) -> None:
        if not isinstance(every, int) or every < 0:
            raise InputError(f"every must be a whole number of steps, 0 for never, got {every!r}")
        super().__init__(network, num_classes=num_classes, seed=seed, **options)
        self.every = every
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> BPEvery:
        """As always, but the counter stays on the CPU: it is read at every step, which on a device would wait for it."""
        steps = self.steps
        super()._apply(fn, recurse)
        self.steps = steps.cpu()
        return self

    @property
    def locality(self) -> Locality:
        """Global, or the partner's where no step is."""
        return "global" if self.every else self.twin_of.info.locality

    @property
    def needs_whole_batches(self) -> str | None:
        """Where steps differ: the cycle would count micro-batches."""
        if self.every > 1:
            return "it counts steps by the batches it is given"
        return super().needs_whole_batches

    @property
    def longest_segments(self) -> Sequence[Sequence[int]]:
        """Those of a global step, if there is one."""
        return [range(self.network.depth)] if self.every else self.segments

    def rewind(self) -> None:
        """To a global step."""
        self.steps.zero_()

    def losses(self, x: Tensor, y: Tensor) -> Iterator[BlockLoss]:
        """One loss for all blocks at a global step, one a block at the others."""
        whole = is_global_step(int(self.steps), self.every)
        if self.training:
            self.steps += 1
        segments = self.longest_segments if whole else self.segments
        return segment_losses(self, x, y, segments, cuts=self.cuts)
