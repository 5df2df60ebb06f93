"""Samples per second, measured side by side: rules take turns, so that a machine whose speed drifts is the same for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from layerlocal.devices import Device, find_device
from layerlocal.options import whole_number
from layerlocal.training.train import clock
from layerlocal.types import InputError

__all__ = ["measure_speed", "speed_ratios"]


def measure_speed(
    steps: Mapping[str, Callable[[], None]],
    *,
    batch_size: int,
    repeats: int = 7,
    warm_up: int = 2,
    device: Device = "cpu",
) -> dict[str, list[float]]:
    """Seconds of each step, one round after another: every round runs every step once.

    Args:
        steps: one function a label that trains one batch.
        batch_size: samples a step.
        repeats: timed rounds, ≥ 1.
        warm_up: rounds before the clock runs.
        device: synchronized before the clock is read where it is a CUDA device.

    Returns:
        label → samples per second of every timed round, in order; pair them round by round.

    Raises:
        InputError: steps that are no functions, numbers out of their range, a device that is not here.
    """
    device = find_device(device)
    if not isinstance(steps, Mapping) or not steps or not all(callable(step) for step in steps.values()):
        raise InputError("steps must be a dictionary: a label, and a function without arguments that trains one batch")
    batch_size, repeats = whole_number("batch_size", batch_size, least=1), whole_number("repeats", repeats, least=1)
    warm_up = whole_number("warm_up", warm_up, least=0)
    found: dict[str, list[float]] = {label: [] for label in steps}
    for round_index in range(warm_up + repeats):
        for label, step in steps.items():
            start = clock(device)
            step()
            seconds = clock(device) - start
            if round_index >= warm_up:
                found[label].append(batch_size / seconds)
    return found


def speed_ratios(speeds: Mapping[str, list[float]], baseline: str) -> dict[str, dict[str, Any]]:
    """Median samples/s of each label and its ratio to the baseline, paired round by round: median and quartiles."""
    rows: dict[str, dict[str, Any]] = {}
    for label, values in speeds.items():
        ratios = sorted(a / b for a, b in zip(values, speeds[baseline], strict=True))
        n = len(ratios)
        rows[label] = {
            "samples_per_s": median(values),
            "speed_ratio": {
                "median": median(ratios),
                "low": ratios[n // 4],
                "high": ratios[(3 * n) // 4 if n > 1 else 0],
                "n": n,
            },
        }
    return rows
