"""A rule and its twins, each at its best: as many trials for all, on validation data; then the best settings of each on new seeds, beside the
settings of the CPU protocol.

    python benchmarks/tuned.py            # about 75 minutes on 2 cores; resumes from runs/tuned; writes results/tuned.json
    python benchmarks/tuned.py --long     # then the price alone, at the length of the CPU protocol: 45 minutes more; results/tuned_long.json
    python benchmarks/tuned.py --data cifar100 --long     # the same of CIFAR-100: 85 minutes; results/tuned_cifar100_long.json
    python benchmarks/tuned.py --rules dtg-ff --long --with-bp --best-only    # of another rule, read as in the CPU protocol: 45 minutes
    python benchmarks/tuned.py --long --with-bp --best-only --first cosine    # with fixed first filters; results/tuned_cosine_long.json
    python benchmarks/tuned.py --set rule.head_layers=3 --long    # with options that are not searched; results/tuned_head_layers-3_long.json
    python benchmarks/tuned.py --first cosine --set rule.wide=true rule.head_width=64 --long --best-only --second    # 100 minutes
    python benchmarks/tuned.py --data cifar100 --first cosine --long --best-only --settings-from results/tuned_cifar100_long.json    # no search
    python benchmarks/tuned.py --data fashion_mnist --long --best-only --with-bp --settings-from results/tuned_cosine_long.json  # CIFAR-10's
    python benchmarks/tuned.py --smoke    # whether it runs: tiny sizes, numbers without meaning, nothing written

Trials: 10,000 training images, a fifth of them for validation, 5 epochs, seed 0; they never open the test split. The runs after them have
other seeds and open it once each, after the last epoch.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from command import add_first, finish, first_options, pinned, run_main, typed
from cpu_tasks import task_named
from protocol import RULES, Task
from rich.console import Console

from layerlocal.cli.app import parse_settings
from layerlocal.experiments.studies.base import DIFFERENCES
from layerlocal.experiments.tune import TunePlan, parse_dimension
from layerlocal.experiments.tune.driver import run_tuning
from layerlocal.runs.environment import describe_environment
from layerlocal.runs.store import RunStore
from layerlocal.spec import DataSpec, NetworkSpec, Recipe
from layerlocal.stats import estimate
from layerlocal.types import InputError
from layerlocal.words import difference

SPACE = ("recipe.learning_rate=log:0.001:0.03", "rule.label_smoothing=0:0.2")
UNTUNED = {"recipe.learning_rate": 5e-3, "rule.label_smoothing": 0.0}
"""The settings of the CPU protocol, found for a local rule."""
SEEDS = (1, 2, 3)


def plan_of(rules, trials, smoke, source="cifar10", first="learned", chosen=None):
    """The options that a rule has in the CPU protocol, and those ``chosen``, are not searched. ``first``: option of the network."""
    options = [RULES.get(rule, {}) for rule in rules]
    if any(found != options[0] for found in options):
        raise InputError(f"the CPU protocol reads {', '.join(rules)} in different ways; tune them one at a time")
    task = task_named(source)
    data = {"num_train": 400, "num_test": 200} if smoke else {"num_train": 10_000, "num_test": 1000}
    return TunePlan(
        rules=rules,
        data=DataSpec(source=task.data.source, validation=0.2, **data),
        network=NetworkSpec(
            name="vgg8",
            width=0.0625 if smoke else 0.125,
            fused=True,
            options=first_options(first),
        ),
        recipe=Recipe(epochs=1 if smoke else 5, batch_size=64, crop=task.recipe.crop, flip=True),
        settings={f"rule.{name}": value for name, value in options[0].items()} | (chosen or {}),
        space=[parse_dimension(text) for text in SPACE],
        trials=trials,
    )


def settings_of(best, label, name):
    """``name``: ``"tuned"``, ``"untuned"``, or ``"second"``: the best settings, but for BP-DeepSup those of its second best trial."""
    return UNTUNED if name == "untuned" else best[label]["settings" if name == "tuned" else "second"]


def best_of(methods):
    """Label → settings of its best trial, and what `settings_of` calls second."""
    found = {}
    for method in methods:
        trials = sorted(method["trials"], key=lambda trial: -(trial["value"] or 0))
        second = trials[min(1, len(trials) - 1) if method["label"].startswith("bp-deepsup") else 0]["settings"]
        found[method["label"]] = {"settings": method["best"]["settings"], "second": second}
    return found


def found_in(path, plan):
    """Methods of ``plan`` with the trials that a results file has of them, and the budget of these: no search here."""
    if not path.is_file():
        raise InputError(
            f"settings: there is no file {path}; give results of benchmarks/tuned.py, results/tuned_long.json"
        )
    try:
        content = json.loads(path.read_text())
        methods = {method["label"]: method for method in content["methods"]}
        budget = f"{content['rows'][0]['budget']}, of {path}"
    except (ValueError, KeyError, TypeError, IndexError):
        raise InputError(f"settings: {path} is no results file of benchmarks/tuned.py: it has no methods") from None
    if missing := [method.label for method in plan.methods if method.label not in methods]:
        raise InputError(f"settings: {path} has no trials of {', '.join(missing)}; it has {', '.join(methods)}")
    return [methods[method.label] for method in plan.methods], budget


def judged_runs(plan, best, task, names, *, with_bp):
    """(method, way of choosing settings, seed) → run that opens the test split, what matters most first."""
    methods = [method for method in plan.methods if with_bp or method.twin != "bp"]
    runs = {}
    for name in names:
        for seed in SEEDS:
            for method in methods:
                run = plan.run(method, settings_of(best, method.label, name), seed).with_settings(
                    {"recipe.epochs": task.recipe.epochs}
                )
                runs[method.label, name, seed] = run.model_copy(update={"judged_on": "test", "data": task.data})
    return runs


def compare(plan, best, accuracies, budget):
    """A row a rule and a way of choosing settings: accuracies of its methods and their paired differences."""
    rows = []
    for rule in plan.rules:
        labels = {method.twin or "local": method.label for method in plan.methods if method.rule == rule}
        for name in ("tuned", "second", "untuned"):
            of = {key: [accuracies.get((label, name, seed)) for seed in SEEDS] for key, label in labels.items()}
            of = {key: values for key, values in of.items() if None not in values}
            if not of:
                continue
            differences = {
                key: estimate([a - b for a, b in zip(of[left], of[right], strict=True)])
                for key, (left, right) in DIFFERENCES.items()
                if left in of and right in of
            }
            settings = {labels[key]: settings_of(best, labels[key], name) for key in of}
            rows.append({"rule": rule, "settings": settings, "chosen": name, "budget": "none" if name == "untuned" else budget,
                         "accuracies": {labels[key]: estimate(values) for key, values in of.items()}, **differences})  # fmt: skip
    return rows


def as_line(row):
    found = ", ".join(
        f"{label} {100 * value['mean']:.1f} % at {row['settings'][label]}" for label, value in row["accuracies"].items()
    )
    differences = ", ".join(f"{key} {difference(row[key])}" for key in DIFFERENCES if key in row)
    return f"{row['rule']}, {row['chosen']} (budget: {row['budget']}): {found}; {differences}"


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", nargs="+", default=["committee"])
    parser.add_argument("--data", choices=("cifar10", "cifar100", "fashion_mnist"), default="cifar10")
    parser.add_argument("--trials", type=int, default=8, help="of each rule and each twin")
    parser.add_argument("--long", action="store_true", help="with the data and epochs of the CPU protocol; without BP")
    parser.add_argument("--with-bp", action="store_true", help="with BP there too")
    parser.add_argument("--second", action="store_true", help="BP-DeepSup also at its second best trial")
    parser.add_argument("--best-only", action="store_true", help="without the runs at the settings of the CPU protocol")
    parser.add_argument(
        "--settings-from", type=Path, metavar="FILE", help="no search: the best settings in another results file"
    )
    add_first(parser)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="not searched: rule.head_layers=3")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("runs/tuned"))
    return parser.parse_args()


def results_file(given, chosen):
    """Where the results go: what the runs differ in from those of the plain command is in the name."""
    rules = [] if given.rules == ["committee"] else given.rules
    options = [f"{key.rpartition('.')[2]}-{value}" for key, value in chosen.items()]
    source, length = ["borrowed"] * bool(given.settings_from), ["long"] * given.long
    said = [*rules, given.data, given.first, *options, *source, *length]
    return Path(
        "results", "_".join(["tuned", *(word for word in said if word not in ("cifar10", "learned"))]) + ".json"
    )


def main():
    given = parsed()
    out = Path("runs/tuned-smoke") if given.smoke else given.out
    chosen = parse_settings(given.set)
    plan = plan_of(tuple(given.rules), 2 if given.smoke else given.trials, given.smoke, given.data, given.first, chosen)
    workers, console = os.cpu_count(), Console(stderr=True)
    if given.settings_from:
        methods, budget = found_in(given.settings_from, plan)
    else:
        summary = run_tuning(plan, out, workers=workers, command=typed(), console=console)
        print("\n".join(summary["sentences"]))
        methods, budget = summary["methods"], plan.budget
    best = best_of(methods)
    task = task_named(given.data)
    if given.smoke or not given.long:
        whole = plan.data.model_copy(update={"num_test": 200 if given.smoke else task.data.num_test})
        task = Task(given.data, whole, plan.network, plan.recipe)
    names = ("tuned", *["second"] * given.second, *["untuned"] * (not given.best_only))
    specs, store = judged_runs(plan, best, task, names, with_bp=given.with_bp or not given.long), RunStore(out)
    specs = pinned(specs)
    finish(specs.values(), store)
    accuracies = {key: store.load(spec.hash).result["test_accuracy"] for key, spec in specs.items()}
    rows = compare(plan, best, accuracies, budget)
    print("\n".join(as_line(row) for row in rows))
    if not given.smoke:
        content = {"command": typed(), "environment": describe_environment(), "seeds": SEEDS, "plan": plan.model_dump(mode="json"),
                   "settings_from": str(given.settings_from or ""), "data": task.data.model_dump(), "epochs": task.recipe.epochs,
                   "methods": methods, "rows": rows}  # fmt: skip
        results_file(given, chosen).write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    run_main(main)
