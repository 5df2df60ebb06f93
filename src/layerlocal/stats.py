"""Paired differences and intervals: arrays in, plain numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from scipy import stats

__all__ = ["Estimate", "estimate", "paired_difference"]


class Estimate(TypedDict):
    """A mean with its two-sided Student-t interval; no interval (``None``) for fewer than two values."""

    mean: float
    low: float | None
    high: float | None
    n: int
    values: list[float]


def estimate(values: Sequence[float], *, level: float = 0.95) -> Estimate:
    """Mean and Student-t interval over independent values (seeds).

    Args:
        values: n ≥ 1 finite numbers.
        level: coverage, in (0, 1).

    Raises:
        ValueError: no values, a value that is not finite, or a level outside (0, 1).
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise ValueError(f"an estimate needs one or more finite values, got {list(values)}")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    mean = float(array.mean())
    if array.size < 2:
        return Estimate(mean=mean, low=None, high=None, n=1, values=array.tolist())
    half = float(stats.t.ppf((1 + level) / 2, array.size - 1) * array.std(ddof=1) / np.sqrt(array.size))
    return Estimate(mean=mean, low=mean - half, high=mean + half, n=int(array.size), values=array.tolist())


def paired_difference(left: Sequence[float], right: Sequence[float], *, level: float = 0.95) -> Estimate:
    """Estimate of ``left − right`` where entry i of both has the same seed.

    Raises:
        ValueError: different lengths, or values as in `estimate`.
    """
    if len(left) != len(right):
        raise ValueError(f"a paired difference needs as many values on both sides, got {len(left)} and {len(right)}")
    return estimate([a - b for a, b in zip(left, right, strict=True)], level=level)
