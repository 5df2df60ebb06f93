"""Study `equal-cost`: a local rule beside ordinary backprop that may spend what the rule spends: its FLOPs, its time, its memory.

FLOPs and time buy BP another number of steps, over which its learning rate falls to 0. Memory is what autograd saves for the backward pass
in a step: BP fits into the rule's by cutting its batch into micro-batches, whose gradients are summed before the step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from layerlocal.data.task import task_of
from layerlocal.experiments.studies.axis import Each
from layerlocal.experiments.studies.base import Row, StudyPlan, estimates
from layerlocal.experiments.studies.choice import Choice
from layerlocal.experiments.studies.controls import AT_COST, ORDINARY, ordinary_bp
from layerlocal.experiments.studies.equal import EqualStudy, steps_of
from layerlocal.experiments.studies.parts import HEADROOM, standings
from layerlocal.experiments.studies.sampled import PAIRS
from layerlocal.experiments.studies.scale import methods_of
from layerlocal.experiments.studies.views import RULE, Along, Differences, Grid
from layerlocal.runs.looks import find_look, kind_of, pace_of
from layerlocal.spec import RuleSpec, RunSpec
from layerlocal.summary import CellKind, Table
from layerlocal.words import difference

__all__ = ["EqualCostStudy"]

FLOPS, TIME, MEMORY = AT_COST
SAME = {"total": "steps", "total_flops": "FLOPs", "total_time": "time", "total_bytes": "memory"}
"""Column → what BP has as much of as the rule."""
METHODS = dict(zip(SAME, (ORDINARY, *AT_COST), strict=True))
SHOWN: tuple[tuple[str, str, CellKind], ...] = (
    ("local", "local", "percent"),
    ("bp", "ordinary BP", "percent"),
    ("difference", "local − ordinary BP", "points"),
    HEADROOM,
)
LEAST = 2
"""Samples in a part of a batch."""


class Costs(Grid):
    """A table with a row for each thing that BP has as much of."""

    def make(self, study: str, rule: str, rows: Sequence[Row]) -> Table:
        """Of each row as many entries."""
        entries = [_at(row, key) for row in rows for key in SAME if key in row]
        return super().make(study, rule, entries)


class EqualCostStudy(EqualStudy):
    """Is a rule that is better than backprop better also where backprop may spend as much?"""

    name = "equal-cost"
    title = "Backprop at the rule's cost"
    question = "Is a local rule above backprop that may spend as many FLOPs, as much time, or as much memory?"
    spending = "What each method may spend and what it took"
    asks_cost = True
    axis = Along("data", "data set")
    differences = tuple(Each(key, f"local − ordinary BP of the same {what} on {{at}}") for key, what in SAME.items())
    measured = ()
    said = ()
    shown = (
        Costs("Test accuracy beside ordinary BP that spends as much", (RULE, axis, Along("same", "of the same")), SHOWN),
        Differences(
            "total", "The rule beside ordinary BP that spends as much", axis,
            names={key: f"same {what}" for key, what in SAME.items()},
        ),
    )  # fmt: skip

    def timed(self, methods: Sequence[str]) -> tuple[str, ...]:
        """The rule and ordinary BP."""
        return ("local", ORDINARY)

    def methods(self, plan: StudyPlan, rule: str) -> dict[str, RuleSpec]:
        """The rule, and ordinary BP in four ways."""
        return {"local": methods_of(plan, rule)["local"]} | dict.fromkeys((ORDINARY, *AT_COST), ordinary_bp())

    def settle(self, specs: Mapping[str, RunSpec], pace: Mapping[str, float], *, roughly: bool) -> dict[str, Choice]:
        """The recipe's steps for the rule and for BP at its memory, and as many as the rule's FLOPs and time hold for the others."""
        own, bp = specs["local"], specs[ORDINARY]
        steps, parts = steps_of(own), bp.recipe.micro_batches
        spent: dict[str, dict[str, Any]] = {method: {"seconds_per_step": pace[method]} for method in specs}
        if roughly:
            flops = _likely_flops(specs)
            parts, at_memory = parts + (bp.recipe.batch_size % (parts + 1) == 0), spent[ORDINARY]
        else:
            flops = {method: _flops(spec) for method, spec in specs.items()}
            saved = {method: _saved_bytes(spec, spec.recipe.micro_batches) for method, spec in specs.items()}
            for method in specs:
                spent[method] |= {"flops_per_step": flops[method], "saved_bytes": saved[method]}
            parts, fits = _parts_that_fit(bp, saved["local"])
            at_memory = {"flops_per_step": flops[ORDINARY], "saved_bytes": fits}
        held = {name: max(1, round(steps * of["local"] / of[ORDINARY])) for name, of in ((FLOPS, flops), (TIME, pace))}
        at = {"recipe.steps": steps}
        in_parts = at if parts == bp.recipe.micro_batches else at | {"recipe.micro_batches": parts}
        return {
            **{method: Choice(settings=at, **spent[method]) for method in specs},
            **{name: Choice(settings={"recipe.steps": more}, **spent[ORDINARY]) for name, more in held.items()},
            MEMORY: Choice(settings=in_parts, **at_memory),
        }

    def sentences(self, rule: str, rows: Sequence[Row]) -> Iterator[str]:
        """How it stands to BP at each cost, on each data set."""
        for value, part in self._at(rows):
            found = estimates(part, *SAME)
            told = standings({SAME[key]: found[key] for key in found}, "ordinary BP", "at the same {}")
            steps = f" (at the same steps {difference(found['total'])})" if "total" in found else ""
            yield f"{rule} on {value}: {told}{steps}."

    def notes(self, plan: StudyPlan) -> list[str]:
        """What memory is here, and where BP does not come down to the rule's."""
        over = [
            f"{rule} on {data}: BP in parts of {LEAST} samples still saves more than the rule."
            for rule, sets in plan.chosen.items()
            for data, chosen in sets.items()
            if (chosen[MEMORY].saved_bytes or 0) > (chosen["local"].saved_bytes or 0)
        ]
        return [
            "Memory is what autograd saves for the backward pass in a step; weights, gradients and the optimizer's state are not in it. "
            "Batch statistics of a batch in parts are those of each part.",
            *over,
        ]


