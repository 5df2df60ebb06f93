"""A sheet of lines, shapes and words, which becomes an inline SVG that follows the page, or a file of its own: SVG, PNG, PDF.

Places are in user units, right and down from the upper left corner; one is about one CSS pixel on a phone. Colours are those of `palette`, real
ones, as attributes: a page's style sheet gives ink and paper other colours where it is dark, and a program that knows no style sheet reads
the figure as it is. An SVG has one id, its name. Only a PNG or PDF needs matplotlib (extra ``figures``).
"""

from __future__ import annotations

import importlib.util
import io
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from layerlocal.report.palette import INK, PAPER, dark_style
from layerlocal.types import InputError
from layerlocal.words import clean, shorten

__all__ = [
    "FORMATS",
    "LETTER",
    "WIDTH",
    "Canvas",
    "Drawing",
    "Head",
    "Place",
    "drawable",
    "refuse_undrawable",
    "standalone",
]

WIDTH = 400.0
LETTER = 6.8
"""Width of a letter of 11.5 units, about: fonts differ, and none is measured."""
FORMATS = ("svg", "png", "pdf")
_SCALE = 1.5  # CSS pixels a user unit in a file of its own, where there is room
_WIDEST = 900
_PNG_DPI = 144  # two pixels a user unit
_LINE, _MOST_LETTERS = 16.0, 110
_FAMILY = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
_SETTINGS: Any = {"font.family": ["DejaVu Sans"], "text.parse_math": False, "pdf.fonttype": 42}
_ANCHORS = {"start": "left", "middle": "center", "end": "right"}

Place = tuple[float, float]
Dashes = Sequence[float]


def drawable() -> tuple[str, ...]:
    """The formats that can be written here: all, or SVG alone without the extra ``figures``."""
    return FORMATS if importlib.util.find_spec("matplotlib") is not None else FORMATS[:1]


def refuse_undrawable(form: str) -> None:
    """See that one of `FORMATS` can be written here.

    Raises:
        InputError: it needs an extra that is not installed.
    """
    if form not in drawable():
        raise InputError(
            f"a {form.upper()} is drawn by matplotlib, which is not installed; pip install 'layerlocal[figures]', or take svg"
        )


@dataclass(frozen=True)
class _Lines:
    """Joined points, any number of runs of them that look alike."""

    runs: list[list[Place]]
    stroke: str | None
    width: float
    dashes: Dashes
    fill: str | None
    alpha: float
    closed: bool


@dataclass(frozen=True)
class _Words:
    at: Place
    text: str
    size: float
    anchor: str
    bold: bool
    turn: float


