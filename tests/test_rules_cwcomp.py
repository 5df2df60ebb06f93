"""CwComp: channels are dealt to classes in order, goodness is their mean square, and what cannot be dealt is refused with a way out.

The helpers here also serve the tests of `deeperforward` and `asge`.
"""

from __future__ import annotations

import math
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import layerlocal.rules.cwcomp
from layerlocal.check import CHECKS, check_rule
from layerlocal.networks import Network, create_network
from layerlocal.rules import create_rule
from layerlocal.rules.cwcomp import ChannelGroups, class_goodness
from layerlocal.spec import Recipe
from layerlocal.train import make_optimizer, train_step
from layerlocal.types import InputError

K = 3
X = torch.randn(12, 3, 16, 16, generator=torch.Generator().manual_seed(1))
Y = torch.arange(12) % K
NETWORKS = {
    "cnn4": {"in_channels": 3, "image_size": 8, "width": 9 / 32},
    "mlp": {"in_channels": 3, "image_size": 8, "hidden": 24},
}


def network(name="cnn4", **options):
    """A narrow network for 16-pixel images, all of whose channels divide by 3."""
    narrow = {"cnn4": 9 / 32, "vgg8": 9 / 128, "resnet18": 9 / 64, "mlp": 24 / 256}[name]
    return create_network(name, in_channels=3, image_size=16, width=narrow, seed=0, **options)


def make(name="cwcomp", of="cnn4", **options):
    return create_rule(name, network(of), num_classes=K, seed=0, **options)


def trained(rule, steps=3, recipe=None):
    """After a few steps, so that no statistic and no weight is the one it began with."""
    recipe = recipe or Recipe(optimizer="sgd", learning_rate=0.1)
    optimizer = make_optimizer(rule.train(), recipe)
    generator = torch.Generator().manual_seed(5)
    for _ in range(steps):
        x = torch.randn(12, *rule.network.sample_shape, generator=generator) + 0.5
        train_step(rule, x, Y, optimizer, recipe=recipe)
    return rule.eval()


def run(rule):
    """Losses by block and gradients by parameter, of one batch."""
    losses = {}
    for loss in rule.train().losses(X, Y):
        loss.value.backward()
        losses[loss.block] = loss.value.detach()
    return losses, {name: p.grad for name, p in rule.named_parameters() if p.grad is not None}


def by_hand(rule, loss_of, feed):
    """`run` in plain PyTorch: a gradient boundary before each block, ``loss_of(index, activity)``, ``feed(activity)`` to the next."""
    losses, h = {}, X
    for index, block in enumerate(rule.train().network.blocks):
        activity = block(h.detach())
        loss = loss_of(index, activity)
        loss.backward()
        losses[f"block{index}"] = loss.detach()
        h = feed(activity.detach())
    return losses, {name: p.grad for name, p in rule.named_parameters() if p.grad is not None}


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=2e-4, atol=2e-6)


def assert_fused_is_the_same(name, of, grids, **options):
    """One operation a block, which makes the root mean squares of ``grids`` cells on its way, gives the plain blocks' numbers."""
    plain = make(name, of, **options)
    fused = create_rule(name, network(of, fused=True, channels_last=True), num_classes=K, seed=0, **options)
    assert [block.cells for block in fused.network.blocks] == grids
    for found, expected in zip(run(fused), run(plain), strict=True):
        assert found.keys() == expected.keys()
        for key in expected:
            torch.testing.assert_close(found[key].contiguous(), expected[key], rtol=2e-3, atol=2e-5)


