"""The rule of `rule_search.py`: class goodness at every block, with whatever is tried switched on by options.

An edit of this file makes new runs of every variant, so what is tried next goes into a file of its own once rows of this one are in the log.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from layerlocal.kernels import cells_of, grid_mean
from layerlocal.rules import BlockwiseRule, RuleInfo
from layerlocal.rules.functional import rms_normalize
from layerlocal.types import InputError


class Readout(nn.Module):
    """(B, C, H, W) → (B, K): statistics in cells, standardized, through a linear map or an MLP of one hidden layer."""

    def __init__(self, shape, num_classes, *, grid, statistic, mix, hidden, dropout):
        super().__init__()
        self.grid, self.statistic, self.dropout = grid, statistic, dropout
        channels, *sides = shape
        self.mix = nn.Conv2d(channels, mix, 1) if mix and sides else None
        channels = mix if self.mix is not None else channels
        cells = min(grid, sides[0]) * min(grid, sides[1]) if sides else 1
        features = channels * cells * (2 if statistic == "both" and sides else 1)
        self.standardize = nn.BatchNorm1d(features, affine=False)
        self.hidden = nn.Linear(features, hidden) if hidden else None
        self.linear = nn.Linear(hidden or features, num_classes)

    def forward(self, a):
        if self.mix is not None:
            a = F.relu(self.mix(a))
        if a.dim() == 4:
            parts = [cells_of(a, self.grid)] if self.statistic in ("rms", "both") else []
            parts += [grid_mean(a, self.grid)] if self.statistic in ("mean", "both") else []
            a = torch.cat(parts, 1)
        a = F.dropout(self.standardize(a), self.dropout, self.training)
        return self.linear(a if self.hidden is None else F.relu(self.hidden(a)))


class Variant(BlockwiseRule):
    """Class goodness with whatever is tried switched on by options."""

    info = RuleInfo(name="variant", locality="block")

    def __init__(
        self, network, *, num_classes, seed=None, fusion="uniform", grid=4, statistic="rms", feed="rms", temperature=1.0, boost=0.0,
        smoothing_first=0.0, smoothing_last=0.0, mix=0, hidden=0, dropout=0.0,
    ):  # fmt: skip
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion)
        if statistic not in ("rms", "mean", "both"):
            raise InputError(f"statistic must be 'rms', 'mean' or 'both', got {statistic!r}")
        self.feed_kind, self.temperature, self.boost = feed, temperature, boost
        last = max(1, network.depth - 1)
        self.smoothing = [smoothing_first + (smoothing_last - smoothing_first) * i / last for i in range(network.depth)]
        shapes = network.activity_shapes
        self.heads = self.head_per_block(
            lambda i: Readout(
                shapes[i], num_classes, grid=grid, statistic=statistic, mix=mix, hidden=hidden, dropout=dropout
            )
        )
        self.carried = None

    def feed(self, index, activity):
        return rms_normalize(activity) if self.feed_kind == "rms" else activity

    def block_score(self, index, activity):
        own = self.heads[f"block{index}"](activity) / self.temperature
        if not self.boost:
            return own
        before = None if index == self.readouts[0] else self.carried
        score = own if before is None else own + self.boost * before
        self.carried = score.detach()
        return score

    def local_loss(self, index, activity, y):
        return F.cross_entropy(self.block_score(index, activity), y, label_smoothing=self.smoothing[index]), {}
