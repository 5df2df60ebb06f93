"""Arrays in memory → a task: labels of any kind, images in any order of axes, normalization from the training rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from layerlocal.data.bundle import Data, SealedTest, Split, pixel_statistics
from layerlocal.data.labels import to_numpy, unique_labels
from layerlocal.data.selection import split_validation
from layerlocal.options import seed_number
from layerlocal.types import InputError, first_line

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["as_samples", "data_from_arrays"]


def data_from_arrays(
    X: ArrayLike | Tensor, y: ArrayLike | Tensor, *, validation: float = 0.1, seed: int = 0, name: str = "arrays"
) -> Data:
    """A task from arrays. It has no test split: `Data.take_test` refuses.

    Args:
        X: samples as `as_samples` takes them; uint8 images are normalized as pixels, other numbers to mean 0 and deviation 1, by channel
            or feature, from the training rows. The same values as another type give the same model, up to rounding.
        y: (N,) or (N, 1) labels of at least two classes: whole numbers, text, true and false, or whatever can be sorted. ``class_names``
            holds them in order, as text.
        validation: share of the rows held out for choices, stratified by class, in [0, 1).
        seed: of that split.
        name: for reports.

    Raises:
        InputError: shapes that do not fit, numbers that are not finite, labels that are missing or real numbers, one class only, a class
            of one row where some of each are held out.

    Example:
        >>> data = data_from_arrays([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0], [6.0, 1.0]], ["b", "a", "b", "a"], validation=0)
        >>> data.class_names, data.train.labels.tolist(), data.mean.tolist()
        (('a', 'b'), [1, 0, 1, 0], [3.0, 1.0])
    """
    samples = as_samples(X)
    classes, labels = unique_labels(y, len(samples))
    names = tuple(map(str, classes.tolist()))
    kept, held_out = split_validation(labels, validation, names=names, seed=seed_number(seed))
    splits = [
        Split(samples[torch.from_numpy(rows)], torch.from_numpy(labels[rows]).to(torch.int64))
        for rows in (kept, held_out)
    ]
    mean, std = pixel_statistics(splits[0]) if samples.dtype == torch.uint8 else _statistics(splits[0].images)
    return Data(
        name=name,
        train=splits[0],
        validation=splits[1] if len(held_out) else None,
        num_classes=len(classes),
        class_names=names,
        mean=mean,
        std=std,
        chance=float(np.bincount(labels).max() / len(labels)),
        provenance={"source": "arrays given in memory"},
        sealed_test=SealedTest(_no_test_split),
    )


def as_samples(X: ArrayLike | Tensor) -> Tensor:
    """Vectors (N, D) as float32; images as uint8 or float32 (N, C, H, W).

    Images may be (N, C, H, W), (N, H, W, C) or, with one channel, (N, H, W); they are square, so that the sides tell the order of the
    axes. uint8 images stay as they are: pixels 0..255.

    Raises:
        InputError: no sample, another number of axes, images that are not square, numbers that are not finite.
    """
    try:
        array = to_numpy(X)
        if array.dtype.kind == "O" and array.ndim > 1:  # pandas keeps columns of numbers so where their types differ
            array = array.astype(np.float64)
    except (ValueError, TypeError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"samples must be one array of numbers: {first_line(error)}") from error
    if array.dtype.kind not in "buif":
        raise InputError(f"samples must be numbers, got {_kind_of(array)}; turn categories into numbers first")
    if array.ndim not in (2, 3, 4) or 0 in array.shape:
        raise InputError(
            f"samples must be vectors (N, D) or images (N, C, H, W), (N, H, W, C) or (N, H, W), got shape {array.shape}"
        )
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[2] != array.shape[3] and array.shape[1] == array.shape[2]:
        array = np.moveaxis(array, 3, 1)
    if array.ndim == 4 and array.shape[2] != array.shape[3]:
        raise InputError(f"images must be square, got shape {array.shape}; crop or pad them")
    if array.ndim == 4 and array.dtype == np.uint8:
        return torch.from_numpy(np.require(array, requirements=["C", "W"]))
    with np.errstate(over="ignore"):
        found = torch.from_numpy(np.require(array, np.float32, ["C", "W"]))
    if not bool(found.isfinite().all()):
        raise InputError("samples hold numbers that are not finite (or too large for float32); remove or replace them")
    return found


def _kind_of(array: np.ndarray) -> str:
    if array.dtype.kind == "O" and array.ndim == 0:
        return type(array.item()).__name__
    return str(array.dtype)


def _statistics(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel or feature; a constant one gets 1 as its deviation."""
    values = samples.double().transpose(0, 1).flatten(1)  # (C or D, ...)
    mean, std = values.mean(1), values.std(1, correction=0)
    constant = std <= 1e-6 * mean.abs()
    return mean.float(), torch.where(constant, torch.ones_like(std), std).float()


def _no_test_split() -> Split:
    raise InputError("these data were made of arrays and have no test split; score held-out arrays yourself")
