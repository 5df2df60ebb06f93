"""`fit` and `data_from_arrays`: from a name and arrays to what the longer way gives, bit for bit."""

from __future__ import annotations

import doctest
import importlib
import math
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from layerlocal import Fitted, Recipe, Rule, create_network, create_rule, data_from_arrays, fit, load_data
from layerlocal.data.shaped import network_for
from layerlocal.training.train import train_rule
from layerlocal.types import InputError

ROOT = Path(__file__).parents[2]
RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=0.01)
SMALL = {"depth": 2}


def vectors(number=40, features=5, classes=3, seed=0):
    """Classes around centres of their own, in features of very different scale."""
    generator = np.random.default_rng(seed)
    y = np.arange(number) % classes
    centres = 3 * generator.normal(size=(classes, features))
    X = (centres[y] + generator.normal(size=(number, features))) * 10.0 ** np.arange(features) + 7
    return X.astype(np.float32), y


def images(number=24, channels=3, side=6, seed=0):
    y = np.arange(number) % 2
    pixels = np.random.default_rng(seed).integers(0, 128, (number, channels, side, side))
    return (pixels + 127 * y[:, None, None, None]).astype(np.uint8), y


def weights(rule):
    return rule.state_dict()


def assert_equal_bits(found, expected):
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


# --- fit --------------------------------------------------------------------------------------------------------------


def test_a_rule_by_name_is_the_rule_that_was_made_by_hand_with_the_same_seed():
    data = data_from_arrays(*vectors(), validation=0.2, seed=3)
    network = create_network("mlp", in_channels=5, image_size=1, width=0.1, depth=2, seed=3)
    rule = create_rule("class-goodness", network, num_classes=3, seed=3, temperature_max=2.0)
    records = train_rule(rule, data, RECIPE, seed=3)
    short = fit(
        "class-goodness", vectors(), RECIPE, network="mlp", width=0.1, network_options=SMALL, validation=0.2, seed=3, temperature_max=2.0
    )  # fmt: skip
    assert isinstance(short, Fitted)
    assert_equal_bits(weights(short.rule), weights(rule))
    assert [r.losses for r in short.records] == [r.losses for r in records]
    assert [r.validation for r in short.records] == [r.validation for r in records]


def test_a_rule_that_is_made_is_trained_in_place():
    data = data_from_arrays(*vectors(), seed=0)
    network = create_network("mlp", in_channels=5, image_size=1, width=0.1, depth=2, seed=0)
    rule = create_rule("local-heads", network, num_classes=3, seed=0)
    before = {name: value.clone() for name, value in rule.state_dict().items()}
    seen = []
    fitted = fit(rule, data, RECIPE, on_epoch=seen.append)
    assert fitted.rule is rule and fitted.data is data and list(fitted.records) == seen and len(seen) == 2
    assert any(not torch.equal(before[name], value) for name, value in rule.state_dict().items())


def test_a_network_that_is_made_is_the_one_that_is_trained():
    network = create_network("mlp", in_channels=5, image_size=1, width=0.1, depth=2, seed=0)
    assert fit("bp", vectors(), RECIPE, network=network).rule.network is network


def test_without_a_name_vectors_get_an_mlp_and_images_a_vgg8():
    assert network_for(data_from_arrays(*vectors())) == "mlp"
    assert network_for(data_from_arrays(*images())) == "vgg8"
    fitted = fit("class-goodness", vectors(), RECIPE, width=0.05)
    assert [shape for shape in fitted.rule.network.activity_shapes] == [(13,)] * 4
    shapes = fit("class-goodness", images(), RECIPE, width=0.02).rule.network.activity_shapes
    assert [shape[0] for shape in shapes] == [3, 5, 5, 10, 10, 10]


