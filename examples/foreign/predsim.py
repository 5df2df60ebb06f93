"""Training with local error signals, https://github.com/anokland/local-loss: predsim (Nøkland and Eidnes, 2019).

    LAYERLOCAL_FOREIGN=checkouts layerlocal certify examples/foreign/predsim.py:step

Licence: none is named. Called unchanged: `train` (train.py, line 1499), for one epoch of one batch. What defines its options, blocks and network
(lines 1 to 100, 471 to 883, 1219 to 1420, 1440 to 1443 and 1488 to 1495) is run as it stands, without the lines between, which load data.
Changed: a tenth of the width and 128 hidden units, 16 random images; torchvision is empty.
"""

import torch
from checkout import Batches, lines, use

COMMIT = "7b3b40b941b2db305c59b56888a1165aefbfc178"


def step():
    """Each block is a group; the output layer is the last."""
    arguments = "--no-cuda --feat-mult 0.1 --num-hidden 128"
    file = use("local-loss", COMMIT, absent="torchvision", arguments=arguments) / "train.py"
    names = {
        "__name__": "train",
        "input_dim": 32,
        "input_ch": 3,
        "num_classes": 10,
        "checkpoint": None,
    }
    for first, last in ((1, 100), (471, 883), (1219, 1420), (1440, 1443), (1488, 1495), (1499, 1574)):
        lines(file, first, last, names)()
    names["train_loader"] = Batches([(torch.randn(16, 3, 32, 32), torch.arange(16) % 10)])
    model, optimizer, rate = names["model"], names["optimizer"], names["args"].lr
    blocks = [block for block in model.features if list(block.parameters())]
    groups = {f"conv{i}": block for i, block in enumerate(blocks)}
    groups |= {"linear": model.classifier.layers, "output": model.classifier.layer_out}
    return lambda: names["train"](1, rate), groups, [optimizer]
