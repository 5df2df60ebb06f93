"""Damaged stores: every file of a run spoiled in every way. One sentence that names the run or the file; nothing is repaired in silence."""

from __future__ import annotations

import json
import shutil

import pytest

from layerlocal import RunStore, load_runs


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def gone(path):
    path.unlink()


def noise(path):
    path.write_bytes(bytes(range(256)) * 4)


def deep(path):
    path.write_text("[" * 5000)


def flipped(path):
    content = bytearray(path.read_bytes())
    content[3 * len(content) // 4] ^= (
        1  # of DONE in the sum of result.json: those of answers and weights are held when they are read
    )
    path.write_bytes(bytes(content))


def a_folder(path):
    path.unlink()
    path.mkdir()


def a_list(path):
    path.write_text("[]")


TRAIN = [
    "train", "--data", "teacher_student", "--set", "data.classes=3", "--set", "data.num_train=96", "--set", "data.num_test=32",
    "--network", "mlp", "--set", "network.depth=2", "--set", "network.hidden=16", "--set", "recipe.batch_size=32", "--epochs", "1",
    "--set", "network.fused=false",
]  # fmt: skip
"""The command of the world's run."""
WAYS = [cut, empty, gone, noise, deep, flipped, a_folder, a_list]
FILES = ["spec.json", "env.json", "result.json", "metrics.parquet", "DONE"]


@pytest.fixture
def store(inside, tmp_path, monkeypatch):
    """A copy of the store with its one run."""
    shutil.copytree(inside / "runs", tmp_path / "runs", symlinks=True)
    run = (inside / "run.txt").read_text()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / run


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_of_a_run_is_one_sentence(refuse, reject, store, file, way):
    way(store / file)
    said = refuse("show", store.name)
    assert store.name in said
    assert store.name in reject(lambda: RunStore("runs").load(store.name))
    assert store.name in refuse("export", store.name, "--torch", "m.pt2")


@pytest.mark.parametrize("way", [cut, empty, gone, noise, deep, flipped, a_folder], ids=lambda way: way.__name__)
def test_damaged_weights_are_one_sentence(refuse, store, way):
    way(store / "checkpoint" / "state.safetensors")
    assert store.name in refuse("export", store.name, "--torch", "m.pt2")


@pytest.mark.parametrize(
    "content",
    [
        {}, {"protocol": 1}, {"data": 3}, {"data": {"source": 3}}, {"rule": {"name": "class-goodness", "options": [1]}}, {"seed": -1},
        {"future": 1}, {"recipe": {"epochs": 0}}, {"network": {"width": None}},
    ],
)  # fmt: skip
def test_a_spec_of_another_kind_is_one_sentence(refuse, store, content):
    (store / "spec.json").write_text(json.dumps(content))
    assert store.name in refuse("show", store.name)


def test_a_folder_of_another_name_is_no_run(refuse, store):
    shutil.copytree(store, store.with_name("0123456789abcdef"))
    assert "0123456789abcdef" in refuse("show", "0123456789abcdef")


def test_a_run_that_is_a_link_is_one_sentence(refuse, store, tmp_path):
    shutil.move(store, tmp_path / "elsewhere")
    store.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "DONE").unlink()  # a finished one is read, wherever it lies
    assert store.name in refuse(*TRAIN)


@pytest.mark.parametrize("way", [cut, empty, noise, deep], ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", ["audit.json", "study-accuracy-quick.json", "cost-quick.json", "tune-0123abcd.json"])
def test_a_damaged_summary_is_one_sentence(refuse, store, name, way):
    path = store.parent / name
    path.write_text(json.dumps({"x": 1}))
    way(path)
    assert name in refuse("report")


@pytest.mark.parametrize(
    "content", [b"", b"run,rule\n1,2\n", b"\xff\xfe\0", b'run,rule,seed,test_accuracy\n"', b"PAR1", b"[" * 5000]
)
@pytest.mark.parametrize("ending", ["csv", "parquet", "json"])
def test_a_file_that_is_no_table_of_runs_is_one_sentence(reject, inside, tmp_path, content, ending):
    path = tmp_path / f"table.{ending}"
    path.write_bytes(content)
    assert f"table.{ending}" in reject(lambda: load_runs(path))


def test_a_store_of_damaged_runs_alone_is_one_sentence(reject, store):
    noise(store / "result.json")
    assert "runs" in reject(lambda: load_runs("runs"))
