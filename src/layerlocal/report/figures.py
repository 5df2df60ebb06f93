"""The plots of the page, one function each: numbers in, SVG text out. Differences are drawn in pp, accuracies in %."""

from __future__ import annotations

import math
from typing import Any

from layerlocal.report.palette import EXTRA, INK, LOCAL, PAPER, PRICE, base_of, look_of, looks_of
from layerlocal.report.svg import Drawing, Sheet, draw
from layerlocal.words import (
    accuracy,
    byte_count,
    clipped,
    difference,
    has_interval,
    is_number,
    known,
    points,
    ratio,
    ratio_estimate,
    shorten,
)

__all__ = ["PARTS", "block_curves", "decomposition", "depth_lines", "forest", "ratio_bars", "short_names", "sweep"]

PARTS = (
    ("gap", "gap to BP", LOCAL, "o"),
    ("extra_supervision", "extra supervision", EXTRA, "s"),
    ("price_of_locality", "price of locality", PRICE, "D"),
)
_OFFSET: dict[str, Any] = {"textcoords": "offset points", "bbox": {"fc": PAPER, "ec": "none", "pad": 0.6}}


def _handle(label: str, colour: str, marker: str, dashes: Any = "-") -> Any:
    from matplotlib.lines import Line2D

    dashes = _style(dashes)
    return Line2D([], [], color=colour, marker=marker, ms=5.5, ls=dashes, lw=1.8, mfc=colour, mec=colour, label=label)


def _style(dashes: Any) -> Any:
    return (
        (0, dashes) if dashes and not isinstance(dashes, str) and not isinstance(dashes[-1], tuple) else dashes or "-"
    )


def _signed(value: float) -> str:
    return points(value / 100).removesuffix(" pp")


def _rows(sheet: Sheet, names: list[str], positions: list[float]) -> None:
    """Horizontal rows, first on top, named at the left."""
    sheet.plain(sheet.axes, grid="x")
    sheet.axes.set_yticks(positions, [shorten(n) for n in names])
    sheet.axes.tick_params(axis="y", length=0)
    sheet.axes.spines["left"].set_visible(False)


def _say(rules: list[dict[str, Any]]) -> str:
    parts = [
        f"{r.get('rule')}: " + ", ".join(f"{text} {difference(r.get(key))}" for key, text, *_ in PARTS) for r in rules
    ]
    return "; ".join(parts)


def forest(rules: list[dict[str, Any]], name: str = "forest") -> Drawing:
    """Each rule's paired differences with their 95 % intervals; the small dots are the seeds."""
    step = 4.0

    def paint(sheet: Sheet) -> None:
        ax = sheet.axes
        _rows(sheet, [r.get("rule", "?") for r in rules], [i * step + 1 for i in range(len(rules))])
        for i, rule in enumerate(rules):
            for j, (key, text, colour, marker) in enumerate(PARTS):
                if known(rule.get(key)):
                    _whisker(sheet, rule[key], i * step + j, colour, marker, f"{rule.get('rule')}, {text}")
            if i:
                ax.axhline(i * step - 1, color=INK, alpha=0.14, lw=0.7)
        ax.axvline(0, color=INK, lw=1.1, alpha=0.8)
        ax.set_ylim(len(rules) * step - 0.8, -1.0)
        ax.margins(x=0.14)
        ax.locator_params(axis="x", nbins=6)
        ax.set_xlabel("difference in test accuracy, pp")
        sheet.legend([_handle(t, c, m) for _, t, c, m in PARTS])

    title, better = "How far from its backprop twins each rule ends", "right is better; small dots are the seeds"
    return draw(
        name,
        78 + 66 * len(rules),
        f"Paired differences in test accuracy. {_say(rules)}",
        paint,
        title=title,
        better=better,
    )


def _whisker(sheet: Sheet, estimate: dict[str, Any], y: float, colour: str, marker: str, text: str) -> None:
    """One horizontal interval with its mean, its seeds and its number."""
    estimate = clipped(estimate, -1.0)
    ax, mean, end = sheet.axes, 100 * estimate["mean"], 100 * estimate["mean"]
    if has_interval(estimate):
        ends = (100 * estimate["low"], 100 * estimate["high"])
        ax.plot(ends, (y, y), color=colour, lw=2, solid_capstyle="butt")
        ax.plot(ends, (y, y), "|", color=colour, ms=7, mew=1.6)
        end = max(ends)
    seeds = [100 * v for v in estimate.get("values") or [] if is_number(v)]
    if len(seeds) > 1:
        ax.plot(seeds, [y + 0.36] * len(seeds), ".", color=colour, ms=4, alpha=0.6)
        end = max(end, *seeds)
    ax.plot([mean], [y], marker, color=colour, ms=6.5, mec=PAPER, mew=0.8)
    ax.annotate(_signed(mean), (end, y), (6, 0), va="center", fontsize=10, **_OFFSET)
    sheet.hit(ax, mean, y, f"{text}: {difference(estimate)}")


