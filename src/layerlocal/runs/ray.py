"""Many runs on a Ray cluster: a run is a task with its CPUs and GPUs; a task that dies is started again.

A worker that sees the store (it finds a token that this process wrote there) works in it, and a run that is taken over continues from its
checkpoint. A worker that does not see it works in a folder of its own, while this process holds the run's lock; the finished run is brought
back and put into the store, ``DONE`` last. There a run that is taken over begins anew: its checkpoints went with the worker.

Every node needs layerlocal of this version; a rule that is a file and data that are a folder must be there under the same path.
Specs and events travel as JSON text. Ray is imported here only, and only when it is asked for.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import logging
import os
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from layerlocal.runs.backlog import Backlog, Listener, Result, Results, attempt, throttled
from layerlocal.runs.run import RunEvent
from layerlocal.runs.store import RunBusyError, RunStore, write_atomic
from layerlocal.spec import RunSpec
from layerlocal.training.evaluate import Evaluation
from layerlocal.training.train import EpochRecord
from layerlocal.types import InputError, describe_error, first_line, is_fault

__all__ = ["OnRay", "run_on_ray"]

CONNECT_SECONDS = 15.0
POLL_SECONDS = 0.25


@dataclass(frozen=True)
class OnRay:
    """What the tasks ask of the cluster.

    Args:
        workers: the most tasks at once; ``None``: as many as there is room for.
        threads: torch threads and CPUs of each; ``None``: torch's default, and one CPU.
        device: of every run.
        gpus: of each, where ``device`` is CUDA; a fraction shares a GPU.
    """

    workers: int | None = None
    threads: int | None = None
    device: str = "cpu"
    gpus: float = 1.0

    @property
    def resources(self) -> dict[str, float]:
        """As Ray wants to hear it."""
        return {"num_cpus": self.threads or 1, "num_gpus": self.gpus if self.device.startswith("cuda") else 0}


def run_on_ray(
    specs: Sequence[RunSpec], store: RunStore, address: str, asked: OnRay, listen: Listener | None
) -> Results:
    """Every run, as tasks of the cluster at ``address``. Closing the iterator ends the tasks.

    Raises:
        InputError: Ray is not installed, the cluster cannot be reached or has no room for one run.
    """
    if not specs:
        return
    ray = _import_ray()
    with _connected(ray, address, asked):
        _refuse_too_small(ray, asked)
        driver = _Driver(ray, Backlog(specs, store), asked, listen)
        try:
            while driver.unfinished:
                driver.submit()
                yield from driver.hear()
        finally:
            driver.close()


# --- the cluster ------------------------------------------------------------------------------------------------------


def _import_ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise InputError("Ray is not installed; pip install 'layerlocal[ray]'") from error


@contextlib.contextmanager
def _connected(ray: Any, address: str, asked: OnRay) -> Iterator[None]:
    """Within a session of this process's own that is open already, or one that is opened for the time."""
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options |= {
            "num_cpus": (asked.workers or os.cpu_count() or 1) * (asked.threads or 1),
            "include_dashboard": False,
        }
    else:
        _refuse_unreachable(address)
    try:
        ray.init(**options)
    except (Exception, SystemExit) as error:  # Ray ends the process where the other side does not speak its language
        raise InputError(
            f"cannot reach a Ray cluster at {address!r} ({first_line(error)}); start one with `ray start --head`, or use --workers"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _refuse_unreachable(address: str) -> None:
    """Ray itself would try for minutes and then end the process."""
    address = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise InputError(
            f"cannot reach a Ray cluster at {address!r} ({error.strerror or error}); start one with `ray start --head`, or use --workers"
        ) from error


def _refuse_too_small(ray: Any, asked: OnRay) -> None:
    """A task that fits nowhere would wait for ever."""
    need = {"CPU": asked.resources["num_cpus"], "GPU": asked.resources["num_gpus"]}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(kind, 0) >= count for kind, count in need.items()) for node in nodes):
        wanted = " and ".join(f"{count:g} {kind}" for kind, count in need.items() if count)
        raise InputError(f"no node of the Ray cluster has {wanted} for one run; ask for less, or add such a node first")


# --- this process's side ----------------------------------------------------------------------------------------------


@dataclass
class _Task:
    """One run on its way."""

    spec: RunSpec
    held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    folder: Path | None = None


