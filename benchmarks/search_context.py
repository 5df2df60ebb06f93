"""`committee` on a network whose blocks also see what was there before the block before them: another rule of `rule_search.py`.

What a block has no use for is lost on all after it. Context supply (arXiv:2312.07636) gives it back: block l gets h_{l-1} + M_l(c), with c the
image or the input of the block before, and M_l trained by the loss of block l. Twins have the same network.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from layerlocal.rules import RuleInfo
from layerlocal.rules.committee import Committee
from layerlocal.types import derive_seed


class Contextual(nn.Module):
    """A block that adds to its input a map of something seen before. ``seen`` is shared by all blocks: what went into each, at this pass."""

    def __init__(self, block, index, context, seen, source):
        super().__init__()
        self.block, self.index, self.context = block, index, context
        self.seen, self.source = seen, source

    @property
    def cells(self):
        return self.block.cells

    @cells.setter
    def cells(self, value):
        self.block.cells = value

    def forward(self, h):
        self.seen[self.index] = h
        return self.block(h if self.context is None else h + self.context(self.seen[self.source]))


def map_between(given, wanted, cheap):
    """Convolution from one shape (C, H, W) to another – batch norm: without overlap where it is smaller, 3×3 where it is as large.

    ``cheap``: averages over as many positions, then a 1×1 convolution.
    """
    step = math.ceil(given[1] / wanted[1])
    if cheap:
        conv = nn.Conv2d(given[0], wanted[0], 1, bias=False)
        return nn.Sequential(*([nn.AvgPool2d(step)] if step > 1 else []), conv, nn.BatchNorm2d(wanted[0]))
    kernel = 3 if step == 1 else step
    conv = nn.Conv2d(given[0], wanted[0], kernel, stride=step, padding=kernel // 2 if step == 1 else 0, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(wanted[0]))


class Context(Committee):
    """``source``: ``"image"``, or ``"before"``: what went into the block before (of the second block both are the image)."""

    info = RuleInfo(name="context", locality="block")

    def __init__(
        self,
        network,
        *,
        num_classes,
        seed=None,
        fusion="uniform",
        label_smoothing=0.0,
        source="image",
        first=1,
        cheap=False,
    ):
        inputs = [network.sample_shape, *network.activity_shapes[:-1]]
        seen = {}
        for index, block in enumerate(list(network.blocks)):
            context, at = None, 0
            if index >= first:
                at = 0 if source == "image" else index - 1
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(derive_seed(seed or 0, "context", index))
                    context = map_between(inputs[at], inputs[index], cheap)
            network.blocks[index] = Contextual(block, index, context, seen, at)
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion, label_smoothing=label_smoothing)
