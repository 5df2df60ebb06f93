"""What the numbers of a cost audit say, in sentences: computed from them, a loss as plainly as a win. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from layerlocal.words import byte_count, percent, plain, rate, ratio, ratio_estimate, signed, spoken

__all__ = ["MEMORY_WORDS", "RATIOS", "pareto_front", "sample_of", "say_findings"]

Row = Mapping[str, Any]
MEMORY_WORDS = {"resident_bytes": "process memory", "allocated_bytes": "CUDA memory", "peak_saved_bytes": "saved bytes"}
RATIOS = {
    "peak_saved_bytes": "saved_ratio",
    "resident_bytes": "resident_ratio",
    "allocated_bytes": "allocated_ratio",
    "reserved_bytes": "reserved_ratio",
    "flops_per_step": "flops_ratio",
    "joules_per_sample": "energy_ratio",
}
"""Numbers of a row, and their ratios to plain backprop's."""


def say_findings(summary: Mapping[str, Any]) -> list[str]:
    """Every sentence of a summary, part by part."""
    found: list[str] = []
    for group in summary.get("groups") or []:
        found += _group(group)
    for axis in summary.get("scaling") or []:
        found += _scaling(axis)
    for part in summary.get("roofline") or []:
        found += _roofline(part)
    for part in summary.get("budget") or []:
        found += _budget(part)
    for part in summary.get("distribution") or []:
        found += _distribution(part)
    return found


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other beats: none has at most their memory (first) and at least their speed (second), one strictly."""
    return [
        i
        for i, (memory, speed) in enumerate(points)
        if not any(m <= memory and s >= speed and (m < memory or s > speed) for m, s in points)
    ]


def memory_ratio(group: Mapping[str, Any], row: Row) -> float | None:
    """The row's process or CUDA memory over plain backprop's; of saved bytes where neither was measured."""
    ratio = row.get(RATIOS[group["memory_key"]])
    return ratio if ratio is not None else row.get("saved_ratio")


def _speed(row: Row) -> str:
    return ratio_estimate(row["speed_ratio"], with_n=False)


def _usable(group: Mapping[str, Any]) -> list[Row]:
    return [r for r in group["rows"] if r.get("speed_ratio") and memory_ratio(group, r) is not None]


def _group(group: Mapping[str, Any]) -> Iterator[str]:
    rows = _usable(group)
    words = MEMORY_WORDS[group["memory_key"]]
    where = f"On {group['place']}"
    local = [r for r in rows if r.get("locality") == "block"]
    rivals = [r for r in rows if r["rule"] == "bp" and r["mode"] != "plain"]
    for row in (r for r in local if r["mode"] == "plain"):
        parts = [f"{_speed(row)} the samples/s", f"{ratio(memory_ratio(group, row) or 0)} the {words}"]
        parts += [f"{ratio(row['saved_ratio'])} the saved bytes"] if row.get("saved_ratio") else []
        parts += [f"{ratio(row['flops_ratio'])} the FLOPs"] if row.get("flops_ratio") else []
        yield f"{where}, {row['label']} has {spoken(parts)} of plain bp."
        yield from _against(group, row, rivals, words)
        yield from _equal_micro_batches(group, row["rule"], rows, words)
    yield from _paper(group, rows, words)
    front = pareto_front([(memory_ratio(group, r) or 0.0, r["speed_ratio"]["median"]) for r in rows])
    if len(rows) > 1:
        yield f"{where}, the Pareto front of {words} and samples/s is {spoken([rows[i]['label'] for i in front])}."
    for row in group["rows"]:
        if row.get("failed"):
            yield f"{where}, {row['label']} could not be measured: {row['failed']}."


def _against(group: Mapping[str, Any], row: Row, rivals: Sequence[Row], words: str) -> Iterator[str]:
    """Every fair baseline that a local rule does not beat, and what it costs; or that there is none."""
    own = memory_ratio(group, row) or 0.0
    lighter = [r for r in rivals if (memory_ratio(group, r) or 0.0) <= own]
    for rival in lighter:
        if _slower(rival, row):
            yield (
                f"{rival['label']} needs less {words} than {row['label']} ({ratio(memory_ratio(group, rival) or 0)} against {ratio(own)}) "
                f"but is slower ({_speed(rival)} against {_speed(row)})."
            )
        else:
            faster = "is faster" if _slower(row, rival) else "is not slower"
            yield (
                f"{rival['label']} beats {row['label']} here: it needs less {words} ({ratio(memory_ratio(group, rival) or 0)} against "
                f"{ratio(own)}) and {faster} ({_speed(rival)} against {_speed(row)})."
            )
    if rivals and not lighter:
        yield f"No backprop baseline here ({spoken([r['label'] for r in rivals])}) needs as little {words} as {row['label']}."


def _slower(one: Row, other: Row) -> bool:
    """Slower beyond the spread of the rounds: quartiles that do not overlap."""
    return bool(one["speed_ratio"]["high"] < other["speed_ratio"]["low"])


def _equal_micro_batches(group: Mapping[str, Any], rule: str, rows: Sequence[Row], words: str) -> Iterator[str]:
    by_mode = {row["mode"]: row for row in rows if row["rule"] == "bp" and row["mode"].startswith("micro")}
    parts = []
    for row in rows:
        twin = by_mode.get(row["mode"])
        if row["rule"] == rule and twin is not None:
            memory = (memory_ratio(group, row) or 0.0) / (memory_ratio(group, twin) or 1.0)
            speed = row["speed_ratio"]["median"] / twin["speed_ratio"]["median"]
            parts.append(f"{row['mode']}: {ratio(memory)} the {words}, {ratio(speed)} the samples/s")
    if parts:
        yield f"{rule} against bp at equal micro-batches: {'; '.join(parts)}."


def sample_of(part: Mapping[str, Any]) -> str:
    """What a sample of a part is, in words."""
    return f"context {part['context']}" if "context" in part else f"{plain(part['image_size'])} px"


def _paper(group: Mapping[str, Any], rows: Sequence[Row], words: str) -> Iterator[str]:
    paper = group.get("paper")
    if not paper:
        return
    anchor = next(row for row in rows if row["label"] == paper["anchor"])
    for row in rows:
        if row["rule"] == "class-goodness" and row["mode"] == "plain":
            memory = (memory_ratio(group, row) or 0.0) / (memory_ratio(group, anchor) or 1.0)
            speed = row["speed_ratio"]["median"] / anchor["speed_ratio"]["median"]
            yield (
                f"arXiv:2606.06539 reports {ratio(paper['memory_factor'])} the memory and {ratio(paper['speed_factor'])} the images/s of BP "
                f"with gradient accumulation for DTG-FF; here class-goodness has {ratio(memory)} the {words} and {ratio(speed)} the samples/s "
                f"of {anchor['label']}."
            )


def _scaling(axis: Mapping[str, Any]) -> Iterator[str]:
    rows = [row for row in axis["rows"] if not row.get("failed")]
    keys = ("flops_per_prediction",) if axis["axis"] == "num_classes" else ("peak_saved_bytes", "seconds_per_step")
    names = {
        "flops_per_prediction": "FLOPs of a prediction", "peak_saved_bytes": "saved bytes", "seconds_per_step": "seconds a step",
    }  # fmt: skip
    for key in keys:
        parts = []
        for rule in dict.fromkeys(row["rule"] for row in rows):
            own = sorted((row for row in rows if row["rule"] == rule), key=lambda row: row["x"])
            if len(own) > 1:
                parts.append(f"{rule} {own[-1][key] / own[0][key]:.3g}×")
        if parts:
            low, high = min(row["x"] for row in rows), max(row["x"] for row in rows)
            yield f"From {low:g} to {high:g} ({axis['label']}), {names[key]} grow: {', '.join(parts)}."


def _roofline(part: Mapping[str, Any]) -> Iterator[str]:
    reached = []
    for row in part["rows"]:
        kind, share = max(row["operations"].items(), key=lambda item: item[1])
        reached.append(f"{row['rule']} {percent(row['share'], 0)} ({kind} takes {percent(share, 0)} of its time)")
    ceiling = part["matrix_flops_per_s"] / 1e9
    yield f"On {part['place']}, of the {ceiling:,.3g} GFLOP/s of a matrix product here: {'; '.join(reached)}."


def _budget(part: Mapping[str, Any]) -> Iterator[str]:
    where = f"Within {part['memory']}, {part['place'].split(',')[0]}"
    fitting = [row for row in part["rows"] if row["largest_batch"]]
    if not fitting and not any(row.get("failed") for row in part["rows"]):
        yield f"{where}: not even the smallest batch fits, by any method."
        return
    batches = [f"{r['label']} {'≥ ' * r['batch_stopped']}{r['largest_batch']}" for r in fitting]
    if batches:
        yield f"{where} at {sample_of(part)}, the largest batch: {', '.join(batches)}."
    fast = sorted((r for r in fitting if r.get("samples_per_s")), key=lambda r: -r["samples_per_s"])
    if fast:
        speeds = [f"{r['label']} {rate(r['samples_per_s'])}" for r in fast]
        yield f"{where}, samples/s at that batch: {', '.join(speeds)}."
    for key, words in (("image", "the largest images in px"), ("context", "the longest context in tokens")):
        rows = [row for row in part["rows"] if row.get(f"largest_{key}")]
        sizes = [f"{r['label']} {'≥ ' * r[f'{key}_stopped']}{r[f'largest_{key}']}" for r in rows]
        if sizes:
            yield f"{where} at batch {part['batch_size']}, {words}: {', '.join(sizes)}."
    missing = [r["label"] for r in part["rows"] if not r["largest_batch"] and not r.get("failed")]
    if missing:
        yield f"{where}: nothing fits of {spoken(missing)}."


def _distribution(part: Mapping[str, Any]) -> Iterator[str]:
    """Speed against one process, bytes, waiting; how far the model is off; and what it says of more processes."""
    most = max(row["processes"] for row in part["rows"])
    alone = {row["method"]: row for row in part["rows"] if row["processes"] == 1}
    where = f"On {most} processes of one thread, {part['place']}"
    parts, errors = [], []
    for row in (row for row in part["rows"] if row["processes"] == most):
        gain = row["samples_per_s"] / alone[row["method"]]["samples_per_s"]
        parts.append(
            f"{row['method']} {rate(row['samples_per_s'])} samples/s ({ratio(gain)} one process), {byte_count(row['bytes_per_step'])} a "
            f"step, {percent(row['idle_share'], 0)} idle"
        )
        if row.get("model"):
            error = row["model"]["samples_per_s"] / row["samples_per_s"] - 1
            errors.append(f"{row['method']} {signed(100 * error, 0)} %")
    yield f"{where}: {'; '.join(parts)}."
    yield f"The model of a step errs in samples/s there by: {spoken(errors)}."
    far = [row for row in part["forecast"] if row["processes"] > most and row.get("samples_per_s")]
    methods = dict.fromkeys(row["method"] for row in far)
    best = [max((r for r in far if r["method"] == name), key=lambda r: r["samples_per_s"]) for name in methods]
    if best:
        told = [f"{row['method']} {rate(row['samples_per_s'])} on {row['processes']}" for row in best]
        yield f"It expects, from processes as fast and links as these, at most: {'; '.join(told)} processes."
