"""A value means what it meant in `fit`, whatever type it comes in; images on another scale are refused, not answered."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layerlocal import Recipe, Split, create_network, create_rule, data_from_splits, fit
from layerlocal.scale import PIXELS, Scale
from layerlocal.types import InputError

RECIPE = Recipe(epochs=4, batch_size=16, learning_rate=0.01)
GENERATOR = np.random.default_rng(0)
Y = np.arange(64) % 2
X = np.clip(GENERATOR.normal(60 + 80 * Y[:, None, None, None], 40, (64, 1, 6, 6)), 0, 255).astype(np.uint8)
X[0, 0, 0, :2] = 0, 255
TYPES = {
    "int16": np.int16, "int32": np.int32, "int64": np.int64, "float16": np.float16, "float32": np.float32, "float64": np.float64,
}  # fmt: skip
NETWORK = {"network": "cnn4", "width": 0.05, "network_options": {"depth": 2}}


@pytest.fixture(scope="module")
def fitted():
    """A model of pixels."""
    return fit("local-heads", (X, Y), RECIPE, **NETWORK, validation=0)


@pytest.fixture(scope="module")
def of_fractions():
    """A model of the same images divided by 255."""
    return fit("local-heads", ((X / 255).astype(np.float32), Y), RECIPE, **NETWORK, validation=0)


def scores(fitted, images):
    with torch.no_grad():
        return fitted.to_module()(torch.as_tensor(np.asarray(images)))


# --- a module ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES)
def test_pixels_as_any_type_give_the_scores_of_pixels_to_the_last_bit(fitted, kind):
    assert torch.equal(scores(fitted, X.astype(kind)), scores(fitted, X))


def test_those_scores_are_the_rules_on_images_normalized_by_hand(fitted):
    pixels = X.astype(np.float64) / 255
    by_hand = torch.tensor((pixels - pixels.mean()) / pixels.std(), dtype=torch.float32)
    with torch.no_grad():
        expected = fitted.rule.eval().scores(fitted.rule.network.prepare(by_hand))
    torch.testing.assert_close(scores(fitted, X.astype(np.int64)), expected, rtol=1e-4, atol=1e-4)
    assert (expected.argmax(1).numpy() == Y).mean() > 0.9


@pytest.mark.parametrize("kind", [np.int64, np.float32, np.float64])
def test_a_model_of_the_same_values_in_another_type_is_the_same_model_up_to_rounding(fitted, kind):
    other = fit("local-heads", (X.astype(kind), Y), RECIPE, **NETWORK, validation=0)
    for images in (X, X.astype(np.int64), X.astype(np.float32)):
        torch.testing.assert_close(scores(other, images), scores(fitted, X), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (X / 255, "divided by 255"),
        ((X / 255).astype(np.float32), "divided by 255"),
        (X.astype(np.int64) + 1, r"0 to 255, got .*1 to 256"),
        (X.astype(np.float32) - 0.5, r"0 to 255, got .*-0.5"),
        (np.full((2, 1, 6, 6), np.nan), r"0 to 255, got .*nan"),
        (X > 100, "got true and false"),
    ],
)
def test_what_are_no_pixels_is_refused_by_a_model_of_pixels(fitted, images, words):
    with pytest.raises(InputError, match=words) as caught:
        scores(fitted, images)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (X, r"reach 1, .*255; .*x / 255"),
        (X.astype(np.int64), r"reach 1, got .*255"),
        (-X.astype(np.float32), r"reach 1, got .*255"),
    ],
)
def test_pixels_are_refused_by_a_model_of_fractions(of_fractions, images, words):
    with pytest.raises(InputError, match=words):
        scores(of_fractions, images)


def test_a_model_of_fractions_takes_them_in_any_real_type_and_a_little_more_of_them(of_fractions):
    expected = scores(of_fractions, (X / 255).astype(np.float32))
    torch.testing.assert_close(scores(of_fractions, X / 255), expected, rtol=1e-5, atol=1e-5)
    scores(of_fractions, (1.5 * X / 255).astype(np.float32))


def test_no_images_and_black_images_are_answered(fitted):
    assert scores(fitted, np.zeros((0, 1, 6, 6), np.float32)).shape == (0, 2)
    assert torch.equal(scores(fitted, np.zeros((1, 1, 6, 6))), scores(fitted, np.zeros((1, 1, 6, 6), np.uint8)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_looking_at_values_breaks_no_trace(fitted, kind):
    """What looks at a value cannot be traced: a trace takes every value as it comes."""
    module, x = fitted.to_module(), torch.tensor(X).to(kind)
    expected = scores(fitted, X)
    program = torch.export.export(module, (x[:2],), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    found = [program.module()(x), torch.compile(module, backend="eager", fullgraph=True)(x)]
    found.append(torch.jit.trace(module, x, check_trace=False)(x))
    for other in found:
        torch.testing.assert_close(other.detach(), expected, rtol=1e-5, atol=1e-5)
    assert module.to("meta")(torch.empty(3, 1, 6, 6, dtype=kind, device="meta")).shape == (3, 2)


def test_vectors_have_no_scale_and_bytes_of_them_are_numbers():
    """uint8 rows of a table are numbers in `fit`, so the module must not divide them by 255."""
    table = GENERATOR.integers(0, 200, (60, 4)).astype(np.uint8)
    y = (table[:, 0] > 100).astype(int)
    made = fit("local-heads", (table, y), RECIPE, width=0.05, validation=0)
    expected = scores(made, table.astype(np.float32))
    assert torch.equal(scores(made, table), expected) and torch.equal(scores(made, table.astype(np.int64)), expected)
    scores(made, 1e6 * table)


# --- the estimator ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def estimator():
    pytest.importorskip("sklearn", reason="the extra `sklearn` is not installed")
    from layerlocal import LayerLocalClassifier

    return LayerLocalClassifier(
        "local-heads", network="cnn4", width=0.05, epochs=4, batch_size=16, learning_rate=0.01, network_options={"depth": 2},
        random_state=0,
    )  # fmt: skip


@pytest.mark.parametrize("give", [*TYPES.values(), list, torch.tensor], ids=[*TYPES, "list", "tensor"])
def test_the_estimator_answers_the_same_values_alike(estimator, give):
    model = estimator.fit(X, Y)
    again = X.tolist() if give is list else give(X) if give is torch.tensor else X.astype(give)
    assert np.array_equal(model.decision_function(again), model.decision_function(X)) and model.score(again, Y) > 0.9


@pytest.mark.parametrize(
    ("images", "words"),
    [(X / 255, "divided by 255"), (X.astype(int) - 1, "from -1 to"), (X > 9, "true and false")],
)
def test_the_estimator_refuses_images_on_another_scale(estimator, images, words):
    model = estimator.fit(X, Y)
    for ask in (model.predict, model.predict_proba, model.decision_function):
        with pytest.raises(InputError, match=words):
            ask(images)


# --- what remembers it ------------------------------------------------------------------------------------------------


def test_the_scale_of_data_is_that_of_its_training_images():
    labels = torch.arange(8) % 2
    kinds = {
        PIXELS: torch.zeros(8, 1, 2, 2, dtype=torch.uint8),
        Scale(pixels=False, reach=3.0): torch.linspace(-3, 2, 32).view(8, 1, 2, 2),
        Scale(pixels=False): torch.randn(8, 5),
    }
    for expected, images in kinds.items():
        split = Split(images, labels)
        assert data_from_splits("x", split, split).scale == expected


def test_a_module_without_a_scale_goes_by_the_type_as_it_says():
    network = create_network("cnn4", in_channels=1, image_size=6, width=0.05, depth=1, seed=0)
    module = create_rule("local-heads", network, num_classes=2, seed=0).to_module(mean=[0.4], std=[0.3])
    with torch.no_grad():
        torch.testing.assert_close(module(torch.tensor(X)), module(torch.tensor(X).float() / 255))
