"""What a figure stands on: scales that place values, their limits and ticks, and the panels with the look of every series. No drawing here."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from layerlocal.report.palette import Look, looks_of
from layerlocal.summary import Axis, Figure, Point, Series
from layerlocal.words import (
    NOTHING,
    byte_count,
    cell,
    centred,
    clean,
    clipped,
    has_interval,
    is_number,
    mean_of,
    measured,
    plain,
)

__all__ = ["Frame", "Interval", "Scale", "Ticks", "frame_of", "is_row", "ticks_of"]

Interval = tuple[float, float, float]
"""Low, mean, high, as drawn; all three the same where there is no interval."""
_MORE = ("accuracy", "samples/s", "speed", "recovery")
_LESS = ("bytes", "saved", "memory", "seconds", "time a ", "time per")
_NEITHER = ("predicted", "measured", "reported", "training bytes")
_CELLS = {"pp": "points", "%": "percent", "×": "ratio", "bytes": "bytes"}
"""Unit → how a table writes it."""
_BYTES = (("GiB", 2.0**30), ("MiB", 2.0**20), ("KiB", 2.0**10))
_MOST_TICKS = 12
_REACH = 3.0
"""So many times the half width of a usual interval an axis reaches beyond the means."""


class Ticks(NamedTuple):
    """Where ticks stand, as drawn, and what they say."""

    at: list[float]
    labels: list[str]


@dataclass(frozen=True)
class Scale:
    """Places values on a straight line: fractions of ``pp`` and ``%`` times 100, log2 of numbers, words by their position.

    Args:
        axis: as the figure gives it.
        words: the categories, in order; empty where values are numbers.
        numbered: whether they are numbers or numbered, so that a line may join them.
        apart: how many of the last words stand apart from those (``0, 1, 2, fused``).
        stem: what the numbered ones had in common (``block``).
        low, high: limits, as drawn.
        largest: of the values: decides between MiB and GiB.
    """

    axis: Axis
    words: tuple[Any, ...] = ()
    numbered: bool = False
    apart: int = 0
    stem: str = ""
    low: float = 0.0
    high: float = 1.0
    largest: float = 0.0

    @property
    def by_words(self) -> bool:
        """Whether it has a place for each word, not for numbers."""
        return self.axis.scale == "category"

    def stands_apart(self, place: float) -> bool:
        """Whether what is drawn there is one of the words apart."""
        return self.by_words and place >= len(self.words) - self.apart

    @property
    def signed(self) -> bool:
        """Whether values are differences, so that zero has to be seen."""
        return self.axis.unit.startswith("pp")

    @property
    def from_zero(self) -> bool:
        """Whether lengths compare as ratios or sizes do, so that the axis begins at zero."""
        return self.axis.unit in ("×", "bytes") and self.axis.scale == "linear"

    @property
    def factor(self) -> float:
        """What a value is multiplied by to be drawn."""
        if self.signed or self.axis.unit == "%":
            return 100.0
        return 1 / self._bytes[1] if self.axis.unit == "bytes" and self.axis.scale == "linear" else 1.0

    @property
    def _bytes(self) -> tuple[str, float]:
        return next((unit for unit in _BYTES if self.largest >= 2 * unit[1]), ("B", 1.0))

    def place(self, value: Any) -> Interval | None:
        """Where a value and its interval stand; ``None`` where it cannot be drawn."""
        if self.by_words:
            at = _key(value)
            return (float(self.words.index(at)),) * 3 if at in self.words else None
        mean, value = mean_of(value), centred(value)
        if mean is None:
            return None
        if self.axis.unit in ("%", "pp"):
            value = clipped(value, 0.0 if self.axis.unit == "%" else -1.0)
        ends = (value["low"], value["high"]) if has_interval(value) else (mean, mean)
        if self.axis.scale == "log2":
            if min(mean, *ends) <= 0:
                return (math.log2(mean),) * 3 if mean > 0 else None
            return math.log2(ends[0]), math.log2(mean), math.log2(ends[1])
        return self.factor * ends[0], self.factor * mean, self.factor * ends[1]

    def text(self, value: Any) -> str:
        """A value in the words of the tables, an interval with its n."""
        nothing = value in (None, "") or (isinstance(value, dict) and mean_of(value) is None)
        if nothing or self.by_words or mean_of(value) is None:
            return NOTHING if nothing else clean(_key(value))
        if self.axis.unit in _CELLS:
            return cell(value, _CELLS[self.axis.unit])
        text = measured(centred(value), self.axis.unit)
        return f"{text}, n={value.get('n', '?')}" if isinstance(value, dict) else text

    def title(self) -> str:
        """The label with its unit."""
        label, unit = clean(self.axis.label) or self.stem, clean(self.axis.unit)
        if unit == "bytes":
            unit = self._bytes[0] if self.axis.scale == "linear" else ""
        shown = label if not unit or unit == "×" or label.endswith(unit) else f"{label}, {unit}".lstrip(", ")
        return f"{shown} (log scale)" if self.axis.scale == "log2" and "log" not in shown else shown

    @property
    def better(self) -> str:
        """``more`` or ``less`` where that is better: what the figure says, or what the label is known to mean; else empty."""
        if self.axis.better is not None:
            return self.axis.better
        label = self.axis.label.lower()
        if label.startswith(_NEITHER):
            return ""
        if self.axis.unit == "pp" or any(word in label for word in _MORE):
            return "more"
        return "less" if any(word in label for word in _LESS) else ""

    def tick(self, value: float) -> str:
        """A tick's label; ``value`` as drawn."""
        if self.axis.scale == "log2":
            return byte_count(2**value).replace(".0 ", " ") if self.axis.unit == "bytes" else plain(2**value)
        return f"+{plain(value)}" if self.signed and value > 0 else plain(value)

    def label(self, index: int, *, bare: bool = False) -> str:
        """A category's label: its number alone where the axis says what is numbered, or with ``bare``."""
        word = str(self.words[index])
        return word.removeprefix(self.stem) if bare or clean(self.axis.label) in ("", self.stem) else word

    def fitted(self, values: Sequence[float], *, zero: bool = False, room: float = 0.0) -> Scale:
        """With limits that hold all values.

        Args:
            values: as drawn.
            zero: whether 0 has to be seen.
            room: share of the length that is kept free at the ends for what is written there.
        """
        if self.by_words:
            return replace(self, low=-0.5, high=len(self.words) - 0.5)
        if not values:
            return self
        low, high = min(values), max(values)
        if self.signed or zero or self.from_zero:
            low, high = min(low, 0.0), max(high, 0.0)
        pad = (0.07 + room) * (high - low) or max(0.05 * abs(high), 0.5 if self.factor == 100 else 0.05)
        least = 0.0 if (zero or self.from_zero) and low >= 0 and not self.signed else low - pad
        return replace(self, low=least, high=high if high == 0 and zero else high + pad)


