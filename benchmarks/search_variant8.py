"""The eighth rule of `rule_search.py`: committees of nets that grow twice as wide where their map is half as large, and of linear readouts."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import torch.nn.functional as F
from search_variant2 import conv
from search_variant6 import Committee
from torch import nn

from layerlocal.rules import BlockwiseRule, RuleInfo
from layerlocal.rules.auxiliary import averages
from layerlocal.rules.readout import SpatialReadout


class Member(nn.Module):
    """Projection to at most ``start`` positions a side, then ``layers`` convolutions with max pooling between; width · side is ``budget``."""

    def __init__(self, shape, num_classes, *, layers, start, budget, grid=2):
        super().__init__()
        channels, side = shape[0], shape[1]
        by = max(1, side // start)
        side //= by
        width = budget // side
        parts = conv(channels, width, by, by)
        for index in range(layers):
            before = width
            if index and side // 2 >= grid:
                parts.append(nn.MaxPool2d(2))
                side //= 2
                width = budget // side
            parts += conv(before, width)
        self.layers = nn.Sequential(*parts)
        self.readout = SpatialReadout((width, side, side), num_classes, grid=grid)
        self.register_buffer("rows", averages(side, grid), persistent=False)

    def forward(self, a):
        cells = self.rows @ (self.layers(a).square() @ self.rows.T)
        return self.readout((cells + 1e-12).sqrt().flatten(1))


class Variant8(BlockwiseRule):
    """Every block learns through ``heads``: words ``layers@start``, ``lin`` or ``lin4``."""

    info = RuleInfo(name="variant8", locality="block")

    def __init__(
        self, network, *, num_classes, seed=None, fusion="uniform", heads="2@16 2@16", budget=256, smoothing=0.0
    ):
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion)
        self.smoothing = smoothing

        def made(word, shape):
            if word.startswith("lin"):
                return SpatialReadout(shape, num_classes, grid=int(word[3:] or 2))
            layers, start = (int(n) for n in word.split("@"))
            return Member(shape, num_classes, layers=layers, start=start, budget=budget)

        self.heads = self.head_per_block(
            lambda index: Committee([made(word, network.activity_shapes[index]) for word in heads.split()])
        )

    def block_score(self, index, activity):
        return super().block_score(index, activity).mean(0)

    def local_loss(self, index, activity, y):
        found = self.heads[self.network.block_names[index]](activity)
        return F.cross_entropy(found.flatten(0, 1), y.repeat(len(found)), label_smoothing=self.smoothing), {}
