"""FLOPs and passes against closed forms, and what `measure_speed` runs and computes (never how long it takes)."""

from __future__ import annotations

import pytest
import torch

from layerlocal.measure import count_passes, measure_flops, measure_speed, speed_ratios
from layerlocal.networks import Network, create_network
from layerlocal.rules import create_rule

B, K = 6, 3


def convolution_flops(channels, sides):
    """2·k²·Ci·Co·H·W of every convolution (3×3, at its input's side), for B samples."""
    sizes = zip(channels, channels[1:], sides, strict=False)
    return [2 * 9 * before * after * side**2 * B for before, after, side in sizes]


CHANNELS, SIDES, POOLED = [3, 8, 16, 32, 32], [8, 4, 2, 1], [4, 2, 1, 1]
FORWARD = convolution_flops(CHANNELS, SIDES)
HEADS = [2 * width * K * min(2, side) ** 2 * B for width, side in zip(CHANNELS[1:], POOLED, strict=True)]
"""cnn4 at a quarter of its width on 8×8 images: forward FLOPs of its convolutions and of its linear heads on 2×2 cells."""
CELLS = [
    2 * B * width * min(2, side) * side * (side + min(2, side))
    for width, side in zip(CHANNELS[1:], POOLED, strict=True)
]
"""Averages over 2×2 cells as two matrix products, along the width and then along the height; forward only."""
FUSION = 2 * 4 * B * K
"""One weighted sum over four readouts."""
X, Y = torch.randn(B, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(B) % K


def make(name, width=0.25, **options):
    network = create_network("cnn4", in_channels=3, image_size=8, width=width, seed=0)
    return create_rule(name, network, num_classes=K, seed=0, **options)


def test_backprop_is_three_forward_passes_less_the_input_gradient_of_the_first_block():
    """Forward, dW and dX cost the same; nobody needs dX of the images."""
    found = measure_flops(make("bp"), X, Y)
    assert found["flops_per_step"] == 3 * sum(FORWARD) - FORWARD[0] + 3 * HEADS[-1] + CELLS[-1]
    assert found["flops_per_prediction"] == sum(FORWARD) + HEADS[-1] + CELLS[-1]


def test_deep_supervision_adds_the_heads():
    found = measure_flops(make("bp-deepsup"), X, Y)
    assert found["flops_per_step"] == 3 * sum(FORWARD) - FORWARD[0] + 3 * sum(HEADS) + sum(CELLS)
    assert found["flops_per_prediction"] == sum(FORWARD) + sum(HEADS) + sum(CELLS) + FUSION


@pytest.mark.parametrize("name", ["local-heads", "class-goodness"])
def test_a_local_rule_is_forward_and_weight_gradients_only(name):
    """No block needs dX; each head does, for its own block."""
    found = measure_flops(make(name), X, Y)
    assert found["flops_per_step"] == 2 * sum(FORWARD) + 3 * sum(HEADS) + sum(CELLS)
    assert found["flops_per_prediction"] == sum(FORWARD) + sum(HEADS) + sum(CELLS) + FUSION


def test_segments_need_input_gradients_inside_only():
    found = measure_flops(make("segmented", segment_size=2), X, Y)
    heads = 3 * (HEADS[1] + HEADS[3]) + CELLS[1] + CELLS[3]
    assert found["flops_per_step"] == 3 * sum(FORWARD) - FORWARD[0] - FORWARD[2] + heads


def test_forward_forward_does_everything_twice_and_predicts_with_one_pass_a_label():
    found = measure_flops(make("ff"), X, Y)
    assert found["flops_per_step"] == 2 * 2 * sum(FORWARD)
    assert found["flops_per_prediction"] == K * sum(FORWARD)


def test_linear_layers_cost_two_flops_a_weight_and_sample():
    network = create_network("mlp", in_channels=10, image_size=1, width=1.0, hidden=20, depth=2, seed=0)
    found = measure_flops(create_rule("bp", network, num_classes=K), torch.randn(B, 10), Y)
    first, second, head = 2 * B * 10 * 20, 2 * B * 20 * 20, 2 * B * 20 * K
    assert found == {
        "flops_per_step": 2 * first + 3 * second + 3 * head,
        "flops_per_prediction": first + second + head,
    }


@pytest.mark.parametrize(
    ("name", "options", "step", "answer"), [("ff", {"prediction": "softmax"}, 3, 1), ("bp", {"of": "ff"}, 2, K)]
)
def test_declared_passes_are_those_that_the_busiest_block_sees(name, options, step, answer):
    """Of every rule as it is by default: `test_every_rule.py`."""
    rule = make(name, **options)
    assert (rule.passes_per_step, rule.passes_per_prediction) == (step, answer)
    assert count_passes(rule, X, Y) == {"passes_per_step": step, "passes_per_prediction": answer}


def test_counting_passes_leaves_no_hook_and_no_change():
    rule = make("class-goodness")
    state = {key: value.clone() for key, value in rule.state_dict().items()}
    count_passes(rule, X, Y)
    assert not rule.network.blocks[0]._forward_pre_hooks
    assert all(torch.equal(value, rule.state_dict()[key]) for key, value in state.items())


# --- speed ------------------------------------------------------------------------------------------------------------


def test_rules_take_turns_and_warm_up_rounds_are_not_counted():
    calls = []
    steps = {label: lambda label=label: calls.append(label) for label in ("a", "b")}
    found = measure_speed(steps, batch_size=32, repeats=3, warm_up=2)
    assert calls == ["a", "b"] * 5
    assert list(found) == ["a", "b"] and all(len(values) == 3 and min(values) > 0 for values in found.values())


def test_samples_per_second_are_the_batch_over_the_time_of_its_step(monkeypatch):
    ticks = iter([0.0, 2.0, 10.0, 10.5, 20.0, 24.0, 30.0, 31.0])
    monkeypatch.setattr("layerlocal.training.train.time.perf_counter", lambda: next(ticks))
    found = measure_speed({"a": lambda: None, "b": lambda: None}, batch_size=32, repeats=2, warm_up=0)
    assert found == {"a": [16.0, 8.0], "b": [64.0, 32.0]}


def test_ratios_are_paired_round_by_round():
    """A machine that slows down by half between rounds changes no ratio."""
    speeds = {"bp": [100.0, 50.0, 100.0, 50.0, 100.0], "local": [150.0, 75.0, 150.0, 70.0, 160.0]}
    found = speed_ratios(speeds, "bp")
    assert found["bp"] == {"samples_per_s": 100.0, "speed_ratio": {"median": 1.0, "low": 1.0, "high": 1.0, "n": 5}}
    assert found["local"] == {"samples_per_s": 150.0, "speed_ratio": {"median": 1.5, "low": 1.5, "high": 1.5, "n": 5}}


@pytest.mark.parametrize(("groups", "transposed"), [(1, False), (4, False), (8, False), (4, True)])
def test_a_convolution_in_groups_costs_as_much_backward_as_twice_forward(groups, transposed):
    """Each weight meets each position once: 2·k²·(Ci/g)·Co·H·W forward, as many for dW and as many for dX."""
    kind = torch.nn.ConvTranspose2d if transposed else torch.nn.Conv2d
    conv = kind(8, 16, 3, padding=1, groups=groups, bias=False)
    first = torch.nn.Conv2d(3, 8, 1, bias=False)
    found = measure_flops(make_of([torch.nn.Sequential(first, conv)]), X, Y)
    forward, before, head = 2 * 9 * 8 // groups * 16 * 64 * B, 2 * 3 * 8 * 64 * B, 2 * 16 * 4 * K * B
    cells = 2 * B * 16 * 2 * 8 * (8 + 2)
    assert found["flops_per_step"] == 3 * forward + 2 * before + 3 * head + cells


def make_of(blocks):
    return create_rule("local-heads", Network(blocks, sample_shape=(3, 8, 8)), num_classes=K, seed=0)