class _Driver:
    """Hands out runs as tasks and takes in what becomes of them."""

    def __init__(self, ray: Any, backlog: Backlog, asked: OnRay, listen: Listener | None) -> None:
        self.ray = ray
        self.backlog = backlog
        self.store = RunStore(backlog.store.root.resolve())
        self.asked = asked
        self.listen = listen
        self.token = self.store.root / f".shared-{uuid.uuid4().hex}"
        self.tasks: dict[Any, _Task] = {}
        self.work = ray.remote(max_retries=0, **asked.resources)(_work)
        self.mail: Any = None
        if listen is not None:
            queue = importlib.import_module("ray.util.queue")
            self.mail = queue.Queue(actor_options={"num_cpus": 0})
        self.token.touch()

    @property
    def unfinished(self) -> int:
        """Runs waiting or on their way."""
        return len(self.backlog) + len(self.tasks)

    def submit(self) -> None:
        """Hand out what may be tried now."""
        while self.asked.workers is None or len(self.tasks) < self.asked.workers:
            spec = self.backlog.take()
            if spec is None:
                return
            self._send(_Task(spec), shared=True)

    def _send(self, task: _Task, *, shared: bool) -> None:
        where = {"root": str(self.store.root), "token": self.token.name, "shared": shared, "folder": os.getcwd()}
        how = {"threads": self.asked.threads, "device": self.asked.device}
        request = json.dumps({"spec": task.spec.model_dump(mode="json"), **where, **how})
        self.tasks[self.work.remote(request, self.mail)] = task

    def hear(self) -> list[Result]:
        """Wait a moment for a task to end; the runs that ended."""
        ready = []
        if self.tasks:
            ready, _ = self.ray.wait(list(self.tasks), num_returns=1, timeout=POLL_SECONDS)
        else:
            time.sleep(min(POLL_SECONDS, self.backlog.seconds_to_next() or 0))
        self._read_mail()
        ends = [self._take_in(reference, self.tasks.pop(reference)) for reference in ready]
        return [end for end in ends if end is not None]

    def _take_in(self, reference: Any, task: _Task) -> Result | None:
        errors = self.ray.exceptions
        try:
            kind, content = self.ray.get(reference)
            if kind == "unseen":
                return self._send_apart(task)
            with task.held:
                if kind == "files" and task.folder is not None:
                    _put(task.folder, content)
                    kind, content = "end", None
        except errors.RayTaskError as error:
            task.held.close()
            return (
                task.spec,
                f"cannot be run on the Ray cluster ({first_line(error.cause or error)}); is layerlocal installed there?",
            )
        except errors.RayError as error:
            task.held.close()
            self._tell(RunEvent.of_state(task.spec, "lost"))
            return self.backlog.put_back_lost(task.spec, first_line(error))
        except InputError as error:  # what was brought back cannot be written
            return task.spec, str(error)
        if kind == "busy":
            self._wait_for(task.spec)
            return None
        return task.spec, content

    def _send_apart(self, task: _Task) -> Result | None:
        """The worker does not see the store: take the run's lock for it and let it work in a folder of its own."""
        try:
            task.folder = task.held.enter_context(self.store.open(task.spec)).path
        except RunBusyError:
            self._wait_for(task.spec)
            return None
        except InputError as error:
            return task.spec, str(error)
        if self.store.is_done(task.spec):
            task.held.close()
            return task.spec, None
        self._send(task, shared=False)
        return None

    def _wait_for(self, spec: RunSpec) -> None:
        self.backlog.put_back_busy(spec)
        self._tell(RunEvent.of_state(spec, "waiting"))

    def _tell(self, event: RunEvent) -> None:
        if self.listen is not None:
            self.listen(event)

    def _read_mail(self) -> None:
        """Pass on the events that came; a mailbox that died with its node costs the display, not the study."""
        if self.mail is None:
            return
        try:
            texts = self.mail.get_nowait_batch(self.mail.qsize())
        except self.ray.exceptions.RayError:
            self.mail = None
            return
        for text in texts:
            self._tell(_event_from(text))

    def close(self) -> None:
        """End what still runs and take the token away."""
        for reference, task in self.tasks.items():
            with contextlib.suppress(Exception):
                self.ray.cancel(reference, force=True)
            task.held.close()
        self.token.unlink(missing_ok=True)
        if self.mail is not None:
            with contextlib.suppress(Exception):
                self.mail.shutdown(force=True)


def _put(folder: Path, files: dict[str, bytes]) -> None:
    """Write a run that was brought back, ``DONE`` last."""
    for name in sorted(files, key=lambda name: name == "DONE"):
        write_atomic(folder / name, files[name])


def _event_from(text: str) -> RunEvent:
    content = json.loads(text)
    record = content.pop("record")
    if record is not None:
        validation = record.pop("validation")
        record = EpochRecord(**record, validation=Evaluation(**validation) if validation is not None else None)
    return RunEvent(**content, record=record)


# --- the worker's side ------------------------------------------------------------------------------------------------


def _work(request: str, mail: Any) -> tuple[str, Any]:
    """One run on a worker: ``("end", reason)``, ``("files", the finished run)``, ``("busy", None)`` or ``("unseen", None)``."""
    asked = json.loads(request)
    root = Path(asked["root"])
    if asked["shared"] and not ((root / asked["token"]).exists() and os.access(root, os.W_OK)):
        return "unseen", None
    with contextlib.suppress(OSError):
        os.chdir(asked["folder"])  # paths in a spec are relative to where the command was given
    if asked["threads"] is not None:
        torch.set_num_threads(asked["threads"])
    listen = None if mail is None else throttled(lambda event: _post(mail, event))
    try:
        spec = RunSpec.parse(asked["spec"])
        if asked["shared"]:
            return "end", attempt(spec, RunStore(root), asked["device"], listen)
        with tempfile.TemporaryDirectory(prefix="layerlocal-") as folder:
            store = RunStore(folder)
            reason = attempt(spec, store, asked["device"], listen)
            return ("end", reason) if reason is not None else ("files", _files_of(store.root / spec.hash))
    except RunBusyError:
        return "busy", None
    except BaseException as error:
        if not is_fault(error):
            raise
        return "end", describe_error(error)


def _files_of(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "LOCK"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _post(mail: Any, event: RunEvent) -> None:
    with contextlib.suppress(Exception):  # the display is not worth a run
        mail.put_nowait(json.dumps(dataclasses.asdict(event), default=lambda _: None))  # answers stay with the run
