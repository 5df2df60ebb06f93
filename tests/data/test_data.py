"""The task: what `load_data` chooses, splits, seals and says, checked on the embedded and the synthetic data."""

from __future__ import annotations

import gzip
import hashlib
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from layerlocal.data import TeacherOptions, benchmark_table, list_data, load_data
from layerlocal.data import builtin as builtin_module
from layerlocal.data.selection import balanced_quota
from layerlocal.data.teacher import create_teacher
from layerlocal.types import InputError

ROOT = Path(__file__).resolve().parents[2]
IDX = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERLOCAL_CACHE", str(tmp_path / "cache"))


def counts(labels):
    return torch.bincount(labels).tolist()


def rows_as_bytes(images):
    return [row.numpy().tobytes() for row in images]


# --- the embedded default ---------------------------------------------------------------------------------------------


def test_embedded_is_balanced_28_px_grayscale_and_small():
    data = load_data("fashion_mnist_subset", validation=0)
    test = data.take_test()
    assert counts(data.train.labels) == [1000] * 10
    assert counts(test.labels) == [200] * 10
    assert data.train.images.dtype == torch.uint8 and data.train.images.shape == (10000, 1, 28, 28)
    assert (data.num_classes, data.in_channels, data.image_size, data.sample_shape) == (10, 1, 28, (1, 28, 28))
    assert data.validation is None and data.chance == 0.1
    assert data.provenance["licence"] == "MIT" and data.provenance["num_images"]["test"] == 2000
    file = ROOT / "src/layerlocal/data/embedded/fashion_mnist_subset.npz"
    assert file.stat().st_size <= 6e6
    assert hashlib.sha256(file.read_bytes()).hexdigest() == data.provenance["checksum"]
    assert "Permission is hereby granted" in (file.parent / "LICENSE.fashion_mnist").read_text()


