"""The search for the best local rule: one thing changed at a time, each variant beside its exact twins, judged on validation data only.

    python benchmarks/rule_search.py                       # what can be tried, and what has been
    python benchmarks/rule_search.py base grid-4 boost     # runs these (resumes from runs/search) and prints their rows
    python benchmarks/rule_search.py --data cifar100 --seeds 3 base
    python benchmarks/rule_search.py --screen wide deep    # the local rule alone: a third of the time, no price

A row: validation accuracy of the fused prediction, local and twin, and their paired difference (the price of locality) with its 95 % interval;
BP, the same runs for all, reads the last head of `base`. Beside them the FLOPs of its
training step over those of BP with a linear readout, in that network and in the same one at width 1.
The rows, what was expected of each and what was concluded stand in results/search-log.md. The test split is never opened.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from command import add_first, finish, first_options, pinned, run_main

from layerlocal.experiments.studies.words import points
from layerlocal.measure.flops import measure_flops
from layerlocal.networks import create_network
from layerlocal.rules import create_rule
from layerlocal.runs.store import RunStore
from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RuleSpec, RunSpec
from layerlocal.stats import estimate

FILES = {
    name: f"{Path(__file__).resolve().with_name(file)}:{name}"
    for name, file in (
        ("Variant", "search_variant.py"),
        ("Readers", "search_readers.py"),
        ("Uneven", "search_uneven.py"),
        ("Teaching", "search_teaching.py"),
        ("Context", "search_context.py"),
        ("Stem", "search_stem.py"),
        ("Late", "search_late.py"),
    )
}
TRIED: dict[str, dict] = {
    "base": {},
    "boost": {"boost": 1.0, "fusion": "last"},
    "stream": {"stream": 1.0},
    "smooth": {"smoothing": 0.1},
    "cold": {"temperature": 0.5},
    "net": {"heads": "2@8", "down": "mean"},
    "net-3": {"heads": "3@8", "down": "mean"},
    "net-recon": {"heads": "2@8", "down": "mean", "recon": 1.0},
    "net-conv": {"heads": "2@8"},
    "flat-4": {"heads": "2@4", "factor": 8.0, "widest": 32},
    "flat-4-wide": {"heads": "2@4", "factor": 8.0, "widest": 64},
    "decor": {"heads": "2@8", "decor": 0.1},
    "two": {"heads": "2@8 1@8"},
    "two-half": {"heads": "2@8 1@8", "factor": 0.5},
    "two-lin": {"heads": "2@8 lin"},
    "two-lin-decor": {"heads": "2@8 lin", "decor": 0.1},
    "two-lin-fitted": {"heads": "2@8 lin", "fusion": "fitted"},
    "lin-1-2": {"heads": "2@8 1@8 lin"},
    "lin-2-2": {"heads": "2@8 2@8 lin", "widest": 48},
    "lin-2-2-decor": {"heads": "2@8 2@8 lin", "widest": 48, "decor": 0.1},
    "smooth-2-2": {"heads": "2@8 2@8 lin", "widest": 48, "smoothing": 0.19},
    "smooth-2-2-decor": {"heads": "2@8 2@8 lin", "widest": 48, "smoothing": 0.19, "decor": 0.1},
    "smooth-2-2-decor-3": {"heads": "2@8 2@8 lin", "widest": 48, "smoothing": 0.19, "decor": 0.3},
    **{
        f"cut-{cut}": {"heads": "2@8 2@8 lin", "widest": 48, "smoothing": 0.19, "segments": segments}
        for cut, segments in {1: "2-1-1-1-1", 2: "1-2-1-1-1", 3: "1-1-2-1-1", 4: "1-1-1-2-1", 5: "1-1-1-1-2"}.items()
    },
    **{
        f"only-{cut}": {"heads": "2@8 2@8 lin", "widest": 48, "smoothing": 0.19, "segments": f"{cut}-{6 - cut}"}
        for cut in (1, 2, 3)
    },
    "smooth-dear": {"heads": "3@16 3@16 lin", "budget": 512, "smoothing": 0.19},
    "smooth-dear-256": {"heads": "3@16 3@16 lin", "budget": 256, "smoothing": 0.19},
    "six": {"heads": "3@16 3@16 2@16 3@8 2@8 1@8 lin", "budget": 256, "smoothing": 0.19},
    "six-512": {"heads": "3@16 3@16 2@16 3@8 2@8 1@8 lin", "budget": 512, "smoothing": 0.19},
    "four": {"heads": "3@16 2@16 2@8 1@8 lin", "budget": 256, "smoothing": 0.19},
    "dear": {"heads": "3@16 3@16 lin", "budget": 512},
    "g": {"heads": "2@16 2@16", "budget": 256},
    "g-lin": {"heads": "2@16 lin", "budget": 256},
    "lin": {"heads": "lin"},
    "lin-1": {"heads": "1@8 lin"},
    "lin-1-1": {"heads": "1@8 1@8 lin"},
    "lin-1-16": {"heads": "1@16 lin"},
    "lin-2-agree": {"heads": "2@8 lin", "agree": 0.5},
    "lin-2-dropout": {"heads": "2@8 lin", "dropout": 0.1},
    "lin-2-smooth": {"heads": "2@8 lin", "smoothing": 0.1},
    "lin4-2": {"heads": "2@8 lin4"},
    "1-1-4": {"heads": "2@8 lin", "segments": "1-1-4"},
    "1-1-2-2": {"heads": "2@8 lin", "segments": "1-1-2-2"},
}
"""Name → what is changed of the variant's defaults. Segments of several blocks are not strictly local."""
CHANGING: dict[str, dict] = {
    "readers": {"label_smoothing": 0.19},
    "readers-drop": {"label_smoothing": 0.19, "dropout": 0.1},
    "readers-drop-late": {"label_smoothing": 0.19, "dropout": 0.2, "first": 3},
    "between-late": {"label_smoothing": 0.19, "between": 0.1, "first": 2},
    "readers-renewed": {"label_smoothing": 0.19, "renew_every": 117, "renew_until": 702},
}
"""The same of `search_readers.py`; an epoch has 117 steps."""
UNEVEN: dict[str, dict] = {
    "early-dear": {"label_smoothing": 0.19, "words": "3@16 3@16", "budget": 512},
    "early-dearer": {"label_smoothing": 0.19, "words": "4@16 4@16", "budget": 1024},
    "early-six": {"label_smoothing": 0.19, "words": "3@16 3@16 2@16 3@8 2@8 1@8", "budget": 256},
    "early-dear-alone": {"label_smoothing": 0.19, "words": "3@16 3@16", "budget": 512, "late_nets": 0},
}
"""The same of `search_uneven.py`."""
TEACHING: dict[str, dict] = {
    "teach": {"label_smoothing": 0.19},
    "teach-slow": {"label_smoothing": 0.19, "trunk": 3.0},
    "teach-fast": {"label_smoothing": 0.19, "trunk": 0.33},
    "teach-nets": {"label_smoothing": 0.19, "linear_from": 3},
}
"""The same of `search_teaching.py`."""
CONTEXT: dict[str, dict] = {
    "see-image": {"label_smoothing": 0.19},
    "see-before": {"label_smoothing": 0.19, "source": "before"},
    "join-before": {"label_smoothing": 0.19, "source": "before", "way": "join", "cheap": True},
    "join-before-whole": {"label_smoothing": 0.19, "source": "before", "way": "join"},
}
"""The same of `search_context.py`."""
STEM: dict[str, dict] = {
    **{f"stem-{stem}": {"label_smoothing": 0.19, "stem": stem} for stem in ("fixed", "cosine", "random")},
    "fine": {"label_smoothing": 0.19, "stem": "learned", "early": 3, "words": "4@32 4@32"},
    "fine-all": {"label_smoothing": 0.19, "stem": "learned", "early": 6, "words": "4@32 4@32"},
    "fine-fixed": {"label_smoothing": 0.19, "early": 3, "words": "4@32 4@32"},
}
"""The same of `search_stem.py`."""
LATE: dict[str, dict] = {
    "late-64": {"label_smoothing": 0.19},
    "wide-64": {"label_smoothing": 0.19, "late": 1},
    "wide-64-2": {"label_smoothing": 0.19, "late": 1, "late_words": "2@8 2@8"},
    "late-96": {"label_smoothing": 0.19, "widest": 96},
    "late-128": {"label_smoothing": 0.19, "widest": 128},
    "late-dear": {"label_smoothing": 0.19, "late_budget": 1024},
}
"""The same of `search_late.py`."""
OWN: dict[str, tuple[str, dict]] = {
    **{f"{rule}-{grid}": (rule, {"grid": grid}) for rule in ("dtg-ff", "committee") for grid in (2, 4, 8)},
    "dtg-ff-4-cold": ("dtg-ff", {"grid": 4, "temperature_gain": -1.0}),
    "dtg-ff-4-fixed": ("dtg-ff", {"grid": 4, "dynamic_temperature": False}),
    "deep-64": ("committee", {"head_layers": 3, "head_width": 64, "label_smoothing": 0.19}),
    "wide": ("committee", {"wide": True, "head_width": 64, "label_smoothing": 0.19}),
    "wide-3": ("committee", {"wide": True, "head_width": 64, "head_layers": 3, "label_smoothing": 0.19}),
    **{f"panel-{width}": ("panel", {"head_width": width, "label_smoothing": 0.19}) for width in (48, 64, 128)},
}
"""Rules of the package: by cells a side, by temperature (lower where a block is clear, or 1), by how deep and how wide their nets may be."""
ROWS = OWN | {
    name: (FILES[kind], options)
    for kind, rows in (
        ("Variant", TRIED), ("Readers", CHANGING), ("Uneven", UNEVEN), ("Teaching", TEACHING), ("Context", CONTEXT),
        ("Stem", STEM), ("Late", LATE),
    )
    for name, options in rows.items()
}  # fmt: skip
"""Every row: name → rule, by name or file, and its options."""
RECIPE = Recipe(batch_size=64, learning_rate=5e-3, crop=4, flip=True)
TASKS = {
    "cifar10": DataSpec(source="cifar10", num_train=10_000, num_test=1000, validation=0.25),
    "cifar100": DataSpec(source="cifar100", num_train=20_000, num_test=1000, validation=0.15),
}


