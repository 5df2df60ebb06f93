"""What a module's forward pass does between some of its submodules: which are called, in which order, and which operations come between."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils.hooks import RemovableHandle

from layerlocal.devices import cuda_devices, seed_generators

__all__ = ["Event", "Journal", "seed_of", "tensors_in"]

SIGNS = {
    "add": "+", "add_": "+", "__radd__": "+", "sub": "-", "__rsub__": "-", "mul": "*", "mul_": "*", "__rmul__": "*", "div": "/", "matmul": "@",
}  # fmt: skip
"""Methods of a tensor that are written as a sign."""
SHAPED = ("view", "reshape", "expand", "repeat")
"""Methods whose first number may be that of the samples."""
LISTS = nn.ModuleList | nn.ModuleDict | nn.ParameterList
"""Modules that hold others and are never called."""


@dataclass
class Event:
    """A call of a submodule, or of a function outside of the submodules that are watched.

    Attributes:
        name: of the submodule; of a function where it is found, such as ``torch.flatten``.
        part: the submodule; ``None`` for a function.
        given: the tensors that went in.
        made: the tensors that came out.
        arguments: of a function, as they were given.
        x: a copy of the first tensor that a named submodule was given.
        found: a copy of what a named submodule gave; what is no tensor as it is.
    """

    name: str
    part: nn.Module | None
    given: list[Tensor]
    made: list[Tensor] = field(default_factory=list)
    arguments: tuple[Any, ...] = ()
    x: Tensor | None = None
    found: Any = None


class Journal(TorchFunctionMode):
    """The events of one forward pass, in the order in which they ended; tensors are kept, so that each can be followed.

    Args:
        module: what is run.
        named: some of its submodules: copies of what they were given and gave are kept. Others are one event each, unless a named one is
            inside.
        functions: look at functions too.
    """

    def __init__(self, module: nn.Module, named: Sequence[nn.Module], *, functions: bool = True) -> None:
        super().__init__()
        self.module = module
        self.named = {id(part): place for place, part in enumerate(named)}
        self.functions = functions
        self.devices = cuda_devices([*module.parameters(), *module.buffers()])
        self.events: list[Event] = []
        self.input: Tensor | None = None
        self.inside = 0
        self.looking = False
        self.times: dict[int, int] = {}
        self.names = {id(tensor): name for name, tensor in [*module.named_parameters(), *module.named_buffers()]}

    def run(self, x: Tensor) -> None:
        """Run the module on ``x``; whatever it raises is raised, and no hook is left."""
        handles = [handle for name, part in self._watched() for handle in self._watch(name, part)]
        self.input = x
        seed_generators(0, self.devices)
        try:
            self._look(True)
            self.module(x)
        finally:
            self._look(False)
            for handle in handles:
                handle.remove()

    def _look(self, on: bool) -> None:
        """At functions, or at none: inside of a submodule that is watched torch must choose its kernels as it always does."""
        if self.functions and on != self.looking:
            self.looking = on
            if on:
                self.__enter__()
            else:
                self.__exit__(None, None, None)

    def _watched(self) -> Iterator[tuple[str, nn.Module]]:
        """The named submodules, and the largest ones without a named one in them."""
        seen: set[int] = set()

        def below(prefix: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
            for key, part in module.named_children():
                name = f"{prefix}{key}"
                if id(part) in seen:
                    continue
                if id(part) in self.named:
                    seen.add(id(part))
                    yield name, part
                elif isinstance(part, LISTS) or any(id(inner) in self.named for inner in part.modules()):
                    yield from below(f"{name}.", part)
                else:
                    seen.add(id(part))
                    yield name, part

        yield from below("", self.module)

    def _watch(self, name: str, part: nn.Module) -> Iterable[RemovableHandle]:
        begun: list[Event] = []

        def before(_: nn.Module, args: Any, kwargs: Any) -> None:
            self._look(False)
            self.inside += 1
            given = tensors_in((args, kwargs))
            event = Event(name, part, given)
            if self.inside == 1 and id(part) in self.named:
                event.x = given[0].clone() if given else None
                seed_generators(seed_of(self.named[id(part)], self.times.get(id(part), 0), after=False), self.devices)
            begun.append(event)

        def after(_: nn.Module, args: Any, kwargs: Any, found: Any) -> None:
            event = begun.pop()
            event.made = tensors_in(found)
            if self.inside == 1:
                if id(part) in self.named:
                    time = self.times.get(id(part), 0)
                    event.found = found.clone() if isinstance(found, Tensor) else found
                    seed_generators(seed_of(self.named[id(part)], time, after=True), self.devices)
                    self.times[id(part)] = time + 1
                self.events.append(event)
            self.inside -= 1
            self._look(not self.inside)

        yield part.register_forward_pre_hook(before, with_kwargs=True)
        yield part.register_forward_hook(after, with_kwargs=True)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note a function that makes tensors."""
        found = func(*args, **(kwargs or {}))
        if made := tensors_in(found):
            name = resolve_name(func) or getattr(func, "__name__", "a function")
            arguments = (*args, *((kwargs or {}).items()))
            self.events.append(Event(name, None, tensors_in((args, kwargs)), made, arguments))
        return found

    def next_call(self, part: nn.Module, since: int) -> int | None:
        """The place of the first call of a submodule from the event ``since`` on; ``None``: there is none."""
        return next((at for at in range(since, len(self.events)) if self.events[at].part is part), None)

    def between(self, start: int, end: int) -> tuple[list[Event], bool]:
        """The events through which what event ``start`` made (-1: the input) came to event ``end``, and whether it came there at all."""
        origin = [self.input] if start < 0 else self.events[start].made
        stems = {id(tensor) for tensor in origin if tensor is not None}
        downstream: set[int] = set()
        for at in range(start + 1, end):
            if stems & {id(tensor) for tensor in self.events[at].given}:
                downstream.add(at)
                stems |= {id(tensor) for tensor in self.events[at].made}
        wanted = {id(tensor) for tensor in self.events[end].given[:1]}
        arrives, path = bool(wanted & stems), []
        for at in reversed(range(start + 1, end)):
            made = {id(tensor) for tensor in self.events[at].made}
            if made & wanted:
                wanted |= {id(tensor) for tensor in self.events[at].given}
                if at in downstream:
                    path.append(self.events[at])
        return path[::-1], arrives

    def unexplained(self, end: int) -> bool:
        """Whether the first input of event ``end`` came out of something that was not seen."""
        x = self.events[end].given[0]
        return x is not self.input and not any(x is made for event in self.events[:end] for made in event.made)

    def owners(self, event: Event) -> list[str]:
        """Parameters and buffers of the module that a function got, or that what it got was made of without the input."""
        tensors = event.given if event.part is None else ()
        return list(dict.fromkeys(name for tensor in tensors for name in self._origins(tensor)[0]))

    def _origins(self, tensor: Tensor) -> tuple[list[str], bool]:
        """What a tensor is made of: parameters and buffers, by name, none where the input is among it; and whether the input is."""
        wanted, found = {id(tensor)}, [] if id(tensor) not in self.names else [self.names[id(tensor)]]
        for event in reversed(self.events):
            if any(id(made) in wanted for made in event.made):
                wanted |= {id(given) for given in event.given}
                found += [self.names[id(given)] for given in event.given if id(given) in self.names]
        return ([], True) if id(self.input) in wanted else (found, False)

    def text(self, event: Event, main: Sequence[Tensor]) -> str:
        """The event as it is written in Python: ``torch.flatten(x, 1)``, ``x + y``; of a submodule its name in quotes.

        Args:
            event: a call.
            main: what is called ``x``; any other tensor is called by the parameter that it is made of, or ``y``.
        """
        if event.part is not None:
            return repr(event.name)

        def shown(value: Any) -> str:
            if isinstance(value, Tensor):
                if any(value is tensor for tensor in main):
                    return "x"
                return next(iter(self._origins(value)[0]), "y")
            if isinstance(value, list | tuple):
                inner = ", ".join(map(shown, value))
                return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(value) == 1)})"
            return str(value) if isinstance(value, torch.dtype | torch.device) else repr(value)

        return _call_text(event, shown)


