"""The folders of a store: only what is ours is removed, a name is what is in it, links lead nowhere, locks that fail say so."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch

from layerlocal.experiments.stored import write_report
from layerlocal.runs.comparable import comparable
from layerlocal.runs.many import run_many
from layerlocal.runs.pin import of_other_data
from layerlocal.runs.run import run_spec
from layerlocal.runs.store import RunBusyError, RunStore
from layerlocal.runs.table import load_runs
from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RunSpec
from layerlocal.types import InputError
from planted_store import plant_run

SPEC, OTHER = RunSpec(seed=3), RunSpec(seed=4)
TINY = RunSpec(
    data=DataSpec(source="teacher_student", classes=3, num_train=64, num_test=16),
    network=NetworkSpec(name="mlp", options={"depth": 2, "hidden": 8}),
    recipe=Recipe(epochs=1, batch_size=32),
)


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs")


def begin(store, spec=SPEC):
    """A run that has a checkpoint and is not finished."""
    with store.open(spec) as folder:
        folder.save_checkpoint({"w": torch.ones(3)}, {"epoch": 1})
    return store.root / spec.hash


def everything(root):
    """Every path below a folder, with the content of files and the target of links."""
    found = {}
    for path in sorted(Path(root).rglob("*")):
        name = str(path.relative_to(root))
        found[name] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


# --- what is removed --------------------------------------------------------------------------------------------------

FOREIGN = (
    ".gitlab-ci.yml", ".env.production", ".result.json", ".result.json.bak", ".result.json.abc1234", ".result.json.ABCDEFGH",
    ".result.json.abc12345.old", ".notes.json.abc12345", "result.json.abc12345", ".DONE.abc123456", "x.state.safetensors.abc12345",
)  # fmt: skip


@pytest.mark.parametrize("below", [".", "checkpoint", "mine"])
def test_opening_a_run_leaves_every_file_that_is_not_its_own(store, below):
    folder = begin(store) / below
    folder.mkdir(exist_ok=True)
    for name in FOREIGN:
        (folder / name).write_text("keep")
    (folder / ".spec.json.abc12345").mkdir()
    before = everything(store.root)
    with store.open(SPEC):
        pass
    assert everything(store.root) == before


def test_a_link_named_like_a_leftover_is_left_and_so_is_what_it_leads_to(store, tmp_path):
    (tmp_path / "precious").write_text("keep")
    link = begin(store) / ".DONE.abc12345"
    link.symlink_to(tmp_path / "precious")
    with store.open(SPEC):
        pass
    assert link.is_symlink() and (tmp_path / "precious").read_text() == "keep"


def test_what_somebody_put_into_the_folder_of_a_run_that_failed_stays(store):
    folder = store.root / SPEC.hash
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ZeroDivisionError), store.open(SPEC):
        raise ZeroDivisionError
    assert everything(folder) == {"notes.txt": b"mine"}


@pytest.mark.parametrize("write", [1, 2])
def test_a_full_disk_leaves_no_empty_run_behind(store, monkeypatch, write):
    """Full at the spec, or at the first checkpoint."""
    sync, writes = os.fsync, []

    def fill_up(handle):
        writes.append(handle)
        if len(writes) >= write:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(os, "fsync", fill_up)
    with pytest.raises(InputError, match="the disk is full"):
        begin(store)
    assert os.listdir(store.root) == []


def test_a_disk_without_room_for_the_lock_leaves_no_folder(store, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store.prepare()
    monkeypatch.setattr("layerlocal.runs.locks._open_at_once", full)
    with pytest.raises(InputError, match="the disk is full"), store.open(SPEC):
        pass
    assert os.listdir(store.root) == []


# --- links ------------------------------------------------------------------------------------------------------------


def test_a_run_folder_that_is_a_link_is_refused_and_what_it_leads_to_is_untouched(store, tmp_path):
    """The case of the issue: another project's hidden files behind the link."""
    project = tmp_path / "project"
    (project / "deep").mkdir(parents=True)
    for name in (".gitlab-ci.yml", ".env.production", "deep/.result.json.abc12345"):
        (project / name).write_text("precious")
    store.prepare()
    (store.root / SPEC.hash).symlink_to(project)
    before = everything(project)
    with pytest.raises(InputError, match=f"{SPEC.hash} is a link"), store.open(SPEC):
        pass
    with pytest.raises(InputError, match=f"{TINY.hash} is a link"):
        (store.root / TINY.hash).symlink_to(project)
        run_spec(TINY, store)
    assert everything(project) == before


