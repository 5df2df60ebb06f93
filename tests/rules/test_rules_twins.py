"""`bp` and its relatives, and strictly local training, against loops written by hand in plain PyTorch.

The hand-written networks are built here from `torch.nn` alone and take over the initial weights by ``load_state_dict``.
"""

from __future__ import annotations

import copy
from itertools import count

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layerlocal.measure.memory import measure_saved_bytes
from layerlocal.networks import create_network
from layerlocal.rules import BP, ClassGoodness, LocalHeads, RuleInfo, create_rule
from layerlocal.rules.core.checkpointing import BlockBytes
from layerlocal.rules.core.segments import free_segments
from layerlocal.spec import Recipe
from layerlocal.types import InputError
from rules_by_hand import K, assert_equal_bits, batches, small, train

DEPTH = 4
TWINS = [
    ("local-heads", {}),
    ("class-goodness", {}),
    ("class-goodness", {"decoupled_norm": False, "dynamic_temperature": False}),
    ("ff", {}),
    ("ff", {"prediction": "softmax"}),
]
"""Rules whose twins are held against them, with options."""


# --- written by hand --------------------------------------------------------------------------------------------------


def plain_cnn():
    """cnn4 at a quarter of its width: four convolutions, pooling after the first three."""
    blocks, channels = nn.Sequential(), 3
    for index, width in enumerate([8, 16, 32, 32]):
        layers = [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        blocks.append(nn.Sequential(*layers, *([nn.MaxPool2d(2)] if index < 3 else [])))
        channels = width
    return blocks


def plain_mlp():
    return nn.Sequential(
        *[
            nn.Sequential(nn.Linear(12 if index == 0 else 64, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU())
            for index in range(DEPTH)
        ]
    )


class PlainHead(nn.Module):
    """Channel means (of images), standardized over the batch, then linear."""

    def __init__(self, channels):
        super().__init__()
        self.standardize = nn.BatchNorm1d(channels, affine=False)
        self.linear = nn.Linear(channels, K)

    def forward(self, activity):
        return self.linear(self.standardize(activity.mean((2, 3)) if activity.dim() == 4 else activity))


def plain_copy(rule, network):
    """The same weights in modules of our own: blocks and one head a readout."""
    blocks = plain_cnn() if network == "cnn4" else plain_mlp()
    blocks.load_state_dict(rule.network.blocks.state_dict())
    heads = {}
    for name, head in rule.heads.items():
        heads[name] = PlainHead(head.linear.in_features)
        heads[name].load_state_dict(head.state_dict())
    return blocks, heads


def plain_optimizer(modules, kind):
    parameters = [p for module in modules for p in module.parameters()]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": 0.01},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if kind == "sgd":
        return torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.999))


def recipe_for(kind):
    return Recipe(optimizer=kind, learning_rate=0.05 if kind == "sgd" else 0.01, momentum=0.9, weight_decay=0.01)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize(("network", "shape"), [("cnn4", (3, 8, 8)), ("mlp", (12,))])
def test_bp_is_a_plain_pytorch_loop_to_the_last_bit(network, shape, kind):
    rule = small("bp", network, readout="mean", grid=1)
    blocks, heads = plain_copy(rule, network)
    assert list(heads) == ["block3"]
    train(rule, recipe_for(kind), steps=5)
    optimizer = plain_optimizer([blocks, heads["block3"]], kind)
    for x, y in batches(5, shape):
        optimizer.zero_grad()
        F.cross_entropy(heads["block3"](blocks(x)), y).backward()
        optimizer.step()
    assert_equal_bits(rule.network.blocks.state_dict(), blocks.state_dict())
    assert_equal_bits(rule.heads["block3"].state_dict(), heads["block3"].state_dict())


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize(("network", "shape"), [("cnn4", (3, 8, 8)), ("mlp", (12,))])
def test_local_heads_is_every_block_trained_alone_on_detached_inputs_to_the_last_bit(network, shape, kind):
    rule = small("local-heads", network, readout="mean", grid=1)
    blocks, heads = plain_copy(rule, network)
    train(rule, recipe_for(kind), steps=5)
    optimizers = [plain_optimizer([blocks[i], heads[f"block{i}"]], kind) for i in range(DEPTH)]
    for x, y in batches(5, shape):
        h = x
        for index in range(DEPTH):
            activity = blocks[index](h)
            optimizers[index].zero_grad()
            F.cross_entropy(heads[f"block{index}"](activity), y).backward()
            h = activity.detach()
            optimizers[index].step()
    assert_equal_bits(rule.network.blocks.state_dict(), blocks.state_dict())
    for name, head in heads.items():
        assert_equal_bits(rule.heads[name].state_dict(), head.state_dict())


