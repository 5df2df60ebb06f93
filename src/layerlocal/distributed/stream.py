"""Activities on their way from one process of a pipeline to the next: shapes once, then one message each, two in flight."""

from __future__ import annotations

from collections import deque

import torch
import torch.distributed as dist
from torch import Tensor

from layerlocal.distributed.group import Group

__all__ = ["Receiver", "Sender"]

IN_FLIGHT = 2
MAX_DIMS = 6
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


class Sender:
    """Sends tensors of one shape to another process without waiting for it, unless two are on their way already.

    Args:
        group: the processes.
        to: rank of the other.
    """

    def __init__(self, group: Group, to: int) -> None:
        self.group = group
        self.to = to
        self.flying: deque[tuple[dist.Work, Tensor]] = deque()
        self.told = False

    def send(self, tensor: Tensor) -> None:
        """Send a tensor, which must not be changed afterwards."""
        wire = _dense(tensor)
        if not self.told:
            shape = [DTYPES.index(wire.dtype), wire.dim(), *wire.shape, *wire.stride()]
            header = torch.tensor(shape + [0] * (2 + 2 * MAX_DIMS - len(shape)), device=wire.device)
            self.flying.append((self.group.start_send(header, self.to), header))
            self.told = True
        while len(self.flying) >= IN_FLIGHT:
            self.group.wait(self.flying.popleft()[0])
        flat = _flat(wire)
        self.flying.append((self.group.start_send(flat, self.to), flat))

    def finish(self) -> None:
        """Wait until all has left."""
        while self.flying:
            self.group.wait(self.flying.popleft()[0])


class Receiver:
    """Receives what a `Sender` sends; the next is on its way while the last is worked on.

    Args:
        group: the processes.
        source: rank of the sender.
        device: where tensors are received.
    """

    def __init__(self, group: Group, source: int, device: str) -> None:
        self.group = group
        self.source = source
        self.device = device
        self.layout: tuple[torch.dtype, list[int], list[int]] | None = None
        self.flying: deque[tuple[dist.Work, Tensor]] = deque()
        self.missing = 0

    def expect(self, number: int) -> None:
        """So many tensors will be received, and no more."""
        self.missing = number

    def receive(self) -> Tensor:
        """The next tensor, with the sender's shape and strides."""
        if self.layout is None:
            self.layout = self._hear_layout()
        self._fill()
        work, tensor = self.flying.popleft()
        self.group.wait(work)
        self._fill()
        return tensor

    def _fill(self) -> None:
        while self.missing and len(self.flying) < IN_FLIGHT - 1:
            dtype, shape, stride = self.layout  # type: ignore[misc]
            tensor = torch.empty_strided(shape, stride, dtype=dtype, device=self.device)
            self.flying.append((self.group.start_receive(_flat(tensor), self.source), tensor))
            self.missing -= 1

    def _hear_layout(self) -> tuple[torch.dtype, list[int], list[int]]:
        header = torch.empty(2 + 2 * MAX_DIMS, dtype=torch.int64, device=self.device)
        self.group.wait(self.group.start_receive(header, self.source))
        dtype, dims, *sizes = header.tolist()
        return DTYPES[dtype], sizes[:dims], sizes[dims : 2 * dims]


def _dense(tensor: Tensor) -> Tensor:
    """The tensor itself where it fills its own storage without gaps, otherwise a copy that does, with the same order of dimensions."""
    alone = tensor.untyped_storage().nbytes() == tensor.nbytes
    if alone and torch.empty_like(tensor, device="meta").stride() == tensor.stride():
        return tensor
    return torch.empty_like(tensor).copy_(tensor)


def _flat(tensor: Tensor) -> Tensor:
    """All numbers of a dense tensor in the order of its storage."""
    return tensor.as_strided((tensor.numel(),), (1,))
