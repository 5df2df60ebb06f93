"""Batch normalization over a batch whose parts lie on several processes: the statistics, and their gradients, of the whole batch.

torch's own `SyncBatchNorm` is for GPUs only; this one runs wherever the process group does. Every process combines the same numbers in the same
order, so running statistics have the same bits on each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from layerlocal.distributed.group import Group
from layerlocal.networks.blocks import FusableBlock

__all__ = ["SyncBatchNorm", "synchronize_norms"]


class _Normalize(torch.autograd.Function):
    """(x − mean) / sqrt(var + eps) · weight + bias, with mean and variance a function of the x of all processes."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        var: Tensor,
        eps: float,
        total: int,
        group: Group,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(var + eps))
        ctx.total, ctx.group = total, group
        return F.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale = ctx.saved_tensors
        dims = [dim for dim in range(x.dim()) if dim != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        dy = gradients[0].to(mean.dtype)
        centred = x.to(mean.dtype) - mean.view(shape)
        bias_gradient = dy.sum(dims)
        weight_gradient = (dy * centred).sum(dims) * scale
        dx = None
        if ctx.needs_input_grad[0]:
            sums = torch.stack(ctx.group.gather(torch.stack([bias_gradient, weight_gradient]))).sum(0) / ctx.total
            by = scale if weight is None else scale * weight
            dx = torch.addcmul(centred * (-by * scale * sums[1]).view(shape), dy - sums[0].view(shape), by.view(shape))
            dx = dx.to(x.dtype)
        return dx, *((None, None) if weight is None else (weight_gradient, bias_gradient)), None, None, None, None, None


class SyncBatchNorm(_BatchNorm):
    """A batch normalization's parameters and running statistics, its batch statistics taken over all processes.

    Args:
        norm: whose parameters and buffers are shared, not copied.
        group: the processes.
    """

    def __init__(self, norm: _BatchNorm, group: Group) -> None:
        nn.Module.__init__(self)
        for name in ("num_features", "eps", "momentum", "affine", "track_running_stats", "training"):
            setattr(self, name, getattr(norm, name))
        self._parameters = norm._parameters
        self._buffers = norm._buffers
        self.group = group

    def _check_input_dim(self, input: Tensor) -> None:
        """Whatever the normalization it stands for was given."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) → the same shape."""
        if not self.training:
            return super().forward(x)
        mean, var, total = self._statistics(x.detach())
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
            self.running_var.lerp_((var * (total / max(1, total - 1))).to(self.running_var.dtype), share)
        found: Tensor = _Normalize.apply(x, self.weight, self.bias, mean, var, self.eps, total, self.group)
        return found

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor, int]:
        """Mean (C,), biased variance (C,) and number of values a channel, over all processes (each has as many)."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        var, mean = torch.var_mean(x, [dim for dim in range(x.dim()) if dim != 1], correction=0)
        found = torch.stack(self.group.gather(torch.stack([mean, var])))  # (W, 2, C)
        whole = found[:, 0].mean(0)
        between = (found[:, 0] - whole).square().mean(0)
        return whole, found[:, 1].mean(0) + between, x.numel() // x.shape[1] * self.group.size


def synchronize_norms(module: nn.Module, group: Group) -> Callable[[], None]:
    """Put a `SyncBatchNorm` in the place of every batch normalization; call what is returned to put the old ones back.

    Parameters and buffers stay the same objects under the same names, so optimizers and checkpoints notice nothing. Fused blocks
    (`Network.use_fused`) run their modules one after another meanwhile.
    """
    fused = [part for part in module.modules() if isinstance(part, FusableBlock) and part.fused]
    replaced: list[tuple[nn.Module, str, nn.Module]] = []
    made: dict[int, SyncBatchNorm] = {}
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm) and not isinstance(child, SyncBatchNorm):
                replaced.append((parent, name, child))
                setattr(parent, name, made.setdefault(id(child), SyncBatchNorm(child, group)))
    _set_fused(fused, False)

    def undo() -> None:
        for parent, name, child in replaced:
            child.train(made[id(child)].training)
            setattr(parent, name, child)
        _set_fused(fused, True)

    return undo


def _set_fused(parts: list[FusableBlock], fused: bool) -> None:
    for part in parts:
        part.fused = fused
