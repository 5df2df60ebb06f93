"""`layerlocal study`: plan the runs, look at what they need, say how long they take, finish them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from rich.console import Console

from layerlocal.claims import load_claims
from layerlocal.data.task import refuse_vectors, task_of
from layerlocal.experiments.stored import comparable, missing_path, plan_path, read_plan
from layerlocal.experiments.studies import STUDIES, find_study
from layerlocal.experiments.studies.base import SIZES, Key, Study, StudyPlan, plan_runs
from layerlocal.experiments.studies.summary import summarize_study
from layerlocal.runs.environment import usual_workers
from layerlocal.runs.listing import refuse_baseline, rule_facts
from layerlocal.runs.pin import contents_of, file_sha256
from layerlocal.runs.store import RunStore, write_atomic
from layerlocal.spec import RunSpec
from layerlocal.types import InputError, UnreachableError, unknown_name

__all__ = ["forecast_study", "run_study"]


def run_study(
    out: Path,
    name: str,
    *,
    size: str = "quick",
    rules: Sequence[str] = ("dtg-ff",),
    seeds: int = 3,
    data: Sequence[str] = (),
    reread: bool = False,
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
        reread: read the files of the data again, even where their sizes and times of change are the old ones.
        workers: processes of one thread each; ``None``: one a core.
        ray: address of a Ray cluster instead of processes here.
        device: of every run.
        command: noted beside the numbers.
        console: for progress.

    Raises:
        InputError: unknown study, size or rule; data that do not fit the study; a store that cannot be written.
    """
    console = console or Console(stderr=True)
    study = _find(name, size)
    store = RunStore(out)
    plan, specs, refused = _prepare(out, study, size, rules, seeds, data, command, console, reread=reread)
    store.prepare()
    wanted = {spec.hash: spec for key, spec in specs.items() if key not in refused}
    path = plan_path(out, name, size)
    is_new = not path.exists()
    write_atomic(path, plan.model_dump_json(indent=1).encode())
    try:
        failed = _finish(list(wanted.values()), store, workers=workers, ray=ray, device=device, console=console)
    except InputError:
        if is_new and not any(map(store.is_done, wanted.values())):
            # a study that could not begin leaves no plan, which would keep other data out of this folder
            path.unlink(missing_ok=True)
        raise
    reasons = {specs[key].hash: reason for key, reason in refused.items()} | failed
    write_atomic(missing_path(out, name, size), json.dumps(reasons, indent=1).encode())
    records, warnings = comparable(out)
    for warning in warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)
    return summarize_study(plan, records, reasons=reasons) | {"failed": len(failed)}


def forecast_study(
    out: Path,
    name: str,
    *,
    size: str = "quick",
    rules: Sequence[str] = ("dtg-ff",),
    seeds: int = 3,
    data: Sequence[str] = (),
    reread: bool = False,
    workers: int | None = None,
    device: str = "cpu",
    console: Console | None = None,
) -> dict[str, Any]:
    """What `run_study` with the same arguments would do and for how long. Trains nothing to its end, and writes nothing.

    Returns:
        As `forecast_runs`, and how many runs cannot take part, ``left_out``, for which ``reasons``.

    Raises:
        InputError: as `run_study`.
    """
    from layerlocal.runs.forecast import forecast_runs

    console = console or Console(stderr=True)
    _, specs, refused = _prepare(out, _find(name, size), size, rules, seeds, data, "", console, reread=reread)
    wanted = [spec for key, spec in specs.items() if key not in refused]
    found = forecast_runs(wanted, RunStore(out), workers=workers, device=device, console=console)
    left_out = len({spec.hash for key, spec in specs.items() if key in refused})
    return found | {"left_out": left_out, "reasons": list(dict.fromkeys(refused.values()))}


def _find(name: str, size: str) -> Study:
    """The study, if it has such a size."""
    study = find_study(name)
    if size not in SIZES:
        raise unknown_name("size", size, SIZES)
    return study


