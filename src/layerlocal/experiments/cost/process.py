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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from functools import cache, cached_property
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from rich.console import Console

from layerlocal.experiments.cost.forecast import forecast_seconds
from layerlocal.experiments.cost.requests import Request, Row, label_of, steps_of
from layerlocal.experiments.cost.worker import answer
from layerlocal.experiments.workshop import Workshop
from layerlocal.files import read_json, write_atomic
from layerlocal.runs.progress import Tasks
from layerlocal.types import InputError

__all__ = ["Measurements", "run_fresh"]

_MEASURING = (
    "blocks",
    "building",
    "case",
    "energy",
    "measure",
    "model",
    "process",
    "ranks",
    "roofline",
    "theory",
    "worker",
)
_MEASURED = (
    "networks", "rules", "kernels", "measure", "training", "distributed", "spec.py",
    *(f"experiments/cost/{name}.py" for name in _MEASURING),
)  # fmt: skip
_MACHINE = ("processor", "instructions", "cores", "gpu", "cuda", "torch", "system")


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
        raise InputError(found["error"] if found["input"] else f"{label_of(request)}: {found['error']}")
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
    raise InputError(f"{label_of(request)}: its process ended with {how}{hint}")


class Measurements(Workshop[Request]):
    """Measures what was not measured before, one measurement after another, and keeps it.

    Args:
        folder: of the files.
        machine: makes `describe_environment`, once it is asked for; of it, what numbers of two machines differ by counts.
        run: measures a request; `run_fresh`, or a function of a test's own.
        console: for progress.
    """

    def __init__(
        self,
        folder: Path,
        *,
        machine: Callable[[], Mapping[str, Any]],
        run: Callable[[Request], Row] = run_fresh,
        console: Console | None = None,
    ) -> None:
        self.folder = folder
        self._describe = machine
        self.run = run
        self.console = console or Console(stderr=True)

    @cached_property
    def machine(self) -> dict[str, Any]:
        """What names its measurements."""
        found = self._describe()
        return {key: found[key] for key in _MACHINE if key in found}

    def name_of(self, job: Request) -> str:
        """Of the request, the machine and the code."""
        content = json.dumps([job, self.machine, code_sha256()], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def path(self, job: Request) -> Path:
        """Where the result of a request is, or will be."""
        return self.folder / f"{self.name_of(job)}.json"

    def label(self, job: Request) -> str:
        """As `label_of`."""
        return label_of(job)

    def is_done(self, job: Request) -> bool:
        """Whether it was measured before."""
        return self.folder.exists() and self.path(job).exists()

    def progress(self, total: int) -> AbstractContextManager[Any]:
        """A bar of steps of training."""
        return Tasks(self.console, total)

    def make(self, jobs: Sequence[Request], progress: Any) -> Mapping[str, str]:
        """Measure one after another; one that cannot be made does not keep the others from it."""
        failed = {}
        for job in jobs:
            with progress.running(label_of(job), steps_of(job), before=self.is_done(job)):
                try:
                    self._measure(job)
                except _Failed as error:
                    failed[self.name_of(job)] = str(error)
                    self.console.print(f"failed: {label_of(job)}: {error}", style="red", markup=False, highlight=False)
        return failed

    def _measure(self, job: Request) -> None:
        path = self.path(job)
        if path.exists():
            return
        start = time.perf_counter()
        try:
            result = self.run(job)
        except InputError as error:
            raise _Failed(str(error)) from error
        content = {
            "request": job,
            "machine": self.machine,
            "code": code_sha256(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - start, 2),
            "result": result,
        }
        write_atomic(path, (json.dumps(content, indent=1) + "\n").encode())

    def find(self, job: Request) -> Row | None:
        """The result of a measurement that was made.

        Raises:
            InputError: a damaged file.
        """
        content = self._content(job)
        return None if content is None else content["result"]

    def seconds(self, job: Request) -> float | None:
        """How long a measurement took that was made."""
        content = self._content(job)
        return None if content is None else float(content.get("seconds", 0.0))

    def _content(self, job: Request) -> dict[str, Any] | None:
        if not self.folder.exists():
            return None
        path = self.path(job)
        content: dict[str, Any] | None = read_json(path, needs=("result",), others="other measurements")
        if content is not None and not isinstance(content["result"], dict):
            raise InputError(f"{path} is damaged (its result is no object); delete it and run the same command again")
        return content

    def forecast(self, jobs: Sequence[Request]) -> dict[str, Any]:
        """By the seconds of those that are kept, or by some timed steps."""
        left = [job for job in jobs if not self.is_done(job)]
        seconds = forecast_seconds(left, [job for job in jobs if self.is_done(job)], self.seconds)
        return {"planned": len(jobs), "finished": len(jobs) - len(left), "workers": 1, "seconds": sum(seconds)}


class _Failed(Exception):
    """A measurement that could not be made."""


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
