"""Every backward of a step, watched: whose parameters does it reach? And held back until the step is over, for an end-to-end twin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from layerlocal.measure.certify.groups import Group

__all__ = ["BLACK_BOXES", "Deferred", "NoTwinError", "Reach", "walk", "watched_reach"]

Backward = Callable[..., Any]
BLACK_BOXES = ("CheckpointFunctionBackward",)
"""Nodes of a graph with parameters that the graph does not show."""
ADDING = (
    "AddBackward0",
    "SubBackward0",
    "SumBackward0",
    "SumBackward1",
    "MeanBackward0",
    "MeanBackward1",
    "StackBackward0",
    "NegBackward0",
)
SCALING = ("MulBackward0", "DivBackward0", "ViewBackward0", "ToCopyBackward0", "AliasBackward0")
"""Linear where one factor is a constant."""


class NoTwinError(Exception):
    """No end-to-end twin can be made of a step; the message ends the sentence that says so."""


@contextmanager
def _replaced(backward: Backward, grad: Backward) -> Iterator[None]:
    """`torch.autograd.backward`, which `Tensor.backward` calls too, and `torch.autograd.grad` by others."""
    kept = torch.autograd.backward, torch.autograd.grad
    torch.autograd.backward, torch.autograd.grad = backward, grad
    try:
        yield
    finally:
        torch.autograd.backward, torch.autograd.grad = kept


class Reach:
    """Who is reached by which loss. A hook on every parameter says what an outermost backward reaches; its graph, which term of a sum does."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups, self.depth, self.calls = groups, 0, 0
        self.owners: dict[int, set[int]] = {}
        for i, group in enumerate(groups):
            for parameter in group.parameters:
                self.owners.setdefault(id(parameter), set()).add(i)
        self.found: list[set[int]] = []

    def within(self, original: Backward) -> Backward:
        """A backward that notes what it reaches, one entry for each term of its losses."""

        def call(roots: Any, *args: Any, **kwargs: Any) -> Any:
            if self.depth:
                return original(roots, *args, **kwargs)
            terms = self._terms(roots)
            self.calls += 1
            self.found.append(set())
            self.depth += 1
            try:
                return original(roots, *args, **kwargs)
            finally:
                self.depth -= 1
                reached = self.found.pop()
                self.found += [term & reached for term in terms] if terms else [reached]

        return call

    def _terms(self, roots: Any) -> list[set[int]]:
        """[term] → groups in its graph; empty where a graph does not show its parameters."""
        roots = (roots,) if isinstance(roots, Tensor) else tuple(roots)
        terms = [list(walk([node])) for root in roots if root.grad_fn is not None for node in _terms_of(root.grad_fn)]
        if any(node.name() in BLACK_BOXES for term in terms for node in term):
            return []
        return [
            {i for n in term if hasattr(n, "variable") for i in self.owners.get(id(n.variable), ())} for term in terms
        ]

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Hooks on every parameter that takes a gradient."""

        def note(index: int) -> Callable[[Tensor], None]:
            def hook(_: Tensor) -> None:
                if not self.found:  # a backward by a way that is not watched
                    self.found.append(set())
                self.found[-1].add(index)

            return hook

        with ExitStack() as stack:
            for index, group in enumerate(self.groups):
                for parameter in group.parameters:
                    if parameter.requires_grad:
                        stack.callback(parameter.register_hook(note(index)).remove)
            yield


def _terms_of(root: Any) -> list[Any]:
    """What a loss is a sum of: below additions, means and constant factors, the gradient of one term knows nothing of another."""
    found, todo = [], [root]
    while todo:
        node = todo.pop()
        branches = [branch for branch, _ in node.next_functions if branch is not None]
        if node.name() in ADDING or (node.name() in SCALING and len(branches) == 1):
            todo += branches
        else:
            found.append(node)
    return found


def walk(roots: Sequence[Any]) -> Iterator[Any]:
    """Every node of some graphs, once."""
    seen: set[Any] = set()
    todo = [root for root in roots if root is not None]
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            yield node
            todo += [branch for branch, _ in node.next_functions if branch is not None]


@contextmanager
def watched_reach(groups: Sequence[Group]) -> Iterator[Reach]:
    """What the backwards that run inside bring a gradient to: ``found`` [loss] → groups, in their order, and how many ``calls`` there were."""
    reach = Reach(groups)
    with reach.hooks(), _replaced(reach.within(torch.autograd.backward), reach.within(torch.autograd.grad)):
        yield reach


class Deferred:
    """Backwards that run inside `held` wait; `release` runs them as one, over the sum of all losses, as end-to-end training would.

    Until then parameters have gradients of zeros, so that code which reads them goes on.

    Args:
        groups: whose parameters are meant.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = groups
        self.parameters = [p for group in groups for p in group.parameters]
        self.roots: list[tuple[Tensor, Tensor | None]] = []
        self.calls = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Backwards inside wait."""
        with _replaced(self._backward, self._grad):
            yield

    def release(self) -> None:
        """Every loss, one backward."""
        roots, self.roots = self.roots, []
        if roots:
            torch.autograd.backward([root for root, _ in roots], [weight for _, weight in roots])

    def joins(self, first: int, last: int) -> bool:
        """Whether one of the losses reaches both of two groups; graphs are kept for `release`."""
        reach = Reach(self.groups)
        with reach.hooks():
            for root, weight in reversed(self.roots):
                reach.found.append(set())
                torch.autograd.backward([root], [weight], retain_graph=True)
                if {first, last} <= reach.found[-1]:
                    return True
        return False

    def _wait(self, tensors: Any, weights: Any) -> None:
        tensors = (tensors,) if isinstance(tensors, Tensor) else tuple(tensors)
        if weights is None:
            weights = [None] * len(tensors)
        weights = [weights] if isinstance(weights, Tensor) else list(weights)
        if any(weight is None and root.numel() != 1 for root, weight in zip(tensors, weights, strict=True)):
            raise NoTwinError("it passes gradients on by hand")
        self.calls += 1
        self.roots += list(zip(tensors, weights, strict=True))
        for parameter in self.parameters:
            if parameter.requires_grad and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)

    def _backward(self, tensors: Any, grad_tensors: Any = None, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("create_graph") or (len(args) > 1 and args[1]):
            raise NoTwinError("it takes gradients of gradients")
        self._wait(tensors, grad_tensors)

    def _grad(self, outputs: Any, inputs: Any, grad_outputs: Any = None, *args: Any, **kwargs: Any) -> Any:
        inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
        if kwargs.get("create_graph") or (len(args) > 1 and args[1]):
            raise NoTwinError("it takes gradients of gradients")
        if any(not value.is_leaf for value in inputs):
            raise NoTwinError("it takes gradients at activities itself, and passes them on by hand")
        self._wait(outputs, grad_outputs)
        return tuple(torch.zeros_like(value) for value in inputs)
