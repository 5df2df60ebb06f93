"""The sections of the page as plain data for the template: tables, figures with their command, and what was not run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from layerlocal.report import figures, matrix
from layerlocal.report.svg import Drawing
from layerlocal.words import (
    MISSING,
    accuracy,
    byte_count,
    clean,
    clipped,
    count,
    difference,
    is_number,
    known,
    percent,
    ratio,
    ratio_estimate,
)

__all__ = [
    "accuracy_section",
    "block_section",
    "class_section",
    "cost_section",
    "figure_view",
    "locality_section",
    "table",
]

View = dict[str, Any]


def table(caption: str, head: list[str], rows: Iterable[list[str]], *, words: int = 1) -> View:
    """A table whose first ``words`` columns are text and the rest numbers."""
    return {
        "caption": caption,
        "head": head,
        "rows": list(rows),
        "numeric": [index >= words for index in range(len(head))],
    }


def figure_view(
    svgs: Sequence[Drawing], caption: str, command: Any, *, numbers: list[View] | None = None, runs: Any = ()
) -> View:
    """``svgs`` are markup, escaped when they were drawn; everything else is escaped by the template."""
    return {
        "svgs": list(svgs),
        "caption": caption,
        "command": command,
        "numbers": numbers or [],
        "runs": list(dict.fromkeys(clean(r) for r in runs)),
        "folded": False,
        "wide": False,
        "printed": True,
    }


def accuracy_section(part: View) -> View:
    """(a) Accuracy of every rule and its twins, the paired differences and their two parts."""
    rules = part.get("rules") or []
    told = [r for r in rules if any(known(r.get(k)) for k, *_ in figures.PARTS)]
    seeds = "Paired by seed; bars are 95 % intervals, small dots the single seeds."
    head = ["rule", "twin", "fused", "last block", "seeds"]
    differences = table(
        "Differences in fused test accuracy, paired by seed: gap = extra supervision + price of locality",
        ["rule", "gap: local − BP", "extra supervision: DeepSup − BP", "price of locality: local − DeepSup"],
        [[str(r.get("rule", "?")), *(difference(r.get(k)) for k, *_ in figures.PARTS)] for r in rules],
        words=4,
    )
    plots = [
        figure_view(
            [figures.forest(told), figures.decomposition(told)],
            f"First: each local rule against its twins. {seeds} Second: the same means as two steps that add up, from "
            "BP at 0 over BP-DeepSup (thin line) to the local rule (ring).",
            part.get("command"),
            runs=(x for r in rules for x in r.get("runs") or []),
        )
    ]
    return {
        "tables": [table("Test accuracy with 95 % intervals", head, _accuracy_rows(rules), words=5), differences],
        "figures": plots if told else [],
        "readout_note": part.get("readout_note"),
        "notes": [f"{r.get('rule')}: {r['note']}" for r in rules if r.get("note")],
    }


def _accuracy_rows(rules: list[View]) -> Iterator[list[str]]:
    for rule in rules:
        seeds = ", ".join(map(str, rule.get("seeds") or [])) or MISSING
        yield [
            str(rule.get("rule", "?")),
            "the rule itself",
            accuracy(rule.get("fused")),
            accuracy(rule.get("last")),
            seeds,
        ]
        for key, name in (("bp-deepsup", "its BP-DeepSup"), ("bp", "its BP")):
            twin = (rule.get("twins") or {}).get(key) or {}
            yield ["", name, accuracy(twin.get("fused")), accuracy(twin.get("last")), seeds if twin else MISSING]


def _sides(rule: View) -> list[tuple[str, View]]:
    twins = rule.get("twins") or {}
    return [
        (str(rule.get("rule", "?")), rule),
        ("BP-DeepSup", twins.get("bp-deepsup") or {}),
        ("BP", twins.get("bp") or {}),
    ]


def block_section(part: View, chance: Any) -> View:
    """(b) One panel a rule, all on one accuracy axis."""
    rules = [r for r in part.get("rules") or [] if any(d.get("block_accuracies") for _, d in _sides(r))]
    everything = [e for r in rules for _, d in _sides(r) for e in [*(d.get("block_accuracies") or []), d.get("fused")]]
    ends = [
        100 * e[k] for e in map(clipped, everything) if known(e) for k in ("mean", "low", "high") if is_number(e.get(k))
    ] or [
        0,
        100,
    ]
    low, span = min(ends), (max(ends) - min(ends)) or 10.0
    near = is_number(chance) and low - 100 * chance < 0.4 * span
    low = min(low, 100 * chance) if near else low
    limits = (max(0.0, low - 0.06 * span), min(103.0, max(ends) + 0.06 * span))
    panels = [figures.block_curves(r, chance if near else None, limits, f"blocks{i}") for i, r in enumerate(rules)]
    numbers = [_block_table(r) for r in rules]
    where = "The dotted line is chance" if near else "Chance lies below the axis"
    dotted = f" {where}: {percent(chance)}." if is_number(chance) else ""
    caption = (
        "What each block alone would answer, and their fusion, on test data: the local rule beside its two twins (same "
        f"network, heads, fusion and seeds). Bars are 95 % intervals. All panels share the axis.{dotted}"
    )
    return {"figures": [figure_view(panels, caption, part.get("command"), numbers=numbers)] if panels else []}


def _block_table(rule: View) -> View:
    sides = _sides(rule)
    size = max(len(d.get("block_accuracies") or []) for _, d in sides)
    names = next(
        (d["blocks"] for _, d in sides if len(d.get("blocks") or []) == size), [f"block{i}" for i in range(size)]
    )
    cell = [dict(zip(d.get("blocks") or names, d.get("block_accuracies") or [], strict=False)) for _, d in sides]
    rows = [[str(name), *(accuracy(c[name]) if name in c else MISSING for c in cell)] for name in names]
    rows.append(["fused", *(accuracy(d.get("fused")) for _, d in sides)])
    return table(f"{rule.get('rule')}: test accuracy by block", ["block", *(n for n, _ in sides)], rows)


def class_section(part: View) -> View:
    """(c) The class sweep, synthetic beside real, one scale for both."""
    kinds = [("synthetic", "Teacher-student data"), ("real", "Real classes")]
    series = {k: [r for r in part.get(k) or [] if is_number(r.get("num_classes"))] for k, _ in kinds}
    rows = [r for k in series for r in series[k]]
    if not rows:
        return {"figures": []}
    limits = {"x": _padded([math.log2(r["num_classes"]) for r in rows], 0.06), "y": _padded([0.0, *_ends(rows)], 0.08)}
    notes = part.get("notes") or {}
    panels = [figures.sweep(series[k], title, limits, f"sweep-{k}") for k, title in kinds if series[k]]
    caption = (
        f"{part.get('rule', 'The local rule')}: gap to BP against the number of classes K, and the part of it that BP "
        "with the same heads and fusion has too (DeepSup − BP). The lines' distance is the price of locality. "
        "Bands and bars: 95 % intervals, paired by seed. Both panels share both axes."
    )
    plot = figure_view(
        panels,
        caption,
        part.get("command"),
        numbers=[_class_table(title, series[k]) for k, title in kinds if series[k]],
        runs=(x for r in rows for x in r.get("runs") or []),
    )
    missing = [f"{title}: not run." for k, title in kinds if not series[k]]
    return {"figures": [plot], "notes": [*(f"{title}: {notes[k]}" for k, title in kinds if notes.get(k)), *missing]}


def _ends(rows: list[View]) -> Iterator[float]:
    for row in rows:
        for key in ("gap", "extra_supervision"):
            if known(row.get(key)):
                estimate = clipped(row[key], -1.0)
                yield from (100 * estimate[k] for k in ("mean", "low", "high") if is_number(estimate.get(k)))


def _padded(values: list[float], share: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = share * ((high - low) or 1.0 / share)
    return low - pad, high + pad


def _class_table(title: str, rows: list[View]) -> View:
    head = ["K", "chance", "BP", "BP-DeepSup", "local", "gap: local − BP", "extra supervision", "price of locality"]
    body = [
        [
            str(r["num_classes"]),
            percent(r.get("chance")),
            *(accuracy(r.get(k)) for k in ("bp", "bp-deepsup", "local")),
            *(difference(r.get(k)) for k, *_ in figures.PARTS),
        ]
        for r in sorted(rows, key=lambda r: r["num_classes"])
    ]
    return table(f"{title}: fused test accuracy against the number of classes", head, body)


def cost_section(part: View) -> View:
    """(d) What a step costs beside BP's, and how memory grows with depth."""
    failed = [r for r in part.get("rules") or [] if r.get("failed")]
    rules, plots = [r for r in part.get("rules") or [] if not r.get("failed")], []
    if rules:
        repeated = len({r.get("rule") for r in rules}) < len(rules)
        names = [
            f"{r.get('rule', '?')}, {r.get('readout', '?')}" if repeated else str(r.get("rule", "?")) for r in rules
        ]
        speed = figures.ratio_bars(
            [(n, r.get("speed_ratio")) for n, r in zip(names, rules, strict=True)],
            "Speed of a training step beside BP",
            "samples/s ÷ BP's",
            "speed",
            better="right is better; the dashed line is BP",
        )
        saved = figures.ratio_bars(
            [(n, r.get("saved_ratio")) for n, r in zip(names, rules, strict=True)],
            "Memory for backward beside BP",
            "peak saved bytes ÷ BP's",
            "saved",
            better="left is better; the dashed line is BP",
        )
        plots.append(figure_view([speed, saved], _cost_words(part), part.get("command"), numbers=[_cost_table(rules)]))
    depth = part.get("depth") or {}
    if depth.get("series") and depth.get("depths"):
        plots.append(_depth_figure(depth))
    missing = [] if rules or failed else ["Speed and memory of a step: not run."]
    missing += [f"{r.get('rule', '?')}: not measured: {clean(r['failed'])}." for r in failed]
    return {
        "figures": plots,
        "notes": missing if depth.get("series") else [*missing, "Saved bytes against depth: not run."],
    }


