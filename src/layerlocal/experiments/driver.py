"""One driver for every experiment: plan its jobs, look at what they need, say how long, finish them, conclude.

A job is whatever can be made and is kept under its hash: a run, or a measurement of cost; a `Workshop` makes those of one kind. An
`Experiment` says what is its own: its plan, the jobs of a plan, and what finished jobs say; a `RunExperiment`, whose jobs are runs, also what
falls with a run that cannot take part. Everything between is here and is the same for all. On disk an experiment is a
`layerlocal.experiments.places.Place`.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from layerlocal.data.medmnist import MEDMNIST, ORIGIN
from layerlocal.experiments.places import Place
from layerlocal.experiments.workshop import How, RunShop, Workshop, data_of
from layerlocal.runs.store import RunStore
from layerlocal.spec import RunSpec
from layerlocal.summary import Summary
from layerlocal.types import InputError, UnreachableError

__all__ = [
    "Experiment", "How", "Key", "Missing", "Prepared", "Refusal", "Round", "RunExperiment", "forecast", "prepare", "run",
    "seeds_of",
]  # fmt: skip

Key = tuple[Any, ...]
"""Of a job within its experiment."""
Part = Hashable
"""Of an experiment: what takes part whole or not at all."""
Round = dict[Key, RunSpec]
Plan = TypeVar("Plan", bound=BaseModel)
Job = TypeVar("Job")


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
    """Jobs without a result.

    Args:
        label: what they are.
        reason: why.
        runs: their hashes.
        left_out: whether that was known before anything was made.
    """

    label: str
    reason: str
    runs: tuple[str, ...]
    left_out: bool = False


class Experiment(ABC, Generic[Plan, Job]):
    """What is one experiment's own."""

    @abstractmethod
    def place(self, out: Path, plan: Plan) -> Place:
        """Where its plan and summary are kept."""

    @abstractmethod
    def plan(self, out: Path, how: How) -> Plan:
        """What is to be made, once everything that was named is seen to be there; an earlier plan in the store may be joined.

        Raises:
            InputError: a mistake in what was asked for.
        """

    @abstractmethod
    def workshop(self, out: Path, plan: Plan, how: How) -> Workshop[Job]:
        """Where its jobs are made and kept."""

    @abstractmethod
    def jobs(self, plan: Plan) -> dict[Key, Job]:
        """Every job of the plan, in the order in which they are made; of an experiment in rounds: those that are known from the start."""

    @abstractmethod
    def conclude(self, out: Path, plan: Plan, missing: Sequence[Missing], how: How) -> Summary:
        """What finished jobs say."""

    def refusals(self, plan: Plan, jobs: dict[Key, Job]) -> dict[Key, Refusal]:
        """The jobs that cannot take part → why.

        Raises:
            InputError: nothing would be left of what was asked for, or what ends the experiment.
        """
        return {}

    def with_data(self, plan: Plan, contents: dict[str, str]) -> Plan:
        """The plan with what the data of its jobs are, by ``DataSpec.place``."""
        return plan

    def settled(self, plan: Plan) -> Plan:
        """The plan with what only its jobs need to know, before it is written."""
        return plan

    def total(self, plan: Plan) -> int | None:
        """Jobs of all rounds, or their work, where there are several."""
        return None

    def rounds(self, plan: Plan, kept: dict[Key, Job], shop: Any) -> Generator[dict[Key, Job], Mapping[str, str], None]:
        """Rounds of jobs; each is told the reasons of jobs that failed, by hash. Most experiments are one round."""
        yield kept

    def forecast(self, plan: Plan, kept: dict[Key, Job], shop: Any) -> dict[str, Any]:
        """As `Workshop.forecast`, of all rounds."""
        found: dict[str, Any] = shop.forecast(list(kept.values()))
        return found


