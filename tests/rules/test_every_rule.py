"""What every rule owes its users, the example of a user's own among them: a theorem is a test, and `FACTS` says of each rule what it is.

They keep the contract, are certified for what they declare, own their parameters, refuse options that are none, do the same on fused blocks, as
a plain module and exported, cut batches or say why not, have twins, draw their heads block by block and fuse blocks alike. What is the maths of
one rule is in the file of that rule; the sentences of what they refuse are in `test_rules_refusals.py`.
"""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layerlocal.measure import count_passes, measure_locality
from layerlocal.measure.bench import Bench
from layerlocal.measure.contract import CHECKS, check_rule
from layerlocal.networks import Network, create_network
from layerlocal.options import check_options, options_of
from layerlocal.rules import Rule, create_rule, find_rule, list_rules, rule_options
from layerlocal.rules.core.auxiliary import ConvReadout
from layerlocal.rules.core.export import TrainedNetwork
from layerlocal.rules.core.members import CommitteeHead
from layerlocal.rules.mono_forward import Projection
from layerlocal.rules.predsim import PredSimReadout
from layerlocal.spec import Recipe
from layerlocal.training.train import train_rule
from layerlocal.types import BlockLoss, InputError
from rules_by_hand import THIRDS, K, X, Y, make, rule_on, run, sizes_for, trained


class Facts(NamedTuple):
    """What a rule is, as its paper or its definition says.

    Args:
        locality: on four blocks.
        step: forward passes of a training step.
        answer: of a prediction.
        negatives: whether it makes negative data.
        whole: why a batch must not be cut, where it must not.
        fusion: by which blocks become one answer; ``None`` where it has no such option.
    """

    locality: str = "block"
    step: int = 1
    answer: int = 1
    negatives: bool = False
    whole: str | None = None
    fusion: str | None = "uniform"


EXAMPLE = f"{Path(__file__).parents[2] / 'examples/my_rule.py'}:LogisticMargin"
COMPARES = "its loss compares the samples of a batch"
FACTS = {
    "asge": Facts(),
    "bp": Facts("global"),
    "bp-deepsup": Facts("global"),
    "bp-every": Facts("global", whole="it counts steps by the batches it is given"),
    "committee": Facts(),
    "cwcomp": Facts(fusion="last"),
    "deeperforward": Facts(fusion="span"),
    "blockwise-decoder": Facts(fusion="last"),
    "class-goodness": Facts(),
    "diffusion-blocks": Facts(fusion=None),
    "dtg-ff": Facts(),
    "dtg-ff-shared": Facts("global"),
    "feedback": Facts("global", step=2),
    "ff": Facts(step=2, answer=K, negatives=True, fusion=None),
    "hcl-ff": Facts(whole=COMPARES, fusion="span"),
    "local-heads": Facts(),
    "lookahead": Facts("segment", step=2),
    "mono-forward": Facts(),
    "panel": Facts(),
    "predsim": Facts(whole=COMPARES),
    "reconstruct": Facts(fusion="last"),
    "scff": Facts(step=2, negatives=True, whole="its negatives are pairs of samples of the same batch"),
    "segmented": Facts("segment"),
    "sigprop": Facts(step=2, whole=COMPARES),
    "symba": Facts(step=2, answer=K, negatives=True, fusion=None),
    EXAMPLE: Facts(),
}
every_rule = pytest.mark.parametrize("name", FACTS, ids=lambda name: name.rpartition(":")[2])

pytestmark = pytest.mark.filterwarnings("ignore:the heads of .* cost more:UserWarning")
SMALL_PANEL = {"nets": 3, "head_side": 8, "budget": 16}
DEALT = ("asge", "cwcomp", "deeperforward", "hcl-ff")
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


build = rule_on


def batch(rule):
    return torch.randn(12, *rule.network.sample_shape, generator=torch.Generator().manual_seed(1))


def spell(value):
    """Options and networks in the names of tests."""
    if not isinstance(value, dict):
        return None
    told = [f"{key}={each}" for key, each in value.items() if key not in ("name", "in_channels", "image_size", "seed")]
    return " ".join([value["name"], f"{value['image_size']}px", *told] if "name" in value else told) or "default"


# --- what it is -------------------------------------------------------------------------------------------------------


def test_every_rule_and_the_example_are_in_the_table():
    assert set(FACTS) == {*list_rules(), EXAMPLE}


