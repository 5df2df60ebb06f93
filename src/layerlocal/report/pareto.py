"""The Pareto figure of a cost audit: memory against samples/s, every method a point, theory's limits and the paper's two points drawn in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from layerlocal.report.palette import BP, INK, PAPER, Look, looks_of
from layerlocal.report.svg import Drawing, Sheet, draw
from layerlocal.words import is_number, shorten

__all__ = ["draw_pareto"]

_MODES = {"plain": ("", "as it is"), "checkpointing": ("c", "checkpointing"), "step-per-block": ("b", "step per block")}
_OTHER = ("m", "micro-batches")
"""A mode's letter beside its point, and what it means."""
_PAPER_MARK = "*"


def draw_pareto(
    points: Sequence[dict[str, Any]],
    *,
    title: str,
    x_label: str,
    y_label: str,
    name: str,
    limits: dict[str, Any] | None = None,
    paper: Sequence[dict[str, Any]] = (),
    reference: bool = False,
) -> Drawing:
    """Points ``{"label", "rule", "mode", "x", "y", "low", "high", "text"}``; the best of them are named and joined by a line.

    Args:
        points: ``low`` and ``high`` are quartiles of ``y``, or ``None``; ``text`` is shown under a pointer.
        title: of the panel.
        x_label: memory.
        y_label: speed.
        name: of the SVG, unique in the page.
        limits: ``{"x", "x_text", "y", "y_text"}``: what theory allows a block-local rule; either number may be ``None``.
        reference: whether both axes are ratios to plain BP, whose point (1, 1) is then drawn in.
        paper: as points, with ``label``, ``x``, ``y`` and ``text``.
    """
    points = [p for p in points if is_number(p.get("x")) and is_number(p.get("y"))]
    paper = [p for p in paper if is_number(p.get("x")) and is_number(p.get("y"))]
    limits = limits or {}
    rules = list(dict.fromkeys(p["rule"] for p in points))
    looks = dict(zip(rules, looks_of(rules, rules), strict=True))

    def paint(sheet: Sheet) -> None:
        ax = sheet.axes
        ax.grid(True, axis="both", color=INK, alpha=0.12, linewidth=0.7)
        if reference:
            _reference(sheet, ax)
        _limit_lines(ax, limits)
        best = [p for p in points if p.get("front")]
        best.sort(key=lambda p: p["x"])
        ax.plot([p["x"] for p in best], [p["y"] for p in best], color=INK, lw=1, alpha=0.4, zorder=1)
        for p in points:
            _point(sheet, p, looks[p["rule"]])
        for p in paper:
            ax.plot([p["x"]], [p["y"]], _PAPER_MARK, color=PAPER, mec=INK, ms=12, mew=1.1, zorder=4)
            sheet.hit(ax, p["x"], p["y"], p["text"])
        _bounds(ax, points, paper, limits)
        ax.set_xlabel(x_label)
        ax.set_ylabel(y_label)
        sheet.legend(_handles(points, paper, limits, looks, reference), 3)

    words = _spoken(title, points, limits, paper)
    return draw(name, 356, words, paint, title=title, better="up and left is better; the filled marks are the best")


def _letter(mode: str) -> str:
    return _MODES.get(mode, _OTHER)[0]


def _reference(sheet: Sheet, ax: Any) -> None:
    """Plain BP: both ratios are 1."""
    look: dict[str, Any] = {"color": BP, "lw": 0.9, "ls": (0, (4, 2)), "alpha": 0.8}
    ax.axvline(1, **look)
    ax.axhline(1, **look)
    ax.plot([1], [1], "o", color=BP, mfc="none", ms=15, mew=1.2)


def _point(sheet: Sheet, p: dict[str, Any], look: Look) -> None:
    ax, colour = sheet.axes, look.colour
    if is_number(p.get("low")) and is_number(p.get("high")):
        ax.plot([p["x"], p["x"]], [p["low"], p["high"]], color=colour, lw=1.2, alpha=0.6)
    face = colour if p.get("front") else PAPER
    ax.plot([p["x"]], [p["y"]], look.marker, color=colour, mfc=face, mec=colour, ms=7.5, mew=1.5, zorder=3)
    letter = _letter(p["mode"])
    if letter:
        ax.annotate(letter, (p["x"], p["y"]), (5, 3), textcoords="offset points", fontsize=10.5, zorder=4)
    sheet.hit(ax, p["x"], p["y"], p["text"])


def _limit_lines(ax: Any, limits: dict[str, Any]) -> None:
    if is_number(limits.get("x")):
        ax.axvline(limits["x"], color=INK, lw=1.1, ls=(0, (1, 1.4)), alpha=0.8)
    if is_number(limits.get("y")):
        ax.axhline(limits["y"], color=INK, lw=1.1, ls=(0, (5, 2)), alpha=0.8)


def _bounds(ax: Any, points: Sequence[Any], paper: Sequence[Any], limits: dict[str, Any]) -> None:
    """From zero, so that lengths compare as ratios do."""
    xs = [p["x"] for p in [*points, *paper]] + ([limits["x"]] if is_number(limits.get("x")) else [])
    ys = [p.get("high") or p["y"] for p in [*points, *paper]] + ([limits["y"]] if is_number(limits.get("y")) else [])
    ax.set_xlim(0, 1.08 * max(xs, default=1))
    ax.set_ylim(0, 1.08 * max(ys, default=1))


def _handles(
    points: Sequence[Any], paper: Sequence[Any], limits: dict[str, Any], looks: dict[str, Look], reference: bool
) -> list[Any]:
    from matplotlib.lines import Line2D

    def handle(label: str, **look: Any) -> Any:
        return Line2D([], [], label=label, **{"ls": "none", "ms": 6.5, "color": INK, **look})

    found = [handle(shorten(rule, 16), marker=look.marker, color=look.colour) for rule, look in looks.items()]
    used = dict.fromkeys(_letter(p["mode"]) for p in points)
    found += [handle(f"{letter}: {text}") for letter, text in (*_MODES.values(), _OTHER) if letter and letter in used]
    if reference:
        found.append(handle("plain BP (1, 1)", marker="o", mfc="none", mec=BP, ms=11))
    if paper:
        found.append(handle("the paper's points", marker=_PAPER_MARK, mfc="none", mec=INK, ms=10))
    if is_number(limits.get("x")):
        found.append(handle("least memory, local", ls=(0, (1, 1.4)), lw=1.3))
    if is_number(limits.get("y")):
        found.append(handle("most speed, local", ls=(0, (5, 2)), lw=1.3))
    return found


def _spoken(title: str, points: Sequence[Any], limits: dict[str, Any], paper: Sequence[Any]) -> str:
    """What a screen reader says in place of the drawing."""
    told = [p["text"] for p in points]
    best = [p["label"] for p in points if p.get("front")]
    told += [f"on the Pareto front: {', '.join(best)}"] if best else []
    told += [limits[key] for key in ("x_text", "y_text") if limits.get(key)]
    told += [p["text"] for p in paper]
    return f"Scatter plot. {title}. {'; '.join(told)}."
