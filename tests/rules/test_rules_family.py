"""What every rule of the family owes its users: a theorem is a test, and its table says which rules, options and networks it is checked on.

They keep the contract, do the same on fused blocks, as a plain module and exported, cut batches or say why not, have twins, draw their heads
block by block and fuse blocks alike. What is the maths of one rule is in the file of that rule; what they refuse is in `test_rules_refusals.py`.
"""

from __future__ import annotations

import inspect
import math

import pytest
import torch
import torch.nn.functional as F

from layerlocal.measure import measure_locality
from layerlocal.measure.bench import Bench
from layerlocal.measure.contract import CHECKS, check_rule
from layerlocal.networks import create_network
from layerlocal.rules import Rule, create_rule, list_rules
from layerlocal.rules.core.auxiliary import ConvReadout
from layerlocal.rules.core.members import CommitteeHead
from layerlocal.rules.mono_forward import Projection
from layerlocal.rules.predsim import PredSimReadout
from layerlocal.spec import Recipe
from layerlocal.training.train import train_rule
from layerlocal.types import InputError
from rules_by_hand import THIRDS, K, X, Y, make, run, trained

pytestmark = pytest.mark.filterwarnings("ignore:the heads of .* cost more:UserWarning")
SMALL_PANEL = {"nets": 3, "head_side": 8, "budget": 16}
DEALT = ("asge", "cwcomp", "deeperforward")
"""Tried on networks whose channels can be dealt to three classes."""
GOODNESS = ("scff", "sigprop", "symba")
DEPTH = {"cnn4": 4, "vgg8": 6, "resnet18": 9}
LAYOUTS = [{}, {"fused": True}, {"fused": True, "channels_last": True}]
"""Modules one by one; one operation a block, in torch's operations; the same, in compiled kernels."""
DYNAMIC = ({0: torch.export.Dim.DYNAMIC},)


def sized(name, size, width=1 / 8, **more):
    """What `create_network` is to be given; of size 1: a network of vectors."""
    return {"name": name, "in_channels": 3 if size > 1 else 5, "image_size": size, "width": width, "seed": 0, **more}


def thirds(name, size=16, **more):
    return sized(name, size, THIRDS[name], **more)


def build(name, of, /, *, num_classes=K, **options):
    return create_rule(name, create_network(**of), num_classes=num_classes, seed=0, **options)


def batch(rule):
    return torch.randn(12, *rule.network.sample_shape, generator=torch.Generator().manual_seed(1))


def spell(value):
    """Options and networks in the names of tests."""
    if not isinstance(value, dict):
        return None
    told = [f"{key}={each}" for key, each in value.items() if key not in ("name", "in_channels", "image_size", "seed")]
    return " ".join([value["name"], f"{value['image_size']}px", *told] if "name" in value else told) or "default"


# --- the contract -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "of"),
    [
        *[(name, {}, sized(of, 8)) for name in GOODNESS for of in ("mlp", "cnn4")],
        *[(name, {}, of) for name in ("mono-forward", "predsim") for of in (sized("mlp", 8, 0.05), sized("cnn4", 8))],
        *[(name, {}, thirds(of, 8)) for name in DEALT for of in ("mlp", "cnn4")],
        ("local-heads", {"head": "mlp"}, sized("mlp", 8, 0.05)),
        ("local-heads", {"head": "mlp"}, sized("cnn4", 8)),
        ("local-heads", {"head": "conv"}, sized("cnn4", 8)),
        *[("committee", {"head_width": 8}, of) for of in (sized("mlp", 8, 0.05), sized("cnn4", 8))],
        *[("panel", SMALL_PANEL, of) for of in (sized("mlp", 8, 0.05), sized("cnn4", 8))],
    ],
    ids=spell,
)
def test_it_keeps_every_clause_of_the_contract(name, options, of, monkeypatch):
    def network(_, depth=None, seed=0, channels=None):
        return create_network(**of | {"depth": depth or 4, "seed": seed})

    monkeypatch.setattr("layerlocal.measure.bench.Bench.network", network)
    results = check_rule(name, **options)
    assert len(results) == len(CHECKS)
    assert not [(result.name, result.message) for result in results if not result.passed]


