"""The second rule of `rule_search.py`: heads that have the shape of the rest of the network, at a lower resolution (the principle of AugLocal,
arXiv:2402.17318), boosting, and reconstruction of the input (InfoPro, arXiv:2101.10832), switched on by options.

An edit of this file makes new runs of every variant.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from layerlocal.rules import BlockwiseRule, RuleInfo
from layerlocal.rules.auxiliary import averages
from layerlocal.rules.readout import SpatialReadout


def conv(inputs, outputs, kernel=3, stride=1):
    padding = (kernel - 1) // 2 if stride < kernel else 0
    layer = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False)
    return [layer, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


class Pyramid(nn.Module):
    """To ``start`` positions a side by ``down``, then ``layers`` times convolution and, while more than ``grid`` are left, max pooling."""

    def __init__(self, shape, num_classes, *, start, down, layers, factor, widest, grid, statistic):
        super().__init__()
        channels, side = shape[0], shape[1]
        width = min(widest, round(factor * channels))
        parts = []
        if side > start:
            by = side // start
            if down == "conv":
                parts, channels = conv(channels, width, by, by), width
            elif down == "conv3":
                parts, channels = conv(channels, width, 3, by), width
            else:
                parts = [nn.MaxPool2d(by) if down == "max" else nn.AvgPool2d(by)]
            side //= by
        for index in range(layers):
            if index and side // 2 >= grid:
                parts.append(nn.MaxPool2d(2))
                side //= 2
            parts += conv(channels, width)
            channels = width
        self.layers = nn.Sequential(*parts)
        self.readout = SpatialReadout((width, side, side), num_classes, grid=grid, statistic=statistic)
        self.register_buffer("rows", averages(side, grid), persistent=False)

    def forward(self, a):
        maps = self.layers(a)
        squares = self.readout.statistic == "rms"
        cells = self.rows @ ((maps.square() if squares else maps) @ self.rows.T)
        return self.readout(((cells + 1e-12).sqrt() if squares else cells).flatten(1))


class WithDecoder(nn.Module):
    """A head and a convolution that gives the input back, both averaged to ``side`` positions a side."""

    def __init__(self, head, channels, side):
        super().__init__()
        self.head, self.side, self.decoder = head, side, nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, a):
        return self.head(a)


class Variant2(BlockwiseRule):
    """Cross-entropy through an auxiliary net at every block, with whatever is tried switched on by options."""

    info = RuleInfo(name="variant2", locality="block")

    def __init__(
        self, network, *, num_classes, seed=None, fusion="uniform", start=8, down="avg", layers=2, factor=1.0, widest=512, grid=2,
        statistic="rms", boost=0.0, recon=0.0, dropout=0.0, smoothing=0.0,
    ):  # fmt: skip
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion, label_smoothing=smoothing)
        self.boost, self.recon = boost, recon

        def head_of(index):
            shape = network.activity_shapes[index]
            head = Pyramid(shape, num_classes, start=start, down=down, layers=layers, factor=factor, widest=widest, grid=grid,
                           statistic=statistic)  # fmt: skip
            return WithDecoder(head, shape[0], min(shape[1], 16)) if recon else head

        self.heads = self.head_per_block(head_of)
        self.carried = self.image = None
        self.dropout = dropout

    def inputs(self, x, y):
        self.image = x
        return x, y

    def feed(self, index, activity):
        return F.dropout2d(activity, self.dropout, self.training) if self.dropout else activity

    def block_score(self, index, activity):
        own = super().block_score(index, activity)
        if not self.boost:
            return own
        score = own if index == self.readouts[0] else own + self.boost * self.carried
        self.carried = score.detach()
        return score

    def local_loss(self, index, activity, y):
        value, metrics = super().local_loss(index, activity, y)
        if self.recon:
            head = self.heads[self.network.block_names[index]]
            target = F.adaptive_avg_pool2d(self.image, head.side)
            found = head.decoder(F.adaptive_avg_pool2d(activity, head.side))
            value = value + self.recon * F.mse_loss(found, target)
        return value, metrics
