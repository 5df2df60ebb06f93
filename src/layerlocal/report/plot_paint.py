"""The painters of studies' figures: where things stand on the sheet, marks with their intervals, and cells."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

from layerlocal.report.palette import BP, EXTRA, INK, LOCAL, PAPER
from layerlocal.report.plot_axes import Axis, Interval, Point, Series
from layerlocal.report.plot_labels import label_points
from layerlocal.report.svg import WIDTH, Sheet
from layerlocal.words import mean_of, plain, shorten

__all__ = ["Frame", "heat", "marks"]

Painter = tuple[Callable[[Sheet], None], float, float]
"""What paints a panel, and the height and width of its sheet."""
_LETTER = 6.8  # width of a letter of tick labels, about
_PLOT_HEIGHT, _TALL, _FEW_LABELS = 205.0, 300.0, 8
_LEGEND_ROW = 15.4
_MOST_BANDS = 3
_WIDE_COLUMNS = 10
_MOST_LABELS = 20
_MOST_HITS = 800


class _Ticks(NamedTuple):
    at: list[float]
    labels: list[str]


class Frame:
    """The axes that all panels of one figure share."""

    def __init__(self, kind: str, x: Axis, y: Axis, z: Axis, reference: Point | None = None) -> None:
        self.kind, self.x, self.y, self.z = kind, x, y, z
        self.reference = reference
        self.x_limits = self.y_limits = (0.0, 1.0)
        self.largest = self.smallest = 0.0

    @property
    def wide(self) -> bool:
        """Whether a heat map has too many columns for half the page."""
        return self.kind == "heat" and len(self.x.categories) > _WIDE_COLUMNS

    @property
    def alike(self) -> bool:
        """Whether both axes of scattered points measure the same, so that the diagonal means something."""
        return self.kind == "points" and self.x.unit == self.y.unit and self.x.unit in ("%", "pp")

    def placed(self, point: Point) -> tuple[Interval, Interval] | None:
        """Where a point stands, or ``None`` where it cannot be drawn."""
        x, y = self.x.place(point.x), self.y.place(point.y)
        if x is None or y is None or (self.kind == "heat" and mean_of(point.z) is None):
            return None
        return x, y

    def say(self, point: Point) -> str:
        """A point in words."""
        named = f"{point.label}, " if point.label else ""
        if self.kind == "heat":
            return f"{named}{self.x.text(point.x)} × {self.y.text(point.y)}: {self.z.text(point.z)}"
        return f"{named}{self.x.text(point.x)}: {self.y.text(point.y)}"

    def fit(self, series: list[Series]) -> None:
        """Choose limits that hold every point of every panel."""
        places = [place for s in series for p in s.points if (place := self.placed(p))]
        if not places:
            return
        if self.reference is not None and (place := self.placed(self.reference)):
            places.append(place)
        self.x_limits = _limits(self.x, [v for x, _ in places for v in x])
        self.y_limits = _limits(self.y, [v for _, y in places for v in y])
        values = [self.z.factor * mean for s in series for p in s.points if (mean := mean_of(p.z)) is not None]
        self.smallest, self.largest = min(values, default=0.0), max(values, default=0.0)


def _limits(axis: Axis, values: list[float]) -> tuple[float, float]:
    if axis.scale == "category":
        return -0.5, len(axis.categories) - 0.5
    low, high = min(values), max(values)
    if axis.signed:
        low, high = min(low, 0.0), max(high, 0.0)
    pad = 0.07 * (high - low) or max(0.05 * abs(high), 0.5 if axis.factor == 100 else 0.05)
    return low - pad, high + pad


def _ticks(axis: Axis, limits: tuple[float, float], known: list[float], room: float) -> _Ticks:
    """Words or measured values that do not touch; round numbers where too many were measured. ``room``: length over letter width."""
    from matplotlib.ticker import MaxNLocator

    if axis.scale == "category":
        every = math.ceil(len(axis.categories) / max(1.0, room / 2))
        at = list(range(0, len(axis.categories), every))
        return _Ticks([float(i) for i in at], [str(axis.categories[i]) for i in at])
    values = sorted(set(known))
    if not values or len(values) > 12:
        whole = axis.scale == "log2" and limits[1] - limits[0] >= 2
        nice = MaxNLocator(nbins=6, integer=whole, steps=[1, 2, 2.5, 5, 10]).tick_values(*limits)
        values = [float(v) for v in nice if limits[0] <= v <= limits[1]]
    span, last, kept = limits[1] - limits[0], -math.inf, _Ticks([], [])
    for value in values:
        label = axis.tick(value)
        width = span * (len(label) + 1) / room
        if value - last >= width:
            kept.at.append(value)
            kept.labels.append(label)
            last = value
    return kept


class _Words(NamedTuple):
    labels: list[str]
    turn: dict[str, Any]
    foot: float


def _words_under(labels: list[str], letters: float) -> _Words:
    """Labels of the horizontal axis, each ``letters`` wide: in one line, in two, or slanted; and the room below the plot."""
    if all(len(label) + 1 <= letters for label in labels):
        return _Words(labels, {}, 40.0)
    lines = [textwrap.wrap(label, max(1, int(letters) - 1), break_long_words=False) for label in labels]
    if all(len(found) <= 2 and all(len(line) < letters for line in found) for found in lines):
        return _Words(["\n".join(found) for found in lines], {}, 53.0)
    short = [shorten(label) for label in labels]
    turn = {"rotation": 32, "ha": "right", "rotation_mode": "anchor"}
    return _Words(short, turn, 40.0 + 0.55 * _LETTER * max(map(len, short)))


def _standing(title: str, room: float) -> str:
    """The vertical axis's title in one line or in two, whichever its length needs."""
    lines = textwrap.wrap(shorten(title, 60), max(10, int(room / _LETTER)))
    return "\n".join([*lines[:1], *([shorten(" ".join(lines[1:]), 30)] if lines[1:] else [])])