def _depth_figure(depth: View) -> View:
    words = (
        f"Peak saved bytes of one training step against depth, {depth.get('network', 'network not given')}. Hollow "
        "marks of shrinking size lie inside each other where rules save the same."
    )
    rows = [[str(s.get("rule")), *(byte_count(b) for b in s.get("peak_saved_bytes") or [])] for s in depth["series"]]
    numbers = table("Peak saved bytes by depth in blocks", ["rule", *(str(d) for d in depth["depths"])], rows)
    drawing = figures.depth_lines(depth["depths"], depth["series"])
    return figure_view([drawing], words, depth.get("command"), numbers=[numbers])


def _cost_words(part: View) -> str:
    given = [
        f"{text} {part[key]}"
        for key, text in (
            ("network", "network"),
            ("batch_size", "batch"),
            ("threads", "threads"),
            ("device", "device"),
            ("repeats", "repeats"),
        )
        if part.get(key) is not None
    ]
    return (
        f"One training step relative to BP's, the dashed line ({', '.join(given)}). "
        f"Speed: {part.get('interval_note') or 'a median; the thin bar and the brackets are its low and high'}."
    )


def _cost_table(rules: list[View]) -> View:
    head = [
        "rule",
        "readout",
        "samples/s",
        "÷ BP",
        "peak saved",
        "÷ BP",
        "FLOPs a step",
        "÷ BP",
        "passes a step",
        "passes a prediction",
    ]
    rows = [
        [
            str(r.get("rule", "?")),
            str(r.get("readout", "?")),
            count(r.get("samples_per_s")),
            ratio_estimate(r.get("speed_ratio")),
            byte_count(r.get("peak_saved_bytes")),
            ratio(r.get("saved_ratio")),
            count(r.get("flops_per_step"), "FLOP"),
            ratio(r.get("flops_ratio")),
            count(r.get("passes_per_step")),
            count(r.get("passes_per_prediction")),
        ]
        for r in rules
    ]
    return table("Cost of one training step", head, rows, words=2)


def locality_section(entries: list[View]) -> list[View]:
    """(e) One card a certificate; equal certificates of several runs share a card that says how many."""
    cards: dict[str, View] = {}
    for entry in entries:
        key = json.dumps([entry.get(k) for k in _CERTIFICATE], default=str)
        cards.setdefault(key, {"entry": entry, "runs": []})["runs"].append(clean(entry.get("run", "?")))
    return [
        {
            "rule": str(card["entry"].get("rule", "?")),
            "verdict": matrix.verdict_of(card["entry"]),
            "certified": bool(card["entry"].get("certified")),
            "words": matrix.locality_words(card["entry"]),
            "svg": matrix.picture(card["entry"], f"locality{i}") if card["entry"].get("blocks") else None,
            "runs": card["runs"],
        }
        for i, card in enumerate(cards.values())
    ]


_CERTIFICATE = ("rule", "declared", "measured", "certified", "losses", "blocks", "reach", "intervention")
