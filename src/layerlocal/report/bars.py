"""Rows named at the left: bars from zero, alone, side by side or one behind the other, and points with intervals that lie."""

from __future__ import annotations

from collections.abc import Sequence

from layerlocal.report.axes import Frame, Interval, ticks_of
from layerlocal.report.canvas import LETTER, WIDTH, Canvas, Head
from layerlocal.report.markers import put
from layerlocal.report.palette import INK, PAPER, Look, base_of, is_known, look_of
from layerlocal.report.plot import Field, Key, ends, foot_of, start
from layerlocal.summary import Point, Series
from layerlocal.words import NOT_RUN, clean, hundredths, is_number, mean_of, ratio, shorten, signed

__all__ = ["draw_rows"]

_STEP, _BAR, _ALONE = 16.5, 13.0, 27.0
_EDGE = 8.0


def draw_rows(frame: Frame, panel: Sequence[Series], head: Head) -> Canvas:
    """Bars, or points beside words; each series has a line of its own within a row.

    Args:
        frame: the figure.
        panel: its series.
        head: what stands above.
    """
    bars, count = frame.figure.kind == "bars", len(panel)
    key = Key(frame, panel if count > 1 else [], "bar" if bars else "line", WIDTH)
    labels = [shorten(word, 22) for word in frame.y.words]
    step = _ALONE if count == 1 else _STEP * count + 12
    left = 14 + LETTER * max(map(len, labels), default=1)
    room = (WIDTH - left - 12) / LETTER
    x_ticks = ticks_of(frame.x, [], room)
    foot = foot_of(x_ticks.labels, room / max(1, len(x_ticks.labels)), title=bool(frame.x.title()))
    canvas, top = start(head, key, WIDTH, 6 + step * len(labels) + _EDGE + foot.height)
    field = Field(canvas, frame.x, frame.y, left, top + 6, WIDTH - 12, top + 6 + step * len(labels) + _EDGE, down=True)
    middles = [field.top + _EDGE / 2 + step * (i + 0.5) for i in range(len(labels))]
    field.rows(labels, middles)
    field.spine(x_ticks, foot, shorten(frame.x.title(), 60), grid=True)
    if count > 1:
        between = [m + step / 2 for m in middles[:-1]]
        canvas.lines([[(0, y), (field.right, y)] for y in between], width=0.7, alpha=0.14)
    if bars and not frame.x.signed:
        field.upright([0.0], alpha=0.45, width=0.8)
    field.guides(frame)
    ends_at = [0.0] * len(labels)
    for number, series in enumerate(panel):
        for point in series.points:
            place = frame.y.place(point.y)
            row = int(place[1]) if place else -1
            if row >= 0:
                y = middles[row] + (number - (count - 1) / 2) * _STEP
                ends_at[row] = _row(field, frame, series, point, y, ends_at[row] if frame.figure.stacked else 0.0)
    if frame.figure.stacked:
        _totals(field, frame, panel, middles, ends_at)
    return canvas


def _row(field: Field, frame: Frame, series: Series, point: Point, y: float, begin: float) -> float:
    """One bar or point, its interval, its number; gives where it ends."""
    place = frame.x.place(point.x)
    named = f"{clean(series.name)}, " if series.name else ""
    if place is None:
        field.canvas.words((field.across(max(0.0, frame.x.low)) + 4, y), NOT_RUN, size=10.5)
        return begin
    look = _look(frame, series, point)
    if frame.figure.kind == "bars":
        _bar(field, place, y, begin, look, alone=_alone(frame), interval=not frame.figure.stacked)
        tip = field.across(begin + place[1])
    else:
        tip = _whisker(field, place, point, y, look)
    if not frame.figure.stacked:
        far = max(tip, min(field.right, field.across(place[2])))
        field.canvas.words((far + 6, y), _number(frame, point), size=10.5, backed=True)
    at, reach = (tip, y), (7.0, 7.0)
    if frame.figure.kind == "bars":
        at = (field.across(begin + place[1] / 2), y)
        reach = (max(7.0, abs(field.across(place[1]) - field.across(0.0)) / 2), 7.0)
    field.canvas.hit(at, f"{named}{frame.say(point)}", reach)
    return begin + place[1]


def _look(frame: Frame, series: Series, point: Point) -> Look:
    """The series' look; where there is one series only and its words are rules, theirs."""
    rule = next(iter(base_of(clean(point.y)).split()), "")  # ``class-goodness micro-4`` is of class-goodness
    return look_of(rule) if _alone(frame) and is_known(rule, frame.figure.rules) else frame.look(series)


def _alone(frame: Frame) -> bool:
    return len({clean(s.name) for s in frame.figure.series}) == 1


def _bar(field: Field, place: Interval, y: float, begin: float, look: Look, *, alone: bool, interval: bool) -> None:
    x0, x1 = field.across(begin), field.across(begin + place[1])
    fill, edge = (look.colour, None) if look.fill == "full" else (PAPER, look.colour)
    field.canvas.box(((x0 + x1) / 2, y), ((x1 - x0) / 2, _BAR / 2 + alone), fill=fill, stroke=edge, width=1.4)
    if interval and (both := ends(place)):
        field.lying(both, y, cap=0.0, width=1.4)


def _whisker(field: Field, place: Interval, point: Point, y: float, look: Look) -> float:
    """A lying interval with its middle; the values it is made of as small dots below."""
    if both := ends(place):
        field.lying(both, y, cap=3.5, stroke=look.colour, width=1.8)
    values = point.x.get("values") if isinstance(point.x, dict) else None
    seeds = [
        p[1] for v in values or [] if is_number(v) and (p := field.x.place(v)) and field.x.low <= p[1] <= field.x.high
    ]
    for seed in seeds if len(values or ()) > 1 else []:
        field.canvas.box((field.across(seed), y + 6), (1, 1), fill=look.colour, alpha=0.7)
    middle = field.across(place[1])
    put(field.canvas, [(middle, y)], look, hollow=point.hollow)
    return middle


def _number(frame: Frame, point: Point) -> str:
    """The value at a row's end, short."""
    mean = mean_of(point.x)
    if mean is None:
        return ""
    if frame.x.axis.unit == "×":
        return ratio(mean)
    if frame.x.signed:
        return signed(hundredths(frame.x.axis.unit) * mean)
    return frame.x.text(mean)


def _totals(
    field: Field, frame: Frame, panel: Sequence[Series], middles: Sequence[float], ends_at: Sequence[float]
) -> None:
    """Where the last of stacked bars ends: a ring with the sum."""
    for middle, end in zip(middles, ends_at, strict=True):
        y = middle + (len(panel) - 1) / 2 * _STEP
        put(field.canvas, [(field.across(end), y)], Look(INK, "o"), hollow=True, size=8)
        after = end >= 0
        text = signed(end) if frame.x.signed else f"{end:.3g}"
        field.canvas.words(
            (field.across(end) + (9 if after else -9), y), text, size=10.5, anchor="start" if after else "end"
        )
