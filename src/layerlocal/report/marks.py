"""Lines and scattered points with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

from layerlocal.report.axes import Frame, Interval, ticks_of
from layerlocal.report.canvas import LETTER, WIDTH, Canvas, Head
from layerlocal.report.labels import Named, write_names
from layerlocal.report.markers import put
from layerlocal.report.plot import DASHED, REFERENCE, Field, Key, ends, foot_of, standing, start
from layerlocal.summary import Point, Series
from layerlocal.words import clean, shorten

__all__ = ["draw_marks"]

_HEIGHT, _TALL, _FEW_NAMES, _MOST_NAMES = 205.0, 300.0, 8, 20
_MOST_BANDS = 3
_MOST_HITS = 800
_MARK = 4.5
Placed = tuple[Interval, Interval, Point]


def draw_marks(frame: Frame, panel: Sequence[Series], head: Head) -> Canvas:
    """Lines, or points, over numbers or words below.

    Args:
        frame: the figure.
        panel: its series.
        head: what stands above.
    """
    names = _names(frame, panel)
    key = Key(frame, panel, "line" if frame.figure.kind == "lines" else "mark", WIDTH, reference=not names)
    height = _TALL if names > _FEW_NAMES else _HEIGHT
    y_ticks = ticks_of(frame.y, [], 32)
    y_title = standing(frame.y.title(), height)
    left = 30 + 14 * y_title.count("\n") + LETTER * max((len(shorten(t, 16)) for t in y_ticks.labels), default=1)
    at = [place[0][1] for s in panel for p in s.points if (place := frame.placed(p))]
    room = (WIDTH - left - 12) / LETTER
    x_ticks = ticks_of(frame.x, [] if frame.figure.kind == "points" else at, room)
    foot = foot_of(x_ticks.labels, room / max(1, len(x_ticks.labels)), title=bool(frame.x.title()))
    canvas, top = start(head, key, WIDTH, 6 + height + foot.height)
    field = Field(canvas, frame.x, frame.y, left, top + 6, WIDTH - 12, top + 6 + height)
    field.side(y_ticks, y_title)
    field.spine(
        x_ticks, foot, shorten(frame.x.title(), 60), grid=frame.figure.kind == "points" and not frame.x.by_words
    )
    _lines_behind(field, frame, panel)
    shifts = [_beside(frame, i, panel) for i in range(len(panel))]
    for series, shift in zip(panel, shifts, strict=True):
        _series(field, frame, series, shift, band=len(panel) <= _MOST_BANDS)
    if names:
        points = [
            (p, "" if p.label == s.name else p.label, shift)
            for s, shift in zip(panel, shifts, strict=True)
            for p in s.points
        ]
        _write_names(field, frame, points)
    return canvas


def _names(frame: Frame, panel: Sequence[Series]) -> int:
    """How many points are named in the field; none where they are too many."""
    count = sum(len(s.points) for s in panel)
    marked = any(p.mark for s in panel for p in s.points)
    if frame.figure.kind != "points" or count > _MOST_NAMES or marked:
        return 0
    return sum(p.label not in ("", s.name) for s in panel for p in s.points)


def _lines_behind(field: Field, frame: Frame, panel: Sequence[Series]) -> None:
    """Guides, the diagonal where both axes measure the same, words that stand apart, the best joined, and what all are compared with."""
    field.guides(frame)
    if frame.alike:
        low, high = max(frame.x.low, frame.y.low), min(frame.x.high, frame.y.high)
        if low < high:
            line = [(field.across(v), field.up(v)) for v in (low, high)]
            field.canvas.lines([line], width=0.9, alpha=0.5, dashes=(2, 3))
    if frame.x.apart:
        field.upright([len(frame.x.words) - frame.x.apart - 0.5], width=0.8, alpha=0.25)
    if frame.figure.kind == "points" and any(p.hollow for s in panel for p in s.points):
        best = [place for s in panel for p in s.points if not p.hollow and (place := frame.placed(p))]
        line = [(field.across(x[1]), field.up(y[1])) for x, y in sorted(best)]
        field.canvas.lines([line], width=1.0, alpha=0.4)
    _reference(field, frame)


def _reference(field: Field, frame: Frame) -> None:
    point = frame.figure.reference
    place = frame.placed(point) if point is not None else None
    if place is None or point is None:
        return
    (_, x, _), (_, y, _) = place
    field.upright([x], width=0.9, alpha=0.55, dashes=DASHED)
    field.level([y], width=0.9, alpha=0.55, dashes=DASHED)
    put(field.canvas, [(field.across(x), field.up(y))], REFERENCE, size=11)
    field.canvas.hit((field.across(x), field.up(y)), frame.say(point))


def _beside(frame: Frame, index: int, panel: Sequence[Series]) -> float:
    """Series stand a little beside each other, so that their intervals can be told apart; measured places without any stay true."""
    count = len(panel)
    if not frame.x.by_words:
        places = [place for s in panel for p in s.points if (place := frame.placed(p))]
        if frame.figure.kind == "points" or not any(ends(y) for _, y in places):
            return 0.0
        return (index - (count - 1) / 2) * 0.009 * (frame.x.high - frame.x.low)
    return (index - (count - 1) / 2) * min(0.14, 0.7 / count)


def _series(field: Field, frame: Frame, series: Series, shift: float, *, band: bool) -> None:
    look, joined = frame.look(series), frame.figure.kind == "lines"
    placed: list[Placed] = [(*place, p) for p in series.points if (place := frame.placed(p))]
    if joined:
        placed.sort(key=lambda item: item[0][1])
    _intervals(field, placed, shift, look.colour, band=band and joined and not frame.x.by_words)
    at = [(field.across(x[1] + shift), field.up(y[1])) for x, y, _ in placed]
    if joined:
        thin = frame.x.by_words and not frame.x.numbered
        runs = [[place for place, (x, *_) in zip(at, placed, strict=True) if not frame.x.stands_apart(x[1])]]
        field.canvas.lines(
            runs, stroke=look.colour, width=1.0 if thin else 1.9, alpha=0.6 if thin else 1.0, dashes=look.dashes
        )
    for hollow in (True, False):
        put(
            field.canvas,
            [place for place, (*_, p) in zip(at, placed, strict=True) if p.hollow == hollow],
            look,
            hollow=hollow,
        )
    named = f"{clean(series.name)}, " if series.name else ""
    for (x, y), (*_, point) in list(zip(at, placed, strict=True))[:_MOST_HITS]:
        field.canvas.words((x + 5, y - 7), point.mark, size=10.5)
        field.canvas.hit((x, y), f"{named}{frame.say(point)}")


def _intervals(field: Field, placed: Sequence[Placed], shift: float, colour: str, *, band: bool) -> None:
    tall = [(field.across(x[1] + shift), y) for x, y, _ in placed if ends(y)]
    look = {"stroke": colour, "width": 1.2, "alpha": 0.8}
    if band and len(tall) > 2:
        edge = [[(x, field.up(min(field.y.high, max(field.y.low, y[i])))) for x, y in tall] for i in (0, 2)]
        field.canvas.lines([edge[0] + edge[1][::-1]], closed=True, fill=colour, stroke=None, alpha=0.13)
    for at, high in tall:
        field.upstanding(high, at, cap=2.7, **look)
    for wide, high, _ in placed:
        if ends(wide):
            field.lying(wide, field.up(high[1]), cap=0.0, **look)


def _write_names(field: Field, frame: Frame, points: Sequence[tuple[Point, str, float]]) -> None:
    reference = frame.figure.reference
    named = []
    for point, name, shift in [*points, *([(reference, reference.label, 0.0)] if reference is not None else [])]:
        if place := frame.placed(point):
            (left, x, right), (low, y, high) = place
            xs, ys = [field.across(v + shift) for v in (left, x, right)], [field.up(v) for v in (low, y, high)]
            box = (
                min(xs[0], xs[1] - _MARK),
                min(ys[2], ys[1] - _MARK),
                max(xs[2], xs[1] + _MARK),
                max(ys[0], ys[1] + _MARK),
            )
            named.append(Named(xs[1], ys[1], clean(name), box))
    write_names(field.canvas, named, (field.left, field.top, field.right, field.bottom))
