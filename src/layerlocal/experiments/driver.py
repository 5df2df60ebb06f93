"""One driver for every experiment whose jobs are runs: plan them, look at what they need, say how long, finish them, conclude.

An `Experiment` says what is its own: its plan, the runs of a plan, what falls with a run that cannot take part, and what finished runs say.
Everything between is here and is the same for all. On disk an experiment is a `layerlocal.experiments.places.Place`.
"""

from __future__ import annotations

import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel
from rich.console import Console

from layerlocal.experiments.places import Place
from layerlocal.files import write_atomic
from layerlocal.runs.environment import usual_workers
from layerlocal.runs.pin import contents_of
from layerlocal.runs.store import RunStore
from layerlocal.spec import RunSpec
from layerlocal.types import InputError, UnreachableError
from layerlocal.words import duration

__all__ = ["Experiment", "How", "Key", "Missing", "Refusal", "Round", "forecast", "prepare", "run", "seeds_of"]

Key = tuple[Any, ...]
"""Of a run within its experiment."""
Part = Hashable
"""Of an experiment: what takes part whole or not at all."""
Round = dict[Key, RunSpec]
Plan = TypeVar("Plan", bound=BaseModel)


def _usual_console() -> Console:
    return Console(stderr=True)


@dataclass(frozen=True)
class How:
    """Where and by what an experiment's runs are made.

    Args:
        workers: processes of one thread each; ``None``: one a core.
        ray: address of a Ray cluster instead of processes here.
        device: of every run.
        reread: read the files of the data again, even where their sizes and times of change are the old ones.
        console: for progress.
    """

    workers: int | None = None
    ray: str | None = None
    device: str = "cpu"
    reread: bool = False
    console: Console = field(default_factory=_usual_console)

    @classmethod
    def of(cls, *, console: Console | None = None, **given: Any) -> How:
        """With a console of its own where none is given."""
        return cls(**given) if console is None else cls(console=console, **given)

    @property
    def count(self) -> int | None:
        """Workers: as many as a cluster has room for, where none are said for it."""
        return self.workers if self.ray else self.workers or usual_workers(self.device)


@dataclass(frozen=True)
class Refusal:
    """Why a part of an experiment cannot take part.

    Args:
        reason: a sentence.
        label: what it is about, where the reason does not say it.
        unreachable: the data set that cannot be reached, where that is the reason.
    """

    reason: str
    label: str = ""
    unreachable: str = ""

    def __str__(self) -> str:
        return f"{self.label}: {self.reason}" if self.label else self.reason


@dataclass(frozen=True)
class Missing:
    """Runs without a result.

    Args:
        label: what they are.
        reason: why.
        runs: their hashes.
        left_out: whether that was known before anything was trained.
    """

    label: str
    reason: str
    runs: tuple[str, ...]
    left_out: bool = False


class Experiment(ABC, Generic[Plan]):
    """What is one experiment's own."""

    store: str = ""
    """Folder below the store in which its runs are kept; none: in the store itself."""

    @abstractmethod
    def place(self, out: Path, plan: Plan) -> Place:
        """Where its plan and summary are kept."""

    @abstractmethod
    def plan(self, out: Path, how: How) -> Plan:
        """What is to be run, once everything that was named is seen to be there; an earlier plan in the store may be joined.

        Raises:
            InputError: a mistake in what was asked for.
        """

    @abstractmethod
    def runs(self, plan: Plan) -> Round:
        """Every run of the plan, in the order in which they are made; of an experiment in rounds: those that show whether it can be run."""

    @abstractmethod
    def parts(self, plan: Plan, key: Key) -> tuple[Part, ...]:
        """What a run is a part of: where one of these cannot take part, nor can the run."""

    @abstractmethod
    def blame(self, plan: Plan, key: Key, spec: RunSpec, error: InputError) -> tuple[Part, Refusal]:
        """Which part falls with a run that cannot take part.

        Raises:
            InputError: the error, where it ends the whole experiment.
        """

    @abstractmethod
    def conclude(self, out: Path, plan: Plan, missing: Sequence[Missing], how: How) -> dict[str, Any]:
        """What finished runs say."""

    def looks(self, plan: Plan) -> tuple[Callable[[RunSpec], Any], ...]:
        """What every run is held to before any is trained, one look after another."""
        from layerlocal.runs.preview import look_ahead

        return (look_ahead,)

    def looked_at(self, plan: Plan, runs: Round) -> Round:
        """The runs that are looked at; the others are like them."""
        return runs

    def is_asked(self, plan: Plan, key: Key) -> bool:
        """Whether a run is of what the user asked for: where none of those can take part, the experiment is refused."""
        return True

    def refused(self, plan: Plan) -> dict[Part, Refusal]:
        """Parts that cannot take part whatever their runs look like."""
        return {}

    def with_data(self, plan: Plan, contents: dict[str, str]) -> Plan:
        """The plan with what the data of its runs are, by ``DataSpec.place``."""
        return plan

    def settled(self, plan: Plan) -> Plan:
        """The plan with what only its runs need to know, before it is written."""
        return plan

    def total(self, plan: Plan) -> int | None:
        """Runs of all rounds, where there are several."""
        return None

    def rounds(self, plan: Plan, kept: Round, store: RunStore) -> Generator[Round, Mapping[str, str], None]:
        """Rounds of runs; each is told the reasons of runs that failed, by hash. Most experiments are one round."""
        yield kept


