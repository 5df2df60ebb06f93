"""A study's summary as plain data for the template: facts, sentences, figures with their numbers, tables, what is missing, its rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from layerlocal.report import draw, plots
from layerlocal.report.rows import csv_of_rows, data_uri
from layerlocal.report.sections import table
from layerlocal.words import cell, clean, is_number, plain, shorten, spoken

__all__ = ["anchors", "missing_rows", "study_facts", "study_notes", "study_tables", "study_view"]

View = dict[str, Any]
NUMERIC = ("int", "number", "percent", "points")
PRINTED_ROWS = 60


def anchors(studies: Sequence[View]) -> list[str]:
    """An id for each study's section, made of its name, and of its size where one study stands there in several."""
    found: list[str] = []
    for index, study in enumerate(studies):
        name = f"study-{_slug(study.get('study')) or index + 1}"
        sized = f"{name}-{_slug(study.get('size'))}"
        found.append(next(n for n in (name, sized, f"{sized}-{index + 1}") if n not in found))
    return found


def _slug(text: Any) -> str:
    return re.sub(r"[^a-z0-9]+", "-", str(text or "").lower()).strip("-")[:40]


def study_view(study: View, anchor: str) -> View:
    """Everything the template shows of one study.

    Args:
        study: its summary; any part may be missing.
        anchor: the id of its section; ids in its figures begin with it.
    """
    figures = [f for f in study.get("figures") or [] if isinstance(f, dict)]
    rules = study.get("rules") or []
    title = clean(study.get("title") or study.get("study") or "A study without a name")
    return {
        "anchor": anchor,
        "title": title,
        "short": shorten(title, 48) + (f", {clean(study['size'])}" if study.get("size") else ""),
        "question": clean(study.get("question") or ""),
        "facts": list(study_facts(study)),
        "sentences": [clean(text) for text in study.get("sentences") or []],
        "figures": [_figure(figure | {"rules": rules}, f"{anchor}-f{i}") for i, figure in enumerate(figures)],
        "tables": study_tables(study),
        "notes": study_notes(study),
        "command": clean(study.get("command") or ""),
        "missing": missing_rows(study),
        "missing_runs": missing_runs(study),
        "finished_none": study.get("finished") == 0,
        "link": _link(study, anchor),
    }


def study_facts(study: View) -> Iterator[tuple[str, str]]:
    """Size, rules, seeds and how far it is."""
    planned, finished = study.get("planned"), study.get("finished")
    if study.get("size"):
        yield "size", clean(study["size"])
    if study.get("rules"):
        yield "rules", spoken([clean(rule) for rule in study["rules"]])
    if study.get("seeds"):
        yield "seeds", ", ".join(clean(seed) for seed in study["seeds"])
    if is_number(finished) and is_number(planned):
        yield "runs", f"{finished:,} of {planned:,} finished"
    if study.get("created"):
        yield "made", clean(study["created"])


def study_notes(study: View) -> list[str]:
    """Its notes, that on hardware last."""
    return [clean(text) for text in [*(study.get("notes") or []), study.get("hardware_note")] if text]


def missing_rows(study: View) -> list[list[str]]:
    """The runs that are not finished, with the reason where one is known."""
    rows = [row if isinstance(row, dict) else {"label": row} for row in study.get("missing") or []]
    return [[clean(r.get("label") or "?"), clean(r.get("reason") or "not run yet")] for r in rows]


def missing_runs(study: View) -> int:
    """How many runs those rows stand for."""
    rows = [row for row in study.get("missing") or [] if isinstance(row, dict)]
    return sum(row["runs"] if is_number(row.get("runs")) else 1 for row in rows) or len(missing_rows(study))


def study_tables(study: View) -> list[View]:
    """A study's own tables as text."""
    found = []
    for given in study.get("tables") or []:
        columns = given.get("columns") or []
        kinds = [str(column.get("kind") or "text") for column in columns]
        found.append(
            {
                "caption": clean(given.get("caption") or ""),
                "head": [clean(column.get("label") or column.get("key") or "") for column in columns],
                "numeric": [kind in NUMERIC for kind in kinds],
                "rows": [
                    [cell(row.get(column.get("key")), kind) for column, kind in zip(columns, kinds, strict=True)]
                    for row in given.get("rows") or []
                ],
            }
        )
    return found


def _figure(figure: View, name: str) -> View:
    """A figure's drawings, what it shows, and its numbers as a table that opens under it."""
    numbers = plots.numbers(figure)
    return {
        "svgs": plots.draw_figure(figure, name),
        "caption": " ".join(
            part for part in (clean(figure.get("caption") or ""), draw.colour_key(plots.figure_of(figure))) if part
        ),
        "command": None,
        "runs": [],
        "folded": True,
        "wide": draw.wide(plots.figure_of(figure)),
        "numbers": [table(**numbers)] if numbers["rows"] else [],
        "printed": len(numbers["rows"]) <= PRINTED_ROWS,
    }


def _link(study: View, anchor: str) -> View | None:
    """A link that downloads the rows as CSV without any server, or ``None`` where there is no row."""
    rows = study.get("rows") or []
    if not rows:
        return None
    uri, ending = data_uri(csv_of_rows(rows))
    return {"href": uri, "name": f"{anchor}.{ending}", "rows": plain(len(rows))}