def plain_rms_score(head, activity):
    """Root mean squares of four quarters, standardized over the batch, linear: the default readout in plain autograd."""
    rows, columns = -(-activity.shape[2] // 2), -(-activity.shape[3] // 2)
    cells = [
        part
        for row in activity.split(rows, dim=2)
        for part in row.split(columns, dim=3)
    ]  # fmt: skip
    r = torch.cat([(cell**2 + 1e-12).mean((2, 3)).sqrt() for cell in cells], dim=1)
    r = (r - r.mean(0)) / (r.var(0, correction=0) + 1e-5).sqrt()
    return r @ head.linear.weight.T + head.linear.bias


@pytest.mark.parametrize("name", ["bp", "bp-deepsup", "local-heads"])
def test_gradients_through_the_rms_readout_are_those_of_plain_autograd(name):
    rule = small(name).train()
    blocks, _ = plain_cnn(), None
    blocks.load_state_dict(rule.network.blocks.state_dict())
    x, y = next(batches(1))
    for loss in rule.losses(x, y):
        loss.value.backward()
    heads = {key: [p.grad.clone() for p in head.parameters()] for key, head in rule.heads.items()}
    rule.heads.zero_grad()
    h, total = x, 0.0
    for index in range(DEPTH):
        activity = blocks[index](h.detach() if name == "local-heads" else h)
        if f"block{index}" in rule.heads:
            total = total + F.cross_entropy(plain_rms_score(rule.heads[f"block{index}"], activity), y)
        h = activity
    total.backward()
    for found, expected in zip(rule.network.blocks.parameters(), blocks.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-3, atol=1e-5)
    for key, gradients in heads.items():
        torch.testing.assert_close(gradients, [p.grad for p in rule.heads[key].parameters()], rtol=1e-3, atol=1e-5)


def test_dtg_ff_gradients_are_those_of_every_block_trained_alone_on_normalized_inputs():
    rule = small("class-goodness", temperature_min=0.5, temperature_max=2.0, clarity_momentum=0.5).train()
    blocks = plain_cnn()
    blocks.load_state_dict(rule.network.blocks.state_dict())
    x, y = next(batches(1))
    for loss in rule.losses(x, y):
        loss.value.backward()
    h = x
    for index in range(DEPTH):
        activity = blocks[index](h)
        g = plain_rms_score(rule.heads[f"block{index}"], activity)
        true = g.detach()[torch.arange(12), y]
        wrong = g.detach().masked_fill(F.one_hot(y, K).bool(), -torch.inf).amax(1)
        seen = (
            0.5 * (true - wrong).mean() / g.detach().std(1, correction=0).mean()
        )  # half of it: the average starts at 0
        F.cross_entropy(g / (0.5 + 1.5 * torch.sigmoid(seen)), y).backward()
        h = (activity / activity.square().mean((1, 2, 3), keepdim=True).sqrt()).detach()
    for found, expected in zip(rule.network.blocks.parameters(), blocks.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-3, atol=1e-5)


# --- twins of each other ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("of", "options"), TWINS)
def test_segmented_with_one_segment_of_all_blocks_is_bp_to_the_last_bit(of, options):
    recipe = Recipe(clip=1.0)
    whole, bp = small("segmented", segment_size=DEPTH, of=of, **options), small("bp", of=of, **options)
    train(whole, recipe), train(bp, recipe)
    assert list(whole.state_dict()) == list(bp.state_dict())
    assert_equal_bits(whole.state_dict(), bp.state_dict())
    assert whole.locality == "global"


@pytest.mark.parametrize(("of", "options"), TWINS)
def test_segmented_with_one_block_a_segment_is_the_rule_itself_to_the_last_bit(of, options):
    recipe = Recipe(optimizer="sgd", learning_rate=0.05)
    single, itself = small("segmented", segment_size=1, of=of, **options), small(of, **options)
    train(single, recipe), train(itself, recipe)
    found, expected = single.state_dict(), itself.state_dict()
    assert_equal_bits({key: found[key] for key in expected}, expected)
    assert single.locality == "block"
    x, _ = next(batches(1))
    assert torch.equal(single.eval().scores(x), itself.eval().scores(x))


@pytest.mark.parametrize(("of", "options"), TWINS)
def test_bp_deepsup_is_the_gradient_of_the_rules_summed_local_losses(of, options):
    """The rule's own terms on the same activities, summed and differentiated at once by autograd."""
    twin, rule = small("bp-deepsup", of=of, **options).train(), small(of, **options).train()
    x, y = next(batches(1))
    torch.manual_seed(0)
    (loss,) = twin.losses(x, y)
    assert loss.block == "all"
    loss.value.backward()
    torch.manual_seed(0)
    h, labels = rule.inputs(x, y)
    total = 0.0
    for index, block in enumerate(rule.network.blocks):
        activity = block(h)
        total = total + rule.local_loss(index, activity, labels)[0]
        h = rule.feed(index, activity)
    total.backward()
    assert loss.value.item() == pytest.approx(total.item(), rel=1e-6)
    expected = {name: p.grad for name, p in rule.named_parameters()}
    found = {name: p.grad for name, p in twin.named_parameters()}
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("of", "options"), TWINS)
def test_twins_start_from_the_same_weights_as_their_rule(of, options):
    start = small(of, **options).state_dict()
    for name in ("bp", "bp-deepsup", "segmented"):
        for key, value in small(name, of=of, **options).state_dict().items():
            if key != "fusion_weights":
                assert torch.equal(value, start[key]), (name, key)


