"""The marks by which series are told apart, as polygons, whole, hollow or half filled."""

from __future__ import annotations

import math
from collections.abc import Sequence

from layerlocal.report.canvas import Canvas, Place
from layerlocal.report.palette import PAPER, Look

__all__ = ["put"]

Shape = tuple[Place, ...]


def _ring(corners: int, radius: float = 0.5, turn: float = -90.0, inner: float | None = None) -> Shape:
    """A regular polygon, or with ``inner``, the radius of every other corner, a star."""
    count = corners * (2 if inner else 1)
    radii = [radius if inner is None or i % 2 == 0 else inner for i in range(count)]
    angles = [math.radians(turn + 360 * i / count) for i in range(count)]
    return tuple((r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True))


def _turned(shape: Sequence[Place], degrees: float, wide: float = 1.0) -> Shape:
    a = math.radians(degrees)
    return tuple((wide * (x * math.cos(a) - y * math.sin(a)), x * math.sin(a) + y * math.cos(a)) for x, y in shape)


_SQUARE: Shape = ((-0.45, -0.45), (0.45, -0.45), (0.45, 0.45), (-0.45, 0.45))
_UP: Shape = ((0.0, -0.5), (0.5, 0.5), (-0.5, 0.5))
_PLUS: Shape = tuple(
    (x / 6, y / 6)
    for x, y in (
        (-1, -3),
        (1, -3),
        (1, -1),
        (3, -1),
        (3, 1),
        (1, 1),
        (1, 3),
        (-1, 3),
        (-1, 1),
        (-3, 1),
        (-3, -1),
        (-1, -1),
    )
)
SHAPES: dict[str, Shape] = {
    "o": _ring(24), "s": _SQUARE, "D": _turned(_SQUARE, 45), "d": _turned(_turned(_SQUARE, 45), 0, 0.6), "^": _UP, "v": _turned(_UP, 180),
    "<": _turned(_UP, -90), ">": _turned(_UP, 90), "p": _ring(5, 0.55), "h": _ring(6, 0.53), "8": _ring(8, 0.53, 22.5),
    "*": _ring(5, 0.62, inner=0.25), "P": _PLUS, "X": _turned(_PLUS, 45),
}  # fmt: skip
"""Mark → corners, of a size of 1; the letters are matplotlib's."""
_SIDES = {"left": (0, -1), "right": (0, 1), "top": (1, -1), "bottom": (1, 1)}


def put(canvas: Canvas, places: Sequence[Place], look: Look, *, size: float = 7.0, hollow: bool = False) -> None:
    """Marks at places, those of one look as one shape.

    Args:
        canvas: drawn on.
        places: their middles.
        look: of the series.
        size: about their width.
        hollow: as outlines, whatever the look says.
    """
    corners = SHAPES[look.marker]
    fill = "none" if hollow else look.fill
    whole = [[(x + size * a, y + size * b) for a, b in corners] for x, y in places]
    if fill == "full":
        canvas.lines(whole, closed=True, fill=look.colour, stroke=PAPER, width=0.7)
        return
    canvas.lines(whole, closed=True, fill=PAPER, stroke=look.colour, width=1.4)
    if fill in _SIDES:
        half = _half(corners, *_SIDES[fill])
        canvas.lines(
            [[(x + size * a, y + size * b) for a, b in half] for x, y in places],
            closed=True,
            fill=look.colour,
            stroke=None,
        )


def _half(corners: Shape, axis: int, side: int) -> list[Place]:
    """The part of a polygon on one side of its middle."""
    kept: list[Place] = []
    for one, two in zip(corners, (*corners[1:], corners[0]), strict=True):
        if side * one[axis] >= 0:
            kept.append(one)
        if one[axis] * two[axis] < 0:
            share = one[axis] / (one[axis] - two[axis])
            kept.append((one[0] + share * (two[0] - one[0]), one[1] + share * (two[1] - one[1])))
    return kept
