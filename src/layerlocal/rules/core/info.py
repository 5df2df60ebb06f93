"""What a rule says of itself, and what every rule is made for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from layerlocal.networks import Network
from layerlocal.options import whole_number
from layerlocal.types import PARTNER, InputError, Locality, unknown_name

__all__ = ["RuleInfo", "refuse_no_task"]

MOST_CLASSES = 10**6


@dataclass(frozen=True)
class RuleInfo:
    """What a rule declares about itself; `check_rule` measures whether it is so.

    Args:
        name: the name for `create_rule`.
        locality: how far one loss reaches: ``"global"``, ``"segment"`` or ``"block"``.
        summary: one line for ``layerlocal list rules``.
        references: papers, as ``arXiv:<id>`` or an address.
        passes_per_step: forward passes through the network for one training sample.
        passes_per_prediction: forward passes to classify one sample; ``"num_classes"`` where every label is tried.
        compares_samples: whether a loss compares the samples of a batch with one another, so that micro-batches would change it.
        negatives: whether it makes negative data.
        unsupervised: whether blocks learn without labels, which only readouts that change no block are given.
        channel_groups: whether the channels of every block are dealt to the classes, so that K must divide their number.
        twins_of: the rule whose twins are this rule's too, where backprop is the same computation for both; it takes the same options.
        tried_on: the network by name on which the rule is tried where not every network will do, such as ``"vit"``.
    """

    name: str
    locality: Locality
    summary: str = ""
    references: tuple[str, ...] = field(default=())
    passes_per_step: int = 1
    passes_per_prediction: int | Literal["num_classes"] = 1
    compares_samples: bool = False
    negatives: bool = False
    unsupervised: bool = False
    channel_groups: bool = False
    twins_of: str = ""
    tried_on: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise InputError(f"a rule is named by text, got {self.name!r}")
        if self.locality not in get_args(Locality):
            raise unknown_name(f"locality of rule {self.name!r}:", str(self.locality), get_args(Locality))
        if not isinstance(self.tried_on, str):
            raise InputError(f"tried_on of rule {self.name!r} must be a network by name, got {self.tried_on!r}")
        if self.twins_of == PARTNER:
            raise InputError(
                f"rule {self.name!r} cannot share the twins of {PARTNER!r}, which rules without readouts have; leave out twins_of"
            )


def refuse_no_task(network: Any, num_classes: Any) -> int:
    """The number of classes, once a rule can be made for it.

    Raises:
        InputError: what is no `Network`, or no number of classes from 2 to `MOST_CLASSES`.
    """
    if not isinstance(network, Network):
        raise InputError(
            f"a rule trains a Network, got {type(network).__name__}; make one by create_network, Network([...]) or Network.from_module"
        )
    number = whole_number("num_classes", num_classes, most=MOST_CLASSES)
    if number < 2:
        raise InputError(f"a classifier needs at least 2 classes, got num_classes={num_classes}")
    return number
