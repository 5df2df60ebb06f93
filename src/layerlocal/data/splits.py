"""Splits in memory → a task, once they are seen to belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from layerlocal.data.bundle import Data, SealedTest, Split, pixel_statistics
from layerlocal.types import InputError

__all__ = ["data_from_splits", "refuse_unlike"]


def data_from_splits(
    name: str,
    train: Split,
    test: Split,
    *,
    validation: Split | None = None,
    class_names: Sequence[str] | None = None,
) -> Data:
    """A task from splits of your own: labels 0..K-1, K read from the training labels; of tokens K is the vocabulary.

    Args:
        name: for reports.
        train: what is learned from; normalization is taken from it. Its tokens and their labels are numbers of one vocabulary.
        test: goes under seal.
        validation: for choices; None for none.
        class_names: K different names; None: the numbers.

    Raises:
        InputError: an empty split, samples of another shape or type than the training split's, numbers that are not finite, a class
            without training sample, labels outside 0..K-1, another number of names than K, a name given twice.
    """
    given = {"train": train, "test": test} | ({} if validation is None else {"validation": validation})
    for what, split in given.items():
        if not isinstance(split, Split):
            raise InputError(f"{what} must be a Split, got {type(split).__name__}; make one: Split(images, labels)")
        if len(split) == 0:
            raise InputError(f"the {what} split is empty; give it samples" + " or None" * (what == "validation"))
        _refuse_not_finite(what, split)
    num_classes = _count_classes(train)
    for what, split in given.items():
        refuse_unlike(what, split, train, num_classes)
    mean, std = pixel_statistics(train)
    shares = test.labels.flatten().bincount() / test.labels.numel()
    return Data(
        name=name,
        train=train,
        validation=validation,
        num_classes=num_classes,
        class_names=_names(class_names, num_classes),
        mean=mean,
        std=std,
        chance=float(shares.max()),
        provenance={"source": "splits given in memory"},
        sealed_test=SealedTest(lambda: test),
        vocabulary=num_classes if train.tokens else None,
    )


def refuse_unlike(what: str, split: Split, train: Split, num_classes: int) -> None:
    """Refuse a split that does not belong to the training split.

    Raises:
        InputError: samples of another shape or type, or labels outside 0..K-1.
    """
    if split.sample_shape != train.sample_shape:
        raise InputError(
            f"samples of the {what} split are {split.sample_shape}, those of the training split {train.sample_shape}"
        )
    if (held := _kind(split)) != (wanted := _kind(train)):
        raise InputError(f"the {what} split holds {held}, the training split {wanted}; give both alike")
    if len(split) and not (int(split.labels.min()) >= 0 and int(split.labels.max()) < num_classes):
        raise InputError(
            f"labels of the {what} split go from {int(split.labels.min())} to {int(split.labels.max())}, "
            f"but the training split has {num_classes} classes, 0 to {num_classes - 1}"
        )


def _kind(split: Split) -> str:
    return "tokens" if split.tokens else "uint8 pixels" if split.pixels else "float32 numbers"


def _count_classes(train: Split) -> int:
    """K, every class with a training sample; of tokens their vocabulary, every one up to the largest."""
    if train.tokens:
        return max(2, 1 + max(int(train.labels.max()), int(train.images.max())))
    lowest, highest = int(train.labels.min()), int(train.labels.max())
    if lowest < 0:
        raise InputError(f"training labels must be 0..K-1, got {lowest}; renumber them")
    found = torch.unique(train.labels)
    if len(found) <= highest:
        missing = next(k for k, label in enumerate([*found.tolist(), -1]) if k != label)
        raise InputError(
            f"class {missing} has no training sample, though labels go up to {highest}; add some, or renumber the labels without gaps"
        )
    if highest < 1:
        raise InputError("a classifier needs at least 2 classes, got 1: every training label is 0")
    return highest + 1


def _names(names: Any, num_classes: int) -> tuple[str, ...]:
    if names is None:
        return tuple(map(str, range(num_classes)))
    found = tuple(names) if isinstance(names, Sequence) and not isinstance(names, str) else ()
    if len(found) != num_classes or not all(isinstance(name, str) for name in found):
        raise InputError(
            f"class_names must be {num_classes} names, one for each class of the training labels, got {names!r}"
        )
    twice = next((name for name in found if found.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"class_names has {twice!r} twice; give each class a name of its own")
    return found


def _refuse_not_finite(what: str, split: Split) -> None:
    if split.pixels:
        return
    for rows in torch.arange(len(split), device=split.labels.device).split(4096):
        bad = ~split.gather(rows).images.flatten(1).isfinite().all(1)
        if bool(bad.any()):
            row = int(rows[bad.nonzero()[0]])
            raise InputError(
                f"sample {row} of the {what} split holds numbers that are not finite; remove or replace it"
            )
