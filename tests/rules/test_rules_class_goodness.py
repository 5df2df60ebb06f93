"""DTG-FF: each of its three parts does what it says, and can be switched off."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from layerlocal.networks import create_network
from layerlocal.rules import create_rule
from layerlocal.rules.core.functional import clarity, goodness

X = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(1))
Y = torch.arange(12) % 3


def make(depth=3, **options):
    network = create_network("cnn4", in_channels=3, image_size=8, width=0.25, depth=depth, seed=0)
    return create_rule("class-goodness", network, num_classes=3, seed=0, **options)


def run_losses(rule, x=X, y=Y):
    return [(loss.block, loss.value.item(), loss.metrics) for loss in rule.losses(x, y)]


def record_inputs(rule):
    """Inputs of every block, by block index, filled as the rule runs."""
    seen = {}
    for index, block in enumerate(rule.network.blocks):
        block.register_forward_pre_hook(
            lambda _, inputs, index=index: seen.__setitem__(index, inputs[0].detach().clone())
        )
    return seen


def scale_first_activity(rule, factors):
    rule.network.blocks[0].register_forward_hook(lambda _, __, output: output * factors.view(-1, 1, 1, 1))


# --- decoupled normalization ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [run_losses, lambda rule: rule.block_scores(X)], ids=["losses", "block_scores"])
def test_decoupled_norm_hides_goodness_from_the_next_block(run):
    factors = torch.logspace(-1, 1, 12)
    rule = make()
    plain = record_inputs(rule)
    run(rule)
    scaled_rule = make()
    seen = record_inputs(scaled_rule)
    scale_first_activity(scaled_rule, factors)
    activity = {}
    scaled_rule.network.blocks[0].register_forward_hook(lambda _, __, output: activity.update(found=output.detach()))
    run(scaled_rule)
    of_activity = goodness(activity["found"], "mean")
    assert of_activity.max() / of_activity.min() > 100
    torch.testing.assert_close(seen[1].square().flatten(1).mean(1), torch.ones(12), rtol=1e-4, atol=0)
    torch.testing.assert_close(seen[1], plain[1], rtol=1e-3, atol=1e-4)


def test_without_decoupled_norm_the_next_block_is_fed_the_activity_itself():
    rule = make(decoupled_norm=False).eval()
    seen = record_inputs(rule)
    rule.block_scores(X)
    assert torch.equal(seen[1], rule.network.blocks[0](X))


def test_goodness_tells_samples_apart_although_the_next_input_does_not():
    """The author's prototype read goodness off the normalized map: 1/τ² for every sample."""
    rule = make().eval()
    assert rule.block_scores(X).std(1).min() > 1e-3


# --- dynamic temperature ----------------------------------------------------------------------------------------------


def test_temperature_follows_the_moving_average_of_the_blocks_own_clarity():
    low, high, gain, momentum = 0.5, 2.0, 3.0, 0.8
    rule = make(temperature_min=low, temperature_max=high, temperature_gain=gain, clarity_momentum=momentum)
    head = rule.heads["block0"]
    found = []
    head.register_forward_hook(lambda _, __, output: found.append(output.detach()))
    average = 0.0
    for step in range(3):
        (_, value, metrics), *_ = run_losses(rule, X + step)
        average = momentum * average + (1 - momentum) * clarity(found[-1], Y).item()
        tau = low + (high - low) / (1 + math.exp(-gain * average))
        assert metrics["temperature/block0"].item() == pytest.approx(tau, rel=1e-5)
        assert value == pytest.approx(F.cross_entropy(found[-1] / tau, Y).item(), rel=1e-5)
    rule.eval()
    scores = rule.block_scores(X)[0]
    torch.testing.assert_close(scores, found[-1] / tau)
    run_losses(rule)
    assert head.clarity.item() == pytest.approx(average, rel=1e-5), "the average moves in training only"


def test_clarity_is_state_that_is_saved():
    assert {"heads.block0.clarity", "heads.block2.clarity"} <= set(make().state_dict())


def test_without_dynamic_temperature_the_loss_is_the_cross_entropy_of_bare_goodness():
    rule = make(dynamic_temperature=False)
    found = {}
    for name, head in rule.heads.items():
        head.register_forward_hook(lambda _, __, output, name=name: found.__setitem__(name, output.detach()))
    losses = run_losses(rule)
    assert [name for name, *_ in losses] == ["block0", "block1", "block2"]
    for name, value, metrics in losses:
        assert value == pytest.approx(F.cross_entropy(found[name], Y).item(), rel=1e-6) and not metrics
        assert rule.heads[name].clarity == 0
    rule.eval()
    assert torch.equal(rule.block_scores(X)[1], found["block1"])


def test_temperature_and_normalization_off_is_local_heads():
    """What is left without the three parts is the plain local rule on the same readout."""
    bare = make(dynamic_temperature=False, decoupled_norm=False)
    network = create_network("cnn4", in_channels=3, image_size=8, width=0.25, depth=3, seed=0)
    local = create_rule("local-heads", network, num_classes=3, seed=0)
    assert [value for _, value, _ in run_losses(bare)] == [value for _, value, _ in run_losses(local)]
