"""Any `layerlocal.summary.Summary` as plain data for the page and for Markdown: sections with their figures, tables and links."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from layerlocal.report import draw
from layerlocal.report.canvas import Drawing
from layerlocal.report.rows import csv_of_rows, data_uri
from layerlocal.summary import Column, Figure, Missed, Part, Summary, Table
from layerlocal.words import NOT_RUN, NOTHING, cell, clean, known, plain, relation, several, shorten, spoken

__all__ = ["Cell", "Grid", "Picture", "Section", "anchors", "facts", "grid", "missing_grid", "section"]

_WORDS = ("text", "command")
PRINTED_ROWS = 60
"""Rows up to which a table that is folded on the screen is printed in full."""


@dataclass(frozen=True)
class Cell:
    """A value of a table: its text, what stands smaller under it, and in which colour of `page.css`."""

    text: str
    rest: str = ""
    words: str = ""
    colour: str = ""
    code: bool = False

    def __str__(self) -> str:
        between = "" if self.rest.startswith(",") else " "
        whole = f"{self.text}{between}{self.rest}".strip()
        return f"{whole}, {self.words}" if self.words else whole


@dataclass(frozen=True)
class Grid:
    """A table as text."""

    caption: str
    head: list[str]
    rows: list[list[Cell]]
    numeric: list[bool]
    judged: bool = False
    folded: bool = False

    @property
    def printed(self) -> bool:
        """Whether paper shows it although the screen folds it."""
        return len(self.rows) <= PRINTED_ROWS


@dataclass(frozen=True)
class Picture:
    """A figure: its panels, what it shows, its numbers, the runs behind it."""

    drawings: list[Drawing]
    caption: str
    numbers: Grid | None
    runs: list[str]
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """A part of a summary, and the parts in it."""

    anchor: str
    title: str
    sentences: list[str]
    pictures: list[Picture]
    grids: list[Grid]
    notes: list[str]
    command: str
    parts: list[Section]
    short: str = ""
    question: str = ""
    facts: list[tuple[str, str]] = field(default_factory=list)
    missing: Grid | None = None
    missing_words: str = ""
    link: dict[str, Any] | None = None
    unfinished: bool = False


def slug(text: Any) -> str:
    """What of a text an id can hold."""
    return re.sub(r"[^a-z0-9]+", "-", str(text or "").lower()).strip("-")[:40]


def _free(names: Sequence[str], taken: Collection[str]) -> str:
    """The first name that is free; the last one with a number where none is."""
    numbered = (f"{names[-1]}-{number}" for number in range(2, 10_000))
    return next(name for name in (*names, *numbered) if name not in taken)


def anchors(summaries: Sequence[Summary]) -> list[str]:
    """An id for each summary's section: its experiment and name, with its size where another one is called the same."""
    found: list[str] = []
    for summary in summaries:
        name = "-".join(dict.fromkeys(filter(None, (slug(summary.experiment), slug(summary.name)))))
        found.append(_free((name, f"{name}-{slug(summary.size)}".rstrip("-")), found))
    return found


def section(summary: Summary, anchor: str) -> Section:
    """Everything that a page shows of a summary.

    Args:
        summary: of any experiment.
        anchor: the id of its section; ids in it begin with that.
    """
    whole = _part(summary, anchor, summary, {anchor})
    title = whole.title or clean(summary.name or summary.experiment)
    extra = {
        "title": title,
        "short": shorten(title, 48)
        + (f", {clean(summary.size)}" if summary.size and summary.size not in title else ""),
        "question": clean(summary.question),
        "facts": list(facts(summary)),
        "missing": missing_grid(summary.missing),
        "missing_words": missing_words(summary.missing),
        "link": _link(summary, anchor),
        "unfinished": summary.planned > 0 and not summary.finished,
    }
    return Section(**(whole.__dict__ | extra))


def _part(part: Part, anchor: str, whole: Summary, taken: set[str]) -> Section:
    parts = []
    for inner in part.parts:
        name = _free([f"{anchor}-{slug(inner.title) or 'part'}"], taken)
        taken.add(name)
        parts.append(_part(inner, name, whole, taken))
    root = anchor if part is whole else ""
    return Section(
        anchor=anchor,
        title=clean(part.title),
        sentences=[clean(text) for text in part.sentences if text],
        pictures=[
            _picture(figure, _figure_name(figure, root or anchor, whole, taken), whole) for figure in part.figures
        ],
        grids=[grid(table) for table in part.tables],
        notes=[clean(text) for text in part.notes if text],
        command=clean(part.command),
        parts=parts,
    )


