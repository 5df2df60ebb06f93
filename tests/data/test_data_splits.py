"""`Split` and `data_from_splits`: what does not belong together is refused before anything is trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layerlocal import Recipe, Split, create_network, create_rule, data_from_splits, evaluate_split, fit
from layerlocal.types import InputError

LABELS = torch.arange(6) % 3


def split(number=6, classes=3, features=5, images=None, labels=None):
    labels = torch.arange(number) % classes if labels is None else torch.tensor(labels)
    return Split(torch.randn(len(labels), features) if images is None else images, labels)


def test_splits_that_belong_together_are_a_task():
    train, test = split(), split(9)
    data = data_from_splits("mine", train, test, validation=split(3), class_names=["a", "b", "c"])
    assert (data.num_classes, data.class_names, data.chance) == (3, ("a", "b", "c"), pytest.approx(1 / 3))
    assert data.take_test() is test and data.train is train
    assert data_from_splits("mine", train, split(4, classes=2)).class_names == ("0", "1", "2")


WITH_NAN = torch.randn(6, 5).index_fill(0, torch.tensor(4), float("nan"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"test": split(classes=4)},
            r"test split .*0 to 3, .*0 to 2",
        ),
        ({"validation": split(classes=5)}, r"validation split .*0 to 4"),
        ({"test": split(labels=[0, -1, 2])}, r"test split .*-1 to 2"),
        ({"train": split(labels=[0, -1, 2])}, r"training labels .*got -1"),
        ({"train": split(labels=[0, 2, 3])}, r"class 1 .*up to 3"),
        ({"train": split(labels=[1, 2, 3])}, r"class 0 .*up to 3"),
        ({"train": split(labels=[0, 0])}, "at least 2 classes, got 1"),
        ({"test": split(features=4)}, r"test split .*\(4,\), .*training .*\(5,\)"),
        ({"validation": split(images=torch.zeros(6, 1, 2, 2))}, r"validation split .*\(1, 2, 2\)"),
        (
            {"test": split(images=torch.zeros(6, 5, dtype=torch.uint8))},
            r"test .*uint8 pixels, .*training .*float32",
        ),
        (
            {"train": split(images=torch.zeros(6, 5, dtype=torch.uint8))},
            r"test .*float32 numbers, .*training .*uint8",
        ),
        ({"train": split(0)}, "the train split is empty"),
        ({"test": split(0)}, "the test split is empty"),
        ({"validation": split(0)}, "validation split is empty"),
        ({"train": split(images=WITH_NAN)}, r"sample 4 .*train .*not finite"),
        ({"test": split(images=WITH_NAN)}, r"sample 4 .*test .*not finite"),
        ({"validation": split(images=1 / torch.zeros(6, 5))}, r"sample 0 .*validation"),
        (
            {"train": (torch.zeros(6, 5), LABELS)},
            r"train .*got tuple.*Split\(images, labels\)",
        ),
        ({"validation": 0.1}, r"validation .*got float"),
        ({"class_names": ("a", "b")}, r"class_names .*got \('a', 'b'\)"),
        ({"class_names": ("a", "b", "c", "d")}, "class_names must be 3 names"),
        ({"class_names": "abc"}, "class_names must be 3 names"),
        ({"class_names": ("a", "b", 3)}, "class_names must be 3 names"),
        ({"class_names": 3}, "class_names must be 3 names"),
        ({"class_names": ("a", "b", "a")}, "class_names has 'a' twice"),
    ],
)
def test_splits_that_do_not_belong_together_are_one_sentence(given, words):
    arguments = {"train": split(), "test": split()} | given
    with pytest.raises(InputError, match=words) as caught:
        data_from_splits("mine", arguments.pop("train"), arguments.pop("test"), **arguments)
    assert "\n" not in str(caught.value) and isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (None, r"images .*got NoneType"),
        ([[0.0]] * 6, r"images .*got list"),
        (torch.zeros(6), r"images .*got shape \(6,\)"),
        (torch.zeros(6, 2, 2), r"got shape \(6, 2, 2\)"),
        (torch.zeros(6, 0), r"got shape \(6, 0\)"),
        (torch.zeros(6, 5, dtype=torch.int64), r"images .*got torch.int64"),
        (torch.zeros(6, 5, dtype=torch.float64), "got torch.float64"),
        (np.zeros((6, 5)), "got float64"),
        (torch.zeros(5, 5), r"labels .*got \(6,\)"),
    ],
)
def test_images_of_a_split_are_of_a_known_kind(images, words):
    with pytest.raises(InputError, match=words):
        Split(images, LABELS)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "labels must be whole numbers 0..K-1"),
        ("abcabc", "labels must be whole numbers 0..K-1"),
        (["a"] * 6, "labels must be whole numbers 0..K-1"),
        (torch.zeros(6), r"labels .*got float32"),
        (torch.zeros(6, dtype=torch.bool), "got bool"),
        (torch.zeros(6, 1, dtype=torch.int64), r"labels .*got \(6, 1\)"),
    ],
)
def test_labels_of_a_split_are_whole_numbers(labels, words):
    with pytest.raises(InputError, match=words):
        Split(torch.zeros(6, 5), labels)


@pytest.mark.parametrize("labels", [LABELS.tolist(), LABELS.numpy(), LABELS.int(), LABELS.numpy().astype(np.uint8)])
def test_whole_numbers_of_any_type_are_labels(labels):
    found = Split(torch.zeros(6, 5), labels).labels
    assert found.dtype == torch.int64 and found.tolist() == [0, 1, 2, 0, 1, 2]


# --- evaluate_split ---------------------------------------------------------------------------------------------------


def rule(classes=3, features=5):
    network = create_network("mlp", in_channels=features, image_size=1, width=0.05, depth=1, seed=0)
    return create_rule("local-heads", network, num_classes=classes, seed=0)


DATA = data_from_splits("mine", split(), split())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((None, DATA, DATA.train), r"rule .*got NoneType"),
        (("local-heads", DATA, DATA.train), r"rule .*got str"),
        ((rule(), None, DATA.train), r"data .*got NoneType"),
        ((rule(), DATA, DATA), r"split .*got Data"),
        ((rule(), DATA, split(features=4)), r"given split .*\(4,\)"),
        ((rule(), DATA, split(classes=4)), r"given split .*0 to 3"),
        ((rule(), DATA, split(images=torch.zeros(6, 5, dtype=torch.uint8))), "the given split holds uint8 pixels"),
        ((rule(), DATA, split(0)), "the split is empty"),
        ((rule(classes=2), DATA, DATA.train), r"rule .*2 classes, .*data .*3"),
        ((rule(features=4), DATA, DATA.train), r"network .*\(4,\), .*data .*\(5,\)"),
    ],
)
def test_an_accuracy_is_not_said_of_what_does_not_fit(given, words):
    with pytest.raises(InputError, match=words):
        evaluate_split(*given)


@pytest.mark.parametrize(("given", "words"), [
    ({"data": (torch.zeros(6, 5), LABELS)}, r"data .*got tuple"),
    ({"recipe": {"epochs": 1}}, r"recipe .*got dict"),
    ({"seed": 0.5}, r"seed .*got 0.5"),
])  # fmt: skip
def test_training_takes_data_and_a_recipe(given, words):
    from layerlocal.training.train import Training

    arguments = {"data": DATA, "recipe": Recipe(epochs=1, batch_size=2), "seed": 0} | given
    with pytest.raises(InputError, match=words):
        Training(rule(), arguments.pop("data"), arguments.pop("recipe"), **arguments)


def test_labels_of_numpy_are_trained_on():
    train = Split(torch.randn(6, 5), LABELS.numpy().astype(np.int32))
    fit(rule(), data_from_splits("mine", train, train), Recipe(epochs=1, batch_size=2))
