"""The maths of the rules as pure functions. Letters: B batch, C channels, K classes, L readouts, s cells a side."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from layerlocal.kernels import grid_mean as grid_mean
from layerlocal.kernels import grid_rms as grid_rms

__all__ = [
    "average_positions", "bounded_temperature", "clarity", "ff_loss", "fit_fusion_weights", "fuse", "goodness", "grid_mean", "grid_rms",
    "rms_normalize", "supervised_contrast", "wrong_labels",
]  # fmt: skip

EPS = 1e-6


def average_positions(activity: Tensor) -> Tensor:
    """Global average pool: (B, C, ...) → (B, C); vectors (B, D) as they are."""
    return activity.flatten(2).mean(2) if activity.dim() > 2 else activity


def goodness(activity: Tensor, kind: str = "sum", *, average: bool = True) -> Tensor:
    """Forward-Forward's goodness of a block: (B, C, ...) → (B,). Hinton 2022 (arXiv:2212.13345), section 2.

    Args:
        activity: a, with channels second.
        kind: ``"sum"`` of squares over channels, Σ_c a_c², or their ``"mean"``.
        average: over positions, where there are any. Off: the goodness of each position, (B, ...).
    """
    squares = activity.square()
    squares = average_positions(squares) if average else squares
    return squares.sum(1) if kind == "sum" else squares.mean(1)


def ff_loss(positive: Tensor, negative: Tensor, theta: float) -> Tensor:
    """mean softplus(θ − g⁺) + mean softplus(g⁻ − θ), from the goodness (B,), or (B, ...) by position, of positive and of negative data."""
    return F.softplus(theta - positive).mean() + F.softplus(negative - theta).mean()


def supervised_contrast(embedded: Tensor, y: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of picking, among the other samples of a batch, those of the own class: a scalar. Khosla et al. 2020 (arXiv:2004.11362).

    −mean_i mean_j log softmax_j(z_i · z_j / τ): j over the others of the class of i, the softmax over all others. A sample that is alone of its
    class adds 0, and counts.

    Args:
        embedded: z (B, D), at unit length; B ≥ 2.
        y: (B,) labels.
        temperature: τ > 0.
    """
    similarity = embedded @ embedded.T / temperature
    itself = torch.eye(len(y), dtype=torch.bool, device=y.device)
    log_probabilities = similarity - similarity.masked_fill(itself, float("-inf")).logsumexp(1, keepdim=True)
    same = ((y[:, None] == y[None, :]) & ~itself).to(log_probabilities.dtype)
    return -((log_probabilities * same).sum(1) / same.sum(1).clamp_min(1)).mean()


def wrong_labels(y: Tensor, num_classes: int) -> Tensor:
    """A label for each sample, uniform over the K − 1 classes that are not its own: (B,) → (B,). Never the true one."""
    offset = torch.randint(1, num_classes, y.shape, device=y.device)
    return (y + offset) % num_classes


def rms_normalize(activity: Tensor) -> Tensor:
    """Divide each sample, of tokens (B, T, D) each token, by its root mean square, so that its goodness is the same for all: same shape."""
    dims = (2,) if activity.dim() == 3 else tuple(range(1, activity.dim()))
    numbers = activity.shape[-1] if activity.dim() == 3 else activity[0].numel()
    scale = torch.linalg.vector_norm(activity, dim=dims, keepdim=True) / numbers**0.5
    return activity / scale.clamp_min(1e-12)


def fuse(block_scores: Tensor, weights: Tensor | None = None) -> Tensor:
    """Σ_l w_l · log softmax(scores_l): (L, B, *P, K) → (B, *P, K). Weights (L,), uniform where not given."""
    log_probabilities = block_scores.log_softmax(-1)
    if weights is None:
        return log_probabilities.mean(0)
    return torch.einsum("l...,l->...", log_probabilities, weights.to(log_probabilities.dtype))


def fit_fusion_weights(block_scores: Tensor, y: Tensor, *, steps: int = 100) -> Tensor:
    """Weights w ≥ 0 that minimize the cross-entropy of the fused scores: (L, N, K), (N,) → (L,). A convex problem in w.

    Give it validation data: weights chosen on training scores favour the blocks that overfit, on test scores they are a leak.
    """
    log_probabilities = block_scores.detach().double().log_softmax(-1)
    with torch.enable_grad():
        free = torch.full((len(block_scores),), -1.0, dtype=torch.float64, device=y.device, requires_grad=True)
        optimizer = torch.optim.LBFGS([free], max_iter=steps, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimizer.zero_grad()
            fused = torch.einsum("lbk,l->bk", log_probabilities, F.softplus(free))
            loss = F.cross_entropy(fused, y)
            loss.backward()
            return loss

        optimizer.step(closure)
    return F.softplus(free).detach().float()


def clarity(class_goodness: Tensor, y: Tensor, whole_mean: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """How clearly a block's own goodness tells the true class: (B, K), (B,) → scalar, about −3 … 3; no gradient.

    Mean margin between the true and the best wrong class, in units of the spread of goodness over classes
    (its coefficient of variation once goodness is centred, so it does not depend on goodness's scale).
    ``whole_mean``: from means over these samples to those over the whole batch, where its parts lie on several processes.
    """
    g = class_goodness.detach()
    true = g.gather(1, y[:, None]).squeeze(1)
    wrong = g.scatter(1, y[:, None], float("-inf")).amax(1)
    margin, spread = (true - wrong).mean(), g.std(1, correction=0).mean()
    if whole_mean is not None:
        margin, spread = whole_mean(torch.stack([margin, spread])).unbind()
    return margin / (spread + EPS)


def bounded_temperature(given: Tensor, low: float, high: float) -> Tensor:
    """τ = τ_min + (τ_max − τ_min) · σ(given): in (τ_min, τ_max), in the middle at 0."""
    return low + (high - low) * torch.sigmoid(given)
