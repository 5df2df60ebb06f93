"""A group whose weights stay as they are, whatever trains them meanwhile: what others notice of its gradients then is their size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from layerlocal.rules.core.memory import memory, plain_parts

__all__ = ["Held", "larger_gradients", "tensors_in"]


def tensors_in(args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> Iterator[Tensor]:
    """Of a call: given one by one, or in lists."""
    for value in (*args, *(kwargs or {}).values()):
        yield from (
            part for part in (value if isinstance(value, tuple | list) else (value,)) if isinstance(part, Tensor)
        )


class Held(TorchFunctionMode):
    """Inside, the parameters are what they were at the start whenever an operation takes them.

    Two optimizer steps in one call, the second over what the first has moved, couple through weights; this takes that away, and leaves what
    reads the gradients themselves: one clipping norm, one scaler.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        super().__init__()
        self.kept = {id(p): [memory(part).clone() for part in plain_parts(p.detach())] for p in parameters}

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        for value in tensors_in(args, kwargs):
            if id(value) in self.kept:
                for part, content in zip(plain_parts(value.detach()), self.kept[id(value)], strict=False):
                    place = memory(part)
                    if place.shape == content.shape:
                        place.copy_(content)
        return func(*args, **(kwargs or {}))


@contextmanager
def larger_gradients(parameters: Sequence[nn.Parameter], factor: float) -> Iterator[None]:
    """The parameters' own gradients, so many times as large; what is passed on to others is as it was."""
    hooks = [p.register_hook(lambda gradient: gradient * factor) for p in parameters if p.requires_grad]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
