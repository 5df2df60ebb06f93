"""`layerlocal audit`: plan the runs, finish them, measure cost, write the summary and the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from layerlocal.reporting import cost_path, write_report
from layerlocal.spec import DataSpec, RunSpec
from layerlocal.store import RunStore, write_atomic
from layerlocal.studies.audit import SIZES, AuditPlan, audit_specs
from layerlocal.types import InputError, unknown_name

__all__ = ["forecast_audit", "run_audit"]


def run_audit(
    out: Path,
    *,
    rules: Sequence[str] = (),
    data: str = "fashion_mnist_subset",
    seeds: int = 3,
    budget: str = "quick",
    reread: bool = False,
    workers: int | None = None,
    command: str = "layerlocal audit",
    console: Console | None = None,
) -> dict[str, Any]:
    """Run what is not finished, and write ``summary.json`` and ``report.html`` into ``out``.

    Args:
        out: the run store.
        rules: audited beside ours: names, or ``FILE.py:CLASS``; the first of them is the rule of the class sweep.
        data: of the real comparisons.
        seeds: 0 … seeds − 1.
        budget: ``"quick"`` or ``"standard"``.
        reread: read the files of the data again, even where their sizes and times of change are the old ones.
        workers: processes of one thread each; ``None``: one a core.
        command: noted beside the numbers.
        console: for progress.

    Returns:
        The summary.

    Raises:
        InputError: unknown rule, data or budget; a rule that breaks its contract of locality; an ``out`` that cannot be written.
    """
    from layerlocal.progress import ManyRuns
    from layerlocal.workers import run_many, usual_workers

    console = console or Console(stderr=True)
    store = RunStore(out)
    store.prepare()
    plan = _plan(rules, data, seeds, budget, command, reread=reread)
    write_atomic(out / "audit.json", plan.model_dump_json(indent=1).encode())
    specs = audit_specs(plan)
    labels = {
        spec.hash: f"{spec.rule.name}, {spec.data.source}, {spec.network.name}, seed {spec.seed}" for spec in specs
    }
    finished = {spec.hash for spec in specs if store.is_done(spec)}
    if finished:
        console.print(f"{len(finished)} of {len(labels)} runs are finished already", highlight=False)
    with ManyRuns(console, len(labels) - len(finished)) as progress:
        outcome = run_many(
            [spec for spec in specs if spec.hash not in finished], store, workers=workers or usual_workers("cpu"), threads=1,
            listen=progress, on_done=progress.done,
        )  # fmt: skip
    failed = [{"label": f"{labels[name]} ({name})", "reason": reason} for name, reason in outcome.failed.items()]
    write_atomic(out / "failed.json", json.dumps(failed).encode())
    _cost(out, plan, console)
    write_report(out)
    found: dict[str, Any] = json.loads((out / "summary.json").read_bytes())
    return found


def forecast_audit(
    out: Path,
    *,
    rules: Sequence[str] = (),
    data: str = "fashion_mnist_subset",
    seeds: int = 3,
    budget: str = "quick",
    reread: bool = False,
    workers: int | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """What `run_audit` with the same arguments would train, and for how long. Writes nothing.

    Returns:
        As `forecast_runs`; the measures of cost after the runs take a minute more.

    Raises:
        InputError: as `run_audit`.
    """
    from layerlocal.forecast import forecast_runs

    specs = audit_specs(_plan(rules, data, seeds, budget, "", reread=reread))
    return forecast_runs(specs, RunStore(out), workers=workers, console=console or Console(stderr=True))


def _plan(rules: Sequence[str], data: str, seeds: int, budget: Any, command: str, *, reread: bool = False) -> AuditPlan:
    """Look at the rules and the data before anything is trained, so that a mistake costs seconds."""
    from layerlocal.data import load_data
    from layerlocal.pin import pin
    from layerlocal.rules import BlockwiseRule, find_rule
    from layerlocal.run import file_sha256

    if budget not in SIZES:
        raise unknown_name("budget", budget, SIZES)
    for rule in rules:
        if find_rule(rule).info.locality == "global":
            raise InputError(
                f"{rule} is a baseline, not a local rule: the audit runs bp and bp-deepsup as twins of every rule already"
            )
        if ":" in rule:
            _refuse_broken(rule)
    names = tuple(dict.fromkeys([*AuditPlan().rules, *rules]))
    twins = {rule: "local-heads" for rule in names if not issubclass(find_rule(rule), BlockwiseRule)}
    sources = {rule: found for rule in rules if (found := file_sha256(rule))}
    task = pin(RunSpec(data=DataSpec(source=data)), reread=reread).data
    num_classes = load_data(data, validation=task.validation, num_train=SIZES[budget].num_train).num_classes
    counts = tuple(k for k in (2, 5, 10, 20, 50) if k < num_classes)
    return AuditPlan(
        rules=names, sweep_rule=rules[0] if rules else "dtg-ff", twins_of=twins, data=task, budget=budget,
        seeds=tuple(range(seeds)), real_classes=(*counts, num_classes), sources=sources, command=command,
    )  # fmt: skip


def _refuse_broken(rule: str) -> None:
    """A plug-in is held to the contract before hours are spent on it."""
    from layerlocal.check import iterate_checks

    for result in iterate_checks(rule):
        if not result.passed:
            raise InputError(
                f"{rule} breaks the contract of a rule: {result.message} ({result.name}); see `layerlocal check {rule}`"
            )


def _cost(out: Path, plan: AuditPlan, console: Console) -> None:
    """Measure the cost once for these rules and this version; with nothing running beside it."""
    from layerlocal.studies.audit_cost import measure_cost

    path = cost_path(out, plan)
    if not path.exists():
        with console.status("measuring cost: samples/s, saved bytes, FLOPs"):
            write_atomic(path, json.dumps(measure_cost(plan.rules, command=plan.command), indent=1).encode())
