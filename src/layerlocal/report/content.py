"""What a store holds, as a page, Markdown, CSV and JSON are made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from layerlocal.summary import Summary
from layerlocal.words import NOT_RUN

__all__ = ["Content", "content_of"]

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Content:
    """Everything that is to be shown; any part may be empty.

    Args:
        title: of the page.
        command: that makes it again.
        created: when, ISO 8601.
        summaries: of experiments, in the order in which they are shown.
        claims: verdict rows (`layerlocal.claims.judge`).
        claims_sha256: of the claims.
        accuracies: measured beside published ones (`layerlocal.claims.compare_accuracies`).
        runs: rows of finished runs (`layerlocal.runs.table.run_row`).
        warnings: what a reader should know before anything else.
    """

    title: str = "layerlocal report"
    command: str = "layerlocal report"
    created: str = ""
    summaries: Sequence[Summary] = ()
    claims: Sequence[Row] = ()
    claims_sha256: str = ""
    accuracies: Sequence[Row] = ()
    runs: Sequence[Row] = ()
    warnings: Sequence[str] = ()

    @property
    def judged(self) -> bool:
        """Whether any claim has a verdict, so that claims come first."""
        return any(row.get("verdict", NOT_RUN) != NOT_RUN for row in self.claims)

    def linked_runs(self) -> Iterator[str]:
        """The runs that rows of summaries are made of."""
        for summary in self.summaries:
            for row in summary.rows:
                if isinstance(row.get("runs"), Mapping):
                    yield from map(str, row["runs"].values())


def content_of(given: Content | Summary) -> Content:
    """The content itself with every run once; a summary alone becomes that of a page about it."""
    if isinstance(given, Summary):
        plain = Content(summaries=[given])
        return replace(
            plain, title=given.title or plain.title, command=given.command or plain.command, created=given.created
        )
    return replace(given, runs=list({str(row.get("run", "?")): row for row in given.runs}.values()))
