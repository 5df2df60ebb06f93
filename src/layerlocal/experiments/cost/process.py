"""Measurements in fresh processes, each kept as one file and never made again.

    <store>/cost/<hash>.json    {"request", "machine", "code", "created", "seconds", "result"}

The hash is of the request, the machine (processor or GPU, instructions, cores, torch) and the measured code: another machine or a changed rule
measures anew, an interrupted audit goes on with what is missing.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from layerlocal.experiments.cost.case import CostCase
from layerlocal.experiments.cost.worker import answer
from layerlocal.files import read_json
from layerlocal.runs.store import write_atomic
from layerlocal.types import InputError

__all__ = ["Measurements", "request_of", "run_fresh"]

Request = dict[str, Any]
_MEASURED = (
    "networks",
    "rules",
    "kernels",
    "measure",
    "training",
    "distributed",
    "experiments/cost",
    "spec.py",
)
_MACHINE = ("processor", "instructions", "cores", "gpu", "cuda", "torch", "system")


def request_of(kind: str, cases: Mapping[str, CostCase], **options: Any) -> Request:
    """A request for `layerlocal.experiments.cost.worker.handle`; ``repeat`` among the options only tells equal requests apart."""
    content = {label: case.model_dump(mode="json") for label, case in cases.items()}
    return {"kind": kind, "cases": content, **options}


def run_fresh(request: Request) -> dict[str, Any]:
    """A measurement in a process of its own, or for the kind ``"ranks"`` in ``request["processes"]`` that meet on a free port.

    Each is forked from one that has imported what is needed and done nothing else.

    Returns:
        What `layerlocal.experiments.cost.worker.handle` found; of several processes ``{"ranks": [what each found]}``.

    Raises:
        InputError: what a process could not do, or that it ended without an answer.
    """
    if request["kind"] != "ranks":
        with _started(request) as one:
            return _answer(request, *one)
    port = _free_port()
    with ExitStack() as stack:
        ranks = range(request["processes"])
        started = [stack.enter_context(_started(request | {"rank": rank, "port": port})) for rank in ranks]
        return {"ranks": [_answer(request, *one) for one in started]}


@contextmanager
def _started(request: Request) -> Iterator[tuple[BaseProcess, Connection]]:
    """A process at work on a request, and where its answer will come from; it ends with the block."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            "layerlocal.experiments.cost.worker",
            "layerlocal.experiments.cost.roofline",
            "layerlocal.experiments.cost.ranks",
            "torch._dynamo",
        ]
    )
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=answer, args=(theirs, json.dumps(request)), daemon=True)
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        ours.close()
        process.kill()


def _answer(request: Request, process: BaseProcess, pipe: Connection) -> dict[str, Any]:
    try:
        found = json.loads(pipe.recv_bytes())
    except EOFError:
        process.join()
        return _ended(request, process.exitcode or 0)
    if "error" in found:
        raise InputError(found["error"] if found["input"] else f"measuring {_name(request)}: {found['error']}")
    result: dict[str, Any] = found["result"]
    return result


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _ended(request: Request, exit_code: int) -> dict[str, Any]:
    """A process that gave no answer: under a memory limit this is what not to fit can look like, else it is an error."""
    how = f"signal {signal.Signals(-exit_code).name}" if exit_code < 0 else f"exit code {exit_code}"
    if request["kind"] == "fits":
        return {"fits": False, "reason": f"the process ended with {how}"}
    hint = "; most likely the machine's memory ran out: take a smaller --batch-size" if how.endswith("KILL") else ""
    raise InputError(f"the process that measured {_name(request)} ended with {how}{hint}")


def _name(request: Request) -> str:
    first = CostCase.parse(next(iter(request["cases"].values())))
    more = "" if len(request["cases"]) == 1 else f" and {len(request['cases']) - 1} more"
    return f"{first.label}{more} ({request['kind']}; {first.setting})"


class Measurements:
    """Measures what was not measured before and keeps it.

    Args:
        folder: of the files.
        machine: `describe_environment`; of it, what numbers of two machines differ by counts.
        run: measures a request; `run_fresh`, or a function of a test's own.
    """

    def __init__(
        self, folder: Path, *, machine: Mapping[str, Any], run: Callable[[Request], dict[str, Any]] = run_fresh
    ) -> None:
        self.folder = folder
        self.machine = {key: machine[key] for key in _MACHINE if key in machine}
        self.run = run
        self.made = 0

    def path(self, request: Request) -> Path:
        """Where the result of a request is, or will be."""
        content = json.dumps([request, self.machine, code_sha256()], sort_keys=True)
        return self.folder / f"{hashlib.sha256(content.encode()).hexdigest()[:16]}.json"

    def has(self, request: Request) -> bool:
        """Whether it was measured before."""
        return self.path(request).exists()

    def get(self, request: Request) -> dict[str, Any]:
        """The result, measured now or before.

        Raises:
            InputError: a measurement that cannot be made, a damaged file, a folder that cannot be written.
        """
        path = self.path(request)
        if path.exists():
            return _read(path)
        start = time.perf_counter()
        result = self.run(request)
        content = {
            "request": request,
            "machine": self.machine,
            "code": code_sha256(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - start, 2),
            "result": result,
        }
        write_atomic(path, (json.dumps(content, indent=1) + "\n").encode())
        self.made += 1
        return result

    def all(self, requests: Iterable[Request]) -> list[dict[str, Any]]:
        """`get` of each."""
        return [self.get(request) for request in requests]


def _read(path: Path) -> dict[str, Any]:
    result = read_json(path, needs=("result",), others="other measurements")["result"]
    if not isinstance(result, dict):
        raise InputError(f"{path} is damaged (its result is no object); delete it and run the same command again")
    return result


@cache
def code_sha256() -> str:
    """Of the source that is measured and measures."""
    root = Path(__file__).resolve().parents[2]
    below = [file for name in _MEASURED for file in sorted((root / name).rglob("*")) if file.suffix in (".py", ".c")]
    files = [*below, *(root / name for name in _MEASURED if name.endswith(".py"))]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
