"""`layerlocal cost` as an experiment: its plan, its measurements, one after another, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from layerlocal.claims import COST_STUDY, load_claims
from layerlocal.experiments.cost.ask import ask, expected, walk, work_of
from layerlocal.experiments.cost.budget import parse_memory
from layerlocal.experiments.cost.energy import NOTE as NO_ENERGY
from layerlocal.experiments.cost.findings import say_findings
from layerlocal.experiments.cost.plan import PARTS, CostPlan, make_plan
from layerlocal.experiments.cost.present import SIZES, summary_of_finding
from layerlocal.experiments.cost.process import Measurements, run_fresh
from layerlocal.experiments.cost.quantities import cost_quantities
from layerlocal.experiments.cost.requests import Request, Row
from layerlocal.experiments.cost.summary import IDLE
from layerlocal.experiments.driver import Experiment, How, Key, Missing, forecast, run
from layerlocal.experiments.places import Place
from layerlocal.experiments.settings import refuse_unnamed_files
from layerlocal.experiments.stored import cost_place
from layerlocal.files import read_model
from layerlocal.runs.environment import describe_environment, usual_workers
from layerlocal.summary import Summary
from layerlocal.types import InputError, unknown_name
from layerlocal.words import several

__all__ = ["CostAudit", "forecast_cost", "run_cost"]

Jobs = dict[Key, Request]


@dataclass
class CostAudit(Experiment[CostPlan, Request]):
    """A cost audit with what was asked of it.

    Args:
        size: of `layerlocal.experiments.cost.plan.SIZES`.
        rules, modes, parts, memory, repeats, settings: as for `make_plan`; those of an earlier call in the same store stay part of the audit.
        turns: ``rounds`` of `make_plan`.
        threads: of torch; ``None``: as many as torch uses here.
        command: noted beside the numbers.
        measure: makes a measurement; a test may give its own.
    """

    size: str = "quick"
    rules: Sequence[str] = ()
    modes: Sequence[str] = ()
    parts: Sequence[str] = ()
    memory: str | None = None
    repeats: int | None = None
    turns: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    threads: int | None = None
    command: str = "layerlocal cost"
    measure: Callable[[Request], Row] = run_fresh
    found: dict[str, list[Row]] = field(default_factory=dict)
    made: int = 0

    def place(self, out: Path, plan: CostPlan) -> Place:
        """Its folder."""
        return cost_place(out, plan.size)

    def plan(self, out: Path, how: How) -> CostPlan:
        """With what earlier calls asked for; every case is looked at, or of a usual kind."""
        if self.size not in SIZES:
            raise unknown_name("size", self.size, SIZES)
        before = _read_plan(out, self.size)
        refuse_unnamed_files(f"the cost audit in {out}", before.rules if before else (), self.rules)
        asked: dict[str, Any] = {
            "rules": tuple(self.rules), "modes": tuple(self.modes), "parts": tuple(self.parts), "memory": self.memory,
            "repeats": self.repeats, "rounds": self.turns, "settings": dict(self.settings),
            "threads": self.threads or _threads_of_torch(), "device": how.device,
        }  # fmt: skip
        with how.console.status("looking at rules and networks"):
            plan = make_plan(self.size, **(asked if before is None else _joined(out, before, asked)))
        old = cost_place(out, self.size).summary.read() or {}
        begun = before.claims_sha256 if before is not None else old.get("claims_sha256")
        return plan.model_copy(
            update={"command": self.command, "claims_sha256": begun or load_claims().sha256_about([COST_STUDY])}
        )

    def workshop(self, out: Path, plan: CostPlan, how: How) -> Measurements:
        """In the store's folder ``cost``."""
        return Measurements(out / "cost", machine=lambda: _environment(plan), run=self.measure, console=how.console)

    def jobs(self, plan: CostPlan) -> Jobs:
        """Those that ask for no other's result."""
        return _round(walk(plan, lambda _: None))

    def total(self, plan: CostPlan) -> int:
        """In steps of training, about."""
        return work_of(plan)

    def rounds(self, plan: CostPlan, kept: Jobs, shop: Measurements) -> Generator[Jobs, Mapping[str, str], None]:
        """What is asked for together is a round."""
        asking = ask(plan)
        requests = next(asking, None)
        while requests is not None:
            failed = yield _round(requests)
            answers = [None if shop.name_of(request) in failed else shop.find(request) for request in requests]
            self.made += sum(answer is not None for answer in answers)
            try:
                requests = asking.send(answers)
            except StopIteration as end:
                self.found, requests = end.value, None

    def forecast(self, plan: CostPlan, kept: Jobs, shop: Measurements) -> dict[str, Any]:
        """With what comes of measurements that are not made yet."""
        jobs = list(_round(walk(plan, shop.find)).values())
        found = shop.forecast([job for job in jobs for _ in range(1 if shop.is_done(job) else expected(job))])
        return found | {"of": "measurements"}

    def conclude(self, out: Path, plan: CostPlan, missing: Sequence[Missing], how: How) -> Summary:
        """The summary: rows, ratios to backprop, sentences, quantities."""
        lost = sum(len(entry.runs) for entry in missing)
        finding: dict[str, Any] = {
            "study": COST_STUDY,
            "size": plan.size,
            "command": plan.command,
            "claims_sha256": plan.claims_sha256,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "layerlocal": version("layerlocal"),
            "environment": _environment(plan),
            "rules": list(plan.rules),
            "idle": IDLE,
            "notes": list(plan.notes),
            "planned": self.made + lost,
            "finished": self.made,
            "missing": [{"label": entry.label, "reason": entry.reason, "runs": len(entry.runs)} for entry in missing],
            **self.found,
        }
        measured = [row.get("joules_per_sample") for group in self.found["groups"] for row in group["rows"]]
        finding["energy_note"] = NO_ENERGY if measured and not any(measured) else ""
        finding["sentences"] = say_findings(finding)
        finding["quantities"] = cost_quantities(finding)
        return summary_of_finding(finding)


