"""What each rule costs against backprop: samples/s side by side in one process, saved bytes, FLOPs, passes; saved bytes against depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from layerlocal.measure import measure_flops, measure_saved_bytes, measure_speed, speed_ratios
from layerlocal.networks import create_network
from layerlocal.rules import Rule, create_rule
from layerlocal.spec import Recipe
from layerlocal.train import make_optimizer, train_step

__all__ = ["measure_cost", "rule_costs"]

BASELINE = "bp"
DEPTHS = (2, 4, 8, 16)
BATCH_SIZE = 16
IMAGE_SIZE = 32
NUM_CLASSES = 10


def _make(rule: str, network: str, seed: int = 0, **options: Any) -> Rule:
    built = create_network(network, in_channels=3, image_size=IMAGE_SIZE, seed=seed, channels_last=True, **options)
    return create_rule(rule, built, num_classes=NUM_CLASSES, seed=seed)


def _batch(batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch_size, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator)
    return x, torch.randint(0, NUM_CLASSES, (batch_size,), generator=generator)


def _step(rule: Rule, x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    optimizer = make_optimizer(rule.train(), Recipe(optimizer="sgd"))
    return lambda: train_step(rule, x, y, optimizer)


def rule_costs(
    rules: Sequence[str], *, network: str, width: float, batch_size: int, repeats: int
) -> list[dict[str, Any]]:
    """One row a rule, `BASELINE` among them: speed and bytes and their ratios to it, on random 32×32 images."""
    x, y = _batch(batch_size)
    made = {name: _make(name, network, width=width) for name in rules}
    steps = {name: _step(rule, x, y) for name, rule in made.items()}
    speeds = measure_speed(steps, batch_size=batch_size, repeats=repeats, warm_up=1)
    rows = []
    for name, row in speed_ratios(speeds, BASELINE).items():
        rule = made[name]
        costs = measure_saved_bytes(rule, x, y) | measure_flops(rule, x, y)
        passes = {"passes_per_step": rule.passes_per_step, "passes_per_prediction": rule.passes_per_prediction}
        rows.append({"rule": name, "readout": "" if name == "ff" else "RMS, 2×2 cells"} | row | costs | passes)
    base = next(row for row in rows if row["rule"] == BASELINE)
    for row in rows:
        row["saved_ratio"] = row["peak_saved_bytes"] / base["peak_saved_bytes"]
        row["flops_ratio"] = row["flops_per_step"] / base["flops_per_step"]
    return rows


def _saved_against_depth(rules: Sequence[str]) -> dict[str, Any]:
    x, y = _batch(8)
    series = [
        {
            "rule": name,
            "peak_saved_bytes": [
                measure_saved_bytes(_make(name, "plain", width=0.25, depth=depth), x, y)["peak_saved_bytes"]
                for depth in DEPTHS
            ],
        }
        for name in rules
    ]
    return {"network": "plain, width 0.25, 32 px, batch 8", "depths": list(DEPTHS), "series": series}


def measure_cost(rules: Sequence[str], *, width: float = 0.5, repeats: int = 5, command: str = "") -> dict[str, Any]:
    """The cost section of an audit.

    Args:
        rules: local rules; `BASELINE` and ``bp-deepsup`` are added.
        width: of vgg8.
        repeats: timed rounds.
        command: what makes these numbers again.
    """
    names = list(dict.fromkeys([BASELINE, "bp-deepsup", *rules]))
    rows = rule_costs(names, network="vgg8", width=width, batch_size=BATCH_SIZE, repeats=repeats)
    return {
        "command": command,
        "network": f"vgg8, width {width:g}, 32 px, float32, channels-last",
        "batch_size": BATCH_SIZE,
        "threads": torch.get_num_threads(),
        "device": "cpu",
        "repeats": repeats,
        "interval_note": f"median of {repeats} rounds in which the rules take turns, with quartiles of the ratio",
        "rules": rows,
        "depth": _saved_against_depth(names) | {"command": command},
    }
