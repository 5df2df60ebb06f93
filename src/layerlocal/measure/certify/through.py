"""A step without its gradient boundaries: what cuts a gradient in it does not, at all of its calls or at some.

Two things cut that can be undone: ``detach`` (or ``detach_``, ``.data``), and operations that run under ``no_grad`` or ``inference_mode``. A
cut is a boundary where its result goes on, by any way, into an operation with a parameter of a group: what follows is trained on it. All
others stay: logging, moving averages, targets and stopped gradients within a loss, what an optimizer does.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.autograd.function as functions
from torch import Tensor
from torch.optim import optimizer as optimizers
from torch.overrides import TorchFunctionMode

from layerlocal.measure.certify.backwards import BLACK_BOXES
from layerlocal.measure.certify.held import tensors_in

__all__ = ["Boundaries", "Through", "find_boundaries"]

Call = tuple[Any, int]
"""A function, and which of its calls in the step."""
Read = tuple[int, bool]
"""A parameter, by address, and whether it was trained before in this call of the step."""


class Through(TorchFunctionMode):
    """What cuts a gradient goes through.

    Args:
        chosen: calls that do; ``None``: all, and each can be found in the graph afterwards, by its node in `cuts`.
        neutral: parameters and buffers; what is made of these alone is no activity.

    `inside` are the nodes that would not be there without, `weights` those of what is made of parameters alone; `reads` says by node which
    parameters an operation on activities takes.
    """

    def __init__(self, chosen: set[Call] | None = None, neutral: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self.chosen = chosen
        self.calls: Counter[Any] = Counter()
        self.cuts: dict[Any, Call] = {}
        self.inside: set[Any] = set()
        self.in_place: set[Call] = set()
        self.neutral = {id(tensor): tensor for tensor in neutral}
        self.weights: set[Any] = set()
        self.versions = {
            id(tensor): tensor._version for tensor in neutral if tensor.requires_grad and not tensor.is_inference()
        }
        self.made_of: dict[int, set[Read]] = {}
        self.reads: dict[Any, set[Read]] = {}

    def __enter__(self) -> Through:
        self.calls.clear()
        super().__enter__()
        return self

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        call = (func, self.calls[func])
        self.calls[func] += 1
        x = args[0] if args else None
        if isinstance(x, Tensor) and x.requires_grad and not x.is_leaf and id(x) not in self.neutral:
            if _detaches(func) and not _is_inside():
                return self._pass(call, x, args, kwargs)
            if func is Tensor.numpy or func is Tensor.__array__:
                return func(x.detach(), *args[1:], **kwargs)
            if func is Tensor.requires_grad_ and args[1:] == (False,):
                return x
        if not torch.is_grad_enabled() and self._is_cut(call, args, kwargs):
            return self._with_gradients(call, args, kwargs)
        return self._noted(func(*args, **kwargs), args, kwargs)

    def _pass(self, call: Call, x: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        """The activity itself, where it would be detached."""
        func, _ = call
        with _gradients():
            if self.chosen is not None and call not in self.chosen:
                return func(*args, **kwargs)
            if func is Tensor.detach_:
                self.in_place.add(call)
                return x
            if self.chosen is not None:
                return torch.ops.aten.alias(x)
            passed = x.clone()  # no view: an operation in place would take its node out of the graph
            self.cuts[passed.grad_fn] = call
            return passed

    def _is_cut(self, call: Call, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
        """Whether an operation that runs without gradients may run with them: on an activity, and not into what has no graph."""
        func, _ = call
        if self.chosen is not None:
            return call in self.chosen
        given = list(tensors_in(args, kwargs))
        if not any(tensor.requires_grad for tensor in given) or all(id(tensor) in self.neutral for tensor in given):
            return False
        name = getattr(func, "__name__", "")
        into = name.startswith("__i") or name in ("__setitem__", "__set__") or (name[-1:] == "_" and name[:2] != "__")
        plain = into and (not given[0].requires_grad or given[0].is_leaf)
        return not plain and kwargs.get("out") is None and not _is_inside()

    def _with_gradients(self, call: Call, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        func, _ = call
        before = {None, *(tensor.grad_fn for tensor in tensors_in(args, kwargs))}
        try:
            with _gradients():
                found = func(*args, **kwargs)
        except RuntimeError:
            if self.chosen is not None:
                raise
            return func(*args, **kwargs)
        todo: list[Any] = [part.grad_fn for part in _tensors(found) if part.grad_fn not in before]
        self.cuts |= dict.fromkeys(todo, call)
        while todo:
            node = todo.pop()
            if node not in before and node not in self.inside:
                self.inside.add(node)
                todo += [branch for branch, _ in node.next_functions]
        return self._noted(found, args, kwargs)

    def _noted(self, found: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What is made of neutral tensors alone is neutral: a cast, transposed or normalized weight. Anything else reads them."""
        if not self.neutral:
            return found
        given = list(tensors_in(args, kwargs))
        reads = {read for tensor in given for read in self._reads_of(tensor)}
        alone = bool(given) and all(id(tensor) in self.neutral for tensor in given)
        for part in _tensors(found):
            has_graph = part.requires_grad and not part.is_leaf
            if alone:
                self.neutral[id(part)] = part
                self.made_of[id(part)] = reads
                if has_graph:
                    self.weights.add(part.grad_fn)
            elif has_graph and reads:
                self.reads[part.grad_fn] = reads
        return found

    def _reads_of(self, tensor: Tensor) -> set[Read]:
        key = id(tensor)
        if key in self.versions:
            return {(key, tensor._version != self.versions[key])}
        return self.made_of.get(key, set())


