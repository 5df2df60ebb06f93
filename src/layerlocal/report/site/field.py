"""The table of the field as text: a row for every method and data set, what was claimed beside what was measured, its price and its cost."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from layerlocal.report.claims import reported_text
from layerlocal.report.views import Cell
from layerlocal.summary import Axis, Figure, Guide, Point, Series, Summary
from layerlocal.words import (
    ABOVE,
    BELOW,
    NOT_RUN,
    NOTHING,
    clean,
    exact,
    in_two,
    is_number,
    known,
    mean_of,
    measured,
    percent,
    ratio,
    relation,
    several,
)

__all__ = ["Cost", "Entry", "costs_of", "entries_of", "headline_words", "link_of", "price_figure", "standing"]

Row = Mapping[str, Any]
ENOUGH = 0.01
"""Headroom up to which a network counts as trained here: one percentage point."""


@dataclass(frozen=True)
class Cost:
    """What a rule costs beside backprop, as text: medians over rounds or processes.

    Args:
        memory, speed: as ratios to plain backprop on the same network.
        micro_memory, micro_speed: as ratios to backprop in micro-batches, its form that takes least memory.
        what: of which network and batch.
        command: that measured it.
    """

    memory: str = NOTHING
    speed: str = NOTHING
    micro_memory: str = NOTHING
    micro_speed: str = NOTHING
    what: str = ""
    command: str = ""


@dataclass(frozen=True)
class Entry:
    """One row of the table: a method on a data set.

    Args:
        method: as its authors call it.
        rule: ours, or ``""``.
        data: the data set.
        source: where its accuracy was published; ``""``: it was not.
        href: a link to the source, or ``""``.
        claimed: the published accuracy, and below it backprop's in the same source.
        measured: ours; n and size stand below it.
        apart: measured − claimed.
        price: of locality.
        objective: the price of the objective.
        extra: extra supervision.
        headroom: what backprop still gains with twice the steps.
        status: whether it is measured, in a word for a filter.
        how: sentences on protocols.
        command: that measures it, or ``""``.
    """

    method: str
    rule: str
    data: str
    source: str
    href: str
    claimed: Cell
    measured: Cell
    apart: str
    price: Cell
    objective: Cell
    extra: Cell
    headroom: str
    status: str
    how: tuple[str, ...]
    command: str


def entries_of(rows: Sequence[Row]) -> list[Entry]:
    """What `layerlocal.claims.compare_accuracies` and `measured_accuracies` give, measured first, then by data set and method."""
    found = [_entry(row) for row in rows]
    return sorted(found, key=lambda entry: (entry.status == NOT_RUN, entry.data, entry.method.lower()))


def _entry(row: Row) -> Entry:
    is_measured = known(row.get("measured"))
    source, bp = clean(row.get("source") or ""), row.get("reported_bp")
    claimed = clean(row.get("text") or "") or (
        reported_text(row["reported"]) if row.get("reported") is not None else NOTHING
    )
    return Entry(
        method=clean(row.get("method")),
        rule=clean(row.get("rule") or ""),
        data=clean(row.get("data")),
        source=source,
        href=link_of(source),
        claimed=Cell(claimed, f"BP {percent(bp, 2)}" if is_number(bp) else ""),
        measured=_measured(row) if is_measured else Cell(NOT_RUN),
        apart=measured(row["difference"], "pp") if is_number(row.get("difference")) else NOTHING,
        price=_difference(row.get("price_of_locality")),
        objective=_difference(row.get("objective")),
        extra=_difference(row.get("extra_supervision")),
        headroom=_headroom(row) if is_measured else NOTHING,
        status="measured" if is_measured else NOT_RUN,
        how=tuple(_how(row)),
        command=clean(row.get("command") or ""),
    )


def link_of(source: str) -> str:
    """Where a source is read: arXiv's page, or the address that it is; ``""`` for words."""
    if source.startswith("arXiv:") and source[6:].replace(".", "").isdigit():
        return f"https://arxiv.org/abs/{source[6:]}"
    return source if source.startswith("https://") and " " not in source else ""


def _measured(row: Row) -> Cell:
    mean, interval = in_two(row["measured"], "%")
    return Cell(mean, f"{interval}, n={row.get('n', '?')}", clean(row.get("size") or ""))


def _difference(estimate: Any) -> Cell:
    if not known(estimate):
        return Cell(NOTHING)
    mean, interval = in_two(estimate, "pp")
    words = relation(estimate)
    return Cell(mean, interval, words, words.replace(" ", "-"))


