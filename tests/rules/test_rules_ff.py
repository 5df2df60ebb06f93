"""Forward-Forward: what it writes into its input, what it asks of each block, and how it predicts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from layerlocal.networks import create_network
from layerlocal.rules import create_rule
from layerlocal.rules.ff import label_patterns
from layerlocal.types import InputError
from rules_by_hand import goodness_by_hand, unit_rms

K = 4
X = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))
Y = torch.arange(8) % K


def make(depth=3, norm=True, **options):
    network = create_network("cnn4", in_channels=3, image_size=8, width=0.25, depth=depth, norm=norm, seed=0)
    return create_rule("ff", network, num_classes=K, seed=0, **options)


# --- the label in the input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 28, 28)])
def test_patterns_differ_by_class_have_the_height_of_normalized_inputs_and_are_the_same_in_every_channel(shape):
    patterns = label_patterns(10, shape)
    assert patterns.shape == (10, *shape) and torch.equal(patterns, label_patterns(10, shape))
    assert torch.equal(patterns, patterns[:, :1].expand_as(patterns))
    rms = patterns.square().flatten(1).mean(1).sqrt()
    assert (rms > 0.8).all() and (rms < 1.2).all()
    assert torch.pdist(patterns.flatten(1)).min() > 0.5 * patterns[0].numel() ** 0.5
    signs = label_patterns(10, (64,))
    assert set(signs.unique().tolist()) == {-1.0, 1.0} and torch.pdist(signs).min() > 4


def test_positive_data_carry_the_true_label_and_negative_data_a_wrong_one():
    rule = make(label_scale=0.5)
    for _ in range(20):
        parts, _ = rule.inputs(X, Y)
        positive, negative = (part - X for part in parts.split(8))
        distance = (negative[:, None] - 0.5 * rule.patterns[None]).flatten(2).norm(dim=2)  # (B, K)
        torch.testing.assert_close(positive, 0.5 * rule.patterns[Y], rtol=0, atol=1e-5)
        assert distance.amin(1).max() < 1e-4, "a negative carries the pattern of one class"
        assert (distance.argmin(1) != Y).all()


def test_one_hot_replaces_the_first_inputs_and_the_neutral_label_is_the_mean_of_all():
    rule = make(label="one-hot", label_scale=2.0)
    flat = rule.write_label(X, Y).flatten(1)
    assert torch.equal(flat[:, :K], 2.0 * F.one_hot(Y, K).float()) and torch.equal(flat[:, K:], X.flatten(1)[:, K:])
    neutral = rule.write_label(X, None).flatten(1)
    assert torch.equal(neutral[:, :K], torch.full((8, K), 2.0 / K))
    pattern = make()
    torch.testing.assert_close(
        pattern.write_label(X, None) - X, pattern.patterns.mean(0).expand_as(X), rtol=0, atol=1e-6
    )


# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "theta"), [("sum", None), ("mean", None), ("sum", 3.0), ("mean", 0.25)])
def test_every_block_is_asked_for_goodness_above_theta_on_positive_and_below_on_negative_data(kind, theta):
    rule = make(goodness=kind, theta=theta)
    torch.manual_seed(7)
    found = list(rule.losses(X, Y))
    torch.manual_seed(7)
    h, _ = rule.inputs(X, Y)
    with torch.no_grad():
        for index, (name, value, metrics) in enumerate(found):
            activity = rule.network.blocks[index](h)
            threshold = theta if theta is not None else {"sum": activity.shape[1], "mean": 1.0}[kind]
            positive, negative = goodness_by_hand(activity, kind).split(8)
            expected = (
                torch.log1p(torch.exp(threshold - positive)).mean()
                + torch.log1p(torch.exp(negative - threshold)).mean()
            )
            torch.testing.assert_close(value.detach(), expected, rtol=1e-4, atol=1e-5)
            assert name == f"block{index}"
            assert metrics[f"goodness_pos/block{index}"].item() == pytest.approx(positive.mean().item(), rel=1e-4)
            assert metrics[f"goodness_neg/block{index}"].item() == pytest.approx(negative.mean().item(), rel=1e-4)
            h = unit_rms(activity)


def test_the_one_pass_readout_is_trained_beside_the_blocks_and_changes_none():
    gradients = []
    for prediction in ("labels", "softmax"):
        rule = make(
            norm=False, prediction=prediction
        )  # with batch norm the third pass would move the batch's statistics
        torch.manual_seed(3)
        for loss in rule.losses(X, Y):
            loss.value.backward()
        gradients.append([p.grad for p in rule.network.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-7)
    assert all(p.grad is not None and p.grad.any() for p in rule.heads.parameters())


# --- prediction -------------------------------------------------------------------------------------------------------


def test_prediction_by_labels_is_the_goodness_of_each_label_summed_over_all_blocks_but_the_first():
    rule = make().eval()
    scores = rule.block_scores(X)
    assert scores.shape == (3, 8, K)
    with torch.no_grad():
        for label in range(K):
            h = X + rule.patterns[label]
            for index, block in enumerate(rule.network.blocks):
                activity = block(h)
                torch.testing.assert_close(
                    scores[index, :, label], goodness_by_hand(activity, "sum"), rtol=1e-4, atol=1e-4
                )
                h = unit_rms(activity)
    torch.testing.assert_close(rule.scores(X), scores[1] + scores[2])


def test_a_single_block_answers_for_itself():
    rule = make(depth=1).eval()
    torch.testing.assert_close(rule.scores(X), rule.block_scores(X)[0])


def test_a_twin_without_a_readout_at_the_first_block_leaves_no_readout_out():
    """Only the first block's goodness sees the label directly; the readouts of segments end later."""
    network = create_network("cnn4", in_channels=3, image_size=8, width=0.25, seed=0)
    rule = create_rule("segmented", network, num_classes=K, seed=0, segment_size=2, of="ff").eval()
    scores = rule.block_scores(X)
    assert rule.readout_blocks == ["block1", "block3"]
    torch.testing.assert_close(rule.scores(X), scores[0] + scores[1])


def test_prediction_by_softmax_reads_the_normalized_activity_of_the_neutral_label():
    rule = make(prediction="softmax").eval()
    with torch.no_grad():
        scores = rule.block_scores(X)
        h = X + rule.patterns.mean(0)
        for index, block in enumerate(rule.network.blocks):
            h = unit_rms(block(h))
            rms = h.square().mean((2, 3)).sqrt()  # one cell
            head = rule.heads[f"block{index}"]
            standardized = rms / (1 + 1e-5) ** 0.5  # a fresh batch norm: mean 0, variance 1
            expected = standardized @ head.linear.weight.T + head.linear.bias
            torch.testing.assert_close(scores[index], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rule.scores(X), scores.log_softmax(-1).mean(0))


@pytest.mark.parametrize(("prediction", "step", "answer"), [("labels", 2, K), ("softmax", 3, 1)])
def test_passes_are_those_of_positive_negative_and_neutral_data(prediction, step, answer):
    rule = make(prediction=prediction)
    assert (rule.passes_per_step, rule.passes_per_prediction) == (step, answer)


def test_a_one_hot_label_that_does_not_fit_is_refused_with_the_way_out():
    network = create_network("mlp", in_channels=3, image_size=1, depth=1)
    with pytest.raises(InputError, match="pattern"):
        create_rule("ff", network, num_classes=4, label="one-hot")
