"""Many runs at once: the same bits as one after another, every run accounted for once, whatever becomes of a worker."""

from __future__ import annotations

import multiprocessing
import os
import time
import warnings

import pytest
import torch
from safetensors.torch import load_file

from layerlocal.runs.many import run_many
from layerlocal.runs.run import pin_plugin, run_spec
from layerlocal.runs.store import RunStore
from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RunSpec
from layerlocal.training.train import Training
from layerlocal.types import InputError

SPEC = RunSpec(
    data=DataSpec(source="teacher_student", classes=3, num_train=256, num_test=64),
    network=NetworkSpec(name="mlp", options={"depth": 2, "hidden": 16}),
    recipe=Recipe(epochs=2, batch_size=32),
)
STEPS = (256 - 27) // 32
TIMED = {"train_seconds", "samples_per_s", "process_peak_resident_bytes"}

PLUGIN = '''
import os
import signal
import time
import warnings
from pathlib import Path
from layerlocal import RuleInfo
from layerlocal.rules import LocalHeads

HERE = Path(__file__).parent


def die_once(name):
    """Kill this process, the first time only."""
    try:
        (HERE / name).touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for(name):
    end = time.monotonic() + 30
    while not (HERE / name).exists():
        assert time.monotonic() < end
        time.sleep(0.01)


class Base(LocalHeads):
    info = RuleInfo(name="plug-in", locality="block")


class Fails(Base):
    def inputs(self, x, y):
        raise ValueError("the moon is full\\nand bright")


class Warns(Base):
    def inputs(self, x, y):
        warnings.warn("the moon is full\\U0001F315", RuntimeWarning, stacklevel=1)
        return x, y


class Dies(Base):
    """Its worker is killed in the first step of the second epoch, once."""

    calls = 0

    def inputs(self, x, y):
        self.calls += 1
        if self.calls == 8:
            wait_for("go")
            die_once("died")
        return x, y


class Last:
    """Kills the process when it goes, if every run of the test is on disk."""

    def __del__(self):
        if len(list(HERE.glob("runs/*/DONE"))) == 2:
            die_once("died")


class DiesWhenAllIsDone(Base):
    """Its worker is killed after the run, before it could say that it is done: when the rule goes."""

    def __init__(self, network, *, num_classes, seed=None):
        super().__init__(network, num_classes=num_classes, seed=seed)
        self.last = Last()


class Waits(Base):
    def inputs(self, x, y):
        (HERE / f"worker-{os.getpid()}").touch()
        wait_for("go")
        return x, y
'''


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs")


@pytest.fixture
def plug(tmp_path):
    """The spec of a rule of the plug-in above."""
    (tmp_path / "plugin.py").write_text(PLUGIN)

    def spec(name, seed=0):
        return pin_plugin(SPEC.with_settings({"rule.name": f"{tmp_path / 'plugin.py'}:{name}", "seed": seed}))

    return spec


def seeds(count, start=0):
    return [SPEC.model_copy(update={"seed": seed}) for seed in range(start, start + count)]


def weights_of(store, spec):
    [path] = (store.root / spec.hash / "checkpoint").glob("*.safetensors")
    return load_file(path)


def run(specs, store, **arguments):
    """What `run_many` gives, and what it reported."""
    reported = []
    outcome = run_many(
        specs, store, threads=1, on_done=lambda spec, reason: reported.append((spec.hash, reason)), **arguments
    )
    assert sorted(name for name, reason in reported if reason is None) == sorted(outcome.finished)
    assert {name: reason for name, reason in reported if reason is not None} == outcome.failed
    return outcome, [name for name, _ in reported]


def assert_each_once(found, specs):
    assert sorted(found) == sorted(spec.hash for spec in specs)


