"""Forward-Forward by Sindy Löwe, https://github.com/loeweX/Forward-Forward: a reimplementation of Hinton's algorithm.

    LAYERLOCAL_FOREIGN=checkouts layerlocal certify examples/foreign/loewe.py:step

Licence: MIT. Called unchanged: `train` (main.py, line 11), for one epoch of one batch.
Changed: 16 random images; hydra, omegaconf and torchvision are empty.
"""

import importlib
from types import SimpleNamespace as Options

import torch
from checkout import Absent, Batches, use

COMMIT = "da516f094c70a4a92042fbbc7ab33303aa7dbfd9"


def step():
    """Each layer is a group; the linear classifier, which reads layers without gradient, belongs to the last."""
    use("Forward-Forward", COMMIT, absent="hydra.utils omegaconf torchvision")
    Absent("hydra", main=lambda **_: lambda function: function)
    main = importlib.import_module("main")
    training = dict(epochs=1, learning_rate=1e-3, weight_decay=3e-4, momentum=0.9, val_idx=-1)
    training |= dict(downstream_learning_rate=1e-2, downstream_weight_decay=3e-3)
    options = Options(device="cpu", input=Options(batch_size=16), training=Options(**training))
    options.model = Options(peer_normalization=0.03, momentum=0.9, hidden_dim=1000, num_layers=3)
    main.utils.get_data = lambda *_: batches
    model, optimizer = main.utils.get_model_and_optimizer(options)
    inputs = {name: torch.rand(16, 1, 28, 28) for name in ("pos_images", "neg_images", "neutral_sample")}
    batches = Batches([(inputs, {"class_labels": torch.arange(16) % 10})])
    first, second, last = model.model
    groups = {"layer0": first, "layer1": second, "layer2 and classifier": [last, model.linear_classifier]}
    return lambda: main.train(options, model, optimizer), groups
