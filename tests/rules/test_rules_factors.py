"""A readout in two factors: a pair's score is the sum of two scores, so its probability is a product and an unseen pair can be right."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from layerlocal.networks import create_network
from layerlocal.rules import create_rule
from layerlocal.rules.core.readout import SpatialReadout, parse_factors
from layerlocal.types import InputError


def make(name, *, num_classes=6, **options):
    network = create_network("mlp", in_channels=10, image_size=1, depth=2, hidden=8, seed=0)
    return create_rule(name, network, num_classes=num_classes, seed=0, **options)


# --- the readout ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7,), (5, 4, 4)], ids=str)
def test_log_softmax_of_pairs_is_the_sum_of_the_factors_log_softmaxes(shape):
    readout = SpatialReadout(shape, 12, factors="3x4").eval()
    activity = torch.randn(9, *shape)
    scores = readout(activity)
    assert scores.shape == (9, 12)
    plain = SpatialReadout(shape, 7).eval()  # the same seven numbers, by the same map
    plain.load_state_dict(readout.state_dict())
    first, second = (part.log_softmax(1) for part in plain(activity).split([3, 4], dim=1))
    found = scores.log_softmax(1)
    for a in range(3):
        for b in range(4):
            assert torch.allclose(found[:, 4 * a + b], first[:, a] + second[:, b], atol=1e-5)
    marginal = found.exp().view(9, 3, 4)
    assert torch.allclose(marginal.sum(2), first.exp(), atol=1e-5)
    assert torch.allclose(marginal.sum(1), second.exp(), atol=1e-5)


def test_cross_entropy_of_pairs_is_the_sum_of_the_factors_cross_entropies_and_so_are_its_gradients():
    readout = SpatialReadout((6,), 20, factors="4x5")
    activity, y = torch.randn(16, 6), torch.randint(0, 20, (16,))
    loss = F.cross_entropy(readout(activity), y)
    found = torch.autograd.grad(loss, [*readout.parameters()])
    first, second = readout.linear(readout.standardize(activity)).split([4, 5], dim=1)
    expected = F.cross_entropy(first, y // 5) + F.cross_entropy(second, y % 5)
    assert torch.allclose(loss, expected, atol=1e-5)
    for one, other in zip(found, torch.autograd.grad(expected, [*readout.parameters()]), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_the_linear_map_has_one_row_a_class_of_each_factor():
    assert SpatialReadout((6,), 20, factors="4x5").linear.weight.shape == (9, 6)
    assert SpatialReadout((6,), 20).linear.weight.shape == (20, 6)


def test_a_factored_readout_answers_a_pair_it_never_saw_and_a_plain_one_does_not():
    a, b = torch.arange(9).repeat(20) // 3, torch.arange(9).repeat(20) % 3
    x = torch.cat([F.one_hot(a, 3), F.one_hot(b, 3)], dim=1) + 0.1 * torch.randn(180, 6)
    y = 3 * a + b
    seen = y != 4
    right = {}
    for factors in ("3x3", None):
        readout = SpatialReadout((6,), 9, factors=factors)
        for _ in range(200):
            loss = F.cross_entropy(readout(x[seen]), y[seen])
            for parameter, gradient in zip(
                readout.parameters(), torch.autograd.grad(loss, [*readout.parameters()]), strict=True
            ):
                parameter.data -= 0.5 * gradient
        correct = (readout.eval()(x).argmax(1) == y).double()
        right[factors] = (correct[seen].mean().item(), correct[~seen].mean().item())
    assert right["3x3"] == (1.0, 1.0)
    assert right[None] == (1.0, 0.0)


# --- the option -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "found"), [("2x5", [2, 5]), ("5x2", [5, 2]), ("10x1", [10, 1]), (None, None)])
def test_factors_are_read_from_text(text, found):
    assert parse_factors(text, 10) == found


@pytest.mark.parametrize("text", ["3x3", "10", "x10", "2x5x1", "2.0x5", "-2x-5", "²x5", "2X5", "", "axb"])
def test_other_factors_are_one_clear_sentence(text):
    with pytest.raises(InputError, match=r"factors .*'AxB' .*10 classes") as caught:
        make("class-goodness", num_classes=10, factors=text)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:the heads of .* cost more:UserWarning")
@pytest.mark.parametrize("name", ["committee", "class-goodness", "local-heads", "panel"])
@pytest.mark.parametrize("twin", [None, "bp", "bp-deepsup", "segmented"])
def test_rules_and_their_twins_score_pairs_by_factors_at_every_readout(name, twin):
    options = {"factors": "2x3"} | ({"segment_size": 1} if twin == "segmented" else {})
    rule = make(twin or name, **options, **({"of": name} if twin else {}))
    x, y = torch.randn(12, 10), torch.arange(12) % 6
    for loss in rule.losses(x, y):
        assert loss.value.isfinite()
        loss.value.backward()
    linears = [head.linear for head in rule.heads.values()]
    assert {getattr(linear, "linear", linear).out_features for linear in linears} == {
        5
    }  # of a committee the linear member
    scores = rule.eval().block_scores(x)
    assert scores.shape == (len(rule.readout_blocks), 12, 6)
    pairs = scores.view(-1, 12, 2, 3)  # a sum of two scores has no interaction, whatever the temperature
    interaction = pairs - pairs.mean(2, keepdim=True) - pairs.mean(3, keepdim=True) + pairs.mean((2, 3), keepdim=True)
    assert interaction.abs().max() < 1e-5 and pairs.std() > 1e-2
    fused = rule.fuse(scores).log_softmax(-1).view(12, 2, 3).exp()
    product = fused.sum(2, keepdim=True) * fused.sum(1, keepdim=True)  # so are fused log-probabilities
    assert torch.allclose(fused, product, atol=1e-5)