def specs_of(name, data, seeds, network, width, epochs, rate, batch, first):
    """(method, seed) → run. ``first``: option of the network."""
    file, options = ROWS[name]
    rules = {
        "local": RuleSpec(name=file, options=options),
        "bp-deepsup": RuleSpec(name="bp-deepsup", options={"of": file, **options}),
        "bp": RuleSpec(name="bp", options={"of": FILES["Variant"]}),
    }
    network = NetworkSpec(name=network, width=width, fused=True, options=first_options(first))
    recipe = RECIPE.model_copy(update={"epochs": epochs, "learning_rate": rate, "batch_size": batch})
    specs = {
        (method, seed): RunSpec(
            data=TASKS[data], network=network, rule=rule, recipe=recipe, seed=seed, judged_on="validation"
        )
        for seed in range(seeds)
        for method, rule in rules.items()
    }
    return pinned(specs)


def flops_of(rule, options, network, width, num_classes, first="learned"):
    """Of a training step on 32-pixel images."""
    built = create_network(network, in_channels=3, image_size=32, width=width, **first_options(first))
    step = create_rule(rule, built, num_classes=num_classes, **options)
    return measure_flops(step, torch.zeros(2, 3, 32, 32), torch.zeros(2, dtype=torch.long))["flops_per_step"]