def decomposition(rules: list[dict[str, Any]], name: str = "decomposition") -> Drawing:
    """Two steps that add up: extra supervision from BP (0) to BP-DeepSup, then the price of locality to the rule."""

    def paint(sheet: Sheet) -> None:
        from matplotlib.patches import Patch

        ax = sheet.axes
        _rows(sheet, [r.get("rule", "?") for r in rules], [float(i) for i in range(len(rules))])
        for i, rule in enumerate(rules):
            _two_steps(sheet, rule, i)
        ax.axvline(0, color=INK, lw=1.1, alpha=0.8)
        ax.set_ylim(len(rules) - 0.45, -0.6)
        ax.use_sticky_edges = False
        ax.margins(x=0.2)
        ax.locator_params(axis="x", nbins=6)
        ax.set_xlabel("pp, from BP (0) to the local rule (○)")
        (_, _, _, _), *steps = PARTS
        handles = [Patch(facecolor=c, label=t) for _, t, c, _ in steps]
        dot = _handle("gap to BP", LOCAL, "o", "none")
        dot.set_markerfacecolor(PAPER)
        dot.set_markeredgewidth(2)
        sheet.legend([*handles, dot])

    title, label = "The gap to BP as the sum of two steps", f"The gap to BP as the sum of two steps. {_say(rules)}"
    return draw(name, 78 + 66 * len(rules), label, paint, title=title, better="right is better")


def _two_steps(sheet: Sheet, rule: dict[str, Any], row: int) -> None:
    ax, start = sheet.axes, 0.0
    for (key, text, colour, _), y in zip(PARTS[1:], (row - 0.17, row + 0.17), strict=True):
        if not known(rule.get(key)):
            return
        step = 100 * rule[key]["mean"]
        bar = ax.barh(y, step, 0.28, left=start, color=colour, label="_")
        sheet.tip(bar[0], f"{rule.get('rule')}, {text}: {difference(rule[key])}")
        start += step
        if key == "extra_supervision":
            ax.plot((start, start), (row - 0.36, row + 0.36), color=INK, lw=0.8, alpha=0.5)
    ax.plot([start], [row + 0.17], "o", ms=8, mfc=PAPER, mec=LOCAL, mew=2)
    side = 1 if start >= 0 else -1
    where = "left" if side > 0 else "right"
    ax.annotate(_signed(start), (start, row + 0.17), (9 * side, 0), va="center", ha=where, fontsize=10, **_OFFSET)
    if known(rule.get("gap")):
        sheet.hit(ax, start, row + 0.17, f"{rule.get('rule')}, gap to BP: {difference(rule['gap'])}")


def short_names(names: list[Any]) -> tuple[list[str], bool]:
    """Block names for an axis: only their numbers if all are ``stem0, stem1, ...`` (then True), else shortened."""
    cleaned = [str(n) for n in names]
    stem = cleaned[0].rstrip("0123456789") if cleaned else ""
    tails = [n.removeprefix(stem) for n in cleaned]
    if stem and all(n.startswith(stem) for n in cleaned) and all(t.isdigit() for t in tails):
        return tails, True
    return [shorten(n, 9) for n in cleaned], False


def block_curves(rule: dict[str, Any], chance: Any, limits: tuple[float, float], name: str) -> Drawing:
    """Test accuracy of every block alone and of their fusion: the local rule, its DeepSup twin and its BP twin."""
    twins = rule.get("twins") or {}
    named = (
        (str(rule.get("rule", "?")), rule),
        ("BP-DeepSup", twins.get("bp-deepsup") or {}),
        ("BP", twins.get("bp") or {}),
    )
    sources = [(text, data, *look_of(text)[:3]) for text, data in named]
    longest = max((s[1] for s in sources), key=lambda d: len(d.get("block_accuracies") or []))
    count = len(longest.get("block_accuracies") or [])
    names = [str(n) for n in longest.get("blocks") or range(count)]
    words = [
        f"{t}: {', '.join(f'block {names[i]} {accuracy(e)}' for i, e in _places(d, names))}; fused {accuracy(d.get('fused'))}"
        for t, d, *_ in sources
    ]

    def paint(sheet: Sheet) -> None:
        ax = sheet.axes
        for shift, (text, data, colour, marker, dashes) in zip((0.0, 0.1, -0.1), sources, strict=True):
            _curve(sheet, data, count, (shorten(text, 24), colour, marker, dashes, shift), names)
        ax.axvline(count - 1 + 0.5 * _room(count), color=INK, alpha=0.25, lw=0.8)
        if is_number(chance):
            line = ax.axhline(100 * chance, color=INK, alpha=0.5, lw=0.9, ls=(0, (2, 3)))
            sheet.tip(line, f"chance: {100 * chance:.1f} %")
        labels, numbered = short_names(names)
        every = math.ceil(count / (20 if numbered else 5)) or 1
        ticks = [*range(0, count, every), count - 1 + _room(count)]
        ax.set_xticks(ticks, [*labels[::every], "fused"])
        ax.set_xlim(-0.4, count - 1 + 1.4 * _room(count))
        ax.set_ylim(*limits)
        ax.set_xlabel("block" if numbered else "")
        ax.set_ylabel("test accuracy, %")
        sheet.legend([_handle(shorten(t, 24), c, m, d) for t, _, c, m, d in sources])

    title = f"{rule.get('rule', '?')} and its twins: accuracy by block"
    return draw(name, 274, "Test accuracy by block. " + ". ".join(words), paint, title=title, better="up is better")


