"""Make `results/runs.parquet` whole: every run behind a published number, also those of which only the results files of benchmarks are left.

    python scripts/published_runs.py    # from the repository's root; trains nothing; `collect_results.py` calls it too

A row that a store was read for stays as it is. For every other run the spec is built again from what its results file says (or, where
the file says the run's hash alone, from the search whose settings it had: `published_specs.py`), and its hash has to be the published one.
What the file does not say of a run (speed, memory, the commit) is null. Columns: ``store`` is ``.`` for a row of a store, otherwise the results
file that the row is made of; ``published_in`` names every results file that quotes the run. A run that was measured twice with different
numbers, on two machines, has two rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from published_specs import specs_of

from layerlocal.command import command_of
from layerlocal.experiments.audit.plan import ROLES, AuditPlan, accuracy_specs
from layerlocal.experiments.audit.published import runs_in
from layerlocal.experiments.studies.base import StudyPlan, twins_of_rule
from layerlocal.experiments.tune import TunePlan
from layerlocal.runs.store import RunRecord
from layerlocal.runs.table import RUNS_TABLE, load_runs, run_row, write_rows
from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RuleSpec, RunSpec
from layerlocal.summary import Summary
from layerlocal.types import InputError

ROOT = Path(__file__).parents[1]
METHODS = ("local", "bp", "bp-deepsup")


@dataclass(frozen=True)
class Quoted:
    """A run as a results file has it.

    Args:
        file: the results file, by name.
        spec: of the run.
        result: what the file says of it, under the names of a run's own ``result.json``.
        env: likewise, of ``env.json``.
        name: instead of the spec's hash, of a run that never was in a store.
    """

    file: str
    spec: RunSpec
    result: dict[str, Any]
    env: dict[str, Any] = field(default_factory=dict)
    name: str | None = None

    @property
    def run(self) -> str:
        return self.name or self.spec.hash

    def row(self) -> dict[str, Any]:
        row = run_row(RunRecord(self.run, self.spec, self.env, self.result))
        return row | ({"command": self.result["command"]} if "command" in self.result else {}) | {"store": self.file}


def quoted_runs(results: Path) -> Iterator[Quoted]:
    """Every run that a results file of a benchmark or of the audit quotes, with its numbers.

    Raises:
        InputError: a spec that cannot be built again so that its hash is the published one.
    """
    readers = {
        "audit-": _audit, "cpu_protocol": _protocol, "tuned": _tuned, "readout_grid": _readout_grid, "equal_time": _equal_time,
        "borrowed": _planned, "first_filters": _planned, "free_segments": _planned,
    }  # fmt: skip
    for path in sorted(results.glob("*.json")):
        read = next((reader for begin, reader in readers.items() if path.name.startswith(begin)), None)
        if read is not None:
            yield from read(path.name, json.loads(path.read_text()))


def _audit(file: str, content: dict[str, Any]) -> Iterator[Quoted]:
    for record in runs_in(Summary.model_validate(content)):
        _same(file, record.spec, {record.hash})
        yield Quoted(file, record.spec, record.result, record.env)


def _protocol(file: str, content: dict[str, Any]) -> Iterator[Quoted]:
    """Each method at its own settings where rows have some, all at those of the task otherwise."""
    tasks, names = {task["name"]: task for task in content["tasks"]}, content.get("runs")
    seeds = (
        range(content["seeds"]) if isinstance(content["seeds"], int) else content["seeds"]
    )  # an older file has their number
    for row in content["rows"]:
        task, rule = tasks[row["task"]], row["rule"]
        methods = twins_of_rule(StudyPlan(study="protocol"), rule, **content["rules"][rule])
        for method in METHODS:
            for seed, accuracy in zip(seeds, row[method]["values"], strict=True):
                spec = RunSpec(
                    data=DataSpec(**task["data"]), network=NetworkSpec(**task["network"]), recipe=Recipe(**task["recipe"]),
                    rule=methods[method], seed=seed,
                ).with_settings(row.get("settings", {}).get(method, {}))  # fmt: skip
                if names is not None:
                    _same(file, spec, names)
                yield Quoted(file, spec, {"test_accuracy": accuracy, "chance": row["chance"]})


def _tuned(file: str, content: dict[str, Any]) -> Iterator[Quoted]:
    """The trials, unless they are another file's, and the runs at the settings that they chose."""
    plan = TunePlan.model_validate(content["plan"])
    methods = {method.label: method for method in plan.methods}
    for method in () if content.get("settings_from") else content["methods"]:
        for trial in method["trials"]:
            for seed, (name, accuracy) in enumerate(zip(trial["runs"], trial["values"], strict=True)):
                spec = plan.run(methods[method["label"]], trial["settings"], seed)
                _same(file, spec, {name})
                yield Quoted(file, spec, {"validation_accuracy": accuracy})
    length = {"recipe.epochs": content["epochs"]}
    for row in content["rows"]:
        for label, found in row["accuracies"].items():
            for seed, accuracy in zip(content["seeds"], found["values"], strict=True):
                run = plan.run(methods[label], row["settings"][label], seed).with_settings(length)
                spec = run.model_copy(update={"judged_on": "test", "data": DataSpec(**content["data"])})
                yield Quoted(file, spec, {"test_accuracy": accuracy})