@pytest.mark.parametrize("target", ["folder", "nothing", "itself"])
@pytest.mark.parametrize("name", [".", "checkpoint", "LOCK"])
def test_links_at_the_places_a_run_writes_to_are_refused(store, tmp_path, name, target):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / ".state.safetensors.abc12345").write_text("precious")
    place = store.root / SPEC.hash / name
    place.parent.mkdir(parents=True)
    place.symlink_to(place if target == "itself" else tmp_path / target)
    with pytest.raises(InputError, match=r"link, .*own folder only"), store.open(SPEC):
        pass
    assert everything(tmp_path / "folder") == {".state.safetensors.abc12345": b"precious"}
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("name", ["DONE", "spec.json", "result.json"])
def test_a_file_of_a_run_that_is_a_link_is_replaced_and_its_target_stays(store, tmp_path, name):
    folder = begin(store)
    (tmp_path / "target").write_bytes((folder / "spec.json").read_bytes())
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / ("target" if name == "spec.json" else "nothing"))
    with store.open(SPEC) as opened:
        opened.finish(env={}, result={"test_accuracy": 0.5}, metrics=[])
    assert not (folder / name).is_symlink() and store.is_done(SPEC)
    assert (tmp_path / "target").read_bytes() and not (tmp_path / "nothing").exists()


def test_a_store_may_be_a_link_and_a_finished_run_in_it_is_none(store, tmp_path):
    (tmp_path / "real").mkdir()
    store.root.symlink_to(tmp_path / "real")
    with store.open(SPEC) as folder:
        folder.finish(env={}, result={"test_accuracy": 0.5}, metrics=[])
    elsewhere = RunStore(tmp_path / "other")
    elsewhere.prepare()
    (elsewhere.root / SPEC.hash).symlink_to(tmp_path / "real" / SPEC.hash)
    assert store.is_done(SPEC) and store.load(SPEC.hash).result["test_accuracy"] == 0.5
    assert not elsewhere.is_done(SPEC)
    with pytest.raises(InputError, match="is a link to another folder"):
        elsewhere.load(SPEC.hash)
    records, [problem] = elsewhere.scan()
    assert not records and "is a link" in problem


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_a_lock_that_is_no_plain_file_is_one_sentence(store, kind):
    (store.root / SPEC.hash).mkdir(parents=True)
    lock = store.root / SPEC.hash / "LOCK"
    lock.mkdir() if kind == "folder" else os.mkfifo(lock)
    with pytest.raises(InputError, match=rf"{SPEC.hash}"), store.open(SPEC):
        pass


# --- locks ------------------------------------------------------------------------------------------------------------


def lock_gives(code):
    def flock(*_):
        raise OSError(code, os.strerror(code))

    return flock


@pytest.mark.parametrize("code", [errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES])
def test_these_errors_mean_that_another_process_has_the_run(store, monkeypatch, code):
    monkeypatch.setattr(fcntl, "flock", lock_gives(code))
    with pytest.raises(RunBusyError, match="another process"), store.open(SPEC):
        pass


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EIO, errno.EINVAL])
def test_a_file_system_without_locks_is_one_sentence_and_nobody_waits(store, monkeypatch, code):
    monkeypatch.setattr(fcntl, "flock", lock_gives(code))
    monkeypatch.setattr("time.sleep", lambda _: pytest.fail("it waits"))
    for call in (lambda: run_spec(TINY, store), lambda: begin(store)):
        with pytest.raises(InputError, match=r"cannot be locked .*--out"):
            call()
    outcome = run_many([TINY], store)
    assert outcome.finished == [] and "cannot be locked" in outcome.failed[TINY.hash]


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def planted(tmp_path):
    specs = [TINY.model_copy(update={"seed": seed}) for seed in range(3)]
    for spec in specs:
        plant_run(tmp_path / "runs", spec)
    return RunStore(tmp_path / "runs"), specs


