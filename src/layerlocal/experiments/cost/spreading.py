"""Training on several processes as a part of a summary: what was measured beside the model of a step, and its outlook. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from layerlocal.summary import Axis, Column, Figure, Part, Point, Series, Table
from layerlocal.words import NOTHING, count, is_number, percent, plain

__all__ = ["spreading_part"]

Finding = Mapping[str, Any]


def spreading_part(part: Finding, name: str, command: str) -> Part:
    """The figure and the table of one network.

    Args:
        part: of ``distribution`` in a finding.
        name: of the figure.
        command: what makes it again.
    """
    methods = dict.fromkeys(row["method"] for row in [*part["rows"], *part["forecast"]])
    series = [
        Series(name=f"{method}, {words}", points=tuple(_points(part[key], method)))
        for method in methods
        for key, words in (("rows", "measured"), ("forecast", "model"))
    ]
    figure = Figure(
        name=name,
        title="Samples/s against processes",
        caption=(
            f"Samples/s of all processes together, measured and as the model of a step expects it where each process is as fast as one here: "
            f"{part['setting']}, n = {plain(part['n'])} rounds of {plain(part['steps'])} steps."
        ),
        x=Axis(label="processes", scale="log2"),
        y=Axis(label="samples/s", scale="log2", better="more"),
        series=tuple(series),
    )
    title = f"On several processes: {part['place']}"
    return Part(title=title, figures=(figure,), tables=(_table(part),), command=command)


def _points(rows: Any, method: str) -> list[Point]:
    return [
        Point(x=row["processes"], y=row["samples_per_s"], label=f"{percent(row.get('idle_share'))} idle")
        for row in rows
        if row["method"] == method and is_number(row.get("samples_per_s"))
    ]


def _table(part: Finding) -> Table:
    """One row a method and number of processes."""
    link = part.get("link") or {}
    told = f"{1e6 * link['latency_seconds']:,.0f} µs" if is_number(link.get("latency_seconds")) else NOTHING
    columns = (
        Column(key="method", label="method"),
        Column(key="processes", label="processes", kind="int"),
        Column(key="samples_per_s", label="samples/s", kind="count"),
        Column(key="speed_ratio", label="÷ data, bp", kind="ratio"),
        Column(key="model_samples_per_s", label="model: samples/s", kind="count"),
        Column(key="bytes_per_step", label="sent a step", kind="bytes"),
        Column(key="model_sent_bytes", label="model: sent", kind="bytes"),
        Column(key="idle_share", label="idle", kind="percent"),
        Column(key="model_idle_share", label="model: idle", kind="percent"),
    )
    own = ("method", "processes", "samples_per_s", "speed_ratio", "bytes_per_step", "idle_share")
    rows = tuple(
        {key: row.get(key) for key in own}
        | {f"model_{key}": (row.get("model") or {}).get(key) for key in ("samples_per_s", "sent_bytes", "idle_share")}
        for row in part["rows"]
    )
    caption = (
        f"Training on several processes of one thread: {part['place']}, n = {plain(part['n'])} rounds in turns; the pipeline has "
        f"{plain(part['micro_batches'])} micro-batches. Between two processes: {told}, {count(link.get('bytes_per_second'), 'B/s')}"
    )
    return Table(caption=caption, columns=columns, rows=rows)