def _places(data: dict[str, Any], names: list[str]) -> list[tuple[int, Any]]:
    """Where each readout stands: at its own block. Backprop's one readout is the last block's."""
    found = data.get("block_accuracies") or []
    own = [str(n) for n in data.get("blocks") or range(len(found))]
    return [(names.index(block), e) for block, e in zip(own, found, strict=False) if block in names]


def _room(count: int) -> float:
    """How far right of the last block the fused point stands, so that its label has room."""
    return max(1.3, 0.12 * count)


def _curve(
    sheet: Sheet, data: dict[str, Any], count: int, look: tuple[str, str, str, Any, float], names: list[str]
) -> None:
    text, colour, marker, dashes, shift = look
    places = [(x + shift, e, f"block {names[x]}") for x, e in _places(data, names)]
    lines = [places, [(count - 1 + _room(count) + shift, data.get("fused"), "fused")]]
    for line in lines:
        line = [(x, clipped(e), where) for x, e, where in line if known(e)]
        xs, ys = [x for x, *_ in line], [100 * e["mean"] for _, e, _ in line]
        sheet.axes.plot(xs, ys, color=colour, marker=marker, ls=_style(dashes), lw=1.8, ms=5.5, clip_on=False)
        bars = [(x, 100 * e["low"], 100 * e["high"]) for x, e, _ in line if has_interval(e)]
        sheet.axes.vlines(*([b[i] for b in bars] for i in range(3)), color=colour, lw=1.1, alpha=0.75)
        for x, e, where in line:
            sheet.hit(sheet.axes, x, 100 * e["mean"], f"{text}, {where}: {accuracy(e, with_n=True)}")


def sweep(rows: list[dict[str, Any]], title: str, limits: dict[str, tuple[float, float]], name: str) -> Drawing:
    """Local − BP and DeepSup − BP against the number of classes, with 95 % intervals.

    Args:
        limits: ``x`` in log2 K and ``y`` in pp, shared by the panels.
    """
    rows = sorted((r for r in rows if is_number(r.get("num_classes"))), key=lambda r: r["num_classes"])
    words = "; ".join(
        f"{r['num_classes']} classes: " + ", ".join(f"{t} {difference(r.get(k))}" for k, t, *_ in PARTS[:2])
        for r in rows
    )

    def paint(sheet: Sheet) -> None:
        ax = sheet.axes
        for part, dashes in zip(PARTS[1::-1], ((0, (5, 2)), "-"), strict=True):  # the gap on top
            _sweep_line(sheet, rows, part, dashes)
        ax.axhline(0, color=INK, lw=1.1, alpha=0.8)
        _class_ticks(ax, [r["num_classes"] for r in rows], limits["x"])
        ax.set_ylim(*limits["y"])
        ax.set_xlabel("number of classes K (log scale)")
        ax.set_ylabel("difference to BP, pp")
        sheet.legend([_handle("local − BP (gap)", LOCAL, "o"), _handle("DeepSup − BP", EXTRA, "s", (0, (5, 2)))], 2)

    shown = f"Difference to BP by number of classes: {title}"
    return draw(name, 278, f"{title}. {words}", paint, title=shown, better="up is better")


def _sweep_line(sheet: Sheet, rows: list[dict[str, Any]], part: tuple[str, str, str, str], dashes: Any) -> None:
    key, text, colour, marker = part
    ax = sheet.axes
    line = [(math.log2(r["num_classes"]), clipped(r[key], -1.0), r["num_classes"]) for r in rows if known(r.get(key))]
    banded = [(x, 100 * e["low"], 100 * e["high"]) for x, e, _ in line if has_interval(e)]
    if banded:
        xs, lows, highs = zip(*banded, strict=True)
        ax.fill_between(xs, lows, highs, color=colour, alpha=0.16, lw=0)
        ax.vlines(xs, lows, highs, color=colour, lw=1.2, alpha=0.8)
        ax.plot([*xs, *xs], [*lows, *highs], "_", color=colour, ms=6, mew=1.2)
    means = [100 * e["mean"] for _, e, _ in line]
    ax.plot([x for x, *_ in line], means, color=colour, marker=marker, ls=_style(dashes), lw=2, ms=6)
    for x, e, k in line:
        sheet.hit(ax, x, 100 * e["mean"], f"{k} classes, {text}: {difference(e)}")


