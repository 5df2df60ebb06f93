"""`certify`: a training step in, its certificate out."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from layerlocal.measure.certify.backwards import Reach, watched_reach
from layerlocal.measure.certify.groups import Group, in_a_line, read_groups, refuse_left_out, shared_groups
from layerlocal.measure.certify.holdings import Holdings
from layerlocal.measure.certify.running import LARGER, STEPS, Bench, Changes, Reference
from layerlocal.measure.certify.twin import Cost, costs
from layerlocal.measure.certify.verdict import Found, conclude, named
from layerlocal.rules.core.memory import readable
from layerlocal.types import InputError
from layerlocal.words import plain, several

__all__ = ["certify"]

LIMITS = (
    "it speaks of couplings between groups on this batch, at once and a step later; whether labels or test data leak cannot be seen by "
    "perturbing groups"
)


def certify(step: Callable[[], Any], groups: Any, state: Any = None) -> dict[str, Any]:
    """How far credit travels in one training step of anybody's, and what the step keeps and computes beside its own end-to-end twin.

    The step is run from one state again and again: as it is, and with each group perturbed, over one call and over two. Nothing of it is
    changed, and all that it changes is put back bit by bit, after an exception too.

    Args:
        step: a callable without arguments: forward, backward and optimizer step on a batch that it holds, (B, ...) of any shape.
        groups: modules, or lists of modules and parameters, in forward order, 2 to 256; a mapping names them.
        state: whatever has a ``state_dict`` and is changed by the step: optimizers, schedulers, scalers. What the step holds in its closure,
            in globals that it names and in the object that it is a method of is found without.

    Returns:
        JSON-ready. ``verdict`` (a sentence) and ``sentences``; ``locality`` (``"block"``, ``"segment"`` or ``"global"``), ``groups`` and
        ``segments`` (names); ``coupling`` [perturbed × group], whose update changes at once, and ``coupling_later``, whose only a step later;
        ``couplings`` that go backwards, each with its ``way``, and ``reads_ahead`` (groups); ``repeats`` (bit by bit) and ``tolerance`` (a
        share of an update); ``untrained`` and ``shared`` (names); ``gradient_reach`` [loss × group]; ``peak_saved_bytes`` and
        ``flops_per_step``, both also of the twin (``..._end_to_end``) and as ratios (``saved_bytes_vs_end_to_end``, ``flops_vs_end_to_end``;
        ``None`` without a twin, and ``no_twin`` says why); ``boundaries`` (calls of detach, and results made without gradients, that the
        twin does not cut at), ``run_again`` (names of what runs again after its update, in the twin too), ``steps`` (calls of the step),
        ``limits`` (what this does not say) and ``seconds``.

    Raises:
        InputError: groups that are no division of what is trained; a step that raises, trains nothing, does not repeat itself or changes
            parameters outside of the groups. The model is as it was.

    Source: the intervention is that of `layerlocal.measure.locality`, made for steps that are not a rule's; bytes are those of PyTorch's
    hooks for saved tensors.

    Example:
        >>> import torch
        >>> blocks = torch.nn.ModuleList([torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)])
        >>> optimizer, x = torch.optim.SGD(blocks.parameters(), lr=0.1), torch.randn(8, 4)
        >>> def step():
        ...     h = x
        ...     for block in blocks:
        ...         h = block(h.detach())
        ...         h.square().mean().backward()
        ...     optimizer.step()
        ...     optimizer.zero_grad()
        >>> certify(step, blocks)["locality"]
        'block'
    """
    start = time.perf_counter()
    bench, found = _bench(step, groups, state)
    with bench.ready():
        reference = bench.reference()
        reaches = _reaches(bench, found)
        bench.recheck(reference)
        moved = [bench.intervene(reference, j) for j in range(len(found))]
        ways = [_ways(bench, reference, reaches, j, rows) for j, rows in enumerate(moved)]
        cost = costs(bench, reference.trained, reaches[0])
    couplings = Found(
        [group.name for group in found],
        reference.trained,
        shared_groups(found),
        [reach.found for reach in reaches],
        moved,
        *zip(*ways, strict=True),
    )
    return _certificate(bench, couplings, reference, cost) | {"seconds": time.perf_counter() - start}


def _bench(step: Any, groups: Any, state: Any) -> tuple[Bench, list[Group]]:
    if not callable(step) or not _takes_nothing(step):
        raise InputError(f"step must be a function without arguments that trains once, got {in_a_line(step)}")
    found = read_groups(groups)
    stateful = _stateful(state)
    named = {f"state[{i}]": value for i, value in enumerate(stateful)}
    with torch.no_grad():
        holdings = Holdings({"step": step, "groups": found, **named}, stateful)
    refuse_left_out(found, holdings.optimizers, holdings.parameters)
    return Bench(step, found, holdings), found


def _takes_nothing(step: Callable[..., Any]) -> bool:
    try:
        inspect.signature(step).bind()
    except TypeError:
        return False
    except ValueError:  # a function that does not say
        return True
    return True


def _stateful(state: Any) -> list[Any]:
    found = [] if state is None else list(state) if isinstance(state, list | tuple | set) else [state]
    for value in found:
        if not (hasattr(value, "state_dict") and hasattr(value, "load_state_dict")):
            raise InputError(f"state must list what has a state_dict (optimizers, schedulers), got {in_a_line(value)}")
    return found


def _reaches(bench: Bench, groups: Sequence[Group]) -> list[Reach]:
    """By call: [loss] → groups it reaches, and no parameter outside of the groups learns.

    Raises:
        InputError: one does; it is named.
    """
    bench.holdings.put_back()
    held = {id(p) for group in groups for p in group.parameters}
    outside = {key: value for key, value in bench.holdings.parameters.items() if key not in held}
    before = {key: readable(parameter).clone() for key, (_, parameter) in outside.items()}
    learning = [Group(name, [parameter], ()) for name, parameter in outside.values()]
    found = []
    for _ in range(STEPS):
        with watched_reach([*groups, *learning]) as reach:
            bench.run()
        found.append(reach)
    reached = {i for reach in found for each in reach.found for i in each}
    for i, (key, (name, parameter)) in enumerate(outside.items(), len(groups)):
        if i in reached and not torch.equal(readable(parameter), before[key]):
            raise InputError(
                f"the step trains {name} of shape {tuple(parameter.shape)}, which is in no group; put it into one of the groups"
            )
    for reach in found:
        reach.found = [{i for i in each if i < len(groups)} for each in reach.found]
    return found


def _ways(
    bench: Bench, reference: Reference, reaches: Sequence[Reach], j: int, moved: Changes
) -> tuple[Changes, Changes]:
    """[step][group]: does its update change by the size of the gradients of j, and where no gradient says why, does it by reading j?

    The first is asked where an earlier group's update changed at all, and, with gradients without end, of what a scaler scales: it leaves out
    the steps of all. What that moves is added to ``moved``.
    """
    sized = read = [[False] * len(row) for row in moved]
    if any(any(row[:j]) for row in moved):
        sized = bench.by_size(reference, j, LARGER)
    if bench.holdings.scales:
        endless = bench.by_size(reference, j, math.inf)
        moved[:], sized = _either(moved, endless), _either(sized, endless)
    joined = [
        {i for reach in reaches[: step + 1] for each in reach.found if j in each for i in each} for step in range(STEPS)
    ]
    if any(row[i] and i not in known for row, known in zip(sized, joined, strict=True) for i in range(j)):
        read = bench.by_reading(reference, j)
    return sized, read


def _either(left: Changes, right: Changes) -> Changes:
    return [[a or b for a, b in zip(*rows, strict=True)] for rows in zip(left, right, strict=True)]


def _certificate(bench: Bench, found: Found, reference: Reference, cost: Cost) -> dict[str, Any]:
    names, n = found.names, range(len(found.names))
    saved, flops = _ratio(cost.saved_bytes, cost.twin_saved_bytes), _ratio(cost.flops, cost.twin_flops)
    verdict, sentences = conclude(found, saved, cost.reason, cost.boundaries)
    return {
        "verdict": verdict,
        "sentences": [*sentences, *_again(found, cost), *_partly(bench, reference), *_about(bench, reference)],
        "locality": found.locality,
        "groups": names,
        "segments": [[names[i] for i in range(first, last + 1)] for first, last in found.segments],
        "coupling": found.first,
        "coupling_later": found.later,
        "couplings": [{"perturbed": names[j], "changed": names[i], "way": found.how(j, i)} for j, i in found.backward],
        "reads_ahead": found.ahead,
        "repeats": not reference.tolerance,
        "tolerance": reference.tolerance,
        "untrained": [name for name, learns in zip(names, found.trained, strict=True) if not learns],
        "shared": [[names[i], names[j]] for i, j in sorted(found.shared)],
        "gradient_reach": [[i in each for i in n] for each in found.reaches[0]],
        "peak_saved_bytes": cost.saved_bytes,
        "peak_saved_bytes_end_to_end": cost.twin_saved_bytes,
        "saved_bytes_vs_end_to_end": saved,
        "flops_per_step": cost.flops,
        "flops_per_step_end_to_end": cost.twin_flops,
        "flops_vs_end_to_end": flops,
        "boundaries": cost.boundaries,
        "no_twin": cost.reason,
        "run_again": [names[i] for i in cost.again],
        "steps": bench.calls,
        "limits": LIMITS,
    }


def _ratio(own: int | None, twin: int | None) -> float | None:
    return own / twin if own is not None and twin else None


def _again(found: Found, cost: Cost) -> list[str]:
    """What flatters the ratios."""
    if not cost.again:
        return []
    some = named([found.names[i] for i in cost.again])
    return [
        f"run again after their update, in its twin too: {some}; that twin is heavier than plain backprop, which flatters the ratios"
    ]


def _partly(bench: Bench, reference: Reference) -> list[str]:
    """Groups of which a part does not learn."""
    rows = zip(bench.groups, reference.trained, reference.still, strict=True)
    some = [(group, still) for group, learns, still in rows if learns and still]
    return [
        f"never trained: {still} of the {several(len(group.parameters), 'parameter')} of {group.name}"
        for group, still in some
    ]


def _about(bench: Bench, reference: Reference) -> list[str]:
    """How far two equal runs differ, where they do, and perturbed runs that failed."""
    found = [f"not compared where {name} is perturbed strongly: {reason}" for name, reason in bench.failed.items()]
    if reference.tolerance:
        share = plain(100 * reference.tolerance, 2)
        found.append(
            f"the step does not repeat itself bit by bit: an update has changed where it differs by more than {share} % of its length"
        )
    return found
