"""SCFF: pairs of samples instead of labels, Forward-Forward's loss on them, and a readout that changes no block."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from layerlocal.networks import create_network
from layerlocal.rules import create_rule
from layerlocal.rules.scff import pair_sums
from layerlocal.types import InputError
from rules_by_hand import goodness_by_hand, unit_rms

K = 4
X = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))
Y = torch.arange(8) % K


def make(rule="scff", **options):
    network = create_network("cnn4", in_channels=3, image_size=8, width=0.25, seed=0)
    return create_rule(rule, network, num_classes=K, seed=0, **options)


def gradients(rule, y, seed=3):
    torch.manual_seed(seed)
    for loss in rule.losses(X, y):
        loss.value.backward()
    return [p.grad for p in rule.network.parameters()], [p.grad for p in rule.heads.parameters()]


# --- pairs ------------------------------------------------------------------------------------------------------------


def test_a_positive_is_a_sample_with_itself_and_a_negative_is_it_with_another_one_of_the_batch():
    """One-hot samples, so that a sum tells which two it was made of."""
    samples = torch.eye(5)
    partners = torch.zeros(5, 5)
    for _ in range(400):
        positive, negative = pair_sums(samples)
        assert torch.equal(positive, 2 * samples)
        rest = negative - samples
        assert torch.equal(rest.sum(1), torch.ones(5)) and set(rest.unique().tolist()) == {0.0, 1.0}
        partners += rest
    assert (partners.diagonal() == 0).all(), "never itself"
    others = partners[~torch.eye(5, dtype=torch.bool)] / 400
    assert others.min() > 0.17 and others.max() < 0.33, (
        "each of the 4 others a quarter of the time: a deviation of 0.02"
    )


def test_a_batch_of_one_is_refused_with_the_way_out():
    with pytest.raises(InputError, match="this one has 1; raise batch_size"):
        list(make().losses(X[:1], Y[:1]))


# --- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "theta"), [("mean", None), ("sum", None), ("mean", 0.25), ("sum", 3.0)])
def test_every_block_is_asked_for_goodness_above_theta_on_equal_and_below_on_unequal_pairs(kind, theta):
    rule = make(goodness=kind, theta=theta)
    torch.manual_seed(7)
    found = list(rule.losses(X, Y))
    torch.manual_seed(7)
    h, _ = rule.inputs(X, Y)
    torch.testing.assert_close(h[:8], 2 * X)
    assert [loss.block for loss in found] == ["block0", "block1", "block2", "block3"]
    fresh = make(goodness=kind, theta=theta).heads
    with torch.no_grad():
        for index, (name, value, metrics) in enumerate(found):
            activity = rule.network.blocks[index](h)
            threshold = theta if theta is not None else {"sum": activity.shape[1], "mean": 1.0}[kind]
            positive, negative = goodness_by_hand(activity, kind).split(8)
            expected = (
                torch.log1p(torch.exp(threshold - positive)).mean()
                + torch.log1p(torch.exp(negative - threshold)).mean()
                + F.cross_entropy(fresh[name](activity[:8]), Y)
            )
            torch.testing.assert_close(value.detach(), expected, rtol=1e-4, atol=1e-5)
            assert metrics[f"goodness_pos/block{index}"].item() == pytest.approx(positive.mean().item(), rel=1e-4)
            assert metrics[f"goodness_neg/block{index}"].item() == pytest.approx(negative.mean().item(), rel=1e-4)
            h = unit_rms(activity)


@pytest.mark.parametrize(("rule", "options"), [("scff", {}), ("bp", {"of": "scff"}), ("bp-deepsup", {"of": "scff"})])
def test_labels_change_no_block_only_readouts(rule, options):
    """Not even where the loss goes back through the whole network."""
    (blocks, heads), (other_blocks, other_heads) = (gradients(make(rule=rule, **options), y) for y in (Y, (Y + 1) % K))
    assert all(torch.equal(a, b) for a, b in zip(blocks, other_blocks, strict=True))
    assert all(gradient.any() for gradient in blocks)
    assert heads and all(not torch.equal(a, b) for a, b in zip(heads, other_heads, strict=True))


def test_it_says_that_blocks_learn_without_labels_from_negatives_of_the_same_batch():
    rule = make()
    assert rule.info.unsupervised and rule.info.negatives and rule.compares_samples
    assert not rule.locks["labels_everywhere"]


# --- prediction -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("readout", "grid"), [("rms", 1), ("mean", 1), ("rms", 2)])
def test_prediction_reads_the_activity_of_a_sample_with_itself_at_every_block(readout, grid):
    rule = make(readout=readout, grid=grid).eval()
    with torch.no_grad():
        scores = rule.block_scores(X)
        h = 2 * X
        for index, block in enumerate(rule.network.blocks):
            activity = block(h)
            cells = F.adaptive_avg_pool2d(
                activity.square() if readout == "rms" else activity, min(grid, activity.shape[2])
            )
            cells = cells.sqrt() if readout == "rms" else cells
            numbers = cells.permute(0, 2, 3, 1).flatten(1) / (1 + 1e-5) ** 0.5  # a fresh batch norm: mean 0, variance 1
            head = rule.heads[f"block{index}"].linear
            expected = numbers @ head.weight.T + head.bias
            torch.testing.assert_close(scores[index], expected, rtol=1e-4, atol=1e-5)
            h = unit_rms(activity)
    torch.testing.assert_close(rule.scores(X), scores.log_softmax(-1).mean(0))
