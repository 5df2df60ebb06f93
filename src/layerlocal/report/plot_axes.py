"""What the plots of studies are made of: axes that place values, series with their looks, panels. No drawing here."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from layerlocal.report.palette import Look, looks_of
from layerlocal.words import (
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

__all__ = ["Axis", "Point", "Series", "make_axis", "read_reference", "read_series"]

Interval = tuple[float, float, float]
"""Low, mean, high; all three the same where there is no interval."""


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


_MORE = ("accuracy", "samples/s", "speed", "recovery")
_LESS = ("bytes", "saved", "memory", "seconds", "time a ", "time per")
_NEITHER = ("predicted", "measured", "reported")


@dataclass(frozen=True)
class Axis:
    """Places values on a straight line: fractions of unit ``pp`` and ``%`` times 100, log2 of numbers, words by their position."""

    label: str
    unit: str = ""
    scale: str = "linear"
    categories: list[Any] = field(default_factory=list)
    direction: str | None = None

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

    @property
    def better(self) -> str:
        """``more`` or ``less`` where that is better: what the figure says, or what the label is known to mean; else empty."""
        if self.direction is not None:
            return self.direction
        label = self.label.lower()
        if label.startswith(_NEITHER):
            return ""
        if self.unit == "pp" or any(word in label for word in _MORE):
            return "more"
        return "less" if any(word in label for word in _LESS) else ""

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
        given: ``{"label", "unit", "scale", "better": "more", "less" or ""}``; any part may be missing.
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
    better = given.get("better")
    direction = None if better is None else str(better)
    return Axis(str(given.get("label") or ""), str(given.get("unit") or ""), scale, keys, direction)


def read_series(figure: dict[str, Any]) -> list[Series]:
    """A figure's series, each name with one look in every panel."""
    given = [s for s in figure.get("series") or [] if isinstance(s, dict)]
    names = list(dict.fromkeys(clean(s.get("name") or "") for s in given))
    looks = dict(zip(names, looks_of(names, _rules(figure)), strict=True))
    return [
        Series(
            clean(s.get("name") or ""),
            clean(s.get("panel") or ""),
            [_point(p) for p in s.get("points") or [] if isinstance(p, dict)],
            looks[clean(s.get("name") or "")],
        )
        for s in given
    ]


def _rules(figure: dict[str, Any]) -> set[str]:
    """The names that a figure says are rules."""
    return {clean(rule) for rule in figure.get("rules") or []}


def read_reference(figure: dict[str, Any]) -> Point | None:
    """The point that a figure's others are compared with, if it has one."""
    given = figure.get("reference")
    return _point(given) if isinstance(given, dict) else None


def _point(given: dict[str, Any]) -> Point:
    return Point(given.get("x"), given.get("y"), given.get("z"), clean(given.get("label") or ""))
