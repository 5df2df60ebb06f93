"""The search for the best local rule: one thing changed at a time, each variant beside its exact twins, judged on validation data only.

    python benchmarks/rule_search.py                       # what can be tried, and what has been
    python benchmarks/rule_search.py base grid-4 boost     # runs these (resumes from runs/search) and prints their rows
    python benchmarks/rule_search.py --data cifar100 --seeds 3 base
    python benchmarks/rule_search.py --screen wide deep    # the local rule alone: a third of the time, no price

A row: validation accuracy of the fused prediction, local and twin, and their paired difference (the price of locality) with its 95 % interval;
BP, the same runs for all, reads the last head of `base`.
The rows, what was expected of each and what was concluded stand in docs/search-log.md. The test split is never opened.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from rich.console import Console

from layerlocal.progress import ManyRuns
from layerlocal.run import pin_plugin
from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RuleSpec, RunSpec
from layerlocal.stats import estimate
from layerlocal.store import RunStore
from layerlocal.workers import run_many

FILES = [
    f"{Path(__file__).resolve().with_name(name)}"
    for name in (
        "search_variant.py:Variant",
        "search_variant2.py:Variant2",
        "search_variant3.py:Variant3",
        "search_variant4.py:Variant4",
        "search_variant5.py:Variant5",
        "search_variant6.py:Variant6",
        "search_variant7.py:Variant7",
        "search_variant8.py:Variant8",
    )
]
FILE = FILES[0]
TRIED: dict[str, dict] = {
    "base": {},
    "linear": {"head": "linear"},
    "linear-4": {"head": "linear", "grid": 4},
    "linear-8": {"head": "linear", "grid": 8},
    "mean": {"statistic": "mean"},
    "grid-1": {"grid": 1},
    "grid-4": {"grid": 4},
    "deep": {"layers": 2},
    "wide": {"width": 256},
    "narrow": {"width": 64},
    "fine": {"reduction": 2},
    "feed-rms": {"feed": "rms"},
    "smooth": {"smoothing_first": 0.1, "smoothing_last": 0.1},
    "smooth-early": {"smoothing_first": 0.3, "smoothing_last": 0.0},
    "cold": {"temperature": 0.5},
    "boost": {"boost": 1.0, "fusion": "last"},
    "boost-half": {"boost": 0.5, "fusion": "last"},
    "last": {"fusion": "last"},
    "dropout": {"dropout": 0.3},
    "half-read": {"read": 0.5},
    "stream": {"stream": 1.0},
}
"""Name → options of the first rule."""
NETS: dict[str, dict] = {
    "net": {},
    "net-1": {"layers": 1},
    "net-3": {"layers": 3},
    "net-max": {"down": "max"},
    "net-conv": {"down": "conv"},
    "net-conv3": {"down": "conv3"},
    "net-16": {"start": 16},
    "net-wide": {"factor": 2.0},
    "net-boost": {"boost": 1.0, "fusion": "last"},
    "net-recon": {"recon": 1.0},
    "net-dropout": {"dropout": 0.1},
    "net-mean": {"statistic": "mean"},
}
"""Name → options of the second rule, which has its own base."""
KEEPS: dict[str, dict] = {
    "keep": {},
    "decor": {"decor": 0.1},
    "decor-1": {"decor": 1.0},
    "several": {"several": "2@8 1@8"},
    "keep-recon": {"recon": 1.0},
}
"""Name → options of the third rule."""
SEGMENTS: dict[str, dict] = {
    "1-1-4": {"segments": "1-1-4"},
    "1-1-2-2": {"segments": "1-1-2-2"},
    "2-4": {"segments": "2-4"},
    "1-5": {"segments": "1-5"},
    "half": {"segments": "1-1-1-1-1-1"},
    "half-16": {"segments": "1-1-1-1-1-1", "start": 16},
    "flat-4": {"segments": "1-1-1-1-1-1", "start": 4, "factor": 8.0, "widest": 32},
    "flat-4-wide": {"segments": "1-1-1-1-1-1", "start": 4, "factor": 8.0, "widest": 64},
    "flat-8": {"segments": "1-1-1-1-1-1", "start": 8, "factor": 8.0, "widest": 32},
    "flat-4-decor": {"segments": "1-1-1-1-1-1", "start": 4, "factor": 8.0, "widest": 64, "decor": 0.1},
}
"""Name → options of the fourth rule."""
STACKS: dict[str, dict] = {"stack": {}, "stack-1-1-4": {"segments": "1-1-4"}}
"""Name → options of the fifth rule."""
COMMITTEES: dict[str, dict] = {
    "two": {},
    "two-half": {"factor": 0.5},
    "three": {"heads": "2@8 1@8 2@4"},
    "four-4": {"heads": "1@4 1@4 1@4 1@4"},
    "two-4": {"heads": "2@4 1@4"},
    "two-lin": {"heads": "2@8 lin"},
    "unlike": {"heads": "2@8:conv 1@8:max 1@4:avg lin"},
    "two-decor": {"decor": 0.1},
    "two-lin-fitted": {"heads": "2@8 lin", "fusion": "fitted"},
    "two-lin-decor": {"heads": "2@8 lin", "decor": 0.1},
    "lin-1-2": {"heads": "2@8 1@8 lin"},
    "half-lin": {"heads": "2@8 lin4", "factor": 0.5},
    "eight-4": {"heads": "1@4 1@4 1@4 1@4 1@4 1@4 1@4 1@4", "factor": 0.5},
}
"""Name → options of the sixth rule."""
PROJECTED: dict[str, dict] = {
    "p16": {},
    "p16-one": {"heads": "2@16"},
    "p16-three": {"heads": "2@16 2@16 2@16"},
    "p8": {"heads": "2@8 2@8"},
    "p16-8": {"heads": "3@16 2@8"},
    "p16-decor": {"decor": 0.1},
    "p16-narrow": {"width": 16},
    "p32": {"heads": "3@32 2@16", "width": 16},
}
"""Name → options of the seventh rule."""
GROWING: dict[str, dict] = {
    "g": {},
    "g-lin": {"heads": "2@16 lin"},
    "g-one": {"heads": "2@16"},
    "g-3": {"heads": "3@16 2@16"},
    "g-1": {"heads": "2@16 1@16"},
    "g-wide": {"budget": 512},
    "g-narrow": {"budget": 128},
}
"""Name → options of the eighth rule."""
GROUPS = (TRIED, NETS, KEEPS, SEGMENTS, STACKS, COMMITTEES, PROJECTED, GROWING)
ALL = {name: options for group in GROUPS for name, options in group.items()}
RECIPE = Recipe(batch_size=64, learning_rate=5e-3, crop=4, flip=True)
TASKS = {
    "cifar10": DataSpec(source="cifar10", num_train=10_000, num_test=1000, validation=0.25),
    "cifar100": DataSpec(source="cifar100", num_train=20_000, num_test=1000, validation=0.15),
}


def specs_of(name, data, seeds, width, epochs, rate, batch):
    """(method, seed) → run."""
    index = next(i for i, group in enumerate(GROUPS) if name in group)
    file, options = FILES[index], GROUPS[index][name]
    rules = {
        "local": RuleSpec(name=file, options=options),
        "bp-deepsup": RuleSpec(name="bp-deepsup", options={"of": file, **options}),
        "bp": RuleSpec(name="bp", options={"of": FILE}),
    }
    network = NetworkSpec(name="vgg8", width=width, fused=True)
    recipe = RECIPE.model_copy(update={"epochs": epochs, "learning_rate": rate, "batch_size": batch})
    return {
        (method, seed): pin_plugin(
            RunSpec(data=TASKS[data], network=network, rule=rule, recipe=recipe, seed=seed, judged_on="validation")
        )
        for seed in range(seeds)
        for method, rule in rules.items()
    }


def row_of(name, specs, store):
    """Means over the seeds that a method has, differences over those that both have."""
    found = {key: store.load(spec.hash).result for key, spec in specs.items() if store.is_done(spec)}
    of = {m: {seed: result["validation_accuracy"] for (method, seed), result in found.items() if method == m}
          for m in ("local", "bp-deepsup", "bp")}  # fmt: skip
    if not of["local"]:
        return f"| {name} | {json.dumps(ALL[name])} | not run | | | | | | |"
    means = [f"{100 * sum(values.values()) / len(values):.1f}" if values else "–" for values in of.values()]
    differences = [as_points(of["local"], of[twin]) for twin in ("bp-deepsup", "bp")]
    blocks = next(result for (method, _), result in found.items() if method == "local")["block_accuracies"].values()
    own = ", ".join(f"{100 * value:.0f}" for value in blocks)
    cells = [name, json.dumps(ALL[name]), *means, *differences, str(len(of["local"])), own]
    return f"| {' | '.join(cells)} |"


def as_points(local, twin):
    """Their paired difference with its interval, in percentage points."""
    both = sorted(local.keys() & twin.keys())
    if not both:
        return "–"
    value = estimate([local[seed] - twin[seed] for seed in both])
    interval = f" [{100 * value['low']:+.1f}, {100 * value['high']:+.1f}]" if value["low"] is not None else ""
    return f"{100 * value['mean']:+.1f}{interval}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="variants; all that were run where left out")
    parser.add_argument("--data", default="cifar10", choices=TASKS)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--width", type=float, default=0.125)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=RECIPE.learning_rate)
    parser.add_argument("--batch-size", type=int, default=RECIPE.batch_size)
    parser.add_argument("--screen", action="store_true", help="run the local rule alone")
    parser.add_argument("--no-bp", action="store_true", help="run the local rule and BP-DeepSup")
    parser.add_argument("--out", type=Path, default=Path("runs/search"))
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in ALL]
    if unknown:
        parser.error(f"unknown variant {unknown[0]!r}; known: {', '.join(ALL)}")
    store = RunStore(arguments.out)
    store.prepare()
    setting = [getattr(arguments, key) for key in ("data", "seeds", "width", "epochs", "learning_rate", "batch_size")]
    specs = {name: specs_of(name, *setting) for name in arguments.names or ALL}
    if arguments.names:
        wanted = ("local", "bp-deepsup", "bp")[: 1 if arguments.screen else 2 if arguments.no_bp else 3]
        asked = [{key: spec for key, spec in of.items() if key[0] in wanted} for of in specs.values()]
        todo = list({spec.hash: spec for of in asked for spec in of.values() if not store.is_done(spec)}.values())
        with ManyRuns(Console(stderr=True), len(todo), workers=os.cpu_count()) as progress:
            run_many(todo, store, workers=os.cpu_count(), threads=1, listen=progress, on_done=progress.done)
    head = ["variant", "change", "local %", "BP-DeepSup %", "BP %", "price, pp", "gap, pp", "n", "local by block %"]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for name, of in specs.items():
        print(row_of(name, of, store))


if __name__ == "__main__":
    main()
