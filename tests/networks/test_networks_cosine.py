"""Fixed filters of the cosine transform: what they are by closed forms, that they lose nothing, and that nothing trains them."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from layerlocal import Recipe, fit, load_data
from layerlocal.networks import create_network
from layerlocal.networks.cosine import cosine_filters
from layerlocal.types import InputError
from rules_by_hand import ANY_NETWORK


def first_conv(network):
    return next(part for part in network.modules() if isinstance(part, torch.nn.Conv2d))


def built(name="vgg8", **options):
    return create_network(name, **{"in_channels": 3, "image_size": 16, "width": 0.125, "seed": 3, **options})


def test_the_first_filters_are_the_mean_and_the_two_slopes_of_luminance_with_both_signs():
    found = cosine_filters(6, 3, 3)
    slope = torch.tensor([1.0, 0.0, -1.0]) / math.sqrt(18)
    expected = [torch.full((3, 3, 3), 1 / math.sqrt(27)), slope.expand(3, 3, 3), slope[:, None].expand(3, 3, 3)]
    torch.testing.assert_close(found[::2], torch.stack(expected))
    assert torch.equal(found[1::2], -found[::2])


@pytest.mark.parametrize(("channels", "kernel"), [(1, 3), (3, 3), (3, 7), (4, 1)])
def test_filters_are_the_modes_of_a_chain_without_ends_and_a_basis_of_patches(channels, kernel):
    """Rows of the DCT-II are the eigenvectors of the second difference with free ends, eigenvalues 2 − 2 cos(πk/n)."""
    found = cosine_filters(10_000, channels, kernel)
    size = channels * kernel**2
    basis = found[::2].flatten(1)
    assert len(found) == 2 * size
    torch.testing.assert_close(basis @ basis.T, torch.eye(size), atol=1e-5, rtol=0)
    chain = 2 * torch.eye(kernel) - torch.eye(kernel).roll(1, 0).tril(0) - torch.eye(kernel).roll(-1, 0).triu(0)
    chain[0, 0] = chain[-1, -1] = 1.0 if kernel > 1 else 0.0
    if kernel > 1:
        maps = found[::2]
        for moved in (maps @ chain, (maps.mT @ chain).mT):
            value = (moved * maps).sum((1, 2, 3), keepdim=True)
            torch.testing.assert_close(moved, value * maps, atol=1e-5, rtol=0)
            waves = 2 - 2 * torch.cos(torch.pi * torch.arange(kernel) / kernel)
            assert (value.flatten()[:, None] - waves).abs().min(1).values.max() < 1e-5


@pytest.mark.parametrize("count", [2, 4, 8, 10, 16])
def test_a_few_filters_keep_nearly_as_much_of_real_images_as_the_best_few(count):
    images = load_data("fashion_mnist_subset", num_train=300, num_test=10).train.images.float()
    variance = F.conv2d(images, cosine_filters(18, 1, 3)[::2]).var((0, 2, 3))
    best = variance.sort(descending=True).values
    assert variance[: count // 2].sum() > 0.97 * best[: count // 2].sum()


def test_nothing_of_an_image_is_lost_where_there_are_channels_for_all_of_it():
    network = built(width=54 / 128, norm=False, first="cosine")
    conv = first_conv(network)
    with torch.no_grad():
        conv.bias.zero_()
        x = torch.randn(2, 3, 16, 16)
        activity = network.blocks[0](x)
        coefficients = activity[:, ::2] - activity[:, 1::2]
        scale = conv.weight[0].norm()
        back = F.conv2d(coefficients / scale, cosine_filters(54, 3, 3)[::2, :, 1, 1].T[:, :, None, None])
    torch.testing.assert_close(back, x, atol=1e-5, rtol=0)


def test_filters_have_the_mean_norm_of_the_drawn_ones_and_all_else_is_drawn_as_before():
    usual, fixed = built(width=1.0), built(width=1.0, first="cosine")
    drawn, found = first_conv(usual).weight, first_conv(fixed).weight
    torch.testing.assert_close(found[:54].flatten(1).norm(dim=1), drawn.flatten(1).norm(dim=1).mean().expand(54))
    assert torch.equal(found[54:], drawn[54:])
    others = [key for key in usual.state_dict() if key != "blocks.0.0.weight"]
    assert all(torch.equal(usual.state_dict()[key], fixed.state_dict()[key]) for key in others)
    assert usual.block_names == fixed.block_names and not found.requires_grad and drawn.requires_grad


@pytest.mark.parametrize("rule", ["committee", "class-goodness", "bp", "bp-deepsup"])
def test_nothing_trains_them_and_what_follows_learns(rule):
    data = load_data("fashion_mnist_subset", num_train=80, num_test=20)
    fitted = fit(rule, data, Recipe(epochs=1), network="vgg8", width=0.0625, network_options={"first": "cosine"})
    network = fitted.rule.network
    conv, norm = network.blocks[0][0], network.blocks[0][1]
    directions = conv.weight.flatten(1) / conv.weight.flatten(1).norm(dim=1, keepdim=True)
    torch.testing.assert_close(directions, cosine_filters(8, 1, 3).flatten(1), atol=1e-6, rtol=0)
    assert norm.bias.abs().max() > 0


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("rule", ANY_NETWORK)
def test_every_rule_takes_a_step_with_them(rule, norm):
    data = load_data("fashion_mnist_subset", num_train=64, num_test=10)
    options = {"first": "cosine", "norm": norm}
    fitted = fit(rule, data, Recipe(epochs=1, batch_size=32), network="cnn4", width=0.625, network_options=options)
    assert all(p.isfinite().all() for p in fitted.rule.parameters())


@pytest.mark.parametrize(("stem", "kernel"), [("cifar", 3), ("imagenet", 7)])
def test_a_residual_network_has_them_in_its_stem(stem, kernel):
    network = built("resnet18", image_size=32, stem=stem, first="cosine")
    conv = first_conv(network)
    directions = conv.weight / conv.weight.flatten(1).norm(dim=1)[:, None, None, None]
    torch.testing.assert_close(directions, cosine_filters(8, 3, kernel))
    assert [name for name, p in network.named_parameters() if not p.requires_grad] == ["blocks.0.0.weight"]


def test_another_word_and_a_network_without_convolutions_are_refused_in_a_sentence():
    with pytest.raises(InputError, match=r"first .*got 'gabor'"):
        built(first="gabor")
    with pytest.raises(InputError, match="unknown option of network 'mlp': 'first'"):
        built("mlp", first="cosine")
