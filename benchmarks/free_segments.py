"""How much of the price of locality comes back for no memory: the gradient is let through wherever that saves nothing more for backward
(`segmented` with `segments=free`), and everything else stays as it was in the longer runs of `tuned.py`.

    python benchmarks/free_segments.py                    # 15 minutes on 2 cores after `tuned.py --long`, whose runs in runs/tuned it uses
    python benchmarks/free_segments.py --data cifar100

Nothing is tuned for it: settings are the best of `committee`, seeds those of `tuned.py`; the test split is opened once a run. Writes
results/free_segments.json, or results/free_segments_cifar100.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from command import finish, pinned, run_main, typed
from cpu_tasks import task_named
from tuned import SEEDS, judged_runs, plan_of

from layerlocal.measure.flops import measure_flops
from layerlocal.measure.memory import measure_saved_bytes
from layerlocal.networks import create_network
from layerlocal.rules import create_rule
from layerlocal.runs.environment import describe_environment
from layerlocal.runs.store import RunStore
from layerlocal.spec import RuleSpec
from layerlocal.stats import estimate
from layerlocal.types import InputError
from layerlocal.words import difference

FREE = {"of": "committee", "segments": "free", "readouts": "all"}
METHODS = {"committee": {}, "segmented": FREE, "bp-deepsup": {"of": "committee"}, "bp": {"of": "committee"}}
PAIRS = {"free − local": ("segmented", "committee"), "free − DeepSup": ("segmented", "bp-deepsup"),
         "price of locality": ("committee", "bp-deepsup")}  # fmt: skip


def tuned_runs(data):
    """(method, seed) → run of `tuned.py --long` at its best settings."""
    found = Path("results") / ("tuned_long.json" if data == "cifar10" else f"tuned_{data}_long.json")
    if not found.is_file():
        raise InputError(f"{found} is not there: run python benchmarks/tuned.py --long --data {data} first")
    best = {method["label"]: method["best"] for method in json.loads(found.read_text())["methods"]}
    task = task_named(data)
    known = judged_runs(plan_of(("committee",), 8, False, data), best, task, ("tuned",), with_bp=False)
    return {(label.partition(" ")[0], seed): run for (label, _, seed), run in known.items()}


def runs_of(data):
    """The same, and the new ones with the settings of the rule."""
    runs = tuned_runs(data)
    for seed in SEEDS:
        local = runs["committee", seed]
        rule = RuleSpec(name="segmented", options={**local.rule.options, **FREE})
        runs["segmented", seed] = local.model_copy(update={"rule": rule})
    return runs


def cost_of(name, width, num_classes):
    """Segments, FLOPs of a step and bytes saved at its peak, 8 images of 32 pixels."""
    network = create_network("vgg8", in_channels=3, image_size=32, width=width, fused=True, seed=0)
    rule = create_rule(name, network, num_classes=num_classes, seed=0, **METHODS[name])
    x, y = torch.randn(8, 3, 32, 32), torch.arange(8)
    cost = {**measure_flops(rule, x, y), **measure_saved_bytes(rule, x, y)}
    segments = "-".join(str(len(segment)) for segment in getattr(rule, "segments", [[0]] * network.depth))
    return {"segments": segments, **{key: cost[key] for key in ("flops_per_step", "peak_saved_bytes")}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("cifar10", "cifar100"), default="cifar10")
    parser.add_argument("--out", type=Path, default=Path("runs/tuned"))
    given = parser.parse_args()
    specs, store = runs_of(given.data), RunStore(given.out)
    specs = pinned(specs)
    finish(specs.values(), store)
    results = {key: store.load(spec.hash).result for key, spec in specs.items()}
    of = {m: [results[m, seed]["test_accuracy"] for seed in SEEDS] for m in ("committee", "segmented", "bp-deepsup")}
    differences = {
        key: estimate([a - b for a, b in zip(of[left], of[right], strict=True)]) for key, (left, right) in PAIRS.items()
    }
    classes = {"cifar10": 10, "cifar100": 100}[given.data]
    costs = {f"width {width:g}": {name: cost_of(name, width, classes) for name in METHODS} for width in (0.125, 1.0)}
    blocks = {m: {str(seed): results[m, seed]["block_accuracies"] for seed in SEEDS} for m in of}
    for name, values in of.items():
        print(f"{name}: {100 * estimate(values)['mean']:.1f} %")
    print("\n".join(f"{key}: {difference(value)}" for key, value in differences.items()))
    for width, found in costs.items():
        for name, cost in found.items():
            ratios = [cost[key] / found["bp"][key] for key in ("peak_saved_bytes", "flops_per_step")]
            print(
                f"{width}, {name} ({cost['segments']}): {ratios[0]:.2f} of BP's saved bytes, {ratios[1]:.2f} of its FLOPs"
            )
    content = {"command": typed(), "environment": describe_environment(), "seeds": SEEDS, "accuracies": of, "blocks": blocks,
               "differences": differences, "costs": costs, "runs": {f"{m} {seed}": spec.hash for (m, seed), spec in specs.items()}}  # fmt: skip
    name = "free_segments" if given.data == "cifar10" else f"free_segments_{given.data}"
    Path(f"results/{name}.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    run_main(main)
