"""One panel's field: where values lie on the sheet, the grid, ticks, titles and the key around it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from layerlocal.report.axes import Frame, Interval, Scale, Ticks
from layerlocal.report.canvas import LETTER, Canvas, Dashes, Head, Place
from layerlocal.report.markers import put
from layerlocal.report.palette import BP, INK, Look
from layerlocal.summary import Series
from layerlocal.words import clean, shorten

__all__ = ["DASHED", "GUIDES", "REFERENCE", "Field", "Foot", "Key", "ends", "foot_of", "standing", "start"]

GUIDES: tuple[tuple[float, ...], ...] = ((1, 1.4), (5, 2), (4, 1.5, 1, 1.5))
"""Dashes of a figure's guides, in their order."""
DASHED: Dashes = (4, 2)
REFERENCE = Look(BP, "^", (), "none")
_ROW, _SAMPLE, _GAP = 15.4, 26.0, 14.0
_ARROW = 4.5


@dataclass(frozen=True)
class Field:
    """The rectangle in which values lie.

    Args:
        canvas: drawn on.
        x, y: scales with their limits.
        left, top, right, bottom: edges, in user units.
        down: whether y grows downwards, as rows do.
    """

    canvas: Canvas
    x: Scale
    y: Scale
    left: float
    top: float
    right: float
    bottom: float
    down: bool = False

    def across(self, value: float) -> float:
        """Where a value of x lies, as drawn by its scale."""
        return self.left + (self.right - self.left) * (value - self.x.low) / ((self.x.high - self.x.low) or 1.0)

    def up(self, value: float) -> float:
        """Where a value of y lies."""
        share = (value - self.y.low) / ((self.y.high - self.y.low) or 1.0)
        return self.top + (self.bottom - self.top) * (share if self.down else 1 - share)

    def lying(self, both: Interval | tuple[float, float], y: float, *, cap: float, **look: Any) -> tuple[float, float]:
        """An interval of x at a height, with caps, or with arrows where it is cut at the edge; gives where it begins and ends."""
        low, high = (self.across(min(self.x.high, max(self.x.low, v))) for v in (both[0], both[-1]))
        self.canvas.lines([[(low, y), (high, y)]], **look)
        for x, cut, way in ((low, both[0] < self.x.low, 1), (high, both[-1] > self.x.high, -1)):
            arm = _ARROW * way if cut else 0.0
            end = [(x + arm, y - max(cap, 3.0 * cut)), (x, y), (x + arm, y + max(cap, 3.0 * cut))]
            if cap or cut:
                self.canvas.lines([end], **look)
        return low, high

    def upstanding(
        self, both: Interval | tuple[float, float], x: float, *, cap: float, **look: Any
    ) -> tuple[float, float]:
        """The same of y."""
        low, high = (self.up(min(self.y.high, max(self.y.low, v))) for v in (both[0], both[-1]))
        self.canvas.lines([[(x, low), (x, high)]], **look)
        for y, cut, way in ((low, both[0] < self.y.low, -1), (high, both[-1] > self.y.high, 1)):
            arm = _ARROW * way if cut else 0.0
            end = [(x - max(cap, 3.0 * cut), y + arm), (x, y), (x + max(cap, 3.0 * cut), y + arm)]
            if cap or cut:
                self.canvas.lines([end], **look)
        return low, high

    def upright(self, values: Iterable[float], **look: Any) -> None:
        """Lines from top to bottom at values of x."""
        self.canvas.lines([[(self.across(v), self.top), (self.across(v), self.bottom)] for v in values], **look)

    def level(self, values: Iterable[float], **look: Any) -> None:
        """Lines from left to right at values of y."""
        self.canvas.lines([[(self.left, self.up(v)), (self.right, self.up(v))] for v in values], **look)

    def spine(self, ticks: Ticks, foot: Foot, title: str, *, grid: bool = False) -> None:
        """The axis below: a line, ticks with their words, the title; with ``grid`` faint lines."""
        places = [self.across(at) for at in ticks.at]
        if grid:
            self.upright(ticks.at, alpha=0.14, width=0.7)
        line = [(self.left, self.bottom), (self.right, self.bottom)]
        self.canvas.lines([line, *([(x, self.bottom), (x, self.bottom + 3)] for x in places)], alpha=0.45, width=0.8)
        self.below(places, foot, title)

    def below(self, places: Sequence[float], foot: Foot, title: str) -> None:
        """Words below the field, and what they are."""
        for x, label in zip(places, foot.labels, strict=True):
            for row, text in enumerate(label.split("\n")):
                at = (x + 3 * foot.slanted, self.bottom + 11 + 13 * row - 2 * foot.slanted)
                self.canvas.words(at, text, anchor="end" if foot.slanted else "middle", turn=-32.0 * foot.slanted)
        middle = ((self.left + self.right) / 2, self.bottom + foot.height - 9)
        self.canvas.words(middle, shorten(title, 60), size=12, anchor="middle")

    def beside(self, title: str) -> None:
        """What stands at the left, written upwards."""
        for row, text in enumerate(title.split("\n")):
            self.canvas.words((10 + 14 * row, (self.top + self.bottom) / 2), text, size=12, anchor="middle", turn=-90)

    def side(self, ticks: Ticks, title: str) -> None:
        """The axis at the left, with a faint grid."""
        self.level(ticks.at, alpha=0.14, width=0.7)
        line = [(self.left, self.top), (self.left, self.bottom)]
        marks = [[(self.left - 3, self.up(at)), (self.left, self.up(at))] for at in ticks.at]
        self.canvas.lines([line, *marks], alpha=0.45, width=0.8)
        for at, label in zip(ticks.at, ticks.labels, strict=True):
            self.canvas.words((self.left - 6, self.up(at)), shorten(label, 16), anchor="end")
        self.beside(title)

    def rows(self, labels: Sequence[str], places: Sequence[float]) -> None:
        """Words at the left, each beside its row."""
        for label, y in zip(labels, places, strict=True):
            self.canvas.words((self.left - 6, y), label, anchor="end")

    def guides(self, frame: Frame) -> None:
        """Lines at given values, and zero where values are differences."""
        if self.x.signed and not self.x.by_words:
            self.upright([0.0], alpha=0.8, width=1.1)
        if self.y.signed and not self.y.by_words:
            self.level([0.0], alpha=0.8, width=1.1)
        for guide, dashes in zip(frame.figure.guides, _cycled(len(frame.figure.guides)), strict=True):
            scale, draw = (self.x, self.upright) if guide.axis == "x" else (self.y, self.level)
            place = scale.place(guide.at)
            if place and scale.low <= place[1] <= scale.high:
                draw([place[1]], dashes=dashes, alpha=0.75, width=1.1)


