"""Decoupled greedy learning, https://github.com/eugenium/DGL: layers trained at once, each through a classifier of its own (ICML 2020).

    LAYERLOCAL_FOREIGN=checkouts layerlocal certify examples/foreign/dgl.py:step

Licence: none is named. The step is inline in a script: lines 161 to 173 of auxiliary_nets_study/cifar_dgl.py are run as they stand, after lines
122 to 128 and 131, which make the optimizers and the loss. What follows, line 174 on, only measures time and accuracy.
Changed: an eighth of the width, 16 random images.
"""

import importlib
import itertools
import time

import torch
from checkout import lines, use
from torch import nn, optim

COMMIT = "4cc7c178ecfc0f780976cda99abf57517bed7b00"


def step():
    """Each block is a group, with its classifier."""
    folder = use("DGL", COMMIT, "auxiliary_nets_study")
    model = importlib.import_module("models").Net(aux_type="mlp-sr", feature_size=16)
    names = {"model": model, "itertools": itertools, "optim": optim, "time": time, "nn": nn}
    names["ncnn"] = len(model.main_cnn.blocks)
    lines(folder / "cifar_dgl.py", 122, 128, names)()
    lines(folder / "cifar_dgl.py", 131, 131, names)()
    names |= {"inputs": torch.randn(16, 3, 32, 32), "targets": torch.arange(16) % 10}
    parts = zip(model.main_cnn.blocks, model.auxillary_nets, strict=True)
    return lines(folder / "cifar_dgl.py", 161, 173, names), {f"block{i}": list(pair) for i, pair in enumerate(parts)}
