"""Code of the user's own: what ``FILE.py:NAME`` names, a rule's class or a function that makes a network or a step, loaded from its file."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Literal

from layerlocal.types import InputError, first_line, is_fault, shown

__all__ = ["Kind", "file_of", "file_sha256", "is_own", "load_file", "own_file_of", "split_name"]

Kind = Literal["rule", "network", "step"]
"""What a file is for, as messages call it."""
PLUGIN = "layerlocal_plugin_"
"""How the module of a user's own file is named, the hash of path and content behind it."""


def split_name(name: str) -> tuple[Path, str] | None:
    """``"path/to/file.py:Name"`` → its path and ``"Name"``, which is empty where it was left out; ``None`` for a name that names no file."""
    path, _, inner = (name, "", "") if name.endswith(".py") else name.rpartition(":")
    return (Path(path), inner) if path.endswith(".py") else None


def file_of(name: str) -> str | None:
    """The file that a rule or network is from, as it was typed; ``None`` for ours."""
    found = split_name(name)
    return None if found is None else str(found[0])


def file_sha256(name: str, kind: Kind = "rule") -> str | None:
    """SHA-256 of the source of what is given as ``FILE.py:NAME``; ``None`` for a name of ours.

    Raises:
        InputError: a file that cannot be read.
    """
    found = split_name(name)
    return None if found is None else hashlib.sha256(_source(found[0], kind)).hexdigest()


def load_file(path: Path, kind: Kind) -> ModuleType:
    """The module of a user's own file as it is now; the same one for the same file and content. What it draws from torch as it is imported is
    always the same, and leaves torch's generator as it was.

    Raises:
        InputError: a file that cannot be read or does not import.
    """
    source = _source(path, kind)
    name = f"{PLUGIN}{hashlib.sha256(str(path.resolve()).encode() + source).hexdigest()[:16]}"
    if name not in sys.modules:
        import torch  # here, as `report` and dry runs load this file

        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None  # a .py path always has a loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            code = compile(source, str(path), "exec")  # what was hashed, and no bytecode of another time
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                exec(code, module.__dict__)
        except BaseException as error:
            del sys.modules[name]
            if not is_fault(error):
                raise
            raise InputError(f"{path} does not import: {type(error).__name__}: {first_line(error)}") from error
    return sys.modules[name]


def _source(path: Path, kind: Kind) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the {kind} file {path}: {error.strerror}") from error
    except ValueError as error:  # a NUL in it
        raise InputError(f"the {kind} file {shown(str(path))} cannot be one: {error}") from error


def is_own(module: object) -> bool:
    """Whether a module, by its name, is a user's own file."""
    return str(module).startswith(PLUGIN)


def own_file_of(error: BaseException) -> str | None:
    """The user's own file that an exception came out of, or last went through; ``None`` where there is none."""
    frame, found = error.__traceback__, None
    while frame is not None:
        if is_own(frame.tb_frame.f_globals.get("__name__")):
            found = frame.tb_frame.f_code.co_filename
        frame = frame.tb_next
    return found
