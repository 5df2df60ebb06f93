"""What every public call that makes, runs or measures answers to the obviously wrong thing: one sentence that names the culprit.

Arrays and labels are in ``test_fitting.py``, splits in ``test_data_splits.py``, devices in ``test_devices.py``, `load_data` in ``test_data.py``.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from layerlocal import (
    Batches,
    Recipe,
    Rule,
    RuleInfo,
    RunSpec,
    RunStore,
    SpatialReadout,
    check_rule,
    create_network,
    create_rule,
    data_from_arrays,
    fit,
    load_data,
    load_runs,
    measure_flops,
    measure_locality,
    measure_saved_bytes,
    measure_speed,
    register_rule,
    run_many,
    run_spec,
)
from layerlocal.measure.locality import gradient_reach, intervention
from layerlocal.measure.separability import measure_separability
from layerlocal.training.train import Training
from layerlocal.types import InputError

NAN = math.nan


def network(**change):
    given = {"name": "mlp", "in_channels": 5, "image_size": 1, "width": 0.05, "depth": 2} | change
    return create_network(given.pop("name"), **given)


def rule(made=None, name="local-heads", **change):
    return create_rule(name, network() if made is None else made, **({"num_classes": 3} | change))


def whole(name, *values):
    return [(name, value, f"{name} must be a whole number, got ") for value in values]


NETWORK = [
    ("name", None, "network by name"), ("name", 3, "network by name"), ("name", "mpl", "Did you mean 'mlp'"),
    *whole("in_channels", 1.5, "5", True, NAN), ("in_channels", None, "with in_channels and image_size, .* got image_size"),
    ("in_channels", 0, "in_channels .*got 0"),
    ("in_channels", -1, "in_channels .*got -1"),
    *whole("image_size", 1.5, "5", True), ("image_size", None, "got in_channels"),
    ("image_size", 0, "image_size .*got 0"), ("image_size", -1, "image_size .*got -1"),
    ("width", 0, "width must be positive"), ("width", -1, "width must be positive"), ("width", NAN, "width .*got nan"),
    ("width", math.inf, "width .*got inf"), ("width", "1", "width must be a finite number"),
    ("width", True, "width must be a finite number"), ("width", None, "width must be a finite number"),
    *whole("seed", 1.5, True, "a", NAN), ("hidden", -5, "hidden .*got -5"), ("hidden", 0, "hidden .*got 0"),
    ("channels_last", 1, "channels_last must be true or false"), ("fused", None, "fused must be true or false"),
    ("compile", "no", "compile must be true or false"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "words"), NETWORK, ids=[f"{name}={value!r}" for name, value, _ in NETWORK])
def test_a_network_is_not_made_of_it(name, value, words):
    with pytest.raises(InputError, match=words) as caught:
        network(**{name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["cnn4", "vgg8", "resnet18"])
def test_networks_of_images_refuse_the_same_sizes(name):
    for wrong in ({"in_channels": 0}, {"in_channels": -1}, {"image_size": 0}, {"image_size": 8.0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            create_network(name, **({"in_channels": 1, "image_size": 8, "width": 0.05} | wrong))


RULE = [
    *whole("num_classes", 2.5, "10", True, None, NAN, np.float64(3)),
    *[("num_classes", value, f"at least 2 classes, got num_classes={value}") for value in (1, 0, -1)],
    *whole("seed", 1.5, True, "a"),
    ("made", "mlp", "Network, got str"), ("made", torch.nn.Linear(5, 3), "Network, got Linear"),
    ("name", None, "a rule is a name, FILE"), ("name", int, "a rule is a name"), ("name", Rule, "Rule declares no info"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "words"), RULE, ids=[f"{name}={value!r}"[:40] for name, value, _ in RULE])
def test_a_rule_is_not_made_of_it(name, value, words):
    with pytest.raises(InputError, match=words) as caught:
        rule(**{name: value})
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_make_the_network_and_the_rule_that_those_of_python_make():
    made = network(
        in_channels=np.int64(5), image_size=np.int32(1), width=np.float32(0.0625), seed=np.int64(3), depth=np.int8(2)
    )
    found = rule(
        made, num_classes=np.int64(3), seed=np.uint8(4), grid=np.int64(2), label_smoothing=np.float32(0.25)
    ).state_dict()
    plain = rule(network(width=0.0625, seed=3), num_classes=3, seed=4, grid=2, label_smoothing=0.25).state_dict()
    assert found.keys() == plain.keys() and all(torch.equal(found[name], plain[name]) for name in plain)


def vectors():
    return data_from_arrays(np.random.default_rng(0).normal(size=(40, 5)), np.arange(40) % 2)


SAMPLES = (torch.zeros(4, 5), torch.arange(4) % 2)
SEEDED = {
    "load_data": lambda seed: load_data("fashion_mnist_subset", classes=2, num_train=16, seed=seed),
    "load_data of a teacher": lambda seed: load_data("teacher_student", classes=2, num_train=16, num_test=4, seed=seed),
    "data_from_arrays": lambda seed: data_from_arrays(np.zeros((8, 5)), np.arange(8) % 2, seed=seed),
    "Batches": lambda seed: Batches(
        vectors().train, batch_size=4, mean=torch.zeros(5), std=torch.ones(5), shuffle=True, seed=seed
    ),
    "create_network": lambda seed: network(seed=seed),
    "create_rule": lambda seed: rule(seed=seed),
    "fit": lambda seed: fit("local-heads", vectors(), Recipe(epochs=1, batch_size=8), width=0.1, seed=seed),
    "training a rule": lambda seed: Training(rule(num_classes=2), vectors(), Recipe(batch_size=8), seed=seed),
    "measure_locality": lambda seed: measure_locality(rule(num_classes=2), *SAMPLES, seed=seed),
    "gradient_reach": lambda seed: gradient_reach(rule(num_classes=2), *SAMPLES, seed=seed),
    "intervention": lambda seed: intervention(rule(num_classes=2), *SAMPLES, seed=seed),
    "measure_separability": lambda seed: measure_separability(vectors(), seed=seed),
}


@pytest.mark.parametrize("seed", [-1, np.int64(-3), 1.5, True, "a"])
@pytest.mark.parametrize("call", SEEDED.values(), ids=SEEDED)
def test_whatever_takes_a_seed_takes_whole_numbers_from_0(call, seed):
    with pytest.raises(InputError, match=r"^seed .*got "):
        call(seed)


@pytest.mark.parametrize("call", SEEDED.values(), ids=SEEDED)
def test_whatever_takes_a_seed_takes_0_and_large_ones(call):
    call(0), call(np.int64(2**62))


@pytest.mark.parametrize("given", [None, 3, torch.nn.Linear, Rule, "nothing"])
def test_what_is_no_rule_is_neither_registered_nor_checked(given):
    for call in (register_rule, check_rule):
        with pytest.raises(InputError):
            call(given)


@pytest.mark.parametrize(("given", "words"), [
    ({"name": None}, r"rule .*got None"),
    ({"name": ""}, r"rule .*got ''"),
    ({"locality": None}, r"locality of rule 'mine': 'None'; .*block"),
])  # fmt: skip
def test_a_rule_declares_a_name_and_a_locality(given, words):
    with pytest.raises(InputError, match=words):
        RuleInfo(**({"name": "mine", "locality": "block"} | given))


@pytest.mark.parametrize(("given", "words"), [
    ({"grid": 1.5}, r"grid .*got 1.5"),
    ({"grid": True}, r"grid .*got True"),
    ({"num_classes": "a"}, r"num_classes .*got 'a'"),
    ({"num_classes": 0}, r"num_classes .*got 0"),
])  # fmt: skip
def test_a_readout_is_of_whole_numbers(given, words):
    with pytest.raises(InputError, match=words):
        SpatialReadout((4, 2, 2), **({"num_classes": 6} | given))


# --- measures ---------------------------------------------------------------------------------------------------------

X, Y = torch.randn(6, 5), torch.arange(6) % 3
BATCHES = [
    ((None, X, Y), "what is measured is a Rule, got NoneType"),
    ((rule(), X.numpy(), Y.numpy()), "x and y must be tensors, got ndarray and ndarray"),
    ((rule(), None, Y), "x and y must be tensors, got NoneType"),
    ((rule(), X[:, :4], Y), r"x must be \(B, 5\), got shape \(6, 4\)"),
    ((rule(), X[0], Y[0]), r"x must be \(B, 5\), got shape \(5,\)"),
    ((rule(), X[:0], Y[:0]), r"x must be \(B, 5\), got shape \(0, 5\)"),
    (
        (rule(), X.double(), Y),
        "x must be torch.float32 as the network's weights are, and normalized, got torch.float64",
    ),
    ((rule(), X.to(torch.uint8), Y), "and normalized, got torch.uint8"),
    ((rule(), X, Y[:3]), r"y must be 6 whole numbers, one a sample, got torch.int64 of shape \(3,\)"),
    ((rule(), X, Y.float()), "y must be 6 whole numbers, one a sample, got torch.float32"),
    ((rule(), X, Y + 1), "y must be 0 to 2, got labels from 1 to 3"),
    ((rule(), X, Y - 1), "y must be 0 to 2, got labels from -1 to 1"),
]


@pytest.mark.parametrize("measure", [measure_flops, measure_locality, measure_saved_bytes])
@pytest.mark.parametrize(("given", "words"), BATCHES)
def test_what_is_no_batch_of_a_rule_is_not_measured(measure, given, words):
    with pytest.raises(InputError, match=words):
        measure(*given)


SPEED = [
    ("steps", None, "steps must be a dictionary"), ("steps", {"a": 3}, "steps must be a dictionary"),
    *whole("batch_size", 1.5, "a", True, None, NAN), ("batch_size", 0, "batch_size must be at least 1, got 0"),
    *whole("repeats", 1.5, "a", None), ("repeats", 0, "repeats must be at least 1"), ("repeats", -1, "repeats must be at least 1"),
    *whole("warm_up", 1.5, None), ("warm_up", -1, "warm_up must be at least 0"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "words"), SPEED, ids=[f"{name}={value!r}" for name, value, _ in SPEED])
def test_speed_is_of_functions_and_whole_rounds(name, value, words):
    with pytest.raises(InputError, match=words):
        measure_speed(**({"steps": {"a": lambda: None}, "batch_size": 1, "repeats": 1} | {name: value}))


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "words"), [
    ({"spec": None}, r"spec .*got NoneType"),
    ({"spec": {}}, r"spec .*got dict"),
    ({"store": "runs"}, r"store .*got str"),
    ({"listen": 3}, r"listen .*got int"),
])  # fmt: skip
def test_a_run_is_of_a_spec_in_a_store_and_nothing_is_left_of_what_is_none(given, words, tmp_path):
    arguments = {"spec": RunSpec(), "store": RunStore(tmp_path / "store")} | given
    with pytest.raises(InputError, match=words):
        run_spec(arguments.pop("spec"), arguments.pop("store"), **arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["listen", "on_done"])
def test_many_runs_tell_functions(name, tmp_path):
    with pytest.raises(InputError, match=rf"{name} .*got 3"):
        run_many([RunSpec()], RunStore(tmp_path / "store"), **{name: 3})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", [None, 3, ["runs"]])
def test_runs_are_loaded_by_name(given):
    with pytest.raises(InputError, match=r"load_runs .*got "):
        load_runs(given)


@pytest.mark.parametrize(("settings", "words"), [
    (None, "settings must be a dictionary"),
    ([("seed", 1)], "settings must be a dictionary"),
    ({3: 3}, "unknown setting '3'"),
    ({"recipe.epochs": True}, "recipe.epochs: Input should be a number"),
])  # fmt: skip
def test_settings_are_dotted_names(settings, words):
    with pytest.raises(InputError, match=words):
        RunSpec().with_settings(settings)
