"""`committee` on a first block that begins, or stays, lossless: another rule of `rule_search.py`.

Under deep supervision the first block gives up accuracy of its own for that of later ones; a local one cannot know what they want. So it is
told nothing of the classes: its filters are the 3×3 cosine transform of opponent colours, each with both signs (ReLU of both keeps all), the
smoothest first. Natural images have nearly uncorrelated coefficients in it, so with batch norm this whitens patches without looking at data.
"""

from __future__ import annotations

import math

import torch
from search_uneven import Uneven

from layerlocal.rules import RuleInfo


def cosine_filters(count):
    """(count, 3, 3, 3): orthonormal, in the order of falling variance on natural images, each followed by its negative; as many as there are."""
    along = torch.arange(3)
    waves = [torch.cos(math.pi * (along + 0.5) * k / 3) for k in range(3)]
    waves = [wave / wave.norm() for wave in waves]
    colours = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])
    colours = colours / colours.norm(dim=1, keepdim=True)
    order = sorted((i + j + 1.5 * min(c, 1), c, i, j) for c in range(3) for i in range(3) for j in range(3))
    filters = torch.stack([torch.einsum("c,h,w->chw", colours[c], waves[i], waves[j]) for _, c, i, j in order])
    return torch.stack([filters, -filters], 1).flatten(0, 1)[:count]


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
            filters = cosine_filters(len(weight))
            with torch.no_grad():
                weight[: len(filters)] = filters * weight.flatten(1).norm(dim=1).mean()
        weight.requires_grad_(stem in ("learned", "cosine"))