def marks(frame: Frame, panel: list[Series]) -> Painter:
    """Lines or scattered points with their intervals."""
    names = [s.name for s in panel if s.name]
    columns = 1 if max(map(len, names), default=0) > 24 else 2 if max(map(len, names), default=0) > 14 else 3
    legend = _LEGEND_ROW * math.ceil(len(names) / columns) + 4 * bool(names)
    y_ticks = _ticks(frame.y, frame.y_limits, [], 8 * 4)
    y_title = _standing(frame.y.title(), _PLOT_HEIGHT)
    left = 30 + 14 * y_title.count("\n") + _LETTER * max((len(shorten(t, 16)) for t in y_ticks.labels), default=1)
    places = [place for s in panel for p in s.points if (place := frame.placed(p))]
    room = (WIDTH - left - 12) / _LETTER
    x_ticks = _ticks(frame.x, frame.x_limits, [] if frame.kind == "points" else [x[1] for x, _ in places], room)
    words = _words_under(x_ticks.labels, room / max(1, len(x_ticks.labels)))
    top = legend + 6
    named = (
        frame.kind == "points"
        and len(places) <= _MOST_LABELS
        and sum(p.label not in ("", s.name) for s in panel for p in s.points)
    )
    height = top + (_TALL if named and named > _FEW_LABELS else _PLOT_HEIGHT) + words.foot

    def paint(sheet: Sheet) -> None:
        ax = _add_axes(sheet, left, words.foot, top)
        ax.set_xlim(*frame.x_limits)
        ax.set_ylim(*frame.y_limits)
        ax.set_yticks(y_ticks.at, [shorten(t, 16) for t in y_ticks.labels])
        ax.set_xticks(x_ticks.at, words.labels, **words.turn)
        ax.set_xlabel(shorten(frame.x.title(), 60))
        ax.set_ylabel(y_title)
        _guides(sheet, ax, frame)
        for i, series in enumerate(panel):
            _series(sheet, ax, frame, series, _dodge(frame, i, panel), len(panel) <= _MOST_BANDS)
        if named:
            label_points(ax, frame, panel, [_dodge(frame, i, panel) for i in range(len(panel))])
        _legend(sheet, panel, columns, joined=frame.kind != "points")

    return paint, height, WIDTH


def _add_axes(sheet: Sheet, left: float, foot: float, top: float, right: float = 12) -> Any:
    """Axes with margins in user units: no layout pass, which would take longer than the drawing."""
    wide, high = sheet.width, sheet.height
    box = (left / wide, foot / high, 1 - (left + right) / wide, 1 - (foot + top + sheet.header) / high)
    ax = sheet.figure.add_axes(box)
    sheet.plain(ax)
    return ax


