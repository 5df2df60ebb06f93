"""What a step keeps for backward and computes, beside its own end-to-end twin: the same step, with every gradient boundary taken away.

A boundary is a call of ``detach`` (or ``detach_``, ``.data``) whose result goes on, by any way, into an operation with a bare parameter of a
group: what follows is trained on it. All others stay as they are: logging, moving averages, targets and stopped gradients within a loss. The
twin is counted and not trained: its backwards wait and run as one, over the sum of all losses.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from layerlocal.measure.certify.backwards import BLACK_BOXES, Deferred, NoTwinError, walk
from layerlocal.measure.certify.running import Bench
from layerlocal.networks.flops import flop_counter
from layerlocal.rules.core.saved import SavedBytes
from layerlocal.types import InputError, first_line

__all__ = ["Cost", "costs"]

SHAPING = ("TBackward", "TransposeBackward", "PermuteBackward", "ViewBackward", "UnsafeViewBackward", "ReshapeAliasBackward",
    "ExpandBackward", "UnsqueezeBackward", "SqueezeBackward", "SelectBackward", "SliceBackward", "SplitBackward", "CloneBackward",
    "AliasBackward", "ToCopyBackward", "WeightNormInterfaceBackward")  # fmt: skip
"""What may stand between a parameter and the operation that uses it."""


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
            given = tensor.detach()
            if tensor.requires_grad and tensor.is_leaf:  # a parameter keeps its identity
                return pack(tensor)
            alive = weakref.ref(given)
            found = pack(given)
            del given
            kept = [
                part for part in (found if isinstance(found, tuple | list) else (found,)) if isinstance(part, Tensor)
            ]
            if not kept and (held := alive()) is not None:
                kept = [held]
            for part in kept:
                self._hold(part)
            return found

        return packed

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage.data_ptr()
        if key in self.excluded or not key:
            return
        if not self.holders[key]:
            self.sizes[key] = storage.nbytes()
            self.current += self.sizes[key]
            self.peak = max(self.peak, self.current)
        self.holders[key] += 1
        weakref.finalize(tensor, self._release, key)


class _Through(TorchFunctionMode):
    """``detach`` as the identity, at some of its calls.

    Args:
        chosen: calls, by their number in the step; ``None``: all.
    """

    def __init__(self, chosen: set[int] | None = None) -> None:
        super().__init__()
        self.chosen, self.calls = chosen, 0
        self.nodes: dict[int, Any] = {}
        self.in_place: set[int] = set()

    def __enter__(self) -> _Through:
        self.calls = 0
        super().__enter__()
        return self

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        x = args[0] if args else None
        if isinstance(x, Tensor) and x.requires_grad and torch.is_grad_enabled():
            if _cuts(func) and not x.is_leaf:
                return self._pass(func, x, args, kwargs or {})
            if func is Tensor.numpy or func is Tensor.__array__:
                return func(x.detach(), *args[1:], **(kwargs or {}))
            if func is Tensor.requires_grad_ and not x.is_leaf and args[1:] == (False,):
                return x
        return func(*args, **(kwargs or {}))

    def _pass(self, func: Any, x: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        number, self.calls = self.calls, self.calls + 1
        if self.chosen is not None and number not in self.chosen:
            return func(*args, **kwargs)
        if func is Tensor.detach_:
            self.in_place.add(number)
            return x
        passed = torch.ops.aten.alias(x)
        self.nodes[number] = passed.grad_fn
        return passed


def _cuts(func: Any) -> bool:
    return func in (Tensor.detach, torch.detach, Tensor.detach_) or getattr(func, "__self__", None) is Tensor.data


def costs(bench: Bench, trained: Sequence[bool]) -> Cost:
    """Saved bytes and FLOPs of a step and of its end-to-end twin.

    Args:
        bench: with the step.
        trained: which groups are.
    """
    saved, flops = _count(bench, nullcontext(), None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numbers read from tensors that now have a gradient
            chosen = _boundaries(bench, [i for i, learns in enumerate(trained) if learns])
            if not chosen:
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


def _boundaries(bench: Bench, trained: Sequence[int]) -> set[int]:
    """Calls of ``detach`` that are boundaries, by number. Without any the step is its own twin.

    Raises:
        NoTwinError: with all of them taken away, no loss reaches both ends of the network.
    """
    bench.holdings.put_back()
    through, deferred = _Through(), Deferred(bench.groups)
    with _unversioned():
        with through, deferred.held():
            _run(bench, twin=True)
        chosen = through.in_place | _trained_on(deferred, through.nodes)
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


def _trained_on(deferred: Deferred, nodes: Mapping[int, Any]) -> set[int]:
    """Numbers of the nodes that an operation with a bare parameter of a group takes in, by whatever way, in the graph of any loss."""
    held = {id(p) for p in deferred.parameters}
    inner = []
    for node in walk([root.grad_fn for root, _ in deferred.roots]):
        branches = [branch for branch, _ in node.next_functions if branch is not None]
        bare = [branch for branch in branches if _is_bare(branch, held)]
        if bare or node.name() in BLACK_BOXES:
            inner += [branch for branch in branches if branch not in bare]
    below = set(walk(inner))
    return {number for number, node in nodes.items() if node in below}


def _is_bare(node: Any, held: set[int]) -> bool:
    """Whether a branch is a parameter of a group, perhaps cast or transposed."""
    while not hasattr(node, "variable"):
        branches = [branch for branch, _ in node.next_functions if branch is not None]
        if not branches or not node.name().lstrip("_").startswith(SHAPING):
            return False
        node = branches[-1]
    return id(node.variable) in held
