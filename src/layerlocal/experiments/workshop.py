"""Where jobs of one kind are made, and kept so that none is made twice: `RunShop` makes runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from rich.console import Console

from layerlocal.runs.environment import usual_workers
from layerlocal.runs.pin import contents_of
from layerlocal.runs.store import RunStore
from layerlocal.spec import RunSpec
from layerlocal.words import duration, several

__all__ = ["How", "RunShop", "Workshop", "data_of"]

Job = TypeVar("Job")


def _usual_console() -> Console:
    return Console(stderr=True)


@dataclass(frozen=True)
class How:
    """Where and by what an experiment's jobs are made.

    Args:
        workers: processes of one thread each; ``None``: one a core.
        ray: address of a Ray cluster instead of processes here.
        device: of every job.
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


class Workshop(ABC, Generic[Job]):
    """Makes jobs of one kind and keeps what came of them."""

    @abstractmethod
    def name_of(self, job: Job) -> str:
        """Its hash."""

    @abstractmethod
    def label(self, job: Job) -> str:
        """What it is, in words."""

    @abstractmethod
    def is_done(self, job: Job) -> bool:
        """Whether it was made before."""

    @abstractmethod
    def progress(self, total: int) -> AbstractContextManager[Any]:
        """Shows how far so many jobs, or so much work, are."""

    @abstractmethod
    def make(self, jobs: Sequence[Job], progress: Any) -> Mapping[str, str]:
        """Make jobs; the reasons of those that failed, by hash.

        Raises:
            InputError: what ends all of them, such as a folder that cannot be written.
        """

    @abstractmethod
    def forecast(self, jobs: Sequence[Job]) -> dict[str, Any]:
        """How many are ``planned`` and ``finished``, and how many ``seconds`` the others take, on how many ``workers``; makes nothing."""

    def announce(self, jobs: Sequence[Job]) -> None:
        """Say before anything is made how much it is."""
        return None

    def contents(self, jobs: Iterable[Job], *, reread: bool = False) -> dict[str, str]:
        """What the data of some jobs are, by ``DataSpec.place``."""
        return {}


@dataclass(frozen=True)
class RunShop(Workshop[RunSpec]):
    """Makes runs, several at once.

    Args:
        store: where they are kept.
        how: where they are made.
    """

    store: RunStore
    how: How

    def name_of(self, job: RunSpec) -> str:
        """Of the spec."""
        return job.hash

    def label(self, job: RunSpec) -> str:
        """Rule, data, network, seed."""
        return f"{job.rule.name}, {job.data.source}, {job.network.name}, seed {job.seed} ({job.hash})"

    def is_done(self, job: RunSpec) -> bool:
        """Whether it is finished and whole."""
        return self.store.is_done(job)

    def contents(self, jobs: Iterable[RunSpec], *, reread: bool = False) -> dict[str, str]:
        """As `contents_of`."""
        return contents_of(jobs, reread=reread)

    def progress(self, total: int) -> AbstractContextManager[Any]:
        """A bar of runs."""
        from layerlocal.runs.progress import ManyRuns

        return ManyRuns(self.how.console, total, workers=self.how.count)

    def make(self, jobs: Sequence[RunSpec], progress: Any) -> Mapping[str, str]:
        """As `run_many`."""
        from layerlocal.runs.many import run_many

        how = self.how
        return run_many(
            jobs, self.store, workers=how.count, threads=1, device=how.device, ray=how.ray, listen=progress, on_done=progress.done
        ).failed  # fmt: skip

    def forecast(self, jobs: Sequence[RunSpec]) -> dict[str, Any]:
        """As `forecast_runs`."""
        from layerlocal.runs.forecast import forecast_runs

        how = self.how
        return forecast_runs(jobs, self.store, workers=how.workers, device=how.device, console=how.console)

    def announce(self, jobs: Sequence[RunSpec]) -> None:
        """How many runs, on what data, and where they are of usual kinds, about how long."""
        from layerlocal.runs.forecast import known_seconds

        how = self.how
        left = list({spec.hash: spec for spec in jobs if not self.store.is_done(spec)}.values())
        if not left:
            return
        seconds = None if how.ray else known_seconds(left, workers=how.count or 1, device=how.device)
        about = f", about {duration(seconds)} on {several(how.count or 1, 'worker')}" if seconds else ""
        text = f"{several(len(left), 'run')} to train on {', '.join(data_of(left))}{about}"
        how.console.print(text, markup=False, highlight=False)


def data_of(specs: Iterable[RunSpec]) -> list[str]:
    """The data sets of some runs, each once."""
    return list(dict.fromkeys(spec.data.source for spec in specs))
