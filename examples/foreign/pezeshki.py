"""Forward-Forward by Mohammad Pezeshki, https://github.com/mpezeshki/pytorch_forward_forward: an implementation of Hinton's algorithm.

    LAYERLOCAL_FOREIGN=checkouts layerlocal certify examples/foreign/pezeshki.py:step

Licence: MIT. Called unchanged: `Net.train` (main.py, line 62).
Changed: one iteration for each layer, where theirs makes 1,000; 16 random images; `.cuda()` does nothing; torchvision,
matplotlib and tqdm are empty.
"""

import importlib

import torch
from checkout import Absent, use

COMMIT = "1c7a2114bbf85a055dfb50bb13f1516534e9f35d"
ABSENT = "torchvision torchvision.datasets torchvision.transforms matplotlib matplotlib.pyplot"


def step():
    """Each layer is a group."""
    use("pytorch_forward_forward", COMMIT, absent=ABSENT)
    Absent("tqdm", tqdm=lambda numbers: numbers)
    main = importlib.import_module("main")
    net = main.Net([784, 500, 500])
    for layer in net.layers:
        layer.num_epochs = 1
    x, y = torch.rand(16, 784), torch.arange(16) % 10
    positive, negative = main.overlay_y_on_x(x, y), main.overlay_y_on_x(x, y[torch.randperm(16)])
    return lambda: net.train(positive, negative), {f"layer{i}": layer for i, layer in enumerate(net.layers)}
