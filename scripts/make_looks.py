"""Look at the kinds of runs of every usual plan, and at the networks of usual cost audits, and write ``src/layerlocal/runs/looks.json``:
FLOPs, and paces in its yardstick.

``LAYERLOCAL_DATA=… python scripts/make_looks.py``: kinds of data that are not at hand are left out. It takes some minutes; time nothing
beside it. ``--new`` keeps what is there and looks at new kinds only, so that it goes on where it was cut off.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

from layerlocal.data.task import Task, task_of
from layerlocal.experiments.audit.driver import DATA, Audit
from layerlocal.experiments.audit.plan import SIZES
from layerlocal.experiments.cost.building import build_network, build_rule
from layerlocal.experiments.cost.case import CostCase
from layerlocal.experiments.cost.forecast import TIMED_BATCH, TIMED_FLOPS, time_step, trace_flops
from layerlocal.experiments.cost.known import FEWEST_BLOCKS, MOST_CLASSES, SIDE, kind_of_network, usual_cases
from layerlocal.experiments.driver import How
from layerlocal.experiments.studies import STUDIES
from layerlocal.experiments.studies.base import SIZES as STUDY_SIZES
from layerlocal.experiments.studies.driver import Studied
from layerlocal.experiments.studies.equal_cost import EqualCostStudy
from layerlocal.experiments.tune import DEFAULT_SPACE, Search, TunePlan, parse_dimension
from layerlocal.files import write_whole
from layerlocal.rules import list_rules
from layerlocal.runs.listing import is_baseline
from layerlocal.runs.looks import LOOKS, key_of, kind_of, pace_of, yardstick
from layerlocal.runs.timing import look_at, one_thread, time_kind
from layerlocal.spec import TYPED_NETWORK, RunSpec
from layerlocal.types import InputError

NAMED = {"fashion_mnist_subset": ("quick", "medium"), "cifar10": ("quick", "medium")}
"""Data sets that are named for a study that has others, at which sizes; others of their shapes have the same kinds."""


def usual_runs() -> Iterator[RunSpec]:
    """Of an audit of each rule at each size; of each study at each size with the rules it is about, or has without being told, on its own
    data and on those that are `NAMED`; and of a search of each rule.
    """
    for rule in list_rules():
        for size in SIZES:
            if not is_baseline(rule):
                audit = Audit([rule], DATA, 1, size, {})
                yield from audit.jobs(audit.plan(Path("nowhere"), How())).values()
        if not is_baseline(rule):
            yield from first_trials(rule)
    for study in STUDIES.values():
        for size in STUDY_SIZES:
            named = [[data] for data, sizes in NAMED.items() if size in sizes]
            for data in ([], *named):
                runs = runs_of(Studied(study, size, study.only, seeds=1, data=data))
                yield from runs
                if study.name == EqualCostStudy.name:  # a forecast takes BP at the rule's memory to be in two parts
                    yield from (
                        run.with_settings({"recipe.micro_batches": 2}) for run in runs if is_baseline(run.rule.name)
                    )


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


Numbers = tuple[float, float, float]


def look_at_run(spec: RunSpec, task: Task) -> Numbers:
    """As a `Look`.

    Raises:
        InputError: a run that cannot be made.
    """
    flops = look_at(task, spec)
    with one_thread():
        pace = time_kind(spec, task, flops, "cpu")
    return flops, pace.step / yardstick(), pace.prediction / yardstick()


def look_at_network(case: CostCase) -> Numbers:
    """As a `NetworkLook`.

    Raises:
        InputError: a network that is too shallow to be known, or whose weights grow with its images.
    """

    def weights(case: CostCase) -> int:
        return sum(p.numel() * p.element_size() for p in build_rule(case.but(num_classes=MOST_CLASSES)).parameters())

    if build_network(case).depth < FEWEST_BLOCKS:
        raise InputError("fewer blocks than the facts of rules are from")
    larger = [weights(case.but(image_size=side)) for side in (2 * SIDE, 4 * SIDE) if case.image_size == SIDE]
    if len(set(larger)) > 1:
        raise InputError("the more weights, the larger the images")
    most = max([weights(case), *larger])
    flops = trace_flops(case)
    timed = case.but(batch_size=int(max(2, min(TIMED_BATCH, TIMED_FLOPS // flops))))
    return flops, time_step(timed) / yardstick() / (flops * timed.batch_size), most


def wanted_looks() -> dict[str, tuple[str, Callable[[], Numbers]]]:
    """Key → what it is, and what looks at it."""
    found: dict[str, tuple[str, Callable[[], Numbers]]] = {}
    for case in usual_cases():
        found[key_of(kind_of_network(case), case.precision)] = f"cost of {case.place}", partial(look_at_network, case)
    for key, (spec, task) in kinds().items():
        words = f"{spec.rule.name} {spec.network.name} {task.sample_shape}"
        found[key] = words, partial(look_at_run, spec, task)
    return found


def main() -> None:
    looks = json.loads(LOOKS.read_text()) if "--new" in sys.argv else {}
    wanted = wanted_looks()
    looks = {key: look for key, look in looks.items() if key in wanted}
    for number, (key, (words, look)) in enumerate(wanted.items(), 1):
        if key in looks:
            continue
        try:
            looks[key] = [float(f"{value:.4g}") for value in look()]
        except InputError:
            continue
        write(looks)
        print(f"{number} of {len(wanted)}: {words}", end="\r")
    write(looks)
    print(f"\n{len(looks)} of {len(wanted)} kinds")


def write(looks: dict[str, list[float]]) -> None:
    """A line a look."""
    lines = ",\n".join(f'"{key}": {json.dumps(look)}' for key, look in sorted(looks.items()))
    write_whole(LOOKS, f"{{\n{lines}\n}}\n".encode())


if __name__ == "__main__":
    main()
