"""`Summary`: what an experiment found. What makes numbers and what shows them meet in this one form.

A summary is a `Part` (sentences, figures, tables, notes) with parts of its own, and says where it comes from. Sections of pages, tables of
terminals, data frames and verdicts are made from it, whatever the experiment. Imports no torch.

Values are plain JSON. An interval is ``{"mean": number, "low": number or None, "high": number or None, "n": int, "values": [number]}``
(`layerlocal.stats.Estimate`), with ``"over"`` where it is not over seeds alone, or the same with ``"median"``, where ``low`` and ``high`` are
quartiles of rounds. Accuracies and differences of accuracies (units ``"%"`` and ``"pp"``) are fractions.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from layerlocal.names import EDITION
from layerlocal.types import InputError
from layerlocal.words import plain

__all__ = [
    "Axis",
    "Column",
    "Figure",
    "Guide",
    "Missed",
    "Part",
    "Point",
    "Quantity",
    "Row",
    "Series",
    "Summary",
    "Table",
    "Value",
]

Value = None | bool | int | float | str | Mapping[str, Any]
"""A number, a word, an interval, or nothing."""
Row = dict[str, Any]
"""One observation by name, for CSV and data frames."""
FigureKind = Literal["lines", "points", "bars", "heat", "matrix"]
CellKind = Literal[
    "text", "int", "number", "percent", "points", "ratio", "bytes", "count", "probability", "bits", "command"
]
ExperimentKind = Literal["study", "audit", "cost", "tune", "claims"]
SHOWN = 30
"""Rows of the table in a notebook; `Summary.rows` has them all."""


class _Piece(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Axis(_Piece):
    """An axis of a figure.

    Args:
        label: what is measured, in words.
        unit: ``"pp"`` and ``"%"`` (of fractions), ``"×"``, ``"bytes"``, ``"s"`` or whatever is written behind a number.
        scale: ``"linear"``, ``"log2"``, or ``"category"`` for words.
        better: ``"more"``, ``"less"``, ``""`` for neither; ``None``: as the label is known to mean.
    """

    label: str = ""
    unit: str = ""
    scale: Literal["linear", "log2", "category"] = "linear"
    better: Literal["more", "less", ""] | None = None


class Point(_Piece):
    """One mark, bar or cell.

    Args:
        x: where it stands; a number, a word on a category axis, or an interval.
        y: likewise.
        z: of a heat map the value of the cell; of a matrix ``"yes"``, ``"no"``, ``"wrong"`` or ``"unknown"``.
        label: its name, for whoever points at it.
        mark: a letter or two drawn beside it.
        hollow: drawn as an outline: there are better ones.
    """

    x: Value = None
    y: Value = None
    z: Value = None
    label: str = ""
    mark: str = ""
    hollow: bool = False


class Series(_Piece):
    """Points that belong together and look alike.

    Args:
        name: in the key; the same name looks the same in every panel, and a rule or twin in every figure.
        panel: the drawing that it stands in; series without one share the first.
        points: in the order in which a line joins them.
    """

    name: str = ""
    panel: str | None = None
    points: tuple[Point, ...] = ()


class Guide(_Piece):
    """A straight line across a figure at one value of an axis.

    Args:
        axis: which axis the value is of.
        at: the value.
        label: what it means.
    """

    axis: Literal["x", "y"]
    at: float
    label: str = ""


class Figure(_Piece):
    """A figure as data: any number of panels on shared axes.

    Args:
        name: unique among the figures of its summary, fit for a file name.
        kind: ``"lines"``; ``"points"`` (scattered, or beside words); ``"bars"`` (lying, from 0, ``y`` the words); ``"heat"`` (cells with
            numbers); ``"matrix"`` (cells that say yes or no).
        title: what it shows, in a few words.
        caption: how to read it.
        note: behind which way is better.
        x, y, z: axes; ``z`` of heat maps.
        series: what is drawn; of a heat map or matrix each is a panel.
        rules: names of series that are rules, which have colours of their own.
        reference: a point that all others are compared with.
        guides: lines at given values.
        stacked: of bars: each series begins where the one before ends.
        zoomed: each panel has limits of its own, where what is far apart in two of them would be flat in both.
        folded: whether a page shows it only when it is opened.
        runs: hashes of the runs behind it.
    """

    name: str
    kind: FigureKind = "lines"
    title: str = ""
    caption: str = ""
    note: str = ""
    x: Axis = Axis()
    y: Axis = Axis()
    z: Axis | None = None
    series: tuple[Series, ...] = ()
    rules: tuple[str, ...] = ()
    reference: Point | None = None
    guides: tuple[Guide, ...] = ()
    stacked: bool = False
    zoomed: bool = False
    folded: bool = False
    runs: tuple[str, ...] = ()


class Column(_Piece):
    """A column of a table.

    Args:
        key: of its values in the rows.
        label: its head.
        kind: how a value is written: ``"percent"`` an accuracy, ``"points"`` a difference of accuracies, ``"ratio"`` a factor,
            ``"bits"`` a difference of losses, ...
        judged: say in words, and colour, on which side of 0 an interval of differences lies.
    """

    key: str
    label: str
    kind: CellKind = "text"
    judged: bool = False


class Table(_Piece):
    """A table as data.

    Args:
        caption: what it shows.
        columns: from left to right; the first names the row.
        rows: values by column; one that is missing is shown as a dash.
        folded: whether a page shows it only when it is opened.
    """

    caption: str = ""
    columns: tuple[Column, ...] = ()
    rows: tuple[dict[str, Value], ...] = ()
    folded: bool = False


class Quantity(_Piece):
    """One measured quantity of one rule, which claims are judged by.

    Args:
        what: in words.
        unit: ``"pp"``, ``"%"``, ``"×"``, ``"share"`` or ``""``.
        values: by seed, round or process.
        of: what the values were taken over.
        reason: why there is no value, where what came out leaves the quantity without a meaning.
        protocol: what was trained, in words.
        images: of a difference, the standard error that the test images add which its seeds share; ``None`` where that is not known, and
            intervals and tests are over seeds alone.
        headroom: what ordinary backprop still gains with twice the steps, put in place of the differences that the quantity is made of: of
            a level, a slope or a contrast; a mean over seeds. ``None``: not measured.
    """

    what: str = ""
    unit: str = "pp"
    values: dict[str, Annotated[float, Field(strict=True)]] = Field(default_factory=dict)
    of: Literal["seeds", "rounds", "processes"] = "seeds"
    reason: str = ""
    protocol: str = ""
    images: float | None = Field(default=None, ge=0)
    headroom: float | None = None


class Missed(_Piece):
    """Runs without a result.

    Args:
        label: which, in words.
        reason: why.
        runs: how many.
        left_out: whether that was known before anything was trained; such runs did not fail.
    """

    label: str
    reason: str
    runs: int = 1
    left_out: bool = False


class Part(_Piece):
    """A section of what was found.

    Args:
        title: its heading.
        sentences: what was found, in plain words.
        figures: drawn in this order.
        folded_words: what those of them are that a page folds.
        tables: under the figures.
        notes: what limits the numbers.
        command: what makes them again.
        parts: sections within it.
    """

    title: str = ""
    sentences: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    folded_words: str = ""
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()
    command: str = ""
    parts: tuple[Part, ...] = ()


class Summary(Part):
    """What an experiment found. A notebook shows its sentences and a table.

    A store keeps it as ``experiments/<name>-<size>/summary.json``.

    Args:
        experiment: what kind of experiment.
        name: which one: of a study its name, of a search its hash; else as ``experiment``.
        size: ``"quick"`` to ``"full"``; ``""`` for a search.
        size_words: what that takes.
        question: what was asked.
        facts: label → text for the line under the title, e.g. ``{"data": "cifar10"}``.
        rules: local rules that took part.
        seeds: of the runs.
        rows: one an observation: of a study and an audit a rule, task and seed; of the cost a method; of a search a trial; of claims
            a claim.
        quantities: rule → name → quantity.
        planned: runs, or measurements, of the plan.
        finished: those with a result.
        missing: those without, and why.
        protocol: of the runs (`layerlocal.spec.PROTOCOL`).
        layerlocal: version that made the numbers.
        created: when the summary was made, ISO 8601.
        environment: what hardware and versions its runs share.
        claims_sha256: of our claims when the experiment began.
        plan: of a published summary: the plan that it is of.
        specs: of a published summary: hash → spec of its runs.
        names: edition of the rules' names (`layerlocal.names`).
    """

    experiment: ExperimentKind = "study"
    name: str = ""
    size: str = ""
    size_words: str = ""
    question: str = ""
    facts: dict[str, str] = Field(default_factory=dict)
    rules: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    rows: tuple[Row, ...] = ()
    quantities: dict[str, dict[str, Quantity]] = Field(default_factory=dict)
    planned: int = 0
    finished: int = 0
    missing: tuple[Missed, ...] = ()
    protocol: int | None = None
    layerlocal: str | None = None
    created: str = ""
    environment: dict[str, Any] = Field(default_factory=dict)
    claims_sha256: str = ""
    plan: dict[str, Any] | None = None
    specs: dict[str, dict[str, Any]] = Field(default_factory=dict)
    names: int = EDITION
    _page: Callable[[], Path] | None = PrivateAttr(None)

    @property
    def failed(self) -> tuple[Missed, ...]:
        """Runs that were begun, or would have been, and have no result."""
        return tuple(entry for entry in self.missing if not entry.left_out)

    @property
    def unit(self) -> str:
        """What is planned and finished, in a word."""
        return "measurement" if self.experiment == "cost" else "run"

    def to_dict(self) -> dict[str, Any]:
        """Everything, as ``--json`` prints it; a copy."""
        return self.model_dump(mode="json")

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` of the rows; what is inside a value has a column of its own, ``gap.mean``.

        Raises:
            InputError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise InputError("to_pandas needs pandas; pip install pandas") from error
        return pandas.json_normalize(self.to_dict()["rows"])

    def paged_by(self, write: Callable[[], Path]) -> Summary:
        """This summary, with what writes the page of its store."""
        self._page = write
        return self

    def write_page(self) -> Path:
        """Write ``report.html`` beside the runs: this and everything else in their store.

        Raises:
            InputError: nothing in the store can be reported, or it cannot be written; a summary that was only read belongs to no store.
        """
        if self._page is None:
            raise InputError(
                "this summary was read from a file; `layerlocal report --out STORE` makes the page of a store"
            )
        return self._page()

    def __repr__(self) -> str:
        return "\n".join([self._heading, *self.sentences])

    def __str__(self) -> str:
        return repr(self)

    @property
    def _heading(self) -> str:
        runs = f" of {self.finished} of {self.planned} {self.unit}s" if self.planned else ""
        return f"{self.title or self.name or self.experiment}, {len(self.rows)} rows{runs}"

    def _repr_html_(self) -> str:
        """For notebooks: the sentences, and the rows' numbers and words."""
        shown = [
            {key: text for key, value in row.items() if (text := _cell(value)) is not None} for row in self.rows[:SHOWN]
        ]
        columns = list(dict.fromkeys(key for row in shown for key in row))
        parts = [
            f"<b>{html.escape(self._heading)}</b>",
            *(f"<div>{html.escape(text)}</div>" for text in self.sentences),
        ]
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
