"""DTG-FF as its secondary sources give it: each part does what it says, held to plain PyTorch."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from layerlocal.measure import measure_locality
from layerlocal.networks import create_network
from layerlocal.rules import create_rule, rule_options
from layerlocal.types import InputError

X = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(1))
Y = torch.arange(12) % 3
DEPTH = 3


def make(rule="dtg-ff", **options):
    network = create_network("cnn4", in_channels=3, image_size=8, width=0.25, depth=DEPTH, seed=0)
    return create_rule(rule, network, num_classes=3, seed=0, **options)


def train_step(rule):
    rule.zero_grad()
    for loss in rule.losses(X, Y):
        loss.value.backward()
    return {name: p.grad.clone() for name, p in rule.named_parameters() if p.grad is not None}


def by_hand(network, heads, *, detached, shared, low=0.1, high=2.0, weight=1.0):
    """All losses of the method, in plain operations: mean activity of 2×2 cells standardized over the batch, R, T; pools; classifier."""
    h, pools, losses = X, [], []
    for index, block in enumerate(network.blocks):
        a = block(h)
        head = heads[f"block{index}"]
        cells = F.adaptive_avg_pool2d(a, min(2, a.shape[-1])).permute(0, 2, 3, 1).flatten(1)
        cells = (cells - cells.mean(0)) / (cells.var(0, correction=0) + 1e-5).sqrt()
        temperature = low + (high - low) / (1 + torch.exp(-head.alpha))
        losses.append(F.cross_entropy(cells @ head.linear.weight.T / temperature, Y))
        pool = a.mean((2, 3))
        pools.append(pool if shared or not detached or index == DEPTH - 1 else pool.detach())
        centred = a - a.mean((1, 2, 3), keepdim=True)
        h = centred / (a.var((1, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
        h = h.detach() if detached else h
    classifier = heads[f"block{DEPTH - 1}"].classifier
    scores = torch.cat(pools, 1) @ classifier.weight.T + classifier.bias
    return losses, weight * F.cross_entropy(scores, Y), scores


@pytest.mark.parametrize(
    ("rule", "options", "detached", "shared"),
    [
        ("dtg-ff", {}, True, False),
        ("dtg-ff", {"fusion": "shared", "classifier_weight": 0.5}, True, True),
        ("bp-deepsup", {"of": "dtg-ff"}, False, False),
        ("bp-deepsup", {"of": "dtg-ff", "fusion": "shared"}, False, True),
    ],
)
def test_gradients_are_those_of_the_equations(rule, options, detached, shared):
    made = make(rule, **options)
    plain = copy.deepcopy(made)
    found = train_step(made)
    losses, term, _ = by_hand(
        plain.network, plain.heads, detached=detached, shared=shared, weight=options.get("classifier_weight", 1.0)
    )
    (sum(losses) + term).backward()
    wanted = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
    assert found.keys() == wanted.keys() and any("classifier" in name for name in wanted)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("twin", ["bp", "bp-deepsup"])
def test_both_forms_have_the_same_twins(twin):
    """No boundary is left that could stop the classifier's gradient: equal weights, losses and gradients to the last bit."""
    one, other = make(twin, of="dtg-ff"), make(twin, of="dtg-ff-shared")
    assert one.state_dict().keys() == other.state_dict().keys()
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    found, same = train_step(one), train_step(other)
    assert found.keys() == same.keys() and all(torch.equal(value, same[name]) for name, value in found.items())
    assert torch.equal(one.eval().scores(X), other.eval().scores(X))


def test_the_shared_form_is_dtg_ff_with_one_other_default():
    known = rule_options("dtg-ff-shared")
    assert known == rule_options("dtg-ff") | {"fusion": "shared"}
    one, other = train_step(make("dtg-ff-shared")), train_step(make(fusion="shared"))
    assert all(torch.equal(value, other[name]) for name, value in one.items()) and one.keys() == other.keys()


def test_the_shared_form_keeps_all_activities_and_says_so():
    with pytest.raises(InputError, match="reads all blocks"):
        make("dtg-ff-shared").use_checkpointing(X)


def test_the_bp_twin_learns_from_the_last_block_and_the_classifier_alone():
    made = make("bp", of="dtg-ff")
    plain = copy.deepcopy(make())
    plain.load_state_dict(make().state_dict())
    found = train_step(made)
    losses, term, _ = by_hand(plain.network, plain.heads, detached=False, shared=False)
    (losses[-1] + term).backward()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, plain.get_parameter(name).grad, rtol=1e-3, atol=1e-5)
    assert "network.blocks.0.0.weight" in found


