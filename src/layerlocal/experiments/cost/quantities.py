"""What claims about cost are tested on: ratios of a rule to backprop, one value a round or process, in the form of a study's quantities.

    {rule: {name: {"what", "unit": "×", "of": "rounds" or "processes", "values": {number: ratio}}}}

    memory_against_bp, speed_against_bp              the rule as it is ÷ plain bp
    memory_against_micro_bp, speed_against_micro_bp  the rule as it is ÷ bp in the most micro-batches that were measured
    layers_against_pipeline                          samples/s with layers on several processes ÷ a pipeline of bp on as many

Memory is CUDA's where there is a GPU, else the process's. Of several networks the one with the largest images speaks: it is what the
claims are about; training on text says nothing of them. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["COST_QUANTITIES", "cost_quantities"]

COST_QUANTITIES = (
    "memory_against_bp", "speed_against_bp", "memory_against_micro_bp", "speed_against_micro_bp", "layers_against_pipeline",
)  # fmt: skip
"""What claims about cost can name."""

Row = Mapping[str, Any]
Found = dict[str, dict[str, dict[str, Any]]]


def cost_quantities(summary: Row) -> Found:
    """Every quantity of every block-local rule of a cost audit's summary."""
    found: Found = {}
    groups = [group for group in summary.get("groups") or [] if group["rows"] and "image_size" in group]
    if groups:
        for rule, name, quantity in _of_group(max(groups, key=lambda group: group["image_size"])):
            found.setdefault(rule, {})[name] = quantity
    spread = [part for part in summary.get("distribution") or [] if "context" not in part]
    for part in spread[:1]:
        for rule, quantity in _of_distribution(part):
            found.setdefault(rule, {})["layers_against_pipeline"] = quantity
    return found


def _of_group(group: Row) -> Iterator[tuple[str, str, dict[str, Any]]]:
    rows = {row["label"]: row for row in group["rows"]}
    micro = [row for row in group["rows"] if row["rule"] == "bp" and row["mode"].startswith("micro-")]
    rivals = {"bp": rows.get("bp"), "micro_bp": max(micro, key=lambda row: int(row["mode"][6:]), default=None)}
    for row in group["rows"]:
        if row["mode"] != "plain" or row.get("locality") != "block":
            continue
        for key, rival in rivals.items():
            for what, values, of in (("memory", "memories", "processes"), ("speed", "speeds", "rounds")):
                if rival is not None and row.get(values) and rival.get(values):
                    words = f"{'samples/s' if what == 'speed' else 'memory'} of {row['label']} ÷ {rival['label']}: {group['place']}"
                    yield row["rule"], f"{what}_against_{key}", _ratio(row[values], rival[values], words, of)


def _of_distribution(part: Row) -> Iterator[tuple[str, dict[str, Any]]]:
    most = max(row["processes"] for row in part["rows"])
    rows = {row["method"]: row for row in part["rows"] if row["processes"] == most}
    rival = rows.get("pipeline, bp")
    for method, row in rows.items():
        way, _, rule = method.partition(", ")
        if way == "layers" and rival is not None and most > 1:
            words = f"samples/s of {method} ÷ pipeline, bp on {most} processes: {part['place']}"
            yield rule, _ratio(row["speeds"], rival["speeds"], words, "rounds")


def _ratio(own: Sequence[float], other: Sequence[float], what: str, of: str) -> dict[str, Any]:
    values = {str(index): a / b for index, (a, b) in enumerate(zip(own, other, strict=False))}
    return {"what": what, "unit": "×", "of": of, "values": values}
