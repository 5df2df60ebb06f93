"""FLOPs, two a multiply-add: the one counter of the house, and the one closed form where nothing is run."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from layerlocal.networks.base import as_found

__all__ = ["attention_flops", "flop_counter", "forward_flops", "layer_flops"]


def _conv_backward_flops(
    grad_shape: torch.Size, x_shape: torch.Size, weight_shape: torch.Size, *rest: Any, **_: Any
) -> int:
    """As many as forward for the gradient at the input, and again for that at the weights, whatever the number of groups.

    PyTorch's own formula (2.13) counts the gradient at the weights as if there were one group: twice as much for two, and for a depthwise
    convolution as often as it has channels.
    """
    transposed, wanted = rest[4], rest[7]
    positions = (x_shape if transposed else grad_shape)[2:]
    forward = 2 * x_shape[0] * prod(positions) * prod(weight_shape)
    return forward * sum(wanted[:2])


def attention_flops(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    """q kᵀ and its product with v, of all pairs of tokens. PyTorch (2.13) counts none for the CPU's kernel.

    Args:
        query: (B, H, T, D).
        key: likewise.
        value: likewise.
    """
    return 2 * prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _attention_backward_flops(
    _: torch.Size, query: torch.Size, key: torch.Size, value: torch.Size, *__: Any, **___: Any
) -> int:
    """q kᵀ once more, and two products for each of the two of the forward pass."""
    return 2 * prod(query[:-1]) * key[-2] * (3 * query[-1] + 2 * value[-1])


FORMULAS = {
    torch.ops.aten.convolution_backward: _conv_backward_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
}


def flop_counter() -> FlopCounterMode:
    """Counts matrix products and convolutions that run in a ``with`` block, eager and of any kind; ``get_total_flops()`` afterwards."""
    return FlopCounterMode(display=False, custom_mapping=FORMULAS)


def forward_flops(module: nn.Module, sample_shape: Sequence[int], *, samples: int = 1, whole: bool = False) -> int:
    """Of the forward pass of one sample in evaluation mode; the module is left as it was found.

    Args:
        module: any.
        sample_shape: without the batch.
        samples: how many are run, where they are the parts of one.
        whole: whether a sample is whole numbers.
    """
    like = next(module.parameters(), torch.empty(0))
    with as_found(module), torch.no_grad(), flop_counter() as counter:
        module(like.new_zeros(samples, *sample_shape, dtype=torch.long if whole else None))
    return counter.get_total_flops()


def layer_flops(weight_shape: Sequence[int], output_shape: Sequence[int]) -> int:
    """Of a convolution or linear map forward, from its shapes: each number that comes out is a sum over the weights of its channel.

    Args:
        weight_shape: (C_out, C_in / groups, *kernel), or (out, in).
        output_shape: with the batch.
    """
    return 2 * prod(output_shape) * prod(weight_shape[1:])