def test_the_seed_says_everything_and_torchs_own_generator_is_left_alone():
    state = torch.random.get_rng_state()
    first, again, other = (fit("ff", vectors(), RECIPE, width=0.05, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert_equal_bits(weights(first.rule), weights(again.rule))
    assert any(not torch.equal(a, b) for a, b in zip(first.rule.parameters(), other.rule.parameters(), strict=True))


def test_the_module_of_what_was_fitted_takes_the_arrays_as_they_were_given():
    X, y = vectors(200)
    fitted = fit(
        "class-goodness", (X, y), Recipe(epochs=15, batch_size=20, learning_rate=0.01), width=0.1, validation=0
    )
    with torch.no_grad():
        found = fitted.to_module()(torch.from_numpy(X))
        expected = fitted.rule.eval().scores(torch.from_numpy((X - X.mean(0)) / X.std(0)))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert (found.argmax(1).numpy() == y).mean() > 0.9


def test_data_that_were_loaded_are_taken_as_they_are():
    data = load_data("teacher_student", classes=3, num_train=64, num_test=32)
    fitted = fit("local-heads", data, RECIPE, width=0.05)
    assert fitted.data is data and data.test_reads == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network": "mlp"}, "network was given beside a rule"),
        ({"width": 0.5}, "width was given beside a rule"),
        ({"network_options": {"depth": 2}}, "depth was given beside a rule"),
        ({"grid": 3}, "grid was given beside a rule"),
    ],
)
def test_options_beside_a_rule_that_is_made_are_refused(change, words):
    network = create_network("mlp", in_channels=5, image_size=1, width=0.1, depth=2)
    with pytest.raises(InputError, match=words):
        fit(create_rule("class-goodness", network, num_classes=3), vectors(), RECIPE, **change)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rule": "dgt-ff"}, "Did you mean 'dtg-ff'"),
        ({"network": "vgg9"}, "unknown network 'vgg9'"),
        ({"temperature": 2}, "unknown option of rule 'class-goodness': 'temperature'"),
        ({"network_options": {"dept": 2}}, "Did you mean 'depth'"),
        ({"data": vectors()[0]}, r"arrays \(X, y\), got ndarray"),
        ({"data": (1, 2, 3)}, "got tuple"),
        ({"recipe": Recipe(batch_size=500)}, r"batch_size 500 .*37 training samples"),
        ({"fusion": "fitted", "validation": 0}, "chosen on validation data"),
        ({"rule": None}, "a rule is a name, FILE"),
        ({"rule": Rule}, "Rule declares no info"),
        ({"data": vectors()[:1]}, r"got tuple; write fit\(rule, \(X, y\)\)"),
        ({"data": list(vectors())}, r"got list; write fit\(rule, \(X, y\)\)"),
        ({"recipe": {"epochs": 1}}, r"recipe .*got dict"),
        ({"recipe": 3}, r"recipe .*got int"),
        ({"network": 3}, r"network by name .*mlp.*, got 3"),
        ({"network": torch.nn.Linear(5, 3)}, r"network by name .*got Linear"),
        ({"network": ""}, "unknown network ''"),
        ({"width": "a"}, r"width .*got 'a'"),
        ({"width": math.nan}, r"width .*got nan"),
        ({"width": True}, r"width .*got True"),
        ({"width": 0}, "width must be positive, got 0"),
        ({"network_options": 3}, "network_options must be a dictionary"),
        ({"network_options": {3: 3}}, "network_options must be a dictionary"),
        ({"network_options": {"hidden": -5}}, r"hidden .*got -5"),
        ({"validation": math.nan}, r"validation=nan .*below 1"),
        ({"validation": "a"}, "validation='a' must be a number"),
        ({"validation": 1}, r"validation=1 .*below 1"),
        ({"seed": 1.5}, r"seed .*got 1.5"),
        ({"seed": None}, r"seed .*got None"),
        ({"on_epoch": 3}, "on_epoch must be a function"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(given, words):
    arguments = {"rule": "class-goodness", "data": vectors(), "recipe": RECIPE, "width": 0.05} | given
    with pytest.raises(InputError, match=words):
        fit(arguments.pop("rule"), arguments.pop("data"), arguments.pop("recipe"), **arguments)


def test_a_network_that_is_made_must_take_the_samples_and_has_its_width():
    network = create_network("mlp", in_channels=4, image_size=1, depth=2)
    with pytest.raises(InputError, match=r"takes \(4,\), the data are \(5,\)"):
        fit("class-goodness", vectors(), RECIPE, network=network)
    with pytest.raises(InputError, match="for a network by name"):
        fit("class-goodness", vectors(), RECIPE, network=network, width=0.5)


# --- what the documents say -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "module",
    [
        f"layerlocal.{name}"
        for name in ("training.fit", "data.arrays", "training.estimator", "networks.base", "networks.weights")
    ],
)
def test_the_examples_in_docstrings_are_true(module):
    pytest.importorskip("sklearn", reason="the extra `sklearn` is not installed")
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted and not found.failed


def test_the_example_runs(capsys):
    pytest.importorskip("sklearn", reason="the extra `sklearn` is not installed")
    runpy.run_path(str(ROOT / "examples/estimator.py"))
    accuracy = float(capsys.readouterr().out.split()[2])
    assert accuracy > 0.9


# --- arrays -----------------------------------------------------------------------------------------------------------


def test_labels_of_any_kind_are_numbered_in_their_order():
    X = np.zeros((6, 2), np.float32)
    for y in (["dog", "ant", "cat"] * 2, [30, -1, 7] * 2, torch.tensor([30, -1, 7] * 2)):
        data = data_from_arrays(X, y, validation=0)
        assert data.train.labels.tolist() == [2, 0, 1] * 2 and data.num_classes == 3
        assert data.class_names == (("ant", "cat", "dog") if y[0] == "dog" else ("-1", "7", "30"))


