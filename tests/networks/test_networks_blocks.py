"""What a list of blocks must be to be a network, and blocks that write into their input."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layerlocal.data import Split, data_from_splits
from layerlocal.measure import measure_locality, measure_saved_bytes
from layerlocal.networks import Network, create_network, network_options
from layerlocal.rules import create_rule
from layerlocal.spec import Recipe
from layerlocal.training.train import train_rule
from layerlocal.types import InputError
from rules_by_hand import ANY_NETWORK

K = 3


class Block(nn.Module):
    """Whatever a function makes of its input."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.linear = nn.Linear(6, 6)

    def forward(self, x):
        """(B, 6) → anything."""
        return self.function(self.linear(x))


def chain(*blocks, size=6):
    return Network(list(blocks), sample_shape=(size,))


# --- what is refused --------------------------------------------------------------------------------------------------

ACTIVITIES = [
    (lambda x: (x, x), r"block1 \(Block\) returns a tuple"),
    (lambda x: [x], "block1 .* returns a list"),
    (lambda x: {"out": x}, "block1 .* returns a dict"),
    (lambda x: None, "block1 .* returns None"),
    (lambda x: x.to(torch.complex64), "block1 .* returns complex64 numbers"),
    (lambda x: x.argmax(1), "block1 .* returns int64 numbers"),
    (lambda x: x > 0, "block1 .* returns bool numbers"),
    (lambda x: x.sum(), r"block1 .* shape \(\) .*batch of 2"),
    (lambda x: x.sum(1), r"block1 .* shape \(2,\) .*batch of 2"),
    (lambda x: x.mean(0, keepdim=True), r"block1 .* shape \(1, 6\) .*batch of 2"),
    (lambda x: x.reshape(-1, 3), r"block1 .* shape \(4, 3\) .*batch of 2"),
    (lambda x: x[:, :0], r"block1 .* without numbers, .*shape \(0,\)"),
    (lambda x: x.missing, "block1 .*AttributeError at test_networks_blocks.py"),
    (lambda x: x @ torch.zeros(5, 5), "block1 .*input of shape"),
]


@pytest.mark.parametrize(("function", "words"), ACTIVITIES, ids=[words[:45] for _, words in ACTIVITIES])
def test_a_block_that_gives_no_activity_is_named_when_the_network_is_made(function, words):
    with pytest.raises(InputError, match=words) as refusal:
        chain(nn.Linear(6, 6), Block(function))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.float16])
def test_weights_of_another_type_are_refused_with_the_way_out(kind):
    name = str(kind).removeprefix("torch.")
    words = f"blocks.1.weight .*{name}, .*float32; call .float"
    with pytest.raises(InputError, match=words):
        chain(nn.Linear(6, 6), nn.Linear(6, 6).to(kind))
    made = chain(nn.Linear(6, 6), nn.Linear(6, 6))
    made.blocks[1].to(kind)
    with pytest.raises(InputError, match=words):
        create_rule("local-heads", made, num_classes=K)
    rule = create_rule("bp", chain(nn.Linear(6, 6)), num_classes=K).to(kind)
    with pytest.raises(InputError, match=rf"{name}, .*call .float"):
        train_rule(rule, vectors())


def test_blocks_that_share_what_learns_or_moves_are_refused_and_what_does_neither_may_be_shared():
    linear, norm, frozen = nn.Linear(6, 6), nn.BatchNorm1d(6, affine=False), nn.Linear(6, 6).requires_grad_(False)
    with pytest.raises(InputError, match=r"block0 and block2 .*'weight', .*copy.deepcopy"):
        chain(linear, nn.ReLU(), linear)
    with pytest.raises(InputError, match="block0 and block1 share '1'"):
        chain(nn.Sequential(nn.Linear(6, 6), norm), nn.Sequential(nn.Linear(6, 6), norm))
    tied = nn.Linear(6, 6)
    tied.weight = linear.weight
    with pytest.raises(InputError, match=r"block0 and block1 share '0\.weight'"):
        chain(linear, nn.Sequential(tied))
    relu = nn.ReLU()
    assert chain(frozen, relu, linear, relu, frozen).depth == 5