@pytest.mark.parametrize(
    ("name", "negatives", "compares", "passes"),
    [
        ("asge", False, False, (1, 1)),
        ("committee", False, False, (1, 1)),
        ("cwcomp", False, False, (1, 1)),
        ("deeperforward", False, False, (1, 1)),
        ("mono-forward", False, False, (1, 1)),
        ("panel", False, False, (1, 1)),
        ("predsim", False, True, (1, 1)),
        ("scff", True, True, (2, 1)),
        ("sigprop", False, True, (2, 1)),
        ("symba", True, False, (2, K)),
    ],
)
def test_it_is_registered_as_a_local_rule_with_what_its_paper_says_of_negatives(name, negatives, compares, passes):
    rule = make(name)
    info = rule.info
    assert (info.name, info.locality, info.negatives, info.compares_samples) == (name, "block", negatives, compares)
    assert (rule.passes_per_step, rule.passes_per_prediction) == passes


@pytest.mark.parametrize("name", [*list_rules()])
def test_it_predicts_from_inputs_and_no_label(name):
    rule = build(name, thirds("mlp", 1))
    for method in (rule.block_scores, rule.scores):
        assert list(inspect.signature(method).parameters) == ["x"]
    assert list(inspect.signature(Rule.block_scores).parameters) == ["self", "x"]


# --- fused blocks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "of", "cells"),
    [
        *[(name, {}, sized(of, 8), [n] * DEPTH[of]) for name, n in (("scff", 0), ("sigprop", 4), ("symba", 0)) for of in DEPTH],
        ("sigprop", {"grid": 2}, sized("cnn4", 8, 1 / 4), [2] * 4),
        ("predsim", {}, sized("cnn4", 8, 1 / 4), [2] * 4),
        *[("predsim", {}, sized(of, 16), [2] * DEPTH[of]) for of in ("vgg8", "resnet18")],
        *[("mono-forward", {}, sized(of, 16), [0] * DEPTH[of]) for of in ("vgg8", "resnet18")],
        *[("local-heads", {"head": "conv"}, sized(of, 16), [0] * DEPTH[of]) for of in ("vgg8", "resnet18")],
        *[("committee", {"head_width": 8}, sized(of, 16), [2] * DEPTH[of]) for of in ("vgg8", "resnet18")],
        *[(name, {}, thirds(of), [n] * DEPTH[of]) for name, n in (("cwcomp", 1), ("deeperforward", 0)) for of in DEPTH],
        ("asge", {}, thirds("cnn4"), [4, 2, 1, 1]),
        ("asge", {}, thirds("vgg8"), [4, 2, 2, 1, 1, 1]),
        ("asge", {}, thirds("resnet18"), [8, 8, 8, 4, 4, 2, 2, 1, 1]),
    ],
    ids=spell,
)  # fmt: skip
def test_it_has_the_same_losses_and_gradients_on_fused_blocks(name, options, of, cells):
    """``cells``: whose root mean squares a fused block makes on its way, because its readout reads them."""
    found = []
    for layout in LAYOUTS:
        rule = build(name, of | layout, **options)
        assert [block.cells for block in rule.network.blocks] == cells
        torch.manual_seed(5)  # of the negatives
        found.append(run(rule, batch(rule)))
    (losses, gradients), *others = found
    assert all(map(math.isfinite, losses.values())) and all(each.isfinite().all() for each in gradients.values())
    atol = (
        2e-4 if {"head", "head_width"} & options.keys() else 1e-5
    )  # a head that normalizes 12 numbers a channel makes more of rounding
    for other_losses, other_gradients in others:
        torch.testing.assert_close(other_losses, losses, rtol=1e-4, atol=0)
        torch.testing.assert_close(other_gradients, gradients, rtol=1e-3, atol=atol)


@pytest.mark.parametrize(("name", "options", "cells"), [("cwcomp", {}, 1), ("sigprop", {"grid": 2}, 2)], ids=spell)
def test_its_blocks_that_lost_their_readout_make_no_root_mean_squares(name, options, cells):
    twin = build("bp", thirds("cnn4", fused=True), of=name, **options)
    assert [block.cells for block in twin.network.blocks] == [0, 0, 0, cells]


# --- the plain module -------------------------------------------------------------------------------------------------