@dataclass
class Canvas:
    """What is drawn, in order.

    Args:
        width: in user units.
        height: likewise.
    """

    width: float
    height: float
    _shapes: list[_Lines | _Words] = field(default_factory=list)
    _hits: list[tuple[float, float, float, float, str]] = field(default_factory=list)

    def lines(
        self,
        runs: Iterable[Sequence[Place]],
        *,
        stroke: str | None = INK,
        width: float = 1.0,
        dashes: Dashes = (),
        fill: str | None = None,
        alpha: float = 1.0,
        closed: bool = False,
    ) -> None:
        """Lines through points, or with ``closed`` and ``fill`` shapes.

        Args:
            runs: each a line or a shape.
            stroke: colour; ``None``: no line.
            width: of the line.
            dashes: lengths of dash, gap, dash, ..., in widths of the line.
            fill: colour inside; ``None``: clear.
            alpha: 0 clear to 1.
            closed: join the last point and the first.
        """
        found = [list(run) for run in runs if run]
        if found:
            self._shapes.append(_Lines(found, stroke, width, dashes, fill, alpha, closed))

    def box(self, at: Place, half: Place, *, fill: str | None = None, stroke: str | None = None, **look: Any) -> None:
        """A rectangle about its middle.

        Args:
            at: its middle.
            half: half its width and height.
            fill: colour inside; ``None``: clear.
            stroke: of its edge; ``None``: no line.
            look: as of `lines`.
        """
        (x, y), (wide, high) = at, half
        corners = [(x - wide, y - high), (x + wide, y - high), (x + wide, y + high), (x - wide, y + high)]
        self.lines([corners], closed=True, fill=fill, stroke=stroke, **look)

    def words(
        self,
        at: Place,
        text: str,
        *,
        size: float = 11.5,
        anchor: str = "start",
        bold: bool = False,
        turn: float = 0.0,
        backed: bool = False,
    ) -> None:
        """A line of text.

        Args:
            at: where its middle height stands.
            text: what it says; nothing is drawn of an empty one.
            size: of its letters.
            anchor: which end stands there: ``"start"``, ``"middle"`` or ``"end"``.
            bold: whether its letters are.
            turn: degrees clockwise.
            backed: whether it has paper behind it.
        """
        if not text:
            return
        if backed:
            wide = 0.5 * LETTER * len(text) * size / 11.5
            right = {"start": wide, "middle": 0.0, "end": -wide}[anchor]
            self.box((at[0] + right, at[1]), (wide, 0.55 * size), fill=PAPER)
        self._shapes.append(_Words(at, clean(text), size, anchor, bold, turn))

    def hit(self, at: Place, text: str, reach: Place = (7.0, 7.0)) -> None:
        """A clear spot that shows ``text`` under a pointer.

        Args:
            at: its middle.
            text: what it says.
            reach: half its width and height.
        """
        (x, y), (wide, high) = at, reach
        self._hits.append((x - wide, y - high, 2 * wide, 2 * high, clean(text)))

    def to_svg(self, name: str, label: str) -> str:
        """The drawing as SVG text for inlining; ``label`` says in words what it shows."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(self.width)} {_n(self.height)}" role="img" '
            f'aria-label={quoteattr(clean(label))} id={quoteattr(name)} font-family="{_FAMILY}" stroke-linejoin="round" fill="none">'
        )
        body = [_svg_lines(s) if isinstance(s, _Lines) else _svg_words(s) for s in self._shapes]
        spots = "".join(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}"><title>{escape(text)}</title></rect>'
            for x, y, w, h, text in self._hits
        )
        return f'{head}{"".join(body)}<g fill="none" pointer-events="all">{spots}</g></svg>'

    def to_file(self, form: str) -> bytes:
        """The drawing on paper as the bytes of a ``png`` or ``pdf``, equal at every call.

        Raises:
            InputError: the extra ``figures`` is not installed.
        """
        refuse_undrawable(form)
        import matplotlib
        from matplotlib.figure import Figure
        from matplotlib.transforms import Affine2D

        metadata: dict[str, None] = dict.fromkeys(
            ["Software"] if form == "png" else ["CreationDate", "Creator", "Producer"]
        )
        with matplotlib.rc_context():  # no matplotlibrc changes a figure
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_SETTINGS)
            figure = Figure(figsize=(self.width / 72, self.height / 72), dpi=72, facecolor=PAPER)
            units: Any = Affine2D().scale(1 / 72, -1 / 72).translate(0, self.height / 72) + figure.dpi_scale_trans
            for order, shape in enumerate(self._shapes):
                _add(figure, shape, units, order)
            buffer = io.BytesIO()
            figure.savefig(buffer, format=form, dpi=_PNG_DPI if form == "png" else 72, metadata=metadata)
        return buffer.getvalue()


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _svg_lines(shape: _Lines) -> str:
    end = "Z" if shape.closed else ""
    path = "".join(f"M{'L'.join(f'{_n(x)} {_n(y)}' for x, y in run)}{end}" for run in shape.runs)
    look = f' fill="{shape.fill}"' if shape.fill else ""
    if shape.stroke:
        look += f' stroke="{shape.stroke}" stroke-width="{_n(shape.width)}"'
        if shape.dashes:
            look += f' stroke-dasharray="{" ".join(_n(part * shape.width) for part in shape.dashes)}"'
    return f'<path d="{path}"{look}{_opacity(shape)}/>'


def _opacity(shape: _Lines) -> str:
    return f' opacity="{_n(shape.alpha)}"' if shape.alpha < 1 else ""


def _svg_words(words: _Words) -> str:
    x, y = words.at[0], words.at[1] + (0.0 if words.turn else 0.35 * words.size)
    turned = f' transform="rotate({_n(words.turn)} {_n(x)} {_n(y)})" dy="{_n(0.35 * words.size)}"' if words.turn else ""
    bold, anchor = (
        ' font-weight="600"' if words.bold else "",
        f' text-anchor="{words.anchor}"' if words.anchor != "start" else "",
    )
    return f'<text x="{_n(x)}" y="{_n(y)}"{turned} fill="{INK}" font-size="{_n(words.size)}px"{bold}{anchor}>{escape(words.text)}</text>'


def _add(figure: Any, shape: _Lines | _Words, units: Any, order: int) -> None:
    """One shape for matplotlib, above those before it."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    if isinstance(shape, _Words):
        figure.text(
            *shape.at, shape.text, transform=units, fontsize=shape.size, color=INK, ha=_ANCHORS[shape.anchor], va="center_baseline",
            rotation=-shape.turn, rotation_mode="anchor", fontweight="bold" if shape.bold else "normal", zorder=order,
        )  # fmt: skip
        return
    paths = [Path([*run, run[0]] if shape.closed else run, closed=shape.closed) for run in shape.runs]
    style: Any = (0, tuple(shape.dashes)) if shape.dashes else "-"
    figure.add_artist(
        PathPatch(
            Path.make_compound_path(*paths), transform=units, fc=shape.fill or "none", ec=shape.stroke or "none",
            lw=shape.width if shape.stroke else 0, ls=style, alpha=shape.alpha, zorder=order, capstyle="butt", joinstyle="round",
        )
    )  # fmt: skip


