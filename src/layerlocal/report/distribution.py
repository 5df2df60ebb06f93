"""Training on several processes as plain data for the template: what was measured beside the model, and the model's outlook."""

from __future__ import annotations

from typing import Any

from layerlocal.report import plots
from layerlocal.report.sections import figure_view, table
from layerlocal.words import NOTHING, byte_count, clean, count, is_number, percent, plain, ratio_estimate

__all__ = ["distribution_table", "distribution_view"]

View = dict[str, Any]


def distribution_view(part: View, command: str, name: str) -> View:
    """The figure and the table of one network.

    Args:
        part: see `layerlocal.experiments.cost.summary`; anything may be missing.
        command: what made it.
        name: ids in the figure begin with it.
    """
    panel = "samples/s against processes"
    methods = dict.fromkeys(clean(r.get("method", "?")) for r in [*_rows(part, "rows"), *_rows(part, "forecast")])
    series = []
    for method in methods:
        for key, words in (("rows", "measured"), ("forecast", "model")):
            points = [
                {"x": r["processes"], "y": r["samples_per_s"], "label": f"{percent(r.get('idle_share'))} idle"}
                for r in _rows(part, key)
                if clean(r.get("method", "?")) == method and is_number(r.get("processes")) and is_number(r.get("samples_per_s"))
            ]  # fmt: skip
            series.append({"name": f"{method}, {words}", "panel": panel, "points": points})
    caption = (
        f"Samples/s of all processes together, measured and as the model of a step expects it where each process is as fast as one here: "
        f"{clean(part.get('setting'))}, n = {plain(part.get('n'))} rounds of {plain(part.get('steps'))} steps."
    )
    figure = {
        "kind": "lines", "caption": caption, "series": series,
        "x": {"label": "processes", "scale": "log2"}, "y": {"label": "samples/s", "scale": "log2"},
    }  # fmt: skip
    numbers = plots.numbers(figure)
    svgs = plots.draw_figure(figure, name)
    shown = figure_view([], caption, command, numbers=[table(**numbers)] if numbers["rows"] else [])
    return {"figures": [shown | {"svgs": svgs, "folded": True}] if svgs else [], "table": distribution_table(part)}


def distribution_table(part: View) -> View:
    """One row a method and number of processes."""
    link = part.get("link") or {}
    caption = (
        f"Training on several processes of one thread: {clean(part.get('place'))}, n = {plain(part.get('n'))} rounds in turns; the pipeline "
        f"has {plain(part.get('micro_batches'))} micro-batches. Between two processes: {_microseconds(link.get('latency_seconds'))}, "
        f"{count(link.get('bytes_per_second'), 'B/s')}"
    )
    head = [
        "method",
        "processes",
        "samples/s",
        "÷ data, bp",
        "model: samples/s",
        "sent a step",
        "model: sent",
        "idle",
        "model: idle",
    ]
    body = []
    for row in _rows(part, "rows"):
        model = row.get("model") or {}
        body.append(
            [clean(row.get("method", "?")), plain(row.get("processes")), count(row.get("samples_per_s")), ratio_estimate(row.get("speed_ratio")),
             count(model.get("samples_per_s")), byte_count(row.get("bytes_per_step")), byte_count(model.get("sent_bytes")),
             percent(row.get("idle_share")), percent(model.get("idle_share"))]
        )  # fmt: skip
    return table(caption, head, body)


def _rows(part: View, key: str) -> list[View]:
    return [row for row in part.get(key) or [] if isinstance(row, dict)]


def _microseconds(seconds: Any) -> str:
    return f"{1e6 * seconds:,.0f} µs" if is_number(seconds) else NOTHING
