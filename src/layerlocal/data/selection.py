"""Which rows belong to which split: classes, class-balanced subsets, the validation split. Labels in, rows out."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

import numpy as np

from layerlocal.types import InputError, derive_seed, unknown_name

__all__ = [
    "balanced_quota",
    "balanced_subset",
    "check_classes",
    "choose_classes",
    "relabel",
    "split_test",
    "split_validation",
    "subset_of_classes",
]


def choose_classes(names: Sequence[str], classes: int | Sequence[int | str] | None, *, seed: int) -> list[int]:
    """Indices of the chosen classes, ascending.

    Args:
        names: all class names, by index.
        classes: None for all, a number K to draw K of them by ``seed``, or indices and names.
        seed: of the draw.

    Raises:
        InputError: more classes than there are, an index or a name that is not known, a class given twice.
    """
    if classes is None:
        return list(range(len(names)))
    if isinstance(classes, int):
        if not 2 <= classes <= len(names):
            most = "2" if len(names) == 2 else f"2 to {len(names)}"
            raise InputError(f"classes={classes} is not possible: the data has {len(names)} classes, take {most}")
        rng = np.random.default_rng(derive_seed(seed, "classes"))
        return sorted(rng.permutation(len(names))[:classes].tolist())
    if isinstance(classes, str):
        raise InputError(f"classes={classes!r} must be a number or a list, e.g. classes=[{classes!r}, …]")
    chosen = [_class_index(names, item) for item in classes]
    if len(set(chosen)) < len(chosen):
        raise InputError(f"classes={list(classes)} names a class twice; name each once")
    if len(chosen) < 2:
        raise InputError(f"classes={list(classes)} is too few to classify: name at least two")
    return sorted(chosen)


def _class_index(names: Sequence[str], item: int | str) -> int:
    if isinstance(item, str):
        if item in names:
            return list(names).index(item)
        raise unknown_name("class", item, names)
    if not 0 <= item < len(names):
        raise InputError(f"class index {item} does not exist: the data has {len(names)} classes, 0 to {len(names) - 1}")
    return int(item)


def relabel(labels: np.ndarray, groups: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose label is in one of the groups, and the position of that group as their label 0..G-1; both int64."""
    size = max(int(labels.max(initial=0)), *(max(group) for group in groups)) + 1
    table = np.full(size, -1, dtype=np.int64)
    for position, group in enumerate(groups):
        table[np.asarray(group)] = position
    new = table[labels]  # (N,)
    rows = np.flatnonzero(new >= 0)
    return rows, new[rows]


def check_classes(train_labels: np.ndarray, test_labels: np.ndarray, names: Sequence[str], *, where: str) -> None:
    """Refuse data in which a class has no training image, or the test split is empty, and data of one class."""
    if len(names) < 2:
        raise InputError(f"{where} has one class, {', '.join(map(repr, names))}; a classifier needs at least 2")
    train = np.bincount(train_labels, minlength=len(names))
    test = np.bincount(test_labels, minlength=len(names))
    for index, name in enumerate(names):
        if train[index] == 0 and test[index] > 0:
            raise InputError(
                f"class {name!r} is in the test split of {where} but the training split lacks it; "
                "add training images or leave the class out with classes=[…]"
            )
        if train[index] == 0:
            raise InputError(
                f"class {name!r} of {where} has no images; add some or leave the class out with classes=[…]"
            )
    if test.sum() == 0:
        raise InputError(f"the test split of {where} has no images of the chosen classes; add some")


