"""Options out of range, of every rule of the family: refused when the rule is made, in one sentence that names the option and the way out."""

from __future__ import annotations

import math

import pytest

from layerlocal.types import InputError
from rules_by_hand import make

FUSION = "fusion must be 'uniform', 'fitted', 'best' or 'last', got "
SPAN = "fusion must be 'span', 'uniform', 'fitted', 'best' or 'last', got "
SMOOTHING = r"label_smoothing must be in \[0, 1\), got "
REFUSED = {
    "asge": [
        ({"alpha": -0.5}, "alpha must be at least 0 and finite, got -0.5"),
        ({"alpha": math.nan}, "alpha of rule 'asge' must be a finite number, got nan"),
        ({"alpha": math.inf}, "alpha of rule 'asge' must be a finite number, got inf"),
        ({"alpha": "fine"}, "alpha of rule 'asge' must be a finite number, got 'fine'"),
        ({"projection": "random"}, "projection must be 'fixed' or 'learned', got 'random'"),
        ({"fusion": "span"}, f"{FUSION}'span'"),
        ({"label_smoothing": 1.0}, f"{SMOOTHING}1.0"),
    ],
    "committee": [
        ({"nets": -1}, "a block needs a reader: nets of at least 0, or linear, got nets=-1 and linear=True"),
        (
            {"nets": 0, "linear": False},
            "a block needs a reader: nets of at least 0, or linear, got nets=0 and linear=False",
        ),
        ({"nets": 1.5}, "nets of rule 'committee' must be a whole number, got 1.5"),
        ({"head_width": 0}, "head_width must be at least 1, got 0"),
        ({"head_layers": 0}, "head_layers must be at least 1, got 0"),
        ({"head_side": -1}, "head_side must be at least 1, got -1"),
        ({"readout": "median"}, "readout must be 'rms', 'mean' or 'max', got 'median'"),
        ({"grid": 0}, "grid must be at least 1, got 0"),
        ({"fusion": "sum"}, f"{FUSION}'sum'"),
        ({"label_smoothing": 1.0}, f"{SMOOTHING}1.0"),
    ],
    "cwcomp": [
        ({"temperature": 0.0}, "temperature must be above 0 and finite, got 0.0"),
        ({"temperature": -1.0}, "temperature must be above 0 and finite, got -1.0"),
        ({"temperature": math.nan}, "temperature of rule 'cwcomp' must be a finite number, got nan"),
        ({"temperature": math.inf}, "temperature of rule 'cwcomp' must be a finite number, got inf"),
        ({"temperature": "hot"}, "temperature of rule 'cwcomp' must be a finite number, got 'hot'"),
        ({"fusion": "span"}, f"{FUSION}'span'"),
        ({"label_smoothing": 1.0}, f"{SMOOTHING}1.0"),
    ],
    "deeperforward": [
        ({"temperature": 0.0}, "temperature must be above 0 and finite, got 0.0"),
        ({"temperature": math.nan}, "temperature of rule 'deeperforward' must be a finite number, got nan"),
        ({"normalization": "batch"}, "normalization must be 'group', 'layer' or 'none', got 'batch'"),
        ({"fusion": "first"}, f"{SPAN}'first'"),
        ({"fusion": 4}, "fusion of rule 'deeperforward' must be text, got 4"),
        ({"label_smoothing": -0.1}, f"{SMOOTHING}-0.1"),
    ],
    "dtg-ff": [
        ({"temperature_min": 0.0}, "0 < temperature_min <= temperature_max is needed, got 0.0 and 1.0"),
        ({"temperature_min": 2.0, "temperature_max": 1.0}, "temperature_min <= temperature_max is needed, got 2.0 and"),
        ({"temperature_max": "hot"}, "temperature_max of rule 'dtg-ff' must be a finite number, got 'hot'"),
        ({"clarity_momentum": 1.0}, r"clarity_momentum must be in \[0, 1\), got 1.0"),
        ({"clarity_momentum": -0.1}, r"clarity_momentum must be in \[0, 1\), got -0.1"),
        ({"fusion": "sum"}, f"{FUSION}'sum'"),
        ({"grid": 0}, "grid must be at least 1, got 0"),
        ({"label_smoothing": 1.0}, f"{SMOOTHING}1.0"),
    ],
    "ff": [
        ({"goodness": "max"}, "goodness must be 'sum' or 'mean', got 'max'"),
        ({"label": "colour"}, "label must be 'pattern' or 'one-hot', got 'colour'"),
        ({"prediction": "guess"}, "prediction must be 'labels' or 'softmax', got 'guess'"),
        ({"label_scale": 0.0}, "label_scale must be positive, got 0.0"),
        ({"label_scale": -1.0}, "label_scale must be positive, got -1.0"),
    ],
    "local-heads": [
        ({"readout": "median"}, "readout must be 'rms', 'mean' or 'max', got 'median'"),
        ({"grid": 0}, "grid must be at least 1, got 0"),
        ({"fusion": "sum"}, f"{FUSION}'sum'"),
        ({"label_smoothing": -0.1}, f"{SMOOTHING}-0.1"),
        ({"head": "tree"}, "head must be 'linear', 'mlp' or 'conv', got 'tree'"),
        ({"head_width": 4}, "head_width belongs to head='mlp' or head='conv', not to head='linear'; leave it out"),
        ({"head": "mlp", "head_kernel": 3}, "head_kernel belongs to head='conv', not to head='mlp'"),
        ({"head": "mlp", "head_layers": 0}, "head_layers must be a whole number of at least 1, got 0"),
        (
            {"head": "mlp", "head_width": 2.5},
            "head_width of rule 'local-heads' must be a whole number or null, got 2.5",
        ),
        ({"head": "conv", "head_kernel": 2}, "head_kernel must be odd, .* got 2"),
        ({"head": "conv", "head_reduction": -1}, "head_reduction must be a whole number"),
        ({"head": "conv", "grid": 0}, "grid must be at least 1, got 0"),
        ({"head": "conv", "readout": "median"}, "readout must be 'rms', 'mean' or 'max', got 'median'"),
        ({"head": "mlp", "factors": "2x2"}, "factors must be 'AxB'"),
        ({"heads": "mlp"}, "unknown option of rule 'local-heads': 'heads'.*Did you mean 'head'"),
    ],
    "mono-forward": [
        ({"grid": 0}, "grid must be at least 1, got 0"),
        ({"fusion": "goodness"}, f"{FUSION}'goodness'"),
        ({"label_smoothing": 1.0}, f"{SMOOTHING}1.0"),
        ({"factors": "2x2"}, "factors must be 'AxB'"),
        ({"readout": "rms"}, "unknown option of rule 'mono-forward': 'readout'"),
    ],
    "panel": [
        ({"nets": 0}, "nets must be at least 1, got 0"),
        ({"nets": "2@16"}, "nets of rule 'panel' must be a whole number, got '2@16'"),
        ({"head_side": 0}, "head_side must be at least 1, got 0"),
        ({"head_width": 0}, "head_width must be at least 1, got 0"),
        ({"budget": 15}, "budget must be at least 16, got 15"),
        ({"head_side": 4, "budget": 3}, "budget must be at least 4, got 3"),
        ({"readout": "median"}, "readout must be 'rms', 'mean' or 'max', got 'median'"),
        ({"grid": 0}, "grid must be at least 1, got 0"),
        ({"fusion": "sum"}, f"{FUSION}'sum'"),
        ({"label_smoothing": 1.0}, f"{SMOOTHING}1.0"),
    ],
    "predsim": [
        ({"beta": -0.1}, r"beta must be in \[0, 1\), got -0.1"),
        ({"beta": 1.0}, r"beta must be in \[0, 1\), got 1.0; at 1 nothing would train the heads"),
        ({"beta": math.nan}, "beta of rule 'predsim' must be a finite number, got nan"),
        ({"beta": "half"}, "beta of rule 'predsim' must be a finite number, got 'half'"),
        ({"readout": "std"}, "readout must be 'rms', 'mean' or 'max', got 'std'"),
        ({"grid": 0}, "grid must be at least 1, got 0"),
        ({"label_smoothing": -1.0}, f"{SMOOTHING}-1.0"),
        ({"alpha": 0.5}, "unknown option of rule 'predsim': 'alpha'"),
    ],
    "scff": [
        ({"goodness": "max"}, "goodness must be 'mean' or 'sum', got 'max'"),
        ({"theta": 0.0}, "theta must be positive and finite, got 0.0; leave it out"),
        ({"theta": -1.0}, "theta must be positive and finite, got -1.0"),
        ({"theta": math.nan}, "theta of rule 'scff' must be a finite number or null, got nan"),
        ({"theta": math.inf}, "theta of rule 'scff' must be a finite number or null, got inf"),
        ({"readout": "median"}, "readout must be 'rms', 'mean' or 'max', got 'median'"),
        ({"grid": 0}, "grid must be at least 1, got 0"),
        ({"fusion": "loudest"}, f"{FUSION}'loudest'"),
        ({"label": "pattern"}, "unknown option of rule 'scff': 'label'"),
    ],
    "sigprop": [
        ({"temperature": 0.0}, "temperature must be positive and finite, got 0.0"),
        ({"temperature": -1.0}, "temperature must be positive and finite, got -1.0"),
        ({"temperature": math.nan}, "temperature of rule 'sigprop' must be a finite number, got nan"),
        ({"temperature": math.inf}, "temperature of rule 'sigprop' must be a finite number, got inf"),
        ({"grid": 0}, "grid must be at least 1, got 0"),
        ({"target_momentum": 1.0}, r"target_momentum must be in \[0, 1\), got 1.0"),
        ({"target_momentum": -0.1}, r"target_momentum must be in \[0, 1\), got -0.1"),
        ({"fusion": "loudest"}, f"{FUSION}'loudest'"),
        ({"theta": 1.0}, "unknown option of rule 'sigprop': 'theta'"),
    ],
    "symba": [
        ({"alpha": 0.0}, "alpha must be positive and finite, got 0.0"),
        ({"alpha": -4.0}, "alpha must be positive and finite, got -4.0"),
        ({"alpha": math.nan}, "alpha of rule 'symba' must be a finite number, got nan"),
        ({"alpha": math.inf}, "alpha of rule 'symba' must be a finite number, got inf"),
        ({"alpha": "steep"}, "alpha of rule 'symba' must be a finite number, got 'steep'"),
        ({"goodness": "max"}, "goodness must be 'sum' or 'mean', got 'max'"),
        ({"label": "colour"}, "label must be 'pattern' or 'one-hot', got 'colour'"),
        ({"prediction": "guess"}, "prediction must be 'labels' or 'softmax', got 'guess'"),
        ({"label_scale": 0.0}, "label_scale must be positive, got 0.0"),
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
