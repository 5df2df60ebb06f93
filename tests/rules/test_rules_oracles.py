"""Two free oracles of block-locality, run through whole training steps: optimizer, clipping and schedule included.

Prefix: with equal seeds the first blocks of a block-local rule are the same at every depth.
Intervention: whatever happens to a later block, an earlier one's update does not change by one bit.
"""

from __future__ import annotations

import pytest
import torch

from layerlocal.spec import Recipe
from layerlocal.training.train import make_optimizer, train_step
from rules_by_hand import small, train

LOCAL = [
    ("local-heads", {}),
    ("class-goodness", {}),
    ("ff", {}),
    ("ff", {"prediction": "softmax"}),
    ("segmented", {"segment_size": 1}),
    ("bp-every", {"every": 0}),
    ("feedback", {"strength": 0.0}),
    ("lookahead", {"blocks_ahead": 0}),
]
GLOBAL = [
    ("bp", {}),
    ("bp-deepsup", {}),
    ("bp", {"of": "class-goodness"}),
    ("bp-every", {"every": 3}),
    ("feedback", {}),
    ("lookahead", {"blocks_ahead": 3}),
]
RECIPES = [Recipe(clip=0.05), Recipe(optimizer="sgd", learning_rate=0.05, clip=0.05, micro_batches=2)]


def make(name, depth, options):
    return small(name, depth=depth, **options)


def steps(rule, recipe):
    train(rule, recipe)
    return rule


def of_blocks(rule, indices):
    """Copies of every weight, buffer and head of these blocks."""
    wanted = tuple(part for i in indices for part in (f"network.blocks.{i}.", f"heads.block{i}."))
    return {key: value.clone() for key, value in rule.state_dict().items() if key.startswith(wanted)}


def same_bits(left, right):
    assert left and set(left) == set(right)
    return all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize("recipe", RECIPES, ids=["adamw", "sgd-accumulated"])
@pytest.mark.parametrize(("name", "options"), LOCAL)
def test_first_blocks_of_a_local_rule_are_bit_equal_at_depth_two_and_four(name, options, recipe):
    shallow, deep = (steps(make(name, depth, options), recipe) for depth in (2, 4))
    start = of_blocks(make(name, 4, options), [0, 1])
    assert same_bits(of_blocks(shallow, [0, 1]), of_blocks(deep, [0, 1]))
    assert not same_bits(start, of_blocks(deep, [0, 1])), "something was learned"


@pytest.mark.parametrize(("name", "options"), GLOBAL)
def test_first_blocks_of_a_global_rule_differ_between_depth_two_and_four(name, options):
    """The oracle is not blind: what looks through the whole network fails it."""
    shallow, deep = (steps(make(name, depth, options), RECIPES[0]) for depth in (2, 4))
    key = "network.blocks.0.0.weight"
    assert not torch.equal(of_blocks(shallow, [0])[key], of_blocks(deep, [0])[key])


def disturbed(name, options):
    """The rule with the parameters of its last block moved before training."""
    rule = make(name, 4, options)
    with torch.no_grad():
        for parameter in rule.block_parameters()["block3"]:
            parameter.add_(torch.randn_like(parameter))
    return rule


@pytest.mark.parametrize("recipe", RECIPES, ids=["adamw", "sgd-accumulated"])
@pytest.mark.parametrize(("name", "options"), LOCAL)
def test_disturbing_the_last_block_changes_no_bit_of_the_others_training(name, options, recipe):
    calm, moved = steps(make(name, 4, options), recipe), steps(disturbed(name, options), recipe)
    assert same_bits(of_blocks(calm, [0, 1, 2]), of_blocks(moved, [0, 1, 2]))
    assert not same_bits(of_blocks(calm, [3]), of_blocks(moved, [3]))


@pytest.mark.parametrize(("name", "options"), GLOBAL)
def test_disturbing_the_last_block_of_a_global_rule_changes_the_others_training(name, options):
    calm, moved = (steps(rule, RECIPES[0]) for rule in (make(name, 4, options), disturbed(name, options)))
    assert not same_bits(of_blocks(calm, [0]), of_blocks(moved, [0]))


def test_segments_keep_what_comes_before_them_and_mix_what_is_inside():
    options = {"segment_size": 2}
    calm, moved = (steps(rule, RECIPES[0]) for rule in (make("segmented", 4, options), disturbed("segmented", options)))
    assert same_bits(of_blocks(calm, [0, 1]), of_blocks(moved, [0, 1]))
    assert not same_bits(of_blocks(calm, [2]), of_blocks(moved, [2]))


def test_clipping_by_the_norm_of_the_whole_network_would_couple_blocks():
    """Why the loop clips block by block: the same step clipped globally, by hand, fails the oracle."""
    found = []
    for rule in (make("local-heads", 4, {}), disturbed("local-heads", {})):
        optimizer = make_optimizer(rule.train(), Recipe(optimizer="sgd", learning_rate=0.05))
        for loss in rule.losses(
            torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(12) % 3
        ):
            loss.value.backward()
        torch.nn.utils.clip_grad_norm_(rule.parameters(), 0.05)
        optimizer.step()
        found.append(of_blocks(rule, [0]))
    assert not same_bits(*found)


def test_clipping_bounds_the_gradient_of_every_block_on_its_own():
    """One plain SGD step moves each block by at most learning rate times the bound, and by exactly that where it was clipped."""
    rule = make("local-heads", 4, {}).train()
    before = {name: [p.detach().clone() for p in group] for name, group in rule.block_parameters().items()}
    recipe = Recipe(optimizer="sgd", momentum=0, weight_decay=0, learning_rate=0.5, clip=0.01)
    x = torch.randn(12, 3, 8, 8)
    train_step(rule, x, torch.arange(12) % 3, make_optimizer(rule, recipe), recipe=recipe)
    for name, group in rule.block_parameters().items():
        moved = (
            sum(float((p.detach() - old).double().square().sum()) for p, old in zip(group, before[name], strict=True))
            ** 0.5
        )
        assert moved == pytest.approx(0.5 * 0.01, rel=1e-3), name
