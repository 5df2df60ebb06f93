"""Statistics of each channel in each cell of a grid over the map. Cells cover the map and do not overlap."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "EPS", "ActivityWithCells", "cell_max", "cell_sizes", "cells_of", "grid_max", "grid_mean", "grid_rms", "spread_over_cells",
]  # fmt: skip

EPS = 1e-6


def cell_sizes(size: int, grid: int, device: torch.device) -> Tensor:
    """Positions in each cell along one side: min(s, size) cells that cover it, the first ones larger by one where it does not divide."""
    cells = min(grid, size)
    return size // cells + (torch.arange(cells, device=device) < size % cells)


def _cell_means(x: Tensor, grid: int) -> Tensor:
    """Mean of each channel in each cell: (B, H, W, C) → (B, s, s, C), as two small matrix products, whatever the sizes."""
    for dim in (2, 1):
        sizes = cell_sizes(x.shape[dim], grid, x.device)
        average = torch.diag(1 / sizes.to(x.dtype)).repeat_interleave(sizes, dim=1, output_size=x.shape[dim])  # (s, H)
        x = (average @ x) if dim == 2 else (average @ x.flatten(2)).view(len(x), len(sizes), *x.shape[2:])
    return x


def grid_mean(activity: Tensor, grid: int) -> Tensor:
    """Mean of each channel in each cell of a grid: (B, C, H, W) → (B, s·s·C)."""
    if grid == 1:
        return activity.mean((2, 3))
    return _cell_means(activity.permute(0, 2, 3, 1), grid).flatten(1)


def cell_max(activity: Tensor, grid: int) -> Tensor:
    """Largest number of each channel in each cell of a grid: (B, C, H, W) → (B, C, s, t)."""
    for dim in (2, 3):
        sizes = cell_sizes(activity.shape[dim], grid, torch.device("cpu")).tolist()
        parts = [cell.amax(dim, keepdim=True) for cell in activity.split(sizes, dim)]
        activity = torch.cat(parts, dim)
    return activity


def grid_max(activity: Tensor, grid: int) -> Tensor:
    """Largest number of each channel in each cell of a grid: (B, C, H, W) → (B, s·s·C)."""
    return cell_max(activity, grid).permute(0, 2, 3, 1).flatten(1)


def spread_over_cells(cells: Tensor, height: int, width: int) -> Tensor:
    """A number for each cell to each position of it: (B, s, s, C) → (B, H, W, C)."""
    rows = cell_sizes(height, cells.shape[1], cells.device)
    columns = cell_sizes(width, cells.shape[2], cells.device)
    wide = cells.repeat_interleave(columns, dim=2, output_size=width)
    return wide.repeat_interleave(rows, dim=1, output_size=height)


class _GridRMS(torch.autograd.Function):
    """Root mean square of each channel in each cell, with the closed-form gradient da = a · dr / (n · r): one product.

    Autograd would keep the square of the activity; this keeps the activity, which its own ReLU has saved already.
    """

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, activity: Tensor, grid: int) -> Tensor:
        rms = _cell_means(activity.permute(0, 2, 3, 1).square(), grid).sqrt()  # (B, s, s, C)
        ctx.save_for_backward(activity, rms)
        return rms.flatten(1)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None]:
        activity, rms = ctx.saved_tensors  # type: ignore[attr-defined]
        height, width = activity.shape[2:]
        rows, columns = (
            cell_sizes(side, cells, rms.device) for side, cells in zip((height, width), rms.shape[1:3], strict=True)
        )
        factor = gradients[0].view_as(rms) / ((rms + EPS) * (rows[:, None] * columns)[:, :, None])
        factor = spread_over_cells(factor, height, width)
        return (activity.permute(0, 2, 3, 1) * factor).permute(0, 3, 1, 2), None


def grid_rms(activity: Tensor, grid: int) -> Tensor:
    """Root of the goodness of each channel in each cell of a grid: (B, C, H, W) → (B, s·s·C), r = sqrt(mean a²).

    Cells do not overlap and cover the map; a map smaller than the grid has one position a cell. The gradient at r = 0 is 0.
    """
    return _GridRMS.apply(activity, grid)


class ActivityWithCells(Tensor):
    """A map and its `grid_rms`, made on the way by the operation that made the map. Whatever is computed from it is a plain tensor again.

    Attributes:
        grid: cells a side.
        cells: root mean squares, (B, s·s·C), with their graph.
    """

    grid: int
    cells: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def join(activity: Tensor, grid: int, cells: Tensor) -> ActivityWithCells:
        """The same map, (B, C, H, W), with its root mean squares."""
        found = activity.as_subclass(ActivityWithCells)
        found.grid, found.cells = grid, cells
        return found


def cells_of(activity: Tensor, grid: int) -> Tensor:
    """`grid_rms`, taken from the fused operation that made the activity where that was asked to read it (`norm_act`)."""
    if isinstance(activity, ActivityWithCells) and activity.grid == grid:
        return activity.cells
    return grid_rms(activity, grid)
