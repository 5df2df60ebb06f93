"""`fit`: from a rule, or the name of one, and data, or arrays, to a trained rule; `evaluate`: from that, or a module, to its accuracy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from layerlocal.data import Data, Split, data_from_arrays
from layerlocal.data.shaped import network_for
from layerlocal.devices import Device, find_device
from layerlocal.networks import Network, create_network
from layerlocal.options import check_kind
from layerlocal.rules import Rule
from layerlocal.rules.roles import Roles
from layerlocal.spec import Recipe
from layerlocal.training.evaluate import EVALUATION_BATCH, Evaluation, evaluate_split
from layerlocal.training.loggers import Logger, check_logger, closing, log_rows, rows_of
from layerlocal.training.start import Start, copied_network, started_rule
from layerlocal.training.train import EpochRecord, train_rule, with_gradients
from layerlocal.types import InputError, shown, unknown_name

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from torch import Tensor

__all__ = ["Fitted", "evaluate", "fit"]


@dataclass(frozen=True)
class Fitted:
    """What `fit` gives back.

    Attributes:
        rule: trained; ``rule.network`` is the network.
        records: one `EpochRecord` an epoch.
        data: what it was trained on, with the numbers its inputs were normalized by.
    """

    rule: Rule
    records: Sequence[EpochRecord]
    data: Data

    def to_module(self) -> nn.Module:
        """The trained network as a plain module that takes raw samples like those of ``data``: (B, *sample_shape) → scores (B, K).

        Their values may come in any type: what was fitted on uint8 pixels takes 0..255 as float32 too. Images on another scale are refused
        where looking costs nothing (`layerlocal.scale`).
        """
        return self.rule.to_module(mean=self.data.mean, std=self.data.std, scale=self.data.scale)


def fit(
    rule: Rule | str,
    data: Data | tuple[ArrayLike | Tensor, ArrayLike | Tensor],
    recipe: Recipe | None = None,
    *,
    network: Network | str | None = None,
    width: float | None = None,
    network_options: Mapping[str, Any] | None = None,
    start: Fitted | Start | None = None,
    blocks: str | Sequence[str] | None = None,
    validation: float = 0.1,
    seed: int = 0,
    device: Device = "cpu",
    on_epoch: Callable[[EpochRecord], None] | None = None,
    logger: Logger | None = None,
    **rule_options: Any,
) -> Fitted:
    """Train a rule.

    Args:
        rule: a rule, trained in place, or a name for `create_rule` with ``network`` and its options beside it.
        data: from `load_data`, or arrays ``(X, y)`` for `data_from_arrays`.
        recipe: epochs, batches, optimizer.
        network: for a rule by name: a network, or a name or ``FILE.py:FUNCTION`` for `create_network`; by default `network_for` the data.
        width: factor on the widths of a network by name; 1 where left out.
        network_options: of a network by name, ``depth`` and the like; channels-last and fused unless they say otherwise.
        start: weights that the network starts from, for a rule by name: what `fit` gave, a rule, a network, any other module that has its
            blocks, or a file (`load_weights`). Without ``network`` the network is a copy of that of the first three. The start is not trained.
        blocks: what each block does, for a rule by name: ``"frozen"``, ``"local"`` or ``"joint"``, with a number for several in a row:
            ``"5 frozen, 2 local, 2 joint"``. Frozen blocks keep their weights and statistics and have no readout before the last block; joint
            ones that are adjacent are trained by one loss (``segmented``). All as the rule has it where left out.
        validation: share of the arrays held out for choices and for the records' accuracy; of no effect on `Data`, which has its split.
        seed: of initial weights, batches, augmentation, the rule's draws and the validation split of arrays.
        device: where it is trained.
        on_epoch: called with each epoch's record.
        logger: gets the numbers of every epoch and is closed at the end: `CsvLogger`, `TensorBoardLogger`, `WandbLogger` or an object of your
            own with their methods (`Logger`).
        **rule_options: of a rule by name.

    Raises:
        InputError: whatever does not fit together.

    Example:
        >>> from layerlocal import Recipe, load_data
        >>> data = load_data("fashion_mnist_subset", num_train=500, num_test=100)
        >>> fitted = fit("class-goodness", data, Recipe(epochs=1), network="mlp", width=0.25, temperature_max=2.0)
        >>> fitted.rule.info.name, len(fitted.records)
        ('class-goodness', 1)
    """
    if not isinstance(recipe, Recipe | None):
        raise InputError(f"recipe must be a Recipe such as Recipe(epochs=5), or None, got {type(recipe).__name__}")
    if on_epoch is not None and not callable(on_epoch):
        raise InputError(f"on_epoch must be a function that takes an epoch's record, got {type(on_epoch).__name__}")
    check_logger(logger)
    options = _named("network_options", network_options)
    roles = None if blocks is None else Roles.parse(blocks)
    with with_gradients(), closing(logger):
        found = (
            data if isinstance(data, Data) else data_from_arrays(*_two_arrays(data), validation=validation, seed=seed)
        )
        if isinstance(rule, Rule):
            beside = {"network": network, "width": width, "start": start, "blocks": blocks}
            given = [name for name, value in beside.items() if value is not None]
            _refuse_beside_a_rule([*given, *options, *rule_options])
            made = rule
        else:
            begin = start.rule if isinstance(start, Fitted) else start
            chosen = _network(copied_network(begin) if network is None else network, found, width, options, seed)
            made = started_rule(
                rule, chosen, num_classes=found.num_classes, seed=seed, start=begin, roles=roles, options=rule_options
            )
        each = _both(on_epoch, logger)
        return Fitted(made, train_rule(made, found, recipe, seed=seed, device=device, on_epoch=each), found)


def _both(on_epoch: Callable[[EpochRecord], None] | None, logger: Logger | None) -> Callable[[EpochRecord], None]:
    """What is done with each epoch's record."""

    def take(record: EpochRecord) -> None:
        log_rows(logger, rows_of(record))
        if on_epoch is not None:
            on_epoch(record)

    return take


