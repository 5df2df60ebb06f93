"""What is said of files that cannot be used: damaged, not to be read, of another version; and stores that may only be read."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from layerlocal.experiments.stored import write_report
from layerlocal.runs.backlog import saved_epoch
from layerlocal.runs.comparable import comparable
from layerlocal.runs.export import load_trained
from layerlocal.runs.many import run_many
from layerlocal.runs.run import run_spec
from layerlocal.runs.store import RunStore
from layerlocal.runs.table import load_runs
from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RunSpec
from layerlocal.types import InputError
from planted_store import plant_run

SPEC = RunSpec(seed=3)
TINY = RunSpec(
    data=DataSpec(source="teacher_student", classes=3, num_train=64, num_test=16),
    network=NetworkSpec(name="mlp", options={"depth": 2, "hidden": 8}),
    recipe=Recipe(epochs=1, batch_size=32),
)
DEEP = b"[" * 100_000
DEEP_OBJECT = b'{"a":' * 100_000
NOBODY = 65534


@contextlib.contextmanager
def as_nobody():
    """Without the rights of root, where the tests have them: then ``chmod`` keeps nobody out."""
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(NOBODY)
    except OSError:
        pytest.skip("this process is root and may not be anybody else")
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of its own, which nobody in particular may enter: names in it are relative, because those above it are closed."""
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def planted(here):
    specs = [TINY.model_copy(update={"seed": seed}) for seed in range(3)]
    for spec in specs:
        plant_run(Path("runs"), spec)
    return RunStore("runs"), specs


