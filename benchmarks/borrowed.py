"""A rule beside its BP-DeepSup at settings that were tuned for another rule of its kind, so that its test images choose nothing.

    python benchmarks/borrowed.py                     # 45 minutes on 2 cores after `tuned.py --long`, whose runs in runs/tuned it uses
    python benchmarks/borrowed.py --data cifar100     # as long
    python benchmarks/borrowed.py --same              # the twin with the settings of the rule alone: two thirds of the time

Data, length and seeds of `tuned.py --long`. The rule has the best settings of `committee`; its twin has them once, and those that were best for
the twin of `committee` once. The test split is opened once a run. Writes results/borrowed_RULE.json, or results/borrowed_RULE_cifar100.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from command import finish, pinned, run_main, typed
from free_segments import tuned_runs
from tuned import SEEDS

from layerlocal.runs.environment import describe_environment
from layerlocal.runs.store import RunStore
from layerlocal.spec import RuleSpec
from layerlocal.stats import estimate
from layerlocal.words import difference

TWIN, OWN = "DeepSup, settings of the rule", "DeepSup, settings of a twin"


def runs_of(rule, data):
    """(method, seed) → run, what matters most first; those of `committee` are done."""
    known = tuned_runs(data)
    smoothing = {seed: known["committee", seed].rule.options for seed in SEEDS}
    own = {seed: known["bp-deepsup", seed].rule.options["label_smoothing"] for seed in SEEDS}

    def changed(base, seed, name, **options):
        return known[base, seed].model_copy(update={"rule": RuleSpec(name=name, options=options)})

    return {
        **{(rule, seed): changed("committee", seed, rule, **smoothing[seed]) for seed in SEEDS},
        **{(TWIN, seed): changed("committee", seed, "bp-deepsup", of=rule, **smoothing[seed]) for seed in SEEDS},
        **{
            (OWN, seed): changed("bp-deepsup", seed, "bp-deepsup", of=rule, label_smoothing=own[seed]) for seed in SEEDS
        },
        **{("committee", seed): known["committee", seed] for seed in SEEDS},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rule", default="panel")
    parser.add_argument("--data", choices=("cifar10", "cifar100"), default="cifar10")
    parser.add_argument("--same", action="store_true", help="leave out the twin at settings of its own kind")
    parser.add_argument("--out", type=Path, default=Path("runs/tuned"))
    given = parser.parse_args()
    specs, store = runs_of(given.rule, given.data), RunStore(given.out)
    specs = {key: spec for key, spec in specs.items() if not (given.same and key[0] == OWN)}
    specs = pinned(specs)
    finish(specs.values(), store)
    results = {key: store.load(spec.hash).result for key, spec in specs.items()}
    methods = list(dict.fromkeys(method for method, _ in specs))
    accuracies = {method: [results[method, seed]["test_accuracy"] for seed in SEEDS] for method in methods}
    local = accuracies[given.rule]
    differences = {
        f"{given.rule} − {other}": estimate([a - b for a, b in zip(local, accuracies[other], strict=True)])
        for other in methods[1:]
    }
    for method, values in accuracies.items():
        print(f"{method}: {100 * estimate(values)['mean']:.1f} %")
    print("\n".join(f"{key}: {difference(value)}" for key, value in differences.items()))
    content = {"command": typed(), "environment": describe_environment(), "seeds": SEEDS, "accuracies": accuracies, "differences": differences,
               "blocks": {method: {str(seed): results[method, seed]["block_accuracies"] for seed in SEEDS} for method in methods},
               "settings": {method: {"learning_rate": specs[method, SEEDS[0]].recipe.learning_rate,
                                     "label_smoothing": specs[method, SEEDS[0]].rule.options["label_smoothing"]} for method in methods},
               "runs": {f"{method}, seed {seed}": spec.hash for (method, seed), spec in specs.items()}}  # fmt: skip
    name = f"borrowed_{given.rule}" + ("" if given.data == "cifar10" else f"_{given.data}")
    Path(f"results/{name}.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    run_main(main)
