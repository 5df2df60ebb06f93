"""A memory budget: the largest batch, and images or context, that each method trains within it, each try in a fresh process."""

from __future__ import annotations

import math
import re
from collections.abc import Generator

from layerlocal.experiments.cost.case import CostCase
from layerlocal.experiments.cost.known import MOST_CLASSES, look_at_network
from layerlocal.experiments.cost.requests import Asking, Row, request_of
from layerlocal.types import InputError
from layerlocal.words import byte_count

__all__ = ["parse_memory", "refuse_below_weights", "search", "sizes_to_try"]

UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
STATES = {"sgd": 1, "adamw": 2}
"""Numbers that an optimizer keeps a weight."""
MOST = 2**60
"""More bytes than any machine has; limits beyond it could not be set."""
STEPS = 2
"""Of the optimizer in one try: by the second, gradients and optimizer state exist."""
QUANTA = {"image_size": 32, "context": 16}
"""Sizes that are tried are multiples: pixels, which the networks' pooling divides, and tokens."""


def parse_memory(text: str) -> int:
    """``"8GB"`` → 8,000,000,000 bytes; KB, MB and GB are decimal, KiB, MiB and GiB powers of two.

    Raises:
        InputError: no number, an unknown unit, or nothing at all.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    known = {unit.lower(): size for unit, size in UNITS.items()}
    if match is None:
        raise InputError(f"--memory takes a number and a unit, such as 8GB or 512MiB, got {text!r}")
    if match[2].lower() not in known:
        what = f"unknown unit {match[2]!r}" if match[2] else "no unit"
        raise InputError(f"--memory {text!r} has {what}; known: {', '.join(UNITS)}")
    found = int(min(float(match[1]) * known[match[2].lower()], MOST))
    if found < 1:
        raise InputError(f"--memory must be more than nothing, got {text!r}")
    return found


def refuse_below_weights(case: CostCase, budget_bytes: int) -> None:
    """A budget that does not even hold weights and optimizer state is a mistake to be named, not a search.

    Args:
        case: backprop on the network; built, unless its weights are known and there is more than enough for them.
        budget_bytes: the limit.

    Raises:
        InputError: it does not.
    """
    look = look_at_network(case)
    needed = math.inf if look is None or case.rule.options or case.num_classes > MOST_CLASSES else look.weights
    if budget_bytes >= (1 + max(STATES.values())) * needed:
        return
    from layerlocal.experiments.cost.building import check_case

    rule = check_case(case)
    weights = sum(p.numel() * p.element_size() for p in rule.parameters())
    states = STATES[case.optimizer]
    trained = sum(p.numel() * p.element_size() for p in rule.parameters() if p.requires_grad)
    needed = weights + states * trained
    if budget_bytes < needed:
        raise InputError(
            f"a budget of {byte_count(budget_bytes, decimal=True)} is below the weights and optimizer state of {case.network.name} themselves "
            f"({byte_count(needed, decimal=True)}, {case.optimizer}); raise --memory or lower --width"
        )


def sizes_to_try(*, start: int, quantum: int, most: int, tolerance: float = 0.0) -> Generator[int, bool, int | None]:
    """Sizes, each of which is answered by whether it fits; the largest multiple of ``quantum`` up to ``most`` that fits comes in the end.

    What fits is taken to fit below some size and not above. Doubles from ``start`` until something does not fit, then bisects.

    Args:
        start: first size tried.
        quantum: sizes are its multiples, ≥ 1.
        most: no size above it is tried.
        tolerance: stop once the answer is known to this share of itself.

    Returns:
        The size, or ``None`` where not even ``quantum`` fits.
    """
    low, high, last = 0, None, max(1, most // quantum)
    trial = min(max(1, start // quantum), last)
    while high is None and low < last:
        low, high = (trial, None) if (yield trial * quantum) else (low, trial)
        trial = min(2 * low, last)
    while high is not None and high - low > max(1, int(tolerance * low)):
        middle = (low + high) // 2
        low, high = (middle, high) if (yield middle * quantum) else (low, middle)
    return low * quantum if low else None


def search(case: CostCase, axis: str, *, budget_bytes: int, most: int, tolerance: float = 0.0) -> Asking[Row]:
    """The largest batch, the largest images or the longest context that one method trains within a budget.

    Args:
        case: the method at its usual batch and image size or context; the one that does not grow stays as it is.
        axis: ``"batch_size"``, ``"image_size"`` or ``"context"``.
        budget_bytes: the limit.
        most: the largest size tried.
        tolerance: see `sizes_to_try`.

    Returns:
        ``{"largest", "stopped": whether the search ended at ``most``, "failed": whether a try gave no answer}``; ``largest`` is ``None``
        where nothing fits.
    """
    quantum = QUANTA.get(axis) or 2 * max(case.recipe.micro_batches, 2)
    sizes = sizes_to_try(start=getattr(case, axis), quantum=quantum, most=most, tolerance=tolerance)
    size = next(sizes)
    while True:
        tried = case.but(**{axis: size})
        [answer] = yield [request_of("fits", {"case": tried}, budget_bytes=budget_bytes, steps=STEPS)]
        if answer is None:
            sizes.close()
            return {"largest": None, "stopped": False, "failed": True}
        try:
            size = sizes.send(bool(answer["fits"]))
        except StopIteration as end:
            return {
                "largest": end.value,
                "stopped": end.value is not None and end.value + quantum > most,
                "failed": False,
            }
