"""InfoPro, https://github.com/blackfeather-wang/InfoPro-Pytorch: locally supervised learning that keeps information (ICLR 2021).

    LAYERLOCAL_FOREIGN=checkouts layerlocal certify examples/foreign/infopro.py:step

Licence: none is named. Called unchanged: `train` (Experiments on CIFAR-SVHN-STL10/train.py, line 273), for one epoch of one batch, with the
options of comand.sh for a ResNet-32 in four modules.
Changed: 16 random images; the model is not within `DataParallel`; `.cuda()` does nothing; torchvision is empty.
"""

import importlib

import torch
from checkout import use

COMMIT = "a38362a2b59949a82b7451af7b95dc0b8da31a0b"
OPTIONS = "--layers 32 --local_module_num 4 --aux_net_feature_dim 128 --ixx_1 6 --ixy_1 0 --ixx_2 1 --ixy_2 2"


def step():
    """Each local module is a group, with its decoder and its head."""
    use(
        "InfoPro-Pytorch",
        COMMIT,
        "Experiments on CIFAR-SVHN-STL10",
        "torchvision torchvision.datasets torchvision.transforms",
        OPTIONS,
    )
    train = importlib.import_module("train")
    net = train.networks.resnet.resnet32(local_module_num=4, batch_size=16, aux_net_feature_dim=128)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.8, momentum=0.9, nesterov=True, weight_decay=1e-4)
    batches = [(torch.rand(16, 3, 32, 32), torch.arange(16) % 4)]
    parts = [net.conv1, net.bn1, *net.layer1, *net.layer2, *net.layer3, net.fc]
    ends = {"1_2": 5, "2_1": 9, "3_0": 13}  # modules end after these blocks of the stages (networks/configs.py, line 9)
    groups, start = {}, 0
    for number, (name, end) in enumerate(ends.items()):
        heads = [getattr(net, f"decoder_{name}"), getattr(net, f"aux_classifier_{name}")]
        groups[f"module{number}"], start = [*parts[start:end], *heads], end
    return lambda: train.train(batches, net, optimizer, 0), groups | {"module3": parts[start:]}
