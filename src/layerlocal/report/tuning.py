"""A search's summary as plain data for the template: how far each method came trial by trial, and the best settings of each."""

from __future__ import annotations

from typing import Any

from layerlocal.report import plots
from layerlocal.report.sections import figure_view, table
from layerlocal.words import NOTHING, clean, is_number, percent, plain

__all__ = ["tune_table", "tune_view"]

View = dict[str, Any]


def tune_view(summary: View, anchor: str) -> View:
    """Everything the template shows of one search.

    Args:
        summary: see `layerlocal.experiments.tune.driver.run_tuning`; any part may be missing.
        anchor: the id of its section; ids in its figures begin with it.
    """
    command = clean(summary.get("command") or "layerlocal tune")
    budget = clean(summary.get("budget") or NOTHING)
    caption = f"The best validation accuracy so far against trials made: {budget}. The test split stayed closed."
    series = [
        {"name": clean(method.get("label", "?")), "panel": "best so far", "points": list(_best_so_far(method))}
        for method in summary.get("methods") or []
    ]
    figure = {
        "kind": "lines", "caption": caption, "series": series,
        "x": {"label": "trials"}, "y": {"label": "validation accuracy, %"},
    }  # fmt: skip
    svgs = plots.draw_figure(figure, anchor)
    return {
        "anchor": anchor,
        "name": clean(summary.get("name") or ""),
        "sentences": [clean(text) for text in summary.get("sentences") or []],
        "figures": [figure_view([], caption, command) | {"svgs": svgs}] if svgs else [],
        "table": tune_table(summary),
        "command": command,
    }


def _best_so_far(method: View) -> Any:
    best = None
    for number, trial in enumerate(method.get("trials") or [], 1):
        value = trial.get("value")
        if is_number(value):
            best = value if best is None else max(best, value)
        if best is not None:
            yield {"x": number, "y": 100 * best, "label": f"trial {number}: {percent(value)}"}


def tune_table(summary: View) -> View:
    """A row a method: its best trial, and what it was as it is."""
    space = [clean(text).partition("=")[0].rpartition("/")[2] for text in summary.get("space") or []]
    keys = list(dict.fromkeys(space))
    body = []
    for method in summary.get("methods") or []:
        best = method.get("best") or {}
        settings = best.get("settings") or {}
        body.append(
            [clean(method.get("label", "?")), plain(len(method.get("trials") or [])), percent(best.get("value")), percent(method.get("usual")),
             *(_setting(settings.get(key)) for key in keys), clean(method.get("command") or NOTHING)]
        )  # fmt: skip
    caption = f"Best settings of each method: {clean(summary.get('budget') or NOTHING)}"
    return table(
        caption, ["method", "trials", "best validation accuracy", "as it is", *keys, "trains and tests it"], body
    )


def _setting(value: Any) -> str:
    return NOTHING if value is None else plain(value) if is_number(value) else clean(str(value))
