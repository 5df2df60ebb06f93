"""`layerlocal cost`: plan the measurements, make those that are missing, write the summary."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from layerlocal.claims import COST_STUDY, load_claims
from layerlocal.experiments.cost.budget import search
from layerlocal.experiments.cost.case import CostCase
from layerlocal.experiments.cost.energy import NOTE as NO_ENERGY
from layerlocal.experiments.cost.findings import say_findings
from layerlocal.experiments.cost.plan import Compared, CostPlan
from layerlocal.experiments.cost.process import Measurements, Request, request_of, run_fresh
from layerlocal.experiments.cost.quantities import cost_quantities
from layerlocal.experiments.cost.summary import (
    IDLE,
    budget_summary,
    distribution_summary,
    group_summary,
    roofline_summary,
    scaling_summary,
)
from layerlocal.experiments.stored import cost_summary_path
from layerlocal.files import read_json
from layerlocal.runs.environment import describe_environment
from layerlocal.runs.progress import Tasks
from layerlocal.runs.store import RunStore, write_atomic

__all__ = ["run_cost"]

ALONE, SEARCH = 6, 12
"""Steps of training in a measurement of memory and in a search for the largest size, about, a process's start among them."""


def run_cost(
    plan: CostPlan,
    out: Path,
    *,
    command: str = "layerlocal cost",
    console: Console | None = None,
    run: Callable[[Request], dict[str, Any]] = run_fresh,
) -> dict[str, Any]:
    """Measure what was not measured before, and write ``cost-<size>.json`` into ``out``.

    Args:
        plan: of `layerlocal.experiments.cost.plan.make_plan`.
        out: the run store; measurements are kept in its folder ``cost``.
        command: noted beside the numbers.
        console: for progress.
        run: makes a measurement; a test may give its own.

    Returns:
        The summary.

    Raises:
        InputError: a measurement that cannot be made; a folder that cannot be written. What was measured is kept.
    """
    RunStore(out).prepare()
    environment = describe_environment(plan.device) | {"threads": plan.threads}
    audit = _Audit(plan, Measurements(out / "cost", machine=environment, run=run))
    summary: dict[str, Any] = {
        "study": COST_STUDY,
        "size": plan.size,
        "command": command,
        "claims_sha256": _claims_begun(cost_summary_path(out, plan.size)),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "layerlocal": version("layerlocal"),
        "environment": environment,
        "rules": list(plan.rules),
        "idle": IDLE,
        "notes": list(plan.notes),
    }
    with Tasks(console or Console(stderr=True), audit.work()) as progress:
        summary |= audit.measure(progress)
    measured = [row.get("joules_per_sample") for group in summary["groups"] for row in group["rows"]]
    summary["energy_note"] = NO_ENERGY if measured and not any(measured) else ""
    summary["sentences"] = say_findings(summary)
    summary["quantities"] = cost_quantities(summary)
    write_atomic(cost_summary_path(out, plan.size), (json.dumps(summary, indent=1) + "\n").encode())
    return summary


def _claims_begun(path: Path) -> str:
    """The hash of our claims about cost when this audit was first made."""
    begun = (read_json(path) or {}).get("claims_sha256")
    return str(begun or load_claims().sha256_about([COST_STUDY]))


