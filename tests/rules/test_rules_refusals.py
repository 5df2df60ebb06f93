"""Options out of range, of every rule of the family: refused when the rule is made, in one sentence that names the option and the way out."""

from __future__ import annotations

import math

import pytest

from layerlocal.rules import create_rule, list_rules
from layerlocal.types import InputError
from rules_by_hand import ANY_NETWORK, OF_TOKENS, make, network, rule_on, sizes

FUSION = r"fusion .*got "
SPAN = r"fusion .*'span', .*got "
SMOOTHING = r"label_smoothing .*got "
REFUSED = {
    "asge": [
        ({"alpha": -0.5}, r"alpha .*got -0.5"),
        ({"alpha": math.nan}, r"alpha of rule 'asge' .*got nan"),
        ({"alpha": math.inf}, r"alpha of rule 'asge' .*got inf"),
        ({"alpha": "fine"}, r"alpha of rule 'asge' .*got 'fine'"),
        ({"projection": "random"}, r"projection .*got 'random'"),
        ({"fusion": "span"}, f"{FUSION}'span'"),
        ({"label_smoothing": 1.0}, f"{SMOOTHING}1.0"),
    ],
    "committee": [
        ({"nets": -1}, r"a block needs a reader.*nets=-1 and linear=True"),
        (
            {"nets": 0, "linear": False},
            r"a block needs a reader.*nets=0 and linear=False",
        ),
        ({"nets": 1.5}, r"nets of rule 'committee' .*got 1.5"),
        ({"head_width": 0}, r"head_width .*got 0"),
        ({"head_layers": 0}, r"head_layers .*got 0"),
        ({"head_side": -1}, r"head_side .*got -1"),
        ({"readout": "median"}, r"readout .*got 'median'"),
        ({"grid": 0}, r"grid .*got 0"),
        ({"fusion": "sum"}, f"{FUSION}'sum'"),
        ({"label_smoothing": 1.0}, f"{SMOOTHING}1.0"),
    ],
    "cwcomp": [
        ({"temperature": 0.0}, r"temperature .*got 0.0"),
        ({"temperature": -1.0}, r"temperature .*got -1.0"),
        ({"temperature": math.nan}, r"temperature of rule 'cwcomp' .*got nan"),
        ({"temperature": math.inf}, r"temperature of rule 'cwcomp' .*got inf"),
        ({"temperature": "hot"}, r"temperature of rule 'cwcomp' .*got 'hot'"),
        ({"fusion": "span"}, f"{FUSION}'span'"),
        ({"label_smoothing": 1.0}, f"{SMOOTHING}1.0"),
    ],
    "deeperforward": [
        ({"temperature": 0.0}, r"temperature .*got 0.0"),
        ({"temperature": math.nan}, r"temperature of rule 'deeperforward' .*got nan"),
        ({"normalization": "batch"}, r"normalization .*got 'batch'"),
        ({"fusion": "first"}, f"{SPAN}'first'"),
        ({"fusion": 4}, r"fusion of rule 'deeperforward' .*got 4"),
        ({"label_smoothing": -0.1}, f"{SMOOTHING}-0.1"),
    ],
    "blockwise-decoder": [
        ({"layers": 0}, r"layers .*got 0"),
        ({"layers": 1001}, r"layers must be at most 1000, got 1001"),
        ({"heads": 5}, r"heads=5 does not divide the 24 features of a token"),
        ({"heads": 0}, r"heads .*got 0"),
        ({"fusion": "sum"}, f"{FUSION}'sum'"),
        ({"label_smoothing": 1.0}, f"{SMOOTHING}1.0"),
        ({"factors": "2x2"}, "factors must be 'AxB'"),
    ],
    "class-goodness": [
        ({"temperature_min": 0.0}, r"temperature_min .*got 0.0 and 1.0"),
        ({"temperature_min": 2.0, "temperature_max": 1.0}, r"temperature_max .*got 2.0 and"),
        ({"temperature_max": "hot"}, r"temperature_max of rule 'class-goodness' .*got 'hot'"),
        ({"clarity_momentum": 1.0}, r"clarity_momentum .*got 1.0"),
        ({"clarity_momentum": -0.1}, r"clarity_momentum .*got -0.1"),
        ({"fusion": "sum"}, f"{FUSION}'sum'"),
        ({"grid": 0}, r"grid .*got 0"),
        ({"label_smoothing": 1.0}, f"{SMOOTHING}1.0"),
    ],
    "diffusion-blocks": [
        ({"embeddings": "own"}, r"embeddings must be 'private' or 'shared', got 'own'"),
        ({"overlap": -0.5}, r"overlap .*got -0.5"),
        ({"overlap": math.inf}, r"overlap of rule 'diffusion-blocks' .*got inf"),
        ({"overlap": math.nan}, r"overlap of rule 'diffusion-blocks' .*got nan"),
        ({"fusion": "last"}, "unknown option of rule 'diffusion-blocks': 'fusion'"),
    ],
    "ff": [
        ({"goodness": "max"}, r"goodness .*got 'max'"),
        ({"label": "colour"}, r"label .*got 'colour'"),
        ({"prediction": "guess"}, r"prediction .*got 'guess'"),
        ({"label_scale": 0.0}, r"label_scale .*got 0.0"),
        ({"label_scale": -1.0}, r"label_scale .*got -1.0"),
        ({"peer_normalization": -0.1}, r"peer_normalization .*got -0.1"),
        ({"peer_normalization": math.inf}, r"peer_normalization of rule 'ff' .*got inf"),
        ({"peer_momentum": 1.0}, r"peer_momentum .*got 1.0"),
    ],
    "hcl-ff": [
        ({"temperature": 0.0}, r"temperature .*got 0.0"),
        ({"contrast": -1.0}, r"contrast .*got -1.0"),
        ({"contrast": math.inf}, r"contrast of rule 'hcl-ff' .*got inf"),
        ({"contrast_temperature": 0.0}, r"contrast_temperature .*got 0.0"),
        ({"contrast_temperature": "cold"}, r"contrast_temperature of rule 'hcl-ff' .*got 'cold'"),
        ({"hierarchy": "(0,1)"}, r"hierarchy .*got '\(0,1\)'"),
        ({"hierarchy": 3}, r"hierarchy of rule 'hcl-ff' .*got 3"),
        ({"levels": "falling"}, r"levels .*got 'falling'"),
        ({"levels": "increasing"}, r"levels='increasing' has no effect without a hierarchy"),
        ({"normalization": "batch"}, r"normalization .*got 'batch'"),
        ({"fusion": "first"}, f"{SPAN}'first'"),
        ({"label_smoothing": -0.1}, f"{SMOOTHING}-0.1"),
    ],
    "local-heads": [
        ({"readout": "median"}, r"readout .*got 'median'"),
        ({"grid": 0}, r"grid .*got 0"),
        ({"fusion": "sum"}, f"{FUSION}'sum'"),
        ({"label_smoothing": -0.1}, f"{SMOOTHING}-0.1"),
        ({"head": "tree"}, r"head .*got 'tree'"),
        ({"head_width": 4}, r"head_width belongs to .*head='linear'"),
        ({"head": "mlp", "head_kernel": 3}, r"head_kernel belongs to .*head='mlp'"),
        ({"head": "mlp", "head_layers": 0}, r"head_layers .*got 0"),
        (
            {"head": "mlp", "head_width": 2.5},
            r"head_width of rule 'local-heads' .*got 2.5",
        ),
        ({"head": "conv", "head_kernel": 2}, r"head_kernel .*got 2"),
        ({"head": "conv", "head_reduction": -1}, "head_reduction must be a whole number"),
        ({"head": "conv", "grid": 0}, r"grid .*got 0"),
        ({"head": "conv", "readout": "median"}, r"readout .*got 'median'"),
        ({"head": "mlp", "factors": "2x2"}, "factors must be 'AxB'"),
        ({"heads": "mlp"}, "unknown option of rule 'local-heads': 'heads'.*Did you mean 'head'"),
    ],
    "mono-forward": [
        ({"grid": 0}, r"grid .*got 0"),
        ({"fusion": "goodness"}, f"{FUSION}'goodness'"),
        ({"label_smoothing": 1.0}, f"{SMOOTHING}1.0"),
        ({"factors": "2x2"}, "factors must be 'AxB'"),
        ({"readout": "rms"}, "unknown option of rule 'mono-forward': 'readout'"),
    ],
    "panel": [
        ({"nets": 0}, r"nets .*got 0"),
        ({"nets": "2@16"}, r"nets of rule 'panel' .*got '2@16'"),
        ({"head_side": 0}, r"head_side .*got 0"),
        ({"head_width": 0}, r"head_width .*got 0"),
        ({"budget": 15}, r"budget .*got 15"),
        ({"head_side": 4, "budget": 3}, r"budget .*got 3"),
        ({"readout": "median"}, r"readout .*got 'median'"),
        ({"grid": 0}, r"grid .*got 0"),
        ({"fusion": "sum"}, f"{FUSION}'sum'"),
        ({"label_smoothing": 1.0}, f"{SMOOTHING}1.0"),
    ],
    "predsim": [
        ({"beta": -0.1}, r"beta .*got -0.1"),
        ({"beta": 1.0}, r"beta .*got 1.0"),
        ({"beta": math.nan}, r"beta of rule 'predsim' .*got nan"),
        ({"beta": "half"}, r"beta of rule 'predsim' .*got 'half'"),
        ({"readout": "std"}, r"readout .*got 'std'"),
        ({"grid": 0}, r"grid .*got 0"),
        ({"label_smoothing": -1.0}, f"{SMOOTHING}-1.0"),
        ({"alpha": 0.5}, "unknown option of rule 'predsim': 'alpha'"),
    ],
    "reconstruct": [
        ({"boundary": 4}, r"boundary must be at most 3, got 4"),
        ({"boundary": -1}, r"boundary .*got -1"),
        ({"boundary": 1.5}, r"boundary of rule 'reconstruct' .*got 1.5"),
        ({"fusion": "sum"}, f"{FUSION}'sum'"),
        ({"label_smoothing": 1.0}, f"{SMOOTHING}1.0"),
        ({"keeps": "input"}, "unknown option of rule 'reconstruct': 'keeps'"),
    ],
    "scff": [
        ({"goodness": "max"}, r"goodness .*got 'max'"),
        ({"theta": 0.0}, r"theta .*got 0.0"),
        ({"theta": -1.0}, r"theta .*got -1.0"),
        ({"theta": math.nan}, r"theta of rule 'scff' .*got nan"),
        ({"average": "sum"}, r"average .*got 'sum'"),
        ({"theta": math.inf}, r"theta of rule 'scff' .*got inf"),
        ({"readout": "median"}, r"readout .*got 'median'"),
        ({"grid": 0}, r"grid .*got 0"),
        ({"fusion": "loudest"}, f"{FUSION}'loudest'"),
        ({"label": "pattern"}, "unknown option of rule 'scff': 'label'"),
    ],
    "sigprop": [
        ({"temperature": 0.0}, r"temperature .*got 0.0"),
        ({"temperature": -1.0}, r"temperature .*got -1.0"),
        ({"temperature": math.nan}, r"temperature of rule 'sigprop' .*got nan"),
        ({"temperature": math.inf}, r"temperature of rule 'sigprop' .*got inf"),
        ({"grid": 0}, r"grid .*got 0"),
        ({"target_momentum": 1.0}, r"target_momentum .*got 1.0"),
        ({"target_momentum": -0.1}, r"target_momentum .*got -0.1"),
        ({"over_class": "max"}, r"over_class .*got 'max'"),
        ({"fusion": "loudest"}, f"{FUSION}'loudest'"),
        ({"theta": 1.0}, "unknown option of rule 'sigprop': 'theta'"),
    ],
    "symba": [
        ({"alpha": 0.0}, r"alpha .*got 0.0"),
        ({"alpha": -4.0}, r"alpha .*got -4.0"),
        ({"alpha": math.nan}, r"alpha of rule 'symba' .*got nan"),
        ({"alpha": math.inf}, r"alpha of rule 'symba' .*got inf"),
        ({"alpha": "steep"}, r"alpha of rule 'symba' .*got 'steep'"),
        ({"goodness": "max"}, r"goodness .*got 'max'"),
        ({"label": "colour"}, r"label .*got 'colour'"),
        ({"prediction": "guess"}, r"prediction .*got 'guess'"),
        ({"label_scale": 0.0}, r"label_scale .*got 0.0"),
        ({"theta": 1.0}, "unknown option of rule 'symba': 'theta'"),
    ],
}
"""Of every rule: options, and what the sentence says."""
CASES = [(name, options, words) for name, rows in REFUSED.items() for options, words in rows]


@pytest.mark.parametrize(("name", "options", "words"), CASES, ids=[f"{name} {options}" for name, options, _ in CASES])
def test_it_refuses_values_out_of_range_in_one_sentence(name, options, words):
    with pytest.raises(InputError, match=words) as refusal:
        make(name, **options)
    assert "\n" not in str(refusal.value)


def test_every_rule_takes_any_network_or_says_which_to_take():
    assert sorted([*ANY_NETWORK, *OF_TOKENS]) == list_rules() and OF_TOKENS == ["blockwise-decoder", "diffusion-blocks"]
    for name in ANY_NETWORK:
        assert create_rule(name, network(), num_classes=3).network.depth == 4


@pytest.mark.parametrize("name", OF_TOKENS)
def test_a_rule_that_needs_another_network_refuses_a_cnn_and_vectors_with_the_one_to_take(name):
    for other in ("cnn4", "mlp"):
        with pytest.raises(InputError, match=f"rule '{name}' .*take the network 'vit'") as refusal:
            create_rule(name, network(other), num_classes=3)
        assert "\n" not in str(refusal.value)
    assert rule_on(name, sizes()).network.tokens == "class"
