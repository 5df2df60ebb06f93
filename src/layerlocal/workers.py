"""Many runs at once on one machine: worker processes that share a store. The order of workers changes no result."""

from __future__ import annotations

import multiprocessing
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any

import torch

from layerlocal.run import RunEvent, pin_plugin, run_spec
from layerlocal.spec import RunSpec
from layerlocal.store import RunStore
from layerlocal.types import describe_error

__all__ = ["Outcome", "run_many"]

POLL_SECONDS = 0.2
_events: Any = None


@dataclass
class Outcome:
    """What became of a list of runs: hashes finished (now or before), and why the others failed."""

    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def run_many(
    specs: Sequence[RunSpec],
    store: RunStore,
    *,
    workers: int = 1,
    threads: int | None = None,
    device: str = "cpu",
    listen: Callable[[RunEvent], None] | None = None,
    on_done: Callable[[RunSpec, str | None], None] | None = None,
) -> Outcome:
    """Finish every run; one that fails is noted with its reason and the others go on.

    Args:
        specs: in the order they are started; equal ones run once.
        store: finished runs found in it are not run again.
        workers: processes; 1 runs in this one.
        threads: torch threads of each worker; ``None`` leaves torch's default. Results are bit-equal for equal thread counts.
        device: of every run.
        listen: gets every event, in this process.
        on_done: called with each spec that ends, and the reason where it failed.
    """
    store.prepare()
    outcome = Outcome()
    pinned = [spec if spec.rule.source_sha256 else pin_plugin(spec) for spec in specs]
    unique = list({spec.hash: spec for spec in pinned}.values())
    done = [spec for spec in unique if store.is_done(spec)]
    left = [spec for spec in unique if not store.is_done(spec)]
    results: Iterator[tuple[RunSpec, str | None]]
    if workers == 1 or len(left) <= 1:
        results = _run_here(left, store, threads, device, listen)
    else:
        results = _run_in_workers(left, store, workers, threads, device, listen)
    for spec, reason in ((spec, None) for spec in done):
        outcome.finished.append(spec.hash)
        if on_done is not None:
            on_done(spec, reason)
    for spec, reason in results:
        if reason is None:
            outcome.finished.append(spec.hash)
        else:
            outcome.failed[spec.hash] = reason
        if on_done is not None:
            on_done(spec, reason)
    return outcome


def _attempt(spec: RunSpec, store: RunStore, device: str, listen: Callable[[RunEvent], None] | None) -> str | None:
    try:
        run_spec(spec, store, device=device, listen=listen)
    except Exception as error:
        return describe_error(error)
    return None


def _run_here(
    specs: list[RunSpec], store: RunStore, threads: int | None, device: str, listen: Callable[[RunEvent], None] | None
) -> Iterator[tuple[RunSpec, str | None]]:
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        for spec in specs:
            yield spec, _attempt(spec, store, device, listen)
    finally:
        torch.set_num_threads(before)


def _start_worker(events: Any, threads: int | None) -> None:
    global _events
    _events = events
    if threads is not None:
        torch.set_num_threads(threads)


def _work(spec: RunSpec, root: str, device: str) -> str | None:
    return _attempt(spec, RunStore(root), device, _events.put if _events is not None else None)


def _run_in_workers(
    specs: list[RunSpec],
    store: RunStore,
    workers: int,
    threads: int | None,
    device: str,
    listen: Callable[[RunEvent], None] | None,
) -> Iterator[tuple[RunSpec, str | None]]:
    """A worker that dies takes its pool with it: what was left is tried once more in a new pool, then given up with that reason."""
    context = multiprocessing.get_context("spawn")
    left = list(specs)
    for _ in range(2):
        if not left:
            return
        events = context.Queue() if listen is not None else None
        pool = ProcessPoolExecutor(min(workers, len(left)), context, _start_worker, (events, threads))
        try:
            futures = {pool.submit(_work, spec, str(store.root), device): spec for spec in left}
            for spec, reason in _collect(futures, events, listen):
                left.remove(spec)
                yield spec, reason
        except BrokenProcessPool:
            for spec in [spec for spec in left if store.is_done(spec)]:
                left.remove(spec)
                yield spec, None
            continue
        except BaseException:
            _kill(pool)
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        return
    for spec in left:
        yield (
            spec,
            "its worker process died (out of memory, or killed); run the same command again to continue from its checkpoint",
        )


def _collect(
    futures: dict[Future[str | None], RunSpec], events: Any, listen: Callable[[RunEvent], None] | None
) -> Iterator[tuple[RunSpec, str | None]]:
    pending = set(futures)
    while pending:
        finished, pending = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        while events is not None and listen is not None:
            try:
                listen(events.get_nowait())
            except queue.Empty:
                break
        for future in finished:
            yield futures[future], future.result()


def _kill(pool: ProcessPoolExecutor) -> None:
    """End the workers now, so that Ctrl-C does not wait for their runs; checkpoints are whole at any moment."""
    for process in list((pool._processes or {}).values()):
        process.kill()
