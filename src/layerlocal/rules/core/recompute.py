"""Run a function, keep its input only, and run it again when its graph is needed: one chunk of activation checkpointing.

`torch.utils.checkpoint` does nearly this. It is not used because buffers would move twice (running statistics, smoothed temperatures)
and the second run would see other values than the first, and because what its second run keeps is seen by no
`saved_tensors_hooks`, so that `SavedBytes` would count a fraction of the truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Buffer", "Found", "buffers_of", "keep_input_only"]

Found = tuple[Tensor, list[Tensor], dict[str, Tensor]]
"""An activity, losses (scalars), and detached scalars to log."""
Buffer = tuple[nn.Module, str]
"""A module and the name of a buffer of its own."""


def buffers_of(modules: Iterable[nn.Module]) -> list[Buffer]:
    """Every buffer of these modules and of what is in them."""
    return [
        (part, name) for module in modules for part in module.modules() for name, _ in part.named_buffers(recurse=False)
    ]


def keep_input_only(run: Callable[[Tensor], Found], h: Tensor, buffers: list[Buffer]) -> Found:
    """``run(h)``, to the last bit with the same gradients, but between forward and backward only ``h`` is kept.

    The second run sees the buffers, random numbers and autocast of the first, and leaves no trace but gradients.

    Args:
        run: makes the activity and losses; what else it changes than ``buffers``, it changes twice.
        h: its input (B, ...), not changed in place.
        buffers: those that ``run`` may move.
    """
    if not torch.is_grad_enabled():
        return run(h)
    call = _Call(run, h, buffers)
    anchor = torch.empty(0, device=h.device, requires_grad=True)  # a segment's input needs no gradient, its weights do
    activity, *losses = _Recomputed.apply(h, anchor, call)
    return activity, losses, call.metrics


class _Call:
    """A function and all that a second run needs to find what the first found."""

    def __init__(self, run: Callable[[Tensor], Found], h: Tensor, buffers: list[Buffer]) -> None:
        self.run = run
        self.metrics: dict[str, Tensor] = {}
        self.buffers = buffers
        self.values = [getattr(part, name).clone() for part, name in self.buffers]
        self.devices = [h.device] if h.device.type == "cuda" else []
        self.random = [torch.get_rng_state(), *map(torch.cuda.get_rng_state, self.devices)]
        kind = h.device.type
        self.autocast = (kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))

    def again(self, h: Tensor) -> list[Tensor]:
        """The activity and the losses once more, with their graph."""
        with (
            torch.random.fork_rng(self.devices),
            torch.autocast(*self.autocast),
            _in_place_of(self.buffers, self.values),
        ):
            torch.set_rng_state(self.random[0])
            for device, state in zip(self.devices, self.random[1:], strict=True):
                torch.cuda.set_rng_state(state, device)
            activity, losses, _ = self.run(h)
        return [activity, *losses]


class _Recomputed(torch.autograd.Function):
    """Forward makes the graph and lets go of it; backward makes it again and goes through it."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, anchor: Tensor, call: _Call) -> tuple[Tensor, ...]:
        ctx.save_for_backward(h)
        ctx.call = call
        ctx.set_materialize_grads(False)
        with torch.enable_grad():
            activity, losses, call.metrics = call.run(h.detach().requires_grad_(h.requires_grad))
        found = [activity, *losses]
        outputs = [output.detach() for output in found]
        ctx.mark_non_differentiable(*(to for to, of in zip(outputs, found, strict=True) if not of.requires_grad))
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None, None]:
        (h,) = ctx.saved_tensors
        h = h.detach().requires_grad_(ctx.needs_input_grad[0])
        with torch.enable_grad():
            outputs = ctx.call.again(h)
        wanted = [(to, by) for to, by in zip(outputs, gradients, strict=True) if to.requires_grad and by is not None]
        torch.autograd.backward([to for to, _ in wanted], [by for _, by in wanted])
        return h.grad, None, None


@contextmanager
def _in_place_of(buffers: list[Buffer], values: list[Tensor]) -> Iterator[None]:
    """The modules have these values as buffers for the time; whatever becomes of them is thrown away."""
    now = [getattr(part, name) for part, name in buffers]
    _set_all(buffers, values)
    try:
        yield
    finally:
        _set_all(buffers, now)


def _set_all(buffers: list[Buffer], values: list[Tensor]) -> None:
    for (part, name), value in zip(buffers, values, strict=True):
        setattr(part, name, value)
