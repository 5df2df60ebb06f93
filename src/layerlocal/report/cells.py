"""Cells: heat maps with a number in each, and matrices that say yes or no."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from layerlocal.report.axes import Frame, Interval
from layerlocal.report.canvas import LETTER, WIDTH, Canvas, Head
from layerlocal.report.palette import EXTRA, INK, LOCAL, WRONG
from layerlocal.report.plot import Field, foot_of, start
from layerlocal.summary import Point, Series
from layerlocal.words import clean, mean_of, plain, shorten

__all__ = ["draw_cells", "draw_matrix", "is_wide"]

_WIDE_COLUMNS = 10
_LARGEST, _SMALL = 34.0, 13.0
_HALF, _LEFT, _ABOVE = WIDTH / 2, 50.0, 34.0


def is_wide(frame: Frame) -> bool:
    """Whether a heat map has too many columns for half the page."""
    return frame.figure.kind == "heat" and len(frame.x.words) > _WIDE_COLUMNS


def _placed(frame: Frame, series: Series) -> Iterator[tuple[Interval, Interval, Point]]:
    for point in series.points:
        if place := frame.placed(point):
            yield (*place, point)


# --- heat maps --------------------------------------------------------------------------------------------------------


def draw_cells(frame: Frame, panel: Sequence[Series], head: Head) -> Canvas:
    """A table of coloured cells with their numbers; the first row on top.

    Args:
        frame: the figure.
        panel: the one series.
        head: what stands above.
    """
    rows = [shorten(frame.y.label(i), 18) for i in range(len(frame.y.words))]
    columns = [frame.x.label(i) for i in range(len(frame.x.words))]
    width = WIDTH * (2 if is_wide(frame) else 1)
    left = 30 + LETTER * max(map(len, rows), default=1)
    broad = (width - left - 6) / max(1, len(columns))
    cells = list(_placed(frame, panel[0]))
    spread = broad >= 40 and any(isinstance(p.z, dict) and _half(frame, p) for *_, p in cells)
    foot, high = foot_of(columns, broad / LETTER, title=bool(frame.x.title())), 34.0 if spread else 27.0
    canvas, top = start(head, None, width, 4 + high * len(rows) + foot.height)
    field = Field(canvas, frame.x, frame.y, left, top + 4, width - 6, top + 4 + high * len(rows), down=True)
    for x, y, point in cells:
        middle = (field.across(x[1]), field.up(y[1]))
        _cell(canvas, frame, middle, (broad, high), point, spread=spread)
    field.rows(rows, [field.up(i) for i in range(len(rows))])
    field.below([field.across(i) for i in range(len(columns))], foot, frame.x.title())
    field.beside(shorten(frame.y.title(), 40))
    return canvas


def _half(frame: Frame, point: Point) -> float:
    """Half the width of a cell's interval, as drawn; 0 where there is none."""
    place = frame.z.place(point.z)
    return (place[2] - place[0]) / 2 if place else 0.0


def _cell(
    canvas: Canvas, frame: Frame, at: tuple[float, float], size: tuple[float, float], point: Point, *, spread: bool
) -> None:
    (x, y), (broad, high) = at, size
    value = frame.z.factor * (mean_of(point.z) or 0.0)
    colour, strength = _shade(frame, value)
    canvas.box(at, (0.48 * broad, 0.46 * high), fill=colour, alpha=strength)
    half, letters = _half(frame, point) if spread else 0.0, min(11.5, broad / 3.6)
    canvas.words((x, y - (0.17 * high if half else 0)), _short(frame, value), size=letters, anchor="middle")
    if half:
        text = f"±{_short(frame, half).lstrip('+')}"
        canvas.words((x, y + 0.23 * high), text, size=min(9.5, 0.8 * letters), anchor="middle")
    canvas.hit(at, frame.say(point), (broad / 2, high / 2))