def _figure_name(figure: Figure, anchor: str, whole: Summary, taken: set[str]) -> str:
    """An id that is a file's name too: the summary's and the figure's, what both say once."""
    own = slug(figure.name).removeprefix(slug(whole.name)).strip("-") or "figure"
    name = _free([f"{anchor}-{own}"], taken)
    taken.add(name)
    return name


def facts(summary: Summary) -> Iterator[tuple[str, str]]:
    """What the line under a summary's title says: size, its own facts, rules, seeds, how far it is."""
    rules, seeds = spoken([clean(rule) for rule in summary.rules]), ", ".join(map(str, summary.seeds))
    runs = f"{summary.finished:,} of {summary.planned:,} finished" if summary.planned else ""
    given = {
        "size": summary.size,
        **summary.facts,
        "rules": rules if summary.rules else "",
        "seeds": seeds,
        "runs": runs,
    }
    for word, value in {**given, "made": summary.created}.items():
        if value:
            yield clean(word), clean(value)


def grid(table: Table) -> Grid:
    """A table as text; columns that no row fills stay, so that what is missing is seen."""
    judged = any(column.judged for column in table.columns)
    return Grid(
        caption=clean(table.caption),
        head=[clean(column.label or column.key) for column in table.columns],
        rows=[[_cell(row.get(column.key), column, judged) for column in table.columns] for row in table.rows],
        numeric=[column.kind not in _WORDS for column in table.columns],
        judged=judged,
        folded=table.folded,
    )


def _cell(value: Any, column: Column, judged: bool) -> Cell:
    """A value in two lines, an interval in the second; where it is judged, on which side of 0 it lies, and n stands at differences only."""
    text, rest = cell(value, column.kind), ""
    if isinstance(value, dict):
        cut = re.search(r" \[|, n=", text)
        text, rest = (text[: cut.start()], text[cut.start() :].lstrip()) if cut else (text, "")
        rest = rest.partition(", n=")[0] if judged and column.kind == "percent" else rest
    if column.judged and known(value):
        words = relation(value)
        return Cell(text, rest, words, words.replace(" ", "-"))
    colour = {"✓": "good", "✗": "bad"}.get(text[:1], "") if column.kind == "text" else ""
    return Cell(text, rest, colour=colour, code=column.kind == "command" and text not in (NOTHING, NOT_RUN))


def _picture(figure: Figure, name: str, whole: Summary) -> Picture:
    head, rows, words = draw.number_rows(figure)
    numbers = Grid(
        "The figure's numbers",
        head,
        [[Cell(text) for text in row] for row in rows],
        [i >= words for i in range(len(head))],
    )
    return Picture(
        drawings=draw.draw_figure(figure, name, whole.rules),
        caption=" ".join(filter(None, (clean(figure.caption), draw.colour_key(figure)))),
        numbers=numbers if rows else None,
        runs=list(dict.fromkeys(map(clean, figure.runs))),
        wide=draw.wide(figure),
    )


def missing_grid(missing: Sequence[Missed]) -> Grid | None:
    """The runs without a result, and why."""
    rows = [[Cell(clean(m.label)), Cell(clean(m.reason) or "not run yet")] for m in missing]
    return Grid("Missing runs", ["run", "reason"], rows, [False, False], folded=len(rows) > 5) if rows else None


def missing_words(missing: Sequence[Missed]) -> str:
    """``3 runs are missing``, or nothing."""
    count = sum(m.runs for m in missing)
    return f"{several(count, 'run')} {'is' if count == 1 else 'are'} missing" if missing else ""


def _link(summary: Summary, anchor: str) -> dict[str, Any] | None:
    """A link that downloads the rows as CSV without any server, or ``None`` where there is no row."""
    if not summary.rows:
        return None
    uri, ending = data_uri(csv_of_rows(summary.rows))
    return {"href": uri, "name": f"{anchor}.{ending}", "rows": plain(len(summary.rows))}
