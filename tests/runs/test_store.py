"""Runs on disk: whole or not there, found again to the last bit, held by one process at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from layerlocal.rules import list_rules
from layerlocal.runs.store import PARTS, RunBusyError, RunStore, write_atomic
from layerlocal.runs.table import run_row
from layerlocal.spec import RunSpec
from layerlocal.types import InputError
from rules_by_hand import rule_on, sizes

SPEC = RunSpec(seed=3)
ENV = {"torch": "2", "cores": 2}
RESULT = {"test_accuracy": 0.1 + 0.2, "block_accuracies": {"block0": 0.5}, "chance": None}
METRICS = [
    (1, "train_loss", "block0", 0.1),
    (1, "train_loss", "block1", 1e-300),
    (2, "train_loss", "block0", float("inf")),
]


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs")


def finish(store, spec=SPEC):
    with store.open(spec) as folder:
        return folder.finish(env=ENV, result=RESULT, metrics=METRICS)


def fail_with(code):
    def raising(*_):
        raise OSError(code, os.strerror(code))

    return raising


# --- atomic writes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["replace", "fsync"])
@pytest.mark.parametrize(
    ("code", "message"), [(errno.ENOSPC, "the disk is full"), (errno.EACCES, "cannot write .*--out")]
)
def test_a_write_that_fails_is_one_sentence_and_leaves_the_old_content_and_nothing_else(
    tmp_path, monkeypatch, function, code, message
):
    path = tmp_path / "result.json"
    write_atomic(path, b"old")
    monkeypatch.setattr(os, function, fail_with(code))
    with pytest.raises(InputError, match=message):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["result.json"]


def test_the_new_content_is_whole_before_the_name_changes(tmp_path, monkeypatch):
    """At the moment of the rename the old file still stands, and what will replace it is complete and on disk."""
    path, order = tmp_path / "file", []
    write_atomic(path, b"old")
    fsync, replace = os.fsync, os.replace

    def watching_fsync(handle):
        order.append(("fsync", path.read_bytes()))
        fsync(handle)

    def watching_replace(source, target):
        order.append(("replace", path.read_bytes(), Path(source).read_bytes()))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watching_fsync)
    monkeypatch.setattr(os, "replace", watching_replace)
    write_atomic(path, b"new content")
    assert order == [("fsync", b"old"), ("replace", b"old", b"new content")] and path.read_bytes() == b"new content"


def test_an_interrupt_during_a_write_leaves_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    blocked = RunStore(tmp_path / "file" / "runs")
    with pytest.raises(InputError, match=r"cannot write .*file/runs.*--out"):
        blocked.prepare()
    with pytest.raises(InputError, match="cannot write"), blocked.open(SPEC):
        pass


def test_prepare_makes_the_folder_and_leaves_it_empty(store):
    store.prepare()
    store.prepare()
    assert os.listdir(store.root) == []


# --- finished runs ----------------------------------------------------------------------------------------------------


def test_a_finished_run_is_read_back_as_it_was_written(store):
    record = finish(store)
    assert store.is_done(SPEC) and not store.is_done(RunSpec(seed=4))
    assert store.load(SPEC.hash) == record == store.load(SPEC.hash[:5]) == store.finished()[0]
    assert (record.spec, record.env, record.result) == (SPEC, ENV, RESULT)
    assert store.load(SPEC.hash).result["test_accuracy"] == 0.1 + 0.2, "floats keep every bit"


def test_the_files_are_plain_json_and_parquet_and_done_names_their_checksums(store):
    finish(store)
    path = store.root / SPEC.hash
    assert sorted(os.listdir(path)) == ["DONE", "LOCK", "env.json", "metrics.parquet", "result.json", "spec.json"]
    assert RunSpec.parse(json.loads((path / "spec.json").read_text())) == SPEC
    assert [tuple(row.values()) for row in pq.read_table(path / "metrics.parquet").to_pylist()] == METRICS
    assert store.metrics(SPEC.hash).column_names == ["epoch", "metric", "block", "value"]
    sums = {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in PARTS}
    assert json.loads((path / "DONE").read_text()) == sums


def test_blocks_come_back_in_the_order_of_the_network_beyond_ten(store):
    blocks = {f"block{index}": index / 100 for index in range(13)}
    with store.open(SPEC) as folder:
        folder.finish(env=ENV, result=RESULT | {"block_accuracies": blocks}, metrics=[])
    assert list(store.load(SPEC.hash).result["block_accuracies"].items()) == list(blocks.items())
    assert run_row(store.load(SPEC.hash))["last_block_accuracy"] == 0.12


def test_a_run_without_metrics_has_an_empty_table_of_the_same_columns(store):
    with store.open(SPEC) as folder:
        folder.finish(env=ENV, result=RESULT, metrics=[])
    table = store.metrics(SPEC.hash)
    assert table.num_rows == 0 and [str(kind) for kind in table.schema.types] == ["int64", "string", "string", "double"]


def test_done_is_written_last(store, monkeypatch):
    written, replace = [], os.replace

    def watching(source, target):
        written.append(os.path.basename(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watching)
    finish(store)
    assert written[-1] == "DONE" and set(PARTS) <= set(written[:-1]) and written.count("DONE") == 1


@pytest.mark.parametrize("failing", [*PARTS[1:], "DONE"])
def test_a_run_whose_writing_fails_is_not_finished_and_can_be_finished_later(store, monkeypatch, failing):
    other = RunSpec(seed=4)
    finish(store, other)
    replace = os.replace

    def full(source, target):
        if os.path.basename(target) == failing:
            raise OSError(errno.ENOSPC, "full")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with store.open(SPEC) as folder:
        folder.save_checkpoint({"w": torch.ones(3)}, {"epoch": 1})
        with pytest.raises(InputError, match=r"disk is full.*runs"):
            folder.finish(env=ENV, result=RESULT, metrics=METRICS)
    monkeypatch.undo()
    assert not store.is_done(SPEC) and [r.hash for r in store.finished()] == [other.hash]
    with pytest.raises(InputError, match="not finished"):
        store.load(SPEC.hash)
    assert finish(store) == store.load(SPEC.hash)


def test_a_result_that_is_not_json_writes_nothing(store):
    with pytest.raises(ValueError, match="JSON"), store.open(SPEC) as folder:
        folder.finish(env=ENV, result={"test_accuracy": float("nan")}, metrics=[])
    assert not store.is_done(SPEC) and not (store.root / SPEC.hash / "result.json").exists()


# --- damage -----------------------------------------------------------------------------------------------------------


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-3])


def one_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("harm", [cut_short, one_bit, lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("part", [*PARTS[1:], "DONE"])
def test_a_damaged_file_of_a_finished_run_is_named_with_the_folder_and_what_to_do(store, part, harm):
    finish(store)
    path = store.root / SPEC.hash / part
    harm(path)
    if not path.exists() and part == "DONE":
        return  # a run without DONE is a run in progress
    sentence = rf"{SPEC.hash} is damaged .*delete that folder.*other runs are untouched"
    with pytest.raises(InputError, match=sentence):
        store.load(SPEC.hash)
    with pytest.warns(UserWarning, match=sentence):
        assert store.finished() == []


@pytest.mark.parametrize("harm", [cut_short, lambda path: path.write_bytes(b""), lambda path: path.unlink()])
def test_a_damaged_spec_is_refused(store, harm):
    finish(store)
    harm(store.root / SPEC.hash / "spec.json")
    with pytest.raises(InputError, match="is damaged"):
        store.load(SPEC.hash)
    with pytest.warns(UserWarning, match="is damaged"):
        assert store.finished() == []


@pytest.mark.parametrize("harm", [cut_short, lambda path: path.write_bytes(b""), lambda path: path.unlink()])
def test_a_damaged_table_is_refused_when_it_is_read(store, harm):
    finish(store)
    harm(store.root / SPEC.hash / "metrics.parquet")
    with pytest.raises(InputError, match="damaged"):
        store.metrics(SPEC.hash)


def test_runs_that_are_not_there_are_one_sentence(store):
    with pytest.raises(InputError, match=r"run store .*audit --out"):
        store.finished()
    store.prepare()
    assert store.finished() == []
    for name in ("0123", "", "../x", "*"):
        with pytest.raises(InputError, match="there is no run"):
            store.load(name)


def test_a_beginning_of_several_names_lists_them(store):
    specs = [RunSpec(seed=seed) for seed in range(17)]
    first = next(s for s in specs if sum(t.hash[0] == s.hash[0] for t in specs) > 1)  # 17 hashes, 16 digits
    same = [s for s in specs if s.hash[0] == first.hash[0]]
    for spec in same:
        finish(store, spec)
    with pytest.raises(InputError, match=f"{len(same)} runs: {min(s.hash for s in same)}"):
        store.load(first.hash[0])


# --- checkpoints ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_rules())
def test_a_checkpoint_gives_every_tensor_of_every_rule_back_to_the_last_bit(store, name):
    tensors = rule_on(name, sizes(image_size=8, depth=3, channels_last=True)).state_dict()
    tensors |= {
        "step": torch.tensor(7),
        "half": torch.randn(3).bfloat16(),
        "empty": torch.empty(0),
        "view": torch.randn(4, 3).T,
    }
    with store.open(SPEC) as folder:
        assert folder.load_checkpoint() is None
        folder.save_checkpoint(tensors, {"epoch": 2, "rows": [[1, "loss", "all", 0.1]]})
        found, progress = folder.load_checkpoint()
    assert progress == {"epoch": 2, "rows": [[1, "loss", "all", 0.1]]} and set(found) == set(tensors)
    for key, value in tensors.items():
        assert found[key].dtype == value.dtype and found[key].shape == value.shape and torch.equal(found[key], value)


def test_a_checkpoint_is_replaced_whole_or_not_at_all(store, monkeypatch):
    with store.open(SPEC) as folder:
        folder.save_checkpoint({"w": torch.ones(3)}, {"epoch": 1})
        monkeypatch.setattr(os, "replace", fail_with(errno.ENOSPC))
        with pytest.raises(InputError, match="the disk is full"):
            folder.save_checkpoint({"w": torch.zeros(3)}, {"epoch": 2})
        found, progress = folder.load_checkpoint()
    assert progress == {"epoch": 1} and torch.equal(found["w"], torch.ones(3))


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_damaged_checkpoint_is_refused_with_what_to_delete(store, content):
    with store.open(SPEC) as folder:
        folder.save_checkpoint({"w": torch.ones(3)}, {"epoch": 1})
        (store.root / SPEC.hash / "checkpoint/state.safetensors").write_bytes(content)
        with pytest.raises(InputError, match=rf"is damaged .*delete .*{SPEC.hash}"):
            folder.load_checkpoint()


def test_a_checkpoint_cut_short_is_refused(store):
    with store.open(SPEC) as folder:
        folder.save_checkpoint({"w": torch.ones(300)}, {"epoch": 1})
        cut_short(store.root / SPEC.hash / "checkpoint/state.safetensors")
        with pytest.raises(InputError, match="is damaged"):
            folder.load_checkpoint()


def test_what_a_killed_write_left_behind_is_cleared_when_the_run_is_opened_again(store):
    with store.open(SPEC) as folder:
        folder.save_checkpoint({"w": torch.ones(3)}, {"epoch": 1})
    path = store.root / SPEC.hash
    for stale in (path / ".result.json.abc123_z", path / "checkpoint" / ".state.safetensors.xyz45678"):
        stale.write_bytes(b"half")
    with store.open(SPEC) as folder:
        assert folder.load_checkpoint()[1] == {"epoch": 1}
    assert not [name for _, _, names in os.walk(path) for name in names if name.startswith(".")]


# --- one process at a time --------------------------------------------------------------------------------------------

HOLD = """
import sys, time
from layerlocal.spec import RunSpec
from layerlocal.runs.store import RunStore
with RunStore(sys.argv[1]).open(RunSpec(seed=3)):
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_process_is_kept_out_until_the_holder_ends_however_it_ends(store):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(store.root)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunBusyError, match=SPEC.hash), store.open(SPEC):
            pass
        with store.open(RunSpec(seed=4)):
            pass  # another run is free
        holder.send_signal(signal.SIGKILL)
        assert holder.wait() == -signal.SIGKILL
        with store.open(SPEC) as folder:
            folder.finish(env=ENV, result=RESULT, metrics=METRICS)
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    assert store.load(SPEC.hash).result == RESULT


