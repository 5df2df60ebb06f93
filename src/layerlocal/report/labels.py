"""Names beside scattered points, where they lie on nothing: neither on each other nor on a mark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from layerlocal.report.canvas import Canvas
from layerlocal.words import shorten

__all__ = ["Box", "Named", "write_names"]

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in user units."""
_LETTER, _HIGH, _SIZE, _NEAR = 6.1, 12.0, 10.5, 26.0
_PLACES: tuple[tuple[float, float, str], ...] = (
    (8, 0, "start"), (-8, 0, "end"), (0, -11, "middle"), (0, 11, "middle"), (8, -11, "start"), (-8, -11, "end"), (8, 11, "start"),
    (-8, 11, "end"), (0, -23, "middle"), (0, 23, "middle"), (14, -23, "start"), (-14, -23, "end"), (14, 23, "start"), (-14, 23, "end"),
)  # fmt: skip
"""Where a name may stand, from its point: the middle of its height, and which end of it; the first that is free is taken."""
_LEFT_OF = {"start": 0.0, "middle": 0.5, "end": 1.0}


class Named(NamedTuple):
    """A point, its name (may be empty), and what it covers."""

    x: float
    y: float
    name: str
    box: Box


def write_names(canvas: Canvas, points: Sequence[Named], inner: Box) -> None:
    """Writes every point's name beside it; of near points with one name it stands at the first.

    Args:
        canvas: drawn on.
        points: all that lie in the field.
        inner: the field.
    """
    taken = [point.box for point in points]
    written: list[Named] = []
    for point in points:
        text = shorten(point.name, 24)
        near = any(text == other.name and math.hypot(point.x - other.x, point.y - other.y) < _NEAR for other in written)
        if not text or near:
            continue
        written.append(point._replace(name=text))
        dx, dy, anchor = min(_PLACES, key=lambda place: _cost(_box(point, text, place), taken, inner))
        taken.append(_box(point, text, (dx, dy, anchor)))
        if dx and dy:
            canvas.lines(
                [[(point.x + 0.35 * dx, point.y + 0.35 * dy), (point.x + dx, point.y + dy)]], width=0.7, alpha=0.6
            )
        canvas.words((point.x + dx, point.y + dy), text, size=_SIZE, anchor=anchor, backed=True)


def _box(point: Named, text: str, place: tuple[float, float, str]) -> Box:
    """What a name covers."""
    wide = _LETTER * len(text)
    left, middle = point.x + place[0] - _LEFT_OF[place[2]] * wide, point.y + place[1]
    return left, middle - _HIGH / 2, left + wide, middle + _HIGH / 2


def _cost(box: Box, taken: Sequence[Box], inner: Box) -> float:
    """The area that lies on other things; outside of the field counts most. ``min`` takes the first of the best, which is the nearest."""
    area = (box[2] - box[0]) * (box[3] - box[1])
    return sum(_common(box, other) for other in taken) + 10 * (area - _common(box, inner))


def _common(one: Box, other: Box) -> float:
    wide, high = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, high)