def test_twins_read_the_blocks_that_their_segments_end_at():
    assert small("bp").readout_blocks == ["block3"]
    assert small("bp-deepsup").readout_blocks == ["block0", "block1", "block2", "block3"]
    assert small("segmented", segment_size=2).readout_blocks == ["block1", "block3"]
    assert small("segmented", segment_size=3).readout_blocks == ["block2", "block3"]
    names = [loss.block for loss in small("segmented", segment_size=3).losses(*next(batches(1)))]
    assert names == ["block0-2", "block3"]


def test_a_segment_without_a_readout_is_refused_by_name():
    rule = small("local-heads")
    rule.keep_readouts([2, 3])
    with pytest.raises(InputError, match="block0 has no readout"):
        list(rule.losses(*next(batches(1))))


@pytest.mark.parametrize("of", ["bp", "segmented"])
def test_a_twin_of_a_rule_without_local_losses_is_refused(of):
    with pytest.raises(InputError, match="one readout a block"):
        small("bp", of=of)


def test_a_segment_shorter_than_a_block_is_refused():
    with pytest.raises(InputError, match="segment_size"):
        small("segmented", segment_size=0)


@pytest.mark.parametrize("name", ["bp", "bp-deepsup", "segmented"])
def test_a_twin_owns_every_tensor_once(name):
    """Two names for one tensor cannot be saved as safetensors, and would be loaded twice."""
    content = small(name).state_dict()
    assert len({value.data_ptr() for value in content.values() if value.numel()}) == sum(
        1 for value in content.values() if value.numel()
    )


@pytest.mark.parametrize("name", ["bp", "segmented", "bp-every", "feedback", "lookahead"])
def test_weights_of_twins_that_held_their_partner_as_a_part_are_loaded(name):
    """As version 0.1.0 saved them: what is the rule's under ``partner.``."""
    rule = small(name, of="class-goodness")
    train(rule, Recipe(), steps=1)
    shared = small("class-goodness").state_dict().keys()
    old = {f"partner.{key}" if key in shared else key: value for key, value in rule.state_dict().items()}
    fresh = small(name, of="class-goodness")
    fresh.load_state_dict(old)
    assert_equal_bits(fresh.state_dict(), rule.state_dict())
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\) in state_dict: \"nothing\""):
        fresh.load_state_dict(old | {"partner.nothing": torch.zeros(1)})


def test_a_twin_is_a_rule_of_the_class_that_it_is_made_of_and_is_copied_whole():
    twin = small("bp", of="class-goodness")
    assert isinstance(twin, ClassGoodness) and isinstance(twin, BP) and twin.info.name == "bp"
    again = copy.deepcopy(twin)
    assert type(again) is type(twin)
    assert_equal_bits(again.state_dict(), twin.state_dict())


class Counted(LocalHeads):
    """Has an attribute of the name of one that every twin has, and a method of the name of one of some."""

    info = RuleInfo(name="counted", locality="block")

    def __init__(self, network, **options):
        super().__init__(network, **options)
        self.segments = 3


class Reader(LocalHeads):
    info = RuleInfo(name="reader", locality="block")

    def _read_ahead(self):
        """Not the one of `lookahead`."""


@pytest.mark.parametrize(("name", "of", "shared"), [("bp", Counted, "segments"), ("lookahead", Reader, "_read_ahead")])
def test_a_rule_and_its_twin_that_both_have_a_name_are_refused(name, of, shared):
    with pytest.raises(InputError, match=rf"^{of.__name__} and .*'{name}' both .*'{shared}'"):
        small(name, of=of)
    assert small("segmented", of=Reader).readout_blocks == ["block1", "block3"]