def assert_scores(found, expected):
    assert expected.std() > 1e-3, "or agreement would say nothing"
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "options", "of"),
    [
        *[(name, {}, sized(of, 8)) for name in GOODNESS for of in ("mlp", "cnn4", "vgg8", "resnet18")],
        ("asge", {"fusion": "last"}, thirds("mlp")),
        ("asge", {"fusion": "best"}, thirds("resnet18")),
        ("cwcomp", {"fusion": "last"}, thirds("mlp")),
        ("cwcomp", {"fusion": "last"}, thirds("resnet18")),
        ("deeperforward", {"normalization": "layer"}, thirds("mlp")),
        ("deeperforward", {"normalization": "group"}, thirds("resnet18")),
    ],
    ids=spell,
)
def test_its_plain_module_gives_its_scores_however_its_blocks_are_laid_out(name, options, of):
    for layout in LAYOUTS if of["name"] != "mlp" else LAYOUTS[:1]:
        rule = trained(build(name, of | layout, **options))
        with torch.no_grad():
            assert_scores(rule.to_module()(batch(rule)), rule.scores(batch(rule)))


@pytest.mark.parametrize(
    ("name", "options", "of"),
    [
        ("sigprop", {}, sized("cnn4", 8, 1 / 4, depth=2)),
        ("predsim", {}, sized("cnn4", 8, 1 / 4, depth=3)),
        ("mono-forward", {}, sized("cnn4", 8, 1 / 4, depth=3)),
        ("mono-forward", {}, sized("mlp", 1, 0.05, depth=3)),
        ("local-heads", {"head": "mlp"}, sized("cnn4", 9, 1 / 4, depth=2)),
        ("local-heads", {"head": "conv"}, sized("cnn4", 9, 1 / 4, depth=2)),
        ("local-heads", {"head": "conv"}, sized("cnn4", 8, 1 / 4, depth=2)),
        ("committee", {}, sized("cnn4", 9, 1 / 4, depth=2, fused=True)),
        ("committee", {"linear": False, "nets": 2}, sized("cnn4", 8, 1 / 4, depth=2)),
        ("committee", {}, sized("mlp", 1, 0.05, depth=3)),
        ("panel", {"budget": 32}, sized("cnn4", 9, 1 / 4, depth=2, fused=True)),
        ("panel", SMALL_PANEL | {"linear": False}, sized("cnn4", 8, 1 / 4, depth=2)),
        ("panel", SMALL_PANEL, sized("mlp", 1, 0.05, depth=3)),
        ("asge", {"fusion": "uniform"}, thirds("cnn4", fused=True)),
        ("cwcomp", {"fusion": "uniform"}, thirds("cnn4", fused=True)),
        ("deeperforward", {"normalization": "group"}, thirds("cnn4", fused=True)),
    ],
    ids=spell,
)
def test_its_module_is_exported_for_batches_of_any_size(name, options, of):
    rule = trained(build(name, of, **options))
    x, module = batch(rule), rule.to_module()
    with torch.no_grad():
        expected = rule.scores(x)
        program = torch.export.export(module, (x[:2],), dynamic_shapes=DYNAMIC).module()
        assert_scores(module(x), expected)
        for count in (5, 12):
            assert_scores(program(x[:count]), expected[:count])


# --- micro-batches ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "of", "num_classes", "parts", "atol"),
    [
        ("symba", sized("cnn4", 8, 1 / 4), 2, 4, 1e-6),  # of two classes the wrong label is not drawn
        ("cwcomp", thirds("cnn4"), K, 3, 1e-6),
        ("deeperforward", thirds("cnn4"), K, 2, 2e-6),  # a bias sums 3,072 positions
        ("mono-forward", thirds("cnn4"), K, 3, 1e-6),
    ],
    ids=spell,
)
def test_it_takes_the_step_of_the_whole_batch_in_micro_batches_where_no_batch_statistics_are(
    name, of, num_classes, parts, atol
):
    def step(steps, **how):
        rule = build(name, of | {"norm": False}, num_classes=num_classes)
        assert rule.needs_whole_batches is None
        recipe = Recipe(optimizer="sgd", learning_rate=0.1, weight_decay=0.0, **how)
        return [p.detach() for p in trained(rule, steps, recipe).parameters()]

    start, whole, cut = step(0), step(1), step(1, micro_batches=parts)
    torch.testing.assert_close(cut, whole, rtol=1e-4, atol=atol)
    assert all(not torch.equal(before, after) for before, after in zip(start, whole, strict=True))


MICRO = Recipe(epochs=1, batch_size=32, micro_batches=2)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("scff", r"its negatives are pairs of samples of the same batch; set recipe\.micro_batches"),
        ("sigprop", r"its loss compares the samples of a batch.*set recipe\.micro_batches to 1"),
        ("predsim", r"its loss compares the samples of a batch.*set recipe\.micro_batches to 1"),
    ],
)
def test_it_refuses_micro_batches_where_samples_meet_with_the_reason(name, words):
    with pytest.raises(InputError, match=words):
        train_rule(build(name, sized("cnn4", 8)), Bench("bp", {}).toy_data(), MICRO)


