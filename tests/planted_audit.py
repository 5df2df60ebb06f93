"""PLANTED TEST FIXTURE: summaries with made-up numbers, to see that the page shows what it is given."""

from __future__ import annotations

import itertools
from typing import Any

PLANTED_RULES = ("local-heads", "dtg-ff", "ff", "my_plugin.py:Wavelet", "segmented2", "hinge", "predsim", "greedy")


def estimate(mean: float, half: float | None = 0.01, n: int = 3) -> dict[str, Any]:
    """A planted estimate: mean ± half, with n values spread evenly about the mean."""
    if half is None or n < 2:
        return {"mean": mean, "low": None, "high": None, "n": n, "values": [mean] * n}
    values = [mean + half * (2 * i / (n - 1) - 1) / 3 for i in range(n)]
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": n, "values": values}


def accuracy_rule(rule: str, index: int, depth: int = 4, n: int = 3) -> dict[str, Any]:
    """One planted rule: gaps −1.3, −3.1, ... pp, extra supervision +0.5 pp, the rest price of locality."""
    gap = (-0.013, -0.031, -0.142, 0.009, -0.002, -0.055, -0.021, -0.008)[index % 8]
    half = None if n < 2 else 0.006
    names = [f"block{i}" for i in range(depth)]

    def side(final: float) -> dict[str, Any]:
        curve = [final - 0.16 * 0.62**i - 0.01 for i in range(depth)]
        return {"fused": estimate(final, half, n), "last": estimate(curve[-1], half, n)} | {
            "blocks": names,
            "block_accuracies": [estimate(a, half, n) for a in curve],
        }

    return {
        "rule": rule,
        "note": f"planted note on {rule}",
        "seeds": list(range(n)),
        **side(0.9 + gap),
        "twins": {"bp": side(0.9), "bp-deepsup": side(0.905)},
        "gap": estimate(gap, half, n),
        "extra_supervision": estimate(0.005, half, n),
        "price_of_locality": estimate(gap - 0.005, half, n),
        "runs": [f"{rule}-run{seed}" for seed in range(n)],
    }


def class_rows(slope: float, classes: tuple[int, ...] = (2, 5, 10)) -> list[dict[str, Any]]:
    """Planted rows of a class sweep: the gap grows by ``slope`` a step."""
    return [
        {
            "num_classes": k,
            "bp": estimate(0.9 - 0.1 * i),
            "bp-deepsup": estimate(0.91 - 0.1 * i),
            "local": estimate(0.9 - 0.1 * i + slope * (i + 1)),
            "gap": estimate(slope * (i + 1)),
            "extra_supervision": estimate(0.01 * (i + 1), 0.006),
            "price_of_locality": estimate((slope - 0.01) * (i + 1)),
            "chance": 1 / k,
            "runs": [f"class-{k}"],
        }
        for i, k in enumerate(classes)
    ]


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
        "losses": losses,
        "blocks": blocks,
        "reach": reach,
        "reach_norm": [[0.25 if r else 0.0 for r in row] for row in reach],
        "intervention": moved,
    }


def cost_rule(rule: str, speed: float, saved: float) -> dict[str, Any]:
    return {
        "rule": rule,
        "readout": "rms-2x2",
        "samples_per_s": 400 * speed,
        "speed_ratio": {"median": speed, "low": speed - 0.02, "high": speed + 0.03, "n": 7},
        "peak_saved_bytes": int(100 * 2**20 * saved),
        "saved_ratio": saved,
        "flops_per_step": int(1.5e9),
        "flops_ratio": 0.67,
        "passes_per_step": 1,
        "passes_per_prediction": 1,
    }


def planted_cost(names: tuple[str, ...]) -> dict[str, Any]:
    speeds = itertools.cycle((1.31, 1.25, 0.72))
    return {
        "command": "layerlocal audit --only cost",
        "network": "vgg8 x1.0",
        "batch_size": 32,
        "threads": 2,
        "device": "cpu",
        "repeats": 7,
        "rules": [cost_rule("bp", 1.0, 1.0), cost_rule("bp-deepsup", 0.91, 1.19)]
        + [cost_rule(n, next(speeds), 0.58) for n in names],
        "depth": {
            "command": "layerlocal audit --only depth",
            "network": "planted mlp",
            "depths": [2, 4, 8, 16],
            "series": [
                {"rule": r, "peak_saved_bytes": [s * d * 2**20 for d in (2, 4, 8, 16)]}
                for r, s in (("bp", 3), ("bp-deepsup", 4))
            ]
            + [{"rule": n, "peak_saved_bytes": [4 * 2**20 + 3000 * d for d in (2, 4, 8, 16)]} for n in names],
        },
    }


def run_row(index: int) -> dict[str, Any]:
    rule = PLANTED_RULES[index % 3]
    return {
        "run": f"{rule}-run{index // 3}" if index < 9 else f"{index:016x}",
        "rule": rule,
        "label": "planted",
        "seed": index // 3,
        "data": "planted-data",
        "network": "vgg8 x0.25",
        "epochs": 4,
        "test_accuracy": 0.8765,
        "block_accuracies": {"block0": 0.5, "block1": 0.75},
        "samples_per_s": 1234.5,
        "peak_saved_bytes": 3 * 2**20,
        "spec": {"rule": {"name": rule, "temperature_max": 2.0}, "optimizer": {"lr": 0.1, "index": index}},
        "command": f"layerlocal train --rule {rule} --seed {index // 3}",
    }


def planted_summary(*, rules: int = 3, depth: int = 4, runs: int = 9, seeds: int = 3) -> dict[str, Any]:
    """A whole planted summary; every section is there."""
    names = PLANTED_RULES[:rules]
    certificates = [locality_entry("bp", "global", depth), locality_entry("bp-deepsup", "global", depth)]
    kinds = ["segment" if n == "segmented2" else "block" for n in names]
    return {
        "title": "layerlocal audit: planted test fixture, not a measurement",
        "layerlocal": "0.1.0",
        "protocol": 1,
        "created": "2026-01-02T03:04:05Z",
        "command": "layerlocal audit --out planted",
        "budget": "quick",
        "environment": {"cpu": "planted cpu", "threads": 2, "torch": "9.9.9", "git": "abc123"},
        "data": {"name": "planted-data", "num_train": 9000, "num_validation": 1000, "num_test": 2000}
        | {"num_classes": 10, "chance": 0.1, "provenance": {"licence": "MIT", "sha256": "00ff"}},
        "accuracy": {
            "command": "layerlocal audit --only accuracy",
            "network": "vgg8 x0.25",
            "readout_note": "planted readout",
        }
        | {"rules": [accuracy_rule(name, i, depth, seeds) for i, name in enumerate(names)]},
        "classes": {"rule": "dtg-ff", "command": "layerlocal audit --only classes", "synthetic": class_rows(0.012)}
        | {"real": class_rows(-0.015), "notes": {"synthetic": "planted teacher", "real": "planted classes"}},
        "cost": planted_cost(names),
        "locality": certificates + [locality_entry(n, k, depth) for n, k in zip(names, kinds, strict=True)],
        "runs": [run_row(i) for i in range(runs)],
        "failed": [],
    }
