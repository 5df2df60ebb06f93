"""Rules that deal a block's channels to the classes (`RuleInfo.channel_groups`) need widths that K divides: which, and what to say."""

from __future__ import annotations

import torch

from layerlocal.networks import Network
from layerlocal.types import InputError

__all__ = ["fitting_width", "refuse_uneven_channels", "uneven_channels"]

WIDTH_STEPS = 128
WIDEST = 4
MOST_WIDTHS = 64
"""Widths that are tried for a proposal: multiples of 1/128 up to 4 that may fit, nearest first, at most as many."""


def uneven_channels(network: Network, num_classes: int) -> tuple[str, int] | None:
    """The first block whose channels (units, in an mlp) K does not divide, and how many it has; ``None`` where all are even."""
    counts = zip(network.block_names, [shape[0] for shape in network.read_shapes], strict=True)
    return next(((name, count) for name, count in counts if count % num_classes), None)


def refuse_uneven_channels(network: Network, num_classes: int) -> None:
    """Channels can be dealt to K classes only where K divides their number, in every block.

    Raises:
        InputError: the first block where it does not, with the nearest width that works.
    """
    if (found := uneven_channels(network, num_classes)) is None:
        return
    name, count = found
    word = "channels" if len(network.read_shapes[network.block_names.index(name)]) > 1 else "units"
    raise InputError(
        f"{name} has {count} {word}, which cannot be dealt evenly to {num_classes} classes; "
        f"{_way_out(network, num_classes, count)}, or take a rule whose readout works with any number of {word} "
        "('asge', 'local-heads')"
    )


def fitting_width(network: Network, num_classes: int) -> float | None:
    """The width nearest to the network's at which K divides the channels of every block; ``None``: not found, or a network of one's own."""
    first = network.read_shapes[0][0]

    def may_fit(width: float) -> bool:
        scale = width / network.width  # the first block's channels were rounded once and will be again
        return (scale * (first + 0.5) + 0.5) // num_classes > (scale * (first - 0.5) - 0.5) // num_classes

    widths = [step / WIDTH_STEPS for step in range(1, WIDEST * WIDTH_STEPS + 1)] if network.resized else []
    for width in sorted(filter(may_fit, widths), key=lambda width: abs(width - network.width))[:MOST_WIDTHS]:
        if all(each % num_classes == 0 for each in _channels(network, width)):
            return width
    return None


def _channels(network: Network, width: float) -> list[int]:
    """Of every block, were the network of this width."""
    with torch.device("meta"):
        return [shape[0] for shape in network.resized(width=width).read_shapes]  # type: ignore[misc]


def _way_out(network: Network, num_classes: int, count: int) -> str:
    """Part of a sentence: the width to set; without one, the nearest number for the block that has ``count``."""
    width = fitting_width(network, num_classes)
    if width is not None:
        return (
            f"set the network's width to {width:.9g} ({', '.join(map(str, dict.fromkeys(_channels(network, width))))})"
        )
    nearest = max(1, round(count / num_classes)) * num_classes
    return f"give it {nearest} or another multiple of {num_classes}"