def _prepare(
    out: Path,
    study: Study,
    size: str,
    rules: Sequence[str],
    seeds: int,
    data: Sequence[str],
    command: str,
    console: Console,
    *,
    reread: bool = False,
) -> tuple[StudyPlan, dict[Key, RunSpec], dict[Key, str]]:
    """The plan, its runs on the data as they are now, and why some of them cannot take part."""
    plan = _plan(out, study, size, rules, seeds, data, command)
    specs = plan_runs(study, plan)
    if reread:
        with contextlib.suppress(UnreachableError), console.status("reading data again"):
            contents_of(specs.values(), reread=True)
    refused = _refusals(study, plan, specs, console)
    contents = contents_of(spec for key, spec in specs.items() if key not in refused)
    plan = plan.model_copy(update={"contents": contents})
    return plan, plan_runs(study, plan), refused


def _finish(
    specs: Sequence[RunSpec], store: RunStore, *, workers: int | None, ray: str | None, device: str, console: Console
) -> dict[str, str]:
    """Hash → reason of the runs that failed."""
    from layerlocal.runs.many import run_many
    from layerlocal.runs.progress import ManyRuns

    left = [spec for spec in specs if not store.is_done(spec)]
    if len(left) < len(specs):
        console.print(f"{len(specs) - len(left)} of {len(specs)} runs are finished already", highlight=False)
    count = workers if ray else workers or usual_workers(device)
    with ManyRuns(console, len(left), workers=count) as progress:
        outcome = run_many(
            left, store, workers=count, threads=1, device=device, ray=ray, listen=progress, on_done=progress.done
        )  # fmt: skip
    return outcome.failed


def _plan(
    out: Path, study: Study, size: str, rules: Sequence[str], seeds: int, data: Sequence[str], command: str
) -> StudyPlan:
    """The plan, with the rules of an earlier call on the same data: a second rule joins a study, it does not replace the first."""
    from layerlocal.experiments.studies.widths import fitting_widths

    for rule in rules:
        refuse_baseline(rule, "a study runs")
    content = {
        "study": study.name,
        "size": size,
        "rules": tuple(dict.fromkeys(rules)),
        "seeds": tuple(range(seeds)),
        "data": tuple(data),
    }
    plan = StudyPlan.model_validate(content)
    if len(plan.data) > study.most_data:
        most = f"at most {study.most_data}" if study.most_data else "none"
        raise InputError(
            f"the study {study.name!r} takes {most} of your data sets, got {', '.join(plan.data)}; leave out --data or name fewer"
        )
    before = read_plan(out, study.name, size)
    _refuse_unnamed_files(out, before, rules)
    if before is not None and before.data != plan.data:
        told = ", ".join(before.data) or "its own data"
        raise InputError(
            f"{out} holds the study {study.name!r} at this size on {told}; give another folder with --out for other data"
        )
    if before is not None:
        plan = plan.model_copy(
            update={
                "rules": tuple(dict.fromkeys([*before.rules, *plan.rules])),
                "seeds": max(before.seeds, plan.seeds, key=len),
            }
        )
    begun = before.claims_sha256 if before is not None else load_claims().sha256_about(STUDIES)
    twins = {rule: "local-heads" for rule in plan.rules if not rule_facts(rule).blockwise}
    sources = {rule: found for rule in plan.rules if (found := file_sha256(rule))}
    own = {"twins_of": twins, "sources": sources, "command": command, "claims_sha256": begun}
    return plan.model_copy(update=own | ({"widths": fitting_widths(plan)} if study.own_widths else {}))


def _refuse_unnamed_files(out: Path, before: StudyPlan | None, rules: Sequence[str]) -> None:
    """A plan that came with a store names files; going on with it would run them, so they are named again by whoever trusts them.

    Raises:
        InputError: which.
    """
    unnamed = [rule for rule in (before.rules if before else ()) if ":" in rule and rule not in rules]
    if unnamed:
        raise InputError(
            f"the study in {out} has the rule file {unnamed[0]}, which going on with it runs; look at it and name it with --rules too, "
            "or give another folder with --out"
        )