class Head:
    """A figure's title, in bold, and under it which way is better.

    Args:
        title: what is shown.
        better: which way is better; may be empty.
        width: of the sheet, in user units.
    """

    def __init__(self, title: str, better: str, width: float = WIDTH) -> None:
        self.lines = textwrap.wrap(shorten(title, _MOST_LETTERS), int(width / 7.7), break_on_hyphens=False)
        self.better = better
        rows = len(self.lines) + bool(better)
        self.height = _LINE * rows + 6 * bool(rows)

    def draw(self, canvas: Canvas) -> None:
        """Write it at the top."""
        for row, line in enumerate([*self.lines, self.better]):
            title = row < len(self.lines)
            canvas.words((4, _LINE * (row + 0.5) + 2), line, size=12 if title else 11.5, bold=title)


class Drawing(str):
    """A figure as SVG text for inlining, which can be written as a file."""

    name: str
    _canvas: Canvas

    @classmethod
    def of(cls, canvas: Canvas, name: str, label: str) -> Drawing:
        """A canvas as a drawing.

        Args:
            canvas: what is drawn.
            name: its id, unique in the page.
            label: what it shows, in words, for who cannot see it.
        """
        drawing = cls(canvas.to_svg(name, label))
        drawing.name, drawing._canvas = name, canvas
        return drawing

    def __html__(self) -> str:
        """What a template takes for markup: the text as it is."""
        return str(self)

    def to_file(self, form: str) -> bytes:
        """The figure as a file that needs nothing around it.

        Args:
            form: one of `FORMATS`.
        """
        return standalone(self).encode("utf-8", "replace") if form == "svg" else self._canvas.to_file(form)


def standalone(svg: str) -> str:
    """An inline SVG as a file of its own: a size, the paper under it, and its colours where the reader's screen is dark."""
    head, body = svg.split(">", 1)
    width, height = (float(side) for side in re.findall(r"[\d.]+", head.split('viewBox="')[1])[2:4])
    scale = min(_SCALE, _WIDEST / width)
    style = f"<style>@media (prefers-color-scheme: dark) {{ {dark_style()} }}</style>"
    paper = f'<rect width="{width:g}" height="{height:g}" fill="{PAPER}" />'
    return f'{head} width="{scale * width:.0f}" height="{scale * height:.0f}">{style}{paper}{body}\n'
