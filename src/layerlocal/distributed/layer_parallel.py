"""Layer-parallel training of local rules: segments on different processes, activities sent forward, nothing sent back.

A block-local update needs nothing from later blocks, so process r trains its segments on batch t while process r − 1 is at batch t + 1:
a pipeline that never waits for a backward pass. Each process steps its own blocks as one process would, in the same order and on the same
numbers: the weights are those of the sequential run, to the last bit where both use as many threads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from layerlocal.data import Batches, Data
from layerlocal.devices import random_state
from layerlocal.distributed.group import Group
from layerlocal.distributed.stream import Receiver, Sender
from layerlocal.distributed.training import DistributedTraining
from layerlocal.measure.probe import untouched
from layerlocal.networks import Network
from layerlocal.rules import BlockwiseRule, Rule
from layerlocal.rules.core.walk import learns_by, segment_loss, segment_name
from layerlocal.rules.twins import Twin
from layerlocal.spec import Recipe
from layerlocal.training.evaluate import Evaluation
from layerlocal.training.train import StepReport, clock, train_step
from layerlocal.types import BlockLoss, InputError

__all__ = ["LayerParallelTraining", "Stage", "deal", "local_segments"]

ROUNDS = 3


def local_segments(rule: Rule) -> tuple[BlockwiseRule, list[list[int]]]:
    """The rule, which walks its blocks in order, and the segments between its gradient boundaries.

    Raises:
        InputError: a rule whose segments cannot learn apart from one another, and why.
    """
    own = Twin.losses if isinstance(rule, Twin) else BlockwiseRule.losses
    name = rule.info.name
    if rule.locality == "global" and rule.network.depth > 1:
        why = "every block's update waits for the whole network"
    elif rule.reads_ahead:
        why = f"a block's update depends on the {rule.reads_ahead} after it"
    elif rule.gathers:
        why = "a loss of it reads blocks before its own, which may lie on other processes"
    elif not isinstance(rule, BlockwiseRule) or type(rule).losses is not own:
        why = "it walks its blocks in a way of its own (`losses`), which is not known to go forward only"
    else:
        segments = rule.segments if isinstance(rule, Twin) else [[index] for index in range(rule.network.depth)]
        return rule, [list(segment) for segment in segments]
    raise InputError(
        f"rule {name!r} cannot be trained with its layers on different processes: {why}; use --parallel data, or a block-local rule"
    )


def deal(costs: Sequence[float], processes: int) -> list[range]:
    """Deal segments to processes, each a run of neighbours and at least one, so that the busiest has least to do.

    Args:
        costs: of each segment, in any unit.
        processes: W.

    Raises:
        InputError: more processes than segments.
    """
    count = len(costs)
    if processes > count:
        raise InputError(
            f"{processes} processes cannot share {count} segments, each of which stays whole; start at most {count} processes"
        )
    before = [0.0]
    for cost in costs:
        before.append(before[-1] + cost)
    best: dict[tuple[int, int], tuple[float, int]] = {
        (0, 0): (0.0, 0)
    }  # (processes, segments dealt) → (busiest, start of the last)
    for number in range(1, processes + 1):
        for end in range(number, count - (processes - number) + 1):
            options = [
                (max(best[number - 1, start][0], before[end] - before[start]), start)
                for start in range(number - 1, end)
                if (number - 1, start) in best
            ]
            best[number, end] = min(options)
    dealt, end = [], count
    for number in range(processes, 0, -1):
        start = best[number, end][1]
        dealt.append(range(start, end))
        end = start
    return dealt[::-1]


class Stage(Rule):
    """A rule as one process of a pipeline sees it: the losses of its own segments, their input received, their output sent on.

    Args:
        rule: whose blocks are trained; the whole of it is here, its other blocks stay as they are.
        segments: this process's.
        receiver: where their input comes from; ``None``: from the batch.
        sender: where their output goes; ``None``: nowhere, they are the last.
    """

    def __init__(
        self, rule: Rule, segments: Sequence[Sequence[int]], *, receiver: Receiver | None, sender: Sender | None
    ) -> None:
        nn.Module.__init__(self)
        self.walked = local_segments(rule)[0]
        self.info = rule.info  # type: ignore[misc]
        self.num_classes = rule.num_classes
        self.segments = segments
        self.cuts = getattr(rule, "cuts", ())
        self.receiver = receiver
        self.sender = sender

    @property
    def network(self) -> Network:  # type: ignore[override]
        """The rule's."""
        return self.walked.network

    def block_parameters(self) -> dict[str, list[nn.Parameter]]:
        """Those of this process's blocks."""
        mine = {self.network.block_names[index] for segment in self.segments for index in segment}
        return {name: parameters for name, parameters in self.walked.block_parameters().items() if name in mine}

    def losses(self, x: Tensor, y: Tensor) -> Iterator[BlockLoss]:
        """One loss a segment of this process's; the output is on its way before the last backward."""
        rule, depth = self.walked, self.network.depth
        if self.receiver is None:
            h, labels = rule.inputs(rule.network.prepare(x), y)
            if labels is not y and not torch.equal(labels, y):
                raise InputError(
                    f"rule {rule.info.name!r} changes the labels in `inputs`, and the processes of later layers know the data's only"
                )
        else:
            h = self.receiver.receive()
        for segment in self.segments:
            value, metrics, h = segment_loss(rule, segment, rule.block_loss, h.detach(), y, self.cuts)
            name = segment_name(segment, depth)
            if value is None and not self.network.frozen.issuperset(segment):
                raise InputError(f"{name} has no readout, so nothing would train it")
            if segment is self.segments[-1] and self.sender is not None:
                self.sender.send(rule.feed(segment[-1], h))
            if value is not None and learns_by(rule, segment, value):
                yield BlockLoss(name, value, metrics)
            del value
            if segment is not self.segments[-1]:
                h = rule.feed(segment[-1], h)


