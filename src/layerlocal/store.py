"""Runs on disk: content-addressed, atomic, resumable, and readable with any JSON, Parquet and safetensors tool.

    <root>/<hash of the spec>/spec.json env.json metrics.parquet result.json checkpoint/ DONE

``DONE`` is written last and names the SHA-256 of every other file; a folder without it is a run in progress. ``LOCK`` is held by the process
that works on the run; the system releases it when that process ends, however it ends. Nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from layerlocal.spec import RunSpec
from layerlocal.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MetricRow", "RunBusyError", "RunFolder", "RunRecord", "RunStore", "write_atomic"]

MetricRow = tuple[int, str, str, float]
"""(epoch, metric, block, value)."""
PARTS = ("spec.json", "env.json", "metrics.parquet", "result.json")
CHECKPOINT = "checkpoint/state.safetensors"


class RunBusyError(RuntimeError):
    """Another process is working on this run."""


@dataclass(frozen=True)
class RunRecord:
    """A finished run."""

    hash: str
    spec: RunSpec
    env: dict[str, Any]
    result: dict[str, Any]


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never half of it.

    Raises:
        InputError: the folder cannot be written or the disk is full; what was there before is untouched.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(file.fileno(), 0o644)  # mkstemp's 0600 would hide a shared store from others
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> InputError:
    if error.errno == errno.ENOSPC:
        return InputError(
            f"the disk is full: {path} was not written and finished runs are untouched; free some space and run again"
        )
    return InputError(f"cannot write {path}: {error.strerror or error}; name another folder with --out")


def _lock_or_refuse(lock: Any, path: Path, spec: RunSpec) -> None:
    """Take the lock, and see that its file is still the one in the folder (its last holder may have removed both)."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        same = os.fstat(lock.fileno()).st_ino == os.stat(path / "LOCK").st_ino
    except OSError as error:
        raise RunBusyError(f"run {spec.hash} is being trained by another process") from error
    if not same:
        raise RunBusyError(f"run {spec.hash} was just given up by another process")


def _to_json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


