"""The same content for other readers: Markdown for people, CSV for spreadsheets and data frames, JSON for programs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from layerlocal.report import views
from layerlocal.report.claims import accuracy_table, claim_rows, claims_headline
from layerlocal.report.cost import cost_facts, cost_sentences, cost_tables
from layerlocal.report.page import whole_content
from layerlocal.report.rows import csv_of_rows
from layerlocal.report.studies import missing_rows, missing_runs, study_facts, study_notes, study_tables
from layerlocal.report.tuning import tune_table
from layerlocal.summary import Summary
from layerlocal.words import NOT_RUN, NOTHING, UNJUDGED, clean, is_number, spoken

__all__ = ["render_claims", "render_csv", "render_json", "render_markdown"]

_SPECIAL = re.compile(r"[\\`*<>|~$&]|\](?=[(\[:])|!(?=\[)|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LEADING = re.compile(r"^(\d*)([#+\-=.)]+)(?=\s|=|-|$)")
"""What would begin a heading, a list or a rule where a line begins."""


def render_markdown(content: Mapping[str, Any] | Summary) -> str:
    """Verdicts, then what each part found, its tables and its command, as GitHub's Markdown.

    Args:
        content: as for `layerlocal.report.render_page`.
    """
    whole = whole_content(content)
    parts = [f"# {_escape(whole['title'])}", *(f"> {_escape(text)}" for text in whole["warnings"])]
    claims = list(_claims(whole["claims"], whole["claims_sha256"])) if whole["claims"] else []
    first = any(row.get("verdict", NOT_RUN) != NOT_RUN for row in whole["claims"])
    parts += claims if first else []
    for summary in whole["summaries"]:
        parts += _summary(summary)
    for study in whole["studies"]:
        parts += _study(study)
    for cost in whole["costs"]:
        parts += _cost(cost)
    for search in whole["tunes"]:
        found = tune_table(search)
        parts += ["## Search for settings", *(f"- {_escape(str(text))}" for text in search.get("sentences") or [])]
        parts += [_table(found["head"], found["rows"])]
    if whole["accuracies"]:
        table = accuracy_table(whole["accuracies"])
        parts += ["## Reported beside measured", _table(table["head"], table["rows"])]
    parts += [] if first else claims
    parts += ["## Where every number comes from", f"{len(whole['runs']):,} finished runs.", _code(whole["command"])]
    return "\n\n".join(part for part in parts if part) + "\n"


MEANING = (
    "P are published statements, O are our own. A verdict is about the rule in brackets. `dtg-ff` is **not** the method of arXiv:2606.06539: "
    "two secondary sources describe parts of that method, and `dtg-ff` has none of them. *n = 6 to 273 would settle it* is how many seeds "
    "settle a claim at both ends of the 95 % interval of the spread. The command runs the number at the measured spread, for 80 % power."
)
DOWNLOADS = (
    "`composition` and `cost` need only the package; `resolution` wants a folder of your own. The other studies download their "
    "data at the first run."
)


def render_claims(rows: Sequence[Mapping[str, Any]], sha256: str, command: str) -> str:
    """Every claim as one row of a Markdown table, in the order given: claimed, measured, verdict, and what would settle it.

    Args:
        rows: verdict rows (`layerlocal.claims.judge`).
        sha256: of the claims.
        command: that prints this text.
    """
    given = [dict(row) for row in rows]
    head = ["claim", "source", "claimed", "measured", "verdict", "n", "size", "what would settle it"]
    body = [
        [
            f"{view['id']}: {view['sentence']}",
            view["source"],
            view["reported"],
            _join([view["what"], _join(view["measured"])], ": ") if view["measured"][1] else NOTHING,
            f"{view['verdict'][1]} {view['verdict'][2]}",
            view["n"],
            view["size"],
            _join([view["needs"], view["reason"] if view["verdict"][2] == UNJUDGED else "", view["command"]], "; "),
        ]
        for view in claim_rows(given)
    ]
    parts = [
        "# Claims, as published and as measured",
        _escape(claims_headline(given)),
        "Brackets are 95 % intervals. Differences are paired by seed. All claims that could be judged are judged together, with Holm's "
        "correction.",
        MEANING,
        DOWNLOADS,
        _table(head, body),
        f"SHA-256 of the claims, which were fixed before the results were read: {_escape(sha256)}",
        _code(command),
    ]
    return "\n\n".join(parts) + "\n"


def render_csv(content: Mapping[str, Any] | Summary) -> str:
    """Every row of every study, ``study`` and ``size`` in front; the runs themselves where there is no study."""
    whole = whole_content(content)
    if whole["summaries"]:
        given = [
            {"experiment": s.experiment, "name": s.name, "size": s.size, **row}
            for s in whole["summaries"]
            for row in s.rows
        ]
        return csv_of_rows(given, ("experiment", "name", "size"))
    rows = [
        {"study": study.get("study"), "size": study.get("size"), **row}
        for study in whole["studies"]
        for row in study.get("rows") or []
    ]
    if whole["studies"]:
        return csv_of_rows(rows, ("study", "size"))
    return csv_of_rows(whole["runs"], ("run",))


def render_json(content: Mapping[str, Any] | Summary) -> str:
    """The whole content as strict JSON: what is not a number (NaN, infinities) is ``null``."""
    return json.dumps(_strict(whole_content(content)), indent=1, allow_nan=False) + "\n"


def _strict(value: Any) -> Any:
    """Only what JSON knows; numpy's numbers become plain ones, anything else its text."""
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, BaseModel):
        return _strict(value.model_dump())
    if isinstance(value, Mapping):
        return {str(key): _strict(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_strict(inner) for inner in value]
    if hasattr(value, "tolist"):
        return _strict(value.tolist())
    if isinstance(value, float):
        return value if is_number(value) else None
    return str(value)


def _claims(rows: Sequence[Mapping[str, Any]], sha256: Any) -> Iterator[str]:
    head = ["claim", "reported", "measured", "verdict", "n", "size", "smallest effect that counts", "adjusted p"]
    views = claim_rows([dict(row) for row in rows])
    left = [view["id"] for view in views if view["left"]]
    body = [
        [
            f"{view['id']}: {view['sentence']}",
            view["reported"],
            _join(view["measured"]),
            _join([f"{view['verdict'][1]} {view['verdict'][2]}", view["needs"], view["reason"]], "; "),
            view["n"],
            view["size"],
            view["effect"],
            view["p"],
        ]
        for view in views
        if not view["left"]
    ]
    yield "## Claims, as reported and as measured"
    yield _escape(claims_headline([dict(row) for row in rows])) if body else ""
    yield _table(head, body)
    yield _escape(f"Not run: {spoken(left)}.") if left else ""
    commands: dict[str, list[str]] = {}
    for view in views:
        if view["command"]:
            commands.setdefault(view["command"], []).append(view["id"])
    for command, ids in commands.items():
        yield f"To settle {_escape(spoken(ids))}:\n\n{_code(command)}"
    if sha256:
        yield f"SHA-256 of the claims: {_escape(sha256)}"


def _summary(summary: Summary) -> Iterator[str]:
    """A summary: what was asked, what was found, the tables, what is missing, then its parts."""
    found = views.section(summary, "")
    yield f"## {_escape(found.title)}"
    yield _escape(found.question)
    yield "; ".join(f"{key} {_escape(value)}" for key, value in found.facts)
    yield from _body(found, 3)
    if found.missing:
        yield f"{found.missing_words}:"
        yield "\n".join(f"- {_escape(label)}: {_escape(reason)}" for label, reason in found.missing.rows)


def _body(found: views.Section, level: int) -> Iterator[str]:
    yield "\n".join(f"- {_escape(text)}" for text in found.sentences)
    for grid in found.grids:
        yield _escape(grid.caption)
        yield _table(grid.head, [[str(cell) for cell in row] for row in grid.rows], grid.numeric)
    yield "\n".join(f"- {_escape(text)}" for text in found.notes)
    yield _code(found.command)
    for part in found.parts:
        yield f"{'#' * min(level, 6)} {_escape(part.title)}" if part.title else ""
        yield from _body(part, level + 1)


def _study(study: Mapping[str, Any]) -> Iterator[str]:
    study = dict(study)
    missing = missing_rows(study)
    yield f"## {_escape(study.get('title') or study.get('study') or 'A study without a name')}"
    yield _escape(study.get("question") or "")
    yield "; ".join(f"{key} {_escape(value)}" for key, value in study_facts(study))
    yield "\n".join(f"- {_escape(text)}" for text in study.get("sentences") or [])
    for table in study_tables(study):
        yield _escape(table["caption"])
        yield _table(table["head"], table["rows"], table["numeric"])
    yield "\n".join(f"- {_escape(text)}" for text in study_notes(study))
    yield _code(study.get("command") or "")
    if missing:
        count = missing_runs(study)
        yield f"{count} run{' is' if count == 1 else 's are'} missing:"
        yield "\n".join(f"- {_escape(label)}: {_escape(reason)}" for label, reason in missing)


def _cost(summary: Mapping[str, Any]) -> Iterator[str]:
    summary = dict(summary)
    yield "## What training costs"
    yield "; ".join(f"{key} {_escape(value)}" for key, value in cost_facts(summary))
    yield "\n".join(f"- {_escape(text)}" for text in cost_sentences(summary))
    for table in cost_tables(summary):
        yield _escape(table["caption"])
        yield _table(table["head"], table["rows"], table["numeric"])
    yield "\n".join(f"- {_escape(text)}" for text in (summary.get("idle"), summary.get("energy_note")) if text)
    yield _code(summary.get("command") or "")


def _join(parts: Sequence[str], between: str = " ") -> str:
    return between.join(part for part in parts if part)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool] = ()) -> str:
    """A pipe table; columns of numbers stand at the right."""
    if not rows or not head:
        return ""
    marks = ["---:" if i < len(numeric) and numeric[i] else "---" for i in range(len(head))]
    lines = [[_in_cell(cell) or NOTHING for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [[_in_cell(h) or " " for h in head], marks, *lines])


def _escape(text: Any) -> str:
    """One line in which nothing is markup."""
    return _LEADING.sub(r"\1\\\2", _in_cell(text))


def _in_cell(text: Any) -> str:
    return _SPECIAL.sub(r"\\\g<0>", re.sub(r"\s+", " ", clean(text)))


def _code(command: Any) -> str:
    """A command in a fence that it cannot end."""
    line = clean(command)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", line)), default=0))
    return f"{fence}sh\n{line}\n{fence}" if line else ""