@every_rule
def test_it_is_registered_under_its_name_with_what_its_paper_says(name):
    rule, facts = make(name), FACTS[name]
    assert rule.info.name == (name if name != EXAMPLE else "logistic-margin") and rule.info.summary
    assert (rule.locality, rule.info.negatives) == (facts.locality, facts.negatives)
    assert rule.compares_samples == (name in ("hcl-ff", "predsim", "scff", "sigprop"))
    assert facts.fusion in (None, getattr(rule, "fusion", None))
    passes = {"passes_per_step": facts.step, "passes_per_prediction": facts.answer}
    assert {key: getattr(rule, key) for key in passes} == passes == count_passes(rule, X, Y)


@pytest.mark.parametrize(
    ("name", "options", "of"),
    [
        *[(name, {}, None) for name in FACTS],
        ("ff", {"prediction": "softmax"}, None),
        *[("segmented", {"segment_size": size}, None) for size in (1, 4, 6)],
        ("bp", {"of": "class-goodness"}, None),
        ("class-goodness", {"fusion": "fitted"}, None),
        ("bp-every", {"every": 8, "of": "class-goodness"}, None),
        ("bp-every", {"every": 0}, None),
        ("bp-every", {"every": 1, "of": "ff"}, None),
        ("feedback", {"of": "class-goodness"}, None),
        ("feedback", {"strength": 0.0}, None),
        *[("lookahead", options, None) for options in ({"blocks_ahead": 2, "of": "class-goodness"}, {"blocks_ahead": 0}, {"blocks_ahead": 99})],
        ("lookahead", {"of": "ff", "prediction": "softmax"}, None),
        *[(name, {}, sized("mlp", 8)) for name in GOODNESS],
        *[(name, {}, sized("mlp", 8, 0.05)) for name in ("mono-forward", "predsim")],
        *[(name, {}, thirds(of, 8)) for name in DEALT for of in ("mlp", "cnn4")],
        *[("local-heads", {"head": head}, sized("cnn4", 8)) for head in ("mlp", "conv")],
        ("local-heads", {"head": "mlp"}, sized("mlp", 8, 0.05)),
        *[("committee", {"head_width": 8}, of) for of in (sized("mlp", 8, 0.05), sized("cnn4", 8))],
        *[("panel", SMALL_PANEL, of) for of in (sized("mlp", 8, 0.05), sized("cnn4", 8))],
        *[("reconstruct", {"boundary": n}, of) for n, of in ((3, sized("mlp", 8, 0.05)), (2, sized("cnn4", 8)), (0, None), (3, None))],
        *[(name, {"of": of}, None) for name in ("bp", "segmented") for of in ("blockwise-decoder", "local-heads")],
    ],
    ids=spell,
)  # fmt: skip
def test_it_keeps_every_clause_of_the_contract(name, options, of, monkeypatch):
    """On the contract's own network, or on another one."""

    def network(_, depth=None, seed=0, channels=None):
        return create_network(**of | {"depth": depth or 4, "seed": seed})

    if of is not None:
        monkeypatch.setattr("layerlocal.measure.bench.Bench.network", network)
    results = check_rule(name, **options)
    assert [result.name for result in results] == [check.__doc__.rstrip(".") for check in CHECKS]
    assert not [(result.name, result.message) for result in results if not result.passed]


@every_rule
def test_it_is_certified_for_what_it_declares_and_measuring_leaves_it_as_it_was_found(name):
    rule = build(name, thirds("cnn4", 8))
    rule.eval()
    rule.network.blocks[1].train()
    for parameter in rule.parameters():
        parameter.grad = torch.ones_like(parameter)
    state = {key: value.clone() for key, value in rule.state_dict().items()}
    modes, generator = [part.training for part in rule.modules()], torch.get_rng_state()
    found = measure_locality(rule, batch(rule), Y)
    assert found["certified"] and not found["problems"]
    assert found["declared"] == found["measured"] == FACTS[name].locality
    assert torch.equal(torch.get_rng_state(), generator)
    assert [part.training for part in rule.modules()] == modes
    assert all(torch.equal(value, rule.state_dict()[key]) for key, value in state.items())
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in rule.parameters())


@every_rule
def test_it_predicts_from_inputs_and_no_label(name):
    rule = build(name, thirds("mlp", 1))
    for method in (rule.block_scores, rule.scores):
        assert list(inspect.signature(method).parameters) == ["x"]
    assert list(inspect.signature(Rule.block_scores).parameters) == ["self", "x"]


