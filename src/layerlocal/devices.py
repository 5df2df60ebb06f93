"""Where tensors live, one reading of ``device`` for every call that takes one; and what is drawn there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from layerlocal.types import InputError

__all__ = [
    "Device",
    "cuda_devices",
    "device_name",
    "drawn_from",
    "find_device",
    "random_state",
    "seed_generators",
    "this_device",
]

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


def this_device(device: Device) -> torch.device:
    """The device with its number: ``"cuda"`` is the current GPU of this thread, and another thread has another."""
    found = torch.device(device)
    return torch.device("cuda", torch.cuda.current_device()) if found.type == "cuda" and found.index is None else found


def cuda_devices(tensors: Iterable[Tensor]) -> list[torch.device]:
    """The GPUs that some of the tensors lie on, by number. None of the others is woken for the sake of their generators."""
    return sorted(
        {tensor.device for tensor in tensors if tensor.device.type == "cuda"}, key=lambda device: device.index
    )


def seed_generators(seed: int, devices: Iterable[torch.device] = ()) -> None:
    """Seed the generator of the CPU, and those of the GPUs given; `torch.manual_seed` seeds all GPUs there are."""
    torch.default_generator.manual_seed(seed)
    for device in devices:
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextmanager
def drawn_from(seed: int, devices: Iterable[torch.device] = ()) -> Iterator[None]:
    """What torch draws inside, on the CPU and on the GPUs given, comes from ``seed``; afterwards all generators are as they were."""
    devices = list(devices)
    with torch.random.fork_rng(devices):
        seed_generators(seed, devices)
        yield


def random_state(device: torch.device) -> Tensor:
    """Of the generators that are drawn from where tensors live on a device: the CPU's, and a GPU's with it."""
    state = torch.get_rng_state()
    return torch.cat([state, torch.cuda.get_rng_state(device)]) if device.type == "cuda" else state
