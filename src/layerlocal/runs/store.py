"""Runs on disk: content-addressed, atomic, resumable, and readable with any JSON, Parquet and safetensors tool.

    <root>/<hash of the spec>/spec.json env.json metrics.parquet result.json answers.bin images.bin checkpoint/ DONE

``DONE`` is written last and names the SHA-256 of every other file; a folder without it is a run in progress. ``LOCK`` is held by the process
that works on the run; the system releases it when that process ends, however it ends. Nothing is ever unpickled.
A store of many runs also has an index of what they say, ``.index``, which makes it quicker to read (`layerlocal.runs.index`).
``answers.bin`` and ``images.bin`` say which test images were answered right (`layerlocal.runs.answers`); runs of 0.1.0 have neither.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import textwrap
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from layerlocal.files import NOT_THERE, cannot_write, clear_leftovers, is_there, load_json, write_atomic
from layerlocal.runs.answers import ANSWERS, IMAGES, Answers, read_answers
from layerlocal.runs.index import StoreIndex
from layerlocal.runs.locks import RunBusyError, open_lock, take_lock
from layerlocal.runs.records import (
    PARTS,
    RunReader,
    RunRecord,
    damaged_run,
    is_finished,
    is_hash,
    read_content,
    read_run,
    read_spec,
    read_sums,
    unreadable,
)
from layerlocal.spec import RunSpec
from layerlocal.types import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from layerlocal.training.loggers import MetricRow

__all__ = ["RunBusyError", "RunFolder", "RunRecord", "RunStore", "warn_of", "write_atomic"]

METRICS = pa.schema([("epoch", pa.int64()), ("metric", pa.string()), ("block", pa.string()), ("value", pa.float64())])
CHECKPOINT = "checkpoint/state.safetensors"
RUN = "run"
"""The run that a checkpoint is of, beside its progress."""


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
        said = json.dumps({RUN: self.spec.hash} | progress)
        write_atomic(self._checkpoint, save(plain, metadata={"progress": said}))

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The last checkpoint, or ``None`` where there is none.

        Raises:
            InputError: it is damaged, of another run, or cannot be read.
        """
        from safetensors import SafetensorError, safe_open

        try:
            self._checkpoint.open("rb").close()  # safetensors calls a file missing that may not be read
        except FileNotFoundError:
            return None
        except IsADirectoryError as error:
            raise self.damaged_checkpoint(error) from error
        except OSError as error:
            raise unreadable(self.path, error) from error
        try:
            with safe_open(self._checkpoint, framework="pt") as file:
                progress = progress_of(file.metadata())
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
            raise self.damaged_checkpoint(error) from error
        run = progress.pop(RUN, self.spec.hash)  # 0.1.0 did not write it
        if run != self.spec.hash:
            raise self.damaged_checkpoint(ValueError(f"it is of run {run}"))
        return tensors, progress

    def refuse_damaged_checkpoint(self) -> None:
        """Hold the weights of a finished run against the sum in ``DONE``.

        Raises:
            InputError: they are not what was written, or cannot be read.
        """
        try:
            expected = read_sums(self.path).get(CHECKPOINT)  # runs of before have none
            if expected is None or not is_there(self._checkpoint):
                return
            if _sha256(self._checkpoint) != expected:
                raise ValueError("it is not what was written")
        except ValueError as error:
            raise self.damaged_checkpoint(error) from error
        except OSError as error:
            raise unreadable(self.path, error) from error

    def damaged_checkpoint(self, error: Exception) -> InputError:
        """What to say of a checkpoint that cannot be continued from."""
        words = textwrap.shorten(str(error), 160, placeholder=" …")
        return InputError(
            f"the checkpoint {self._checkpoint} is damaged ({words}); delete {self.path} to start that run anew"
        )

    def finish(
        self,
        *,
        env: dict[str, Any],
        result: dict[str, Any],
        metrics: list[MetricRow],
        answers: Mapping[str, bytes] | None = None,
    ) -> RunRecord:
        """Write the results, then ``DONE``. ``answers``: file → content (`layerlocal.runs.answers`)."""
        columns = list(zip(*metrics, strict=True)) if metrics else [(), (), (), ()]
        table = pa.table(
            [pa.array(column, field.type) for column, field in zip(columns, METRICS, strict=True)], METRICS
        )
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        content = {
            "spec.json": _to_json(self.spec.model_dump(mode="json")),
            "env.json": _to_json(env),
            "metrics.parquet": sink.getvalue().to_pybytes(),
            "result.json": _to_json(result),
            **(answers or {}),
        }
        for name, data in content.items():
            write_atomic(self.path / name, data)
        sums = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
        if self._checkpoint.exists():
            sums[CHECKPOINT] = _sha256(self._checkpoint)
        write_atomic(self.path / "DONE", _to_json(sums))
        return RunRecord(self.spec.hash, self.spec, env, result)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def progress_of(metadata: dict[str, str]) -> dict[str, Any]:
    """The JSON content that a checkpoint carries.

    Raises:
        KeyError, TypeError, ValueError: it carries none.
    """
    progress = load_json(metadata["progress"], finite=False)
    if not isinstance(progress, dict):
        raise TypeError("its progress is no JSON object")
    return progress


