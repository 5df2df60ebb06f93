"""HCL-FF, https://github.com/JNNNNYao/HCL-FF: Forward-Forward with hierarchical labels and a contrastive loss (CVPR 2026).

    LAYERLOCAL_FOREIGN=checkouts layerlocal certify examples/foreign/hcl_ff.py:step

Licence: none is named. Called unchanged: `Resnet.update` (model/resnet.py, line 338), for one epoch of one batch, as main.py, line 189, does.
Changed: a fifth of the width for CIFAR-10, a hierarchy of two levels (five groups of two classes, then ten classes), 16 random images.
"""

import importlib

import torch
from checkout import use

COMMIT = "799349bd41f7e37b23aa03338d4f115a180e256c"


def step():
    """Each layer is a group, with its projection; the classifier is the last."""
    use("HCL-FF", COMMIT)
    resnet = importlib.import_module("model.resnet")
    hierarchy = {1: [[2 * i, 2 * i + 1] for i in range(5)], 2: [[i] for i in range(10)]}
    levels = [min(1 + (i * 2) // 17, 2) for i in range(17)]  # main.py, line 100
    net = resnet.Resnet(planes=(20, 40, 80, 160), learning_rate=0.04, hierarchy=hierarchy, layer_to_level=levels)
    batches = [(torch.randn(16, 3, 32, 32), torch.arange(16) % 10)]
    parts = zip(net.layers, net.proj_heads, strict=True)
    groups = {f"layer{i}": list(pair) for i, pair in enumerate(parts)} | {"classifier": net.clf_head}
    return lambda: net.update(batches), groups
