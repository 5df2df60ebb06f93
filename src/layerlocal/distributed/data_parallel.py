"""Data-parallel training of any rule: every process takes its part of each batch, gradients are averaged as soon as a block has them.

The result is that of one process with the same whole batch, up to rounding: batch statistics are taken over the whole batch
(`sync_norm`), random draws are made for the whole batch, and what cannot be made equal is refused. A block's gradients are on their way
while the next block runs forward (a local rule) or the block before it runs backward (backprop).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from layerlocal.data import Data
from layerlocal.devices import random_state
from layerlocal.distributed.group import Group
from layerlocal.distributed.sync_norm import synchronize_norms
from layerlocal.distributed.training import DistributedTraining
from layerlocal.networks import Network
from layerlocal.rules import BlockwiseRule, Rule
from layerlocal.spec import Recipe
from layerlocal.training.evaluate import Evaluation
from layerlocal.training.optimizer import Stepper
from layerlocal.training.train import train_step
from layerlocal.types import BlockLoss, InputError

__all__ = ["DataParallel", "DataParallelTraining"]


class DataParallel(Rule):
    """A rule as one process sees it: its losses are of this process's part of the batch, its gradients those of the whole batch.

    Args:
        rule: changed in place until `release`: its batch normalizations are synchronized, its gradients watched.
        group: the processes.
        micro_batches: as in the recipe; each is cut into W parts.
        sync_norm: take batch statistics over the whole batch. Off: over each process's part, which is faster and another training, not
            equal to that on one process (running statistics are then process 0's).

    Raises:
        InputError: a rule whose loss compares the samples of a batch.
    """

    def __init__(self, rule: Rule, group: Group, *, micro_batches: int = 1, sync_norm: bool = True) -> None:
        nn.Module.__init__(self)
        if rule.compares_samples and group.size > 1:
            raise InputError(
                f"a batch of rule {rule.info.name!r} cannot be spread over {group.size} processes: its loss compares the samples of a batch "
                "with one another; train it on one process or with --parallel layers"
            )
        self.rule = rule
        self.info = rule.info  # type: ignore[misc]
        self.num_classes = rule.num_classes
        self.group = group
        self.micro_batches = micro_batches
        self.sync_norm = sync_norm
        self.buckets = [_Bucket(name, ps, group, micro_batches) for name, ps in rule.block_parameters().items() if ps]
        self._undo = synchronize_norms(rule, group) if sync_norm else lambda: None
        self._drawing = [p for p in rule.modules() if isinstance(p, BlockwiseRule) and _makes_inputs(p)]
        self._averaging = [part for part in rule.modules() if hasattr(part, "whole_mean")]
        for blockwise in self._drawing:
            blockwise.inputs = self._inputs_of(blockwise)  # type: ignore[assignment, method-assign]
        for part in self._averaging:
            part.whole_mean = group.mean  # type: ignore[assignment]
        self._whole: list[tuple[Tensor, Tensor]] = []
        self._generator: Tensor | None = None

    @property
    def network(self) -> Network:  # type: ignore[override]
        """The rule's."""
        return self.rule.network

    def block_parameters(self) -> dict[str, list[nn.Parameter]]:
        """The rule's."""
        return self.rule.block_parameters()

    def release(self) -> None:
        """Give the rule back as it was, but for what it has learned."""
        self._undo()
        for blockwise in self._drawing:
            del blockwise.inputs
        for part in self._averaging:
            part.whole_mean = None  # type: ignore[assignment]
        for bucket in self.buckets:
            bucket.release()

    def step(
        self,
        x: Tensor,
        y: Tensor,
        optimizer: torch.optim.Optimizer | Stepper,
        *,
        recipe: Recipe | None = None,
        observe: Callable[[BlockLoss], None] | None = None,
    ) -> None:
        """`train_step` on the whole batch, of which this process computes its part.

        Args:
            x: (B, *sample_shape), the same on all processes; B a multiple of W · micro-batches.
            y: (B,).
            optimizer: as of `train_step`, made for the rule itself.
            recipe: as of `train_step`.
            observe: called with each loss of this process's part.
        """
        self.expect(list(zip(x.tensor_split(self.micro_batches), y.tensor_split(self.micro_batches), strict=True)))
        mine = [(self._part(x), self._part(y)) for x, y in self._whole]
        train_step(
            self, torch.cat([x for x, _ in mine]), torch.cat([y for _, y in mine]), optimizer, recipe=recipe, observe=observe
        )  # fmt: skip

    def expect(self, whole: list[tuple[Tensor, Tensor]]) -> None:
        """Say of which whole micro-batches the next calls of `losses` get this process's part."""
        self._whole = whole

    def losses(self, x: Tensor, y: Tensor) -> Iterator[BlockLoss]:
        """The rule's losses of this process's part of a micro-batch; after the last, gradients of the whole batch are in place."""
        self._generator = random_state(x.device)
        yield from self.rule.losses(x, y)
        if not torch.equal(self._generator, random_state(x.device)):
            raise InputError(
                f"rule {self.rule.info.name!r} or its network draws random numbers outside of `inputs`: every process would draw the same "
                "for its own samples; draw in `inputs`, which sees the whole batch, or train it on one process"
            )
        del self._whole[0]
        if not self._whole:
            for bucket in self.buckets:
                bucket.start()
            for bucket in self.buckets:
                bucket.finish()

    def _part(self, tensor: Tensor) -> Tensor:
        """This process's rows of a tensor over the whole batch, or over several copies of it one after another."""
        return tensor.tensor_split(self.group.size)[self.group.rank]

    def _inputs_of(self, rule: BlockwiseRule) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The rule's `inputs` for the whole batch, so that what it draws is what one process would draw; this process's rows of it."""
        original = rule.inputs

        def inputs(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            whole, labels = self._whole[0]
            h, made = original(rule.network.prepare(whole), labels)
            if len(h) % len(whole) or len(made) != len(labels):
                raise InputError(
                    f"rule {rule.info.name!r} makes {len(h)} inputs and {len(made)} labels of {len(whole)} samples; --parallel data can cut "
                    "whole copies of the batch, one after another, with one label a sample"
                )
            self._generator = random_state(x.device)
            parts = [self._part(copy) for copy in h.split(len(whole))]
            return rule.network.prepare(torch.cat(parts)), self._part(made)

        return inputs


def _makes_inputs(rule: BlockwiseRule) -> bool:
    return type(rule).inputs is not BlockwiseRule.inputs


class _Bucket:
    """The gradients of one block: sent as one tensor as soon as the last of them is there.

    Args:
        name: of the block.
        parameters: all that are trained in it.
        group: the processes.
        micro_batches: how often each gets a gradient before it is complete.
    """

    def __init__(self, name: str, parameters: list[nn.Parameter], group: Group, micro_batches: int) -> None:
        self.name = name
        self.parameters = parameters
        self.group = group
        self.full = len(parameters) * micro_batches
        self.seen = 0
        self.sent: Tensor | None = None
        self.work: dist.Work | None = None
        self.hooks = [p.register_post_accumulate_grad_hook(self._count) for p in parameters]

    def _count(self, _: Tensor) -> None:
        if self.sent is not None:
            raise InputError(
                f"the parameters of {self.name} get gradients from more than one loss of a step; --parallel data sends them after the first"
            )
        self.seen += 1
        if self.seen == self.full:
            self.start()

    def start(self) -> None:
        """Send what is there, unless it is on its way."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if self.sent is None and gradients:
            self.sent = torch.cat([gradient.reshape(-1) for gradient in gradients])
            self.work = self.group.start_sum(self.sent)

    def finish(self) -> None:
        """Wait for the sum, and put the mean in the place of each gradient."""
        self.seen = 0
        if self.sent is None or self.work is None:
            return
        self.group.wait(self.work)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        mean = self.sent.div_(self.group.size)
        for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))
        self.sent = self.work = None

    def release(self) -> None:
        """Watch no longer."""
        for hook in self.hooks:
            hook.remove()


