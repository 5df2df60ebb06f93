"""What a rule is tried on to see whether it keeps the contract: small networks, a batch, a toy to learn; of images, or of text."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from layerlocal.data import Data, Split, data_from_splits
from layerlocal.data.shaped import USUAL_NETWORK
from layerlocal.networks import Network, create_network, network_options, takes_text
from layerlocal.rules import Rule, create_rule, rule_class
from layerlocal.rules.core.registry import tried_on
from layerlocal.spec import Recipe

__all__ = ["DEEP", "EVEN", "NUM_CLASSES", "SHALLOW", "Bench"]

NUM_CLASSES, VOCABULARY = 3, 4
"""K of images, and of text, whose tokens are as many."""
IMAGE_SIZE, OWN_IMAGE_SIZE = 8, 32
"""Of the plain networks that rules are tried on; of a network that was named, and of the plain ones beside it."""
CONTEXT = 16
EVEN = 12
"""Channels of a plain block, which either K divides."""
SHALLOW, DEEP = 6, 12
"""Blocks of the networks on which memory is compared."""
FOLLOWS = 0.85
"""Share of the toy text in which a token is followed by the next number."""


class Bench:
    """Makes the rule under test on small networks, with a batch to try it on: of plain blocks, or of the kind that it is for (`tried_on`).

    Args:
        rule: under test.
        options: of it.
        own: a network's name, in place of the plain one wherever a clause asks for no channels, and for a depth only where it `deepens`.
            Where its input is text, the plain one is a small ``gpt``.
        own_options: of that network.

    Attributes:
        text: whether inputs are text.
        num_classes: K.
        x: (12, 3, S, S) normal numbers, or (12, T) tokens.
        y: labels, (12,), or (12, T) of tokens.
    """

    def __init__(
        self,
        rule: str | type[Rule],
        options: dict[str, Any],
        own: str | None = None,
        own_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.rule = rule
        self.options = options
        self.own, self.own_options = own, dict(own_options or {})
        self.text = own is not None and takes_text(own)
        self.plain = USUAL_NETWORK["text"] if self.text else tried_on(rule_class(rule), options) or "plain"
        side = IMAGE_SIZE if own is None else OWN_IMAGE_SIZE
        self.num_classes = VOCABULARY if self.text else NUM_CLASSES
        self.sizes: dict[str, Any] = (
            {"vocabulary": VOCABULARY, "context": CONTEXT} if self.text else {"in_channels": 3, "image_size": side}
        )
        generator = torch.Generator().manual_seed(0)
        if self.text:
            self.x, self.y = _toy_text(12, generator)
        else:
            self.x, self.y = torch.randn(12, 3, side, side, generator=generator), torch.arange(12) % NUM_CLASSES

    @cached_property
    def deepens(self) -> bool:
        """Whether the named network has the option ``depth`` and equal blocks, so that memory can be compared on it."""
        if self.own is None or "depth" not in network_options(self.own):
            return False
        return len(set(self._named(0, DEEP).activity_shapes)) == 1

    def _named(self, seed: int, depth: int | None) -> Network:
        options = self.own_options if depth is None else self.own_options | {"depth": depth}
        assert self.own is not None
        return create_network(self.own, seed=seed, **self.sizes, **options)

    def network(self, depth: int | None = None, seed: int = 0, channels: int | None = None) -> Network:
        """A fresh one: that which was named, or a small one of the kind that the rule is for."""
        if self.own is not None and channels is None and (depth is None or self.deepens):
            return self._named(seed, depth)
        size = {"width": (channels or EVEN) / 64} if self.plain == "plain" else {"hidden": channels or EVEN}
        return create_network(self.plain, seed=seed, depth=depth or 4, **self.sizes, **size)

    def make(self, depth: int | None = None, seed: int = 0, channels: int | None = None) -> Rule:
        """The rule, fresh, on a `network`."""
        network = self.network(depth, seed, channels)
        return create_rule(self.rule, network, num_classes=self.num_classes, seed=seed, **self.options)

    @property
    def toy_recipe(self) -> Recipe:
        """Long enough to learn the toy; text wants smaller steps."""
        return Recipe(epochs=6, batch_size=16, learning_rate=1e-3 if self.text else 5e-3)

    def gathered_bytes(self, rule: Rule) -> int:
        """What a local rule that gathers may keep of every block beside its own step: a number a channel, for each label."""
        if not rule.gathers or rule.locality == "global":
            return 0
        return 4 * self.y.numel() * sum(shape[0] for shape in rule.network.read_shapes)

    def toy_data(self) -> Data:
        """96 samples to train on: noisy images, each around its class's own pattern, or text in which most tokens say what follows."""
        generator = torch.Generator().manual_seed(0)
        if self.text:
            x, y = _toy_text(96, generator)
            train = Split(x.to(torch.uint8), y, tokens=True)
        else:
            shape = self.x.shape[1:]
            patterns, labels = torch.randn(NUM_CLASSES, *shape, generator=generator), torch.arange(96) % NUM_CLASSES
            train = Split(patterns[labels] + 0.3 * torch.randn(96, *shape, generator=generator), labels)
        return data_from_splits("separable toy", train, test=train, validation=train)


def _toy_text(samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(samples, T) tokens, and of each the next: the next number, or in a share of 1 − `FOLLOWS` any number."""
    text = torch.randint(VOCABULARY, (samples, CONTEXT + 1), generator=generator)
    follows = torch.rand(samples, CONTEXT, generator=generator) < FOLLOWS
    for t in range(CONTEXT):
        text[:, t + 1] = torch.where(follows[:, t], (text[:, t] + 1) % VOCABULARY, text[:, t + 1])
    return text[:, :-1], text[:, 1:]
