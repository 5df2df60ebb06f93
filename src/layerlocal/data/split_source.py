"""What every source of encoded images gives: a split that may be opened, its labels, its images."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from layerlocal.data.decode import EncodedImage, find_bits
from layerlocal.types import InputError, unknown_name

__all__ = [
    "READ_ROWS",
    "TEST_NAMES",
    "OpenSplit",
    "SplitSource",
    "describe_depth",
    "file_identity",
    "pick_label",
    "readable",
    "share_depth",
]

READ_ROWS = 256  # rows read at a time
TEST_NAMES = ("test", "validation", "valid", "val")


@dataclass(frozen=True)
class OpenSplit:
    """A split that can be read.

    Attributes:
        count: N.
        labels: int64 (N,) for each label column.
        names: class names for each label column, by index.
        read: starts over and gives the N encoded images in order.
        facts: what else is known (e.g. the Hub's commit); JSON values. ``"notes"``: sentences that the user should see.
    """

    count: int
    labels: dict[str, np.ndarray]
    names: dict[str, list[str]]
    read: Callable[[], Iterator[EncodedImage]]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SplitSource:
    """A split that may not have to be opened, because its decoded copy may be in the cache.

    Attributes:
        identity: what the split is: file names, sizes and times of change, or the Hub's id. The cache's key.
        open: reads labels and gets ready to read images.
    """

    identity: list[Any]
    open: Callable[[], OpenSplit]


def pick_label(known: Sequence[str], labels: str | None, *, default: str | None = None) -> str:
    """The label column to use: the one asked for ("fine" and "coarse" are short for "fine_label", "coarse_label").

    Without one asked for: ``default`` if it is there, "label", "fine_label", or the only one.

    Raises:
        InputError: the column is not there, or none was asked for and there are several.
    """
    if labels is not None:
        for name in (labels, f"{labels}_label"):
            if name in known:
                return name
        raise unknown_name("label column", labels, known)
    for likely in (default, "label", "fine_label"):
        if likely in known:
            return str(likely)
    if len(known) == 1:
        return known[0]
    raise InputError(f"the data has several label columns: {', '.join(sorted(known))}; choose one with labels=…")


def file_identity(files: Sequence[Path], root: Path) -> str:
    """Names, sizes and times of change, as one sum.

    Raises:
        InputError: a broken link, or what is no file, such as a pipe, which would never end.
    """
    found: list[list[Any]] = []
    for file in files:
        try:
            state = file.stat()
        except OSError as error:
            what = "is a broken link" if file.is_symlink() else f"cannot be read ({error.strerror})"
            raise InputError(f"{readable(file)} {what}; replace it or take it out") from error
        if not stat.S_ISREG(state.st_mode):
            raise InputError(f"{readable(file)} is not a regular file; replace it or take it out")
        found.append([str(file.relative_to(root)), state.st_size, state.st_mtime_ns])
    return hashlib.sha256(json.dumps([str(root.resolve()), found]).encode()).hexdigest()


def readable(path: Path) -> str:
    """A path as text that can be printed: bytes that are not UTF-8 become question marks."""
    return os.fsencode(path).decode("utf-8", "replace")


def share_depth(
    splits: Sequence[Callable[[], Iterator[EncodedImage]]],
) -> tuple[list[Callable[[], Iterator[EncodedImage]]], Callable[[], int | None]]:
    """The readers of all splits of a set, whose images then carry the bits of the set, and what tells these (found when first needed)."""
    bits = cache(lambda: find_bits(splits))

    def with_bits(read: Callable[[], Iterator[EncodedImage]]) -> Callable[[], Iterator[EncodedImage]]:
        return lambda: (image._replace(bits=bits()) for image in read())

    return [with_bits(read) for read in splits], bits


def describe_depth(bits: int | None) -> list[str]:
    """A note where 16-bit images are read as images of fewer bits."""
    if bits is None or bits == 16:
        return []
    return [f"the 16-bit images have values below {1 << bits}, so they are read as {bits}-bit images"]
