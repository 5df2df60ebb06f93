"""Saved bytes against counts by hand: exact for small networks, flat in depth for local rules, growing for backprop."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layerlocal.measure import measure_saved_bytes
from layerlocal.networks import Network, create_network
from layerlocal.rules import Rule, RuleInfo, create_rule, list_rules
from layerlocal.types import BlockLoss
from rules_by_hand import rule_on

B, D, H, K = 32, 20, 50, 4
FLOAT, INT = 4, 8
READOUT = FLOAT * B * K + INT * B + FLOAT
"""What cross-entropy keeps: log-probabilities (B, K), the labels (B,), and the total weight, one number."""
LOCAL = [
    ("local-heads", {}),
    ("class-goodness", {}),
    ("ff", {}),
    ("ff", {"prediction": "softmax"}),
    ("segmented", {"segment_size": 1}),
]


class PlainHead(Rule):
    """Cross-entropy of the last activity as it is; ``local``: of every block, through a linear map on detached inputs."""

    info = RuleInfo(name="plain", locality="global")

    def losses(self, x, y):
        yield BlockLoss("all", F.cross_entropy(self.network(x), y), {})


class PlainLocal(Rule):
    """Cross-entropy of the first K units of every block, gradients stopped between blocks."""

    info = RuleInfo(name="plain-local", locality="block")

    def losses(self, x, y):
        h = x
        for index, block in enumerate(self.network.blocks):
            h = block(h.detach())
            yield BlockLoss(f"block{index}", F.cross_entropy(h[:, : self.num_classes], y), {})


def linear_network(sizes, relu=True):
    blocks = [nn.Sequential(nn.Linear(a, b), *([nn.ReLU()] if relu else [])) for a, b in pairwise(sizes)]
    return Network(blocks, sample_shape=(sizes[0],))


def batch(features=D, size=B):
    return torch.randn(size, features), torch.arange(size) % K


def saved(rule, *inputs):
    found = measure_saved_bytes(rule, *(inputs or batch()))
    assert found["left_saved_bytes"] == 0
    return found["peak_saved_bytes"]


# --- counted by hand --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [1, 3, 6])
def test_a_linear_relu_network_keeps_its_input_and_one_map_a_relu(hidden):
    """A linear map keeps its input, ReLU its output (the next map's input: one storage), weights are no activations."""
    network = linear_network([D, *[H] * hidden])
    network.blocks.append(nn.Linear(H, K))
    by_hand = FLOAT * B * D + hidden * FLOAT * B * H + READOUT
    assert saved(PlainHead(network, num_classes=K)) == by_hand


def test_linear_maps_without_relu_keep_their_inputs_only():
    rule = PlainHead(linear_network([D, H, K], relu=False), num_classes=K)
    assert saved(rule) == FLOAT * B * D + FLOAT * B * H + READOUT


def test_a_tensor_saved_twice_counts_once_and_a_part_counts_as_the_whole_that_it_keeps_alive():
    class Square(Rule):
        info = RuleInfo(name="square", locality="global")

        def losses(self, x, y):
            h = self.network(x)  # (B, H), saved by both products; the slice alone keeps all of it alive
            yield BlockLoss("all", (h[:, :1] * h[:, :1]).sum() + (h * h).sum(), {})

    rule = Square(linear_network([D, H], relu=False), num_classes=K)
    assert saved(rule) == FLOAT * B * D + FLOAT * B * H


def test_a_local_rule_keeps_one_block_at_a_time():
    """Input and ReLU output of one block, with its cross-entropy; the widest block is the peak."""
    sizes = [D, 40, 60, 30]
    peaks = [FLOAT * B * a + FLOAT * B * b + READOUT for a, b in pairwise(sizes)]
    assert saved(PlainLocal(linear_network(sizes), num_classes=K)) == max(peaks)


def test_bytes_are_proportional_to_the_batch():
    rule = PlainHead(linear_network([D, H, K]), num_classes=K)
    one, two = saved(rule, *batch(size=16)), saved(rule, *batch(size=32))
    assert two - FLOAT == 2 * (one - FLOAT)


def test_a_convolution_block_keeps_its_input_two_maps_of_statistics_and_its_output():
    """Convolution: its input. Batch norm: its input, mean and deviation. ReLU in place: the same storage as the norm's output."""
    channels, side, width = 3, 6, 5
    norm = nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )
    network = Network(
        [norm, nn.Sequential(nn.Flatten(), nn.Linear(width * side**2, K))], sample_shape=(channels, side, side)
    )
    by_hand = FLOAT * B * channels * side**2 + 2 * FLOAT * B * width * side**2 + 2 * FLOAT * width + READOUT
    x, y = torch.randn(B, channels, side, side), torch.arange(B) % K
    assert saved(PlainHead(network, num_classes=K), x, y) == by_hand