def _cycled(count: int) -> list[tuple[float, ...]]:
    return [GUIDES[i % len(GUIDES)] for i in range(count)]


class Foot(NamedTuple):
    """What stands below an axis: labels in one line, in two, or slanted; and the room it takes with the title."""

    labels: list[str]
    height: float
    slanted: bool = False


def foot_of(labels: list[str], letters: float, *, title: bool = True) -> Foot:
    """Labels each ``letters`` wide."""
    bare = 38.0 if title else 20.0
    if all(len(label) + 1 <= letters for label in labels):
        return Foot(labels, bare)
    lines = [textwrap.wrap(label, max(1, int(letters) - 1), break_long_words=False) for label in labels]
    if all(len(found) <= 2 and all(len(line) < letters for line in found) for found in lines):
        return Foot(["\n".join(found) for found in lines], bare + 13)
    short = [shorten(label) for label in labels]
    return Foot(short, bare + 0.55 * LETTER * max(map(len, short)), slanted=True)


def standing(title: str, room: float) -> str:
    """The vertical axis's title in one line or in two, whichever its length needs."""
    lines = textwrap.wrap(shorten(title, 60), max(10, int(room / (0.9 * LETTER))))
    return "\n".join([*lines[:1], *([shorten(" ".join(lines[1:]), 30)] if lines[1:] else [])])


class _Entry(NamedTuple):
    name: str
    look: Look
    kind: str


class Key:
    """What series, guides and the reference look like, in rows above the field.

    Args:
        frame: the figure.
        panel: series that are named.
        kind: ``"line"``, ``"mark"`` or ``"bar"``.
        width: of the sheet.
        reference: whether the reference is named here.
    """

    def __init__(
        self, frame: Frame, panel: Sequence[Series], kind: str, width: float, *, reference: bool = True
    ) -> None:
        named = {clean(s.name): frame.look(s) for s in panel if clean(s.name)}
        found = [_Entry(shorten(name, 52), look, kind) for name, look in named.items()]
        point, guides = frame.figure.reference, frame.figure.guides
        if point is not None and reference and point.label:
            found.append(_Entry(shorten(point.label, 52), REFERENCE, "mark"))
        found += [
            _Entry(shorten(guide.label, 52), Look(INK, "", dashes), "guide")
            for guide, dashes in zip(guides, _cycled(len(guides)), strict=True)
            if guide.label
        ]
        self._placed: list[tuple[float, int, _Entry]] = []
        x, row = 4.0, 0
        for entry in found:
            wide = _SAMPLE + 0.94 * LETTER * len(entry.name) + _GAP
            if x + wide - _GAP > width and x > 4:
                x, row = 4.0, row + 1
            self._placed.append((x, row, entry))
            x += wide
        self.height = _ROW * (row + 1) + 4 if found else 0.0

    def draw(self, canvas: Canvas, top: float) -> None:
        """Draw it below ``top``."""
        for x, row, entry in self._placed:
            y = top + _ROW * (row + 0.5)
            _sample(canvas, (x, y), entry)
            canvas.words((x + _SAMPLE, y), entry.name)


def _sample(canvas: Canvas, at: Place, entry: _Entry) -> None:
    (x, y), look = at, entry.look
    if entry.kind == "bar":
        canvas.box((x + 10, y), (10, 4), fill=look.colour)
        return
    if entry.kind != "mark":
        thin = entry.kind == "guide"
        canvas.lines([[(x, y), (x + 21, y)]], stroke=look.colour, width=1.1 if thin else 1.8, dashes=look.dashes)
    if look.marker:
        put(canvas, [(x + 10.5, y)], look, size=6.5)


def start(head: Head, key: Key | None, width: float, height: float) -> tuple[Canvas, float]:
    """A sheet with its head and key, and where the rest begins; ``height`` is that of the rest."""
    top = head.height + (key.height if key else 0.0)
    canvas = Canvas(width, top + height)
    head.draw(canvas)
    if key:
        key.draw(canvas, head.height)
    return canvas, top


def ends(interval: Interval) -> tuple[float, float] | None:
    """Both ends of an interval; ``None`` where there is none."""
    return (interval[0], interval[2]) if interval[0] < interval[2] else None