def test_credit_is_the_projected_error_over_the_temperature():
    """The published form of what reaches the features: T⁻¹ R (p − e_y), ‖p − e_y‖ ≤ √2."""
    head = make(temperature_min=0.5, temperature_max=1.5).head(0)
    features = torch.randn(1, head.linear.in_features, requires_grad=True)
    scores = head.linear(features) / head.temperature
    F.cross_entropy(scores, torch.tensor([2])).backward()
    error = scores.detach().softmax(-1) - F.one_hot(torch.tensor([2]), 3)
    torch.testing.assert_close(features.grad, error @ head.linear.weight / 1.0)
    assert error.norm() <= math.sqrt(2)


def test_the_temperature_starts_at_its_midpoint_and_learns_within_its_bounds():
    rule = make(temperature_min=0.2, temperature_max=3.0)
    assert [rule.head(index).temperature.item() for index in range(DEPTH)] == pytest.approx([1.6] * DEPTH)
    gradients = train_step(rule)
    assert all(gradients[f"heads.block{index}.alpha"] != 0 for index in range(DEPTH))
    for alpha, bound in ((60.0, 3.0), (-60.0, 0.2)):
        torch.nn.init.constant_(rule.head(0).alpha, alpha)
        assert rule.head(0).temperature.item() == pytest.approx(bound)
    assert not make(learned_temperature=False).head(0).alpha.requires_grad


def test_the_projection_is_random_fixed_and_drawn_by_the_seed():
    fixed, learned = make(), make(projection="learned")
    first = fixed.head(0).linear.weight
    assert not first.requires_grad and learned.head(0).linear.weight.requires_grad
    assert torch.equal(first, learned.head(0).linear.weight)
    assert first.std().item() == pytest.approx(first.shape[1] ** -0.5, rel=0.2)


def test_layer_norm_feeds_the_next_block_and_not_the_goodness():
    rule, seen = make(), {}
    rule.network.blocks[1].register_forward_pre_hook(lambda _, given: seen.update(fed=given[0].detach()))
    rule.heads["block0"].register_forward_pre_hook(lambda _, given: seen.update(read=given[0].detach()))
    list(rule.losses(X, Y))
    torch.testing.assert_close(seen["fed"], F.layer_norm(seen["read"], seen["read"].shape[1:]))
    plain = make(layer_norm=False)
    plain.network.blocks[1].register_forward_pre_hook(lambda _, given: seen.update(fed=given[0].detach()))
    list(plain.losses(X, Y))
    assert torch.equal(seen["fed"], seen["read"])


@pytest.mark.parametrize("rule", ["dtg-ff", "bp"])
def test_the_prediction_is_the_classifiers(rule):
    made = make(rule, **({"of": "dtg-ff"} if rule == "bp" else {})).eval()
    with torch.no_grad():
        blocks, fused = made.all_scores(X)
        h, pools = X, []
        for block in made.network.blocks:
            h = block(h)
            pools.append(h.mean((2, 3)))
            h = F.layer_norm(h, h.shape[1:])
        classifier = made.head(DEPTH - 1).classifier
        torch.testing.assert_close(fused, classifier(torch.cat(pools, 1)))
        torch.testing.assert_close(made.scores(X), fused)
        assert torch.equal(made.block_scores(X), blocks)
        exported = made.to_module()
        torch.testing.assert_close(exported(X), fused, rtol=1e-4, atol=1e-5)
        assert type(exported).__name__ == "TrainedNetwork"


def test_what_a_step_leaves_holds_no_graph():
    for options in ({}, {"fusion": "shared"}):
        rule = make(**options)
        train_step(rule)
        assert not any(pool.requires_grad for pool in rule.pools.values())


def test_certificates_show_where_the_classifier_couples_blocks():
    stopped, shared = measure_locality(make(), X, Y), measure_locality(make(fusion="shared"), X, Y)
    assert (stopped["measured"], shared["measured"]) == ("block", "global")
    assert stopped["certified"] and shared["certified"]


@pytest.mark.parametrize(
    "options",
    [
        {"temperature_min": 0.0}, {"temperature_min": 2.0, "temperature_max": 1.0}, {"projection": "some"}, {"fusion": "mean"},
        {"classifier_weight": 0.0},
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options)).partition("_min")[0]):
        make(**options)


def test_the_twin_keeps_all_activities_or_says_why_not():
    with pytest.raises(InputError, match="reads several blocks"):
        make("bp", of="dtg-ff").use_checkpointing(X)
