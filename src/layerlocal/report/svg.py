"""A sheet to draw on with matplotlib, and how it becomes an inline SVG that follows the page.

Colours are *tokens*: odd hex values that are turned into ``currentColor`` or a CSS variable (with a fallback that is
legible on white and on black) once matplotlib has drawn. Ids are prefixed by the sheet's name, so that many SVGs can
stand in one page.
"""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

from layerlocal.report.format import clean

__all__ = ["BP", "EXTRA", "INK", "LOCAL", "PAPER", "PRICE", "SERIES", "WIDTH", "WRONG", "Sheet", "draw", "standalone"]

WIDTH = 400  # user units; one is about one CSS pixel on a phone
INK, PAPER, LOCAL, EXTRA, PRICE, WRONG = "#010101", "#010102", "#010103", "#010104", "#010105", "#010106"
BP = INK
SERIES = (LOCAL, PRICE, "#010107", "#010108", "#010109", "#01010a")
_TOKENS = {
    INK: "currentColor",
    PAPER: "var(--paper, none)",
    LOCAL: "var(--local, #3a86c8)",
    EXTRA: "var(--extra, #c8761c)",
    PRICE: "var(--price, #a763b8)",
    WRONG: "var(--wrong, #e0483e)",
    "#010107": "var(--green, #3d9a63)",
    "#010108": "var(--rose, #c95f87)",
    "#010109": "var(--teal, #2f96a0)",
    "#01010a": "var(--olive, #8f8a2e)",
}
_RC: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.image_inline": True,
    "text.usetex": False,
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "font.family": ["DejaVu Sans"],
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "legend.fontsize": 10.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "path.simplify": False,
    "figure.constrained_layout.use": False,
    "figure.autolayout": False,
}
_SVG = "{http://www.w3.org/2000/svg}"
_XLINK = "{http://www.w3.org/1999/xlink}"


class Sheet:
    """One figure being drawn; ``axes`` is its only plot unless the painter adds its own.

    Args:
        name: unique in the page; every id in the SVG starts with it.
        height: in user units.
        bare: leave the placing of axes to the painter.
        width: in user units.
    """

    def __init__(self, name: str, height: float, *, bare: bool = False, width: float = WIDTH) -> None:
        from matplotlib.figure import Figure

        self.name, self.height, self.width = name, height, width
        self.figure: Any = Figure(figsize=(width / 72, height / 72), dpi=72, layout=None if bare else "constrained")
        self._tips: dict[str, str] = {}
        self._hits: list[tuple[Any, tuple[float, float, float, float], str]] = []
        if not bare:
            engine: Any = self.figure.get_layout_engine()
            engine.set(w_pad=3 / 72, h_pad=3 / 72)
            self.axes: Any = self.figure.add_subplot()
            self.plain(self.axes)

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
        self.figure.legend(
            handles,
            [h.get_label() for h in handles] if handles is not known else labels,
            loc="outside upper left",
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
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # the browser has the fonts
            self.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        root = ET.fromstring(buffer.getvalue())
        _strip(root)
        self._add_hits(root)
        for element in root.iter():
            _follow_page(element, self.name)
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
            "style": "stroke-linejoin: round; stroke-linecap: butt",
        }
        return ET.tostring(root, encoding="unicode")

    def _add_hits(self, root: ET.Element) -> None:
        """Clear rectangles with a native tooltip, placed where matplotlib's final layout put the points."""
        group = ET.SubElement(root, "g", {"style": "fill: none; stroke: none; pointer-events: all"})
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


def draw(
    name: str, height: float, label: str, paint: Callable[[Sheet], None], *, bare: bool = False, width: float = WIDTH
) -> str:
    """Runs a painter on a fresh sheet under our own settings (no matplotlibrc changes them) and returns the SVG."""
    import matplotlib

    settings: Any = {**_RC, "svg.hashsalt": name}
    with matplotlib.rc_context(settings):
        sheet = Sheet(name, height, bare=bare, width=width)
        paint(sheet)
        return sheet.to_svg(label)


def standalone(svg: str) -> str:
    """An inline SVG as a file of its own: it brings the ink and the font that the page gave it, light and dark."""
    style = (
        "<style>svg { color: #1b1e21; font-family: system-ui, sans-serif; } "
        "@media (prefers-color-scheme: dark) { svg { color: #e9e8e4; } }</style>"
    )
    head, body = svg.split(">", 1)
    return f"{head}>{style}{body}"


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


def _follow_page(element: ET.Element, name: str) -> None:
    """Prefixes the ids an element has or points to, and turns its style into one that follows the page."""
    for key, value in element.attrib.items():
        if key == "id":
            element.set(key, f"{name}-{value}")
        elif key == "href":
            element.set(key, value.replace("#", f"#{name}-", 1))
        elif "url(#" in value:
            element.set(key, value.replace("url(#", f"url(#{name}-"))
    style = element.get("style")
    if style:
        for token, colour in _TOKENS.items():
            style = style.replace(token, colour)
        element.set("style", re.sub(r"\bfont: ([^;]*)", _font, style))


def _font(match: re.Match[str]) -> str:
    """``font: 700 11px 'DejaVu Sans', ...`` -> size and weight only; the family is the page's."""
    size = re.search(r"([\d.]+)px", match[1])
    weight = "; font-weight: 600" if re.search(r"\b(bold|[6-9]00)\b", match[1]) else ""
    return f"font-size: {size[1] if size else 11}px{weight}"
