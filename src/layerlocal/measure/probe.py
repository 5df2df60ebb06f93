"""Run a rule's step to look at it, and leave the rule as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from layerlocal.rules import Rule
from layerlocal.train import with_gradients

__all__ = ["forward_backward", "untouched"]


@contextmanager
def untouched(rule: Rule) -> Iterator[None]:
    """Put weights, buffers, gradients, mode and random generators back as they were; inside, gradients are made whatever the caller does."""
    state = {name: value.clone() for name, value in rule.state_dict(keep_vars=False).items()}
    gradients = [(p, p.grad) for p in rule.parameters()]
    modes = [(part, part.training) for part in rule.modules()]
    for parameter, _ in gradients:
        parameter.grad = None
    rule.rewind()
    with torch.random.fork_rng(), with_gradients():
        try:
            yield
        finally:
            rule.load_state_dict(state)
            for part, training in modes:
                part.training = training
            for parameter, gradient in gradients:
                parameter.grad = gradient


def forward_backward(rule: Rule, x: Tensor, y: Tensor) -> None:
    """Every loss of one batch and its backward, as the loop runs them, without the optimizer's step."""
    for loss in rule.losses(x, y):
        loss.value.backward()
        del loss