MADE = [
    (lambda: Network(None, sample_shape=(6,)), "list of blocks .*, got None"),
    (lambda: Network("mlp", sample_shape=(6,)), "list of blocks .*, got a str"),
    (lambda: Network(7, sample_shape=(6,)), "got an int"),
    (lambda: Network(nn.Linear(6, 6), sample_shape=(6,)), "got a Linear"),
    (lambda: Network([], sample_shape=(6,)), "at least one block"),
    (lambda: Network([nn.Linear(6, 6), F.relu], sample_shape=(6,)), "block1 is a function"),
    (lambda: Network([nn.ReLU], sample_shape=(6,)), "block0 is the class ReLU"),
    (lambda: Network([None], sample_shape=(6,)), "block0 is None"),
    *[
        (lambda shape=shape: Network([nn.Linear(6, 6)], sample_shape=shape), "sample_shape is")
        for shape in (6, None, (), "6", (6.5,), (-6,), (0,), (math.nan,), (True,), ("6",))
    ],
    (lambda: Network.from_module(None, ["0"], sample_shape=(6,)), "cut from an nn.Module, got NoneType"),
    (lambda: Network.from_module(nn.ReLU(), "0", sample_shape=(6,)), "blocks is a list"),
    (lambda: Network.from_module(nn.ReLU(), [5], sample_shape=(6,)), "blocks is a list"),
    (lambda: Network.from_module(nn.Sequential(nn.ReLU()), [[]], sample_shape=(6,)), "blocks is a list"),
    (lambda: create_network(None, in_channels=3, image_size=8), "network by name .*mlp.*got None"),
    (lambda: create_network(nn.ReLU(), in_channels=3, image_size=8), "network by name .*got ReLU"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "words"), MADE, ids=[f"{i} {words[:30]}" for i, (_, words) in enumerate(MADE)])
def test_what_makes_no_network_is_refused_in_one_sentence(make, words):
    with pytest.raises(InputError, match=words) as refusal:
        make()
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", [list, tuple, nn.ModuleList, lambda blocks: nn.Sequential(*blocks)])
def test_any_sequence_of_modules_makes_a_network(kind):
    assert Network(kind([nn.Linear(6, 4), nn.ReLU()]), sample_shape=[np.int64(6)]).activity_shapes == [(4,), (4,)]


# --- options of networks by name --------------------------------------------------------------------------------------

VALUES = [-5, 0, 1.5, math.nan, math.inf, "x", None, 10**9, True, [1], "1"]
TAKEN = {
    "depth": [None], "norm": [True], "seed": [0, None, 10**9], "channels_last": [True], "compile": [], "fused": [True],
    "width": [1.5], "in_channels": [], "image_size": [], "hidden": [], "first": [], "stem": [],
}  # fmt: skip
"""Which of the values an option takes; all others are refused. (``compile=True`` takes seconds: `test_networks_compile`.)"""
OPTIONS = [
    (name, option)
    for name in ("mlp", "cnn4", "resnet18")
    for option in [
        *network_options(name), "width", "in_channels", "image_size", "seed", "channels_last", "compile", "fused",
    ]
]  # fmt: skip


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_every_option_takes_what_it_can_and_refuses_all_else_in_one_sentence_that_names_it(name, option, monkeypatch):
    monkeypatch.setattr("layerlocal.networks.blocks._memory_bytes", lambda: 1e9)  # whatever the machine
    for value in VALUES:
        if option == "compile" and value is True:
            continue
        given = {"in_channels": 3, "image_size": 8, "width": 0.05, option: value}
        if any(value is taken for taken in TAKEN[option]) and not (name == "mlp" and option == "depth"):
            create_network(name, **given)
            continue
        with pytest.raises(InputError) as refusal:
            create_network(name, **given)
        assert "\n" not in str(refusal.value)
        assert option in str(refusal.value) or f"network {name!r}" in str(refusal.value)


def test_numpy_numbers_are_numbers():
    made = create_network(
        "mlp", in_channels=np.int64(3), image_size=np.int32(4), width=np.float32(0.25), depth=np.int64(2), hidden=np.int16(8)
    )  # fmt: skip
    assert made.activity_shapes == [(2,), (2,)]


def test_more_weights_than_memory_are_refused_before_they_are_filled(monkeypatch):
    monkeypatch.setattr("layerlocal.networks.blocks._memory_bytes", lambda: 4 * 4 * 1000)
    assert create_network("mlp", in_channels=9, image_size=1, hidden=9, depth=9, norm=False).depth == 9  # 810 numbers
    with pytest.raises(
        InputError,
        match=r"'mlp' .* GB .*1\.6e-05 GB",
    ):
        create_network("mlp", in_channels=9, image_size=1, hidden=30, depth=9)
    network = create_network("mlp", in_channels=9, image_size=1, hidden=9, depth=1)
    with pytest.raises(InputError, match="the weights of rule 'local-heads' need "):
        create_rule("local-heads", network, num_classes=500)
    nn.Linear(100, 100)  # nobody watches any more


# --- blocks that begin in place ---------------------------------------------------------------------------------------


def vectors():
    x = torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
    split = Split(x, torch.arange(24) % K)
    return data_from_splits("vectors", split, test=split, validation=split)


