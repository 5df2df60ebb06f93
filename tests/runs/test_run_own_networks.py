"""Runs on networks of ``FILE.py:FUNCTION``: bit-equal to the same network of ours, another run once the file is edited."""

from __future__ import annotations

import hashlib

import pytest
import torch

from layerlocal.runs.export import export_run, load_trained
from layerlocal.runs.many import run_many
from layerlocal.runs.pin import pin_plugin, pin_unpinned, sources_of
from layerlocal.runs.preview import look_ahead
from layerlocal.runs.run import run_spec
from layerlocal.runs.store import RunFolder, RunStore
from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RuleSpec, RunSpec
from layerlocal.types import InputError

FILE = """
from torch import nn
from layerlocal import Network, create_network


class Shy(nn.Linear):
    def forward(self, x):
        if x.abs().max() > {most}:
            raise ValueError("too loud")
        return super().forward(x)


def ours(in_channels, image_size, seed, width=1.0, depth=2):
    return create_network(
        "mlp", in_channels=in_channels, image_size=image_size, seed=seed, width=width, depth=depth, hidden=16
    )


def shy(in_channels, image_size):
    return Network([nn.Sequential(Shy(in_channels, 8), nn.ReLU()), nn.Linear(8, 8)], sample_shape=(in_channels,))
"""
DATA = DataSpec(source="teacher_student", classes=3, num_train=128, num_test=64)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(FILE.format(most="1e9"))
    return path


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs")


def spec_of(file, function="ours", rule="class-goodness", **changes):
    network = NetworkSpec(name=f"{file}:{function}", **changes)
    return RunSpec(data=DATA, network=network, rule=RuleSpec(name=rule), recipe=Recipe(epochs=2, batch_size=32), seed=3)


def tensors(store, spec):
    return RunFolder(store.root / spec.hash, spec).load_checkpoint()[0]


MEASURED = ("test_accuracy", "validation_accuracy", "block_accuracies", "last_losses", "confusion", "flops_per_step")


@pytest.mark.parametrize("rule", ["class-goodness", "bp"])
def test_a_function_that_makes_a_network_of_ours_runs_as_that_network_does_to_the_last_bit(file, store, rule):
    own = run_spec(spec_of(file, rule=rule, width=0.5, options={"depth": 3}), store)
    ours = NetworkSpec(name="mlp", width=0.5, options={"depth": 3, "hidden": 16})
    ours = run_spec(own.spec.model_copy(update={"network": ours}), store)
    assert own.hash != ours.hash
    one, two = tensors(store, own.spec), tensors(store, ours.spec)
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    shared = [key for key in MEASURED if key in ours.result]
    assert len(shared) >= 3 and {key: own.result[key] for key in shared} == {key: ours.result[key] for key in shared}
    assert own.result["locality"]["certified"]


def test_an_edited_file_is_another_run(file):
    first = pin_plugin(spec_of(file))
    assert first.network.source_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert first.hash != spec_of(file).hash and pin_plugin(first) == first
    file.write_text(file.read_text() + "# edited\n")
    assert pin_plugin(first).hash != first.hash and pin_unpinned(first) == first
    assert pin_plugin(spec_of(file, rule="bp").with_settings({"network.name": "mlp"})).network.source_sha256 is None
    assert first.with_settings({"network.name": "mlp"}).network.source_sha256 is None


def test_a_plan_keeps_the_sums_of_rules_and_of_the_network(file):
    sha = hashlib.sha256(file.read_bytes()).hexdigest()
    assert sources_of([f"{file}:Rule", "class-goodness"], {"network.name": f"{file}:ours", "network.width": 1}) == {
        f"{file}:Rule": sha, f"{file}:ours": sha,
    }  # fmt: skip
    assert sources_of(["ff"], {"network.name": "mlp"}) == sources_of([], {}) == {}
    with pytest.raises(InputError, match=r"cannot read the network file away\.py"):
        sources_of([], {"network.name": "away.py:net"})


def test_a_file_that_changed_since_the_plan_is_refused(file, store):
    pinned = pin_plugin(spec_of(file))
    file.write_text(file.read_text() + "# edited\n")
    with pytest.raises(InputError, match=r"net\.py:ours has changed .*planned"):
        run_spec(pinned, store)
    [reason] = run_many([pinned], store).failed.values()
    assert "has changed since this run" in reason
    assert not store.is_done(pinned)


def test_an_interrupted_run_goes_on_to_the_same_bits(file, store, tmp_path):
    whole = run_spec(spec_of(file), RunStore(tmp_path / "whole"))

    def stop(event):
        if event.record is not None and event.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_spec(spec_of(file), store, listen=stop)
    record = run_spec(spec_of(file), store)
    assert record.hash == whole.hash
    one, two = tensors(store, record.spec), tensors(RunStore(tmp_path / "whole"), whole.spec)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_workers_build_it_too(file, store, forks):
    specs = [spec_of(file).with_settings({"seed": seed}) for seed in (0, 1)] + [spec_of(file, "nothing")]
    outcome = run_many(specs, store, workers=2, threads=1)
    assert len(outcome.finished) == 2
    [reason] = outcome.failed.values()
    assert "net.py has no function 'nothing'" in reason


@pytest.mark.parametrize("step", [run_spec, lambda spec, store: look_ahead(pin_plugin(spec))], ids=["run", "plan"])
def test_a_network_that_fails_as_it_runs_is_blamed_by_its_name(file, store, step):
    file.write_text(FILE.format(most="1.2"))
    with pytest.raises(InputError, match=r"network .*net\.py:shy"):
        step(spec_of(file, "shy"), store)
    assert not list(store.root.glob("*/DONE"))


def test_its_code_is_run_for_nobody_who_did_not_ask(file, store, tmp_path):
    record = run_spec(spec_of(file), store)
    with pytest.raises(InputError, match=rf"{record.hash} .*file {file}"):
        load_trained(store, record.hash)
    export_run(store, record.hash, {"torch": tmp_path / "net.pt2"}, trust_rule_files=True)
    program = torch.export.load(tmp_path / "net.pt2").module()
    assert program(torch.zeros(2, 64)).shape == (2, 3)
    file.write_text(file.read_text() + "# edited\n")
    with pytest.raises(InputError, match=r"net\.py:ours has changed .*run"):
        load_trained(store, record.hash, trust_rule_files=True)
