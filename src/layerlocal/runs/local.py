"""Worker processes on this machine, and their supervisor: one run at a time each, and a worker that dies is replaced.

Parent and worker share a pipe. The parent sends a spec as JSON text; the worker answers with events and then how the run ended. A worker
that dies, however it dies, closes its pipe and ends its process: the parent waits for both, so it knows at once. A worker whose parent dies
ends itself. What a worker warns of, its parent warns of, once for all workers and runs.
"""

from __future__ import annotations

import builtins
import contextlib
import json
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from layerlocal.runs.backlog import Backlog, Listener, Result, Results, attempt, throttled
from layerlocal.runs.run import RunEvent
from layerlocal.runs.store import RunBusyError, RunStore
from layerlocal.spec import RunSpec

__all__ = ["run_here", "run_in_workers"]

FALSE_STARTS = {"ended": 3, "killed": 20}
"""So many workers in a row may end before they are ready: by themselves (they cannot start here), or by a signal (of bad luck)."""
GOODBYE_SECONDS = 5.0


def run_here(
    specs: Sequence[RunSpec], store: RunStore, threads: int | None, device: str, listen: Listener | None
) -> Results:
    """Every run, one after another, in this process."""
    backlog = Backlog(specs, store)
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        while len(backlog):
            spec = backlog.take()
            if spec is None:
                time.sleep(backlog.seconds_to_next() or 0)
                continue
            try:
                reason = attempt(spec, store, device, listen)
            except RunBusyError:
                backlog.put_back_busy(spec)
                if listen is not None:
                    listen(RunEvent.of_state(spec, "waiting"))
            else:
                yield spec, reason
    finally:
        torch.set_num_threads(before)


def run_in_workers(
    specs: Sequence[RunSpec],
    store: RunStore,
    workers: int,
    threads: int | None,
    device: str,
    listen: Listener | None,
) -> Results:
    """Every run, ``workers`` at a time, each worker in a process of its own. Closing the iterator ends the workers at once."""
    crew = _Crew(Backlog(specs, store), workers, threads, device, listen)
    try:
        while crew.unfinished:
            crew.hire()
            crew.hand_out()
            ended = crew.hear()
            crew.hand_out()  # before the ends are reported, which may take the caller a while
            yield from ended
        crew.dismiss()
    finally:
        crew.kill()


# --- the parent's side ------------------------------------------------------------------------------------------------


@dataclass
class _Worker:
    """One worker process as its parent sees it."""

    process: BaseProcess
    pipe: Connection
    number: int
    ready: bool = False
    spec: RunSpec | None = None


