"""Files ``NAME.npz`` of NumPy arrays in MedMNIST's layout: pixels and class numbers out, by the same road as encoded images.

Six arrays: ``train_images`` and ``train_labels``, ``test_images`` and ``test_labels``, and, where they are there, ``val_images`` and
``val_labels``. The images of val join the training images, from which the validation split is drawn as from any other data: behind them, in
their order. Images are uint8 (N, H, W), (N, H, W, 1) or (N, H, W, 3); labels are whole numbers (N,) or (N, 1). Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from layerlocal.data.columns import ClassColumn, ColumnValues, number_classes
from layerlocal.data.decode import EncodedImage
from layerlocal.data.medmnist import ORIGIN, PublishedFile
from layerlocal.data.split_source import OpenSplit, SplitSource, file_identity
from layerlocal.types import InputError, first_line
from layerlocal.words import spoken

__all__ = ["is_npz", "npz_file"]

_NEEDED = "train_images, train_labels, test_images and test_labels"


def is_npz(path: Path) -> bool:
    """Whether there is a file of that ending."""
    return path.suffix == ".npz" and path.is_file()


def npz_file(
    file: Path, *, published: PublishedFile | None, test_share: bool
) -> tuple[SplitSource, SplitSource | None]:
    """Training and test source; the test source is None where there is none and ``test_share`` allows it.

    Args:
        file: to read.
        published: what it must be, and the class names; None: any file of this layout, whose classes are named by their numbers.
        test_share: as in `find_folder`.

    Raises:
        InputError: it is no such file, or lacks an array.
    """
    names = _array_names(file)
    splits = [tuple(part for part in ("train", "val") if part == "train" or _has_part(names, part))]
    if _has_part(names, "test") or not test_share:
        splits.append(("test",))
    for name in (f"{part}_{what}" for split in splits for part in split for what in ("images", "labels")):
        if name not in names:
            raise InputError(
                f"{file} has no array {name} (its arrays: {spoken(names)}); it needs {_NEEDED}, and may have val_images and val_labels"
            )
    found = _Npz(file, splits, published)
    sources = [SplitSource(found.identity(index), partial(found.open, index)) for index in range(len(splits))]
    return sources[0], sources[1] if len(sources) > 1 else None


def _has_part(names: Sequence[str], part: str) -> bool:
    return f"{part}_images" in names or f"{part}_labels" in names


def _array_names(file: Path) -> list[str]:
    try:
        with zipfile.ZipFile(file) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile) as error:
        raise _broken(file, error) from error


def _broken(file: Path, error: Exception) -> InputError:
    return InputError(f"cannot read NumPy arrays in {file} ({first_line(error)[:160]}); copy it again")


@dataclass(frozen=True)
class _Npz:
    """One file, the parts that make up each split, and what it must be."""

    file: Path
    splits: list[tuple[str, ...]]
    published: PublishedFile | None

    def identity(self, index: int) -> list[Any]:
        """Of one split: class numbers depend on all of the file."""
        known = self.published and [self.published.md5, *self.published.class_names]
        return ["npz", index, known, file_identity([self.file], self.file.parent)]

    def open(self, index: int) -> OpenSplit:
        """Labels of one split, ready to read its images."""
        classes = self._classes
        images = {part: self._images(part) for part in self.splits[index]}
        for part, found in images.items():
            if len(found) != len(self._labels[part]):
                raise InputError(
                    f"{part}_images of {self.file} has {len(found)} rows, {part}_labels {len(self._labels[part])}; give each image one label"
                )
        facts: dict[str, Any] = {"parts": {part: len(found) for part, found in images.items()}}
        return OpenSplit(
            count=len(classes.labels[index]),
            labels={"label": classes.labels[index]},
            names={"label": classes.names[index]},
            read=partial(self._read, images),
            facts=facts | ({"notes": [classes.note]} if classes.note else {}),
        )

    def _read(self, images: dict[str, np.ndarray]) -> Iterator[EncodedImage]:
        for part, found in images.items():
            for row, pixels in enumerate(found):
                yield EncodedImage(pixels, f"{self.file.name} {part}_images row {row}")

    @cached_property
    def _labels(self) -> dict[str, np.ndarray]:
        """The labels of every part that counts, of a file that is what it must be."""
        _check_sum(self.file, self.published)
        parts = [part for split in self.splits for part in split]
        return {part: _label_values(_read_array(self.file, f"{part}_labels"), part, self.file) for part in parts}

    @cached_property
    def _classes(self) -> ClassColumn:
        values = [[ColumnValues("numbers", self._labels[part]) for part in split] for split in self.splits]
        names = None if self.published is None else list(self.published.class_names)
        return number_classes(values, "label", [names] * len(values), where=str(self.file))

    def _images(self, part: str) -> np.ndarray:
        found = _read_array(self.file, f"{part}_images")
        if found.ndim == 4 and found.shape[3] == 1:
            found = found[..., 0]
        if (
            found.dtype != np.uint8
            or not (found.ndim == 3 or (found.ndim == 4 and found.shape[3] == 3))
            or 0 in found.shape
        ):
            raise InputError(
                f"{part}_images of {self.file} is {found.dtype} of shape {found.shape}; it must be uint8 pixels (N, H, W) or (N, H, W, 3), N "
                "at least 1"
            )
        return found


def _read_array(file: Path, name: str) -> np.ndarray:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            found: np.ndarray = arrays[name]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        if "allow_pickle" in str(error):
            raise InputError(
                f"{name} of {file} is pickled Python objects, which are never loaded; save plain numbers"
            ) from error
        raise _broken(file, error) from error
    return found


def _label_values(found: np.ndarray, part: str, file: Path) -> np.ndarray:
    """int64 (N,).

    Raises:
        InputError: several labels an image, no whole numbers, a label below 0.
    """
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim == 2 and found.shape[1] > 1:
        raise InputError(
            f"{part}_labels of {file} has {found.shape[1]} labels an image, and one is learned here; keep one column, (N, 1)"
        )
    if found.ndim != 1 or found.dtype.kind not in "iu" or (len(found) and found.max() > np.iinfo(np.int64).max):
        raise InputError(
            f"{part}_labels of {file} is {found.dtype} of shape {found.shape}; it must be whole numbers (N,) or (N, 1)"
        )
    if len(found) and found.min() < 0:
        raise InputError(
            f"{part}_labels of {file} has {found.min()} in row {int(found.argmin())}; drop rows without a label, and number the classes from 0"
        )
    return found.astype(np.int64)


def _check_sum(file: Path, published: PublishedFile | None) -> None:
    if published is None:
        return
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != published.md5:
        raise InputError(
            f"{file} is not the {published.file} that MedMNIST publishes (MD5 {found}, not {published.md5}); copy that from "
            f"{ORIGIN}, or give other data by their path"
        )
