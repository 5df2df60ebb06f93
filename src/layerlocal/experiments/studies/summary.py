"""From a plan and finished runs to a study's summary."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from layerlocal.experiments.studies import find_study
from layerlocal.experiments.studies.base import SHORT, SIZES, StudyPlan, make_rows, plan_runs, whole_seeds
from layerlocal.experiments.studies.sampled import AnswersOf, interval_notes, kept
from layerlocal.runs.environment import shared_environment
from layerlocal.runs.store import RunRecord
from layerlocal.spec import PROTOCOL, RunSpec
from layerlocal.summary import Missed, Row, Summary

__all__ = ["summarize_study"]


def summarize_study(
    plan: StudyPlan,
    records: Mapping[str, RunRecord],
    *,
    reasons: Mapping[str, str] | None = None,
    left_out: Collection[str] = (),
    metrics: Callable[[str], Any] | None = None,
    answers: AnswersOf | None = None,
) -> Summary:
    """What a study's finished runs say; for a row see `layerlocal.experiments.studies.base`.

    Args:
        plan: which runs belong to it.
        records: finished runs by hash; missing ones leave their row out.
        reasons: hash → why a run has no result.
        left_out: hashes of runs of which that was known before anything was trained.
        metrics: hash → table of a run's epochs, for studies that speak of them.
        answers: what a run answered on its test images (`RunStore.answers`); intervals of differences are then over these images too.
    """
    study = find_study(plan.study)
    specs = plan_runs(study, plan)
    planned = {spec.hash: key for key, spec in specs.items()}
    used = {name: records[name] for name in planned if name in records}
    rows = make_rows(study, plan, used, answers)
    rows = rows if metrics is None else [study.with_history(row, metrics) for row in rows]
    whole = whole_seeds(rows)
    found = study.conclude(plan, whole)
    missing: dict[tuple[str, bool], list[str]] = {}
    for name, (rule, seed, _, method) in planned.items():
        if name not in used:
            why = (reasons or {}).get(name, "not run yet"), name in left_out
            missing.setdefault(why, []).append(f"{method} of {rule}, seed {seed} ({name})")
    environments = [record.env for record in used.values()]
    return Summary(
        experiment="study",
        name=study.name,
        title=study.title,
        question=study.question,
        size=plan.size,
        size_words=SIZES[plan.size],
        protocol=PROTOCOL,
        layerlocal=environments[0]["layerlocal"] if environments else None,
        command=plan.command or f"layerlocal study {plan.study} --size {plan.size}",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        environment=shared_environment(environments),
        claims_sha256=plan.claims_sha256,
        rules=plan.rules,
        seeds=plan.seeds,
        planned=len(planned),
        finished=len(used),
        missing=tuple(
            Missed(label=_counted(labels), runs=len(labels), reason=reason, left_out=before)
            for (reason, before), labels in missing.items()
        ),
        notes=(
            *_short(plan, rows, whole),
            drawn_by_seeds(specs.values()),
            *interval_notes(whole),
            *found.notes,
            *([TEXT] if any("nats" in row for row in rows) else []),
            *_warnings(used.values()),
        ),
        sentences=tuple(found.sentences),
        figures=tuple(found.figures),
        tables=tuple(found.tables),
        rows=kept(rows),
        quantities=found.quantities,
    )


TEXT = "Of text a label is the byte that follows: accuracies are shares of the bytes of the test text, after each of its bytes."


def _short(plan: StudyPlan, rows: Sequence[Row], whole: Sequence[Row]) -> list[str]:
    """What limits every number of a summary."""
    notes = [SHORT] if plan.size == "quick" else []
    seeds = sorted({row["seed"] for row in rows} - {row["seed"] for row in whole})
    if seeds:
        notes.append(
            f"Seeds {', '.join(map(str, seeds))} are not finished yet: their rows are in the CSV, but in no figure, table or quantity."
        )
    return notes


def drawn_by_seeds(specs: Iterable[RunSpec]) -> str:
    """What a seed draws, and so what an interval over seeds is about: for the notes."""
    by_task: dict[str, set[int]] = {}
    teachers = False
    for spec in specs:
        task = spec.data.model_copy(update={"seed": 0}).model_dump_json()
        by_task.setdefault(task, set()).add(spec.data.seed)
        teachers |= spec.data.source == "teacher_student"
    always = "A seed draws initial weights, batches and augmentation"
    if all(len(seeds) == 1 for seeds in by_task.values()):
        return f"{always}; the images, their validation split and, where there is one, the subset are the same for all seeds."
    drawn = "which images are trained on, held out and, of a subset, tested on" + ", and the teacher" * teachers
    return f"{always}, and {drawn}."


def _counted(labels: Sequence[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{len(labels)} runs, the first {labels[0]}"


def _warnings(records: Iterable[RunRecord]) -> list[str]:
    """Runs on data of one name and one shape whose contents differ do not compare."""
    sums: dict[tuple[Any, ...], set[str]] = {}
    for record in records:
        data = record.spec.data
        if data.source != "teacher_student":
            key = (data.source, data.labels, data.image_size)
            sums.setdefault(key, set()).add(record.result["data"]["provenance"].get("checksum", "?"))
    return [
        f"Runs on {key[0]} were made with {len(found)} different copies of it: they do not compare."
        for key, found in sums.items()
        if len(found) > 1
    ]