def run_cost(
    out: Path,
    *,
    rounds: int | None = None,
    device: str = "cpu",
    console: Console | None = None,
    **asked: Any,
) -> Summary:
    """Measure what was not measured before, and write the summary into the audit's folder of the store.

    Args:
        out: the run store; measurements are kept in its folder ``cost``.
        rounds: in which methods take turns.
        device: of every case.
        console: for progress.
        **asked: of `CostAudit`.

    Returns:
        The summary.

    Raises:
        InputError: a mistake in what was asked for; a folder that cannot be written. What was measured is kept.
    """
    return run(CostAudit(turns=rounds, **asked), out, How.of(device=device, console=console))


def forecast_cost(
    out: Path,
    *,
    rounds: int | None = None,
    device: str = "cpu",
    console: Console | None = None,
    **asked: Any,
) -> dict[str, Any]:
    """What `run_cost` with the same arguments would measure, and for about how long (`layerlocal.experiments.driver.forecast`). Writes nothing.

    Raises:
        InputError: as `run_cost`.
    """
    if not (out / "cost").exists() and not any(cost_place(out, size).plan.found.exists() for size in SIZES):
        asked["threads"] = asked.get("threads") or usual_workers(
            "cpu"
        )  # torch need not be asked: no name depends on it
    return forecast(CostAudit(turns=rounds, **asked), out, How.of(device=device, console=console))


def _read_plan(out: Path, size: str) -> CostPlan | None:
    """What an earlier call asked for; its cases are made anew."""
    kept = cost_place(out, size).plan

    def damaged(path: Path, reason: object) -> InputError:
        return InputError(
            f"{path} is damaged ({reason}); delete it and run the same command again: measurements are kept"
        )

    return read_model(kept.path, CostPlan, content=kept.read(damaged=damaged), damaged=damaged)


def _round(requests: Iterable[Request]) -> Jobs:
    return {(number,): request for number, request in enumerate(requests)}


def _threads_of_torch() -> int:
    import torch

    return torch.get_num_threads()


def _environment(plan: CostPlan) -> dict[str, Any]:
    return describe_environment(plan.device) | {"threads": plan.threads}


def _joined(out: Path, before: CostPlan, asked: dict[str, Any]) -> dict[str, Any]:
    """With the rules, parts, modes, repeats and rounds of an earlier call: a second call adds to an audit, it does not replace it.

    Raises:
        InputError: the earlier one is of other settings, threads or device, or within another memory.
    """
    within = asked["memory"] if "budget" in before.parts and asked["memory"] else before.memory
    for told, same in (
        (", ".join(f"{k}={v}" for k, v in before.settings.items()) or "its own settings", before.settings == asked["settings"]),
        (several(before.threads, "thread"), before.threads == asked["threads"]),
        (before.device, before.device == asked["device"]),
        (f"{before.memory} of memory", parse_memory(within) == parse_memory(before.memory)),
    ):  # fmt: skip
        if not same:
            raise InputError(
                f"{out} holds the cost audit of size {before.size!r} with {told}; give another folder with --out for anything else"
            )
    parts = {*before.parts, *(asked["parts"] or PARTS)}
    often = {
        "memory": before.memory if "budget" in before.parts else asked["memory"],
        "repeats": max(before.repeats, asked["repeats"] or 0) if "methods" in parts else asked["repeats"],
        "rounds": max(before.rounds, asked["rounds"] or 0) if {"methods", "distribution"} & parts else asked["rounds"],
    }
    modes = (*before.modes, *asked["modes"]) if before.modes and asked["modes"] else ()
    names = {"rules": (*before.rules, *asked["rules"]), "modes": tuple(dict.fromkeys(modes)), "parts": tuple(parts)}
    return asked | often | names
