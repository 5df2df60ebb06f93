"""One list of points for every method of a search: each method is tried at the same settings, so that none is lucky in its draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from layerlocal.experiments.tune.space import Dimension
from layerlocal.types import derive_seed

__all__ = ["shared_points", "sobol_points"]


def shared_points(
    space: Sequence[Dimension], usual: Sequence[Mapping[str, Any]], number: int, *, seed: int
) -> list[dict[str, Any]]:
    """The settings of the trials of a rule and of its twins alike: first those as they are, where they are the same for all of them and lie
    in the space, then `sobol_points`.

    Args:
        space: dimensions.
        usual: of each method, key → value where it is not searched.
        number: of trials, ≥ 1.
        seed: of the points.
    """
    first = dict(usual[0])
    begins = all(each == first for each in usual) and all(d.holds(first[d.key]) for d in space)
    return [first] * begins + sobol_points(space, number - begins, seed=seed)


def sobol_points(space: Sequence[Dimension], number: int, *, seed: int) -> list[dict[str, Any]]:
    """Settings that fill a space evenly: the first of a Sobol sequence (Sobol 1967), scrambled (Owen 1998).

    Args:
        space: dimensions. The points of two spaces of one size lie at the same shares of their ranges, and in one list more points go on
            from fewer.
        number: of points, ≥ 0.
        seed: of the scrambling.

    Returns:
        Key → value, a point each.
    """
    import numpy as np

    from layerlocal.experiments.tune.sobol import sobol_shares

    generator = np.random.default_rng(derive_seed(seed, "points", len(space)))
    shares = sobol_shares(len(space), number, generator)
    return [{d.key: d.at(float(share)) for d, share in zip(space, row, strict=True)} for row in shares]
