"""A run is of its data: whatever happens to a folder, its name or its place, no answer is given that is of other images."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import layerlocal
import layerlocal.experiments.studies.scale as scale_module
from layerlocal import data_from_arrays, load_data
from layerlocal.data.builtin import EMBEDDED_NAME, TEXT_NAME
from layerlocal.data.raw import TEACHER_NAME
from layerlocal.data.task import content_of
from layerlocal.experiments.stored import study_place
from layerlocal.experiments.studies.base import StudyPlan
from layerlocal.experiments.studies.running import run_study
from layerlocal.report.runs import run_view
from layerlocal.runs import export as exporting
from layerlocal.runs.comparable import comparable
from layerlocal.runs.many import run_many
from layerlocal.runs.pin import pin
from layerlocal.runs.run import load_task, run_spec
from layerlocal.runs.store import RunStore, write_atomic
from layerlocal.runs.table import run_row
from layerlocal.spec import FIXED_SOURCES, DataSpec, NetworkSpec, Recipe, RuleSpec, RunSpec
from layerlocal.types import InputError

pytestmark = pytest.mark.filterwarnings("always::UserWarning")  # commands print them
WORDS = ("--rule", "local-heads", "--network", "cnn4", "--width", "0.125", "--set", "network.depth=2", "--epochs", "1")
WORDS += ("--set", "recipe.batch_size=8", "--set", "data.validation=0", "--set", "recipe.learning_rate=0.03")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERLOCAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LAYERLOCAL_DATA", raising=False)
    return tmp_path / "cache"


def picture(bright, number):
    generator = np.random.default_rng([bright, number])
    return Image.fromarray(generator.integers(160 * bright, 96 + 160 * bright, (8, 8), dtype=np.uint8))


def make_folder(root, names=("cat", "dog"), *, bright=(0, 1), numbers=(("train", 16), ("test", 8))):
    """A class is dark or bright: easily learned. Pictures are the same whatever the names are."""
    for split, number in numbers:
        for name, light in zip(names, bright, strict=True):
            place = root / split / name
            place.mkdir(parents=True)
            for index in range(number):
                picture(light, (split == "test") * 1000 + index).save(place / f"{index}.png")
    return root


def swap(folder, split):
    """Exchange the classes of a split."""
    os.rename(folder / split / "cat", folder / split / "x")
    os.rename(folder / split / "dog", folder / split / "cat")
    os.rename(folder / split / "x", folder / split / "dog")


def train(cli, *words, out="store"):
    code, text, err = cli("train", *WORDS, "--out", out, "--json", *words)
    assert code == 0, err
    return json.loads(text), err


def told(err):
    return [line for line in err.splitlines() if line.startswith("warning: ")]


# --- one store, several data ------------------------------------------------------------------------------------------


def test_two_projects_with_the_same_words_get_an_answer_each(cli, tmp_path, monkeypatch):
    make_folder(tmp_path / "one" / "data")
    make_folder(tmp_path / "two" / "data", ("hen", "owl"), bright=(1, 0))
    found = []
    for project in ("one", "two", "one"):
        monkeypatch.chdir(tmp_path / project)
        with monkeypatch.context() as patch:
            patch.setattr(type(monkeypatch), "chdir", lambda *_: None)
            found.append(train(cli, "--data", "./data", out="../store"))
    first, second, again = (result for result, _ in found)
    assert first["data"]["class_names"] == ["cat", "dog"] and second["data"]["class_names"] == ["hen", "owl"]
    assert first["run"] != second["run"] and again["run"] == first["run"]
    [sentence] = told(found[1][1])
    assert f"run {first['run']} in ../store" in sentence
    assert second["run"] in sentence and not told(found[2][1])


def test_swapped_test_labels_and_added_images_make_another_answer(cli, tmp_path):
    folder = make_folder(tmp_path / "data")
    first, _ = train(cli, "--data", "data")
    assert first["test_accuracy"] == 1.0 and first["num_test"] == 16
    swap(folder, "test")
    for index in range(20):
        picture(0, 5000 + index).save(folder / "test" / "cat" / f"more{index}.png")
    second, err = train(cli, "--data", "data")
    assert second["run"] != first["run"] and second["num_test"] == 36
    assert second["test_accuracy"] == pytest.approx(20 / 36) and len(told(err)) == 1
    shutil.rmtree(folder / "test" / "cat")
    swapped_alone, _ = train(cli, "--data", "data")
    assert swapped_alone["test_accuracy"] == 0.0 and swapped_alone["num_test"] == 8


def test_a_folder_that_lost_its_test_images_is_refused_though_the_run_is_finished(cli, refused, tmp_path):
    folder = make_folder(tmp_path / "data")
    train(cli, "--data", "data")
    shutil.rmtree(folder / "test")
    assert "no test/<class>/<image>" in refused("train", *WORDS, "--data", "data", "--out", "store")


def test_another_copy_of_a_named_set_is_another_run(cli, tmp_path, monkeypatch):
    make_folder(tmp_path / "a" / "cifar10")
    make_folder(tmp_path / "b" / "cifar10", numbers=(("train", 12), ("test", 8)))
    runs = {}
    for copy in ("a", "b", "a"):
        monkeypatch.setenv("LAYERLOCAL_DATA", str(tmp_path / copy))
        result, _ = train(cli, "--data", "cifar10")
        assert runs.setdefault(copy, result["run"]) == result["run"]
        assert result["data"]["provenance"]["num_images"]["train"] == {"a": 32, "b": 24}[copy]
    assert runs["a"] != runs["b"]


def test_one_folder_under_any_spelling_name_or_copy_is_one_run(cli, tmp_path):
    folder = make_folder(tmp_path / "s" / "x")
    shutil.copytree(folder, tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to(folder)
    spellings = ["s/x", "./s/x", "s//x/", "s/../s/x", str(folder), "elsewhere", "link"]
    found = [train(cli, "--data", spelling) for spelling in spellings]
    assert len({result["run"] for result, _ in found}) == 1 and not any(told(err) for _, err in found)
    assert len(list((tmp_path / "store").glob("*/DONE"))) == 1


def test_the_same_images_as_parquet_are_the_same_run(cli, tmp_path):
    make_folder(tmp_path / "data")
    for split, number in (("train", 16), ("test", 8)):
        rows = [(light, (split == "test") * 1000 + index) for light in (0, 1) for index in range(number)]
        encoded = []
        for light, index in sorted(rows, key=lambda row: (row[0], str(row[1] % 1000))):  # as files sort by name
            out = io.BytesIO()
            picture(light, index).save(out, "PNG")
            encoded.append({"bytes": out.getvalue(), "path": None})
        features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
        table = pa.table({"image": encoded, "label": sorted(light for light, _ in rows)})
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        (tmp_path / "hub").mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / "hub" / f"{split}.parquet")
    assert train(cli, "--data", "data")[0]["run"] == train(cli, "--data", "hub")[0]["run"]


def test_a_renamed_class_is_another_run(cli, tmp_path):
    folder = make_folder(tmp_path / "data")
    first, _ = train(cli, "--data", "data")
    for split in ("train", "test"):
        os.rename(folder / split / "cat", folder / split / "ape")
    second, _ = train(cli, "--data", "data")
    assert second["run"] != first["run"] and second["data"]["class_names"] == ["ape", "dog"]


# --- interrupted runs -------------------------------------------------------------------------------------------------


class Stopped(BaseException):
    """Stands for a Ctrl-C after an epoch."""


def small(source, **recipe):
    return RunSpec(
        data=DataSpec(source=str(source), validation=0), network=NetworkSpec(name="cnn4", width=0.125, options={"depth": 2}),
        rule=RuleSpec(name="local-heads"), recipe=Recipe(**{"epochs": 3, "batch_size": 8} | recipe),
    )  # fmt: skip


def interrupt(spec, store):
    def listen(event):
        if event.epoch == 2:
            raise Stopped

    with pytest.raises(Stopped):
        run_spec(spec, store, listen=listen)


def swap_labels(folder):
    swap(folder, "train")


def add_class(folder):
    for split in ("train", "test"):
        shutil.copytree(folder / split / "dog", folder / split / "eel")


def darken(folder):
    for path in folder.glob("*/*/*.png"):
        Image.fromarray(np.asarray(Image.open(path)) // 2).save(path)


@pytest.mark.parametrize("change", [swap_labels, add_class, darken])
def test_a_run_begun_on_other_data_is_not_continued_and_that_is_said(tmp_path, change):
    folder, store = make_folder(tmp_path / "data"), RunStore(tmp_path / "store")
    interrupt(small(folder), store)
    begun = pin(small(folder))
    change(folder)
    with pytest.warns(UserWarning, match=rf"run {begun.hash} .*begun .*other data"):
        record = run_spec(small(folder), store)
    fresh = run_spec(small(folder), RunStore(tmp_path / "fresh"))
    assert record.hash == fresh.hash != begun.hash
    assert record.result["block_accuracies"] == fresh.result["block_accuracies"], "as from an empty store"
    assert (store.root / begun.hash / "checkpoint").exists(), "what was begun is kept"


def test_data_that_change_between_the_plan_and_the_run_are_refused(tmp_path):
    folder, store = make_folder(tmp_path / "data"), RunStore(tmp_path / "store")
    planned = pin(small(folder))
    swap(folder, "train")
    with pytest.raises(InputError, match="are not those of this run"):
        run_spec(planned, store)
    assert not any(store.root.glob("*/DONE"))


def test_each_part_of_a_resumed_run_keeps_its_environment(tmp_path, monkeypatch):
    spec, store = (
        small("fashion_mnist_subset").with_settings({"data.num_train": 40, "data.num_test": 20}),
        RunStore(tmp_path),
    )
    interrupt(spec, store)
    monkeypatch.setattr(torch, "__version__", "9.9.9")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    env = run_spec(spec, store).env
    first, second = env["parts"]
    assert (first["from_epoch"], second["from_epoch"]) == (1, 2) and (first["threads"], second["threads"]) == (1, 2)
    assert first["torch"] != "9.9.9" == second["torch"] and env["torch"] == f"{first['torch']}, then 9.9.9"
    assert "parts" not in run_spec(spec.with_settings({"seed": 1}), store).env


# --- runs of 0.1.0 ----------------------------------------------------------------------------------------------------


def plant_unrecorded(store, spec):
    """A finished run as 0.1.0 wrote it: under the hash of its words, nothing said of its data."""
    result = {"run": spec.hash, "rule": spec.rule.name, "test_accuracy": 0.123, "block_accuracies": {"block0": 0.1}}
    result |= {
        "num_test": 8,
        "chance": 0.5,
        "num_classes": 2,
        "steps": 12,
        "data": {"name": "data", "class_names": ["cat", "dog"]},
    }
    with store.open(spec) as folder:
        folder.finish(
            env={"layerlocal": "0.1.0", "threads": 1}, result=result, metrics=[(1, "train_loss", "block0", 1.0)]
        )


def test_a_run_that_did_not_record_its_data_is_read_but_is_no_answer(cli, tmp_path, monkeypatch):
    make_folder(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    store, spec = RunStore(tmp_path / "store"), small("data")
    plant_unrecorded(store, spec)
    assert store.load(spec.hash).result["test_accuracy"] == 0.123 and not store.is_done(spec)
    with pytest.warns(UserWarning, match=rf"run {spec.hash} .*not record its data"):
        record = run_spec(spec, store)
    assert record.hash != spec.hash and record.result["test_accuracy"] != 0.123
    rows = layerlocal.load_runs(store.root).to_pylist()
    assert {row["run"]: row["data_sha256"] for row in rows} == {
        spec.hash: None, record.hash: load_data("data").content_sha256
    }  # fmt: skip


def test_many_runs_say_once_what_the_store_has_of_other_data(tmp_path):
    folder, store = make_folder(tmp_path / "data"), RunStore(tmp_path / "store")
    specs = [small(folder, epochs=1).with_settings({"seed": seed}) for seed in (0, 1)]
    assert len(run_many(specs, store).finished) == 2
    swap(folder, "train")
    with pytest.warns(UserWarning) as caught:
        outcome = run_many(specs, store)
    assert len(caught) == 1 and "2 runs (the first" in str(caught[0].message) and not outcome.failed
    assert "; new ones (the first" in str(caught[0].message)
    assert len(list(store.root.glob("*/DONE"))) == 4


# --- what is known without the data -----------------------------------------------------------------------------------


def test_a_run_is_exported_with_the_classes_and_the_normalization_it_was_trained_with(cli, tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "data", ("cat", "zebra"))
    result, _ = train(cli, "--data", "data")
    mean = load_data(folder, validation=0).mean
    assert torch.equal(torch.tensor(result["data"]["mean"]), mean)
    darken(folder)
    for split in ("train", "test"):
        os.rename(folder / split / "cat", folder / split / "dog")
    changed, _ = train(cli, "--data", "data")
    monkeypatch.setattr(exporting, "load_task", lambda _: pytest.fail("data are looked for"))
    assert cli("export", result["run"], "--torch", "m.pt2", "--out", "store")[0] == 0
    shutil.rmtree(folder)
    assert cli("export", result["run"], "--torch", "n.pt2", "--out", "store")[0] == 0, "without any data at hand"
    assert changed["data"]["class_names"] == ["dog", "zebra"]
    pixels = torch.from_numpy(np.stack([np.asarray(picture(light, 7)) for light in (0, 1)]))[:, None]
    for name in ("m.pt2", "n.pt2"):
        facts = {"layerlocal.json": ""}
        program = torch.export.load(name, extra_files=facts).module()
        assert json.loads(json.loads(facts["layerlocal.json"])["classes"]) == ["cat", "zebra"]
        assert program(pixels).argmax(1).tolist() == [0, 1]


def test_content_is_of_pixels_labels_splits_and_names_and_of_nothing_else(tmp_path):
    folder = make_folder(tmp_path / "a")
    content = load_data(folder).content_sha256
    assert content == content_of(DataSpec(source=str(folder))) == load_data(folder, validation=0, seed=7).content_sha256
    os.utime(folder / "train" / "cat" / "0.png")
    assert load_data(folder).content_sha256 == content, "another time is no other data"
    other = make_folder(tmp_path / "b")
    picture(1, 99).save(other / "test" / "cat" / "0.png")
    assert load_data(other).content_sha256 != content
    assert load_data(folder, image_size=4).content_sha256 != content == load_data(folder, image_size=8).content_sha256


def test_arrays_have_content_too():
    rows = np.arange(48, dtype=np.float32).reshape(12, 4)
    labels = np.arange(12) % 2
    content = data_from_arrays(rows, labels).content_sha256
    assert content == data_from_arrays(rows.copy(), labels).content_sha256 and len(content) == 64
    assert content != data_from_arrays(rows + 1, labels).content_sha256
    assert content != data_from_arrays(rows, 1 - labels).content_sha256
    assert content != data_from_arrays(rows, labels, validation=0).content_sha256


def test_data_that_the_spec_determines_keep_the_hash_they_had():
    assert set(FIXED_SOURCES) == {EMBEDDED_NAME, TEXT_NAME, TEACHER_NAME}
    for source in FIXED_SOURCES:
        spec = RunSpec(data=DataSpec(source=source, num_train=100, num_test=50))
        assert pin(spec) == spec and load_task(spec.data).content_sha256


def test_a_study_on_a_folder_that_was_changed_is_of_the_folder_as_it_is(tmp_path, monkeypatch):
    tiny = dataclasses.replace(
        scale_module._SCALES["quick"], num_train=80, num_test=80, network=NetworkSpec(name="cnn4", width=0.125),
        recipe=Recipe(epochs=1, batch_size=8),
    )  # fmt: skip
    monkeypatch.setitem(scale_module._SCALES, "quick", tiny)
    folder = make_folder(tmp_path / "data", numbers=(("train", 40), ("test", 40)))
    asked = {"rules": ["local-heads"], "seeds": 1, "data": [str(folder)], "workers": 1}
    before = run_study(tmp_path / "store", "accuracy", **asked)
    swap(folder, "test")
    with pytest.warns(UserWarning, match=r"5 runs .*other data"):
        after = run_study(tmp_path / "store", "accuracy", **asked)
    assert before.finished == after.finished == after.planned == 5
    mirrored = {key: 1 - before.rows[0][key] for key in ("local", "bp", "bp-deepsup")}
    assert {key: after.rows[0][key] for key in mirrored} == pytest.approx(mirrored)


def test_reports_say_of_which_runs_nobody_knows_the_data(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = RunStore(tmp_path / "store")
    plant_unrecorded(store, small("data"))
    assert "data (data not recorded)" in cli("show", "--out", "store")[1]
    records, warnings = comparable(store.root)
    assert list(records) == [small("data").hash] and "Of 1 of 1 runs the data were not recorded" in warnings[0]
    [chunk] = run_view([run_row(record) for record in records.values()])["chunks"]
    assert "data (data not recorded)" in [text for text, _ in chunk["rows"][0]["cells"]]


def test_one_run_after_several_of_other_data_is_spoken_of_as_one(tmp_path):
    folder, store = make_folder(tmp_path / "data"), RunStore(tmp_path / "store")
    with warnings.catch_warnings(action="ignore"):
        for change in (lambda _: None, swap_labels):
            change(folder)
            run_spec(small(folder, epochs=1), store)
    darken(folder)
    with pytest.warns(UserWarning, match=rf"2 runs .*kept.*{pin(small(folder, epochs=1)).hash}"):
        run_spec(small(folder, epochs=1), store)


def test_one_name_of_several_data_is_told_apart(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "250")
    folder, store, sums = make_folder(tmp_path / "data"), RunStore(tmp_path / "store"), []
    for change in (None, swap_labels):
        if change:
            change(folder)
        sums.append(load_data(folder).content_sha256[:8])
        with warnings.catch_warnings(action="ignore"):
            run_spec(small("data", epochs=1), store)
        shown = cli("show", "--out", "store")[1]
        assert all((f"data ({name})" in shown) == bool(change) for name in sums)
    [chunk] = run_view([run_row(record) for record in store.finished()])["chunks"]
    assert {cell for row in chunk["rows"] for cell, _ in row["cells"]} > {f"data ({name})" for name in sums}


def test_a_received_study_does_not_run_files_that_nobody_named(tmp_path):
    store = tmp_path / "store"
    marker = tmp_path / "ran"
    (tmp_path / "rule.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    plan = StudyPlan(study="composition", rules=(f"{tmp_path}/rule.py:Rule", "class-goodness"))
    write_atomic(study_place(store, "composition", "quick").plan.path, plan.model_dump_json().encode())
    with pytest.raises(InputError, match=r"has the rule file .*rule.py:Rule.*--rules"):
        run_study(store, "composition", rules=["class-goodness"], workers=1)
    assert not marker.exists()
