"""What a first block that nobody trains is worth: the longer runs of `tuned.py`, rule and twins, with `network.first=cosine`, paired with those
same runs as they are.

    python benchmarks/first_filters.py --data cifar100      # 25 minutes on 2 cores after `tuned.py --data cifar100 --long`
    python benchmarks/first_filters.py --rule dtg-ff        # 20 minutes after `tuned.py --rules dtg-ff --long --with-bp --best-only`

Nothing is tuned for it: each method has the settings that were best for it with learned filters. The test split is opened once a run. Writes
results/first_filters_RULE.json, or results/first_filters_RULE_cifar100.json. Settings of its own: `tuned.py --first cosine`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from command import finish, pinned, run_main, typed
from cpu_tasks import task_named
from tuned import SEEDS, judged_runs, plan_of

from layerlocal.runs.environment import describe_environment
from layerlocal.runs.store import RunStore
from layerlocal.stats import estimate
from layerlocal.types import InputError
from layerlocal.words import difference

METHODS = {"bp-deepsup": "BP-DeepSup", "bp": "BP"}
"""First word of a method's label → name; any other is the local rule."""
PAIRS = {
    "price of locality": ("local, fixed", "BP-DeepSup, fixed"),
    "gap to BP": ("local, fixed", "BP, fixed"),
    "price, twin with learned filters": ("local, fixed", "BP-DeepSup, learned"),
    "price, all filters learned": ("local, learned", "BP-DeepSup, learned"),
    "what the rule gains": ("local, fixed", "local, learned"),
    "what its twin gains": ("BP-DeepSup, fixed", "BP-DeepSup, learned"),
}


def runs_of(rule, data):
    """(method, seed) → run, what matters most first; those with learned filters are done."""
    words = ["tuned", *(word for word in (rule, data) if word not in ("committee", "cifar10")), "long"]
    found = Path("results") / f"{'_'.join(words)}.json"
    if not found.is_file():
        raise InputError(f"{found} is not there: run benchmarks/tuned.py --long of {rule} on {data} first")
    best = {method["label"]: method["best"] for method in json.loads(found.read_text())["methods"]}
    task = task_named(data)
    learned = judged_runs(plan_of((rule,), 8, False, data), best, task, ("tuned",), with_bp=True)
    runs = {}
    for (label, _, seed), run in learned.items():
        name = METHODS.get(label.partition(" ")[0], "local")
        network = run.network.model_copy(update={"options": {"first": "cosine"}})
        runs[f"{name}, fixed", seed] = run.model_copy(update={"network": network})
        if name != "BP":
            runs[f"{name}, learned", seed] = run
    return dict(sorted(runs.items(), key=lambda item: item[0][0] == "BP, fixed"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rule", choices=("committee", "dtg-ff"), default="committee")
    parser.add_argument("--data", choices=("cifar10", "cifar100"), default="cifar10")
    parser.add_argument("--no-bp", action="store_true", help="without BP: the price alone")
    parser.add_argument("--out", type=Path, default=Path("runs/tuned"))
    given = parser.parse_args()
    specs, store = runs_of(given.rule, given.data), RunStore(given.out)
    specs = {key: spec for key, spec in specs.items() if not (given.no_bp and key[0] == "BP, fixed")}
    specs = pinned(specs)
    finish(specs.values(), store)
    results = {key: store.load(spec.hash).result for key, spec in specs.items()}
    methods = sorted({method for method, _ in specs})
    accuracies = {method: [results[method, seed]["test_accuracy"] for seed in SEEDS] for method in methods}
    differences = {
        key: estimate([a - b for a, b in zip(accuracies[left], accuracies[right], strict=True)])
        for key, (left, right) in PAIRS.items()
        if {left, right} <= accuracies.keys()
    }
    for method, values in accuracies.items():
        print(f"{method}: {100 * estimate(values)['mean']:.1f} %")
    print("\n".join(f"{key}: {difference(value)}" for key, value in differences.items()))
    content = {"command": typed(), "environment": describe_environment(), "seeds": SEEDS, "accuracies": accuracies, "differences": differences,
               "blocks": {method: {str(seed): results[method, seed]["block_accuracies"] for seed in SEEDS} for method in methods},
               "runs": {f"{method}, seed {seed}": spec.hash for (method, seed), spec in specs.items()}}  # fmt: skip
    name = f"first_filters_{given.rule}" + ("" if given.data == "cifar10" else f"_{given.data}")
    Path(f"results/{name}.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    run_main(main)
