"""`committee` on a first block that begins, or stays, lossless: another rule of `rule_search.py`.

Under deep supervision the first block gives up accuracy of its own for that of later ones; a local one cannot know what they want. So it is
told nothing of the classes: its filters are the 3×3 cosine transform of opponent colours, each with both signs (ReLU of both keeps all), the
smoothest first. Fixed ones are now `network.first=cosine`, for every rule.
"""

from __future__ import annotations

import torch
from search_uneven import Uneven

from layerlocal.networks.cosine import cosine_filters
from layerlocal.rules import RuleInfo


class Stem(Uneven):
    """``stem``: ``"learned"``, ``"cosine"`` (a start) or ``"fixed"`` (stays; batch norm and readers learn), ``"random"`` (stays as drawn)."""

    info = RuleInfo(name="stem", locality="block")

    def __init__(
        self, network, *, num_classes, seed=None, fusion="uniform", label_smoothing=0.0, early=0, words="", budget=512, late_nets=2,
        stem="fixed",
    ):  # fmt: skip
        super().__init__(
            network, num_classes=num_classes, seed=seed, fusion=fusion, label_smoothing=label_smoothing, early=early, words=words,
            budget=budget, late_nets=late_nets,
        )  # fmt: skip
        weight = network.blocks[0][0].weight
        if stem in ("cosine", "fixed"):
            filters = cosine_filters(len(weight), weight.shape[1], weight.shape[2])
            with torch.no_grad():
                weight[: len(filters)] = filters * weight.flatten(1).norm(dim=1).mean()
        weight.requires_grad_(stem in ("learned", "cosine"))
