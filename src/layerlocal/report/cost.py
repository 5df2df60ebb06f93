"""A cost audit's summary as plain data for the template: sentences, the Pareto figure, scaling, ceilings, budgets, what is locked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from layerlocal.report import plots
from layerlocal.report.distribution import distribution_table, distribution_view
from layerlocal.report.pareto import draw_pareto
from layerlocal.report.sections import figure_view, table
from layerlocal.words import (
    MISSING,
    NOTHING,
    byte_count,
    clean,
    count,
    is_number,
    percent,
    plain,
    ratio,
    ratio_estimate,
)

__all__ = ["cost_facts", "cost_sentences", "cost_tables", "cost_view"]

View = dict[str, Any]
_MEMORY = {
    "resident_bytes": ("process memory", "resident_ratio"),
    "allocated_bytes": ("CUDA memory", "allocated_ratio"),
}
_LOCKS = {
    "forward": "forward waits for the blocks before",
    "update": "update waits for the forward of later blocks",
    "backward": "update waits for the backward of later blocks",
    "weight_transport": "errors travel through the forward's weights",
    "labels_everywhere": "labels at more than one block",
}
_SECONDS = ("seconds_per_step", "seconds a step", 1.0)
_SCALES = (("peak_saved_bytes", "peak saved, MiB", 2.0**-20), _SECONDS)
_PREDICTION = (("flops_per_prediction", "GFLOP a prediction", 1e-9), _SECONDS)


def cost_view(summary: View, anchor: str) -> View:
    """Everything the template shows of one cost audit.

    Args:
        summary: see `layerlocal.experiments.cost.summary`; any part may be missing.
        anchor: the id of its section; ids in its figures begin with it.
    """
    groups = [g for g in summary.get("groups") or [] if isinstance(g, dict)]
    command = clean(summary.get("command") or "layerlocal cost")
    return {
        "anchor": anchor,
        "size": clean(summary.get("size") or ""),
        "facts": list(cost_facts(summary)),
        "sentences": cost_sentences(summary),
        "groups": [_group(group, command, f"{anchor}-g{i}") for i, group in enumerate(groups)],
        "scaling": [
            figure
            for i, axis in enumerate(summary.get("scaling") or [])
            for figure in _scaling(axis, command, f"{anchor}-s{i}")
        ],
        "budget": [_budget(part, command, f"{anchor}-b{i}") for i, part in enumerate(summary.get("budget") or [])],
        "roofline": [_roofline(part) for part in summary.get("roofline") or []],
        "distribution": [
            distribution_view(part, command, f"{anchor}-d{i}")
            for i, part in enumerate(summary.get("distribution") or [])
        ],
        "notes": [clean(text) for text in (summary.get("idle"), summary.get("energy_note")) if text],
        "left_out": [clean(text) for text in summary.get("notes") or []],
        "command": command,
    }


def cost_facts(summary: View) -> Iterator[tuple[str, str]]:
    """Size, hardware and threads."""
    environment = summary.get("environment") or {}
    for word, value in (
        ("size", summary.get("size")),
        ("hardware", environment.get("gpu") or environment.get("processor")),
        ("threads", environment.get("threads")),
        ("torch", environment.get("torch")),
        ("made", summary.get("created")),
    ):
        if value:
            yield word, clean(value)


def cost_sentences(summary: View) -> list[str]:
    """What the numbers say, as `layerlocal.experiments.cost.findings` wrote it."""
    return [clean(text) for text in summary.get("sentences") or []]


def cost_tables(summary: View) -> Iterator[View]:
    """Every table, for formats without figures."""
    for group in summary.get("groups") or []:
        yield _method_table(group)
        yield _lock_table(group)
    for part in summary.get("budget") or []:
        yield _budget_table(part)
    for part in summary.get("roofline") or []:
        yield _roofline(part)
    for part in summary.get("distribution") or []:
        yield distribution_table(part)


# --- methods ----------------------------------------------------------------------------------------------------------


def _group(group: View, command: str, name: str) -> View:
    """Two panels, process memory and saved bytes, and the tables under them."""
    words, key = _MEMORY.get(str(group.get("memory_key")), _MEMORY["resident_bytes"])
    limits = group.get("limits") or {}
    panels = []
    for index, (title, ratio_key, limit) in enumerate(
        ((f"Speed against {words}", key, limits.get("memory_ratio")), ("Speed against saved bytes", "saved_ratio", limits.get("saved_ratio")))
    ):  # fmt: skip
        points = _points(group, ratio_key)
        if not points:
            continue
        kind = words if not index else "peak saved bytes"
        paper = _paper(group, words) if not index else []
        panels.append(
            draw_pareto(
                points, title=title, x_label=f"{kind} ÷ plain BP's", y_label="samples/s ÷ plain BP's",
                name=f"{name}-{index}", limits=_limits(limits, limit, kind), paper=paper, reference=True,
            )
        )  # fmt: skip
    return {
        "title": clean(group.get("setting") or ""),
        "figures": [figure_view(panels, _caption(group, words), command, numbers=[_method_table(group)])]
        if panels
        else [],
        "tables": [_lock_table(group)] + ([] if panels else [_method_table(group)]),
    }


def _short(row: View) -> str:
    """A rule's name; of a plug-in's file without its folders."""
    return clean(row.get("rule", "?")).rpartition("/")[2]


def _points(group: View, key: str) -> list[View]:
    """Every method that has both numbers; those that no other beats are marked."""
    found = []
    for row in group.get("rows") or []:
        speed = row.get("speed_ratio") or {}
        if is_number(row.get(key)) and is_number(speed.get("median")):
            text = f"{clean(row.get('label'))}: {ratio(row[key])} the memory, {ratio_estimate(speed)} the samples/s"
            found.append(
                {"label": clean(row.get("label")), "rule": _short(row), "mode": str(row.get("mode")),
                 "x": row[key], "y": speed["median"], "low": speed.get("low"), "high": speed.get("high"),
                 "front": key in (row.get("front") or []), "text": text}
            )  # fmt: skip
    return found


def _limits(limits: View, memory: Any, kind: str) -> View:
    speed = limits.get("speed_limit")
    return {
        "x": memory,
        "x_text": f"least {kind} of a block-local rule: {ratio(memory)}" if is_number(memory) else "",
        "y": speed,
        "y_text": f"most speed of a block-local rule of one pass, by FLOPs: {ratio(speed)}" if is_number(speed) else "",
    }


def _paper(group: View, words: str) -> list[View]:
    paper = group.get("paper") or {}
    return [
        {"label": clean(p.get("label")), "x": p.get("memory_ratio"), "y": p.get("speed_ratio"),
         "text": f"{clean(p.get('label'))}: {ratio(p.get('memory_ratio'))} the {words}, {ratio(p.get('speed_ratio'))} the samples/s"}
        for p in paper.get("points") or []
    ]  # fmt: skip


def _caption(group: View, words: str) -> str:
    paper = group.get("paper") or {}
    text = (
        f"{clean(group.get('setting'))}; threads {plain(group.get('threads'))}. Relative to plain BP of the same network and batch "
        f"(1, 1); up and to the left is better. Filled marks: no other method here has less memory and more speed. Bars: quartiles of "
        f"n = {plain(group.get('n'))} rounds in which the methods take turns; {words}: {plain(group.get('repeats'))} fresh "
        f"process{'' if group.get('repeats') == 1 else 'es'} each. Dashed: a local rule's speed if convolutions took all the time; dotted: its "
        "largest block's input and outputs, and nothing else that could be avoided."
    )
    if paper:
        text += (
            f" Stars: arXiv:2606.06539, its BP with gradient accumulation laid on {clean(paper.get('anchor'))} (the paper gives no plain BP), "
            f"its DTG-FF at {ratio(paper.get('memory_factor'))} the memory and {ratio(paper.get('speed_factor'))} the speed of that."
        )
    return text


def _method_table(group: View) -> View:
    words, key = _MEMORY.get(str(group.get("memory_key")), _MEMORY["resident_bytes"])
    memory = str(group.get("memory_key") or "resident_bytes")
    columns = [
        ("samples/s", lambda r: count(r.get("samples_per_s"))),
        ("÷ BP", lambda r: ratio_estimate(r.get("speed_ratio"))),
        ("peak saved", lambda r: byte_count(r.get("peak_saved_bytes"))),
        ("÷ BP", lambda r: ratio(r.get("saved_ratio"))),
        (words, lambda r: byte_count(r.get(memory))),
        ("÷ BP", lambda r: ratio(r.get(key))),
        ("FLOPs a step", lambda r: count(r.get("flops_per_step"), "FLOP")),
        ("÷ BP", lambda r: ratio(r.get("flops_ratio"))),
        ("passes a step", lambda r: plain(r.get("passes_per_step"))),
        ("passes a prediction", lambda r: plain(r.get("passes_per_prediction"))),
    ]
    rows = group.get("rows") or []
    if any(is_number(r.get("reserved_bytes")) for r in rows):
        columns.append(("CUDA reserved", lambda r: byte_count(r.get("reserved_bytes"))))
    if any(is_number(r.get("joules_per_sample")) for r in rows):
        columns.append(
            ("mJ a sample", lambda r: plain(1000 * r["joules_per_sample"]) if r.get("joules_per_sample") else NOTHING)
        )
    body = [
        [clean(r.get("label", "?")), *([clean(r["failed"])] + [NOTHING] * (len(columns) - 1) if r.get("failed") else [c(r) for _, c in columns])]
        for r in rows
    ]  # fmt: skip
    return table(f"Cost of one training step: {clean(group.get('place'))}", ["method", *(h for h, _ in columns)], body)


def _lock_table(group: View) -> View:
    """One row a rule: locks are the rule's, not the mode's."""
    rules = {_short(r): r.get("locks") or {} for r in group.get("rows") or []}
    body = [
        [name, *(("yes" if locks[key] else "no") if key in locks else MISSING for key in _LOCKS)]
        for name, locks in rules.items()
    ]
    return table("What is locked (as in arXiv:1608.05343)", ["rule", *_LOCKS.values()], body, words=len(_LOCKS) + 1)


# --- scaling ----------------------------------------------------------------------------------------------------------


def _scaling(axis: View, command: str, name: str) -> Iterator[View]:
    rows = [r for r in axis.get("rows") or [] if is_number(r.get("seconds_per_step"))]
    label = clean(axis.get("label") or axis.get("axis") or "")
    for index, (key, words, factor) in enumerate(_PREDICTION if axis.get("axis") == "num_classes" else _SCALES):
        series = [
            {"name": rule, "panel": f"{words} against {label}",
             "points": [{"x": r["x"], "y": factor * r[key], "label": _point_words(r)} for r in rows if r["rule"] == rule]}
            for rule in dict.fromkeys(r["rule"] for r in rows)
        ]  # fmt: skip
        caption = f"{words[0].upper()}{words[1:]} against {label}: {clean(axis.get('setting'))}, n = {plain(axis.get('n'))} rounds."
        figure = {
            "kind": "lines", "caption": caption, "series": series,
            "x": {"label": label, "scale": "log2"}, "y": {"label": words, "scale": "log2"},
        }  # fmt: skip
        numbers = plots.numbers(figure)
        svgs = plots.draw_figure(figure | {"rules": list(dict.fromkeys(r["rule"] for r in rows))}, f"{name}-{index}")
        view = figure_view([], caption, command, numbers=[table(**numbers)] if numbers["rows"] else [])
        yield view | {"svgs": svgs, "folded": True}


def _point_words(row: View) -> str:
    parts = [byte_count(row.get("peak_saved_bytes")), f"{plain(row.get('passes_per_prediction'))} passes a prediction"]
    return ", ".join(parts)


# --- ceilings, budgets ----------------------------------------------------------------------------------


def _roofline(part: View) -> View:
    rows = part.get("rows") or []
    kinds = list(dict.fromkeys(kind for r in rows for kind in r.get("operations") or {}))
    kinds = [kind for kind in kinds if any((r.get("operations") or {}).get(kind, 0) >= 0.0005 for r in rows)]
    body = [
        [clean(r.get("rule", "?")), f"{count(r.get('flops_per_s'), 'FLOP/s')}", percent(r.get("share")),
         *(percent((r.get("operations") or {}).get(kind)) for kind in kinds)]
        for r in rows
    ]  # fmt: skip
    caption = (
        f"Share of this machine's ceiling, and where the time of a step goes: {clean(part.get('place'))}, threads {plain(part.get('threads'))}, "
        f"n = {plain(part.get('n'))} rounds. Ceilings: a matrix product {count(part.get('matrix_flops_per_s'), 'FLOP/s')}, a copy "
        f"{count(part.get('copy_bytes_per_s'), 'B/s')} (read and written)"
    )
    return table(caption, ["rule", "reached", "of the matrix ceiling", *kinds], body)


def _budget(part: View, command: str, name: str) -> View:
    """The table, and where the paper's protocol was run its figure in absolute units."""
    paper = part.get("paper") or {}
    figures = []
    if paper:
        gigabytes = (part.get("bytes") or 0) / 1e9
        points = [
            {"label": clean(r.get("label")), "rule": _short(r), "mode": str(r.get("mode")), "x": gigabytes,
             "y": r.get("samples_per_s"), "text": f"{clean(r.get('label'))}: {count(r.get('samples_per_s'))} samples/s"}
            for r in part.get("rows") or []
        ]  # fmt: skip
        stars = [
            {"label": p["label"], "x": p["bytes"] / 1e9, "y": p["samples_per_s"],
             "text": f"{p['label']}: {p['bytes'] / 1e9:.2f} GB, {p['samples_per_s']:g} images/s"}
            for p in paper.get("points") or []
        ]  # fmt: skip
        svg = draw_pareto(
            points, title=f"Within {clean(part.get('memory'))}", x_label="memory, GB", y_label="samples/s", name=name, paper=stars
        )  # fmt: skip
        caption = (
            f"Every method at the largest batch that trains within {clean(part.get('memory'))}: {clean(part.get('setting'))}. Stars: what "
            f"{clean(paper.get('source'))} reports on {clean(paper.get('setting'))}, other hardware."
        )
        figures.append(figure_view([svg], caption, command))
    return {"figures": figures, "table": _budget_table(part)}


def _budget_table(part: View) -> View:
    def size(value: Any, stopped: Any) -> str:
        return "nothing fits" if value is None else f"{'≥ ' if stopped else ''}{plain(value)}"

    caption = (
        f"Within {clean(part.get('memory'))}, each try a fresh process that is refused any byte more: {clean(part.get('place'))}, threads "
        f"{plain(part.get('threads'))}, n = {plain(part.get('n'))} rounds; sizes are known to {percent(part.get('tolerance'))}"
    )
    head = [
        "method", f"largest batch at {plain(part.get('image_size'))} px", "samples/s there", f"÷ {clean(part.get('baseline') or 'bp')}",
        f"largest images at batch {plain(part.get('batch_size'))}, px",
    ]  # fmt: skip
    body = [
        [clean(r.get("label", "?")), size(r.get("largest_batch"), r.get("batch_stopped")), count(r.get("samples_per_s")),
         ratio_estimate(r.get("speed_ratio")), size(r.get("largest_image"), r.get("image_stopped"))]
        for r in part.get("rows") or []
    ]  # fmt: skip
    return table(caption, head, body)
