"""What theory allows: FLOPs and kept activities of backprop and of a block-local rule, in closed form from the shapes of the layers.

A convolution k×k from Ci to Co channels on an H×W map (a linear map is one on a 1×1 map) takes F = 2·k²·Ci·Co·H·W FLOPs a sample forward,
as many for the gradient of its weights (dW) and as many for the gradient of its input (dX). F is a formula of shapes (`layer_flops`), not a
count of what runs (`flop_counter`). Backprop needs all three, but dX of the layers that read the images: Σ 3F − F of the first. A rule that
trains each block by a loss of its own needs no dX at a block's input: Σ 2F for one layer a block. Readouts are left out: they are small, and
the same for a rule and its twins.

Attention of T tokens in D features takes F = 4·T²·D, products of activities without weights: its backward is 5/2 F, q kᵀ once more and two
products for each of the two, whatever is trained. A transformer's first operation on a block's input is a norm, whose own gradient needs
dX of what follows: a rule that trains each block by itself spares nothing there but in the first block.

Kept for backward, at the least: a block's input (for dW of its first layer) and every layer's output in it; everything between them can be
computed again from these. Backprop keeps that of all blocks at once, a block-local trainer that of one block: the largest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from layerlocal.networks import Network
from layerlocal.networks.base import as_found
from layerlocal.networks.flops import attention_flops, layer_flops

__all__ = ["Layer", "limits", "trace_layers"]


@dataclass(frozen=True)
class Layer:
    """One convolution, linear map or attention, for one sample.

    Args:
        block: index of its block.
        flops: of its forward, two a multiply-add.
        outputs: numbers it gives.
        reads_block_input: whether its input is the block's, at which a local rule needs no gradient.
        backward: FLOPs of its backward over those of its forward.
    """

    block: int
    flops: int
    outputs: int
    reads_block_input: bool
    backward: float = 2.0


class _Recorder(TorchDispatchMode):
    """Notes every convolution, matrix product and attention of a forward pass over two samples."""

    def __init__(self) -> None:
        super().__init__()
        self.block = 0
        self.block_input = 0
        self.layers: list[Layer] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        aten = torch.ops.aten
        if func is aten.convolution.default:
            self._note(args[0], args[1].shape, out)
        elif func is aten.addmm.default:
            self._note(args[1], args[2].shape[::-1], out)
        elif func is aten.mm.default:
            self._note(args[0], args[1].shape[::-1], out)
        elif func is aten.bmm.default:
            self._note_products(2 * out.numel() * args[0].shape[2], out, 2.0)
        elif "scaled_dot_product" in func.__name__:
            self._note_products(attention_flops(args[0].shape, args[1].shape, args[2].shape), out[0], 2.5)
        return out

    def _note(self, source: Tensor, weight: torch.Size, out: Tensor) -> None:
        """Of the rows of two samples, one's; of tokens a sample has several."""
        same = source.untyped_storage().data_ptr() == self.block_input
        self.layers.append(Layer(self.block, layer_flops(weight, out.shape) // 2, out.numel() // 2, same))

    def _note_products(self, flops: int, out: Tensor, backward: float) -> None:
        """Of activities with one another, for two samples."""
        self.layers.append(Layer(self.block, flops // 2, out.numel() // 2, False, backward))


def trace_layers(network: Network) -> list[Layer]:
    """Every layer of a network in the order of its forward pass; the network is left as it was found.

    Args:
        network: not compiled, of any device.
    """
    recorder = _Recorder()
    with as_found(network), torch.no_grad():
        h = network.prepare(network.random_inputs(2))
        for index, block in enumerate(network.blocks):
            recorder.block, recorder.block_input = index, h.untyped_storage().data_ptr()
            with recorder:
                activity = block(h)
            h = activity.clone()
    return recorder.layers


def limits(network: Network, batch_size: int, *, number_bytes: int = 4) -> dict[str, Any]:
    """The closed forms for one batch.

    Args:
        network: as for `trace_layers`.
        batch_size: B.
        number_bytes: of one activity: 4 in float32, 2 in bf16.

    Returns:
        ``forward_flops``, ``bp_flops``, ``local_flops`` (of a step), ``flops_ratio`` (local over backprop), ``speed_limit`` (its inverse:
        the most a block-local rule of one pass can gain where convolutions take all the time), ``bp_floor_bytes``, ``local_floor_bytes``
        (kept for backward), ``outputs_ratio`` (the largest block's layer outputs over those of all: what saved bytes shrink to where each
        layer keeps the same number of maps of the size of its output).
    """
    layers = trace_layers(network)
    inputs = [prod(network.sample_shape), *(prod(shape) for shape in network.activity_shapes[:-1])]
    outputs = [sum(layer.outputs for layer in layers if layer.block == index) for index in range(network.depth)]
    kept = [batch_size * number_bytes * (a + b) for a, b in zip(inputs, outputs, strict=True)]
    forward, backprop, local = (batch_size * value for value in _flops(layers))
    return {
        "forward_flops": forward,
        "bp_flops": backprop,
        "local_flops": local,
        "flops_ratio": local / backprop,
        "speed_limit": backprop / local,
        "bp_floor_bytes": sum(kept),
        "local_floor_bytes": max(kept),
        "outputs_ratio": max(outputs) / sum(outputs),
    }


def _flops(layers: Sequence[Layer]) -> tuple[int, int, int]:
    """Of one sample: forward, a step of backprop, a step of a block-local rule."""
    forward = sum(layer.flops for layer in layers)
    whole = forward + round(sum(layer.backward * layer.flops for layer in layers))
    first = sum(layer.flops for layer in layers if layer.block == 0 and layer.reads_block_input)
    unneeded = sum(layer.flops for layer in layers if layer.reads_block_input)
    return forward, whole - first, whole - unneeded