def images():
    x = torch.randn(24, 3, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.2
    split = Split(x, torch.arange(24) % K)
    return data_from_splits("images", split, test=split, validation=split)


def network(inplace):
    """Every block but one begins with an activation, the first too; the third is reached through a view."""
    torch.manual_seed(3)

    def relu():
        return nn.ReLU(inplace=inplace)

    def conv(inputs, outputs):
        return nn.Conv2d(inputs, outputs, 3, padding=1)

    return Network(
        [
            nn.Sequential(relu(), conv(3, 6), nn.BatchNorm2d(6)),
            nn.Sequential(relu(), conv(6, 6), nn.Dropout(0.2, inplace=inplace)),
            nn.Sequential(nn.Identity(), nn.Sequential(nn.Dropout(0.1, inplace=inplace), conv(6, 6))),
            nn.Sequential(nn.LeakyReLU(0.1, inplace=inplace), nn.AdaptiveAvgPool2d(2)),
            nn.Sequential(conv(6, 6)),
        ],
        sample_shape=(3, 8, 8),
    )


def state(rule, recipe):
    found = train_rule(rule, images(), recipe, seed=1)
    losses = {f"loss {k}": torch.tensor(v) for record in found for k, v in record.losses.items()}
    return rule.state_dict() | losses | {"accuracy": torch.tensor(found[-1].validation.accuracy)}


RULES = [(name, {}, {}) for name in ANY_NETWORK] + [
    ("bp", {"of": "ff"}, {"checkpointing": True}),
    ("bp-deepsup", {"of": "class-goodness"}, {"checkpointing": True}),
    ("bp-deepsup", {"of": "cwcomp"}, {"micro_batches": 2}),
    ("local-heads", {}, {"micro_batches": 2, "step_per_block": False}),
    ("lookahead", {"of": "ff", "blocks_ahead": 4}, {}),
    ("feedback", {"of": "class-goodness"}, {"step_per_block": True}),
    ("segmented", {"segment_size": 2, "readouts": "all"}, {"checkpointing": True, "precision": "bf16"}),
    ("segmented", {"of": "reconstruct"}, {}),
    ("bp-deepsup", {"of": "reconstruct"}, {"checkpointing": True}),
]


@pytest.mark.filterwarnings("ignore:the heads of")
@pytest.mark.parametrize(("name", "options", "recipe"), RULES, ids=lambda value: str(value))
def test_a_block_that_begins_in_place_trains_as_one_that_does_not_to_the_last_bit(name, options, recipe):
    found, expected = (
        state(
            create_rule(name, network(inplace), num_classes=K, seed=0, **options),
            Recipe(epochs=2, batch_size=12, **recipe),
        )
        for inplace in (True, False)
    )
    assert found.keys() == expected.keys()
    assert not [key for key in expected if not torch.equal(found[key], expected[key])]


@pytest.mark.parametrize("name", ["local-heads", "bp", "bp-deepsup", "lookahead"])
def test_measures_of_blocks_that_begin_in_place_are_those_of_blocks_that_do_not(name):
    x, y = torch.randn(8, 3, 8, 8), torch.arange(8) % K
    rules = [create_rule(name, network(inplace).eval(), num_classes=K, seed=0) for inplace in (True, False)]
    given = x.clone()
    certificates = [measure_locality(rule, x, y) for rule in rules]
    assert certificates[0] == certificates[1]
    assert certificates[0]["certified"], certificates[0]["problems"]
    assert torch.equal(x, given)  # the batch of whoever measures
    assert all(measure_saved_bytes(rule, x, y)["left_saved_bytes"] == 0 for rule in rules)
    module = rules[0].eval().to_module()
    torch.testing.assert_close(module(x), rules[1].eval().scores(x))
    assert torch.equal(x, given)


def test_only_blocks_that_write_into_their_input_get_a_copy():
    made = network(True)
    assert [len(block._forward_pre_hooks) for block in made.blocks] == [1, 1, 1, 1, 0]
    assert not any(block._forward_pre_hooks for block in network(False).blocks)
    for name in ("mlp", "cnn4", "resnet18"):
        own = create_network(name, in_channels=3, image_size=8, width=0.1)
        assert not any(part._forward_pre_hooks for part in own.modules())
    again = Network(list(made.blocks), sample_shape=(3, 8, 8))
    assert [len(block._forward_pre_hooks) for block in copy.deepcopy(again).blocks] == [1, 1, 1, 1, 0]


class InTraining(nn.Module):
    """Writes into its input by a function, and in training only, so that only a training step can show it."""

    def __init__(self, inplace):
        super().__init__()
        self.inplace_ = inplace
        self.linear = nn.Linear(6, 6)

    def forward(self, x):
        """(B, 6) → (B, 6)."""
        if self.training:
            x = x.mul_(2) if self.inplace_ else x * 2
        return self.linear(x)


@pytest.mark.parametrize(("name", "recipe"), [("bp-deepsup", {}), ("bp", {"checkpointing": True}), ("lookahead", {})])
def test_a_block_that_writes_into_its_input_in_training_only_is_found_before_the_first_step(name, recipe):
    states = []
    for inplace in (True, False):
        torch.manual_seed(4)
        blocks = [nn.Sequential(nn.Linear(6, 6), nn.Sigmoid()), InTraining(inplace), nn.Sequential(nn.Sigmoid())]
        rule = create_rule(name, chain(*blocks), num_classes=K, seed=0)
        train_rule(rule, vectors(), Recipe(epochs=2, batch_size=12, **recipe))
        states.append(rule.state_dict())
    assert not [key for key in states[1] if not torch.equal(states[0][key], states[1][key])]
