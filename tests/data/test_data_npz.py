"""Files of arrays in MedMNIST's layout, made up here: what is read is what was written, and a published file is what it must be."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from layerlocal import DataSpec, Recipe, fit
from layerlocal.data import benchmark_table, content_of, load_data
from layerlocal.data import raw as raw_module
from layerlocal.data.benchmarks import BENCHMARKS
from layerlocal.data.medmnist import MEDMNIST
from layerlocal.experiments.driver import Refusal, _told
from layerlocal.experiments.studies.scale import SIZES_OF, scale_of
from layerlocal.types import InputError, UnreachableError

COUNTS = {"train": 18, "val": 6, "test": 9}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """The folder that ``LAYERLOCAL_DATA`` names."""
    monkeypatch.setenv("LAYERLOCAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LAYERLOCAL_DATA", str(tmp_path / "place"))
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def made_up(*, classes=3, shape=(28, 28), counts=COUNTS):
    """The six arrays as MedMNIST lays them out."""
    rng = np.random.default_rng(0)
    images = {f"{part}_images": rng.integers(0, 256, (count, *shape), dtype=np.uint8) for part, count in counts.items()}
    labels = {f"{part}_labels": np.arange(count, dtype=np.uint8)[:, None] % classes for part, count in counts.items()}
    return images | labels


def write(file, arrays):
    np.savez_compressed(file, **arrays)
    return file


def published(monkeypatch, place, name="bloodmnist", **options):
    """A made-up file that the table takes for the published one, by its sum."""
    arrays = made_up(classes=len(MEDMNIST[name].class_names), **options)
    file = write(place / f"{name}.npz", arrays)
    found = replace(MEDMNIST[name], md5=hashlib.md5(file.read_bytes()).hexdigest())
    monkeypatch.setitem(BENCHMARKS, name, replace(BENCHMARKS[name], file=found))
    return arrays


def channels_first(images):
    return torch.from_numpy(images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2).copy())


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 3), (28, 28, 1), (9, 9)])
def test_pixels_and_labels_are_those_of_the_arrays_and_val_is_behind_train(tmp_path, shape):
    arrays = made_up(shape=shape)
    data = load_data(write(tmp_path / "cells.npz", arrays), validation=0)
    for what in ("images", "labels"):
        found = getattr(data.train, what)
        joined = np.concatenate([arrays[f"train_{what}"], arrays[f"val_{what}"]])
        assert torch.equal(found, channels_first(joined) if what == "images" else torch.from_numpy(joined[:, 0]).long())
    test = data.take_test()
    assert torch.equal(test.images, channels_first(arrays["test_images"].reshape(9, *shape)))
    assert test.labels.tolist() == arrays["test_labels"][:, 0].tolist()
    assert data.class_names == ("0", "1", "2") and data.name == "cells.npz"
    assert data.provenance["kind"] == "npz" and data.provenance["parts"] == {"train": 18, "val": 6}


def test_the_validation_split_is_drawn_from_train_and_val_together(tmp_path):
    file = write(tmp_path / "cells.npz", made_up())
    whole, data = load_data(file, validation=0), load_data(file, validation=0.25)
    assert (len(data.train), len(data.validation)) == (18, 6)
    both = torch.cat([data.train.images, data.validation.images])
    assert sorted(both.flatten(1).tolist()) == sorted(whole.train.images.flatten(1).tolist())


def test_a_file_without_val_has_the_training_images_alone_and_labels_may_be_plain(tmp_path):
    arrays = {name: found for name, found in made_up().items() if not name.startswith("val")}
    arrays["train_labels"] = arrays["train_labels"][:, 0].astype(np.int64)
    data = load_data(write(tmp_path / "cells.npz", arrays), validation=0)
    assert torch.equal(data.train.images, channels_first(arrays["train_images"]))


def test_a_test_split_is_drawn_where_there_is_none(tmp_path):
    arrays = {name: found for name, found in made_up().items() if not name.startswith("test")}
    data = load_data(write(tmp_path / "cells.npz", arrays), test=0.25, validation=0)
    assert (len(data.train), len(data.take_test())) == (18, 6)


def test_images_are_resized_as_images_of_files_are(tmp_path):
    from PIL import Image

    arrays = made_up()
    data = load_data(write(tmp_path / "cells.npz", arrays), validation=0, image_size=14)
    expected = Image.fromarray(arrays["train_images"][0]).resize((14, 14), Image.Resampling.BICUBIC)
    assert np.array_equal(data.train.images[0, 0].numpy(), np.asarray(expected))


@pytest.mark.parametrize("name", MEDMNIST)
def test_a_set_of_medmnist_is_found_by_its_name_with_class_names_and_licence(name, place, monkeypatch):
    entry = MEDMNIST[name]
    shape = (28, 28, 3) if entry.channels == 3 else (28, 28)
    counts = {"train": 24, "val": 12, "test": 22}
    arrays = published(monkeypatch, place, name, shape=shape, counts=counts)
    data = load_data(name, validation=0)
    assert data.name == name and data.class_names == entry.class_names
    assert torch.equal(data.train.images[:24], channels_first(arrays["train_images"]))
    assert data.provenance["licence"] == entry.licence and data.provenance["source"] == f"own copy of {name}"
    assert ("non-commercial" in entry.licence) == (name == "dermamnist")
    assert str(place) not in json.dumps(data.provenance)


def test_a_rule_trains_on_it(place, monkeypatch):
    published(monkeypatch, place, shape=(28, 28, 3), counts={"train": 32, "val": 16, "test": 16})
    data = load_data("bloodmnist")
    fitted = fit("class-goodness", data, Recipe(epochs=1, batch_size=16), network="cnn4", width=0.1)
    assert fitted.rule.num_classes == 8


def test_a_changed_file_is_read_again_and_is_other_data(place, monkeypatch):
    published(monkeypatch, place)
    spec = DataSpec(source="bloodmnist")
    before = content_of(spec)
    arrays = published(monkeypatch, place, counts={"train": 27, "val": 6, "test": 9})
    assert content_of(spec) != before
    assert len(load_data("bloodmnist", validation=0).train) == len(arrays["train_images"]) + 6


def test_a_file_of_another_sum_is_refused_by_name_and_read_by_path(place, monkeypatch):
    published(monkeypatch, place)
    file = write(place / "bloodmnist.npz", made_up())
    with pytest.raises(InputError, match=r"bloodmnist.npz is not the .*MD5 .*zenodo.*path"):
        load_data("bloodmnist")
    assert load_data(file, validation=0).num_classes == 3


def test_without_its_file_a_set_is_unreachable_and_the_hub_is_not_asked(monkeypatch):
    monkeypatch.setattr(raw_module, "hub_sources", None)
    for name in MEDMNIST:
        with pytest.raises(UnreachableError, match=rf"{name} is not here; fetch {name}\.npz.*LAYERLOCAL_DATA"):
            load_data(name)


def test_a_name_of_one_s_own_finds_the_file_and_two_readings_are_refused(place, tmp_path, monkeypatch):
    write(place / "cells.npz", made_up())
    monkeypatch.chdir(tmp_path)
    assert load_data("cells").content_sha256 == load_data("cells.npz").content_sha256
    write(tmp_path / "cells.npz", made_up(counts={"train": 12, "val": 3, "test": 9}))
    with pytest.warns(UserWarning, match=r"not the file cells\.npz here; write \./cells\.npz"):
        load_data("cells.npz")
    (place / "cells").mkdir()
    with pytest.raises(InputError, match=r"cells is beside cells\.npz"):
        load_data("cells")


def test_a_file_under_the_name_of_a_set_of_the_hub_is_not_taken_for_it(place, monkeypatch):
    write(place / "mnist.npz", {"x_train": np.zeros((3, 28, 28), np.uint8)})

    def asked(*_):
        raise InputError("the Hub was asked")

    monkeypatch.setattr(raw_module, "hub_sources", asked)
    with pytest.raises(InputError, match="the Hub was asked"):
        load_data("mnist")


def test_nothing_is_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("it was unpickled",))

    arrays = made_up() | {"train_labels": np.array([Trap()] * 18, dtype=object)}
    file = tmp_path / "cells.npz"
    np.savez(file, **arrays, allow_pickle=True)
    with pytest.raises(InputError, match=r"train_labels .*pickled"):
        load_data(file)


def test_what_is_published_of_medmnist_is_in_the_table():
    """Counts of images, from the paper (Scientific Data 10, 41) and the package; chestmnist has several labels an image."""
    totals = {"pathmnist": 107_180, "dermamnist": 10_015, "octmnist": 109_309, "pneumoniamnist": 5_856, "retinamnist": 1_600,
              "breastmnist": 780, "bloodmnist": 17_092, "tissuemnist": 236_386}  # fmt: skip
    classes = {"pathmnist": 9, "dermamnist": 7, "octmnist": 4, "pneumoniamnist": 2, "retinamnist": 5, "breastmnist": 2, "bloodmnist": 8,
               "tissuemnist": 8, "organamnist": 11, "organcmnist": 11, "organsmnist": 11}  # fmt: skip
    assert {name: sum(MEDMNIST[name].parts) for name in totals} == totals
    assert {name: len(found.class_names) for name, found in MEDMNIST.items()} == classes
    assert {info.name for info in benchmark_table() if info.file} == MEDMNIST.keys() and "chestmnist" not in MEDMNIST
    assert len({found.md5 for found in MEDMNIST.values()}) == 11


def test_the_page_has_the_sizes_and_licences_of_the_table():
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+mnist)` \| (\d+) \| ([\d,]+) \+ ([\d,]+) \| ([\d,]+) \| (\w+) \| (.+) \|$", page, re.M)
    assert [name for name, *_ in rows] == list(MEDMNIST)
    for name, classes, *parts, pixels, licence in rows:
        found = MEDMNIST[name]
        assert (int(classes), licence) == (len(found.class_names), found.licence)
        assert tuple(int(part.replace(",", "")) for part in parts) == found.parts
        assert pixels == {1: "gray", 3: "colour"}[found.channels]


def test_several_sets_that_are_not_here_are_told_apart_from_those_of_the_hub():
    names = ("mnist", "pathmnist", "kmnist", "bloodmnist")
    hub, files = _told([Refusal(f"no {name}", unreachable=name) for name in names])
    assert hub.startswith("mnist, kmnist: these 2 data sets come from the Hugging Face Hub")
    assert re.match(r"pathmnist, bloodmnist: these 2 data sets are not here; .*MedMNIST.*LAYERLOCAL_DATA", files)


def test_the_accuracy_study_knows_their_sizes_and_mirrors_no_side_of_the_body():
    from layerlocal.experiments.studies import find_study
    from layerlocal.experiments.studies.base import StudyPlan

    plan = StudyPlan(study="accuracy", size="medium", rules=("class-goodness",), seeds=(0,), data=tuple(MEDMNIST))
    cells = {cell.data.source: cell for cell in find_study("accuracy").cells(plan, "class-goodness", 0)}
    assert cells["breastmnist"].data.num_train == 546 + 78 and cells["breastmnist"].data.num_test == 156
    assert cells["pathmnist"].data.num_train == scale_of(plan).num_train
    sides = {name for name, found in MEDMNIST.items() if any("left" in each for each in found.class_names)}
    assert {name for name, cell in cells.items() if not cell.recipe.flip} == sides == {
        "organamnist", "organcmnist", "organsmnist"
    }  # fmt: skip
    assert SIZES_OF["organsmnist"] == (13_932 + 2_452, 8_827, 11)