# --- growth with depth ------------------------------------------------------------------------------------------------


def at_depth(name, depth, **options):
    network = create_network("plain", in_channels=8, image_size=8, width=1 / 8, depth=depth, seed=0)
    rule = create_rule(name, network, num_classes=K, seed=0, **options)
    return saved(rule, torch.randn(B, 8, 8, 8), torch.arange(B) % K)


@pytest.mark.parametrize(("name", "options"), LOCAL)
def test_saved_bytes_of_a_local_rule_are_flat_in_depth(name, options):
    assert at_depth(name, 16, **options) <= 1.05 * at_depth(name, 4, **options)


@pytest.mark.parametrize("name", ["bp", "bp-deepsup"])
def test_saved_bytes_of_backprop_grow_by_the_same_amount_with_every_block(name):
    at = {depth: at_depth(name, depth) for depth in (4, 8, 12)}
    assert at[12] - at[8] == at[8] - at[4]
    assert at[8] - at[4] >= 4 * FLOAT * B * 8 * 8 * 8, "at least one map a block"


def test_saved_bytes_of_segments_grow_with_the_segment_and_not_with_depth():
    one, two, four = (at_depth("segmented", 8, segment_size=size) for size in (1, 2, 4))
    assert one < two < four < at_depth("bp", 8)
    assert at_depth("segmented", 16, segment_size=2) <= 1.05 * two


@pytest.mark.parametrize("name", list_rules())
def test_measuring_memory_leaves_the_rule_as_it_was_found(name):
    usual = {"name": "cnn4", "in_channels": 3, "image_size": 8, "width": 0.25, "seed": 0}
    rule = rule_on(name, usual, num_classes=K).eval()
    state = {key: value.clone() for key, value in rule.state_dict().items()}
    first = saved(rule, torch.randn(8, 3, 8, 8), torch.arange(8) % K)
    assert not rule.training and all(torch.equal(value, rule.state_dict()[key]) for key, value in state.items())
    assert all(p.grad is None for p in rule.parameters())
    assert saved(rule, torch.randn(8, 3, 8, 8), torch.arange(8) % K) == first


def test_a_graph_that_is_held_after_its_backward_is_reported():
    class Hoarder(PlainLocal):
        kept: list = []  # noqa: RUF012 (what the test is about)

        def losses(self, x, y):
            self.kept.append(self.network(x).square().sum())
            yield from super().losses(x, y)

    rule = Hoarder(linear_network([D, H, H]), num_classes=K)
    assert measure_saved_bytes(rule, *batch())["left_saved_bytes"] > 0
    Hoarder.kept.clear()


# --- the process ------------------------------------------------------------------------------------------------------


PEAKS = """
import torch
from layerlocal.measure import peak_resident_bytes, reset_peak_resident
if peak_resident_bytes() is None or not reset_peak_resident():
    raise SystemExit(77)
before = peak_resident_bytes()
block = torch.ones(640 * 2**20 // 4)
after = peak_resident_bytes()
del block
print(before, after, reset_peak_resident() and peak_resident_bytes())
"""


def test_peak_resident_size_counts_what_was_allocated_since_the_reset():
    """In a process of its own, smaller than the block, so that pages the system takes away meanwhile change nothing."""
    found = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True)
    if found.returncode == 77:
        pytest.skip("this system does not tell a process's peak resident size")
    before, after, later = map(int, found.stdout.split())
    assert 640 * 2**20 <= after <= before + 700 * 2**20
    assert later < after
