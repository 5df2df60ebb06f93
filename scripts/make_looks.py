"""Look at the kinds of runs of every usual plan and write ``src/layerlocal/runs/looks.json``: FLOPs, and paces in its yardstick.

``LAYERLOCAL_DATA=… python scripts/make_looks.py``: kinds of data that are not at hand are left out. It takes some minutes; time nothing
beside it. ``--new`` keeps what is there and looks at new kinds only.
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
from layerlocal.rules import list_rules
from layerlocal.runs.listing import rule_facts
from layerlocal.runs.looks import LOOKS, key_of, kind_of, pace_of, yardstick
from layerlocal.runs.timing import look_at, one_thread, time_kind
from layerlocal.spec import TYPED_NETWORK, RunSpec
from layerlocal.types import InputError


def usual_runs() -> Iterator[RunSpec]:
    """Of an audit of each rule at each size, and of each study at each size with the rules that it has without being told."""
    for rule in list_rules():
        for size in SIZES:
            if rule_facts(rule).locality != "global":
                audit = Audit([rule], DATA, 1, size, {})
                yield from audit.jobs(audit.plan(Path("nowhere"), How())).values()
    with tempfile.TemporaryDirectory() as nowhere:
        for study in STUDIES.values():
            for size in STUDY_SIZES:
                studied = Studied(study, size, seeds=1)
                yield from studied.jobs(studied.plan(Path(nowhere), How())).values()
    search = TunePlan(rules=("dtg-ff",), network=TYPED_NETWORK, space=tuple(map(parse_dimension, DEFAULT_SPACE)))
    for method in search.methods:
        yield search.run(method, Search(search, method).first, 0)


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
        print(f"{number} of {len(wanted)}: {spec.rule.name} {spec.network.name} {task.sample_shape}", end="\r")
    lines = ",\n".join(f'"{key}": {json.dumps(look)}' for key, look in sorted(looks.items()))
    LOOKS.write_text("{\n" + lines + "\n}\n")
    print(f"\n{len(looks)} of {len(wanted)} kinds")


if __name__ == "__main__":
    main()
