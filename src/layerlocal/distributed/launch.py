"""One run on all the processes that `torchrun` started: process 0 keeps its folder and speaks, the others follow.

The spec, and so the run's name on disk, does not say how a run was spread over processes, as it does not say on what device or with how
many threads: the result is the same up to rounding. ``result.json`` does, under ``parallel``; a checkpoint of one way of running is
continued by any other.
"""

from __future__ import annotations

import os
import signal
from functools import partial

import torch

from layerlocal.devices import Device, find_device
from layerlocal.distributed.data_parallel import DataParallelTraining
from layerlocal.distributed.group import MOST_PROCESSES, TIMEOUT_SECONDS, Group, from_environment, join
from layerlocal.distributed.layer_parallel import LayerParallelTraining
from layerlocal.distributed.training import DistributedTraining
from layerlocal.runs.run import Listener, build, run_spec
from layerlocal.runs.store import RunRecord, RunStore
from layerlocal.spec import RunSpec
from layerlocal.training.loggers import Logger
from layerlocal.types import InputError, LostProcessError, describe_error, unknown_name

__all__ = ["MODES", "run_parallel"]

MODES: dict[str, type[DistributedTraining]] = {"data": DataParallelTraining, "layers": LayerParallelTraining}


def run_parallel(
    spec: RunSpec,
    store: RunStore,
    *,
    mode: str,
    device: Device = "cpu",
    listen: Listener | None = None,
    logger: Logger | None = None,
    timeout: float = TIMEOUT_SECONDS,
) -> RunRecord | None:
    """`run_spec` on the processes of a `torchrun`.

    Args:
        spec: what to run.
        store: where process 0 keeps it.
        mode: ``"data"`` (each batch spread over the processes) or ``"layers"`` (the layers of a local rule).
        device: ``cpu``, or ``cuda``: each process takes the GPU of its local rank.
        listen: gets process 0's events.
        logger: gets the numbers of every epoch on process 0 (`run_spec`).
        timeout: seconds to wait for a process that is alive but silent.

    Returns:
        The record on process 0, ``None`` on the others.

    Raises:
        InputError: as of `run_spec`; what cannot be spread so; another process that died or gave up. The last whole epoch is kept.
    """
    if mode not in MODES:
        raise unknown_name("way of running in parallel", mode, MODES)
    device = find_device(device)
    with join(device, timeout=timeout) as group:
        device = _own_device(device)
        try:
            if group.rank:
                _follow(spec, group, mode, device)
                return None
            begin = partial(_begin, group, mode)
            record = run_spec(spec, store, device=device, listen=listen, logger=logger, make_training=begin)
            group.say("done")
            return record
        except BaseException as error:
            raise _last_words(group, error) from error


def _last_words(group: Group, error: BaseException) -> BaseException:
    """What to raise here: one process tells the user, the others leave in silence."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun sends it as soon as one process has left
    lost = isinstance(error, LostProcessError)
    if lost:
        reason = group.failure or str(error)
        error = LostProcessError(f"{reason}; whole epochs are kept: the same command goes on after the last one")
    else:
        group.give_up(describe_error(error))
    if not group.speaks(wait_for_others=not lost):
        return SystemExit(130 if isinstance(error, KeyboardInterrupt) else 2)
    return LostProcessError(str(error)) if group.rank and isinstance(error, InputError) else error


def _begin(group: Group, mode: str, *args: object, **options: object) -> DistributedTraining:
    group.say("train")
    return MODES[mode](*args, group=group, **options)  # type: ignore[arg-type]


def _follow(spec: RunSpec, group: Group, mode: str, device: str) -> None:
    """Train along, as far as there is something to train."""
    if group.hear() == "done":
        return
    data, rule = build(spec)
    MODES[mode](rule, data, spec.recipe, group=group, seed=spec.seed, device=device).follow()
    group.hear()


def _own_device(device: str) -> str:
    if device != "cuda":
        return device
    own = from_environment("LOCAL_RANK", least=0, most=MOST_PROCESSES) if os.environ.get("LOCAL_RANK") else 0
    count = torch.cuda.device_count()
    if own >= count:
        raise InputError(
            f"torchrun started process {own} on this machine, which has {count} GPUs; start at most {count} processes"
        )
    torch.cuda.set_device(own)
    return f"cuda:{own}"
