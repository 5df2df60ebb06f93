"""Any `layerlocal.summary.Summary` as a page and Markdown show it: sections with their figures, tables and links."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from layerlocal.report import draw
from layerlocal.report.canvas import Drawing
from layerlocal.report.rows import csv_of_rows, data_uri
from layerlocal.report.short import in_short
from layerlocal.summary import Column, Figure, Part, Summary, Table
from layerlocal.words import NOT_RUN, NOTHING, cell, known, relation, several, shorten, spoken

__all__ = ["Cell", "Grid", "Opening", "Picture", "Section", "facts", "free", "grid_of", "pairs", "sections_of", "slug"]

_WORDS = ("text", "command")
TEXT_SIGNS = 140
"""Of a row of a table that is as wide as a page's text, 1,024 pixels; one with more may be as wide as the window."""
BROAD_SIGNS = 182
"""Of the intervals in a row of such a table, each on one line: 1,248 pixels."""
WORD_SIGNS = 16
"""Of a column of words, which are broken into lines."""
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

    def lines(self, signs: int = 0) -> list[str]:
        """`rest` on the lines of a page: how many of what a long count is of stands under the interval. In a column that is to have so many
        ``signs`` (0: any) every count does, and a longer interval is on two lines.
        """
        interval, comma, over = self.rest.partition(", n=")
        if not comma or not (signs or " " in over):
            return [self.rest]
        ends = interval.split(", ") if 0 < signs < len(interval) else [interval]
        return [*(f"{end}," for end in ends), f"n={over}"]


@dataclass(frozen=True)
class Grid:
    """A table as text."""

    caption: str
    head: list[str]
    rows: list[list[Cell]]
    numeric: list[bool]
    judged: bool = False
    folded: bool = False

    @cached_property
    def signs(self) -> int:
        """Signs of an interval in a column of a table that needs more room than a page's text has; 0 of a narrower one."""
        columns = zip(self.head, self.numeric, zip(*self.rows, strict=True), strict=True) if self.rows else ()
        row = sum(_signs(head, cells, numeric or self.judged) for head, numeric, cells in columns)
        return BROAD_SIGNS // len(self.head) if row > TEXT_SIGNS else 0

    @property
    def printed(self) -> bool:
        """Whether paper shows it although the screen folds it."""
        return len(self.rows) <= PRINTED_ROWS


def _signs(head: str, cells: Sequence[Cell], numeric: bool) -> int:
    """Of a column as wide as it would be: the longest line of a number and its interval, or of words; and the longest word of its head."""
    lines = [line for cell in cells for line in ((cell.text, *cell.lines()) if numeric else (cell.text[:WORD_SIGNS],))]
    return max(map(len, (*lines, *head.split())))


def pairs(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], *, words: int | None = None) -> Grid:
    """Rows of text as a table; behind the first ``words`` columns (``None``: all) stand numbers."""
    count = len(head) if words is None else words
    return Grid(
        caption, list(head), [[Cell(text) for text in row] for row in rows], [i >= count for i in range(len(head))]
    )


