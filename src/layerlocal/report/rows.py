"""Rows of a study or of a store as flat columns, and as CSV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from layerlocal.runs.table import csv_text

__all__ = ["csv_of_rows", "flatten"]


def flatten(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A row's values under dotted names: ``{"blocks": {"bp": {"block0": 0.5}}}`` -> ``blocks.bp.block0``."""
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def csv_of_rows(rows: Iterable[Mapping[str, Any]], first: Sequence[str] = ()) -> str:
    """CSV of rows whose columns are the union of theirs, ``first`` in front, the others as they first appear."""
    flat = [dict(flatten(row)) for row in rows]
    columns = dict.fromkeys([*first, *(key for row in flat for key in row)])
    return csv_text(flat, list(columns))
