"""What a step keeps for backward and computes, beside its own end-to-end twin: the same step, with every gradient boundary taken away.

What a boundary is stands in `through`. The twin is counted and not trained: its backwards wait and run as one, over the sum of all losses.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from layerlocal.measure.certify.backwards import Deferred, NoTwinError, Reach
from layerlocal.measure.certify.running import Bench
from layerlocal.measure.certify.through import Boundaries, Through, find_boundaries
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
        boundaries: that were taken away for it.
        reason: why there is no twin; ``""`` where there is one.
        again: groups that run again after their update, in the twin too.
    """

    saved_bytes: int
    flops: int | None
    twin_saved_bytes: int | None
    twin_flops: int | None
    boundaries: int
    reason: str = ""
    again: tuple[int, ...] = ()


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
        found = _boundaries(bench, learn, reach.calls)
        if not found.calls:
            if len(learn) > 1 and not any({learn[0], learn[-1]} <= reached for reached in reach.found):
                raise NoTwinError("what cuts its gradient is not seen in its graph")
            return Cost(saved, flops, saved, flops, 0)
        twin = _count(bench, Through(found.calls), Deferred(bench.groups))
    except NoTwinError as error:
        return Cost(saved, flops, None, None, 0, str(error))
    again = [i for i, group in enumerate(bench.groups) if any(id(p) in found.again for p in group.parameters)]
    return Cost(saved, flops, *twin, boundaries=found.count, again=tuple(again))


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


def _boundaries(bench: Bench, trained: Sequence[int], calls: int) -> Boundaries:
    """What the twin is without. Without any the step is its own twin.

    Raises:
        NoTwinError: with all of them taken away, no loss reaches both ends of the network, or there are not as many ``calls`` of backward.
    """
    bench.holdings.put_back()
    neutral: list[Tensor] = [p for _, p in bench.holdings.parameters.values()]
    neutral += [buffer for _, module in bench.holdings.modules for buffer in module.buffers()]
    through, deferred = Through(neutral=neutral), Deferred(bench.groups)
    with _unversioned():
        with through, deferred.held():
            _run(bench, twin=True)
        if deferred.calls != calls:
            raise NoTwinError("how often it calls backward hangs on its gradients")
        found = find_boundaries([root.grad_fn for root, _ in deferred.roots], through, deferred.parameters)
        if trained[0] != trained[-1] and not _joined(deferred, trained):
            raise NoTwinError(
                "its gradient is cut by something else than detach and no_grad (a function of its own, numbers that leave PyTorch, separate "
                "networks)"
            )
    deferred.roots.clear()
    return found


def _joined(deferred: Deferred, trained: Sequence[int]) -> bool:
    try:
        return deferred.joins(trained[0], trained[-1])
    except RuntimeError as error:
        raise NoTwinError(f"the backward of a loss failed: {first_line(error)}") from None
