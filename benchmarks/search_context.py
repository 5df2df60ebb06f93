"""`committee` on a network whose blocks also see what was there before the block before them: another rule of `rule_search.py`.

What a block has no use for is lost on all after it. Context supply (arXiv:2312.07636) gives it back, by a map trained with the loss of the block
that gets it: here ``add``: block l gets h_{l-1} + M_l(c), as there; or ``join``: its convolution gives W_l * h_{l-1} + V_l * c, which needs no
gradient at h_{l-1}. c is the image, or the input of the block before. Twins have the same network.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from layerlocal.rules import RuleInfo
from layerlocal.rules.committee import Committee
from layerlocal.types import derive_seed


class Contextual(nn.Module):
    """A block that gets more than its input. ``seen`` is shared by all blocks: what went into each, at this pass."""

    def __init__(self, block, index, seen):
        super().__init__()
        self.block, self.before, self.index, self.seen = block, nn.Identity(), index, seen

    @property
    def cells(self):
        return self.block.cells

    @cells.setter
    def cells(self, value):
        self.block.cells = value

    def forward(self, h):
        self.seen[self.index] = h
        return self.block(self.before(h))


class Sum(nn.Module):
    """What ``own`` makes of its input, and ``context`` of something seen."""

    def __init__(self, own, context, seen, source):
        super().__init__()
        self.own, self.context, self.seen, self.source = own, context, seen, source

    def forward(self, h):
        return self.own(h) + self.context(self.seen[self.source])


def map_between(given, channels, side, *, cheap, norm):
    """Convolution (– batch norm) of a map (C, H, W) to fewer positions: without overlap, and 3×3 where there are as many.

    ``cheap``: averages over as many positions, then a 1×1 convolution; of images as above.
    """
    step = math.ceil(given[1] / side)
    if cheap and given[0] > 3:
        layers = [nn.AvgPool2d(step)] if step > 1 else []
        layers.append(nn.Conv2d(given[0], channels, 1, bias=False))
    else:
        kernel = 3 if step == 1 else step
        layers = [
            nn.Conv2d(given[0], channels, kernel, stride=step, padding=kernel // 2 if step == 1 else 0, bias=False)
        ]
    return nn.Sequential(*layers, *([nn.BatchNorm2d(channels)] if norm else []))


class Context(Committee):
    """``source``: ``"image"``, or ``"before"``: what went into the block before (of the second block both are the image)."""

    info = RuleInfo(name="context", locality="block")

    def __init__(
        self, network, *, num_classes, seed=None, fusion="uniform", label_smoothing=0.0, source="image", way="add", first=1, cheap=False,
    ):  # fmt: skip
        shapes = [network.sample_shape, *network.activity_shapes[:-1]]
        seen = {}
        for index, block in enumerate(list(network.blocks)):
            network.blocks[index] = Contextual(block, index, seen)
            if index < first:
                continue
            at = 0 if source == "image" else index - 1
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive_seed(seed or 0, "context", index))
                channels = shapes[index][0] if way == "add" else block[0].out_channels
                context = map_between(shapes[at], channels, shapes[index][1], cheap=cheap, norm=way == "add")
            if way == "add":
                network.blocks[index].before = Sum(nn.Identity(), context, seen, at)
            else:
                block[0] = Sum(block[0], context, seen, at)
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion, label_smoothing=label_smoothing)