def cost_of(name, network, widths, num_classes, first):
    """FLOPs over BP's, which learns all filters, at each width, as text."""
    of = [(flops_of(*ROWS[name], network, width, num_classes, first),
           flops_of("bp", {"of": "local-heads"}, network, width, num_classes)) for width in widths]  # fmt: skip
    return ", ".join(f"{rule / bp:.2f}" for rule, bp in of)


def row_of(name, specs, store, network, widths, num_classes, first):
    """Means over the seeds that a method has, differences over those that both have."""
    found = {key: store.load(spec.hash).result for key, spec in specs.items() if store.is_done(spec)}
    of = {m: {seed: result["validation_accuracy"] for (method, seed), result in found.items() if method == m}
          for m in ("local", "bp-deepsup", "bp")}  # fmt: skip
    if not of["local"]:
        return f"| {name} | {json.dumps(ROWS[name][1])} | | not run | | | | | | |"
    means = [f"{100 * sum(values.values()) / len(values):.1f}" if values else "–" for values in of.values()]
    differences = [as_points(of["local"], of[twin]) for twin in ("bp-deepsup", "bp")]
    blocks = next(result for (method, _), result in found.items() if method == "local")["block_accuracies"].values()
    own = ", ".join(f"{100 * value:.0f}" for value in blocks)
    cost = cost_of(name, network, widths, num_classes, first)
    cells = [name, json.dumps(ROWS[name][1]), cost, *means, *differences, str(len(of["local"])), own]
    return f"| {' | '.join(cells)} |"


def as_points(local, twin):
    """Their paired difference with its interval."""
    both = sorted(local.keys() & twin.keys())
    return points(estimate([local[seed] - twin[seed] for seed in both])) if both else "–"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="variants; all that were run where left out")
    parser.add_argument("--data", default="cifar10", choices=TASKS)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--network", default="vgg8")
    parser.add_argument("--width", type=float, default=0.125)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=RECIPE.learning_rate)
    parser.add_argument("--batch-size", type=int, default=RECIPE.batch_size)
    add_first(parser)
    parser.add_argument("--screen", action="store_true", help="run the local rule alone")
    parser.add_argument("--no-bp", action="store_true", help="run the local rule and BP-DeepSup")
    parser.add_argument("--out", type=Path, default=Path("runs/search"))
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in ROWS]
    if unknown:
        parser.error(f"unknown variant {unknown[0]!r}; known: {', '.join(ROWS)}")
    store = RunStore(arguments.out)
    store.prepare()
    setting = [
        getattr(arguments, key)
        for key in ("data", "seeds", "network", "width", "epochs", "learning_rate", "batch_size", "first")
    ]
    specs = {name: specs_of(name, *setting) for name in arguments.names or ROWS}
    if arguments.names:
        wanted = ("local", "bp-deepsup", "bp")[: 1 if arguments.screen else 2 if arguments.no_bp else 3]
        asked = [{key: spec for key, spec in of.items() if key[0] in wanted} for of in specs.values()]
        finish([spec for of in asked for spec in of.values()], store)
    classes = {"cifar10": 10, "cifar100": 100}[arguments.data]
    head = ("variant", "change", "FLOPs ÷ BP here, at width 1", "local %", "BP-DeepSup %", "BP %", "price", "gap", "n",
            "local by block %")  # fmt: skip
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for name, of in specs.items():
        print(row_of(name, of, store, arguments.network, (arguments.width, 1.0), classes, arguments.first))


if __name__ == "__main__":
    run_main(main)