class RunExperiment(Experiment[Plan, RunSpec]):
    """An experiment whose jobs are runs."""

    store: str = ""
    """Folder below the store in which they are kept; none: in the store itself."""

    def workshop(self, out: Path, plan: Plan, how: How) -> RunShop:
        """Of runs in the store."""
        return RunShop(RunStore(out / self.store if self.store else out), how)

    @abstractmethod
    def parts(self, plan: Plan, key: Key) -> tuple[Part, ...]:
        """What a run is a part of: where one of these cannot take part, nor can the run."""

    @abstractmethod
    def blame(self, plan: Plan, key: Key, spec: RunSpec, error: InputError) -> tuple[Part, Refusal]:
        """Which part falls with a run that cannot take part.

        Raises:
            InputError: the error, where it ends the whole experiment.
        """

    def looks(self, plan: Plan) -> tuple[Callable[[RunSpec], Any], ...]:
        """What every run is held to before any is trained, one look after another."""
        from layerlocal.runs.preview import look_ahead

        return (look_ahead,)

    def looked_at(self, plan: Plan, jobs: Round) -> Round:
        """The runs that are looked at; the others are like them."""
        return jobs

    def is_asked(self, plan: Plan, key: Key) -> bool:
        """Whether a run is of what the user asked for: where none of those can take part, the experiment is refused."""
        return True

    def refused(self, plan: Plan) -> dict[Part, Refusal]:
        """Parts that cannot take part whatever their runs look like."""
        return {}

    def refusals(self, plan: Plan, jobs: Round) -> dict[Key, Refusal]:
        """Of all looks; whatever a part has against it, the first reason counts."""
        found = self.refused(plan)

        def reason_of(key: Key) -> Refusal | None:
            return next((found[part] for part in self.parts(plan, key) if part in found), None)

        for look, (key, spec) in product(self.looks(plan), self.looked_at(plan, jobs).items()):
            if reason_of(key) is None:
                try:
                    look(spec)
                except InputError as error:
                    part, refusal = self.blame(plan, key, spec, error)
                    found[part] = refusal
        refused = {key: reason for key in jobs if (reason := reason_of(key)) is not None}
        asked = [key for key in jobs if self.is_asked(plan, key)]
        if all(key in refused for key in asked):
            raise InputError("; ".join(dict.fromkeys(str(refused[key]) for key in asked)))
        return refused

    def forecast(self, plan: Plan, kept: Round, shop: Any) -> dict[str, Any]:
        """With the ``data`` that are read."""
        return super().forecast(plan, kept, shop) | {"data": data_of(kept.values())}


@dataclass(frozen=True)
class Prepared(Generic[Plan, Job]):
    """A plan that can be made.

    Args:
        plan: with its data.
        kept: the jobs that take part.
        missing: those that cannot.
        shop: where they are made.
    """

    plan: Plan
    kept: dict[Key, Job]
    missing: list[Missing]
    shop: Workshop[Job]


def prepare(experiment: Experiment[Plan, Job], out: Path, how: How) -> Prepared[Plan, Job]:
    """Look at every rule and every data set before anything is made, so that a mistake costs seconds. Writes nothing.

    Raises:
        InputError: a mistake in what was asked for; data that do not fit; nothing would be left to make.
    """
    plan = experiment.plan(out, how)
    shop, jobs = experiment.workshop(out, plan, how), experiment.jobs(plan)
    if how.reread:
        with contextlib.suppress(UnreachableError), how.console.status("reading data again"):
            shop.contents(jobs.values(), reread=True)
    with how.console.status("looking at data and rules"):
        refused = experiment.refusals(plan, jobs)
    plan = experiment.with_data(plan, shop.contents(job for key, job in jobs.items() if key not in refused))
    jobs = experiment.jobs(plan)
    kept = {key: job for key, job in jobs.items() if key not in refused}
    hashes: dict[Refusal, list[str]] = {}
    taking_part = {shop.name_of(job) for job in kept.values()} if refused else set()
    for key, reason in refused.items():
        if (name := shop.name_of(jobs[key])) not in taking_part:
            hashes.setdefault(reason, []).append(name)
    for text in _told(hashes):
        how.console.print(f"left out: {text}", style="yellow", markup=False, highlight=False)
    missing = [
        Missing(reason.label, reason.reason, tuple(dict.fromkeys(names)), left_out=True)
        for reason, names in hashes.items()
    ]
    return Prepared(plan, kept, missing, shop)


