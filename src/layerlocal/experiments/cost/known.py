"""What is known of usual cases without building them, so that most dry runs of a cost audit need no torch; another case is built.

Networks of ours were looked at when this version was made (`layerlocal.runs.looks`), and what a step of a rule of ours is like stands among
the facts of rules (`layerlocal.runs.listing`). A test holds both to what building gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Protocol

from layerlocal.experiments.cost.case import CostCase, why_no_effect
from layerlocal.runs.listing import StepFacts, rule_facts, step_facts
from layerlocal.runs.looks import find_numbers
from layerlocal.spec import NetworkSpec

if TYPE_CHECKING:
    from layerlocal.rules import Rule

__all__ = [
    "FEWEST_BLOCKS",
    "MOST_CLASSES",
    "SIDE",
    "NetworkLook",
    "Seen",
    "kind_of_network",
    "look_at_case",
    "look_at_network",
    "usual_cases",
]

SIDE = 64
"""Pixels of the largest images that layers are traced on; larger ones take as much more as they have more pixels."""
LARGEST = 512
"""Pixels of images on which a network is known by how it is on those of `SIDE`."""
MOST_CLASSES = 1000
FEWEST_BLOCKS = 4
"""Of a network that is known: those of the one on which the facts of rules were seen."""
WIDTHS = {
    "vgg8": (0.125, 0.25, 0.5, 1.0, 2.0),
    "vgg16": (0.25, 0.5, 1.0),
    "resnet18": (0.25, 0.5, 1.0),
    "cnn4": (0.125, 0.25, 0.5),
}
"""Of the networks that are looked at beforehand."""
PLAIN_WIDTHS, PLAIN_DEPTHS = (0.25, 0.5, 1.0), (4, 8, 16, 32, 64)


@dataclass(frozen=True)
class NetworkLook:
    """What looking at a network gave.

    Attributes:
        flops: of a step of backprop, a sample, on images of at most `SIDE`.
        pace: `layerlocal.runs.looks.yardstick` a FLOP of a step of backprop on one thread, at a small batch.
        weights: bytes of backprop's, with `MOST_CLASSES`; no more with fewer, nor on larger images than `SIDE`.
    """

    flops: float
    pace: float
    weights: float


def kind_of_network(case: CostCase) -> str:
    """Equal for cases whose networks have the same layers; how they are laid out or compiled is left aside."""
    spec = case.network
    side = min(case.image_size, SIDE)
    frozen = "" if spec.frozen is None else f" {spec.frozen}"
    return f"cost {spec.name} {spec.source_sha256} {spec.width:g} {spec.options} {case.in_channels} {side}{frozen}"


def look_at_network(case: CostCase) -> NetworkLook | None:
    """What is known of a case's network in its precision; of those for text nothing."""
    known = case.context is None and case.image_size <= LARGEST
    found = find_numbers(kind_of_network(case), case.precision) if known else None
    return None if found is None else NetworkLook(*found)


def usual_cases() -> Iterator[CostCase]:
    """One of each kind of network that is looked at beforehand: those of every size and axis, and some more widths and image sizes."""
    for depth, width in product(PLAIN_DEPTHS, PLAIN_WIDTHS):
        yield CostCase(network=NetworkSpec(name="plain", width=width, fused=True, options={"depth": depth}))
    for name, widths in WIDTHS.items():
        for width, side in product(widths, (32, SIDE)):
            yield CostCase(network=NetworkSpec(name=name, width=width, fused=True), image_size=side)


class Seen(Protocol):
    """What a plan asks of a case's rule."""

    @property
    def locality(self) -> str:
        """Of the rule on this network."""

    @property
    def whole_batches(self) -> str | None:
        """Why its batch must not be cut; ``None``: it may be."""

    def refusal(self, mode: str) -> str | None:
        """As `why_no_effect`."""


@dataclass(frozen=True)
class _Known:
    """By the facts of a rule."""

    name: str
    facts: StepFacts

    @property
    def locality(self) -> str:
        return self.facts.locality

    @property
    def whole_batches(self) -> str | None:
        return self.facts.whole_batches

    def refusal(self, mode: str) -> str | None:
        facts = self.facts
        return why_no_effect(
            mode,
            self.name,
            locality=facts.locality,
            compares_samples=facts.compares_samples,
            checkpointing=lambda: facts.checkpointing,
        )


@dataclass(frozen=True)
class _Built:
    """By the rule itself."""

    rule: Rule

    @property
    def locality(self) -> str:
        return self.rule.locality

    @property
    def whole_batches(self) -> str | None:
        return self.rule.needs_whole_batches

    def refusal(self, mode: str) -> str | None:
        from layerlocal.experiments.cost.building import has_no_effect

        return has_no_effect(mode, self.rule)


def look_at_case(case: CostCase) -> Seen:
    """See that a case can be measured: known where it is usual, else built on the CPU.

    Raises:
        InputError: it cannot.
    """
    facts = step_facts(case.rule.name)
    usual = look_at_network(case) is not None and not case.rule.options and case.num_classes <= MOST_CLASSES
    barred = rule_facts(case.rule.name)
    if usual and facts is not None and not barred.channel_groups and not barred.tried_on:
        return _Known(case.rule.name, facts)
    from layerlocal.experiments.cost.building import check_case

    return _Built(check_case(case))
