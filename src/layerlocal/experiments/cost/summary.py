"""Finished measurements → what was found: rows with their ratios to backprop, plain JSON, of which `.present` makes the summary.

    {"groups": [{"place", "setting", "image_size" or of text "context", "device", "threads", "n", "repeats", "memory_key", "rows": [row],
                 "limits", "paper"}],
     "scaling": [{"axis", "label", "setting", "n", "rows": [{"x", "rule", ...counts, "samples_per_s", "seconds_per_step"}]}],
     "roofline": [{"place", "setting", "threads", "n", "matrix_flops_per_s", "copy_bytes_per_s", "rows": [{"rule", "flops_per_s", "share",
                   "operations": {kind: share of time}}]}],
     "budget": [{"memory", "bytes", "place", "setting", "image_size" or "context", "batch_size", "n", "rows": [{"label", "rule", "mode",
                 "largest_batch", "batch_stopped", "largest_image" and "image_stopped" or of text "largest_context" and "context_stopped",
                 "samples_per_s", "speed_ratio"}]}],
     "distribution": [{"place", "setting", "n", "steps", "micro_batches", "link", "rows": [{"method", "processes", "samples_per_s",
                       "speed_ratio", "bytes_per_step", "idle_share", "model"}], "forecast": [{"method", "processes", ...}]}]}

A row of a group: ``label``, ``rule``, ``mode``, ``locality``, ``locks``, ``samples_per_s`` and ``speed_ratio`` (median and quartiles, paired
round by round), ``speeds`` (samples/s of each round), ``memories`` (bytes of each process), ``front`` (by which ratios of memory no other
row beats it), and for each of `RATIOS` the number and its ratio to plain backprop's; what could not be measured is ``None``, and a row
whose memory ran out, or whose measurement failed, has ``failed``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from layerlocal.experiments.cost.case import BASELINE, CostCase
from layerlocal.experiments.cost.findings import RATIOS, pareto_front
from layerlocal.experiments.cost.model import BlockCost, Link, Prediction, predict
from layerlocal.experiments.cost.plan import Axis, Compared, CostPlan
from layerlocal.experiments.cost.requests import MICRO_BATCHES

__all__ = [
    "IDLE", "PAPER", "budget_summary", "distribution_summary", "group_summary", "roofline_summary", "scaling_summary",
]  # fmt: skip

Row = dict[str, Any]
IDLE = (
    "Process memory is the peak resident size of a fresh process above idle; idle is that process after one step of a tiny network by the same "
    "rule, before the measured network, its optimizer and its batch exist. So weights, gradients, optimizer state, batch, activities and "
    "workspace count, and torch itself does not."
)
PAPER_POINTS: tuple[Row, Row] = (
    {"label": "paper: BP, gradient accumulation", "bytes": 4.18e9, "samples_per_s": 157.0},
    {"label": "paper: DTG-FF", "bytes": 7.90e9, "samples_per_s": 138.0},
)
"""The two points that arXiv:2606.06539 gives (its claim P7)."""
PAPER: Row = {"source": "arXiv:2606.06539", "setting": "an 8 GB card, 224 px", "points": list(PAPER_POINTS)}
NOT_MEASURED = "its measurement failed"
_ALONE = ("resident_bytes", "allocated_bytes", "reserved_bytes", "joules_per_sample", "idle_bytes")
_COUNTS = ("peak_saved_bytes", "flops_per_step", "flops_per_prediction", "passes_per_step", "passes_per_prediction")


def _ratios(speeds: Mapping[str, list[float]], baseline: str) -> dict[str, Row]:
    """`speed_ratios`, where something was measured; until then there is no need of torch."""
    if not speeds:
        return {}
    from layerlocal.measure import speed_ratios

    return speed_ratios(speeds, baseline)


def _joined_turns(results: Sequence[Row], rounds: int, labels: Iterable[str]) -> Row:
    """Measurements in turns as one: speeds of as many rounds, counts of the first; what failed in one has failed."""
    found: Row = {}
    if not results:
        return {label: {"failed": NOT_MEASURED} for label in labels}
    for label, first in results[0].items():
        rows = [result[label] for result in results]
        failed = next((row for row in rows if "failed" in row), None)
        speeds = [speed for row in rows for speed in row.get("samples_per_s", [])][:rounds]
        found[label] = failed or first | {"samples_per_s": speeds}
    return found


def _joined_ranks(results: Sequence[Row], rounds: int) -> Row:
    """Likewise of training on several processes, process by process; costs and link are those of the first."""
    ranks = []
    for parts in zip(*(result["ranks"] for result in results), strict=True):
        names = parts[0]["rounds"]
        every = {name: [entry for part in parts for entry in part["rounds"][name]][:rounds] for name in names}
        ranks.append(parts[0] | {"rounds": every})
    return {"ranks": ranks}


def group_summary(plan: CostPlan, group: Compared, turns: Sequence[Row], alone: Mapping[str, Sequence[Row]]) -> Row:
    """The methods of one network.

    Args:
        plan: for rounds and repeats.
        group: the cases.
        turns: the results of ``plan.turns(group)`` that there are.
        alone: label → likewise of ``plan.alone(case)``.
    """
    rows = []
    side_by_side = _joined_turns(turns, plan.rounds, group.by_label)
    first = group.base
    memory_key = "allocated_bytes" if first.device.startswith("cuda") else "resident_bytes"
    speeds = {label: found["samples_per_s"] for label, found in side_by_side.items() if "failed" not in found}
    ratios = _ratios(speeds, BASELINE if BASELINE in speeds else next(iter(speeds), ""))
    for label, case in group.by_label.items():
        found = side_by_side[label]
        row: Row = {"label": label, "rule": case.rule.name, "mode": case.mode, **ratios.get(label, {})}
        row |= {key: value for key, value in found.items() if key not in ("samples_per_s", "limits")}
        row["speeds"] = speeds.get(label, [])
        row["memories"] = [result[memory_key] for result in alone[label] if result.get(memory_key) is not None]
        rows.append(row | _memory(alone[label]))
    base = next(row for row in rows if row["label"] == BASELINE)
    for row in rows:
        for key, ratio in RATIOS.items():
            own, other = row.get(key), base.get(key)
            row[ratio] = own / other if own is not None and other else None
    _mark_fronts(rows, (RATIOS[memory_key], "saved_ratio"))
    return {
        "place": first.place,
        "setting": first.setting,
        **_size_of(first),
        "device": first.device,
        "threads": first.threads,
        "n": plan.rounds,
        "repeats": plan.repeats,
        "memory_key": memory_key,
        "rows": rows,
        "limits": _limits(first, side_by_side[BASELINE], base, memory_key),
        "paper": None if first.context else _paper(rows, RATIOS[memory_key]),
    }


def _size_of(case: CostCase) -> Row:
    """Of a sample: ``image_size``, or of text ``context``."""
    return {"image_size": case.image_size} if case.context is None else {"context": case.context}


def _mark_fronts(rows: Sequence[Row], keys: Sequence[str]) -> None:
    """``front`` of each row: by which measures of memory no other row has less memory and more speed."""
    for row in rows:
        row["front"] = []
    for key in dict.fromkeys(keys):
        known = [row for row in rows if row.get(key) is not None and "speed_ratio" in row]
        for index in pareto_front([(row[key], row["speed_ratio"]["median"]) for row in known]):
            known[index]["front"].append(key)


def _memory(results: Sequence[Row]) -> Row:
    """Medians of what fresh processes found."""
    failed = next((found["failed"] for found in results if "failed" in found), None)
    if failed is not None:
        return dict.fromkeys(_ALONE) | {"failed": failed}
    values = {key: [found[key] for found in results if found.get(key) is not None] for key in _ALONE}
    return {key: median(numbers) if numbers else None for key, numbers in values.items()}


def _limits(case: CostCase, turns: Row, base: Row, memory_key: str) -> Row | None:
    """What theory allows a block-local rule of one pass, beside backprop as it was measured here.

    ``memory_ratio`` is of weights, optimizer state, batch and the largest block's input and outputs, over what backprop took.
    """
    if "failed" in base or "limits" not in turns:
        return None
    found: Row = dict(turns["limits"])
    found["saved_ratio"] = found["local_floor_bytes"] / base["peak_saved_bytes"]
    copies = 1 + {"sgd": 1, "adamw": 2}[case.optimizer]
    floor = 4 * copies * base["parameters"] + case.batch_size * case.sample_bytes + found["local_floor_bytes"]
    found["memory_bytes"] = floor
    found["memory_ratio"] = floor / base[memory_key] if base.get(memory_key) else None
    return found


def _paper(rows: Sequence[Row], memory: str) -> Row | None:
    """The paper's two points, its micro-batched backprop laid on ours with the least memory; the other stands to it as in the paper."""
    known = [
        r
        for r in rows
        if r["rule"] == BASELINE and r["mode"].startswith("micro") and r.get(memory) and "speed_ratio" in r
    ]
    if not known:
        return None
    anchor = min(known, key=lambda row: row[memory])
    first, second = PAPER_POINTS
    at = (anchor[memory], anchor["speed_ratio"]["median"])
    factors = (second["bytes"] / first["bytes"], second["samples_per_s"] / first["samples_per_s"])
    points = [
        {"label": first["label"], "memory_ratio": at[0], "speed_ratio": at[1]},
        {"label": second["label"], "memory_ratio": at[0] * factors[0], "speed_ratio": at[1] * factors[1]},
    ]
    return {"anchor": anchor["label"], "memory_factor": factors[0], "speed_factor": factors[1], "points": points}