@every_rule
def test_its_losses_carry_scalars_without_a_graph_under_the_name_of_their_block(name):
    for loss in make(name).losses(X, Y):
        assert isinstance(loss, BlockLoss) and loss.value.isfinite()
        for key, metric in loss.metrics.items():
            assert metric.dim() == 0 and not metric.requires_grad and "/block" in key


@every_rule
def test_its_block_parameters_are_every_trainable_parameter_once_under_its_own_block(name):
    rule = make(name)
    owned = rule.block_parameters()
    assert list(owned) == rule.network.block_names
    everything = [id(p) for group in owned.values() for p in group]
    assert sorted(everything) == sorted({id(p) for p in rule.parameters() if p.requires_grad})
    heads = getattr(rule, "heads", {})
    for block, (key, group) in zip(rule.network.blocks, owned.items(), strict=True):
        mine = [*block.parameters(), *(heads[key].parameters() if key in heads else ())]
        assert {id(p) for p in mine if p.requires_grad} <= {id(p) for p in group}


# --- its options ------------------------------------------------------------------------------------------------------

NEVER = [math.nan, math.inf, "x", [1], -5]
"""What no option takes, one aside."""
ANY_SIGN = {"temperature_gain"}


@every_rule
def test_every_default_is_of_its_declared_type(name):
    known = options_of(find_rule(name), ("num_classes", "seed", "of"))
    check_options(name, known, {key: parameter.default for key, parameter in known.items()})


def made_with(name, option, value):
    """On a small mlp; an option that another one asks for gets it."""
    sizes = {"name": "mlp", "in_channels": 6, "image_size": 1, "width": 6 / 256, "depth": 3, "seed": 0}
    small = create_network(**sizes_for(name, sizes))
    beside = {"head": "mlp"} if name == "local-heads" and option in ("head_layers", "head_width") else {}
    return create_rule(name, small, **{"num_classes": 3, **beside, option: value})


@pytest.mark.parametrize(
    ("name", "option"),
    [(name, option) for name in list_rules() for option in [*rule_options(find_rule(name)), "num_classes", "seed"]],
)
def test_every_option_refuses_what_it_cannot_take_in_one_sentence(name, option, monkeypatch):
    monkeypatch.setattr("layerlocal.networks.blocks._memory_bytes", lambda: 1e9)  # whatever the machine
    for value in (*NEVER, 0, 1.5, None, True, 10**9):
        if value == -5 and option in ANY_SIGN:
            made_with(name, option, value)
            continue
        try:
            made_with(name, option, value)
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert not any(value is never for never in NEVER), f"{option}={value!r} is taken"


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
        *[(name, {}, thirds(of), [n] * DEPTH[of]) for name, n in (("cwcomp", 1), ("deeperforward", 0), ("hcl-ff", 0)) for of in DEPTH],
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
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=5e-6)


OPTIONS = [
    *[(name, {}) for name in FACTS],
    ("ff", {"prediction": "softmax"}),
    ("ff", {"label": "one-hot", "goodness": "mean"}),
    ("ff", {"label": "one-hot", "prediction": "softmax"}),
    ("bp", {"of": "ff"}),
    ("class-goodness", {"fusion": "last", "decoupled_norm": False}),
    ("class-goodness", {"dynamic_temperature": False, "grid": 3}),
    ("local-heads", {"readout": "mean", "factors": "1x3"}),
    ("local-heads", {"readout": "max"}),
    ("local-heads", {"readout": "max", "head": "mlp"}),
    ("committee", {"readout": "max"}),
    ("local-heads", {"grid": 1}),
    ("local-heads", {"head": "mlp"}),
    ("segmented", {"of": "class-goodness", "segment_size": 3}),
    ("asge", {"fusion": "last"}),
    ("asge", {"fusion": "best"}),
    ("cwcomp", {"fusion": "uniform"}),
    ("deeperforward", {"normalization": "layer"}),
    ("hcl-ff", {"hierarchy": "(0,(1,2))", "fusion": "best"}),
    ("committee", {"linear": False, "nets": 2}),
    ("panel", {"budget": 32}),
    ("panel", SMALL_PANEL | {"linear": False}),
    ("blockwise-decoder", {"fusion": "uniform", "layers": 2, "factors": "1x3"}),
    ("diffusion-blocks", {"embeddings": "shared"}),
    ("reconstruct", {"fusion": "uniform", "boundary": 1}),
    ("segmented", {"of": "reconstruct", "segment_size": 1, "boundary": 1, "fusion": "uniform"}),
]
"""Of every rule the default, and what else its module is made of."""


