"""What every study, and the audit, trains beside a rule and its twins: ordinary backprop, a method of its own, and the same for twice the steps.

`ORDINARY` is backprop of cross-entropy at one readout that was chosen for it (`READS`), whatever the rule reads. With it the difference to
backprop has three terms instead of two:

    local − ordinary BP = (BP of the rule's loss − ordinary BP)    price of the objective
                        + (DeepSup − BP)                           extra supervision
                        + (local − DeepSup)                        price of locality

`LONGER` is ordinary BP with twice the steps, on `HEADROOM_SEEDS` seeds: what it is better by is the headroom that training left. Both are of
a task, not of a rule: several rules on one task share their runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from layerlocal.experiments.settings import set_on
from layerlocal.experiments.studies.sampled import DIFFERENCES
from layerlocal.spec import RuleSpec, RunSpec
from layerlocal.summary import Row
from layerlocal.types import PARTNER

__all__ = [
    "AT_COST",
    "CONTROLS",
    "HEADROOM_SEEDS",
    "LONGER",
    "ORDINARY",
    "controls_at",
    "cost_sentence",
    "doubled",
    "headroom_of",
    "ordinary_bp",
    "set_beside",
    "with_controls",
    "with_doubled",
]

Key = TypeVar("Key", bound=tuple[Any, ...])

ORDINARY, LONGER = "ordinary", "ordinary-2x"
CONTROLS = (ORDINARY, LONGER)
AT_COST = ("ordinary-flops", "ordinary-time", "ordinary-bytes")
"""Ordinary BP that spends what a rule spends; in the study `equal-cost` alone."""
HEADROOM_SEEDS = 2
"""On how many seeds ordinary BP is trained twice as long, the first of a plan."""
READS: Mapping[str, dict[str, Any]] = {"speedrun": {"readout": "max", "grid": 1}, "gpt": {}, "vit": {}}
"""Network → what ordinary BP reads of its last block: as published, tokens as they are. For others `READ`, which was best on validation data of
CIFAR-10 (results/search-log.md).
"""
READ: dict[str, Any] = {"readout": "mean", "grid": 2}
ALIKE = ("factors", "label_smoothing")
"""Options of a task that every readout has as the twins have them."""


def ordinary_bp(**options: Any) -> RuleSpec:
    """Backprop of cross-entropy; ``options`` that a task needs (``factors``). What it reads, `set_beside` says by the network it is on."""
    return RuleSpec(name="bp", options={"of": PARTNER, **options})


def with_controls(cell: Any, seed: int, seeds: Sequence[int]) -> Any:
    """A `layerlocal.experiments.studies.base.Cell` with ordinary BP, and on the first seeds also for twice the steps (`doubled`)."""
    pair = cell.methods.get("bp")
    alike = {} if pair is None else {key: pair.options[key] for key in ALIKE if key in pair.options}
    rule = ordinary_bp(**alike)
    return replace(cell, methods={**cell.methods, **dict.fromkeys(controls_at(seed, seeds), rule)})


def controls_at(seed: int, seeds: Sequence[int]) -> tuple[str, ...]:
    """Those of `CONTROLS` that are trained on a seed of a plan."""
    return CONTROLS if seed in seeds[:HEADROOM_SEEDS] else (ORDINARY,)


def set_beside(
    specs: Mapping[Key, RunSpec],
    settings: Mapping[str, Any],
    contents: Mapping[str, str],
    sources: Mapping[str, str],
    *,
    at: int,
) -> dict[Key, RunSpec]:
    """As `set_on`, where a key says at ``at`` which method it is of; settings of rules are none of the controls', which have no readout of
    theirs, but that of the network that they come to have."""
    others = {key: value for key, value in settings.items() if not key.startswith("rule.")}
    controls = {key: spec for key, spec in specs.items() if key[at] in (*CONTROLS, *AT_COST)}
    apart = {key: spec for key, spec in specs.items() if key not in controls}
    found = set_on(apart, settings, contents, sources)
    found |= {key: _reading(spec) for key, spec in set_on(controls, others, contents, sources).items()}
    return {key: found[key] for key in specs}


def _reading(spec: RunSpec) -> RunSpec:
    reads = READS.get(spec.network.name, READ)
    return spec.model_copy(update={"rule": spec.rule.model_copy(update={"options": spec.rule.options | reads})})


def with_doubled(runs: Mapping[Key, RunSpec], *, at: int) -> dict[Key, RunSpec]:
    """Runs of which those that are `LONGER` at ``at`` of their key are the `ORDINARY` ones, `doubled`."""
    usual: Mapping[Any, RunSpec] = runs
    return {
        key: doubled(usual[(*key[:at], ORDINARY, *key[at + 1 :])]) if key[at] == LONGER else spec
        for key, spec in runs.items()
    }


def doubled(spec: RunSpec) -> RunSpec:
    """The same run with twice the steps; a falling rate falls over all of them."""
    steps, epochs = spec.recipe.steps, spec.recipe.epochs
    more = {"steps": 2 * steps} if steps else {"epochs": 2 * epochs}
    return spec.model_copy(update={"recipe": spec.recipe.model_copy(update=more)})


def headroom_of(rows: Sequence[Row]) -> list[Row]:
    """Rows in which every difference between methods is the headroom, of those that have one: what a slope of them comes to is the
    headroom of a slope."""
    return [
        row | {key: row["headroom"] for key in DIFFERENCES if key in row}
        for row in rows
        if row.get("headroom") is not None
    ]


def cost_sentence(rule: str, where: str) -> str:
    """What to ask where a rule is above ordinary BP of as many steps."""
    return (
        f"{rule} is above ordinary BP {where}, at the same number of steps: `layerlocal study equal-cost --rules {rule}` asks "
        "whether it is where BP may spend as many FLOPs, as much time, or as much memory."
    )
