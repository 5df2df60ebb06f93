"""The processes of one run: what they send one another, counted in bytes and in seconds of waiting, and what becomes of a lost one.

Each process is started by `torchrun` (or anything that sets ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and ``MASTER_PORT``). Tensors go through a
process group (gloo on the CPU, NCCL on GPUs); words between processes, and the reason why one gave up, through the rendezvous' key-value store.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from layerlocal.types import InputError, LostProcessError

__all__ = ["Group", "Traffic", "join"]

TIMEOUT_SECONDS = 300.0
"""How long a process that is alive but silent is waited for; one that died is noticed at once, by its closed connection."""
MOST_SECONDS = 1e6
MOST_PROCESSES = 100_000
POLL_SECONDS = 0.02
REASON_SECONDS = 2.0
FAILED = "failed"


@dataclass
class Traffic:
    """What this process has sent, and how long it waited for others.

    Attributes:
        sent_bytes: payload, without headers: of a collective what a ring of W processes sends each, 2(W−1)/W of an all-reduced tensor,
            W−1 times a gathered one.
        waited_seconds: time in which nothing was computed because something was not there yet.
    """

    sent_bytes: int = 0
    waited_seconds: float = 0.0

    def reset(self) -> None:
        """Count from 0 again."""
        self.sent_bytes = 0
        self.waited_seconds = 0.0


class Group:
    """One process's view of all processes of a run.

    Args:
        store: key-value store that all processes see.
        rank: this process's number, from 0; process 0 keeps the run's folder and does the talking.
        size: number of processes W.
        backend: ``"gloo"`` or ``"nccl"``.
        timeout: seconds to wait for a silent process.
    """

    def __init__(self, store: Store, rank: int, size: int, *, backend: str, timeout: float = TIMEOUT_SECONDS) -> None:
        self.rank = rank
        self.size = size
        self.backend = backend
        self.traffic = Traffic()
        self.words = PrefixStore("layerlocal", store)
        limit = datetime.timedelta(seconds=timeout)
        with self._or_lost():
            dist.init_process_group(
                backend, store=PrefixStore("tensors", store), rank=rank, world_size=size, timeout=limit
            )
            self.statistics = dist.new_group(timeout=limit)  # so that statistics do not queue behind gradients
        self._heard = 0

    # --- tensors ------------------------------------------------------------------------------------------------------

    def start_sum(self, tensor: Tensor) -> dist.Work:
        """Begin to replace a tensor, in place, by its sum over all processes; `wait` for it before it is read."""
        self.traffic.sent_bytes += 2 * (self.size - 1) * tensor.nbytes // self.size
        with self._or_lost():
            return dist.all_reduce(tensor, async_op=True)

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all processes, in the order of their ranks; waits for them."""
        self.traffic.sent_bytes += (self.size - 1) * tensor.nbytes
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        with self._or_lost():
            work = dist.all_gather(found, tensor.contiguous(), group=self.statistics, async_op=True)
        self.wait(work)
        return found

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over all processes, with the same bits on each."""
        return torch.stack(self.gather(tensor)).mean(0)

    def start_send(self, tensor: Tensor, to: int) -> dist.Work:
        """Begin to send a tensor, which must not change before `wait`."""
        self.traffic.sent_bytes += tensor.nbytes
        with self._or_lost():
            return dist.isend(tensor, to)  # type: ignore[return-value]

    def start_receive(self, tensor: Tensor, source: int) -> dist.Work:
        """Begin to fill a tensor with what another process sends; `wait` before it is read."""
        with self._or_lost():
            return dist.irecv(tensor, source)  # type: ignore[return-value]

    def wait(self, work: dist.Work) -> None:
        """Wait until it is done; the time counts as waiting."""
        start = time.perf_counter()
        with self._or_lost():
            work.wait()
        self.traffic.waited_seconds += time.perf_counter() - start

    def share_bytes(self, content: bytes | None) -> bytes:
        """Process 0's bytes, on every process."""
        length = torch.tensor([len(content or b"")], device=self._wire)
        with self._or_lost():
            dist.broadcast(length, 0)
            buffer = torch.empty(int(length), dtype=torch.uint8, device=self._wire)
            if content is not None:
                buffer.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
            dist.broadcast(buffer, 0)
        return buffer.cpu().numpy().tobytes()

    def send_bytes(self, content: bytes, to: int) -> None:
        """Send bytes to one process, which calls `receive_bytes`."""
        buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8).to(self._wire)
        with self._or_lost():
            dist.send(torch.tensor([len(content)], device=self._wire), to)
            dist.send(buffer, to)

    def receive_bytes(self, source: int) -> bytes:
        """What one process sends by `send_bytes`."""
        length = torch.empty(1, dtype=torch.int64, device=self._wire)
        with self._or_lost():
            dist.recv(length, source)
            buffer = torch.empty(int(length), dtype=torch.uint8, device=self._wire)
            dist.recv(buffer, source)
        return buffer.cpu().numpy().tobytes()

    @property
    def _wire(self) -> str:
        """The device whose tensors the backend can send."""
        return "cuda" if self.backend == "nccl" else "cpu"

    # --- words --------------------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Process 0 tells all others what comes next."""
        self.write(f"said/{self._heard}", text)
        self._heard += 1

    def hear(self) -> str:
        """What process 0 says next, however long it takes.

        Raises:
            LostProcessError: a process gave up meanwhile.
        """
        text = self._await(f"said/{self._heard}")
        self._heard += 1
        return text

    def write(self, key: str, text: str) -> None:
        """Leave a word for one other process."""
        with self._or_lost():
            self.words.set(key, text)

    def read(self, key: str) -> str:
        """The word under a key, as soon as it is there; once read it is gone."""
        text = self._await(key)
        with self._or_lost():
            self.words.delete_key(key)
        return text

    def _await(self, key: str) -> str:
        with self._or_lost():
            while not self.words.check([key]):
                if self.words.check([FAILED]):
                    raise RuntimeError("another process gave up")
                time.sleep(POLL_SECONDS)
            return self.words.get(key).decode()

    def give_up(self, reason: str) -> None:
        """Tell the others, as far as they can still be told, why this process stops; the first reason counts."""
        with contextlib.suppress(RuntimeError):
            self.words.compare_set(FAILED, "", f"process {self.rank} of {self.size} stopped: {reason}")

    @property
    def failure(self) -> str | None:
        """Why a process gave up, where one said so."""
        with contextlib.suppress(RuntimeError):
            if self.words.check([FAILED]):
                return self.words.get(FAILED).decode()
        return None

    def speaks(self, *, wait_for_others: bool = False) -> bool:
        """Whether this process has to tell the user why the run stops: process 0, or, where it is dead, any other.

        Args:
            wait_for_others: give the others a moment to read that process 0 speaks, for where the words are kept in process 0.
        """
        end = time.monotonic() + REASON_SECONDS * (1 if self.rank == 0 else 2)
        try:
            if self.rank == 0:
                self.words.set("spoken", "yes")
                while wait_for_others and time.monotonic() < end and self.words.add("silent", 0) < self.size - 1:
                    time.sleep(POLL_SECONDS)
                return True
            while time.monotonic() < end:
                if self.words.check(["spoken"]):
                    self.words.add("silent", 1)
                    return False
                time.sleep(POLL_SECONDS)
        except RuntimeError:
            pass
        return True

    @contextlib.contextmanager
    def _or_lost(self) -> Iterator[None]:
        """Whatever the network raises means one thing here; the words say why, where the other process could still say it."""
        try:
            yield
        except RuntimeError as error:
            raise LostProcessError(self._reason(error)) from error

    def _reason(self, error: Exception) -> str:
        end = time.monotonic() + REASON_SECONDS
        while time.monotonic() < end:
            if (failure := self.failure) is not None:
                return failure
            time.sleep(POLL_SECONDS)
        return f"another of the {self.size} processes died or cannot be reached any more ({_plain(error)})"

    def leave(self) -> None:
        """Part in peace; nothing is sent after it."""
        dist.destroy_process_group()


