"""The parts of an audit's summary: accuracy, blocks, the class sweep, cost. Rows and *verdicts* (a rule's accuracies and differences) in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from layerlocal.experiments.studies.base import METHODS, estimates, group_rows
from layerlocal.experiments.studies.controls import ORDINARY
from layerlocal.experiments.studies.parts import (
    COLUMNS,
    HEADROOM,
    OF_TWINS,
    columns,
    difference_figure,
    difference_table,
)
from layerlocal.stats import Estimate, estimate
from layerlocal.summary import Axis, Figure, Guide, Part, Point, Row, Series, Table
from layerlocal.words import mean_of, percent

__all__ = ["ARMS", "accuracy_part", "block_part", "class_part", "cost_part", "runs_of"]

Verdict = Mapping[str, Any]
ARMS = {"synthetic": "Teacher-student data", "real": "Real classes"}
"""The two class sweeps."""
PAIRED = "Paired by seed; bars are 95 % intervals, small dots the single seeds."


def accuracy_part(verdicts: Sequence[Verdict], rows: Sequence[Row], data: Mapping[str, Any], command: str) -> Part:
    """Every rule beside its twins: the three differences, how two of them add up, the accuracies, and what the data are.

    Args:
        verdicts: of every rule.
        rows: of the comparison.
        data: name → what is known of the data.
        command: what runs it, for where nothing was run.
    """
    if not rows:
        return _not_run("Accuracy beside the twins", "Accuracy", command)
    body = [line for (rule,), part in group_rows(rows, "rule").items() for line in _accuracies(rule, part)]
    named = columns(
        ("rule", "rule", "text"), ("method", "twin", "text"), ("fused", "fused", "percent"), ("last", "last block", "percent"),
        ("seeds", "seeds", "text"),
    )  # fmt: skip
    return Part(
        title="Accuracy beside the twins",
        figures=(_forest(verdicts, rows), _steps(verdicts)),
        tables=(
            *_beside_ordinary(rows),
            Table(caption="Test accuracy with 95 % intervals", columns=named, rows=tuple(body)),
            _data_table(data),
        ),
    )


def _beside_ordinary(rows: Sequence[Row]) -> Iterator[Table]:
    """The difference to ordinary backprop as the sum of its three terms, over the seeds that have it; nothing where it was not trained."""
    named = columns(
        ("rule", "rule", "text"), ("local", "accuracy", "percent"), (ORDINARY, "ordinary BP", "percent"),
        ("total", "local − ordinary BP", "points"), ("objective", "= price of the objective", "points"),
        ("extra_supervision", "+ extra supervision", "points"), ("price_of_locality", "+ price of locality", "points"),
        HEADROOM,
    )  # fmt: skip
    having = group_rows([row for row in rows if ORDINARY in row], "rule")
    keys = [column.key for column in named[1:]]
    body = tuple({"rule": rule, **estimates(part, *keys)} for (rule,), part in having.items())
    if body:
        yield Table(caption="Beside ordinary backprop, which is read as is best for it", columns=named, rows=body)


def _data_table(data: Mapping[str, Any]) -> Table:
    rows: list[Row] = [
        {"what": key, "value": value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}
        for key, value in data.items()
    ]
    named = columns(("what", "what", "text"), ("value", "value", "text"))
    return Table(caption="Data", columns=named, rows=tuple(rows), folded=True)


def _not_run(title: str, what: str, command: str) -> Part:
    return Part(title=title, notes=(f"{what}: not run. This runs it:",), command=command)


def _accuracies(rule: str, rows: Sequence[Row]) -> Iterator[Row]:
    seeds = ", ".join(str(row["seed"]) for row in rows)
    for method, name in (("local", "the rule itself"), ("bp-deepsup", "its BP-DeepSup"), ("bp", "its BP")):
        last = list(rows[0]["blocks"][method])[-1]
        yield {
            "rule": rule, "method": name, "fused": estimates(rows, method)[method],
            "last": _of_block(rows, method, last), "seeds": seeds,
        }  # fmt: skip


def _of_block(rows: Sequence[Row], method: str, block: str) -> Estimate:
    return estimate([row["blocks"][method][block] for row in rows])


def runs_of(rows: Iterable[Row], methods: Sequence[str] = METHODS) -> tuple[str, ...]:
    """The runs that rows are made of."""
    return tuple(row["runs"][method] for row in rows for method in methods)


def _forest(verdicts: Sequence[Verdict], rows: Sequence[Row]) -> Figure:
    return Figure(
        name="audit-gap",
        kind="points",
        title="How far from its backprop twins each rule ends",
        caption=f"Each local rule against its twins. {PAIRED}",
        note="small dots are the seeds",
        x=Axis(label="difference in test accuracy", unit="pp", better="more"),
        y=Axis(scale="category"),
        series=tuple(
            Series(name=name, points=tuple(Point(x=row[key], y=row["rule"]) for row in verdicts))
            for key, name in OF_TWINS.items()
        ),
        runs=runs_of(rows),
    )


def _steps(verdicts: Sequence[Verdict]) -> Figure:
    steps = {key: name for key, name in OF_TWINS.items() if key != "gap"}
    return Figure(
        name="audit-steps",
        kind="bars",
        title="The gap to BP as the sum of two steps",
        caption="The same means as two steps that add up, from BP at 0 over BP-DeepSup to the local rule (ring).",
        x=Axis(label="from BP (0) to the local rule (ring)", unit="pp", better="more"),
        y=Axis(scale="category"),
        series=tuple(
            Series(name=name, points=tuple(Point(x=row[key]["mean"], y=row["rule"]) for row in verdicts))
            for key, name in steps.items()
        ),
        stacked=True,
    )


# --- blocks -----------------------------------------------------------------------------------------------------------


def block_part(rows: Sequence[Row], command: str) -> Part:
    """What each block alone would answer, and their fusion: a panel and a table a rule."""
    title = "Every block alone, and fused"
    if not rows:
        return _not_run(title, "Accuracy by block", command)
    series = [line for (rule,), part in group_rows(rows, "rule").items() for line in _by_block(rule, part)]
    chance = sum(row["chance"] for row in rows) / len(rows)
    figure = Figure(
        name="audit-blocks",
        title="Accuracy by block",
        caption="What each block alone would answer, and their fusion, on test data: the local rule beside its two twins (same network, heads, "
        f"fusion and seeds; BP is read at its last block only). Bars are 95 % intervals. Chance: {percent(chance)}.",
        x=Axis(label="block", scale="category"),
        y=Axis(label="test accuracy", unit="%", better="more"),
        series=tuple(series),
        zoomed=True,
    )
    return Part(title=title, figures=(figure,))


def _by_block(rule: str, rows: Sequence[Row]) -> Iterator[Series]:
    """A line through the blocks and on to their fusion, for the rule and each twin."""
    for method, name in {"local": rule, "bp-deepsup": "BP-DeepSup", "bp": "BP"}.items():
        blocks = list(rows[0]["blocks"][method])
        points = [Point(x=block, y=_of_block(rows, method, block)) for block in blocks]
        fused = Point(x="fused", y=estimates(rows, method)[method])
        yield Series(name=name, panel=rule, points=(*points, fused))


# --- the class sweep --------------------------------------------------------------------------------------------------


def class_part(rule: str, arms: Mapping[str, Sequence[Row]], notes: Mapping[str, str], command: str) -> Part:
    """The gap of one rule against the number of classes, synthetic beside real, on the same axes.

    Args:
        rule: whose sweep it is.
        arms: of `ARMS` → rows.
        notes: of `ARMS` → what was trained.
        command: what runs it.
    """
    title = "The gap against the number of classes"
    rows = [row for part in arms.values() for row in part]
    if not rows:
        return _not_run(title, "The class sweep", command)
    panels = {ARMS[arm]: part for arm, part in arms.items() if part}
    figure = difference_figure(
        "audit-classes", f"{rule}: differences to its twins against the number of classes K", rows, x="classes",
        label="number of classes K", scale="log2", panels=panels,
    )  # fmt: skip
    named = [row | {"arm": ARMS[row["arm"]]} for row in rows]
    table = difference_table(
        "Fused test accuracy against the number of classes", named, [("arm", "data"), ("classes", "K")],
        (*COLUMNS, ("chance", "chance", "percent")),
    )  # fmt: skip
    chances = [{**row, "chance": mean_of(row["chance"])} for row in table.rows]
    said = [f"{name}: {notes[arm] if arms[arm] else 'not run.'}" for arm, name in ARMS.items() if notes.get(arm)]
    return Part(
        title=title,
        figures=(figure.model_copy(update={"runs": runs_of(rows)}),),
        tables=(table.model_copy(update={"rows": tuple(chances), "folded": True}),),
        notes=tuple(said),
    )


# --- cost -------------------------------------------------------------------------------------------------------------

COSTS = columns(
    ("rule", "rule", "text"), ("readout", "readout", "text"), ("samples_per_s", "samples/s", "count"),
    ("speed_ratio", "÷ BP", "ratio"), ("peak_saved_bytes", "peak saved", "bytes"), ("saved_ratio", "÷ BP", "ratio"),
    ("flops_per_step", "FLOPs a step", "count"), ("flops_ratio", "÷ BP", "ratio"), ("passes_per_step", "passes a step", "count"),
    ("passes_per_prediction", "passes a prediction", "count"),
)  # fmt: skip


def cost_part(cost: Mapping[str, Any], command: str) -> Part:
    """What a step costs beside BP's, and how memory grows with depth.

    Args:
        cost: what `layerlocal.experiments.audit.cost.measure_cost` found; empty where nothing was measured.
        command: what measures it.
    """
    title, every = "What it costs", cost.get("rules") or []
    rules = [row for row in every if not row.get("failed")]
    if not rules:
        return _not_run(title, "Speed and memory", command)
    depth = cost.get("depth") or {}
    ratios = (
        ("audit-speed", "Speed of a training step beside BP", "samples/s ÷ BP's", "speed_ratio", "more"),
        ("audit-saved", "Memory for backward beside BP", "peak saved bytes ÷ BP's", "saved_ratio", "less"),
    )
    figures = [_ratio_bars(rules, *words) for words in ratios]
    notes = [f"{row['rule']}: not measured: {row['failed']}." for row in every if row.get("failed")]
    if depth.get("series"):
        figures.append(_depth_lines(depth))
    else:
        notes.append("Saved bytes against depth: not run.")
    table = Table(
        caption=_cost_words(cost),
        columns=COSTS,
        rows=tuple({column.key: row[column.key] for column in COSTS} for row in rules),
    )
    return Part(title=title, figures=tuple(figures), tables=(table,), notes=tuple(notes))


def _ratio_bars(rules: Sequence[Row], name: str, title: str, label: str, key: str, better: Any) -> Figure:
    return Figure(
        name=name,
        kind="bars",
        title=title,
        x=Axis(label=label, unit="×", better=better),
        y=Axis(scale="category"),
        series=(Series(points=tuple(Point(x=row[key], y=row["rule"]) for row in rules)),),
        rules=tuple(row["rule"] for row in rules),
        guides=(Guide(axis="x", at=1, label="BP"),),
    )


def _cost_words(cost: Mapping[str, Any]) -> str:
    words = {
        "network": "network",
        "batch_size": "batch",
        "threads": "threads",
        "device": "device",
        "repeats": "repeats",
    }
    given = ", ".join(f"{word} {cost[key]}" for key, word in words.items() if cost.get(key) is not None)
    return f"Cost of one training step ({given}). Speed: {cost['interval_note']}."


def _depth_lines(depth: Mapping[str, Any]) -> Figure:
    return Figure(
        name="audit-depth",
        title="Peak saved bytes of a step by depth",
        caption=f"Peak saved bytes of one training step against depth, {depth['network']}.",
        x=Axis(label="depth, blocks"),
        y=Axis(label="peak saved", unit="bytes", better="less"),
        series=tuple(
            Series(
                name=line["rule"],
                points=tuple(
                    Point(x=at, y=size) for at, size in zip(depth["depths"], line["peak_saved_bytes"], strict=True)
                ),
            )
            for line in depth["series"]
        ),
        rules=tuple(line["rule"] for line in depth["series"]),
    )
