"""Studies of one axis, declared: what is trained at each value, and which differences between a rule and its twins are measured there.

All that such a study says is made here: each difference at each value, slopes over doublings of the axis, contrasts of two values, a
sentence for each value, one table and two figures (the differences against the axis, and what each block would answer).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from layerlocal.experiments.studies.base import Conclusion, Study, StudyPlan, by_seed, estimates, group_rows, quantity
from layerlocal.experiments.studies.effects import contrast
from layerlocal.experiments.studies.parts import (
    Slope,
    add_slope,
    block_figure,
    difference_figure,
    difference_table,
    gap_sentence,
)
from layerlocal.summary import Quantity, Row

__all__ = ["AxisStudy", "Contrast"]


@dataclass(frozen=True)
class Contrast:
    """A difference at one value of the axis minus the same at another.

    Args:
        name: of the quantity.
        key: column of rows.
        left, right: values.
        what: in words.
    """

    name: str
    key: str
    left: Any
    right: Any
    what: str


class AxisStudy(Study):
    """A study of one axis. Its `cells` say what is trained at each value, and these what is said of it."""

    axis: ClassVar[str]
    """What `Cell.at` calls it."""
    label: ClassVar[str]
    """In words, in the figure and in the table."""
    column: ClassVar[str] = ""
    """Over its values in the table, where that is not the label."""
    scale: ClassVar[Literal["linear", "log2", "category"]] = "category"
    titles: ClassVar[Mapping[Any, str]] = MappingProxyType({})
    """Value → what it is called, where not by itself."""
    panel: ClassVar[tuple[str, str, Mapping[Any, str]] | None] = None
    """A second axis, each value of which has a panel: what `Cell.at` calls it, its column in the table, and its values' titles."""
    differences: ClassVar[tuple[tuple[str, str], ...]]
    """Columns of rows and what they are, measured at each value, which ``{at}`` stands for: the quantity ``<column>/<value>``."""
    slopes: ClassVar[tuple[Slope, ...]] = ()
    contrasts: ClassVar[tuple[Contrast, ...]] = ()
    said: ClassVar[str] = ""
    """Beginning of a sentence on the gap at each value, made of ``{rule}`` and ``{at}``; none: nothing is said of single values."""
    table: ClassVar[str]
    """Caption."""
    figure: ClassVar[str]
    """Caption."""

    def entries(self, rows: Sequence[Row]) -> Sequence[Row]:
        """What is compared: the rows, or parts of them."""
        return rows

    def more(self, plan: StudyPlan, rule: str, value: Any, rows: Sequence[Row]) -> Mapping[str, Quantity]:
        """Quantities at one value beside its differences."""
        return {}

    def sentences(self, rule: str, rows: Sequence[Row]) -> Iterable[str]:
        """What is said of one rule."""
        for (value,), part in group_rows(rows, self.axis).items() if self.said else ():
            yield gap_sentence(
                self.said.format(rule=rule, at=self.titles.get(value, value)),
                estimates(part, "gap", "price_of_locality"),
            )

    def notes(self, plan: StudyPlan) -> list[str]:
        """What limits the numbers."""
        return []

    def conclude(self, plan: StudyPlan, rows: Sequence[Row]) -> Conclusion:
        """Differences at each value, slopes and contrasts; the table and the figures."""
        found, entries = Conclusion(notes=self.notes(plan)), self.entries(rows)
        for (rule,), part in group_rows(entries, "rule").items():
            found.quantities[rule] = self._quantities(plan, rule, part)
            for slope in self.slopes:
                add_slope(found, rule, part, slope)
            found.sentences += self.sentences(rule, part)
        if entries:
            self._show(found, rows, [self._named(entry) for entry in entries])
        return found

    def _quantities(self, plan: StudyPlan, rule: str, rows: Sequence[Row]) -> dict[str, Quantity]:
        at = {value: part for (value,), part in group_rows(rows, self.axis).items()}
        own: dict[str, Quantity] = {}
        for value, part in at.items():
            for key, what in self.differences:
                own[f"{key}/{value}"] = quantity(what.format(at=self.titles.get(value, value)), by_seed(part, key))
            own |= self.more(plan, rule, value, part)
        for pair in self.contrasts:
            if pair.left in at and pair.right in at:
                sides = (by_seed(at[value], pair.key) for value in (pair.left, pair.right))
                own[pair.name] = quantity(pair.what, contrast(*sides))
        return own

    def _named(self, row: Row) -> Row:
        """With words in place of values, on axes of words."""
        words = {self.axis: self.titles.get(row[self.axis], row[self.axis])} if self.scale == "category" else {}
        if self.panel is not None:
            key, _, titles = self.panel
            words[key] = titles[row[key]]
        return row | words

    def _show(self, found: Conclusion, rows: Sequence[Row], named: Sequence[Row]) -> None:
        axes, panels, blocks = [("rule", "rule")], None, (self.axis, self.titles)
        if self.panel is not None:
            key, column, titles = self.panel
            axes.append((key, column))
            panels = {str(value): part for (value,), part in group_rows(named, key).items()}
            blocks = key, titles
        found.tables.append(difference_table(self.table, named, [*axes, (self.axis, self.column or self.label)]))
        found.figures += [
            difference_figure(
                f"{self.name}-gap", self.figure, named, x=self.axis, label=self.label, scale=self.scale, panels=panels
            ),
            block_figure(f"{self.name}-blocks", rows, panel=blocks[0], titles=blocks[1]),
        ]
