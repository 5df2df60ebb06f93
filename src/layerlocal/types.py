"""The words shared by every room: losses, locality, seeds, and the one error a user may cause. Imports nothing of ours.

Shape letters used throughout: B batch, C channels, H W height and width, K classes, L blocks (readouts), D features.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import reprlib
import traceback
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "PARTNER",
    "BlockLoss",
    "InputError",
    "Locality",
    "LostProcessError",
    "UnreachableError",
    "derive_seed",
    "describe_error",
    "first_line",
    "is_fault",
    "shown",
    "trained_blocks",
    "unknown_name",
]

Locality = Literal["global", "segment", "block"]
"""How far one loss may reach: the whole network, a run of blocks between two gradient boundaries, or one block."""
PARTNER = "local-heads"
"""The rule that twins are made of where no other is named, or where a rule has no readout of its own at every block."""


class BlockLoss(NamedTuple):
    """One loss and whose parameters it may change.

    Args:
        block: the blocks this loss trains, by name: ``"block0"``, ``"block2-3"`` (a segment) or ``"all"``.
        value: scalar with a graph; the loop calls ``value.backward()`` before asking for the next loss.
        metrics: detached scalars worth logging, e.g. ``goodness_pos``.
    """

    block: str
    value: Tensor
    metrics: dict[str, Tensor]


class InputError(ValueError):
    """Something the user gave us is wrong. The message is one sentence: what, where, how to mend it (exit code 2)."""


class UnreachableError(InputError):
    """Data that may well be fine but cannot be fetched from here."""


class LostProcessError(InputError):
    """Another process of a distributed run died, stopped or could not be reached."""


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200
_SHORT.maxlevel = 3


def shown(value: object) -> str:
    """The ``repr`` of a value, cut where it would be too long for a sentence."""
    try:
        return _SHORT.repr(value)
    except Exception as error:  # a whole number of thousands of digits, a class of the user's own
        return f"{type(value).__name__} that cannot be shown ({type(error).__name__})"


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """The error for a name that is not known: lists the known ones, of ``group.name`` those of its group, and the nearest, if one is near."""
    name = str(name)
    group = name.partition(".")[0] + "."
    names = sorted(known)
    if "." in name:
        names = [other for other in names if other.startswith(group)] or names
    short = {other.removeprefix(group): other for other in names}
    near = difflib.get_close_matches(name.removeprefix(group), short, n=1)
    hint = f" Did you mean {short[near[0]]!r}?" if near else ""
    return InputError(f"unknown {kind} {shown(name)}; known: {', '.join(names) or 'none'}.{hint}")


def trained_blocks(name: str, blocks: list[str]) -> set[str]:
    """The blocks a loss named ``name`` may change: ``"block1"``, ``"block2-3"`` or ``"all"``.

    Raises:
        InputError: a name of another form, or of a block the network does not have.
    """
    if name == "all":
        return set(blocks)
    match = re.fullmatch(r"block([0-9]+)(?:-([0-9]+))?", name)
    first, last = (match[1], match[2] or match[1]) if match else ("1", "0")
    if int(last) < int(first):
        raise InputError(f"a loss names its blocks as 'block1', 'block2-3' or 'all', got {name!r}")
    wanted = [f"block{index}" for index in range(int(first), int(last) + 1)]
    missing = [block for block in wanted if block not in blocks]
    if missing:
        raise InputError(f"loss {name!r} names {missing[0]}, but the network has {blocks[0]} to {blocks[-1]}")
    return set(wanted)


def derive_seed(seed: int, *labels: str | int) -> int:
    """A 63-bit seed for one purpose, a pure function of ``seed`` and the labels, so that no draw depends on another's order."""
    text = "/".join([str(seed), *map(str, labels)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def describe_error(error: BaseException) -> str:
    """Any exception as part of a sentence: an `InputError`'s own words, otherwise the type, the place in the user's code and the first line."""
    if isinstance(error, InputError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename] or list(frames)
    where = f" at {own[-1].filename.rpartition('/')[2]}:{own[-1].lineno}" if own else ""
    return f"raised {type(error).__name__}{where}: {first_line(error)}"


def is_fault(error: BaseException) -> bool:
    """Whether an exception out of a rule's code is that rule's mistake: all are, `sys.exit` too, but Ctrl-C and a generator's closing."""
    return not isinstance(error, KeyboardInterrupt | GeneratorExit)


MOST_LETTERS = 400


def first_line(error: BaseException) -> str:
    """The first line of an exception's message; of torch's longest one and of `sys.exit`, what it means here."""
    if isinstance(error, SystemExit):
        return f"it would end the program with exit code {error.code or 0}"
    try:
        text = str(error)
    except Exception as second:  # an exception of the user's own, whose __str__ fails
        return f"no message: its __str__ raised {type(second).__name__}"
    found = next((line for line in text.splitlines() if line.strip()), "no message")
    if "backward through the graph a second time" in found:
        return "a loss runs back into the graph of an earlier one: a gradient boundary (detach) is missing between their blocks"
    return found if len(found) <= MOST_LETTERS else f"{found[:MOST_LETTERS]}…"
