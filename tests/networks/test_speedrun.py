"""`speedrun` against arXiv:2404.00498: its shape, its first weights, its whitening, in closed form and in plain PyTorch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layerlocal import InputError, Recipe, create_network, create_rule, load_data
from layerlocal.networks.speedrun import Whitening, whitening_filters
from layerlocal.training.train import Training


def natural(number, side=16):
    """Noise that is smooth in space and alike in its channels, as images are."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(number, 3, side + 2, side + 2, generator=generator)
    return F.avg_pool2d(noise + noise.mean(1, keepdim=True), 3, 1)


def speedrun(**options):
    return create_network("speedrun", in_channels=3, image_size=32, seed=1, **options)


def test_it_has_the_weights_and_maps_of_the_published_network():
    network = speedrun()
    convolutions = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)
    norms = 2 * (2 * 64 + 4 * 256)
    assert sum(p.numel() for p in network.parameters()) == convolutions + norms
    assert network.activity_shapes == [(64, 15, 15), (64, 15, 15), (256, 7, 7), (256, 7, 7), (256, 3, 3), (256, 3, 3)]
    assert [name for name, p in network.named_parameters() if not p.requires_grad] == [
        f"blocks.{i}.{place}.weight" for i, place in enumerate((4, 1, 2, 1, 2, 1))
    ]


def test_it_computes_what_the_same_operations_do_one_by_one():
    network, x = speedrun(width=0.25).eval(), torch.randn(2, 3, 32, 32)
    convs = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
    [white] = [part for part in network.modules() if isinstance(part, Whitening)]
    h = F.gelu(F.conv2d(x, white.weight))
    for index, conv in enumerate(convs):
        h = F.conv2d(h, conv.weight, padding=1)
        h = F.max_pool2d(h, 2) if index % 2 == 0 else h
        h = F.gelu(h / (1 + 1e-12) ** 0.5)
    torch.testing.assert_close(network(x), h)


def test_convolutions_begin_as_the_identity_on_as_many_channels_as_they_have_inputs():
    network = speedrun(width=0.25)
    first, second, third, *_ = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
    x = torch.randn(1, 16, 8, 8)
    torch.testing.assert_close(second(x), x)
    torch.testing.assert_close(third(x)[:, :16], x)
    assert third(x)[:, 16:].std() > 0
    x = torch.randn(1, 24, 8, 8)
    torch.testing.assert_close(first(x), x[:, :16])


def test_whitened_patches_are_uncorrelated_with_variance_one_but_for_the_constant_added():
    images = natural(200)
    filters = whitening_filters(images, 2)
    assert filters.shape == (24, 3, 2, 2)
    torch.testing.assert_close(filters[12:], -filters[:12])
    patches = F.unfold(images, 2).transpose(1, 2).flatten(0, 1)
    raw = torch.linalg.eigvalsh(torch.cov(patches.T.double())).flip(0)
    found = torch.cov(F.conv2d(images, filters[:12]).transpose(0, 1).flatten(1).double())
    torch.testing.assert_close(found, torch.diag(raw / (raw + 5e-4)), atol=1e-4, rtol=1e-4)


def test_a_rule_and_its_twins_whiten_alike_and_train_no_whitening():
    data = load_data("fashion_mnist_subset", num_train=200, num_test=50)
    found = []
    for name in ("local-heads", "bp", "bp-deepsup"):
        network = create_network("speedrun", in_channels=1, image_size=28, width=0.1, seed=0)
        rule = create_rule(name, network, num_classes=10, seed=0)
        training = Training(rule, data, Recipe(epochs=1, batch_size=50), seed=4)
        [white] = [part for part in network.modules() if isinstance(part, Whitening)]
        begun = white.weight.clone()
        training.run_epoch()
        assert torch.equal(white.weight, begun)
        found.append(begun)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    first = training.batches.order(0)[:5000]
    images = data.train.gather(first)[0].float() / 255
    expected = whitening_filters((images - data.mean) / data.std, 2)
    torch.testing.assert_close(found[0], expected, atol=1e-4, rtol=1e-4)


def test_two_convolutions_a_block_are_the_same_network_in_half_as_many_blocks():
    one, two = speedrun(width=0.25), speedrun(width=0.25, per_block=2)
    assert two.activity_shapes == one.activity_shapes[1::2]
    flat = [part for block in one.blocks for part in block]
    shapes = [tuple(p.shape) for part in flat for p in part.parameters()]
    assert [tuple(p.shape) for p in two.parameters()] == shapes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"depth": 4}, "multiple of 3"),
        ({"per_block": 4}, "per_block must divide the 6 convolutions"),
        ({"image_size": 8}, "9 px or more"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        create_network("speedrun", **{"in_channels": 3, "image_size": 32, **options})
