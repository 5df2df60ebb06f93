"""An audit's summary as plain data for the template: it is one part of the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from layerlocal.report import sections, verdict
from layerlocal.words import is_number, percent

__all__ = ["audit_facts", "audit_view"]


def audit_view(summary: dict[str, Any]) -> dict[str, Any]:
    """Every section of the audit; one that was not run says so and names the command that runs it.

    Args:
        summary: what ``layerlocal audit`` writes as ``summary.json``; any part may be missing.
    """
    accuracy, classes, cost = (summary.get(k) or {} for k in ("accuracy", "classes", "cost"))
    data = summary.get("data") or {}
    return {
        "command": str(summary.get("command") or "layerlocal audit"),
        "headline": verdict.headline(summary),
        "split_sentence": verdict.split_sentence(summary),
        "verdicts": verdict.rows(summary),
        "cost_network": verdict.cost_network(summary),
        "usual_reading": str(accuracy.get("usual_reading") or ""),
        "class_sentence": verdict.class_sentence(summary),
        "failed": [[str(f.get("label", "?")), str(f.get("reason", "?"))] for f in summary.get("failed") or []],
        "accuracy": {**sections.accuracy_section(accuracy), "command": accuracy.get("command")}
        if accuracy.get("rules")
        else None,
        "blocks": sections.block_section(accuracy, data.get("chance")),
        "classes": {**sections.class_section(classes), "command": classes.get("command")},
        "cost": {**sections.cost_section(cost), "command": cost.get("command")},
        "locality": sections.locality_section(summary.get("locality") or []),
    }


def audit_facts(summary: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What the line under the title says of an audit."""
    data = summary.get("data") or {}
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
    for word, value in (("network", (summary.get("accuracy") or {}).get("network")), ("size", summary.get("budget"))):
        if value:
            yield word, str(value)
