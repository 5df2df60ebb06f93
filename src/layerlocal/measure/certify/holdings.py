"""What a step holds: every tensor, container, module, optimizer and random generator that can be reached from it, kept and put back bit by bit.

A step is somebody else's code. What it changes is found by walking from the function: its closure, its defaults, the globals that it names, the
object that it is a method of, and what these hold in turn. No ``state_dict`` is needed for that, so state that is made at the first step
(momentum, a scaler's scale) is taken away again too.
"""

from __future__ import annotations

import contextlib
import copy
import dis
import functools
import random
import re
import sysconfig
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from layerlocal.rules.core.memory import memory, plain_parts

__all__ = ["Holdings", "random_states", "set_random_states"]

MOST = 200_000
"""Objects that are looked at; a step that holds more has a data set in its hands."""
PLAIN = (
    str,
    bytes,
    int,
    float,
    complex,
    bool,
    type(None),
    type,
    types.ModuleType,
    types.CodeType,
    torch.dtype,
    torch.device,
    torch.Size,
)
CLOSED = ("logging", "threading", "multiprocessing", "asyncio", "concurrent", "io", "_io", "socket", "queue", "weakref", "re",
    "torch.utils.data", "torch.distributed", "torch._dynamo", "torch._inductor")  # fmt: skip
"""Modules whose objects are not looked into: they hold the process, or the data."""
LIBRARIES = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), str(Path(__file__).parents[2]))
Named = tuple[str, Any]
Undo = Callable[[], None]


def random_states() -> tuple[Any, ...]:
    """Of Python, numpy, torch and, where CUDA is in use, every GPU."""
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_available() and torch.cuda.is_initialized() else ()
    return (
        random.getstate(),
        np.random.get_state(),
        torch.get_rng_state(),
        [torch.cuda.get_rng_state(gpu) for gpu in gpus],
    )


def set_random_states(states: tuple[Any, ...]) -> None:
    """Put `random_states` back."""
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    for gpu, state in enumerate(states[3]):
        torch.cuda.set_rng_state(state, gpu)


