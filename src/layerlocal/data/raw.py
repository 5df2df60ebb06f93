"""A data set before any choice is made of it: labels in memory, images opened when called for. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from layerlocal.data.arguments import Request
from layerlocal.data.benchmarks import BENCHMARKS, BenchmarkInfo
from layerlocal.data.builtin import (
    EMBEDDED_NAME,
    EMBEDDED_PIXELS,
    EMBEDDED_SHA256,
    FASHION_CLASSES,
    TEXT_NAME,
    load_embedded,
)
from layerlocal.data.cache import CachedSplit, decoded_split, default_cache_dir
from layerlocal.data.hub import hub_sources
from layerlocal.data.medmnist import ORIGIN
from layerlocal.data.npz import is_npz
from layerlocal.data.selection import split_test
from layerlocal.data.sources import SplitSource, find_folder, pick_label
from layerlocal.data.views import find_superclasses
from layerlocal.types import InputError, UnreachableError, shown, unknown_name

__all__ = [
    "TEACHER_NAME",
    "Raw",
    "RawSplit",
    "content_sum",
    "list_data",
    "own_copy",
    "raw_data",
    "refuse_share",
    "tell_of_namesake",
]

TEACHER_NAME = "teacher_student"


@dataclass(frozen=True, kw_only=True)
class RawSplit:
    """All images of a split and their labels before any choice; images are opened when called for.

    ``rows``: where in the opened images those of the labels are; None: at the same places.
    """

    labels: np.ndarray
    open_images: Callable[[], Any]
    rows: np.ndarray | None = None

    def at(self, rows: np.ndarray) -> np.ndarray:
        """Rows of the labels as rows of the opened images."""
        return rows if self.rows is None else self.rows[rows]


@dataclass(frozen=True, kw_only=True)
class Raw:
    """A data set before any choice; ``content_sha256`` is of all of it (`content_sum`), ``None`` where nobody computed it.

    ``sample_shape``: of an image, (C, H, W), where it is known before one is opened.
    """

    name: str
    train: RawSplit
    test: RawSplit
    class_names: Sequence[str]
    provenance: dict[str, Any]
    superclasses: np.ndarray | None = None
    content_sha256: str | None = None
    sample_shape: tuple[int, ...] | None = None


def list_data() -> list[str]:
    """The names `load_data` knows: embedded images and text, twelve benchmarks on the Hub, eleven files of MedMNIST, the synthetic one."""
    return [EMBEDDED_NAME, TEXT_NAME, *BENCHMARKS, TEACHER_NAME]


def raw_data(source: str | Path, request: Request, cache_dir: Path | None = None, *, reread: bool = False) -> Raw:
    """The embedded data, a benchmark, a folder or a file of arrays.

    Args:
        source: as in `load_data`, but not `TEACHER_NAME`.
        request: checked arguments.
        cache_dir: for decoded images; ``None``: the usual one.
        reread: as in `load_data`.

    Raises:
        InputError: data that cannot be read.
    """
    if source == EMBEDDED_NAME:
        return _embedded_raw(request)
    return _decoded_raw(source, request, cache_dir or default_cache_dir(), reread=reread)


def _embedded_raw(request: Request) -> Raw:
    pick_label(["label"], request.labels)
    refuse_share(request, EMBEDDED_NAME)
    embedded, side = load_embedded(), request.image_size or EMBEDDED_PIXELS
    splits = {
        split: RawSplit(
            labels=embedded.labels(split), open_images=embedded.reader(split, image_size=request.image_size)
        )
        for split in ("train", "test")
    }
    provenance = {
        "kind": "embedded",
        "source": "Fashion-MNIST (Zalando SE, 2017)",
        "licence": "MIT",
        "checksum": EMBEDDED_SHA256,
    }
    return Raw(
        name=EMBEDDED_NAME,
        class_names=FASHION_CLASSES,
        provenance=provenance,
        train=splits["train"],
        test=splits["test"],
        content_sha256=content_sum(EMBEDDED_SHA256, [request.image_size], FASHION_CLASSES),
        sample_shape=(1, side, side),
    )


def _decoded_raw(source: str | Path, request: Request, cache_dir: Path, *, reread: bool) -> Raw:
    """A benchmark, a folder or a file of arrays, through the cache of decoded images."""
    info = BENCHMARKS.get(source) if isinstance(source, str) else None
    own = own_copy(source, info)
    tell_of_namesake(source, own, info)
    if info is not None and own is not None:
        name, licence, default = info.name, info.licence, None
        kind, train, test = find_folder(
            own, labels=request.labels, test_share=request.test is not None, published=info.file
        )
        provenance: dict[str, Any] = {"source": f"own copy of {info.name}"}
    elif info is not None and info.file is not None:
        raise UnreachableError(
            f"{info.name} is not here; fetch {info.file.file}, as MedMNIST publishes it ({ORIGIN}/files/{info.file.file}), into a folder, "
            "and name this folder in LAYERLOCAL_DATA"
        )
    elif info is not None:
        name, licence = info.name, info.licence
        kind, default = "hub", info.label_column
        train, test = hub_sources(info)
        provenance = {"source": info.hub_id, "config": info.config}
    else:
        folder = own or _existing_folder(source)
        name, licence, default = folder.resolve().name, "unknown", None
        kind, train, test = find_folder(folder, labels=request.labels, test_share=request.test is not None)
        provenance = {"source": name}
    if test is not None:
        refuse_share(request, name)
    splits, class_names, facts, superclasses = _decode_both(
        train, test, request, cache_dir=cache_dir, default=default, reread=reread
    )
    shape = facts.pop("shape")
    provenance = {"kind": kind, **provenance, "licence": licence, **facts}
    return Raw(
        name=name,
        class_names=class_names,
        provenance=provenance,
        superclasses=superclasses,
        train=splits["train"],
        test=splits["test"],
        content_sha256=content_sum(facts["checksum"], shape, class_names, superclasses),
        sample_shape=tuple(shape),
    )


def refuse_share(request: Request, name: str) -> None:
    """Of data that have a test split.

    Raises:
        InputError: one is to be drawn.
    """
    if request.test is not None:
        raise InputError(f"test={request.test:g} draws a test split, but {name} has its own; leave it out")


def own_copy(source: str | Path, info: BenchmarkInfo | None) -> Path | None:
    """The folder of that name in ``LAYERLOCAL_DATA``, if there is one: the same spec then runs with and without the Hub. Or the file
    ``NAME.npz``, but not of a benchmark of the Hub, since others publish another layout under such a name.

    Raises:
        InputError: ``LAYERLOCAL_DATA`` is no folder, or has a folder beside such a file.
    """
    place = os.environ.get("LAYERLOCAL_DATA")
    if not place or not isinstance(source, str) or source in ("", ".", "..") or os.sep in source:
        return None
    if not Path(place).expanduser().is_dir():
        raise InputError(f"LAYERLOCAL_DATA is {place!r}, which is no folder; correct it, or unset it")
    folder = Path(place).expanduser() / source
    if info is not None and info.file is None:
        return folder if folder.is_dir() else None
    file = folder if folder.suffix == ".npz" else folder.with_name(f"{source}.npz")
    if folder.is_dir() and is_npz(file):
        raise InputError(f"{folder} is beside {file.name}, which may be other data; keep one of the two")
    return folder if folder.is_dir() else file if is_npz(file) else None


def tell_of_namesake(source: str | Path, own: Path | None, info: BenchmarkInfo | None) -> None:
    """A name goes before a folder of that name right here: say so where there is one, as it may be the one that was meant."""
    here = Path(source)
    if not isinstance(source, str) or os.sep in source or not (info or own) or not (here.is_dir() or is_npz(here)):
        return
    if own is None or not own.samefile(here):
        taken = own or f"{source} {'of MedMNIST' if info and info.file else 'on the Hub'}"
        what = "folder" if here.is_dir() else "file"
        warnings.warn(f"the data are {taken}, not the {what} {source} here; write ./{source} for that", stacklevel=4)


def _existing_folder(source: str | Path) -> Path:
    """The folder; a word that is neither a name nor a path is taken for a misspelt name."""
    folder = Path(source).expanduser()
    try:
        there = folder.exists()
    except OSError as error:
        raise InputError(f"data {shown(str(source))} cannot be a folder: {error.strerror}") from error
    if isinstance(source, str) and not there and os.sep not in source:
        raise InputError(
            f"{unknown_name('data', source, list_data())} A path to a folder of images may be given, too; a folder {source} of your own is "
            "found by its name in the folder that LAYERLOCAL_DATA names."
        )
    return folder


def _decode_both(
    train: SplitSource,
    test: SplitSource | None,
    request: Request,
    *,
    cache_dir: Path,
    default: str | None,
    reread: bool,
) -> tuple[dict[str, RawSplit], list[str], dict[str, Any], np.ndarray | None]:
    """Decode both splits with the same number of channels; splits, class names, facts for the provenance, superclasses.

    Without a test source the test split is drawn from the training images.
    """

    def decode(source: SplitSource, channels: int) -> CachedSplit:
        return decoded_split(
            source,
            cache_dir=cache_dir,
            image_size=request.image_size,
            labels=request.labels,
            min_channels=channels,
            reread=reread,
        )

    first = decode(train, 1)
    second = first if test is None else decode(test, first.channels)
    if second.channels > first.channels:
        first = decode(train, second.channels)
    if first.meta["shape"] != second.meta["shape"]:
        raise InputError(
            f"training images are {first.meta['shape']} (C, H, W), test images {second.meta['shape']}; give image_size"
        )
    column = pick_label(list(first.meta["names"]), request.labels, default=default)
    if column not in second.meta["names"]:
        raise InputError(f"the test split has no label column {column!r}; add it as in the training split")
    checksum = hashlib.sha256()
    for split in (first, second)[: 1 if test is None else 2]:
        checksum.update(split.meta["pixels_sha256"].encode() + split.labels(column).tobytes())
    facts = {
        **first.meta["facts"],
        "label_column": column,
        "checksum": checksum.hexdigest(),
        "shape": first.meta["shape"],
    }
    splits = {
        name: RawSplit(labels=split.labels(column), open_images=split.images)
        for name, split in (("train", first), ("test", second))
    }
    class_names = _same_names(first.meta["names"][column], second.meta["names"][column], column)
    if test is None:
        splits = _draw_test(splits["train"], request, class_names)
    superclasses = None
    if request.draw in ("within", "across", "superclasses"):
        others = {name: first.labels(name) for name in first.meta["names"] if name != column}
        superclasses = find_superclasses(first.labels(column), others)
    return splits, class_names, facts, superclasses


def _draw_test(whole: RawSplit, request: Request, names: list[str]) -> dict[str, RawSplit]:
    """Training and test split of one set of images: over all classes, so that which images are tested depends on no choice of them."""
    assert request.test is not None
    kept, tested = split_test(whole.labels, request.test, names=names, seed=request.seed)
    return {
        name: RawSplit(labels=whole.labels[rows], open_images=whole.open_images, rows=rows)
        for name, rows in (("train", kept), ("test", tested))
    }


def _same_names(train: list[str], test: list[str], column: str) -> list[str]:
    """The class names of both splits; the shorter list must be the beginning of the longer one."""
    longer, shorter = (train, test) if len(train) >= len(test) else (test, train)
    if longer[: len(shorter)] != shorter:
        raise InputError(
            f"the class names of {column!r} differ between training and test files; write both with the same names"
        )
    return longer


def content_sum(
    checksum: str, shape: Sequence[Any], class_names: Sequence[str], superclasses: np.ndarray | None = None
) -> str:
    """64 hex digits that tell a data set from any other.

    Args:
        checksum: of pixels and labels of every split.
        shape: of a sample, or whatever else the pixels depend on.
        class_names: K names, in the order of the labels.
        superclasses: (K,) where they are used.
    """
    groups = None if superclasses is None else superclasses.tolist()
    text = json.dumps(["layerlocal data", 1, checksum, list(shape), list(class_names), groups], ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