def test_a_copy_counts_once_and_is_named(planted, tmp_path):
    store, specs = planted
    shutil.copytree(store.root / specs[0].hash, store.root / f"{specs[0].hash}.bak")
    shutil.copytree(store.root / specs[0].hash, store.root / "0123456789abcdef")
    sentence = rf"{specs[0].hash}.bak holds run {specs[0].hash} under another name"
    with pytest.warns(UserWarning, match="under another name") as warned:
        assert {record.hash for record in store.finished()} == {spec.hash for spec in specs}
    assert len(warned) == 2 and any(re.search(sentence, str(warning.message)) for warning in warned)
    with pytest.warns(UserWarning, match="under another name"):
        assert load_runs(store.root).num_rows == 3
    records, warnings = comparable(store.root)
    assert len(records) == 3 and len([text for text in warnings if "under another name" in text]) == 2
    assert "under another name" in str(write_report(store.root, form="md"))
    assert store.load(specs[0].hash).spec == specs[0], "the name in full is not two runs"
    with pytest.raises(InputError, match="under another name"):
        store.load("0123456789abcdef")


def test_two_folders_swapped_do_not_answer_for_each_other(planted):
    store, (first, second, _) = planted
    one, two, aside = store.root / first.hash, store.root / second.hash, store.root / "aside"
    for source, target in ((one, aside), (two, one), (aside, two)):
        source.rename(target)
    assert not store.is_done(first) and not store.is_done(second)
    for spec, inside in ((first, second), (second, first)):
        sentence = f"{spec.hash} holds run {inside.hash} under another name"
        with pytest.raises(InputError, match=sentence):
            store.load(spec.hash)
        with pytest.raises(InputError, match=sentence):
            store.metrics(spec.hash)
        with pytest.raises(InputError, match=sentence), store.open(spec):
            pass
        with pytest.raises(InputError, match=sentence):
            run_spec(spec, store)
        assert sentence in run_many([spec], store).failed[spec.hash]


def seal(folder):
    """Make the sums fit what is there, as somebody would who wants to deceive."""
    import hashlib

    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in json.loads((folder / "DONE").read_bytes())}  # fmt: skip
    (folder / "DONE").write_text(json.dumps(sums))


def test_a_spec_edited_together_with_its_sum_is_not_accepted(planted):
    store, specs = planted
    folder = store.root / specs[0].hash
    content = json.loads((folder / "spec.json").read_text())
    content["recipe"]["epochs"] += 1
    (folder / "spec.json").write_text(json.dumps(content))
    seal(folder)
    assert not store.is_done(specs[0])
    with pytest.raises(InputError, match="or its spec was edited"):
        store.load(specs[0].hash)


def test_a_result_of_another_run_under_the_right_spec_is_not_accepted(planted):
    store, specs = planted
    folder = store.root / specs[0].hash
    shutil.copy(store.root / specs[1].hash / "result.json", folder / "result.json")
    seal(folder)
    with pytest.raises(InputError, match=r"damaged .*result.json .*another run"):
        store.load(specs[0].hash)


def test_a_run_in_progress_under_another_name_is_not_continued(store):
    begin(store).rename(store.root / OTHER.hash)
    with pytest.raises(InputError, match=rf"{OTHER.hash} .*{SPEC.hash} .*another name"), store.open(OTHER):
        pass
    assert (store.root / OTHER.hash / "checkpoint" / "state.safetensors").exists()


def test_a_checkpoint_of_another_run_is_not_continued(store):
    here, there = begin(store), begin(store, OTHER)
    shutil.copy(here / "checkpoint/state.safetensors", there / "checkpoint/state.safetensors")
    with store.open(OTHER) as folder, pytest.raises(InputError, match=rf"damaged .*run {SPEC.hash}"):
        folder.load_checkpoint()