def scaling_summary(plan: CostPlan, axis: Axis, turns: Row) -> Row:
    """One axis: a row a value and rule."""
    rows = []
    for label, found in turns.items():
        value, _, rule = label.partition("/")
        row: Row = {"x": float(value), "rule": rule.rpartition("/")[2]}
        if "failed" in found:
            rows.append(row | {"failed": found["failed"]})
            continue
        speed = median(found["samples_per_s"])
        batch = value if axis.name == "batch_size" else axis.base.batch_size
        row |= {key: found[key] for key in _COUNTS}
        rows.append(row | {"samples_per_s": speed, "seconds_per_step": float(batch) / speed})
    return {"axis": axis.name, "label": axis.label, "setting": axis.base.setting, "n": 3, "rows": rows}


def roofline_summary(plan: CostPlan, group: Compared, found: Row) -> Row:
    """Ceilings, and what each rule reaches of them."""
    return {
        "place": group.base.place,
        "setting": group.base.setting,
        "threads": group.base.threads,
        "device": group.base.device,
        "n": plan.detail.rounds,
        "matrix_flops_per_s": found["matrix_flops_per_s"],
        "copy_bytes_per_s": found["copy_bytes_per_s"],
        "rows": [{"rule": label, **row} for label, row in found["rules"].items()],
    }


