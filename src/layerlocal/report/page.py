"""Summary -> HTML. The template escapes every string; the only markup let through is our own SVG and style sheet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from layerlocal.report import figures, sections, svg, verdict
from layerlocal.report.format import is_number, percent
from layerlocal.store import write_atomic
from layerlocal.types import InputError

__all__ = ["readme_figure", "render_page", "write_page"]

_HERE = Path(__file__).parent


def render_page(summary: dict[str, Any]) -> str:
    """One self-contained HTML page; a section that was not run says so and names the command that runs it.

    Args:
        summary: what ``layerlocal audit`` writes as ``summary.json``; any part may be missing.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style = Markup((_HERE / "page.css").read_text(encoding="utf-8"))
    return environment.get_template("page.html").render(style=style, **_view(summary))


def readme_figure(summary: dict[str, Any]) -> str:
    """The page's first figure, every rule's paired differences, as an SVG file that needs no page around it."""
    rules = (summary.get("accuracy") or {}).get("rules") or []
    if not rules:
        raise InputError("this summary has no accuracy section to draw; `layerlocal audit` writes one")
    return svg.standalone(figures.forest(rules))


def write_page(summary: dict[str, Any], path: Path) -> Path:
    """Writes the page to ``path`` by an atomic rename, so that a reader never sees half of it."""
    path = Path(path)
    data = render_page(summary).encode("utf-8", "replace")
    write_atomic(path, data)
    return path


def _view(summary: dict[str, Any]) -> dict[str, Any]:
    accuracy, classes, cost = (summary.get(k) or {} for k in ("accuracy", "classes", "cost"))
    data, runs = summary.get("data") or {}, summary.get("runs") or []
    return {
        "title": str(summary.get("title") or "layerlocal audit"),
        "facts": list(_facts(summary, data, len(runs))),
        "command": str(summary.get("command") or "layerlocal audit"),
        "headline": verdict.headline(summary),
        "split_sentence": verdict.split_sentence(summary),
        "verdicts": verdict.rows(summary),
        "class_sentence": verdict.class_sentence(summary),
        "failed": [(str(f.get("label", "?")), str(f.get("reason", "?"))) for f in summary.get("failed") or []],
        "accuracy": {**sections.accuracy_section(accuracy), "command": accuracy.get("command")}
        if accuracy.get("rules")
        else None,
        "blocks": sections.block_section(accuracy, data.get("chance")),
        "classes": {**sections.class_section(classes), "command": classes.get("command")},
        "cost": {**sections.cost_section(cost), "command": cost.get("command")},
        "locality": sections.locality_section(summary.get("locality") or []),
        "environment": _pairs(summary.get("environment") or {}),
        "data": _pairs(data),
        "runs": sections.run_table(runs),
    }


def _facts(summary: dict[str, Any], data: dict[str, Any], runs: int) -> Iterator[tuple[str, str]]:
    """The line under the title."""
    if data.get("name"):
        yield "data", str(data["name"])
    sizes = [
        f"{data[k]:,} {w}"
        for k, w in (("num_train", "train"), ("num_validation", "validation"), ("num_test", "test"))
        if is_number(data.get(k))
    ]
    if sizes:
        yield "samples", ", ".join(sizes)
    if is_number(data.get("num_classes")):
        yield (
            "classes",
            f"{data['num_classes']}"
            + (f" (chance {percent(data['chance'])})" if is_number(data.get("chance")) else ""),
        )
    network = (summary.get("accuracy") or {}).get("network")
    for word, value in (
        ("network", network),
        ("budget", summary.get("budget")),
        ("runs", runs or None),
        ("made", summary.get("created")),
    ):
        if value:
            yield word, f"{value:,}" if isinstance(value, int) else str(value)
    if summary.get("layerlocal"):
        yield "layerlocal", f"{summary['layerlocal']}, protocol {summary.get('protocol', '?')}"


def _pairs(mapping: dict[str, Any]) -> list[tuple[str, str]]:
    """A mapping as rows; what is nested is written as JSON."""
    return [
        (str(k), json.dumps(v, ensure_ascii=False, default=str) if isinstance(v, dict | list) else str(v))
        for k, v in mapping.items()
    ]