def test_the_lock_is_free_again_when_the_run_raises(store):
    with pytest.raises(ZeroDivisionError), store.open(SPEC):
        raise ZeroDivisionError
    with store.open(SPEC), pytest.raises(RunBusyError), store.open(SPEC):
        pass


def test_a_run_that_fails_before_it_learned_anything_leaves_no_folder_and_one_with_a_checkpoint_stays(store):
    with pytest.raises(ZeroDivisionError), store.open(SPEC):
        raise ZeroDivisionError
    assert os.listdir(store.root) == []
    with pytest.raises(ZeroDivisionError), store.open(SPEC) as folder:
        folder.save_checkpoint({"w": torch.ones(3)}, {"epoch": 1})
        raise ZeroDivisionError
    with store.open(SPEC) as folder:
        assert folder.load_checkpoint()[1] == {"epoch": 1}


def test_a_lock_on_a_folder_that_another_process_just_cleared_keeps_nobody_out_so_it_is_not_held(store, monkeypatch):
    """The other process clears its empty folder between our opening of LOCK and our locking of it."""
    lock = fcntl.flock

    def late(handle, operation):
        monkeypatch.undo()
        shutil.rmtree(store.root / SPEC.hash)
        lock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with contextlib.suppress(RunBusyError), store.open(SPEC), pytest.raises(RunBusyError), store.open(SPEC):
        pass  # to refuse at once is right, too: the caller waits and tries again


def test_opening_a_finished_run_again_leaves_it_finished(store):
    record = finish(store)
    with store.open(SPEC):
        pass
    assert store.load(SPEC.hash) == record
