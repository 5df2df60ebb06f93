"""Looks that were taken on this machine, kept in ``looks.json`` beside the decoded images, so that the next dry run need not take them again.

They are of this package as it is: a changed file of it, or another version, begins anew. Of rules and networks of the user's own nothing is
kept, since what they import may change unseen. Where the file cannot be read or written, nothing is kept.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import layerlocal
from layerlocal.data.cache import default_cache_dir
from layerlocal.files import write_whole
from layerlocal.types import InputError

__all__ = ["keep_looks", "kept_looks"]

Numbers = list[float]
"""FLOPs a sample; and where a kind was timed, or likened to one that was, a step and a prediction in the yardstick."""


def kept_looks() -> dict[str, Numbers]:
    """Key → numbers, as this process last saw them."""
    return _read(_place())


def keep_looks(found: Mapping[str, Numbers]) -> None:
    """Put looks beside those that are kept; of two processes that write at once one may lose its own, which it takes again another time."""
    place = _place()
    _read.cache_clear()
    looks = {**_read(place), **found}
    _read(place).update(looks)
    with contextlib.suppress(OSError):
        write_whole(place, json.dumps({"of": _package(), "looks": looks}).encode())


def _place() -> Path:
    try:
        return default_cache_dir() / "looks.json"
    except InputError:
        return Path(os.devnull) / "looks.json"


@functools.cache
def _read(place: Path) -> dict[str, Numbers]:
    try:
        kept = json.loads(place.read_bytes())
        if kept["of"] != _package():
            return {}
        looks = {str(key): [float(number) for number in look] for key, look in kept["looks"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {key: look for key, look in looks.items() if len(look) in (1, 3)}


@functools.cache
def _package() -> str:
    """Version, and size and time of change of every file of the package."""
    root = Path(layerlocal.__file__).parent
    states = [
        (str(path.relative_to(root)), state.st_size, state.st_mtime_ns)
        for path in sorted(root.rglob("*.py"))
        for state in [path.stat()]
    ]
    return hashlib.sha256(json.dumps([version("layerlocal"), states]).encode()).hexdigest()
