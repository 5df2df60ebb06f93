"""How hard the classes of a task are to tell apart, as a number that depends neither on how many there are nor on the samples of each."""

from __future__ import annotations

from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from layerlocal.data import Data, Split
from layerlocal.data.batches import normalize
from layerlocal.options import seed_number
from layerlocal.types import derive_seed

__all__ = ["draw_problems", "leave_pair_out", "measure_separability", "pair_accuracy"]

PROBLEMS = 200
ROWS = 20
FEATURES = 1024
PENALTY = 0.3  # of the mean of a problem's kernel diagonal; 0.1 and 1 give CIFAR-100 at most 0.4 pp less
PER_CLASS = 200
MOST = 2000
_SIDE = 32
_GRID = 4
_CHUNK = 10


@torch.no_grad()
def measure_separability(data: Data, *, seed: int = 0) -> float:
    """Accuracy, about 0.5..1, of a fixed reference on two classes from twenty samples each; the test split is not touched.

    The mean over 200 problems, each of two classes and exactly 20 training samples of each, drawn by the seed: what is measured is
    always the same size, so neither K nor the number of samples a class changes what is expected; 0.5 is chance for all. All pairs of
    classes take turns in random order, with other samples each time. Where a class has fewer samples, its problems take as many of
    both classes; classes with one sample are left out.

    The reference is ridge regression from 1,024 random features: ReLU of random projections for vectors, 64 random 5×5 convolutions,
    ReLU and a 4×4 average grid for images (brought to at most 32 px). It answers samples that it was not fitted to (`leave_pair_out`).

    Returns:
        0.5, as nothing could be told, where fewer than two classes have two training samples.
    """
    seed = seed_number(seed)
    problems = draw_problems(data.train.labels, seed)
    if not problems:
        return 0.5
    used = torch.cat([rows.flatten() for rows in problems]).unique()
    x = _features(data, data.train.subset(used), seed)
    accuracies: list[Tensor] = []
    for size in {rows.shape[1] for rows in problems}:
        of_size = torch.stack([rows for rows in problems if rows.shape[1] == size])  # (P, 2, n)
        for part in of_size.split(_CHUNK):
            accuracies.append(pair_accuracy(x[torch.searchsorted(used, part.flatten(1))]))
    return float(torch.cat(accuracies).mean())


def draw_problems(labels: Tensor, seed: int) -> list[Tensor]:
    """Two-class problems, int64 (2, n) each: rows of the one class and rows of the other; n is 20, or what the smaller class has.

    Rows come from a pool of at most 200 a class and 2,000 in all (of more than 100 classes, 100 are drawn), so that cost is bounded.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "separability"))
    order = torch.randperm(len(labels), generator=generator)
    pools = [pool for pool in _by_class(labels, order) if len(pool) >= 2]
    if len(pools) > MOST // ROWS:
        drawn = torch.randperm(len(pools), generator=generator)[: MOST // ROWS]
        pools = [pools[k] for k in drawn.tolist()]
    if len(pools) < 2:
        return []
    each = min(PER_CLASS, MOST // len(pools))
    pairs = list(combinations([pool[:each] for pool in pools], 2))
    turns = torch.randperm(len(pairs), generator=generator).tolist()
    problems = []
    for turn in range(PROBLEMS):
        pair = pairs[turns[turn % len(pairs)]]
        size = min(ROWS, *(len(pool) for pool in pair))
        problems.append(torch.stack([pool[torch.randperm(len(pool), generator=generator)[:size]] for pool in pair]))
    return problems


def _by_class(labels: Tensor, order: Tensor) -> list[Tensor]:
    """The rows of each class that has any, in the given order."""
    by_label = order[labels[order].argsort(stable=True)]
    return list(by_label.split(labels.unique(return_counts=True)[1].tolist()))


def pair_accuracy(x: Tensor) -> Tensor:
    """(P, 2n, D), first n rows of one class, then n of the other → (P,) accuracy on held-out pairs; ties count half.

    Features get mean 0 and variance 1 over a problem's own rows, which says nothing about their classes. Those that do not vary
    (by more than rounding) are dropped; without any, each answer is a tie.
    """
    x = x.double()
    centred = x - x.mean(1, keepdim=True)
    spread = centred.square().mean(1, keepdim=True).sqrt()  # (P, 1, D)
    varies = spread > 1e-5 * x.abs().amax((1, 2), keepdim=True)
    z = torch.where(varies, centred / torch.where(varies, spread, 1.0), 0.0)
    kernel = z @ z.transpose(1, 2) / varies.sum(2, keepdim=True).clamp(min=1)  # mean of the diagonal: 1
    first, second = leave_pair_out(kernel)
    margins = torch.stack([first, -second])
    right = (margins > 1e-9).double() + 0.5 * (margins.abs() <= 1e-9).double()
    return right.mean((0, 2, 3))


def leave_pair_out(kernel: Tensor) -> tuple[Tensor, Tensor]:
    """(P, 2n, 2n), n ≥ 2 → two of (P, n, n): answers to row i of the first class and to row j of the second, neither of them fitted.

    Kernel ridge regression onto +1 (first n rows) and −1 (last n), with a free intercept and penalty `PENALTY`. A row and one of the
    other class are held out together, so that n − 1 rows of each class are left: were the row left out alone, its own class would be
    the rarer one, and noise would be answered worse than by chance. On noise the two held-out rows are exchangeable given those left
    and all that is fitted, so that of the answers' signs exactly half are right in expectation.

    In closed form: with G = (kernel + penalty)⁻¹ and Q = G − G11ᵀG / 1ᵀG1, the residuals of held-out rows S are (Q_SS)⁻¹ (Q y)_S.
    """
    number = kernel.shape[-1]
    n = number // 2
    y = torch.ones(number, dtype=kernel.dtype)
    y[n:] = -1
    inverse = torch.linalg.inv(kernel + PENALTY * torch.eye(number, dtype=kernel.dtype))
    sums = inverse.sum(2)  # (P, 2n)
    q = inverse - sums[:, :, None] * sums[:, None, :] / sums.sum(1)[:, None, None]
    dual = q @ y
    diagonal = q.diagonal(dim1=1, dim2=2)
    a, d = diagonal[:, :n, None], diagonal[:, None, n:]  # Q_SS = [[a, b], [b, d]] for each of n × n pairs
    b = q[:, :n, n:]
    u, v = dual[:, :n, None], dual[:, None, n:]
    determinant = a * d - b * b
    return 1 - (d * u - b * v) / determinant, -1 - (a * v - b * u) / determinant


def _features(data: Data, split: Split, seed: int) -> Tensor:
    """(N, 1024)."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "separability", "features"))
    found = []
    if len(data.sample_shape) == 1:
        matrix = torch.randn(data.in_channels, FEATURES, generator=generator) / data.in_channels**0.5
    else:
        filters = torch.randn(FEATURES // _GRID**2, data.in_channels, 5, 5, generator=generator)
        filters /= (25 * data.in_channels) ** 0.5
    for index in torch.arange(len(split)).split(25):  # of images, more no longer fit a core's cache
        x = normalize(split.gather(index).images, data.mean, data.std)
        if x.dim() == 2:
            found.append(F.relu(x @ matrix))
            continue
        x = F.adaptive_avg_pool2d(x, _SIDE) if x.shape[-1] > _SIDE else x
        found.append(F.adaptive_avg_pool2d(F.relu(F.conv2d(x, filters, padding=2)), _GRID).flatten(1))
    return torch.cat(found)
