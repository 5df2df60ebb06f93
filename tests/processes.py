"""Several processes for tests: each a fork of a server that has imported torch once, on one thread, meeting on a free port of this machine."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import traceback
from pathlib import Path

import torch

from layerlocal.distributed import join

SECONDS = 120


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def context():
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(
        ["layerlocal.distributed", "layerlocal.cli", "layerlocal.runs.progress", "torch._dynamo"]
    )
    return found


def _enter(rank, size, port):
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def _call(rank, size, port, sender, function, arguments):
    _enter(rank, size, port)
    try:
        with join() as group:
            sender.send(function(group, *arguments))
    except BaseException:
        sender.send(traceback.format_exc())
        raise


def run_on(size, function, *arguments):
    """What ``function(group, *arguments)`` returns on each of ``size`` processes."""
    started, port = [], free_port()
    for rank in range(size):
        receiver, sender = context().Pipe(duplex=False)
        process = context().Process(target=_call, args=(rank, size, port, sender, function, arguments))
        process.start()
        started.append((process, receiver))
    found = [receiver.recv() if receiver.poll(SECONDS) else "nothing came" for _, receiver in started]
    for process, _ in started:
        process.join(SECONDS)
    assert all(process.exitcode == 0 for process, _ in started), found
    return found


def _command(rank, size, port, words, folder):
    from layerlocal.cli import main

    _enter(rank, size, port)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{name}{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = ["layerlocal", *words]
    main()


def command_on(size, words, folder: Path):
    """``layerlocal WORDS`` on ``size`` processes: exit codes, standard outputs, standard errors."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    started = [context().Process(target=_command, args=(rank, size, port, words, folder)) for rank in range(size)]
    for process in started:
        process.start()
    for process in started:
        process.join(SECONDS)
    outs, errs = ([(folder / f"{name}{rank}").read_text() for rank in range(size)] for name in ("out", "err"))
    return [process.exitcode for process in started], outs, errs
