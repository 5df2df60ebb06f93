"""Look at the kinds of runs of every usual plan and write ``src/layerlocal/runs/looks.json``: FLOPs, and paces in its yardstick.

``LAYERLOCAL_DATA=… python scripts/make_looks.py``: kinds of data that are not at hand are left out. It takes some minutes; time nothing
beside it. ``--new`` keeps what is there and looks at new kinds only, so that it goes on where it was cut off.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

from layerlocal.data.task import Task, task_of
from layerlocal.experiments.audit.driver import DATA, Audit
from layerlocal.experiments.audit.plan import SIZES
from layerlocal.experiments.driver import How
from layerlocal.experiments.studies import STUDIES
from layerlocal.experiments.studies.base import SIZES as STUDY_SIZES
from layerlocal.experiments.studies.driver import Studied
from layerlocal.experiments.tune import DEFAULT_SPACE, Search, TunePlan, parse_dimension
from layerlocal.files import write_whole
from layerlocal.rules import list_rules
from layerlocal.runs.listing import rule_facts
from layerlocal.runs.looks import LOOKS, key_of, kind_of, pace_of, yardstick
from layerlocal.runs.timing import look_at, one_thread, time_kind
from layerlocal.spec import TYPED_NETWORK, RunSpec
from layerlocal.types import InputError

NAMED = {"fashion_mnist_subset": ("quick", "medium"), "cifar10": ("quick", "medium")}
"""Data sets that are named for a study that has others, at which sizes; others of their shapes have the same kinds."""


def usual_runs() -> Iterator[RunSpec]:
    """Of an audit of each rule at each size; of each study at each size with the rules that it has without being told, on its own data
    and on those that are `NAMED`; and of a search of each rule.
    """
    for rule in list_rules():
        for size in SIZES:
            if rule_facts(rule).locality != "global":
                audit = Audit([rule], DATA, 1, size, {})
                yield from audit.jobs(audit.plan(Path("nowhere"), How())).values()
        if rule_facts(rule).locality != "global":
            yield from first_trials(rule)
    for study in STUDIES.values():
        for size in STUDY_SIZES:
            named = [[data] for data, sizes in NAMED.items() if size in sizes]
            for data in ([], *named):
                yield from runs_of(Studied(study, size, seeds=1, data=data))


def first_trials(rule: str) -> Iterator[RunSpec]:
    """One of each method of a search of a rule."""
    search = TunePlan(rules=(rule,), network=TYPED_NETWORK, space=tuple(map(parse_dimension, DEFAULT_SPACE)))
    for method in search.methods:
        yield search.run(method, Search(search, method).first, 0)


def runs_of(studied: Studied) -> list[RunSpec]:
    """Of a study; none where it cannot be of these data."""
    with tempfile.TemporaryDirectory() as nowhere:
        try:
            return list(studied.jobs(studied.plan(Path(nowhere), How())).values())
        except InputError:
            return []


def kinds() -> dict[str, tuple[RunSpec, Task]]:
    """Key → the first run of its kind."""
    found: dict[str, tuple[RunSpec, Task]] = {}
    for spec in usual_runs():
        try:
            task = task_of(spec.data)
        except InputError:
            continue
        found.setdefault(key_of(kind_of(task, spec), pace_of(task, spec)), (spec, task))
    return found


def main() -> None:
    looks = json.loads(LOOKS.read_text()) if "--new" in sys.argv else {}
    wanted = kinds()
    looks = {key: look for key, look in looks.items() if key in wanted}
    for number, (key, (spec, task)) in enumerate(wanted.items(), 1):
        if key in looks:
            continue
        try:
            flops = look_at(task, spec)
        except InputError:
            continue
        with one_thread():
            pace = time_kind(spec, task, flops, "cpu")
        looks[key] = [
            float(f"{value:.4g}") for value in (flops, pace.step / yardstick(), pace.prediction / yardstick())
        ]
        write(looks)
        print(f"{number} of {len(wanted)}: {spec.rule.name} {spec.network.name} {task.sample_shape}", end="\r")
    write(looks)
    print(f"\n{len(looks)} of {len(wanted)} kinds")


def write(looks: dict[str, list[float]]) -> None:
    """A line a look."""
    lines = ",\n".join(f'"{key}": {json.dumps(look)}' for key, look in sorted(looks.items()))
    write_whole(LOOKS, f"{{\n{lines}\n}}\n".encode())


if __name__ == "__main__":
    main()
