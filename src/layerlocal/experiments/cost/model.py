"""What a step on W processes takes, sends and waits, from what one process and one link were measured to do.

A step is played through on paper: blocks compute one after another, messages take latency + bytes / bandwidth on a link that carries
one at a time, and a process waits only where the method does.

    data-parallel, backprop   forward 1..L, backward L..1; a block's gradients leave when its backward ends
    data-parallel, local      forward 1, backward 1, forward 2, ...; a block's gradients leave when its backward ends
    layer-parallel, local     one step every max over processes of max(computing, sending); the first W − 1 steps fill the pipeline
    pipelined backprop        (M + W − 1) slots of the slowest process's micro-batch; (W − 1) / (M + W − 1) of the time nothing is there to do

Every process is taken to compute as fast as the one that was measured, which is so where each has cores (and memory bandwidth) of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["BlockCost", "Link", "Prediction", "predict"]


@dataclass(frozen=True)
class Link:
    """Between two processes: seconds until the first byte arrives, and bytes a second from then on."""

    latency_seconds: float
    bytes_per_second: float

    def message_seconds(self, size: float) -> float:
        """One message."""
        return self.latency_seconds + size / self.bytes_per_second

    def sum_seconds(self, size: float, processes: int) -> float:
        """A tensor summed over all processes by a ring: 2(W − 1) messages of a W-th each."""
        if processes == 1:
            return 0.0
        return 2 * (processes - 1) * self.message_seconds(size / processes)


@dataclass(frozen=True)
class BlockCost:
    """One block and its readout on one process.

    Args:
        forward_seconds: for one sample, including the loss where there is one.
        backward_seconds: for one sample.
        fixed_seconds: a step, whatever the number of samples.
        gradient_bytes: of the block's parameters.
        activity_bytes: of one sample's activity, as it is handed on.
        statistics: batch normalizations, each of which waits for others once forward and once backward when synchronized.
        statistics_bytes: what they gather in a step, both ways together.
    """

    forward_seconds: float
    backward_seconds: float
    fixed_seconds: float = 0.0
    gradient_bytes: int = 0
    activity_bytes: int = 0
    statistics: int = 0
    statistics_bytes: int = 0

    def seconds(self, samples: float) -> float:
        """Forward and backward of so many samples."""
        return self.fixed_seconds + samples * (self.forward_seconds + self.backward_seconds)


@dataclass(frozen=True)
class Prediction:
    """Of one step.

    Args:
        step_seconds: from one optimizer step to the next.
        sent_bytes: by the process that sends most.
        idle_share: of all processes' time, in which nothing is computed.
        samples_per_s: of all processes together.
    """

    step_seconds: float
    sent_bytes: float
    idle_share: float
    samples_per_s: float


def predict(
    method: str,
    blocks: Sequence[BlockCost],
    link: Link,
    *,
    processes: int,
    batch_size: int,
    micro_batches: int = 1,
    steps: int | None = None,
    sync_norm: bool = True,
) -> Prediction | None:
    """One step of a method on W processes; ``None`` where there are more processes than blocks to deal, samples or micro-batches.

    Args:
        method: ``"data, bp"``, ``"data, local"``, ``"layers, local"`` or ``"pipeline, bp"``.
        blocks: in order, for the method's rule.
        link: between processes.
        processes: W.
        batch_size: B of all processes together.
        micro_batches: M of the pipeline.
        steps: of an epoch, over which a layer-parallel pipeline fills once; ``None``: endless.
        sync_norm: whether data-parallel batch statistics are of the whole batch.
    """
    if method in ("data, bp", "data, local"):
        if batch_size % processes:
            return None
        return _data(method == "data, local", blocks, link, processes, batch_size, sync_norm)
    at_once = batch_size
    if method == "pipeline, bp":
        if processes > micro_batches or batch_size % micro_batches:
            return None
        at_once //= micro_batches
    if processes > len(blocks):
        return None
    from layerlocal.distributed.layer_parallel import deal  # which loads torch

    parts = deal([block.seconds(at_once) for block in blocks], processes)
    ends = [blocks[part.stop - 1].activity_bytes * batch_size for part in parts[:-1]]
    if method == "layers, local":
        return _layers(blocks, parts, ends, link, batch_size, steps)
    return _pipeline(blocks, parts, ends, link, batch_size, micro_batches)


def _finish(seconds: float, busy: float, sent: float, processes: int, batch_size: int) -> Prediction:
    return Prediction(seconds, sent, max(0.0, 1 - busy / (processes * seconds)), batch_size / seconds)


def _data(
    local: bool, blocks: Sequence[BlockCost], link: Link, processes: int, batch_size: int, sync_norm: bool
) -> Prediction:
    samples = batch_size / processes
    wait = link.message_seconds(0) if sync_norm and processes > 1 else 0.0
    now, computed, free = 0.0, 0.0, 0.0

    def compute(seconds: float, waits: int) -> None:
        nonlocal now, computed
        now += seconds + waits * wait
        computed += seconds

    def send(block: BlockCost) -> None:
        nonlocal free
        free = max(now, free) + link.sum_seconds(block.gradient_bytes, processes)

    for block in blocks:
        compute(block.fixed_seconds + samples * block.forward_seconds, block.statistics)
        if local:
            compute(samples * block.backward_seconds, block.statistics)
            send(block)
    for block in [] if local else reversed(blocks):
        compute(samples * block.backward_seconds, block.statistics)
        send(block)
    seconds = max(now, free)
    sent = 2 * (processes - 1) / processes * sum(block.gradient_bytes for block in blocks)
    if sync_norm:
        sent += (processes - 1) * sum(block.statistics_bytes for block in blocks)
    return _finish(seconds, processes * computed, sent, processes, batch_size)


def _layers(
    blocks: Sequence[BlockCost],
    parts: Sequence[range],
    ends: Sequence[float],
    link: Link,
    batch_size: int,
    steps: int | None,
) -> Prediction:
    computing = [sum(blocks[index].seconds(batch_size) for index in part) for part in parts]
    slot = max([*computing, *(link.message_seconds(size) for size in ends)])
    seconds = slot if steps is None else slot * (steps + len(parts) - 1) / steps
    return _finish(seconds, sum(computing), max(ends, default=0.0), len(parts), batch_size)


def _pipeline(
    blocks: Sequence[BlockCost],
    parts: Sequence[range],
    ends: Sequence[float],
    link: Link,
    batch_size: int,
    micro_batches: int,
) -> Prediction:
    samples = batch_size / micro_batches
    computing = [sum(blocks[index].seconds(samples) for index in part) for part in parts]
    there_and_back = 2 * max((link.message_seconds(size / micro_batches) for size in ends), default=0.0)
    fill = len(parts) - 1
    seconds = (micro_batches + fill) * max(computing) + fill * there_and_back
    sent = max((before + after for before, after in zip([0.0, *ends], [*ends, 0.0], strict=True)), default=0.0)
    return _finish(seconds, micro_batches * sum(computing), sent, len(parts), batch_size)
