"""What a step keeps for backward and computes, beside its own end-to-end twin: the same step, with every gradient boundary taken away.

A boundary is a call of ``detach`` (or ``detach_``, ``.data``) whose result goes on, by any way, into an operation with a bare parameter of a
group: what follows is trained on it. All others stay as they are: logging, moving averages, targets and stopped gradients within a loss. The
twin is counted and not trained: its backwards wait and run as one, over the sum of all losses.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from layerlocal.measure.certify.backwards import BLACK_BOXES, Deferred, NoTwinError, Reach, walk
from layerlocal.measure.certify.running import Bench
from layerlocal.networks.flops import flop_counter
from layerlocal.rules.core.saved import SavedBytes
from layerlocal.types import InputError, first_line

__all__ = ["Cost", "costs"]


@dataclass(frozen=True)
class Cost:
    """What was counted.

    Args:
        saved_bytes: that autograd keeps for backward, at most at any moment of the step.
        flops: of matrix products and convolutions; ``None`` where PyTorch's counter does not bear the step.
        twin_saved_bytes, twin_flops: of the end-to-end twin; ``None`` where none can be made.
        boundaries: calls of ``detach`` that were taken away for it.
        reason: why there is no twin; ``""`` where there is one.
    """

    saved_bytes: int
    flops: int | None
    twin_saved_bytes: int | None
    twin_flops: int | None
    boundaries: int
    reason: str = ""


class _Everything(SavedBytes):
    """Counts what hooks of others keep too: `torch.utils.checkpoint` puts its own in the place of ours, and saves while it computes again."""

    def __enter__(self) -> _Everything:
        super().__enter__()
        hooks = torch.autograd.graph.saved_tensors_hooks
        self.kept = original = hooks.__init__

        def init(hook: Any, pack: Any, unpack: Any) -> None:
            original(hook, self._counted(pack), unpack)

        hooks.__init__ = init  # type: ignore[method-assign,assignment]
        return self

    def __exit__(self, *error: object) -> None:
        torch.autograd.graph.saved_tensors_hooks.__init__ = self.kept  # type: ignore[method-assign]
        super().__exit__(*error)

    def _counted(self, pack: Any) -> Any:
        def packed(tensor: Tensor) -> Any:
            if isinstance(tensor, nn.Parameter):
                return pack(tensor)
            given = tensor.detach()
            alive = weakref.ref(given)
            try:
                found = pack(given)
            except BaseException:  # a checkpoint stops so, once it has computed all that it needs
                self._hold(given, given)
                raise
            del given
            kept = [
                part for part in (found if isinstance(found, tuple | list) else (found,)) if isinstance(part, Tensor)
            ]
            if not kept and (held := alive()) is not None:
                kept = [held]
            for part in kept:
                self._hold(part, part)
            return found

        return packed


class _Through(TorchFunctionMode):
    """``detach`` as the identity, at some of its calls.

    Args:
        chosen: calls, by their number in the step; ``None``: all, and each can be found in the graph afterwards.
        neutral: parameters and buffers; what is made of these alone is no activity.
    """

    def __init__(self, chosen: set[int] | None = None, neutral: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self.chosen, self.calls = chosen, 0
        self.nodes: dict[int, Any] = {}
        self.in_place: set[int] = set()
        self.neutral = {id(tensor): tensor for tensor in neutral}
        self.weights: set[Any] = set()

    def __enter__(self) -> _Through:
        self.calls = 0
        super().__enter__()
        return self

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        x = args[0] if args else None
        if isinstance(x, Tensor) and x.requires_grad and torch.is_grad_enabled():
            if _cuts(func) and not x.is_leaf and id(x) not in self.neutral:
                return self._pass(func, x, args, kwargs or {})
            if func is Tensor.numpy or func is Tensor.__array__:
                return func(x.detach(), *args[1:], **(kwargs or {}))
            if func is Tensor.requires_grad_ and not x.is_leaf and args[1:] == (False,):
                return x
        found = func(*args, **(kwargs or {}))
        if self.neutral:
            self._note(found, [*args, *(kwargs or {}).values()])
        return found

    def _pass(self, func: Any, x: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        number, self.calls = self.calls, self.calls + 1
        if self.chosen is not None:
            return (
                (x if func is Tensor.detach_ else torch.ops.aten.alias(x))
                if number in self.chosen
                else func(*args, **kwargs)
            )
        if func is Tensor.detach_:
            self.in_place.add(number)
            return x
        passed = x.clone()  # no view: an operation in place would take its node out of the graph
        self.nodes[number] = passed.grad_fn
        return passed

    def _note(self, found: Any, given: Sequence[Any]) -> None:
        """What is made of neutral tensors alone is neutral: a cast, transposed or normalized weight."""
        inner = [part for value in given for part in (value if isinstance(value, tuple | list) else (value,))]
        tensors = [part for part in inner if isinstance(part, Tensor)]
        if not tensors or not all(id(tensor) in self.neutral for tensor in tensors):
            return
        for part in found if isinstance(found, tuple | list) else (found,):
            if isinstance(part, Tensor):
                self.neutral[id(part)] = part
                if part.requires_grad and not part.is_leaf:
                    self.weights.add(part.grad_fn)


def _cuts(func: Any) -> bool:
    return func in (Tensor.detach, torch.detach, Tensor.detach_) or getattr(func, "__self__", None) is Tensor.data


def costs(bench: Bench, trained: Sequence[bool], reach: Reach) -> Cost:
    """Saved bytes and FLOPs of a step and of its end-to-end twin.

    Args:
        bench: with the step.
        trained: which groups are.
        reach: of the step as it is.
    """
    saved, flops = _count(bench, nullcontext(), None)
    learn = [i for i, learns in enumerate(trained) if learns]
    try:
        chosen = _boundaries(bench, learn, reach.calls)
        if not chosen:
            if len(learn) > 1 and not any({learn[0], learn[-1]} <= reached for reached in reach.found):
                raise NoTwinError("what cuts its gradient is not seen in its graph")
            return Cost(saved, flops, saved, flops, 0)
        twin = _count(bench, _Through(chosen), Deferred(bench.groups))
    except NoTwinError as error:
        return Cost(saved, flops, None, None, 0, str(error))
    return Cost(saved, flops, *twin, boundaries=len(chosen))


def _count(bench: Bench, mode: Any, deferred: Deferred | None) -> tuple[int, int | None]:
    """Peak saved bytes, then FLOPs, each in a run of its own."""
    holdings = bench.holdings
    buffers = [buffer for _, module in holdings.modules for buffer in module.buffers()]
    parameters = [p for _, p in holdings.parameters.values()]
    saved, counter = _Everything([*parameters, *buffers]), flop_counter()
    holdings.put_back()
    with saved:
        _whole_step(bench, mode, deferred)
    holdings.put_back()
    try:
        with _unversioned() if deferred else nullcontext(), counter:
            _whole_step(bench, mode, deferred)
    except (InputError, NoTwinError):  # the counter watches modules by hooks, which not every backward allows
        return saved.peak, None
    return saved.peak, counter.get_total_flops()


def _whole_step(bench: Bench, mode: Any, deferred: Deferred | None) -> None:
    """The step, with backwards that waited at its end."""
    with mode, deferred.held() if deferred else nullcontext():
        _run(bench, twin=deferred is not None)
    if deferred:
        try:
            deferred.release()
        except RuntimeError as error:
            raise NoTwinError(f"the backward over all of its losses failed: {first_line(error)}") from None


def _unversioned() -> Any:
    """Saved tensors behind hooks are not held to their versions: the optimizer may step before the twin's one backward, which is counted
    only.
    """
    return torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor.detach(), lambda tensor: tensor)


def _run(bench: Bench, *, twin: bool) -> None:
    try:
        bench.run()
    except InputError as error:
        if not twin:
            raise
        if isinstance(error.__cause__, NoTwinError):
            raise error.__cause__ from None
        raise NoTwinError(
            f"with its gradient boundaries taken away {error.args[0].partition('; the model')[0]}"
        ) from None


def _boundaries(bench: Bench, trained: Sequence[int], calls: int) -> set[int]:
    """Calls of ``detach`` that are boundaries, by number. Without any the step is its own twin.

    Raises:
        NoTwinError: with all of them taken away, no loss reaches both ends of the network, or there are not as many ``calls`` of backward.
    """
    bench.holdings.put_back()
    neutral: list[Tensor] = [p for _, p in bench.holdings.parameters.values()]
    neutral += [buffer for _, module in bench.holdings.modules for buffer in module.buffers()]
    through, deferred = _Through(neutral=neutral), Deferred(bench.groups)
    with _unversioned():
        with through, deferred.held():
            _run(bench, twin=True)
        if deferred.calls != calls:
            raise NoTwinError("how often it calls backward hangs on its gradients")
        chosen = through.in_place | _trained_on(deferred, through)
        if trained[0] != trained[-1] and not _joined(deferred, trained):
            raise NoTwinError(
                "its gradient is cut by something else than detach (a forward pass under torch.no_grad, a function of its own, separate "
                "networks)"
            )
    deferred.roots.clear()
    return chosen


def _joined(deferred: Deferred, trained: Sequence[int]) -> bool:
    try:
        return deferred.joins(trained[0], trained[-1])
    except RuntimeError as error:
        raise NoTwinError(f"the backward of a loss failed: {first_line(error)}") from None


def _trained_on(deferred: Deferred, through: _Through) -> set[int]:
    """Numbers of the calls whose result goes, by whatever way, into an operation with a parameter of a group, in the graph of any loss."""
    held = {id(p) for p in deferred.parameters}
    inner = []
    for node in walk([root.grad_fn for root, _ in deferred.roots]):
        branches = [branch for branch, _ in node.next_functions if branch is not None]
        bare = [branch for branch in branches if _is_bare(branch, held, through.weights)]
        if node not in through.weights and (bare or node.name() in BLACK_BOXES):
            inner += [branch for branch in branches if branch not in bare]
    below = set(walk(inner))
    return {number for number, node in through.nodes.items() if node in below}


def _is_bare(node: Any, held: set[int], weights: set[Any]) -> bool:
    """Whether a branch is a parameter of a group, or made of such alone, perhaps transposed within an operation."""
    while node.name().startswith("TBackward") and node.next_functions[0][0] is not None:
        node = node.next_functions[0][0]
    return node in weights or (hasattr(node, "variable") and id(node.variable) in held)
