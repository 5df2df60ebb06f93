"""Statistics of cells in operations that every exporter knows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from layerlocal.kernels import cell_max

__all__ = ["CellAverage", "CellMax"]


class CellAverage(nn.Module):
    """Means of cells of unequal size: (B, C, H, W) → (B, C, s, t). Cells cover the map, the first ones larger by one.

    Args:
        height: H.
        width: W.
        grid: cells a side, at most H and W of them.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, height: int, width: int, grid: int) -> None:
        super().__init__()
        for name, size in (("rows", height), ("columns", width)):
            cells = torch.arange(size).tensor_split(min(grid, size))
            average = torch.block_diag(*[torch.full((1, len(cell)), 1 / len(cell)) for cell in cells])
            self.register_buffer(name, average, persistent=False)  # (s, H) and (t, W)

    def forward(self, activity: Tensor) -> Tensor:
        """Two matrix products."""
        return self.rows @ (activity @ self.columns.T)


class CellMax(nn.Module):
    """Largest numbers of cells of unequal size: (B, C, H, W) → (B, C, s, t).

    Args:
        grid: cells a side.
    """

    def __init__(self, grid: int) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, activity: Tensor) -> Tensor:
        """`kernels.cell_max`."""
        return cell_max(activity, self.grid)
