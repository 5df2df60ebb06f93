"""Tables and figures as a declaration: which columns of a study's entries are shown, along what.

A `View` is given the entries it is `at`, those of one rule where it is `apart`; it makes a table or a figure, or nothing where there is none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from layerlocal.experiments.studies.base import estimates, group_rows
from layerlocal.experiments.studies.parts import (
    COLUMNS,
    NAMES,
    OF_ACCURACY,
    Words,
    called,
    difference_figure,
    difference_table,
)
from layerlocal.summary import Axis, CellKind, Figure, FigureKind, Point, Row, Series, Table

__all__ = ["RULE", "Along", "Blocks", "Differences", "Grid", "Heat", "Marks", "View"]


@dataclass(frozen=True)
class Along:
    """A column of entries that tables and figures run along.

    Args:
        key: the column.
        label: in words.
        titles: value → what it is called, where not by itself; values come in this order where they make panels or series.
        scale: of an axis of a figure; words stand for values on categories only.
        head: over its values in a table, where that is not the label.
        kind: of its values there.
    """

    key: str
    label: str = ""
    titles: Mapping[Any, str] = field(default_factory=dict)
    scale: Literal["linear", "log2", "category"] = "category"
    head: str = ""
    kind: CellKind = "text"

    def named(self, value: Any) -> Any:
        """What a value is called."""
        return self.titles.get(value, value)

    def written(self, value: Any) -> Any:
        """As it stands on an axis or in a table."""
        return self.named(value) if self.scale == "category" else value

    def parts(self, rows: Sequence[Row]) -> dict[str, list[Row]]:
        """What each value is called, and its rows."""
        found = {value: part for (value,), part in group_rows(rows, self.key).items()}
        order = [value for value in self.titles if value in found]
        return {str(self.named(value)): found[value] for value in dict.fromkeys([*order, *found])}


RULE = Along("rule", "rule")
TWINS = ("local", "bp-deepsup", "bp")


def in_words(rows: Sequence[Row], *along: Along) -> list[Row]:
    """Rows with the words of values in their place."""
    return [row | {one.key: one.written(row.get(one.key)) for one in along} for row in rows]


def _figure_name(*parts: str) -> str:
    return "-".join(part for part in parts if part)


@dataclass(frozen=True)
class View(ABC):
    """A table or a figure.

    Args:
        at: the entries it shows (`layerlocal.experiments.studies.effects.chosen`); all unless given.
        apart: whether each rule has one of its own; its caption then is made of ``{rule}`` and of columns (`Words`).
    """

    at: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    apart: bool = field(default=False, kw_only=True)

    @abstractmethod
    def make(self, study: str, rule: str, rows: Sequence[Row]) -> Figure | Table | None:
        """Of some entries, one at least, and all of this rule where it is apart."""

    def _said(self, caption: str, rule: str, rows: Sequence[Row]) -> str:
        return caption.format_map(Words(rows, rule=rule)) if self.apart else caption


@dataclass(frozen=True)
class Grid(View):
    """A table with a row for each value of what it runs ``along``: means of columns (key, label, kind) over seeds."""

    caption: str
    along: Sequence[Along]
    shown: Sequence[tuple[str, str, CellKind]] = COLUMNS

    def make(self, study: str, rule: str, rows: Sequence[Row]) -> Table:
        """See `difference_table`."""
        axes = [(one.key, one.head or one.label, one.kind) for one in self.along]
        return difference_table(self._said(self.caption, rule, rows), in_words(rows, *self.along), axes, self.shown)


@dataclass(frozen=True)
class Differences(View):
    """A figure of the three differences, or of columns with names, against one axis; ``y`` is theirs."""

    name: str
    caption: str
    x: Along
    panel: Along | None = None
    names: Mapping[str, str] = field(default_factory=lambda: NAMES)
    y: Axis = OF_ACCURACY

    def make(self, study: str, rule: str, rows: Sequence[Row]) -> Figure:
        """See `difference_figure`."""
        rows = in_words(rows, self.x)
        return difference_figure(
            _figure_name(study, self.name, rule), self.caption, rows, x=self.x.key, label=self.x.label, scale=self.x.scale,
            panels=None if self.panel is None else self.panel.parts(rows), names=self.names, y=self.y,
        )  # fmt: skip


@dataclass(frozen=True)
class Blocks(View):
    """A figure of what each block would answer, a panel for each value; of other methods than the rule and its twins if they are named.

    ``of``: the column of rows that has it, ``y`` its axis, and ``caption`` what is said of it.
    """

    panel: Along
    methods: Mapping[str, str] | None = None
    of: str = "blocks"
    y: Axis = field(default_factory=lambda: Axis(label="test accuracy of the block's readout", unit="%"))
    caption: str = (
        "Test accuracy read at each block, the local rule beside its twins (BP is read at its last block only). "
        "95 % intervals over seeds."
    )

    def make(self, study: str, rule: str, rows: Sequence[Row]) -> Figure:
        """BP has its last readout only."""
        several = len({row["rule"] for row in rows}) > 1
        series = []
        for (of, value), part in group_rows(rows, "rule", self.panel.key).items():
            panel = f"{of}, {self.panel.named(value)}" if several else str(self.panel.named(value))
            for method, name in (self.methods or {method: called(of, method) for method in TWINS}).items():
                points = tuple(_block(part, self.of, method, block) for block in part[0][self.of][method])
                series.append(Series(name=name, panel=panel, points=points))
        name = _figure_name(study, "blocks", rule)
        return Figure(
            name=name, caption=self.caption, x=Axis(label="block"), y=self.y, series=tuple(series), zoomed=True
        )


def _block(rows: Sequence[Row], of: str, method: str, block: str) -> Point:
    read = [row | {"read": row[of][method][block]} for row in rows]
    return Point(x=int(block.removeprefix("block")) + 1, y=estimates(read, "read")["read"])


@dataclass(frozen=True)
class Heat(View):
    """A heat map of one column."""

    key: str
    label: str
    caption: str
    x: Along
    y: Along

    def make(self, study: str, rule: str, rows: Sequence[Row]) -> Figure:
        """A cell for each pair of values, as words; means over seeds."""
        cells = tuple(
            Point(x=str(x), y=str(y), z=estimates(part, self.key)[self.key])
            for (y, x), part in sorted(group_rows(rows, self.y.key, self.x.key).items())
        )
        return Figure(
            name=_figure_name(study, self.key, rule), kind="heat", caption=self._said(self.caption, rule, rows),
            x=Axis(label=self.x.label, scale="category"), y=Axis(label=self.y.label, scale="category"),
            z=Axis(label=self.label, unit="pp"), series=(Series(name=self.label, points=cells),),
        )  # fmt: skip


@dataclass(frozen=True)
class Marks(View):
    """A figure of one column against another: a mark for each value of ``of``, in series.

    Args:
        name: of the figure.
        caption: of the figure.
        x: column and its axis; where it is one of ``of`` its value, joined by a line where that is a number, else its mean over seeds.
        y: columns → what each is called, a series each where ``series`` is not given; and their axis.
        of: columns that tell marks apart.
        series: what tells series apart.
        panel: what tells panels apart.
        label: which of ``of`` names a mark.
    """

    name: str
    caption: str
    x: tuple[str, Axis]
    y: tuple[Mapping[str, str], Axis]
    of: tuple[str, ...]
    series: Along | None = None
    panel: Along | None = None
    label: str = ""

    def make(self, study: str, rule: str, rows: Sequence[Row]) -> Figure | None:
        """Nothing where there is no mark."""
        series = [
            Series(name=name or called, panel=panel, points=points)
            for panel, part in (self.panel.parts(rows) if self.panel else {None: rows}).items()
            for key, called in self.y[0].items()
            for name, own in (self.series.parts(part) if self.series else {"": part}).items()
            if (points := self._points(own, key))
        ]
        kind: FigureKind = "lines" if self._in_order else "points"
        name, caption = _figure_name(study, self.name, rule), self._said(self.caption, rule, rows)
        figure = Figure(name=name, kind=kind, caption=caption, x=self.x[1], y=self.y[1], series=tuple(series))
        return figure if series else None

    @property
    def _in_order(self) -> bool:
        """Whether a line joins the marks."""
        return self.x[0] in self.of and self.x[1].scale != "category"

    def _points(self, rows: Sequence[Row], key: str) -> tuple[Point, ...]:
        found: list[tuple[Any, Point]] = []
        for part in group_rows(rows, *self.of).values():
            x = part[0][self.x[0]] if self.x[0] in self.of else estimates(part, self.x[0]).get(self.x[0])
            y = estimates(part, key).get(key)
            if x is not None and y is not None:
                found.append((x, Point(x=x, y=y, label=str(part[0].get(self.label, "")))))
        return tuple(point for _, point in (sorted(found, key=lambda one: one[0]) if self._in_order else found))
