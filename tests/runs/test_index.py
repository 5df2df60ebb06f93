"""A store read by its index gives what its folders give, whatever became of them since; where that cannot be known, the folders are read."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from layerlocal.files import write_whole
from layerlocal.runs import index as indexing
from layerlocal.runs.index import INDEX
from layerlocal.runs.records import RunReader, is_finished
from layerlocal.runs.store import RunStore
from layerlocal.spec import RunSpec
from layerlocal.types import InputError
from planted_store import plant_run, planted_result, planted_specs

SPECS = list(planted_specs(40))
NAMES = {spec.hash: spec for spec in SPECS}
FILES = ("DONE", "spec.json", "env.json", "metrics.parquet", "result.json")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """An index also of a few runs that were just written, in groups of three."""
    monkeypatch.setattr(indexing, "FEW", 1)
    monkeypatch.setattr(indexing, "SETTLED", 0.0)
    monkeypatch.setattr(indexing, "ROWS", 3)


@pytest.fixture
def store(tmp_path):
    """Eight planted runs with their index."""
    for spec in SPECS[:8]:
        plant_run(tmp_path / "runs", spec)
    found = RunStore(tmp_path / "runs")
    found.scan()
    assert (found.root / INDEX).exists()
    return found


def plain(store):
    """What `RunStore.scan` says, as text, from the folders alone."""
    records, problems = [], []
    for path in sorted(store.root.iterdir()):
        try:
            if is_finished(path):
                records.append(RunReader().read(path))
        except InputError as error:
            problems.append(str(error))
    return as_text(records), problems


def as_text(records):
    """Everything in records, with the order of what they hold."""
    return [json.dumps([one.hash, one.spec.model_dump(mode="json"), one.env, one.result]) for one in records]


def scanned(store):
    records, problems = store.scan()
    return as_text(records), problems


def opened(store, monkeypatch):
    """The runs whose folders are read during one scan."""
    from layerlocal.runs import store as stores

    read, names = stores.read_content, []
    with monkeypatch.context() as patch:
        patch.setattr(stores, "read_content", lambda path: [names.append(path.name), read(path)][1])
        store.scan()
    return names


def folder_of(store, number):
    return store.root / SPECS[number].hash


def reseal(folder, **contents):
    """Write files in place, with sums that fit."""
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES[1:]}
    (folder / "DONE").write_text(json.dumps(sums))


def with_accuracy(folder, accuracy):
    reseal(folder, result=json.loads((folder / "result.json").read_text()) | {"test_accuracy": accuracy})


# --- what is read -----------------------------------------------------------------------------------------------------


def test_the_second_reading_opens_no_folder_and_gives_the_same(store, monkeypatch):
    expected = plain(store)
    assert expected[1] == [] and len(expected[0]) == 8
    assert opened(store, monkeypatch) == []
    assert scanned(store) == expected
    assert store.scan()[0] == [RunReader().read(path) for path in sorted(store.root.iterdir()) if path.is_dir()]


def test_whatever_json_can_say_is_said_again(store, monkeypatch):
    odd = {"\u2028 ü \x00": ["\ud800", 1e-320, -0.0, 10**30, None, True, {"": []}], "of": '"\\\n', "b": 1, "a": 2}
    path = folder_of(store, 0)
    reseal(path, result=json.loads((path / "result.json").read_text()) | odd, env={"torch": "\udfff", "cores": 2})
    (path / "env.json").write_bytes(json.dumps({"python": "ü"}).encode("utf-16"))
    reseal(path)
    expected = plain(store)
    scanned(store)
    assert opened(store, monkeypatch) == [] and scanned(store) == expected


def not_there(store, chance):
    return chance.choice([spec for name, spec in NAMES.items() if not os.path.lexists(store.root / name)])


def add(store, chance):
    plant_run(store.root, not_there(store, chance), test_accuracy=chance.random())


def begin(store, chance):
    (plant_run(store.root, not_there(store, chance)) / "DONE").unlink()


def remove(store, chance):
    shutil.rmtree(chance.choice(runs_of(store)))


def rewrite(store, chance):
    path = chance.choice(runs_of(store))
    result = planted_result(NAMES[path.name])
    reseal(path, result=result | {"test_accuracy": chance.random()})


def damage(store, chance):
    path = chance.choice(runs_of(store)) / chance.choice(FILES)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def undo(store, chance):
    (chance.choice(runs_of(store)) / "DONE").unlink()


def lose(store, chance):
    (chance.choice(runs_of(store)) / chance.choice(FILES)).unlink()


def swap(store, chance):
    one, two = chance.sample(runs_of(store), 2)
    for source, target in ((one, store.root / "aside"), (two, one), (store.root / "aside", two)):
        source.rename(target)


def link(store, chance):
    path = chance.choice(runs_of(store))
    elsewhere = store.root.parent / f"{path.name}-{chance.random()}"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def copy(store, chance):
    path = chance.choice(runs_of(store))
    shutil.copytree(path, store.root / f"{path.name}.bak", dirs_exist_ok=True)


def exchange(store, chance):
    """The result of one run for that of another, whole files by rename."""
    one, two = chance.sample(runs_of(store), 2)
    os.replace(one / "result.json", two / "result.json")


def runs_of(store):
    """The finished ones that are folders of their own and have all files, sorted."""
    return [
        path
        for path in sorted(store.root.iterdir())
        if path.name in NAMES and not path.is_symlink() and all((path / name).exists() for name in FILES)
    ]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("few", [1, 4])
def test_after_any_changes_the_index_says_what_the_folders_say(store, monkeypatch, seed, few):
    monkeypatch.setattr(indexing, "FEW", few)
    chance = random.Random(seed)
    kinds = [add, add, add, begin, remove, rewrite, rewrite, damage, undo, lose, swap, link, copy, exchange]
    for _ in range(15):
        for change in chance.choices(kinds, k=chance.randint(1, 3)):
            if len(runs_of(store)) > 2:
                change(store, chance)
        while len(runs_of(store)) < 5:
            add(store, chance)
        assert scanned(store) == plain(store)


@pytest.mark.parametrize("name", FILES)
def test_a_file_changed_to_one_as_long_with_its_time_put_back_is_read(store, name):
    path = folder_of(store, 3) / name
    before, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    [problem] = store.scan()[1]
    assert SPECS[3].hash in problem and "damaged" in problem


def test_a_copied_store_that_was_changed_with_sizes_and_times_kept_is_read_from_its_folders(store, tmp_path):
    with_accuracy(folder_of(store, 2), 0.25)
    store.scan()
    other = RunStore(tmp_path / "copy")
    shutil.copytree(store.root, other.root)  # with its index and all times
    folder, times = folder_of(other, 2), {name: (folder_of(other, 2) / name).stat() for name in FILES}
    with_accuracy(folder, 0.75)
    for name, before in times.items():
        os.utime(folder / name, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (folder / name).stat().st_size == before.st_size
    accuracies = {record.hash: record.result["test_accuracy"] for record in other.scan()[0]}
    assert accuracies[SPECS[2].hash] == 0.75 and scanned(other) == plain(other)
    assert scanned(store) == plain(store)


# --- when it is written -----------------------------------------------------------------------------------------------


def test_files_that_may_change_within_their_tick_are_left_out(store, monkeypatch):
    with_accuracy(folder_of(store, 1), 0.5)
    monkeypatch.setattr(indexing, "SETTLED", 3600.0)
    (store.root / INDEX).unlink()
    assert len(opened(store, monkeypatch)) == 8 and not (store.root / INDEX).exists()


def test_a_few_new_runs_are_read_and_written_with_the_next_ones(store, monkeypatch):
    monkeypatch.setattr(indexing, "FEW", 3)
    before = (store.root / INDEX).read_bytes()
    for spec in SPECS[8:10]:
        plant_run(store.root, spec)
    assert opened(store, monkeypatch) == sorted(spec.hash for spec in SPECS[8:10])
    assert (store.root / INDEX).read_bytes() == before
    plant_run(store.root, SPECS[10])
    assert len(opened(store, monkeypatch)) == 3 and opened(store, monkeypatch) == []


def test_a_small_store_has_no_index(tmp_path, monkeypatch):
    monkeypatch.setattr(indexing, "FEW", 500)
    plant_run(tmp_path, SPECS[0])
    RunStore(tmp_path).scan()
    assert [path.name for path in tmp_path.iterdir()] == [SPECS[0].hash]


def test_a_run_that_cannot_be_used_is_named_each_time_and_the_index_is_written_once(store, monkeypatch):
    (folder_of(store, 0) / "env.json").write_text("{}")
    newer = RunSpec().model_dump(mode="json") | {"later": 1}
    reseal(folder_of(store, 5), spec=newer)
    problems = store.scan()[1]
    assert len(problems) == 2
    before = (store.root / INDEX).stat()
    assert opened(store, monkeypatch) == sorted(SPECS[number].hash for number in (0, 5))
    assert store.scan()[1] == problems and (store.root / INDEX).stat() == before


def test_a_reading_that_is_broken_off_writes_nothing(store):
    (store.root / INDEX).unlink()
    next(store.each([]))
    assert not (store.root / INDEX).exists()


def test_what_a_killed_writing_left_behind_is_removed(store):
    (store.root / INDEX).unlink()
    (store.root / f".{INDEX}.abcd1234").write_bytes(b"half")
    (store.root / f".{INDEX}.note").write_bytes(b"of somebody")
    store.scan()
    hidden = sorted(path.name for path in store.root.iterdir() if path.name.startswith("."))
    assert hidden == sorted([INDEX, f".{INDEX}.note"])


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT])
def test_a_store_that_takes_no_index_is_read_without(store, monkeypatch, code, recwarn):
    (store.root / INDEX).unlink()

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(indexing, "write_whole", refuse)
    assert scanned(store) == plain(store) and not recwarn.list
    assert not (store.root / INDEX).exists()


@pytest.mark.parametrize("closed", ["", *FILES])
def test_what_somebody_may_not_read_is_in_no_file_that_he_may_read(store, closed, monkeypatch):
    store.root.chmod(0o755)
    (folder_of(store, 4) / closed).chmod(0o700 if not closed else 0o600)
    (store.root / INDEX).unlink()
    store.scan()
    assert opened(store, monkeypatch) == [SPECS[4].hash]
    store.root.chmod(0o700)  # nobody else reaches the index
    store.scan()
    assert opened(store, monkeypatch) == []


READ = """
import sys
from layerlocal.runs import index
from layerlocal.runs.store import RunStore
index.FEW, index.SETTLED, index.ROWS = 1, 0.0, 3
for _ in range(8):
    records, problems = RunStore(sys.argv[1]).scan()
    assert not problems, problems
    print(sorted((record.hash, record.result["test_accuracy"]) for record in records))
    (RunStore(sys.argv[1]).root / index.INDEX).unlink(missing_ok=True)
