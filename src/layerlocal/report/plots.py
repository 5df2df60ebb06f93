"""Figures that are described by dictionaries, drawn as `layerlocal.summary.Figure` is: until everything that is shown is a summary."""

from __future__ import annotations

from typing import Any

from layerlocal.report import draw
from layerlocal.report.canvas import Drawing
from layerlocal.summary import Axis, Figure, Point, Series

__all__ = ["draw_figure", "figure_of", "numbers"]


def figure_of(given: dict[str, Any]) -> Figure:
    """A figure from its description; what is not known is left out."""
    kept = {key: value for key, value in given.items() if key in Figure.model_fields and value is not None}
    for key in ("x", "y", "z"):
        if key in kept:
            kept[key] = _known(Axis, kept[key])
    kept["series"] = [
        Series(
            **_known(
                Series,
                s | {"points": [Point(**_known(Point, p)) for p in s.get("points") or [] if isinstance(p, dict)]},
            )
        )
        for s in kept.get("series") or []
        if isinstance(s, dict)
    ]
    return Figure(**{"name": "figure", **kept})


def _known(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key in model.model_fields and value is not None}


def draw_figure(given: dict[str, Any], name: str) -> list[Drawing]:
    """A figure's panels."""
    return draw.draw_figure(figure_of(given), name)


def numbers(given: dict[str, Any]) -> dict[str, Any]:
    """Every number of a figure as the arguments of `layerlocal.report.sections.table`."""
    head, rows, words = draw.number_rows(figure_of(given))
    return {"caption": "The figure's numbers", "head": head, "rows": rows, "words": words}
