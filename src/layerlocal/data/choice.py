"""Which images of a data set a task takes: classes, subsets, the validation split. By labels alone; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from layerlocal.data.arguments import Request
from layerlocal.data.raw import Raw
from layerlocal.data.selection import (
    balanced_subset,
    check_classes,
    relabel,
    split_validation,
    subset_of_classes,
)
from layerlocal.data.views import draw_groups

__all__ = ["Choice", "Chosen", "choose"]


@dataclass(frozen=True)
class Chosen:
    """Images of a split: ``rows`` (N,) of the raw labels, and ``labels`` (N,) 0..K-1."""

    rows: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: np.ndarray) -> Chosen:
        return Chosen(self.rows[index], self.labels[index])


@dataclass(frozen=True)
class Choice:
    """What of each split is taken; ``names`` of the K classes. With ``compose`` these are the images that pairs are made of."""

    names: tuple[str, ...]
    train: Chosen
    validation: Chosen
    test: Chosen


def choose(raw: Raw, request: Request) -> Choice:
    """Classes, subsets and the validation split.

    Raises:
        InputError: classes that are not there, or more images than there are.
    """
    groups = draw_groups(
        raw.class_names, request.classes, draw=request.draw, superclasses=raw.superclasses, superclass=request.superclass,
        seed=request.seed,
    )  # fmt: skip
    names = tuple(" + ".join(str(raw.class_names[k]) for k in group) for group in groups)
    train, test = (Chosen(*relabel(split.labels, groups)) for split in (raw.train, raw.test))
    check_classes(train.labels, test.labels, names, where=raw.name)
    by, by_names = None, names
    if request.compose is None and request.draw == "any":
        train = _take(train, request.num_train, len(names), request.seed, "train")
        test = _take(test, request.num_test, len(names), request.seed, "test")
    elif (
        request.compose is None
    ):  # images are chosen by the source's classes, so that other labels mean the same images
        train = _take_by_class(raw.train.labels, groups, request.num_train, request.seed, "train")
        test = _take_by_class(raw.test.labels, groups, request.num_test, request.seed, "test")
        by, by_names = raw.train.labels[train.rows], tuple(raw.class_names)
    labels = train.labels if by is None else by
    kept, held_out = split_validation(labels, request.validation, names=by_names, seed=request.seed)
    return Choice(names, train[kept], train[held_out], test)


def _take(all_of_it: Chosen, number: int | None, num_classes: int, seed: int, what: str) -> Chosen:
    """A class-balanced subset, or all."""
    if number is None:
        return all_of_it
    return all_of_it[balanced_subset(all_of_it.labels, number, num_classes=num_classes, seed=seed, what=what)]


def _take_by_class(
    labels: np.ndarray, groups: Sequence[Sequence[int]], number: int | None, seed: int, what: str
) -> Chosen:
    """Balanced over the source's classes; of each class the same images whatever the groups are."""
    found = Chosen(*relabel(labels, groups))
    if number is None:
        return found
    chosen = subset_of_classes(labels, sorted(k for group in groups for k in group), number, seed=seed, what=what)
    return found[np.isin(found.rows, chosen, assume_unique=True)]