def _key(value: Any) -> Any:
    """A category as it is told apart: words and whole numbers; an interval is its middle."""
    value = mean_of(value) if isinstance(value, dict) else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if is_number(value) else clean(value)


def _scale_of(axis: Axis, values: Iterable[Any], *, words: bool = False) -> Scale:
    """A scale for everything that stands on an axis; ``words``: one position a value whatever the axis says."""
    values = [v for v in values if v is not None and not (isinstance(v, float) and not is_number(v))]
    if words or any(isinstance(value, str) for value in values):
        axis = axis.model_copy(update={"scale": "category"})
    if axis.scale != "category":
        return Scale(axis, largest=max((mean for v in values if (mean := mean_of(v)) is not None), default=0.0))
    keys = list(dict.fromkeys(_key(value) for value in values))
    if all(is_number(key) for key in keys):
        return Scale(axis, tuple(sorted(keys)), numbered=True)
    return _numbered(axis, keys)


def _numbered(axis: Axis, keys: list[Any]) -> Scale:
    """Words in their order; blocks by number (``block0, block1, ...``) and what stands beside them (``fused``) apart, behind them."""
    found = [(re.fullmatch(r"(.*?)(\d+)", str(key)), key) for key in keys]
    numbered, others = [(m, key) for m, key in found if m], [key for m, key in found if not m]
    stems = {m[1] for m, _ in numbered}
    numbered.sort(key=lambda pair: int(pair[0][2]))
    numbers = [int(m[2]) for m, _ in numbered]
    if len(others) > 1 or len(stems) != 1 or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return Scale(axis, tuple(keys))
    return Scale(axis, (*(key for _, key in numbered), *others), numbered=True, apart=len(others), stem=stems.pop())