_AXIS_OF = {"image": "image_size", "context": "context"}


def budget_summary(plan: CostPlan, group: Compared, searches: Mapping[tuple[str, str], Row], turns: Row) -> Row:
    """The largest batch, and image size or context, of each method within the budget, and its speed at that batch.

    Args:
        plan: for the budget.
        group: the methods.
        searches: (label, axis) → the result of `layerlocal.experiments.cost.budget.search`.
        turns: label → its speeds at its largest batch; without the methods that nothing fits.
    """
    speeds = {label: found["samples_per_s"] for label, found in turns.items() if "failed" not in found}
    baseline = BASELINE if BASELINE in speeds else next(iter(speeds), "")
    ratios = _ratios(speeds, baseline)
    rows = []
    for label, case in group.by_label.items():
        sample = "image" if case.context is None else "context"
        batch, other = searches[(label, "batch_size")], searches.get((label, _AXIS_OF[sample]))
        row: Row = {"label": label, "rule": case.rule.name, "mode": case.mode}
        row |= {"largest_batch": batch["largest"], "batch_stopped": batch["stopped"]}
        row |= {f"largest_{sample}": other["largest"], f"{sample}_stopped": other["stopped"]} if other else {}
        row |= {"failed": NOT_MEASURED} if any(each and each["failed"] for each in (batch, other)) else {}
        rows.append(row | ratios.get(label, {"samples_per_s": None, "speed_ratio": None}))
    first = group.base
    return {
        "memory": plan.memory,
        "bytes": plan.budget_bytes,
        "place": first.place,
        "setting": first.setting,
        **_size_of(first),
        "batch_size": first.batch_size,
        "threads": first.threads,
        "device": first.device,
        "n": plan.detail.rounds,
        "baseline": baseline,
        "tolerance": plan.detail.tolerance,
        "rows": rows,
        "paper": PAPER
        if first.device.startswith("cuda") and first.context is None and first.image_size == 224
        else None,
    }


