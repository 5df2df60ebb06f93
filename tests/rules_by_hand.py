"""Small rules for tests, one batch to try them on, and what they do in plain PyTorch: 12 images of 16 pixels in 3 classes, and networks
whose channels divide by 3.
"""

from __future__ import annotations

import torch

from layerlocal.networks import create_network
from layerlocal.rules import create_rule, find_rule, list_rules
from layerlocal.rules.core.registry import rule_class, tried_on
from layerlocal.spec import Recipe
from layerlocal.training.train import make_optimizer, train_step

K = 3
X = torch.randn(12, 3, 16, 16, generator=torch.Generator().manual_seed(1))
Y = torch.arange(12) % K
THIRDS = {"cnn4": 9 / 32, "vgg8": 9 / 128, "resnet18": 9 / 64, "mlp": 24 / 256}
"""Widths of narrow networks all of whose channels divide by 3."""


TAKEN_OVER = ("seed", "depth", "channels_last", "fused")
"""What a network of another kind is told as well."""
OF_TOKENS = [name for name in list_rules() if find_rule(name).info.tried_on]
ANY_NETWORK = [name for name in list_rules() if name not in OF_TOKENS]
"""Rules that a network of any kind will do for; what the others say of a CNN is tested in `test_rules_refusals`."""


def sizes_for(rule, usual, /, **options):
    """What `create_network` is to be given for a rule with these options: the ``usual``, or where not every network will do, what makes a
    small one that it is tried on, whose features divide by 3, for images of the same side, or of 8 pixels in place of vectors.
    """
    of = tried_on(rule_class(rule), options)
    if not of:
        return usual
    side = usual["image_size"] if usual["image_size"] > 1 else 8
    told = {name: usual[name] for name in TAKEN_OVER if name in usual}
    return {
        "name": of, "in_channels": 3, "image_size": side, "hidden": 24, "patch": 4 if side % 4 == 0 else 3, "depth": 4, **told,
    }  # fmt: skip


def rule_on(name, usual, /, num_classes=K, seed=0, **options):
    """A rule on the usual network, or on the one that it is for (`sizes_for`)."""
    built = create_network(**sizes_for(name, usual, **options))
    return create_rule(name, built, num_classes=num_classes, seed=seed, **options)


def sizes(of="cnn4", **options):
    return {"name": of, "in_channels": 3, "image_size": 16, "width": THIRDS[of], "seed": 0, **options}


def network(of="cnn4", **options):
    return create_network(**sizes(of, **options))


def make(name, of="cnn4", /, **options):
    return rule_on(name, sizes(of), **options)


X8 = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def small(name, of="cnn4", /, depth=4, **options):
    """A quarter of cnn4 on 8 pixels, or of an mlp on 12 numbers."""
    samples = {"in_channels": 3, "image_size": 8} if of == "cnn4" else {"in_channels": 12, "image_size": 1}
    return rule_on(name, {"name": of, "width": 0.25, "depth": depth, "seed": 0, **samples}, **options)


def batches(steps, shape=(3, 8, 8), start=0):
    """Each from a generator of its own."""
    for index in range(start, start + steps):
        generator = torch.Generator().manual_seed(index)
        yield torch.randn(12, *shape, generator=generator), torch.randint(0, K, (12,), generator=generator)


def train(rule, recipe, steps=3, start=0, optimizer=None):
    """Some steps of the library's loop on `batches`; the rule's own draws are seeded step by step. The optimizer."""
    optimizer = optimizer or make_optimizer(rule.train(), recipe)
    for index, (x, y) in enumerate(batches(steps, rule.network.sample_shape, start), start):
        torch.manual_seed(index)
        train_step(rule, x, y, optimizer, recipe=recipe)
    return optimizer


def gradients(rule, x, y, seed=0):
    """Losses, and every parameter's gradient by name, after one walk of the loop in training mode."""
    torch.manual_seed(seed)
    losses = []
    for loss in rule.train().losses(x, y):
        loss.value.backward()
        losses.append(loss.value.item())
    return losses, {name: p.grad for name, p in rule.named_parameters()}


def assert_equal_bits(found, expected):
    """What is expected is found among others, to the last bit."""
    assert expected
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


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