class Holdings:
    """Everything a step can be seen to hold, as it was when this was made.

    Args:
        roots: by name: the step, the groups, whatever was given as its state.
        stateful: of these, what has a ``state_dict``; that of a class of one's own is loaded again too, whatever it keeps outside of Python.

    `tensors`, `modules`, `optimizers`, `schedulers` and `iterators` are what was found, most with their names; `scales`: whether a
    `GradScaler` was. `put_back` makes all of it as it was.
    """

    def __init__(self, roots: Mapping[str, Any], stateful: Sequence[Any] = ()) -> None:
        self.tensors: list[tuple[str, Tensor]] = []
        self.modules: list[tuple[str, nn.Module]] = []
        self.optimizers: list[tuple[str, Any]] = []
        self.schedulers: list[Any] = []
        self.scales = False
        self.iterators: list[str] = []
        self._undo: list[Undo] = []
        self._random = random_states()
        self._seen: dict[int, Any] = {}
        todo: deque[Named] = deque(roots.items())
        while todo and len(self._seen) < MOST:
            name, value = todo.popleft()
            if not isinstance(value, PLAIN) and id(value) not in self._seen:
                self._seen[id(value)] = value  # held, so that no address is given again
                todo.extend(self._look(name, value))
        self._undo += [_stateful(value) for value in stateful if not type(value).__module__.startswith("torch.")]

    def __contains__(self, value: object) -> bool:
        return id(value) in self._seen

    @torch.no_grad()
    def put_back(self) -> None:
        """Everything as it was: content, identity, gradients, modes, what optimizers keep, and random generators."""
        for undo in self._undo:
            undo()
        set_random_states(self._random)

    @property
    def parameters(self) -> dict[int, tuple[str, nn.Parameter]]:
        """By address: name, after the module that has it where one was found, and parameter."""
        found = {id(tensor): (name, tensor) for name, tensor in self.tensors if isinstance(tensor, nn.Parameter)}
        for name, module in reversed(self.modules):
            found |= {id(p): (f"{name}.{key}", p) for key, p in module.named_parameters() if id(p) in found}
        return found

    def _look(self, name: str, value: Any) -> Iterator[Named]:
        """Keep what one object is now; what it holds."""
        match value:
            case Tensor():
                yield from self._tensor(name, value)
            case types.FunctionType():
                yield from self._function(name, value)
            case types.MethodType():
                yield name, value.__func__
                yield f"{name}.__self__", value.__self__
            case functools.partial():
                yield name, value.func
                yield from self._items(name, dict(enumerate(value.args)) | value.keywords)
            case np.ndarray():
                if value.flags.writeable and not isinstance(value, np.memmap):
                    self._undo.append(_array(value))
            case random.SystemRandom():
                return
            case torch.Generator() | random.Random() | np.random.Generator() | np.random.RandomState():
                self._undo.append(_generator(value))
            case dict():
                self._undo.append(_dict(value))
                yield from self._items(name, dict(dict.items(value)))
            case list() | deque() | set():
                self._undo.append(_sequence(value))
                yield from self._items(name, dict(enumerate(value)))
            case tuple() | frozenset():
                yield from self._items(name, dict(enumerate(value)))
            case _:
                yield from self._object(name, value)

    def _items(self, name: str, items: Mapping[Any, Any]) -> Iterator[Named]:
        for key, value in items.items():
            if not isinstance(value, PLAIN):
                yield f"{name}[{key if isinstance(key, str | int) else type(key).__name__}]", value

    def _tensor(self, name: str, value: Tensor) -> Iterator[Named]:
        self.tensors.append((_as_written(name), value))
        self._undo.append(_tensor(value))
        if value.is_leaf and value.grad is not None:
            yield f"{name}.grad", value.grad
        for hooks in ("_backward_hooks", "_post_accumulate_grad_hooks"):  # an optimizer may step in one
            if isinstance(kept := getattr(value, hooks, None), dict) and kept:
                yield from self._items(name, kept)

    def _function(self, name: str, value: types.FunctionType) -> Iterator[Named]:
        for free, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            self._undo.append(_cell(cell))
            try:
                yield free, cell.cell_contents
            except ValueError:  # not filled yet
                continue
        yield from self._items(name, dict(enumerate(value.__defaults__ or ())) | (value.__kwdefaults__ or {}))
        if not _is_library(value.__code__):
            names = set(_names(value.__code__))
            self._undo.append(_globals(value.__globals__, names))
            yield from ((free, value.__globals__[free]) for free in sorted(names) if free in value.__globals__)

    def _object(self, name: str, value: Any) -> Iterator[Named]:
        if hasattr(type(value), "__next__"):
            self.iterators.append(_as_written(name))
            return
        if isinstance(value, nn.Module):
            self.modules.append((_as_written(name), value))
        if isinstance(value, torch.optim.Optimizer):
            self.optimizers.append((_as_written(name), value))
        if isinstance(value, torch.optim.lr_scheduler.LRScheduler):
            self.schedulers.append(value)
        self.scales |= isinstance(value, torch.amp.GradScaler) and value.is_enabled()
        attributes = getattr(value, "__dict__", None)
        if not isinstance(attributes, dict) or _is_closed(type(value)):
            return
        self._undo.append(_dict(attributes))
        for key, inner in list(attributes.items()):
            if not isinstance(inner, PLAIN):
                yield f"{name}.{key}", inner
        for part in type(value).__mro__:
            yield from (
                (name, method)
                for method in vars(part).values()
                if isinstance(method, types.FunctionType) and not _is_library(method.__code__)
            )


def _as_written(name: str) -> str:
    """``model._modules[head]._parameters[weight]`` as one would write it: ``model.head.weight``."""
    return re.sub(r"\._(?:modules|parameters|buffers)\[([^\]]*)\]", r".\1", name).replace(".__self__", "")


