"""The runs that nobody works on yet, and one attempt at one of them: what local workers and Ray share."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence

from layerlocal.runs.run import RunEvent, run_spec
from layerlocal.runs.store import CHECKPOINT, RunBusyError, RunStore, progress_of
from layerlocal.spec import RunSpec
from layerlocal.types import describe_error, is_fault

__all__ = ["Backlog", "Listener", "Result", "Results", "attempt", "saved_epoch", "throttled"]

LIVES = 3
"""So many workers in a row may die over a run without a new epoch of it on disk; then it is given up."""
FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS = 0.5, 5.0
"""A run that another process holds is looked at again after the first, then ever more rarely, up to the last."""
EVENT_SECONDS = 0.1

Listener = Callable[[RunEvent], None]
Result = tuple[RunSpec, str | None]
"""A run that ended, and the reason where it failed."""
Results = Generator[Result, None, None]
"""Closing it ends the work."""


def attempt(spec: RunSpec, store: RunStore, device: str, listen: Listener | None) -> str | None:
    """Finish a run, or say in one sentence why it failed.

    Raises:
        RunBusyError: another process is working on it.
    """
    if listen is not None:
        listen(RunEvent.of_state(spec, "started"))
    try:
        run_spec(spec, store, device=device, listen=listen, wait=False, look_around=False)
    except RunBusyError:
        raise
    except BaseException as error:
        if not is_fault(error):
            raise
        return describe_error(error)
    return None


def throttled(send: Listener) -> Listener:
    """Pass events on, but of one step after another only ten a second: nobody reads faster, and each crosses to another process."""
    last = float("-inf")

    def listen(event: RunEvent) -> None:
        nonlocal last
        if event.record is None and event.state == "training":
            if time.monotonic() - last < EVENT_SECONDS:
                return
            last = time.monotonic()
        send(event)

    return listen


def saved_epoch(store: RunStore, spec: RunSpec) -> int:
    """The epoch a run would continue after; 0 without a checkpoint, or with one that cannot be read."""
    from safetensors import SafetensorError, safe_open

    path = store.root / spec.hash / CHECKPOINT
    try:
        with safe_open(path, framework="pt") as file:
            return int(progress_of(file.metadata())["epoch"])
    except (SafetensorError, KeyError, TypeError, ValueError, OSError):
        return 0


class Backlog:
    """Runs in the order they are to be started; one that comes back goes to the end.

    Args:
        specs: each once.
        store: where their checkpoints are.
    """

    def __init__(self, specs: Sequence[RunSpec], store: RunStore) -> None:
        self.store = store
        self._due: list[tuple[float, RunSpec]] = [(float("-inf"), spec) for spec in specs]
        self._looks: dict[str, int] = {}
        self._epochs: dict[str, int] = {}
        self._deaths: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._due)

    def take(self) -> RunSpec | None:
        """The next run, or ``None`` where there is none that may be tried yet."""
        now = time.monotonic()
        for index, (due, spec) in enumerate(self._due):
            if due <= now:
                del self._due[index]
                self._epochs.setdefault(spec.hash, saved_epoch(self.store, spec))
                return spec
        return None

    def seconds_to_next(self) -> float | None:
        """How long until `take` has something to give; ``None`` where nothing is left."""
        return max(0.0, min(due for due, _ in self._due) - time.monotonic()) if self._due else None

    def put_back_busy(self, spec: RunSpec) -> None:
        """Another process has this run: try it again when the others are through, and not at once."""
        looks = self._looks[spec.hash] = self._looks.get(spec.hash, 0) + 1
        pause = min(LAST_LOOK_SECONDS, FIRST_LOOK_SECONDS * 2 ** (looks - 1))
        self._due.append((time.monotonic() + pause, spec))

    def put_back_lost(self, spec: RunSpec, how: str) -> Result | None:
        """The worker of this run died: keep the run for another one, unless it is finished or takes every worker with it.

        Args:
            spec: of the run.
            how: how the worker ended, for the reason.

        Returns:
            The run's end, or ``None`` where it goes on.
        """
        if self.store.is_done(spec):
            return spec, None
        epoch = saved_epoch(self.store, spec)
        deaths = self._deaths.get(spec.hash, 0) + 1 if epoch <= self._epochs.get(spec.hash, 0) else 0
        self._epochs[spec.hash], self._deaths[spec.hash] = epoch, deaths
        if deaths >= LIVES:
            return spec, (
                f"its worker process died {deaths} times in a row without finishing another epoch ({how}); run the same command again "
                f"to continue from epoch {epoch}"
            )
        self._due.append((float("-inf"), spec))
        return None

    def give_up(self, reason: str) -> list[Result]:
        """Everything that is left, failed for this reason."""
        left, self._due = self._due, []
        return [(spec, reason) for _, spec in left]
