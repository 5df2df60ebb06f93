"""Tables and figures with their command as plain data for the template."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from layerlocal.report.svg import Drawing
from layerlocal.words import clean

__all__ = ["figure_view", "table"]

View = dict[str, Any]


def table(caption: str, head: list[str], rows: Iterable[list[str]], *, words: int = 1) -> View:
    """A table whose first ``words`` columns are text and the rest numbers."""
    return {
        "caption": caption,
        "head": head,
        "rows": list(rows),
        "numeric": [index >= words for index in range(len(head))],
    }


def figure_view(
    svgs: Sequence[Drawing], caption: str, command: Any, *, numbers: list[View] | None = None, runs: Any = ()
) -> View:
    """``svgs`` are markup, escaped when they were drawn; everything else is escaped by the template."""
    return {
        "svgs": list(svgs),
        "caption": caption,
        "command": command,
        "numbers": numbers or [],
        "runs": list(dict.fromkeys(clean(r) for r in runs)),
        "folded": False,
        "wide": False,
        "printed": True,
    }
