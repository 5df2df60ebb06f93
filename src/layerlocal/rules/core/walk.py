"""The walk over blocks that most rules share: one loss a segment, one segment's graph at a time.

Letters: B batch, L blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from layerlocal.rules.core.recompute import Buffer, Found, buffers_of, keep_input_only
from layerlocal.types import BlockLoss, InputError

if TYPE_CHECKING:
    from layerlocal.rules.core.rule import BlockwiseRule

__all__ = ["LocalLoss", "learns_by", "run_blocks", "segment_loss", "segment_losses", "segment_name"]

LocalLoss = Callable[[int, Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]
"""(block index, activity, labels) → the block's loss with a graph, and detached scalars to log."""


def segment_name(segment: Sequence[int], depth: int) -> str:
    """``"block3"`` for one block, ``"block2-3"`` for several, ``"all"`` for the whole network."""
    first, last = segment[0], segment[-1]
    if len(segment) == depth and depth > 1:
        return "all"
    return f"block{first}" if first == last else f"block{first}-{last}"


def segment_losses(
    rule: BlockwiseRule,
    x: Tensor,
    y: Tensor,
    segments: Sequence[Sequence[int]],
    local_loss: LocalLoss | None = None,
    cuts: Collection[int] = (),
) -> Iterator[BlockLoss]:
    """Walk the blocks; one loss a segment: the sum of its blocks' local losses, with gradient inside and none across.

    One segment of all blocks is backprop (with deep supervision where there are several readouts), one segment a block is a strictly
    local rule. At any moment only one segment's graph exists, with its input and output: nothing else is held across a ``yield``.
    A segment with nothing to train (frozen blocks, poolings) is run and has no loss.
    ``local_loss`` stands in for the rule's own: that is how hybrids are made. ``cuts`` are blocks at which a new chunk of a segment
    starts: of every chunk but a segment's last only the input is kept (`checkpointing`).
    """
    h, y = rule.inputs(rule.network.prepare(x), y)
    depth = rule.network.depth
    for segment in segments:
        name = segment_name(segment, depth)
        value, metrics, h = segment_loss(rule, segment, local_loss or rule.local_loss, h.detach(), y, cuts)
        if value is None:
            raise InputError(f"{name} has no readout, so nothing would train it")
        if learns_by(rule, segment, value):
            yield BlockLoss(name, value, metrics)
        del value
        if segment[-1] + 1 < depth:
            h = rule.feed(segment[-1], h)


def learns_by(rule: BlockwiseRule, segment: Sequence[int], value: Tensor) -> bool:
    """Whether a segment learns by its loss; not where its blocks and their heads have nothing to train.

    Raises:
        InputError: there is something to train, and the loss has no graph.
    """
    if value.requires_grad or not torch.is_grad_enabled():
        return True
    names = [rule.network.block_names[index] for index in segment]
    parts = [*(rule.network.blocks[index] for index in segment), *(rule.heads[n] for n in names if n in rule.heads)]
    if any(parameter.requires_grad for part in parts for parameter in part.parameters()):
        raise InputError(
            f"the loss of {segment_name(segment, rule.network.depth)} has no graph, so it cannot train what is there; local_loss of "
            f"{type(rule).__name__} must not detach the activity, nor the block's forward"
        )
    return False


def segment_loss(
    rule: BlockwiseRule,
    segment: Sequence[int],
    local_loss: LocalLoss,
    h: Tensor,
    y: Tensor,
    cuts: Collection[int] = (),
) -> tuple[Tensor | None, dict[str, Tensor], Tensor]:
    """The segment's loss and metrics, and its last activity without a graph. Nothing else of the segment outlives the call."""
    value: Tensor | None = None
    metrics: dict[str, Tensor] = {}
    for chunk in _chunks(segment, cuts):
        run = partial(run_blocks, rule, chunk, segment[-1], local_loss, y)
        last = chunk[-1] == segment[-1]  # its backward comes at once: there is nothing to win
        h, terms, found = run(h) if last else keep_input_only(run, h, _buffers_that_move(rule, chunk))
        for term in terms:
            value = term if value is None else value + term
        metrics |= found
    return value, metrics, h.detach()


def run_blocks(
    rule: BlockwiseRule, blocks: Sequence[int], last: int, local_loss: LocalLoss, y: Tensor, h: Tensor
) -> Found:
    """Some blocks of a segment that ends at ``last``: what the next block gets (at the end: the activity), losses, and what is logged."""
    terms: list[Tensor] = []
    metrics: dict[str, Tensor] = {}
    for index in blocks:
        h = rule.network.blocks[index](h)
        if index in rule.readouts:
            term, found = _checked(rule, local_loss(index, h, y))
            terms.append(term)
            metrics |= {f"{name}/block{index}": metric for name, metric in found.items()}
        if index != last:
            h = rule.feed(index, h)
    return h, terms, metrics


def _checked(rule: BlockwiseRule, given: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """What a local loss gave, where it is what it must be: a rule of the user's own may give anything."""
    match given:
        case (Tensor() as value, dict() as metrics) if value.dim() == 0:
            return value, metrics
        case (Tensor() as value, dict()):
            what = f"a loss of shape {tuple(value.shape)}"
        case tuple():
            what = f"a tuple of {', '.join(type(part).__name__ for part in given)}"
        case _:
            what = type(given).__name__
    raise InputError(
        f"local_loss of {type(rule).__name__} gave {what}; it must return (a scalar Tensor, a dict of Tensors)"
    )


def _chunks(segment: Sequence[int], cuts: Collection[int]) -> list[range]:
    starts = [index for index in segment if index == segment[0] or index in cuts]
    return [range(start, end) for start, end in zip(starts, [*starts[1:], segment[-1] + 1], strict=True)]


def _buffers_that_move(rule: BlockwiseRule, blocks: Sequence[int]) -> list[Buffer]:
    """Buffers that these blocks and their losses may change: their own, their heads', and the rule's, those aside that are not saved."""
    names = [rule.network.block_names[index] for index in blocks]
    parts = [
        *(rule.network.blocks[index] for index in blocks),
        *(rule.heads[name] for name in names if name in rule.heads),
    ]
    beside = [part for part in rule.children() if part is not rule.network and part is not rule.heads]
    own = [(rule, name) for name in rule._buffers if name not in rule._non_persistent_buffers_set]
    return [*buffers_of([*parts, *beside]), *own]
