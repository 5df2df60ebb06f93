"""What each block does while a network is trained further: it is frozen, learns by its own loss, or jointly with its neighbours.

These are three things that there are already: `Network.freeze`, a local rule, and its segments (`segmented`). Adjacent joint blocks are one
segment; a run of frozen blocks is a segment without a loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from layerlocal.rules.core.registry import rule_class
from layerlocal.rules.core.rule import Rule
from layerlocal.rules.core.walk import BlockwiseRule
from layerlocal.rules.twins import Segmented, Twin
from layerlocal.types import InputError, shown

__all__ = ["Roles"]

FROZEN, LOCAL, JOINT = WORDS = ("frozen", "local", "joint")


@dataclass(frozen=True)
class Roles:
    """The role of every block, in order: ``"frozen"``, ``"local"`` or ``"joint"``."""

    words: tuple[str, ...]

    @classmethod
    def parse(cls, given: Any) -> Roles:
        """``"5 frozen, 2 local, 2 joint"``, or a list of such words: a number says of how many blocks in a row.

        Raises:
            InputError: another word, or no number of blocks before it.
        """
        parts = given.split(",") if isinstance(given, str) else given
        if not isinstance(parts, Sequence) or not parts or not all(isinstance(part, str) for part in parts):
            raise _no_roles(given)
        words: list[str] = []
        for part in parts:
            *count, word = part.split() or [""]
            if (
                word not in WORDS
                or len(count) > 1
                or not all(text.isdecimal() and 0 < int(text) <= 1000 for text in count)
            ):
                raise _no_roles(given)
            words += [word] * (int(count[0]) if count else 1)
        return cls(tuple(words))

    @property
    def frozen(self) -> tuple[int, ...]:
        """Indices of the blocks that keep their weights."""
        return tuple(index for index, word in enumerate(self.words) if word == FROZEN)

    @property
    def segments(self) -> str:
        """Blocks of each segment, as `segmented` takes them."""
        sizes: list[int] = []
        for word, run in groupby(self.words):
            count = len(list(run))
            sizes += [1] * count if word == LOCAL else [count]
        return "-".join(map(str, sizes))

    def refuse_other_depth(self, depth: int) -> None:
        """See that there is a role for every block.

        Raises:
            InputError: more or fewer.
        """
        if len(self.words) != depth:
            raise InputError(
                f"blocks says what {len(self.words)} blocks do, and the network has {depth}; give a role for each"
            )

    def rule(self, rule: str | type[Rule], options: dict[str, Any]) -> tuple[str | type[Rule], dict[str, Any]]:
        """The rule that trains so, and its options: the rule itself, or `segmented` of it.

        Args:
            rule: by name, ``FILE.py:CLASS`` or class.
            options: of it.

        Raises:
            InputError: blocks that this rule cannot train so.
        """
        found, learn = rule_class(rule), {*self.words} - {FROZEN}
        if issubclass(found, Twin):
            if learn - {JOINT} or found.info.locality != "global":
                raise InputError(
                    f"blocks says itself where the segments of {found.info.name!r} are; name the local rule that the blocks share"
                    + (", or let them be frozen or joint" if found.info.locality == "global" else "")
                )
            return rule, options
        plain = not learn or (learn == {LOCAL} and not self.frozen)
        if plain or (JOINT not in learn and not issubclass(found, BlockwiseRule)):
            return rule, options
        return Segmented.info.name, {"of": rule, "segments": self.segments, **options}


def _no_roles(given: Any) -> InputError:
    return InputError(
        f"blocks must say of every block whether it is frozen, local or joint, such as '2 frozen, local, 3 joint', got {shown(given)}"
    )
