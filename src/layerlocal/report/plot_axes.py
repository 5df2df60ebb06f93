"""What the plots of studies are made of: axes that place values, series with their looks, panels. No drawing here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple

from layerlocal.report.format import (
    accuracy,
    clean,
    clipped,
    difference,
    has_interval,
    is_number,
    mean_of,
    measured,
    plain,
)
from layerlocal.report.svg import BP, EXTRA, LOCAL, PRICE, SERIES

__all__ = ["Axis", "Look", "Point", "Series", "make_axis", "read_series"]

Interval = tuple[float, float, float]
"""Low, mean, high; all three the same where there is no interval."""


class Look(NamedTuple):
    """How a series is told apart: by colour, by mark and by dashes."""

    colour: str
    marker: str
    dashes: Any


_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (6, 2, 1.5, 2)), (0, (1, 1.4)), (0, (3, 1)), (0, (8, 3)), (0, (2, 3)))
_KNOWN = {
    **dict.fromkeys(("local", "gap", "local − bp"), Look(LOCAL, "o", _DASHES[0])),
    **dict.fromkeys(("bp-deepsup", "extra supervision", "deepsup − bp"), Look(EXTRA, "s", _DASHES[1])),
    **dict.fromkeys(("price of locality", "local − deepsup"), Look(PRICE, "D", _DASHES[2])),
    "bp": Look(BP, "^", _DASHES[3]),
}
"""Names that look alike all over the page."""
_MARKERS = "osD^vPX*<>"
_COLOURS = (LOCAL, EXTRA, PRICE, *SERIES[2:], BP)


@dataclass(frozen=True)
class Point:
    """One mark; any coordinate may be a word, a number, an estimate or missing."""

    x: Any
    y: Any
    z: Any = None
    label: str = ""


@dataclass(frozen=True)
class Series:
    """Points that belong together, in one panel."""

    name: str
    panel: str
    points: list[Point]
    look: Look


@dataclass(frozen=True)
class Axis:
    """Places values on a straight line: fractions of unit ``pp`` and ``%`` times 100, log2 of numbers, words by their position."""

    label: str
    unit: str = ""
    scale: str = "linear"
    categories: list[Any] = field(default_factory=list)

    @property
    def factor(self) -> float:
        """What a value is multiplied by to be drawn."""
        return 100.0 if self.unit.startswith("pp") or self.unit == "%" else 1.0

    @property
    def signed(self) -> bool:
        """Whether values are differences, so that zero has to be seen."""
        return self.unit.startswith("pp")

    def place(self, value: Any) -> Interval | None:
        """Where a value and its interval stand; ``None`` where it cannot be drawn."""
        if self.scale == "category":
            at = _key(value)
            return (float(self.categories.index(at)),) * 3 if at in self.categories else None
        mean = mean_of(value)
        if mean is None:
            return None
        if self.unit in ("%", "pp"):
            value = clipped(value, 0.0 if self.unit == "%" else -1.0)
        ends = (value["low"], value["high"]) if has_interval(value) else (mean, mean)
        if self.scale == "log2":
            if mean <= 0 or min(ends) <= 0:
                return (math.log2(mean),) * 3 if mean > 0 else None
            return math.log2(ends[0]), math.log2(mean), math.log2(ends[1])
        return self.factor * ends[0], self.factor * mean, self.factor * ends[1]

    def text(self, value: Any) -> str:
        """A value in the words of the tables, an estimate with its n."""
        if mean_of(value) is None or self.scale == "category":
            return clean(_key(value)) if value not in (None, "") and not isinstance(value, dict) else "–"
        if isinstance(value, dict) and self.unit == "pp":
            return difference(value)
        if isinstance(value, dict):
            text = accuracy(value) if self.unit == "%" else measured(value, self.unit)
            return f"{text}, n={value.get('n', '?')}"
        return measured(value, self.unit)

    def title(self) -> str:
        """The label with its unit."""
        label = clean(self.label)
        shown = label if not self.unit or label.endswith(self.unit) else f"{label}, {clean(self.unit)}".lstrip(", ")
        return f"{shown} (log scale)" if self.scale == "log2" and "log" not in shown else shown

    def tick(self, value: float) -> str:
        """A tick's label; ``value`` as drawn."""
        text = plain(2**value if self.scale == "log2" else value)
        return f"+{text}" if self.signed and value > 0 else text


def _key(value: Any) -> Any:
    """A category as it is told apart: words and whole numbers; an estimate is its mean."""
    value = value.get("mean") if isinstance(value, dict) else value
    return (
        int(value) if isinstance(value, float) and value.is_integer() else value if is_number(value) else clean(value)
    )


def make_axis(given: Any, values: Iterable[Any], *, category: bool = False) -> Axis:
    """An axis from a figure's description and everything that stands on it.

    Args:
        given: ``{"label", "unit", "scale"}``; any part may be missing.
        values: of all series.
        category: one position a value whatever the scale says, as a heat map needs.
    """
    given = given if isinstance(given, dict) else {}
    scale = "category" if category else str(given.get("scale") or "linear")
    values = [v for v in values if v is not None and not (isinstance(v, float) and not is_number(v))]
    if any(isinstance(value, str) for value in values):
        scale = "category"
    keys = list(dict.fromkeys(_key(value) for value in values)) if scale == "category" else []
    if all(is_number(key) for key in keys):
        keys.sort()
    return Axis(str(given.get("label") or ""), str(given.get("unit") or ""), scale, keys)


def read_series(figure: dict[str, Any]) -> list[Series]:
    """A figure's series, each name with one look in every panel."""
    given = [s for s in figure.get("series") or [] if isinstance(s, dict)]
    names = list(dict.fromkeys(clean(s.get("name") or "") for s in given))
    looks = dict(zip(names, _looks(names), strict=True))
    return [
        Series(
            clean(s.get("name") or ""),
            clean(s.get("panel") or ""),
            [_point(p) for p in s.get("points") or [] if isinstance(p, dict)],
            looks[clean(s.get("name") or "")],
        )
        for s in given
    ]


def _point(given: dict[str, Any]) -> Point:
    return Point(given.get("x"), given.get("y"), given.get("z"), clean(given.get("label") or ""))


def _looks(names: Sequence[str]) -> list[Look]:
    """Known names look as everywhere; the others take what is left, colour and mark never both the same."""
    known_looks = [_KNOWN.get(name.lower().partition(":")[0]) for name in names]
    taken = {look[:2] for look in known_looks if look}
    cycle = (Look(_COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)], _DASHES[i % len(_DASHES)]) for i in count())
    free = (look for look in cycle if look[:2] not in taken)
    return [look or next(free) for look in known_looks]
