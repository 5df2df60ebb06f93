"""Names beside scattered points, where they lie on nothing: neither on each other nor on a mark."""

from __future__ import annotations

import math
from typing import Any

from layerlocal.report.palette import INK, PAPER
from layerlocal.words import shorten

__all__ = ["label_points"]

Box = tuple[float, float, float, float]
"""Left, bottom, right, top, in user units."""
_LETTER, _HIGH, _MARK, _SIZE, _NEAR = 6.1, 12.0, 4.5, 10.5, 26.0
_PLACES: tuple[tuple[float, float, str], ...] = (
    (8, 0, "left"), (-8, 0, "right"), (0, 11, "center"), (0, -11, "center"), (8, 11, "left"), (-8, 11, "right"), (8, -11, "left"),
    (-8, -11, "right"), (0, 23, "center"), (0, -23, "center"), (14, 23, "left"), (-14, 23, "right"), (14, -23, "left"), (-14, -23, "right"),
)  # fmt: skip
"""Where a name may stand, from its point: the middle of its height, and which end of it; the first that is free is taken."""


def label_points(ax: Any, frame: Any, panel: list[Any], shifts: list[float]) -> None:
    """Writes every point's label beside it, and that of the reference; of near points with one label it stands at the first.

    Args:
        ax: final limits and place.
        frame: a `plot_paint.Frame`.
        panel: its series.
        shifts: how far right of its place each series is drawn.
    """
    inside = ax.get_window_extent().bounds
    inner = (inside[0], inside[1], inside[0] + inside[2], inside[1] + inside[3])
    points = [
        (p, "" if p.label == s.name else p.label, shift)
        for s, shift in zip(panel, shifts, strict=True)
        for p in s.points
    ]
    points += [(frame.reference, frame.reference.label, 0.0)] if frame.reference is not None else []
    placed = [(place, label, shift) for point, label, shift in points if (place := frame.placed(point))]
    corners = [ax.transData.transform([(x[i] + shift, y[i]) for i in range(3)]) for (x, y), _, shift in placed]
    taken: list[Box] = [
        (min(low[0], mean[0] - _MARK), min(low[1], mean[1] - _MARK), max(high[0], mean[0] + _MARK), max(high[1], mean[1] + _MARK))
        for low, mean, high in corners
    ]  # fmt: skip
    named: list[tuple[str, float, float]] = []
    for (_, (x, y), _), ((at_x, at_y), label, shift) in zip(corners, placed, strict=True):
        text = shorten(label, 24)
        near = any(text == other and math.hypot(x - left, y - low) < _NEAR for other, left, low in named)
        if text and not near:
            named.append((text, x, y))
            dx, dy, side = min(_PLACES, key=lambda place: _cost(_box(x, y, text, place), taken, inner))
            taken.append(_box(x, y, text, (dx, dy, side)))
            ax.annotate(
                text, (at_x[1] + shift, at_y[1]), (dx, dy), ha=side, va="center", fontsize=_SIZE, textcoords="offset points", zorder=0.9,
                bbox={"fc": PAPER, "ec": "none", "pad": 0.2},
                arrowprops={"arrowstyle": "-", "lw": 0.7, "color": INK, "alpha": 0.6, "shrinkA": 0, "shrinkB": 3} if dx and dy else None,
            )  # fmt: skip


def _box(x: float, y: float, text: str, place: tuple[float, float, str]) -> Box:
    """What a name covers."""
    wide = _LETTER * len(text)
    left = x + place[0] - {"left": 0.0, "center": 0.5, "right": 1.0}[place[2]] * wide
    return left, y + place[1] - _HIGH / 2, left + wide, y + place[1] + _HIGH / 2


def _cost(box: Box, taken: list[Box], inner: Box) -> float:
    """The area that lies on other things; outside of the plot counts most. ``min`` takes the first of the best, which is the nearest."""
    over = sum(_common(box, other) for other in taken)
    area = (box[2] - box[0]) * (box[3] - box[1])
    return over + 10 * (area - _common(box, inner))


def _common(one: Box, other: Box) -> float:
    wide, high = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, high)
