"""A sheet to draw on with matplotlib, and how it becomes an inline SVG that follows the page, or a file of its own: SVG, PNG, PDF.

Colours are those of `palette`, real ones, as attributes: a page's style sheet gives ink and paper other colours where it is dark, and a program
that knows no style sheet reads the figure as it is. Ids are prefixed by the sheet's name, so that many SVGs can stand in one page.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

from layerlocal.report.canvas import FORMATS, Drawing, standalone
from layerlocal.report.palette import INK, PAPER
from layerlocal.words import clean, shorten

__all__ = ["FORMATS", "WIDTH", "Drawing", "Sheet", "draw", "standalone"]

WIDTH = 400  # user units; one is about one CSS pixel on a phone
_PNG_DPI = 144  # two pixels a user unit
_LINE, _MOST_LETTERS, _LEGEND_ROW = 16.0, 110, 15.4
_FAMILY = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
_RC: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.image_inline": True,
    "text.usetex": False,
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "font.family": ["DejaVu Sans"],
    "font.size": 12,
    "axes.titlesize": 12,
    "axes.labelsize": 12,
    "xtick.labelsize": 11.5,
    "ytick.labelsize": 11.5,
    "legend.fontsize": 11.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "path.simplify": False,
    "pdf.fonttype": 42,
    "figure.constrained_layout.use": False,
    "figure.autolayout": False,
}
_SVG = "{http://www.w3.org/2000/svg}"
_XLINK = "{http://www.w3.org/1999/xlink}"


class Sheet:
    """One figure being drawn; ``axes`` is its only plot unless the painter adds its own.

    Args:
        name: unique in the page; every id in the SVG starts with it.
        height: of what is under the title, in user units.
        title: what is shown, in bold above everything.
        better: which way is better, under it.
        bare: leave the placing of axes to the painter, who leaves ``header`` user units free at the top.
        width: in user units.
    """

    def __init__(
        self, name: str, height: float, *, title: str = "", better: str = "", bare: bool = False, width: float = WIDTH
    ) -> None:
        from matplotlib.figure import Figure

        lines = textwrap.wrap(shorten(clean(title), _MOST_LETTERS), int(width / 7.7), break_on_hyphens=False)
        self.header = _LINE * (len(lines) + bool(better)) + (6 if lines or better else 0)
        self.name, self.height, self.width = name, height + self.header, width
        size = (width / 72, self.height / 72)
        self.figure: Any = Figure(figsize=size, dpi=72, layout=None if bare else "constrained")
        self._tips: dict[str, str] = {}
        self._hits: list[tuple[Any, tuple[float, float, float, float], str]] = []
        for row, line in enumerate([*lines, *([better] if better else [])]):
            self.figure.text(
                4 / width, 1 - (_LINE * (row + 0.5) + 2) / self.height, line, va="center",
                fontweight="bold" if row < len(lines) else "normal", fontsize=12 if row < len(lines) else 11.5,
            )  # fmt: skip
        if not bare:
            engine: Any = self.figure.get_layout_engine()
            engine.set(w_pad=3 / 72, h_pad=3 / 72, rect=(0, 0, 1, self.under))
            self.axes: Any = self.figure.add_subplot()
            self.plain(self.axes)

    @property
    def under(self) -> float:
        """Where the title ends, as a share of the height."""
        return 1 - self.header / self.height

    def plain(self, axes: Any, *, grid: str = "y") -> None:
        """Two thin spines, no background, a faint grid along one axis."""
        axes.patch.set_visible(False)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_alpha(0.45)
            spine.set_linewidth(0.8)
        axes.tick_params(length=3, width=0.8)
        axes.set_axisbelow(True)
        axes.grid(False)
        axes.grid(True, axis=grid, color=INK, alpha=0.14, linewidth=0.7)

    def tip(self, artist: Any, text: str) -> Any:
        """Shows ``text`` when a pointer rests on the artist."""
        gid = f"tip{len(self._tips)}"
        self._tips[gid] = clean(text)
        artist.set_gid(gid)
        return artist

    def hit(self, axes: Any, x: float, y: float, text: str) -> None:
        """A clear spot over a point that shows ``text`` under a pointer."""
        self._hits.append((axes, (x, y, x, y), clean(text)))

    def hit_cell(self, axes: Any, column: float, row: float, text: str) -> None:
        """The same over one cell of a matrix."""
        self._hits.append((axes, (column, row, column + 1, row + 1), clean(text)))

    def legend(self, handles: list[Any] | None = None, columns: int = 3) -> None:
        """A frameless legend above the plot."""
        known, labels = self.axes.get_legend_handles_labels()
        handles = handles or known
        engine: Any = self.figure.get_layout_engine()
        top = self.under - (4 + _LEGEND_ROW * math.ceil(len(handles) / columns)) / self.height
        engine.set(rect=(0, 0, 1, top))
        self.figure.legend(
            handles,
            [h.get_label() for h in handles] if handles is not known else labels,
            loc="upper left",
            bbox_to_anchor=(0, self.under),
            borderaxespad=0.1,
            labelspacing=0.3,
            ncols=columns,
            frameon=False,
            borderpad=0.1,
            handlelength=1.8,
            columnspacing=1.1,
            handletextpad=0.5,
        )

    def to_svg(self, label: str) -> str:
        """The drawing as SVG text for inlining; ``label`` says in words what it shows."""
        self.figure.patch.set_visible(False)
        root = ET.fromstring(self._saved("svg", metadata={"Date": None, "Creator": None}))
        _strip(root)
        self._add_hits(root)
        for element in root.iter():
            _stand_alone(element, self.name)
            tip = self._tips.get(element.attrib.get("id", "").removeprefix(f"{self.name}-"))
            if tip is not None:
                title = ET.Element("title")
                title.text = tip
                element.insert(0, title)
        root.attrib = {
            "xmlns": _SVG[1:-1],
            "viewBox": root.attrib["viewBox"],
            "role": "img",
            "aria-label": clean(label),
            "id": self.name,
            "font-family": _FAMILY,
            "stroke-linejoin": "round",
            "stroke-linecap": "butt",
        }
        return ET.tostring(root, encoding="unicode")

    def to_file(self, form: str) -> bytes:
        """The drawing on paper as the bytes of a ``png`` or ``pdf``, equal at every call."""
        self.figure.patch.set(visible=True, facecolor=PAPER)
        if form == "png":
            return self._saved("png", dpi=_PNG_DPI, metadata={"Software": None})
        return self._saved("pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})

    def _saved(self, form: str, **how: Any) -> bytes:
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # the browser has the fonts
            self.figure.savefig(buffer, format=form, **how)
        return buffer.getvalue()

    def _add_hits(self, root: ET.Element) -> None:
        """Clear rectangles with a native tooltip, placed where matplotlib's final layout put the points."""
        group = ET.SubElement(root, "g", {"fill": "none", "stroke": "none", "pointer-events": "all"})
        for axes, (left, bottom, right, top), text in self._hits:
            (x0, y0), (x1, y1) = axes.transData.transform([(left, bottom), (right, top)])
            pad = 7.0 if x0 == x1 else 0.0
            x, y, w, h = (
                min(x0, x1) - pad,
                self.height - max(y0, y1) - pad,
                abs(x1 - x0) + 2 * pad,
                abs(y1 - y0) + 2 * pad,
            )
            box = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{w:.1f}", "height": f"{h:.1f}"}
            ET.SubElement(ET.SubElement(group, "rect", box), "title").text = text


