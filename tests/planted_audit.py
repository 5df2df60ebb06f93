"""PLANTED TEST FIXTURE: an audit whose runs were never trained, to see that what is concluded and shown is what was given."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from layerlocal.experiments.audit.plan import AuditPlan, accuracy_specs, class_specs
from layerlocal.experiments.audit.summary import summarize
from layerlocal.runs.store import RunRecord
from layerlocal.spec import RunSpec
from layerlocal.summary import Missed, Summary

PLANTED_RULES = (
    "local-heads",
    "class-goodness",
    "ff",
    "my_plugin.py:Wavelet",
    "segmented",
    "symba",
    "predsim",
    "sigprop",
)
GAPS = (-0.013, -0.031, -0.142, 0.009, -0.002, -0.055, -0.021, -0.008)
SPREAD = (-0.004, 0.0, 0.004)
"""Of seeds 0, 1 and 2 about a rule's mean: an interval of ± 4.302653 · 0.004 / √3 = 0.99 pp, by a table of Student's t."""
ENVIRONMENT = {
    "layerlocal": "planted",
    "processor": "planted cpu",
    "threads": 1,
    "torch": "9.9.9",
    "commit": "abc123",
}


def planted_plan(rules: int | Sequence[str] = 3, seeds: int = 3, **more: Any) -> AuditPlan:
    """Of the first rules, or of those named; the sweep is of class-goodness."""
    names = PLANTED_RULES[:rules] if isinstance(rules, int) else tuple(rules)
    given = {"rules": names, "seeds": tuple(range(seeds)), "reads": dict.fromkeys(names, "RMS, 4×4 cells")}
    return AuditPlan(**{**given, "command": "layerlocal audit --out planted", **more})


def planted_record(
    spec: RunSpec,
    accuracy: float,
    *,
    locality: Mapping[str, Any] | None = None,
    depth: int = 2,
    environment: Mapping[str, Any] = ENVIRONMENT,
) -> RunRecord:
    """PLANTED: a run that was never trained; its blocks lie 10 points apart, the last one 10 points below their fusion."""
    last = spec.rule.name == "bp"
    blocks = {f"block{i}": accuracy - 0.1 * (depth - i) for i in range(depth) if not last or i == depth - 1}
    classes = spec.data.classes if isinstance(spec.data.classes, int) else 10
    result = {
        "run": spec.hash, "rule": spec.rule.name, "test_accuracy": accuracy, "num_test": 100, "num_classes": classes, "chance": 1 / classes,
        "block_accuracies": blocks, "validation_accuracy": 0.5, "samples_per_s": 1234.5, "peak_saved_bytes": 3 * 2**20, "train_seconds": 1.0,
        "data": {"name": "planted-data", "class_names": ["a"],
                 "provenance": {"num_images": {"train": 9000, "validation": 1000, "test": 2000}, "licence": "MIT", "sha256": "00ff"}},
        "locality": dict(locality or locality_entry(spec.rule.name, "global" if spec.rule.name.startswith("bp") else "block", depth)),
    }  # fmt: skip
    return RunRecord(spec.hash, spec, dict(environment), result)


def planted_records(plan: AuditPlan, depth: int = 2, *, without: Iterable[RunSpec] = ()) -> dict[str, RunRecord]:
    """Every run of a plan: BP at 90 %, BP-DeepSup at 90.5 %, rules at 90 % and their gap; ordinary BP at 89 %, at 90.2 %
    with twice the steps; in the sweep 10 points less from K to K, and gaps of
    +1.2 pp a step on synthetic and −1.5 pp a step on real classes."""
    left_out = {spec.hash for spec in without}
    found: dict[str, RunRecord] = {}
    for (rule, role, seed), spec in accuracy_specs(plan).items():
        gap = GAPS[plan.rules.index(rule) % len(GAPS)] + SPREAD[seed % 3]
        found[spec.hash] = planted_record(spec, _accuracy(0.9, role, gap), depth=depth)
    counts = {"synthetic": plan.detail.synthetic_classes, "real": plan.real_classes}
    for (arm, k, role, seed), spec in class_specs(plan).items():
        step = sorted(counts[arm]).index(k) + 1
        gap = step * {"synthetic": 0.012, "real": -0.015}[arm] + SPREAD[seed % 3]
        found.setdefault(spec.hash, planted_record(spec, _accuracy(1.0 - 0.1 * step, role, gap), depth=depth))
    return {name: record for name, record in found.items() if name not in left_out}


def _accuracy(base: float, role: str, gap: float) -> float:
    return base + {"local": gap, "bp": 0.0, "bp-deepsup": 0.005, "ordinary": -0.01, "ordinary-2x": 0.002}[role]


def locality_entry(rule: str, declared: str = "block", depth: int = 4, leak: bool = False) -> dict[str, Any]:
    """A planted certificate; ``leak`` lets loss 2 reach block 1 and block 1 notice block 2."""
    blocks = [f"block{i}" for i in range(depth)]
    if declared == "global":
        losses, owners = ["all"], [set(range(depth))]
    elif declared == "segment":
        owners = [{i, i + 1} & set(range(depth)) for i in range(0, depth, 2)]
        losses = [f"block{min(o)}-{max(o)}" if len(o) > 1 else f"block{min(o)}" for o in owners]
    else:
        losses, owners = list(blocks), [{i} for i in range(depth)]
    reach = [[j in o for j in range(depth)] for o in owners]
    moved: list[list[bool | None]] = [
        [None if i == j else j < i or any({i, j} <= o for o in owners) for i in range(depth)] for j in range(depth)
    ]
    if leak:
        reach[2][1], moved[2][1] = True, True
    return {
        "rule": rule,
        "run": f"{rule}-run0",
        "declared": declared,
        "measured": "global" if leak else declared,
        "certified": not leak,
        "problems": ["the loss of block2 reaches the parameters of block1"] if leak else [],
        "losses": losses,
        "blocks": blocks,
        "reach": reach,
        "reach_norm": [[0.25 if r else 0.0 for r in row] for row in reach],
        "intervention": moved,
        "reads_ahead": 0,
    }


def cost_rule(rule: str, speed: float, saved: float) -> dict[str, Any]:
    return {
        "rule": rule,
        "readout": "RMS, 2×2 cells",
        "samples_per_s": 400 * speed,
        "speed_ratio": {"median": speed, "low": speed - 0.02, "high": speed + 0.03, "n": 7},
        "peak_saved_bytes": int(100 * 2**20 * saved),
        "saved_ratio": saved,
        "flops_per_step": int(1.5e9),
        "flops_ratio": 0.67,
        "passes_per_step": 1,
        "passes_per_prediction": 1,
    }


def planted_cost(names: Sequence[str]) -> dict[str, Any]:
    """What was measured of bp, bp-deepsup and these rules."""
    speeds = itertools.cycle((1.31, 1.25, 0.72))
    lines = [("bp", 3), ("bp-deepsup", 4)]
    return {
        "command": "layerlocal audit --out planted",
        "network": "vgg8, width 1",
        "batch_size": 32,
        "threads": 2,
        "device": "cpu",
        "repeats": 7,
        "interval_note": "median of 7 rounds with quartiles",
        "rules": [cost_rule("bp", 1.0, 1.0), cost_rule("bp-deepsup", 0.91, 1.19)]
        + [cost_rule(n, next(speeds), 0.58) for n in names],
        "depth": {
            "command": "layerlocal audit --out planted",
            "network": "planted mlp",
            "depths": [2, 4, 8, 16],
            "series": [{"rule": r, "peak_saved_bytes": [s * d * 2**20 for d in (2, 4, 8, 16)]} for r, s in lines]
            + [{"rule": n, "peak_saved_bytes": [4 * 2**20 + 3000 * d for d in (2, 4, 8, 16)]} for n in names],
        },
    }


def planted_summary(
    *, rules: int = 3, depth: int = 4, seeds: int = 3, missing: Sequence[Missed] = (), **more: Any
) -> Summary:
    """A whole planted audit; every part has something in it. ``more`` replaces fields of the summary."""
    plan = planted_plan(rules, seeds)
    found = summarize(plan, planted_records(plan, depth), missing=missing, cost=planted_cost(plan.rules))
    fixed = {"title": "layerlocal audit: planted test fixture, not a measurement", "created": "2026-01-02T03:04:05Z"}
    return found.model_copy(update=fixed | more)