@pytest.mark.parametrize(
    "of", [thirds("mlp", 1), thirds("cnn4", 8), thirds("cnn4", 9)], ids=["vectors", "even", "uneven"]
)
@pytest.mark.parametrize(("name", "options"), [*OPTIONS, ("local-heads", {"head": "conv"})], ids=spell)
def test_its_plain_module_gives_its_scores_and_holds_no_rule(name, options, of):
    if of["name"] == "mlp" and "conv" in options.values():
        pytest.skip("maps only")
    rule = trained(build(name, of, **options))
    module, x = rule.to_module(), batch(rule)
    with torch.no_grad():
        assert_scores(module(x), rule.scores(x))
    assert type(module) is (nn.Sequential if name == "diffusion-blocks" else TrainedNetwork) and not module.training
    assert not any(isinstance(part, Rule | Network) for part in module.modules())


@pytest.mark.parametrize(
    ("name", "options", "of"),
    [
        *[(name, {}, sized(of, 8)) for name in GOODNESS for of in ("cnn4", "vgg8", "resnet18")],
        ("asge", {"fusion": "best"}, thirds("resnet18")),
        ("cwcomp", {"fusion": "last"}, thirds("resnet18")),
        *[(name, {"normalization": "group"}, thirds("resnet18")) for name in ("deeperforward", "hcl-ff")],
    ],
    ids=spell,
)
def test_its_plain_module_gives_its_scores_however_its_blocks_are_laid_out(name, options, of):
    for layout in LAYOUTS:
        rule = trained(build(name, of | layout, **options))
        with torch.no_grad():
            assert_scores(rule.to_module()(batch(rule)), rule.scores(batch(rule)))


@pytest.mark.parametrize(
    ("name", "options", "of"),
    [
        *[(name, options, thirds("cnn4", 9, depth=2)) for name, options in [*OPTIONS, ("local-heads", {"head": "conv"})]],
        *[(name, {}, thirds("mlp", 1, depth=3)) for name in ("mono-forward", "committee")],
        ("panel", SMALL_PANEL, thirds("mlp", 1, depth=3)),
        *[(name, {}, thirds("cnn4", depth=2, fused=True)) for name in (*DEALT, "committee", "panel")],
    ],
    ids=spell,
)  # fmt: skip
def test_its_module_is_exported_for_batches_of_any_size_and_takes_raw_inputs(name, options, of):
    rule = trained(build(name, of, **options))
    x, channels = batch(rule), rule.network.sample_shape[0]
    module = rule.to_module(mean=[0.1] * channels, std=[0.5] * channels)
    with torch.no_grad():
        expected = rule.scores((x - 0.1) / 0.5)
        program = torch.export.export(module, (x[:2],), dynamic_shapes=DYNAMIC).module()
        assert_scores(module(x), expected)
        for count in (1, 5, 12):
            torch.testing.assert_close(program(x[:count]), expected[:count], rtol=1e-5, atol=1e-5)


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


@pytest.mark.parametrize(
    ("name", "options"),
    [*[(name, {}) for name in FACTS], ("predsim", {"beta": 0.0}), ("hcl-ff", {"contrast": 0.0})],
    ids=spell,
)
def test_it_ends_a_run_in_micro_batches_or_refuses_it_with_the_reason(name, options):
    rule = build(name, thirds("cnn4", 8), **options)
    recipe = Recipe(epochs=1, batch_size=32, micro_batches=2)
    if why := None if options else FACTS[name].whole:
        with pytest.raises(InputError, match=rf"{why}.*set recipe\.micro_batches to 1"):
            train_rule(rule, Bench("bp", {}).toy_data(), recipe)
    else:
        train_rule(rule, Bench("bp", {}).toy_data(), recipe)


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
        *[(name, {}) for name in ("class-goodness", "local-heads", "mono-forward", "predsim", "scff", EXAMPLE)],
        *[("local-heads", {"head": head}) for head in ("mlp", "conv")],
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
@pytest.mark.parametrize(
    "name",
    ["asge", "committee", "cwcomp", "deeperforward", "class-goodness", "dtg-ff", "hcl-ff", "mono-forward", "panel"],
)
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
