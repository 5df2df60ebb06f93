"""The sixth rule of `rule_search.py`: a committee of unlike heads at every block, each with its own loss."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import torch
import torch.nn.functional as F
from search_variant2 import Pyramid
from search_variant3 import correlation_penalty
from torch import nn

from layerlocal.rules import BlockwiseRule, RuleInfo
from layerlocal.rules.readout import SpatialReadout


class Committee(nn.Module):
    """Heads side by side: (B, C, H, W) → (M, B, K) log-probabilities."""

    def __init__(self, heads):
        super().__init__()
        self.members = nn.ModuleList(heads)

    def forward(self, a):
        return torch.stack([F.log_softmax(head(a), 1) for head in self.members])


class Variant6(BlockwiseRule):
    """Every block learns through ``heads``: words ``layers@start`` (`Pyramid`), ``layers@start:down``, ``lin`` or ``lin4`` (linear)."""

    info = RuleInfo(name="variant6", locality="block")

    def __init__(
        self, network, *, num_classes, seed=None, fusion="uniform", heads="2@8 1@8", down="conv", factor=1.0, widest=512, decor=0.0,
    ):  # fmt: skip
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion)
        self.decor = decor
        more = {"grid": 2, "statistic": "rms", "factor": factor, "widest": widest}

        def made(word, shape):
            if word.startswith("lin"):
                return SpatialReadout(shape, num_classes, grid=int(word[3:] or 2))
            word, _, way = word.partition(":")
            layers, start = (int(n) for n in word.split("@"))
            return Pyramid(shape, num_classes, layers=layers, start=start, down=way or down, **more)

        self.heads = self.head_per_block(
            lambda index: Committee([made(word, network.activity_shapes[index]) for word in heads.split()])
        )

    def block_score(self, index, activity):
        return super().block_score(index, activity).mean(0)

    def local_loss(self, index, activity, y):
        found = self.heads[self.network.block_names[index]](activity)
        value = F.nll_loss(found.flatten(0, 1), y.repeat(len(found)))
        if self.decor:
            value = value + self.decor * correlation_penalty(activity)
        return value, {}
