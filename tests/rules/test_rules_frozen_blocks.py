"""Blocks with nothing to train, frozen or without parameters: every rule runs them and trains the others as if they were no blocks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from layerlocal.data import Split, data_from_splits
from layerlocal.measure import count_passes, measure_flops, measure_locality, measure_saved_bytes
from layerlocal.networks import Network, create_network
from layerlocal.rules import BlockwiseRule, RuleInfo, create_rule, list_rules
from layerlocal.spec import Recipe
from layerlocal.training.train import Training, train_rule
from layerlocal.types import InputError
from rules_by_hand import OF_TOKENS

K = 3
X = torch.randn(24, 3, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(24) % K


def data():
    split = Split(X, Y)
    return data_from_splits("images", split, test=split, validation=split)


def conv(inputs, seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(inputs, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())


def network():
    """Trained, frozen, trained, a pooling, a flattening of units."""
    frozen = conv(6, 1).requires_grad_(False)
    return Network(
        [conv(3, 0), frozen, conv(6, 2), nn.MaxPool2d(2), nn.Sequential(nn.Flatten())], sample_shape=(3, 8, 8)
    )


TOKENS = {"name": "vit", "in_channels": 3, "image_size": 8, "hidden": 24, "depth": 3, "seed": 0}
RULES = [(name, {}) for name in list_rules()] + [
    (twin, {"of": rule})
    for twin in ("bp", "bp-deepsup", "segmented", "lookahead", "bp-every")
    for rule in ("ff", "symba", "cwcomp", "deeperforward", "hcl-ff", "asge", "sigprop", "scff")
]
RULES += [("feedback", {"of": rule}) for rule in ("asge", "cwcomp")]
RULES += [("segmented", {"of": "ff", "segment_size": 1}), ("ff", {"prediction": "softmax"})]


@pytest.mark.filterwarnings("ignore:the heads of")
@pytest.mark.parametrize(("name", "options"), RULES, ids=lambda value: str(value))
def test_every_rule_trains_around_blocks_with_nothing_to_train_and_is_certified(name, options):
    made = create_network(**TOKENS) if name in OF_TOKENS else network()
    if name in OF_TOKENS:
        made.blocks[1].requires_grad_(False)
    rule = create_rule(name, made, num_classes=K, seed=0, **options)
    before = {key: value.clone() for key, value in rule.network.named_parameters()}
    records = train_rule(rule, data(), Recipe(epochs=1, batch_size=12), seed=0)
    moved = {key.split(".")[1] for key, value in rule.network.named_parameters() if not torch.equal(value, before[key])}
    assert moved == {"0", "2"}
    assert 0 <= records[0].validation.accuracy <= 1
    certificate = measure_locality(rule, X[:8], Y[:8])
    assert certificate["certified"], certificate["problems"]
    assert measure_saved_bytes(rule, X[:8], Y[:8])["left_saved_bytes"] == 0
    assert measure_flops(rule, X[:8], Y[:8])["flops_per_step"] > 0
    counted = count_passes(rule, X[:8], Y[:8])
    assert counted["passes_per_prediction"] == rule.passes_per_prediction


@pytest.mark.parametrize("name", ["ff", "symba", "cwcomp", "asge", "sigprop", "scff", "local-heads", "class-goodness"])
def test_what_follows_a_block_of_a_local_rule_changes_it_by_no_bit(name):
    """Also where what follows has nothing to train: the first block learns as in a network that is it alone."""
    states = []
    for made in (network(), Network([conv(3, 0)], sample_shape=(3, 8, 8))):
        rule = create_rule(name, made, num_classes=K, seed=0, **({"alpha": 0.0} if name == "asge" else {}))
        training = Training(rule, data(), Recipe(epochs=1, steps=2, batch_size=12, schedule="constant"), seed=0)
        training.run_epoch()
        states.append(made.blocks[0].state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize(
    "recipe", [{"step_per_block": True}, {"clip": 0.1}, {"micro_batches": 2}, {"precision": "bf16"}]
)
def test_options_of_the_recipe_work_with_blocks_that_have_nothing_to_train(recipe):
    records = train_rule(
        create_rule("ff", network(), num_classes=K, seed=0), data(), Recipe(epochs=1, batch_size=12, **recipe)
    )
    assert set(records[0].losses) == {"block0", "block2"}


def test_a_network_with_nothing_to_train_is_refused_or_trains_its_heads():
    still = Network([conv(3, 0).requires_grad_(False), nn.MaxPool2d(2)], sample_shape=(3, 8, 8))
    with pytest.raises(InputError, match="rule 'ff' has no trainable parameter"):
        train_rule(create_rule("ff", still, num_classes=K, seed=0), data(), Recipe(batch_size=12))
    records = train_rule(
        create_rule("local-heads", still, num_classes=K, seed=0), data(), Recipe(epochs=1, batch_size=12)
    )
    assert set(records[0].losses) == {"block0", "block1"}
    pools = Network([nn.MaxPool2d(2), nn.Flatten()], sample_shape=(3, 8, 8))
    assert create_rule("segmented", pools, num_classes=K, segments="free").to_module()(X).shape == (24, K)


class Cut(BlockwiseRule):
    """Loses the graph of block 0, which has weights."""

    info = RuleInfo(name="cut", locality="block")

    def local_loss(self, index, activity, y):
        """The mean square."""
        return (activity.detach() if index == 0 else activity).square().mean(), {}

    def block_score(self, index, activity):
        """Nothing of use."""
        return activity.flatten(1)[:, : self.num_classes]


def test_a_loss_without_a_graph_is_refused_where_there_is_something_to_train():
    rule = create_rule(Cut, network(), num_classes=K)
    words = "the loss of block0 has no graph, so it cannot train what is there; local_loss of Cut must not detach"
    with pytest.raises(InputError, match=words):
        list(rule.losses(X, Y))
    with pytest.raises(InputError, match=words):
        train_rule(rule, data(), Recipe(batch_size=12))
    with torch.no_grad():  # whoever looks at values only
        assert len(list(rule.losses(X, Y))) == 5
