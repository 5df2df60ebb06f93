"""A store written by version 0.1.0 (commit 88ba87c), kept as files: it opens in every way, and nothing in it is made anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from layerlocal import RunSpec, RunStore, evaluate_split, load_runs, run_spec
from layerlocal.runs.export import load_trained
from layerlocal.runs.run import load_task

KEPT = Path(__file__).with_name("store-0.1.0")
SYNTHETIC, EMBEDDED, FOLDER = "abf354141c82d2fa", "e522b7d1bdf0abdb", "eab2d8ed19bdb47d"
ACCURACY = {SYNTHETIC: 0.078125, EMBEDDED: 0.25, FOLDER: 0.875}
"""What 0.1.0 printed."""


@pytest.fixture
def store(tmp_path):
    shutil.copytree(KEPT, tmp_path / "runs")
    return RunStore(tmp_path / "runs")


@pytest.mark.parametrize("name", ACCURACY)
def test_a_spec_has_the_hash_that_it_had(name):
    content = json.loads((KEPT / name / "spec.json").read_text())
    assert RunSpec.parse(content).hash == name


def test_every_run_is_read_with_its_numbers(store):
    table = load_runs(store.root)
    assert dict(zip(table["run"].to_pylist(), table["test_accuracy"].to_pylist(), strict=True)) == ACCURACY
    assert {name: store.load(name).result["test_accuracy"] for name in ACCURACY} == ACCURACY
    assert all(store.load(name).env["layerlocal"] == "0.1.0" for name in ACCURACY)


@pytest.mark.parametrize("name", [SYNTHETIC, EMBEDDED])
def test_a_finished_run_on_data_that_its_spec_says_is_the_answer_and_nothing_is_trained(store, name, monkeypatch):
    monkeypatch.setattr("layerlocal.training.train.Training.step", lambda *_: pytest.fail("a step was made"))
    before = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
    record = run_spec(store.load(name).spec, store)
    assert record.result["test_accuracy"] == ACCURACY[name]
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("name", [SYNTHETIC, EMBEDDED])
def test_the_weights_that_were_kept_answer_the_test_images_as_they_did(store, name):
    record, _, rule = load_trained(store, name)
    data = load_task(record.spec.data)
    found = evaluate_split(rule, data, data.take_test())
    one = 1 / record.result["num_test"]  # another processor rounds sums otherwise: one image may change sides
    assert found.accuracy == pytest.approx(ACCURACY[name], abs=one + 1e-9)
    assert list(found.block_accuracies.values()) == pytest.approx(
        list(record.result["block_accuracies"].values()), abs=one + 1e-9
    )


def test_a_run_on_a_folder_that_nobody_recorded_is_read_and_marked_and_never_an_answer(store, cli):
    code, out, err = cli("show", "--out", store.root, "--json")
    assert code == 0 and len(json.loads(out)) == 3
    for command in ("report", "claims"):
        code, out, err = cli(command, "--out", store.root)
        assert code == 0, err
    assert "data were not recorded" in err and FOLDER in err
