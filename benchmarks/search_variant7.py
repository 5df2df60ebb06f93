"""The seventh rule of `rule_search.py`: committees that project a block's channels to a few first, so that they can read finer maps."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import torch.nn.functional as F
from search_variant2 import conv
from search_variant3 import correlation_penalty
from search_variant6 import Committee
from torch import nn

from layerlocal.rules import BlockwiseRule, RuleInfo
from layerlocal.rules.auxiliary import averages
from layerlocal.rules.readout import SpatialReadout


class Member(nn.Module):
    """Projection to ``width`` channels on ``start`` positions a side, then ``layers`` convolutions with max pooling between."""

    def __init__(self, shape, num_classes, *, layers, start, width, kernel, grid=2):
        super().__init__()
        channels, side = shape[0], shape[1]
        by = max(1, side // start)
        parts = conv(channels, width, by, by) if kernel == 0 else conv(channels, width, kernel, by)
        side //= by
        for index in range(layers):
            if index and side // 2 >= grid:
                parts.append(nn.MaxPool2d(2))
                side //= 2
            parts += conv(width, width)
        self.layers = nn.Sequential(*parts)
        self.readout = SpatialReadout((width, side, side), num_classes, grid=grid)
        self.register_buffer("rows", averages(side, grid), persistent=False)

    def forward(self, a):
        cells = self.rows @ (self.layers(a).square() @ self.rows.T)
        return self.readout((cells + 1e-12).sqrt().flatten(1))


class Variant7(BlockwiseRule):
    """Every block learns through ``heads``: words ``layers@start``."""

    info = RuleInfo(name="variant7", locality="block")

    def __init__(
        self,
        network,
        *,
        num_classes,
        seed=None,
        fusion="uniform",
        heads="2@16 2@16",
        width=32,
        kernel=0,
        decor=0.0,
        smoothing=0.0,
    ):
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion)
        self.decor, self.smoothing = decor, smoothing

        def made(word, shape):
            layers, start = (int(n) for n in word.split("@"))
            return Member(shape, num_classes, layers=layers, start=start, width=width, kernel=kernel)

        self.heads = self.head_per_block(
            lambda index: Committee([made(word, network.activity_shapes[index]) for word in heads.split()])
        )

    def block_score(self, index, activity):
        return super().block_score(index, activity).mean(0)

    def local_loss(self, index, activity, y):
        found = self.heads[self.network.block_names[index]](activity)
        value = F.cross_entropy(found.flatten(0, 1), y.repeat(len(found)), label_smoothing=self.smoothing)
        if self.decor:
            value = value + self.decor * correlation_penalty(activity)
        return value, {}
