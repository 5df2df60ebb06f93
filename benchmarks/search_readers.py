"""`committee` with readers that do not stay what they are: the other rule of `rule_search.py`.

A block is read by its own readers in training and by the next block in earnest. What only its own readers can use is lost on the next block, so
here readers change: nets begin anew now and then (as the last layers of arXiv:2202.00155 do), or see only some of the channels. Late blocks fit
the training images better than the blocks before them and others no better, so these things, and channels dropped between blocks, can begin
late.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F

from layerlocal.rules import RuleInfo
from layerlocal.rules.committee import Committee, committee_loss
from layerlocal.types import derive_seed


class Readers(Committee):
    """After every ``renew_every`` steps, as long as no more than ``renew_until`` are done, one net of each block begins anew, in turn.

    ``dropout``: share of channels that readers do not see; ``between``: that the next block does not get; both from block ``first`` on.
    """

    info = RuleInfo(name="readers", locality="block")

    def __init__(
        self, network, *, num_classes, seed=None, fusion="uniform", nets=2, head_side=8, head_width=48, label_smoothing=0.0,
        renew_every=0, renew_until=0, dropout=0.0, between=0.0, first=0,
    ):  # fmt: skip
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion, nets=nets, head_side=head_side,
                         head_width=head_width, label_smoothing=label_smoothing)  # fmt: skip
        self.renew_every, self.renew_until, self.first = renew_every, renew_until, first
        self.dropout, self.between = dropout, between
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def inputs(self, x, y):
        done = int(self.steps)
        if self.renew_every and done and done % self.renew_every == 0 and done <= self.renew_until:
            for index, name in enumerate(self.network.block_names):
                if name in self.heads:
                    with torch.random.fork_rng(devices=[]):
                        torch.manual_seed(derive_seed(self.seed or 0, "renewed", index, done))
                        renew(self.heads[name].nets, (done // self.renew_every + index) % self.heads[name].nets.nets)
        self.steps += 1
        return x, y

    def feed(self, index, activity):
        return F.dropout2d(activity, self.between, self.training) if self.between and index >= self.first else activity

    def local_loss(self, index, activity, y):
        head = self.heads[self.network.block_names[index]]
        seen = F.dropout2d(activity, self.dropout, self.training) if self.dropout and index >= self.first else activity
        return committee_loss(head.member_scores(seen), y, self.label_smoothing), {}


def renew(nets, which):
    """Net ``which`` of those that are computed at once gets new weights."""
    new = copy.deepcopy(nets)
    for part in new.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
    with torch.no_grad():
        for old, drawn in zip(nets.parameters(), new.parameters(), strict=True):
            size = len(old) // nets.nets
            old[which * size : (which + 1) * size] = drawn[which * size : (which + 1) * size]
