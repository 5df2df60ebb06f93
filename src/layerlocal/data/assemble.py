"""From a data set before any choice to a task: classes, subsets, the validation split, composed images, the test split under seal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from layerlocal.data.bundle import Data, SealedTest, Split, pixel_statistics
from layerlocal.data.compose import check_pairs, compose_split, plan_composition
from layerlocal.data.selection import (
    balanced_quota,
    balanced_subset,
    check_classes,
    relabel,
    split_validation,
    subset_of_classes,
)
from layerlocal.data.views import draw_groups
from layerlocal.types import InputError

__all__ = ["IN_MEMORY_BYTES", "Raw", "RawSplit", "Request", "assemble"]

IN_MEMORY_BYTES = 2 * 2**30
"""A split of at most this many bytes is held in memory; a larger one stays on disk, memory-mapped."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments of `load_data`, passed on as one."""

    labels: str | None
    classes: int | Sequence[int | str] | None
    image_size: int | None
    num_train: int | None
    num_test: int | None
    validation: float
    seed: int
    draw: str
    superclass: int | None
    compose: str | None
    held_out: float
    test: float | None = None


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
    """A data set before any choice; ``content_sha256`` is of all of it (`content_sum`), ``None`` where nobody computed it."""

    name: str
    train: RawSplit
    test: RawSplit
    class_names: Sequence[str]
    provenance: dict[str, Any]
    superclasses: np.ndarray | None = None
    content_sha256: str | None = None


def assemble(raw: Raw, request: Request) -> Data:
    """Choose classes, subsets and the validation split; open the training images; seal the test images."""
    groups = draw_groups(
        raw.class_names, request.classes, draw=request.draw, superclasses=raw.superclasses, superclass=request.superclass,
        seed=request.seed,
    )  # fmt: skip
    names = tuple(" + ".join(str(raw.class_names[k]) for k in group) for group in groups)
    train_rows, train_labels = relabel(raw.train.labels, groups)
    test_rows, test_labels = relabel(raw.test.labels, groups)
    check_classes(train_labels, test_labels, names, where=raw.name)
    if request.compose is not None:
        return _compose(raw, request, names, (train_rows, train_labels), (test_rows, test_labels))
    if request.draw == "any":
        train_rows, train_labels = _take(train_rows, train_labels, request.num_train, len(names), request.seed, "train")
        test_rows, test_labels = _take(test_rows, test_labels, request.num_test, len(names), request.seed, "test")
        kept, held_out = split_validation(train_labels, request.validation, names=names, seed=request.seed)
    else:  # images are chosen by the source's classes, so that other labels mean the same images
        train_rows, train_labels = _take_by_class(raw.train.labels, groups, request.num_train, request.seed, "train")
        test_rows, test_labels = _take_by_class(raw.test.labels, groups, request.num_test, request.seed, "test")
        source = raw.train.labels[train_rows]
        kept, held_out = split_validation(source, request.validation, names=raw.class_names, seed=request.seed)
    images = raw.train.open_images()
    train = make_split(images, raw.train.at(train_rows[kept]), train_labels[kept])
    validation = (
        make_split(images, raw.train.at(train_rows[held_out]), train_labels[held_out]) if len(held_out) else None
    )
    return _make_data(
        raw,
        names,
        train,
        validation,
        test_labels,
        lambda: make_split(raw.test.open_images(), raw.test.at(test_rows), test_labels),
    )


def _make_data(
    raw: Raw,
    names: tuple[str, ...],
    train: Split,
    validation: Split | None,
    test_labels: np.ndarray,
    open_test: Callable[[], Split],
) -> Data:
    mean, std = pixel_statistics(train)
    counts = {"train": len(train), "validation": len(validation or ()), "test": len(test_labels)}
    return Data(
        name=raw.name,
        train=train,
        validation=validation,
        num_classes=len(names),
        class_names=names,
        mean=mean,
        std=std,
        chance=float(np.bincount(test_labels).max() / len(test_labels)),
        provenance=raw.provenance | {"num_images": counts},
        sealed_test=SealedTest(open_test),
        source_sha256=raw.content_sha256,
    )


def _compose(
    raw: Raw,
    request: Request,
    names: tuple[str, ...],
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
) -> Data:
    """Pairs of images: training and validation pairs of different base images, held-out pairs in the test split alone."""
    assert request.compose is not None
    plan = plan_composition(len(names), how=request.compose, held_out=request.held_out, seed=request.seed)

    def pairs(rows: np.ndarray, labels: np.ndarray, number: int, what: str, open_images: Callable[[], Any]) -> Split:
        images = make_split(open_images(), rows, labels).images
        if images.ndim != 4:
            raise InputError(
                f"compose={request.compose!r} puts images together, and {raw.name} has none; choose image data"
            )
        joined, target, groups = compose_split(
            images, labels, plan, number=number, seed=request.seed, what=what, unseen=what == "test"
        )
        return Split(joined, target, groups=groups if what == "test" else {})

    (rows, labels), test = (raw.train.at(train[0]), train[1]), (raw.test.at(test[0]), test[1])
    number = len(rows) if request.num_train is None else request.num_train
    number_test = len(test[0]) if request.num_test is None else request.num_test
    check_pairs(test[1], plan, number=number_test, what="test", unseen=True)  # now, not after training
    kept, held_out = split_validation(labels, request.validation, names=names, seed=request.seed)
    taken = round(request.validation * number)
    learned = pairs(rows[kept], labels[kept], number - taken, "train", raw.train.open_images)
    chosen = (
        pairs(rows[held_out], labels[held_out], taken, "validation", raw.train.open_images) if len(held_out) else None
    )
    pair_names = tuple(f"{names[a]} | {names[b]}" for a in plan.first for b in plan.second)
    test_labels = np.repeat(
        np.arange(plan.num_pairs), balanced_quota(np.full(plan.num_pairs, number_test), number_test)
    )
    return _make_data(
        raw, pair_names, learned, chosen, test_labels, lambda: pairs(*test, number_test, "test", raw.test.open_images)
    )


def _take(
    rows: np.ndarray, labels: np.ndarray, number: int | None, num_classes: int, seed: int, what: str
) -> tuple[np.ndarray, np.ndarray]:
    """A class-balanced subset of rows and their labels, or all of them."""
    if number is None:
        return rows, labels
    index = balanced_subset(labels, number, num_classes=num_classes, seed=seed, what=what)
    return rows[index], labels[index]


def _take_by_class(
    labels: np.ndarray, groups: Sequence[Sequence[int]], number: int | None, seed: int, what: str
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and their group, balanced over the source's classes; of each class the same images whatever the groups are."""
    rows, target = relabel(labels, groups)
    if number is None:
        return rows, target
    chosen = subset_of_classes(labels, sorted(k for group in groups for k in group), number, seed=seed, what=what)
    kept = np.isin(rows, chosen, assume_unique=True)
    return rows[kept], target[kept]


def make_split(images: Any, rows: np.ndarray, labels: np.ndarray) -> Split:
    """In memory where it fits, otherwise rows of the mapped file. ``images``: a tensor, an array or a memmap."""
    target = torch.from_numpy(labels)
    if isinstance(images, torch.Tensor):
        return Split(images[torch.from_numpy(rows)], target)
    if isinstance(images, np.memmap) and len(rows) * images[0].nbytes > IN_MEMORY_BYTES:
        return Split(images, target, rows=torch.from_numpy(rows))
    return Split(torch.from_numpy(np.asarray(images)[rows]), target)
