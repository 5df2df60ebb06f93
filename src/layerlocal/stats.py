"""Intervals, tests, power and regression: arrays in, plain numbers out.

Tests take n ≥ 2 independent values (seeds), each already a paired difference where a difference is asked about. Values that differ by
no more than rounding (1e-12, or that share of their size) count as equal: without spread a test's p is its limit, 0 or 1, and 1 where the
mean is the threshold.

``images`` is the standard error that test images which all seeds share add to a mean, in the unit of the values (`layerlocal.sampling`,
which has the model): both parts of the error are put side by side, half² = (t·s/√n)² + (z·images)². Where it is left out all is over
seeds alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Estimate", "Side", "bootstrap_p", "estimate", "holm", "one_sided_p", "paired_difference", "r_squared", "regress", "samples_needed",
    "sd_interval", "spread",
]  # fmt: skip

Side = Literal["greater", "less"]
Over = Literal["seeds and images", "seeds of all cells", "seeds of all cells and images"]
Array = NDArray[np.float64]
FARTHEST = 37.0
"""Standard errors beyond which a normal p is no number any more."""
ROUNDING = 1e-12
"""Differences up to this, or up to this share of the values, are rounding, not spread."""


class Estimate(TypedDict):
    """A mean with its two-sided interval; no interval (``None``) for fewer than two values. ``over``: what it is over, where not seeds alone."""

    mean: float
    low: float | None
    high: float | None
    n: int
    values: list[float]
    over: NotRequired[Over]


def _special() -> Any:
    """SciPy's distributions, half a second of CPU that planning and listing need not wait for."""
    from scipy import special

    return special


def estimate(
    values: Sequence[float],
    *,
    level: float = 0.95,
    images: float | None = None,
    pooled: tuple[float, int] | None = None,
) -> Estimate:
    """Mean and interval over independent values (seeds), by Student's t; with ``images`` over seeds and test images.

    Args:
        values: n ≥ 1 finite numbers.
        level: coverage, in (0, 1).
        images: standard error that shared test images add, ≥ 0.
        pooled: standard deviation of a value and its degrees of freedom, of several cells together (`layerlocal.sampling.pooled_spread`); the
            larger one of it and the values' own counts.

    Raises:
        ValueError: no values, a value that is not finite, or a level outside (0, 1).
    """
    array = _finite(values, 1, "an estimate")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level}")
    mean = float(array.mean())
    if array.size < 2:
        return Estimate(mean=mean, low=None, high=None, n=1, values=array.tolist())
    sd, df = float(array.std(ddof=1)), int(array.size) - 1
    if pooled is not None:
        sd, df = max(sd, pooled[0]), pooled[1]
    half = float(_special().stdtrit(df, (1 + level) / 2) * sd / np.sqrt(array.size))
    half = half if not images else math.hypot(half, float(_special().ndtri((1 + level) / 2)) * images)
    found = Estimate(mean=mean, low=mean - half, high=mean + half, n=int(array.size), values=array.tolist())
    over = _over(images is not None, pooled is not None)
    return found if over is None else {**found, "over": over}


def _over(images: bool, cells: bool) -> Over | None:
    if cells:
        return "seeds of all cells and images" if images else "seeds of all cells"
    return "seeds and images" if images else None


def paired_difference(left: Sequence[float], right: Sequence[float], *, level: float = 0.95) -> Estimate:
    """Estimate of ``left − right`` where entry i of both has the same seed.

    Raises:
        ValueError: different lengths, or values as in `estimate`.
    """
    if len(left) != len(right):
        raise ValueError(f"a paired difference needs as many values on both sides, got {len(left)} and {len(right)}")
    return estimate([a - b for a, b in zip(left, right, strict=True)], level=level)


def spread(values: Sequence[float]) -> tuple[float, float]:
    """(mean, sample standard deviation) of n ≥ 2 finite values; exactly (value, 0) where they differ by rounding only.

    Raises:
        ValueError: fewer than two values, or one that is not finite.
    """
    return _mean_and_sd(_finite(values, 2, "a test"))


