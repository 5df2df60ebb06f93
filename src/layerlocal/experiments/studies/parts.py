"""Tables, figures and sentences that several studies share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from layerlocal.experiments.studies.base import Conclusion, estimates, group_rows, over_seeds, plotted, quantity
from layerlocal.experiments.studies.effects import slopes
from layerlocal.stats import Estimate, estimate
from layerlocal.summary import Axis, CellKind, Column, Figure, Point, Row, Series, Table
from layerlocal.words import BELOW, against, difference, relation

__all__ = [
    "NAMES",
    "Slope",
    "add_slope",
    "block_figure",
    "called",
    "columns",
    "difference_figure",
    "difference_table",
    "fusion_sentence",
    "gap_sentence",
    "series_by",
]

COLUMNS: tuple[tuple[str, str, CellKind], ...] = (
    ("local", "local", "percent"),
    ("bp", "BP", "percent"),
    ("bp-deepsup", "BP-DeepSup", "percent"),
    ("gap", "gap: local − BP", "points"),
    ("extra_supervision", "extra supervision: DeepSup − BP", "points"),
    ("price_of_locality", "price of locality: local − DeepSup", "points"),
)
NAMES = {key: label for key, label, kind in COLUMNS if kind == "points"}
"""The three differences, as figures and tables call them."""


def columns(*given: tuple[str, str, CellKind]) -> tuple[Column, ...]:
    """Columns of a table from (key, label, kind)."""
    return tuple(Column(key=key, label=label, kind=kind) for key, label, kind in given)


@dataclass(frozen=True)
class Slope:
    """Change of a column per doubling of an axis.

    Args:
        name: of the quantity.
        key: the column.
        axis: the axis.
        what: in words.
        said: the sentence, made of ``{rule}``, ``{what}`` and ``{slope}``.
    """

    name: str
    key: str
    axis: str
    what: str
    said: str = "{rule}: {what}: {slope}."


def add_slope(found: Conclusion, rule: str, rows: Sequence[Row], slope: Slope) -> None:
    """A slope over the rows of a rule, as a quantity and a sentence; nothing where too few rows are finished."""
    values = slopes(rows, slope.key, slope.axis)
    if values:
        found.quantities.setdefault(rule, {})[slope.name] = quantity(slope.what, values)
        told = difference(over_seeds(values), bounded=False)
        found.sentences.append(slope.said.format(rule=rule, what=slope.what, slope=told))


def called(rule: str, method: str) -> str:
    """A method of a rule in figures and tables."""
    return {"bp": "BP", "bp-deepsup": "BP-DeepSup"}.get(method, rule)


def gap_sentence(where: str, found: Mapping[str, Estimate]) -> str:
    """The gap and the price of locality in one sentence."""
    text = f"{where}: {against(found['gap'])} ({difference(found['gap'])})"
    price = found.get("price_of_locality")
    return f"{text}; price of locality {difference(price)}." if price else f"{text}."


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
    axes: Sequence[tuple[str, str]],
    *,
    more: Sequence[tuple[str, str, CellKind]] = (),
) -> Table:
    """A row for each value of the axes: three accuracies and three differences over seeds, and ``more`` columns (key, label, kind)."""
    body = []
    shown = [*COLUMNS, *more]
    for values, part in group_rows(rows, *(key for key, _ in axes)).items():
        found = {key: value for (key, _), value in zip(axes, values, strict=True)}
        body.append(found | estimates(part, *(key for key, *_ in shown)))
    named = columns(*((key, label, "text") for key, label in axes))
    filled = columns(*(column for column in shown if any(column[0] in row for row in body)))
    return Table(caption=caption, columns=(*named, *filled), rows=tuple(body))


def series_by(
    rows: Sequence[Row], x: str, keys: Sequence[str] = tuple(NAMES), *, panel: str | None = None
) -> list[Series]:
    """A series for each rule and column."""
    several = len({row["rule"] for row in rows}) > 1
    found = []
    for (rule,), part in group_rows(rows, "rule").items():
        for key in keys:
            name = f"{rule}: {NAMES.get(key, key)}" if several else NAMES.get(key, key)
            found.append(Series(name=name, panel=panel, points=tuple(plotted(part, x, key))))
    return [series for series in found if series.points]


def difference_figure(
    name: str,
    caption: str,
    rows: Sequence[Row],
    *,
    x: str,
    label: str,
    scale: Literal["linear", "log2", "category"],
    panels: Mapping[str, Sequence[Row]] | None = None,
) -> Figure:
    """Gap, extra supervision and price of locality against one axis, in panels where given."""
    series = [s for panel, part in (panels or {"": rows}).items() for s in series_by(part, x, panel=panel or None)]
    return Figure(
        name=name,
        kind="points" if scale == "category" else "lines",
        caption=f"{caption}. Paired by seed, 95 % intervals.",
        x=Axis(label=label, scale=scale),
        y=Axis(label="difference in test accuracy", unit="pp"),
        series=tuple(series),
    )


def block_figure(
    name: str,
    rows: Sequence[Row],
    *,
    panel: str,
    titles: Mapping[Any, str] | None = None,
    methods: Mapping[str, str] | None = None,
) -> Figure:
    """Accuracy read at each block, local beside BP-DeepSup (BP has its last readout only), a panel for each value of an axis.

    Args:
        name: of the figure.
        rows: of the study.
        panel: the axis that makes the panels.
        titles: of the panels by value; the value itself where left out.
        methods: method → name, instead of the two.
    """
    several = len({row["rule"] for row in rows}) > 1
    series = []
    for (rule, value), part in group_rows(rows, "rule", panel).items():
        title = str((titles or {}).get(value, value))
        for method in methods or ("local", "bp-deepsup", "bp"):
            points = tuple(
                Point(x=int(block.removeprefix("block")) + 1, y=_over_seeds(part, method, block))
                for block in part[0]["blocks"][method]
            )
            shown = methods[method] if methods else called(rule, method)
            series.append(Series(name=shown, panel=f"{rule}, {title}" if several else title, points=points))
    return Figure(
        name=name,
        caption="Test accuracy read at each block, the local rule beside its twins (BP is read at its last block only). "
        "95 % intervals over seeds.",
        x=Axis(label="block"),
        y=Axis(label="test accuracy of the block's readout", unit="%"),
        series=tuple(series),
    )


def _over_seeds(rows: Sequence[Row], method: str, block: str) -> Estimate:
    values: dict[int, list[float]] = {}
    for row in rows:
        values.setdefault(row["seed"], []).append(row["blocks"][method][block])
    return estimate([sum(found) / len(found) for found in values.values()])
