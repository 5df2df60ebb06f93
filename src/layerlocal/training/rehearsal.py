"""Before the first step: one step and one prediction on a few training samples, to see that the rule gives what the loop takes.

What is wrong with a rule or a block is then said before anything is written and any time is spent. Nothing that a run is made of changes.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from layerlocal.kernels import kernels_in_use
from layerlocal.networks import Network
from layerlocal.networks.blocks import protect_input, refuse_other_activity, version_of
from layerlocal.rules import Rule
from layerlocal.rules.core.channels import uneven_channels
from layerlocal.rules.core.frozen import untouched
from layerlocal.spec import Recipe
from layerlocal.training.evaluate import OTHER_SCORES, check_finite, check_scores, checked_scores
from layerlocal.training.optimizer import loss_without_name, second_loss
from layerlocal.types import BlockLoss, InputError, describe_error, first_line, trained_blocks

__all__ = ["losses_of", "refuse_infinite_loss", "refuse_other_loss", "rehearse"]

FEW = 4
WHERE = "on the first training samples"
_RESHAPED = re.compile(r"invalid for input of size|don't multiply up|divisib|must match the size")
"""How torch says that a tensor cannot be cut into equal groups."""


def losses_of(rule: Rule, x: Tensor, y: Tensor, precision: str = "float32") -> Iterator[BlockLoss]:
    """`rule.losses`, each forward under autocast where asked; backward stays outside."""
    losses = iter(rule.losses(x, y))
    while True:
        with torch.autocast(x.device.type, torch.bfloat16) if precision == "bf16" else contextlib.nullcontext():
            loss = next(losses, None)
        if loss is None:
            return
        yield loss
        del loss


def rehearse(rule: Rule, samples: Callable[[int], tuple[Tensor, Tensor]], recipe: Recipe) -> None:
    """One step and one prediction; the rule and torch's generators are left as they were.

    A few samples show it. Where they show a fault, as many as one call of `losses` gets have the last word: some rules ask for more than a
    few. A block found to write into its input has a copy of it by then.

    Args:
        rule: on its device.
        samples: the first n training samples, (n, *sample_shape) and (n,), on the same device.
        recipe: for the size of a batch and of its parts, the precision and whether every loss is a step.

    Raises:
        InputError: what is wrong, where, and how to mend it.
    """
    whole = recipe.batch_size // recipe.micro_batches
    try:
        _look(rule, *samples(min(FEW, whole)), recipe)
    except InputError:
        _look(rule, *samples(whole), recipe)


def _look(rule: Rule, x: Tensor, y: Tensor, recipe: Recipe) -> None:
    if rule.network.fused:
        kernels_in_use(x.device.type)  # it warns once a process where there are none, which is not to be lost below
    eager = torch.compiler.set_stance("force_eager") if rule.network.compiled else contextlib.nullcontext()
    with untouched(rule), eager, warnings.catch_warnings(), _watched(rule.network):
        warnings.simplefilter("ignore")  # the first step says it again
        try:
            rule.train()
            _see_losses(rule, x, y, recipe)
            rule.eval()
            with torch.no_grad():
                _see_scores(rule, x)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"rule {rule.info.name!r} {describe_error(error)} ({WHERE}{_uneven(rule, error)})"
            ) from error


def _uneven(rule: Rule, error: Exception) -> str:
    """What a reshape that failed may come from: channels that K does not divide, of a rule that does not declare that it must."""
    found = uneven_channels(rule.network, rule.num_classes)
    if found is None or rule.info.channel_groups or not _RESHAPED.search(first_line(error)):
        return ""
    return (
        f"; {found[0]} has {found[1]} channels for {rule.num_classes} classes: if they must be a multiple, declare "
        "RuleInfo(channel_groups=True), and the width to give is named"
    )


def _see_losses(rule: Rule, x: Tensor, y: Tensor, recipe: Recipe) -> None:
    blocks = rule.network.block_names
    seen: set[str] = set()
    given = 0
    for loss in losses_of(rule, x, y, recipe.precision):
        given += 1
        refuse_other_loss(rule, loss)
        refuse_infinite_loss(rule, loss, WHERE)
        named = trained_blocks(loss.block, blocks)
        if recipe.step_per_block and seen & named:
            raise second_loss(min(seen & named))
        seen |= named
        loss.value.backward()
        del loss
    if not given:
        raise InputError(
            f"losses() of rule {rule.info.name!r} gives no loss; yield a BlockLoss for each block or segment"
        )
    if recipe.step_per_block:
        reached = [n for n, group in rule.block_parameters().items() if any(p.grad is not None for p in group)]
        if left := [name for name in reached if name not in seen]:
            raise loss_without_name(left[0])


def refuse_infinite_loss(rule: Rule, loss: BlockLoss, where: str) -> None:
    """NaN or infinite before any step.

    Raises:
        InputError: which loss, and ``where`` it was computed: "on …".
    """
    if not loss.value.isfinite():
        raise InputError(
            f"the loss of {loss.block} (rule {rule.info.name!r}) is {loss.value.item()} {where}, before any step; look at the rule's loss and "
            "at the data"
        )


def refuse_other_loss(rule: Rule, loss: Any) -> None:
    """A `BlockLoss` of a name, a scalar with a graph, and scalars to log.

    Raises:
        InputError: what of it is otherwise.
    """
    who = f"losses() of rule {rule.info.name!r}"
    if not (isinstance(loss, tuple) and len(loss) == 3 and hasattr(loss, "_fields")):
        raise InputError(f"{who} gives {type(loss).__name__}; it must yield BlockLoss(block, value, metrics)")
    name, value, metrics = loss
    if not isinstance(name, str):
        raise InputError(f"{who} names its blocks {name!r}; a loss names them as 'block1', 'block2-3' or 'all'")
    what = f"the loss of {name} (rule {rule.info.name!r})"
    if not isinstance(value, Tensor) or value.dim():
        kind = f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise InputError(f"{what} is {kind}; it must be a scalar Tensor")
    if not value.requires_grad:
        raise InputError(
            f"{what} has no graph, so nothing can be trained by it; compute it from an activity with gradient"
        )
    if not isinstance(metrics, dict):
        raise InputError(
            f"{what} has metrics of type {type(metrics).__name__}; they are a dict of scalar Tensors, {{}} for none"
        )
    for key, metric in metrics.items():
        if not isinstance(metric, Tensor) or metric.numel() != 1:
            kind = f"of shape {tuple(metric.shape)}" if isinstance(metric, Tensor) else type(metric).__name__
            raise InputError(
                f"metric {key!r} of {name} (rule {rule.info.name!r}) is {kind}; it must be a scalar Tensor"
            )


def _see_scores(rule: Rule, x: Tensor) -> None:
    blocks, fused = checked_scores(rule, x)
    check_finite(rule, blocks, fused, WHERE)
    if type(rule).scores is not Rule.scores:
        _refuse_other_scores(rule, check_scores(rule, blocks, len(x), rule.scores(x)), fused)


def _refuse_other_scores(rule: Rule, found: Tensor, fused: Tensor) -> None:
    """``scores()`` of a rule's own: an exported module answers by it, and accuracy is counted on what ``fuse`` gives."""
    if not found.isfinite().all():
        raise InputError(
            f"scores() of rule {rule.info.name!r} gives NaN or infinite numbers {WHERE}; look at what it computes"
        )
    if not torch.allclose(found, fused, rtol=1e-3, atol=1e-4):
        raise InputError(f"scores() of rule {rule.info.name!r} {OTHER_SCORES}")


