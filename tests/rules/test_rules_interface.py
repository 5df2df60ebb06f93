"""Rules by name, their options, plug-ins from a file, and which block owns which parameter."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from layerlocal.networks import Network, create_network
from layerlocal.rules import LocalHeads, SpatialReadout, create_rule, find_rule, rule_options
from layerlocal.types import InputError, derive_seed

PLUG_IN = """
from layerlocal.rules import LocalHeads, RuleInfo

class Mine(LocalHeads):
    info = RuleInfo(name="mine", locality="block")

class Bare(LocalHeads):
    info = None

def not_a_rule(): pass
"""


def network(depth=3, seed=0):
    return create_network("cnn4", in_channels=3, image_size=8, width=9 / 32, depth=depth, seed=seed)


# --- names and options ------------------------------------------------------------------------------------------------


def test_an_unknown_rule_lists_the_known_and_the_nearest():
    with pytest.raises(InputError, match=r"'dtgff'; known: .*Did you mean 'dtg-ff'"):
        create_rule("dtgff", network(), num_classes=3)


@pytest.mark.parametrize("name", ["class-goodness", "bp"])
def test_an_unknown_option_lists_the_known_even_through_a_twin(name):
    options = {"of": "class-goodness"} if name == "bp" else {}
    with pytest.raises(InputError, match=r"temperture_max.*temperature_max"):
        create_rule(name, network(), num_classes=3, temperture_max=2.0, **options)


def test_options_are_those_of_the_signature_with_their_defaults():
    options = rule_options(find_rule("local-heads"))
    heads = dict.fromkeys(("head_layers", "head_width", "head_kernel", "head_reduction"))
    assert options == {
        "readout": "rms", "grid": 2, "head": "linear", **heads, "fusion": "uniform", "label_smoothing": 0.0, "factors": None,
    }  # fmt: skip


def test_one_class_is_refused():
    with pytest.raises(InputError, match="at least 2 classes"):
        create_rule("local-heads", network(), num_classes=1)


@pytest.mark.parametrize("name", ["local-heads", "class-goodness", "bp-deepsup"])
def test_label_smoothing_mixes_the_target_with_the_uniform_distribution(name):
    """(1 − ε) · CE + ε · mean over classes of −log p, summed over the losses; without it, plain cross-entropy."""
    x, y = torch.randn(6, 3, 8, 8), torch.arange(6) % 3
    found = {}
    for smoothing in (0.0, 0.3):
        options = {"label_smoothing": smoothing} | ({"dynamic_temperature": False} if name == "class-goodness" else {})
        rule = create_rule(name, network(), num_classes=3, seed=0, **options)
        found[smoothing] = sum(loss.value.item() for loss in rule.losses(x, y))
        logs = rule.block_scores(x).log_softmax(-1)  # in training mode still: the same batch statistics
    plain = -sum(block[torch.arange(6), y].mean() for block in logs).item()
    uniform = -sum(block.mean() for block in logs).item()
    assert found[0.0] == pytest.approx(plain, rel=1e-5)
    assert found[0.3] == pytest.approx(0.7 * plain + 0.3 * uniform, rel=1e-5)


# --- plug-ins ---------------------------------------------------------------------------------------------------------


def test_a_rule_is_found_by_file_and_class(tmp_path):
    path = tmp_path / "plug_in.py"
    path.write_text(PLUG_IN)
    rule = create_rule(f"{path}:Mine", network(), num_classes=3)
    assert isinstance(rule, LocalHeads) and rule.info.name == "mine"
    assert find_rule(f"{path}:Mine") is find_rule(f"{path}:Mine")
    assert create_rule("bp", network(), num_classes=3, of=f"{path}:Mine").readout_blocks == ["block2"]


def test_an_edited_plug_in_is_read_again(tmp_path):
    path = tmp_path / "plug_in.py"
    path.write_text(PLUG_IN)
    first = find_rule(f"{path}:Mine")
    path.write_text(PLUG_IN.replace('"mine"', '"edited"'))
    assert (first.info.name, find_rule(f"{path}:Mine").info.name) == ("mine", "edited")


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (PLUG_IN, "Yours", "no Rule class 'Yours'.*Mine"),
        (PLUG_IN, "not_a_rule", "no Rule class"),
        (PLUG_IN, "Bare", "declares no info"),
        ("import nothing_of_that_name", "Mine", "does not import: ModuleNotFoundError"),
        ("class Mine(", "Mine", "does not import: SyntaxError"),
        (None, "Mine", "cannot read the rule file"),
    ],
)
def test_a_plug_in_that_is_no_rule_is_one_sentence(tmp_path, content, name, message):
    path = tmp_path / "plug_in.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        find_rule(f"{path}:{name}")


# --- seeds ------------------------------------------------------------------------------------------------------------


def test_making_a_seeded_rule_draws_nothing_from_the_global_generator():
    before = torch.get_rng_state()
    create_rule("class-goodness", network(), num_classes=3, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_derive_seed_is_pure_fits_63_bits_and_depends_on_every_label():
    seeds = [derive_seed(seed, *labels) for seed in (0, 1) for labels in [(), ("a",), ("a", 0), ("a", 1), ("b", 0)]]
    assert len(set(seeds)) == len(seeds) and all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(3, "epoch", 4) == derive_seed(3, "epoch", 4)


# --- who owns what ----------------------------------------------------------------------------------------------------


def test_frozen_parameters_are_left_out():
    rule = create_rule("local-heads", network(), num_classes=3)
    frozen = rule.network.blocks[1].requires_grad_(False)
    owned = {id(p) for p in rule.block_parameters()["block1"]}
    assert owned and not owned & {id(p) for p in frozen.parameters()}


def test_a_head_shared_between_blocks_is_refused_by_name():
    built = create_network("mlp", in_channels=8, image_size=1, width=0.05, depth=3, seed=0)
    rule = create_rule("local-heads", built, num_classes=3)
    rule.heads["block2"] = rule.heads["block1"]
    with pytest.raises(InputError, match="shared by block1 and block2"):
        rule.block_parameters()


def test_a_normalization_shared_between_blocks_is_refused():
    norm = nn.BatchNorm1d(4)
    with pytest.raises(InputError, match=r"block0 and block1 share '1\.weight'"):
        Network([nn.Sequential(nn.Linear(4, 4), norm), nn.Sequential(nn.Linear(4, 4), norm)], sample_shape=(4,))


def test_a_parameter_of_no_block_is_refused_with_the_place_for_it():
    rule = create_rule("local-heads", network(), num_classes=3)
    rule.extra = nn.Parameter(torch.zeros(2))
    with pytest.raises(InputError, match=r"extra belongs to no block.*heads"):
        rule.block_parameters()


# --- the readout ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("statistic", "grid", "cells"), [("rms", 2, 4), ("mean", 2, 4), ("rms", 5, 9), ("mean", 1, 1)])
def test_a_readout_is_a_linear_map_of_standardized_cell_statistics(statistic, grid, cells):
    readout = SpatialReadout((5, 3, 3), 4, statistic=statistic, grid=grid)
    assert readout.linear.weight.shape == (4, 5 * cells)
    a = torch.rand(16, 5, 3, 3) + 0.1
    side = min(grid, 3)
    parts = [c for row in a.tensor_split(side, 2) for c in row.tensor_split(side, 3)]
    values = [p.square().mean((2, 3)).sqrt() if statistic == "rms" else p.mean((2, 3)) for p in parts]
    values = torch.cat(values, 1)
    values = (values - values.mean(0)) / (values.var(0, correction=0) + 1e-5).sqrt()
    expected = values @ readout.linear.weight.T + readout.linear.bias
    torch.testing.assert_close(readout(a), expected, rtol=1e-4, atol=1e-4)


def test_vectors_are_read_as_they_are():
    readout = SpatialReadout((5,), 4).eval()
    a = torch.randn(3, 5)
    torch.testing.assert_close(readout(a), readout.linear(a / (1 + 1e-5) ** 0.5))


def test_a_readout_of_other_shapes_is_refused():
    with pytest.raises(InputError, match="takes activities"):
        SpatialReadout((5, 7), 4)
