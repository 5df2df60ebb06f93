"""`layerlocal study`: plan the runs, look at what they need, finish them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from layerlocal.reporting import comparable, missing_path, plan_path, read_plan
from layerlocal.spec import RunSpec
from layerlocal.store import RunStore, write_atomic
from layerlocal.studies import find_study
from layerlocal.studies.base import SIZES, Study, StudyPlan, plan_runs
from layerlocal.studies.summary import summarize_study
from layerlocal.types import InputError, unknown_name

__all__ = ["run_study"]


def run_study(
    out: Path,
    name: str,
    *,
    size: str = "quick",
    rules: Sequence[str] = ("dtg-ff",),
    seeds: int = 3,
    data: Sequence[str] = (),
    workers: int | None = None,
    ray: str | None = None,
    device: str = "cpu",
    command: str = "",
    console: Console | None = None,
) -> dict[str, Any]:
    """Finish the runs of a study that are not finished yet, and give its summary.

    Args:
        out: the run store; the plan is kept in it as ``study-<name>-<size>.json``.
        name: see `STUDIES`.
        size: see `SIZES`.
        rules: local rules, by name or ``FILE.py:CLASS``; rules of an earlier call with the same data stay part of the study.
        seeds: 0 … seeds − 1.
        data: data sets instead of the study's own.
        workers: processes of one thread each; ``None``: one a core.
        ray: address of a Ray cluster instead of processes here.
        device: of every run.
        command: noted beside the numbers.
        console: for progress.

    Raises:
        InputError: unknown study, size or rule; data that do not fit the study; a store that cannot be written.
    """
    console = console or Console(stderr=True)
    study = find_study(name)
    if size not in SIZES:
        raise unknown_name("size", size, SIZES)
    store = RunStore(out)
    store.prepare()
    plan = _plan(out, study, size, rules, seeds, data, command)
    specs = plan_runs(study, plan)
    refused = _refusals(study, plan, specs, console)
    wanted = {spec.hash: spec for spec in specs.values() if _refusal(spec, refused) is None}
    write_atomic(plan_path(out, name, size), plan.model_dump_json(indent=1).encode())
    failed = _finish(list(wanted.values()), store, workers=workers, ray=ray, device=device, console=console)
    reasons = {spec.hash: reason for spec in specs.values() if (reason := _refusal(spec, refused))} | failed
    write_atomic(missing_path(out, name, size), json.dumps(reasons, indent=1).encode())
    return summarize_study(plan, comparable(out)[0], reasons=reasons)


def _finish(
    specs: Sequence[RunSpec], store: RunStore, *, workers: int | None, ray: str | None, device: str, console: Console
) -> dict[str, str]:
    """Hash → reason of the runs that failed."""
    from layerlocal.progress import ManyRuns
    from layerlocal.workers import run_many

    left = [spec for spec in specs if not store.is_done(spec)]
    if len(left) < len(specs):
        console.print(f"{len(specs) - len(left)} of {len(specs)} runs are finished already", highlight=False)
    count = workers if ray else workers or os.cpu_count() or 1
    with ManyRuns(console, len(left), workers=count) as progress:
        outcome = run_many(
            left, store, workers=count, threads=1, device=device, ray=ray, listen=progress, on_done=progress.done
        )  # fmt: skip
    return outcome.failed


def _plan(
    out: Path, study: Study, size: str, rules: Sequence[str], seeds: int, data: Sequence[str], command: str
) -> StudyPlan:
    """The plan, with the rules of an earlier call on the same data: a second rule joins a study, it does not replace the first."""
    from layerlocal.rules import BlockwiseRule, find_rule
    from layerlocal.run import file_sha256

    for rule in rules:
        if find_rule(rule).info.locality == "global":
            raise InputError(
                f"{rule} is a baseline, not a local rule: a study runs bp and bp-deepsup as twins of every rule already"
            )
    content = {
        "study": study.name,
        "size": size,
        "rules": tuple(dict.fromkeys(rules)),
        "seeds": tuple(range(seeds)),
        "data": tuple(data),
    }
    plan = StudyPlan.model_validate(content)
    before = read_plan(out, study.name, size)
    if before is not None and before.data == plan.data:
        plan = plan.model_copy(
            update={
                "rules": tuple(dict.fromkeys([*before.rules, *plan.rules])),
                "seeds": max(before.seeds, plan.seeds, key=len),
            }
        )
    twins = {rule: "local-heads" for rule in plan.rules if not issubclass(find_rule(rule), BlockwiseRule)}
    sources = {rule: found for rule in plan.rules if (found := file_sha256(rule))}
    return plan.model_copy(update={"twins_of": twins, "sources": sources, "command": command})


def _refusals(study: Study, plan: StudyPlan, specs: Mapping[Any, RunSpec], console: Console) -> dict[str, str]:
    """Look at every data set and every rule of the plan before anything is trained, so that a mistake costs seconds.

    Returns:
        What cannot take part (a task's or a rule's own JSON) → why; what can is trained without it.

    Raises:
        InputError: nothing would be left, or data do not fit a study that needs them all.
    """
    from layerlocal.run import build, load_task

    refused: dict[str, str] = {}
    first: InputError | None = None
    with console.status("looking at data and rules"):
        for spec in {
            spec.data.model_dump_json(): spec for spec in specs.values() if spec.seed == plan.seeds[0]
        }.values():
            try:
                load_task(spec.data)
            except InputError as error:
                if not study.optional_data:
                    raise
                refused[_source_key(spec)] = str(error)
                first = first or error
        checked: set[str] = set()
        for spec in specs.values():
            key = spec.rule.model_dump_json()
            if key in checked or _refusal(spec, refused):
                continue
            checked.add(key)
            try:
                build(spec)
            except InputError as error:
                refused[key] = str(error)
                first = first or error
    if first is not None and all(_refusal(spec, refused) for spec in specs.values()):
        raise first
    for reason in dict.fromkeys(refused.values()):
        console.print(f"left out: {reason}", style="yellow", markup=False, highlight=False)
    return refused


def _source_key(spec: RunSpec) -> str:
    return json.dumps(spec.data.model_dump(mode="json", exclude={"seed"}), sort_keys=True)


def _refusal(spec: RunSpec, refused: Mapping[str, str]) -> str | None:
    return refused.get(_source_key(spec)) or refused.get(spec.rule.model_dump_json())
