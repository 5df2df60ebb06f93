"""ASGE: goodness in patches, finer where blocks are narrow, through a projection that stays as it was drawn."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from layerlocal.networks import create_network
from layerlocal.rules import create_rule
from layerlocal.rules.asge import ASGE, patches_per_side
from layerlocal.types import InputError
from test_rules_cwcomp import (
    NETWORKS,
    K,
    X,
    Y,
    assert_fused_is_the_same,
    assert_module_gives_the_scores,
    assert_same,
    broken_clauses,
    by_hand,
    make,
    network,
    run,
    trained,
)  # fmt: skip


def unit_rms(activity):
    dims = tuple(range(1, activity.dim()))
    return activity / activity.square().mean(dims, keepdim=True).sqrt()


def patch_goodness(activity, patches):
    """Root mean square of each channel in each patch, patches row by row with their channels together, standardized over the batch."""
    batch, channels, height, width = activity.shape
    cells = activity.reshape(batch, channels, patches, height // patches, patches, width // patches)
    rms = cells.square().mean((3, 5)).sqrt()  # (B, C, P, P)
    flat = rms.permute(0, 2, 3, 1).reshape(batch, -1)
    return (flat - flat.mean(0)) / (flat.var(0, correction=0) + 1e-5).sqrt()


# --- patches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "last_channels", "side", "alpha", "expected"),
    [
        (64, 512, 32, 1.0, 8),
        (128, 512, 16, 1.0, 4),
        (512, 512, 4, 1.0, 1),
        (512, 512, 4, 2.0, 2),
        (64, 512, 32, 0.5, 4),
        (64, 512, 6, 1.0, 6),
        (64, 512, 32, 0.0, 1),
        (512, 64, 8, 1.0, 1),
    ],
)
def test_patches_a_side_grow_as_channels_fall_up_to_one_a_position(channels, last_channels, side, alpha, expected):
    assert patches_per_side(channels, last_channels, side, alpha) == expected


def test_each_block_has_its_own_number_of_patches_and_a_projection_of_all_of_them():
    rule = make("asge")  # channels 9, 18, 36, 36; maps of side 8, 4, 2, 2
    assert [rule.heads[f"block{i}"].grid for i in range(4)] == [4, 2, 1, 1]
    assert [rule.heads[f"block{i}"].linear.weight.shape for i in range(4)] == [(K, n) for n in (144, 72, 36, 36)]
    assert [head.grid for head in make("asge", alpha=4.0).heads.values()] == [8, 4, 2, 2]
    assert [head.grid for head in make("asge", alpha=0.0).heads.values()] == [1] * 4
    assert [head.linear.in_features for head in make("asge", of="mlp").heads.values()] == [24] * 4


def test_a_hundred_classes_ask_for_no_number_of_channels():
    narrow = create_network("cnn4", in_channels=3, image_size=8, width=1 / 8)
    rule = create_rule("asge", narrow, num_classes=100).eval()
    assert rule.scores(torch.randn(2, 3, 8, 8)).shape == (2, 100)


# --- the loss and what is fed on --------------------------------------------------------------------------------------


@pytest.mark.parametrize("decoupled", [True, False])
def test_each_block_learns_by_cross_entropy_of_its_projected_goodness_alone(decoupled):
    rule = make("asge", decoupled_norm=decoupled)
    projections = {name: (head.linear.weight.clone(), head.linear.bias.clone()) for name, head in rule.heads.items()}

    def loss_of(index, activity):
        weight, bias = projections[f"block{index}"]
        return F.cross_entropy(patch_goodness(activity, [4, 2, 1, 1][index]) @ weight.T + bias, Y)

    losses, gradients = by_hand(make(), loss_of, feed=unit_rms if decoupled else lambda activity: activity)
    found, found_gradients = run(rule)
    torch.testing.assert_close(found, losses, rtol=1e-4, atol=1e-5)
    assert found_gradients.keys() == gradients.keys(), "the blocks', and no projection's"
    for name, gradient in gradients.items():
        torch.testing.assert_close(found_gradients[name], gradient, rtol=5e-3, atol=2e-4)


@pytest.mark.parametrize(("projection", "moves"), [("fixed", False), ("learned", True)])
def test_a_fixed_projection_stays_as_it_was_drawn_while_its_block_learns(projection, moves):
    before = make("asge", projection=projection)
    after = trained(make("asge", projection=projection))
    for index in range(4):
        for part in ("weight", "bias"):
            found, drawn = (getattr(rule.heads[f"block{index}"].linear, part) for rule in (after, before))
            assert torch.equal(found, drawn) != moves
        weights = [rule.network.blocks[index][0].weight for rule in (after, before)]
        assert not torch.equal(*weights)


def test_the_default_projection_is_fixed_as_in_the_paper_and_drawn_block_by_block_from_the_seed():
    first, again = make("asge"), make("asge")
    other = create_rule("asge", network(), num_classes=K, seed=1)
    drawn = [rule.heads["block1"].linear.weight for rule in (first, again, other)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert not any(parameter.requires_grad for parameter in first.heads.parameters())


# --- prediction -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fusion", "weights"), [("uniform", [0.25] * 4), ("last", [0, 0, 0, 1]), ("best", [0, 0, 1, 0])]
)
def test_the_prediction_is_fused_or_of_the_last_block_or_of_the_one_best_on_validation_data(fusion, weights):
    """Fused unless asked otherwise: the paper's three ways."""
    rule = make("asge", fusion=fusion).eval()
    assert rule.calibrates == (fusion == "best") and make("asge").fusion == "uniform"
    rule.calibrate(
        torch.stack([-1.0 * F.one_hot(Y, K), 0.0 * X[:, :, 0, 0], 5.0 * F.one_hot(Y, K), -1.0 * F.one_hot(Y, K)]), Y
    )
    with torch.no_grad():
        logs = rule.block_scores(X).log_softmax(-1)
        assert_same(rule.scores(X), sum(weight * log for weight, log in zip(weights, logs, strict=True)))


