"""The maths of the rules as pure functions. Letters: B batch, C channels, K classes, L readouts, s cells a side."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "clarity", "dynamic_temperature", "ff_loss", "fit_fusion_weights", "fuse", "goodness", "grid_mean", "grid_rms",
    "rms_normalize", "wrong_labels",
]  # fmt: skip

EPS = 1e-6


def goodness(activity: Tensor, kind: str = "sum") -> Tensor:
    """Forward-Forward's goodness of a block: (B, C, ...) → (B,). Hinton 2022 (arXiv:2212.13345), section 2.

    Args:
        activity: a, with channels second; positions, where there are any, are averaged.
        kind: ``"sum"`` of squares over channels, Σ_c a_c², or their ``"mean"``.
    """
    squares = activity.square()
    if squares.dim() > 2:
        squares = squares.flatten(2).mean(2)
    return squares.sum(1) if kind == "sum" else squares.mean(1)


def ff_loss(positive: Tensor, negative: Tensor, theta: float) -> Tensor:
    """mean softplus(θ − g⁺) + mean softplus(g⁻ − θ), from the goodness (B,) of positive and of negative data."""
    return F.softplus(theta - positive).mean() + F.softplus(negative - theta).mean()


def wrong_labels(y: Tensor, num_classes: int) -> Tensor:
    """A label for each sample, uniform over the K − 1 classes that are not its own: (B,) → (B,). Never the true one."""
    offset = torch.randint(1, num_classes, y.shape, device=y.device)
    return (y + offset) % num_classes


def rms_normalize(activity: Tensor) -> Tensor:
    """Divide each sample by its root mean square, so that its goodness (sum or mean of squares) is the same for all: same shape."""
    scale = torch.linalg.vector_norm(activity.flatten(1), dim=1) / activity[0].numel() ** 0.5
    return activity / scale.clamp_min(1e-12).view(-1, *[1] * (activity.dim() - 1))


def _cell_sizes(size: int, grid: int, device: torch.device) -> Tensor:
    """Positions in each cell along one side: min(s, size) cells that cover it, the first ones larger by one where it does not divide."""
    cells = min(grid, size)
    return size // cells + (torch.arange(cells, device=device) < size % cells)


def _cell_means(x: Tensor, grid: int) -> Tensor:
    """Mean of each channel in each cell: (B, H, W, C) → (B, s, s, C), as two small matrix products, whatever the sizes."""
    for dim in (2, 1):
        sizes = _cell_sizes(x.shape[dim], grid, x.device)
        average = torch.diag(1 / sizes.to(x.dtype)).repeat_interleave(sizes, dim=1, output_size=x.shape[dim])  # (s, H)
        x = (average @ x) if dim == 2 else (average @ x.flatten(2)).view(len(x), len(sizes), *x.shape[2:])
    return x


def grid_mean(activity: Tensor, grid: int) -> Tensor:
    """Mean of each channel in each cell of a grid: (B, C, H, W) → (B, s·s·C)."""
    if grid == 1:
        return activity.mean((2, 3))
    return _cell_means(activity.permute(0, 2, 3, 1), grid).flatten(1)


class _GridRMS(torch.autograd.Function):
    """Root mean square of each channel in each cell, with the closed-form gradient da = a · dr / (n · r): one product.

    Autograd would keep the square of the activity; this keeps the activity, which its own ReLU has saved already.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, activity: Tensor, grid: int) -> Tensor:
        rms = _cell_means(activity.permute(0, 2, 3, 1).square(), grid).sqrt()  # (B, s, s, C)
        ctx.save_for_backward(activity, rms)
        ctx.grid = grid  # type: ignore[attr-defined]
        return rms.flatten(1)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        activity, rms = ctx.saved_tensors  # type: ignore[attr-defined]
        height, width = activity.shape[2:]
        rows = _cell_sizes(height, ctx.grid, activity.device)  # type: ignore[attr-defined]
        columns = _cell_sizes(width, ctx.grid, activity.device)  # type: ignore[attr-defined]
        factor = gradients[0].view_as(rms) / ((rms + EPS) * (rows[:, None] * columns)[:, :, None])
        factor = factor.repeat_interleave(columns, dim=2, output_size=width)
        factor = factor.repeat_interleave(rows, dim=1, output_size=height)  # (B, H, W, C)
        return (activity.permute(0, 2, 3, 1) * factor).permute(0, 3, 1, 2), None


def grid_rms(activity: Tensor, grid: int) -> Tensor:
    """Root of the goodness of each channel in each cell of a grid: (B, C, H, W) → (B, s·s·C), r = sqrt(mean a²).

    Cells do not overlap and cover the map; a map smaller than the grid has one position a cell. The gradient at r = 0 is 0.
    """
    return _GridRMS.apply(activity, grid)


def fuse(block_scores: Tensor, weights: Tensor | None = None) -> Tensor:
    """Σ_l w_l · log softmax(scores_l): (L, B, K) → (B, K). Weights (L,), uniform where not given."""
    log_probabilities = block_scores.log_softmax(-1)
    if weights is None:
        return log_probabilities.mean(0)
    return torch.einsum("lbk,l->bk", log_probabilities, weights.to(log_probabilities.dtype))


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


def clarity(class_goodness: Tensor, y: Tensor) -> Tensor:
    """How clearly a block's own goodness tells the true class: (B, K), (B,) → scalar, about −3 … 3; no gradient.

    Mean margin between the true and the best wrong class, in units of the spread of goodness over classes
    (its coefficient of variation once goodness is centred, so it does not depend on goodness's scale).
    """
    g = class_goodness.detach()
    true = g.gather(1, y[:, None]).squeeze(1)
    wrong = g.scatter(1, y[:, None], float("-inf")).amax(1)
    return (true - wrong).mean() / (g.std(1, correction=0).mean() + EPS)


def dynamic_temperature(clarity: Tensor, low: float, high: float, gain: float) -> Tensor:
    """τ = τ_min + (τ_max − τ_min) · σ(gain · clarity): a clear block gets a high temperature, so that it does not saturate."""
    return low + (high - low) * torch.sigmoid(gain * clarity)
