"""The third rule of `rule_search.py`: the second, with what keeps information that a block's own head does not need.

An edit of this file or of search_variant2.py makes new runs of every variant (of this one only where the file's own text changed).
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent))
from search_variant2 import Pyramid, Variant2

from layerlocal.rules import RuleInfo


def correlation_penalty(a):
    """Σ_{i≠j} ρ_ij² / C over the channels of an activity (B, C, H, W), ρ their correlations over samples and positions."""
    rows = a.movedim(1, -1).flatten(0, -2)
    rows = rows - rows.mean(0)
    covariance = rows.T @ rows / len(rows)
    spread = covariance.diagonal()
    rho2 = covariance.square() / (spread[:, None] * spread[None] + 1e-8)
    return (rho2.sum() - rho2.diagonal().sum()) / len(rho2)


class Several(nn.Module):
    """Heads side by side; the score is the mean of their log-probabilities."""

    def __init__(self, heads):
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def forward(self, a):
        return torch.stack([F.log_softmax(head(a), 1) for head in self.heads])


class Variant3(Variant2):
    """Variant2 with decorrelated channels (``decor``), several heads a block (``several``: layers@start)."""

    info = RuleInfo(name="variant3", locality="block")

    def __init__(self, network, *, num_classes, seed=None, decor=0.0, several=None, start=8, down="conv", **options):
        super().__init__(network, num_classes=num_classes, seed=seed, start=start, down=down, **options)
        self.decor = decor
        if several:
            sizes = [[int(n) for n in word.split("@")] for word in several.split()]
            more = {"grid": 2, "statistic": "rms", "factor": 1.0, "widest": 512}

            def heads_of(index):
                shape = network.activity_shapes[index]
                return Several([Pyramid(shape, num_classes, start=s, down=down, layers=n, **more) for n, s in sizes])

            self.heads = self.head_per_block(heads_of)

    def block_score(self, index, activity):
        found = super().block_score(index, activity)
        return found.mean(0) if found.dim() == 3 else found

    def local_loss(self, index, activity, y):
        head = self.heads[self.network.block_names[index]]
        if isinstance(head, Several):
            found = head(activity)
            value = sum(F.nll_loss(one, y) for one in found)
            metrics = {}
        else:
            value, metrics = super().local_loss(index, activity, y)
        if self.decor:
            value = value + self.decor * correlation_penalty(activity)
        return value, metrics
