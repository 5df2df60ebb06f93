"""The rule of `rule_search.py`: readers at every block, each with a loss of its own, and whatever else was tried switched on by options.

An edit of this file makes new runs of every variant, so what is tried next goes into a file of its own once rows of this one are in the log.
"""

from __future__ import annotations

from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import nn

from layerlocal.rules import BlockwiseRule, RuleInfo, SpatialReadout
from layerlocal.rules.committee import committee_loss
from layerlocal.rules.core.auxiliary import ConvReadout, averages
from layerlocal.rules.core.rule import segment_losses


def conv(inputs, outputs, kernel=3, stride=1):
    padding = kernel // 2 if stride == 1 else 0
    return [
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


class Net(nn.Module):
    """To ``start`` positions a side by ``down``, then ``layers`` times convolution, max pooling between them as far as 2 positions are left.

    Channels: ``factor`` times those of the activity, at most ``widest``; or, with a ``budget``, that over the positions a side, after a
    projection at every block.
    """

    def __init__(self, shape, num_classes, *, layers, start, down, factor, widest, budget):
        super().__init__()
        channels, side = shape[0], shape[1]
        by = max(1, side // start)
        side //= by
        width = budget // side if budget else min(widest, round(factor * channels))
        parts = []
        if budget or (by > 1 and down == "conv"):
            parts, channels = conv(channels, width, by, by), width
        elif by > 1:
            parts = [nn.AvgPool2d(by)]
        for index in range(layers):
            if index and side // 2 >= 2:
                parts.append(nn.MaxPool2d(2))
                side //= 2
                width = budget // side if budget else width
            parts += conv(channels, width)
            channels = width
        self.layers = nn.Sequential(*parts)
        self.readout = SpatialReadout((width, side, side), num_classes)
        self.register_buffer("cells", averages(side, 2), persistent=False)

    def forward(self, a):
        squares = self.cells @ (self.layers(a).square() @ self.cells.T)
        return self.readout((squares + 1e-12).sqrt().flatten(1))


class Readers(nn.Module):
    """(B, C, H, W) → (B, M, K), each from other channels where some are dropped; with a convolution that gives the image back, if asked for."""

    def __init__(self, members, channels, gives_back, dropout):
        super().__init__()
        self.members, self.dropout = nn.ModuleList(members), dropout
        self.decoder = nn.Conv2d(channels, 3, 3, padding=1) if gives_back else None

    def forward(self, a):
        return torch.stack([member(F.dropout2d(a, self.dropout, self.training)) for member in self.members], 1)


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


def correlation_penalty(a):
    """Σ_{i≠j} ρ_ij² / C over the channels of an activity (B, C, H, W), ρ their correlations over samples and positions."""
    rows = a.movedim(1, -1).flatten(0, -2)
    rows = rows - rows.mean(0)
    covariance = rows.T @ rows / len(rows)
    spread = covariance.diagonal()
    rho2 = covariance.square() / (spread[:, None] * spread[None] + 1e-8)
    return (rho2.sum() - rho2.diagonal().sum()) / len(rho2)


class Variant(BlockwiseRule):
    """``heads``: a word a reader: ``conv`` (`local-heads`, head=conv), ``lin`` or ``lin4`` (cells a side), or a `Net` of ``layers@start``."""

    info = RuleInfo(name="variant", locality="block")

    def __init__(
        self, network, *, num_classes, seed=None, fusion="uniform", heads="conv", down="conv", factor=1.0, widest=512, budget=0,
        boost=0.0, stream=0.0, recon=0.0, decor=0.0, smoothing=0.0, temperature=1.0, segments=None, dropout=0.0, agree=0.0,
    ):  # fmt: skip
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion, label_smoothing=smoothing)
        self.boost, self.recon, self.decor, self.temperature, self.agree = boost, recon, decor, temperature, agree
        ends = [*accumulate(int(size) for size in segments.split("-"))] if segments else range(1, network.depth + 1)
        self.segments = [range(a, b) for a, b in zip([0, *ends], ends, strict=False)]
        for index in range(1, network.depth if stream else 0):
            network.blocks[index] = Stream(network.blocks[index], stream)

        def member(word, shape):
            if word == "conv":
                return ConvReadout(shape, num_classes)
            if word.startswith("lin"):
                return SpatialReadout(shape, num_classes, grid=int(word[3:] or 2))
            layers, start = map(int, word.split("@"))
            return Net(shape, num_classes, layers=layers, start=start, down=down, factor=factor, widest=widest, budget=budget)  # fmt: skip

        shapes = network.activity_shapes
        self.heads = self.head_per_block(
            lambda i: Readers([member(word, shapes[i]) for word in heads.split()], shapes[i][0], recon, dropout)
        )
        self.carried = self.image = None

    @property
    def locality(self):
        return "block" if len(self.segments) == self.network.depth else "segment"

    def inputs(self, x, y):
        self.image = x
        return x, y

    def losses(self, x, y):
        return segment_losses(self, x, y, self.segments)

    def member_scores(self, index, activity):
        found = self.heads[self.network.block_names[index]](activity) / self.temperature
        if not self.boost:
            return found
        found = found if index == self.readouts[0] else found + self.boost * self.carried
        self.carried = found.detach()
        return found

    def block_score(self, index, activity):
        return self.member_scores(index, activity).log_softmax(-1).mean(1)

    def local_loss(self, index, activity, y):
        found = self.member_scores(index, activity)
        value = committee_loss(found, y, self.label_smoothing)
        if self.agree:
            mean = found.detach().softmax(-1).mean(1, keepdim=True)
            value = (1 - self.agree) * value - self.agree * (mean * found.log_softmax(-1)).sum(-1).mean()
        if self.decor:
            value = value + self.decor * correlation_penalty(activity)
        if self.recon:
            side = min(activity.shape[-1], 16)
            decoder = self.heads[self.network.block_names[index]].decoder
            given = decoder(F.adaptive_avg_pool2d(activity, side))
            value = value + self.recon * F.mse_loss(given, F.adaptive_avg_pool2d(self.image, side))
        return value, {}
