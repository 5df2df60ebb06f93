"""A study on a Ray cluster: a local one of two workers, started here. The same bits as without, whatever becomes of a worker."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections import Counter

import pytest
from safetensors.torch import load_file

import layerlocal.runs.ray
from layerlocal.runs.many import run_many
from layerlocal.runs.run import RunEvent, pin_plugin
from layerlocal.runs.store import RunStore
from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RunSpec
from layerlocal.training.evaluate import Evaluation
from layerlocal.training.train import EpochRecord
from layerlocal.types import InputError

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed; pip install 'layerlocal[ray]'"
)
SPEC = RunSpec(
    data=DataSpec(source="teacher_student", classes=3, num_train=100, num_test=60),
    network=NetworkSpec(name="mlp", options={"depth": 2, "hidden": 16}),
    recipe=Recipe(epochs=2, batch_size=32),
)
TIMED = {"train_seconds", "samples_per_s", "process_peak_resident_bytes"}

PLUGIN = '''
import os
import signal
from pathlib import Path
from layerlocal import RuleInfo
from layerlocal.rules import LocalHeads

HERE = Path(__file__).parent


class Base(LocalHeads):
    info = RuleInfo(name="plug-in", locality="block")
    calls = 0

    def inputs(self, x, y):
        self.calls += 1
        self.step()
        return x, y


class Fails(Base):
    def step(self):
        raise ValueError("the moon is full")


class DiesOnce(Base):
    """Its worker is killed in the first step of the second epoch, once."""

    def step(self):
        if self.calls == 3 and not (HERE / "died").exists():
            (HERE / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)

'''

CLUSTER = """
import sys, ray
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
print("address", ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
ray.shutdown()
"""


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")


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


@pytest.fixture(scope="module")
def cluster():
    """The address of a cluster that another process started."""
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        for line in process.stdout:
            if line.startswith("address"):
                break
        yield line.split()[1]
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


def seeds(count):
    return [SPEC.model_copy(update={"seed": seed}) for seed in range(count)]


def content_of(store, spec):
    """All of a finished run that no clock is in."""
    [path] = (store.root / spec.hash / "checkpoint").glob("*.safetensors")
    weights = {name: value.numpy().tobytes() for name, value in load_file(path).items()}
    result = {key: value for key, value in store.load(spec.hash).result.items() if key not in TIMED}
    rows = [
        row for row in store.metrics(spec.hash).to_pylist() if row["metric"] not in ("train_seconds", "samples_per_s")
    ]
    return weights, result, rows


def assert_same_runs(left, right, specs):
    for spec in specs:
        assert content_of(left, spec) == content_of(right, spec)


@needs_ray
def test_two_ray_workers_that_see_the_store_make_the_runs_one_process_makes_though_one_is_killed(tmp_path, store, plug):
    good = [*seeds(4), plug("DiesOnce")]
    bad = plug("Fails")
    events, reported = [], []
    outcome = run_many(
        [bad, *good],
        store,
        ray="local",
        workers=2,
        threads=1,
        listen=events.append,
        on_done=lambda spec, reason: reported.append(spec.hash),
    )
    assert sorted(outcome.finished) == sorted(spec.hash for spec in good)
    assert sorted(reported) == sorted(spec.hash for spec in [*good, bad])
    assert (tmp_path / "died").exists()
    assert "the moon is full" in outcome.failed[bad.hash] and "\n" not in outcome.failed[bad.hash]
    states = Counter((event.run, event.state) for event in events)
    assert states[good[-1].hash, "lost"] == 1 and states[good[-1].hash, "started"] == 2
    epochs = [event.epoch for event in events if event.run == good[-1].hash and event.record is not None]
    assert epochs == [1, 2], "taken over, it continued from its checkpoint"
    assert any(event.validation is not None and event.validation.accuracy > 0 for event in events)
    assert [path.name for path in store.root.iterdir() if path.name.startswith(".")] == []
    quiet = RunStore(tmp_path / "quiet")
    run_many(good, quiet, threads=1)
    assert_same_runs(store, quiet, good)


@needs_ray
def test_runs_of_workers_that_do_not_see_the_store_are_brought_back_whole_and_stay_locked_meanwhile(
    tmp_path, store, plug, cluster, monkeypatch
):
    """To the workers this store is a folder that is not there; a run that another process holds is left to it."""
    specs = [*seeds(3), plug("DiesOnce"), plug("Fails")]
    send, states = layerlocal.runs.ray._Driver._send, []

    def send_elsewhere(driver, task, *, shared):
        states.append((task.spec.hash, shared))
        here, driver.store = driver.store, RunStore(tmp_path / "not-there")
        send(driver, task, shared=shared)
        driver.store = here

    def listen(event):
        if event.record is not None:
            with pytest.raises(layerlocal.runs.ray.RunBusyError), store.open(by_hash[event.run]):
                pass
            locked.append(event.run)

    locked, by_hash = [], {spec.hash: spec for spec in specs}
    monkeypatch.setattr(layerlocal.runs.ray._Driver, "_send", send_elsewhere)
    outcome = run_many(specs, store, ray=cluster, threads=1, listen=listen)
    assert sorted(outcome.finished) == sorted(spec.hash for spec in specs[:4])
    assert "the moon is full" in outcome.failed[specs[4].hash]
    assert {shared for _, shared in states} == {True, False} and not (tmp_path / "not-there").exists()
    assert locked
    folders = sorted(path.name for path in store.root.iterdir())
    assert folders == sorted(spec.hash for spec in specs[:4]), "a failed run leaves no folder, nothing else is left"
    quiet = RunStore(tmp_path / "quiet")
    run_many(specs[:4], quiet, threads=1)
    assert_same_runs(store, quiet, specs[:4])
    for spec in specs[:4]:
        assert sorted(os.listdir(store.root / spec.hash)) == sorted(os.listdir(quiet.root / spec.hash))


@needs_ray
def test_a_cluster_without_room_for_one_run_is_one_sentence(store, cluster):
    with pytest.raises(InputError, match=r"1 CPU and 0\.5 GPU"):
        run_many(seeds(1), store, ray=cluster, threads=1, device="cuda", gpus=0.5)
    with pytest.raises(InputError, match="64 CPU"):
        run_many(seeds(1), store, ray=cluster, threads=64)


@needs_ray
def test_an_address_where_nobody_answers_is_one_sentence(store):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(InputError, match=rf"Ray cluster .*'{address}' .*refused") as error:
        run_many(seeds(1), store, ray=address)
    assert "\n" not in str(error.value)


@needs_ray
@pytest.mark.parametrize("address", ["nonsense", "nosuchhost.invalid:6379", "ray://nosuchhost.invalid:10001"])
def test_an_address_that_is_none_is_one_sentence(store, address):
    with pytest.raises(InputError, match=rf"Ray cluster .*'{address}'") as error:
        run_many(seeds(1), store, ray=address)
    assert "\n" not in str(error.value)


def test_without_ray_a_sentence_says_how_to_install_it(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"^Ray is not installed; .*'layerlocal\[ray\]'$"):
        run_many(seeds(1), store, ray="auto")


def test_nothing_to_do_needs_no_cluster(store):
    run_many(seeds(1), store)
    outcome = run_many(seeds(1), store, ray="nonsense")
    assert outcome.finished == [SPEC.hash] and outcome.failed == {}


def test_an_event_comes_out_of_its_text_as_it_went_in(monkeypatch):
    posted = []

    class Mail:
        put_nowait = posted.append

    record = EpochRecord(
        1, 0.1, 10.0, 1e-3, {"block0": 0.1 + 0.2}, {"norm/block0": 2.0}, Evaluation(0.5, {"b": 0.25}, 4)
    )
    events = [
        RunEvent("run", 3, 8, 1, 2, 1.5),
        RunEvent("run", 4, 8, 1, 2, 1.5, record),
        RunEvent.of_state(SPEC, "started"),
    ]
    for event in events:
        layerlocal.runs.ray._post(Mail, event)
    assert all(isinstance(text, str) and json.loads(text) for text in posted)
    assert [layerlocal.runs.ray._event_from(text) for text in posted] == events


def test_done_is_put_last_into_the_store(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(layerlocal.runs.ray, "write_atomic", lambda path, content: written.append(path.name))
    names = ["DONE", "spec.json", "checkpoint/state.safetensors", "env.json"]
    layerlocal.runs.ray._put(tmp_path, {name: b"" for name in names})
    assert written[-1] == "DONE" and sorted(written) == ["DONE", "env.json", "spec.json", "state.safetensors"]