def _tensors(found: Any) -> Iterator[Tensor]:
    return tensors_in((found,), None)


@contextmanager
def _gradients() -> Iterator[None]:
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        if not torch.is_grad_enabled():
            stack.enter_context(torch.enable_grad())
        yield


def _detaches(func: Any) -> bool:
    return func in (Tensor.detach, torch.detach, Tensor.detach_) or getattr(func, "__self__", None) is Tensor.data


def _is_inside() -> bool:
    """Whether gradients are off since an optimizer steps, or a function with a backward of its own runs (a checkpoint, too)."""
    if torch.is_grad_enabled():
        return False
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_filename == optimizers.__file__ or (
            code.co_name == "apply" and code.co_filename == functions.__file__
        ):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


@dataclass
class Boundaries:
    """Of a step.

    Args:
        calls: that a twin has to let through.
        count: calls of ``detach``, and results made without gradients that go on with them.
        again: parameters, by address, that are read, trained and read again, in what the twin keeps.
    """

    calls: set[Call] = field(default_factory=set)
    count: int = 0
    again: set[int] = field(default_factory=set)


def find_boundaries(roots: Sequence[Any], through: Through, parameters: Sequence[Tensor]) -> Boundaries:
    """The boundaries among the cuts of a step, from the graphs of its losses with all cuts gone through.

    Args:
        roots: nodes of the losses.
        through: what the step ran in.
        parameters: of the groups.
    """
    found = Boundaries(set(through.in_place), len(through.in_place))
    held = {id(p) for p in parameters}
    reads: set[Read] = set()
    for node, above in _kept(roots, through, held):
        reads |= through.reads.get(node, set())
        call = through.cuts.get(node)
        if call is None:
            continue
        found.count += not above or any(parent not in through.inside for parent in above)
        found.calls.add(call)
    found.again = {key for key, trained in reads if trained and (key, False) in reads and key in held}
    return found


def _kept(roots: Sequence[Any], through: Through, held: set[int]) -> Iterator[tuple[Any, list[Any]]]:
    """Nodes that the twin has, once each, with those right above: below a cut only where that cut feeds an operation with a parameter."""
    fed: dict[Any, bool] = {}
    above: dict[Any, list[Any]] = {}
    todo: list[tuple[Any, bool]] = [(root, False) for root in roots if root is not None]
    while todo:
        node, feeds = todo.pop()
        if fed.get(node, False) or (node in fed and not feeds) or (node in through.cuts and not feeds):
            continue
        fed[node] = feeds
        branches = [branch for branch, _ in node.next_functions if branch is not None]
        bare = [branch for branch in branches if _is_bare(branch, held, through.weights)]
        trains = node not in through.weights and (bool(bare) or node.name() in BLACK_BOXES)
        for branch in branches:
            above.setdefault(branch, []).append(node)
            todo.append((branch, feeds or (trains and branch not in bare)))
    yield from ((node, above.get(node, [])) for node in fed)


def _is_bare(node: Any, held: set[int], weights: set[Any]) -> bool:
    """Whether a branch is a parameter of a group, or made of such alone, perhaps transposed or cast within an operation."""
    while node.name().startswith(("TBackward", "ToCopyBackward")) and node.next_functions[0][0] is not None:
        node = node.next_functions[0][0]
    return node in weights or (hasattr(node, "variable") and id(node.variable) in held)
