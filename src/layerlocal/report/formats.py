"""The same content for other readers: Markdown for people, CSV for spreadsheets and data frames, JSON for programs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from layerlocal.report.claims import accuracy_table, claim_rows, claims_headline
from layerlocal.report.content import Content, content_of
from layerlocal.report.rows import csv_of_rows
from layerlocal.report.views import Grid, Opening, Section, sections_of
from layerlocal.summary import Summary
from layerlocal.words import NOTHING, UNJUDGED, clean, is_number, spoken

__all__ = ["render_claims", "render_csv", "render_json", "render_markdown"]

_SPECIAL = re.compile(r"[\\`*<>|~$&]|\](?=[(\[:])|!(?=\[)|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LEADING = re.compile(r"^(\d*)([#+\-=.)]+)(?=\s|=|-|$)")
"""What would begin a heading, a list or a rule where a line begins."""


def render_markdown(content: Content | Summary) -> str:
    """What each part found, its tables and its command, then verdicts on claims, as GitHub's Markdown."""
    whole = content_of(content)
    parts = [f"# {_escape(whole.title)}", *(f"> {_escape(text)}" for text in whole.warnings)]
    for section in sections_of(whole.summaries):
        parts += _summary(section)
    parts += _claims(whole.claims, whole.claims_sha256) if whole.claims else []
    if whole.accuracies:
        parts += ["## Reported beside measured", _grid(accuracy_table(whole.accuracies))]
    parts += ["## Where every number comes from", f"{len(whole.runs):,} finished runs.", _code(whole.command)]
    return "\n\n".join(part for part in parts if part) + "\n"


MEANING = (
    "P are published statements, O our own. A verdict is about the rule in brackets: `P2` about `class-goodness`, `P2@dtg-ff` about `dtg-ff`. "
    "`class-goodness`, called `dtg-ff` until 0.1.0, is **not** the method of arXiv:2606.06539: `dtg-ff` is, as secondary sources give it. "
    "*Headroom* is what backprop still gains with twice the steps: where that is more than the smallest effect that counts, a claim is "
    "*undertrained*. *n = 6 to 273 would settle it* is how many seeds "
    "settle a claim at both ends of the 95 % interval of the spread. The command runs the number at the measured spread, for 80 % power."
)
DOWNLOADS = (
    "`composition`, `language` and `cost` need only the package; `resolution` wants a folder of your own. The other studies download their "
    "data at the first run."
)


def render_claims(rows: Sequence[Mapping[str, Any]], sha256: str, command: str) -> str:
    """Every claim as one row of a Markdown table, in the order given: claimed, measured, verdict, and what would settle it.

    Args:
        rows: verdict rows (`layerlocal.claims.judge`).
        sha256: of the claims.
        command: that prints this text.
    """
    head = ["claim", "source", "claimed", "measured", "verdict", "n", "size", "what would settle it"]
    body = [
        [
            f"{view['id']}: {view['sentence']}",
            view["source"],
            view["reported"],
            _join([view["what"], _join(view["measured"])], ": ") if view["measured"][1] else NOTHING,
            _join([f"{view['verdict'][1]} {view['verdict'][2]}", view["headroom"]], "; "),
            view["n"],
            view["size"],
            _join([view["needs"], view["reason"] if view["verdict"][2] == UNJUDGED else "", view["command"]], "; "),
        ]
        for view in claim_rows(rows)
    ]
    parts = [
        "# Claims, as published and as measured",
        _escape(claims_headline(rows)),
        "Brackets are 95 % intervals. Differences are paired by seed. The claims of a family (the paper's, ours, those of "
        "cost, each by rule) that could be judged are judged together, with Holm's correction.",
        MEANING,
        DOWNLOADS,
        _table(head, body),
        f"SHA-256 of the claims, which were fixed before the results were read: {_escape(sha256)}",
        _code(command),
    ]
    return "\n\n".join(parts) + "\n"


def render_csv(content: Content | Summary) -> str:
    """Every row of every summary, and whose it is in front; the runs themselves where there is none."""
    whole = content_of(content)
    if not whole.summaries:
        return csv_of_rows(whole.runs, ("run",))
    named = [({"experiment": s.experiment, "name": s.name, "size": s.size}, s.rows) for s in whole.summaries]
    return csv_of_rows(({**whose, **row} for whose, rows in named for row in rows), ("experiment", "name", "size"))


def render_json(content: Content | Summary) -> str:
    """The whole content as strict JSON: what is not a number (NaN, infinities) is ``null``."""
    return json.dumps(_strict(vars(content_of(content))), indent=1, allow_nan=False) + "\n"


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
    views = claim_rows(rows)
    left = [view["id"] for view in views if view["left"]]
    body = [
        [
            f"{view['id']}: {view['sentence']}",
            view["reported"],
            _join(view["measured"]),
            _join(
                [f"{view['verdict'][1]} {view['verdict'][2]}", view["needs"], view["headroom"], view["reason"]], "; "
            ),
            view["n"],
            view["size"],
            view["effect"],
            view["p"],
        ]
        for view in views
        if not view["left"]
    ]
    yield "## Claims, as reported and as measured"
    yield _escape(claims_headline(rows)) if body else ""
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


def _summary(section: Opening) -> Iterator[str]:
    """A summary: what was asked, what was found, the tables, what is missing, then its parts."""
    yield f"## {_escape(section.title)}"
    yield _escape(section.part.question)
    yield "; ".join(f"{key} {_escape(value)}" for key, value in section.facts)
    yield from _body(section, 3)
    if section.missing:
        yield f"{section.missing_words}:"
        yield "\n".join(f"- {_escape(label)}: {_escape(reason)}" for label, reason in section.missing.rows)


def _body(section: Section, level: int) -> Iterator[str]:
    yield "\n".join(f"- {_escape(text)}" for text in section.part.sentences)
    for grid in section.grids:
        yield _escape(grid.caption)
        yield _grid(grid)
    yield "\n".join(f"- {_escape(text)}" for text in section.part.notes)
    yield _code(section.part.command)
    for inner in section.parts:
        yield f"{'#' * min(level, 6)} {_escape(inner.part.title)}" if inner.part.title else ""
        yield from _body(inner, level + 1)


def _join(parts: Sequence[str], between: str = " ") -> str:
    return between.join(part for part in parts if part)


def _grid(grid: Grid) -> str:
    return _table(grid.head, [[str(cell) for cell in row] for row in grid.rows], grid.numeric)


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
