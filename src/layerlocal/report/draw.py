"""Any `layerlocal.summary.Figure` drawn: one drawing a panel, all panels on the same axes, each with words for who cannot see it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from layerlocal.report.axes import Frame, frame_of, is_row
from layerlocal.report.bars import draw_rows
from layerlocal.report.canvas import WIDTH, Drawing, Head
from layerlocal.report.cells import draw_cells, draw_matrix, is_wide
from layerlocal.report.marks import draw_marks
from layerlocal.summary import Figure, Series
from layerlocal.words import clean

__all__ = ["Numbers", "colour_key", "draw_figure", "number_rows", "wide"]

SPOKEN_POINTS = 60
"""So many numbers a figure's text alternative reads out; the others stand in the table under it."""
_CALLED = {"heat": "Heat map", "matrix": "Matrix", "points": "Scatter plot", "bars": "Bar chart", "lines": "Line chart"}
_STATES = ("yes", "no", "wrong", "unknown")
Numbers = tuple[list[str], list[list[str]], int]
"""Head, rows, and how many of the first columns are words."""


def draw_figure(figure: Figure, name: str, rules: Collection[str] = ()) -> list[Drawing]:
    """A figure's panels; none where nothing can be drawn.

    Args:
        figure: any kind; points that lack a number are left out.
        name: of the first panel, unique in the page, safe in an id; the others add ``-p2``, ``-p3``, ...
        rules: names that are rules although neither the figure says so nor they are built in.
    """
    frame = frame_of(figure, rules)
    return [
        _panel(frame.of_panel(panel), title, panel, f"{name}-p{i + 1}" if i else name)
        for i, (title, panel) in enumerate(frame.panels)
    ]


def _panel(frame: Frame, title: str, panel: list[Series], name: str) -> Drawing:
    kind = frame.figure.kind
    paint = {"heat": draw_cells, "matrix": draw_matrix}.get(
        kind, draw_rows if is_row(frame.figure, frame.y) else draw_marks
    )
    width = WIDTH * (2 if is_wide(frame) else 1)
    better = "; ".join(part for part in (_better(frame), clean(frame.figure.note)) if part)
    head = Head(_title(frame, title, panel[0]), better, width)
    return Drawing.of(paint(frame, panel, head), name, _spoken(frame, title, panel))


def _title(frame: Frame, panel: str, first: Series) -> str:
    """What a panel shows: the figure's title, or its axes; and what the panel is of."""
    shown = [
        clean(axis.label) for axis in (frame.z.axis if frame.figure.kind == "heat" else frame.y.axis, frame.x.axis)
    ]
    what = clean(frame.figure.title) or " by ".join(part for part in shown if part)
    parts = dict.fromkeys([panel, *([clean(first.name)] if frame.figure.kind == "heat" else [])])
    of = ", ".join(part for part in parts if part and part != shown[0])
    if of and shown[0] and shown[0] in of:
        what = ""
    if of.lower() in what.lower():
        of = ""
    title = ": ".join(part for part in (what, of) if part)
    return title[:1].upper() + title[1:]


def _better(frame: Frame) -> str:
    """Which way is better in a figure, in words; empty where nothing says so."""
    if frame.alike:
        return "on the dotted line both are alike"
    if frame.figure.kind == "heat":
        return "blue is better" if frame.z.signed and frame.z.better == "more" else ""
    if frame.figure.kind == "matrix":
        return ""
    y = {"more": "up", "less": "down"}.get(frame.y.better)
    x = {"more": "right", "less": "left"}.get(frame.x.better)
    if is_row(frame.figure, frame.y):
        y = None
    return " and ".join(way for way in (y, x) if way) + " is better" if y or x else ""


def _spoken(frame: Frame, title: str, panel: Sequence[Series]) -> str:
    """What a screen reader says in place of the drawing."""
    parts = [part.rstrip(". ") for part in (clean(frame.figure.title), clean(frame.figure.caption), title)]
    opening, better = ". ".join(dict.fromkeys(part for part in parts if part)), _better(frame)
    told, count = [], 0
    for s in panel:
        points = [p for p in s.points if frame.placed(p)]
        shown = points[: max(0, SPOKEN_POINTS - count)]
        count += len(points)
        if shown:
            told.append(f"{clean(s.name) or 'values'}: " + "; ".join(frame.say(p) for p in shown))
    best = [clean(p.label) for s in panel for p in s.points if p.label and not p.hollow]
    if best and any(p.hollow for s in panel for p in s.points):
        told.append(f"Filled marks, which no other beats: {', '.join(best)}")
    told += [
        f"{clean(g.label)}: {(frame.x if g.axis == 'x' else frame.y).text(g.at)}"
        for g in frame.figure.guides
        if g.label
    ]
    rest = f". {count - SPOKEN_POINTS} more are in the table" if count > SPOKEN_POINTS else ""
    way = f"{better[0].upper()}{better[1:]}. " if better else ""
    return f"{_CALLED[frame.figure.kind]}. {opening}. {way}{'. '.join(told)}{rest}."


def colour_key(figure: Figure) -> str:
    """What the colours of cells mean, and arrows at the ends of intervals; empty where there is nothing to say."""
    if figure.kind == "matrix":
        used = {str(p.z) for s in figure.series for p in s.points}
        meant = {
            "yes": "full: yes",
            "no": "outline: no",
            "wrong": "red with a cross: yes, more than declared",
            "unknown": "dot: not measured",
        }
        told = "; ".join(meant[state] for state in _STATES if state in used)
        return f"{told[:1].upper()}{told[1:]}." if told else ""
    if figure.kind != "heat":
        return "An arrow says that an interval goes on beyond the axis." if frame_of(figure).is_cut else ""
    if frame_of(figure).z.signed:
        return "Blue cells are above zero, orange ones below, stronger the further away; the number is in the cell."
    return "The stronger the colour, the larger the number in the cell."


def wide(figure: Figure) -> bool:
    """Whether a heat map has too many columns for half the page."""
    return figure.kind == "heat" and is_wide(frame_of(figure))


def number_rows(figure: Figure) -> Numbers:
    """Every number of a figure as text, for a table."""
    frame = frame_of(figure)
    points = [(s, p) for s in figure.series for p in s.points]
    named = [
        ("panel", [clean(s.panel or "") for s, _ in points]),
        ("series", [clean(s.name) for s, _ in points]),
        ("label", [clean(p.label) for _, p in points]),
    ]
    columns = [(title, values) for title, values in named if any(values)]
    words = len(columns)
    across = (frame.x.title() or "x", [frame.x.text(p.x) for _, p in points])
    up = (frame.y.title() or "y", [frame.y.text(p.y) for _, p in points])
    columns += [up, across] if is_row(figure, frame.y) else [across, up]
    if frame.cells:
        columns.append(
            (
                frame.z.title() or "value",
                [frame.z.text(p.z) if figure.kind == "heat" else clean(p.z) for _, p in points],
            )
        )
    rows = [list(row) for row in zip(*(values for _, values in columns), strict=True)] if points else []
    return [title for title, _ in columns], rows, max(1, words)
