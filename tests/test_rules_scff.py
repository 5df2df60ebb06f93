"""SCFF: pairs of samples instead of labels, Forward-Forward's loss on them, and a readout that changes no block."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from layerlocal.check import _toy_data, check_rule
from layerlocal.networks import create_network
from layerlocal.rules import create_rule
from layerlocal.rules.scff import pair_sums
from layerlocal.spec import Recipe
from layerlocal.train import fit
from layerlocal.types import InputError

K = 4
X = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))
Y = torch.arange(8) % K


def make(name="cnn4", width=0.25, rule="scff", fused=False, depth=None, **options):
    shape = {} if depth is None else {"depth": depth}
    network = create_network(
        name, in_channels=3, image_size=8, width=width, seed=0, fused=fused, channels_last=fused, **shape
    )
    return create_rule(rule, network, num_classes=K, seed=0, **options)


def goodness_by_hand(activity, kind):
    per_position = (activity**2).sum(1) if kind == "sum" else (activity**2).mean(1)
    return per_position.mean((1, 2))


def unit_rms(activity):
    return activity / activity.square().mean((1, 2, 3), keepdim=True).sqrt()


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


# --- the contract, networks, recipes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp", "cnn4"])
def test_it_keeps_the_contract_of_rules(name, monkeypatch):
    def network(_, depth=4, seed=0):
        return create_network(name, in_channels=3, image_size=8, width=1 / 8, depth=depth, seed=seed)

    monkeypatch.setattr("layerlocal.check._Bench.network", network)
    assert not [result for result in check_rule("scff") if not result.passed]


@pytest.mark.parametrize("name", ["mlp", "cnn4", "vgg8", "resnet18"])
def test_fused_blocks_train_to_the_same_losses_and_the_plain_module_gives_the_same_scores(name):
    found = []
    for fused in (False, True):
        rule = make(name, width=0.125, fused=fused)
        torch.manual_seed(5)
        found.append([loss.value.item() for loss in rule.losses(X, Y)])
        rule.eval()
        with torch.no_grad():
            torch.testing.assert_close(rule.to_module()(X), rule.scores(X), rtol=1e-4, atol=1e-4)
    assert found[0] == pytest.approx(found[1], rel=1e-4) and all(map(math.isfinite, found[0]))


def test_micro_batches_are_refused_with_the_reason():
    network = create_network("cnn4", in_channels=3, image_size=8, width=0.125, seed=0)
    rule = create_rule("scff", network, num_classes=3)
    with pytest.raises(
        InputError, match=r"its negatives are pairs of samples of the same batch; set recipe\.micro_batches"
    ):
        fit(rule, _toy_data(), Recipe(epochs=1, batch_size=32, micro_batches=2))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"goodness": "max"}, "goodness must be 'mean' or 'sum', got 'max'"),
        ({"theta": 0.0}, "theta must be positive and finite, got 0.0; leave it out"),
        ({"theta": -1.0}, "theta must be positive"),
        ({"theta": float("nan")}, "theta must be positive"),
        ({"theta": float("inf")}, "finite, got inf"),
        ({"readout": "max"}, "readout must be"),
        ({"grid": 0}, "grid must be at least 1"),
        ({"fusion": "loudest"}, "fusion must be"),
        ({"label": "pattern"}, "unknown option of rule 'scff': 'label'"),
    ],
)
def test_values_out_of_range_are_refused_in_a_sentence(options, words):
    with pytest.raises(InputError, match=words):
        make(**options)
