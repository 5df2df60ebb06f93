"""Widths at which rules that deal channels to classes can be run; found once, before a study begins, as it takes torch."""

from __future__ import annotations

from typing import Any

from layerlocal.data.text import CONTEXT, VOCABULARY
from layerlocal.experiments.studies.base import StudyPlan
from layerlocal.experiments.studies.scale import SIZES_OF
from layerlocal.runs.listing import rule_facts, takes_text
from layerlocal.spec import NetworkSpec

__all__ = ["fitting_widths"]

WIDER = 2.0
"""How many times the scale's width such a rule may ask for."""


def fitting_widths(plan: StudyPlan, network: NetworkSpec) -> dict[str, dict[int, float]]:
    """Rule → number of classes → the width nearest to the network's at which K divides the channels of every block.

    Rules that need none, and numbers of classes that would take more than `WIDER` times the width, are left out.
    """
    rules = [rule for rule in plan.rules if rule_facts(rule).channel_groups]
    if not rules:
        return {}
    import torch

    from layerlocal.networks import create_network
    from layerlocal.rules.core.channels import fitting_width

    with torch.device("meta"):
        text = takes_text(network.name)
        sizes: dict[str, Any] = (
            {"vocabulary": VOCABULARY, "context": CONTEXT} if text else {"in_channels": 3, "image_size": 32}
        )
        built = create_network(network.name, width=network.width, **sizes)
    found = {classes: fitting_width(built, classes) for classes in {classes for *_, classes in SIZES_OF.values()}}
    kept = {classes: width for classes, width in found.items() if width and width <= WIDER * network.width}
    return {rule: kept for rule in rules}
