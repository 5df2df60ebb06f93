"""Many runs at once: worker processes on one machine, or a Ray cluster, that share a store. The order of workers changes no result."""

from __future__ import annotations

import contextlib
import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from layerlocal.devices import Device, device_name, find_device
from layerlocal.options import real_number, whole_number
from layerlocal.runs.local import run_here, run_in_workers
from layerlocal.runs.pin import contents_of, of_other_data, pin_unpinned
from layerlocal.runs.ray import OnRay, run_on_ray
from layerlocal.runs.run import RunEvent
from layerlocal.runs.store import RunStore
from layerlocal.spec import RunSpec
from layerlocal.types import InputError, shown

__all__ = ["Outcome", "run_many"]

MOST_THREADS = max(256, 4 * (os.cpu_count() or 1))
"""Torch itself takes any number, and dies of it."""


@dataclass
class Outcome:
    """What became of a list of runs: hashes finished (now or before), and why the others failed."""

    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def _refuse_what_are_no_runs(specs: Sequence[RunSpec], store: RunStore) -> None:
    """One spec where many are asked for, or the name of a store for the store, would give whatever error comes first."""
    if isinstance(specs, str | RunSpec) or not isinstance(specs, Iterable):
        raise InputError(f"run_many takes a list of RunSpec, got {shown(specs)}")
    for spec in specs:
        if not isinstance(spec, RunSpec):
            raise InputError(f"run_many takes a list of RunSpec, got one with {shown(spec)} in it")
    if not isinstance(store, RunStore):
        raise InputError(f"run_many keeps its runs in a RunStore, got {shown(store)}; RunStore(folder) makes one")


def _refuse_no_functions(**given: Any) -> None:
    for name, function in given.items():
        if function is not None and not callable(function):
            raise InputError(f"{name} must be a function, got {shown(function)}")


def run_many(
    specs: Sequence[RunSpec],
    store: RunStore,
    *,
    workers: int | None = None,
    threads: int | None = None,
    device: Device = "cpu",
    ray: str | None = None,
    gpus: float = 1.0,
    listen: Callable[[RunEvent], None] | None = None,
    on_done: Callable[[RunSpec, str | None], None] | None = None,
) -> Outcome:
    """Finish every run; one that fails is noted with its reason and the others go on.

    A worker that dies (killed, out of memory) costs no run: another takes the run over and continues it from its last checkpoint. A run
    over which three workers in a row die without a new epoch is given up. A run that another process is working on is waited for, after
    the others.

    Args:
        specs: in the order they are started; equal ones run once.
        store: finished runs found in it are not run again.
        workers: runs at once: processes of this machine, or tasks of the Ray cluster. ``None`` is this process alone, or as many tasks as
            the cluster has room for; so is 1 this process, which a rule that kills its process then takes with it.
        threads: torch threads of each worker; ``None`` leaves torch's default. Results are bit-equal for equal thread counts.
        device: of every run; workers share the GPUs of ``"cuda"``.
        ray: the address of a Ray cluster: ``"HOST:PORT"``, ``"auto"`` for the one this machine is part of, ``"local"`` to start one here
            (see `layerlocal.runs.ray`).
        gpus: on Ray with a ``device`` of CUDA: GPUs for one run; 0.5 puts two on each.
        listen: gets every event, in this process. Of workers, step events come at most ten times a second.
        on_done: called with each spec that ends, and the reason where it failed.

    Raises:
        InputError: an argument that is none; the store cannot be written; Ray is not installed, cannot be reached, or has no room for one run.
    """
    device = find_device(device) if ray is None else device_name(device)
    workers = None if workers is None else whole_number("workers", workers, least=1)
    threads = None if threads is None else whole_number("threads", threads, least=1, most=MOST_THREADS)
    if real_number("gpus", gpus) <= 0:
        raise InputError(f"gpus must be above 0, got {gpus}; for runs without one, device='cpu'")
    _refuse_no_functions(listen=listen, on_done=on_done)
    _refuse_what_are_no_runs(specs, store)
    outcome = Outcome()
    contents = contents_of(specs)
    pinned = [pin_unpinned(spec).with_content(contents) for spec in specs]
    unique = list({spec.hash: spec for spec in pinned}.values())
    done = [spec for spec in unique if store.is_done(spec)]
    left = [spec for spec in unique if not store.is_done(spec)]
    if left:  # finished runs are read from a store that cannot be written, too
        store.prepare()
    for sentence in of_other_data(store, [spec for spec in left if not (store.root / spec.hash).exists()]):
        warnings.warn(sentence, stacklevel=2)
    if ray is not None:
        work = run_on_ray(left, store, ray, OnRay(workers, threads, device, gpus), listen)
    elif workers is not None and workers > 1:
        work = run_in_workers(left, store, min(workers, max(1, len(left))), threads, device, listen)
    else:
        work = run_here(left, store, threads, device, listen)
    with contextlib.closing(work):
        for spec, reason in itertools.chain(((spec, None) for spec in done), work):
            if reason is None:
                outcome.finished.append(spec.hash)
            else:
                outcome.failed[spec.hash] = reason
            if on_done is not None:
                on_done(spec, reason)
    return outcome