def _told(refusals: Iterable[Refusal]) -> list[str]:
    """The reasons, those of several data sets that cannot be reached as one line with their names; each alone is in the summary."""
    found = list(dict.fromkeys(refusals))
    unreachable = {refusal.unreachable: refusal for refusal in found if refusal.unreachable}
    files = {name: refusal for name, refusal in unreachable.items() if name in MEDMNIST}
    on_hub = {name: refusal for name, refusal in unreachable.items() if name not in MEDMNIST}
    fetched = (
        "come from the Hugging Face Hub, which cannot be reached; connect to the network, or put their Parquet files into folders of these "
        "names, and name the folder around them in LAYERLOCAL_DATA"
    )
    put = f"are not here; fetch their files NAME.npz, as MedMNIST publishes them ({ORIGIN}), into a folder, and name it in LAYERLOCAL_DATA"
    others = [str(refusal) for refusal in found if not refusal.unreachable]
    return [*others, *_together(on_hub, fetched), *_together(files, put)]


def _together(refusals: Mapping[str, Refusal], what: str) -> list[str]:
    """One line for several, its own for one."""
    if len(refusals) < 2:
        return list(map(str, refusals.values()))
    return [f"{', '.join(refusals)}: these {len(refusals)} data sets {what}"]


def forecast(experiment: Experiment[Any, Any], out: Path, how: How) -> dict[str, Any]:
    """What `run` would make, and for about how long. Makes nothing, and writes nothing.

    Returns:
        As `Experiment.forecast`; ``left_out``: how many jobs cannot take part, for which ``reasons``.

    Raises:
        InputError: as `prepare`.
    """
    ready = prepare(experiment, out, how)
    return experiment.forecast(ready.plan, ready.kept, ready.shop) | {
        "left_out": len({name for entry in ready.missing for name in entry.runs}),
        "reasons": [str(Refusal(entry.reason, entry.label)) for entry in ready.missing],
    }


def run(experiment: Experiment[Any, Any], out: Path, how: How) -> Summary:
    """Finish the jobs that are not finished yet, and conclude; the plan, what is missing and the summary are written.

    Raises:
        InputError: as `prepare`; a store that cannot be written. What was finished is kept.
    """
    ready = prepare(experiment, out, how)
    plan, shop = experiment.settled(ready.plan), ready.shop
    place = experiment.place(out, plan)
    RunStore(out).prepare()
    is_new = not place.plan.found.exists()
    if experiment.total(plan) is None:
        shop.announce(list(ready.kept.values()))
    place.plan.write(plan)
    try:
        failed = _finish(experiment.rounds(plan, ready.kept, shop), shop, how, experiment.total(plan))
    except InputError:
        if is_new and not any(map(shop.is_done, ready.kept.values())):
            # an experiment that could not begin leaves no plan, which would keep other data out of this folder
            place.plan.path.unlink(missing_ok=True)
            _remove_empty(place.folder, out)
        raise
    missing = [*ready.missing, *failed]
    place.missing.write([asdict(entry) for entry in missing])
    summary = experiment.conclude(out, plan, missing, how)
    place.summary.write(summary)
    return summary


def _finish(
    rounds: Generator[dict[Key, Any], Mapping[str, str], None], shop: Workshop[Any], how: How, total: int | None
) -> list[Missing]:
    """Make the jobs of every round; those that failed. Where ``total`` says how much there is in all, finished ones count too."""
    found: list[Missing] = []
    jobs = next(rounds, None)
    by_name = {shop.name_of(job): job for job in (jobs or {}).values()}
    done = 0 if total is not None else sum(map(shop.is_done, by_name.values()))
    if done:
        how.console.print(f"{done} of {len(by_name)} runs are finished already", highlight=False)
    with shop.progress(len(by_name) - done if total is None else total) as progress:
        while jobs is not None:
            by_name = {shop.name_of(job): job for job in jobs.values()}
            left = [job for job in by_name.values() if total is not None or not shop.is_done(job)]
            failed = shop.make(left, progress)
            found += [
                Missing(shop.label(by_name[name]) if name in by_name else name, reason, (name,))
                for name, reason in failed.items()
            ]
            try:
                jobs = rounds.send(failed)
            except StopIteration:
                jobs = None
    return found


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
