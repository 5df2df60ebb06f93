"""Whatever becomes of workers, of their parent and of other processes: every run ends once, with the bits it would have had."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import layerlocal.runs.local
from layerlocal.runs.backlog import LIVES, Backlog, saved_epoch, throttled
from layerlocal.runs.many import run_many
from layerlocal.runs.run import RunEvent, pin_plugin, run_spec
from layerlocal.runs.store import RunBusyError, RunStore
from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RunSpec

SPEC = RunSpec(
    data=DataSpec(source="teacher_student", classes=3, num_train=100, num_test=60),
    network=NetworkSpec(name="mlp", options={"depth": 2, "hidden": 16}),
    recipe=Recipe(epochs=3, batch_size=32),
)
STEPS = 2
"""Steps an epoch: some 10 of the 100 samples are the validation split, and the last batch is whole or left out."""
TIMED = {"train_seconds", "samples_per_s", "process_peak_resident_bytes"}
KILLS = 20

PLUGIN = '''
import os
import signal
import time
from pathlib import Path
from layerlocal import RuleInfo
from layerlocal.rules import LocalHeads

HERE = Path(__file__).parent
STEPS = {steps}


class Base(LocalHeads):
    info = RuleInfo(name="plug-in", locality="block")
    calls = 0

    def inputs(self, x, y):
        self.calls += 1
        self.step()
        return x, y


class Killed(Base):
    def step(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Leaves(Base):
    def step(self):
        os._exit(0)


class LeavesLate(Base):
    """Its process ends in the second epoch, every time; taken over, it begins there."""

    def step(self):
        if self.calls > STEPS or (HERE / "late").exists():
            (HERE / "late").touch()
            os._exit(7)


class DiesInEveryEpoch(Base):
    """In the last step of every epoch its process is killed, twice; the third time the epoch is finished."""

    def step(self):
        if self.calls == STEPS:
            tries = len(list(HERE.glob("try-*")))
            (HERE / f"try-{{tries}}").touch()
            if tries % 3 < 2 and tries < 9 and not (HERE / "quiet").exists():
                os.kill(os.getpid(), signal.SIGKILL)
            self.calls = 0


class Stays(Base):
    """Stays in its second epoch until it is let go."""

    def step(self):
        if self.calls > STEPS:
            (HERE / f"worker-{{os.getpid()}}").touch()
            end = time.monotonic() + 60
            while not (HERE / "go").exists() and time.monotonic() < end:
                time.sleep(0.01)
'''


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs")


@pytest.fixture
def plug(tmp_path):
    """The spec of a rule of the plug-in above."""
    (tmp_path / "plugin.py").write_text(PLUGIN.format(steps=STEPS))

    def spec(name, seed=0):
        return pin_plugin(SPEC.with_settings({"rule.name": f"{tmp_path / 'plugin.py'}:{name}", "seed": seed}))

    return spec


def seeds(count):
    return [SPEC.model_copy(update={"seed": seed}) for seed in range(count)]


def weights_of(store, spec):
    """The bytes of the one weights file."""
    [path] = (store.root / spec.hash / "checkpoint").glob("*.safetensors")
    return {name: (value.shape, value.numpy().tobytes()) for name, value in load_file(path).items()}


def result_of(store, spec):
    return {key: value for key, value in store.load(spec.hash).result.items() if key not in TIMED}


def curves_of(store, spec):
    rows = store.metrics(spec.hash).to_pylist()
    return [row for row in rows if row["metric"] not in ("train_seconds", "samples_per_s")]


def assert_same_runs(left, right, specs):
    for spec in specs:
        assert weights_of(left, spec) == weights_of(right, spec)
        assert result_of(left, spec) == result_of(right, spec)
        assert curves_of(left, spec) == curves_of(right, spec)


def alive(process):
    """A zombie, whom nobody has buried yet, is dead."""
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except FileNotFoundError:
        return not Path("/proc/self").exists()


class Killer:
    """Kills a worker, chosen at random, at random moments of a study; notes who died over what."""

    def __init__(self, kills):
        self.chance = random.Random(0)
        self.left = kills
        self.events = 0
        self.next = 2
        self.states = Counter()

    def __call__(self, event):
        self.states[event.state] += 1
        self.events += 1
        if self.left and self.events >= self.next:
            time.sleep(self.chance.uniform(0, 0.03))
            workers = sorted(process.pid for process in multiprocessing.active_children())
            if workers:
                os.kill(self.chance.choice(workers), signal.SIGKILL)
                self.left -= 1
                self.next = self.events + self.chance.randrange(1, 8)


class Watch(threading.Thread):
    """Notes which file every ``DONE`` was when it first appeared."""

    def __init__(self, store):
        super().__init__(daemon=True)
        self.store = store
        self.seen = {}
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(0.003):
            self.look()

    def look(self):
        for path in self.store.root.glob("*/DONE"):
            self.seen.setdefault(path.parent.name, identity(path))


def identity(path):
    return path.stat().st_ino, path.stat().st_mtime_ns


def test_forty_runs_whose_workers_are_killed_at_twenty_random_moments_are_those_of_an_undisturbed_study(
    tmp_path, store, forks
):
    specs = [spec.with_settings({"rule.name": rule}) for spec in seeds(20) for rule in ("class-goodness", "bp")]
    killer, watch, reported = Killer(KILLS), Watch(store), []
    watch.start()
    outcome = run_many(
        specs,
        store,
        workers=2,
        threads=1,
        listen=killer,
        on_done=lambda spec, reason: reported.append((spec.hash, reason)),
    )
    watch.over.set()
    watch.join()
    watch.look()
    names = sorted(spec.hash for spec in specs)
    assert killer.left == 0 and killer.states["lost"] >= 5
    assert (sorted(outcome.finished), outcome.failed) == (names, {})
    assert sorted(reported) == [(name, None) for name in names]
    assert sorted(watch.seen) == names
    assert {name: identity(store.root / name / "DONE") for name in names} == watch.seen, "a run was finished twice"
    undisturbed = RunStore(tmp_path / "undisturbed")
    run_many(specs[::-1], undisturbed, workers=1, threads=1)
    assert_same_runs(store, undisturbed, specs)


@pytest.mark.parametrize(
    ("name", "how", "epoch"),
    [("Killed", "SIGKILL", 0), ("Leaves", "exit code 0", 0), ("LeavesLate", "exit code 7", 1)],
)
def test_a_run_that_takes_every_worker_with_it_is_given_up_alone(store, plug, forks, name, how, epoch):
    poison, good = plug(name), seeds(4)
    states = Counter()
    outcome = run_many(
        [poison, *good],
        store,
        workers=2,
        threads=1,
        listen=lambda event: states.update([event.state] if event.run == poison.hash else []),
    )
    assert sorted(outcome.finished) == sorted(spec.hash for spec in good)
    [reason] = outcome.failed.values()
    assert list(outcome.failed) == [poison.hash]
    assert "died 3 times" in reason and how in reason and f"from epoch {epoch}" in reason and "\n" not in reason
    assert states["lost"] == LIVES + (epoch > 0)


def test_the_last_run_left_cannot_take_this_process_with_it(store, plug, forks):
    outcome = run_many([plug("Leaves")], store, workers=2, threads=1)
    assert list(outcome.failed) == [plug("Leaves").hash]


def test_a_run_killed_twice_in_every_epoch_gets_on_and_is_never_given_up(tmp_path, store, plug, forks):
    spec = plug("DiesInEveryEpoch")
    outcome = run_many([spec], store, workers=2, threads=1)
    assert outcome.failed == {} and outcome.finished == [spec.hash]
    assert len(list(tmp_path.glob("try-*"))) >= 9
    (tmp_path / "quiet").touch()
    quiet = RunStore(tmp_path / "quiet-runs")
    run_spec(spec, quiet)
    assert weights_of(store, spec) == weights_of(quiet, spec) and curves_of(store, spec) == curves_of(quiet, spec)


def ends_at_once(*_):
    os._exit(3)


def is_killed_at_once(*_):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(("serve", "how"), [(ends_at_once, "exit code 3"), (is_killed_at_once, "SIGKILL")])
def test_workers_that_cannot_even_start_are_not_started_for_ever(store, forks, monkeypatch, serve, how):
    monkeypatch.setattr(layerlocal.runs.local, "_serve", serve)
    monkeypatch.setitem(layerlocal.runs.local.FALSE_STARTS, "killed", 5)
    specs = seeds(3)
    outcome = run_many(specs, store, workers=2)
    assert sorted(outcome.failed) == sorted(spec.hash for spec in specs)
    assert all("die as they start" in reason and how in reason for reason in outcome.failed.values())


STUDY = """
import json, sys
from layerlocal.spec import RunSpec
from layerlocal.runs.store import RunStore
from layerlocal.runs.many import run_many

