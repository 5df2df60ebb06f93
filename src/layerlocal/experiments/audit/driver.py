"""`layerlocal audit` as an experiment: its plan, what falls with what, and after the runs the cost, the summary and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rich.console import Console

from layerlocal.data.task import refuse_no_images, task_of
from layerlocal.experiments.audit.plan import ROLES, SIZES, AuditPlan, accuracy_specs, audit_runs
from layerlocal.experiments.driver import (
    How,
    Key,
    Missing,
    Refusal,
    RunExperiment,
    forecast,
    run,
    seeds_of,
)
from layerlocal.experiments.places import Place
from layerlocal.experiments.settings import refuse_fixed, refuse_settings
from layerlocal.experiments.stored import audit_place, audit_summary, cost_kept, write_report
from layerlocal.runs.listing import partner_of, refuse_baseline, rule_facts
from layerlocal.runs.pin import pin, sources_of
from layerlocal.spec import WHERE, DataSpec, RunSpec
from layerlocal.summary import Summary
from layerlocal.types import InputError, unknown_name

__all__ = ["Audit", "forecast_audit", "run_audit"]

DATA = "fashion_mnist_subset"
WIDER = 2.0
"""How many times the usual width a rule that deals channels to classes may ask for."""


@dataclass(frozen=True)
class Audit(RunExperiment[AuditPlan]):
    """Local rules beside their twins on one data set, a class sweep of one of them, and what they cost.

    Args:
        rules: audited beside ours: names, or ``FILE.py:CLASS``; the first of them is the rule of the class sweep.
        data: of the real comparisons.
        seeds: how many, from 0 on, or which.
        size: ``"quick"`` or ``"standard"``.
        settings: of every run, dotted, e.g. ``{"network.width": 0.25}``.
        command: noted beside the numbers.
        controls: whether ordinary BP is trained too, and for twice the steps.
    """

    rules: Sequence[str] = ()
    data: str = DATA
    seeds: int | Sequence[int] = 3
    size: Any = "quick"
    settings: Mapping[str, Any] = field(default_factory=dict)
    command: str = "layerlocal audit"
    controls: bool = True

    def place(self, out: Path, plan: AuditPlan) -> Place:
        """Its folder."""
        return audit_place(out, self.size)

    def plan(self, out: Path, how: How) -> AuditPlan:
        """Rules and data that are there, rules that keep the contract, settings that leave the comparison alone."""
        if self.size not in SIZES:
            raise unknown_name("size", self.size, SIZES)
        refuse_fixed(self.settings)
        seeds = seeds_of(self.seeds)
        for rule in self.rules:
            refuse_baseline(rule)
            if ":" in rule:
                _refuse_broken(rule)
        content = _plan_of(self, seeds, how)
        compared = content.model_copy(update={"controls": False})  # they differ in what may be set
        refuse_settings(self.settings, lambda settings: audit_runs(_set(compared, _of_runs(settings))))
        return _set(content, _of_runs(self.settings))

    def jobs(self, plan: AuditPlan) -> dict[Key, RunSpec]:
        """Comparisons with the twins, then the class sweep, seed by seed."""
        return audit_runs(plan)

    def parts(self, plan: AuditPlan, key: Key) -> tuple[str, ...]:
        """A comparison of which one run cannot take part is left out whole, and without it its controls; they alone leave it as it is."""
        if len(key) == 3:
            compared = f"{key[0]} on {plan.data.source}"
            network = plan.trained(key[0])
            ordinary = f"ordinary BP on {plan.data.source}, {network.name} of width {network.width:g}"
            return (compared,) if key[1] in ROLES else (ordinary, compared)
        return (f"{plan.sweep_rule}, class sweep, {key[0]} data, {key[1]} classes",)

    def blame(self, plan: AuditPlan, key: Key, spec: RunSpec, error: InputError) -> tuple[str, Refusal]:
        """The comparison of the run; data that not even backprop can be trained on end the audit."""
        from layerlocal.runs.preview import is_about_rule

        if len(key) == 3 and not is_about_rule(spec):
            raise error
        part = self.parts(plan, key)[0]
        return part, Refusal(str(error), part)

    def is_asked(self, plan: AuditPlan, key: Key) -> bool:
        """The rules that were named, on the real data."""
        return len(key) == 3 and key[1] in ROLES and key[0] in (self.rules or plan.rules)

    def settled(self, plan: AuditPlan) -> AuditPlan:
        """What each rule reads, said by the rule; nothing is said for one that cannot be built."""
        from layerlocal.runs.timing import build_on

        reads = {}
        for (rule, role, seed), spec in accuracy_specs(plan).items():
            if role == "local" and seed == plan.seeds[0]:
                try:
                    reads[rule] = build_on(task_of(spec.data), spec).reads
                except Exception:  # it was left out, and that was said
                    continue
        return plan.model_copy(update={"reads": reads})

    def conclude(self, out: Path, plan: AuditPlan, missing: Sequence[Missing], how: How) -> Summary:
        """The summary, once the cost is measured."""
        _measure_cost(out, plan, how.console)
        summary = audit_summary(out, plan=plan)
        assert summary is not None
        return summary


def run_audit(out: Path, **asked: Any) -> Summary:
    """Run what is not finished, and write the summary, and ``report.html`` into ``out``.

    Args:
        out: the run store.
        **asked: ``rules``, ``data``, ``seeds``, ``size``, ``settings``, ``command``, ``controls`` of `Audit`; ``workers``, ``ray``, ``device``,
            ``reread``, ``console`` of `layerlocal.experiments.driver.How`.

    Returns:
        The summary.

    Raises:
        InputError: unknown rule, data or size; data that do not fit; rules of which none can take part; a rule that breaks its contract of
            locality; an ``out`` that cannot be written.
    """
    summary = run(*_asked(out, **asked))
    write_report(out)
    return summary


def forecast_audit(out: Path, **asked: Any) -> dict[str, Any]:
    """What `run_audit` with the same arguments would train, and for about how long (`layerlocal.experiments.driver.forecast`); the measures
    of cost after the runs take a minute more. Writes nothing.

    Raises:
        InputError: as `run_audit`.
    """
    return forecast(*_asked(out, **asked))


def _asked(out: Path, **asked: Any) -> tuple[Audit, Path, How]:
    """An audit, its store, and where its runs are made."""
    own = {entry.name: asked.pop(entry.name) for entry in fields(Audit) if entry.name in asked}
    return Audit(**own), out, How.of(**asked)


def _plan_of(audit: Audit, seeds: tuple[int, ...], how: How) -> AuditPlan:
    """What is to be run, once rules and data are seen to be there."""
    names = tuple(dict.fromkeys([*audit.rules, *AuditPlan().rules]))  # the user's first
    twins = {rule: partner for rule in names if (partner := partner_of(rule)) != rule}
    sources = sources_of(audit.rules, audit.settings)
    reading = {key: value for key, value in audit.settings.items() if key not in _of_runs(audit.settings)}
    base = RunSpec(data=DataSpec(source=audit.data))
    pinned = pin(base.with_settings(reading) if reading else base, reread=how.reread).data
    task, size = task_of(pinned), SIZES[audit.size]
    refuse_no_images(task, audit.data, "the audit")
    classes = (*(k for k in (2, 5, 10, 20, 50) if k < task.num_classes), task.num_classes)
    plan = AuditPlan(
        rules=names, sweep_rule=audit.rules[0] if audit.rules else AuditPlan().sweep_rule, twins_of=twins, data=pinned,
        size=audit.size, seeds=seeds, real_classes=classes, sources=sources, command=audit.command, device=how.device,
        whole_train=task.num_train + task.num_validation < size.num_train, whole_test=task.num_test < size.num_test,
        controls=audit.controls,
    )  # fmt: skip
    options = {rule: {"grid": plan.grid} for rule in {*names, *twins.values()} if _has_grid(rule)}
    return plan.model_copy(update={"options": options, "widths": _widths(plan)})


def _of_runs(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Without those that say how the data are read, which are of the plan's data."""
    return {key: value for key, value in settings.items() if key.removeprefix("data.") not in WHERE}


def _set(plan: AuditPlan, settings: Mapping[str, Any]) -> AuditPlan:
    return plan.model_copy(update={"settings": dict(settings)})


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
    size, real = plan.detail, task_of(plan.data).sample_shape
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


def _measure_cost(out: Path, plan: AuditPlan, console: Console) -> None:
    """Measure the cost once for these rules and this version; with nothing running beside it."""
    from layerlocal.experiments.audit.cost import measure_cost

    kept = cost_kept(out, plan)
    if not kept.found.exists():
        with console.status("measuring cost: samples/s, saved bytes, FLOPs"):
            found = measure_cost(plan.rules, options=plan.options, device=plan.device, command=plan.command)
            kept.write(found)