def test_numbers_are_normalized_by_feature_from_the_training_rows_alone_and_constants_stay():
    X, y = vectors()
    X[:, 2] = 1e6
    data = data_from_arrays(X, y, validation=0.25, seed=1)
    kept = data.train.images.numpy().astype(np.float64)
    assert len(kept) == 30 and len(data.validation) == 10
    np.testing.assert_allclose(data.mean.numpy(), kept.mean(0), rtol=1e-5)
    expected = kept.std(0)
    expected[2] = 1
    np.testing.assert_allclose(data.std.numpy(), expected, rtol=1e-5)


def test_float_images_are_normalized_by_channel():
    X, y = images()
    X = X.astype(np.float64) * np.array([1, 10, 100])[:, None, None] - 5
    data = data_from_arrays(X, y, validation=0)
    np.testing.assert_allclose(data.mean.numpy(), X.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(data.std.numpy(), X.std((0, 2, 3)), rtol=1e-5)


def test_pixels_stay_bytes_and_are_normalized_on_the_scale_from_0_to_1():
    X, y = images()
    data = data_from_arrays(X, y, validation=0)
    assert data.train.images.dtype == torch.uint8 and np.array_equal(data.train.images.numpy(), X)
    np.testing.assert_allclose(data.mean.numpy(), X.mean((0, 2, 3)) / 255, rtol=1e-5)
    np.testing.assert_allclose(data.std.numpy(), X.std((0, 2, 3)) / 255, rtol=1e-4)


def test_images_may_have_their_channels_first_or_last_or_none_at_all():
    X, y = images()
    first = data_from_arrays(X, y, validation=0).train.images
    last = data_from_arrays(np.moveaxis(X, 1, 3), y, validation=0).train.images
    assert torch.equal(first, last) and first.shape == (24, 3, 6, 6)
    gray = data_from_arrays(X[:, 0], y, validation=0)
    assert gray.sample_shape == (1, 6, 6) and torch.equal(gray.train.images, first[:, :1])
    square, y = images(channels=6)
    assert np.array_equal(data_from_arrays(square, y, validation=0).train.images.numpy(), square)


def test_the_arrays_are_not_written_to():
    X, y = vectors()
    before, X.flags.writeable = X.copy(), False
    fit("class-goodness", (X, y), RECIPE, width=0.05)
    assert np.array_equal(X, before)


def test_arrays_have_no_test_split():
    with pytest.raises(InputError, match="no test split"):
        data_from_arrays(*vectors()).take_test()


@pytest.mark.parametrize(
    ("X", "y", "words"),
    [
        (np.zeros((4, 2)), [0, 0, 0, 0], r"at least 2 classes, .*1 class"),
        (np.zeros((4, 2)), [0, 1, 0], r"label .*the 4 samples"),
        (np.zeros((4, 2)), [[0, 1]] * 4, r"label .*the 4 samples"),
        (np.zeros((4, 2)), np.array([0, "a", 0, "a"], object), "sorted"),
        (np.zeros(4), [0, 1, 0, 1], r"got shape \(4,\)"),
        (np.zeros((0, 3)), [], r"got shape \(0, 3\)"),
        (np.full((4, 2), np.nan), [0, 1, 0, 1], "not finite"),
        (np.full((4, 2), 1e300), [0, 1, 0, 1], "too large"),
        (np.full((4, 2), "x"), [0, 1, 0, 1], "must be numbers"),
        (np.zeros((4, 3, 5, 6)), [0, 1, 0, 1], "must be square"),
        (np.zeros((4, 5, 6)), [0, 1, 0, 1], "must be square"),
        (None, [0, 1], "must be numbers, got NoneType"),
        ({"a": 1}, [0, 1], "must be numbers, got dict"),
        ([[1], [1, 2]], [0, 1], r"samples .*array of numbers"),
        (np.array([["a", 1]] * 2, object), [0, 1], r"samples .*array of numbers"),
        (np.zeros((2, 2), complex), [0, 1], "must be numbers, got complex128"),
        (np.ma.array(np.zeros((2, 2)), mask=[[0, 1], [0, 0]]), [0, 1], r"masked array .*missing"),
        (torch.empty(2, 2, device="meta"), [0, 1], r"samples .*array of numbers"),
    ],
)
def test_arrays_that_are_no_task_are_refused(X, y, words):
    with pytest.raises(InputError, match=words):
        data_from_arrays(X, y, validation=0)


# --- labels -----------------------------------------------------------------------------------------------------------

FOUR = np.arange(8, dtype=np.float32).reshape(4, 2)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([0, math.nan, 1, 0], r"label of row 1 .*\(nan\)"),
        (np.array([0, 1, np.nan, 0]), r"label of row 2 .*\(nan\)"),
        (["a", "b", math.nan, "a"], r"label of row 2 .*\(nan\)"),
        (["a", None, "b", "a"], r"label of row 1 .*\(None\)"),
        (np.array(["2020-01-01", "NaT"] * 2, "datetime64[D]"), r"label of row 1 .*\(NaT\)"),
        (np.ma.array([0, 1, 0, 1], mask=[0, 0, 1, 0]), r"masked array .*missing"),
        ([0.5, 1.0, 2.0, 3.5], r"labels .*real numbers .*0.5"),
        (np.array([0.0, 1.0, np.inf, 0.0]), "real numbers such as inf"),
        (np.array([0.5, 1.5, 0.5, 1.5], object), "real numbers such as 0.5"),
        (torch.tensor([0.0, 0.25, 1.0, 1.0]), "real numbers such as 0.25"),
        (np.array([0, 1j, 0, 1j]), "real numbers such as"),
        ([0, "a", 0, "a"], "got numbers and text"),
        ([[1], [1, 2], [1], [1, 2]], "sorted, got list"),
        (np.eye(2)[[0, 1, 0, 1]], r"2 columns; .*y.argmax\(1\)"),
        (np.zeros((1, 4)), r"4 samples, got shape \(1, 4\)"),
        (None, r"got shape \(\)"),
        ("abcd", r"got shape \(\)"),
        (3, r"got shape \(\)"),
    ],
)
def test_what_is_no_label_is_one_sentence(y, words):
    for call in (lambda: data_from_arrays(FOUR, y, validation=0), lambda: fit("local-heads", (FOUR, y), validation=0)):
        with pytest.raises(InputError, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("y", "names"),
    [
        ([True, False, True, False], ("False", "True")),
        (np.array(["b", "a", "b", "a"], object), ("a", "b")),
        ([np.int64(4), np.int64(2), np.int64(4), np.int64(2)], ("2", "4")),
        (np.array([4, 2, 4, 2], np.uint8), ("2", "4")),
        (np.array([[4], [2], [4], [2]]), ("2", "4")),
        (np.array([4.0, 2.0, 4.0, 2.0]), ("2.0", "4.0")),
        ([torch.tensor(4), torch.tensor(2), torch.tensor(4), torch.tensor(2)], ("2", "4")),
        (torch.tensor([4.0, 2.0, 4.0, 2.0]).bfloat16(), ("2.0", "4.0")),
    ],
)
def test_labels_of_every_honest_kind_are_classes(y, names):
    data = data_from_arrays(FOUR, y, validation=0)
    assert data.class_names == names and data.train.labels.tolist() == [1, 0, 1, 0]


