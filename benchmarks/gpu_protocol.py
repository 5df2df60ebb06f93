"""Accuracy at full strength on one GPU: CIFAR-10 and CIFAR-100 whole, bf16, compiled blocks; each rule with its twins, as `layerlocal study`.

    python benchmarks/gpu_protocol.py                  # the study `accuracy` of each rule; resumes from runs/gpu-protocol
    python benchmarks/gpu_protocol.py --smoke          # end to end on the CPU on embedded images: tiny sizes, numbers without meaning
    python benchmarks/gpu_protocol.py --plain          # learned first filters, rules as they are; results/gpu_protocol_plain.json
    python benchmarks/gpu_protocol.py --epochs 200     # as long as the published figures were trained

Writes results/gpu_protocol.json: rule → summary. Published, strictly local: predsim VGG8b 94.42 / 75.93 % (arXiv:1901.06656, 400 epochs);
DTG-FF 91.8 % on CIFAR-10. Each method at its best: `layerlocal study best --size full --device cuda` with the same ``--set``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from command import run_main, typed

from layerlocal.experiments.studies.running import run_study

RULES = {"committee": {"wide": True, "head_width": 64}, "dtg-ff": {"fusion": "fitted"}}
"""Rule → the options that validation data of CIFAR-10 found best (results/search-log.md), for networks with fixed first filters."""
STRONG = {
    "recipe.batch_size": 256, "recipe.precision": "bf16", "recipe.cutout": 8, "data.validation": 0.02, "network.compile": True,
}  # fmt: skip
DATA, SMOKE_DATA = ["cifar10", "cifar100"], ["fashion_mnist_subset"]
SMOKE = {
    "recipe.batch_size": 32, "network.width": 0.0625, "data.num_train": 200, "data.num_test": 100,
}  # fmt: skip


def settings_of(rule, *, epochs, smoke, plain):
    """Of every run of a rule and its twins."""
    found = {"recipe.epochs": 1 if smoke else epochs, **(SMOKE if smoke else STRONG)}
    return found if plain else {**found, "network.first": "cosine", **{f"rule.{k}": v for k, v in RULES[rule].items()}}


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
    name = "gpu_protocol_plain" if given.plain else "gpu_protocol"
    out = Path("runs/gpu-protocol-smoke") if given.smoke else given.out
    found = {}
    for rule in RULES:
        summary = run_study(
            out / f"{name}-{rule}", "accuracy", size="full", rules=[rule], seeds=given.seeds, data=SMOKE_DATA if given.smoke else DATA,
            settings=settings_of(rule, epochs=given.epochs, smoke=given.smoke, plain=given.plain), command=typed(), workers=1,
            device="cpu" if given.smoke else "cuda",
        )  # fmt: skip
        found[rule] = summary.to_dict()
        print("\n".join(summary.sentences))
    if not given.smoke:
        Path(f"results/{name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    run_main(main)
