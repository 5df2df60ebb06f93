"""Accuracy of the rules beside their twins on real images, in at most three hours on 2 cores.

    python benchmarks/cpu_protocol.py            # resumes from runs/cpu-protocol; writes results/cpu_protocol.json
    python benchmarks/cpu_protocol.py --only cifar10 fashion_mnist    # these tasks; prints, and writes nothing
    python benchmarks/cpu_protocol.py --first cosine    # with fixed first filters, rule and twins; results/cpu_protocol_cosine.json
    python benchmarks/cpu_protocol.py --smoke    # whether it runs: tiny sizes, numbers without meaning, nothing written

CIFAR-10 (10,000 training images, all 10,000 of the test split), CIFAR-100 (20,000), Caltech-101 at 64 px and the embedded Fashion-MNIST subset
(10,000); a share of the training images is the validation split. The test split is opened once a run, after the last epoch.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from command import add_first, run_main
from protocol import Task, run_protocol

from layerlocal.spec import DataSpec, NetworkSpec, Recipe

NETWORK = NetworkSpec(name="vgg8", width=0.125, fused=True)
RECIPE = Recipe(epochs=10, batch_size=64, learning_rate=5e-3, crop=4, flip=True)
TASKS = (
    Task("cifar10", DataSpec(source="cifar10", num_train=10_000, num_test=10_000), NETWORK, RECIPE),
    Task(
        "cifar100",
        DataSpec(source="cifar100", num_train=20_000, num_test=10_000),
        NETWORK,
        RECIPE.model_copy(update={"epochs": 5}),
    ),
    Task(
        "caltech101_64",
        DataSpec(source="caltech101_224", image_size=64),
        NETWORK,
        RECIPE.model_copy(update={"crop": 6, "epochs": 3}),
    ),
    Task(
        "fashion_mnist",
        DataSpec(source="fashion_mnist_subset"),
        NETWORK,
        RECIPE.model_copy(update={"crop": 2, "epochs": 8}),
    ),
)


def smaller(task):
    """The same in seconds."""
    data = task.data.model_copy(update={"num_train": 400, "num_test": 200})
    network = task.network.model_copy(update={"width": 0.0625})
    return Task(task.name, data, network, task.recipe.model_copy(update={"epochs": 1}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--only", nargs="+", choices=[task.name for task in TASKS], help="tasks; all where left out")
    add_first(parser)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/cpu-protocol"))
    given = parser.parse_args()
    tasks = [task.with_first(given.first) for task in TASKS if not given.only or task.name in given.only]
    tasks = [smaller(task) for task in tasks] if given.smoke else tasks
    out = Path("runs/cpu-protocol-smoke") if given.smoke else given.out
    name = "cpu_protocol" if given.first == "learned" else f"cpu_protocol_{given.first}"
    results = None if given.smoke or given.only else f"results/{name}.json"
    run_protocol(
        tasks, seeds=1 if given.smoke else given.seeds, out=out, results=results, workers=os.cpu_count(),
    )  # fmt: skip


if __name__ == "__main__":
    run_main(main)