@pytest.mark.parametrize(("name", "options"), [("symba", {}), ("predsim", {"beta": 0.0})], ids=spell)
def test_it_ends_a_run_in_micro_batches_where_samples_do_not_meet(name, options):
    train_rule(build(name, sized("cnn4", 8, 1 / 4), **options), Bench("bp", {}).toy_data(), MICRO)


# --- twins and heads --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("twin", "measured"),
    [("bp", "global"), ("bp-deepsup", "global"), ("segmented", "segment"), ("lookahead", "segment")],
)
@pytest.mark.parametrize(
    ("name", "options", "head"),
    [
        ("mono-forward", {}, Projection),
        ("predsim", {}, PredSimReadout),
        ("local-heads", {"head": "conv", "head_width": 5}, ConvReadout),
        ("committee", {"head_width": 5}, CommitteeHead),
        ("panel", SMALL_PANEL, CommitteeHead),
    ],
    ids=spell,
)
def test_its_twins_are_what_they_say_and_read_through_its_heads(name, options, head, twin, measured):
    rule = build(twin, sized("cnn4", 8, 1 / 4), of=name, **options)
    certificate = measure_locality(rule, batch(rule), Y)
    assert (certificate["measured"], certificate["problems"]) == (measured, [])
    assert len(rule.heads) and all(type(each) is head for each in rule.heads.values())
    assert rule.compares_samples == (name == "predsim")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mono-forward", {}),
        ("predsim", {}),
        ("scff", {}),
        ("local-heads", {"head": "mlp"}),
        ("local-heads", {"head": "conv"}),
        ("committee", {"head_width": 8}),
        ("panel", SMALL_PANEL),
    ],
    ids=spell,
)
def test_its_heads_start_the_same_at_every_depth_and_differ_by_block_and_seed(name, options):
    def heads(depth, seed=0):
        built = create_network(**sized("cnn4", 8, 1 / 4, depth=depth))
        rule = create_rule(name, built, num_classes=K, seed=seed, **options)
        assert list(rule.block_parameters()) == built.block_names
        return rule.heads.state_dict()

    deep, other = heads(5), heads(5, seed=1)
    for depth in (2, 4):
        assert all(torch.equal(value, deep[key]) for key, value in heads(depth).items())
    weights = {key: value for key, value in deep.items() if key.startswith("block4.") and value.dim() > 1}
    assert weights and all(not torch.equal(value, deep[f"block3{key[6:]}"]) for key, value in weights.items())
    assert all(not torch.equal(value, other[key]) for key, value in weights.items())


# --- fusion -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fusion", "before", "after"),
    [
        ("uniform", [0.25] * 4, [0.25] * 4),
        ("last", [0, 0, 0, 1], [0, 0, 0, 1]),
        ("best", [0.25] * 4, [0, 0, 1, 0]),  # of two that are right of every sample the first
        ("fitted", [0.25] * 4, None),
    ],
)
@pytest.mark.parametrize("name", ["asge", "committee", "cwcomp", "deeperforward", "dtg-ff", "mono-forward", "panel"])
def test_it_sums_log_probabilities_of_blocks_by_the_weights_of_its_fusion(name, fusion, before, after):
    rule = make(name, fusion=fusion).eval()
    assert rule.fusion_weights.tolist() == before and rule.calibrates == (fusion in ("best", "fitted"))
    good, bad = 5.0 * F.one_hot(Y, K), -9.0 * F.one_hot(Y, K)
    rule.calibrate(torch.stack([bad, 0 * good, good, good]), Y)
    weights = rule.fusion_weights
    assert weights.tolist() == after if after else weights[2] > 1 > weights[0], "a fitted weight is no share"
    assert "fusion_weights" in rule.state_dict()
    with torch.no_grad():
        expected = sum(w * scores.log_softmax(-1) for w, scores in zip(weights, rule.block_scores(X), strict=True))
        assert_scores(rule.scores(X), expected)


@pytest.mark.parametrize(("name", "fusion"), [("asge", "uniform"), ("cwcomp", "last"), ("mono-forward", "uniform")])
def test_it_fuses_by_default_as_its_paper_does(name, fusion):
    rule, asked = make(name), make(name, fusion=fusion)
    assert rule.fusion == fusion and torch.equal(rule.fusion_weights, asked.fusion_weights)
