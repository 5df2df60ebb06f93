"""How a user's own module is cut into blocks: by the names of its submodules, with the functions that its forward pass calls between them.

The cut is held against the module's own forward pass, submodule by submodule, in evaluation and in training mode: what a block is given and
what it gives must be what it is given and gives in the module. Where it is not, what was lost is named (`Journal`).
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from layerlocal.devices import cuda_devices, seed_generators
from layerlocal.networks.blocks import kind_of
from layerlocal.networks.journal import LISTS, Event, Journal, seed_of
from layerlocal.types import InputError, describe_error, first_line, shown

__all__ = ["Applied", "Cut", "Entry", "Step"]

Step = str | nn.Module | Callable[[Tensor], Tensor]
"""A part of a block: a submodule's name, or what is done between two of them."""
Entry = Step | Sequence[Step]
"""A block."""
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
"""How near a function that the user wrote comes to what the module does in its place, and kernels of a GPU to themselves."""


class Applied(nn.Module):
    """A function as a part of a block.

    Args:
        function: maps one tensor to one; it has no weights of its own.
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """What the function gives."""
        return self.function(x)

    def extra_repr(self) -> str:
        """The function's name."""
        return name_of(self.function)


@dataclass(frozen=True)
class _Part:
    """A part of a block, found.

    Attributes:
        block: the index of its block.
        name: of the submodule, or of the function.
        module: that runs it.
        named: whether it is a submodule of the module that is cut.
    """

    block: int
    name: str
    module: nn.Module
    named: bool


