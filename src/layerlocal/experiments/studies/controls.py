"""What every study trains beside a rule and its twins: ordinary backprop, a method of its own, and the same for twice the steps.

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
from typing import Any

from layerlocal.experiments.studies.sampled import DIFFERENCES
from layerlocal.spec import RuleSpec, RunSpec
from layerlocal.summary import Row
from layerlocal.types import PARTNER

__all__ = ["CONTROLS", "HEADROOM_SEEDS", "LONGER", "ORDINARY", "doubled", "headroom_of", "ordinary_bp", "with_controls"]

ORDINARY, LONGER = "ordinary", "ordinary-2x"
CONTROLS = (ORDINARY, LONGER)
HEADROOM_SEEDS = 2
"""On how many seeds ordinary BP is trained twice as long, the first of a plan."""
READS: Mapping[str, dict[str, Any]] = {"speedrun": {"readout": "max", "grid": 1}}
"""Network → what ordinary BP reads of its last block; for others as `READ`. From validation data: see docs/studies.md."""
READ: dict[str, Any] = {"readout": "mean", "grid": 2}
ALIKE = ("factors", "label_smoothing")
"""Options of a task that every readout has as the twins have them."""


def ordinary_bp(network: str, **options: Any) -> RuleSpec:
    """Backprop of cross-entropy at the readout that is best for it on a network; ``options`` of the readout that a task needs (``factors``)."""
    return RuleSpec(name="bp", options={"of": PARTNER, **READS.get(network, READ), **options})


def with_controls(cell: Any, seed: int, seeds: Sequence[int]) -> Any:
    """A `layerlocal.experiments.studies.base.Cell` with ordinary BP, and on the first seeds also for twice the steps (`doubled`)."""
    pair = cell.methods.get("bp")
    alike = {} if pair is None else {key: pair.options[key] for key in ALIKE if key in pair.options}
    rule = ordinary_bp(cell.network.name, **alike)
    longer = {LONGER: rule} if seed in seeds[:HEADROOM_SEEDS] else {}
    return replace(cell, methods={**cell.methods, ORDINARY: rule, **longer})


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
