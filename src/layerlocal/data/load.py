"""`load_data`: a name or a folder in, a task's data out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from layerlocal.data.benchmarks import BENCHMARKS
from layerlocal.data.builtin import EMBEDDED_NAME, EMBEDDED_SHA256, FASHION_CLASSES, load_embedded
from layerlocal.data.bundle import Data, SealedTest, Split, pixel_statistics
from layerlocal.data.cache import CachedSplit, decoded_split, default_cache_dir
from layerlocal.data.hub import hub_sources
from layerlocal.data.selection import (
    balanced_quota,
    balanced_subset,
    check_classes,
    choose_classes,
    relabel,
    split_validation,
)
from layerlocal.data.sources import SplitSource, find_folder, pick_label
from layerlocal.data.teacher import TeacherOptions, create_teacher, draw_balanced
from layerlocal.types import InputError, unknown_name

__all__ = ["IN_MEMORY_BYTES", "TEACHER_NAME", "list_data", "load_data"]

TEACHER_NAME = "teacher_student"
IN_MEMORY_BYTES = 2 * 2**30
"""A split of at most this many bytes is held in memory; a larger one stays on disk, memory-mapped."""


@dataclass(frozen=True, kw_only=True)
class _Request:
    """The arguments of `load_data`, passed on as one."""

    labels: str | None
    classes: int | Sequence[int | str] | None
    image_size: int | None
    num_train: int | None
    num_test: int | None
    validation: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class _RawSplit:
    """All images of a split and their labels before any choice; images are opened when called for."""

    labels: np.ndarray
    open_images: Callable[[], Any]


@dataclass(frozen=True, kw_only=True)
class _Raw:
    """A data set before any choice."""

    name: str
    train: _RawSplit
    test: _RawSplit
    class_names: Sequence[str]
    provenance: dict[str, Any]


def list_data() -> list[str]:
    """The names `load_data` knows: the embedded default, the nine benchmarks on the Hub, the synthetic one."""
    return [EMBEDDED_NAME, *BENCHMARKS, TEACHER_NAME]


def load_data(
    source: str | Path = EMBEDDED_NAME,
    *,
    labels: str | None = None,
    classes: int | Sequence[int | str] | None = None,
    image_size: int | None = None,
    num_train: int | None = None,
    num_test: int | None = None,
    validation: float = 0.1,
    seed: int = 0,
    teacher: TeacherOptions | Mapping[str, Any] | None = None,
    cache_dir: Path | None = None,
) -> Data:
    """Load data for one task: training split, validation split drawn from it, and the test split under seal.

    ::

        data = load_data("fashion_mnist_subset", classes=5, num_train=1000, seed=1)
        data = load_data("path/to/cifar100", labels="coarse")

    Args:
        source: a name in `list_data`, a folder of Parquet files in the Hugging Face layout (``train-*.parquet`` and
            ``test-*``, ``validation-*`` or ``valid-*``), or a folder ``train/<class>/*`` and ``test/<class>/*`` (or
            ``val``, ``validation``) of images. A name goes before a folder of that name: write ``./cifar100``.
        labels: the label column; "fine" and "coarse" for CIFAR-100. None: "label", "fine_label", or the only one.
        classes: a number K to draw K classes by ``seed`` (teacher_student: K itself, 10 if None), or a list of indices
            and names. Labels become 0..K-1 in the order of the original indices.
        image_size: pixels; the shorter side is resized to it and the middle square taken. None: as stored.
        num_train: training images, class-balanced by ``seed``, counted before the validation split is taken out.
        num_test: test images, likewise.
        validation: share of the training images, 0 to below 1, drawn by class; 0 for no validation split.
        seed: of every draw here.
        teacher: options of teacher_student.
        cache_dir: for decoded images; None: ``LAYERLOCAL_CACHE``, else ``~/.cache/layerlocal``.

    Raises:
        InputError: whatever is wrong with the source or the choices, in one sentence.
    """
    request = _Request(
        labels=labels,
        classes=classes,
        image_size=image_size,
        num_train=num_train,
        num_test=num_test,
        validation=validation,
        seed=seed,
    )
    if image_size is not None and image_size < 1:
        raise InputError(f"image_size={image_size} must be at least 1 pixel")
    if source == TEACHER_NAME:
        return _assemble(_teacher_raw(request, TeacherOptions.parse(teacher)), _chosen_already(request))
    if teacher is not None:
        raise InputError(f"teacher options belong to {TEACHER_NAME}, not to {str(source)!r}; leave them out")
    if source == EMBEDDED_NAME:
        return _assemble(_embedded_raw(request), request)
    return _assemble(_decoded_raw(source, request, cache_dir or default_cache_dir()), request)


def _assemble(raw: _Raw, request: _Request) -> Data:
    """Choose classes, subsets and the validation split; open the training images; seal the test images."""
    chosen = choose_classes(raw.class_names, request.classes, seed=request.seed)
    names = tuple(str(raw.class_names[k]) for k in chosen)
    train_rows, train_labels = relabel(raw.train.labels, chosen)
    test_rows, test_labels = relabel(raw.test.labels, chosen)
    check_classes(train_labels, test_labels, names, where=raw.name)
    train_rows, train_labels = _take(train_rows, train_labels, request.num_train, len(names), request.seed, "train")
    test_rows, test_labels = _take(test_rows, test_labels, request.num_test, len(names), request.seed, "test")
    kept, held_out = split_validation(train_labels, request.validation, names=names, seed=request.seed)
    images = raw.train.open_images()
    train = _make_split(images, train_rows[kept], train_labels[kept])
    validation = _make_split(images, train_rows[held_out], train_labels[held_out]) if len(held_out) else None
    mean, std = pixel_statistics(train)
    shape = train.sample_shape
    counts = {"train": len(train), "validation": len(held_out), "test": len(test_labels)}
    return Data(
        name=raw.name,
        train=train,
        validation=validation,
        num_classes=len(names),
        class_names=names,
        sample_shape=shape,
        in_channels=shape[0],
        image_size=shape[-1] if len(shape) == 3 else 1,
        mean=mean,
        std=std,
        chance=float(np.bincount(test_labels).max() / len(test_labels)),
        provenance=raw.provenance | {"num_images": counts},
        sealed_test=SealedTest(lambda: _make_split(raw.test.open_images(), test_rows, test_labels)),
    )


def _take(
    rows: np.ndarray, labels: np.ndarray, number: int | None, num_classes: int, seed: int, what: str
) -> tuple[np.ndarray, np.ndarray]:
    """A class-balanced subset of rows and their labels, or all of them."""
    if number is None:
        return rows, labels
    index = balanced_subset(labels, number, num_classes=num_classes, seed=seed, what=what)
    return rows[index], labels[index]


def _make_split(images: Any, rows: np.ndarray, labels: np.ndarray) -> Split:
    """In memory where it fits, otherwise rows of the mapped file. ``images``: a tensor, an array or a memmap."""
    target = torch.from_numpy(labels)
    if isinstance(images, torch.Tensor):
        return Split(images[torch.from_numpy(rows)], target)
    if isinstance(images, np.memmap) and len(rows) * images[0].nbytes > IN_MEMORY_BYTES:
        return Split(images, target, rows=torch.from_numpy(rows))
    return Split(torch.from_numpy(np.asarray(images)[rows]), target)


# --- where the raw data comes from ------------------------------------------------------------------------------------


def _embedded_raw(request: _Request) -> _Raw:
    pick_label(["label"], request.labels)
    embedded = load_embedded()
    splits = {
        split: _RawSplit(
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
    return _Raw(name=EMBEDDED_NAME, class_names=FASHION_CLASSES, provenance=provenance, **splits)


def _decoded_raw(source: str | Path, request: _Request, cache_dir: Path) -> _Raw:
    """A benchmark on the Hub or a folder, through the cache of decoded images."""
    info = BENCHMARKS.get(source) if isinstance(source, str) else None
    if info is not None:
        name, licence = info.name, info.licence
        kind, default = "hub", info.label_column
        train, test = hub_sources(info, cache_dir=cache_dir)
        provenance: dict[str, Any] = {"source": info.hub_id, "config": info.config}
    else:
        folder = _existing_folder(source)
        name, licence, default = folder.resolve().name, "unknown", None
        kind, train, test = find_folder(folder)
        provenance = {"source": name}
    splits, class_names, facts = _decode_both(train, test, request, cache_dir=cache_dir, default=default)
    provenance = {"kind": kind, **provenance, "licence": licence, **facts}
    return _Raw(name=name, class_names=class_names, provenance=provenance, **splits)


def _existing_folder(source: str | Path) -> Path:
    """The folder; a word that is neither a name nor a path is taken for a misspelt name."""
    folder = Path(source).expanduser()
    if isinstance(source, str) and not folder.exists() and os.sep not in source:
        raise InputError(f"{unknown_name('data', source, list_data())} A path to a folder of images may be given, too.")
    return folder


def _decode_both(
    train: SplitSource, test: SplitSource, request: _Request, *, cache_dir: Path, default: str | None
) -> tuple[dict[str, _RawSplit], list[str], dict[str, Any]]:
    """Decode both splits with the same number of channels; splits, class names, and facts for the provenance."""

    def decode(source: SplitSource, channels: int) -> CachedSplit:
        return decoded_split(
            source,
            cache_dir=cache_dir,
            image_size=request.image_size,
            labels=request.labels,
            min_channels=channels,
        )

    first = decode(train, 1)
    second = decode(test, first.channels)
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
    for split in (first, second):
        checksum.update(split.meta["pixels_sha256"].encode() + split.labels(column).tobytes())
    facts = {**first.meta["facts"], "label_column": column, "checksum": checksum.hexdigest()}
    splits = {
        name: _RawSplit(labels=split.labels(column), open_images=split.images)
        for name, split in (("train", first), ("test", second))
    }
    return splits, _same_names(first.meta["names"][column], second.meta["names"][column], column), facts


def _same_names(train: list[str], test: list[str], column: str) -> list[str]:
    """The class names of both splits; the shorter list must be the beginning of the longer one."""
    longer, shorter = (train, test) if len(train) >= len(test) else (test, train)
    if longer[: len(shorter)] != shorter:
        raise InputError(
            f"the class names of {column!r} differ between training and test files; write both with the same names"
        )
    return longer


def _chosen_already(request: _Request) -> _Request:
    """The same request without what the teacher has already done: classes and numbers of images."""
    return _Request(**{**request.__dict__, "classes": None, "num_train": None, "num_test": None})


def _teacher_raw(request: _Request, options: TeacherOptions) -> _Raw:
    """Inputs and labels of teacher-student data: exactly balanced up to one image a class."""
    if request.labels is not None or request.image_size is not None:
        wrong = "labels" if request.labels is not None else "image_size"
        raise InputError(
            f"{wrong} does not apply to {TEACHER_NAME}; leave it out (its sizes are options of the teacher)"
        )
    num_classes = 10 if request.classes is None else request.classes
    if not isinstance(num_classes, int) or num_classes < 2:
        raise InputError(f"classes={request.classes!r} of {TEACHER_NAME} must be a number of classes, at least 2")
    teacher = create_teacher(options, num_classes=num_classes, seed=request.seed)
    numbers = {"train": 8192 if request.num_train is None else request.num_train}
    numbers["test"] = 2048 if request.num_test is None else request.num_test
    splits = {}
    for split, number in numbers.items():
        if number < num_classes:
            raise InputError(f"num_{split}={number} is too few for {num_classes} classes; ask for at least one a class")
        quota = torch.from_numpy(balanced_quota(np.full(num_classes, number), number))
        x, y = draw_balanced(teacher, quota, shape=options.sample_shape, seed=request.seed, what=split)
        splits[split] = _RawSplit(labels=y.numpy(), open_images=lambda x=x: x)  # type: ignore[misc]
    checksum = hashlib.sha256(b"".join(split.labels.tobytes() for split in splits.values())).hexdigest()
    provenance = {
        "kind": "synthetic",
        "source": options.as_json(),
        "licence": "none needed",
        "checksum": checksum,
        "seed": request.seed,
    }
    names = [str(k) for k in range(num_classes)]
    return _Raw(name=TEACHER_NAME, class_names=names, provenance=provenance, **splits)
