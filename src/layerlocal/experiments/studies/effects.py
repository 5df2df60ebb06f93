"""How much of a difference follows which factor: slopes and regressions within each seed, so that intervals are over seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log2

from layerlocal.stats import r_squared, regress
from layerlocal.summary import Row

__all__ = ["contrast", "doublings", "effects_by_seed", "explained", "ratio_of_means", "slopes"]

Factor = Callable[[Row], float]


def doublings(axis: str) -> Factor:
    """log2 of a column: a slope against it is the change per doubling."""
    return lambda row: log2(row[axis])


def effects_by_seed(rows: Sequence[Row], key: str, factors: Mapping[str, Factor]) -> dict[str, dict[int, float]]:
    """Least squares of a column on the factors, fitted in each seed alone: factor → seed → coefficient.

    A seed with too few rows, or whose factors do not vary apart, is left out.
    """
    found: dict[str, dict[int, float]] = {name: {} for name in factors}
    for seed in dict.fromkeys(row["seed"] for row in rows):
        part = [row for row in rows if row["seed"] == seed and row.get(key) is not None]
        try:
            fitted = regress(
                {name: [of(row) for row in part] for name, of in factors.items()}, [row[key] for row in part]
            )
        except ValueError:
            continue
        for name in factors:
            found[name][seed] = fitted[name]
    return found


def slopes(rows: Sequence[Row], key: str, axis: str) -> dict[int, float]:
    """Change of a column per doubling of an axis, seed by seed."""
    return effects_by_seed(rows, key, {axis: doublings(axis)})[axis]


def contrast(left: Mapping[int, float], right: Mapping[int, float]) -> dict[int, float]:
    """``left − right`` for the seeds that both have."""
    return {seed: left[seed] - right[seed] for seed in left if seed in right}


def explained(columns: Mapping[str, Sequence[float]], y: Sequence[float]) -> float | None:
    """Share of the variance of ``y`` that the columns explain together; ``None`` where it does not vary or they do not."""
    try:
        return r_squared(columns, y)
    except ValueError:
        return None


def ratio_of_means(numerator: Mapping[int, float], denominator: Mapping[int, float]) -> dict[int, float]:
    """Mean of one column over mean of another as jackknife pseudo-values n·R − (n − 1)·R₋ᵢ, one a seed (Quenouille 1956).

    Their mean estimates the ratio and their spread its error, so that intervals and tests over seeds apply; no seed has to be left out for
    a small denominator of its own. With one seed it is the plain ratio. Empty where a mean that is divided by is 0.
    """
    seeds = [seed for seed in numerator if seed in denominator]
    number = len(seeds)
    tops, bottoms = [numerator[seed] for seed in seeds], [denominator[seed] for seed in seeds]
    try:
        whole = sum(tops) / sum(bottoms)
        if number == 1:
            return {seeds[0]: whole}
        parts = [(sum(tops) - top) / (sum(bottoms) - bottom) for top, bottom in zip(tops, bottoms, strict=True)]
    except ZeroDivisionError:
        return {}
    return {seed: number * whole - (number - 1) * part for seed, part in zip(seeds, parts, strict=True)}
