"""`layerlocal tune`: as many trials for every rule and every twin, from one space, judged on validation data; the best settings of each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console

from layerlocal.experiments.stored import TRIALS, tune_path
from layerlocal.experiments.tune import AT_ONCE, Method, Search, TunePlan
from layerlocal.runs.environment import describe_environment, usual_workers
from layerlocal.runs.forecast import forecast_seconds
from layerlocal.runs.pin import contents_of, file_sha256
from layerlocal.runs.preview import look_ahead
from layerlocal.runs.progress import ManyRuns
from layerlocal.runs.store import RunStore, write_atomic
from layerlocal.spec import RunSpec, command_of
from layerlocal.words import percent, several

__all__ = ["forecast_tuning", "run_tuning"]


def run_tuning(
    plan: TunePlan,
    out: Path,
    *,
    reread: bool = False,
    workers: int | None = None,
    ray: str | None = None,
    device: str = "cpu",
    command: str = "layerlocal tune",
    console: Console | None = None,
) -> dict[str, Any]:
    """Make the trials that are not made yet, and write ``tune-<name>.json`` into ``out``.

    Args:
        plan: the search; its sources are filled in here.
        out: the run store; the runs of trials are kept in its folder ``tune``.
        reread: read the files of the data again, even where their sizes and times of change are the old ones.
        workers: processes of one thread each; ``None``: one a core.
        ray: address of a Ray cluster instead of processes here.
        device: of every run.
        command: noted beside the numbers.
        console: for progress.

    Returns:
        The summary: ``methods``, each with its trials in order and its best.

    Raises:
        InputError: a mistake in the plan, found before anything is trained; a store that cannot be written.
    """
    from layerlocal.runs.many import run_many

    console = console or Console(stderr=True)
    plan = _checked(plan, reread=reread)
    searches = [Search(plan, method) for method in plan.methods]
    RunStore(out).prepare()
    store = RunStore(out / TRIALS)
    count = workers if ray else workers or usual_workers(device)
    trials: dict[str, list[dict[str, Any]]] = {method.label: [] for method in plan.methods}
    total = len(searches) * plan.trials * plan.seeds
    with ManyRuns(console, total, workers=count) as progress:
        while any(asked := [search.ask() for search in searches]):
            specs = {
                (search.method.label, number, seed): plan.run(search.method, chosen, seed)
                for search, settings in zip(searches, asked, strict=True)
                for number, chosen in enumerate(settings)
                for seed in range(plan.seeds)
            }
            contents = contents_of(specs.values())  # of a search that changes what is read of the data
            specs = {key: spec.with_content(contents) for key, spec in specs.items()}
            outcome = run_many(
                list(specs.values()), store, workers=count, threads=1, device=device, ray=ray, listen=progress, on_done=progress.done
            )  # fmt: skip
            for search, settings in zip(searches, asked, strict=True):
                name = search.method.label
                judged = [
                    _trial(chosen, [specs[name, number, seed] for seed in range(plan.seeds)], store, outcome.failed)
                    for number, chosen in enumerate(settings)
                ]
                search.tell([trial["value"] for trial in judged])
                trials[name] += judged
    methods = [_method(plan, search, trials[search.method.label]) for search in searches]
    summary = {
        "name": plan.name,
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "layerlocal": version("layerlocal"),
        "environment": describe_environment(device),
        "plan": plan.model_dump(mode="json"),
        "space": [dimension.text for dimension in plan.space],
        "budget": plan.budget,
        "methods": methods,
        "sentences": [_sentence(row, plan) for row in methods],
    }
    write_atomic(tune_path(out, plan.name), (json.dumps(summary, indent=1) + "\n").encode())
    return summary


def forecast_tuning(plan: TunePlan, *, workers: int | None = None, device: str = "cpu") -> dict[str, Any]:
    """How long a search takes from its begin, by some timed steps of each method with the settings as they are; writes nothing.

    Trials are made in rounds, and a round takes no less than its longest run, however many workers there are.

    Returns:
        ``methods``, ``trials`` of each, ``planned`` runs of all, ``workers``, and ``seconds`` (`forecast_seconds`); ``budget`` in words.

    Raises:
        InputError: a mistake in the plan.
    """
    plan, count = _checked(plan), workers or usual_workers(device)
    specs = [plan.run(method, Search(plan, method).first, 0) for method in plan.methods]
    seconds = list(forecast_seconds(specs, device=device))
    rounds = [min(AT_ONCE, plan.trials - made) * plan.seeds for made in range(0, plan.trials, AT_ONCE)]
    return {
        "methods": [method.label for method in plan.methods],
        "trials": plan.trials,
        "planned": plan.trials * plan.seeds * len(plan.methods),
        "workers": count,
        "seconds": sum(max(runs * sum(seconds) / count, *seconds) for runs in rounds),
        "budget": plan.budget,
    }


def _checked(plan: TunePlan, *, reread: bool = False) -> TunePlan:
    """The plan with the hashes of its rule files and of its data, once each method is seen to be built, and each of a file to begin."""
    plan = plan.model_copy(update={"sources": {rule: found for rule in plan.rules if (found := file_sha256(rule))}})
    plan.check()
    first = plan.run(plan.methods[0], {}, 0)
    plan = plan.model_copy(update={"contents": contents_of([first], reread=reread)})
    for method in plan.methods:
        spec = plan.run(method, Search(plan, method).first, 0)
        if spec.rule.source_sha256 is None:  # ours are known to train
            look_ahead(spec)
        else:
            _refuse_what_does_not_train(spec)
    return plan


def _refuse_what_does_not_train(spec: RunSpec) -> None:
    """Of a rule file: it is built and begun."""
    from layerlocal.runs.run import build, plugin_errors
    from layerlocal.training.train import Training

    with plugin_errors(spec):
        data, rule = build(spec)
        Training(rule, data, spec.recipe, seed=spec.seed)


def _trial(
    chosen: Mapping[str, Any], specs: Sequence[RunSpec], store: RunStore, failed: Mapping[str, str]
) -> dict[str, Any]:
    """Settings and what they were worth: the mean validation accuracy over seeds, or the reason why there is none."""
    reason = next((failed[spec.hash] for spec in specs if spec.hash in failed), None)
    values = [] if reason else [store.load(spec.hash).result["validation_accuracy"] for spec in specs]
    value = mean(values) if values else None
    return {
        "settings": dict(chosen),
        "values": values,
        "value": value,
        "reason": reason,
        "runs": [s.hash for s in specs],
    }


def _method(plan: TunePlan, search: Search, trials: list[dict[str, Any]]) -> dict[str, Any]:
    method = search.method
    good = [trial for trial in trials if trial["value"] is not None]
    best = max(good, key=lambda trial: trial["value"], default=None)
    usual = next((trial for trial in good if trial["settings"] == search.usual), None)
    return {
        "label": method.label,
        "rule": method.rule,
        "twin": method.twin,
        "trials": trials,
        "best": best,
        "usual": usual["value"] if usual else None,
        "command": _command(plan, method, best["settings"]) if best else None,
    }


def _command(plan: TunePlan, method: Method, chosen: dict[str, Any]) -> str:
    """What trains with these settings and then opens the test split."""
    return command_of(plan.run(method, chosen, 0).model_copy(update={"judged_on": "test"}))


def _sentence(row: Mapping[str, Any], plan: TunePlan) -> str:
    if row["best"] is None:
        return (
            f"{row['label']}: none of {len(row['trials'])} trials ended; the first says: {row['trials'][0]['reason']}."
        )
    settings = ", ".join(
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in row["best"]["settings"].items()
    )
    count = len(row["trials"])
    best = f"at best of {count} trials" if count > 1 else "in one trial"
    usual = f", as it is {percent(row['usual'])}" if row["usual"] is not None else ""
    return (
        f"{row['label']}: validation accuracy {percent(row['best']['value'])} {best}{usual}; {settings} "
        f"(n = {several(plan.seeds, 'seed')}; the best of many is too high by chance: train it with other seeds)."
    )
