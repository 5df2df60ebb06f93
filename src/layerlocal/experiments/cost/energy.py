"""Energy of a GPU by NVML's own counter, where the package `pynvml` (`nvidia-ml-py`) and a card that counts are at hand; never a guess."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["NOTE", "EnergyMeter"]

NOTE = "Energy: not measured (NVML's counter needs an NVIDIA card and the package nvidia-ml-py), and never estimated."


class EnergyMeter:
    """Joules that a card draws while something runs.

    Args:
        device: ``"cuda"`` or ``"cuda:N"``; anything else has no meter.
    """

    def __init__(self, device: str) -> None:
        self._read: Callable[[], int] | None = _counter(device) if device.startswith("cuda") else None

    @property
    def available(self) -> bool:
        """Whether there is a counter to read."""
        return self._read is not None

    def of(self, work: Callable[[], Any]) -> float | None:
        """Joules of the whole card while ``work`` runs; ``None`` without a counter."""
        import torch

        if self._read is None:
            return None
        torch.cuda.synchronize()
        start = self._read()
        work()
        torch.cuda.synchronize()
        return (self._read() - start) / 1000


def _counter(device: str) -> Callable[[], int] | None:
    """A function that reads millijoules since the driver was loaded, or ``None``."""
    try:
        import pynvml
        import torch

        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(device).uuid)
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # whatever pynvml or the driver says: there is no counter to read
        return None
    return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
