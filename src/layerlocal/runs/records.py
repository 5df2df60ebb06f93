"""Finished runs as they are read: every file held against its sum, every folder's name against the spec in it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerlocal.files import cannot_read, is_there, load_json
from layerlocal.spec import RunSpec
from layerlocal.types import InputError

__all__ = ["PARTS", "RunRecord", "is_finished", "is_hash", "read_run", "read_spec", "read_sums", "unreadable"]

PARTS = ("spec.json", "env.json", "metrics.parquet", "result.json")


@dataclass(frozen=True)
class RunRecord:
    """A finished run."""

    hash: str
    spec: RunSpec
    env: dict[str, Any]
    result: dict[str, Any]


def is_hash(name: str) -> bool:
    """Whether a name could be that of a run."""
    return re.fullmatch("[0-9a-f]{16}", name) is not None


def is_finished(path: Path) -> bool:
    """Whether a folder holds a finished run, whole or not; folders that are no runs are nobody's business here.

    Raises:
        InputError: it is named like a run and cannot be looked into.
    """
    try:
        return is_there(path / "DONE") and (is_hash(path.name) or is_there(path / "spec.json"))
    except OSError as error:
        if is_hash(path.name):
            raise unreadable(path, error) from error
        return False


def read_run(path: Path) -> RunRecord:
    """The finished run in a folder.

    Raises:
        InputError: it is damaged, cannot be read, is a link, lies under another run's name, or is of another version of this program.
    """
    if path.is_symlink():
        raise InputError(
            f"run {path} is a link to another folder, so it is not this store's; put a copy of that folder in its place"
        )
    try:
        sums = read_sums(path)
        content = {part: (path / part).read_bytes() for part in PARTS}
        damaged = [part for part in PARTS if hashlib.sha256(content[part]).hexdigest() != sums.get(part)]
        if damaged:
            raise ValueError(f"{damaged[0]} is not what was written")
        spec, env, result = (_object(part, content[part]) for part in ("spec.json", "env.json", "result.json"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError) as error:
        raise damaged_run(path, error) from error
    except OSError as error:
        raise unreadable(path, error) from error
    found = _parse(path, spec)
    if found.hash != path.name:
        raise _misnamed(path, found)
    try:
        return RunRecord(found.hash, found, env, _checked(result, found))
    except ValueError as error:
        raise damaged_run(path, error) from error


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
        found = _parse(path, _object("spec.json", (path / "spec.json").read_bytes()))
    except FileNotFoundError:
        return None
    except InputError:
        raise
    except (NotADirectoryError, IsADirectoryError, ValueError) as error:
        raise damaged_run(path, error) from error
    except OSError as error:
        raise unreadable(path, error) from error
    if found.hash != path.name:
        raise _misnamed(path, found)
    return found


def _object(name: str, text: bytes) -> dict[str, Any]:
    try:
        content = load_json(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{name} is no JSON object")
    return content


def _parse(path: Path, content: dict[str, Any]) -> RunSpec:
    try:
        return RunSpec.parse(content)
    except InputError as error:
        raise InputError(
            f"run {path} is not one of this version of layerlocal ({error}); update layerlocal, or leave that folder out of the store"
        ) from error


def _checked(result: dict[str, Any], spec: RunSpec) -> dict[str, Any]:
    """The result with its blocks in the order of the network: files are sorted by name, where block10 comes before block2."""
    if result.get("run", spec.hash) != spec.hash:
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


def _misnamed(path: Path, spec: RunSpec) -> InputError:
    return InputError(
        f"{path} holds run {spec.hash} under another name: it was copied or renamed, or its spec was edited, so it does not count; "
        f"delete that folder, or rename it to {spec.hash} where it is that run"
    )
