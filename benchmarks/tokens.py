"""Speed and memory of local training of transformers against backprop, side by side.

    python benchmarks/tokens.py         # 3 to 5 minutes on 2 cores; writes results/tokens.json

The local rule reads every block; `bp-deepsup` has the same readouts, `bp` the last alone. Run it on an otherwise idle machine: methods take
turns and ratios are paired round by round, but other work still widens them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from command import run_main, typed

from layerlocal import Recipe, create_network, create_rule
from layerlocal.measure import measure_flops, measure_saved_bytes, measure_speed, speed_ratios
from layerlocal.rules import Rule
from layerlocal.runs.environment import describe_environment
from layerlocal.training.train import make_optimizer, train_step

METHODS = ("local-heads", "bp-deepsup", "bp")
CASES: dict[str, tuple[str, dict[str, Any], int, int]] = {
    "text": ("gpt", {"vocabulary": 256, "context": 128}, 256, 16),
    "images": ("vit", {"in_channels": 3, "image_size": 32}, 10, 16),
}
"""What is read: network, input, classes, batch. 6 blocks of 128 features."""
DEPTHS = (4, 8, 16, 32)
OUT = Path(__file__).parents[1] / "results" / "tokens.json"


def made(case: str, method: str, **options: Any) -> tuple[Rule, torch.Tensor, torch.Tensor]:
    """A fresh rule and a batch."""
    network, sizes, classes, batch = CASES[case]
    rule = create_rule(method, create_network(network, seed=0, **sizes, **options), num_classes=classes, seed=0).train()
    generator = torch.Generator().manual_seed(0)
    x = rule.network.random_inputs(batch, generator)
    return rule, x, torch.randint(classes, (batch, *rule.label_shape), generator=generator)


def stepping(case: str, method: str) -> Any:
    """A function that trains one batch."""
    rule, x, y = made(case, method)
    recipe = Recipe(clip=1.0)
    optimizer = make_optimizer(rule, recipe)
    return lambda: train_step(rule, x, y, optimizer, recipe=recipe)


def measured(case: str, repeats: int) -> list[dict[str, Any]]:
    """One row a method: samples/s, saved bytes and FLOPs, with their ratios to backprop of the same readouts and of the last alone."""
    speeds = measure_speed({m: stepping(case, m) for m in METHODS}, batch_size=CASES[case][3], repeats=repeats)
    ratios = {baseline: speed_ratios(speeds, baseline) for baseline in METHODS[1:]}
    saved = {m: measure_saved_bytes(*made(case, m))["peak_saved_bytes"] for m in METHODS}
    flops = {m: measure_flops(*made(case, m))["flops_per_step"] for m in METHODS}
    return [
        {
            "case": case,
            "method": method,
            "samples_per_s": ratios["bp"][method]["samples_per_s"],
            "peak_saved_bytes": saved[method],
            "flops_per_step": flops[method],
            "speed_ratio": {name: of[method]["speed_ratio"] for name, of in ratios.items()},
            "saved_bytes_ratio": {name: saved[method] / saved[name] for name in ratios},
            "flops_ratio": {name: flops[method] / flops[name] for name in ratios},
        }
        for method in METHODS
    ]


def by_depth(case: str) -> list[dict[str, Any]]:
    """Saved bytes of a local step and of backprop in deeper networks."""
    return [
        {"case": case, "method": method, "depth": depth, **measure_saved_bytes(*made(case, method, depth=depth))}
        for method in ("local-heads", "bp")
        for depth in DEPTHS
    ]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, help="timed rounds")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    rows = [row for case in CASES for row in measured(case, args.repeats)]
    for row in rows:
        told = "  ".join(
            f"{of['median']:.2f}x [{of['low']:.2f}, {of['high']:.2f}] speed, {row['saved_bytes_ratio'][name]:.2f}x saved of {name}"
            for name, of in row["speed_ratio"].items()
        )
        print(f"{row['case']:<8}{row['method']:<14}{row['samples_per_s']:8.1f} samples/s  {told}", flush=True)
    depths = [row for case in CASES for row in by_depth(case)]
    for row in depths:
        print(
            f"{row['case']:<8}{row['method']:<14}{row['depth']:>3} blocks {row['peak_saved_bytes'] / 1e6:8.2f} MB saved"
        )
    found = {"command": typed(), "environment": describe_environment("cpu"), "rows": rows, "depth": depths}
    args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    run_main(main)
