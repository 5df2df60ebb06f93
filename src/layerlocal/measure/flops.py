"""FLOPs and passes of a training step and of a prediction, counted from what really runs (`layerlocal.networks.flops`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from layerlocal.measure.probe import forward_backward, refuse_batch, untouched
from layerlocal.networks.flops import flop_counter
from layerlocal.rules import Rule

__all__ = ["count_passes", "measure_flops"]


def measure_flops(rule: Rule, x: Tensor, y: Tensor) -> dict[str, Any]:
    """Matrix products and convolutions, forward and backward; element-wise work is not counted.

    Returns:
        ``flops_per_step`` and ``flops_per_prediction``, both for the whole batch of B samples.
    """
    refuse_batch(rule, x, y)
    with untouched(rule):
        rule.train()
        with flop_counter() as step:
            forward_backward(rule, x, y)
        rule.eval()
        with torch.no_grad(), flop_counter() as prediction:
            rule.scores(x)
    return {"flops_per_step": step.get_total_flops(), "flops_per_prediction": prediction.get_total_flops()}


def count_passes(rule: Rule, x: Tensor, y: Tensor) -> dict[str, Any]:
    """Samples that really went through the network's busiest block, per sample of the batch, in a step and in a prediction."""
    seen = [0] * rule.network.depth

    def counter(index: int) -> Callable[[Any, tuple[Tensor, ...]], None]:
        def count(_: Any, inputs: tuple[Tensor, ...]) -> None:
            seen[index] += len(inputs[0])

        return count

    handles = [block.register_forward_pre_hook(counter(index)) for index, block in enumerate(rule.network.blocks)]
    try:
        with untouched(rule):
            rule.train()
            forward_backward(rule, x, y)
            step = max(seen)
            seen[:] = [0] * len(seen)
            rule.eval()
            with torch.no_grad():
                rule.scores(x)
    finally:
        for handle in handles:
            handle.remove()
    return {"passes_per_step": step / len(x), "passes_per_prediction": max(seen) / len(x)}
