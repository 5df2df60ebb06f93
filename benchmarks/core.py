"""Speed, memory and loop overhead of the core, against `bp` with the same readout, side by side in one process.

    python benchmarks/core.py                 # about 6 minutes on 2 cores; writes results/core.json
    python benchmarks/core.py --only loop     # one part: speed, memory, loop, import

Run it on an otherwise idle machine: ratios are paired round by round, but other work still widens them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F

from layerlocal import Recipe, create_network, create_rule, load_data
from layerlocal.environment import describe_environment
from layerlocal.measure import measure_flops, measure_saved_bytes, measure_speed, speed_ratios
from layerlocal.train import Training, make_optimizer, train_step

RULES = ("bp", "bp-deepsup", "local-heads", "dtg-ff")
CASES = (("vgg8", 1.0, 32), ("vgg16", 0.5, 64))
GRIDS = (2, 4)


def made(rule, network, width, grid):
    built = create_network(network, in_channels=3, image_size=32, width=width, seed=0, channels_last=True)
    return create_rule(
        rule, built, num_classes=10, seed=0, grid=grid
    ).train()  # bp of local-heads: nothing between its blocks


def batch(size):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(size, 3, 32, 32, generator=generator), torch.randint(0, 10, (size,), generator=generator)


def speed(repeats):
    rows = []
    for network, width, size in CASES:
        for grid in GRIDS:
            x, y = batch(size)
            steps = {}
            for name in RULES:
                rule = made(name, network, width, grid)
                optimizer = make_optimizer(rule, Recipe(optimizer="sgd"))
                steps[name] = lambda rule=rule, optimizer=optimizer, x=x, y=y: train_step(rule, x, y, optimizer)
            found = speed_ratios(measure_speed(steps, batch_size=size, repeats=repeats), "bp")
            for name, row in found.items():
                rows.append({"network": network, "width": width, "batch_size": size, "grid": grid, "rule": name, **row})
                ratio = row["speed_ratio"]
                print(f"{network} {width:g} batch {size} grid {grid}: {name:<12} {row['samples_per_s']:7.1f} samples/s, "
                      f"{ratio['median']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}] x bp")  # fmt: skip
    return rows


def memory():
    rows = []
    for network, width, size in CASES:
        for grid in GRIDS:
            x, y = batch(size)
            base = None
            for name in RULES:
                rule = made(name, network, width, grid)
                row = measure_saved_bytes(rule, x, y) | measure_flops(rule, x, y)
                base = base or row
                ratios = {f"{k}_ratio": row[k] / base[k] for k in ("peak_saved_bytes", "flops_per_step")}
                rows.append(
                    {
                        "network": network,
                        "width": width,
                        "batch_size": size,
                        "grid": grid,
                        "rule": name,
                        **row,
                        **ratios,
                    }
                )
                print(f"{network} grid {grid}: {name:<12} saved {ratios['peak_saved_bytes_ratio']:.3f} x bp, "
                      f"FLOPs {ratios['flops_per_step_ratio']:.3f} x bp")  # fmt: skip
    return rows


def loop(rounds, steps=20, size=32):
    """The product's epoch against the same steps written out by hand on batches made beforehand."""
    data = load_data("fashion_mnist_subset", num_train=steps * size, num_test=100, validation=0)
    recipe = Recipe(epochs=10**6, batch_size=size, schedule="constant", warmup=0)

    def fresh():
        network = create_network("vgg8", in_channels=1, image_size=28, width=0.25, seed=0, channels_last=True)
        return create_rule("local-heads", network, num_classes=10, seed=0)

    training = Training(fresh(), data, recipe)
    hand = fresh().train()
    optimizer = make_optimizer(hand, recipe)
    ready = list(training.batches.epoch(0))
    blocks, heads = list(hand.network.blocks), list(hand.heads.values())

    def by_hand():
        for x, y in ready:
            h = x
            for block, head in zip(blocks, heads, strict=True):
                h = block(h.detach())
                F.cross_entropy(head(h), y).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    times = {"hand": [], "loop": []}
    for index in range(rounds + 2):
        for name, run in (("hand", by_hand), ("loop", training.run_epoch)):
            start = time.perf_counter()
            run()
            if index >= 2:
                times[name].append(time.perf_counter() - start)
    ratios = sorted(a / b for a, b in zip(times["loop"], times["hand"], strict=True))
    n = len(ratios)
    row = {
        "overhead_percent": 100 * (median(ratios) - 1),
        "low": 100 * (ratios[n // 4] - 1),
        "high": 100 * (ratios[3 * n // 4] - 1),
        "n": n,
    }
    print(
        f"loop, data and logging over hand-written steps: {row['overhead_percent']:+.1f} % [{row['low']:+.1f}, {row['high']:+.1f}], n={n}"
    )
    return row


def import_seconds(repeats=5):
    """Seconds that importing every public name adds to importing torch, each in a fresh process."""
    code = "import time, torch; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
    found = {
        "import layerlocal": code.format("import layerlocal"),
        "from layerlocal import *": code.format("from layerlocal import *"),
    }
    rows = {}
    for name, program in found.items():
        seconds = [
            float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
            for _ in range(repeats)
        ]
        rows[name] = median(seconds)
        print(f"{name}: {rows[name]:.2f} s on top of torch")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["speed", "memory", "loop", "import"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/core.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    parts = {
        "memory": memory,
        "speed": lambda: speed(arguments.repeats),
        "loop": lambda: loop(4 * arguments.repeats),
        "import": import_seconds,
    }
    found = {name: part() for name, part in parts.items() if arguments.only in (None, name)}
    if arguments.only is None:
        found |= {"command": "python benchmarks/core.py", "environment": describe_environment()}
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")
        print(f"written: {arguments.out}")


if __name__ == "__main__":
    main()
