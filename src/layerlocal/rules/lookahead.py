"""A hybrid: each block's loss is read some blocks further on, through blocks that it does not train.

Paper: AugLocal, arXiv:2402.17318, whose auxiliary networks have the shape of blocks to come; here it is the blocks to come themselves, held
still (their weights get no gradient, their running statistics do not move). Overlapping local updates as in arXiv:2311.18130, but block l
alone learns from loss l. With r(l) = min(l + m, L − 1):

    loss_l = local_loss_{r(l)}(a_l through blocks l+1 … r(l), frozen, head r(l) frozen) + local_loss_l(stopgrad(a_l)) for head l

so that block l learns from the first term only, and head l (needed for the prediction, and to read the blocks before) from the second
only, on the activity of its own block as in the rule ``of``. m = 0, and the last block always, is the rule ``of`` to the last bit;
m = L − 1 gives the blocks the gradients of `bp`, computed once for each.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from layerlocal.networks import Network
from layerlocal.rules.core.frozen import call_frozen
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import Rule, RuleInfo
from layerlocal.rules.twins import Twin
from layerlocal.types import PARTNER, InputError, Locality

__all__ = ["Lookahead", "reading_block"]


def reading_block(index: int, blocks_ahead: int, depth: int) -> int:
    """r(l) = min(l + m, L − 1): the block at which the loss of block ``index`` is read."""
    return min(index + blocks_ahead, depth - 1)


@register_rule
class Lookahead(Twin):
    """The rule ``of``, every block's loss read ``blocks_ahead`` blocks further on.

    At one step a block's update depends on the next m blocks, so the rule declares segments, or global where m reaches from the first
    block to the last; no segment ends anywhere, though: over steps, credit from the last block creeps down m blocks a step. Block j runs
    forward 1 + min(j, m) times a step; passes_per_step is that of the busiest block.

    Args:
        network: what is trained.
        num_classes: K ≥ 2.
        seed: of the heads.
        blocks_ahead: m ≥ 0; 0: the rule ``of`` itself.
        of: the rule whose heads, losses and fusion are shared.
        **options: of that rule.
    """

    info = RuleInfo(
        name="lookahead",
        locality="segment",
        summary="each block's local loss read blocks_ahead blocks further on, through blocks that it does not train",
        references=("arXiv:2402.17318", "arXiv:2311.18130"),
    )
    blocks_ahead: int

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        blocks_ahead: int = 1,
        of: str | type[Rule] = PARTNER,
        **options: Any,
    ) -> None:
        if not isinstance(blocks_ahead, int) or blocks_ahead < 0:
            raise InputError(f"blocks_ahead must be a whole number of at least 0, got {blocks_ahead!r}")
        super().__init__(network, num_classes=num_classes, seed=seed, **options)
        self.blocks_ahead = blocks_ahead

    @property
    def reads_ahead(self) -> int:
        """m, as far as there are blocks."""
        return reading_block(0, self.blocks_ahead, self.network.depth)

    @property
    def passes_per_step(self) -> int:
        """Those of the partner, once more for every block that is looked through."""
        return super().passes_per_step * (1 + self.reads_ahead)

    @property
    def locality(self) -> Locality:
        """By how far a block's loss is read: the block itself, some more, or all of them."""
        if self.reads_ahead == 0:
            return self.twin_of.info.locality
        return "global" if self.reads_ahead + 1 == self.network.depth else "segment"

    def use_checkpointing(self, x: Tensor) -> None:
        """Refused: the blocks that a loss is read through are held still, which a second run would have to do as well."""
        raise InputError(
            "activation checkpointing is not made for 'lookahead', whose losses are read through blocks held still; "
            "leave recipe.checkpointing off"
        )

    def block_loss(self, index: int, activity: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss read ahead, which trains the block, plus the block's own on its detached activity, which trains the head."""
        last = reading_block(index, self.blocks_ahead, self.network.depth)
        if last == index:
            return super().block_loss(index, activity, y)
        held = [*self.network.blocks[index + 1 : last + 1]]
        if (name := f"block{last}") in self.heads:
            held.append(self.heads[name])
        ahead: Tensor = call_frozen(held, self._read_ahead, index, last, activity, y)
        own, metrics = super().block_loss(index, activity.detach(), y)
        metrics = metrics | {"ahead": ahead.detach()}
        return (ahead + own if own.requires_grad else ahead), metrics

    def _read_ahead(self, index: int, last: int, activity: Tensor, y: Tensor) -> Tensor:
        for position in range(index, last):
            given = self.feed(position, activity)
            self.receive(position + 1, given)
            activity = self.network.blocks[position + 1](given)
        return super().block_loss(last, activity, y)[0]