def seal(folder, **contents):
    """Write files of a finished run, with sums that fit."""
    sums = json.loads((folder / "DONE").read_bytes())
    for name, content in contents.items():
        name = {"metrics": "metrics.parquet"}.get(name, f"{name}.json")
        (folder / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        sums[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "DONE").write_text(json.dumps(sums))


def the_problem(store):
    """The one sentence of a scan."""
    [sentence] = store.scan()[1]
    assert "\n" not in sentence
    return sentence


# --- content that is not what it should be ----------------------------------------------------------------------------

NO_OBJECTS = [
    DEEP, DEEP_OBJECT, b"[]", b"3", b"null", b'"text"', b"", b"{", b"\xff\xfe", b'{"a": NaN}', b'{"a": -Infinity}',
    b'{"a": 1e999}', b"{'a': 1}",
]  # fmt: skip


@pytest.mark.parametrize("content", NO_OBJECTS, ids=lambda content: repr(content[:16]))
@pytest.mark.parametrize("part", ["DONE", "spec", "env", "result"])
def test_json_of_another_shape_is_one_sentence_and_the_others_are_read(planted, part, content):
    store, specs = planted
    folder = store.root / specs[0].hash
    if part == "DONE":
        (folder / "DONE").write_bytes(content)
    else:
        seal(folder, **{part: content})
    sentence = the_problem(store)
    assert f"{specs[0].hash} is damaged ({part}" in sentence and "delete that folder" in sentence
    assert len(store.scan()[0]) == 2 and not store.is_done(specs[0])
    with pytest.raises(InputError, match=f"{specs[0].hash} is damaged"):
        store.load(specs[0].hash)
    with pytest.raises(InputError, match=f"{specs[0].hash} is damaged"):
        run_spec(specs[0], store)


@pytest.mark.parametrize("content", NO_OBJECTS, ids=lambda content: repr(content[:16]))
def test_a_run_in_progress_with_such_a_spec_is_one_sentence(here, content):
    store = RunStore("runs")
    with store.open(SPEC) as folder:
        folder.save_checkpoint({"w": torch.ones(3)}, {"epoch": 1})
    (store.root / SPEC.hash / "spec.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"{SPEC.hash} is damaged \(spec.json.*delete"), store.open(SPEC):
        pass


@pytest.mark.parametrize("content", [DEEP, DEEP_OBJECT, b"[]", b"3", b"null", b"", b"{", b"{}", b'{"epoch": null}'])
def test_a_checkpoint_that_carries_no_progress_is_one_sentence(here, content):
    store = RunStore("runs")
    with store.open(TINY) as folder:
        folder.save_checkpoint({"w": torch.ones(3)}, {"epoch": 1})
    path = store.root / TINY.hash / "checkpoint/state.safetensors"
    save_file({"w": torch.ones(3)}, path, metadata={"progress": content.decode()})
    assert saved_epoch(store, TINY) == 0
    with pytest.raises(InputError, match=rf"checkpoint .*is damaged .*delete .*{TINY.hash}"):
        run_spec(TINY, store)


@pytest.mark.parametrize(
    "result",
    [
        {"test_accuracy": None},
        {"test_accuracy": "0.5"},
        {"block_accuracies": [0.1]},
        {"block_accuracies": {"block0": "high"}},
        {"run": "0123456789abcdef"},
    ],
    ids=str,
)
def test_a_result_without_its_accuracies_is_damaged(here, result):
    store = RunStore("runs")
    plant_run(store.root, SPEC, **result)
    assert f"{SPEC.hash} is damaged (result.json" in the_problem(store)


@pytest.mark.parametrize("content", [b"", b"PAR1 no PAR1", b"a,b\n1,2\n"])
def test_metrics_that_are_no_table_are_one_sentence(planted, content):
    store, specs = planted
    seal(store.root / specs[0].hash, metrics=content)
    with pytest.raises(InputError, match=r"damaged .*metrics.parquet"):
        store.metrics(specs[0].hash)


def test_a_table_of_something_else_is_no_table_of_metrics(planted):
    store, specs = planted
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": [1]}), sink)
    seal(store.root / specs[0].hash, metrics=sink.getvalue().to_pybytes())
    with pytest.raises(InputError, match="is no table of metrics"):
        store.metrics(specs[0].hash)


def test_a_newer_versions_run_is_not_called_damaged(planted):
    store, specs = planted
    for spec, (section, value) in zip(specs, [("recipe", {"dropout": 0.1}), ("later", 3), ("seed", 0)], strict=True):
        folder = store.root / spec.hash
        content = json.loads((folder / "spec.json").read_bytes())
        content[section] = content[section] | value if isinstance(value, dict) else value
        seal(folder, spec=content)
    records, problems = store.scan()
    assert len(records) + len(problems) == 3
    for sentence, name in zip(sorted(problems), sorted(["recipe.dropout", "later"]), strict=False):
        assert "update layerlocal" in sentence
        assert "delete" not in sentence and name
    assert {"recipe.dropout" in text for text in problems} == {True, False}


def test_a_newer_versions_run_in_progress_is_not_continued(here):
    store = RunStore("runs")
    with store.open(SPEC) as folder:
        folder.save_checkpoint({"w": torch.ones(3)}, {"epoch": 1})
    path = store.root / SPEC.hash / "spec.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"later": 1}))
    with pytest.raises(InputError, match="update layerlocal"), store.open(SPEC):
        pass


# --- files that may not be read ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", ["", "DONE", "spec.json", "env.json", "metrics.parquet", "result.json"])
def test_what_may_not_be_read_is_not_called_damaged_and_the_others_are_read(planted, closed):
    store, specs = planted
    (store.root / specs[0].hash / closed).chmod(0)
    with as_nobody():
        sentence, found = the_problem(store), store.scan()[0]
        assert not store.is_done(specs[0]) and store.is_done(specs[1])
        for read in (store.load, store.metrics):
            with pytest.raises(InputError, match="cannot be read"):
                read(specs[0].hash)
        with pytest.raises(InputError, match=r"cannot be read|cannot write"):
            run_spec(specs[0], store)
        with pytest.warns(UserWarning, match=f"{specs[0].hash} cannot be read"):
            assert load_runs(store.root).num_rows == 2
        records, problems = comparable(store.root)
        assert len(records) == 2 and sum("cannot be read" in text for text in problems) == 1
    assert f"{specs[0].hash} cannot be read (Permission denied)" in sentence and len(found) == 2
    assert "delete" not in sentence


def test_a_closed_folder_that_is_no_run_is_passed_over(planted):
    store, _ = planted
    (store.root / "private").mkdir(mode=0)
    with as_nobody():
        assert store.scan()[1] == []


@pytest.mark.parametrize("mode", [0o000, 0o600, 0o444, 0o311])
def test_a_store_that_may_not_be_looked_into_is_one_sentence(planted, mode):
    store, specs = planted
    store.root.chmod(mode)
    with as_nobody():
        assert store.is_done(specs[0]) == (mode == 0o311), "entering is enough for who knows the name"
        for call in (store.finished, lambda: comparable(store.root), lambda: load_runs(store.root)):
            with pytest.raises(InputError, match="runs"):
                call()
        with pytest.raises(InputError, match=r"run store runs .*Permission denied"):
            store.scan()


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EACCES, errno.EPERM])
def test_a_disk_that_does_not_answer_is_not_called_damage(planted, monkeypatch, code):
    store, specs = planted
    opened = os.open

    def failing(name, *args, **options):
        if str(name).endswith(f"{specs[0].hash}/result.json"):
            raise OSError(code, os.strerror(code))
        return opened(name, *args, **options)

    monkeypatch.setattr(os, "open", failing)
    sentence = the_problem(store)
    assert f"cannot be read ({os.strerror(code)})" in sentence and "delete" not in sentence


def test_weights_that_may_not_be_read_are_not_called_damaged(here):
    store = RunStore("runs")
    run_spec(TINY, store)
    path = store.root / TINY.hash / "checkpoint/state.safetensors"
    load_trained(store, TINY.hash)  # imports what it needs while it may
    path.chmod(0)
    with as_nobody():
        with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)") as found:
            load_trained(store, TINY.hash)
        assert "delete" not in str(found.value)
        assert saved_epoch(store, TINY) == 0


