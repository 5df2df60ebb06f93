"""What a rule is tried on to see whether it keeps the contract: small networks, a batch, a toy to learn."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from layerlocal.data import Data, Split, data_from_splits
from layerlocal.networks import Network, create_network
from layerlocal.rules import Rule, create_rule, rule_class
from layerlocal.rules.core.registry import tried_on

__all__ = ["EVEN", "NUM_CLASSES", "Bench"]

NUM_CLASSES = 3
IMAGE_SIZE, OWN_IMAGE_SIZE = 8, 32
"""Of the plain networks that rules are tried on; of a network that was named, and of the plain ones beside it."""
EVEN = 12
"""Channels of a plain block, which K divides."""


class Bench:
    """Makes the rule under test on small networks, with a batch to try it on: of plain blocks, or of the kind that it is for (`tried_on`).

    Args:
        rule: under test.
        options: of it.
        own: a network's name, in place of the plain one wherever a clause asks for no depth or channels.
        own_options: of that network.
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
        self.plain = tried_on(rule_class(rule), options) or "plain"
        self.side = IMAGE_SIZE if own is None else OWN_IMAGE_SIZE
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(12, 3, self.side, self.side, generator=generator)
        self.y = torch.arange(12) % NUM_CLASSES

    def network(self, depth: int | None = None, seed: int = 0, channels: int | None = None) -> Network:
        """A fresh one: the bench's own, or a small one where depth or channels are given or there is none."""
        make = partial(create_network, in_channels=3, image_size=self.side, seed=seed)
        if self.own is not None and depth is None and channels is None:
            return make(self.own, **self.own_options)
        size = {"width": (channels or EVEN) / 64} if self.plain == "plain" else {"hidden": channels or EVEN}
        return make(self.plain, depth=depth or 4, **size)

    def make(self, depth: int | None = None, seed: int = 0, channels: int | None = None) -> Rule:
        """The rule, fresh, on a `network`."""
        network = self.network(depth, seed, channels)
        return create_rule(self.rule, network, num_classes=NUM_CLASSES, seed=seed, **self.options)

    def toy_data(self) -> Data:
        """Three classes of noisy images, each around a pattern of its own: 96 to train on."""
        generator = torch.Generator().manual_seed(0)
        patterns = torch.randn(NUM_CLASSES, 3, self.side, self.side, generator=generator)
        labels = torch.arange(96) % NUM_CLASSES
        noise = 0.3 * torch.randn(96, 3, self.side, self.side, generator=generator)
        train = Split(patterns[labels] + noise, labels)
        return data_from_splits("separable toy", train, test=train, validation=train)
