"""Any study's figures from its data: ``lines``, ``heat`` and ``points``, one drawing a panel, all panels on the same axes.

A figure is described in `layerlocal.experiments.studies.base`. Nothing here knows a study.
"""

from __future__ import annotations

from typing import Any

from layerlocal.report.plot_axes import Axis, Series, make_axis, read_reference, read_series
from layerlocal.report.plot_paint import Frame, heat, marks
from layerlocal.report.svg import Drawing, draw
from layerlocal.words import clean

__all__ = ["draw_figure", "heat_key", "is_wide", "numbers"]

SPOKEN_POINTS = 60
"""So many numbers a figure's text alternative reads out; the others stand in the table under it."""


def draw_figure(figure: dict[str, Any], name: str) -> list[Drawing]:
    """A figure's panels as SVG text; none where nothing can be drawn.

    Args:
        figure: ``kind``, ``title``, ``note`` (under it, behind which way is better), ``caption``, axes and series, ``rules`` (names of
            series that are rules), ``reference`` (a point that all others are compared with, and its label); what is missing or not a
            number is left out.
        name: unique in the page, safe in an id.
    """
    series = read_series(figure)
    kind = str(figure.get("kind") or "lines")
    frame = Frame(kind, *_axes(figure, series), read_reference(figure))
    drawable = [s for s in series if any(frame.placed(p) for p in s.points)]
    if kind == "heat":
        panels = [[s] for s in drawable]
    else:
        panels = [[s for s in drawable if s.panel == title] for title in dict.fromkeys(s.panel for s in drawable)]
    frame.fit(drawable)
    return [_panel(figure, frame, panel, f"{name}-{i}") for i, panel in enumerate(panels)]


def _panel(figure: dict[str, Any], frame: Frame, panel: list[Series], name: str) -> Drawing:
    paint = heat if frame.kind == "heat" else marks
    painter, height, width = paint(frame, panel)
    title = _title(figure, frame, panel[0])
    better = "; ".join(part for part in (better_way(frame), clean(figure.get("note") or "")) if part)
    words = _spoken(figure, frame, panel)
    return draw(name, height, words, painter, title=title, better=better, bare=True, width=width)


def _title(figure: dict[str, Any], frame: Frame, first: Series) -> str:
    """What a panel shows: the figure's title, or its axes; and what the panel is of."""
    shown = [clean(axis.label) for axis in (frame.z if frame.kind == "heat" else frame.y, frame.x)]
    what = clean(figure.get("title") or "") or " by ".join(part for part in shown if part)
    parts = dict.fromkeys([first.panel] + ([first.name] if frame.kind == "heat" else []))
    of = ", ".join(part for part in parts if part and part != shown[0])
    if of and shown[0] and shown[0] in of:
        what = ""
    title = ": ".join(part for part in (what, of) if part)
    return title[:1].upper() + title[1:]


def better_way(frame: Frame) -> str:
    """Which way is better in a figure, in words; empty where nothing says so."""
    if frame.alike:
        return "on the dotted line both are alike"
    if frame.kind == "heat":
        return {"more": "blue is better", "": ""}.get(frame.z.better if frame.z.signed else "", "")
    y = {"more": "up", "less": "down"}.get(frame.y.better)
    x = {"more": "right", "less": "left"}.get(frame.x.better)
    return " and ".join(way for way in (y, x) if way) + " is better" if y or x else ""


def _axes(figure: dict[str, Any], series: list[Series]) -> tuple[Axis, Axis, Axis]:
    points = [p for s in series for p in s.points]
    heat_map = figure.get("kind") == "heat"
    return (
        make_axis(figure.get("x"), [p.x for p in points], category=heat_map),
        make_axis(figure.get("y"), [p.y for p in points], category=heat_map),
        make_axis(figure.get("z"), [p.z for p in points]),
    )


def _spoken(figure: dict[str, Any], frame: Frame, panel: list[Series]) -> str:
    """What a screen reader says in place of the drawing."""
    better = better_way(frame)
    kind = {"heat": "Heat map", "points": "Scatter plot"}.get(frame.kind, "Line chart")
    parts = [part.rstrip(". ") for part in (clean(figure.get("caption") or ""), panel[0].panel)]
    opening = ". ".join(part for part in parts if part)
    told, count = [], 0
    for s in panel:
        points = [p for p in s.points if frame.placed(p)]
        shown = points[: max(0, SPOKEN_POINTS - count)]
        count += len(points)
        if shown:
            told.append(f"{s.name or 'values'}: " + "; ".join(frame.say(p) for p in shown))
    rest = f". {count - SPOKEN_POINTS} more are in the table" if count > SPOKEN_POINTS else ""
    way = f"{better[0].upper()}{better[1:]}. " if better else ""
    return f"{kind}. {opening}. {way}{'. '.join(told)}{rest}."


def heat_key(figure: dict[str, Any]) -> str:
    """What the colours of a heat map mean; empty for other figures."""
    if figure.get("kind") != "heat":
        return ""
    signed = _axes(figure, read_series(figure))[2].signed
    if signed:
        return "Blue cells are above zero, orange ones below, stronger the further away; the number is in the cell."
    return "The stronger the colour, the larger the number in the cell."


def is_wide(figure: dict[str, Any]) -> bool:
    """Whether a heat map has too many columns for half the page."""
    return Frame(str(figure.get("kind")), *_axes(figure, read_series(figure))).wide


def numbers(figure: dict[str, Any]) -> dict[str, Any]:
    """Every number of a figure as the arguments of `layerlocal.report.sections.table`."""
    series = read_series(figure)
    x, y, z = _axes(figure, series)
    points = [(s, p) for s in series for p in s.points]
    columns: list[tuple[str, list[str]]] = [
        ("panel", [s.panel for s, _ in points]),
        ("series", [s.name for s, _ in points]),
        ("label", [p.label for _, p in points]),
    ]
    head = [(title, values) for title, values in columns if any(values)]
    words = len(head)
    head += [(x.title() or "x", [x.text(p.x) for _, p in points]), (y.title() or "y", [y.text(p.y) for _, p in points])]
    if figure.get("kind") == "heat":
        head.append((z.title() or "value", [z.text(p.z) for _, p in points]))
    rows = [list(row) for row in zip(*(values for _, values in head), strict=True)] if points else []
    return {"caption": "The figure's numbers", "head": [t for t, _ in head], "rows": rows, "words": max(1, words)}
