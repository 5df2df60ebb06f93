"""Where tensors live: one reading of ``device`` for every call that takes one."""

from __future__ import annotations

import re

import torch

from layerlocal.types import InputError

__all__ = ["Device", "device_name", "find_device"]

Device = str | torch.device
"""``"cpu"``, ``"cuda"`` (the current GPU) or ``"cuda:N"``, or the `torch.device` of it."""


def device_name(device: Device) -> str:
    """A device as ``"cpu"``, ``"cuda"`` or ``"cuda:N"``, whether it is there or not (it may be on another machine).

    Raises:
        InputError: a device of another kind.
    """
    if not isinstance(device, str | torch.device):
        raise InputError(f"a device is 'cpu', 'cuda', 'cuda:N' or a torch.device, got {device!r}")
    name = str(device)
    if name == "cpu:0":  # what tensors never say, but torch accepts
        return "cpu"
    if not re.fullmatch(r"cpu|cuda(:[0-9]{1,3})?", name):
        hint = " Did you mean 'cuda'?" if name.lower().startswith(("gpu", "cuda", "nvidia")) else ""
        raise InputError(f"unknown device {name!r}; known: cpu, cuda, cuda:N.{hint}")
    return name


def find_device(device: Device) -> str:
    """`device_name` of a device of this machine.

    Raises:
        InputError: a device of another kind, or one that is not here.
    """
    name = device_name(device)
    if name == "cpu":
        return name
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        raise InputError(f"device {name!r} cannot be used: torch {torch.__version__} finds no CUDA GPU here; use 'cpu'")
    if int(name.partition(":")[2] or 0) >= count:
        last = f"'cuda:0' to 'cuda:{count - 1}' are" if count > 1 else "'cuda:0' is"
        raise InputError(f"device {name!r} cannot be used: only {last} here")
    return name
