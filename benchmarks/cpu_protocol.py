"""Accuracy of the rules beside their twins on real images, each method at its best, in at most three hours on 2 cores.

    python benchmarks/cpu_protocol.py            # resumes from runs/tuned, which `tuned.py` fills too; writes results/cpu_protocol.json
    python benchmarks/cpu_protocol.py --only cifar10 fashion_mnist    # these tasks; prints, and writes nothing
    python benchmarks/cpu_protocol.py --one-setting    # rules as they are at one setting for all; results/cpu_protocol_one_setting.json
    python benchmarks/cpu_protocol.py --smoke    # whether it runs: tiny sizes, numbers without meaning, nothing written

CIFAR-10 (10,000 training images, all 10,000 of the test split), CIFAR-100 (20,000), Caltech-101 at 64 px and the embedded Fashion-MNIST subset
(10,000); a share of the training images is the validation split. The test split is opened once a run, after the last epoch.

The networks have fixed first filters. Learning rate and label smoothing of a method are those of its best of 8 trials on validation data
(`tuned.py`), as a row says: of CIFAR-10, and of Fashion-MNIST for `committee`, its own; of CIFAR-100 for
`committee` those for learned filters and narrower readers; all others those of CIFAR-10.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from command import run_main
from cpu_tasks import TASKS, smaller
from protocol import RULES, STRONGEST, Protocol, run_protocol
from tuned import SEEDS, best_of, found_in, judged_runs, plan_of, settings_of

from layerlocal.experiments.studies.base import Cell

FIRST = "cosine"
WIDE = "cosine_wide-True_head_width-64"
SETTINGS_FROM = {
    ("committee", "cifar10"): f"tuned_{WIDE}_long",
    ("committee", "cifar100"): "tuned_cifar100_long",
    ("committee", "caltech101_64"): f"tuned_{WIDE}_long",
    ("committee", "fashion_mnist"): f"tuned_fashion_mnist_{WIDE}_long",
    **{("dtg-ff", task.name): "tuned_dtg-ff_cosine_long" for task in TASKS},
}
"""Rule, task → results of the trials that its settings and those of its twins are from."""


@dataclass(frozen=True)
class BestCell(Cell):
    """A task whose methods have settings of their own. ``runs``: (method, seed) → run."""

    runs: dict

    def specs(self, seed):
        return {method: spec for (method, of), spec in self.runs.items() if of == seed}


class AtBest(Protocol):
    """Every task, every rule and its twins, each method at the settings of its best trial."""

    searched = frozenset({"learning_rate"})

    def __init__(self, tasks, rules, *, smoke):
        super().__init__(tasks, rules)
        self.found = {(rule, task.name): at_best(rule, task, smoke) for rule in rules for task in tasks}

    def cells(self, plan, rule, seed):
        return [
            BestCell({"task": task.name}, task.data, task.network, task.recipe, {}, self.found[rule, task.name][0])
            for task in self.tasks
        ]

    def settings(self, task, rule):
        return self.found[rule, task][1]


def at_best(rule, task, smoke):
    """(method, seed) → run, and what its row says of the settings."""
    chosen = {f"rule.{name}": value for name, value in STRONGEST[rule].items() if name not in RULES[rule]}
    plan = plan_of((rule,), 8, smoke, task.name, FIRST, chosen)
    methods, budget = found_in(Path(f"results/{SETTINGS_FROM[rule, task.name]}.json"), plan)
    best, names = best_of(methods), {method.label: method.twin or "local" for method in plan.methods}
    runs = judged_runs(plan, best, task, ("tuned",), with_bp=True)
    settings = {name: settings_of(best, label, "tuned") for label, name in names.items()}
    return {(names[label], seed): run for (label, _, seed), run in runs.items()}, {
        "settings": settings,
        "budget": budget,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--only", nargs="+", choices=[task.name for task in TASKS], help="tasks; all where left out")
    parser.add_argument(
        "--one-setting",
        action="store_true",
        help="learned first filters, rules as they are, learning rate 0.005 without smoothing for all",
    )
    parser.add_argument("--out", type=Path, help="store; runs/tuned, or runs/cpu-protocol with --one-setting")
    given = parser.parse_args()
    tasks = [task for task in TASKS if not given.only or task.name in given.only]
    tasks = [smaller(task) for task in tasks] if given.smoke else tasks
    if given.one_setting:
        study, seeds, name = Protocol(tasks, RULES), (0, 1, 2), "cpu_protocol_one_setting"
        out = given.out or Path("runs/cpu-protocol")
    else:
        study = AtBest([task.with_first(FIRST) for task in tasks], STRONGEST, smoke=given.smoke)
        seeds, name, out = SEEDS, "cpu_protocol", given.out or Path("runs/tuned")
    run_protocol(
        study, seeds=seeds[:1] if given.smoke else seeds, out=Path("runs/cpu-protocol-smoke") if given.smoke else out,
        results=None if given.smoke or given.only else f"results/{name}.json", workers=os.cpu_count(),
    )  # fmt: skip


if __name__ == "__main__":
    run_main(main)
