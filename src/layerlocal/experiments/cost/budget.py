"""A memory budget: the largest batch and the largest images that each method trains within it, each try in a fresh process."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from layerlocal.experiments.cost.case import CostCase
from layerlocal.experiments.cost.process import Measurements, request_of
from layerlocal.rules import Rule
from layerlocal.types import InputError
from layerlocal.words import byte_count

__all__ = ["largest_fitting", "parse_memory", "refuse_below_weights", "search"]

UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
MOST = 2**60
"""More bytes than any machine has; limits beyond it could not be set."""
STEPS = 2
"""Of the optimizer in one try: by the second, gradients and optimizer state exist."""
IMAGE_QUANTUM = 32
"""Pixels: what the networks' pooling divides."""


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


def refuse_below_weights(rule: Rule, case: CostCase, budget_bytes: int) -> None:
    """A budget that does not even hold weights and optimizer state is a mistake to be named, not a search.

    Raises:
        InputError: it does not.
    """
    weights = sum(p.numel() * p.element_size() for p in rule.parameters())
    states = {"sgd": 1, "adamw": 2}[case.optimizer]
    trained = sum(p.numel() * p.element_size() for p in rule.parameters() if p.requires_grad)
    needed = weights + states * trained
    if budget_bytes < needed:
        raise InputError(
            f"a budget of {byte_count(budget_bytes, decimal=True)} is below the weights and optimizer state of {case.network.name} themselves "
            f"({byte_count(needed, decimal=True)}, {case.optimizer}); raise --memory or lower --width"
        )


def largest_fitting(
    fits: Callable[[int], bool], *, start: int, quantum: int, most: int, tolerance: float = 0.0
) -> int | None:
    """The largest multiple of ``quantum`` up to ``most`` for which ``fits`` holds, ``fits`` being true below some size and false above.

    Doubles from ``start`` until something does not fit, then bisects.

    Args:
        fits: asked once a size.
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
        low, high = (trial, None) if fits(trial * quantum) else (low, trial)
        trial = min(2 * low, last)
    while high is not None and high - low > max(1, int(tolerance * low)):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle * quantum) else (low, middle)
    return low * quantum if low else None


def search(
    case: CostCase, axis: str, measurements: Measurements, *, budget_bytes: int, most: int, tolerance: float = 0.0
) -> dict[str, Any]:
    """The largest batch or the largest images that one method trains within a budget.

    Args:
        case: the method at its usual batch and image size; the one that does not grow stays as it is.
        axis: ``"batch_size"`` or ``"image_size"``.
        measurements: keeps every try.
        budget_bytes: the limit.
        most: the largest size tried.
        tolerance: see `largest_fitting`.

    Returns:
        ``{"largest", "stopped": whether the search ended at ``most``}``; ``largest`` is ``None`` where nothing fits.
    """

    def fits(size: int) -> bool:
        request = request_of("fits", {"case": case.but(**{axis: size})}, budget_bytes=budget_bytes, steps=STEPS)
        return bool(measurements.get(request)["fits"])

    parts = case.recipe.micro_batches
    quantum = IMAGE_QUANTUM if axis == "image_size" else 2 * max(parts, 2)
    start = getattr(case, axis)
    found = largest_fitting(fits, start=start, quantum=quantum, most=most, tolerance=tolerance)
    return {"largest": found, "stopped": found is not None and found + quantum > most}
