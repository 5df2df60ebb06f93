"""How a block's activity becomes class scores: a statistic on a small spatial grid, standardized, then one linear map."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from layerlocal.kernels import cells_of, grid_max, grid_mean
from layerlocal.options import whole_number
from layerlocal.types import InputError

__all__ = ["CellReader", "SpatialReadout", "pair_scores", "parse_factors", "refuse_unknown_statistic"]

_POOLS: dict[str, Callable[[Tensor, int], Tensor]] = {"rms": cells_of, "mean": grid_mean, "max": grid_max}


def refuse_unknown_statistic(statistic: str) -> None:
    """See that a readout can read this of a cell.

    Raises:
        InputError: it cannot.
    """
    if statistic not in _POOLS:
        raise InputError(f"readout must be 'rms', 'mean' or 'max', got {statistic!r}")


class CellReader(nn.Module):
    """A head that may read root mean squares of cells, which a fused block makes on its way (`networks.blocks.FusableBlock`)."""

    @property
    def rms_cells(self) -> int:
        """Cells a side whose root mean squares it reads; 0: it reads something else."""
        raise NotImplementedError


class SpatialReadout(CellReader):
    """(B, C, H, W) → (B, K) or (B, D) → (B, K).

    Each channel is summed up in each cell of a ``grid`` × ``grid`` partition of the map, by its root mean square (goodness) or its mean
    (activity); the C·grid² numbers are standardized over the batch and go through a linear map. Vectors (B, D) are their own numbers.
    Root mean squares are positive and nearly alike, so an optimizer is slow on them as they are: standardizing was worth 2 to 4 pp on
    Fashion-MNIST validation data at two epochs, to local rules and twins alike.

    Args:
        activity_shape: shape of the activity without the batch dimension.
        num_classes: K.
        statistic: ``"rms"``, ``"mean"`` or ``"max"``.
        grid: cells a side, ≥ 1; a map smaller than the grid has one position a cell.
        factors: ``"AxB"`` with A·B = K where a class is a pair (a, b), class a·B + b: the linear map gives A + B numbers, and a pair's
            score is the sum of its two, so that pairs never seen in training can be answered. ``None``: K numbers.
    """

    def __init__(
        self,
        activity_shape: Sequence[int],
        num_classes: int,
        *,
        statistic: str = "rms",
        grid: int = 2,
        factors: str | None = None,
    ) -> None:
        super().__init__()
        refuse_unknown_statistic(statistic)
        grid, num_classes = whole_number("grid", grid, least=1), whole_number("num_classes", num_classes, least=1)
        if len(activity_shape) not in (1, 3):
            raise InputError(
                f"a readout takes activities (B, D) or (B, C, H, W), got (B, {', '.join(map(str, activity_shape))})"
            )
        self.statistic = statistic
        self.grid = grid
        features = activity_shape[0]
        if len(activity_shape) == 3:
            features *= min(grid, activity_shape[1]) * min(grid, activity_shape[2])
        self.is_map = len(activity_shape) == 3
        self.standardize = nn.BatchNorm1d(features, affine=False)
        self.factors = parse_factors(factors, num_classes)
        self.linear = nn.Linear(features, sum(self.factors) if self.factors else num_classes)

    @property
    def reads(self) -> str:
        """What it reads, in a few words."""
        what = "RMS" if self.statistic == "rms" else self.statistic
        return f"{what}, {self.grid}×{self.grid} cells" if self.is_map else "units as they are"

    @property
    def rms_cells(self) -> int:
        """Cells a side whose root mean squares it reads; 0: it reads something else."""
        return self.grid if self.statistic == "rms" else 0

    def forward(self, activity: Tensor) -> Tensor:
        """Class scores (B, K)."""
        if activity.dim() == 4:
            activity = _POOLS[self.statistic](activity, self.grid)
        scores = self.linear(self.standardize(activity))
        return pair_scores(scores, self.factors) if self.factors else scores


def pair_scores(scores: Tensor, factors: list[int]) -> Tensor:
    """Of each pair the sum of its two numbers: (..., A + B) → (..., A·B), pair (a, b) at a·B + b."""
    first, second = scores.split(factors, dim=-1)
    return (first[..., :, None] + second[..., None, :]).flatten(-2)


def parse_factors(text: str | None, num_classes: int) -> list[int] | None:
    """``"10x10"`` → [10, 10], if their product is K.

    Raises:
        InputError: not two numbers, or another product.
    """
    if text is None:
        return None
    parts = str(text).split("x")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts) or int(parts[0]) * int(parts[1]) != num_classes:
        raise InputError(f"factors must be 'AxB' with A·B = {num_classes} classes, got {text!r}")
    return [int(part) for part in parts]
