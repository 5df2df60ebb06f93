"""Activation checkpointing (arXiv:1604.06174): where to cut a segment into chunks, so that the fewest bytes are kept at any moment.

Of every chunk but the last, backward keeps the input only and computes the rest again when its turn comes. In the backward of a chunk the
inputs of all chunks up to it are kept, and what its own blocks save, so that a segment's peak is

    max over its chunks c of   Σ_{j ≤ c} bytes(input of j) + bytes(saved in c, its input aside)

What a block saves differs by orders of magnitude from the first to the last of a network, hence bytes and not a count of blocks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeVar

import torch
from torch import Tensor

from layerlocal.devices import cuda_devices
from layerlocal.rules.core.frozen import call_apart
from layerlocal.rules.core.saved import SavedBytes
from layerlocal.rules.core.walk import BlockwiseRule, run_blocks
from layerlocal.types import InputError

__all__ = ["BlockBytes", "best_cuts", "find_cuts", "look_at_blocks"]

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class BlockBytes:
    """What one block and its readout keep for backward, by storage: two blocks may keep the same one.

    Args:
        saved: address → bytes of every storage that is kept.
        input: address and bytes of the block's input, which is among them or not.
    """

    saved: dict[int, int]
    input: tuple[int, int]


def best_cuts(blocks: Sequence[BlockBytes]) -> list[int]:
    """Blocks (from 0) at which a new chunk starts, the first aside, such that the peak of the segment is least; of equals the fewest.

    From the last block back: the least peak from block i on, if a chunk starts there, is the chunk's input and then the larger of what
    the chunk saves and the least peak from its end on. O(L²) steps.
    """
    depth = len(blocks)
    least = [0] * (depth + 1)
    ends = [depth] * (depth + 1)
    for start in reversed(range(depth)):
        address, size = blocks[start].input
        seen, inside, peaks = {address}, 0, []
        for end in range(start + 1, depth + 1):
            saved = blocks[end - 1].saved
            inside += sum(count for key, count in saved.items() if key not in seen)
            seen |= saved.keys()
            peaks.append((max(inside, least[end]), -end))
        peak, end = min(peaks)
        least[start], ends[start] = size + peak, -end
    cuts: list[int] = []
    while (start := ends[cuts[-1] if cuts else 0]) < depth:
        cuts.append(start)
    return cuts


def find_cuts(rule: BlockwiseRule, x: Tensor, segments: Sequence[Sequence[int]]) -> frozenset[int]:
    """Indices of the blocks at which a new chunk starts inside a segment, from what one forward pass of a few samples saves.

    Args:
        rule: left as it was found.
        x: (B, *sample_shape), B ≥ 2; bytes are looked at in float32 and uncompiled, where weights and batch size play no part.
        segments: runs of block indices that a gradient goes through.

    Raises:
        InputError: a block that changes its input in place, from which it could not be computed again.
    """
    return frozenset(_in_training(rule, _find_cuts, x, segments))


def look_at_blocks(rule: BlockwiseRule, x: Tensor, segments: Sequence[Sequence[int]]) -> list[BlockBytes]:
    """What each block, its readout and the way to the next block of its segment save in one forward pass; arguments as of `find_cuts`."""
    return _in_training(rule, _all_blocks, x, segments)


def _in_training(rule: BlockwiseRule, look: Callable[..., Seen], x: Tensor, *more: Sequence[Sequence[int]]) -> Seen:
    """``look(rule, h, y, *more)`` at a training step's begin; the rule and torch's generator are left as they were found."""
    modes = [(part, part.training) for part in rule.modules()]
    compiled = rule.network.compiled
    shape = (len(x), *rule.label_shape)
    labels = (torch.arange(prod(shape), device=x.device) % rule.num_classes).view(shape)
    rule.train()
    try:
        with (
            torch.random.fork_rng(cuda_devices([x])),
            torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext(),
        ):
            h, y = rule.inputs(rule.network.prepare(x), labels)
            found: Seen = call_apart([rule], look, rule, h, y, *more)
    finally:
        for part, training in modes:
            part.training = training
    return found


def _all_blocks(rule: BlockwiseRule, h: Tensor, y: Tensor, segments: Sequence[Sequence[int]]) -> list[BlockBytes]:
    return [block for _, blocks in _walk(rule, h, y, segments, again=False) for block in blocks]


def _find_cuts(rule: BlockwiseRule, h: Tensor, y: Tensor, segments: Sequence[Sequence[int]]) -> list[int]:
    found = _walk(rule, h, y, segments, again=True)
    return [segment[start] for segment, blocks in found for start in best_cuts(blocks)]


def _walk(
    rule: BlockwiseRule, h: Tensor, y: Tensor, segments: Sequence[Sequence[int]], *, again: bool
) -> Iterator[tuple[Sequence[int], list[BlockBytes]]]:
    for segment in segments:
        blocks, h = _look_at(rule, segment, h.detach(), y, again=again)
        yield segment, blocks
        if segment[-1] + 1 < rule.network.depth:
            h = rule.feed(segment[-1], h)


def _look_at(
    rule: BlockwiseRule, segment: Sequence[int], h: Tensor, y: Tensor, *, again: bool
) -> tuple[list[BlockBytes], Tensor]:
    """What every block of a segment saves while the graph of all is held, and the last activity without a graph.

    ``again``: blocks are to be computed again from their inputs, so these must stay.
    """
    blocks, graph = [], []
    with SavedBytes([*rule.parameters(), *rule.buffers()]) as counter:
        for index in segment:
            given, version, before = h, h._version, counter.holders.copy()
            h, losses, _ = run_blocks(rule, [index], segment[-1], rule.block_loss, y, h)
            if again and given._version != version:
                raise InputError(
                    f"activation checkpointing computes blocks again from their inputs, and block{index} changes its input in place; "
                    "make its first operation another one (inplace=False) or leave recipe.checkpointing off"
                )
            storage = given.untyped_storage()
            blocks.append(BlockBytes(counter.held_since(before), (storage.data_ptr(), storage.nbytes())))
            graph += [h, *losses]
    return blocks, h.detach()
