"""Run modules so that nothing in them can learn or move: how hybrids look at blocks that they do not train."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

__all__ = ["call_apart", "call_frozen"]


class _Held(nn.Module):
    """Lends any function on some modules to `functional_call`."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        super().__init__()
        self.held = nn.ModuleList(modules)

    def forward(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)


def call_frozen(modules: Iterable[nn.Module], function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)`` with every parameter of the modules detached and every buffer of theirs a copy that is thrown away.

    Gradient flows through the call to ``args`` only; running statistics, smoothed temperatures and the like stay as they are. Detached
    tensors also keep autocast from caching a copy of a weight without a graph, with which the next forward pass would train nothing.

    Args:
        modules: what is held still while the function runs; it finds them where they always are.
        function: anything that runs them.
        *args: its arguments.
    """
    held = _Held(modules)
    tensors: dict[str, Tensor] = {name: parameter.detach() for name, parameter in held.named_parameters()}
    return functional_call(held, tensors | _copied_buffers(held), (function, *args))


def call_apart(modules: Iterable[nn.Module], function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)`` with every buffer of the modules a copy that is thrown away; parameters are the modules' own."""
    held = _Held(modules)
    return functional_call(held, _copied_buffers(held), (function, *args))


def _copied_buffers(module: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in module.named_buffers()}
