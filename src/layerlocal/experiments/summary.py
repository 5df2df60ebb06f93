"""`Summary`: what an experiment found, as Python hands it on: rows, sentences, a data frame, a table in notebooks."""

from __future__ import annotations

import copy
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from layerlocal.types import InputError
from layerlocal.words import difference, plain

__all__ = ["Summary"]

SHOWN = 30
"""Rows of the table in a notebook; `Summary.rows` has them all."""


class Summary:
    """What an experiment found. A notebook shows its sentences and a table.

    Attributes:
        kind: ``"study"``, ``"audit"``, ``"cost"``, ``"tune"`` or ``"claims"``.
        rows: one dictionary a row: of a study a rule, task and seed; of an audit a rule; of the cost a method; of a search a trial; of
            claims a claim. Accuracies and differences of accuracies are fractions; an interval is ``{"mean", "low", "high", "n", "values"}``.
        sentences: what was found, in words.
    """

    def __init__(self, kind: str, content: Mapping[str, Any], out: Path) -> None:
        self.kind = kind
        self.rows: list[dict[str, Any]] = _ROWS[kind](content)
        self.sentences: list[str] = _SENTENCES.get(kind, _said)(content)
        self._content, self._out = content, out

    def to_dict(self) -> dict[str, Any]:
        """Everything, as ``--json`` prints it; a copy."""
        return copy.deepcopy(dict(self._content))

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` of the rows; what is inside a value has a column of its own, ``gap.mean``.

        Raises:
            InputError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise InputError("to_pandas needs pandas; pip install pandas") from error
        return pandas.json_normalize(copy.deepcopy(self.rows))

    def write_page(self) -> Path:
        """Write ``report.html`` beside the runs: this and everything else in their store.

        Raises:
            InputError: nothing in the store can be reported, or it cannot be written.
        """
        from layerlocal.experiments.stored import write_report

        return Path(write_report(self._out))

    def __repr__(self) -> str:
        return "\n".join([self._title, *self.sentences])

    @property
    def _title(self) -> str:
        name = self._content.get("title") or self.kind
        planned = self._content.get("planned")
        return f"{name}, {len(self.rows)} rows" + (
            f" of {self._content['finished']} of {planned} runs" if planned is not None else ""
        )

    def _repr_html_(self) -> str:
        """For notebooks: the sentences, and the rows' numbers and words."""
        shown = [
            {key: text for key, value in row.items() if (text := _cell(value)) is not None} for row in self.rows[:SHOWN]
        ]
        columns = list(dict.fromkeys(key for row in shown for key in row))
        parts = [f"<b>{html.escape(self._title)}</b>", *(f"<div>{html.escape(text)}</div>" for text in self.sentences)]
        if columns:
            head = "".join(f"<th>{html.escape(key)}</th>" for key in columns)
            lines = ["".join(f"<td>{html.escape(row.get(key, ''))}</td>" for key in columns) for row in shown]
            body = "".join(f"<tr>{line}</tr>" for line in lines)
            parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
        if len(self.rows) > SHOWN:
            parts.append(f"<div>and {len(self.rows) - SHOWN} more in .rows</div>")
        return "".join(parts)


def _cell(value: Any) -> str | None:
    """A number, word or interval as text; ``None`` for what a table has no room for."""
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, Mapping) and "low" in value:
        return plain({"mean": value.get("median"), **value})
    return plain(value) if isinstance(value, int | float) else None


def _audit_rows(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"rule": row["rule"], "accuracy": row["fused"], **{name: side["fused"] for name, side in row["twins"].items()}, **_differences(row),
         "note": row["note"]}
        for row in content["accuracy"]["rules"]
    ]  # fmt: skip


def _differences(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("gap", "extra_supervision", "price_of_locality")}


def _cost_rows(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    parts = [(part, group) for part in ("groups", "budget") for group in content[part]]
    names = {"groups": "methods", "budget": "budget"}
    return [{"part": names[part], "setting": group["setting"], **row} for part, group in parts for row in group["rows"]]


def _tune_rows(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for method in content["methods"]:
        trials = method["trials"]
        best = trials.index(method["best"]) if method["best"] else None
        for number, trial in enumerate(trials):
            told = {"value": trial["value"], "best": number == best, "reason": trial["reason"]}
            rows.append({"method": method["label"], "trial": number, **told, **trial["settings"]})
    return rows


def _listed(key: str) -> Any:
    return lambda content: list(content[key])


_ROWS = {
    "study": _listed("rows"),
    "audit": _audit_rows,
    "cost": _cost_rows,
    "tune": _tune_rows,
    "claims": _listed("claims"),
}


def _said(content: Mapping[str, Any]) -> list[str]:
    return list(content["sentences"])


def _audit_sentences(content: Mapping[str, Any]) -> list[str]:
    return [
        f"{row['rule']}: gap to BP {difference(row['gap'])} = extra supervision {difference(row['extra_supervision'])} + price of locality "
        f"{difference(row['price_of_locality'])}"
        for row in content["accuracy"]["rules"]
    ]


def _claim_sentences(content: Mapping[str, Any]) -> list[str]:
    rows: Sequence[Mapping[str, Any]] = content["claims"]
    return [f"{row['id']}: {row['verdict']}. {row['sentence']}" for row in rows]


_SENTENCES = {"audit": _audit_sentences, "claims": _claim_sentences}