def test_two_workers_make_the_same_runs_as_one_to_the_last_bit(tmp_path, forks):
    specs = [spec.with_settings({"rule.name": rule}) for spec in seeds(2) for rule in ("class-goodness", "ff")]
    one, two = RunStore(tmp_path / "one"), RunStore(tmp_path / "two")
    events = []
    for store, workers in ((one, 1), (two, 2)):
        outcome, reported = run(specs, store, workers=workers, listen=events.append if workers == 2 else None)
        assert_each_once(outcome.finished, specs)
        assert_each_once(reported, specs)
        assert outcome.failed == {}
    for spec in specs:
        left, right = weights_of(one, spec), weights_of(two, spec)
        assert list(left) == list(right) and all(torch.equal(left[name], right[name]) for name in left)
        results = [store.load(spec.hash).result for store in (one, two)]
        assert {k: v for k, v in results[0].items() if k not in TIMED} == {
            k: v for k, v in results[1].items() if k not in TIMED
        }
    assert {event.run for event in events} <= {spec.hash for spec in specs}
    assert any(event.validation is not None and event.step == STEPS for event in events)


def test_equal_specs_run_once(store, monkeypatch):
    epochs = []
    train = Training.run_epoch
    monkeypatch.setattr(Training, "run_epoch", lambda self, *a: epochs.append(self.seed) or train(self, *a))
    specs = seeds(2)
    outcome, reported = run([*specs, *specs, specs[0]], store)
    assert_each_once(outcome.finished, specs)
    assert_each_once(reported, specs)
    assert sorted(epochs) == [0, 0, 1, 1]


def test_finished_runs_are_reported_and_not_run_again(store, monkeypatch):
    specs = seeds(3)
    run_spec(specs[1], store)
    epochs = []
    train = Training.run_epoch
    monkeypatch.setattr(Training, "run_epoch", lambda self, *a: epochs.append(self.seed) or train(self, *a))
    outcome, reported = run(specs, store)
    assert_each_once(reported, specs)
    assert_each_once(outcome.finished, specs)
    assert sorted(epochs) == [0, 0, 2, 2]


def test_no_specs_are_no_runs(store):
    outcome, reported = run([], store, workers=2)
    assert (outcome.finished, outcome.failed, reported) == ([], {}, [])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_fails_is_reported_with_its_reason_and_the_others_finish(store, plug, forks, workers):
    line = PLUGIN.splitlines().index('        raise ValueError("the moon is full\\nand bright")') + 1
    failing, misfit = plug("Fails"), SPEC.with_settings({"recipe.batch_size": 1000})
    good = seeds(2)
    outcome, reported = run([failing, misfit, *good], store, workers=workers)
    assert_each_once(reported, [failing, misfit, *good])
    assert_each_once(outcome.finished, good)
    assert f"raised ValueError at plugin.py:{line}: the moon is full" in outcome.failed[failing.hash]
    assert "\n" not in outcome.failed[failing.hash]
    assert "batch_size 1000" in outcome.failed[misfit.hash] and "229" in outcome.failed[misfit.hash]
    assert all(store.load(spec.hash).result["test_accuracy"] for spec in good)


def test_what_workers_warn_of_is_said_once_and_by_this_process(store, plug, forks, capfd):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        outcome, _ = run([plug("Warns", seed) for seed in range(3)], store, workers=2)
    assert outcome.failed == {} and len(outcome.finished) == 3
    said = [(str(warning.message), warning.category) for warning in said if "moon" in str(warning.message)]
    assert said == [("the moon is full\U0001f315", RuntimeWarning)]
    assert "moon" not in capfd.readouterr().err


def test_a_warning_of_a_worker_ends_no_run_where_warnings_are_errors_here(store, plug):
    outcome, _ = run([plug("Warns", seed) for seed in range(2)], store, workers=2)  # spawned, so they only warn
    assert len(outcome.finished) == 2 and outcome.failed == {}


def test_a_plugin_edited_after_it_was_planned_fails_under_the_name_it_was_planned_by(tmp_path, store, plug):
    (tmp_path / "go").touch()
    (tmp_path / "died").touch()
    planned, good = plug("Dies"), SPEC
    with open(tmp_path / "plugin.py", "a") as file:
        file.write("# edited\n")
    outcome, reported = run([planned, good], store)
    assert_each_once(reported, [planned, good])
    assert outcome.finished == [good.hash] and "changed" in outcome.failed[planned.hash]