class Cut:
    """A module and where it is cut.

    Args:
        module: any.
        blocks: as `Network.from_module` takes them.

    Raises:
        InputError: what is no module, no list of blocks, or a name that is not a submodule.
    """

    def __init__(self, module: Any, blocks: Any) -> None:
        if not isinstance(module, nn.Module):
            raise InputError(f"a network is cut from an nn.Module, got {type(module).__name__}")
        self.module, self.who = module, type(module).__name__
        self.names = {id(part): name for name, part in module.named_modules(remove_duplicate=False) if name}
        self.parts = [
            self._part(index, step) for index, entry in enumerate(_entries(blocks)) for step in _steps(entry, blocks)
        ]
        self._refuse_nested()

    def _part(self, block: int, step: Step) -> _Part:
        if isinstance(step, str):
            known = {name for name, _ in self.module.named_modules(remove_duplicate=False) if name}
            if step not in known:
                raise InputError(f"{self.who} has no submodule {step!r}; it has: {', '.join(sorted(known))}")
            return _Part(block, step, self.module.get_submodule(step), True)
        if isinstance(step, nn.Module):
            name = self.names.get(id(step))
            return _Part(block, name or f"the {type(step).__name__} of block{block}", step, name is not None)
        if step is torch.flatten:  # which would join the samples of a batch, too
            return _Part(block, "torch.flatten", nn.Flatten(), False)
        return _Part(block, name_of(step), Applied(step), False)

    def _refuse_nested(self) -> None:
        names = [part.name for part in self.parts if part.named]
        for inner in names:
            for outer in names:
                if inner.startswith(f"{outer}."):
                    raise InputError(f"{inner!r} is a part of {outer!r}, which is named too; name one of the two")

    def blocks(self) -> list[nn.Module]:
        """The blocks: modules of the user's own where one name is one block, `nn.Sequential` of them otherwise."""
        found: dict[int, list[nn.Module]] = {}
        for part in self.parts:
            found.setdefault(part.block, []).append(part.module)
        return [parts[0] if len(parts) == 1 else nn.Sequential(*parts) for parts in found.values()]

    def names_of(self, network: nn.Module) -> dict[str, str]:
        """The names that the network's weights and buffers have in the module, by their name in the network."""
        theirs = {id(value): name for name, value in self.module.state_dict(keep_vars=True).items()}
        ours = network.state_dict(keep_vars=True)
        return {name: theirs[id(value)] for name, value in ours.items() if id(value) in theirs}

    def refuse_loss(self, x: Tensor) -> None:
        """Hold the chain of blocks against the module.

        Args:
            x: (B, *sample_shape); the module is left as it is.

        Raises:
            InputError: samples that the module does not take, or something between the blocks that the cut would lose.
        """
        if not any(part.named for part in self.parts):
            if self.parts:
                raise InputError(
                    f"no block is a submodule of {self.who} by its name, so nothing can be compared with it; use Network([...])"
                )
            return
        parts = [part.module for part in self.parts]
        with _left_alone([self.module, *parts]), torch.no_grad():
            self._hold(self._journal(x), x, "")
            for part in (self.module, *parts):
                part.train()
            try:
                journal = self._journal(x)
            except InputError:  # what cannot be trained with two samples is found at the first step
                return
            self._hold(journal, x, " in training mode")

    def _journal(self, x: Tensor) -> Journal:
        """What the module does with ``x``; without functions where it cannot be watched so closely."""
        named = [part.module for part in self.parts if part.named]
        for functions in (True, False):
            journal = Journal(self.module, named, functions=functions)
            try:
                journal.run(x.clone())
                return journal
            except Exception as error:
                fault = error
        raise InputError(f"{self.who} cannot take samples of shape {tuple(x.shape[1:])}: {_told(fault)}") from fault

    def _hold(self, journal: Journal, x: Tensor, mode: str) -> None:
        """Walk the chain beside the module."""
        seed_generators(0, journal.devices)
        h, before, at = x.clone(), -1, 0
        since: list[_Part] = []
        times: dict[int, int] = {}
        for part in self.parts:
            if not part.named:
                h = self._apply(part, h)
                since.append(part)
                continue
            key = id(part.module)
            place, time = journal.named[key], times.get(key, 0)
            times[key] = time + 1
            found = journal.next_call(part.module, at)
            if found is None:
                raise InputError(self._say_not_called(journal, part, before))
            event = journal.events[found]
            if event.x is None or not _same(h, event.x, exact=not since):
                raise InputError(self._say_lost(journal, before, found, since, h, mode))
            seed_generators(seed_of(place, time, after=False), journal.devices)
            try:
                h = part.module(event.x.clone())
            except Exception as error:
                raise InputError(self._say_other(part, event, _told(error), mode)) from error
            if not _same(h, event.found, exact=True):
                raise InputError(self._say_other(part, event, "it gives something else", mode))
            seed_generators(seed_of(place, time, after=True), journal.devices)
            before, at, since = found, found + 1, []

    def _apply(self, part: _Part, h: Tensor) -> Tensor:
        """What stands in the list between two submodules."""
        try:
            found = part.module(h)
        except Exception as error:
            raise InputError(
                f"block{part.block} cannot be made: {part.name}, given shape {tuple(h.shape[1:])}, fails: {_told(error)}; give another function"
            ) from error
        if not isinstance(found, Tensor):
            raise InputError(
                f"{part.name} of block{part.block} returns {kind_of(found)}, and a block maps one tensor to one tensor"
            )
        return found

    # --- what is lost, in words ---------------------------------------------------------------------------------------

    def _say_not_called(self, journal: Journal, part: _Part, before: int) -> str:
        if isinstance(part.module, LISTS):
            inner = next((f"{part.name}.{key}" for key, _ in part.module.named_children()), f"{part.name}.0")
            return f"{part.name!r} of {self.who} is a {type(part.module).__name__}, which nobody calls; name what is in it, such as {inner!r}"
        if journal.next_call(part.module, 0) is None:
            return (
                f"{self.who} does not call its submodule {part.name!r} in its forward pass; leave it out, or write what is done with it as a "
                "module and give that in its place"
            )
        last = journal.events[before].name
        return f"{self.who} calls {part.name!r} before {last!r}, not after it; give the blocks in the order of its forward pass"

    def _say_lost(self, journal: Journal, before: int, at: int, since: Sequence[_Part], h: Tensor, mode: str) -> str:
        """What the module does between two named submodules and the list does not."""
        start = "its input" if before < 0 else repr(journal.events[before].name)
        end = journal.events[at].name
        if len(journal.events[at].given) == 0:
            return f"{self.who} gives {end!r} no tensor; a block maps one tensor to one tensor, so wrap what makes it in a module"
        path, arrives = journal.between(before, at)
        if not arrives and not journal.unexplained(at):
            return (
                f"{self.who} does not give {end!r} what comes from {start}: they stand beside one another, and blocks are a chain; put all that "
                "runs side by side into one nn.Module and give that as a block"
            )
        done = self._texts(journal, before, path)
        said = (
            f"{self.who} does {_joined(done)} between {start} and {end!r}"
            if done
            else (f"{self.who} gives {end!r} something else than comes from {start}")
        )
        if since:
            return f"{said}{mode}, and {_joined([part.name for part in since])} of the list {_difference(h, journal.events[at].x)}"
        return f"{said}{mode}, which the chain of blocks would lose; {self._say_mend(journal, before, at, path, done)}"

    def _texts(self, journal: Journal, before: int, path: Sequence[Event]) -> list[str]:
        origin = [journal.input] if before < 0 else journal.events[before].made
        main = [tensor for tensor in (*origin, *(made for event in path for made in event.made)) if tensor is not None]
        return [journal.text(event, main) for event in path]

    def _say_mend(self, journal: Journal, before: int, at: int, path: Sequence[Event], done: Sequence[str]) -> str:
        """How to cut so that nothing is lost."""
        start, end = None if before < 0 else journal.events[before].name, journal.events[at].name
        owners = list(dict.fromkeys(name for event in path for name in journal.owners(event)))
        if owners:
            return (
                f"write a module that does it and has {' and '.join(map(repr, owners))}, and give that module in the list before "
                f"{end!r} (docs/networks.md has one)"
            )
        if not path or any(
            re.search(r"\by\b", text) for event, text in zip(path, done, strict=True) if event.part is None
        ):
            where = "y is an activity from before: write" if path else "write"
            return (
                f"{where} one nn.Module of all that is skipped and of what is done with it, and give that as one block"
            )
        steps = [
            text if event.part is not None else f"lambda x: {text}" for event, text in zip(path, done, strict=True)
        ]
        items = [*(["...", repr(start)] if start else []), *steps, repr(end), "..."]
        return f"give it in the list: [{', '.join(items)}]"

    def _say_other(self, part: _Part, event: Event, what: str, mode: str) -> str:
        """A submodule is not by itself what it is in the module."""
        kind = type(part.module).__name__
        said = f"{part.name!r} ({kind})"
        if not isinstance(event.found, Tensor):
            return (
                f"{said} returns {kind_of(event.found)}, and a block maps one tensor to one tensor; wrap it in a module that returns the tensor "
                "for the next block"
            )
        if len(event.given) > 1:
            return f"{self.who} gives {said} {len(event.given)} tensors, and a block takes one; wrap it in a module that makes the others itself"
        return (
            f"{said}, called with its input alone{mode}, is not what it is in {self.who}: {what}; wrap it in a module that calls it as "
            f"{self.who} does"
        )


