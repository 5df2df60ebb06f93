"""SymBa: one symmetric loss on the goodness gap, no threshold; everything else is Forward-Forward's."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from layerlocal.networks import create_network
from layerlocal.rules import create_rule
from layerlocal.rules.symba import symba_loss
from rules_by_hand import goodness_by_hand, unit_rms

K = 4
X = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))
Y = torch.arange(8) % K


def make(norm=True, depth=4, **options):
    network = create_network("cnn4", in_channels=3, image_size=8, width=0.25, depth=depth, norm=norm, seed=0)
    return create_rule("symba", network, num_classes=K, seed=0, **options)


# --- the loss ---------------------------------------------------------------------------------------------------------


def test_loss_is_the_mean_of_log_one_plus_exp_of_minus_alpha_times_the_gap():
    positive, negative = [1.0, 0.2, 3.0], [0.5, 0.9, 3.0]
    for alpha in (0.5, 4.0):
        gaps = [p - n for p, n in zip(positive, negative, strict=True)]
        expected = sum(math.log(1 + math.exp(-alpha * gap)) for gap in gaps) / 3
        found = symba_loss(torch.tensor(positive), torch.tensor(negative), alpha)
        assert found.item() == pytest.approx(expected, rel=1e-6)


def test_positive_and_negative_goodness_are_pulled_apart_with_the_same_force_and_there_is_no_threshold():
    alpha = 3.0
    positive = torch.tensor([1.0, 0.2, 3.0, 0.1], requires_grad=True)
    negative = torch.tensor([0.5, 0.9, 3.0, 2.0], requires_grad=True)
    loss = symba_loss(positive, negative, alpha)
    loss.backward()
    force = [
        alpha / (1 + math.exp(alpha * (p - n))) / 4 for p, n in zip(positive.tolist(), negative.tolist(), strict=True)
    ]
    torch.testing.assert_close(positive.grad, -torch.tensor(force))
    assert torch.equal(positive.grad, -negative.grad)
    raised = symba_loss(positive + 100, negative + 100, alpha)
    assert raised.item() == pytest.approx(loss.item(), rel=1e-4)


def test_loss_is_finite_however_large_the_gap():
    found = symba_loss(torch.tensor([0.0, 1e6]), torch.tensor([1e6, 0.0]), 4.0)
    assert found.item() == pytest.approx(4e6 / 2)


@pytest.mark.parametrize(("kind", "alpha"), [("mean", 4.0), ("sum", 0.1)])
def test_every_block_is_asked_for_more_goodness_under_the_true_label_than_under_the_wrong_one(kind, alpha):
    rule = make(goodness=kind, alpha=alpha)
    torch.manual_seed(7)
    found = list(rule.losses(X, Y))
    torch.manual_seed(7)
    h, _ = rule.inputs(X, Y)
    assert [loss.block for loss in found] == ["block0", "block1", "block2", "block3"]
    with torch.no_grad():
        for index, (_, value, metrics) in enumerate(found):
            activity = rule.network.blocks[index](h)
            positive, negative = goodness_by_hand(activity, kind).split(8)
            expected = torch.log1p(torch.exp(-alpha * (positive - negative))).mean()
            torch.testing.assert_close(value.detach(), expected, rtol=1e-4, atol=1e-5)
            assert metrics[f"goodness_pos/block{index}"].item() == pytest.approx(positive.mean().item(), rel=1e-4)
            assert metrics[f"goodness_neg/block{index}"].item() == pytest.approx(negative.mean().item(), rel=1e-4)
            h = unit_rms(activity)


def test_a_whole_step_moves_the_weights_as_plain_autograd_on_the_hand_written_loss_does():
    rule = make(norm=False, depth=2)
    torch.manual_seed(7)
    for loss in rule.losses(X, Y):
        loss.value.backward()
    torch.manual_seed(7)
    h, _ = rule.inputs(X, Y)
    for block in rule.network.blocks:
        activity = block(h)
        positive, negative = goodness_by_hand(activity, "mean").split(8)
        gradients = torch.autograd.grad(F.softplus(-4 * (positive - negative)).mean(), list(block.parameters()))
        for parameter, gradient in zip(block.parameters(), gradients, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-7)
            assert gradient.any()
        h = unit_rms(activity.detach())


# --- the class pattern ------------------------------------------------------------------------------------------------


def test_the_class_pattern_is_a_sign_at_every_input_and_unlike_for_every_class():
    patterns = make().patterns
    assert patterns.shape == (K, 3, 8, 8) and set(patterns.unique().tolist()) == {-1.0, 1.0}
    signs = patterns.flatten(1)
    agreement = (signs @ signs.T / signs.shape[1]).fill_diagonal_(0)
    assert agreement.abs().max() < 0.4, "192 fair signs: a standard deviation of 0.07"
    assert not torch.equal(patterns[:, 0], patterns[:, 1]), "channels have signs of their own"
    assert torch.equal(patterns, make().patterns)


def test_positive_data_carry_the_true_pattern_and_negative_data_a_wrong_one():
    rule = make(label_scale=0.5)
    for _ in range(20):
        parts, _ = rule.inputs(X, Y)
        positive, negative = (part - X for part in parts.split(8))
        distance = (negative[:, None] - 0.5 * rule.patterns[None]).flatten(2).norm(dim=2)  # (B, K)
        torch.testing.assert_close(positive, 0.5 * rule.patterns[Y], rtol=0, atol=1e-5)
        assert distance.amin(1).max() < 1e-4 and (distance.argmin(1) != Y).all()


# --- prediction -------------------------------------------------------------------------------------------------------


def test_prediction_is_the_goodness_of_each_label_summed_over_all_blocks_but_the_first():
    rule = make(depth=3).eval()
    scores = rule.block_scores(X)
    with torch.no_grad():
        for label in range(K):
            h = X + rule.patterns[label]
            for index, block in enumerate(rule.network.blocks):
                activity = block(h)
                expected = goodness_by_hand(activity, "mean")
                torch.testing.assert_close(scores[index, :, label], expected, rtol=1e-4, atol=1e-5)
                h = unit_rms(activity)
    torch.testing.assert_close(rule.scores(X), scores[1] + scores[2])


def test_the_one_pass_readout_is_trained_beside_the_blocks_and_changes_none():
    gradients = []
    for prediction in ("labels", "softmax"):
        rule = make(norm=False, prediction=prediction)
        torch.manual_seed(3)
        for loss in rule.losses(X, Y):
            loss.value.backward()
        gradients.append([p.grad for p in rule.network.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-7)
    assert all(p.grad is not None and p.grad.any() for p in rule.heads.parameters())


def test_the_one_pass_readout_adds_its_cross_entropy_on_the_neutral_label():
    rule = make(norm=False, prediction="softmax", depth=1)
    torch.manual_seed(3)
    [loss] = rule.losses(X, Y)
    with torch.no_grad():
        torch.manual_seed(3)
        parts, _ = rule.inputs(X, Y)
        activity = rule.network.blocks[0](parts)
        positive, negative, _ = goodness_by_hand(activity, "mean").split(8)
        answer = rule.heads["block0"](unit_rms(rule.network.blocks[0](X + rule.patterns.mean(0))))
        expected = F.softplus(-4 * (positive - negative)).mean() + F.cross_entropy(answer, Y)
    assert loss.value.item() == pytest.approx(expected.item(), rel=1e-4)
