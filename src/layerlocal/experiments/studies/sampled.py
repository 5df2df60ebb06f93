"""Values by seed that know what shared test images add to their error, from the answers that runs keep (`layerlocal.sampling`).

A row has them under ``"answers"`` (method → `layerlocal.runs.answers.Answers`) while a study concludes; what is kept of a row has not (`kept`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isclose
from typing import Any

import numpy as np

from layerlocal.runs.answers import Answers
from layerlocal.runs.store import RunRecord
from layerlocal.sampling import Shares, image_error, share, weighted
from layerlocal.summary import Row

__all__ = [
    "ANSWERS",
    "DIFFERENCES",
    "PAIRS",
    "AnswersOf",
    "BySeed",
    "interval_notes",
    "kept",
    "pair_of",
    "row_shares",
    "weighted_sum",
]

NOTE = (
    "Intervals of differences between methods are over seeds and test images (n=3 + images): they cover new seeds, and new test images "
    "from where these were drawn."
)
SOME = "Where a run kept no answers they are over seeds alone, and say n=3."
ANSWERS = "answers"
"""Where a row has what its runs answered."""
DIFFERENCES = {
    "gap": ("local", "bp"),
    "extra_supervision": ("bp-deepsup", "bp"),
    "price_of_locality": ("local", "bp-deepsup"),
    "total": ("local", "ordinary"),
    "objective": ("bp", "ordinary"),
    "headroom": ("ordinary-2x", "ordinary"),
    "total_flops": ("local", "ordinary-flops"),
    "total_time": ("local", "ordinary-time"),
    "total_bytes": ("local", "ordinary-bytes"),
}
"""Column of a row → the two methods it is the difference of, where both were trained; those from ``total`` on are with `controls`."""
PAIRS = "methods_of"
"""Where an entry of a study says of which two methods its own columns are the differences."""
AnswersOf = Callable[[RunRecord], Answers | None]


class BySeed(dict[int, float]):
    """Seed → value.

    Args:
        values: of each seed.
        shares: seed → what test images add to its value; ``None`` where a run behind a value kept no answers.
        paired: whether it is of differences between methods. Only they have an error of images: an accuracy is held against others on the
            same images.
    """

    def __init__(
        self, values: Mapping[int, float], shares: Mapping[int, Shares | None] | None = None, *, paired: bool = False
    ) -> None:
        super().__init__(values)
        whole = shares is not None and all(shares.get(seed) is not None for seed in values)
        self.shares: dict[int, Shares] | None = None
        if whole and shares is not None:
            self.shares = {seed: found for seed in values if (found := shares[seed]) is not None}
        self.paired = paired

    @property
    def images(self) -> float | None:
        """Standard error that shared test images add to the mean; ``None`` where that is not known, and of what is no difference."""
        if not self.paired or self.shares is None:
            return None
        return image_error(list(self.shares.values()))


def weighted_sum(values: Mapping[int, float], parts: Sequence[tuple[float, Mapping[int, float]]]) -> BySeed:
    """Differences that are, seed by seed and but for a constant, a weighted sum of others; with shares where all of these have some."""
    known = [(weight, other.shares) for weight, other in parts if isinstance(other, BySeed)]
    shares = {
        seed: weighted((weight, found[seed]) for weight, found in known if found is not None)
        for seed in values
        if len(known) == len(parts) and all(found is not None and seed in found for _, found in known)
    }
    return BySeed(values, shares, paired=True)


def pair_of(row: Row, key: str) -> tuple[str, str] | None:
    """The two methods of which a column is the difference; ``None`` of another column."""
    pairs: Mapping[str, tuple[str, str]] = row.get(PAIRS) or {}
    return pairs.get(key) or DIFFERENCES.get(key)


def row_shares(row: Row, key: str) -> Shares | None:
    """What each test image adds to a column of a row: an accuracy of a method, or a difference of two.

    ``None`` where a run kept no answers, where two were tested on other images, and of a column that has been made of something else.
    """
    answers: Mapping[str, Answers | None] = row.get(ANSWERS) or {}
    found = [answers.get(method) for method in pair_of(row, key) or (key,)]
    first = found[0]
    if first is None:
        return None
    values = first.right.astype(float)
    for other in found[1:]:
        if other is None or other.source != first.source or not np.array_equal(other.places, first.places):
            return None
        values = values - other.right
    if not isclose(values.mean(), row[key], abs_tol=1e-9):
        return None
    return share(values, first.places, first.source)


def kept(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Rows as a summary has them, without the answers."""
    return tuple({key: value for key, value in row.items() if key != ANSWERS} for row in rows)


def interval_notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What intervals of differences are over; nothing where no run kept its answers."""
    have = [all((row.get(ANSWERS) or {"": None}).values()) for row in rows]
    return [NOTE if all(have) else f"{NOTE} {SOME}"] if any(have) else []
