"""The methods of one network as a part of a summary: memory against speed with what theory allows, and the tables under it. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from layerlocal.experiments.cost.findings import MEMORY_WORDS, RATIOS
from layerlocal.summary import Axis, Column, Figure, Guide, Part, Point, Series, Table
from layerlocal.words import is_number, plain, ratio

__all__ = ["methods_part", "short"]

Finding = Mapping[str, Any]
MARKS = {"plain": "", "checkpointing": "c", "step-per-block": "b"}
"""A mode's letter beside its point; micro-batches have an m."""
MARK_WORDS = "Beside a mark: m micro-batches, c checkpointing, b a step per block."
LOCKS = {
    "forward": "forward waits for the blocks before",
    "update": "update waits for the forward of later blocks",
    "backward": "update waits for the backward of later blocks",
    "weight_transport": "errors travel through the forward's weights",
    "labels_everywhere": "labels at more than one block",
}


def methods_part(group: Finding, name: str, command: str) -> Part:
    """Two figures, of process (or CUDA) memory and of saved bytes, and two tables.

    Args:
        group: of ``groups`` in a finding.
        name: its figures' names begin so.
        command: what makes it again.
    """
    return Part(
        title=f"Methods: {group['place']}",
        figures=tuple(_pareto(group, name)),
        tables=(_method_table(group), _lock_table(group)),
        command=command,
    )


def _pareto(group: Finding, name: str) -> Iterator[Figure]:
    words, key = MEMORY_WORDS[group["memory_key"]], RATIOS[group["memory_key"]]
    limits = group.get("limits") or {}
    for kind, ratio_key, least in (
        (words, key, limits.get("memory_ratio")),
        ("peak saved bytes", "saved_ratio", limits.get("saved_ratio")),
    ):
        rows = [row for row in group["rows"] if is_number(row.get(ratio_key)) and row.get("speed_ratio")]
        if not rows:
            continue
        rules = tuple(dict.fromkeys(short(row) for row in rows))
        ours = [
            Series(name=rule, points=tuple(_point(row, ratio_key) for row in rows if short(row) == rule))
            for rule in rules
        ]
        theirs = _paper_points(group) if ratio_key == key else []
        yield Figure(
            name=f"{name}-{ratio_key.removesuffix('_ratio')}",
            kind="points",
            title=f"Speed against {kind}",
            caption=_caption(group, words, bool(theirs)),
            note="filled marks are the best",
            x=Axis(label=f"{kind} ÷ plain BP's", unit="×", better="less"),
            y=Axis(label="samples/s ÷ plain BP's", unit="×", better="more"),
            series=(*ours, *theirs),
            rules=rules,
            reference=Point(x=1.0, y=1.0, label="plain BP"),
            guides=tuple(_guides(limits, least, kind)),
        )


def short(row: Finding) -> str:
    """A row's rule; of a file's rule without its folders."""
    return str(row["rule"]).rpartition("/")[2]


def _point(row: Finding, key: str) -> Point:
    """A method; one that another beats in both is hollow."""
    return Point(
        x=row[key],
        y=row["speed_ratio"],
        label=row["label"],
        mark=MARKS.get(row["mode"], "m"),
        hollow=key not in row["front"],
    )


def _guides(limits: Finding, least: Any, kind: str) -> Iterator[Guide]:
    if is_number(least):
        yield Guide(axis="x", at=least, label=f"least {kind} of a local rule")
    if is_number(limits.get("speed_limit")):
        yield Guide(axis="y", at=limits["speed_limit"], label="most speed of a one-pass local rule")


def _paper_points(group: Finding) -> Sequence[Series]:
    paper = group.get("paper") or {}
    points = tuple(
        Point(x=p["memory_ratio"], y=p["speed_ratio"], label=p["label"], hollow=True) for p in paper.get("points") or ()
    )
    return [Series(name="the paper's points", points=points)] if points else []


def _caption(group: Finding, words: str, with_paper: bool) -> str:
    repeats = group["repeats"]
    text = (
        f"{group['setting']}; threads {plain(group.get('threads'))}. Relative to plain BP, same network and batch (1, 1). Filled marks: no "
        f"other method here has less memory and more speed. Bars: quartiles of n = {plain(group['n'])} rounds in which the methods take turns; "
        f"{words}: {plain(repeats)} fresh process{'' if repeats == 1 else 'es'} each. {MARK_WORDS} Lines: a block-local rule's most speed by "
        "FLOPs, if convolutions took all the time, and its least memory: its largest block's input and outputs, and nothing else that could be "
        "avoided."
    )
    paper = group.get("paper") or {}
    if with_paper:
        text += (
            f" The paper's points: arXiv:2606.06539, its BP with gradient accumulation laid on {paper['anchor']} (the paper gives no plain BP), "
            f"its DTG-FF at {ratio(paper['memory_factor'])} the memory and {ratio(paper['speed_factor'])} the speed of that."
        )
    return text


def _method_table(group: Finding) -> Table:
    memory = group["memory_key"]
    words, key = MEMORY_WORDS[memory], RATIOS[memory]
    columns = [
        Column(key="label", label="method"),
        Column(key="samples_per_s", label="samples/s", kind="count"),
        Column(key="speed_ratio", label="speed ÷ BP", kind="ratio"),
        Column(key="peak_saved_bytes", label="peak saved", kind="bytes"),
        Column(key="saved_ratio", label="saved ÷ BP", kind="ratio"),
        Column(key=memory, label=words, kind="bytes"),
        Column(key=key, label="memory ÷ BP", kind="ratio"),
        Column(key="flops_per_step", label="FLOPs a step", kind="count"),
        Column(key="flops_ratio", label="FLOPs ÷ BP", kind="ratio"),
        Column(key="passes_per_step", label="passes a step", kind="number"),
        Column(key="passes_per_prediction", label="passes a prediction", kind="number"),
    ]
    if any(is_number(row.get("reserved_bytes")) for row in group["rows"]):
        columns.append(Column(key="reserved_bytes", label="CUDA reserved", kind="bytes"))
    if any(is_number(row.get("joules_per_sample")) for row in group["rows"]):
        columns.append(Column(key="joules_per_sample", label="J a sample", kind="number"))
    rows = tuple(
        {"label": row["label"], "samples_per_s": row["failed"]}
        if row.get("failed")
        else {column.key: row.get(column.key) for column in columns}
        for row in group["rows"]
    )
    return Table(caption=f"Cost of one training step: {group['place']}", columns=tuple(columns), rows=rows)


def _lock_table(group: Finding) -> Table:
    """One row a rule: locks are the rule's, not the mode's."""
    rules = {short(row): row.get("locks") or {} for row in group["rows"]}
    return Table(
        caption="What is locked (as in arXiv:1608.05343)",
        columns=(Column(key="rule", label="rule"), *(Column(key=key, label=text) for key, text in LOCKS.items())),
        rows=tuple({"rule": name, **{key: locks.get(key) for key in LOCKS}} for name, locks in rules.items()),
    )