def _class_ticks(ax: Any, classes: list[int], limits: tuple[float, float]) -> None:
    """Ticks at the measured K, leaving out labels that would touch."""
    room, last, labels = (limits[1] - limits[0]) * 0.075, -math.inf, []
    for k in sorted(set(classes)):
        free = math.log2(k) - last >= room
        labels.append(str(k) if free else "")
        last = math.log2(k) if free else last
    ax.set_xlim(*limits)
    ax.set_xticks([math.log2(k) for k in sorted(set(classes))], labels)


def ratio_bars(rows: list[tuple[str, Any]], title: str, xlabel: str, name: str, *, better: str) -> Drawing:
    """One bar a rule, relative to BP (1.0); a row is a name and a ratio, or a median with a low and a high."""
    medians: list[Any] = [v.get("median") if isinstance(v, dict) else v for _, v in rows]

    def paint(sheet: Sheet) -> None:
        ax = sheet.axes
        _rows(sheet, [n for n, _ in rows], [float(i) for i in range(len(rows))])
        for i, ((label, value), median) in enumerate(zip(rows, medians, strict=True)):
            if not is_number(median):
                ax.annotate("not run", (0, i), (4, 0), va="center", fontsize=10, **_OFFSET)
                continue
            bar = ax.barh(i, median, 0.56, color=look_of(base_of(label)).colour, alpha=0.9)
            sheet.tip(bar[0], f"{label}: {ratio_estimate(value)}")
            end = median
            if isinstance(value, dict) and is_number(value.get("low")) and is_number(value.get("high")):
                end = max(median, value["high"])
                ax.plot((value["low"], value["high"]), (i, i), color=INK, lw=1.4)
            ax.annotate(ratio(median), (end, i), (6, 0), va="center", fontsize=10.5, **_OFFSET)
        ax.axvline(1, color=INK, lw=1.1, ls=(0, (4, 2)))
        ax.set_xlim(0, 1.18 * max([1.0, *(m for m in medians if is_number(m))]))
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.set_xlabel(xlabel)

    words = "; ".join(f"{label}: {ratio_estimate(value)}" for label, value in rows)
    return draw(name, 64 + 27 * len(rows), f"{title}. {words}", paint, title=title, better=better)


def depth_lines(depths: list[float], series: list[dict[str, Any]], name: str = "depth") -> Drawing:
    """Peak saved bytes against depth, one line a rule."""
    tops = [b for s in series for b in s.get("peak_saved_bytes") or [] if is_number(b)]
    unit, scale = next(
        ((u, s) for u, s in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)) if max(tops, default=0) >= 2 * s), ("B", 1)
    )
    words = "; ".join(
        f"{s.get('rule')}: {', '.join(byte_count(b) for b in s.get('peak_saved_bytes') or [])}" for s in series
    )

    def paint(sheet: Sheet) -> None:
        names = [str(s.get("rule", "?")) for s in series]
        for i, (s, label, look) in enumerate(zip(series, names, looks_of(names, names), strict=True)):
            line = [(d, b) for d, b in zip(depths, s.get("peak_saved_bytes") or [], strict=False) if is_number(b)]
            xs, ys = [d for d, _ in line], [b / scale for _, b in line]
            sheet.axes.plot(xs, ys, color=look.colour, ls=_style(look.dashes), lw=1.8)
            sheet.axes.plot(xs, ys, look.marker, ms=10.5 - 1.2 * min(i, 4), mfc="none", mec=look.colour, mew=1.6)
            for d, b in line:
                sheet.hit(sheet.axes, d, b / scale, f"{label}, {d} blocks: {byte_count(b)}")
        handles = [_handle(shorten(n, 16), *look[:3]) for n, look in zip(names, looks_of(names, names), strict=True)]
        sheet.axes.set_xticks(depths, [f"{d:g}" for d in depths])
        sheet.axes.set_ylim(0, 1.08 * max(tops, default=1) / scale)
        sheet.axes.set_xlabel("depth, blocks")
        sheet.axes.set_ylabel(unit)
        sheet.legend(handles, 3)

    height, label = 236 + 16 * math.ceil(len(series) / 3), f"Peak saved bytes at depths {depths}. {words}"
    return draw(name, height, label, paint, title="Peak saved bytes of a step by depth", better="down is better")
