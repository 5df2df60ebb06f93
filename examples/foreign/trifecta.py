"""The Trifecta, https://github.com/tdooms/trifecta: three techniques for a deeper Forward-Forward (arXiv:2311.18130).

    LAYERLOCAL_FOREIGN=checkouts layerlocal certify examples/foreign/trifecta.py:step

Licence: none is named. Called unchanged: `Model.training_step` (main.py, line 206), for batch 0, an even one; `two` calls it for batches
0 and 1.
Changed: 4 random images; a Lightning module is a plain one and its log does nothing; `.cuda()` does nothing; torchvision and torchmetrics are
empty.
"""

import importlib

import torch
from checkout import Absent, use
from torch import nn

COMMIT = "6890438e878675b6f726c891db70d10b5cf975ab"
ABSENT = "torchvision torchvision.datasets torchvision.transforms"


class Plain(nn.Module):
    """In the place of a Lightning module."""

    def log_dict(self, *_, **__):
        """Nothing is logged."""


def network():
    """Each block is a group; the label's embedding belongs to the first."""
    use("trifecta", COMMIT, absent=ABSENT)
    Absent("lightning", LightningModule=Plain)
    Absent("torchmetrics", Accuracy=lambda *_, **__: None)
    main = importlib.import_module("main")
    model = main.Model(main.Config())
    batch = torch.randn(4, 3, 32, 32), torch.arange(4)
    first, *others = model.net.layers
    groups = {"block0": [model.net.embedding, first]} | {f"block{i}": block for i, block in enumerate(others, 1)}
    return model, batch, groups


def step():
    """One batch."""
    model, batch, groups = network()
    return lambda: model.training_step(batch, 0), groups


def two():
    """Two batches in a row, an even and an odd one."""
    model, batch, groups = network()
    return lambda: [model.training_step(batch, i) for i in (0, 1)], groups