def _short(frame: Frame, value: float) -> str:
    """A number that fits a cell."""
    if frame.z.factor == 100:
        text = f"{value:{'+' if frame.z.signed else ''}.1f}".replace("-", "−")
        return "0.0" if text in ("+0.0", "−0.0") else text
    return plain(value, 3)


def _shade(frame: Frame, value: float) -> tuple[str, float]:
    """Colour and strength: blue above zero, orange below; one colour from the smallest to the largest where zero means nothing."""
    if frame.z.signed or frame.z.low < 0:
        reach = max(abs(frame.z.low), abs(frame.z.high)) or 1.0
        return (LOCAL if value >= 0 else EXTRA), 0.05 + 0.47 * abs(value) / reach
    return LOCAL, 0.07 + 0.45 * (value - frame.z.low) / ((frame.z.high - frame.z.low) or 1.0)


# --- matrices ---------------------------------------------------------------------------------------------------------


def draw_matrix(frame: Frame, panel: Sequence[Series], head: Head) -> Canvas:
    """Squares with a state that colour alone does not carry: full, outline, full with a cross, a dot; two series beside each other.

    Args:
        frame: the figure.
        panel: its series.
        head: what stands above.
    """
    rows = max((len(_rows_of(frame, series)) for series in panel), default=1)
    side = min(_LARGEST, (_HALF - _LEFT - 2) / max(1, len(frame.x.words)))
    high = _ABOVE + side * rows + 4
    canvas, top = start(head, None, WIDTH, high * math.ceil(len(panel) / 2))
    for i, series in enumerate(panel):
        _matrix(canvas, frame, series, (_LEFT + _HALF * (i % 2), top + high * (i // 2) + _ABOVE), side)
    return canvas


def _rows_of(frame: Frame, series: Series) -> list[int]:
    """The rows that a series has cells in: two series of a figure may differ in them."""
    return sorted({int(y[1]) for _, y, _ in _placed(frame, series)})


def _matrix(canvas: Canvas, frame: Frame, series: Series, at: tuple[float, float], side: float) -> None:
    """One series: columns named above, rows at the left."""
    left, top = at
    own = _rows_of(frame, series)
    rows = [shorten(frame.y.label(i, bare=True), 6) for i in own]
    columns = [shorten(frame.x.label(i, bare=True), 4) for i in range(len(frame.x.words))]
    every = math.ceil(_SMALL / side) if side < _SMALL else 1
    canvas.words((left, top - 24), shorten(clean(series.name) or frame.x.title(), 26), size=12)
    canvas.words(
        (left - 40, top + side * len(rows) / 2), shorten(frame.y.title(), 20), size=12, anchor="middle", turn=-90
    )
    for i in range(0, len(columns), every):
        canvas.words((left + side * (i + 0.5), top - 8), columns[i], size=10, anchor="middle")
    for i in range(0, len(rows), every):
        canvas.words((left - 6, top + side * (i + 0.5)), rows[i], size=10, anchor="end")
    for x, y, point in _placed(frame, series):
        middle = (left + side * (x[1] + 0.5), top + side * (own.index(int(y[1])) + 0.5))
        _square(canvas, middle, side, str(point.z))
        canvas.hit(middle, frame.say(point), (side / 2, side / 2))


def _square(canvas: Canvas, at: tuple[float, float], side: float, state: str) -> None:
    (x, y), half = at, side * (0.41 if side > 9 else 0.46)
    if state in ("yes", "wrong"):
        canvas.box(at, (half, half), fill=LOCAL if state == "yes" else WRONG)
    else:
        canvas.box(at, (half, half), stroke=INK, width=0.7, alpha=0.35)
    arm = 0.2 * side
    if state == "wrong":
        canvas.lines([[(x - arm, y - arm), (x + arm, y + arm)], [(x - arm, y + arm), (x + arm, y - arm)]], width=1.4)
    elif state == "unknown":
        canvas.box(at, (1, 1), fill=INK, alpha=0.5)
