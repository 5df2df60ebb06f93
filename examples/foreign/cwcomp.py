"""CwComp, https://github.com/andreaspapac/CwComp: the Forward-Forward algorithm with channel-wise competition (AAAI 2024).

    LAYERLOCAL_FOREIGN=checkouts layerlocal certify examples/foreign/cwcomp.py:step

Licence: MIT, by its README. Called unchanged: `CW_Comp.train_` (src/Models.py, line 83), as src/main_train.py, line 75, does in epoch 0.
Changed: 8 random images; `.cuda()` does nothing; torchvision, matplotlib and cv2 are empty.
"""

import importlib

import torch
from checkout import use

COMMIT = "254960ab17451a25290c9c41b15c8abd587f9090"
ABSENT = "torchvision torchvision.datasets torchvision.transforms matplotlib matplotlib.pyplot cv2"


def step():
    """Each convolutional layer is a group; the softmax classifier is the last."""
    use("CwComp", COMMIT, "src", ABSENT)
    models = importlib.import_module("Models")
    net = models.CW_Comp([20, 80, 240, 480], 8, CFSE=True, sf_pred=True, dataset="CIFAR", loss_="CwC_CE")
    x, y = torch.randn(8, 3, 32, 32), torch.arange(8)
    wrong = y[torch.randperm(8)]
    groups = {f"conv{i}": layer for i, layer in enumerate(net.conv_layers)} | {"classifier": net.classifier_b1}
    return lambda: net.train_(x, y, wrong, 0), groups