def _legend(sheet: Sheet, panel: list[Series], columns: int, *, joined: bool) -> None:
    from matplotlib.lines import Line2D

    looks = {shorten(s.name, 52): s.look for s in panel if s.name}
    handles = [
        Line2D(
            [], [], color=k.colour, marker=k.marker, ls=k.dashes if joined else "none", ms=6, lw=1.8, label=name,
            fillstyle=k.fill, markerfacecoloralt=PAPER,
        )
        for name, k in looks.items()
    ]  # fmt: skip
    if handles:
        sheet.figure.legend(
            handles, list(looks), loc="upper left", bbox_to_anchor=(0, sheet.under), ncols=columns, frameon=False, borderpad=0.1,
            borderaxespad=0.1, handlelength=2.2, columnspacing=1.1, handletextpad=0.5, labelspacing=0.3,
        )  # fmt: skip


def _guides(sheet: Sheet, ax: Any, frame: Frame) -> None:
    """Zero for differences, the diagonal where both axes are accuracies or both are differences, and the point that all are compared with."""
    if frame.y.signed:
        ax.axhline(0, color=INK, lw=1.1, alpha=0.8)
    if frame.kind == "points" and frame.x.signed:
        ax.axvline(0, color=INK, lw=1.1, alpha=0.8)
    ends = max(frame.x_limits[0], frame.y_limits[0]), min(frame.x_limits[1], frame.y_limits[1])
    if frame.kind == "points" and frame.alike and ends[0] < ends[1]:
        sheet.tip(ax.plot(ends, ends, color=INK, lw=0.9, alpha=0.5, ls=(0, (2, 3)))[0], "both alike")

    place = frame.placed(frame.reference) if frame.reference is not None else None
    if place and frame.reference is not None:
        (_, x, _), (_, y, _) = place
        ax.axvline(x, color=INK, lw=0.9, alpha=0.55, ls=(0, (4, 2)), zorder=0.7)
        ax.axhline(y, color=INK, lw=0.9, alpha=0.55, ls=(0, (4, 2)), zorder=0.7)
        ax.plot([x], [y], "^", color=BP, mfc=PAPER, ms=10, mew=2, zorder=4)
        sheet.hit(ax, x, y, f"{frame.reference.label}, {frame.say(Point(frame.reference.x, frame.reference.y))}")


def _dodge(frame: Frame, index: int, panel: list[Series]) -> float:
    """Series stand a little beside each other, so that their intervals can be told apart; measured places without any stay true."""
    count, categories = len(panel), frame.x.scale == "category"
    places = (place for series in panel for point in series.points if (place := frame.placed(point)))
    if not categories and (frame.kind == "points" or not any(y[0] < y[2] for _, y in places)):
        return 0.0
    step = min(0.14, 0.7 / count) if categories else 0.009 * (frame.x_limits[1] - frame.x_limits[0])
    return (index - (count - 1) / 2) * step


def _series(sheet: Sheet, ax: Any, frame: Frame, series: Series, shift: float, band: bool) -> None:
    look = series.look
    places = [(place, p) for p in series.points if (place := frame.placed(p))]
    if frame.kind != "points":
        places.sort(key=lambda item: item[0][0][1])
    xs, ys = [x[1] + shift for (x, _), _ in places], [y[1] for (_, y), _ in places]
    tall = [(x[1] + shift, y[0], y[2]) for (x, y), _ in places if y[0] < y[2]]
    wide = [(y[1], x[0], x[2]) for (x, y), _ in places if x[0] < x[2]]
    if tall:
        at, low, high = zip(*tall, strict=True)
        if band and frame.kind != "points" and frame.x.scale != "category" and len(tall) > 2:
            ax.fill_between(at, low, high, color=look.colour, alpha=0.13, lw=0)
        ax.vlines(at, low, high, color=look.colour, lw=1.2, alpha=0.8)
        ax.plot([*at, *at], [*low, *high], "_", color=look.colour, ms=5.5, mew=1.2)
    if wide:
        ax.hlines(*zip(*wide, strict=True), color=look.colour, lw=1.2, alpha=0.8)
    joined = "none" if frame.kind == "points" else look.dashes
    thin = frame.x.scale == "category"
    ax.plot(xs, ys, color=look.colour, ls=joined, lw=1.0 if thin else 1.9, alpha=0.6 if thin else 1.0)
    edge: dict[str, Any] = {"mec": PAPER, "mew": 0.7} if look.fill == "full" else {"mec": look.colour, "mew": 1.4}
    ax.plot(
        xs, ys, look.marker, color=look.colour, ms=7, fillstyle=look.fill, markerfacecoloralt=PAPER, clip_on=False, **edge
    )  # fmt: skip
    for (x, y), point in places[:_MOST_HITS]:
        named = f"{series.name}, " if series.name else ""
        sheet.hit(ax, x[1] + shift, y[1], f"{named}{frame.say(point)}")


