"""Backprop with its layers on several processes, by `torch.distributed.pipelining`: what layer-parallel training is held against.

Micro-batches go forward and their gradients come back (GPipe, arXiv:1811.06965, or one forward one backward, arXiv:1806.03377); while
the pipeline fills and drains, processes wait. The gradients are those of one process that accumulates the same micro-batches. (In its first
step torch runs every stage and the loss once more to find out shapes, which moves running statistics by that much.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

from layerlocal.distributed.group import Group
from layerlocal.rules import BlockwiseRule
from layerlocal.rules.twins import Twin
from layerlocal.types import InputError

__all__ = ["SCHEDULES", "PipelineBP"]

SCHEDULES = {"gpipe": ScheduleGPipe, "1f1b": Schedule1F1B}


class _Blocks(nn.Module):
    """A run of a rule's blocks, with what is fed from one to the next; the last run ends with the activity that is read out.

    What goes from one run to the next must be contiguous: channels-last maps travel as (B, H, W, C).
    """

    def __init__(self, rule: BlockwiseRule, blocks: Sequence[int]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(rule.network.blocks[index] for index in blocks)
        self.indices = list(blocks)
        self.feed = rule.feed
        self.depth = rule.network.depth
        self.channels_last = rule.network.channels_last

    def forward(self, h: Tensor) -> Tensor:
        if self.channels_last and h.dim() == 4:
            h = h.permute(0, 3, 1, 2) if self.indices[0] else h.contiguous(memory_format=torch.channels_last)
        for index, block in zip(self.indices, self.blocks, strict=True):
            h = block(h)
            if index + 1 < self.depth:
                h = self.feed(index, h)
        if self.indices[-1] + 1 < self.depth:
            h = (h.permute(0, 2, 3, 1) if self.channels_last and h.dim() == 4 else h).contiguous()
        return h


class _CountingStage(PipelineStage):
    """Counts the bytes it sends and the seconds it computes."""

    sent_bytes = 0
    busy_seconds = 0.0

    def get_fwd_send_ops(self, *args: Any) -> list[Any]:
        return self._counted(super().get_fwd_send_ops(*args))

    def get_bwd_send_ops(self, *args: Any) -> list[Any]:
        return self._counted(super().get_bwd_send_ops(*args))

    def forward_one_chunk(self, *args: Any, **options: Any) -> Any:
        return self._timed(super().forward_one_chunk, *args, **options)

    def backward_one_chunk(self, *args: Any, **options: Any) -> Any:
        return self._timed(super().backward_one_chunk, *args, **options)

    def _counted(self, operations: list[Any]) -> list[Any]:
        self.sent_bytes += sum(operation.tensor.nbytes for operation in operations)
        return operations

    def _timed(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        start = time.perf_counter()
        found = function(*args, **options)
        self.busy_seconds += time.perf_counter() - start
        return found


class PipelineBP:
    """Backprop of a twin's last loss over the processes of a group.

    Args:
        rule: `bp` of a rule whose inputs are the data.
        group: the processes; process r has the blocks ``dealt[r]``.
        dealt: runs of block indices, one a process.
        micro_batches: M ≥ W; the batch is cut into so many parts.
        schedule: ``"gpipe"`` or ``"1f1b"``.
        device: where this process's tensors live.

    Raises:
        InputError: another rule, or fewer micro-batches than processes.
    """

    def __init__(
        self,
        rule: Twin,
        group: Group,
        dealt: Sequence[Sequence[int]],
        *,
        micro_batches: int,
        schedule: str = "gpipe",
        device: str = "cpu",
    ) -> None:
        depth = rule.network.depth
        if rule.segments != [list(range(depth))] or rule.readouts != [depth - 1]:
            raise InputError(f"a pipeline of backprop takes the rule 'bp', not {rule.info.name!r}")
        if type(rule).inputs is not BlockwiseRule.inputs:
            raise InputError(
                f"a pipeline of backprop takes the data as they are, and {rule.twin_of.info.name!r} makes inputs of its own"
            )
        if micro_batches < group.size:
            raise InputError(
                f"{micro_batches} micro-batches cannot fill a pipeline of {group.size} processes; take at least as many"
            )
        self.rule = rule
        self.group = group
        self.last = group.rank == group.size - 1
        self.losses: list[Tensor] = []
        self.stage = _CountingStage(_Blocks(rule, dealt[group.rank]), group.rank, group.size, torch.device(device))

        def loss(activity: Tensor, y: Tensor) -> Tensor:
            return rule.block_loss(depth - 1, activity, y)[0] / micro_batches

        self.schedule = SCHEDULES[schedule](self.stage, micro_batches, loss_fn=loss, scale_grads=False)
        self.step_seconds = 0.0

    def forward_backward(self, x: Tensor, y: Tensor) -> Tensor | None:
        """Gradients of the mean loss of a batch, on every process for its own blocks (and the last's readout).

        Args:
            x: (B, *sample_shape), read by the first process.
            y: (B,), read by the last.

        Returns:
            The loss on the last process.
        """
        start = time.perf_counter()
        losses: list[Tensor] = []
        given = (x.contiguous(),) if self.group.rank == 0 else ()
        if self.last:
            self.schedule.step(*given, target=y, losses=losses)
        else:
            self.schedule.step(*given)
        self.step_seconds += time.perf_counter() - start
        return torch.stack(losses).sum() if losses else None

    def spent(self, steps: int) -> dict[str, float]:
        """Bytes sent a step, share of the time in which this process did not compute, and seconds, since the last call."""
        found = {
            "bytes_per_step": self.stage.sent_bytes / steps,
            "idle_share": 1 - self.stage.busy_seconds / self.step_seconds,
            "seconds": self.step_seconds,
        }
        self.stage.sent_bytes, self.stage.busy_seconds, self.step_seconds = 0, 0.0, 0.0
        return found