def test_embedded_images_are_originals_with_their_own_labels():
    if not IDX.is_dir():
        pytest.skip("the Debian package dataset-fashion-mnist is not installed")
    images = np.frombuffer(gzip.decompress((IDX / "t10k-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((IDX / "t10k-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    original = {image.tobytes(): label for image, label in zip(images.reshape(-1, 784), labels, strict=True)}
    test = load_data("fashion_mnist_subset").take_test()
    assert [original[key] for key in rows_as_bytes(test.images)] == test.labels.tolist()


def test_make_embedded_script_chooses_the_embedded_rows_and_packs_the_same_bytes_twice():
    if not IDX.is_dir():
        pytest.skip("the Debian package dataset-fashion-mnist is not installed")
    script = runpy.run_path(str(ROOT / "scripts/make_embedded.py"))
    arrays = script["choose_subset"](IDX)
    with np.load(ROOT / "src/layerlocal/data/embedded/fashion_mnist_subset.npz") as ours:
        assert sorted(arrays) == sorted(ours.files)
        assert all(np.array_equal(arrays[name], ours[name]) for name in ours.files)
    few = {name: array[:50] for name, array in arrays.items()}
    assert script["pack"](few) == script["pack"](few)


def test_a_changed_embedded_file_is_refused(monkeypatch):
    monkeypatch.setattr(builtin_module, "EMBEDDED_SHA256", "0" * 64)
    with pytest.raises(InputError, match="checksum"):
        load_data("fashion_mnist_subset")


def test_embedded_resized_keeps_a_constant_image_constant_and_the_mean():
    flat = np.full((2, 1, 28, 28), 77, np.uint8)
    assert (builtin_module.resize_images(flat, 32) == 77).all()
    small, large = (
        load_data("fashion_mnist_subset", num_train=100),
        load_data("fashion_mnist_subset", num_train=100, image_size=32),
    )
    assert large.sample_shape == (1, 32, 32)
    assert torch.allclose(small.mean, large.mean, atol=0.01)


# --- splits -----------------------------------------------------------------------------------------------------------


def test_validation_is_stratified_disjoint_and_seeded():
    data = load_data("fashion_mnist_subset", validation=0.2, seed=3)
    whole = load_data("fashion_mnist_subset", validation=0)
    assert counts(data.train.labels) == [800] * 10 and counts(data.validation.labels) == [200] * 10
    train, held_out = rows_as_bytes(data.train.images), rows_as_bytes(data.validation.images)
    assert sorted(train + held_out) == sorted(rows_as_bytes(whole.train.images))
    again = load_data("fashion_mnist_subset", validation=0.2, seed=3)
    other = load_data("fashion_mnist_subset", validation=0.2, seed=4)
    assert torch.equal(again.validation.images, data.validation.images)
    assert not torch.equal(other.validation.images, data.validation.images)


def test_mean_and_std_are_those_of_the_training_split_alone():
    data = load_data("fashion_mnist_subset", validation=0.5, num_train=200, seed=1)
    pixels = data.train.images.double() / 255
    assert torch.allclose(data.mean.double(), pixels.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(data.std.double(), pixels.std((0, 2, 3), correction=0), atol=1e-6)


def test_num_train_counts_before_validation_and_is_balanced_and_nested():
    small = load_data("fashion_mnist_subset", num_train=100, num_test=50, validation=0.1, seed=2)
    large = load_data("fashion_mnist_subset", num_train=1000, validation=0, seed=2)
    assert counts(small.train.labels) == [9] * 10 and counts(small.validation.labels) == [1] * 10
    assert counts(small.take_test().labels) == [5] * 10
    assert set(rows_as_bytes(small.train.images)) <= set(rows_as_bytes(large.train.images))


def test_quota_is_as_equal_as_the_classes_allow():
    assert balanced_quota(np.array([2, 100, 100]), 12).tolist() == [2, 5, 5]
    assert balanced_quota(np.array([50, 50, 50]), 10).tolist() == [4, 3, 3]


def test_classes_by_index_and_name_are_relabelled_in_original_order():
    data = load_data("fashion_mnist_subset", classes=["Bag", 3], validation=0)
    whole = load_data("fashion_mnist_subset", validation=0)
    assert data.class_names == ("Dress", "Bag") and data.num_classes == 2
    for new, old in ((0, 3), (1, 8)):
        assert torch.equal(data.train.images[data.train.labels == new], whole.train.images[whole.train.labels == old])
    assert data.chance == 0.5


def test_a_number_of_classes_draws_them_by_seed():
    drawn = {load_data("fashion_mnist_subset", classes=5, num_train=50, seed=seed).class_names for seed in range(4)}
    assert len(drawn) > 1 and all(len(names) == 5 for names in drawn)


# --- the seal ---------------------------------------------------------------------------------------------------------


def test_test_images_come_only_from_take_test_which_counts():
    data = load_data("fashion_mnist_subset", num_test=20)
    assert data.test_reads == 0
    assert not hasattr(data, "test")
    held = [value for value in vars(data).values() if isinstance(value, torch.Tensor) and value.ndim > 1]
    assert held == []
    assert len(data.take_test()) == 20 and data.test_reads == 1
    data.take_test()
    assert data.test_reads == 2
    with pytest.raises(AttributeError):
        data.chance = 1.0


# --- teacher-student --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_classes", [2, 10, 100])
def test_teacher_classes_are_exactly_balanced_and_inputs_gaussian(num_classes):
    data = load_data(
        "teacher_student", classes=num_classes, num_train=num_classes * 20, num_test=num_classes * 3, validation=0
    )
    assert counts(data.train.labels) == [20] * num_classes
    assert counts(data.take_test().labels) == [3] * num_classes
    assert data.chance == pytest.approx(1 / num_classes)
    assert data.sample_shape == (64,) and (data.in_channels, data.image_size) == (64, 1)
    assert torch.equal(data.mean, torch.zeros(64)) and torch.equal(data.std, torch.ones(64))


def test_mlp_teacher_labels_equal_a_recomputation_by_hand():
    data = load_data("teacher_student", classes=7, num_train=300, num_test=70, seed=5, validation=0)
    t = create_teacher(TeacherOptions(), num_classes=7, seed=5)
    first, second = t.first.double().numpy(), t.second.double().numpy()
    centre, spread, bias = (part.double().numpy() for part in (t.centre, t.spread, t.bias))
    for split in (data.train, data.take_test()):
        x = split.images.double().numpy()
        logits = (np.maximum(x @ first.T, 0) @ second.T - centre) / spread + bias
        assert np.mean(logits.argmax(1) == split.labels.numpy()) > 0.995  # a tie may round the other way


def test_conv_teacher_labels_equal_a_recomputation_by_hand():
    options = TeacherOptions(kind="conv", image_size=8, channels=2, hidden=4)
    data = load_data("teacher_student", classes=3, teacher=options, num_train=30, num_test=30, seed=1, validation=0)
    assert data.sample_shape == (2, 8, 8) and data.train.images.dtype == torch.float32
    t = create_teacher(options, num_classes=3, seed=1)
    for x, label in zip(data.train.images.double(), data.train.labels, strict=True):
        padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
        maps = torch.zeros(4, 4, 4, dtype=torch.float64)
        for i in range(4):
            for j in range(4):
                patch = padded[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
                maps[:, i, j] = (t.first.double() * patch).sum((1, 2, 3)).clamp(min=0)
        logits = (t.second.double() @ maps.flatten() - t.centre) / t.spread + t.bias
        assert logits.argmax() == label


def test_teacher_is_a_function_of_the_seed_and_splits_differ():
    def load(seed):
        return load_data("teacher_student", classes=4, num_train=200, num_test=200, seed=seed, validation=0)

    first, same, other = load(0), load(0), load(1)
    assert torch.equal(first.train.images, same.train.images) and torch.equal(first.train.labels, same.train.labels)
    assert not torch.equal(first.train.images, other.train.images)
    assert not set(rows_as_bytes(first.train.images)) & set(rows_as_bytes(first.take_test().images))
    assert torch.equal(first.take_test().images, same.take_test().images)


def test_a_linear_probe_beats_chance_on_teacher_labels():
    data = load_data("teacher_student", classes=5, num_train=4000, num_test=1000, validation=0)
    target = torch.nn.functional.one_hot(data.train.labels, 5).float()
    weights = torch.linalg.lstsq(data.train.images, target).solution
    test = data.take_test()
    assert ((test.images @ weights).argmax(1) == test.labels).float().mean() > 2 * data.chance


# --- names and bad input ----------------------------------------------------------------------------------------------


def test_table_has_the_benchmarks_of_the_hub_and_is_honest_about_what_was_exercised():
    table = {info.name: info for info in benchmark_table()}
    assert [name for name, info in table.items() if info.hub_id] == [
        "mnist",
        "fashion_mnist",
        "kmnist",
        "svhn",
        "cifar10",
        "cifar100",
        "stl10",
        "tiny_imagenet",
        "imagenet100",
        "tinystories",
        "wikitext2",
        "wikitext103",
    ]
    assert {name for name, info in table.items() if info.exercised} == {"cifar10", "cifar100"}
    assert all(("needs network" if info.hub_id else "was not at hand") in info.note for info in table.values())
    assert all(bool(info.hub_id) != bool(info.file) for info in table.values())
    assert table["tiny_imagenet"].test_split == "valid" and table["svhn"].config == "cropped_digits"
    assert set(table) < set(list_data()) and {"fashion_mnist_subset", "teacher_student"} < set(list_data())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "fashion_mnist_subste"}, "did you mean 'fashion_mnist_subset'.*path"),
        ({"source": "no/such/folder"}, "no/such/folder does not exist"),
        ({"classes": 11}, "has 10 classes"),
        ({"classes": 1}, "take 2 to 10"),
        ({"classes": ["Bag", "Hat"]}, "unknown class 'Hat'; known: .*Sandal"),
        ({"classes": [0, 10]}, "class index 10"),
        ({"classes": [1, 1]}, "twice"),
        ({"classes": "Bag"}, "list"),
        ({"classes": [1.5, 2]}, r"classes=\[1.5, 2\] must hold indices, which are whole numbers, and names, got 1.5"),
        ({"classes": [True, 2]}, "must hold indices, which are whole numbers, and names, got True"),
        ({"classes": [None, 2]}, "and names, got None"),
        ({"classes": 2.5}, "classes=2.5 must be a whole number, or a list"),
        ({"classes": True}, "classes=True must be a whole number"),
        ({"classes": {"Bag": 1}}, "must be a whole number, or a list"),
        ({"classes": np.array(3.0)}, "must be a whole number, or a list"),
        ({"classes": []}, "too few to classify"),
        ({"classes": 0}, "take 2 to 10"),
        ({"source": None}, "data needs a name or a folder, got None"),
        ({"source": 3}, "data needs a name or a folder, got 3"),
        ({"num_train": 1.5}, "num_train must be a whole number, got 1.5"),
        ({"num_train": True}, "num_train must be a whole number, got True"),
        ({"num_train": "10"}, "num_train must be a whole number, got '10'"),
        ({"num_train": -1}, "num_train must be at least 0, got -1"),
        ({"num_test": -1}, "num_test must be at least 0, got -1"),
        ({"compose": "side", "num_train": -5}, "num_train must be at least 0, got -5"),
        ({"validation": float("nan")}, "validation must be a finite number, got nan"),
        ({"validation": "a"}, "validation must be a finite number, got 'a'"),
        ({"validation": 1}, "below 1"),
        ({"validation": True}, "validation must be a finite number, got True"),
        ({"seed": 1.5}, "seed must be a whole number, got 1.5"),
        ({"seed": None}, "seed must be a whole number, got None"),
        ({"seed": True}, "seed must be a whole number, got True"),
        ({"image_size": -1}, "image_size must be at least 0, got -1"),
        ({"image_size": 1.5}, "image_size must be a whole number, got 1.5"),
        ({"image_size": True}, "image_size must be a whole number, got True"),
        ({"held_out": 2}, "held_out=2 must be at least 0 and below 1"),
        ({"held_out": float("nan")}, "held_out must be a finite number, got nan"),
        ({"superclass": 1.5}, "superclass must be a whole number, got 1.5"),
        ({"draw": None}, "draw must be text, got None"),
        ({"labels": 3}, "labels must be text, got 3"),
        ({"compose": True}, "compose must be text, got True"),
        ({"cache_dir": 3}, "cache_dir must be a folder, got 3"),
        ({"source": "teacher_student", "teacher": 3}, "teacher must be a dictionary of options, got 3"),
        ({"source": "teacher_student", "teacher": {"hidden": True}}, "hidden must be a whole number, got True"),
        ({"source": "teacher_student", "teacher": {"noise": float("nan")}}, "noise must be a finite number, got nan"),
        ({"source": "teacher_student", "classes": 1.5}, "classes=1.5 must be a whole number"),
        ({"num_train": 20000}, "10000 images"),
        ({"num_train": 5}, "at least one image a class"),
        ({"num_test": 2001}, "2000 images"),
        ({"num_train": 10}, "too few for a validation split"),
        ({"validation": 1.0}, "below 1"),
        ({"validation": -0.1}, "at least 0"),
        ({"labels": "coarse"}, "unknown label column 'coarse'; known: label"),
        ({"image_size": 0}, "at least 1 pixel"),
        ({"teacher": {"hidden": 3}}, "belong to teacher_student"),
        ({"source": "teacher_student", "teacher": {"depth": 3}}, "unknown teacher option 'depth'; known: .*hidden"),
        ({"source": "teacher_student", "teacher": {"kind": "rnn"}}, "unknown teacher kind 'rnn'"),
        ({"source": "teacher_student", "teacher": {"hidden": 0}}, "hidden must be at least 1, got 0"),
        ({"source": "teacher_student", "classes": [1, 2]}, "number of classes"),
        ({"source": "teacher_student", "image_size": 32}, "image_size does not apply"),
        ({"source": "teacher_student", "num_train": 0}, "too few"),
    ],
)
def test_bad_input_is_one_clear_sentence(arguments, message):
    with pytest.raises(InputError, match=f"(?is){message}") as caught:
        load_data(**({"source": "fashion_mnist_subset"} | arguments))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ({"classes": np.int64(3)}, {"classes": 3}),
        ({"classes": np.array([8, 3])}, {"classes": [8, 3]}),
        ({"classes": {8, 3}}, {"classes": [3, 8]}),
        ({"classes": [np.int32(8), np.str_("Dress")]}, {"classes": ["Bag", "Dress"]}),
        ({"num_train": np.int64(50), "num_test": np.uint8(20)}, {"num_train": 50, "num_test": 20}),
        ({"seed": np.int64(4), "image_size": np.int16(14)}, {"seed": 4, "image_size": 14}),
        ({"validation": np.float64(0.2)}, {"validation": 0.2}),
    ],
)
def test_numbers_of_numpy_load_what_those_of_python_load(given, plain):
    small = {"num_train": 40, "num_test": 20}
    found, expected = (load_data("fashion_mnist_subset", **(small | choice)) for choice in (given, plain))
    assert found.class_names == expected.class_names and torch.equal(found.train.images, expected.train.images)
    assert torch.equal(found.validation.labels, expected.validation.labels)