def _entries(blocks: Any) -> list[Any]:
    if not isinstance(blocks, list | tuple):
        raise _no_list(blocks)
    return list(blocks)


def _steps(entry: Any, blocks: Any) -> list[Step]:
    steps = list(entry) if isinstance(entry, list | tuple) else [entry]
    if not steps or not all(isinstance(step, str) or (callable(step) and not isinstance(step, type)) for step in steps):
        raise _no_list(blocks)
    return steps


def _no_list(blocks: Any) -> InputError:
    return InputError(
        f"blocks is a list with one entry a block: a submodule's name, a function or a module, or a list of them in order, got {shown(blocks)}"
    )


def name_of(function: Callable[..., Any]) -> str:
    """A function's name, as it may stand in a sentence."""
    if isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__qualname__", type(function).__name__)
    return "the lambda" if name.endswith("<lambda>") else f"{name.rpartition('.')[2]}()"


def _told(error: Exception) -> str:
    """What torch says of shapes and arguments; of anything else also where it came from."""
    return (
        first_line(error) if isinstance(error, RuntimeError | ValueError | TypeError) else f"it {describe_error(error)}"
    )


def _joined(texts: Sequence[str]) -> str:
    """``a, then b``."""
    return ", then ".join(texts)


def _same(h: Any, other: Any, *, exact: bool) -> bool:
    if not isinstance(h, Tensor) or not isinstance(other, Tensor) or h.shape != other.shape or h.dtype != other.dtype:
        return False
    near = {"rtol": 0.0, "atol": 0.0} if exact and h.device.type == "cpu" else CLOSE
    return torch.allclose(h, other, equal_nan=True, **near)


def _difference(h: Tensor, expected: Tensor | None) -> str:
    if expected is None or h.shape != expected.shape:
        wanted = "no tensor" if expected is None else tuple(expected.shape)
        return f"gives shape {tuple(h.shape)}, where {wanted} is asked for"
    return f"differs from that by up to {(h - expected).abs().max().item():.3g}"


@contextlib.contextmanager
def _left_alone(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Modules in evaluation mode inside, and afterwards in the mode of each of their parts, with the buffers that they had; torch draws as if
    nothing had been drawn.
    """
    parts = list({id(part): part for module in modules for part in module.modules()}.values())
    modes = [(part, part.training) for part in parts]
    buffers = [(part, name, b, b.clone()) for part in parts for name, b in part._buffers.items() if b is not None]
    tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    with torch.random.fork_rng(cuda_devices(tensors)):
        for module in modules:
            module.eval()
        try:
            yield
        finally:
            for part, training in modes:
                part.training = training
            with torch.no_grad():
                for part, name, buffer, content in buffers:
                    part._buffers[name] = buffer
                    if not torch.equal(buffer, content):
                        buffer.copy_(content)