WORKERS = (1, 2, 4, 8, 16, 32, 64)


def distribution_summary(plan: CostPlan, group: Compared, alone: Sequence[Row], together: Sequence[Row]) -> Row:
    """Every way to spread a rule: measured on one and on two processes beside the model, and the model for up to 64.

    ``speed_ratio`` is to data-parallel backprop on as many processes, paired round by round; ``bytes_per_step`` of the process that sends
    most; ``idle_share`` the mean over processes; ``model`` what `layerlocal.experiments.cost.model` says for the same step.

    Args:
        plan: for rounds and steps.
        group: backprop and a block-local rule.
        alone: the results of ``plan.ranks(group)``.
        together: those of ``plan.ranks(group, costs)``.
    """
    one, two = _joined_ranks(alone, plan.rounds), _joined_ranks(together, plan.rounds)
    first, link = group.base, Link(**two["ranks"][0]["link"])
    costs = {name: [BlockCost(**cost) for cost in found] for name, found in one["ranks"][0]["costs"].items()}

    def model(name: str, processes: int, steps: int | None) -> Row | None:
        way, _, label = name.partition(", ")
        kind = f"{way}, {'bp' if label == BASELINE else 'local'}"
        found: Prediction | None = predict(
            kind, costs[name], link, processes=processes, batch_size=first.batch_size, micro_batches=MICRO_BATCHES, steps=steps
        )  # fmt: skip
        return asdict(found) if found is not None else None

    rows = []
    for found in (one, two):
        parts = [part["rounds"] for part in found["ranks"]]
        speeds = {name: _speeds_of(parts, name, first.batch_size) for name in costs}
        ratios = _ratios(speeds, f"data, {BASELINE}")
        for name in costs:
            row: Row = {"method": name, "processes": len(parts), **ratios[name], "speeds": speeds[name]}
            row["bytes_per_step"] = max(median(entry["sent"] for entry in part[name]) for part in parts)
            row["idle_share"] = _mean([median(e["waited"] / e["seconds"] for e in part[name]) for part in parts])
            rows.append(row | {"model": model(name, len(parts), plan.detail.steps)})
    ahead = [{"method": name, "processes": n, **(model(name, n, None) or {})} for name in costs for n in WORKERS]
    return {
        "place": first.place,
        "setting": first.setting,
        **({} if first.context is None else {"context": first.context}),
        "n": plan.rounds,
        "steps": plan.detail.steps,
        "micro_batches": MICRO_BATCHES,
        "link": asdict(link),
        "rows": rows,
        "forecast": ahead,
    }


def _speeds_of(parts: Sequence[Row], name: str, batch_size: int) -> list[float]:
    """Samples/s of all processes together, round by round: the slowest says when a round is over."""
    return [batch_size / max(part[name][i]["seconds"] for part in parts) for i in range(len(parts[0][name]))]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
