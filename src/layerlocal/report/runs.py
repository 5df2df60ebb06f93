"""The runs of a store as compact rows, whatever part of the page they belong to; of very many runs the page has not all."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from layerlocal.runs.table import data_names
from layerlocal.words import byte_count, clean, count, is_number, percent, plain

__all__ = ["listed_runs", "run_view"]

View = dict[str, Any]
Row = Mapping[str, Any]
MOST_LISTED = 5000
"""Runs in a page's table: a page of more is slow to open."""
CHUNK = 250
"""Rows of one table: a browser lays a table out only when it comes into view."""


def _rule(row: Row) -> str:
    rule = clean(row.get("rule", "?"))
    return f"{rule} (twin of {clean(row['twin_of'])})" if row.get("twin_of") else rule


def _network(row: Row) -> str:
    width = row.get("width")
    return clean(row.get("network") or "") + (f", width {width:g}" if is_number(width) else "")


def _blocks(row: Row) -> str:
    found = row.get("block_accuracies")
    if not isinstance(found, dict):
        return ""
    return " ".join(f"{100 * value:.1f}" for value in found.values() if is_number(value))


def _if_known(key: str, write: Callable[[Any], str]) -> Callable[[Row], str]:
    return lambda row: write(row[key]) if row.get(key) not in (None, "") else ""


_COLUMNS: tuple[tuple[str, bool, float, Callable[[Row], str]], ...] = (
    ("rule", False, 9.2, _rule),
    ("label", False, 12, _if_known("label", clean)),
    ("data", False, 7.5, _if_known("data_name", clean)),
    ("classes", True, 4, _if_known("num_classes", plain)),
    ("network", False, 7, _network),
    ("epochs", True, 3.7, _if_known("epochs", plain)),
    ("seed", True, 3, _if_known("seed", plain)),
    ("test accuracy", True, 4.6, _if_known("test_accuracy", percent)),
    ("last block", True, 4.6, _if_known("last_block_accuracy", percent)),
    ("blocks, %", True, 10, _blocks),
    ("locality", False, 4.2, _if_known("locality", lambda value: "" if isinstance(value, dict) else clean(value))),
    ("samples/s", True, 4.7, _if_known("samples_per_s", count)),
    ("peak saved", True, 4.8, _if_known("peak_saved_bytes", byte_count)),
)
"""Heading, whether it holds numbers, its width in rem, and what stands in it. Columns that no run fills are left out."""
_RUN, _COMMAND = 6.4, 4.3
_INSTEAD = {"label": "twin_of", "blocks, %": "last_block_accuracy"}
"""Columns that are left out where runs say the same in another way."""


def listed_runs(runs: list[Row], linked: Collection[str]) -> list[Row]:
    """All runs, in their order; of more than `MOST_LISTED` those that other parts of the page speak of (``linked``) and the first others."""
    if len(runs) <= MOST_LISTED:
        return runs
    room = MOST_LISTED - sum(row.get("run") in linked for row in runs)
    others = itertools.count(1)
    return [row for row in runs if row.get("run") in linked or next(others) <= room]


def run_view(runs: list[Row], total: int | None = None) -> View | None:
    """The table of runs in chunks, or ``None`` where there is none; ``total``: how many there are, where not all are listed."""
    if not runs:
        return None
    called = data_names(runs)
    runs = [{**row, "data_name": name} for row, name in zip(runs, called, strict=True)]
    wanted = [column for column in _COLUMNS if not any(_INSTEAD.get(column[0]) in row for row in runs)]
    filled = [(column, [column[3](row) for row in runs]) for column in wanted]
    columns = [(column, texts) for column, texts in filled if any(texts)]
    cells = list(zip(*([(text, column[1]) for text in texts] for column, texts in columns), strict=True))
    rows = [
        {
            "run": clean(row.get("run", "?")),
            "cells": line,
            "spec": _spec(row),
            "command": clean(row.get("command") or ""),
        }
        for row, line in zip(runs, cells or [()] * len(runs), strict=True)
    ]
    return {
        "count": len(rows),
        "total": total or len(rows),
        "head": [(column[0], column[1]) for column, _ in columns],
        "widths": [_RUN, *(column[2] for column, _ in columns), _COMMAND],
        "chunks": list(_chunks(rows)),
    }


def _chunks(rows: list[View]) -> Iterator[View]:
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        yield {
            "rows": part,
            "name": f"Runs {start + 1:,} to {start + len(part):,}",
            "height": f"{1.9 * len(part):.0f}rem",
        }


def _spec(row: Row) -> str:
    return clean(json.dumps(row["spec"], ensure_ascii=False, default=str)) if row.get("spec") else ""
