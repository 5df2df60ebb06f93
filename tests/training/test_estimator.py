"""`LayerLocalClassifier`: the checks of scikit-learn, images, probabilities, and that nothing else needs scikit-learn."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn", reason="the extra `sklearn` is not installed")
from safetensors.torch import save_file
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
from sklearn.utils.estimator_checks import parametrize_with_checks

from layerlocal import LayerLocalClassifier, Recipe, create_network, create_rule, data_from_arrays
from layerlocal import fit as fit_rule
from layerlocal.types import InputError


def small(rule="class-goodness", **options):
    given = {"width": 0.125, "epochs": 8, "random_state": 0} | options
    if given.get("network", "auto") in ("auto", "mlp"):
        given = {"network_options": {"depth": 2}} | given
    return LayerLocalClassifier(rule, **given)


def vectors(number=60, classes=3, seed=0):
    generator = np.random.default_rng(seed)
    y = np.arange(number) % classes
    return 4 * generator.normal(size=(classes, 5))[y] + generator.normal(size=(number, 5)), y


def images(number=40, seed=0):
    y = np.arange(number) % 2
    pixels = np.random.default_rng(seed).integers(0, 128, (number, 3, 8, 8))
    return (pixels + 100 * y[:, None, None, None]).astype(np.uint8), y


@parametrize_with_checks([small()])
def test_it_passes_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


# --- what it answers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["class-goodness", "ff", "bp"])
def test_every_kind_of_rule_learns_separable_classes(rule):
    X, y = vectors(120)
    assert small(rule, epochs=30, learning_rate=0.01).fit(X, y).score(X, y) > 0.9


def test_labels_come_back_as_they_were_given():
    X, y = vectors()
    names = np.array(["pear", "apple", "fig"])[y]
    model = small().fit(X, names)
    assert model.classes_.tolist() == ["apple", "fig", "pear"] and set(model.predict(X)) <= set(names)
    assert np.array_equal(model.predict(X), model.classes_[model.predict_proba(X).argmax(1)])


def test_probabilities_are_the_softmax_of_the_decision_function():
    X, y = vectors()
    model = small().fit(X, y)
    scores = model.decision_function(X)
    by_hand = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(X), by_hand, rtol=1e-9)


def test_for_two_classes_the_decision_function_is_the_log_odds_of_the_second():
    X, y = vectors(classes=2)
    model = small().fit(X, y)
    odds = model.predict_proba(X)
    np.testing.assert_allclose(model.decision_function(X), np.log(odds[:, 1] / odds[:, 0]), rtol=1e-6, atol=1e-9)


def test_the_module_takes_the_same_arrays_and_gives_the_same_scores():
    X, y = vectors()
    model = small().fit(X, y)
    with torch.no_grad():
        found = model.to_module()(torch.from_numpy(X).float())
    np.testing.assert_allclose(found.numpy(), model.decision_function(X), rtol=1e-4, atol=1e-4)


def test_the_scale_of_a_feature_does_not_matter():
    X, y = vectors()
    scale, shift = 2.0 ** np.arange(-4, 6, 2), np.array([0, 8, 0, -4, 0])
    found = small().fit(X * scale + shift, y).decision_function(X * scale + shift)
    np.testing.assert_allclose(found, small().fit(X, y).decision_function(X), rtol=0.02, atol=0.02)


# --- images -----------------------------------------------------------------------------------------------------------


def test_images_in_any_order_of_axes_give_the_same_answers():
    X, y = images()
    small_images = {"network": "cnn4", "epochs": 3, "batch_size": 8}
    first = small(**small_images).fit(X, y)
    last = small(**small_images).fit(np.moveaxis(X, 1, 3), y)
    assert first.rule_.network.sample_shape == (3, 8, 8) and first.score(X, y) > 0.9
    assert np.array_equal(first.decision_function(X), last.decision_function(np.moveaxis(X, 1, 3)))


def test_a_larger_image_than_in_fit_is_refused():
    X, y = images()
    model = small(network="cnn4", epochs=1).fit(X, y)
    with pytest.raises(ValueError, match=r"samples of shape \(3, 8, 8\)"):
        model.predict(np.zeros((2, 3, 9, 9), np.uint8))


def test_images_without_a_network_get_a_vgg8():
    X, y = images(16)
    assert small(width=0.03, epochs=1).set_params(network_options=None).fit(X, y).rule_.network.depth == 6


# --- parameters -------------------------------------------------------------------------------------------------------


def test_a_random_state_makes_two_fits_bit_equal_and_another_one_does_not():
    X, y = vectors()
    first, again, other = (small(random_state=seed).fit(X, y).decision_function(X) for seed in (3, 3, 4))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_options_reach_rule_network_and_recipe():
    X, y = vectors()
    model = small(
        rule="class-goodness", network="mlp", rule_options={"temperature_max": 3.0}, network_options={"depth": 3, "hidden": 16}, width=0.5,
        recipe_options={"schedule": "constant", "warmup": 0.0}, learning_rate=0.004, epochs=2,
    ).fit(X, y)  # fmt: skip
    assert model.rule_.temperature_max == 3.0 and model.rule_.network.activity_shapes == [(8,)] * 3
    assert [record.learning_rate for record in model.records_] == [0.004, 0.004] and model.n_iter_ == 2


def test_a_validation_fraction_is_held_out_and_its_accuracy_recorded():
    X, y = vectors(60)
    assert [r.validation for r in small().fit(X, y).records_] == [None] * 8
    model = small(validation_fraction=0.2, rule_options={"fusion": "fitted"}).fit(X, y)
    assert [r.validation.num_samples for r in model.records_] == [12] * 8
    assert not torch.allclose(model.rule_.fusion_weights, torch.tensor(0.5))


def test_fewer_samples_than_a_batch_are_one_batch():
    X, y = vectors(9)
    assert small(batch_size=64).fit(X, y).n_iter_ == 8


def test_verbose_prints_a_line_an_epoch(capsys):
    X, y = vectors()
    small(epochs=2, verbose=True, validation_fraction=0.2).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["epoch 1/2", "epoch 2/2"] and "validation accuracy" in lines[0]
    small(epochs=2).fit(X, y)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rule": "dgt-ff"}, "Did you mean 'dtg-ff'"),
        ({"network": "vgg9", "network_options": None}, "unknown network"),
        ({"epochs": 0}, "recipe.epochs"),
        ({"learning_rate": -1.0}, "recipe.learning_rate"),
        ({"recipe_options": {"momentun": 0.5}}, "recipe.momentun"),
        ({"rule_options": {"griid": 2}}, "unknown option of rule"),
        ({"validation_fraction": 1.5}, "validation=1.5"),
        ({"batch_size": 2.5}, r"batch_size .*got 2.5"),
        ({"width": "a"}, r"width .*got 'a'"),
        ({"rule": None}, "a rule is a name"),
        ({"network": 3, "network_options": None}, "a network by name"),
        ({"rule_options": 3}, r"rule_options .*dictionary"),
        ({"recipe_options": ["clip"]}, r"recipe_options .*dictionary"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"epochs": True}, "recipe.epochs: Input should be a number"),
    ],
)
def test_a_wrong_parameter_is_one_sentence_at_fit(options, words):
    with pytest.raises(InputError, match=words):
        small(**options).fit(*vectors())


def test_it_is_cloned_and_stands_in_a_pipeline():
    X, y = vectors(90)
    model = make_pipeline(PolynomialFeatures(2), clone(small(epochs=15, learning_rate=0.01)))
    assert cross_val_score(model, X, y, cv=3).mean() > 0.8


# --- searches ---------------------------------------------------------------------------------------------------------


def test_a_search_goes_over_whole_options_and_over_single_ones():
    X, y = vectors(90)
    model = small("local-heads", epochs=1, rule_options={"fusion": "last"})
    for grid in (
        {"rule_options": [{"label_smoothing": 0.0}, {"label_smoothing": 0.3}]},
        {"rule_options__label_smoothing": [0.0, 0.3]},
    ):
        found = GridSearchCV(model, grid, cv=2, error_score="raise").fit(X, y)
        assert len(found.cv_results_["params"]) == 2
        found = found.best_estimator_
        assert found.rule_.label_smoothing == found.rule_options["label_smoothing"]
    assert found.rule_.fusion == "last" and model.rule_options == {
        "fusion": "last"
    }  # the other option stays, and so does the model's


def test_single_options_are_parameters_like_others():
    model = small("local-heads")
    assert model.set_params(rule_options__grid=3, network_options__hidden=16, recipe_options__clip=1.0) is model
    assert (model.rule_options, model.network_options, model.recipe_options) == (
        {"grid": 3},
        {"depth": 2, "hidden": 16},
        {"clip": 1.0},
    )
    assert {"rule_options__grid": 3, "network_options__depth": 2}.items() <= model.get_params().items()
    assert clone(model).rule_options == {"grid": 3}
    model.set_params(rule_options={"grid": 2}, rule_options__fusion="last")
    assert model.rule_options == {"grid": 2, "fusion": "last"}
    with pytest.raises(InputError, match=r"'local-heads': 'griid'.*Did you mean 'grid'"):
        model.set_params(rule_options__griid=2).fit(*vectors())
    with pytest.raises(ValueError, match="Invalid parameter 'nothing'"):
        model.set_params(nothing__grid=2)


# --- a network of one's own -------------------------------------------------------------------------------------------


def own():
    return create_network("mlp", in_channels=5, image_size=1, width=0.1, depth=2, seed=7)


def test_a_network_that_is_made_is_copied_by_every_fit_and_left_as_it_was():
    X, y = vectors()
    network = own()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    model = LayerLocalClassifier("local-heads", network=network, epochs=2, random_state=0)
    first, again = model.fit(X, y).decision_function(X), model.fit(X, y).decision_function(X)
    cloned = clone(model).fit(X, y).decision_function(X)
    assert np.array_equal(first, again) and np.array_equal(first, cloned) and model.rule_.network is not network
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    by_hand = fit_rule(
        "local-heads",
        data_from_arrays(X, y, validation=0),
        Recipe(epochs=2, batch_size=32),
        network=own(),
        seed=seed_of(0),
    )
    assert all(torch.equal(value, by_hand.rule.state_dict()[name]) for name, value in model.rule_.state_dict().items())


def seed_of(random_state):
    return int(np.random.RandomState(random_state).randint(2**31 - 1))


@pytest.mark.parametrize("options", [{"width": 0.5}, {"network_options": {"depth": 2}}])
def test_a_network_that_is_made_has_its_width_and_depth(options):
    with pytest.raises(InputError, match=r"network by name; .*made already"):
        LayerLocalClassifier(network=own(), epochs=1, **options).fit(*vectors())


def test_a_rule_that_is_made_is_refused_and_its_class_is_taken():
    rule = create_rule("local-heads", own(), num_classes=3)
    with pytest.raises(InputError, match=r"LocalHeads .*made already"):
        LayerLocalClassifier(rule).fit(*vectors())
    assert isinstance(small(type(rule), epochs=1).fit(*vectors()).rule_, type(rule))


# --- weights that are given, and what each block does -------------------------------------------------------------------


def weights(rule):
    return {name: value.clone() for name, value in rule.network.state_dict().items()}


def blocks_that_moved(before, rule):
    return {
        name.split(".")[1] for name, value in rule.network.state_dict().items() if not torch.equal(before[name], value)
    }


def test_it_starts_from_given_weights_and_frozen_blocks_keep_them():
    (X, y), (X2, y2) = vectors(seed=1), vectors(seed=2)
    old = small("local-heads", network_options={"depth": 3}, epochs=1).fit(X, y)
    start, roles = weights(old.rule_), "1 frozen, 1 local, 1 frozen"
    model = LayerLocalClassifier("local-heads", start=old.rule_, blocks=roles, epochs=2, random_state=3)
    found = model.fit(X2, y2).rule_
    assert blocks_that_moved(start, found) == {"1"}
    assert blocks_that_moved(start, old.rule_) == set() and found.network is not old.rule_.network
    by_hand = fit_rule(
        "local-heads", data_from_arrays(X2, y2, validation=0), Recipe(epochs=2, batch_size=32), start=old.rule_, blocks=roles, seed=seed_of(3),
    )  # fmt: skip
    assert all(torch.equal(value, by_hand.rule.state_dict()[name]) for name, value in found.state_dict().items())


@pytest.mark.parametrize("kind", ["fitted", "network", "file"])
def test_whatever_fit_starts_from_it_starts_from(kind, tmp_path):
    X, y = vectors()
    fitted = fit_rule("local-heads", (X, y), Recipe(epochs=1, batch_size=16), network=own())
    if kind == "file":
        save_file(fitted.rule.state_dict(), tmp_path / "old.safetensors")
    start = {"fitted": fitted, "network": fitted.rule.network, "file": str(tmp_path / "old.safetensors")}[kind]
    sizes = {"network": "mlp", "width": 0.1, "network_options": {"depth": 2}} if kind == "file" else {}
    model = LayerLocalClassifier("bp", start=start, blocks=["2 frozen"], epochs=1, random_state=0, **sizes).fit(X, y)
    assert blocks_that_moved(weights(fitted.rule), model.rule_) == set()


def test_start_and_blocks_are_parameters_like_others():
    X, y = vectors(90)
    old = small("local-heads", epochs=1).fit(X, y).rule_
    roles = ["1 frozen", "1 local"]
    model = small("local-heads", network_options=None, width=1.0, epochs=1, start=old, blocks=roles)
    assert model.start is old and model.blocks is roles
    assert model.get_params()["start"] is old and model.get_params()["blocks"] is roles
    cloned = clone(model).fit(X, y)
    assert blocks_that_moved(weights(old), cloned.rule_) == {"1"} and cloned.start is not old
    assert model.set_params(start=None, blocks=None, width=0.125).fit(X, y).rule_.network.depth == 4
    grid = {"blocks": ["2 local", "1 frozen, 1 local", "2 joint"]}
    search = GridSearchCV(small("local-heads", epochs=1), grid, cv=2, error_score="raise").fit(X, y)
    assert len(search.cv_results_["params"]) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"blocks": "2 odd"}, "blocks must say .*'2 odd'"),
        ({"blocks": "3 local"}, "blocks says what 3 blocks do, and the network has 2"),
        ({"start": 7}, "a network starts from a module or a file, got 7"),
        ({"start": torch.nn.Linear(5, 4)}, "has none of the network's weights|does not say where its blocks are"),
        ({"start": "nowhere.safetensors"}, "nowhere.safetensors"),
        ({"start": small()}, "start is a LayerLocalClassifier, .*give its rule_"),
    ],
)
def test_a_start_or_roles_that_do_not_fit_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        small("local-heads", **options).fit(*vectors())


def test_the_network_of_a_start_has_its_width():
    X, y = vectors()
    old = small("local-heads", epochs=1).fit(X, y).rule_
    with pytest.raises(InputError, match=r"network by name; .*made already"):
        LayerLocalClassifier("local-heads", start=old, width=0.5).fit(X, y)


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda y: ["a" if k else None for k in y], "label of row 0"),
        (lambda y: ["a" if k else float("nan") for k in y], "label of row 0"),
        (lambda y: ["a" if k else 3 for k in y], "got numbers and text"),
        (lambda y: y + 0.5, "Unknown label type: continuous"),
    ],
)
def test_what_is_no_label_is_refused(make, words):
    X, y = vectors()
    with pytest.raises(ValueError, match=words):
        small().fit(X, make(y))


def test_a_class_of_one_row_is_named_by_its_label_where_rows_are_held_out():
    X, y = vectors()
    names = np.array(["pear", "apple", "fig"])[y]
    names[7] = "kiwi"
    with pytest.raises(InputError, match=r"kiwi .*1 row, .*validation_fraction=0"):
        small(validation_fraction=0.1).fit(X, names)
    assert "kiwi" in small(epochs=1).fit(X, names).classes_


# --- imports ----------------------------------------------------------------------------------------------------------


def test_without_scikit_learn_everything_else_works_and_the_estimator_says_what_is_missing():
    code = (
        "import sys; sys.modules['sklearn'] = sys.modules['sklearn.base'] = None\n"
        "from layerlocal import *\nfit\nimport layerlocal\n"
        "try: layerlocal.LayerLocalClassifier\nexcept ImportError as error: print(error)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert "pip install 'layerlocal[sklearn]'" in found.stdout