@contextlib.contextmanager
def _watched(network: Network) -> Iterator[None]:
    """Blocks that give anything but one finite float tensor are refused, those that write into their input get a copy of it."""
    shapes = [network.sample_shape, *network.activity_shapes]
    handles = []
    for index, (name, block) in enumerate(zip(network.block_names, network.blocks, strict=True)):
        watch = _Watch(name, tuple(shapes[index]), tuple(shapes[index + 1]))
        handles += [block.register_forward_pre_hook(watch.before), block.register_forward_hook(watch.after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Watch:
    """What one block is given and gives; ``given`` and ``made`` are the shapes of a sample that the network was made with."""

    def __init__(self, name: str, given: tuple[int, ...], made: tuple[int, ...]) -> None:
        self.name, self.given, self.made = name, given, made
        self.version = 0

    def before(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.version = version_of(inputs[0])

    def after(self, block: nn.Module, inputs: tuple[Any, ...], found: Any) -> None:
        x = inputs[0]
        if version_of(x) != self.version:
            protect_input(block)
        refuse_other_activity(self.name, block, x, found)
        mode = "training" if block.training else "evaluation"
        if tuple(x.shape[1:]) == self.given and tuple(found.shape[1:]) != self.made:
            raise InputError(
                f"{self.name} ({type(block).__name__}) returns shape {tuple(found.shape[1:])} in {mode} mode and {self.made} when the network "
                "was made; a block's shape must not change"
            )
        if not found.isfinite().all():
            raise InputError(
                f"{self.name} ({type(block).__name__}) returns NaN or infinite numbers {WHERE} in {mode} mode; look at its weights and at "
                "the data"
            )
