"""Other people's stores, taken into one's own: their runs (`layerlocal.runs.merge`), and the plans that say what the runs are of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layerlocal.experiments.stored import read_plan, study_place
from layerlocal.experiments.studies import STUDIES
from layerlocal.experiments.studies.base import SIZES, StudyPlan
from layerlocal.runs.merge import MergedRuns, merge_runs
from layerlocal.types import InputError

__all__ = ["Merged", "merge_stores"]

ASKED = ("data", "settings", "search")
"""What two plans of one study and size must have alike to be one."""
KNOWN = ("twins_of", "sources", "contents", "widths", "chosen", "predicted")
"""What they know by name: the same, wherever both do."""


@dataclass
class Merged:
    """What became of one store.

    Attributes:
        store: its folder.
        runs: what became of its runs.
        plans: names of the studies that are new or have grown.
        left_out: a sentence for each plan that was not taken.
    """

    store: str
    runs: MergedRuns
    plans: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As ``--json`` prints it."""
        return {
            "store": self.store,
            "taken": self.runs.taken,
            "same": self.runs.same,
            "differ": self.runs.differ,
            "plans": self.plans,
            "left_out": [*self.runs.left_out, *self.left_out],
        }


def merge_stores(stores: Sequence[Path], out: Path) -> list[Merged]:
    """Take the finished runs and the plans of studies of other stores into one.

    A run is taken where it is whole, of this protocol, says what machine it was made on and what its data were. Nothing of it is executed, and
    its weights are not taken. Of a study that both have, rules and seeds are put together where data and settings are the same.

    Args:
        stores: folders of runs.
        out: the store; made where there is none.

    Raises:
        InputError: no stores, a folder that is none, ``out`` among them, or one that cannot be written.
    """
    if not stores:
        raise InputError("give the folders of one store or more to merge")
    for store in stores:
        if store.resolve() == out.resolve():
            raise InputError(
                f"{store} is the store that others are merged into; leave it out, or give another with --out"
            )
    return [_merge(store, out) for store in stores]


def _merge(store: Path, out: Path) -> Merged:
    merged = Merged(str(store), merge_runs(store, out))
    for study in STUDIES:
        for size in SIZES:
            try:
                theirs = read_plan(store, study, size)
                own = None if theirs is None else read_plan(out, study, size)
            except InputError as error:
                merged.left_out.append(str(error))
                continue
            if theirs is None:
                continue
            joined = theirs if own is None else joined_plans(own, theirs)
            if isinstance(joined, str):
                merged.left_out.append(
                    f"the study {study} ({size}) of {store} {joined}; its runs are taken, its plan is not"
                )
            elif joined != own:
                study_place(out, study, size).plan.write(joined)
                merged.plans.append(f"{study}-{size}")
    return merged


def joined_plans(own: StudyPlan, theirs: StudyPlan) -> StudyPlan | str:
    """One plan of two of the same study and size, or in words why they cannot be one."""
    for key in ASKED:
        if getattr(own, key) != getattr(theirs, key):
            return f"has other {key}"
    known: dict[str, Any] = {}
    for key in KNOWN:
        here, there = getattr(own, key), getattr(theirs, key)
        if any(here[name] != there[name] for name in here if name in there):
            return f"says something else in {key}"
        known[key] = {**there, **here}
    return own.model_copy(
        update={
            "rules": tuple(dict.fromkeys([*own.rules, *theirs.rules])),
            "seeds": tuple(sorted({*own.seeds, *theirs.seeds})),
            "controls": own.controls or theirs.controls,
            **known,
        }
    )