if __name__ == "__main__":
    specs = [RunSpec.parse(content) for content in json.loads(sys.argv[2])]
    outcome = run_many(specs, RunStore(sys.argv[1]), workers=2, threads=1)
    print(len(outcome.finished), outcome.failed)
"""


def test_workers_whose_parent_is_killed_end_soon_and_the_next_command_goes_on_from_their_checkpoints(
    tmp_path, store, plug, forks
):
    """As users start them: a script, and workers that are spawned."""
    specs = [plug("Stays", seed) for seed in range(2)]
    (tmp_path / "study.py").write_text(STUDY)
    content = json.dumps([spec.model_dump(mode="json") for spec in specs])
    study = subprocess.Popen([sys.executable, tmp_path / "study.py", store.root, content])
    try:
        end = time.monotonic() + 120
        while len(list(tmp_path.glob("worker-*"))) < 2 and time.monotonic() < end and study.poll() is None:
            time.sleep(0.02)
    finally:
        study.kill()
        study.wait()
    workers = [int(path.name.partition("-")[2]) for path in tmp_path.glob("worker-*")]
    assert len(workers) == 2
    end = time.monotonic() + 20
    while any(alive(worker) for worker in workers) and time.monotonic() < end:
        time.sleep(0.01)
    assert not any(alive(worker) for worker in workers)
    assert [saved_epoch(store, spec) for spec in specs] == [1, 1]
    (tmp_path / "go").touch()
    outcome = run_many(specs, store, workers=2, threads=1)
    assert sorted(outcome.finished) == sorted(spec.hash for spec in specs)
    quiet = RunStore(tmp_path / "quiet-runs")
    run_many(specs, quiet)
    assert_same_runs(store, quiet, specs)


# --- runs that another process has ------------------------------------------------------------------------------------


def test_a_run_held_by_another_process_is_waited_for_and_this_is_said_once(store):
    said = []
    with store.open(SPEC) as folder:
        folder.save_checkpoint({}, {"epoch": 0})
        with pytest.raises(RunBusyError):
            run_spec(SPEC, store, wait=False)
    (store.root / SPEC.hash / "checkpoint" / "state.safetensors").unlink()
    held = store.open(SPEC)
    held.__enter__()

    def listen(event):
        if event.state == "waiting":
            said.append(event.run)
            threading.Timer(1.2, held.__exit__, (None, None, None)).start()  # two looks later

    record = run_spec(SPEC, store, listen=listen)
    assert said == [SPEC.hash] and record.hash == SPEC.hash and store.is_done(SPEC)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_busy_run_blocks_no_worker_and_comes_last(store, forks, workers):
    """The other process lets go when all the others are through: were it waited for earlier, nothing would ever end."""
    busy, *others = specs = seeds(4)
    held = store.open(busy)
    held.__enter__()
    reported, states = [], []

    def on_done(spec, reason):
        reported.append(spec)
        if len(reported) == 3:
            held.__exit__(None, None, None)

    outcome = run_many(
        specs,
        store,
        workers=workers,
        threads=1,
        listen=lambda event: states.append((event.run, event.state)),
        on_done=on_done,
    )
    assert outcome.failed == {} and reported[-1] == busy and sorted(reported[:3], key=lambda s: s.seed) == others
    assert (busy.hash, "waiting") in states and (busy.hash, "lost") not in states


def test_a_busy_run_is_looked_at_ever_more_rarely(store):
    backlog = Backlog([SPEC], store)
    pauses = []
    for _ in range(6):
        backlog._due = [(float("-inf"), spec) for _, spec in backlog._due]
        assert backlog.take() == SPEC and backlog.take() is None and backlog.seconds_to_next() is None
        backlog.put_back_busy(SPEC)
        pauses.append(backlog.seconds_to_next())
        assert backlog.take() is None and len(backlog) == 1
    assert pauses == pytest.approx([0.5, 1, 2, 4, 5, 5], abs=0.2)


# --- the backlog ------------------------------------------------------------------------------------------------------


def test_only_a_new_epoch_counts_as_progress_not_one_that_was_there_before(store):
    def save(epoch):
        with store.open(SPEC) as folder:
            folder.save_checkpoint({"w": torch.ones(1)}, {"epoch": epoch})

    save(4)
    backlog = Backlog([SPEC], store)
    lives = []
    for epoch in [4, 4, 5, 5, 5, 5]:
        assert backlog.take() == SPEC
        save(epoch)
        lives.append(backlog.put_back_lost(SPEC, "killed"))
    assert lives[:-1] == [None] * 5
    assert lives[-1][0] == SPEC and "3 times" in lives[-1][1] and "from epoch 5" in lives[-1][1]
    assert len(backlog) == 0


def test_a_run_that_comes_back_goes_to_the_end(store):
    first, *rest = seeds(3)
    backlog = Backlog([first, *rest], store)
    assert backlog.take() == first
    assert backlog.put_back_lost(first, "killed") is None
    assert [backlog.take() for _ in range(4)] == [*rest, first, None]


def test_a_checkpoint_that_cannot_be_read_is_no_epoch(store):
    path = store.root / SPEC.hash / "checkpoint" / "state.safetensors"
    assert saved_epoch(store, SPEC) == 0
    path.parent.mkdir(parents=True)
    path.write_bytes(b"nonsense")
    assert saved_epoch(store, SPEC) == 0


def test_steps_in_quick_succession_are_not_all_sent_but_everything_else_is(monkeypatch):
    moments = iter([0.0, 0.0, 0.05, 0.11, 0.11, 0.12])
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    sent = []
    listen = throttled(sent.append)
    events = [RunEvent("run", step, 8, 1, 2, 1.0) for step in range(1, 5)]
    epoch = RunEvent("run", 4, 8, 1, 2, 1.0, record=object())
    lost = RunEvent.of_state(SPEC, "lost")
    for event in [events[0], events[1], epoch, lost, events[2], events[3]]:
        listen(event)
    assert sent == [events[0], epoch, lost, events[2]]


@pytest.mark.parametrize(
    ("device", "gpus", "chosen"),
    [("cuda", 4, [0, 1, 2, 3, 0, 1]), ("cuda", 1, []), ("cuda:1", 4, []), ("cpu", 4, [])],
)
def test_workers_are_spread_over_the_gpus(monkeypatch, device, gpus, chosen):
    found = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", found.append)
    for number in range(6):
        layerlocal.runs.local._choose_gpu(device, number)
    assert found == chosen
