"""The points of a scrambled Sobol sequence: those of `scipy.stats.qmc.Sobol`, bit for bit, without the second that importing it takes."""

from __future__ import annotations

import numpy as np

__all__ = ["sobol_shares"]

BITS = 30
"""Of a coordinate, and the logarithm of the most points there are."""
DIRECTIONS: tuple[tuple[int, tuple[int, ...]], ...] = (
    (3, (1,)), (7, (1, 3)), (11, (1, 3, 1)), (13, (1, 1, 1)), (19, (1, 1, 3, 3)), (25, (1, 3, 5, 13)), (37, (1, 1, 5, 5, 17)),
    (41, (1, 1, 5, 5, 5)), (47, (1, 1, 7, 11, 19)), (55, (1, 1, 5, 1, 1)), (59, (1, 1, 1, 3, 11)), (61, (1, 3, 5, 5, 31)),
    (67, (1, 3, 3, 9, 7, 49)), (91, (1, 1, 1, 15, 21, 21)), (97, (1, 3, 1, 13, 27, 49)),
)  # fmt: skip
"""Primitive polynomial and first direction numbers of each dimension after the first (Joe and Kuo 2008, new-joe-kuo-6)."""


def sobol_shares(dimensions: int, number: int, generator: np.random.Generator) -> np.ndarray:
    """The first points of a Sobol sequence (Sobol 1967) with a random linear scramble and a digital shift (Matoušek 1998).

    Args:
        dimensions: of a point, ≥ 1; of more than 16 they come from SciPy itself.
        number: of points, ≥ 0.
        generator: of whose first child the scrambling is.

    Returns:
        (number, dimensions) float64 in [0, 1).
    """
    if dimensions > len(DIRECTIONS) + 1:
        from scipy.stats import qmc

        found: np.ndarray = qmc.Sobol(dimensions, scramble=True, seed=generator).random_base2(
            max(0, number - 1).bit_length()
        )[:number]
        return found
    (generator,) = generator.spawn(1)  # as SciPy does
    powers = 2 ** np.arange(BITS, dtype=np.uint32)
    shift = generator.integers(2, size=(dimensions, BITS), dtype=np.uint32) @ powers
    lower = np.tril(generator.integers(2, size=(dimensions, BITS, BITS), dtype=np.uint32), -1)
    lower += np.eye(BITS, dtype=np.uint32)
    digits = _direction_digits(dimensions)
    scrambled = np.einsum("dpi,dij->dpj", lower, digits) % 2  # digits from the first after the point on
    directions = np.einsum("dpj,p->jd", scrambled, powers[::-1])  # one each for a digit of the Gray code
    points = np.empty((number, dimensions), dtype=np.uint32)
    for index in range(number):
        changed = (
            index & -index
        ).bit_length() - 1  # the Gray codes of an index and of the one before differ in this digit
        points[index] = points[index - 1] ^ directions[changed] if index else shift
    return points * 2.0**-BITS


def _direction_digits(dimensions: int) -> np.ndarray:
    """Binary digits of the direction numbers: uint32 (dimensions, digit, number)."""
    numbers = [[1] * BITS]
    for polynomial, first in DIRECTIONS[: dimensions - 1]:
        degree, row = len(first), list(first)
        for place in range(degree, BITS):
            new = row[place - degree]
            for k in range(1, degree + 1):
                if polynomial >> (degree - k) & 1:
                    new ^= row[place - k] << k
            row.append(new)
        numbers.append(row)
    return np.array(
        [[[row[j] >> (j - i) & 1 if i <= j else 0 for j in range(BITS)] for i in range(BITS)] for row in numbers],
        dtype=np.uint32,
    )