def test_a_checkpoint_of_0_1_0_which_did_not_name_its_run_is_continued(store):
    from safetensors.torch import save_file

    path = begin(store) / "checkpoint/state.safetensors"
    save_file({"w": torch.ones(2)}, path, metadata={"progress": '{"epoch": 1}'})
    with store.open(SPEC) as folder:
        assert folder.load_checkpoint()[1] == {"epoch": 1}


def test_a_run_put_aside_under_another_name_is_not_called_one_of_other_data(tmp_path):
    store = RunStore(tmp_path / "runs")
    spec = TINY.with_settings({"data.source": "photos", "data.content_sha256": "a" * 64})
    plant_run(store.root, spec).rename(store.root / f"{spec.hash}.bak")
    assert of_other_data(store, [spec]) == []
    other = TINY.with_settings({"data.source": "photos", "data.content_sha256": "b" * 64})
    plant_run(store.root, other)
    [sentence] = of_other_data(store, [spec])
    assert other.hash in sentence and ".bak" not in sentence


def test_folders_that_are_no_runs_are_passed_over(planted):
    store, specs = planted
    for name in ("photos", ".git", "tensorboard", "0123456789abcdef"):
        (store.root / name).mkdir()
    (store.root / "photos" / "DONE").write_text("yes")
    (store.root / "DONE").write_text("a file beside")
    assert {record.hash for record in store.finished()} == {spec.hash for spec in specs}


# --- the store's own name ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("root", ["", "a\0b", "~", "~/runs", Path("~/runs"), None, 3, b"runs", ["runs"]])
def test_what_names_no_folder_is_one_sentence(root):
    with pytest.raises(InputError, match=r"run store|~ stands for"):
        RunStore(root)


@pytest.mark.parametrize("root", ["file", "file/below", "n" * 300, "loop", "dangling"])
def test_roots_that_cannot_be_a_store_are_one_sentence_and_nothing_is_made(tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    Path("loop").symlink_to("loop")
    Path("dangling").symlink_to("file/x")
    store = RunStore(root)
    assert not store.is_done(SPEC)
    for call in (store.prepare, store.finished, lambda: store.load(SPEC.hash), lambda: run_spec(TINY, store)):
        with pytest.raises(InputError, match=r"cannot (write|be read)|run store") as found:
            call()
        assert root[:9] in str(found.value)
    with contextlib.suppress(InputError), store.open(SPEC):
        pytest.fail("opened")
    assert sorted(os.listdir(tmp_path)) == ["dangling", "file", "loop"]


@pytest.mark.parametrize("name", [None, 3, ["x"], "x" * 500, "é", "0123456789ABCDEF"])
def test_names_of_no_run_are_one_sentence(store, name):
    store.prepare()
    with pytest.raises(InputError, match="there is no run"):
        store.load(name)


def test_a_planted_run_is_read_at_all(tmp_path):
    """The tests above would pass where nothing can be read."""
    plant_run(tmp_path / "runs", SPEC)
    assert RunStore(tmp_path / "runs").load(SPEC.hash).spec == SPEC


def test_the_command_reads_the_home_folder_where_a_shell_does_not(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    plant_run(tmp_path / "home" / "runs", SPEC)
    code, out, _ = cli("show", "--out=~/runs")
    assert code == 0 and SPEC.hash in out and not (tmp_path / "~").exists()


def test_runs_beyond_those_kept_in_memory_are_read_again_and_are_the_same(planted, monkeypatch):
    store, specs = planted
    everything, _ = comparable(store.root)
    monkeypatch.setattr("layerlocal.runs.comparable.MOST_KEPT", 1)
    seen = []
    some, _ = comparable(store.root, seen.append)
    assert len(some) == len(specs) > 1 and dict(some) == dict(everything) == {record.hash: record for record in seen}
    assert specs[0].hash in some and "f" * 16 not in some
    with pytest.raises(KeyError):
        some["f" * 16]
    last = list(some)[-1]
    (store.root / last / "result.json").write_text("{}")
    with pytest.raises(InputError, match="damaged"):
        some[last]