# --- the contract, fused blocks, export -------------------------------------------------------------------------------


@pytest.mark.parametrize("on", NETWORKS)
def test_it_keeps_every_clause_of_the_contract(on, monkeypatch):
    assert not broken_clauses(monkeypatch, "asge", on)


@pytest.mark.parametrize(
    ("of", "grids"), [("cnn4", [4, 2, 1, 1]), ("vgg8", [4, 2, 2, 1, 1, 1]), ("resnet18", [8, 8, 8, 4, 4, 2, 2, 1, 1])]
)
def test_fused_blocks_make_the_goodness_on_their_way_and_give_the_same_losses_and_gradients(of, grids):
    assert_fused_is_the_same("asge", of, grids)


@pytest.mark.parametrize(("of", "fusion"), [("cnn4", "uniform"), ("mlp", "last"), ("resnet18", "best")])
def test_the_module_and_its_export_give_the_rules_scores(of, fusion):
    assert_module_gives_the_scores("asge", of, export=of == "cnn4", fusion=fusion)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"alpha": -0.5}, "alpha must be at least 0"),
        ({"alpha": float("nan")}, "alpha must be at least 0"),
        ({"alpha": float("inf")}, "alpha must be at least 0 and finite"),
        ({"alpha": "fine"}, "alpha='fine'"),
        ({"projection": "random"}, "'fixed' or 'learned', got 'random'"),
        ({"fusion": "span"}, "got 'span'"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
    ],
)
def test_values_out_of_range_are_refused(options, sentence):
    with pytest.raises(InputError, match=sentence):
        make("asge", **options)


def test_it_is_registered_as_a_local_rule_without_negatives():
    info = ASGE.info
    assert (info.name, info.locality, info.negatives, info.compares_samples) == ("asge", "block", False, False)
