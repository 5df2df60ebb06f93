"""Arguments of `run_many` that are none are refused before anything is made; NumPy's numbers and crowds of workers are fine."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layerlocal.runs.many import run_many
from layerlocal.runs.store import RunStore
from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RunSpec
from layerlocal.types import InputError

SPEC = RunSpec(
    data=DataSpec(source="teacher_student", classes=3, num_train=64, num_test=16),
    network=NetworkSpec(name="mlp", options={"depth": 2, "hidden": 8}),
    recipe=Recipe(epochs=1, batch_size=32),
)


@pytest.mark.parametrize("value", [0, -1, True, False, 1.5, "2", float("nan"), [1], torch.tensor(2.5)])
@pytest.mark.parametrize("name", ["workers", "threads"])
def test_counts_are_whole_numbers_of_1_or_more(tmp_path, name, value):
    with pytest.raises(InputError, match=rf"{name} .*got"):
        run_many([SPEC], RunStore(tmp_path / "runs"), **{name: value})
    assert not (tmp_path / "runs").exists()


def test_more_threads_than_any_machine_has_are_refused(tmp_path):
    with pytest.raises(InputError, match="threads must be at most"):
        run_many([SPEC], RunStore(tmp_path / "runs"), threads=10**9)


@pytest.mark.parametrize("value", [0, -0.5, float("nan"), float("inf"), True, "1", None])
def test_a_share_of_a_gpu_is_above_0(tmp_path, value):
    with pytest.raises(InputError, match="gpus must be"):
        run_many([SPEC], RunStore(tmp_path / "runs"), gpus=value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("specs", [SPEC, None, 3, "runs", [None], [SPEC, "bp"], [SPEC.model_dump()], [SPEC.hash]])
def test_what_are_no_runs_is_refused(tmp_path, specs):
    with pytest.raises(InputError, match="list of RunSpec, got"):
        run_many(specs, RunStore(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("store", ["runs", None, 3])
def test_what_is_no_store_is_refused(tmp_path, monkeypatch, store):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="keeps its runs in a RunStore"):
        run_many([SPEC], store)
    assert list(tmp_path.iterdir()) == []


def test_numpys_numbers_and_any_sequence_are_taken(tmp_path):
    store = RunStore(tmp_path / "runs")
    outcome = run_many((SPEC,), store, workers=np.int64(1), threads=np.int32(1))
    assert outcome.finished == [SPEC.hash] and run_many([], store).finished == []


def test_a_crowd_of_workers_is_as_many_as_there_are_runs(tmp_path, monkeypatch):
    asked = []

    def no_work(specs, store, workers, *_):
        asked.append(workers)
        yield from ()

    monkeypatch.setattr("layerlocal.runs.many.run_in_workers", no_work)
    run_many([SPEC, SPEC.model_copy(update={"seed": 1})], RunStore(tmp_path / "runs"), workers=10**9)
    assert asked == [2]