@dataclass(frozen=True)
class Prepared(Generic[Plan]):
    """A plan that can be run.

    Args:
        plan: with its data.
        kept: the runs that take part.
        missing: those that cannot.
    """

    plan: Plan
    kept: Round
    missing: list[Missing]


def prepare(experiment: Experiment[Plan], out: Path, how: How) -> Prepared[Plan]:
    """Look at every rule and every data set before anything is trained, so that a mistake costs seconds. Writes nothing.

    Raises:
        InputError: a mistake in what was asked for; data that do not fit; nothing would be left to run.
    """
    plan = experiment.plan(out, how)
    runs = experiment.runs(plan)
    if how.reread:
        with contextlib.suppress(UnreachableError), how.console.status("reading data again"):
            contents_of(runs.values(), reread=True)
    with how.console.status("looking at data and rules"):
        refused = _refusals(experiment, plan, runs)
    plan = experiment.with_data(plan, contents_of(spec for key, spec in runs.items() if key not in refused))
    runs = experiment.runs(plan)
    kept = {key: spec for key, spec in runs.items() if key not in refused}
    hashes: dict[Refusal, list[str]] = {}
    taking_part = {spec.hash for spec in kept.values()}
    for key, reason in refused.items():
        if runs[key].hash not in taking_part:
            hashes.setdefault(reason, []).append(runs[key].hash)
    for text in _told(hashes):
        how.console.print(f"left out: {text}", style="yellow", markup=False, highlight=False)
    missing = [
        Missing(reason.label, reason.reason, tuple(dict.fromkeys(names)), left_out=True)
        for reason, names in hashes.items()
    ]
    return Prepared(plan, kept, missing)


def _told(refusals: Iterable[Refusal]) -> list[str]:
    """The reasons, those of several data sets that cannot be reached as one line with their names; each alone is in the summary."""
    found = list(dict.fromkeys(refusals))
    unreachable = {refusal.unreachable: refusal for refusal in found if refusal.unreachable}
    others = [str(refusal) for refusal in found if not refusal.unreachable]
    if len(unreachable) < 2:
        return [*others, *map(str, unreachable.values())]
    return [
        *others,
        f"{', '.join(unreachable)}: these {len(unreachable)} data sets come from the Hugging Face Hub, which cannot be reached; connect to the "
        "network, or put their Parquet files into folders of these names, and name the folder around them in LAYERLOCAL_DATA",
    ]


def _refusals(experiment: Experiment[Plan], plan: Plan, runs: Round) -> dict[Key, Refusal]:
    """The runs that cannot take part → why.

    Raises:
        InputError: nothing would be left of what was asked for, or what ends the experiment.
    """
    found = experiment.refused(plan)

    def reason_of(key: Key) -> Refusal | None:
        return next((found[part] for part in experiment.parts(plan, key) if part in found), None)

    for look, (key, spec) in product(experiment.looks(plan), experiment.looked_at(plan, runs).items()):
        if reason_of(key) is None:
            try:
                look(spec)
            except InputError as error:
                part, refusal = experiment.blame(plan, key, spec, error)
                found[part] = refusal
    refused = {key: reason for key in runs if (reason := reason_of(key)) is not None}
    asked = [key for key in runs if experiment.is_asked(plan, key)]
    if all(key in refused for key in asked):
        raise InputError("; ".join(dict.fromkeys(str(refused[key]) for key in asked)))
    return refused


def forecast(experiment: Experiment[Any], out: Path, how: How) -> dict[str, Any]:
    """What `run` would train, and for about how long. Trains nothing to its end, and writes nothing.

    Returns:
        As `forecast_runs`; ``left_out``: how many runs cannot take part, for which ``reasons``; ``data``: the data sets that are read.

    Raises:
        InputError: as `prepare`.
    """
    from layerlocal.runs.forecast import forecast_runs

    ready = prepare(experiment, out, how)
    specs = list(ready.kept.values())
    found = forecast_runs(specs, _store(experiment, out), workers=how.workers, device=how.device, console=how.console)
    return found | {
        "left_out": len({name for entry in ready.missing for name in entry.runs}),
        "reasons": [str(Refusal(entry.reason, entry.label)) for entry in ready.missing],
        "data": _sources(specs),
    }


