"""Where the gradient boundaries of a segmented network are: after every so many blocks, where they are told, or where they save memory.

A boundary is worth memory where activities are large, that is, in the first blocks. Between late blocks it is worth none: what all of them save
together may be less than what the first block alone does. So the fewest boundaries that cost no memory against a boundary after every block are

    segments s with Σ_{i ∈ s} saved(i) ≤ max_j saved(j),    filled from the last block back,

a storage that two blocks of a segment save counted once.
"""

from __future__ import annotations

from collections.abc import Sequence

from layerlocal.networks import Network
from layerlocal.rules.core.checkpointing import BlockBytes, look_at_blocks
from layerlocal.rules.core.walk import BlockwiseRule
from layerlocal.types import InputError

__all__ = ["choose_segments", "cut_segments", "ends_of", "free_segments", "parse_segments"]

FREE = "free"


def choose_segments(rule: BlockwiseRule, segment_size: int, segments: str | None) -> list[range]:
    """Runs of block indices of the rule's network: ``segments`` (sizes in words, or ``"free"``), or else ``segment_size`` blocks each.

    Raises:
        InputError: sizes that do not make up the network.
    """
    if segments is None:
        return cut_segments(rule.network.depth, segment_size)
    if segments != FREE:
        return parse_segments(segments, rule.network.depth)
    x = rule.network.random_inputs(2)
    blocks = range(rule.network.depth)
    apart, together = (look_at_blocks(rule, x, cuts) for cuts in ([[index] for index in blocks], [blocks]))
    return free_segments(together, most=max(sum(block.saved.values()) for block in apart))


def cut_segments(depth: int, segment_size: int) -> list[range]:
    """Runs of ``segment_size`` blocks; the last may be shorter.

    Raises:
        InputError: ``segment_size`` below 1.
    """
    if segment_size < 1:
        raise InputError(f"segment_size must be at least 1, got {segment_size}")
    return [range(start, min(start + segment_size, depth)) for start in range(0, depth, segment_size)]


def parse_segments(text: str, depth: int) -> list[range]:
    """``"1-1-4"`` → blocks 0, 1 and 2 to 5 of a network of 6.

    Raises:
        InputError: not whole numbers from 1, or not as many blocks as there are.
    """
    words = text.split("-")
    if not all(word.isdecimal() and int(word) for word in words):
        raise InputError(
            f"segments must be 'free' or the blocks of each segment, such as '1-1-{max(1, depth - 2)}', got {text!r}"
        )
    sizes = [int(word) for word in words]
    if sum(sizes) != depth:
        raise InputError(f"segments {text!r} make up {sum(sizes)} blocks, and the network has {depth}")
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    return [range(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def ends_of(network: Network, segments: Sequence[Sequence[int]]) -> list[int]:
    """The last block of each segment, where a readout belongs: not in a segment of frozen blocks, unless it is the last."""
    return [segment[-1] for segment in segments if segment is segments[-1] or not network.frozen.issuperset(segment)]


def free_segments(blocks: Sequence[BlockBytes], most: int) -> list[range]:
    """The fewest segments of several blocks that save no more than ``most`` bytes each, with the longest at the end of the network."""
    found: list[range] = []
    end = len(blocks)
    held: dict[int, int] = {}
    for start in reversed(range(len(blocks))):
        joined = held | blocks[start].saved
        if sum(joined.values()) > most:
            found.append(range(start + 1, end))
            end, joined = start + 1, blocks[start].saved
        held = joined
    return [range(end), *reversed(found)]
