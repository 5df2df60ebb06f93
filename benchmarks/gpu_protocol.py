"""Accuracy at full strength on one GPU: CIFAR-10 and CIFAR-100 whole, data on the device, bf16, compiled blocks; each rule with its twins.

    python benchmarks/gpu_protocol.py                  # at most 25 minutes on one H200; resumes from runs/gpu-protocol
    python benchmarks/gpu_protocol.py --smoke          # end to end on the CPU in two minutes: tiny sizes, numbers without meaning
    python benchmarks/gpu_protocol.py --plain          # learned first filters, rules as they are; results/gpu_protocol_plain.json
    python benchmarks/gpu_protocol.py --epochs 200     # as long as the published figures were trained

Writes results/gpu_protocol.json. Published, strictly local: predsim VGG8b 94.42 / 75.93 % (arXiv:1901.06656, 400 epochs);
DTG-FF 91.8 % on CIFAR-10.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from command import run_main
from protocol import RULES, STRONGEST, Protocol, Task, run_protocol

from layerlocal.spec import DataSpec, NetworkSpec, Recipe


def tasks(epochs, smoke):
    device_options = {} if smoke else {"precision": "bf16"}
    recipe = Recipe(
        epochs=1 if smoke else epochs, batch_size=32 if smoke else 256, learning_rate=5e-3, crop=4, flip=True, cutout=8, **device_options
    )  # fmt: skip
    network = NetworkSpec(name="vgg8", width=0.0625 if smoke else 1.0, compile=not smoke)
    numbers = {"num_train": 200, "num_test": 100} if smoke else {}
    return [
        Task(name, DataSpec(source=name, validation=0.1 if smoke else 0.02, **numbers), network, recipe)
        for name in ("cifar10", "cifar100")
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--plain", action="store_true", help="not with fixed first filters and wide readers")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-protocol"))
    given = parser.parse_args()
    if not given.smoke and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; --smoke runs it on the CPU")
    first, rules, name = (
        ("learned", RULES, "gpu_protocol_plain") if given.plain else ("cosine", STRONGEST, "gpu_protocol")
    )
    run_protocol(
        Protocol([task.with_first(first) for task in tasks(given.epochs, given.smoke)], rules), seeds=tuple(range(given.seeds)),
        out=Path("runs/gpu-protocol-smoke") if given.smoke else given.out, results=None if given.smoke else f"results/{name}.json", workers=1,
        threads=None, device="cpu" if given.smoke else "cuda",
    )  # fmt: skip


if __name__ == "__main__":
    run_main(main)