def run(experiment: Experiment[Any], out: Path, how: How) -> dict[str, Any]:
    """Finish the runs that are not finished yet, and conclude; the plan, what is missing and the summary are written.

    Raises:
        InputError: as `prepare`; a store that cannot be written. What was finished is kept.
    """
    ready = prepare(experiment, out, how)
    plan = experiment.settled(ready.plan)
    place = experiment.place(out, plan)
    store = _store(experiment, out)
    RunStore(out).prepare()
    is_new = not place.plan.found.exists()
    if experiment.total(plan) is None:
        _announce(list(ready.kept.values()), store, how)
    write_atomic(place.plan.path, plan.model_dump_json(indent=1).encode())
    try:
        failed = _finish(experiment.rounds(plan, ready.kept, store), store, how, experiment.total(plan))
    except InputError:
        if is_new and not any(map(store.is_done, ready.kept.values())):
            # an experiment that could not begin leaves no plan, which would keep other data out of this folder
            place.plan.path.unlink(missing_ok=True)
            _remove_empty(place.folder, out)
        raise
    missing = [*ready.missing, *failed]
    write_atomic(place.missing.path, json.dumps([asdict(entry) for entry in missing], indent=1).encode())
    summary = experiment.conclude(out, plan, missing, how)
    write_atomic(place.summary.path, (json.dumps(summary, indent=1) + "\n").encode())
    return summary


def _announce(specs: Sequence[RunSpec], store: RunStore, how: How) -> None:
    """Before anything is trained: how many runs, on what data, and where they are of usual kinds, about how long."""
    from layerlocal.runs.forecast import known_seconds

    left = list({spec.hash: spec for spec in specs if not store.is_done(spec)}.values())
    if not left:
        return
    seconds = None if how.ray else known_seconds(left, workers=how.count or 1, device=how.device)
    about = f", about {duration(seconds)} on {how.count} worker{'s' * (how.count != 1)}" if seconds else ""
    text = f"{len(left)} run{'s' * (len(left) > 1)} to train on {', '.join(_sources(left))}{about}"
    how.console.print(text, markup=False, highlight=False)


def _finish(
    rounds: Generator[Round, Mapping[str, str], None], store: RunStore, how: How, total: int | None
) -> list[Missing]:
    """Make the runs of every round; those that failed. Where ``total`` says how many there are in all, finished ones count too."""
    from layerlocal.runs.many import run_many
    from layerlocal.runs.progress import ManyRuns

    found: list[Missing] = []
    specs = next(rounds, None)
    by_hash = {spec.hash: spec for spec in (specs or {}).values()}
    done = 0 if total is not None else sum(map(store.is_done, by_hash.values()))
    if done:
        how.console.print(f"{done} of {len(by_hash)} runs are finished already", highlight=False)
    with ManyRuns(how.console, len(by_hash) - done if total is None else total, workers=how.count) as progress:
        while specs is not None:
            by_hash = {spec.hash: spec for spec in specs.values()}
            left = [spec for spec in by_hash.values() if total is not None or not store.is_done(spec)]
            outcome = run_many(
                left, store, workers=how.count, threads=1, device=how.device, ray=how.ray, listen=progress, on_done=progress.done
            )  # fmt: skip
            found += [
                Missing(_label(by_hash.get(name), name), reason, (name,)) for name, reason in outcome.failed.items()
            ]
            try:
                specs = rounds.send(outcome.failed)
            except StopIteration:
                specs = None
    return found


def _label(spec: RunSpec | None, name: str) -> str:
    return (
        name
        if spec is None
        else f"{spec.rule.name}, {spec.data.source}, {spec.network.name}, seed {spec.seed} ({name})"
    )


def _store(experiment: Experiment[Any], out: Path) -> RunStore:
    return RunStore(out / experiment.store if experiment.store else out)


def _sources(specs: Iterable[RunSpec]) -> list[str]:
    return list(dict.fromkeys(spec.data.source for spec in specs))


def _remove_empty(folder: Path, above: Path) -> None:
    """Folders made for a file that is gone again."""
    with contextlib.suppress(OSError):
        while folder != above:
            folder.rmdir()
            folder = folder.parent


def seeds_of(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """A number of seeds, from 0 on, or the seeds themselves, each once.

    Raises:
        InputError: none, or one below 0.
    """
    found = tuple(range(seeds)) if isinstance(seeds, int) else tuple(dict.fromkeys(seeds))
    if not found:
        raise InputError(f"an experiment needs at least 1 seed, got {seeds if isinstance(seeds, int) else 'none'}")
    if min(found) < 0:
        raise InputError(f"a seed is 0 or more, got {min(found)}")
    return found
