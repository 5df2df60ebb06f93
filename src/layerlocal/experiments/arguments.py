"""What the experiments' functions in Python ask of their arguments: each is looked at before anything is done."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from layerlocal.options import MOST_SEEDS, check_kind, whole_number
from layerlocal.types import InputError, shown

__all__ = [
    "Quiet", "call_text", "dotted_settings", "folder_of", "names_of", "path_of", "place_of_runs", "seed_count", "seeds_of", "sequence_of",
    "some_names", "text_of", "text_or_none", "whole_or_none",
]  # fmt: skip


class Quiet(Console):
    """Prints nothing. What a command says in yellow, of what was left out, is a warning."""

    def __init__(self) -> None:
        super().__init__(quiet=True)

    def print(self, *objects: Any, style: Any = None, **others: Any) -> None:
        """Warn of what is in yellow."""
        if style == "yellow":
            warnings.warn(" ".join(map(str, objects)).removeprefix("warning: "), stacklevel=2)


def place_of_runs(*, device: Any, out: Any, verbose: Any, workers: Any = None, **others: Any) -> dict[str, Any]:
    """What says where runs are made, each looked at."""
    from layerlocal.devices import device_name, find_device

    for flag, value in (("verbose", verbose), ("reread", others.get("reread", False))):
        check_kind(flag, value, bool)
    found: dict[str, Any] = {
        "device": (find_device if others.get("ray") is None else device_name)(device),
        "out": folder_of("out", out),
    }
    if "ray" in others:
        found["ray"] = text_or_none("ray", others["ray"])
    if "reread" in others:
        found |= {
            "reread": others["reread"],
            "workers": whole_or_none("workers", workers, 1, most=max(256, 4 * (os.cpu_count() or 1))),
        }
    return found | {"console": Console(stderr=True) if verbose else Quiet()}


def call_text(function: Callable[..., Any], given: Mapping[str, Any]) -> str:
    """The call as it would be written, for a record beside the numbers; what is as by default is left out."""
    parts = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name != "verbose" and given[name] != parameter.default:
            value = os.fspath(given[name]) if isinstance(given[name], os.PathLike) else given[name]
            parts.append(repr(value) if parameter.kind is parameter.POSITIONAL_OR_KEYWORD else f"{name}={value!r}")
    return f"layerlocal.{function.__name__}({', '.join(parts)})"


def dotted_settings(settings: Any, own: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    """Dotted settings, and those with an argument of their own.

    Raises:
        InputError: no dictionary by name, or a setting given in both ways.
    """
    if not isinstance(settings, Mapping | None) or not all(isinstance(key, str) for key in settings or ()):
        raise InputError(
            f'settings must be a dictionary such as {{"data.num_train": 2000}}, or None, got {shown(settings)}'
        )
    given = {key: value for key, (_, value) in own.items() if value is not None}
    for key in given.keys() & (settings or {}).keys():
        raise InputError(f"{key} is given twice, by {own[key][0]} and by settings; leave one out")
    return {**given, **(settings or {})}


def text_of(what: str, value: Any) -> str:
    """A name, or a path as one; bytes of a name that are no UTF-8 cannot be kept in a record."""
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str) or not text or "\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
        raise InputError(f"{what} must be a name, got {shown(value)}")
    return text


def text_or_none(what: str, value: Any) -> str | None:
    """`text_of`, or nothing."""
    return None if value is None else text_of(what, value)


def sequence_of(what: str, value: Any) -> Sequence[Any]:
    """A list or a tuple.

    Raises:
        InputError: anything else.
    """
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        raise InputError(f"{what} must be a name or a list of names, got {shown(value)}")
    return value


def names_of(what: str, value: Any) -> list[str]:
    """One name or several, each once."""
    names = [value] if isinstance(value, str | os.PathLike) else sequence_of(what, value)
    return list(dict.fromkeys(text_of(what, name) for name in names))


def some_names(what: str, value: Any) -> list[str]:
    """`names_of`, of which there must be one.

    Raises:
        InputError: none.
    """
    found = names_of(what, value)
    if not found:
        raise InputError(f"{what} must be a name or a list of names, got none; leave it out for the default")
    return found


def seed_count(value: Any) -> int:
    """How many seeds, 1 to `MOST_SEEDS`."""
    return whole_number("seeds", value, least=1, most=MOST_SEEDS)


def seeds_of(value: Any) -> int | list[int]:
    """How many seeds, or which.

    Raises:
        InputError: no whole numbers from 0, or none at all.
    """
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        return seed_count(value)
    if not value:
        raise InputError("seeds must be a number or a list of seeds, got none")
    return [whole_number("seeds", seed, least=0) for seed in value]


def whole_or_none(what: str, value: Any, least: int, *, most: int | None = None) -> int | None:
    """A whole number within its bounds, or nothing."""
    return None if value is None else whole_number(what, value, least=least, most=most)


def path_of(what: str, value: Any) -> Path:
    """A path, with the home folder in place of ``~``.

    Raises:
        InputError: anything else.
    """
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"{what} must be a path, got {shown(value)}")
    return Path(os.path.expanduser(text_of(what, value)))


def folder_of(what: str, value: Any) -> Path:
    """A folder, which need not be there yet.

    Raises:
        InputError: no path, or a file on its way.
    """
    path = path_of(what, value)
    try:
        file = next((each for each in (path, *path.parents) if each.exists() and not each.is_dir()), None)
    except OSError as error:
        raise InputError(f"{what} {shown(str(path))} cannot be a folder: {error.strerror}") from error
    if file is not None:
        raise InputError(f"{file} is a file, not a run store; give the folder that the runs are in")
    return path
