"""Activation checkpointing: the same run to the last bit, the least memory that any cut gives, and nothing hidden from the measure."""

from __future__ import annotations

from itertools import chain, combinations, count, pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from layerlocal.data import Split, data_from_splits
from layerlocal.measure import measure_flops, measure_locality, measure_saved_bytes
from layerlocal.networks import Network, create_network
from layerlocal.rules import BlockwiseRule, RuleInfo, create_rule
from layerlocal.rules.core.checkpointing import BlockBytes, best_cuts
from layerlocal.spec import Recipe
from layerlocal.training.train import losses_of, make_optimizer, train_rule, train_step
from layerlocal.types import InputError

K = 3
FLOAT, INT = 4, 8
SPANNING = [
    ("bp", {}),
    ("bp", {"of": "class-goodness"}),
    ("bp", {"of": "ff"}),
    ("bp-deepsup", {}),
    ("bp-deepsup", {"of": "class-goodness"}),
    ("bp-deepsup", {"of": "ff", "prediction": "softmax"}),
    ("bp-deepsup", {"of": "class-goodness", "segment_size": 2}),
    ("segmented", {}),
    ("segmented", {"segment_size": 3, "of": "class-goodness"}),
    ("bp-every", {"of": "class-goodness", "every": 2}),
]
"""Rules whose gradient spans several blocks, with options."""


def make(name, network="cnn4", depth=5, **options):
    built = create_network(network, in_channels=3, image_size=8, width=1 / 8, depth=depth, seed=0)
    return create_rule(name, built, num_classes=K, seed=0, **options)


def batch(size=12, shape=(3, 8, 8)):
    return torch.randn(size, *shape, generator=torch.Generator().manual_seed(5)), torch.arange(size) % K


def cut_everywhere(rule):
    """Every block a chunk of its own: as much is computed twice as can be."""
    rule.cuts = frozenset(range(rule.network.depth))
    return rule


def trained(rule, recipe=None, steps=3, shape=(3, 8, 8)):
    """State, and every loss and metric on the way."""
    recipe = recipe or Recipe(clip=0.5)
    optimizer, seen = make_optimizer(rule.train(), recipe), []
    for step in range(steps):
        torch.manual_seed(step)
        x, y = torch.randn(12, *shape), torch.arange(12) % K
        train_step(
            rule, x, y, optimizer, recipe=recipe, observe=lambda loss: seen.extend([loss.value, *loss.metrics.values()])
        )
    return {**rule.state_dict(), **{f"seen{index}": value.detach() for index, value in enumerate(seen)}}


def assert_equal_bits(found, expected):
    assert list(found) == list(expected)
    assert not [key for key in expected if not torch.equal(found[key], expected[key])]


# --- the same run -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize(("name", "options"), SPANNING)
def test_weights_buffers_losses_and_metrics_are_those_of_the_run_without_to_the_last_bit(name, options, precision):
    recipe = Recipe(clip=0.5, precision=precision)
    expected = trained(make(name, **options), recipe)
    planned = make(name, **options)
    planned.use_checkpointing(batch(4)[0])
    assert planned.cuts
    assert_equal_bits(trained(planned, recipe), expected)
    assert_equal_bits(trained(cut_everywhere(make(name, **options)), recipe), expected)


