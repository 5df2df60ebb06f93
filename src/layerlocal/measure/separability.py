"""How hard the classes of a task are to tell apart, as a number that does not depend on how many there are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from layerlocal.data import Data, Split
from layerlocal.data.batches import normalize
from layerlocal.types import derive_seed

__all__ = ["leave_one_out", "measure_separability", "pairwise_accuracy"]

FEATURES = 1024
PER_CLASS = 100
MOST = 5000
_SIDE = 32
_GRID = 4


def pairwise_accuracy(scores: Tensor, y: Tensor) -> float:
    """Share of (sample, wrong class) pairs in which the true class scores higher, each sample counting alike; ties count half.

    0.5 is chance for every K, 1 is perfect: accuracy of the same scores as a two-class decision, averaged over pairs of classes.

    Args:
        scores: (N, K).
        y: (N,).
    """
    true = scores.gather(1, y[:, None])
    wins = (scores < true).double().sum(1) + 0.5 * ((scores == true).double().sum(1) - 1)
    return float((wins / (scores.shape[1] - 1)).mean())


@torch.no_grad()
def measure_separability(data: Data, *, seed: int = 0) -> float:
    """Mean pairwise accuracy, about 0.5..1, of a fixed reference that no rule under audit has a part in; the test split is not touched.

    The reference is ridge regression onto one-hot labels from 1,024 random features: ReLU of random projections for vectors, 64 random
    5×5 convolutions, ReLU and a 4×4 average grid for images (brought to at most 32 px). Each of at most 100 training samples a class
    (5,000 in all) is answered by the fit to all others (leave-one-out, in closed form).
    """
    found, labels = data.train.labels.unique(return_inverse=True)  # a pair held out of training has no samples
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(derive_seed(seed, "separability")))
    each = max(2, min(PER_CLASS, MOST // len(found)))
    rows = torch.cat([order[labels[order] == k][:each] for k in range(len(found))])
    x, y = _features(data, data.train.subset(rows), seed), labels[rows]
    x = (x - x.mean(0)) / x.std(0).clamp(min=1e-6)
    return pairwise_accuracy(leave_one_out(x.double(), F.one_hot(y, len(found)).double()), y)


def leave_one_out(x: Tensor, targets: Tensor) -> Tensor:
    """(N, D), (N, K) → (N, K): for each row the prediction of ridge regression with a free intercept fitted to all other rows, less their
    mean target. A frequent class then has no advantage, nor the true class the drawback that its own row is missing: noise gives 0.5.

    Columns of ``x`` must have mean 0 over all N rows. The penalty is one for all fits: a tenth of N times the features' mean variance.
    With y centred, ŷᵢ the fit to all rows and hᵢ the leverage without intercept, ŷ₋ᵢ − ȳ₋ᵢ = (ŷᵢ − hᵢ yᵢ N/(N−1)) / (1 − hᵢ − 1/N), exactly.
    """
    number = x.shape[0]
    gram = x.T @ x
    penalty = max(0.1 * float(gram.diagonal().mean()), 1e-9)  # above 0 where every feature is constant
    solved = torch.linalg.solve(gram + penalty * torch.eye(x.shape[1], dtype=x.dtype), x.T)  # (D, N)
    centred = targets - targets.mean(0)
    leverage = (x * solved.T).sum(1)[:, None]
    return (x @ (solved @ centred) - leverage * centred * number / (number - 1)) / (1 - leverage - 1 / number)


def _features(data: Data, split: Split, seed: int) -> Tensor:
    """(N, 1024)."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "separability", "features"))
    found = []
    if len(data.sample_shape) == 1:
        matrix = torch.randn(data.in_channels, FEATURES, generator=generator) / data.in_channels**0.5
    else:
        filters = torch.randn(FEATURES // _GRID**2, data.in_channels, 5, 5, generator=generator)
        filters /= (25 * data.in_channels) ** 0.5
    for index in torch.arange(len(split)).split(500):
        x = normalize(split.gather(index).images, data.mean, data.std)
        if x.dim() == 2:
            found.append(F.relu(x @ matrix))
            continue
        x = F.adaptive_avg_pool2d(x, _SIDE) if x.shape[-1] > _SIDE else x
        found.append(F.adaptive_avg_pool2d(F.relu(F.conv2d(x, filters, padding=2)), _GRID).flatten(1))
    return torch.cat(found)
