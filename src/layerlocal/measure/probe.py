"""Run a rule's step to look at it, and leave the rule as it was found."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from layerlocal.rules import Rule
from layerlocal.rules.core.frozen import untouched as untouched
from layerlocal.types import InputError

__all__ = ["exact_kernels", "forward_backward", "refuse_batch", "untouched"]


def forward_backward(rule: Rule, x: Tensor, y: Tensor) -> None:
    """Every loss of one batch and its backward, as the loop runs them, without the optimizer's step."""
    for loss in rule.losses(x, y):
        loss.value.backward()
        del loss


def refuse_batch(rule: Rule, x: Tensor, y: Tensor) -> None:
    """Refuse what is no batch for a rule, before anything is measured.

    Raises:
        InputError: no rule, no tensors, samples of another shape or type than the network takes or tokens beyond its vocabulary, labels that
            are not one of K classes each.
    """
    if not isinstance(rule, Rule):
        raise InputError(f"what is measured is a Rule, got {type(rule).__name__}; make one by create_rule")
    if not isinstance(x, Tensor) or not isinstance(y, Tensor):
        raise InputError(f"x and y must be tensors, got {type(x).__name__} and {type(y).__name__}")
    if x.shape[1:] != rule.network.sample_shape or not len(x):
        raise InputError(f"x must be (B, {', '.join(map(str, rule.network.sample_shape))}), got shape {tuple(x.shape)}")
    _refuse_other_numbers(rule, x)
    shape = (len(x), *rule.label_shape)
    if y.shape != shape or y.is_floating_point() or y.dtype == torch.bool:
        wanted = (
            f"{len(x)} whole numbers, one a sample"
            if len(shape) == 1
            else f"whole numbers of shape {shape}, one a token"
        )
        raise InputError(f"y must be {wanted}, got {y.dtype} of shape {tuple(y.shape)}")
    if not (int(y.min()) >= 0 and int(y.max()) < rule.num_classes):
        raise InputError(f"y must be 0 to {rule.num_classes - 1}, got labels from {int(y.min())} to {int(y.max())}")


def _refuse_other_numbers(rule: Rule, x: Tensor) -> None:
    vocabulary = rule.network.vocabulary
    if vocabulary is not None:
        if x.is_floating_point() or x.dtype == torch.bool or not (int(x.min()) >= 0 and int(x.max()) < vocabulary):
            raise InputError(
                f"x must be whole numbers from 0 to {vocabulary - 1}, the network's vocabulary, got {x.dtype}{_range(x)}"
            )
        return
    kind = next((p.dtype for p in rule.network.parameters()), torch.float32)
    if x.dtype != kind:
        raise InputError(f"x must be {kind} as the network's weights are, and normalized, got {x.dtype}")


def _range(x: Tensor) -> str:
    return "" if x.is_floating_point() or x.dtype == torch.bool else f" from {int(x.min())} to {int(x.max())}"


@contextmanager
def exact_kernels(device: torch.device) -> Iterator[None]:
    """On a GPU, where torch may add in another order each time, the same step gives the same bits inside; the CPU's always does.

    What has no such kernel is run as it is.
    """
    if device.type != "cuda":
        yield
        return
    cudnn = torch.backends.cudnn
    kept = cudnn.deterministic, cudnn.benchmark, torch.get_deterministic_debug_mode()
    cudnn.deterministic, cudnn.benchmark = True, False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the mode "warn" says which operations have none
        torch.set_deterministic_debug_mode("warn")
        try:
            yield
        finally:
            cudnn.deterministic, cudnn.benchmark = kept[:2]
            torch.set_deterministic_debug_mode(kept[2])