def _plain(error: Exception) -> str:
    """The first sentence of what the network library says, without the place in its source."""
    text = re.sub(r"^\[/[^\]]*\]\s*", "", str(error).strip().splitlines()[0])
    return text.split(". ")[0].rstrip(".")


def _on_terminate(*_: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: what follows is short
    raise LostProcessError("the run was asked to end, by torchrun where another process of it died")


def from_environment(variable: str, *, least: int, most: int) -> int:
    """What an environment variable says.

    Raises:
        LostProcessError: it says no such number. Of the kind that every process tells: none of them can know whether another one does.
    """
    text = os.environ[variable].strip()
    if not (re.fullmatch("[0-9]{1,9}", text) and least <= int(text) <= most):
        raise LostProcessError(
            f"the environment variable {variable} is a whole number from {least} to {most}, got {text!r}; torchrun sets it"
        )
    return int(text)


def _refuse_environment() -> str:
    """Look at what torchrun sets before anybody is waited for: where the processes meet."""
    missing = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise LostProcessError(
            f"--parallel needs several processes (no {missing[0]} in the environment); "
            "start them with `torchrun --nproc-per-node 2 -m layerlocal train ...`"
        )
    size = from_environment("WORLD_SIZE", least=1, most=MOST_PROCESSES)
    from_environment("RANK", least=0, most=size - 1)
    return f"{os.environ['MASTER_ADDR']}:{from_environment('MASTER_PORT', least=1, most=65535)}"


@contextlib.contextmanager
def join(device: str = "cpu", *, timeout: float = TIMEOUT_SECONDS) -> Iterator[Group]:
    """Meet the other processes that `torchrun` started.

    Args:
        device: decides how tensors are sent: ``cpu`` by gloo, ``cuda`` by NCCL.
        timeout: seconds to wait for a silent process.

    Raises:
        InputError: a ``timeout`` that is no time.
        LostProcessError: not started by torchrun, or by something that sets other variables than it does; the others did not come.
    """
    if not (isinstance(timeout, int | float) and 0 < timeout < MOST_SECONDS):
        raise InputError(f"timeout is a number of seconds above 0 and below {MOST_SECONDS:g}, got {timeout!r}")
    place = _refuse_environment()
    before = signal.signal(signal.SIGTERM, _on_terminate)
    try:
        try:
            store, rank, size = next(rendezvous("env://", timeout=datetime.timedelta(seconds=timeout)))
        except (RuntimeError, ValueError, OSError) as error:
            raise LostProcessError(
                f"the processes of this run cannot meet at {place} ({_plain(error)}); give all of them the same free port of the machine "
                "of process 0, and start as many as WORLD_SIZE says"
            ) from error
        store = PrefixStore(f"try-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        group = Group(store, rank, size, backend="nccl" if device.startswith("cuda") else "gloo", timeout=timeout)
        yield group
        group.leave()
    finally:
        if signal.getsignal(signal.SIGTERM) is _on_terminate:
            signal.signal(signal.SIGTERM, before)
