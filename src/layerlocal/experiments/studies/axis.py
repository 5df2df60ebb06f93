"""Studies of one axis, declared: what is trained at each value of it, what is measured there and over all of it, what is shown and said.

A row (`layerlocal.experiments.studies.base`) becomes one entry or several, e.g. one for each method that was trained beside the twins, with
columns of the study's own; from there everything is a declaration: an `Each` is a column measured at each value of the axis, a `Finding`
a slope or a difference over entries (`layerlocal.experiments.studies.effects`), and tables and figures are views
(`layerlocal.experiments.studies.views`). Unless a study names other views it has one table and two figures: the three differences against
the axis, and what each block would answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType
from typing import Any, ClassVar

from layerlocal.experiments.studies.base import (
    Conclusion,
    Study,
    StudyPlan,
    by_seed,
    estimates,
    group_rows,
    over_seeds,
    quantity,
    with_headroom,
)
from layerlocal.experiments.studies.controls import cost_sentence, headroom_of
from layerlocal.experiments.studies.effects import Measure, chosen, ratio_of_means
from layerlocal.experiments.studies.parts import CONTROLLED, Words
from layerlocal.experiments.studies.sampled import BySeed
from layerlocal.experiments.studies.views import RULE, Along, Blocks, Differences, Grid, View
from layerlocal.summary import Quantity, Row
from layerlocal.words import ABOVE, difference, relation, several, spoken

__all__ = ["AxisStudy", "Each", "Finding", "Share"]

LEAST_GAP = 0.005
"""Where a lead is on average less than half a point, or seeds cannot tell it from zero, no share of it is given, and that is said: a share
of what may be nothing is any number.
"""


@dataclass(frozen=True)
class Each:
    """A column, measured at each value of the axis.

    Args:
        key: the column.
        what: in words, made of ``{at}`` and of columns of entries (`Words`).
        unit: as of `Quantity`.
        name: of the quantity, likewise; ``<key>/<value>`` unless given.
    """

    key: str
    what: str
    unit: str = "pp"
    name: str = ""

    def quantity(self, rows: Sequence[Row], at: Any) -> Quantity:
        """Of the entries at one value."""
        return quantity(self.what.format_map(Words(rows, at=at)), by_seed(rows, self.key), unit=self.unit)


@dataclass(frozen=True)
class Share(Each):
    """A column over another, the lead of a twin: the share of it that comes back, as pseudo-values of `ratio_of_means`.

    Args:
        of, lead: the columns.
        twin: whose lead it is, in words.
    """

    unit: str = "share"
    of: str = "gain"
    lead: str = ""
    twin: str = ""

    def quantity(self, rows: Sequence[Row], at: Any) -> Quantity:
        """Where nothing can come back with the reason, so that claims about it cannot be judged."""
        found, lead = super().quantity(rows, at), estimates(rows, self.lead)[self.lead]
        where = "below" if lead["mean"] < 0 else f"not {100 * LEAST_GAP:.1f} pp above"
        if lead["mean"] > LEAST_GAP:
            where = f"not told apart, by {several(lead['n'], 'seed')}, from"
        why = f"{self.twin} is {where} the local rule here ({difference(lead)}), so there is nothing to recover"
        if not found.values:
            return found.model_copy(update={"reason": why})
        return found.model_copy(update={"images": self.shares(rows).images})

    def column(self, rows: Sequence[Row]) -> list[Row]:
        """The entries of a rule at one value, with the share; with none where the lead is none."""
        lead = estimates(rows, self.lead)[self.lead]
        is_one = lead["mean"] > LEAST_GAP and lead["low"] is not None and lead["low"] > 0
        shares = self.shares(rows) if is_one else {}
        return [row | {self.key: shares.get(row["seed"])} for row in rows]

    def shares(self, rows: Sequence[Row]) -> BySeed:
        """Of the entries of a rule at one value, by seed."""
        return ratio_of_means(by_seed(rows, self.of), by_seed(rows, self.lead))


@dataclass(frozen=True)
class Finding:
    """A quantity of a rule over all its entries; left out where no seed has a value.

    Args:
        name: of the quantity.
        what: in words.
        of: how it is measured.
        said: a sentence, made of ``{rule}``, ``{what}``, ``{found}`` and the names of other findings; none: nothing is said.
        signed: whether a value above 0 has a plus in the sentence.
        unit: as of `Quantity`.
    """

    name: str
    what: str
    of: Measure
    said: str = ""
    signed: bool = True
    unit: str = "pp"

    def told(self, values: Mapping[int, float]) -> str:
        """As the sentence says it."""
        text = difference(over_seeds(values), bounded=False)
        return text if self.signed else text.replace("+", "")


class AxisStudy(Study):
    """A study of one axis. Its `cells` say what is trained at each value, and these what is said of it."""

    axis: ClassVar[Along]
    panel: ClassVar[Along | None] = None
    """A second axis, each value of which has a panel."""
    differences: ClassVar[tuple[Each, ...]] = ()
    measured: ClassVar[tuple[Finding, ...]] = ()
    said: ClassVar[tuple[str, ...]] = ()
    """Sentences on each value of the axis, made of ``{rule}``, ``{at}`` and of columns (`Words`)."""
    largest: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Column → a sentence on the value of the axis where its mean is largest, made likewise."""
    shown: ClassVar[tuple[View, ...]] = ()
    """Tables and figures; unless given, one table and two figures of these captions:"""
    table: ClassVar[str]
    figure: ClassVar[str]
    asks_cost: ClassVar[bool] = False
    """Whether it compares at equal cost itself; another study says which does, where a rule is above ordinary BP."""

    def entries(self, rows: Sequence[Row]) -> Sequence[Row]:
        """What is compared: the rows, with more columns, or several entries of each."""
        return rows

    def findings(self, plan: StudyPlan) -> Iterable[Finding]:
        """What is measured over all values."""
        return self.measured

    def views(self, plan: StudyPlan) -> Iterable[View]:
        """Tables and figures."""
        panels = () if self.panel is None else (self.panel,)
        return self.shown or (
            Grid(self.table, (RULE, *panels, self.axis)),
            Differences("gap", self.figure, self.axis, panel=self.panel),
            Blocks(self.panel or self.axis),
        )

    def more(self, plan: StudyPlan, rule: str, value: Any, rows: Sequence[Row]) -> Mapping[str, Quantity]:
        """Quantities at one value beside its differences."""
        return {}

    def sentences(self, rule: str, rows: Sequence[Row]) -> Iterator[str]:
        """What is said of one rule beside its findings."""
        at = {value: Words(part, rule=rule, at=self.axis.named(value)) for value, part in self._at(rows)}
        for key, text in self.largest.items():
            yield text.format_map(max(at.values(), key=lambda words: words.mean(key)))
        for words in at.values():
            yield from (text.format_map(words) for text in self.said)

    def notes(self, plan: StudyPlan) -> list[str]:
        """What limits the numbers."""
        return []

    def conclude(self, plan: StudyPlan, rows: Sequence[Row]) -> Conclusion:
        """What is measured, said and shown."""
        found, entries = Conclusion(notes=self.notes(plan)), self._filled(self.entries(rows))
        by_rule = {rule: part for (rule,), part in group_rows(entries, "rule").items()}
        for rule, part in by_rule.items():
            self._measure(found, plan, rule, part)
        for apart, views in groupby(self.views(plan), key=lambda view: view.apart):
            shown = list(views)
            for rule, part in by_rule.items() if apart else [("", entries)]:
                at = ((view, chosen(part, view.at)) for view in shown)
                found.show(view.make(self.name, rule, own) for view, own in at if own)
        return found

    def _measure(self, found: Conclusion, plan: StudyPlan, rule: str, rows: Sequence[Row]) -> None:
        """Quantities of one rule and sentences on them."""
        own = {name: of for value, part in self._at(rows) for name, of in self._each(plan, rule, value, part)}
        over = {one: values for one in self.findings(plan) if (values := one.of(rows))}
        headroom = headroom_of(rows)
        found.quantities[rule] = own | {
            one.name: with_headroom(quantity(one.what, values, unit=one.unit), one.of(headroom))
            for one, values in over.items()
        }
        told = {one.name: one.told(values) for one, values in over.items()}
        for one in over:
            if one.said:
                found.sentences.append(
                    one.said.format_map({"rule": rule, "what": one.what, "found": told[one.name], **told})
                )
        reasons = dict.fromkeys(of.reason for of in own.values() if of.reason)
        found.sentences += [*self.sentences(rule, rows), *(f"{rule}: {reason}." for reason in reasons)]
        if not self.asks_cost and (led := self._led(rows)):
            found.sentences.append(
                cost_sentence(rule, f"on {spoken(led)}" if self.axis.key == "data" else f"at {'; '.join(led)}")
            )

    def _led(self, rows: Sequence[Row]) -> list[str]:
        """Where on the axes a rule is above ordinary BP."""
        axes = (self.axis,) if self.panel is None else (self.panel, self.axis)
        totals = {
            at: estimates(part, "total").get("total")
            for at, part in group_rows(rows, *(one.key for one in axes)).items()
        }
        return [
            ", ".join(str(one.named(value)) for one, value in zip(axes, at, strict=True))
            for at, total in totals.items()
            if relation(total) == ABOVE
        ]

    def _filled(self, rows: Sequence[Row]) -> list[Row]:
        """With the shares, which are made of other columns."""
        for share in (each for each in self.differences if isinstance(each, Share)):
            rows = [row for part in group_rows(rows, "rule", self.axis.key).values() for row in share.column(part)]
        return list(rows)

    def _at(self, rows: Sequence[Row]) -> Iterator[tuple[Any, list[Row]]]:
        """Each value of the axis, and the entries there."""
        return ((value, part) for (value,), part in group_rows(rows, self.axis.key).items())

    def _each(self, plan: StudyPlan, rule: str, value: Any, rows: Sequence[Row]) -> Iterator[tuple[str, Quantity]]:
        for each in self.differences:
            name = each.name.format_map(Words(rows, at=value)) or f"{each.key}/{value}"
            yield name, with_headroom(each.quantity(rows, self.axis.named(value)), by_seed(rows, "headroom"))
        for key, what in CONTROLLED.items() if self.differences else ():
            if values := by_seed(rows, key):
                own = quantity(what.format(at=self.axis.named(value)), values)
                yield f"{key}/{value}", with_headroom(own, by_seed(rows, "headroom"))
        yield from self.more(plan, rule, value, rows).items()
