"""Speed, memory and overhead of local training against backprop, side by side.

    python benchmarks/trainer.py                   # 10 to 25 minutes on 2 cores; writes results/trainer.json and .svg
    python benchmarks/trainer.py --only speed      # one part: speed, memory, process, depth, loop, stream, import
    python benchmarks/trainer.py --profile         # where a step of each method goes, operation by operation

Two baselines: `bp` on plain torch layers, and `bp` on the fused layers that the local rules run on, so that what fusing brings to all is
told apart from what locality brings. All read goodness on 2×2 cells. Run it on an otherwise idle machine: methods take turns and ratios
are paired round by round, but other work still widens them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from command import write_drawing
from trainer_figure import picture, table, title

from layerlocal import Batches, Recipe, Split, create_network, create_rule, load_data
from layerlocal.kernels import kernels_in_use
from layerlocal.measure import (
    measure_flops,
    measure_saved_bytes,
    measure_speed,
    peak_resident_bytes,
    reset_peak_resident,
    speed_ratios,
)
from layerlocal.runs.environment import describe_environment
from layerlocal.training.train import Training, make_optimizer, train_step

METHODS = {
    "bp": ("bp", {}),
    "class-goodness": ("class-goodness", {}),
    "bp, fused": ("bp", {"fused": True}),
    "bp-deepsup, fused": ("bp-deepsup", {"fused": True}),
    "local-heads, fused": ("local-heads", {"fused": True}),
    "class-goodness, fused": ("class-goodness", {"fused": True}),
    "committee, fused": ("committee", {"fused": True}),
    "committee, fused, first=cosine": ("committee", {"fused": True, "first": "cosine"}),
    "wide committee, fused, first=cosine": (
        "committee",
        {"fused": True, "first": "cosine"},
        {"wide": True, "head_width": 64},
    ),
    "panel, fused": ("panel", {"fused": True}),
}
"""Name → rule, options of the network and, where it has some, of the rule."""
BASELINES = ("bp", "bp, fused")
CASES = [("vgg8", 1.0, 32, 32), ("vgg16", 0.5, 32, 64), ("resnet18", 0.5, 32, 64), ("vgg16", 0.5, 224, 4)]
"""Network, width, image side, batch."""


def made(method, network, width, side, **options):
    name, own, *of_rule = METHODS[method]
    built = create_network(
        network, in_channels=3, image_size=side, width=width, seed=0, channels_last=True, **own, **options
    )
    return create_rule(name, built, num_classes=10, seed=0, **dict(*of_rule)).train()


def batch(size, side):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(size, 3, side, side, generator=generator), torch.randint(0, 10, (size,), generator=generator)


def step_of(rule, x, y):
    optimizer = make_optimizer(rule, Recipe(optimizer="sgd"))
    return lambda: train_step(rule, x, y, optimizer)


def of_case(case):
    return dict(zip(("network", "width", "image_size", "batch_size"), case, strict=True))


def speed(repeats, only=None):
    """Each case in a process of its own: what an earlier one leaves in the allocator would be the next one's."""
    rows = []
    for index in range(len(CASES)) if only is None else [only]:
        found = json.loads(in_own_process(f"print(trainer.json.dumps(trainer.speed_of({index}, {repeats})))"))
        print(f"{title(of_case(CASES[index]))}: samples/s, and its ratio to each baseline")
        for row in found:
            words = [f"{r['median']:.2f} [{r['low']:.2f}, {r['high']:.2f}] x {name}" for name, r in
                     ((name, row[f"ratio to {name}"]) for name in BASELINES)]  # fmt: skip
            print(f"  {row['method']:<36}{row['samples_per_s']:8.1f}   {'   '.join(words)}", flush=True)
        rows += found
    return rows