def _call_text(event: Event, shown: Callable[[Any], str]) -> str:
    """A function's call."""
    named = [value for value in event.arguments if _is_named(value)]
    plain = [shown(value) for value in event.arguments if not _is_named(value)]
    kept = [f"{name}={shown(value)}" for name, value in named if value is not None and name != "inplace"]
    owner, _, method = event.name.rpartition(".")
    if owner == "torch.Tensor":
        if method in SIGNS and len(plain) == 2 and not kept:
            first, second = reversed(plain) if method.startswith("__r") else plain
            return f"{first} {SIGNS[method]} {second}"
        if method == "__getitem__":
            return f"{plain[0]}[{_index_text(event.arguments[1])}]"
        if method in SHAPED and event.given and plain[1:]:
            plain[1] = re.sub(rf"^(\(?|\[?){len(event.given[0])}\b", rf"\1len({plain[0]})", plain[1])
        return f"{plain[0]}.{method}({', '.join([*plain[1:], *kept])})"
    if event.name.endswith(".__get__"):
        return f"{plain[0]}.{owner.rpartition('.')[2]}"
    name = event.name.replace("torch.nn.functional.", "F.")
    return f"{name}({', '.join([*plain, *kept])})"


def _is_named(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)


def _index_text(index: Any) -> str:
    """``:, 0`` of ``(slice(None), 0)``."""
    parts = index if isinstance(index, tuple) else (index,)
    texts = []
    for part in parts:
        if isinstance(part, slice):
            ends = ["" if end is None else str(end) for end in (part.start, part.stop, part.step)]
            texts.append(":".join(ends[: 3 if ends[2] else 2]))
        else:
            texts.append("..." if part is Ellipsis else "y" if isinstance(part, Tensor) else repr(part))
    return ", ".join(texts)


def seed_of(place: int, time: int, *, after: bool) -> int:
    """What torch draws from before and after the call of a named submodule, whatever else was drawn until then."""
    return 2 * (1000 * place + time) + after


def tensors_in(found: Any) -> list[Tensor]:
    """The tensors of nested tuples, lists and dictionaries, in order."""
    if isinstance(found, Tensor):
        return [found]
    values = found.values() if isinstance(found, dict) else found if isinstance(found, list | tuple) else ()
    return [tensor for value in values for tensor in tensors_in(value)]
