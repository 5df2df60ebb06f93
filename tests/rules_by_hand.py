"""Small rules for tests, one batch to try them on, and what they do in plain PyTorch: 12 images of 16 pixels in 3 classes, and networks
whose channels divide by 3.
"""

from __future__ import annotations

import torch

from layerlocal.networks import create_network
from layerlocal.rules import create_rule
from layerlocal.spec import Recipe
from layerlocal.training.train import make_optimizer, train_step

K = 3
X = torch.randn(12, 3, 16, 16, generator=torch.Generator().manual_seed(1))
Y = torch.arange(12) % K
THIRDS = {"cnn4": 9 / 32, "vgg8": 9 / 128, "resnet18": 9 / 64, "mlp": 24 / 256}
"""Widths of narrow networks all of whose channels divide by 3."""


def network(of="cnn4", **options):
    return create_network(of, in_channels=3, image_size=16, width=THIRDS[of], seed=0, **options)


def make(name, of="cnn4", /, **options):
    return create_rule(name, network(of), num_classes=K, seed=0, **options)


def trained(rule, steps=3, recipe=None):
    """After a few steps, so that no statistic and no weight is the one it began with."""
    recipe = recipe or Recipe(optimizer="sgd", learning_rate=0.1)
    optimizer = make_optimizer(rule.train(), recipe)
    generator = torch.Generator().manual_seed(5)
    for _ in range(steps):
        x = torch.randn(12, *rule.network.sample_shape, generator=generator) + 0.5
        train_step(rule, x, Y % rule.num_classes, optimizer, recipe=recipe)
    return rule.eval()


def run(rule, x=X):
    """Losses by block and gradients by parameter, of one batch."""
    losses = {}
    for loss in rule.train().losses(x, Y):
        loss.value.backward()
        losses[loss.block] = loss.value.detach()
    return losses, {name: p.grad for name, p in rule.named_parameters() if p.grad is not None}


def run_by_hand(network, loss_of, feed):
    """`run` in plain PyTorch: a gradient boundary before each block, ``loss_of(index, activity)``, ``feed(activity)`` to the next."""
    losses, h = {}, X
    for index, block in enumerate(network.train().blocks):
        activity = block(h.detach())
        loss = loss_of(index, activity)
        loss.backward()
        losses[f"block{index}"] = loss.detach()
        h = feed(activity.detach())
    return losses, {f"network.{name}": p.grad for name, p in network.named_parameters()}


def goodness_by_hand(activity, kind):
    """(B, C, H, W) → (B,): mean square or sum of squares over channels, positions averaged."""
    per_position = (activity**2).sum(1) if kind == "sum" else (activity**2).mean(1)
    return per_position.mean((1, 2))


def unit_rms(activity):
    """Each sample at unit root mean square."""
    dims = tuple(range(1, activity.dim()))
    return activity / activity.square().mean(dims, keepdim=True).sqrt()


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-6)


def normalized(values, dims):
    """Of a batch in training: mean 0 and variance 1, as batch normalization with its initial weights."""
    mean, spread = values.mean(dims, keepdim=True), values.var(dims, correction=0, keepdim=True)
    return (values - mean) / (spread + 1e-5).sqrt()


def cells(maps, grid, statistic):
    """(B, C, H, W) → (B, C·s·t): rows and columns are dealt to cells, the first ones larger by one."""
    found = [
        [c.square().mean((2, 3)).sqrt() if statistic == "rms" else c.mean((2, 3)) for c in row.tensor_split(grid[1], 3)]
        for row in maps.tensor_split(grid[0], 2)
    ]
    return torch.stack([torch.stack(row, -1) for row in found], -2).flatten(1)
