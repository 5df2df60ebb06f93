"""Batch normalization, ReLU, 2×2 max pooling and goodness as one operation that keeps one map for backward: the convolution's output.

With u the convolution's output, x̂ its normalization and z = γ x̂ + β (+ residual), a = ReLU(z), p = a or its maximum in each window,
r = the root mean square of p in each cell of the readout's grid. Backward computes z again from u instead of keeping a, p and
the places of the maxima. Where only r sends a gradient, as in block-local training, dz = p · dr / (n r), one product.

Torch keeps u and a, and with pooling p and an 8-byte index a window: 2 maps the size of u, or 2.75. Here it is u alone; the result, which
is kept as the input of the next convolution in either case, is counted in neither.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerlocal.kernels.grid import EPS, ActivityWithCells, cell_sizes, spread_over_cells
from layerlocal.kernels.native import Shape, library

__all__ = ["fuses", "norm_act"]

CPU = torch.device("cpu")


def fuses(norm: nn.Module) -> bool:
    """Whether `norm_act` gives what this normalization and the modules after it give, here and now.

    Not for another kind of normalization (synchronized, without weights, cumulative), with hooks on it, under autocast, or while a graph is
    captured; nor in evaluation mode with gradients, which nothing here needs.
    """
    return (
        type(norm) is nn.BatchNorm2d
        and norm.affine
        and norm.momentum is not None
        and (norm.training or (norm.track_running_stats and not torch.is_grad_enabled()))
        and not (norm._forward_hooks or norm._forward_pre_hooks or norm._backward_hooks)
        and not torch.is_autocast_enabled(norm.weight.device.type)
        and not torch.compiler.is_compiling()
    )


def norm_act(
    u: Tensor, norm: nn.Module, *, pool: bool = False, residual: Tensor | None = None, grid: int = 0
) -> Tensor:
    """ReLU(norm(u) + residual), pooled where asked: (B, C, H, W) → (B, C, H, W) or (B, C, ⌈H/2⌉, ⌈W/2⌉).

    The same numbers as the modules one after another, up to rounding.

    Args:
        u: a convolution's output.
        norm: a batch normalization with weights and a fixed momentum; its running statistics move in training mode.
        pool: 2×2 max pooling, stride 2, rounding up; not together with a residual.
        residual: like u; added before the ReLU.
        grid: cells a side of the readout that will read the result; its root mean squares are made on the way and handed on with it
            (`ActivityWithCells`), for `cells_of`. 0: none.
    """
    assert isinstance(norm, nn.BatchNorm2d) and (residual is None or not pool)
    if norm.training:
        if norm.track_running_stats and norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
        p, rms = _NormAct.apply(u, norm.weight, norm.bias, residual, norm, pool, grid)
        return ActivityWithCells.join(p, grid, rms) if grid else p
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    z = torch.addcmul((norm.bias - norm.running_mean * scale)[:, None, None], u, scale[:, None, None])
    a = F.relu(z if residual is None else z + residual)
    return F.max_pool2d(a, 2, ceil_mode=True) if pool else a


class _NormAct(torch.autograd.Function):
    """Training mode. Saves u, the residual, and numbers a channel and a cell."""

    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        weight: Tensor,
        bias: Tensor,
        residual: Tensor | None,
        norm: nn.BatchNorm2d,
        pool: bool,
        grid: int,
    ) -> tuple[Tensor, Tensor | None]:
        make = _Native if _Native.takes(u, residual) else _Torch
        mean, var = make.statistics(u)
        _move_running_statistics(norm, mean, var, u.numel() // u.shape[1])
        rstd = (var + norm.eps).rsqrt()
        scale = weight * rstd
        shift = bias - mean * scale
        p, cell_sums, rms = make(u, scale, shift, residual, pool, grid).forward()
        ctx.save_for_backward(u, weight, bias, scale, shift, mean, rstd, residual, cell_sums, rms)
        ctx.make, ctx.pool, ctx.grid = make, pool, grid
        ctx.set_materialize_grads(False)
        return p, rms.flatten(1) if rms is not None else None

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        u, weight, bias, scale, shift, mean, rstd, residual, cell_sums, rms = ctx.saved_tensors
        dp, dr = gradients
        if dp is None and dr is None:
            return (None,) * 7
        work = ctx.make(u, scale, shift, residual, ctx.pool, ctx.grid)
        coefficient = None if dr is None else work.coefficients(rms, dr)
        if dp is None and residual is None and _divides(bias, weight):
            sum_dz, sum_dz_z = work.cell_sums(coefficient, cell_sums, rms)
            dweight = (sum_dz_z - bias * sum_dz) / weight  # Σ dz x̂, from z = γ x̂ + β
        else:
            sum_dz, sum_dz_u = work.backward_sums(coefficient, dp)
            dweight = (sum_dz_u - mean * sum_dz) * rstd
        count = u.numel() // u.shape[1]
        of_u = scale * dweight * rstd / count  # du = scale · (dz − Σdz/P − x̂ · Σ dz x̂ / P)
        constant = scale * sum_dz / count - of_u * mean
        du, dresidual = work.backward(coefficient, dp, constant, of_u)
        return du, dweight, sum_dz, dresidual if ctx.needs_input_grad[3] else None, None, None, None


def _move_running_statistics(norm: nn.BatchNorm2d, mean: Tensor, var: Tensor, count: int) -> None:
    """As `nn.BatchNorm2d`: towards the batch's mean and unbiased variance."""
    if norm.track_running_stats and norm.running_mean is not None and norm.running_var is not None:
        assert norm.momentum is not None
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(var * (count / max(1, count - 1)), norm.momentum)