def _at(row: Row, key: str) -> Row:
    """The entry of a row for what BP has as much of; ``bp`` is that BP."""
    pair = {"difference": ("local", METHODS[key])}
    return row | {"same": SAME[key], "bp": row[METHODS[key]], "difference": row[key], PAIRS: pair}


def _likely_flops(specs: Mapping[str, RunSpec]) -> dict[str, float]:
    """Of a sample of a training step, from the forward passes if they are known without building anything. Backward through all blocks doubles
    them; a local rule leaves out what would go on to the block before."""
    tasks = {method: task_of(spec.data) for method, spec in specs.items()}
    looks = {m: find_look(kind_of(tasks[m], spec), pace_of(tasks[m], spec)) for m, spec in specs.items()}
    known = {method: look.flops for method, look in looks.items() if look is not None}
    passes = {"local": 2.0, ORDINARY: 3.0}
    return {method: passes[method] * (known[method] if len(known) == len(specs) else 1) for method in specs}


def _on_noise(spec: RunSpec, samples: int) -> tuple[Any, Any, Any]:
    from layerlocal.runs.timing import build_on, noise

    task = task_of(spec.data)
    return build_on(task, spec), *noise(task, samples)


def _flops(spec: RunSpec) -> float:
    """Of a training step."""
    from layerlocal.measure.flops import measure_flops

    return float(measure_flops(*_on_noise(spec, spec.recipe.batch_size))["flops_per_step"])


def _saved_bytes(spec: RunSpec, parts: int) -> int:
    """Of one part of a batch."""
    from layerlocal.measure.memory import measure_saved_bytes

    return int(measure_saved_bytes(*_on_noise(spec, spec.recipe.batch_size // parts))["peak_saved_bytes"])


def _parts_that_fit(spec: RunSpec, room: int) -> tuple[int, int]:
    """In how few micro-batches a step saves no more than ``room``, as many as there can be where none does; and what it saves then."""
    batch, begin = spec.recipe.batch_size, spec.recipe.micro_batches
    parts, saved = begin, _saved_bytes(spec, begin)
    for more in range(begin + 1, batch // LEAST + 1):
        if saved <= room:
            break
        if batch % more == 0:
            parts, saved = more, _saved_bytes(spec, more)
    return parts, saved
