"""ASGE: goodness in patches, finer where blocks are narrow, through a projection that stays as it was drawn."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from layerlocal.networks import create_network
from layerlocal.rules import create_rule
from layerlocal.rules.asge import patches_per_side
from rules_by_hand import K, Y, make, network, run, run_by_hand, trained, unit_rms


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
    assert [head.linear.in_features for head in make("asge", "mlp").heads.values()] == [24] * 4


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

    losses, gradients = run_by_hand(network(), loss_of, feed=unit_rms if decoupled else lambda activity: activity)
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
    assert not torch.equal(first.heads["block2"].linear.weight, first.heads["block3"].linear.weight)
    assert not any(parameter.requires_grad for parameter in first.heads.parameters())
