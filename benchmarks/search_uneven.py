"""`committee` with dearer readers at the first blocks: another rule of `rule_search.py`.

What locality costs is made at the first blocks: the gradient let through between the last ones brings nothing back (`free_segments.py`). So here
the first ``early`` blocks are read by nets that may be as deep and as wide as the network after them, and the rest as in `committee`.
"""

from __future__ import annotations

import torch
from search_variant import Net
from torch import nn

from layerlocal.rules import RuleInfo, SpatialReadout
from layerlocal.rules.committee import Committee, CommitteeHead


class Nets(nn.ModuleList):
    """(B, C, H, W) → (B, N, K)."""

    def forward(self, activity):
        return torch.stack([net(activity) for net in self], 1)


class Uneven(Committee):
    """``words``: nets of the first ``early`` blocks, ``layers@start`` each, with ``budget`` over the positions a side as channels."""

    info = RuleInfo(name="uneven", locality="block")

    def __init__(
        self, network, *, num_classes, seed=None, fusion="uniform", label_smoothing=0.0, early=3, words="3@16 3@16", budget=512, late_nets=2,
    ):  # fmt: skip
        super().__init__(
            network, num_classes=num_classes, seed=seed, fusion=fusion, label_smoothing=label_smoothing, nets=late_nets
        )
        regular = self.heads
        shapes = network.activity_shapes

        def head_of(index):
            if index >= early:
                return regular[network.block_names[index]]
            nets = [
                Net(shapes[index], num_classes, layers=int(layers), start=int(start), down="conv", factor=1.0, widest=512, budget=budget)
                for layers, start in (word.split("@") for word in words.split())
            ]  # fmt: skip
            return CommitteeHead(Nets(nets), SpatialReadout(shapes[index], num_classes))

        self.heads = self.head_per_block(head_of)
        self.weigh_heads()
