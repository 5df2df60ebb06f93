"""What each block of a rule costs on one process, as `layerlocal.experiments.cost.model` needs it: seconds by timing, bytes by counting."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from layerlocal.distributed import DataParallel
from layerlocal.experiments.cost.model import BlockCost
from layerlocal.rules import Rule
from layerlocal.spec import Recipe
from layerlocal.training.optimizer import make_optimizer

__all__ = ["block_costs"]

Seconds = list[tuple[float, float]]
_OPTIMIZER_ROUNDS = 5


def block_costs(
    rule: Rule, batch: tuple[Tensor, Tensor], recipe: Recipe, *, rounds: int, parallel: DataParallel | None = None
) -> list[BlockCost]:
    """Of each block with its readout.

    Seconds are fixed + samples · slope, through the whole batch and its half; a slope is never more than the whole batch's seconds a sample.

    Args:
        rule: block-local with one loss a block in their order, or with one loss for all blocks.
        batch: x (B, *sample_shape), y (B,); B even.
        recipe: its optimizer's step counts among what is fixed.
        rounds: of each size, after one to warm up; medians count.
        parallel: the rule as a process of several runs it, if it is to be timed so.
    """
    x, y = batch
    size = len(x)
    half, whole = (_median_seconds(rule, (x[:n], y[:n]), rounds, parallel) for n in (size // 2, size))
    per_number = _optimizer_seconds(rule, recipe) / sum(p.numel() for p in rule.parameters())
    found = []
    for index, parameters in enumerate(rule.block_parameters().values()):
        numbers = sum(p.numel() for p in parameters)
        slopes = [
            min(max(0.0, (whole[index][side] - half[index][side]) / (size - size // 2)), whole[index][side] / size)
            for side in (0, 1)
        ]
        fixed = per_number * numbers + sum(whole[index]) - size * sum(slopes)
        statistics, statistics_bytes = _statistics(rule, index)
        found.append(
            BlockCost(
                forward_seconds=slopes[0],
                backward_seconds=slopes[1],
                fixed_seconds=fixed,
                gradient_bytes=4 * numbers,
                activity_bytes=4 * torch.Size(rule.network.activity_shapes[index]).numel(),
                statistics=statistics,
                statistics_bytes=statistics_bytes,
            )
        )
    return found


def _median_seconds(rule: Rule, batch: tuple[Tensor, Tensor], rounds: int, parallel: DataParallel | None) -> Seconds:
    runs = []
    for number in range(rounds + 1):
        if parallel is not None:
            parallel.expect([batch])
        run = _timed(parallel or rule, *batch)
        rule.zero_grad()
        if number:
            runs.append(run)
    return [(median(run[i][0] for run in runs), median(run[i][1] for run in runs)) for i in range(rule.network.depth)]


def _timed(rule: Rule, x: Tensor, y: Tensor) -> Seconds:
    """(forward, backward) seconds of each block in one step."""
    blocks = list(rule.network.blocks)
    depth = len(blocks)
    begun, forward, arrived = [0.0] * depth, [0.0] * depth, [0.0] * depth

    def on_begin(index: int) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            begun[index] = time.perf_counter()

        return hook

    def on_end(index: int) -> Callable[..., None]:
        def arrive(_: Tensor) -> None:
            arrived[index] = time.perf_counter()

        def hook(_: nn.Module, __: Any, out: Tensor) -> None:
            forward[index] = time.perf_counter() - begun[index]
            if out.requires_grad:
                out.register_hook(arrive)

        return hook

    handles = [block.register_forward_pre_hook(on_begin(i)) for i, block in enumerate(blocks)]
    handles += [block.register_forward_hook(on_end(i)) for i, block in enumerate(blocks)]
    backward = [0.0] * depth
    start = time.perf_counter()
    for number, loss in enumerate(rule.losses(x, y)):
        there = time.perf_counter()
        loss.value.backward()
        end = time.perf_counter()
        if loss.block == "all":
            forward[-1] += there - start - sum(forward)  # the readout's
            ends = [end, *arrived[:-1]]  # a block's backward ends where the gradient arrives at the block before
            backward = [last - first for first, last in zip(arrived, ends, strict=True)]
            backward[-1] += arrived[-1] - there
        else:
            forward[number], backward[number] = there - start, end - there
        start = time.perf_counter()
    for handle in handles:
        handle.remove()
    return list(zip(forward, backward, strict=True))


def _optimizer_seconds(rule: Rule, recipe: Recipe) -> float:
    """Of one step on gradients of 0."""
    optimizer = make_optimizer(rule, recipe)
    for parameter in rule.parameters():
        parameter.grad = torch.zeros_like(parameter)
    seconds = []
    for _ in range(_OPTIMIZER_ROUNDS):
        start = time.perf_counter()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    rule.zero_grad()
    return median(seconds)


def _statistics(rule: Rule, index: int) -> tuple[int, int]:
    """What a block's batch normalizations (and its readout's average) have to agree on: how often, and how many bytes both ways."""
    name = rule.network.block_names[index]
    heads = getattr(rule, "heads", {})
    parts: Sequence[nn.Module] = [rule.network.blocks[index], *([heads[name]] if name in heads else [])]
    norms = [m for part in parts for m in part.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    averages = sum(hasattr(m, "whole_mean") for part in parts for m in part.modules())
    return len(norms), 16 * sum(norm.num_features for norm in norms) + 8 * averages