def _headroom(row: Row) -> str:
    return exact(row["headroom"], "pp") if is_number(row.get("headroom")) else "not measured"


def _how(row: Row) -> Iterator[str]:
    if row.get("our_protocol"):
        yield f"Measured: {clean(row['our_protocol'])} (study {clean(row.get('study'))}, {clean(row.get('size'))})."
    if known(row.get("measured_bp")):
        yield f"Our BP: {measured(row['measured_bp'], '%')}."
    if row.get("protocol_differences"):
        yield f"Claimed: {clean(row['protocol_differences'])}"
    for key in ("note", "reason"):
        if row.get(key):
            yield clean(row[key])


# --- what all rows say together ---------------------------------------------------------------------------------------


def standing(rows: Sequence[Row]) -> dict[str, int]:
    """How many rows are published, measured, and measured on networks that are trained."""
    own = [row for row in rows if known(row.get("measured"))]
    return {
        "published": sum(row.get("reported") is not None for row in rows),
        "measured": len(own),
        "beside": sum(row.get("reported") is not None for row in own),
        "trained": sum(is_number(row.get("headroom")) and abs(row["headroom"]) <= ENOUGH for row in own),
    }


def headline_words(rows: Sequence[Row]) -> list[str]:
    """What the table comes to, the caveat that decides about it first."""
    count = standing(rows)
    if not count["measured"]:
        return [f"Of {count['published']} published accuracies none is measured here yet."]
    prices = [row["price_of_locality"] for row in rows if known(row.get("price_of_locality"))]
    told = [relation(price) for price in prices]
    caveat = (
        f"On {count['trained']} of {count['measured']} rows with a measurement backprop is known to be trained (twice the steps bring it at "
        "most 1 pp); on the others differences may be of training that is too short."
    )
    below, above = told.count(BELOW), told.count(ABOVE)
    split = (
        f"The price of locality was measured {several(len(prices), 'time')}: below 0 in {below}, above 0 in {above}, not told apart from 0 in "
        f"{len(told) - below - above}."
    )
    beside = (
        f"Of {count['published']} published accuracies {count['beside']} stand beside a measurement; protocols differ, so a difference is no "
        "verdict."
    )
    return [caveat, *([split] if prices else []), beside]


def price_figure(rows: Sequence[Row]) -> Figure | None:
    """The price of locality of every rule, a panel a data set; ``None`` where none was measured."""
    series, priced = [], [row for row in rows if known(row.get("price_of_locality"))]
    for data in dict.fromkeys(clean(row.get("data")) for row in priced):
        # one row a rule: two published accuracies of one method have the same measurement
        own = {
            clean(row["rule"]): row["price_of_locality"]
            for row in rows
            if clean(row.get("data")) == data and known(row.get("price_of_locality"))
        }
        order = sorted(own, key=lambda rule: -(mean_of(own[rule]) or 0.0))
        points = tuple(Point(x=own[rule], y=rule) for rule in order)
        series.append(Series(name="price of locality", panel=data, points=points))
    if not series:
        return None
    return Figure(
        name="price",
        kind="points",
        title="Price of locality",
        caption="Local − BP with deep supervision, test accuracy, paired by seed; bars are 95 % intervals, small dots the single seeds. "
        "Below 0 locality costs accuracy.",
        x=Axis(label="price of locality", unit="pp", better="more"),
        y=Axis(scale="category"),
        series=tuple(series),
        guides=(Guide(axis="x", at=0.0),),
    )


def costs_of(summaries: Iterable[Summary]) -> dict[str, Cost]:
    """Rule → what it costs, of the largest cost audit that has it."""
    found: dict[str, Cost] = {}
    for summary in summaries:
        if summary.experiment != "cost":
            continue
        for rule, quantities in summary.quantities.items():
            texts = {key: _ratio(quantities.get(name)) for key, name in _COSTS.items()}
            if set(texts.values()) != {NOTHING}:
                what = next(
                    (quantity.what.partition(": ")[2] for quantity in quantities.values() if ": " in quantity.what), ""
                )
                found[rule] = Cost(**texts, what=what, command=summary.command)
    return found


_COSTS = {
    "memory": "memory_against_bp", "speed": "speed_against_bp",
    "micro_memory": "memory_against_micro_bp", "micro_speed": "speed_against_micro_bp",
}  # fmt: skip


def _ratio(quantity: Any) -> str:
    values = quantity.values.values() if quantity is not None else ()
    return ratio(statistics.median(values)) if values else NOTHING