def ticks_of(scale: Scale, measured_at: Iterable[float], room: float) -> Ticks:
    """Words or measured values that do not touch; round numbers where too many, or none, were measured.

    Args:
        scale: with its limits.
        measured_at: values that should have a tick, as drawn.
        room: length of the axis in letters.
    """
    if scale.by_words:
        every = math.ceil(len(scale.words) / max(1.0, room / 2))
        at = range(0, len(scale.words), every)
        return Ticks([float(i) for i in at], [scale.label(i) for i in at])
    values = sorted(set(measured_at))
    if not values or len(values) > _MOST_TICKS:
        values = _round_numbers(scale.low, scale.high, whole=scale.axis.scale == "log2" and scale.high - scale.low >= 2)
    span, last, kept = scale.high - scale.low, -math.inf, Ticks([], [])
    for value in values:
        label = scale.tick(value)
        if value - last >= span * (len(label) + 1) / room:
            kept.at.append(value)
            kept.labels.append(label)
            last = value
    return kept


def _round_numbers(low: float, high: float, *, whole: bool, most: int = 6) -> list[float]:
    """At most ``most`` + 1 multiples of 1, 2, 2.5 or 5 times a power of ten between two limits."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * (1 - 1e-9))
    step = max(1.0, math.ceil(step)) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def is_row(figure: Figure, y: Scale) -> bool:
    """Whether words stand at the left, each with a row: bars, and points beside words."""
    return figure.kind == "bars" or (figure.kind == "points" and y.by_words)


@dataclass(frozen=True)
class Frame:
    """The axes that all panels of one figure share, and the panels.

    Args:
        figure: as it was given.
        x, y, z: its scales, with their limits.
        looks: name of a series → its look.
        panels: title → series of which something can be drawn.
    """

    figure: Figure
    x: Scale
    y: Scale
    z: Scale
    looks: dict[str, Look]
    panels: list[tuple[str, list[Series]]]

    @property
    def cells(self) -> bool:
        """Whether it is a heat map or a matrix."""
        return self.figure.kind in ("heat", "matrix")

    @property
    def alike(self) -> bool:
        """Whether both axes of scattered points measure the same, so that the diagonal means something."""
        return self.figure.kind == "points" and self.x.axis.unit == self.y.axis.unit and self.x.axis.unit in ("%", "pp")

    def placed(self, point: Point) -> tuple[Interval, Interval] | None:
        """Where a point stands, or ``None`` where it cannot be drawn."""
        x, y = self.x.place(point.x), self.y.place(point.y)
        if x is None or y is None or (self.figure.kind == "heat" and mean_of(point.z) is None):
            return None
        return x, y

    def of_panel(self, panel: Sequence[Series]) -> Frame:
        """With limits of its own, where the figure is zoomed."""
        if not self.figure.zoomed:
            return self
        x, y, z = _fitted(self, panel)
        return replace(self, x=x, y=y, z=z)

    @property
    def is_cut(self) -> bool:
        """Whether an interval goes on beyond an axis."""
        for title_and_panel in self.panels:
            frame = self.of_panel(title_and_panel[1])
            for point in (p for s in title_and_panel[1] for p in s.points):
                place = frame.placed(point)
                if place and any(
                    low < scale.low or high > scale.high
                    for (low, _, high), scale in zip(place, (frame.x, frame.y), strict=True)
                ):
                    return True
        return False

    def look(self, series: Series) -> Look:
        """The look of a series."""
        return self.looks[clean(series.name)]

    def say(self, point: Point) -> str:
        """A point in words."""
        x, y, named = self.x.text(point.x), self.y.text(point.y), f"{clean(point.label)}, " if point.label else ""
        if self.figure.kind == "matrix":
            return clean(point.label) or f"{y} × {x}: {clean(point.z)}"
        if self.figure.kind == "heat":
            return f"{named}{x} × {y}: {self.z.text(point.z)}"
        return f"{named}{y}: {x}" if is_row(self.figure, self.y) else f"{named}{x}: {y}"


def frame_of(figure: Figure, rules: Collection[str] = ()) -> Frame:
    """Scales that hold every point of every panel, and the looks of the series.

    Args:
        figure: any.
        rules: names that are rules although neither the figure says so nor they are built in.
    """
    points = [p for s in figure.series for p in s.points]
    cells = figure.kind in ("heat", "matrix")
    scales = (
        _scale_of(figure.x, [p.x for p in points], words=cells),
        _scale_of(figure.y, [p.y for p in points], words=cells or figure.kind == "bars"),
        _scale_of(figure.z or Axis(), [p.z for p in points if figure.kind == "heat"]),
    )
    names = list(dict.fromkeys(clean(s.name) for s in figure.series))
    looks = dict(zip(names, looks_of(names, {clean(rule) for rule in (*rules, *figure.rules)}), strict=True))
    loose = Frame(figure, *scales, looks, [])
    drawn = [s for s in figure.series if any(loose.placed(p) for p in s.points)]
    panels: dict[tuple[str, int], list[Series]] = {}
    for number, series in enumerate(drawn):  # of a heat map each has a drawing of its own
        panels.setdefault((clean(series.panel or ""), number * (figure.kind == "heat")), []).append(series)
    return Frame(figure, *_fitted(loose, drawn), looks, [(title, panel) for (title, _), panel in panels.items()])


def _fitted(frame: Frame, drawn: Sequence[Series]) -> tuple[Scale, Scale, Scale]:
    """Scales with limits: room for the numbers at the ends of rows; bars from zero; guides and the reference where they can be seen."""
    figure = frame.figure
    places = [place for s in drawn for p in s.points if (place := frame.placed(p))]
    if figure.reference is not None and (place := frame.placed(figure.reference)):
        places.append(place)
    xs, ys = _held([x for x, _ in places]), _held([y for _, y in places])
    if figure.stacked:
        xs = _sums(frame, drawn)
    xs += _near(frame.x, [g.at for g in figure.guides if g.axis == "x"], xs)
    ys += _near(frame.y, [g.at for g in figure.guides if g.axis == "y"], ys)
    rows = is_row(figure, frame.y)
    cells = [frame.z.factor * mean for s in drawn for p in s.points if (mean := mean_of(p.z)) is not None]
    z = replace(frame.z, low=min(cells, default=0.0), high=max(cells, default=0.0))
    return frame.x.fitted(xs, zero=figure.kind == "bars", room=0.1 * rows + 0.1 * figure.stacked), frame.y.fitted(ys), z


def _held(places: Sequence[Interval]) -> list[float]:
    """Every mean, and the ends of intervals, but none so far off that one wide interval would press all else together: it is cut there."""
    means, halves = [mean for _, mean, _ in places], sorted(max(high - mean, mean - low) for low, mean, high in places)
    if not means or not halves[-1]:
        return means
    reach = max(max(means) - min(means), _REACH * halves[(len(halves) - 1) // 2])
    least, most = min(means) - reach, max(means) + reach
    return [min(most, max(least, value)) for place in places for value in place]


def _sums(frame: Frame, drawn: Sequence[Series]) -> list[float]:
    """Where stacked bars begin and end."""
    ends: dict[tuple[Any, Any], list[float]] = {}
    for s in drawn:
        for p in s.points:
            if place := frame.placed(p):
                row = ends.setdefault((s.panel, _key(p.y)), [0.0])
                row.append(row[-1] + place[0][1])
    return [end for row in ends.values() for end in row]


def _near(scale: Scale, given: Iterable[float], values: Sequence[float]) -> list[float]:
    """Guides at values that do not lie so far off that all else would be pressed together."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    reach = 0.6 * ((high - low) or 1.0)
    at = [place[1] for value in given if (place := scale.place(value))]
    return [value for value in at if not values or scale.from_zero or low - reach <= value <= high + reach]
