"""Run modules so that nothing in them learns or moves: how hybrids look at blocks that they do not train, and measures at a rule."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from layerlocal.devices import cuda_devices

if TYPE_CHECKING:
    from layerlocal.rules.core.rule import Rule

__all__ = ["call_apart", "call_frozen", "untouched", "with_gradients"]

OF_TORCH = frozenset(vars(nn.Module()))
"""Attributes that every module has."""


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


@contextmanager
def with_gradients() -> Iterator[None]:
    """What the caller has switched in torch counts for nothing inside: gradients are made in spite of ``torch.no_grad`` and
    ``torch.inference_mode``, ``torch.autocast`` does not change the precision, and a default device that is not the CPU does not move what
    is made.
    """
    with torch.inference_mode(False), torch.enable_grad(), ExitStack() as stack:
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


@contextmanager
def untouched(rule: Rule) -> Iterator[None]:
    """Put weights, buffers, gradients, mode, attributes and random generators back as they were.

    Inside, the rule is rewound and gradients are made whatever the caller does.
    """
    state = {name: _copy(value) if isinstance(value, Tensor) else value for name, value in rule.state_dict().items()}
    passing = [(buffer, buffer.clone()) for name, buffer in rule.named_buffers() if name not in state]
    attributes = [(part, _attributes(part)) for part in rule.modules()]
    gradients = [(p, p.grad) for p in rule.parameters()]
    modes = [(part, part.training) for part in rule.modules()]
    for parameter, _ in gradients:
        parameter.grad = None
    with torch.random.fork_rng(cuda_devices([*rule.parameters(), *rule.buffers()])), with_gradients():
        try:
            rule.rewind()
            yield
        finally:
            rule.load_state_dict(state)
            with torch.no_grad():
                for buffer, value in passing:
                    buffer.copy_(value)
            for part, kept in attributes:
                _put_back(part, kept)
            for part, training in modes:
                part.training = training
            for parameter, gradient in gradients:
                parameter.grad = gradient


Kept = dict[str, tuple[Any, Any, int]]
"""By name: an attribute, a copy of its content where that may change in place, and a tensor's version."""


def _attributes(part: nn.Module) -> Kept:
    """A module's own attributes, such as counters."""
    own = {name: value for name, value in vars(part).items() if name not in OF_TORCH}
    return {name: (value, _copy(value), getattr(value, "_version", 0)) for name, value in own.items()}


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    return value.copy() if type(value) in (list, dict, set, deque) else None


@torch.no_grad()
def _put_back(part: nn.Module, kept: Kept) -> None:
    own = vars(part)
    for name in [name for name in own if name not in OF_TORCH and name not in kept]:
        del own[name]
    for name, (value, content, version) in kept.items():
        own[name] = value
        if isinstance(value, Tensor):
            if value._version != version:
                value.copy_(content)
        elif content is not None:
            value.clear()
            value.extend(content) if isinstance(value, list | deque) else value.update(content)
