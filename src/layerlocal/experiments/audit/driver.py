"""`layerlocal audit`: plan the runs, look at what they need, finish them, measure cost, write the summary and the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from layerlocal.data.task import refuse_vectors, task_of
from layerlocal.experiments.audit.plan import SIZES, AuditPlan, accuracy_specs, audit_specs, class_specs
from layerlocal.experiments.stored import cost_path, write_report
from layerlocal.runs.environment import usual_workers
from layerlocal.runs.listing import refuse_baseline, rule_facts
from layerlocal.runs.pin import file_sha256, pin
from layerlocal.runs.store import RunStore, write_atomic
from layerlocal.spec import DataSpec, RunSpec
from layerlocal.types import InputError, unknown_name

__all__ = ["forecast_audit", "run_audit"]

DATA = "fashion_mnist_subset"
PARTNER = "local-heads"
"""What twins are made of where a rule has no readout of its own at every block."""
WIDER = 2.0
"""How many times the usual width a rule that deals channels to classes may ask for."""


def run_audit(
    out: Path,
    *,
    rules: Sequence[str] = (),
    data: str = DATA,
    seeds: int = 3,
    size: str = "quick",
    device: str = "cpu",
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
        size: ``"quick"`` or ``"standard"``.
        device: of every run and of the cost.
        reread: read the files of the data again, even where their sizes and times of change are the old ones.
        workers: processes of one thread each; ``None``: one a core.
        command: noted beside the numbers.
        console: for progress.

    Returns:
        The summary.

    Raises:
        InputError: unknown rule, data or size; data that do not fit; rules of which none can take part; a rule that breaks its contract of
            locality; an ``out`` that cannot be written.
    """
    from layerlocal.runs.many import run_many
    from layerlocal.runs.progress import ManyRuns

    console = console or Console(stderr=True)
    plan, refused = _prepare(rules, data, seeds, size, device, command, console, reread=reread)
    plan = _with_readings(plan)
    store = RunStore(out)
    store.prepare()
    write_atomic(out / "audit.json", plan.model_dump_json(indent=1).encode())
    specs = [spec for spec in audit_specs(plan) if spec.hash not in refused]
    labels = {
        spec.hash: f"{spec.rule.name}, {spec.data.source}, {spec.network.name}, seed {spec.seed}" for spec in specs
    }
    finished = {spec.hash for spec in specs if store.is_done(spec)}
    if finished:
        console.print(f"{len(finished)} of {len(labels)} runs are finished already", highlight=False)
    with ManyRuns(console, len(labels) - len(finished)) as progress:
        outcome = run_many(
            [spec for spec in specs if spec.hash not in finished], store, workers=workers or usual_workers(device), threads=1,
            device=device, listen=progress, on_done=progress.done,
        )  # fmt: skip
    failed = _told(refused)
    failed += [{"label": f"{labels[name]} ({name})", "reason": reason} for name, reason in outcome.failed.items()]
    write_atomic(out / "failed.json", json.dumps(failed).encode())
    _cost(out, plan, console)
    write_report(out)
    found: dict[str, Any] = json.loads((out / "summary.json").read_bytes())
    return found


