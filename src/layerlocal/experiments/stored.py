"""What a store holds, said: audit, studies, claims, runs → a page, Markdown, CSV or JSON. Trains nothing and never loads torch.

A folder of published results is read like a store: its summaries, of studies and of the audit, are taken as they are published, since the
runs behind them are not there, only their table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from layerlocal.claims import COST_STUDY, ClaimSet, compare_accuracies, judge, load_accuracies, load_claims
from layerlocal.experiments.audit.plan import SIZES as AUDIT_SIZES
from layerlocal.experiments.audit.plan import AuditPlan
from layerlocal.experiments.audit.summary import summarize
from layerlocal.experiments.places import Kept, Place, read_kept
from layerlocal.experiments.reading import read_summary
from layerlocal.experiments.studies import STUDIES
from layerlocal.experiments.studies.base import SIZES, StudyPlan
from layerlocal.experiments.studies.quantities import known_quantities
from layerlocal.experiments.studies.summary import summarize_study
from layerlocal.files import read_model
from layerlocal.names import first_name
from layerlocal.report import Content, in_short, render_csv, render_json, render_markdown, write_figures, write_page
from layerlocal.runs.comparable import Records, comparable
from layerlocal.runs.store import RunStore
from layerlocal.runs.table import load_runs, published_table, run_row
from layerlocal.summary import Missed, Summary
from layerlocal.types import InputError, unknown_name

__all__ = [
    "TRIALS",
    "audit_place",
    "audit_summary",
    "content_of_store",
    "cost_kept",
    "cost_path",
    "cost_place",
    "cost_summaries",
    "judge_claims",
    "read_plan",
    "study_place",
    "study_summaries",
    "tune_path",
    "tune_place",
    "tune_summaries",
    "write_report",
    "write_report_figures",
]  # fmt: skip

KNOWN = (*STUDIES, COST_STUDY)
"""Studies that a claim may name."""
FORMATS = {"md": render_markdown, "csv": render_csv, "json": render_json}


def write_report(out: Path, *, form: str = "html", claim_files: Sequence[Path] | None = None) -> Path | str:
    """Everything in a store as ``report.html`` beside it, or as text.

    Args:
        out: the store.
        form: ``"html"``: the page's path is given; ``"md"``, ``"csv"`` or ``"json"``: the text.
        claim_files: instead of our claims.

    Raises:
        InputError: no store, nothing finished in it, a damaged file, an unknown format, a claim file that cannot be used.
    """
    if form != "html" and form not in FORMATS:
        raise unknown_name("format", form, ["html", *FORMATS])
    content = content_of_store(out, claim_files)
    if form != "html":
        return FORMATS[form](content)
    return write_page(content, out / "report.html")


def write_report_figures(
    out: Path, folder: Path, *, forms: Sequence[str] | None = None, claim_files: Sequence[Path] | None = None
) -> list[Path]:
    """Every figure of a store's page as files.

    Args:
        out: the store.
        folder: where they are written; made where there is none.
        forms: of ``svg``, ``png``, ``pdf``; ``None``: all that can be drawn here.
        claim_files: instead of our claims.

    Raises:
        InputError: as for `write_report`; no figure, or a folder that cannot be written.
    """
    return write_figures(content_of_store(out, claim_files), folder, forms)


def content_of_store(out: Path, claim_files: Sequence[Path] | None = None) -> Content:
    """Everything in a store, for a page.

    Raises:
        InputError: as `write_report`.
    """
    claims = _claims_of(claim_files)  # before any result is read
    rows: list[dict[str, Any]] = []
    records, warnings = comparable(out, lambda record: rows.append(run_row(record, options=False)))
    audit, studies, costs = audit_summary(out, records), study_summaries(out, records), cost_summaries(out)
    summaries = [*([audit] if audit is not None else []), *studies, *costs, *tune_summaries(out)]
    shown = bool(studies or costs or claim_files)  # an audit alone says nothing of a claim
    if not records and not summaries:
        if warnings:
            raise InputError(f"nothing in {out} can be reported: {'; '.join(warnings[:3])}")
        raise InputError(
            f"nothing is finished in {out} yet; `layerlocal audit --out {out}` or `layerlocal study --out {out}` runs something"
        )
    return Content(
        title=in_short(audit).title if audit is not None and not studies else f"layerlocal report of {out.name}",
        command=audit.command if audit is not None and not studies else f"layerlocal report --out {out}",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        summaries=summaries,
        claims=judge(claims, [*studies, *costs]) if shown else [],
        claims_sha256=claims.sha256 if shown else "",
        accuracies=compare_accuracies(load_accuracies(), studies) if studies else [],
        runs=rows or _published_runs(out),
        warnings=[*warnings, *([] if claim_files else _claims_changed([*studies, *costs]))],
    )


def _published_runs(out: Path) -> list[dict[str, Any]]:
    """The rows of a table of runs that is published instead of them."""
    if published_table(out) is None:
        return []
    table = load_runs(out)
    options = [name for name in table.column_names if name.partition(".")[1]]
    return list(table.drop_columns(options).to_pylist())


def _claims_of(files: Sequence[Path] | None) -> ClaimSet:
    """Ours, or those of files, which must be of studies and quantities that there are; ours are, by a test."""
    return load_claims(files, known_studies=KNOWN, known_quantities=known_quantities()) if files else load_claims()


def _claims_changed(summaries: Sequence[Summary]) -> list[str]:
    """Whoever changes one of our claims after a study of them was begun is seen to have done so."""
    claims = load_claims()
    changed = [
        f"{found.name} ({found.size})"
        for found in summaries
        if not claims.stood(found.claims_sha256, STUDIES if found.name in STUDIES else (found.name,))
    ]
    if not changed:
        return []
    return [
        f"Our claims are not those that stood when these studies were begun: {', '.join(changed)}. "
        "Verdicts on them are not of claims fixed beforehand."
    ]


def judge_claims(
    out: Path,
    *,
    files: Sequence[Path] | None = None,
    rule: str | None = None,
    names: Sequence[str] = (),
    alpha: float | None = None,
) -> tuple[list[dict[str, Any]], ClaimSet, list[str]]:
    """Verdict rows (`layerlocal.claims.judge`), the claims judged, which are loaded before any result is read, and warnings.

    Args:
        out: the store, or a folder of published results; where there is none yet, nothing is run.
        files: claim files instead of ours.
        rule: every claim is judged of this one instead of the one it names.
        names: the claims whose rows are given; whole families are judged, whichever are.
        alpha: family-wise error rate instead of the files' own.

    Raises:
        InputError: a claim file that cannot be used, an unknown claim, a file in place of a store.
    """
    claims = _claims_of(files)
    claims = claims if rule is None else claims.of_rule(rule)
    shown = claims.ids_of(names) if names else None
    claims = claims if alpha is None else claims.model_copy(update={"alpha": alpha})
    records, warnings = comparable(out) if out.exists() else ({}, [])
    found = [*study_summaries(out, records), *cost_summaries(out)]
    known = sorted({name for summary in found for name in summary.rules})
    if rule is not None and known and rule not in known:
        raise unknown_name("rule of a study in this store:", rule, known)
    rows = judge(claims, found, show=shown)
    return rows, claims, [*warnings, *([] if files else _claims_changed(found))]


# --- studies ----------------------------------------------------------------------------------------------------------


def study_place(out: Path, study: str, size: str) -> Place:
    """Where a study is kept; its plan or, of published results, its summary lay in ``study-<name>-<size>.json``."""
    loose = f"study-{study}-{size}"
    return Place(out, f"{study}-{size}", old_plan=f"{loose}.json", old_missing=f"{loose}-missing.json")


def read_plan(out: Path, study: str, size: str) -> StudyPlan | None:
    """A study's plan, if there is one.

    Raises:
        InputError: a damaged one, or a published summary in its place, which a study must not be run over.
    """
    kept = study_place(out, study, size).plan
    path, content = kept.found, kept.read(damaged=_damaged_study)
    if content is None:
        return None
    if _is_summary(content):
        raise InputError(
            f"{path} is a published summary, not a study of a store; give another folder with --out to run the study there"
        )
    return read_model(path, StudyPlan, content=content, damaged=_damaged_study)


def study_summaries(out: Path, records: Records) -> list[Summary]:
    """The summary of every study of which the store has a plan; a published summary as it is.

    Raises:
        InputError: a damaged file, or a published summary of another study than its name says.
    """
    return [
        found for name in STUDIES for size in SIZES if (found := _study_summary(out, name, size, records)) is not None
    ]


def _study_summary(out: Path, study: str, size: str, records: Records) -> Summary | None:
    place = study_place(out, study, size)
    path, content = place.plan.found, place.plan.read(damaged=_damaged_study)
    if content is not None and _is_summary(content):
        return _published(path, content, study, size)
    plan = read_plan(out, study, size)
    if plan is None:
        return None
    entries = place.missing.read(kind=(list, dict)) or []
    if isinstance(entries, dict):  # hash → reason, as earlier versions kept it
        entries = [{"reason": reason, "runs": [name]} for name, reason in entries.items()]
    reasons = {name: entry["reason"] for entry in entries for name in entry["runs"]}
    left_out = {name for entry in entries for name in entry["runs"] if entry.get("left_out")}
    store = RunStore(out)
    return summarize_study(
        plan, records, reasons=reasons, left_out=left_out, metrics=store.metrics, answers=store.answers
    )


def _is_summary(content: Mapping[str, Any]) -> bool:
    """Whether a file of a study holds what was found (published) rather than what is to be run (a plan)."""
    return "quantities" in content or "rows" in content


def _published(path: Path, content: Any, study: str, size: str) -> Summary | None:
    """A published summary, of the study that its file is named after."""
    found = read_summary(path, content=content, damaged=_damaged_result)
    for word, told, named in (("study", found and found.name, study), ("size", found and found.size, size)):
        if told != named:
            raise _damaged_result(path, f"it says {word} {told!r}")
    return found


# --- the cost audit ---------------------------------------------------------------------------------------------------


def cost_path(out: Path, size: str) -> Path:
    """Where the summary of a cost audit is published, and was kept by earlier versions."""
    return out / f"cost-{size}.json"


def cost_place(out: Path, size: str) -> Place:
    """Where a cost audit is kept."""
    return Place(out, f"cost-{size}", old_summary=cost_path(out, size).name)


def cost_summaries(out: Path) -> list[Summary]:
    """The summary of every cost audit of the store, the smallest size first.

    Raises:
        InputError: a damaged one.
    """
    return list(_summaries(cost_place(out, size).summary.found for size in SIZES))


def _summaries(
    paths: Iterable[Path], needs: Sequence[str] = ("study", "size", "rules", "quantities")
) -> Iterator[Summary]:
    """Those that there are; one of an earlier version has what it needs, or is damaged."""
    for path in paths:
        content = read_kept(path, damaged=_damaged)
        if content is not None and "experiment" not in content:
            read_kept(path, needs=needs, damaged=_damaged)
        found = read_summary(path, content=content, damaged=_damaged)
        if found is not None:
            yield found


# --- searches ---------------------------------------------------------------------------------------------------------


TRIALS = "tune"
"""Folder below a store in which a search keeps the runs of its trials, apart from runs that opened the test split."""


def tune_path(out: Path, name: str) -> Path:
    """Where the summary of a search is published, and was kept by earlier versions."""
    return out / f"tune-{name}.json"


def tune_place(out: Path, name: str) -> Place:
    """Where a search is kept."""
    return Place(out, f"tune-{name}", old_summary=tune_path(out, name).name)


def tune_summaries(out: Path) -> list[Summary]:
    """The summary of every search of the store, by name.

    Raises:
        InputError: a damaged one.
    """
    paths = {path.stem: path for path in out.glob("tune-*.json")}
    paths |= {path.parent.name: path for path in out.glob("experiments/tune-*/summary.json")}
    return list(_summaries((paths[name] for name in sorted(paths)), ("methods", "sentences", "budget")))


# --- the audit --------------------------------------------------------------------------------------------------------


def audit_place(out: Path, size: str) -> Place:
    """Where an audit is kept."""
    return Place(out, f"audit-{size}", old_plan="audit.json", old_missing="failed.json", old_summary="summary.json")


def audit_summary(out: Path, records: Records | None = None, *, plan: AuditPlan | None = None) -> Summary | None:
    """The summary of an audit of the store, or the published one.

    Args:
        out: the store.
        records: its finished runs by hash, where they are read already.
        plan: of the audit; ``None``: the largest that the store has.

    Returns:
        ``None`` where there is no audit.

    Raises:
        InputError: a damaged file.
    """
    plan = plan or read_audit_plan(out)
    if plan is None:
        published = (out / f"audit-{size}.json" for size in reversed(AUDIT_SIZES))
        return next((found for path in published if (found := read_summary(path, damaged=_damaged_result))), None)
    known = comparable(out)[0] if records is None else records
    entries = audit_place(out, plan.size).missing.read(kind=list) or []
    missing, cost = [_missed(entry) for entry in entries], cost_kept(out, plan).read()
    return summarize(plan, known, missing=missing, cost=cost, answers=RunStore(out).answers)


def _missed(entry: Mapping[str, Any]) -> Missed:
    """Runs without a result, as a store keeps them; earlier versions did not say which."""
    given = {key: entry[key] for key in ("label", "reason", "left_out") if key in entry}
    return Missed(**given, runs=len(entry.get("runs", ())) or 1)


def cost_kept(out: Path, plan: AuditPlan) -> Kept:
    """Where the cost of an audit's rules is kept."""
    rules = [first_name(rule) for rule in plan.rules]
    key = json.dumps([rules, plan.sources, plan.size, *([] if plan.device == "cpu" else [plan.device])])
    name = f"cost-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    return Kept(audit_place(out, plan.size).folder / name, out / name)


def read_audit_plan(out: Path) -> AuditPlan | None:
    """The plan of the store's largest audit; that of an earlier version where this one has made none."""
    places = [audit_place(out, size).plan for size in reversed(AUDIT_SIZES)]
    kept = next((kept for kept in places if kept.path.exists()), places[0])

    def damaged(path: Path, reason: object) -> InputError:
        return InputError(f"{path} is damaged ({reason}); run `layerlocal audit --out {out}` again")

    return read_model(kept.found, AuditPlan, content=kept.read(), damaged=damaged)


# --- files that cannot be read ----------------------------------------------------------------------------------------


def _damaged(path: Path, reason: object, again: str = "run the same command again") -> InputError:
    """What is wrong with a file and how to mend it; what is published is not ours to run again."""
    if published_table(path.parent) is not None:
        return _damaged_result(path, reason)
    return InputError(f"{path} is damaged ({reason}); delete it and {again}: finished runs are kept")


def _damaged_study(path: Path, reason: object) -> InputError:
    return _damaged(path, reason, "run the study again")


def _damaged_result(path: Path, reason: object) -> InputError:
    return InputError(f"{path} cannot be read as a published result ({reason}); put back the file as it was published")