def _names(code: types.CodeType) -> Iterator[str]:
    """Globals that a function, and functions defined in it, read or write."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "STORE_GLOBAL", "LOAD_NAME"):
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _is_library(code: types.CodeType) -> bool:
    file = code.co_filename
    return "site-packages" in file or "dist-packages" in file or file.startswith(("<frozen", *LIBRARIES))


def _is_closed(kind: type) -> bool:
    home = kind.__module__ or ""
    return any(home == name or home.startswith(f"{name}.") for name in CLOSED)


# --- how each kind of thing is put back --------------------------------------------------------------------------------


def _tensor(value: Tensor) -> Undo:
    place, leaf, wanted = value.data, value.is_leaf, value.requires_grad
    contents = [_content(part) for part in plain_parts(place)]
    graded = leaf or value.retains_grad
    gradient = value.grad if graded else None

    def undo() -> None:
        if leaf and not value.is_leaf:  # what has a graph was written into it
            with contextlib.suppress(RuntimeError):  # a view
                value.detach_()
        if _places(value) != _places(place):
            value.data = place
        for content in contents:
            content()
        if graded and value.grad is not gradient:
            value.grad = gradient
        if leaf and value.is_leaf and value.requires_grad != wanted:
            value.requires_grad_(wanted)

    return undo


def _places(value: Tensor) -> list[Any]:
    """Where a tensor's parts lie."""
    return [value.dtype, *((part.data_ptr(), part.shape, part.stride()) for part in plain_parts(value.detach()))]


def _content(part: Tensor) -> Undo:
    """Each element once, bit by bit. What is as it was is not written: memory may be read-only, as that of an array or of a mapped file."""
    storage, place = part.untyped_storage(), memory(part)
    size, content = storage.nbytes(), place.clone()

    def undo() -> None:
        if storage.nbytes() < size:
            storage.resize_(size)
        if not torch.equal(place, content):
            place.copy_(content)

    return undo


def _dict(value: dict[Any, Any]) -> Undo:
    kept = dict(dict.items(value))  # a class of its own may make something of every look-up

    def undo() -> None:
        if len(value) != len(kept) or any(
            a is not c or b is not d for (a, b), (c, d) in zip(dict.items(value), kept.items(), strict=True)
        ):
            value.clear()
            value.update(kept)

    return undo


def _sequence(value: Any) -> Undo:
    kept = list(value)

    def undo() -> None:
        if len(value) != len(kept) or any(a is not b for a, b in zip(value, kept, strict=True)):
            value.clear()
            value.update(kept) if isinstance(value, set) else value.extend(kept)

    return undo


def _cell(cell: types.CellType) -> Undo:
    try:
        kept = cell.cell_contents
    except ValueError:
        return lambda: None

    def undo() -> None:
        cell.cell_contents = kept

    return undo


def _globals(value: dict[str, Any], names: set[str]) -> Undo:
    kept = {name: value[name] for name in names if name in value}

    def undo() -> None:
        for name in names:
            if name in kept:
                if value.get(name) is not kept[name]:
                    value[name] = kept[name]
            else:
                value.pop(name, None)

    return undo


def _array(value: np.ndarray) -> Undo:
    kept = value.copy()

    def undo() -> None:
        value[...] = kept

    return undo


def _generator(value: Any) -> Undo:
    match value:
        case torch.Generator():
            state = value.get_state().clone()
            return lambda: _set_state(value, state)
        case random.Random():
            kept = value.getstate()
            return lambda: value.setstate(kept)
        case np.random.RandomState():
            legacy = value.get_state()
            return lambda: value.set_state(legacy)
        case _:
            inner = copy.deepcopy(value.bit_generator.state)
            return lambda: setattr(value.bit_generator, "state", copy.deepcopy(inner))


def _stateful(value: Any) -> Undo:
    kept = copy.deepcopy(value.state_dict())
    return lambda: value.load_state_dict(copy.deepcopy(kept))


def _set_state(generator: torch.Generator, state: Tensor) -> None:
    generator.set_state(state)