def forecast_audit(
    out: Path,
    *,
    rules: Sequence[str] = (),
    data: str = DATA,
    seeds: int = 3,
    size: str = "quick",
    device: str = "cpu",
    reread: bool = False,
    workers: int | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """What `run_audit` with the same arguments would train, and for about how long. Writes nothing.

    Returns:
        As `forecast_runs`, and how many runs cannot take part, ``left_out``, for which ``reasons``; the measures of cost after the runs take
        a minute more.

    Raises:
        InputError: as `run_audit`.
    """
    from layerlocal.runs.forecast import forecast_runs

    console = console or Console(stderr=True)
    plan, refused = _prepare(rules, data, seeds, size, device, "", console, reread=reread)
    specs = [spec for spec in audit_specs(plan) if spec.hash not in refused]
    found = forecast_runs(specs, RunStore(out), workers=workers, device=device, console=console)
    return found | {"left_out": len(refused), "reasons": [told["reason"] for told in _told(refused)]}


def _prepare(
    rules: Sequence[str],
    data: str,
    seeds: int,
    size: str,
    device: str,
    command: str,
    console: Console,
    *,
    reread: bool = False,
) -> tuple[AuditPlan, dict[str, dict[str, str]]]:
    """The plan, and the runs that cannot take part: hash → label and reason."""
    plan = _plan(rules, data, seeds, size, device, command, reread=reread)
    with console.status("looking at data and rules"):
        refused = _refusals(plan, rules)
    for told in _told(refused):
        text = f"left out: {told['label']}: {told['reason']}"
        console.print(text, style="yellow", markup=False, highlight=False)
    return plan, refused


def _told(refused: Mapping[str, dict[str, str]]) -> list[dict[str, str]]:
    """Each reason once."""
    return [dict(pairs) for pairs in dict.fromkeys(tuple(told.items()) for told in refused.values())]


def _plan(
    rules: Sequence[str], data: str, seeds: int, size: Any, device: str, command: str, *, reread: bool
) -> AuditPlan:
    """What is to be run, once rules and data are seen to be there."""
    if size not in SIZES:
        raise unknown_name("size", size, SIZES)
    if seeds < 1:
        raise InputError(f"an audit needs at least 1 seed, got {seeds}")
    for rule in rules:
        _refuse(rule)
    names = tuple(dict.fromkeys([*AuditPlan().rules, *rules]))
    twins = {rule: PARTNER for rule in names if not rule_facts(rule).blockwise}
    sources = {rule: found for rule in rules if (found := file_sha256(rule))}
    pinned = pin(RunSpec(data=DataSpec(source=data)), reread=reread).data
    task = task_of(pinned)
    refuse_vectors(task, data, "the audit")
    classes = (*(k for k in (2, 5, 10, 20, 50) if k < task.num_classes), task.num_classes)
    plan = AuditPlan(
        rules=names, sweep_rule=rules[0] if rules else AuditPlan().sweep_rule, twins_of=twins, data=pinned, budget=size,
        seeds=tuple(range(seeds)), real_classes=classes, sources=sources, command=command, device=device,
        whole_train=task.num_train + task.num_validation < SIZES[size].num_train, whole_test=task.num_test < SIZES[size].num_test,
    )  # fmt: skip
    options = {rule: {"grid": plan.grid} for rule in {*names, *twins.values()} if _has_grid(rule)}
    return plan.model_copy(update={"options": options, "widths": _widths(plan)})


def _refuse(rule: str) -> None:
    """A baseline, or a plug-in that breaks the contract, is refused before hours are spent on it."""
    refuse_baseline(rule, "the audit runs")
    if ":" in rule:
        _refuse_broken(rule)


def _refuse_broken(rule: str) -> None:
    """A plug-in is held to the contract."""
    from layerlocal.measure.contract import iterate_checks

    for result in iterate_checks(rule):
        if not result.passed:
            raise InputError(
                f"{rule} breaks the contract of a rule: {result.message} ({result.name}); see `layerlocal check {rule}`"
            )


def _has_grid(rule: str) -> bool:
    """Whether a rule, or the one that it is made of, can be told on how many cells a block is read."""
    known = rule_facts(rule).options
    return "grid" in known or ("of" in known and _has_grid(str(known["of"])))


def _widths(plan: AuditPlan) -> dict[str, dict[str, dict[int, float]]]:
    """For rules that deal channels to classes the widths nearest to the usual ones, where they are not the usual ones."""
    rules = [rule for rule in plan.rules if rule_facts(rule).channel_groups]
    size, real = plan.size, task_of(plan.data).sample_shape
    if not rules or len(real) == 1:
        return {}
    from layerlocal.networks import create_network
    from layerlocal.rules.core.channels import fitting_width

    found: dict[str, dict[int, float]] = {}
    usual = {size.network: (size.width, real, plan.real_classes), "mlp": (1.0, (64,), size.synthetic_classes)}
    for name, (width, shape, counts) in usual.items():
        network = create_network(name, in_channels=shape[0], image_size=shape[-1] if len(shape) > 1 else 1, width=width)
        fitting = {k: fitting_width(network, k) for k in counts}
        found[name] = {k: each for k, each in fitting.items() if each and each <= WIDER * width and each != width}
    return {rule: found for rule in rules}


def _with_readings(plan: AuditPlan) -> AuditPlan:
    """What each rule reads, said by the rule; nothing is said for one that cannot be built."""
    from layerlocal.runs.timing import build_on

    reads = {}
    for (rule, role, seed), spec in accuracy_specs(plan).items():
        if role == "local" and seed == plan.seeds[0]:
            try:
                reads[rule] = build_on(task_of(spec.data), spec).reads
            except Exception:  # `_refusals` says why
                continue
    return plan.model_copy(update={"reads": reads})


def _refusals(plan: AuditPlan, asked: Sequence[str]) -> dict[str, dict[str, str]]:
    """Look at every run before any is trained: those that cannot take part, with what they are and why. A comparison of which one run
    cannot take part is left out whole.

    Raises:
        InputError: data that do not fit the audit; or nothing of the rules asked for could be run.
    """
    from layerlocal.runs.preview import is_about_rule, look_ahead

    groups: dict[str, list[RunSpec]] = {}
    for (rule, _, _), spec in accuracy_specs(plan).items():
        groups.setdefault(f"{rule} on {plan.data.source}", []).append(spec)
    count = len(groups)
    for (kind, classes, _, _), spec in class_specs(plan).items():
        groups.setdefault(f"{plan.sweep_rule}, class sweep, {kind} data, {classes} classes", []).append(spec)
    reasons: dict[str, str] = {}
    for index, (label, specs) in enumerate(groups.items()):
        for spec in specs:
            try:
                look_ahead(spec)
            except InputError as error:
                if index < count and not is_about_rule(spec):
                    raise
                reasons[label] = str(error)
                break
    kept = {spec.hash for label, specs in groups.items() if label not in reasons for spec in specs}
    whose = [f"{rule} on {plan.data.source}" for rule in asked or plan.rules]
    if all(label in reasons for label in whose):
        raise InputError("; ".join(dict.fromkeys(f"{label}: {reasons[label]}" for label in whose)))
    return {
        spec.hash: {"label": label, "reason": reason}
        for label, reason in reasons.items()
        for spec in groups[label]
        if spec.hash not in kept
    }


def _cost(out: Path, plan: AuditPlan, console: Console) -> None:
    """Measure the cost once for these rules and this version; with nothing running beside it."""
    from layerlocal.experiments.audit.cost import measure_cost

    path = cost_path(out, plan)
    if not path.exists():
        with console.status("measuring cost: samples/s, saved bytes, FLOPs"):
            found = measure_cost(plan.rules, options=plan.options, device=plan.device, command=plan.command)
            write_atomic(path, json.dumps(found, indent=1).encode())
