"""The certificate of a training step as a badge for a README, and as a picture of who is coupled to whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from layerlocal.report.canvas import Drawing
from layerlocal.report.draw import draw_figure
from layerlocal.report.palette import WRONG
from layerlocal.summary import Axis, Figure, Point, Series
from layerlocal.words import clean, is_number, ratio

__all__ = ["badge_svg", "certificate_drawing", "certificate_figure", "tiny_matrix"]

Certificate = Mapping[str, Any]
DARK = {"block": "#1d7a45", "segment": "#2367a0", "global": "#5b6067"}
"""White letters have a contrast of 5:1 or more to each."""
LEFT_COLOUR = "#3b4046"
HIGH, EDGE, LETTER = 20.0, 6.0, 6.6
FITS = 4
"""Letters of a name beside a row, behind its number."""
AT_ONCE, LATER = "at once", "a step later"


def badge_svg(certificate: Certificate) -> str:
    """A badge as SVG text, 20 units high: ``locality | block · 0.33× memory``.

    Args:
        certificate: of `layerlocal.certify`; of it ``locality``, ``saved_bytes_vs_end_to_end``, ``verdict`` and ``boundaries`` are read.
    """
    name, value = "locality", _value(certificate)
    label, told = f"{name}: {value}", clean(certificate.get("verdict", ""))
    wide = [2 * EDGE + LETTER * len(text) for text in (name, value)]
    whole, colour = sum(wide), DARK.get(certificate["locality"], LEFT_COLOUR)
    words = "".join(
        f'<text x="{left + EDGE:.1f}" y="14" textLength="{room - 2 * EDGE:.1f}" lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
        for text, left, room in ((name, 0.0, wide[0]), (value, wide[0], wide[1]))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole:.1f}" height="{HIGH:g}" viewBox="0 0 {whole:.1f} {HIGH:g}" role="img" '
        f"aria-label={quoteattr(label)}><title>{escape(f'{label}. {told}' if told else label)}</title>"
        f'<clipPath id="round"><rect width="{whole:.1f}" height="{HIGH:g}" rx="3"/></clipPath><g clip-path="url(#round)">'
        f'<rect width="{wide[0]:.1f}" height="{HIGH:g}" fill="{LEFT_COLOUR}"/>'
        f'<rect x="{wide[0]:.1f}" width="{wide[1]:.1f}" height="{HIGH:g}" fill="{colour}"/></g>'
        f'<g fill="#ffffff" font-family="Verdana, \'DejaVu Sans\', sans-serif" font-size="11">{words}</g></svg>\n'
    )


def _value(certificate: Certificate) -> str:
    saved, locality = certificate.get("saved_bytes_vs_end_to_end"), clean(certificate["locality"])
    if not certificate.get("boundaries") or not is_number(saved):
        return locality
    return f"{locality} · {ratio(saved)} memory"


def certificate_figure(certificate: Certificate) -> Figure:
    """Two matrices, perturbed × changed: what changes at once, and what changes a step later only.

    Args:
        certificate: of `layerlocal.certify`.
    """
    halves = [(AT_ONCE, certificate["coupling"])]
    if any(any(row) for row in certificate["coupling_later"]):
        halves.append((LATER, certificate["coupling_later"]))
    return Figure(
        name="certificate",
        kind="matrix",
        title=f"Locality: {_value(certificate)}",
        caption=clean(certificate["verdict"]),
        note="row: perturbed; column: whose update changed",
        x=Axis(scale="category"),
        y=Axis(scale="category"),
        series=tuple(
            Series(name=title, points=tuple(_cells(certificate["groups"], matrix, title))) for title, matrix in halves
        ),
    )


def _cells(names: list[str], matrix: list[list[bool]], when: str) -> Iterator[Point]:
    """A change in a later group is as it should be; one in an earlier group is marked."""
    rows = _rows(names)
    for j, (perturbed, row) in enumerate(zip(names, matrix, strict=True)):
        for i, (updated, moved) in enumerate(zip(names, row, strict=True)):
            state = "no" if not moved else "wrong" if i < j else "yes"
            back = " (backwards)" if state == "wrong" else ""
            verb = "changed" if moved else "did not change"
            yield Point(
                x=str(i), y=rows[j], z=state, label=f"{perturbed} perturbed: the update of {updated} {verb} {when}{back}"
            )  # fmt: skip


def _rows(names: Sequence[str]) -> list[str]:
    """Groups by their numbers, with their names where all fit into the little room there is."""
    if all(name == f"group{i}" for i, name in enumerate(names)) or max(map(len, names)) > FITS:
        return [str(i) for i in range(len(names))]
    return [f"{i} {name}" for i, name in enumerate(names)]


def certificate_drawing(certificate: Certificate) -> Drawing:
    """The picture: its text is SVG for inlining, ``to_file("svg")``, ``"png"`` and ``"pdf"`` are files.

    Args:
        certificate: of `layerlocal.certify`.
    """
    return draw_figure(certificate_figure(certificate), "certificate")[0]


TINY = 18
"""Units of a small picture's side."""


def tiny_matrix(figure: Figure) -> Any:
    """The last matrix of a certificate, perturbed × changed, as inline SVG of the size of a word: no words in it, a text stands beside it.

    Args:
        figure: a matrix of `layerlocal.summary.Figure`.
    """
    from markupsafe import Markup

    points = figure.series[-1].points if figure.series else ()
    columns, rows = (list(dict.fromkeys(str(getattr(p, key)) for p in points)) for key in ("x", "y"))
    if not points:
        return Markup("")
    side = TINY / max(len(columns), len(rows))
    squares = "".join(
        f'<rect x="{side * columns.index(str(p.x)):.2f}" y="{side * rows.index(str(p.y)):.2f}" width="{0.85 * side:.2f}" '
        f'height="{0.85 * side:.2f}" {_paint(str(p.z))}/>'
        for p in points
    )
    return Markup(
        f'<svg class="tiny" width="{TINY}" height="{TINY}" viewBox="0 0 {TINY} {TINY}" aria-hidden="true" focusable="false">{squares}</svg>'
    )


def _paint(state: str) -> str:
    """Of a square of a tiny picture: full, red or faint."""
    colour = WRONG if state == "wrong" else "currentColor"
    return f'fill="{colour}" fill-opacity="{1 if state in ("yes", "wrong") else 0.15}"'
