"""Memory, three ways: saved-activation bytes (exact, anywhere), the CUDA allocator's peak, the process's peak resident size."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from layerlocal.measure.probe import forward_backward, refuse_batch, untouched
from layerlocal.rules import Rule
from layerlocal.rules.core.saved import SavedBytes

__all__ = ["measure_saved_bytes", "peak_resident_bytes", "process_bytes", "reset_peak_resident"]


def measure_saved_bytes(rule: Rule, x: Tensor, y: Tensor) -> dict[str, Any]:
    """Bytes autograd holds for backward in one step of the loop: exact, the same on every machine.

    Args:
        rule: left as it was found.
        x: (B, *sample_shape).
        y: (B,).

    Returns:
        ``peak_saved_bytes``: the most at any moment; ``left_saved_bytes``: held after the last backward (0 for a sound rule).
    """
    refuse_batch(rule, x, y)
    counter = SavedBytes([*rule.parameters(), *rule.buffers()])
    with untouched(rule):
        rule.train()
        with counter:
            forward_backward(rule, x, y)
        left = counter.current
    return {"peak_saved_bytes": counter.peak, "left_saved_bytes": left}


def reset_peak_resident() -> bool:
    """Start the process's peak anew (Linux); False where the system does not let us, and the peak is the whole process's."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_resident_bytes() -> int | None:
    """The process's peak resident size since its start or the last `reset_peak_resident`; ``None`` where /proc is absent."""
    return process_bytes("VmHWM")


def process_bytes(key: str) -> int | None:
    """A size of this process that Linux keeps (``VmRSS`` resident now, ``VmHWM`` its peak, ``VmData``); ``None`` where /proc is absent."""
    try:
        found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return None
    return int(found.group(1)) * 1024 if found else None