"""


def test_processes_that_read_and_write_it_at_once_all_read_the_same(store):
    expected = sorted((record.hash, record.result["test_accuracy"]) for record in store.scan()[0])
    running = [subprocess.Popen([sys.executable, "-c", READ, store.root], stdout=subprocess.PIPE) for _ in range(3)]
    for process in running:
        said = process.communicate()[0].decode().splitlines()
        assert process.returncode == 0 and said == [str(expected)] * 8
    assert scanned(store) == plain(store)


# --- an index that is none --------------------------------------------------------------------------------------------


def cut(content):
    return content[: len(content) // 2]


def flipped(content):
    changed = bytearray(content)
    changed[-9] ^= 4
    return bytes(changed)


def of_another_form(content):
    return content.replace(b"layerlocal index 1 ", b"layerlocal index 0 ", 1)


@pytest.mark.parametrize("change", [cut, flipped, of_another_form, lambda content: b"", lambda content: b"\n\n"])
def test_a_damaged_index_is_passed_over_and_written_anew(store, monkeypatch, change, recwarn):
    expected, path = plain(store), store.root / INDEX
    path.write_bytes(change(path.read_bytes()))
    assert len(opened(store, monkeypatch)) == 8
    assert scanned(store) == expected and not recwarn.list
    assert opened(store, monkeypatch) == []


def test_an_index_that_is_cut_while_it_is_read_leaves_the_folders(store):
    expected, problems = plain(store)[0], []
    records = store.each(problems)
    found = [next(records)]
    os.truncate(store.root / INDEX, 100)
    assert as_text([*found, *records]) == expected and not problems


def test_a_folder_in_its_place_is_left_alone(store):
    (store.root / INDEX).unlink()
    (store.root / INDEX).mkdir()
    assert scanned(store) == plain(store)
    assert [path.name for path in store.root.iterdir() if path.name.startswith(".")] == [INDEX]


def test_a_link_in_its_place_is_replaced_and_what_it_leads_to_is_untouched(store, tmp_path):
    (store.root / INDEX).unlink()
    write_whole(tmp_path / "other", b"of somebody")
    (store.root / INDEX).symlink_to(tmp_path / "other")
    assert scanned(store) == plain(store)
    assert (tmp_path / "other").read_bytes() == b"of somebody" and not (store.root / INDEX).is_symlink()


# --- one run ----------------------------------------------------------------------------------------------------------


def test_a_run_is_loaded_from_its_folder_and_no_other_is_touched(store, monkeypatch):
    path = folder_of(store, 6)
    expected = RunReader().read(path)
    for number in (0, 1, 2):
        (folder_of(store, number) / "result.json").write_text("damaged")
    assert store.load(path.name) == store.load(path.name[:8]) == expected
    monkeypatch.setattr(os, "listdir", None)
    assert store.load(path.name) == expected, "its whole name needs no list of the others"


def test_a_loaded_run_is_held_against_its_sums_whatever_the_index_says(store, monkeypatch):
    path = folder_of(store, 6) / "result.json"
    (store.root / INDEX).unlink()
    monkeypatch.setattr(indexing, "_sign", lambda folder, *_: Path(folder).name)  # a disk that rots changes no time
    store.scan()
    path.write_text("{}")
    assert store.scan()[1] == [], "this is what the index cannot know"
    with pytest.raises(InputError, match="is damaged"):
        store.load(path.parent.name)
