"""Labels of any kind → classes 0..K-1, and refusals of what is no label: missing values, real numbers, columns of a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from layerlocal.types import InputError, first_line

__all__ = ["plain_labels", "to_numpy", "unique_labels"]


def unique_labels(y: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The classes (K,), sorted, and which of them each label is, int64 (N,).

    Args:
        y: (N,) or (N, 1); whole numbers, text, true and false, or any values of one kind that can be sorted.
        count: N.

    Raises:
        InputError: another number of labels, several columns, a missing label, a real number, one class only, kinds that do not sort.
    """
    values = _column(plain_labels(y), count)
    _refuse_real_numbers(values)
    try:
        classes, labels = np.unique(values, return_inverse=True)
    except TypeError as error:
        raise InputError(f"labels must be of one kind that can be sorted: {error}") from error
    if len(classes) < 2:
        raise InputError(f"a classifier needs at least 2 classes, got {len(classes)} class: {classes.tolist()}")
    return classes, labels.astype(np.int64, copy=False)


def plain_labels(y: Any) -> np.ndarray:
    """Labels as an array, before NumPy takes a list of text and NaN for text. Shapes are the business of who takes them.

    Raises:
        InputError: a missing label, labels of several kinds.
    """
    try:
        values = np.array([_item(value) for value in y], dtype=object) if isinstance(y, list | tuple) else to_numpy(y)
    except (ValueError, TypeError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"y must hold one label for each sample: {first_line(error)}") from error
    return _plain(values.reshape(-1)).reshape(values.shape) if values.ndim else values


def _refuse_real_numbers(values: np.ndarray) -> None:
    if values.dtype.kind not in "fc":
        return
    real = np.flatnonzero((values != np.rint(values)) | ~np.isfinite(values))
    if len(real) or values.dtype.kind == "c":
        example = values[real[0] if len(real) else 0]
        raise InputError(
            f"labels must be classes, got real numbers such as {example}: a classifier cannot learn those; round or bin them first"
        )


def to_numpy(values: Any) -> np.ndarray:
    """Any array, tensor or nested list as an array, which may share its memory."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().to_dense() if values.layout != torch.strided else values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise InputError("a masked array has entries that are missing; fill them or leave their rows out")
    return np.asarray(values)


def _column(values: np.ndarray, count: int) -> np.ndarray:
    """(N,)."""
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 2 and values.shape[0] == count:
        raise InputError(
            f"y must hold one label for each of the {count} samples, got {values.shape[1]} columns; of one-hot labels give y.argmax(1)"
        )
    if values.shape != (count,):
        raise InputError(f"y must hold one label for each of the {count} samples, got shape {values.shape}")
    return values


def _item(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) and value.ndim == 0 else value


def _plain(values: np.ndarray) -> np.ndarray:
    """Without missing labels, and objects that are all numbers or all text as those."""
    _refuse_first(values, _missing(values))
    if values.dtype.kind != "O":
        return values
    kinds = {_kind(value) for value in values.tolist()}
    if len(kinds) > 1 or kinds & {"list", "dict", "set", "ndarray"}:
        raise InputError(
            f"labels must be numbers, or text, or of one other kind that can be sorted, got {' and '.join(sorted(kinds))}"
        )
    if kinds <= {"text", "numbers"}:
        return np.array(values.tolist())
    return values


def _refuse_first(values: np.ndarray, rows: list[int]) -> None:
    if rows:
        raise InputError(
            f"the label of row {rows[0]} is missing ({values[rows[0]]}); leave such rows out or give them a class of their own"
        )


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "text"
    return "numbers" if isinstance(value, bool | int | float | complex | np.number | np.bool_) else type(value).__name__


def _missing(values: np.ndarray) -> list[int]:
    """Rows of the labels that are None, NaN, NaT or pandas.NA; at most the first."""
    if values.dtype.kind in "fcmM":
        return np.flatnonzero(values != values)[:1].tolist()
    if values.dtype.kind != "O":
        return []
    return next(([row] for row, value in enumerate(values.tolist()) if _is_missing(value)), [])


def _is_missing(value: Any) -> bool:
    if value is None:
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):  # pandas.NA says that it cannot be told
        return type(value).__name__ == "NAType"