# --- segments of unequal length ---------------------------------------------------------------------------------------


ADDRESSES = count(100)


def storages(*sizes, shared=()):
    """A block that saves storages of its own of these sizes, and ``shared`` ones (address, bytes)."""
    own = {next(ADDRESSES): size for size in sizes}
    return BlockBytes(own | dict(shared), (0, 0))


def test_segments_of_told_sizes():
    rule = small("segmented", segments="1-3")
    assert [loss.block for loss in rule.losses(*next(batches(1)))] == ["block0", "block1-3"]
    assert rule.readout_blocks == ["block0", "block3"] and rule.locality == "segment"
    assert small("bp-deepsup", segments="1-3").readout_blocks == ["block0", "block3"]
    assert small("segmented", segments="1-3", readouts="all").readout_blocks == [f"block{index}" for index in range(4)]
    assert (
        small("segmented", segments="1-1-1-1").locality == "block"
        and small("segmented", segments="3-1").locality == "segment"
    )


@pytest.mark.parametrize("of", ["local-heads", "class-goodness"])
def test_one_segment_with_every_readout_is_deep_supervision_to_the_last_bit(of):
    whole, deep = small("segmented", segments="4", readouts="all", of=of), small("bp-deepsup", of=of)
    train(whole, Recipe()), train(deep, Recipe())
    assert_equal_bits(whole.state_dict(), deep.state_dict())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"segments": "1-2"}, "segments '1-2' make up 3 blocks, and the network has 4"),
        ({"segments": "1-0-3"}, "segments must be 'free' or the blocks of each segment, such as '1-1-2', got '1-0-3'"),
        ({"segments": "cheap"}, "got 'cheap'"),
        ({"segments": ""}, "got ''"),
        ({"readouts": "some"}, "readouts must be 'ends' or 'all', got 'some'"),
    ],
)
def test_segments_that_are_none_are_refused(options, said):
    with pytest.raises(InputError) as refused:
        small("segmented", **options)
    assert said in str(refused.value)


def test_free_segments_are_filled_from_the_end_up_to_the_bytes_there_are():
    blocks = [storages(size) for size in (4, 10, 5, 3, 2, 1)]
    assert free_segments(blocks, most=10) == [range(0, 1), range(1, 2), range(2, 3), range(3, 6)]  # 5 + 3 + 2 + 1 > 10
    assert free_segments(blocks, most=11) == [range(0, 1), range(1, 2), range(2, 6)]
    assert free_segments(blocks, most=25) == [range(0, 6)]
    both = ((7, 4),)
    shared = [storages(6), storages(1, shared=both), storages(1, shared=both)]
    assert free_segments(shared, most=6) == [range(0, 1), range(1, 3)]  # 1 + 1 + 4 once


@pytest.mark.parametrize(
    ("network", "of"),
    [("vgg8", "local-heads"), ("vgg8", "class-goodness"), ("vgg8", "committee"), ("resnet18", "class-goodness")],
)
@pytest.mark.parametrize("readouts", ["ends", "all"])
@pytest.mark.parametrize("fused", [False, True])
def test_free_segments_save_no_more_than_a_boundary_after_every_block_and_fewer_would(network, of, readouts, fused):
    def peak(name, **options):
        built = create_network(network, in_channels=3, image_size=32, width=0.125, fused=fused, seed=0)
        rule = create_rule(name, built, num_classes=K, seed=0, **options)
        x, y = torch.randn(6, 3, 32, 32), torch.arange(6) % K
        return rule, measure_saved_bytes(rule, x, y)["peak_saved_bytes"]

    rule, free = peak("segmented", of=of, segments="free", readouts=readouts)
    sizes = [len(segment) for segment in rule.segments]
    assert free <= peak(of)[1]
    assert 1 < len(sizes) < sum(sizes) and sizes[-1] > 1
    for index in range(len(sizes) - 1) if readouts == "all" else ():
        fewer = [*sizes[:index], sizes[index] + sizes[index + 1], *sizes[index + 2 :]]
        assert peak("segmented", of=of, segments="-".join(map(str, fewer)), readouts="all")[1] > free


def test_looking_for_free_segments_leaves_the_rule_as_it_would_have_been():
    torch.manual_seed(3)
    free = small("segmented", segments="free", of="class-goodness")
    drawn = torch.rand(3)
    torch.manual_seed(3)
    told = small("segmented", segments="-".join(str(len(segment)) for segment in free.segments), of="class-goodness")
    assert torch.equal(drawn, torch.rand(3))
    assert_equal_bits(free.state_dict(), told.state_dict())
    assert free.training == told.training
