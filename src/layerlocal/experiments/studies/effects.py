"""How much of a difference follows which factor: slopes and regressions within each seed, so that intervals are over seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from math import log2
from typing import Any

from layerlocal.experiments.studies.base import by_seed
from layerlocal.experiments.studies.sampled import BySeed, pair_of, row_shares, weighted_sum
from layerlocal.sampling import Shares, weighted
from layerlocal.stats import r_squared, regress
from layerlocal.summary import Row

__all__ = [
    "Factor",
    "Measure",
    "between",
    "chosen",
    "contrast",
    "doublings",
    "effect",
    "effects_by_seed",
    "explained",
    "factorial_effects",
    "mean",
    "minus",
    "ratio_of_means",
    "slope",
    "slopes",
    "subsets",
]

Factor = Callable[[Row], float]
Measure = Callable[[Sequence[Row]], dict[int, float]]
"""What a rule's rows come to: seed → value, without the seeds that have none. Made by `mean`, `slope`, `effect` and `minus`."""


def chosen(rows: Sequence[Row], at: Mapping[str, Any]) -> list[Row]:
    """The rows whose columns have these values; a tuple of values means any of them."""
    any_of = {key: value if isinstance(value, tuple) else (value,) for key, value in at.items()}
    return [row for row in rows if all(row.get(key) in values for key, values in any_of.items())]


def mean(key: str, **at: Any) -> Measure:
    """Mean of a column where rows are ``at`` (`chosen`)."""
    return lambda rows: by_seed(chosen(rows, at), key)


def between(key: str, axis: str, left: Any, right: Any, **at: Any) -> Measure:
    """A column at one value of an axis minus the same at another, where rows are ``at`` (`chosen`)."""
    return minus(mean(key, **at, **{axis: left}), mean(key, **at, **{axis: right}))


def slope(key: str, axis: str, **at: Any) -> Measure:
    """Change of a column per doubling of an axis where rows are ``at`` (`chosen`)."""
    return lambda rows: slopes(chosen(rows, at), key, axis)


def effect(key: str, factor: str, factors: Mapping[str, Factor], **at: Any) -> Measure:
    """What one of several factors brings to a column, the others equal, where rows are ``at`` (`chosen`)."""
    return lambda rows: effects_by_seed(chosen(rows, at), key, factors)[factor]


def minus(left: Measure, right: Measure) -> Measure:
    """The difference of two measures, for the seeds that have both."""
    return lambda rows: contrast(left(rows), right(rows))


def doublings(axis: str) -> Factor:
    """log2 of a column: a slope against it is the change per doubling."""
    return lambda row: log2(row[axis])


def effects_by_seed(rows: Sequence[Row], key: str, factors: Mapping[str, Factor]) -> dict[str, BySeed]:
    """Least squares of a column on the factors, fitted in each seed alone: factor → seed → coefficient.

    A seed with too few rows, or whose factors do not vary apart, is left out.
    """
    found: dict[str, dict[int, float]] = {name: {} for name in factors}
    shares: dict[str, dict[int, Shares | None]] = {name: {} for name in factors}
    for seed in dict.fromkeys(row["seed"] for row in rows):
        part = [row for row in rows if row["seed"] == seed and row.get(key) is not None]
        columns = {name: [of(row) for row in part] for name, of in factors.items()}
        try:
            fitted = regress(columns, [row[key] for row in part])
        except ValueError:
            continue
        of_rows = [row_shares(row, key) for row in part]
        for name in factors:
            found[name][seed] = fitted[name]
            shares[name][seed] = _share_of_effect(columns, name, of_rows)
    paired = all(pair_of(row, key) for row in rows)
    return {name: BySeed(values, shares[name], paired=paired) for name, values in found.items()}


def _share_of_effect(
    columns: Mapping[str, Sequence[float]], name: str, of_rows: Sequence[Shares | None]
) -> Shares | None:
    """What test images add to a coefficient, which is a weighted sum of the rows: its weights are the coefficients of rows that are 1 alone."""
    known = [shares for shares in of_rows if shares is not None]
    if len(known) < len(of_rows):
        return None
    alone = [[float(row == other) for other in range(len(known))] for row in range(len(known))]
    return weighted((regress(columns, y)[name], shares) for y, shares in zip(alone, known, strict=True))


def slopes(rows: Sequence[Row], key: str, axis: str) -> BySeed:
    """Change of a column per doubling of an axis, seed by seed."""
    return effects_by_seed(rows, key, {axis: doublings(axis)})[axis]


def contrast(left: Mapping[int, float], right: Mapping[int, float]) -> BySeed:
    """``left − right`` for the seeds that both have."""
    return weighted_sum({seed: left[seed] - right[seed] for seed in left if seed in right}, [(1, left), (-1, right)])


def explained(columns: Mapping[str, Sequence[float]], y: Sequence[float]) -> float | None:
    """Share of the variance of ``y`` that the columns explain together; ``None`` where it does not vary or they do not."""
    try:
        return r_squared(columns, y)
    except ValueError:
        return None


def ratio_of_means(numerator: Mapping[int, float], denominator: Mapping[int, float]) -> BySeed:
    """Mean of one column over mean of another as jackknife pseudo-values n·R − (n − 1)·R₋ᵢ, one a seed (Quenouille 1956).

    Their mean estimates the ratio and their spread its error, so that intervals and tests over seeds apply; no seed has to be left out for
    a small denominator of its own. With one seed it is the plain ratio. Empty where a mean that is divided by is 0. What test images add is
    that of its linear part, (T − R·B) / mean of B.
    """
    seeds = [seed for seed in numerator if seed in denominator]
    number = len(seeds)
    tops, bottoms = [numerator[seed] for seed in seeds], [denominator[seed] for seed in seeds]
    try:
        whole = sum(tops) / sum(bottoms)
        if number == 1:
            return BySeed({seeds[0]: whole})
        parts = [(sum(tops) - top) / (sum(bottoms) - bottom) for top, bottom in zip(tops, bottoms, strict=True)]
    except ZeroDivisionError:
        return BySeed({})
    values = {seed: number * whole - (number - 1) * part for seed, part in zip(seeds, parts, strict=True)}
    bottom = sum(bottoms) / number
    return weighted_sum(values, [(1 / bottom, numerator), (-whole / bottom, denominator)])


def subsets(parts: Iterable[str]) -> list[tuple[str, ...]]:
    """Every subset, smaller ones first."""
    names = tuple(parts)
    return [found for size in range(len(names) + 1) for found in combinations(names, size)]


def factorial_effects(accuracies: Mapping[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    """Main effect of each part and interaction of several, from the accuracy without any of `subsets` of the parts.

    Each is Σ ±accuracy over half the number of subsets, with a minus for every one of its parts that is off.
    """
    return {
        parts: sum(value * (-1) ** len({*parts} & {*off}) for off, value in accuracies.items()) * 2 / len(accuracies)
        for parts in accuracies
        if parts
    }