def speed_of(index, repeats):
    network, width, side, size = CASES[index]
    x, y = batch(size, side)
    steps = {method: step_of(made(method, network, width, side), x, y) for method in METHODS}
    found = measure_speed(steps, batch_size=size, repeats=repeats)
    ratios = {baseline: speed_ratios(found, baseline) for baseline in BASELINES}
    rows = [{"method": m, "samples_per_s": ratios["bp"][m]["samples_per_s"]} for m in METHODS]
    return [
        of_case(CASES[index])
        | row
        | {f"ratio to {name}": of[row["method"]]["speed_ratio"] for name, of in ratios.items()}
        for row in rows
    ]


def in_own_process(code):
    """The last line that it prints."""
    threads = f"trainer.torch.set_num_threads({torch.get_num_threads()})"
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import trainer; {threads}; {code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def memory():
    rows = []
    for case in CASES:
        network, width, side, size = case
        x, y = batch(size, side)
        found = {}
        for method in METHODS:
            rule = made(method, network, width, side)
            found[method] = measure_saved_bytes(rule, x, y) | measure_flops(rule, x, y)
        print(f"{title(of_case(case))}: peak saved bytes and FLOPs of a step")
        for method, row in found.items():
            saved = {name: row["peak_saved_bytes"] / found[name]["peak_saved_bytes"] for name in BASELINES}
            flops = row["flops_per_step"] / found["bp"]["flops_per_step"]
            rows.append(of_case(case) | {"method": method, **row, "saved_bytes_ratio": saved, "flops_ratio": flops})
            words = "   ".join(f"{ratio:.3f} x {name}" for name, ratio in saved.items())
            print(f"  {method:<36}{row['peak_saved_bytes'] / 1e6:8.1f} MB   {words}   FLOPs {flops:.2f}")
    return rows


def process(side=224, size=8):
    """Peak resident size of three steps above the idle process (torch, network and optimizer in it), each method in a process of its own."""
    found = {}
    for method in METHODS:
        found[method] = int(in_own_process(f"trainer.resident({method!r}, {side}, {size})"))
    for method, value in found.items():
        ratios = ", ".join(f"{value / found[name]:.2f} x {name}" for name in BASELINES)
        print(f"vgg16 0.5, {side} px, batch {size}: {method:<36}{value / 1e6:7.0f} MB above idle, {ratios}")
    return {"network": "vgg16", "width": 0.5, "image_size": side, "batch_size": size, "bytes_above_idle": found}


def resident(method, side, size):
    step = step_of(made(method, "vgg16", 0.5, side), *batch(size, side))
    reset_peak_resident()
    idle = peak_resident_bytes()
    for _ in range(3):
        step()
    print(peak_resident_bytes() - idle)


def depth(depths=(4, 8, 16, 32, 64)):
    rows = []
    x, y = batch(8, 16)
    for method in ("bp, fused", "class-goodness, fused"):
        for number in depths:
            saved = measure_saved_bytes(made(method, "plain", 0.5, 16, depth=number), x, y)["peak_saved_bytes"]
            rows.append({"method": method, "depth": number, "peak_saved_bytes": saved})
        own = [row["peak_saved_bytes"] for row in rows if row["method"] == method]
        print(f"plain, depth {depths[0]} to {depths[-1]}: {method} keeps {own[-1] / own[0]:.3f} times as much")
    return rows


def loop(rounds, steps=20, size=32):
    """The product's epoch against the same steps written out by hand on batches made beforehand."""
    data = load_data("fashion_mnist_subset", num_train=steps * size, num_test=100, validation=0)
    recipe = Recipe(epochs=10**6, batch_size=size, schedule="constant", warmup=0)

    def fresh():
        network = create_network(
            "vgg8", in_channels=1, image_size=28, width=0.25, seed=0, channels_last=True, fused=True
        )
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
        turns = (("hand", by_hand), ("loop", training.run_epoch))
        for name, run in turns if index % 2 else turns[::-1]:
            start = time.perf_counter()
            run()
            if index >= 2:
                times[name].append(time.perf_counter() - start)
    percent = sorted(100 * (a / b - 1) for a, b in zip(times["loop"], times["hand"], strict=True))
    n = len(percent)
    row = {"overhead_percent": median(percent), "low": percent[n // 4], "high": percent[3 * n // 4], "n": n}
    print("loop, data and logging over hand-written steps: "
          f"{row['overhead_percent']:+.1f} % [{row['low']:+.1f}, {row['high']:+.1f}], n={n}")  # fmt: skip
    return row


def stream(images=48, side=224, size=8):
    """Share of an epoch in which the step waits for data: a mapped file of 224 px images, batches made by one thread ahead or not."""
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.save(path, np.random.default_rng(0).integers(0, 256, (images, 3, side, side), dtype=np.uint8))
        split = Split(np.load(path, mmap_mode="r"), torch.arange(images) % 10)
        batches = Batches(
            split, batch_size=size, mean=torch.full((3,), 0.5), std=torch.full((3,), 0.25), shuffle=True, channels_last=True
        )  # fmt: skip
        rule = made("class-goodness, fused", "vgg16", 0.5, side)
        optimizer = make_optimizer(rule, Recipe(optimizer="sgd"))
        for ahead in (0, 1):
            waited, start = 0.0, time.perf_counter()
            iterator = batches.epoch(0, ahead=ahead)
            while True:
                asked = time.perf_counter()
                pair = next(iterator, None)
                waited += time.perf_counter() - asked
                if pair is None:
                    break
                train_step(rule, *pair, optimizer)
            rows[f"{ahead} ahead"] = 100 * waited / (time.perf_counter() - start)
            print(
                f"224 px from a mapped file, {ahead} batches made ahead: waiting {rows[f'{ahead} ahead']:.2f} % of the time"
            )
    return {"waiting_percent": rows}


def import_seconds(repeats=5):
    """Seconds that importing every public name adds to importing torch, each in a fresh process."""
    code = "import time, torch; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
    rows = {}
    for name in ("import layerlocal", "from layerlocal import *"):
        done = [
            subprocess.run([sys.executable, "-c", code.format(name)], capture_output=True, text=True, check=True)
            for _ in range(repeats)
        ]
        rows[name] = median(float(one.stdout) for one in done)
        print(f"{name}: {rows[name]:.2f} s on top of torch")
    return rows


def profile(case=CASES[0], steps=5):
    network, width, side, size = case
    for method in METHODS:
        step = step_of(made(method, network, width, side), *batch(size, side))
        step()
        with torch.profiler.profile() as found:
            for _ in range(steps):
                step()
        events = sorted(found.key_averages(), key=lambda event: -event.self_cpu_time_total)
        total = sum(event.self_cpu_time_total for event in events)
        print(f"{method}: {total / 1e3 / steps:.0f} ms a step")
        for event in events[:10]:
            print(f"  {event.self_cpu_time_total / total:6.1%}  {event.key}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["speed", "memory", "process", "depth", "loop", "stream", "import"])
    parser.add_argument("--case", type=int, choices=range(len(CASES)), help="of speed: this network alone")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--repeats", type=int, default=13)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("results/trainer.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.case is not None and arguments.only != "speed":
        parser.error("--case goes with --only speed")
    if arguments.profile:
        return profile()
    parts = {
        "memory": memory,
        "process": process,
        "depth": depth,
        "speed": lambda: speed(arguments.repeats, arguments.case),
        "loop": lambda: loop(4 * arguments.repeats),
        "stream": stream,
        "import": import_seconds,
    }
    found = {name: part() for name, part in parts.items() if arguments.only in (None, name)}
    if arguments.only is None:
        environment = describe_environment() | {"kernels": kernels_in_use(), "load_before": os.getloadavg()[0]}
        found |= {"command": "python benchmarks/trainer.py", "environment": environment}
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")
        write_drawing(arguments.out.with_suffix(".svg"), picture(found))
        print(table(found))
        print(f"written: {arguments.out} and its figure")


if __name__ == "__main__":
    main()
