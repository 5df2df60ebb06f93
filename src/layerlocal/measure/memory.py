"""Memory, three ways: saved-activation bytes (exact, anywhere), the CUDA allocator's peak, the process's peak resident size."""

from __future__ import annotations

import re
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from layerlocal.measure.probe import forward_backward, untouched
from layerlocal.rules import Rule

__all__ = ["measure_saved_bytes", "peak_resident_bytes", "reset_peak_resident"]


class _Saved:
    """What autograd holds in place of one saved tensor; its end is the end of that saving."""

    __slots__ = ("__weakref__", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class SavedBytes:
    """Counts the bytes that autograd keeps for backward, now and at peak; a storage saved twice counts once.

    Args:
        exclude: tensors whose storages are not activations (parameters, buffers).
    """

    def __init__(self, exclude: list[Tensor]) -> None:
        self.excluded = {tensor.untyped_storage().data_ptr() for tensor in exclude}
        self.holders: Counter[int] = Counter()
        self.sizes: dict[int, int] = {}
        self.current = 0
        self.peak = 0

    def __enter__(self) -> SavedBytes:
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda saved: saved.tensor)
        self.hooks.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.hooks.__exit__(*error)

    def _pack(self, tensor: Tensor) -> _Saved:
        saved = _Saved(tensor.detach())
        storage = tensor.untyped_storage()
        key = storage.data_ptr()
        if key not in self.excluded and key:
            if not self.holders[key]:
                self.sizes[key] = storage.nbytes()
                self.current += self.sizes[key]
                self.peak = max(self.peak, self.current)
            self.holders[key] += 1
            weakref.finalize(saved, self._release, key)
        return saved

    def _release(self, key: int) -> None:
        self.holders[key] -= 1
        if not self.holders[key]:
            self.current -= self.sizes.pop(key)


def measure_saved_bytes(rule: Rule, x: Tensor, y: Tensor) -> dict[str, Any]:
    """Bytes autograd holds for backward in one step of the loop: exact, the same on every machine.

    Args:
        rule: left as it was found.
        x: (B, *sample_shape).
        y: (B,).

    Returns:
        ``peak_saved_bytes``: the most at any moment; ``left_saved_bytes``: held after the last backward (0 for a sound rule).
    """
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
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return None
    return int(found.group(1)) * 1024 if found else None
