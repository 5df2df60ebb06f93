"""`committee` with another balance between a block and what teaches it: another rule of `rule_search.py`.

With the same readers, a block under deep supervision is read better than a local one, the first included: it has more teachers, or less noisy
ones. Batch norm makes a convolution indifferent to the size of its weights, so weights begun ``trunk`` times as large learn as with a rate that
many times smaller, and the readers beside them as before. A linear reader asks for what is linear in a block already, which of a first block
is little: below block ``linear_from`` it only reads.
"""

from __future__ import annotations

import torch
from torch import nn

from layerlocal.rules import RuleInfo
from layerlocal.rules.committee import Committee, committee_loss


class Teaching(Committee):
    """``trunk``: factor on the first weights of the network's convolutions; ``linear_from``: the first block that its linear readout teaches."""

    info = RuleInfo(name="teaching", locality="block")

    def __init__(
        self, network, *, num_classes, seed=None, fusion="uniform", label_smoothing=0.0, trunk=1.0, linear_from=0
    ):
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion, label_smoothing=label_smoothing)
        self.linear_from = linear_from
        with torch.no_grad():
            for part in network.modules():
                if isinstance(part, nn.Conv2d):
                    part.weight.mul_(trunk)

    def local_loss(self, index, activity, y):
        head = self.heads[self.network.block_names[index]]
        if index >= self.linear_from:
            return committee_loss(head.member_scores(activity), y, self.label_smoothing), {}
        scores = torch.cat([head.nets(activity), head.linear(activity.detach())[:, None]], 1)
        return committee_loss(scores, y, self.label_smoothing), {}
