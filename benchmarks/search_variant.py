"""The rule of `rule_search.py`: a local head at every block, with whatever is tried switched on by options.

An edit of this file makes new runs of every variant, so what is tried next goes into a file of its own once rows of this one are in the log.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from layerlocal.rules import BlockwiseRule, RuleInfo
from layerlocal.rules.auxiliary import head_sizes, make_head
from layerlocal.rules.functional import rms_normalize


class Part(nn.Module):
    """A head that reads the first ``channels`` of an activity, some of them dropped in training."""

    def __init__(self, head, channels, dropout):
        super().__init__()
        self.head, self.channels, self.dropout = head, channels, dropout

    def forward(self, a):
        a = a[:, : self.channels]
        drop = F.dropout2d if a.dim() == 4 else F.dropout
        return self.head(drop(a, self.dropout, self.training))


class Stream(nn.Module):
    """A block with what it was fed added to its activity: pooled to its size, channels repeated to its number, times ``share``."""

    def __init__(self, block, share):
        super().__init__()
        self.block, self.share = block, share

    def forward(self, x):
        a = self.block(x)
        kept = F.adaptive_avg_pool2d(x, a.shape[-2:]) if x.shape[-2:] != a.shape[-2:] else x
        times = -(-a.shape[1] // x.shape[1])
        return a + self.share * torch.cat([kept] * times, 1)[:, : a.shape[1]]


class Variant(BlockwiseRule):
    """Cross-entropy through a head at every block, with whatever is tried switched on by options."""

    info = RuleInfo(name="variant", locality="block")

    def __init__(
        self, network, *, num_classes, seed=None, fusion="uniform", head="conv", layers=None, width=None, kernel=None, reduction=None, grid=2,
        statistic="rms", feed="plain", temperature=1.0, boost=0.0, smoothing_first=0.0, smoothing_last=0.0, dropout=0.0, read=1.0,
        stream=0.0,
    ):  # fmt: skip
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion)
        self.feed_kind, self.temperature, self.boost = feed, temperature, boost
        for index in range(1, network.depth if stream else 0):
            network.blocks[index] = Stream(network.blocks[index], stream)
        last = max(1, network.depth - 1)
        self.smoothing = [smoothing_first + (smoothing_last - smoothing_first) * i / last for i in range(network.depth)]
        given = {"head_layers": layers, "head_width": width, "head_kernel": kernel, "head_reduction": reduction}
        sizes = head_sizes(head, given)

        def head_of(index):
            channels, *sides = network.activity_shapes[index]
            channels = round(channels * (read if index < last else 1.0))
            made = make_head(head, (channels, *sides), num_classes, sizes, statistic=statistic, grid=grid)
            return Part(made, channels, dropout) if dropout or read < 1 else made

        self.heads = self.head_per_block(head_of)
        self.carried = None

    def feed(self, index, activity):
        return rms_normalize(activity) if self.feed_kind == "rms" else activity

    def block_score(self, index, activity):
        own = super().block_score(index, activity) / self.temperature
        if not self.boost:
            return own
        score = own if index == self.readouts[0] else own + self.boost * self.carried
        self.carried = score.detach()
        return score

    def local_loss(self, index, activity, y):
        return F.cross_entropy(self.block_score(index, activity), y, label_smoothing=self.smoothing[index]), {}
