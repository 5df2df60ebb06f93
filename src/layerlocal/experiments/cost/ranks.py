"""One of several processes that train side by side: every method in its turn, round after round, and the link between two of them.

    data      any rule on a part of each batch, gradients summed
    layers    a block-local rule, some blocks to each process, activities sent forward
    pipeline  backprop on `torch.distributed.pipelining` (1F1B), some blocks to each process, in micro-batches

A method's name is ``"<way>, <label of its case>"``. On one process the seconds of each block are measured too, by which blocks are dealt.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

import torch
from torch import Tensor

from layerlocal.distributed import DataParallel, Group, join
from layerlocal.distributed.layer_parallel import Stage, deal, local_segments
from layerlocal.distributed.pipeline_bp import PipelineBP
from layerlocal.distributed.stream import Receiver, Sender
from layerlocal.experiments.cost.blocks import block_costs
from layerlocal.experiments.cost.building import Trainer
from layerlocal.experiments.cost.case import CostCase
from layerlocal.experiments.cost.model import BlockCost, Link
from layerlocal.experiments.cost.requests import MICRO_BATCHES
from layerlocal.types import InputError

__all__ = ["measure_rank"]

_SMALL, _LARGE = 2, 2**20
Cases = Mapping[str, CostCase]
Costs = dict[str, list[dict[str, Any]]]


def measure_rank(
    cases: Cases,
    *,
    methods: Mapping[str, str],
    rank: int,
    processes: int,
    port: int,
    rounds: int,
    steps: int,
    costs: Costs | None = None,
) -> dict[str, Any]:
    """What one process measures.

    Args:
        cases: label → case; block-local rules and ``bp``.
        methods: name → label of its case.
        rank: of this process.
        processes: W.
        port: on this machine, where they meet.
        rounds: timed, after one to warm up.
        steps: a round.
        costs: method → its blocks' costs as measured on one process; measured here where left out.

    Returns:
        ``rounds``: method → one ``{"seconds", "sent", "waited"}`` a round, each per step; ``costs``; and on 2 processes or more ``link``.
    """
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    with join() as group:
        found: dict[str, Any] = {"link": asdict(_link(group))} if processes > 1 else {}
        if costs is None:
            costs = {name: _costs(name, Trainer(cases[label]), group, rounds) for name, label in methods.items()}
        runners = {
            name: _RUNNERS[_way(name)](group, Trainer(cases[label]), [BlockCost(**cost) for cost in costs[name]])
            for name, label in methods.items()
        }
        return found | {"costs": costs, "rounds": _rounds(group, runners, rounds, steps)}


def _way(name: str) -> str:
    return name.partition(",")[0]


def _rounds(group: Group, runners: Mapping[str, _Runner], rounds: int, steps: int) -> dict[str, list[dict[str, float]]]:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in runners}
    for number in range(rounds + 1):
        for name, runner in runners.items():
            _meet(group)
            start = time.perf_counter()
            spent = runner.run(steps)
            _meet(group)
            spent["seconds"] = time.perf_counter() - start
            if number:
                found[name].append({key: value / steps for key, value in spent.items()})
    return found


def _meet(group: Group) -> None:
    group.gather(torch.zeros(1))
    group.traffic.reset()


# --- ways to spread a rule ----------------------------------------------------------------------------------------------


class _Runner:
    """One method on this process's part.

    Args:
        group: the processes.
        trainer: the case, with the whole batch.
        costs: of its blocks.
    """

    def __init__(self, group: Group, trainer: Trainer, costs: Sequence[BlockCost]) -> None:
        self.group = group
        self.trainer = trainer
        self.batch = (trainer.x, trainer.y)

    def run(self, steps: int) -> dict[str, float]:
        """Train so many steps: bytes sent and seconds waited meanwhile."""
        raise NotImplementedError

    def _traffic(self) -> dict[str, float]:
        return {"sent": self.group.traffic.sent_bytes, "waited": self.group.traffic.waited_seconds}


class _Data(_Runner):
    def __init__(self, group: Group, trainer: Trainer, costs: Sequence[BlockCost]) -> None:
        super().__init__(group, trainer, costs)
        self.step: Callable[[], None] = trainer.step
        if group.size > 1:
            parallel = DataParallel(trainer.rule, group)
            self.step = lambda: parallel.step(*self.batch, trainer.stepper, recipe=trainer.recipe)

    def run(self, steps: int) -> dict[str, float]:
        for _ in range(steps):
            self.step()
        return self._traffic()


class _Layers(_Runner):
    def __init__(self, group: Group, trainer: Trainer, costs: Sequence[BlockCost]) -> None:
        super().__init__(group, trainer, costs)
        part = deal([cost.seconds(len(trainer.x)) for cost in costs], group.size)[group.rank]
        self.receiver = Receiver(group, group.rank - 1, "cpu") if group.rank else None
        self.sender = Sender(group, group.rank + 1) if group.rank + 1 < group.size else None
        segments = local_segments(trainer.rule)[1][part.start : part.stop]
        trainer.rule = Stage(trainer.rule, segments, receiver=self.receiver, sender=self.sender)

    def run(self, steps: int) -> dict[str, float]:
        if self.receiver:
            self.receiver.expect(steps)
        self.trainer.run(steps)
        if self.sender:
            self.sender.finish()
        return self._traffic()


class _Pipeline(_Runner):
    def __init__(self, group: Group, trainer: Trainer, costs: Sequence[BlockCost]) -> None:
        super().__init__(group, trainer, costs)
        size = len(trainer.x) / MICRO_BATCHES
        dealt = deal([cost.seconds(size) for cost in costs], group.size)
        self.pipeline = PipelineBP(trainer.rule, group, dealt, micro_batches=MICRO_BATCHES, schedule="1f1b")  # type: ignore[arg-type]

    def run(self, steps: int) -> dict[str, float]:
        optimizer = self.trainer.stepper.optimizer
        for _ in range(steps):
            self.pipeline.forward_backward(*self.batch)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        spent = self.pipeline.spent(1)
        return {"sent": spent["bytes_per_step"], "waited": spent["seconds"] * spent["idle_share"]}


_RUNNERS: Mapping[str, type[_Runner]] = {"data": _Data, "layers": _Layers, "pipeline": _Pipeline}


# --- what the model is made of ------------------------------------------------------------------------------------------


def _costs(name: str, trainer: Trainer, group: Group, rounds: int) -> list[dict[str, Any]]:
    if group.size > 1:
        raise InputError("the costs of blocks are measured on one process")
    parallel = DataParallel(trainer.rule, group) if _way(name) == "data" else None
    found = block_costs(trainer.rule, (trainer.x, trainer.y), trainer.recipe, rounds=rounds, parallel=parallel)
    if parallel is not None:
        parallel.release()
    return [asdict(cost) for cost in found]


def _link(group: Group) -> Link:
    """Between the first two processes; the others look on."""
    small, large = torch.zeros(_SMALL), torch.zeros(_LARGE)
    _meet(group)
    latency = median(_ping_pong(group, small, 20) for _ in range(7))
    seconds = median(_ping_pong(group, large, 5) for _ in range(7))
    _meet(group)
    return Link(latency, large.nbytes / max(1e-9, seconds - latency))


def _ping_pong(group: Group, tensor: Tensor, number: int) -> float:
    start = time.perf_counter()
    for _ in range(number):
        for sender in (0, 1):
            if group.rank == sender:
                group.wait(group.start_send(tensor, 1 - sender))
            elif group.rank == 1 - sender:
                group.wait(group.start_receive(tensor, sender))
    return (time.perf_counter() - start) / (2 * number)