def _refusals(study: Study, plan: StudyPlan, specs: Mapping[Key, RunSpec], console: Console) -> dict[Key, str]:
    """Look at every rule and every data set of the plan before anything is trained, so that a mistake costs seconds.

    Returns:
        The runs that cannot take part → why; the others are trained without them. A rule of which one method cannot take part (say, a
        hybrid of it) takes no part at all (in a study of tasks apart: not in that task), nor does a data set that cannot be reached, in a
        study that can do without.

    Raises:
        InputError: nothing would be left, or data that do not fit the study.
    """
    from layerlocal.runs.preview import is_about_rule, look_ahead

    first_seed = {key: spec for key, spec in specs.items() if key[1] == plan.seeds[0]}
    found: dict[tuple[str | None, int | None], str] = {
        (rule, None): f"{rule}: {reason}" for rule, reason in _rules_that_cannot(study, plan).items()
    }

    def reason_of(rule: str, position: int) -> str | None:
        return found.get((rule, None)) or found.get((None, position)) or found.get((rule, position))

    unreachable: dict[str, str] = {}
    looks: tuple[Callable[[RunSpec], Any], ...] = (partial(_look_at_data, study), look_ahead)
    with console.status("looking at data and rules"):
        for look, ((rule, _, position, _), spec) in product(looks, first_seed.items()):
            if reason_of(rule, position):
                continue
            try:
                look(spec)
            except UnreachableError as error:
                if not study.optional_data:
                    raise
                found[None, position] = str(error)
                unreachable[str(error)] = spec.data.source
            except InputError as error:
                if not is_about_rule(spec) or (len(plan.rules) == 1 and not study.tasks_apart):
                    raise
                if study.tasks_apart:
                    found[rule, position] = f"{rule} on {spec.data.source}, in the network of size {plan.size}: {error}"
                else:
                    found[rule, None] = f"{rule}: {error}"
    refused = {key: reason for key in specs if (reason := reason_of(key[0], key[2]))}
    told = dict.fromkeys(found.values())
    if len(refused) == len(specs):
        raise InputError("; ".join(told))
    for reason in _one_line_of_unreachable(told, unreachable):
        console.print(f"left out: {reason}", style="yellow", markup=False, highlight=False)
    return refused


def _one_line_of_unreachable(reasons: Iterable[str], unreachable: Mapping[str, str]) -> list[str]:
    """The reasons, those of several data sets that cannot be reached as one line with their names; each alone is in the summary."""
    others = [reason for reason in reasons if reason not in unreachable]
    if len(unreachable) < 2:
        return [*others, *unreachable]
    names = ", ".join(unreachable.values())
    return [
        *others,
        f"{names}: these {len(unreachable)} data sets come from the Hugging Face Hub, which cannot be reached; connect to the network, "
        "or put their Parquet files into folders of these names, and name the folder around them in LAYERLOCAL_DATA",
    ]


def _look_at_data(study: Study, spec: RunSpec) -> None:
    """Of all runs before any rule is built: what is wrong with the data is said first."""
    task = task_of(spec.data)
    if spec.network.name != "mlp":
        refuse_vectors(task, spec.data.source, f"the study {study.name!r}")


def _rules_that_cannot(study: Study, plan: StudyPlan) -> dict[str, str]:
    """Rules that the study is not about, that lack an option it sets, or whose twins would have to be made of another rule, and why."""
    found = {}
    for rule in plan.rules:
        missing = sorted(study.sets - rule_facts(rule).options.keys())
        if study.only and rule not in study.only:
            found[rule] = f"the study {study.name!r} is about {', '.join(study.only)} alone"
        elif study.own_readouts and rule in plan.twins_of:
            found[rule] = (
                f"it has no readout at every block (it is no BlockwiseRule), so it cannot take part in the study {study.name!r}"
            )
        elif missing:
            found[rule] = (
                f"it has no option {missing[0]!r}, which the study {study.name!r} sets, so it cannot take part"
            )
    return found
