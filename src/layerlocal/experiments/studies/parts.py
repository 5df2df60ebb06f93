"""Tables, figures and sentences that several studies share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from layerlocal.experiments.studies.base import estimates, group_rows, last_accuracy, plotted
from layerlocal.experiments.studies.controls import LONGER, ORDINARY
from layerlocal.experiments.studies.sampled import PAIRS
from layerlocal.stats import estimate
from layerlocal.summary import Axis, CellKind, Column, Figure, Row, Series, Table
from layerlocal.words import BELOW, against, difference, relation, spoken

__all__ = [
    "COLUMNS",
    "CONTROLLED",
    "HEADROOM",
    "NAMES",
    "OF_ACCURACY",
    "OF_TWINS",
    "STANDS",
    "Words",
    "called",
    "columns",
    "difference_figure",
    "difference_table",
    "fusion_sentence",
    "gains",
    "standings",
]

HEADROOM: tuple[str, str, CellKind] = ("headroom", "headroom: BP with twice the steps", "points")
COLUMNS: tuple[tuple[str, str, CellKind], ...] = (
    ("local", "local", "percent"),
    ("bp", "BP", "percent"),
    ("bp-deepsup", "BP-DeepSup", "percent"),
    ("gap", "gap: local − BP", "points"),
    ("extra_supervision", "extra supervision: DeepSup − BP", "points"),
    ("price_of_locality", "price of locality: local − DeepSup", "points"),
    (ORDINARY, "ordinary BP", "percent"),
    ("total", "local − ordinary BP", "points"),
    ("objective", "price of the objective: BP − ordinary BP", "points"),
    HEADROOM,
)
NAMES = {key: label for key, label, kind in COLUMNS if kind == "points" and key not in ("total", "headroom")}
"""The differences that figures show, as figures and tables call them."""
OF_TWINS = {key: label for key, label in NAMES.items() if key != "objective"}
"""Those between a rule and its twins."""
CONTROLLED = {
    "total": "local − ordinary BP, {at}",
    "objective": "BP of the rule's loss − ordinary BP, {at}",
    "headroom": "ordinary BP with twice the steps − ordinary BP, {at}",
}
"""Columns of controls, measured at each value of every study that has differences there."""
OF_ACCURACY = Axis(label="difference in test accuracy", unit="pp")
STANDS = "{at}: {against} ({gap}); price of locality {price_of_locality}."
"""How a rule stands to its twins at one value of an axis; made of `Words`."""


def columns(*given: tuple[str, str, CellKind]) -> tuple[Column, ...]:
    """Columns of a table from (key, label, kind)."""
    return tuple(Column(key=key, label=label, kind=kind) for key, label, kind in given)


class Words(dict[str, Any]):
    """What stands for the names in a sentence on rows: what is given, a column's word, or a column's mean over seeds as a difference.

    ``{against}`` is how the rule stands to BP.
    """

    def __init__(self, rows: Sequence[Row], **given: Any) -> None:
        super().__init__(given)
        self._rows = rows

    def __missing__(self, name: str) -> str:
        if name == "against":
            return against(estimates(self._rows, "gap")["gap"])
        word = self._rows[0][name]
        return word if isinstance(word, str) else difference(estimates(self._rows, name)[name])

    def mean(self, name: str) -> float:
        """Of a column, over seeds."""
        return estimates(self._rows, name)[name]["mean"]


def gains(row: Row, method: str) -> Row:
    """The entry of one method of a row: its accuracy, how far it is above the local rule, also at the last block alone, and how far the
    twins are (``lead``, ``deepsup_lead``).
    """
    last = last_accuracy(row, method) - last_accuracy(row, "local")
    leads = {"lead": -row["gap"], "deepsup_lead": -row["price_of_locality"]}
    own = {"method": method, "accuracy": row[method], "gain": row[method] - row["local"], "gain_last": last}
    pairs = {"gain": (method, "local"), "lead": ("bp", "local"), "deepsup_lead": ("bp-deepsup", "local")}
    return row | leads | own | {PAIRS: pairs}


def called(rule: str, method: str) -> str:
    """A method of a rule in figures and tables."""
    return {
        "bp": "BP",
        "bp-deepsup": "BP-DeepSup",
        ORDINARY: "ordinary BP",
        LONGER: "ordinary BP, twice the steps",
        "ordinary-flops": "ordinary BP, the rule's FLOPs",
        "ordinary-time": "ordinary BP, the rule's time",
        "ordinary-bytes": "ordinary BP, the rule's memory",
    }.get(method, rule)


def standings(found: Mapping[str, Any], other: str, where: str) -> str:
    """Where a rule is above another, where below, where neither is seen.

    Args:
        found: where → the difference.
        other: against what.
        where: in words, made of ``{}``.
    """
    stands: dict[str, list[str]] = {}
    for at, estimated in found.items():
        stands.setdefault(against(estimated, other), []).append(at)
    return "; ".join(f"{how} {where.format(spoken(at))}" for how, at in stands.items())


def fusion_sentence(where: str, rows: Sequence[Row], method: str = "local") -> str | None:
    """That the fused prediction is behind one of the blocks it is made of, which a mean over blocks hides; ``None`` where it is not.

    The block is that with the highest mean over rows, on the images it is judged by: the sentence says so.
    """
    blocks = rows[0]["blocks"][method]
    best = max(blocks, key=lambda block: sum(row["blocks"][method][block] for row in rows))
    behind = estimate([row[method] - row["blocks"][method][best] for row in rows])
    if relation(behind) != BELOW:
        return None
    return (
        f"{where}: {difference(behind)} with all blocks fused against {best} alone (the best one here, with hindsight)."
    )


def difference_table(
    caption: str,
    rows: Sequence[Row],
    axes: Sequence[tuple[str, str] | tuple[str, str, CellKind]],
    shown: Sequence[tuple[str, str, CellKind]] = COLUMNS,
) -> Table:
    """A row for each value of the axes (key, label, kind): columns over seeds, unless given three accuracies and three differences."""
    body = []
    for values, part in group_rows(rows, *(axis[0] for axis in axes)).items():
        found = {axis[0]: value for axis, value in zip(axes, values, strict=True)}
        body.append(found | estimates(part, *(key for key, *_ in shown)))
    named = columns(*((axis[0], axis[1], axis[2] if len(axis) > 2 else "text") for axis in axes))
    filled = columns(*(column for column in shown if any(column[0] in row for row in rows)))
    return Table(caption=caption, columns=(*named, *filled), rows=tuple(body))


def difference_figure(
    name: str,
    caption: str,
    rows: Sequence[Row],
    *,
    x: str,
    label: str,
    scale: Literal["linear", "log2", "category"],
    panels: Mapping[str, Sequence[Row]] | None = None,
    names: Mapping[str, str] = NAMES,
    y: Axis = OF_ACCURACY,
) -> Figure:
    """Gap, extra supervision and price of locality, or the columns of these names, against one axis, in panels where given."""
    several = len({row["rule"] for row in rows}) > 1
    series = [
        Series(name=f"{rule}: {called}" if several else called, panel=panel or None, points=points)
        for panel, part in (panels or {"": rows}).items()
        for (rule,), own in group_rows(part, "rule").items()
        for key, called in names.items()
        if (points := tuple(plotted(own, x, key)))
    ]
    return Figure(
        name=name,
        kind="points" if scale == "category" else "lines",
        caption=caption if caption.endswith(".") else f"{caption}. Paired by seed, 95 % intervals.",
        x=Axis(label=label, scale=scale),
        y=y,
        series=tuple(series),
    )
