"""Finished runs as they are read: every file held against its sum, every folder's name against the spec in it."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerlocal.files import cannot_read, is_there, json_text, load_json
from layerlocal.runs.specs import SpecReader, spec_texts
from layerlocal.spec import RunSpec
from layerlocal.types import InputError

__all__ = [
    "PARTS",
    "RunContent",
    "RunReader",
    "RunRecord",
    "is_finished",
    "is_hash",
    "read_content",
    "read_run",
    "read_spec",
    "read_sums",
    "unreadable",
]

PARTS = ("spec.json", "env.json", "metrics.parquet", "result.json")


@dataclass(frozen=True)
class RunRecord:
    """A finished run."""

    hash: str
    spec: RunSpec
    env: dict[str, Any]
    result: dict[str, Any]


_HASH = re.compile("[0-9a-f]{16}")


def is_hash(name: str) -> bool:
    """Whether a name could be that of a run."""
    return _HASH.fullmatch(name) is not None


def is_finished(path: Path) -> bool:
    """Whether a folder holds a finished run, whole or not; folders that are no runs are nobody's business here.

    Raises:
        InputError: it is named like a run and cannot be looked into.
    """
    try:
        return is_there(f"{path}/DONE") and (is_hash(path.name) or is_there(path / "spec.json"))
    except OSError as error:
        if is_hash(path.name):
            raise unreadable(path, error) from error
        return False


@dataclass(frozen=True, slots=True)
class RunContent:
    """What the files of a finished run say. What many runs have alike is text, which is parsed once for them all."""

    spec: tuple[str, ...]
    """As `spec_texts` gives it."""
    env: str
    """JSON."""
    result: dict[str, Any]


class RunReader:
    """Reads many finished runs. What many of them have alike, sections of specs and the environment, is then one object of them all."""

    def __init__(self) -> None:
        self._specs = SpecReader()
        self._environments: dict[str, dict[str, Any]] = {}

    def read(self, path: Path) -> RunRecord:
        """The finished run in a folder.

        Raises:
            InputError: it is damaged, cannot be read, is a link, lies under another run's name, or is of another version of this program.
        """
        return self.record(path, read_content(path))

    def record(self, path: Path, content: RunContent) -> RunRecord:
        """The run in a folder whose files say this.

        Raises:
            InputError: they do not say what a run's files say.
        """
        spec, name = _parsed(path, content.spec, self._specs)
        try:
            env = self._environment(content.env)
            return RunRecord(name, spec, env, _checked(content.result, spec, name))
        except ValueError as error:
            raise damaged_run(path, error) from error

    def _environment(self, text: str) -> dict[str, Any]:
        if text not in self._environments:
            if len(self._environments) >= MOST_ENVIRONMENTS:
                self._environments.clear()
            self._environments[text] = _object("env.json", text)
        return self._environments[text]


MOST_ENVIRONMENTS = 1000


def read_run(path: Path) -> RunRecord:
    """One finished run; see `RunReader.read`."""
    return RunReader().read(path)


def read_content(path: Path) -> RunContent:
    """What the files of a finished run say, each held against its sum.

    Raises:
        InputError: it is damaged, cannot be read, or is a link.
    """
    folder = str(path)
    if os.path.islink(folder):
        raise InputError(
            f"run {path} is a link to another folder, so it is not this store's; put a copy of that folder in its place"
        )
    try:
        sums = _object("DONE", _content(f"{folder}/DONE"))
        content = {part: _content(f"{folder}/{part}") for part in PARTS}
        damaged = [part for part in PARTS if hashlib.sha256(content[part]).hexdigest() != sums.get(part)]
        if damaged:
            raise ValueError(f"{damaged[0]} is not what was written")
        spec = _object("spec.json", content["spec.json"])
        env = json_text(content["env.json"])
        return RunContent(spec_texts(spec), env, _object("result.json", content["result.json"]))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError) as error:
        raise damaged_run(path, error) from error
    except OSError as error:
        raise unreadable(path, error) from error


def _content(name: str) -> bytes:
    """What a file holds, by as few calls as there can be."""
    handle = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        whole = b""
        while part := os.read(handle, 65536):
            whole += part
        return whole
    finally:
        os.close(handle)


def read_sums(path: Path) -> dict[str, Any]:
    """File → SHA-256, of a finished run.

    Raises:
        OSError, ValueError: ``DONE`` cannot be read, or does not say that.
    """
    return _object("DONE", (path / "DONE").read_bytes())


def read_spec(path: Path) -> RunSpec | None:
    """The spec of a run in progress, or ``None`` where there is none yet.

    Raises:
        InputError: it is damaged, cannot be read, or is not the one that the folder is named after.
    """
    try:
        texts = spec_texts(_object("spec.json", (path / "spec.json").read_bytes()))
    except FileNotFoundError:
        return None
    except (NotADirectoryError, IsADirectoryError, ValueError) as error:
        raise damaged_run(path, error) from error
    except OSError as error:
        raise unreadable(path, error) from error
    return _parsed(path, texts, SpecReader())[0]


def _object(name: str, text: bytes | str) -> dict[str, Any]:
    try:
        content = load_json(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{name} is no JSON object")
    return content


def _parsed(path: Path, texts: tuple[str, ...], reader: SpecReader) -> tuple[RunSpec, str]:
    """The spec that a folder is named after, and its hash."""
    try:
        found, name = reader.read(texts)
    except InputError as error:
        raise InputError(
            f"run {path} is not one of this version of layerlocal ({error}); update layerlocal, or leave that folder out of the store"
        ) from error
    if name != path.name:
        raise _misnamed(path, name)
    return found, name


def _checked(result: dict[str, Any], spec: RunSpec, name: str) -> dict[str, Any]:
    """The result with its blocks in the order of the network: files are sorted by name, where block10 comes before block2."""
    if result.get("run", name) != name:
        raise ValueError("result.json is of another run")
    judged = "validation_accuracy" if spec.judged_on == "validation" else "test_accuracy"
    blocks = result.get("block_accuracies") or {}
    numbers = [result.get(judged), *(blocks.values() if isinstance(blocks, dict) else [None])]
    if not all(isinstance(number, int | float) for number in numbers):
        raise ValueError(f"result.json lacks the {judged.replace('_', ' ')}, of all blocks or of one")
    if blocks:
        ordered = sorted(blocks, key=lambda name: (len(name), name))
        result["block_accuracies"] = {name: blocks[name] for name in ordered}
    return result


def damaged_run(path: Path, error: Exception) -> InputError:
    """What to say of a run whose files are not what was written."""
    reason = f"{Path(error.filename).name} is missing" if isinstance(error, FileNotFoundError) else error
    return InputError(
        f"run {path} is damaged ({reason}); delete that folder and run it again; the other runs are untouched"
    )


def unreadable(path: Path, error: OSError) -> InputError:
    """What to say of a run that may be whole."""
    return InputError(f"run {cannot_read(path, error)}")


def _misnamed(path: Path, name: str) -> InputError:
    return InputError(
        f"{path} holds run {name} under another name: it was copied or renamed, or its spec was edited, so it does not count; "
        f"delete that folder, or rename it to {name} where it is that run"
    )
