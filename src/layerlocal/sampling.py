"""What the draw of test images adds to the error of a mean over seeds, and whether cells may share one spread.

**The model: seeds crossed with images.** A method's difference to its twin with seed s on test image i, right − right in {−1, 0, 1}, is

    d_si = δ + a_s + b_i + e_si

δ is what is asked: the mean over seeds and over the images that the test split was drawn from. The mean of all d_si over n seeds and N images
that every seed is tested on has the variance σ_a²/n + σ_b²/N + σ_e²/(nN) (two random factors, crossed: Cornfield & Tukey 1956, Ann. Math.
Stat. 27; of benchmarks Bouthillier et al. 2021, arXiv:2103.03098; that seeds alone miss a part, Agarwal et al. 2021, arXiv:2108.13264).
The spread of the n seed means estimates σ_a² + σ_e²/N: **an interval over seeds has no σ_b²/N**, because every seed saw the same images.

**The estimator.** For any values v_1 … v_n of seeds with one mean, whatever images they share,

    var(mean) = E[s²]/n + mean over pairs s ≠ s' of cov(v_s, v_s')

and seeds have nothing in common but images. So the part that is missing is the mean over pairs of seeds of the covariance over the images
that both were tested on, Σ (d_si − d_s)(d_s'i − d_s')/(N N'). With the same images for all it is the classical estimator of σ_b²/N, mean
squares of images less those of the residual; with images of their own for every seed it is 0, as the spread over seeds has them then; in
between it is what is shared. It is linear: a mean over cells or a slope has the same images with weights. An estimate below 0 is 0.

**The interval** puts both parts side by side, half² = (t·s/√n)² + (1.96·images)² (`layerlocal.stats.estimate`; Zou & Donner 2008 for
sums of estimates). It is never narrower than that over seeds. The wider one of two intervals, over seeds and over images, does not do
as well: it misses more often than it says where both parts count, and is too wide where single answers are all there is.
`benchmarks/interval_coverage.py` shows what each covers where the truth is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pooled", "Shares", "image_error", "pooled_spread", "share", "weighted"]

Array = NDArray[np.float64]
Shares = Mapping[str, Array]
"""Source of images → (M,): what each of its images adds to the value of a seed, less the mean of the images there; 0 of an image not tested."""


def share(values: Array, places: NDArray[np.integer], source: str) -> Shares:
    """What each image adds to a mean over images.

    Args:
        values: (N,), N ≥ 1: of each image.
        places: (N,), no two alike: which images of the source they are.
        source: two values of one source and one place are of the same image.
    """
    count = len(values)
    spread = np.zeros(int(places.max()) + 1)
    spread[places] = (values - values.mean()) / np.sqrt(count * max(1, count - 1))
    return {source: spread}


def weighted(parts: Iterable[tuple[float, Shares]]) -> Shares:
    """The shares of Σ weight · value, from those of the values."""
    found: dict[str, Array] = {}
    for weight, shares in parts:
        for source, values in shares.items():
            before = found.get(source, np.zeros(0))
            longer, shorter = (before, weight * values)
            if len(longer) < len(shorter):
                longer, shorter = shorter, longer
            longer = longer.copy()
            longer[: len(shorter)] += shorter
            found[source] = longer
    return found


def image_error(seeds: Sequence[Shares]) -> float | None:
    """Standard error that shared test images add to a mean over seeds: the estimator at the top of this file.

    Args:
        seeds: of each seed what images add to its value.

    Returns:
        In the unit of the values, ≥ 0; ``None`` for fewer than two seeds.
    """
    number = len(seeds)
    if number < 2:
        return None
    together = sum(float(values @ values) for values in weighted((1.0, shares) for shares in seeds).values())
    alone = sum(float(values @ values) for shares in seeds for values in shares.values())
    return float(np.sqrt(max(0.0, together - alone) / (number * (number - 1))))


class Pooled(NamedTuple):
    """One spread of several cells.

    Attributes:
        sd: standard deviation of a value, ≥ 0.
        df: degrees of freedom that an interval may take it for.
        p: of Bartlett's test that the cells have one spread.
    """

    sd: float
    df: int
    p: float


def pooled_spread(cells: Sequence[Sequence[float]], *, level: float = 0.5) -> Pooled | None:
    """One standard deviation for all cells, where Bartlett's test (1937) does not reject that they have one.

    Three seeds know their spread badly; k cells of three know a common one with 2k degrees of freedom. Values are taken as normal. Few of
    them show badly that cells differ, and a test before an estimate makes intervals too narrow (Bancroft & Han 1983). So the level is
    high, half the degrees of freedom are counted, and no cell gets less than its own spread (`layerlocal.stats.estimate`); then intervals
    cover what they say where cells are alike, and hardly less where they are not (`benchmarks/interval_coverage.py`).

    Args:
        cells: of each two or more finite values (seeds).
        level: the test rejects below it, in (0, 1).

    Returns:
        ``None`` where it rejects, for fewer than two cells, or where a cell has no spread and another has.
    """
    from scipy import special  # half a second of CPU that planning need not wait for

    if len(cells) < 2 or any(len(cell) < 2 for cell in cells):
        return None
    df = np.array([len(cell) - 1 for cell in cells])
    variances = np.array([np.var(np.asarray(cell, dtype=float), ddof=1) for cell in cells])
    total = int(df.sum())
    counted = max(total // 2, int(df.max()))
    pooled = float(df @ variances) / total
    if pooled == 0:
        return Pooled(0.0, counted, 1.0)
    if (variances == 0).any():
        return None
    statistic = total * np.log(pooled) - float(df @ np.log(variances))
    statistic /= 1 + (float((1 / df).sum()) - 1 / total) / (3 * (len(cells) - 1))
    p = float(special.chdtrc(len(cells) - 1, max(0.0, statistic)))
    return Pooled(float(np.sqrt(pooled)), counted, p) if p >= level else None
