"""What `layerlocal list` shows: facts that building every rule and network gave, kept in ``listing.json``, so that a list needs no torch.

``python -m layerlocal.listing`` looks again and writes the file; a test holds it to what there is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerlocal.types import unknown_name

if TYPE_CHECKING:
    from layerlocal.rules import Rule

__all__ = ["describe", "look"]

Rows = list[dict[str, Any]]
FACTS = Path(__file__).with_name("listing.json")


def describe(what: str) -> dict[str, Rows]:
    """Rows by section: ``"rules"``, ``"networks"``, ``"data"`` or ``"all"``; each row has a ``name``.

    Raises:
        InputError: another section.
    """
    facts: dict[str, Rows] = json.loads(FACTS.read_text(encoding="utf-8"))
    if what != "all" and what not in facts:
        raise unknown_name("list", what, [*facts, "all"])
    return {name: rows for name, rows in facts.items() if what in ("all", name)}


def look() -> dict[str, Rows]:
    """The same for all sections, from the rules, networks and data themselves, in seconds."""
    return {"rules": _rules(), "networks": _networks(), "data": _data()}


def _rules() -> Rows:
    from layerlocal.rules import find_rule, list_rules, rule_options

    rows = []
    for name in list_rules():
        rule = find_rule(name)
        info, made = rule.info, _small(name)
        options = " ".join(f"rule.{key}={_typed(value)}" for key, value in rule_options(rule).items())
        rows.append(
            {
                "name": name,
                "what": info.summary,
                "locality": f"locality {info.locality}",
                "step": f"{made.passes_per_step} forward a step",
                "prediction": f"{'K' if info.passes_per_prediction == 'num_classes' else 1} a prediction",
                "needs": "needs " + (", ".join(_needs(made)) or "no labels"),
                "references": ", ".join(info.references),
                "options": options + (" and the options of that rule" if "rule.of=" in options else ""),
            }
        )
    return rows


def _small(name: str) -> Rule:
    """A rule as it is by default, in a small network."""
    from layerlocal.networks import create_network
    from layerlocal.rules import create_rule

    return create_rule(name, create_network("cnn4", in_channels=1, image_size=8, width=0.25, seed=0), num_classes=2)


def _typed(value: Any) -> str:
    """As it is typed after ``--set KEY=``."""
    return value if isinstance(value, str) else json.dumps(value)


def _needs(rule: Rule) -> list[str]:
    """What a rule asks for, in words."""
    found = {
        "labels at every block": rule.locks["labels_everywhere"],
        "labels": not rule.locks["labels_everywhere"] and not rule.info.unsupervised,
        "negatives (it makes them)": rule.info.negatives,
        "whole batches (it compares samples)": rule.compares_samples,
        "a multiple of the classes in channels": rule.info.channel_groups,
        "weight transport": rule.locks["weight_transport"],
    }
    return [words for words, needed in found.items() if needed]


def _networks() -> Rows:
    from layerlocal.networks import create_network, list_networks, network_options

    rows = []
    for name in list_networks():
        network = create_network(name, in_channels=3, image_size=32, seed=0)
        millions = sum(p.numel() for p in network.parameters()) / 1e6
        rows.append(
            {
                "name": name,
                "blocks": f"{network.depth} block{'s' * (network.depth > 1)}",
                "size": f"{millions:.2f} M parameters at width 1 on 3×32×32",
                "options": " ".join(f"network.{option}" for option in network_options(name)),
            }
        )
    return rows


def _data() -> Rows:
    from layerlocal.data import benchmark_table, list_data

    hub = {info.name: info for info in benchmark_table()}
    rows = []
    for name in list_data():
        info = hub.get(name)
        if info is None:
            synthetic = name == "teacher_student"
            what = (
                "Gaussian inputs labelled by a random teacher"
                if synthetic
                else "real images in the package, the default"
            )
            rows.append({"name": name, "from": what, "licence": "" if synthetic else "MIT"})
        else:
            rows.append(
                {"name": name, "from": f"Hub {info.hub_id}", "licence": f"licence {info.licence}", "note": info.note}
            )
    return rows


if __name__ == "__main__":
    FACTS.write_text(json.dumps(look(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