class RunFolder:
    """One run's folder while a process holds its lock (`RunStore.open`)."""

    def __init__(self, path: Path, spec: RunSpec) -> None:
        self.path = path
        self.spec = spec

    @property
    def _checkpoint(self) -> Path:
        return self.path / CHECKPOINT

    def save_checkpoint(self, tensors: dict[str, Tensor], progress: dict[str, Any]) -> None:
        """Replace the checkpoint, in one rename, by these tensors and this JSON content."""
        from safetensors.torch import save

        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        write_atomic(self._checkpoint, save(plain, metadata={"progress": json.dumps(progress)}))

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The last checkpoint, or ``None`` where there is none."""
        from safetensors import SafetensorError, safe_open

        if not self._checkpoint.exists():
            return None
        try:
            with safe_open(self._checkpoint, framework="pt") as file:
                progress = json.loads(file.metadata()["progress"])
                return {name: file.get_tensor(name) for name in file.keys()}, progress  # noqa: SIM118 (not a dict)
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
            raise self.damaged_checkpoint(error) from error

    def refuse_damaged_checkpoint(self) -> None:
        """Hold the weights of a finished run against the sum in ``DONE``.

        Raises:
            InputError: they are not what was written.
        """
        expected = json.loads((self.path / "DONE").read_bytes()).get(CHECKPOINT)  # runs of before have none
        if expected is not None and self._checkpoint.exists() and _sha256(self._checkpoint) != expected:
            raise self.damaged_checkpoint(ValueError("it is not what was written"))

    def damaged_checkpoint(self, error: Exception) -> InputError:
        """What to say of a checkpoint that cannot be continued from."""
        words = textwrap.shorten(str(error), 160, placeholder=" …")
        return InputError(
            f"the checkpoint {self._checkpoint} is damaged ({words}); delete {self.path} to start that run anew"
        )

    def finish(self, *, env: dict[str, Any], result: dict[str, Any], metrics: list[MetricRow]) -> RunRecord:
        """Write the results, then ``DONE``."""
        columns = list(zip(*metrics, strict=True)) if metrics else [(), (), (), ()]
        names = [("epoch", pa.int64()), ("metric", pa.string()), ("block", pa.string()), ("value", pa.float64())]
        table = pa.table({name: pa.array(column, kind) for (name, kind), column in zip(names, columns, strict=True)})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        content = {
            "spec.json": _to_json(self.spec.model_dump(mode="json")),
            "env.json": _to_json(env),
            "metrics.parquet": sink.getvalue().to_pybytes(),
            "result.json": _to_json(result),
        }
        for name in PARTS:
            write_atomic(self.path / name, content[name])
        sums = {name: hashlib.sha256(content[name]).hexdigest() for name in PARTS}
        if self._checkpoint.exists():
            sums[CHECKPOINT] = _sha256(self._checkpoint)
        write_atomic(self.path / "DONE", _to_json(sums))
        return RunRecord(self.spec.hash, self.spec, env, result)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_run(path: Path) -> RunRecord:
    """The finished run in a folder, every file held against the sums in ``DONE``."""
    try:
        sums = json.loads((path / "DONE").read_bytes())
        content = {part: (path / part).read_bytes() for part in PARTS}
        damaged = [part for part in PARTS if hashlib.sha256(content[part]).hexdigest() != sums[part]]
        if damaged:
            raise ValueError(f"{damaged[0]} is not what was written")
        spec, result = RunSpec.parse(json.loads(content["spec.json"])), json.loads(content["result.json"])
        blocks = result.get("block_accuracies")
        if blocks:  # files are sorted by name, where block10 comes before block2
            result["block_accuracies"] = {
                name: blocks[name] for name in sorted(blocks, key=lambda name: (len(name), name))
            }
        return RunRecord(path.name, spec, json.loads(content["env.json"]), result)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"run {path} is damaged ({error}); delete that folder and run it again; the other runs are untouched"
        ) from error


class RunStore:
    """A folder of runs.

    Args:
        root: made where it is missing.

    Raises:
        InputError: ``root`` cannot be written.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def prepare(self) -> None:
        """Make the folder and see that it can be written, before any work is spent."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise _cannot_write(self.root, error) from error

    def is_done(self, spec: RunSpec) -> bool:
        """Whether this run is finished."""
        return (self.root / spec.hash / "DONE").exists()

    @contextlib.contextmanager
    def open(self, spec: RunSpec) -> Iterator[RunFolder]:
        """Hold the run's lock and its folder.

        Raises:
            RunBusyError: another process holds it.
            InputError: the folder cannot be made.
        """
        path = self.root / spec.hash
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = open(path / "LOCK", "a")  # noqa: SIM115 (held until the run ends)
        except FileNotFoundError as error:  # removed by another process between the two lines
            raise RunBusyError(f"run {spec.hash} was just given up by another process") from error
        except OSError as error:
            raise _cannot_write(path, error) from error
        with lock:
            _lock_or_refuse(lock, path, spec)
            for stale in path.rglob(".*.*"):
                stale.unlink(missing_ok=True)
            if not (path / "spec.json").exists():
                write_atomic(path / "spec.json", _to_json(spec.model_dump(mode="json")))
            try:
                yield RunFolder(path, spec)
            finally:
                if not any((path / name).exists() for name in ("DONE", "checkpoint", "result.json")):
                    shutil.rmtree(path, ignore_errors=True)  # nothing was learned: leave no empty run behind

    def load(self, name: str) -> RunRecord:
        """A finished run by its hash, or by a beginning of it that is unique.

        Raises:
            InputError: no such run, not finished, or damaged (a file that is not what ``DONE`` says).
        """
        return _read_run(self._find(name))

    def _find(self, name: str) -> Path:
        known = ("spec.json", "DONE")
        found = (
            [p for p in self.root.glob(f"{name}*") if any((p / n).exists() for n in known)] if name.isalnum() else []
        )
        if not found:
            raise InputError(f"there is no run {name!r} in {self.root}; `layerlocal show --out {self.root}` lists them")
        if len(found) > 1:
            raise InputError(
                f"{name!r} begins {len(found)} runs: {', '.join(sorted(path.name for path in found)[:5])}; give more digits"
            )
        if not (found[0] / "DONE").exists():
            raise InputError(
                f"run {found[0].name} in {self.root} is not finished; run the command that began it again to continue it"
            )
        return found[0]

    def finished(self) -> list[RunRecord]:
        """Every finished run, by hash.

        Raises:
            InputError: a damaged one: which, and what to do.
        """
        if self.root.is_file():
            raise InputError(f"{self.root} is a file, not a run store; give the folder that the runs are in")
        if not self.root.is_dir():
            raise InputError(
                f"there is no run store at {self.root}; make one with `layerlocal audit --out {self.root}`"
            )
        return [_read_run(path.parent) for path in sorted(self.root.glob("*/DONE"))]

    def metrics(self, name: str) -> pa.Table:
        """The per-epoch table of a finished run: epoch, metric, block, value."""
        return pq.read_table(self.root / self.load(name).hash / "metrics.parquet")