def balanced_quota(available: np.ndarray, number: int) -> np.ndarray:
    """How many to take of each class, (K,): ``number`` in all, as equal as ``available`` allows."""
    quota = np.zeros_like(available)
    left = number
    while left > 0:
        room = np.flatnonzero(available > quota)
        share = max(left // len(room), 1)
        for index in room[:left] if left < len(room) else room:
            take = min(share, int(available[index] - quota[index]))
            quota[index] += take
            left -= take
    return quota


def balanced_subset(labels: np.ndarray, number: int, *, num_classes: int, seed: int, what: str) -> np.ndarray:
    """Rows, ascending, of a class-balanced random subset of ``number`` images.

    With one seed a smaller subset of balanced classes lies inside a larger one.

    Raises:
        InputError: fewer than one image a class asked for, or more than there are.
    """
    if number < num_classes:
        raise InputError(
            f"num_{what}={number} is too few for {num_classes} classes; ask for at least one image a class"
        )
    if number > len(labels):
        raise InputError(f"num_{what}={number} is more than the {len(labels)} images there are; ask for fewer")
    quota = balanced_quota(np.bincount(labels, minlength=num_classes), number)
    return _draw(labels, quota, derive_seed(seed, "subset", what))


def subset_of_classes(labels: np.ndarray, classes: Sequence[int], number: int, *, seed: int, what: str) -> np.ndarray:
    """Rows, ascending: ``number`` images, balanced over some of the classes. A class's images come in an order of its own, so two
    subsets with equally many of a class have the same ones; over all classes it is `balanced_subset`.

    Raises:
        InputError: as `balanced_subset`.
    """
    available = np.bincount(labels, minlength=max(classes) + 1)
    available[np.setdiff1d(np.arange(len(available)), classes)] = 0
    if number < len(classes):
        raise InputError(
            f"num_{what}={number} is too few for {len(classes)} classes; ask for at least one image a class"
        )
    if number > available.sum():
        raise InputError(f"num_{what}={number} is more than the {available.sum()} images there are; ask for fewer")
    return _draw(labels, balanced_quota(available, number), derive_seed(seed, "subset", what))


def split_validation(
    labels: np.ndarray, share: float, *, names: Sequence[str], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the training split and of the validation split, both ascending; stratified by class.

    Each class gives ``share`` of its images, rounded, at least one, and keeps at least one.

    Raises:
        InputError: a share outside 0..1 (1 excluded), a class with too few images to be split.
    """
    if isinstance(share, bool) or not isinstance(share, Real) or not 0 <= share < 1:
        raise InputError(
            f"validation={share!r} must be a number of at least 0 and below 1, the share of the training images"
        )
    if share == 0:
        return np.arange(len(labels)), np.empty(0, dtype=np.int64)
    if (name := _single(labels, names)) is not None:
        raise InputError(
            f"class {name!r} has only 1 training image, too few for a validation split; add some, leave the class out, or pass validation=0"
        )
    return _split_by_class(labels, share, num_classes=len(names), seed=derive_seed(seed, "validation"))


def split_test(labels: np.ndarray, share: float, *, names: Sequence[str], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the training split and of a test split drawn from the same images, both ascending; by class as `split_validation`.

    Raises:
        InputError: a class with too few images to be split.
    """
    if (name := _single(labels, names)) is not None:
        raise InputError(
            f"class {name!r} has only 1 image, too few to draw a test split; add some or take the class out of the data"
        )
    return _split_by_class(labels, share, num_classes=len(names), seed=derive_seed(seed, "test split"))


def _single(labels: np.ndarray, names: Sequence[str]) -> str | None:
    """The first class that has one image."""
    counts = np.bincount(labels, minlength=len(names))
    return next((names[index] for index in np.flatnonzero(counts == 1).tolist()), None)


def _split_by_class(labels: np.ndarray, share: float, *, num_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    counts = np.bincount(labels, minlength=num_classes)
    quota = np.clip(np.floor(counts * share + 0.5).astype(np.int64), np.minimum(counts, 1), np.maximum(counts - 1, 0))
    held_out = _draw(labels, quota, seed)
    return np.setdiff1d(np.arange(len(labels)), held_out, assume_unique=True), held_out


def _draw(labels: np.ndarray, quota: np.ndarray, seed: int) -> np.ndarray:
    """Rows, ascending: the first ``quota[k]`` of class k in a random order given by the seed."""
    order = np.random.default_rng(seed).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=len(quota)))])
    picked = [by_class[starts[k] : starts[k] + quota[k]] for k in range(len(quota))]
    return np.sort(np.concatenate(picked))