def test_a_worker_that_is_killed_once_is_survived_and_its_run_continues_from_its_checkpoint(
    tmp_path, store, plug, forks
):
    (tmp_path / "go").touch()
    specs = [plug("Dies"), *seeds(3)]
    outcome, reported = run(specs, store, workers=2)
    assert (tmp_path / "died").exists()
    assert outcome.failed == {}
    assert_each_once(outcome.finished, specs)
    assert_each_once(reported, specs)
    fresh = RunStore(tmp_path / "fresh")
    run_spec(specs[0], fresh)
    left, right = weights_of(store, specs[0]), weights_of(fresh, specs[0])
    assert all(torch.equal(left[name], right[name]) for name in right)


def test_a_run_that_failed_before_a_worker_was_killed_is_reported_once(tmp_path, store, plug, forks):
    specs = [plug("Fails"), plug("Dies")]
    reported = []

    def on_done(spec, reason):
        reported.append((spec.hash, reason is None))
        (tmp_path / "go").touch()

    outcome = run_many(specs, store, workers=2, threads=1, on_done=on_done)
    assert sorted(reported) == sorted([(specs[0].hash, False), (specs[1].hash, True)])
    assert outcome.finished == [specs[1].hash] and list(outcome.failed) == [specs[0].hash]


def test_runs_that_end_while_this_process_is_busy_are_reported(tmp_path, store, plug, forks):
    """This process is busy with the first run's end while the next run ends and the worker of the last one is killed."""
    specs = [*seeds(3), plug("Dies")]
    reported = []

    def busy(spec, reason):
        if not reported:
            end = time.monotonic() + 30
            (tmp_path / "go").touch()
            while sum(store.is_done(other) for other in specs) < 2 and time.monotonic() < end:
                time.sleep(0.01)
        reported.append(spec.hash)

    outcome = run_many(specs, store, workers=2, threads=1, on_done=busy)
    assert (tmp_path / "died").exists()
    assert_each_once(outcome.finished, specs)
    assert_each_once(reported, specs)
    assert outcome.failed == {}


def test_a_worker_killed_after_its_last_run_was_done_changes_nothing(tmp_path, store, plug, forks):
    specs = [plug("DiesWhenAllIsDone", seed) for seed in range(2)]
    outcome, reported = run(specs, store, workers=2)
    assert (tmp_path / "died").exists()
    assert_each_once(outcome.finished, specs)
    assert_each_once(reported, specs)
    assert outcome.failed == {}


def test_an_interrupt_ends_the_workers_and_keeps_what_is_finished(tmp_path, store, plug, forks):
    """The interrupt comes while two runs are in their first step, where they would stay for half a minute."""
    specs = [SPEC, *(plug("Waits", seed) for seed in range(2))]

    def stop_when_all_wait(spec, reason):
        if spec == SPEC:
            end = time.monotonic() + 30
            while len(list(tmp_path.glob("worker-*"))) < 1 and time.monotonic() < end:
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_many(specs, store, workers=2, threads=1, on_done=stop_when_all_wait)
    workers = [int(path.name.partition("-")[2]) for path in tmp_path.glob("worker-*")]
    assert workers
    end = time.monotonic() + 20
    while any(alive(worker) for worker in workers) and time.monotonic() < end:
        time.sleep(0.01)
    assert not any(alive(worker) for worker in workers)
    assert {record.hash for record in store.finished()} == {SPEC.hash}


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_thread_count_of_this_process_is_as_it_was(store):
    before = torch.get_num_threads()
    seen = []
    spec = SPEC.with_settings({"recipe.epochs": 1})
    run_many([spec], store, threads=before + 1, listen=lambda event: seen.append(torch.get_num_threads()))
    assert set(seen) == {before + 1} and torch.get_num_threads() == before
    assert store.load(spec.hash).env["threads"] == before + 1


def test_a_store_that_cannot_be_written_is_one_sentence_before_any_worker_starts(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: pytest.fail("a worker was started"))
    with pytest.raises(InputError, match=r"cannot write .*file.*--out"):
        run_many(seeds(2), RunStore(tmp_path / "file"), workers=2)
