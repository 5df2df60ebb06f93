"""What the CPU and the GPU protocol share: tasks × rules × seeds, each rule beside its exact twins, and the table of it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from command import finish, first_options, typed, write_drawing

from layerlocal.experiments.studies.base import (
    Cell,
    Study,
    StudyPlan,
    estimates,
    group_rows,
    make_rows,
    plan_runs,
    twins_of_rule,
)
from layerlocal.report.draw import draw_figure
from layerlocal.runs.environment import describe_environment
from layerlocal.runs.pin import contents_of
from layerlocal.runs.store import RunStore
from layerlocal.spec import DataSpec, NetworkSpec, Recipe
from layerlocal.summary import Figure
from layerlocal.words import difference

RULES = {"committee": {}, "dtg-ff": {"grid": 4}}
"""Rule → options, shared with its twins."""
STRONGEST = {"committee": {"wide": True, "head_width": 64}, "dtg-ff": {"grid": 4, "fusion": "fitted"}}
"""The same with the options that validation data of CIFAR-10 found best (results/search-log.md), for networks with fixed first filters."""
FIGURES = {
    "gap": ("gap to BP", "0 is as good as BP"),
    "price_of_locality": ("price of locality", "0 is as good as BP-DeepSup"),
}
"""Column → its name, and what its zero is."""
NAMES = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "caltech101_64": "Caltech-101 at 64 px",
    "fashion_mnist": "Fashion-MNIST",
}
KEYS = ("local", "bp", "bp-deepsup", "gap", "extra_supervision", "price_of_locality")


@dataclass(frozen=True)
class Task:
    """One data set with the network and the recipe for it; ``targets`` are words for the table."""

    name: str
    data: DataSpec
    network: NetworkSpec
    recipe: Recipe

    def with_first(self, first):
        """The same with another first convolution, for rule and twins."""
        return replace(self, network=self.network.model_copy(update={"options": first_options(first)}))


class Protocol(Study):
    """Every task, every rule and its twins, all at the setting of the task."""

    name = "protocol"
    title = "Protocol"
    question = "How accurate are local rules beside their twins?"

    searched = frozenset()
    """Of the recipe: what is not that of the task, since each method has its own."""

    def __init__(self, tasks, rules):
        self.tasks, self.rules = tasks, rules

    def cells(self, plan, rule, seed):
        methods = twins_of_rule(plan, rule, **self.rules[rule])
        return [Cell({"task": task.name}, task.data, task.network, task.recipe, methods) for task in self.tasks]

    def settings(self, task, rule):
        """What a row says of how its methods were set; a task by its name."""
        return {}

    def conclude(self, plan, rows):
        raise NotImplementedError("the table is made by `run_protocol`")


def run_protocol(study, *, seeds, out, results, workers, threads=1, device="cpu"):
    """Finish what is not finished, print the table, and write it and its figures to ``results`` (None: nowhere)."""
    start = time.perf_counter()
    plan = StudyPlan(study="protocol", rules=tuple(study.rules), seeds=seeds)
    store = RunStore(out)
    plan = plan.model_copy(update={"contents": contents_of(plan_runs(study, plan).values())})
    specs = plan_runs(study, plan)
    before = sum(store.is_done(spec) for spec in specs.values())
    finish(specs.values(), store, workers=workers, threads=threads, device=device)
    records = {spec.hash: store.load(spec.hash) for spec in specs.values()}
    rows = [
        {"task": task, "rule": rule, "chance": part[0]["chance"], **estimates(part, *KEYS), "blocks": mean_blocks(part)}
        | study.settings(task, rule)
        for (task, rule), part in group_rows(make_rows(study, plan, records), "task", "rule").items()
    ]  # fmt: skip
    print("\n".join(as_line(row) for row in rows), table(rows), sep="\n\n", end="\n\n")
    seconds = sum(record.result["train_seconds"] for record in records.values())
    new, took = len(records) - before, time.perf_counter() - start
    print(f"{len(records)} runs, {new} of them by this call in {took:.0f} s; {seconds / 3600:.2f} hours of training")
    if results is not None:
        content = {
            "command": typed(), "environment": describe_environment(device), "seeds": seeds, "training_seconds": seconds, "rules": study.rules,
            "tasks": [{"name": t.name, "data": t.data.model_dump(), "network": t.network.model_dump(),
                       "recipe": t.recipe.model_dump(exclude=study.searched)} for t in study.tasks],
            "rows": rows, "runs": sorted(records),
        }  # fmt: skip
        path = Path(results)
        path.write_text(json.dumps(content, indent=1) + "\n")
        for key in FIGURES:
            write_drawing(path.with_name(f"{path.stem}_{key}.svg"), draw(rows, key))
    return rows


def mean_blocks(rows):
    """Method → block → test accuracy of its own readout, mean over seeds."""
    return {
        method: {block: mean(row["blocks"][method][block] for row in rows) for block in rows[0]["blocks"][method]}
        for method in KEYS[:3]
    }


def draw(rows, key):
    """One of `FIGURES`: tasks on x, a series a rule, intervals over seeds."""
    shown, zero = FIGURES[key]
    series = [
        {
            "name": rule,
            "points": [{"x": NAMES[row["task"]], "y": row[key]} for row in rows if row["rule"] == rule],
        }
        for rule in dict.fromkeys(row["rule"] for row in rows)
    ]
    figure = {
        "name": "protocol", "kind": "points", "title": f"{shown} of local rules", "note": zero,
        "caption": "Local rules against their twins, in percentage points of test accuracy", "series": series,
        "x": {"label": "", "scale": "category"}, "y": {"label": f"{shown}, test accuracy", "unit": "pp"},
    }  # fmt: skip
    return draw_figure(Figure(**figure), "protocol")[0]


def as_line(row):
    accuracies = ", ".join(f"{key} {100 * row[key]['mean']:.2f} %" for key in KEYS[:3])
    differences = ", ".join(f"{key} {difference(row[key])}" for key in KEYS[3:])
    blocks = "; ".join(
        f"blocks of {method} {', '.join(f'{100 * value:.0f}' for value in of.values())}"
        for method, of in row["blocks"].items()
    )
    return f"{row['task']}, {row['rule']}: {accuracies}; {differences}; {blocks}"


def table(rows):
    """As Markdown, for the documents."""
    head = "| data | rule | local | BP | BP-DeepSup | gap to BP, pp | price of locality, pp |"
    lines = []
    for row in sorted(rows, key=lambda row: list(NAMES).index(row["task"])):
        accuracies = [f"{100 * row[key]['mean']:.1f} %" for key in KEYS[:3]]
        lines.append(
            [NAMES[row["task"]], f"`{row['rule']}`", *accuracies, *(difference(row[key], bare=True) for key in FIGURES)]
        )
    return "\n".join([head, "|---|---|---|---|---|---|---|", *(f"| {' | '.join(line)} |" for line in lines)])