def heat(frame: Frame, panel: list[Series]) -> Painter:
    """A table of coloured cells with their numbers; the first row on top."""
    rows, columns = [shorten(r, 18) for r in frame.y.categories], [str(c) for c in frame.x.categories]
    width = WIDTH * (2 if frame.wide else 1)
    left = 30 + _LETTER * max(map(len, rows), default=1)
    broad = (width - left - 6) / max(1, len(columns))
    cells = [(place, p) for p in panel[0].points if (place := frame.placed(p))]
    spread = broad >= 40 and any(isinstance(p.z, dict) and _half(frame, p) for _, p in cells)
    words = _words_under(columns, broad / _LETTER)
    top = 4.0
    height = top + (34.0 if spread else 27.0) * len(rows) + words.foot

    def paint(sheet: Sheet) -> None:
        ax = _add_axes(sheet, left, words.foot, top, 6)
        ax.grid(False)
        ax.set_xlim(-0.5, len(columns) - 0.5)
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.set_xticks(range(len(columns)), words.labels, **words.turn)
        ax.set_yticks(range(len(rows)), rows)
        ax.tick_params(length=0)
        for spine in ax.spines.values():
            spine.set_visible(False)
        ax.set_xlabel(shorten(frame.x.title(), 60))
        ax.set_ylabel(shorten(frame.y.title(), 40))
        for (x, y), point in cells:
            _cell(sheet, ax, frame, (x[1], y[1]), point, size=min(11.5, broad / 3.6), spread=spread)

    return paint, height, width


def _half(frame: Frame, point: Point) -> float:
    """Half the width of a cell's interval, as drawn; 0 where there is none."""
    place = frame.z.place(point.z)
    return (place[2] - place[0]) / 2 if place else 0.0


def _cell(
    sheet: Sheet, ax: Any, frame: Frame, at: tuple[float, float], point: Point, *, size: float, spread: bool
) -> None:
    from matplotlib.patches import Rectangle

    value = frame.z.factor * (mean_of(point.z) or 0.0)
    colour, strength = _shade(frame, value)
    ax.add_patch(Rectangle((at[0] - 0.48, at[1] - 0.46), 0.96, 0.92, fc=colour, ec="none", alpha=strength))
    half = _half(frame, point) if spread else 0.0
    text = _short(frame, value)
    ax.text(at[0], at[1] - (0.16 if half else 0), text, ha="center", va="center", fontsize=size)
    if half:
        ax.text(
            at[0],
            at[1] + 0.22,
            f"±{_short(frame, half).lstrip('+')}",
            ha="center",
            va="center",
            fontsize=min(9.5, 0.8 * size),
        )
    sheet.hit_cell(ax, at[0] - 0.5, at[1] - 0.5, frame.say(point))


def _short(frame: Frame, value: float) -> str:
    """A number that fits a cell."""
    if frame.z.factor == 100:
        text = f"{value:{'+' if frame.z.signed else ''}.1f}".replace("-", "−")
        return "0.0" if text in ("+0.0", "−0.0") else text
    return plain(value, 3)


def _shade(frame: Frame, value: float) -> tuple[str, float]:
    """Colour and strength: blue above zero, orange below; one colour from the smallest to the largest where zero means nothing."""
    if frame.z.signed or frame.smallest < 0:
        reach = max(abs(frame.smallest), abs(frame.largest)) or 1.0
        return (LOCAL if value >= 0 else EXTRA), 0.05 + 0.47 * abs(value) / reach
    span = (frame.largest - frame.smallest) or 1.0
    return LOCAL, 0.07 + 0.45 * (value - frame.smallest) / span