def _divides(bias: Tensor, weight: Tensor) -> bool:
    """Whether x̂ = (z − β) / γ loses little precision. Not looked at on a device, which would have to be waited for."""
    return weight.device.type == "cpu" and bool((bias.abs() <= 16 * weight.abs()).all())


def _graph_is_freed() -> bool:
    """Whether the backward that runs now is the graph's last, so that what was saved for it may be written over."""
    keeps = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return keeps is not None and not keeps()


class _Torch:
    """The work in torch's operations: any device and type; what the compiled kernels are checked against."""

    def __init__(self, u: Tensor, scale: Tensor, shift: Tensor, residual: Tensor | None, pool: bool, grid: int) -> None:
        self.u, self.scale, self.shift, self.residual, self.pool, self.grid = u, scale, shift, residual, pool, grid
        self.height, self.width = ((side + 1) // 2 if pool else side for side in u.shape[2:])

    @staticmethod
    def statistics(u: Tensor) -> tuple[Tensor, Tensor]:
        var, mean = torch.var_mean(u, (0, 2, 3), correction=0)
        return mean, var

    def _act(self) -> Tensor:
        z = torch.addcmul(self.shift[:, None, None], self.u, self.scale[:, None, None])
        return (z if self.residual is None else z.add_(self.residual)).relu_()

    def forward(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """p, and in each cell its sum and its root mean square."""
        a = self._act()
        p = F.max_pool2d(a, 2, ceil_mode=True) if self.pool else a
        if not self.grid:
            return p, None, None
        return p, self._cell_sums(p), (self._cell_sums(p.square()) / self._counts()).sqrt()

    def _counts(self) -> Tensor:
        """Positions in each cell: (s, s, 1)."""
        rows, columns = (cell_sizes(side, self.grid, self.u.device) for side in (self.height, self.width))
        return (rows[:, None] * columns)[:, :, None]

    def coefficients(self, rms: Tensor, dr: Tensor) -> Tensor:
        """dr / (r n): what p is multiplied with, cell by cell, to be the gradient that comes through r."""
        return dr.view_as(rms) / ((rms + EPS) * self._counts())

    def cell_sums(self, coefficient: Tensor, cell_sums: Tensor, rms: Tensor) -> tuple[Tensor, Tensor]:
        """Σ dz and Σ dz z from the sums in cells: where dz = coefficient · p, and p = z wherever it is not 0."""
        return (coefficient * cell_sums).sum((0, 1, 2)), (coefficient * rms.square() * self._counts()).sum((0, 1, 2))

    def _cell_sums(self, p: Tensor) -> Tensor:
        """(B, C, H, W) → (B, s, s, C)."""
        x = p.permute(0, 2, 3, 1)
        for dim, side in ((2, self.width), (1, self.height)):
            parts = x.split(cell_sizes(side, self.grid, CPU).tolist(), dim)  # read here: a device would be waited for
            x = torch.stack([part.sum(dim) for part in parts], dim)
        return x

    def _dz(self, coefficient: Tensor | None, dp: Tensor | None) -> Tensor:
        a = self._act()
        p, places = F.max_pool2d(a, 2, ceil_mode=True, return_indices=True) if self.pool else (a, None)
        total = torch.zeros_like(p) if dp is None else dp
        if coefficient is not None:
            spread = spread_over_cells(coefficient, self.height, self.width)
            total = total + p * spread.permute(0, 3, 1, 2)
        total = total * (p > 0)
        if places is None:
            return total
        flat = torch.zeros_like(a).flatten(2).scatter_(2, places.flatten(2), total.flatten(2))
        return flat.view_as(a)

    def backward_sums(self, coefficient: Tensor | None, dp: Tensor | None) -> tuple[Tensor, Tensor]:
        dz = self._dz(coefficient, dp)
        return dz.sum((0, 2, 3)), (dz * self.u).sum((0, 2, 3))

    def backward(
        self, coefficient: Tensor | None, dp: Tensor | None, constant: Tensor, of_u: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        dz = self._dz(coefficient, dp)
        du = self.scale[:, None, None] * dz - constant[:, None, None] - of_u[:, None, None] * self.u
        return du, None if self.residual is None else dz


class _Native(_Torch):
    """The same in compiled C: float32, channels-last, CPU. A backward reads u twice and writes its gradient once."""

    def __init__(self, u: Tensor, scale: Tensor, shift: Tensor, residual: Tensor | None, pool: bool, grid: int) -> None:
        super().__init__(u, scale, shift, residual, pool, grid)
        number, channels, height, width = u.shape
        bands = grid or max(1, min(self.height, 8))  # without a readout, cells only share out the work
        self.cells = min(bands, self.height), min(grid or 1, self.width)
        self.shape = Shape(
            number, height, width, channels, self.height, self.width, *self.cells, 2 if pool else 1, torch.get_num_threads()
        )  # fmt: skip

    @staticmethod
    def takes(u: Tensor, residual: Tensor | None) -> bool:
        return (
            u.device.type == "cpu"
            and all(t.dtype == torch.float32 and t.is_contiguous(memory_format=torch.channels_last) for t in (u, residual) if t is not None)
            and library() is not None
        )  # fmt: skip

    @staticmethod
    def statistics(u: Tensor) -> tuple[Tensor, Tensor]:
        channels = u.shape[1]
        mean, var = u.new_empty(channels), u.new_empty(channels)
        kernels = library()
        assert kernels is not None
        kernels.ll_channel_stats(
            u.data_ptr(), u.numel() // channels, channels, mean.data_ptr(), var.data_ptr(), torch.get_num_threads()
        )
        return mean, var

    def _call(self, name: str, *arguments: Tensor | float | None) -> None:
        pointers = [each.data_ptr() if isinstance(each, Tensor) else each for each in arguments]
        getattr(library(), name)(ctypes.byref(self.shape), *pointers)

    def _map(self, height: int, width: int) -> Tensor:
        number, channels = self.u.shape[:2]
        return torch.empty_like(
            self.u.new_empty(()).expand(number, channels, height, width), memory_format=torch.channels_last
        )

    def forward(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        p = self._map(self.height, self.width)
        sums = rms = None
        if self.grid:
            sums, rms = (self.u.new_empty(len(p), *self.cells, p.shape[1]) for _ in range(2))
        self._call("ll_forward", self.u, self.scale, self.shift, self.residual, p, sums, rms)
        return p, sums, rms

    def coefficients(self, rms: Tensor, dr: Tensor) -> Tensor:
        found = torch.empty_like(rms)
        self._call("ll_coefficients", rms, dr.contiguous(), EPS, found)
        return found

    def cell_sums(self, coefficient: Tensor, cell_sums: Tensor, rms: Tensor) -> tuple[Tensor, Tensor]:
        total, total_z = self.u.new_empty(2, self.u.shape[1])
        self._call("ll_cell_sums", coefficient, cell_sums, rms, total, total_z)
        return total, total_z

    def _gradient(self, dp: Tensor | None) -> Tensor | None:
        return None if dp is None else dp.contiguous(memory_format=torch.channels_last)

    def backward_sums(self, coefficient: Tensor | None, dp: Tensor | None) -> tuple[Tensor, Tensor]:
        total, total_u = self.u.new_empty(2, self.u.shape[1])
        self._call(
            "ll_backward_sums", self.u, self.scale, self.shift, self.residual, coefficient, self._gradient(dp), total, total_u
        )  # fmt: skip
        return total, total_u

    def backward(
        self, coefficient: Tensor | None, dp: Tensor | None, constant: Tensor, of_u: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        du = self.u if _graph_is_freed() else torch.empty_like(self.u)
        dresidual = None if self.residual is None else torch.empty_like(self.residual)
        self._call(
            "ll_backward", self.u, self.scale, self.shift, self.residual, coefficient, self._gradient(dp), constant, of_u, du, dresidual
        )  # fmt: skip
        if du is self.u:
            torch.autograd.graph.increment_version(du)
        return du, dresidual
