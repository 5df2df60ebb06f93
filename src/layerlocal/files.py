"""Files: written whole or not at all, and JSON that is read as JSON means it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from layerlocal.types import InputError

__all__ = [
    "cannot_read",
    "cannot_write",
    "clear_leftovers",
    "compact_json",
    "is_there",
    "json_text",
    "load_json",
    "read_json",
    "read_model",
    "read_weights",
    "weights_file",
    "weights_sha256",
    "write_atomic",
    "write_whole",
]

Model = TypeVar("Model", bound=BaseModel)
NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
"""Errors that say of a path: there is no such thing."""
FULL = (errno.ENOSPC, errno.EDQUOT)


def write_whole(path: Path, *content: bytes) -> None:
    """Write a file, one part after another, so that a reader sees the old content or the new, never half of it, whatever becomes of this
    process.

    Raises:
        OSError: it cannot be written; what was there before is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(content)
            file.flush()
            os.fchmod(file.fileno(), 0o644)  # mkstemp's 0600 would hide a shared store from others
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def write_atomic(path: Path, content: bytes, *, mend: str = "name another folder with --out") -> None:
    """`write_whole` for what a user asked to be written; ``mend`` says what to do where the folder cannot be written.

    Raises:
        InputError: the folder cannot be written or the disk is full; what was there before is untouched.
    """
    try:
        write_whole(path, content)
    except OSError as error:
        raise cannot_write(path, error, mend) from error


def cannot_write(path: Path, error: OSError, mend: str = "name another folder with --out") -> InputError:
    """What to say of a file that was not written."""
    if error.errno in FULL:
        return InputError(
            f"the disk is full: {path} was not written and finished runs are untouched; free some space and run again"
        )
    return InputError(f"cannot write {path}: {error.strerror or error}; {mend}")


def clear_leftovers(folder: Path, names: Iterable[str]) -> None:
    """Remove what a killed `write_whole` of these names left behind in a folder of ours: its own temporary files and nothing else."""
    ours = re.compile(rf"\.({'|'.join(map(re.escape, names))})\.[a-z0-9_]{{8}}")
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if ours.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                os.unlink(entry.path)


def is_there(path: Path | str) -> bool:
    """Whether a path leads to something.

    Raises:
        OSError: that cannot be known, for lack of permission say (where `Path.exists` of some Pythons says no).
    """
    try:
        os.stat(path)
    except OSError as error:
        if error.errno in NOT_THERE:
            return False
        raise
    return True


def load_json(text: bytes | str, *, finite: bool = True) -> Any:
    """What JSON text says.

    Args:
        text: of a file.
        finite: refuse NaN and infinities, which JSON does not know but Python reads and writes.

    Raises:
        ValueError: it is no JSON, or is nested deeper than anything of ours.
    """
    try:
        return (_STRICT if finite else _LOOSE).decode(text if isinstance(text, str) else json_text(text))
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def compact_json(content: Any) -> str:
    """JSON content as text without spaces, all of it ASCII.

    Raises:
        RecursionError: it is nested too deep.
    """
    return _COMPACT.encode(content)


def json_text(content: bytes) -> str:
    """A JSON file's text, in whichever of the encodings of JSON.

    Raises:
        ValueError: it is no text.
    """
    return content.decode(json.detect_encoding(content), "surrogatepass")


def read_json(
    path: Path,
    *,
    needs: Iterable[str] = (),
    kind: type[Any] | tuple[type[Any], ...] = dict,
    others: str = "finished runs",
    damaged: Callable[[Path, object], InputError] | None = None,
) -> Any:
    """What a JSON file of ours says; ``None`` where there is none.

    Args:
        path: of the file.
        needs: keys that an object has at least.
        kind: ``dict``, ``list``, or both.
        others: what the user keeps when this file is deleted.
        damaged: path, reason → what to say of a damaged one instead.

    Raises:
        InputError: it is damaged, or cannot be read.
    """
    try:
        content = load_json(path.read_bytes(), finite=False)
        if not isinstance(content, kind):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            raise ValueError(f"a JSON {' or '.join(each.__name__ for each in kinds)} was expected")
        if lacks := [key for key in needs if key not in content]:
            raise ValueError(f"it has no {lacks[0]}")
        return content
    except FileNotFoundError:
        return None
    except (ValueError, IsADirectoryError) as error:
        if damaged is not None:
            raise damaged(path, error) from error
        raise InputError(
            f"{path} is damaged ({error}); delete it and run the same command again: {others} are kept"
        ) from error
    except OSError as error:
        raise cannot_read(path, error) from error


def read_model(
    path: Path, model: type[Model], *, content: Any = None, damaged: Callable[[Path, object], InputError]
) -> Model | None:
    """A JSON file of ours as a checked model; ``None`` where there is no file.

    Args:
        path: of the file.
        model: what it holds.
        content: of the file, where it was read already.
        damaged: path, reason → what to say of one that does not hold it.

    Raises:
        InputError: it is damaged, or cannot be read.
    """
    content = read_json(path, damaged=damaged) if content is None else content
    try:
        return None if content is None else model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise damaged(path, f"{where}: {first['msg']}" if where else first["msg"]) from None


def cannot_read(path: Path, error: OSError) -> InputError:
    """What to say of a file that may be whole."""
    return InputError(
        f"{path} cannot be read ({error.strerror or error}), which does not mean that it is damaged; make it readable for you and give the "
        "same command again"
    )


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value


_COMPACT = json.JSONEncoder(check_circular=False, separators=(",", ":"))
_STRICT, _LOOSE = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite), json.JSONDecoder()
"""Made once: a store of many runs is read faster."""


def weights_file(path: Path) -> Path:
    """The file of weights that a path names: of a run's folder its checkpoint."""
    return path / "checkpoint/state.safetensors" if path.is_dir() else path


def read_weights(path: Path) -> bytes:
    """What is in the file of weights that a path names.

    Raises:
        InputError: a file that cannot be read.
    """
    try:
        return weights_file(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read the weights {path}: {error.strerror or error}; give a file that is there"
        ) from error
    except ValueError as error:  # a NUL in it
        raise InputError(f"the weights {str(path)!r} cannot be a file: {error}") from error


def weights_sha256(path: Path) -> str:
    """SHA-256 of what a network is to start from.

    Raises:
        InputError: a file that cannot be read.
    """
    return hashlib.sha256(read_weights(path)).hexdigest()