class _Audit:
    """The measurements of a plan, one after another."""

    def __init__(self, plan: CostPlan, measurements: Measurements) -> None:
        self.plan = plan
        self.kept = measurements

    def work(self) -> int:
        """All work, in steps of training, about."""
        plan, total = self.plan, sum(_work(self.plan.scaling(axis)) for axis in self.plan.axes)
        for group in plan.groups:
            if "methods" in plan.parts:
                total += sum(map(_work, plan.turns(group))) + len(group.cases) * plan.repeats * ALONE
            if "roofline" in plan.parts:
                total += _work(plan.roofline(group))
        total += sum(3 * sum(map(_spread_work, plan.ranks(group))) for group in plan.distributions)
        return total + sum(_work(plan.turns(group)[0]) + len(_searches(group)) * SEARCH for group in plan.budgets)

    def measure(self, progress: Tasks) -> dict[str, Any]:
        """Every part of the summary."""
        plan = self.plan
        found: dict[str, Any] = {"groups": [], "scaling": [], "roofline": [], "budget": [], "distribution": []}
        for group in plan.groups:
            if "methods" in plan.parts:
                found["groups"].append(self._group(group, progress))
            if "roofline" in plan.parts:
                request = plan.roofline(group)
                result = self._one(request, f"{group.base.network.name}: ceilings and profiles", progress)
                found["roofline"].append(roofline_summary(plan, group, result))
        for axis in plan.axes:
            result = self._one(plan.scaling(axis), f"scaling with {axis.label}", progress)
            found["scaling"].append(scaling_summary(plan, axis, result))
        for group in plan.budgets:
            found["budget"].append(self._budget(group, progress))
        for group in plan.distributions:
            found["distribution"].append(self._distribution(group, progress))
        return found

    def _one(self, request: Request, label: str, progress: Tasks) -> dict[str, Any]:
        return self._all([request], label, _work(request), progress)[0]

    def _all(self, requests: list[Request], label: str, work: int, progress: Tasks) -> list[dict[str, Any]]:
        """The results of requests that are one task to whoever looks on."""
        with progress.running(label, work, before=all(map(self.kept.has, requests))):
            return self.kept.all(requests)

    def _group(self, group: Compared, progress: Tasks) -> dict[str, Any]:
        requests = self.plan.turns(group)
        turns = self._all(requests, f"{group.base.network.name}: methods in turns", sum(map(_work, requests)), progress)
        alone = {}
        for label, case in group.by_label.items():
            requests = self.plan.alone(case)
            alone[label] = self._all(
                requests, f"{case.network.name}: memory of {label}", len(requests) * ALONE, progress
            )
        return group_summary(self.plan, group, turns, alone)

    def _budget(self, group: Compared, progress: Tasks) -> dict[str, Any]:
        plan, found = self.plan, {}
        most = {"batch_size": plan.detail.most_batch, "image_size": plan.detail.most_image}
        for label, axis in _searches(group):
            case, made = group.by_label[label], self.kept.made
            with progress.running(f"largest {axis.replace('_', ' ')} of {label} within {plan.memory}", SEARCH) as task:
                found[label, axis] = search(
                    case, axis, self.kept, budget_bytes=plan.budget_bytes, most=most[axis], tolerance=plan.detail.tolerance
                )  # fmt: skip
                task.before = self.kept.made == made
        largest = {
            label: case.but(batch_size=found[label, "batch_size"]["largest"])
            for label, case in group.by_label.items()
            if found[label, "batch_size"]["largest"]
        }
        with progress.running(f"samples/s within {plan.memory}", _work(plan.turns(group)[0])):
            turns = self._speeds(largest)
        return budget_summary(plan, group, found, turns)

    def _distribution(self, group: Compared, progress: Tasks) -> dict[str, Any]:
        name, alone = group.base.network.name, self.plan.ranks(group)
        work = sum(map(_spread_work, alone))
        one = self._all(alone, f"{name}: blocks and methods on one process", 2 * work, progress)
        together = self.plan.ranks(group, one[0]["ranks"][0]["costs"])
        two = self._all(together, f"{name}: methods on two processes", work, progress)
        return distribution_summary(self.plan, group, one, two)

    def _speeds(self, cases: dict[str, CostCase]) -> dict[str, Any]:
        """On the CPU side by side in turns; on a GPU, whose speed does not drift, each in a process that has the card to itself."""
        if not cases:
            return {}
        rounds = self.plan.detail.rounds
        if not next(iter(cases.values())).device.startswith("cuda"):
            return self.kept.get(request_of("turns", cases, rounds=rounds))
        results = (self.kept.get(request_of("turns", {label: case}, rounds=rounds)) for label, case in cases.items())
        return {label: row for result in results for label, row in result.items()}


def _work(request: Request) -> int:
    """Steps of training in a measurement in turns: rounds, warm-up and counts."""
    return len(request["cases"]) * (request["rounds"] + 4)


def _spread_work(request: Request) -> int:
    """Likewise, of every way to spread the rules."""
    return int(len(request["methods"]) * (request["rounds"] + 1) * request["steps"])


def _searches(group: Compared) -> list[tuple[str, str]]:
    """(label, what grows) of every search in a group."""
    axes = ("batch_size", "image_size") if group.base.image_size > 1 else ("batch_size",)
    return [(label, axis) for label in group.by_label for axis in axes]