class Drifting(nn.Module):
    """A linear block with dropout whose output depends on a buffer that every call replaces, and on one that it moves in place."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.register_buffer("calls", torch.ones(()))
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, x):
        self.calls = self.calls + 1
        h = self.linear(x) * self.calls
        self.mean.lerp_(h.detach().mean(), 0.5)
        return F.dropout(torch.relu(h - self.mean), 0.3, self.training)


class FirstUnits(BlockwiseRule):
    """Cross-entropy of the first K units of every block; the rule keeps a running mean of its own."""

    info = RuleInfo(name="first-units", locality="block")

    def __init__(self, network, *, num_classes, seed=None):
        super().__init__(network, num_classes=num_classes, seed=seed)
        self.register_buffer("level", torch.ones(()))

    def block_score(self, index, activity):
        return activity[:, : self.num_classes] * self.level.clone()

    def local_loss(self, index, activity, y):
        self.level.lerp_(activity.detach().abs().mean(), 0.1)
        return super().local_loss(index, activity, y)


def test_random_numbers_and_buffers_of_blocks_and_rule_are_drawn_and_moved_once_and_seen_twice():
    def fresh():
        torch.manual_seed(0)
        network = Network([Drifting(6 if index == 0 else 10, 10) for index in range(4)], sample_shape=(6,))
        return create_rule("bp-deepsup", network, num_classes=K, of=FirstUnits)

    expected = trained(fresh(), shape=(6,))
    after = torch.rand(3)
    assert expected["network.blocks.0.calls"] == 1 + 3 + 1  # one when the network was made
    assert_equal_bits(trained(cut_everywhere(fresh()), shape=(6,)), expected)
    assert torch.equal(torch.rand(3), after), "what is drawn afterwards is the same"


def test_a_whole_run_with_the_option_is_the_run_without():
    images = torch.randint(0, 256, (24, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = []
    for checkpointing in (False, True):
        split = Split(images, torch.arange(24) % K)
        data = data_from_splits("noise", split, split, validation=split)
        rule = make("bp-deepsup", of="class-goodness")
        records = train_rule(rule, data, Recipe(epochs=2, batch_size=8, flip=True, checkpointing=checkpointing), seed=3)
        found.append((rule.state_dict(), [(record.losses, record.metrics, record.validation) for record in records]))
        assert bool(rule.cuts) == checkpointing
    assert_equal_bits(found[1][0], found[0][0])
    assert found[1][1] == found[0][1]


@pytest.mark.parametrize("frozen", [[0], [0, 1], [1, 2]])
def test_blocks_that_do_not_learn_are_no_obstacle(frozen):
    def fresh():
        rule = make("bp")
        for index in frozen:
            rule.network.blocks[index].requires_grad_(False)
        return rule

    assert_equal_bits(trained(cut_everywhere(fresh())), trained(fresh()))


# --- memory -----------------------------------------------------------------------------------------------------------


def peak(rule, *inputs):
    found = measure_saved_bytes(rule, *inputs)
    assert found["left_saved_bytes"] == 0
    return found["peak_saved_bytes"]


def test_the_peak_is_the_one_counted_by_hand_with_what_is_computed_again():
    """Linear – ReLU blocks: a map keeps its input, ReLU its output. Plain: x and four maps. Cut in the middle: x, the second chunk's
    input and its two maps, or x and two maps."""
    size, features, units = 32, 20, 50
    blocks = [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise([features, *[units] * 4])]
    rule = create_rule("bp", Network(blocks, sample_shape=(features,)), num_classes=K, of=FirstUnits)
    x, y = batch(size, (features,))
    rest = FLOAT * size * K + INT * size + 2 * FLOAT  # log-probabilities, labels, total weight and the rule's level
    assert peak(rule, x, y) == FLOAT * size * (features + 4 * units) + rest
    for cuts, maps in [({2}, 3), ({1}, 4), ({3}, 3), ({1, 2, 3}, 4), ({2, 3}, 3)]:
        rule.cuts = frozenset(cuts)
        assert peak(rule, x, y) == FLOAT * size * (features + maps * units) + (rest if cuts != {3} else 0), cuts


def subsets(items):
    return chain.from_iterable(combinations(items, size) for size in range(len(items) + 1))


@pytest.mark.parametrize(
    ("name", "options"),
    [("bp", {}), ("bp", {"of": "class-goodness"}), ("bp-deepsup", {}), ("segmented", {"segment_size": 4})],
)
def test_no_cut_of_the_network_has_a_lower_measured_peak(name, options):
    """Blocks of very different size; all 2^(L-1) cuts are tried and measured."""
    rule = make(name, depth=6, **options)
    x, y = batch()
    rule.use_checkpointing(x)
    found = peak(rule, x, y)
    least = []
    for cuts in subsets(range(1, 6)):
        rule.cuts = frozenset(cuts)
        least.append(peak(rule, x, y))
    assert found == min(least) < least[0]


def peak_of(blocks, cuts):
    """Inputs of all chunks up to one and what it saves beside its input, at most."""
    held, peaks = 0, []
    for start, end in pairwise([0, *cuts, len(blocks)]):
        address, size = blocks[start].input
        held += size
        storages = {key: size for block in blocks[start:end] for key, size in block.saved.items() if key != address}
        peaks.append(held + sum(storages.values()))
    return max(peaks)


@pytest.mark.parametrize("seed", range(12))
def test_the_plan_is_the_best_of_all_partitions(seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(high):
        return int(torch.randint(1, high, (), generator=generator))

    depth = 2 + seed % 8
    inputs = [(1000 + index, draw(50)) for index in range(depth + 1)]
    blocks = []
    for index in range(depth):  # its input or not, its output or not, and some storages of its own
        own = {100 * index + part: draw(60) for part in range(draw(4))}
        shared = {key: size for key, size in inputs[index : index + 2] if draw(3) > 1}
        blocks.append(BlockBytes(own | shared, inputs[index]))
    every = [peak_of(blocks, cuts) for cuts in subsets(range(1, depth))]
    assert peak_of(blocks, best_cuts(blocks)) == min(every)


@pytest.mark.parametrize("depth", [1, 2, 9, 21, 64])
def test_equal_blocks_are_cut_into_chunks_of_falling_length(depth):
    """Blocks that keep an input of 1 and 3 more: chunk c of n blocks peaks at c + 4n - 1, so within P it has ⌊(P + 1 - c) / 4⌋ blocks."""
    blocks = [BlockBytes({-index: 1, 2 * index + 1: 1, 2 * index + 2: 2}, (-index, 1)) for index in range(depth)]
    cuts = best_cuts(blocks)
    lengths = [end - start for start, end in pairwise([0, *cuts, depth])]
    assert lengths == sorted(lengths, reverse=True)
    assert peak_of(blocks, cuts) == next(top for top in count(1) if sum(n // 4 for n in range(top + 1)) >= depth)


def test_sixteen_equal_blocks_need_well_below_half_and_the_peak_grows_like_the_root_of_depth():
    x, y = batch(16)
    found = {}
    for depth in (16, 64):
        for checkpointing in (False, True):
            rule = make("bp", "plain", depth)
            if checkpointing:
                rule.use_checkpointing(x[:4])
            found[depth, checkpointing] = peak(rule, x, y)
    assert found[16, True] < 0.35 * found[16, False]
    assert found[64, False] > 3.8 * found[16, False]
    assert found[64, True] < 2.2 * found[16, True]


def test_only_the_blocks_before_a_segments_last_chunk_are_computed_again():
    x, y = batch(8)
    rule = make("bp", depth=6)
    plain = measure_flops(rule, x, y)["flops_per_step"]
    rule.use_checkpointing(x)
    with FlopCounterMode(display=False) as again, torch.no_grad():
        h = x
        for block in rule.network.blocks[: max(rule.cuts)]:
            h = block(h)
    assert 0 < again.get_total_flops() <= plain / 3
    assert measure_flops(rule, x, y)["flops_per_step"] == plain + again.get_total_flops()


# --- what is left alone -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), SPANNING)
def test_planning_leaves_weights_buffers_gradients_mode_and_random_numbers_as_they_were(name, options):
    rule = make(name, **options).eval()
    before = {key: value.clone() for key, value in rule.state_dict().items()}
    random = torch.get_rng_state()
    rule.use_checkpointing(batch(4)[0])
    assert_equal_bits(rule.state_dict(), before)
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(part.training for part in rule.modules()) and all(p.grad is None for p in rule.parameters())


@pytest.mark.parametrize(("name", "options"), SPANNING)
def test_the_locality_certificate_is_the_same_with_checkpointing(name, options):
    x, y = batch(6)
    expected = measure_locality(make(name, **options), x, y)
    assert expected["certified"]
    assert measure_locality(cut_everywhere(make(name, **options)), x, y) == expected


def test_no_gradient_is_computed_at_the_input_of_a_segment():
    rule = cut_everywhere(make("segmented", segment_size=2)).train()
    asked = []
    for block in rule.network.blocks:
        block.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[0].requires_grad))
    first = [asked.copy() for loss in losses_of(rule, *batch()) if loss.value.backward() is None]
    assert asked == [
        False,
        True,
        False,
        False,
        True,
        False,
        False,
    ]  # segments of 2, 2 and 1; after its backward the first is run again
    assert len(first) == 3


def test_losses_without_gradients_are_simply_computed():
    rule = make("bp").train()
    with torch.no_grad():
        expected = [loss.value for loss in rule.losses(*batch())]
        found = [loss.value for loss in cut_everywhere(rule).losses(*batch())]
    assert [value.item() for value in found] == [value.item() for value in expected]


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("class-goodness", {}, "no effect on 'class-goodness'"),
        ("local-heads", {}, "no effect on 'local-heads'"),
        ("ff", {}, "no effect on 'ff'"),
        ("segmented", {"segment_size": 1}, "no effect on 'segmented'"),
        ("feedback", {}, "no effect on 'feedback'"),
        ("bp-every", {"every": 0}, "no effect on 'bp-every'"),
        ("lookahead", {}, "not made for 'lookahead'"),
    ],
)
def test_rules_without_a_long_graph_refuse(name, options, message):
    rule = make(name, **options)
    with pytest.raises(InputError, match=f"{message}.*leave recipe.checkpointing off"):
        rule.use_checkpointing(batch(4)[0])


def test_a_network_of_one_block_refuses():
    with pytest.raises(InputError, match="no more than one block's graph"):
        make("bp", depth=1).use_checkpointing(batch(4)[0])


class Halves(nn.Module):
    """Writes into its input in training only, so that a network does not find it out when it is made."""

    def forward(self, x):
        """(B, D) → (B, D)."""
        return x.mul_(0.5) if self.training else x * 0.5


def test_a_block_that_changes_its_input_is_refused_by_name():
    blocks = [nn.Linear(6, 6), nn.Sequential(Halves(), nn.Linear(6, 6)), nn.Linear(6, 6)]
    rule = create_rule("bp", Network(blocks, sample_shape=(6,)), num_classes=K)
    with pytest.raises(InputError, match="block1 changes its input in place"):
        rule.use_checkpointing(torch.randn(4, 6))