class Painted(Drawing):
    """A drawing of matplotlib's."""

    _paint: Callable[[], Sheet]

    def to_file(self, form: str) -> bytes:
        """The figure as a file that needs nothing around it; ``form`` is one of `FORMATS`."""
        if form == "svg":
            return standalone(self).encode("utf-8", "replace")
        with _settings(self.name):
            return self._paint().to_file(form)


def draw(
    name: str,
    height: float,
    label: str,
    paint: Callable[[Sheet], None],
    *,
    title: str = "",
    better: str = "",
    bare: bool = False,
    width: float = WIDTH,
) -> Drawing:
    """Runs a painter on a fresh sheet under our own settings (no matplotlibrc changes them); the arguments are those of `Sheet`.

    Args:
        name: see `Sheet`.
        height: see `Sheet`.
        label: what the figure shows, in words, for who cannot see it.
        paint: draws on the sheet.
        title: see `Sheet`.
        better: see `Sheet`.
        bare: see `Sheet`.
        width: see `Sheet`.
    """

    def painted() -> Sheet:
        sheet = Sheet(name, height, title=title, better=better, bare=bare, width=width)
        paint(sheet)
        return sheet

    with _settings(name):
        drawing = Painted(painted().to_svg(label))
    drawing.name, drawing._paint = name, painted
    return drawing


def _settings(name: str) -> Any:
    import matplotlib

    settings: Any = {**_RC, "svg.hashsalt": name}
    return matplotlib.rc_context(settings)


def _strip(root: ET.Element) -> None:
    """Drops metadata and the global style sheet, and the namespaces from every name."""
    for parent in list(root.iter()):
        for child in list(parent):
            tag = child.tag.removeprefix(_SVG)
            if tag in ("metadata", "style") or (tag == "defs" and all(c.tag == f"{_SVG}style" for c in child)):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        href = element.attrib.pop(f"{_XLINK}href", None)
        if href is not None:
            element.set("href", href)


def _stand_alone(element: ET.Element, name: str) -> None:
    """Prefixes the ids an element has or points to, and turns its style into attributes, which a page's style sheet can change."""
    for declaration in filter(None, map(str.strip, element.attrib.pop("style", "").split(";"))):
        key, _, value = declaration.partition(":")
        if key == "font":
            element.attrib |= _font(value)
        elif key != "font-family":  # the page's, or the file's
            element.set(key, value.strip())
    for key, value in element.attrib.items():
        if key == "id":
            element.set(key, f"{name}-{value}")
        elif key == "href":
            element.set(key, value.replace("#", f"#{name}-", 1))
        elif "url(#" in value:
            element.set(key, value.replace("url(#", f"url(#{name}-"))


def _font(value: str) -> dict[str, str]:
    """``700 11px 'DejaVu Sans', ...`` -> size and weight only; the family is the page's."""
    size = re.search(r"([\d.]+)px", value)
    weight = {"font-weight": "600"} if re.search(r"\b(bold|[6-9]00)\b", value) else {}
    return {"font-size": f"{size[1] if size else 11}px", **weight}