def test_labels_of_pandas_are_classes_and_its_missing_ones_are_not():
    pandas = pytest.importorskip("pandas")
    good = [
        pandas.Series(["b", "a"] * 2, dtype="category"), pandas.Series(["b", "a"] * 2, dtype="string"),
        pandas.array([4, 2] * 2, dtype="Int64"), pandas.DataFrame({"y": [4, 2] * 2}),
    ]  # fmt: skip
    assert [data_from_arrays(FOUR, y, validation=0).train.labels.tolist() for y in good] == [[1, 0, 1, 0]] * 4
    for kind in ("category", "string"):
        with pytest.raises(InputError, match="label of row 1"):
            data_from_arrays(FOUR, pandas.Series(["a", None] * 2, dtype=kind), validation=0)
    with pytest.raises(InputError, match="label of row 1"):
        data_from_arrays(FOUR, pandas.array([4, None] * 2, dtype="Int64"), validation=0)


def test_a_class_of_one_row_is_named_and_may_be_learned_with_nothing_held_out():
    X, y = vectors(12)
    y = np.where(np.arange(12) == 5, 9, y)
    with pytest.raises(InputError, match=r"'9' .*1 training image, .*validation=0"):
        data_from_arrays(X, y)
    assert data_from_arrays(X, y, validation=0).num_classes == 4


def test_numbers_of_numpy_train_the_same_weights_as_those_of_python():
    plain = fit("local-heads", vectors(), RECIPE, width=0.0625, seed=2, validation=0.25, grid=2, network_options=SMALL)
    found = fit(
        "local-heads", vectors(), RECIPE, width=np.float32(0.0625), seed=np.int64(2), validation=np.float32(0.25), grid=np.int64(2),
        network_options={"depth": np.int64(2)},
    )  # fmt: skip
    assert_equal_bits(weights(found.rule), weights(plain.rule))