def _readout_grid(file: str, content: dict[str, Any]) -> Iterator[Quoted]:
    plan = AuditPlan(rules=("class-goodness",))
    for row in content["rows"]:
        for (_, role, seed), of in accuracy_specs(plan).items():
            rule = RuleSpec(name=of.rule.name, options=of.rule.options | {"grid": row["grid"]})
            accuracy = row[role]["values"][plan.seeds.index(seed)]
            yield Quoted(
                file, of.model_copy(update={"rule": rule}), {"test_accuracy": accuracy}, content["environment"]
            )
    assert set(ROLES) == set(METHODS)


def _equal_time(file: str, content: dict[str, Any]) -> Iterator[Quoted]:
    """These were trained outside a store, for as many steps as the time allowed: they have no hash, and are named by their method."""
    for row in content["rows"]:
        spec = RunSpec(
            data=DataSpec(source="cifar10", num_train=10_000, num_test=1000, validation=0.2),
            network=NetworkSpec(name="vgg8", width=content["width"], fused=True), rule=RuleSpec(name=row["method"], options=row["options"]),
            recipe=Recipe(**content["recipe"] | {"steps": row["steps"]}), judged_on="validation",
        )  # fmt: skip
        result = {"validation_accuracy": row["points"][-1]["validation_accuracy"], "steps": row["steps"],
                  "train_seconds": row["seconds"], "command": row["command"]}  # fmt: skip
        yield Quoted(file, spec, result, row["environment"], name=f"equal-time-{row['method']}")


def _planned(file: str, content: dict[str, Any]) -> Iterator[Quoted]:
    """Files that name runs by method, seed and hash."""
    for (method, seed), spec in specs_of(file.removesuffix(".json"), ROOT / "results").items():
        if method not in content["accuracies"]:
            continue
        _same(
            file,
            spec,
            {name for key, name in content["runs"].items() if key in (f"{method}, seed {seed}", f"{method} {seed}")},
        )
        accuracy = content["accuracies"][method][content["seeds"].index(seed)]
        yield Quoted(file, spec, {"test_accuracy": accuracy, "block_accuracies": content["blocks"][method][str(seed)]})


def _same(file: str, spec: RunSpec, names: Any) -> None:
    """See that the spec is that of the run the file names."""
    if spec.hash not in names:
        raise InputError(
            f"results/{file}: {spec.rule.name}, seed {spec.seed} is {spec.hash} here, and the file names {', '.join(names)}"
        )


def merge(rows: list[dict[str, Any]], quoted: Iterator[Quoted], studies: dict[str, set[str]]) -> list[dict[str, Any]]:
    """The rows of a store and one for each quoted run that has none with the same number, each with the files that quote it.

    Args:
        rows: of a store.
        quoted: from `quoted_runs`.
        studies: run → the study summaries that name it.
    """
    found = {row["run"]: [row | {"published_in": set(studies.get(row["run"], ()))}] for row in rows}
    for one in quoted:
        row, known = one.row(), found.setdefault(one.run, [])
        same = next((k for k in known if _agree(k, row)), None)
        if same is None:
            known.append(row | {"published_in": {one.file}})
            continue
        same["published_in"].add(one.file)
        if same["store"] != ".":
            same |= {key: value for key, value in row.items() if same.get(key) is None and value is not None}
            same["store"] = min(same["published_in"])
    return [
        row | {"published_in": ", ".join(sorted(row["published_in"])) or None}
        for name in sorted(found)
        for row in found[name]
    ]


def _agree(left: dict[str, Any], right: dict[str, Any]) -> bool:
    """Whether two rows have no number that differs among those that say what the run came to."""
    keys = ("test_accuracy", "validation_accuracy", "block_accuracies")
    pairs = [(left[key], right[key]) for key in keys if None not in (left[key], right[key])]
    return bool(pairs) and all(a == b for a, b in pairs)


def names_in_studies(results: Path) -> dict[str, set[str]]:
    """Run → the study summaries of which a row is made of it."""
    found: dict[str, set[str]] = {}
    for path in sorted(results.glob("study-*.json")):
        for row in json.loads(path.read_text())["rows"]:
            for name in row["runs"].values():
                found.setdefault(name, set()).add(path.name)
    return found


def with_commands(rows: list[dict[str, Any]], results: Path) -> list[dict[str, Any]]:
    """Rows of a store with the command that today's program takes for their run: a default may have become another since it was trained."""
    specs: dict[str, Any] = {}
    for path in results.glob("study-*.json"):
        specs |= json.loads(path.read_text()).get("specs", {})
    found = []
    for row in rows:
        spec = RunSpec.parse(specs[row["run"]]) if row["run"] in specs else None
        if spec is not None:
            _same(RUNS_TABLE, spec, {row["run"]})
        found.append(row if spec is None else row | {"command": f"{command_of(spec)} --threads {row['threads'] or 1}"})
    return found


def main(results: Path = ROOT / "results") -> None:
    """Write ``runs.parquet`` anew."""
    rows = [row for row in load_runs(results / RUNS_TABLE).to_pylist() if row["store"] == "."]
    whole = merge(with_commands(rows, results), quoted_runs(results), names_in_studies(results))
    print(
        write_rows(whole, results / RUNS_TABLE),
        f"{len(rows)} runs of a store, {len(whole) - len(rows)} rows of results files",
    )


if __name__ == "__main__":
    main()
