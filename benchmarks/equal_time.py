"""How far each rule gets in the same time: validation accuracy against seconds of training, 10 minutes of 2 cores each, CIFAR-10, 10,000 images.

    python benchmarks/equal_time.py             # about 85 minutes; goes on after the rules that are done; results/equal_time.json and .svg
    python benchmarks/equal_time.py --again bp  # measures these rules anew, say after the machine stood still
    python benchmarks/equal_time.py --smoke     # whether it runs: seconds, nothing written

Every rule has the same network, batches, augmentation and optimizer, and as many steps as its own speed allows: some steps are timed first, then
the learning rate falls to 0 over the steps that fit. The clock runs for training only; the test split stays closed. Run it on an idle machine:
an epoch of twice the usual time is told, since then the rule had fewer steps than its neighbours.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median

import torch
from command import run_main, typed, write_drawing

from layerlocal.data import load_data
from layerlocal.networks import create_network
from layerlocal.report.draw import draw_figure
from layerlocal.rules import create_rule
from layerlocal.runs.environment import describe_environment
from layerlocal.runs.timing import measure_pace
from layerlocal.spec import Recipe
from layerlocal.summary import Figure
from layerlocal.training.train import Training
from layerlocal.types import InputError

METHODS = {
    "bp": {"of": "local-heads", "grid": 4},
    "committee": {},
    "dtg-ff": {"grid": 4},
    "deeperforward": {},
    "cwcomp": {},
    "scff": {},
    "predsim": {},
}
"""Rule → options."""
WIDTH = 0.3125  # channels 40, 80, 160: multiples of 10, which channel groups of 10 classes divide
RECIPE = Recipe(epochs=1, batch_size=64, learning_rate=5e-3, crop=4, flip=True)
TIMED_STEPS = 24


def training_of(name, data, steps, seed=0):
    network = create_network(
        "vgg8", in_channels=3, image_size=32, width=WIDTH, seed=seed, channels_last=True, fused=True
    )
    rule = create_rule(name, network, num_classes=data.num_classes, seed=seed, **METHODS[name])
    return Training(rule, data, RECIPE.model_copy(update={"steps": steps}), seed=seed)


def run(name, data, seconds):
    steps = max(1, int(seconds / measure_pace(training_of(name, data, TIMED_STEPS), TIMED_STEPS).step))
    training, spent, points, took = training_of(name, data, steps), 0.0, [], []
    while not training.finished:
        record = training.run_epoch()
        spent += record.seconds
        took.append(record.seconds)
        points.append({"seconds": spent, "validation_accuracy": record.validation.accuracy, "epoch": record.epoch})
        print(
            f"{name}: {spent:6.1f} s, epoch {record.epoch}/{training.epochs}, {record.validation.accuracy:.1%}",
            flush=True,
        )
    if max(took) > 2 * median(took):
        slow = f"epoch {1 + took.index(max(took))} took {max(took):.0f} s, the usual one {median(took):.0f} s"
        print(f"{name}: {slow}: did the machine stand still? Measure again with --again {name}", flush=True)
    return {"method": name, "options": METHODS[name], "steps": steps, "seconds": spent, "points": points, "asked_seconds": seconds,
            "threads": torch.get_num_threads(), "environment": describe_environment(), "command": typed()}  # fmt: skip


def picture(rows):
    series = [
        {"name": row["method"], "points": [{"x": p["seconds"], "y": 100 * p["validation_accuracy"]} for p in row["points"]]}
        for row in rows
    ]  # fmt: skip
    figure = {
        "name": "equal-time", "kind": "lines", "title": "Validation accuracy after the same time of training",
        "caption": "Validation accuracy against seconds of training", "series": series,
        "x": {"label": "seconds of training on 2 cores"}, "y": {"label": "validation accuracy, %"},
    }  # fmt: skip
    return draw_figure(Figure(**figure), "equal-time")[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--again", nargs="+", choices=METHODS, default=[], help="rules whose rows are measured anew")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    numbers = {"num_train": 640, "num_test": 100} if given.smoke else {"num_train": 10_000, "num_test": 1000}
    data = load_data("cifar10", validation=0.2, **numbers)
    path = Path("results/equal_time.json")
    done = json.loads(path.read_text())["rows"] if path.exists() and not given.smoke else []
    rows = {row["method"]: row for row in done if row["method"] not in given.again}
    for row in rows.values():
        if (row["asked_seconds"], row["threads"]) != (given.seconds, given.threads):
            raise InputError(
                f"{path} has {row['method']} at {row['asked_seconds']:g} s on {row['threads']} threads, which does not compare; "
                "ask for the same, or measure all of them with --again"
            )
    for name in METHODS:
        if name in rows:
            continue
        rows[name] = run(name, data, 2.0 if given.smoke else given.seconds)
        if not given.smoke:
            found = [rows[name] for name in METHODS if name in rows]
            content = {"width": WIDTH, "recipe": RECIPE.model_dump(), "rows": found}
            path.write_text(json.dumps(content, indent=1) + "\n")
            write_drawing("results/equal_time.svg", picture(found))


if __name__ == "__main__":
    run_main(main)