class _LabelsOnly:
    """Batches for a process that gets its inputs from another: labels in the same order, in the place of inputs too."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(labels, labels) of each batch."""
        labels = self.batches.split.labels
        order = self.batches.order(epoch).to(labels.device)
        for start in range(0, self.batches.num_samples, self.batches.batch_size):
            y = labels[order[start : start + self.batches.batch_size]].to(self.batches.device)
            yield y, y


class LayerParallelTraining(DistributedTraining):
    """`Training` with the segments of a local rule dealt to the processes; after each epoch process 0 has all weights, and evaluates.

    Args:
        rule: block-local, or local by segments.
        data: as of `Training`.
        recipe: likewise.
        group: the processes.
        seed: as of `Training`.
        device: where this process's tensors live.
        costs: of each segment, to deal by; measured by process 0 where left out. They decide speed, not results.

    Raises:
        InputError: a rule that needs something sent back, more processes than segments, random draws in later blocks.
    """

    mode = "layers"

    def __init__(
        self,
        rule: Rule,
        data: Data,
        recipe: Recipe,
        *,
        group: Group,
        seed: int = 0,
        device: str = "cpu",
        costs: Sequence[float] | None = None,
    ) -> None:
        segments = local_segments(rule)[1]
        deal([1.0] * len(segments), group.size)
        super().__init__(rule, data, recipe, group=group, seed=seed, device=device)
        if group.rank == 0:
            parts = deal(costs or self._segment_seconds(), group.size)
            dealt = json.dumps([[part.start, part.stop] for part in parts])
            group.say(dealt)
        else:
            dealt = group.hear()
        self.dealt = [segments[start:stop] for start, stop in json.loads(dealt)]
        rank = group.rank
        self.receiver = Receiver(group, rank - 1, device) if rank else None
        self.sender = Sender(group, rank + 1) if rank + 1 < group.size else None
        self.stage = Stage(self.rule, self.dealt[rank], receiver=self.receiver, sender=self.sender)
        if rank:
            self.batches = _LabelsOnly(self.batches)  # type: ignore[assignment]
        self.gathered: dict[str, Tensor] = {}

    def _segment_seconds(self) -> list[float]:
        """Forward and backward of each segment, the fastest of some rounds on the first batch."""
        x, y = next(self.batches.epoch(0))
        names = [segment_name(segment, self.rule.network.depth) for segment in local_segments(self.rule)[1]]
        rounds = []
        with untouched(self.rule):
            self.rule.train()
            for _ in range(ROUNDS):
                losses, seconds, start = self.rule.losses(x, y), dict.fromkeys(names, 0.0), clock(self.device)
                for loss in losses:  # none of a segment with nothing to train: it counts to the next
                    loss.value.backward()
                    seconds[loss.block] = clock(self.device) - start
                    start = clock(self.device)
                rounds.append(seconds.values())
        return [min(column) for column in zip(*rounds, strict=True)]

    def step(self, x: Tensor, y: Tensor, observe: Callable[[BlockLoss], None]) -> None:
        """One optimizer step of this process's blocks."""
        train_step(self.stage, x, y, self.stepper, recipe=self.recipe, observe=observe)

    def _run_steps(self, meter: Any, report: StepReport | None) -> int:
        self.gathered = {}
        before = random_state(torch.device(self.device))
        if self.receiver is not None:
            steps = min(len(self.batches), self.steps - self.steps_done)
            self.receiver.expect(steps * self.recipe.micro_batches)
        samples = super()._run_steps(meter, report)
        if self.group.rank and not torch.equal(before, random_state(torch.device(self.device))):
            raise InputError(
                f"a block of {', '.join(self._mine())} draws random numbers, which a process of its own draws differently from a run on one; "
                "train it on one process"
            )
        return samples

    def _finish_steps(self) -> None:
        if self.sender is not None:
            self.sender.finish()

    def validate(self) -> Evaluation | None:
        """Process 0 gets every block's state from whoever trained it, then evaluates; the others have nothing to say."""
        if self.group.rank:
            self.group.send_bytes(save(self._own_state()), 0)
            return None
        for rank in range(1, self.group.size):
            self.gathered |= load(self.group.receive_bytes(rank))
        weights = {k.removeprefix("rule/"): v for k, v in self.gathered.items() if k.startswith("rule/")}
        self.rule.load_state_dict(self.rule.state_dict() | weights)
        return super().validate()

    def state_tensors(self) -> dict[str, Tensor]:
        """As `Training` has them, those of other processes' blocks as they came after the last epoch."""
        return super().state_tensors() | self.gathered

    def _own_state(self) -> dict[str, Tensor]:
        """Weights, buffers and optimizer state of this process's blocks, by the names of `state_tensors`."""
        mine = set(self._mine())
        parts = [self.rule.network.get_submodule(f"blocks.{name.removeprefix('block')}") for name in mine]
        parts += [self.stage.walked.heads[name] for name in mine if name in self.stage.walked.heads]
        prefixes = tuple(f"rule/{name}." for name, part in self.rule.named_modules() if any(part is p for p in parts))
        order = [group["block"] for group in self.optimizer.param_groups for _ in group["params"]]
        return {
            name: tensor.detach().cpu().contiguous()
            for name, tensor in super().state_tensors().items()
            if name.startswith(prefixes) or (name.startswith("optimizer/") and order[int(name.split("/")[1])] in mine)
        }

    def _mine(self) -> list[str]:
        return self._blocks_of(self.group.rank)

    def _blocks_of(self, rank: int) -> list[str]:
        return [self.rule.network.block_names[index] for segment in self.dealt[rank] for index in segment]

    def _join(self, parts: list[dict[str, float]]) -> dict[str, float]:
        return {name: value for part in parts for name, value in part.items()}

    def _facts(self, spent: list[dict[str, float]]) -> dict[str, Any]:
        blocks = [self._blocks_of(rank) for rank in range(self.group.size)]
        return super()._facts(spent) | {"blocks": blocks}
