"""The fifth rule of `rule_search.py`: the fourth, and a last readout that reads what all heads read, without gradient to any of them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import torch
import torch.nn.functional as F
from search_variant4 import Variant4
from torch import nn

from layerlocal.rules import RuleInfo


class Stacked(nn.Module):
    """The last block's head, and the linear map over all heads' features."""

    def __init__(self, head, features, num_classes):
        super().__init__()
        self.head, self.stack = head, nn.Linear(features, num_classes)

    def forward(self, a):
        return self.head(a)


class Variant5(Variant4):
    """Variant4, its last score read off the features of all heads."""

    info = RuleInfo(name="variant5", locality="segment")

    def __init__(self, network, *, num_classes, seed=None, segments="1-1-1-1-1-1", fusion="last", **options):
        super().__init__(network, num_classes=num_classes, seed=seed, segments=segments, fusion=fusion, **options)
        linears = [head.readout.linear for head in self.heads.values()]
        self.features = {}
        for index, linear in enumerate(linears):
            linear.register_forward_pre_hook(lambda _, z, index=index: self.features.update({index: z[0].detach()}))
        last = self.network.block_names[-1]
        self.heads[last] = Stacked(self.heads[last], sum(linear.in_features for linear in linears), num_classes)

    def stacked(self):
        last = self.network.depth - 1
        sizes = [head.readout.linear.in_features for name, head in self.heads.items() if name != f"block{last}"]
        own = self.features[last]
        if not sizes:  # a twin that reads one block: zeros for the others
            width = self.heads[f"block{last}"].stack.in_features - own.shape[1]
            return torch.cat([own.new_zeros(len(own), width), own], 1)
        return torch.cat([self.features[index] for index in range(last + 1)], 1)

    def block_score(self, index, activity):
        own = super().block_score(index, activity)
        if index < self.network.depth - 1:
            return own
        return self.heads[f"block{index}"].stack(self.stacked())

    def local_loss(self, index, activity, y):
        if index < self.network.depth - 1:
            return super().local_loss(index, activity, y)
        head = self.heads[f"block{index}"]
        return F.cross_entropy(head(activity), y) + F.cross_entropy(head.stack(self.stacked()), y), {}
