"""CwComp: channels are dealt to classes in order, goodness is their mean square, and what cannot be dealt is refused with a way out."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layerlocal.networks import Network, create_network
from layerlocal.rules import create_rule
from layerlocal.rules.cwcomp import ChannelGroups, class_goodness
from layerlocal.types import InputError
from rules_by_hand import K, X, Y, assert_same, make, network, run, run_by_hand, trained

# --- goodness ---------------------------------------------------------------------------------------------------------


def test_goodness_is_the_mean_square_of_each_classs_consecutive_channels():
    """Not the square of the mean (2.25 for the first class), not every second channel (4.5)."""
    activity = torch.tensor([[[[1.0, 3.0]], [[0.0, 2.0]], [[2.0, 2.0]], [[1.0, 1.0]]]])  # (1, 4, 1, 2)
    assert class_goodness(activity, 2).tolist() == [[(1 + 9 + 0 + 4) / 4, (4 + 4 + 1 + 1) / 4]]
    assert class_goodness(activity, 2, "mean").tolist() == [[(1 + 3 + 0 + 2) / 4, (2 + 2 + 1 + 1) / 4]]
    vectors = torch.tensor([[1.0, 3.0, 2.0, 0.0, 5.0, 1.0]])
    assert class_goodness(vectors, 3).tolist() == [[5.0, 2.0, 13.0]]
    assert class_goodness(vectors, 2, "mean").tolist() == [[2.0, 2.0]]


@pytest.mark.parametrize("shape", [(12, 6, 5, 4), (12, 6)])
def test_the_readout_is_goodness_over_temperature_with_the_gradient_of_autograd(shape):
    """In training mode it takes another way, whose gradient is made by hand."""
    readout = ChannelGroups(K, statistic="mean-square", temperature=0.5)
    found, gradients = [], []
    for training in (True, False):
        activity = torch.randn(shape, generator=torch.Generator().manual_seed(0)).relu().requires_grad_()
        scores = readout.train(training)(activity)
        (scores * torch.arange(36).view(12, 3)).sum().backward()
        found.append(scores.detach())
        gradients.append(activity.grad)
    expected = activity.detach().reshape(12, K, -1).square().mean(2) / 0.5
    assert_same(found, [expected, expected])
    weight = torch.arange(36).view(12, 3, 1) * 2 / 0.5 / (activity[0].numel() / K)
    by_formula = (activity.detach().reshape(12, K, -1) * weight).view(shape)
    assert_same(gradients, [by_formula, by_formula])


# --- the loss and the walk --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("of", "temperature"), [("cnn4", 1.0), ("cnn4", 0.25), ("mlp", 1.0), ("resnet18", 1.0)])
def test_each_block_learns_by_the_cwc_loss_of_its_own_activity_alone(of, temperature):
    """−log(exp g_y / Σ_k exp g_k), a boundary between blocks, and the activity itself fed on."""

    def cwc(_, activity):
        goodness = activity.reshape(12, K, -1).square().mean(2) / temperature
        return -(goodness[torch.arange(12), Y].exp() / goodness.exp().sum(1)).log().mean()

    losses, gradients = run_by_hand(network(of), cwc, feed=lambda activity: activity)
    found, found_gradients = run(make("cwcomp", of, temperature=temperature))
    assert_same(found, losses)
    assert_same(found_gradients, gradients)


def test_label_smoothing_is_that_of_cross_entropy():
    found, _ = run(make("cwcomp", label_smoothing=0.3))
    expected, _ = run_by_hand(
        network(),
        lambda _, a: F.cross_entropy(a.reshape(12, K, -1).square().mean(2), Y, label_smoothing=0.3),
        feed=lambda activity: activity,
    )
    assert_same(found, expected)


def test_the_score_of_a_block_is_its_goodness_over_temperature():
    rule = trained(make("cwcomp", temperature=0.5))
    h = X
    with torch.no_grad():
        for index, block in enumerate(rule.network.blocks):
            h = block(h)
            assert_same(rule.block_scores(X)[index], h.reshape(12, K, -1).square().mean(2) / 0.5)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of", "width", "num_classes", "block", "factor"),
    [
        ("cnn4", 1.0, 10, "block0 has 32 channels", 30 / 32),
        ("cnn4", 1.0, 100, "block0 has 32 channels", 100 / 32),
        ("vgg8", 1.0, 10, "block0 has 128 channels", 130 / 128),
        ("vgg8", 0.5, 100, "block0 has 64 channels", 100 / 64),
        ("resnet18", 0.125, 10, "block0 has 8 channels", 10 / 8),
        ("mlp", 1.0, 10, "block0 has 256 units", 260 / 256),
        ("vgg8", 0.1, 10, "block0 has 13 channels", 10 / 12.8),
        ("resnet18", 0.35, 7, "block0 has 22 channels", 21 / 22.4),
    ],
)
def test_channels_that_do_not_divide_are_refused_with_the_nearest_width_that_works(
    of, width, num_classes, block, factor
):
    def rule(width):
        made = create_network(of, in_channels=3, image_size=8, width=width)
        return create_rule("cwcomp", made, num_classes=num_classes)

    with pytest.raises(InputError, match=f"^{block}, .* to {num_classes} classes") as refusal:
        rule(width)
    proposed = float(re.search(r"width to ([0-9.]+) ", str(refusal.value))[1])
    assert proposed == pytest.approx(width * factor, rel=1e-7) and "'asge'" in str(refusal.value)
    assert all(shape[0] % num_classes == 0 for shape in rule(proposed).network.activity_shapes)


def test_where_no_common_width_is_near_the_sentence_names_the_blocks_own_nearest():
    blocks = [nn.Linear(7, 64), nn.Linear(64, 70)]
    with pytest.raises(InputError, match=r"block0 .*64 units.* 100 classes; .*100"):
        create_rule("cwcomp", Network(blocks, sample_shape=(7,)), num_classes=100)


def test_a_later_block_that_does_not_divide_is_named():
    with pytest.raises(InputError, match=r"block1 .*8 units.* 3 classes; .*9"):
        create_rule("cwcomp", Network([nn.Linear(7, 6), nn.Linear(6, 8)], sample_shape=(7,)), num_classes=3)


def test_its_readouts_have_no_weights():
    assert not list(make("cwcomp").heads.parameters())