class RunStore:
    """A folder of runs. Nothing is made before `prepare` or `open`.

    Args:
        root: the folder; it may be a link.

    Raises:
        InputError: ``root`` is no name of a folder.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = _named(root)

    def prepare(self) -> None:
        """Make the folder and see that it can be written, before any work is spent.

        Raises:
            InputError: it cannot.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise cannot_write(self.root, error) from error

    def is_done(self, spec: RunSpec) -> bool:
        """Whether this run is finished and whole. Of one that is not `open` says what is wrong. Of data that are not known none is: what lies
        under its name may be of any.
        """
        path = self.root / spec.hash
        try:
            return spec.data.is_recorded and is_finished(path) and read_run(path).hash == spec.hash
        except InputError:
            return False

    @contextlib.contextmanager
    def open(self, spec: RunSpec) -> Iterator[RunFolder]:
        """Hold the run's lock and its folder.

        Raises:
            RunBusyError: another process holds it.
            InputError: the folder cannot be made or locked, is a link, or holds a damaged or another run.
        """
        path = self.root / spec.hash
        if is_finished(path):
            read_run(path)
        with open_lock(path) as lock:
            take_lock(lock, path)
            is_new = read_spec(path) is None
            clear_leftovers(path, (*PARTS, ANSWERS, IMAGES, "DONE"))
            clear_leftovers(path / "checkpoint", ("state.safetensors",))
            try:
                if is_new:
                    write_atomic(path / "spec.json", _to_json(spec.model_dump(mode="json")))
                yield RunFolder(path, spec)
            finally:
                _remove_empty(path)

    def load(self, name: str) -> RunRecord:
        """A finished run by its hash, or by a beginning of it that is unique.

        Raises:
            InputError: no such run, not finished, damaged (a file that is not what ``DONE`` says), or not to be read.
        """
        return read_run(self._find(name))

    def _find(self, name: str) -> Path:
        asked = isinstance(name, str) and name.isalnum()
        if asked and is_hash(name) and is_finished(self.root / name):
            return self.root / name
        named = [self.root / found for found in self.names() if asked and found.startswith(name)]
        found = [path for path in named if is_hash(path.name)] or [path for path in named if is_finished(path)]
        if not found:
            raise InputError(f"there is no run {name!r} in {self.root}; `layerlocal show --out {self.root}` lists them")
        if len(found) > 1:
            raise InputError(
                f"{name!r} begins {len(found)} runs: {', '.join(sorted(path.name for path in found)[:5])}; give more digits"
            )
        if not is_finished(found[0]):
            raise InputError(
                f"run {found[0].name} in {self.root} is not finished; run the command that began it again to continue it"
            )
        return found[0]

    def names(self) -> list[str]:
        """Everything in the store's folder, sorted."""
        try:
            names = sorted(os.listdir(self.root))
            os.stat(os.path.join(self.root, "."))  # names may be listed where nothing behind them may be looked at
        except NotADirectoryError as error:
            raise InputError(f"{self.root} is a file, not a run store; give the folder that the runs are in") from error
        except OSError as error:
            if error.errno in NOT_THERE:
                raise InputError(
                    f"there is no run store at {self.root}; make one with `layerlocal audit --out {self.root}`"
                ) from error
            raise InputError(
                f"the run store {self.root} cannot be read ({error.strerror or error}); make it readable for you"
            ) from error
        return names

    def scan(self) -> tuple[list[RunRecord], list[str]]:
        """Every finished run, by hash, and of each that cannot be used one sentence: damaged, not to be read, copied under another name.

        Folders that are no runs are passed over.

        Raises:
            InputError: no store, or one that cannot be looked into.
        """
        problems: list[str] = []
        return list(self.each(problems)), problems

    def each(self, problems: list[str]) -> Iterator[RunRecord]:
        """`scan`, one record at a time: as many as there are need no memory. Records share what they have alike; change nothing in them.

        Args:
            problems: what cannot be used is added here, a sentence each.

        Raises:
            InputError: no store, or one that cannot be looked into.
        """
        reader, names = RunReader(), self.names()
        with StoreIndex(self.root, names) as index:
            for name in names:
                try:
                    record = self._indexed(name, reader, index) or self._read(name, reader, index)
                except InputError as error:
                    index.add(name, None)
                    problems.append(str(error))
                    continue
                if record is not None:
                    yield record
            index.keep()

    def _indexed(self, name: str, reader: RunReader, index: StoreIndex) -> RunRecord | None:
        """A run as the index has it."""
        content = index.content(name)
        if content is None:
            return None
        record = reader.record(self.root / name, content)
        index.add(name, content)
        return record

    def _read(self, name: str, reader: RunReader, index: StoreIndex) -> RunRecord | None:
        """A run as its folder has it; ``None`` of anything but a finished run."""
        path = self.root / name
        if not is_finished(path):
            return None
        content = read_content(path)
        record = reader.record(path, content)
        index.add(name, content)
        return record

    def finished(self) -> list[RunRecord]:
        """Every finished run, by hash; a warning names each that cannot be used (see `scan`).

        Raises:
            InputError: no store, or one that cannot be looked into.
        """
        problems: list[str] = []
        records = list(self.each(problems))
        warn_of(problems)
        return records

    def metrics(self, name: str) -> pa.Table:
        """The per-epoch table of a finished run: epoch, metric, block, value."""
        path = self.root / self.load(name).hash
        try:
            return pq.ParquetFile(path / "metrics.parquet").read().cast(METRICS)  # `read_table` imports pandas
        except (pa.ArrowException, OSError, ValueError) as error:
            raise damaged_run(path, ValueError("metrics.parquet is no table of metrics")) from error

    def answers(self, run: RunRecord | str) -> Answers | None:
        """Which test images a finished run, given by its record or its hash, answered right; ``None`` of one that kept none (0.1.0).

        Raises:
            InputError: no such run; answers that were damaged, cannot be read, or do not fit the number of images.
        """
        record = run if isinstance(run, RunRecord) else self.load(run)
        return read_answers(self.root / record.hash, record)


def warn_of(problems: list[str]) -> None:
    """A warning for each run that cannot be used."""
    for problem in problems:
        warnings.warn(problem, stacklevel=3)


# --- a store's name, what is left behind -----------------------------------------------------------------------


def _named(root: str | Path) -> Path:
    if not isinstance(root, str | Path):
        raise InputError(f"a run store is named by text or by a Path, got {type(root).__name__}: {root!r}")
    if not str(root) or "\0" in str(root):
        raise InputError(f"a run store needs the name of a folder, got {str(root)!r}; '.' is the current one")
    if Path(root).parts[:1] == ("~",):
        raise InputError(f"{str(root)!r}: what ~ stands for is known to a shell only; write the folder in full")
    return Path(root)


def _remove_empty(path: Path) -> None:
    """Where nothing was learned leave no run behind, but whatever somebody else put into its folder."""
    if any((path / name).exists() for name in ("DONE", CHECKPOINT, "result.json")):
        return
    for name in (*PARTS, ANSWERS, IMAGES, "LOCK"):
        with contextlib.suppress(OSError):
            (path / name).unlink()
    for folder in (path / "checkpoint", path):
        with contextlib.suppress(OSError):
            folder.rmdir()