class DataParallelTraining(DistributedTraining):
    """`Training` with each batch spread over the processes; on every process the weights are those of the whole run.

    Args:
        rule: as of `Training`.
        data: likewise.
        recipe: its ``batch_size`` is that of the whole batch.
        group: the processes.
        seed: as of `Training`.
        device: where this process's tensors live.
        sync_norm: as of `DataParallel`.

    Raises:
        InputError: a batch that does not divide, a step per block, a rule that compares samples.
    """

    mode = "data"

    def __init__(
        self,
        rule: Rule,
        data: Data,
        recipe: Recipe,
        *,
        group: Group,
        seed: int = 0,
        device: str = "cpu",
        sync_norm: bool = True,
    ) -> None:
        super().__init__(rule, data, recipe, group=group, seed=seed, device=device)
        parts = group.size * recipe.micro_batches
        if recipe.batch_size % parts:
            raise InputError(
                f"batch_size {recipe.batch_size} cannot be cut into {group.size} processes × {recipe.micro_batches} micro-batches of equal "
                "size; change recipe.batch_size or the number of processes"
            )
        if recipe.step_per_block:
            raise InputError(
                "recipe.step_per_block and --parallel data exclude each other: a step would wait for the block's gradients, which are "
                "meant to travel while the next block runs; leave step_per_block off"
            )
        self.parallel = DataParallel(self.rule, group, micro_batches=recipe.micro_batches, sync_norm=sync_norm)

    def step(self, x: Tensor, y: Tensor, observe: Callable[[BlockLoss], None]) -> None:
        """One optimizer step on the whole batch."""
        self.parallel.step(x, y, self.stepper, recipe=self.recipe, observe=observe)

    def validate(self) -> Evaluation | None:
        """As always, on every process; first they must be the same (where statistics are of each part, they are not meant to be)."""
        if self.parallel.sync_norm:
            differ = self._differing({name: value for name, value in self.rule.state_dict().items() if value.numel()})
            if differ:
                raise InputError(
                    f"{differ[0]} of rule {self.rule.info.name!r} is not the same on all processes: it is made from each process's own "
                    "samples; let `whole_mean` average it (as `GoodnessHead` does), or train on one process"
                )
        return super().validate()

    def close(self) -> dict[str, Any]:
        """As always, and the rule is as it was before but for what it has learned."""
        self.parallel.release()
        kept = super().close()
        if "parallel" in kept:
            kept["parallel"]["norm"] = "whole batch" if self.parallel.sync_norm else "each process's part"
        return kept

    def _join(self, parts: list[dict[str, float]]) -> dict[str, float]:
        return {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}
