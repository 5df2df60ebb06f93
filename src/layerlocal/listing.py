"""What `layerlocal list` shows."""

from __future__ import annotations

from typing import Any

from layerlocal.data import benchmark_table, list_data
from layerlocal.networks import create_network, list_networks
from layerlocal.rules import find_rule, list_rules, rule_options
from layerlocal.types import unknown_name

__all__ = ["describe"]


def _rules() -> list[dict[str, Any]]:
    rows = []
    for name in list_rules():
        rule = find_rule(name)
        options = ", ".join(f"{key}={value}" for key, value in rule_options(rule).items())
        info = rule.info
        rows.append(
            {
                "rule": name,
                "locality": info.locality,
                "passes a step / prediction": f"{info.passes_per_step} / {'K' if info.passes_per_prediction == 'num_classes' else 1}",
                "what": info.summary,
                "options (--set rule.NAME=VALUE)": options
                + (", and those of the rule `of`" if "of" in options else ""),
            }
        )
    return rows


def _networks() -> list[dict[str, Any]]:
    rows = []
    for name in list_networks():
        network = create_network(name, in_channels=3, image_size=32, seed=0)
        millions = sum(p.numel() for p in network.parameters()) / 1e6
        rows.append({"network": name, "blocks": network.depth, "million parameters (3×32×32)": f"{millions:.2f}"})
    return rows


def _data() -> list[dict[str, Any]]:
    hub = {info.name: info for info in benchmark_table()}
    rows = []
    for name in list_data():
        info = hub.get(name)
        rows.append(
            {
                "data": name,
                "from": f"Hub: {info.hub_id}"
                if info
                else "in the package"
                if name != "teacher_student"
                else "synthetic",
                "licence": info.licence if info else "MIT" if name != "teacher_student" else "–",
                "exercised": (info.note if info else "in tests"),
            }
        )
    return rows


SECTIONS = {"rules": _rules, "networks": _networks, "data": _data}


def describe(what: str) -> dict[str, list[dict[str, Any]]]:
    """Rows by section: ``"rules"``, ``"networks"``, ``"data"`` or ``"all"``."""
    if what != "all" and what not in SECTIONS:
        raise unknown_name("list", what, [*SECTIONS, "all"])
    return {name: rows() for name, rows in SECTIONS.items() if what in ("all", name)}