def assert_module_gives_the_scores(name, of, export=True, **options):
    """The plain module, and what `torch.export` makes of it for batches of any size, score as the rule does."""
    rule = trained(create_rule(name, network(of, fused=of != "mlp"), num_classes=K, seed=0, **options))
    module = rule.to_module()
    with torch.no_grad():
        expected = rule.scores(X)
        assert expected.std() > 1e-3
        assert_same(module(X), expected)
        if export:
            program = torch.export.export(module, (X,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
            assert_same(program.module()(X[:5]), expected[:5])


def broken_clauses(monkeypatch, rule, on, **options):
    """What `check_rule` finds wrong with a rule on a network whose channels divide by its three classes."""
    monkeypatch.setattr(
        "layerlocal.check._Bench.network",
        lambda _, depth=4, seed=0: create_network(on, depth=depth, seed=seed, **NETWORKS[on]),
    )
    results = check_rule(rule, **options)
    assert len(results) == len(CHECKS)
    return [(result.name, result.message) for result in results if not result.passed]


# --- goodness ---------------------------------------------------------------------------------------------------------


def test_goodness_is_the_mean_square_of_each_classs_consecutive_channels():
    """Not the square of the mean (2.25 for the first class), not every second channel (4.5)."""
    activity = torch.tensor([[[[1.0, 3.0]], [[0.0, 2.0]], [[2.0, 2.0]], [[1.0, 1.0]]]])  # (1, 4, 1, 2)
    assert class_goodness(activity, 2).tolist() == [[(1 + 9 + 0 + 4) / 4, (4 + 4 + 1 + 1) / 4]]
    assert class_goodness(activity, 2, "mean").tolist() == [[(1 + 3 + 0 + 2) / 4, (2 + 2 + 1 + 1) / 4]]
    vectors = torch.tensor([[1.0, 3.0, 2.0, 0.0, 5.0, 1.0]])
    assert class_goodness(vectors, 3).tolist() == [[5.0, 2.0, 13.0]]
    assert class_goodness(vectors, 2, "mean").tolist() == [[2.0, 2.0]]


@pytest.mark.parametrize("shape", [(12, 6, 5, 4), (12, 6)])
def test_the_readout_is_goodness_over_temperature_with_the_gradient_of_autograd(shape):
    """In training mode it takes another way, whose gradient is made by hand."""
    readout = ChannelGroups(K, statistic="mean-square", temperature=0.5)
    found, gradients = [], []
    for training in (True, False):
        activity = torch.randn(shape, generator=torch.Generator().manual_seed(0)).relu().requires_grad_()
        scores = readout.train(training)(activity)
        (scores * torch.arange(36).view(12, 3)).sum().backward()
        found.append(scores.detach())
        gradients.append(activity.grad)
    expected = activity.detach().reshape(12, K, -1).square().mean(2) / 0.5
    assert_same(found, [expected, expected])
    weight = torch.arange(36).view(12, 3, 1) * 2 / 0.5 / (activity[0].numel() / K)
    by_formula = (activity.detach().reshape(12, K, -1) * weight).view(shape)
    assert_same(gradients, [by_formula, by_formula])


# --- the loss and the walk --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("of", "temperature"), [("cnn4", 1.0), ("cnn4", 0.25), ("mlp", 1.0), ("resnet18", 1.0)])
def test_each_block_learns_by_the_cwc_loss_of_its_own_activity_alone(of, temperature):
    """−log(exp g_y / Σ_k exp g_k), a boundary between blocks, and the activity itself fed on."""

    def cwc(_, activity):
        goodness = activity.reshape(12, K, -1).square().mean(2) / temperature
        return -(goodness[torch.arange(12), Y].exp() / goodness.exp().sum(1)).log().mean()

    losses, gradients = by_hand(make(of=of), cwc, feed=lambda activity: activity)
    found, found_gradients = run(make(of=of, temperature=temperature))
    assert_same(found, losses)
    assert_same(found_gradients, gradients)


def test_label_smoothing_is_that_of_cross_entropy():
    found, _ = run(make(label_smoothing=0.3))
    expected, _ = by_hand(
        make(),
        lambda _, a: F.cross_entropy(a.reshape(12, K, -1).square().mean(2), Y, label_smoothing=0.3),
        feed=lambda activity: activity,
    )
    assert_same(found, expected)


@pytest.mark.parametrize(("fusion", "weights"), [("last", [0, 0, 0, 1]), ("uniform", [0.25] * 4)])
def test_the_last_block_predicts_unless_blocks_are_fused(fusion, weights):
    rule = trained(make(temperature=0.5, fusion=fusion))
    h, logs = X, []
    with torch.no_grad():
        for index, block in enumerate(rule.network.blocks):
            h = block(h)
            goodness = h.reshape(12, K, -1).square().mean(2) / 0.5
            assert_same(rule.block_scores(X)[index], goodness)
            logs.append(goodness.log_softmax(-1))
        assert_same(rule.scores(X), sum(weight * log for weight, log in zip(weights, logs, strict=True)))
    assert torch.equal(make().fusion_weights, torch.tensor([0.0, 0.0, 0.0, 1.0])), "as in the paper"


def test_micro_batches_are_the_step_of_the_whole_batch_where_no_batch_statistics_are():
    steps = []
    for parts in (1, 3):
        rule = create_rule("cwcomp", network(norm=False), num_classes=K)
        trained(rule, steps=1, recipe=Recipe(optimizer="sgd", learning_rate=0.1, micro_batches=parts))
        steps.append(dict(rule.named_parameters()))
    assert_same(steps[1], steps[0])
    assert not torch.equal(steps[0]["network.blocks.0.0.weight"], network(norm=False).blocks[0][0].weight)


# --- the contract, fused blocks, export -------------------------------------------------------------------------------


@pytest.mark.parametrize("on", NETWORKS)
def test_it_keeps_every_clause_of_the_contract(on, monkeypatch):
    assert not broken_clauses(monkeypatch, "cwcomp", on)


@pytest.mark.parametrize(("of", "depth"), [("cnn4", 4), ("vgg8", 6), ("resnet18", 9)])
def test_fused_blocks_give_the_same_losses_and_gradients(of, depth):
    assert_fused_is_the_same("cwcomp", of, [1] * depth)


def test_a_block_that_lost_its_readout_makes_no_root_mean_squares():
    rule = create_rule("bp", network(fused=True), num_classes=K, of="cwcomp")
    assert [block.cells for block in rule.network.blocks] == [0, 0, 0, 1]


@pytest.mark.parametrize(("of", "fusion"), [("cnn4", "uniform"), ("mlp", "last"), ("resnet18", "last")])
def test_the_module_and_its_export_give_the_rules_scores(of, fusion):
    assert_module_gives_the_scores("cwcomp", of, export=of == "cnn4", fusion=fusion)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of", "width", "num_classes", "block", "factor"),
    [
        ("cnn4", 1.0, 10, "block0 has 32 channels", 30 / 32),
        ("cnn4", 1.0, 100, "block0 has 32 channels", 100 / 32),
        ("vgg8", 1.0, 10, "block0 has 128 channels", 130 / 128),
        ("vgg8", 0.5, 100, "block0 has 64 channels", 100 / 64),
        ("resnet18", 0.125, 10, "block0 has 8 channels", 10 / 8),
        ("mlp", 1.0, 10, "block0 has 256 units", 260 / 256),
    ],
)
def test_channels_that_do_not_divide_are_refused_with_the_nearest_width_that_works(
    of, width, num_classes, block, factor
):
    def rule(width):
        made = create_network(of, in_channels=3, image_size=8, width=width)
        return create_rule("cwcomp", made, num_classes=num_classes)

    with pytest.raises(InputError, match=f"^{block}, .* to {num_classes} classes") as refusal:
        rule(width)
    proposed = float(re.search(r"width by ([0-9.]+) ", str(refusal.value))[1])
    assert proposed == pytest.approx(factor, rel=1e-7) and "'asge'" in str(refusal.value)
    assert all(shape[0] % num_classes == 0 for shape in rule(width * proposed).network.activity_shapes)


def test_where_no_common_width_is_near_the_sentence_names_the_blocks_own_nearest():
    blocks = [nn.Linear(7, 64), nn.Linear(64, 70)]
    with pytest.raises(InputError, match=r"block0 has 64 units.* 100 classes; give it 100 or another multiple of 100"):
        create_rule("cwcomp", Network(blocks, sample_shape=(7,)), num_classes=100)


def test_a_later_block_that_does_not_divide_is_named():
    with pytest.raises(
        InputError, match=r"block1 has 8 units.* 3 classes; multiply the network's width by 1\.5 \(to 9, 12\)"
    ):
        create_rule("cwcomp", Network([nn.Linear(7, 6), nn.Linear(6, 8)], sample_shape=(7,)), num_classes=3)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.0},
        {"temperature": -1.0},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"temperature": "hot"},
        {"fusion": "span"},
        {"label_smoothing": 1.0},
    ],
)
def test_values_out_of_range_are_refused(options):
    with pytest.raises(InputError):
        make(**options)


def test_it_is_registered_as_a_local_rule_without_negatives():
    info = layerlocal.rules.cwcomp.CwComp.info
    assert (info.name, info.locality, info.negatives, info.compares_samples) == ("cwcomp", "block", False, False)
    assert not list(make().heads.parameters())