def sd_interval(sd: float, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Interval of the true standard deviation behind a sample one, by the chi-square law of (n − 1) · s² / σ² (normal values).

    Three values, with their two degrees of freedom, know it no closer than from 0.52 to 6.28 times the sample's.

    Args:
        sd: of the sample, ≥ 0.
        n: values, ≥ 2.
        level: coverage, in (0, 1).

    Raises:
        ValueError: a negative sd, fewer than two values, or a level outside (0, 1).
    """
    if not sd >= 0 or n < 2 or not 0 < level < 1:
        raise ValueError(f"need sd ≥ 0, two or more values and a level in (0, 1), got {sd}, {n} and {level}")
    tail = (1 - level) / 2
    low, high = (sd * math.sqrt((n - 1) / float(_special().chdtri(n - 1, beyond))) for beyond in (tail, 1 - tail))
    return low, high


def one_sided_p(
    values: Sequence[float], threshold: float = 0.0, *, side: Side = "greater", images: float = 0.0
) -> float:
    """One-sample Student-t test of one side (Student 1908); with ``images`` the one whose p is 5 % where `estimate` at 90 % ends.

    Args:
        values: n ≥ 2 finite numbers.
        threshold: θ0, what their mean is held against.
        side: ``"greater"`` rejects H0: θ ≤ θ0; ``"less"`` rejects H0: θ ≥ θ0.
        images: standard error that shared test images add, ≥ 0.

    Returns:
        p in [0, 1].

    Raises:
        ValueError: fewer than two values, one that is not finite, or an unknown side.
    """
    mean, sd = spread(values)
    distance = _distance(mean, threshold, side)
    if images > 0:
        return _p_of_both(distance, sd / math.sqrt(len(values)), len(values) - 1, images)
    if sd == 0:
        return 0.0 if distance > 0 else 1.0
    return float(_special().stdtr(len(values) - 1, -distance / (sd / math.sqrt(len(values)))))


def _p_of_both(distance: float, error: float, df: int, images: float) -> float:
    """The p at which the one-sided bound of both parts, √((t·error)² + (z·images)²), is as far away as the threshold."""
    if distance < 0:
        return 1 - _p_of_both(-distance, error, df, images)
    special, low, high = _special(), 0.0, FARTHEST
    for _ in range(60):
        z = (low + high) / 2
        t = -float(special.stdtrit(df, special.ndtr(-z))) if error else 0.0
        low, high = (z, high) if math.hypot(t * error, z * images) < distance else (low, z)
    return float(special.ndtr(-low))


def bootstrap_p(
    values: Sequence[float],
    threshold: float = 0.0,
    *,
    side: Side = "greater",
    draws: int = 9999,
    seed: int = 0,
    images: float = 0.0,
) -> float:
    """Studentized (bootstrap-t) test of one side (Efron & Tibshirani 1993, ch. 12 and 16; Davison & Hinkley 1997, ch. 4).

    The t statistic's null distribution is that of t* = (mean* − mean) / se* over resamples, so no normal law is assumed. A resample
    without spread counts as ±∞ (0 if its mean is the sample's). Useful from about six values; with so few, p below about 0.001 is rare. With
    ``images`` every resample gets a normal error of the images too, and both statistics are over √(se² + images²).

    Args:
        values: n ≥ 2 finite numbers.
        threshold: θ0, what their mean is held against.
        side: as in `one_sided_p`.
        draws: resamples, ≥ 1.
        seed: of the resamples: equal arguments give an equal p.
        images: standard error that shared test images add, ≥ 0.

    Returns:
        p in [1 / (draws + 1), 1]; without any spread 0 or 1.

    Raises:
        ValueError: no draws, or values and side as in `one_sided_p`.
    """
    if draws < 1:
        raise ValueError(f"a bootstrap needs one or more draws, got {draws}")
    array = _finite(values, 2, "a test")
    mean, sd = _mean_and_sd(array)
    distance = _distance(mean, threshold, side)
    if sd == 0:
        return _p_of_both(distance, 0.0, 1, images) if images > 0 else 0.0 if distance > 0 else 1.0
    shared = images / sd
    observed = distance / sd / math.sqrt(1 / array.size + shared**2)
    drawn = _resampled_t(tuple((array - mean) / sd), draws, seed, shared)
    beyond = np.count_nonzero(drawn >= observed if side == "greater" else drawn <= -observed)
    return float((1 + beyond) / (draws + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Holm 1979): rejecting where the adjusted p ≤ α keeps the family-wise error rate at α.

    Args:
        p_values: any number of p in [0, 1], dependent or not.

    Returns:
        Adjusted p in the same order, each in [p, 1].

    Raises:
        ValueError: a value outside [0, 1].
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"p values lie in [0, 1], got {list(p_values)}")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def samples_needed(
    distances: float | Sequence[float],
    sd: float,
    *,
    alpha: float,
    power: float = 0.8,
    cap: int = 10_000,
    images: float = 0.0,
) -> int | None:
    """Fewest values at which a one-sided t test has the wanted power, by the noncentral t distribution (Cohen 1988).

    Args:
        distances: of the true mean from the threshold, on the side to be shown (≤ 0: never shown); or one for each of several tests that
            all have to reject, as for TOST, where the power is bounded from below by 1 − Σ (1 − power of each).
        sd: of one value, ≥ 0.
        alpha: level of each one-sided test, in (0, 1).
        power: wanted, in (0, 1).
        cap: largest answer.
        images: standard error that shared test images add, which no seed takes away; the power is then approximate (normal, the spread known).

    Returns:
        n in [2, cap], or ``None`` where more would be needed or no number is enough.

    Raises:
        ValueError: a negative sd, or a level or power outside (0, 1).
    """
    from scipy import stats  # a second of CPU that no other answer here needs

    if not sd >= 0 or not 0 < alpha < 1 or not 0 < power < 1:
        raise ValueError(f"need sd ≥ 0 and alpha and power in (0, 1), got {sd}, {alpha} and {power}")
    needed = [distances] if isinstance(distances, int | float) else list(distances)
    if not all(distance > 0 for distance in needed):
        return None
    if sd == 0 and not images:
        return 2

    def enough(n: int) -> bool:
        if images:
            error, ends = sd / math.sqrt(n), (stats.t.isf(alpha, n - 1), stats.norm.isf(alpha))
            bound, total = math.hypot(ends[0] * error, ends[1] * images), math.hypot(error, images)
            return bool(1 - sum(stats.norm.sf((distance - bound) / total) for distance in needed) >= power)
        critical = stats.t.isf(alpha, n - 1)
        misses = [stats.nct.cdf(critical, n - 1, distance / sd * math.sqrt(n)) for distance in needed]
        return bool(1 - sum(misses) >= power)

    low, high = 1, 2
    while not enough(high):
        if high >= cap:
            return None
        low, high = high, min(2 * high, cap)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def regress(columns: Mapping[str, Sequence[float]], y: Sequence[float]) -> dict[str, float]:
    """Ordinary least squares with an intercept.

    Args:
        columns: name → n finite numbers; at least one column.
        y: n finite numbers, n > number of columns.

    Returns:
        ``"intercept"`` and each column's coefficient, in the units of y per unit of the column.

    Raises:
        ValueError: no column, lengths that differ, too few rows, a column named ``"intercept"``, or columns of which one is a linear
            combination of the others (a constant one is, of the intercept).
    """
    design, centres, scales, target = _design(columns, y)
    slopes = _solve(design, target) / scales
    intercept = float(target.mean() - centres @ slopes)
    return {"intercept": intercept, **{name: float(slope) for name, slope in zip(columns, slopes, strict=True)}}


def r_squared(columns: Mapping[str, Sequence[float]], y: Sequence[float]) -> float:
    """Share of the variance of ``y`` that `regress` explains, in [0, 1].

    Raises:
        ValueError: as in `regress`, or a ``y`` without spread.
    """
    design, _, _, target = _design(columns, y)
    mean, sd = _mean_and_sd(target)
    if sd == 0:
        raise ValueError("a y without spread has no variance to explain")
    residual = target - mean - design @ _solve(design, target)
    return float(np.clip(1 - residual @ residual / ((target - mean) @ (target - mean)), 0, 1))


def _finite(values: Sequence[float], least: int, what: str) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size < least or not np.isfinite(array).all():
        raise ValueError(f"{what} needs {'one' if least == 1 else 'two'} or more finite values, got {list(values)}")
    return array


def _mean_and_sd(array: Array) -> tuple[float, float]:
    if np.ptp(array) <= ROUNDING * max(1.0, float(np.abs(array).max())):
        return float(array[0]), 0.0
    return float(array.mean()), float(array.std(ddof=1))


def _distance(mean: float, threshold: float, side: str) -> float:
    """How far the mean lies on the side asked about, 0 within rounding."""
    if side not in ("greater", "less"):
        raise ValueError(f"side is 'greater' or 'less', got {side!r}")
    if math.isclose(mean, threshold, rel_tol=ROUNDING, abs_tol=ROUNDING):
        return 0.0
    return mean - threshold if side == "greater" else threshold - mean


@lru_cache(maxsize=8)
def _resample_weights(n: int, draws: int, seed: int) -> Array:
    """(draws, n): the share each value has in each resample."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws) / n


@lru_cache(maxsize=8)
def _resampled_t(values: tuple[float, ...], draws: int, seed: int, shared: float = 0.0) -> Array:
    """(draws,): t* of values with mean 0 and variance 1, with a normal error of standard deviation ``shared`` beside."""
    n, standard = len(values), np.asarray(values)
    weights = _resample_weights(n, draws, seed)
    means = weights @ standard
    variances = np.maximum(weights @ standard**2 - means**2, 0) * n / (n - 1)
    means[np.abs(means) <= ROUNDING] = 0
    if shared > 0:
        error = np.random.default_rng([seed, n]).normal(size=draws)
        both: Array = (means + shared * error) / np.sqrt(variances / n + shared**2)
        return both
    flat = variances <= ROUNDING
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios: Array = means / np.sqrt(variances / n)
    ratios[flat] = np.copysign(np.where(means[flat] == 0, 0, np.inf), means[flat])
    return ratios


def _solve(design: Array, target: Array) -> Array:
    return np.asarray(np.linalg.lstsq(design, target - target.mean(), rcond=ROUNDING)[0], dtype=np.float64)


def _design(columns: Mapping[str, Sequence[float]], y: Sequence[float]) -> tuple[Array, Array, Array, Array]:
    """(rows, columns) centred and scaled, so that units do not matter; the centres; the scales; y."""
    target = _finite(y, 2, "a regression")
    if not columns or "intercept" in columns:
        raise ValueError("a regression needs one or more columns, none of them named 'intercept'")
    found = [_finite(values, 2, f"column {name!r}") for name, values in columns.items()]
    if any(len(values) != len(target) for values in found):
        raise ValueError(f"every column needs as many rows as y, {len(target)}")
    if len(target) <= len(found):
        raise ValueError(f"too few rows: {len(target)} for {len(found) + 1} coefficients")
    matrix = np.column_stack(found)
    centres, scales = matrix.mean(0), np.abs(matrix).max(0)
    design = (matrix - centres) / np.where(scales == 0, 1, scales)
    if np.linalg.matrix_rank(design, tol=1e-10) < len(found):
        names = ", ".join(columns)
        raise ValueError(f"collinear columns: one of {names} is constant or a linear combination of the others")
    return design, centres, scales, target