def evaluate(
    model: Rule | Fitted | nn.Module, data: Data, *, split: str | Split = "validation", device: Device = "cpu"
) -> Evaluation:
    """The accuracy of what was trained on a split of its data, in [0, 1]: ``evaluate(fitted, data).accuracy``.

    Args:
        model: what `fit` gave (inputs are normalized as in its training), a rule (as ``data`` says), or a plain module that takes raw samples
            (B, *sample_shape) and gives scores (B, K), such as that of `Fitted.to_module`; of a module no accuracy of single blocks is known.
        data: from `load_data` or the like.
        split: ``"train"``, ``"validation"``, ``"test"`` or a `Split`. Taking the test split is counted in ``data.test_reads``: choose
            nothing by it.
        device: where it is measured; the model is moved there and stays there.

    Raises:
        InputError: no such split, data of another shape or number of classes than the model's, scores of another shape or not finite.

    Example:
        >>> from layerlocal import Recipe, load_data
        >>> data = load_data("fashion_mnist_subset", num_train=500, num_test=100)
        >>> fitted = fit("class-goodness", data, Recipe(epochs=1), network="mlp", width=0.25)
        >>> evaluate(fitted, data).accuracy == evaluate(fitted.to_module(), data).accuracy
        True
    """
    check_kind("model", model, Rule | Fitted | nn.Module)
    check_kind("data", data, Data)
    device = find_device(device)
    found = _split_of(data, split)
    if isinstance(model, Fitted):
        return evaluate_split(model.rule.to(device), model.data, found, device=device)
    if isinstance(model, Rule):
        return evaluate_split(model.to(device), data, found, device=device)
    return _evaluate_module(model.to(device), found, data.num_classes, device)


def _split_of(data: Data, split: Any) -> Split:
    if isinstance(split, Split):
        return split
    if split not in ("train", "validation", "test"):
        raise unknown_name("split", split, ("train", "validation", "test"))
    found = data.take_test() if split == "test" else data.train if split == "train" else data.validation
    if found is None:
        raise InputError(
            "the data have no validation split; give split='train' or split='test', or load them with validation=0.1"
        )
    return found


@torch.no_grad()
def _evaluate_module(module: nn.Module, split: Split, num_classes: int, device: str) -> Evaluation:
    """Of a module that takes raw samples."""
    was_training, found = module.training, []
    module.eval()
    try:
        for rows in torch.arange(len(split)).split(EVALUATION_BATCH):
            x, y = split.gather(rows)
            scores = module(x.to(device))
            if not isinstance(scores, torch.Tensor) or tuple(scores.shape) != (len(x), num_classes):
                got = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
                raise InputError(f"the module must give scores (B, K) = {(len(x), num_classes)}, got {shown(got)}")
            if not scores.isfinite().all():
                raise InputError("scores of the module are NaN or infinite")
            found.append(scores.argmax(1).cpu() == y.cpu())
    finally:
        module.train(was_training)
    correct = torch.cat(found)
    groups = {name: float(correct[mask].double().mean()) for name, mask in split.groups.items() if mask.any()}
    return Evaluation(float(correct.double().mean()), {}, len(correct), groups)


def _two_arrays(data: Any) -> tuple[Any, Any]:
    if not isinstance(data, tuple) or len(data) != 2:
        raise InputError(
            f"data must come from load_data or be arrays (X, y), got {type(data).__name__}; write fit(rule, (X, y))"
        )
    return data


def _named(what: str, options: Any) -> dict[str, Any]:
    if not isinstance(options, Mapping | None) or not all(isinstance(name, str) for name in options or ()):
        raise InputError(f'{what} must be a dictionary such as {{"depth": 2}}, or None, got {options!r}')
    return dict(options or {})


def _refuse_beside_a_rule(given: Sequence[str]) -> None:
    if given:
        raise InputError(f"{given[0]} was given beside a rule that is made already; give the rule by its name instead")


def _network(
    network: Network | str | None, data: Data, width: float | None, options: dict[str, Any], seed: int
) -> Network:
    if isinstance(network, Network):
        if width is not None or options:
            raise InputError("width and network_options are for a network by name; this one is made already")
        if network.sample_shape != data.sample_shape:
            raise InputError(f"the network takes {network.sample_shape}, the data are {data.sample_shape}")
        return network
    return create_network(
        network_for(data) if network is None else network, **data.network_input, seed=seed,
        width=1.0 if width is None else width, **{"channels_last": True, "fused": True} | options,
    )  # fmt: skip
