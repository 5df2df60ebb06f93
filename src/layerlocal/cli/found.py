"""What an experiment found, printed: sentences, its first table (or that of each part), what is missing, where the page is; or all as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from layerlocal.cli.app import err
from layerlocal.summary import Column, Summary, Table
from layerlocal.words import cell, clean, difference, mean_of, ratio_estimate, signed

__all__ = ["print_summary"]

WIDE = 250
"""Letters in a line where what is printed goes into a file or a pipe."""
UNITS = {"percent": "%", "points": "pp"}
WORDS = ("text", "command")


def print_summary(
    summary: Summary, out: Path, *, as_json: bool, columns: Sequence[str] = (), page: Path | None = None
) -> None:
    """Print a summary; ends the command with 1 where runs failed.

    Args:
        summary: of any experiment.
        out: its store.
        as_json: print the whole summary as one JSON object and nothing else.
        columns: of a table of which the first column is among these, by key; all of any other.
        page: that was written; ``None``: say which command writes it.
    """
    if as_json:
        print(summary.model_dump_json())
    else:
        from layerlocal.report.short import in_short  # here, as a press of Tab loads this file and needs no numpy

        _print_words(in_short(summary), out, columns, page)
    if summary.failed:
        raise typer.Exit(1)


def _print_words(summary: Summary, out: Path, columns: Sequence[str], page: Path | None) -> None:
    plain = Console(soft_wrap=True, highlight=False, markup=False)
    for text in summary.sentences:
        plain.print(clean(text))
    for table in summary.tables[:1] or [table for part in summary.parts for table in part.tables[:1]]:
        Console(width=None if sys.stdout.isatty() else WIDE).print(_grid(table, columns))
    for entry in summary.failed:
        err.print(f"failed: {entry.label}: {entry.reason}", style="red", markup=False, highlight=False)
    runs = f"{summary.finished:,} of {summary.planned:,} {summary.unit}s; " if summary.planned else ""
    plain.print(f"page: {page}" if page else f"{runs}`layerlocal report --out {out}` makes the page")


def _grid(table: Table, keys: Sequence[str]) -> Grid:
    """In as few letters as it can be said: a unit once, in a head or in the caption, and n in a column of its own."""
    chosen = table.columns[0].key in keys
    columns = [column for column in table.columns if column.key in keys or not chosen]
    counts = [_count(row.get(column.key) for column in columns) for row in table.rows]
    counted = any(counts)
    grid = Grid(box=None, title=Text(clean(table.caption)), title_justify="left")
    for head, column in zip(_heads(table.caption, columns), columns, strict=True):
        grid.add_column(Text(head), overflow="fold", justify="left" if column.kind in (*WORDS, *UNITS) else "right")
    if counted:
        grid.add_column("n")
    for row, count in zip(table.rows, counts, strict=True):
        cells = [Text(_short(row.get(column.key), column.kind)) for column in columns]
        grid.add_row(*cells, *([count] if counted else []))
    return grid


def _heads(caption: str, columns: Sequence[Column]) -> Iterator[str]:
    """Each column's label, with its unit where neither the caption nor a column before it has said that."""
    said = {unit for unit in UNITS.values() if unit in caption}
    for column in columns:
        unit = UNITS.get(column.kind)
        yield clean(column.label) + (f", {unit}" if unit and unit not in said else "")
        said |= {unit} if unit else set()


def _count(values: Any) -> str:
    """The n of a row's intervals, where they all have one n."""
    found = {value["n"] for value in values if isinstance(value, dict) and "n" in value}
    return str(found.pop()) if len(found) == 1 else ""


def _short(value: Any, kind: str) -> str:
    """A value without its unit and its n."""
    mean = mean_of(value)
    if kind == "percent" and mean is not None:
        return f"{100 * mean:.1f}"
    if kind == "points" and mean is not None:
        return difference(value, bare=True) if isinstance(value, dict) else signed(100 * mean)
    if kind == "ratio" and isinstance(value, dict):
        return ratio_estimate(value, with_n=False)
    return cell(value, kind)