class _Crew:
    """The workers, what each of them does, and what is left to do.

    Args:
        backlog: the runs.
        size: the most workers there are at once.
        threads: torch threads of each.
        device: of every run; the workers share ``"cuda"`` among all GPUs there are.
        listen: gets every event; ``None`` spares the workers the sending.
    """

    def __init__(self, backlog: Backlog, size: int, threads: int | None, device: str, listen: Listener | None) -> None:
        self.backlog = backlog
        self.size = size
        self.settings = (str(backlog.store.root), threads, device, listen is not None)
        self.listen = listen
        self.workers: list[_Worker] = []
        self.false_starts = 0
        self.no_more: str | None = None
        self._context = multiprocessing.get_context("spawn")

    @property
    def unfinished(self) -> int:
        """Runs waiting or in work."""
        return len(self.backlog) + sum(worker.spec is not None for worker in self.workers)

    def hire(self) -> None:
        """Start workers until there are enough for what is left."""
        while self.no_more is None and len(self.workers) < min(self.size, self.unfinished):
            number = min(set(range(self.size)) - {worker.number for worker in self.workers})
            ours, theirs = self._context.Pipe()
            process = self._context.Process(target=_serve, args=(theirs, number, *self.settings), name=f"run-{number}")
            process.start()
            theirs.close()
            self.workers.append(_Worker(process, ours, number))

    def hand_out(self) -> None:
        """Give every worker that has nothing to do a run."""
        for worker in self.workers:
            if worker.ready and worker.spec is None and (spec := self.backlog.take()) is not None:
                worker.spec = spec
                with contextlib.suppress(OSError):  # it has just died, and `hear` will find out
                    worker.pipe.send(spec.model_dump_json())

    def hear(self) -> list[Result]:
        """Sleep until a worker has something to say, dies, or may try a busy run again; the runs that ended."""
        if not self.workers:
            return self.backlog.give_up(self.no_more or "no worker process could be started")
        idle = any(worker.ready and worker.spec is None for worker in self.workers)
        signs: list[Any] = [sign for worker in self.workers for sign in (worker.pipe, worker.process.sentinel)]
        given = set(wait(signs, timeout=self.backlog.seconds_to_next() if idle else None))
        ended: list[Result] = []
        for worker in [w for w in self.workers if given & {w.pipe, w.process.sentinel}]:
            if not self._read(worker, ended) or worker.process.sentinel in given:
                ended += self._bury(worker)
        return ended

    def _read(self, worker: _Worker, ended: list[Result]) -> bool:
        """Take what a worker sent; false where its pipe is closed."""
        try:
            while worker.pipe.poll():
                kind, content = worker.pipe.recv()
                if kind == "event":
                    self._tell(content)
                    continue
                if kind == "warning":
                    _warn(*content)
                    continue
                spec, worker.spec = worker.spec, None
                if kind == "ready":
                    worker.ready, self.false_starts = True, 0
                elif kind == "busy" and spec is not None:
                    self.backlog.put_back_busy(spec)
                    self._tell(RunEvent.of_state(spec, "waiting"))
                elif spec is not None:
                    ended.append((spec, content))
        except (EOFError, OSError):
            return False
        return True

    def _tell(self, event: RunEvent) -> None:
        if self.listen is not None:
            self.listen(event)

    def _bury(self, worker: _Worker) -> list[Result]:
        """A worker died: its run goes back, and where workers cannot even start no more are started."""
        self.workers.remove(worker)
        worker.process.kill()  # a process that closed its pipe and lives on is of no use
        worker.process.join()  # from here on the system has released the lock on its run
        code = worker.process.exitcode or 0
        worker.pipe.close()
        worker.process.close()
        how = (
            f"killed by {signal.Signals(-code).name}: out of memory?" if code < 0 else f"it left with exit code {code}"
        )
        if not worker.ready:
            self.false_starts += 1
            if self.false_starts >= FALSE_STARTS["killed" if code < 0 else "ended"]:
                self.no_more = (
                    f"worker processes die as they start ({how}); in a script, call run_many under `if __name__ == '__main__':`, "
                    "or work in this process with workers=1"
                )
        if worker.spec is None:
            return []
        self._tell(RunEvent.of_state(worker.spec, "lost"))
        end = self.backlog.put_back_lost(worker.spec, how)
        return [] if end is None else [end]

    def dismiss(self) -> None:
        """Nothing is left to do: let the workers end by themselves."""
        for worker in self.workers:
            worker.pipe.close()
        end = time.monotonic() + GOODBYE_SECONDS
        for worker in self.workers:
            if worker.ready:
                worker.process.join(max(0.0, end - time.monotonic()))

    def kill(self) -> None:
        """End the workers now, so that Ctrl-C does not wait for their runs; checkpoints are whole at any moment."""
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            worker.process.join()
            worker.process.close()
            worker.pipe.close()
        self.workers.clear()


def _warn(text: str, category: str) -> None:
    """Say what a worker warned of; the same words from this one place are shown once."""
    known = getattr(builtins, category, UserWarning)  # a plug-in's own kind of warning need not be known here
    with contextlib.suppress(Warning):  # where warnings are errors, they are errors of this process's own doings
        warnings.warn(text, known, stacklevel=1)


# --- the worker's side ------------------------------------------------------------------------------------------------


def _serve(pipe: Connection, number: int, root: str, threads: int | None, device: str, events: bool) -> None:
    """The life of a worker: one run after another until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent too, which ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if threads is not None:
        torch.set_num_threads(threads)
    _choose_gpu(device, number)
    store, lock = RunStore(root), threading.RLock()

    def send(kind: str, content: Any) -> None:
        with lock:  # a thread that reads data ahead may warn
            pipe.send((kind, content))

    warnings.showwarning = lambda message, category, *_: send("warning", (str(message), category.__name__))
    with contextlib.suppress(EOFError, OSError):
        send("ready", None)
        while True:
            spec = RunSpec.parse(json.loads(pipe.recv()))
            listen = throttled(lambda event: send("event", event)) if events else None
            send(*_work(spec, store, device, listen))


def _work(spec: RunSpec, store: RunStore, device: str, listen: Listener | None) -> tuple[str, str | None]:
    try:
        return "end", attempt(spec, store, device, listen)
    except RunBusyError:
        return "busy", None


def _end_with_parent() -> None:
    """Nobody is left to report to and the next command finds the checkpoint: leave at once."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _choose_gpu(device: str, number: int) -> None:
    """Spread the workers over the GPUs there are."""
    if device == "cuda" and torch.cuda.device_count() > 1:
        torch.cuda.set_device(number % torch.cuda.device_count())
