"""One colour and one mark for every rule, twin and difference, the same in every figure; the ink and the paper of light and dark pages.

Colours are real ones, so that a figure's file reads in every program, and have a contrast of 3:1 or more to both papers. No two rules have
the same colour and the same mark; who cannot tell two colours apart has the marks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from itertools import count
from typing import Any, NamedTuple

__all__ = [
    "BP", "DARK_INK", "DARK_PAPER", "EXTRA", "FILLS", "INK", "LOCAL", "PAPER", "PRICE", "RULES", "WRONG", "Look", "base_of", "dark_style",
    "is_known", "look_of", "looks_of",
]  # fmt: skip

INK, PAPER = "#1b1e21", "#ffffff"
DARK_INK, DARK_PAPER = "#e9e8e4", "#0d1117"
LOCAL, EXTRA, PRICE, WRONG = "#2e7fc4", "#c4701a", "#a45fb5", "#de453b"
BP = "#777c83"
_GREEN, _TEAL, _OLIVE, _ROSE, _VIOLET = "#2b9457", "#1b8c99", "#8c8426", "#d94f92", "#7f68d8"


class Look(NamedTuple):
    """How a series is told apart: by colour, by mark, by dashes, and two of the same rule by how the mark is filled."""

    colour: str
    marker: str
    dashes: tuple[float, ...] = ()
    fill: str = "full"


_DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (6, 2, 1.5, 2), (1, 1.4), (3, 1), (8, 3), (2, 3))
FILLS = ("full", "none", "left", "top", "right", "bottom")
"""How a mark is filled: of the first series of a rule, its second, ..."""
RULES = {
    "bp": Look(BP, "^", _DASHES[3]),
    "bp-deepsup": Look(EXTRA, "s", _DASHES[1]),
    "committee": Look(WRONG, "o", _DASHES[0]),
    "class-goodness": Look(LOCAL, "D", _DASHES[0]),
    "dtg-ff": Look(_VIOLET, "o", _DASHES[0]),
    "dtg-ff-shared": Look(_VIOLET, "X", _DASHES[4]),
    "local-heads": Look(_TEAL, "P", _DASHES[4]),
    "deeperforward": Look(_GREEN, "v", _DASHES[2]),
    "hcl-ff": Look(_GREEN, "X", _DASHES[3]),
    "cwcomp": Look(_ROSE, "X", _DASHES[4]),
    "scff": Look(_OLIVE, "p", _DASHES[5]),
    "predsim": Look(_VIOLET, "<", _DASHES[6]),
    "mono-forward": Look(_GREEN, ">", _DASHES[1]),
    "ff": Look(LOCAL, "d", _DASHES[4]),
    "panel": Look(WRONG, "*", _DASHES[2]),
    "asge": Look(_ROSE, "h", _DASHES[5]),
    "sigprop": Look(_VIOLET, "p", _DASHES[2]),
    "symba": Look(_OLIVE, "d", _DASHES[1]),
    "segmented": Look(_TEAL, "v", _DASHES[6]),
    "lookahead": Look(_VIOLET, ">", _DASHES[0]),
    "bp-every": Look(_OLIVE, "^", _DASHES[6]),
    "feedback": Look(_ROSE, "<", _DASHES[1]),
    "blockwise-decoder": Look(_OLIVE, "s", _DASHES[2]),
    "diffusion-blocks": Look(_ROSE, "P", _DASHES[3]),
    "reconstruct": Look(_TEAL, "h", _DASHES[1]),
}
"""Every built-in rule and both twins → its look."""
_DIFFERENCES = {
    **dict.fromkeys(("local", "gap", "gap to bp", "local − bp"), Look(LOCAL, "o", _DASHES[0])),
    **dict.fromkeys(("extra supervision", "deepsup − bp"), Look(EXTRA, "s", _DASHES[1])),
    **dict.fromkeys(("price of locality", "local − deepsup"), Look(PRICE, "D", _DASHES[2])),
}
"""What is measured of a rule beside its twins; extra supervision looks like the twin that has it."""
_REPORTED = Look(INK, "*", (2, 3), "none")
"""What others published."""
_COLOURS = (LOCAL, EXTRA, PRICE, _GREEN, _ROSE, _TEAL, _OLIVE, BP)
_MARKERS = "osD^vPX*<>"
_TAKEN = {look[:2] for look in (*RULES.values(), *_DIFFERENCES.values())}
_SPARE = [
    (colour, marker)
    for marker in "h8Xp*Pd<>v^Do"
    for colour in (PRICE, _GREEN, LOCAL, _ROSE, _TEAL, WRONG, _VIOLET, _OLIVE)
    if (colour, marker) not in _TAKEN
]
"""Looks of rules that are not built in."""


def base_of(name: str) -> str:
    """The rule that a series is of: ``committee, fused`` and ``committee: gap`` are of ``committee``."""
    for end in (": ", ", "):
        name = name.partition(end)[0]
    return name.strip()


def look_of(rule: str) -> Look:
    """A rule's look, whatever else is in the figure; one of another name, or ``FILE.py:CLASS``, has one that no built-in has."""
    known = RULES.get(rule.lower())
    if known is not None:
        return known
    number = int.from_bytes(hashlib.sha256(rule.rpartition("/")[2].encode("utf-8", "replace")).digest()[:8], "big")
    return Look(*_SPARE[number % len(_SPARE)], _DASHES[number // len(_SPARE) % len(_DASHES)])


def looks_of(names: Sequence[str], rules: Collection[str] = ()) -> list[Look]:
    """The look of every series of a figure, no two alike.

    Args:
        names: of the series, none twice. Rules, twins and differences look as everywhere; two series of a rule differ in how their
            marks are filled; other names take what is left.
        rules: names that are rules although they are not built in.
    """
    known = [_known(name, rules) for name in names]
    taken = {look[:2] for look in known if look is not None}
    free = (look for look in _cycle() if look[:2] not in taken)
    found: list[Look] = []
    for look in known:
        found.append(_unlike(look or next(free), found))
    return found


def is_known(rule: str, rules: Iterable[str] = ()) -> bool:
    """Whether a name is that of a rule or twin: built in, or one of ``rules``."""
    return rule.lower() in RULES or rule in rules


def _known(name: str, rules: Iterable[str]) -> Look | None:
    base = base_of(name)
    if is_known(base, rules):
        return look_of(base)
    if name.lower().startswith(("the paper", "reported", "published")):
        return _REPORTED
    return look_of(name) if name in rules else _DIFFERENCES.get(name.lower().partition(":")[0])


def _cycle() -> Any:
    return (Look(_COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)], _DASHES[i % len(_DASHES)]) for i in count())


def _unlike(look: Look, others: Sequence[Look]) -> Look:
    """The look with its mark filled unlike those of the same colour and mark, and other dashes."""
    same = sum(other[:2] == look[:2] for other in others)
    if not same:
        return look
    return look._replace(
        fill=FILLS[same % len(FILLS)], dashes=_DASHES[(_DASHES.index(look.dashes) + same) % len(_DASHES)]
    )


def dark_style(ink: str = DARK_INK, paper: str = DARK_PAPER, within: str = "") -> str:
    """CSS that gives the ink and the paper of a figure other colours; every other colour reads on both papers.

    Args:
        ink: a colour, or ``var(--ink)``.
        paper: the same of the paper.
        within: selects the figures.
    """
    return " ".join(
        f'{within}[{part}="{light}"] {{ {part}: {dark}; }}'
        for light, dark in ((INK, ink), (PAPER, paper))
        for part in ("fill", "stroke")
    )
