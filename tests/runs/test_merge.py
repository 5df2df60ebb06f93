"""Runs of somebody else's store: what is whole comes in, what is not is named, and nothing is ever executed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from layerlocal.experiments.merge import merge_stores
from layerlocal.experiments.stored import read_plan, study_place
from layerlocal.experiments.studies.base import StudyPlan
from layerlocal.runs.merge import LARGEST, merge_runs
from layerlocal.runs.store import RunStore
from layerlocal.spec import RunSpec
from layerlocal.types import InputError
from planted_store import plant_run, planted_specs

FILES = {"DONE", "env.json", "metrics.parquet", "result.json", "spec.json"}


def recorded(count: int) -> list[RunSpec]:
    """Specs that say what their data are."""
    return [
        spec.model_copy(update={"data": spec.data.model_copy(update={"content_sha256": "ab" * 32})})
        for spec in planted_specs(count)
    ]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_whole_runs_come_in_byte_for_byte_without_weights_or_anything_else(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    first, second = recorded(2)
    plant_run(mine, first)
    folder = plant_run(theirs, second)
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "state.safetensors").write_bytes(b"weights")
    (folder / "evil.py").write_text("raise SystemExit('executed')")
    found = merge_runs(theirs, mine)
    assert found.taken == [second.hash] and not (found.same or found.differ or found.left_out)
    assert {path.name for path in (mine / second.hash).iterdir()} == FILES
    assert all(content(mine / second.hash)[name] == content(folder)[name] for name in FILES)
    assert RunStore(mine).load(second.hash).spec == second
    again = merge_runs(theirs, mine)
    assert again.same == [second.hash] and not again.taken
    assert sorted(path.name for path in mine.iterdir() if not path.name.startswith(".index")) == sorted(
        [first.hash, second.hash]
    )


def test_a_run_that_both_have_with_other_numbers_stays_as_it_is_here(tmp_path: Path) -> None:
    (spec,) = recorded(1)
    plant_run(tmp_path / "mine", spec, test_accuracy=0.5)
    plant_run(tmp_path / "theirs", spec, test_accuracy=0.75)
    found = merge_runs(tmp_path / "theirs", tmp_path / "mine")
    assert not found.taken and not found.same
    assert found.differ == [f"run {spec.hash}: test_accuracy 0.5 here, 0.75 there; yours stays"]
    assert RunStore(tmp_path / "mine").load(spec.hash).result["test_accuracy"] == 0.5


def break_run(kind: str, folder: Path) -> None:
    """What is wrong with a run that somebody sends."""
    if kind == "changed":
        (folder / "result.json").write_text((folder / "result.json").read_text().replace("0.", "0.9", 1))
    elif kind == "another name":
        folder.rename(folder.with_name("0" * 16))
    elif kind == "link":
        (folder / "env.json").rename(folder.parent / "env.json")
        os.symlink(folder.parent / "env.json", folder / "env.json")
    elif kind == "folder is a link":
        folder.rename(folder.parent / "elsewhere")
        os.symlink(folder.parent / "elsewhere", folder)
    elif kind == "huge":
        with (folder / "metrics.parquet").open("ab") as file:
            file.truncate(LARGEST + 1)
    elif kind == "not JSON":
        (folder / "DONE").write_text("{")


WORDS = {
    "changed": "result.json is not what was written",
    "another name": "0000000000000000",
    "link": "env.json is a link",
    "folder is a link": "is a link to another folder",
    "huge": "metrics.parquet has 64.0 MiB, more than a run's file can have",
    "not JSON": "DONE",
}


@pytest.mark.parametrize("kind", WORDS)
def test_a_broken_run_is_left_out_and_named_and_the_others_come_in(tmp_path: Path, kind: str) -> None:
    good, bad = recorded(2)
    plant_run(tmp_path / "theirs", good)
    break_run(kind, plant_run(tmp_path / "theirs", bad))
    found = merge_runs(tmp_path / "theirs", tmp_path / "mine")
    assert found.taken == [good.hash]
    assert len(found.left_out) == 1 and WORDS[kind] in found.left_out[0], found.left_out
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [good.hash]


def test_a_run_has_to_say_what_machine_it_was_made_on_and_what_its_data_were(tmp_path: Path) -> None:
    (spec,) = recorded(1)
    folder = plant_run(tmp_path / "theirs", spec)
    env = json.loads((folder / "env.json").read_text())
    del env["processor"]
    (folder / "env.json").write_text(json.dumps(env))
    changed = hashlib.sha256((folder / "env.json").read_bytes()).hexdigest()
    sums = json.loads((folder / "DONE").read_text()) | {
        "env.json": changed
    }  # a sender who drops a field makes the sums anew
    (folder / "DONE").write_text(json.dumps(sums))
    unknown = next(iter(planted_specs(1)))
    plant_run(tmp_path / "theirs", unknown)
    told = " ".join(merge_runs(tmp_path / "theirs", tmp_path / "mine").left_out)
    assert "its env.json has no 'processor'" in told and "does not say what its data were" in told


def test_a_run_that_is_begun_here_is_not_touched(tmp_path: Path) -> None:
    (spec,) = recorded(1)
    plant_run(tmp_path / "theirs", spec)
    (tmp_path / "mine" / spec.hash).mkdir(parents=True)
    (tmp_path / "mine" / spec.hash / "spec.json").write_text("begun")
    found = merge_runs(tmp_path / "theirs", tmp_path / "mine")
    assert "begun" in found.left_out[0] and not found.taken
    assert content(tmp_path / "mine" / spec.hash) == {"spec.json": b"begun"}


def plan(store: Path, **changes: object) -> StudyPlan:
    found = StudyPlan(study="accuracy", size="quick", rules=("ff",), seeds=(0, 1, 2), **changes)  # type: ignore[arg-type]
    store.mkdir(exist_ok=True)
    study_place(store, "accuracy", "quick").plan.write(found)
    return found


def test_rules_and_seeds_of_one_study_are_put_together(tmp_path: Path) -> None:
    plan(tmp_path / "mine", command="mine")
    other = StudyPlan(
        study="accuracy", size="quick", rules=("ff", "symba"), seeds=(2, 5), command="theirs", controls=True
    )
    (tmp_path / "theirs").mkdir()
    study_place(tmp_path / "theirs", "accuracy", "quick").plan.write(other)
    (merged,) = merge_stores([tmp_path / "theirs"], tmp_path / "mine")
    assert merged.plans == ["accuracy-quick"] and not merged.left_out
    joined = read_plan(tmp_path / "mine", "accuracy", "quick")
    assert joined is not None
    assert (joined.rules, joined.seeds, joined.controls, joined.command) == (
        ("ff", "symba"),
        (0, 1, 2, 5),
        True,
        "mine",
    )
    (again,) = merge_stores([tmp_path / "theirs"], tmp_path / "mine")
    assert again.plans == []


def test_a_study_on_other_settings_is_not_taken_for_ours(tmp_path: Path) -> None:
    own = plan(tmp_path / "mine")
    plan(tmp_path / "theirs", settings={"network.width": 0.25})
    (merged,) = merge_stores([tmp_path / "theirs"], tmp_path / "mine")
    assert "has other settings" in merged.left_out[0] and read_plan(tmp_path / "mine", "accuracy", "quick") == own


def test_a_plan_comes_into_a_store_that_has_none(tmp_path: Path) -> None:
    theirs = plan(tmp_path / "theirs")
    (merged,) = merge_stores([tmp_path / "theirs"], tmp_path / "mine")
    assert merged.plans == ["accuracy-quick"] and read_plan(tmp_path / "mine", "accuracy", "quick") == theirs


def test_stores_that_cannot_be_merged_are_said_to_be(tmp_path: Path) -> None:
    plan(tmp_path / "mine")
    with pytest.raises(InputError, match="give the folders of one store or more"):
        merge_stores([], tmp_path / "mine")
    with pytest.raises(InputError, match="others are merged into; leave it out"):
        merge_stores([tmp_path / "mine" / "."], tmp_path / "mine")
    with pytest.raises(InputError, match="there is no run store"):
        merge_stores([tmp_path / "nowhere"], tmp_path / "mine")