# --- stores that may only be read -------------------------------------------------------------------------------------


def tree(root):
    return {str(path): path.stat().st_mtime_ns for path in sorted(Path(root).rglob("*"))}


@pytest.fixture
def finished(here, cli):
    """A store with a finished run, that only its owner may write; the folder around it too."""
    store = RunStore("runs")
    run_spec(TINY, store)
    here.chmod(0o755)
    return store


def test_a_finished_run_in_a_read_only_store_is_read_by_every_command(finished, cli):
    from layerlocal.command import command_of

    run_here = command_of(TINY).split()[1:]
    for words in (("show",), ("report", "--format", "md"), ("claims",), run_here):
        cli(*words)  # imports, and compiled kernels, are made as root
    before = tree("runs")
    with as_nobody():
        assert run_spec(TINY, finished).hash == TINY.hash
        assert run_many([TINY], finished).finished == [TINY.hash]
        for words in (run_here, ("show",), ("show", TINY.hash), ("report", "--format", "csv")):
            code, out, err = cli(*words)
            assert code == 0 and TINY.hash in out, err
        assert "1 finished runs" in cli("report", "--format", "md")[1] and cli("claims")[0] == 0
    assert tree("runs") == before


def test_what_would_write_into_a_read_only_store_says_so_and_leaves_nothing(finished, cli, refused):
    run_here = ("train", "--rule", "bp", "--data", "teacher_student", "--network", "mlp")
    before = tree(".")
    with as_nobody():
        assert "cannot write runs" in refused(*run_here) and "--out" in refused(*run_here)
        assert "layerlocal report --format md" in refused("report")
        other = TINY.model_copy(update={"seed": 1})
        for call in (lambda: run_spec(other, finished), lambda: run_many([other], finished)):
            with pytest.raises(InputError, match="cannot write runs"):
                call()
        with pytest.raises(InputError, match="cannot write new"):
            run_spec(TINY, RunStore("new"))
        assert isinstance(write_report(Path("runs"), form="json"), str)
    assert tree(".") == before


def test_a_run_that_cannot_be_read_does_not_hide_that_the_others_are_damaged(planted):
    store, specs = planted
    (store.root / specs[0].hash).chmod(0)
    (store.root / specs[1].hash / "env.json").write_text("{}")
    shutil.copytree(store.root / specs[2].hash, store.root / "copy")
    with as_nobody():
        records, problems = store.scan()
    assert [record.hash for record in records] == [specs[2].hash]
    words = ["cannot be read", "damaged (", "under another name"]
    assert sorted(word for text in problems for word in words if word in text) == words


# --- what lies beside the runs ----------------------------------------------------------------------------------------

BESIDE = ["audit.json", "study-ablation-quick.json", "cost-quick.json", "tune-0123abcd.json"]


@pytest.mark.parametrize("content", [DEEP, DEEP_OBJECT, b"", b"[]", b"\xff"], ids=lambda content: repr(content[:8]))
@pytest.mark.parametrize("name", BESIDE)
def test_a_file_beside_the_runs_that_says_nothing_is_one_sentence(planted, name, content):
    (planted[0].root / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name} is damaged .* again") as found:
        write_report(planted[0].root, form="md")
    assert len(str(found.value)) < 400 and "\n" not in str(found.value)


@pytest.mark.parametrize("name", BESIDE)
def test_a_file_beside_the_runs_that_may_not_be_read_is_not_called_damaged(planted, name):
    (planted[0].root / name).write_text("{}")
    (planted[0].root / name).chmod(0)
    with as_nobody(), pytest.raises(InputError, match=rf"{name} cannot be read \(Permission denied\)") as found:
        write_report(planted[0].root, form="md")
    assert "delete" not in str(found.value)