def grid_of(table: Table) -> Grid:
    """A table as text; columns that no row fills stay, so that what is missing is seen."""
    judged = any(column.judged for column in table.columns)
    return Grid(
        caption=table.caption,
        head=[column.label or column.key for column in table.columns],
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


@dataclass(frozen=True)
class Picture:
    """A figure with its name in the page; it is drawn when it is asked for.

    Args:
        figure: what it shows.
        name: its id, and that of its file.
        rules: names that are rules.
    """

    figure: Figure
    name: str
    rules: tuple[str, ...]

    @cached_property
    def drawings(self) -> list[Drawing]:
        """Its panels."""
        return draw.draw_figure(self.figure, self.name, self.rules)

    @property
    def caption(self) -> str:
        """How to read it, and what its colours mean."""
        return " ".join(filter(None, (self.figure.caption, draw.colour_key(self.figure))))

    @cached_property
    def numbers(self) -> Grid | None:
        """Every number in it."""
        head, rows, words = draw.number_rows(self.figure)
        return pairs("The figure's numbers", head, rows, words=words) if rows else None

    @property
    def runs(self) -> list[str]:
        """The runs behind it, each once."""
        return list(dict.fromkeys(self.figure.runs))

    @property
    def wide(self) -> bool:
        """Whether it takes the whole width."""
        return draw.wide(self.figure)


@dataclass(frozen=True)
class Section:
    """A part of a summary in a page: ids for it, its figures and its parts.

    Args:
        part: what it shows.
        anchor: its id.
        pictures: its figures.
        parts: the sections in it.
    """

    part: Part
    anchor: str
    pictures: list[Picture]
    parts: list[Section]

    @cached_property
    def grids(self) -> list[Grid]:
        """Its tables."""
        return [grid_of(table) for table in self.part.tables]

    @property
    def all_pictures(self) -> Iterator[Picture]:
        """Its figures and those of its parts."""
        yield from self.pictures
        for part in self.parts:
            yield from part.all_pictures


@dataclass(frozen=True)
class Opening(Section):
    """The section of a whole summary."""

    part: Summary

    @property
    def title(self) -> str:
        """Its heading."""
        return self.part.title or self.part.name or self.part.experiment

    @property
    def short(self) -> str:
        """What a link to it says."""
        size = self.part.size
        return shorten(self.title, 48) + (f", {size}" if size and size not in self.title else "")

    @property
    def facts(self) -> list[tuple[str, str]]:
        """The line under its heading."""
        return facts(self.part)

    @property
    def missing(self) -> Grid | None:
        """The runs without a result, and why."""
        rows = [[missed.label, missed.reason or "not run yet"] for missed in self.part.missing]
        unit = self.part.unit
        return pairs(f"Missing {unit}s", [unit, "reason"], rows) if rows else None

    @property
    def missing_words(self) -> str:
        """``3 runs are missing``."""
        count = sum(missed.runs for missed in self.part.missing)
        return f"{several(count, self.part.unit)} {'is' if count == 1 else 'are'} missing"

    @cached_property
    def download(self) -> tuple[str, str]:
        """A link that gives its rows as CSV without any server (empty where they are too many for one), and the file's name."""
        uri, ending = data_uri(csv_of_rows(self.part.rows))
        return uri, f"{self.anchor}.{ending}"


def sections_of(summaries: Sequence[Summary]) -> list[Opening]:
    """A section for each, with ids that no two share, made of names: the same at every call, whatever else has been added to one."""
    taken = {"content", "claims", "accuracies", "provenance", "runs"}
    found = []
    for summary in map(in_short, summaries):
        name = "-".join(dict.fromkeys(filter(None, (slug(summary.experiment), slug(summary.name)))))
        anchor = free([name, f"{name}-{slug(summary.size)}".rstrip("-")], taken)
        taken.add(f"{anchor}-missing")
        found.append(Opening(summary, anchor, *_inside(summary, anchor, (summary, anchor), taken)))
    return found


def _inside(
    part: Part, anchor: str, whole: tuple[Summary, str], taken: set[str]
) -> tuple[list[Picture], list[Section]]:
    """A part's pictures, named after the whole summary and themselves, what both say once, and its parts."""
    summary, root = whole
    pictures = []
    for figure in part.figures:
        own = slug(figure.name).removeprefix(slug(summary.name)).strip("-") or "figure"
        pictures.append(Picture(figure, free([f"{root}-{own}"], taken), summary.rules))
    parts = []
    for inner in part.parts:
        name = free([f"{anchor}-{slug(inner.title) or 'part'}"], taken)
        parts.append(Section(inner, name, *_inside(inner, name, whole, taken)))
    return pictures, parts


def slug(text: Any) -> str:
    """What of a text an id can hold."""
    return re.sub(r"[^a-z0-9]+", "-", str(text or "").lower())[:40].strip("-")


def free(names: Sequence[str], taken: set[str]) -> str:
    """The first name that is free, taken now; the last one with a number where none is."""
    numbered = (f"{names[-1]}-{number}" for number in itertools.count(2))
    name = next(name for name in itertools.chain(names, numbered) if name not in taken)
    taken.add(name)
    return name


def facts(summary: Summary) -> list[tuple[str, str]]:
    """What the line under a summary's title says: size, its own facts, rules, seeds, how far it is."""
    given = {
        "size": summary.size,
        **summary.facts,
        "rules": spoken(summary.rules) if summary.rules else "",
        "seeds": ", ".join(map(str, summary.seeds)),
        f"{summary.unit}s": f"{summary.finished:,} of {summary.planned:,} finished" if summary.planned else "",
        "made": summary.created,
    }
    return [(word, value) for word, value in given.items() if value]
