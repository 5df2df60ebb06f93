"""Rows of a study or of a store as flat columns, and as CSV."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from layerlocal.runs.table import csv_text

__all__ = ["csv_of_rows", "data_uri", "flatten"]

LARGEST_LINK = 1_500_000
"""Characters of a data link that browsers still download (Chromium stops at 2 MiB)."""


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


def data_uri(text: str) -> tuple[str, str]:
    """CSV as a ``data:`` URI and the ending of the file it makes; packed where plain is too long, and empty where packed is too."""
    plain_uri = "data:text/csv;charset=utf-8," + quote(text, safe=" ,:;/?@!$()*_-.~{}[]|=+")
    if len(plain_uri) <= LARGEST_LINK:
        return plain_uri.replace(" ", "%20"), "csv"
    packed = base64.b64encode(gzip.compress(text.encode("utf-8"), mtime=0)).decode()
    packed_uri = f"data:application/gzip;base64,{packed}"
    return (packed_uri if len(packed_uri) <= LARGEST_LINK else ""), "csv.gz"
