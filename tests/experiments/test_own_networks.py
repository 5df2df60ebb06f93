"""A network of the user's own in experiments: as its function makes it, with what the experiment varies, under the hash of its file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import layerlocal
from layerlocal.experiments.api import Summary
from layerlocal.experiments.audit.plan import AuditPlan, accuracy_specs
from layerlocal.experiments.cost.plan import make_plan
from layerlocal.experiments.settings import set_on
from layerlocal.experiments.stored import read_plan, study_place
from layerlocal.experiments.studies import STUDIES
from layerlocal.experiments.studies.base import StudyPlan, plan_runs
from layerlocal.experiments.studies.running import run_study
from layerlocal.runs.store import RunStore, write_atomic
from layerlocal.spec import DataSpec, NetworkSpec, RunSpec
from layerlocal.types import InputError

EXAMPLE = Path(__file__).parents[2] / "examples/my_network.py"
NAME = f"{EXAMPLE}:small_cnn"
SHA = "a" * 64
FILE = """
from torch import nn
from layerlocal import Network


def fixed(in_channels, image_size):
    return Network([nn.Sequential(nn.Conv2d(in_channels, 4, 3, padding=1), nn.ReLU())], sample_shape=(in_channels, image_size, image_size))
"""


def run(source="fashion_mnist_subset", **network):
    return RunSpec(data=DataSpec(source=source, classes=3), network=NetworkSpec(**network))


def test_it_is_taken_at_width_1_and_with_those_options_alone_that_the_experiment_varies():
    runs = {depth: run(name="cnn4", width=0.5, fused=True, options={"depth": depth, "norm": False}) for depth in (4, 8)}
    found = set_on(runs, {"network.name": NAME}, {}, {NAME: SHA})
    assert {depth: spec.network for depth, spec in found.items()} == {
        depth: NetworkSpec(name=NAME, fused=True, options={"depth": depth}, source_sha256=SHA) for depth in (4, 8)
    }
    chosen = {"network.name": NAME, "network.width": 2.0, "network.channels": 8}
    [spec] = set_on({4: runs[4]}, chosen, {}, {NAME: SHA}).values()
    assert spec.network == NetworkSpec(
        name=NAME, width=2.0, fused=True, options={"channels": 8}, source_sha256=SHA
    )  # fmt: skip
    [ours] = set_on({4: runs[4]}, {"network.name": "vgg8"}, {}, {}).values()
    assert ours.network == NetworkSpec(name="vgg8", width=0.5, fused=True, options={"depth": 4, "norm": False})


def test_drawn_vectors_beside_images_keep_their_network():
    runs = {0: run(name="cnn4"), 1: run("teacher_student", name="mlp", options={"depth": 2})}
    found = set_on(runs, {"network.name": NAME}, {}, {NAME: SHA})
    assert found[0].network.name == NAME and found[1] == runs[1]


def test_every_run_of_a_stored_plan_has_the_hash_that_the_plan_has_and_no_file_is_read():
    plan = StudyPlan(
        study="accuracy",
        data=("fashion_mnist_subset",),
        settings={"network.name": "gone.py:net"},
        sources={"gone.py:net": SHA},
    )
    networks = [spec.network for spec in plan_runs(STUDIES["accuracy"], plan).values()]
    assert {(network.name, network.width, network.source_sha256) for network in networks} == {("gone.py:net", 1.0, SHA)}


SMALL = {"recipe.steps": 3, "recipe.batch_size": 8, "data.num_train": 64, "data.num_test": 32, "network.channels": 4}


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """A tiny study on the example: the store and what it found."""
    out = tmp_path_factory.mktemp("studied") / "runs"
    with pytest.warns(UserWarning, match="left out"):
        found = layerlocal.study("accuracy", network=NAME, seeds=2, settings=SMALL, workers=1, out=out)
    return out, found


def test_a_study_trains_rule_and_twins_on_it_and_keeps_the_hash_of_its_file(studied):
    out, found = studied
    assert isinstance(found, Summary)
    records = list(RunStore(out).finished())
    assert len(records) == 10 and {record.spec.rule.name for record in records} == {
        "class-goodness",
        "bp",
        "bp-deepsup",
    }
    sha = hashlib.sha256(EXAMPLE.read_bytes()).hexdigest()
    assert {(r.spec.network.name, r.spec.network.width, r.spec.network.source_sha256) for r in records} == {
        (NAME, 1.0, sha)
    }
    assert all(record.result["locality"]["certified"] for record in records)
    assert read_plan(out, "accuracy", "quick").sources == {NAME: sha}


def test_going_on_with_a_received_study_runs_no_network_that_nobody_named(tmp_path):
    marker = tmp_path / "ran"
    (tmp_path / "net.py").write_text(f"open({str(marker)!r}, 'w').close()\n" + FILE)
    name = f"{tmp_path}/net.py:fixed"
    plan = StudyPlan(study="composition", settings={"network.name": name}, sources={name: SHA})
    write_atomic(study_place(tmp_path / "store", "composition", "quick").plan.path, plan.model_dump_json().encode())
    with pytest.raises(InputError, match="other settings"):
        run_study(tmp_path / "store", "composition", workers=1)
    assert not marker.exists()


def test_a_study_of_depth_needs_a_function_with_that_option(tmp_path):
    (tmp_path / "net.py").write_text(FILE)
    asked = {"data": ["fashion_mnist_subset"], "workers": 1}
    with pytest.raises(InputError, match=r"unknown option of network '.*net\.py:fixed': 'depth'"):
        run_study(tmp_path / "runs", "depth", settings={"network.name": f"{tmp_path}/net.py:fixed"}, **asked)


def test_a_cost_audit_takes_it_as_it_is_and_leaves_out_an_axis_that_it_does_not_have(tmp_path):
    (tmp_path / "net.py").write_text(FILE)
    name = f"{tmp_path}/net.py:fixed"
    plan = make_plan(
        parts=["methods", "scaling"],
        rules=["class-goodness"],
        modes=["plain"],
        settings={"network.name": name, "image_size": 8},
    )
    [group] = plan.groups
    sha = hashlib.sha256(FILE.encode()).hexdigest()
    assert {(case.network.name, case.network.width, case.network.source_sha256) for case in group.cases} == {
        (name, 1.0, sha)
    }
    assert [axis.name for axis in plan.axes] == ["depth", "batch_size", "image_size", "num_classes"]
    assert {axis.base.network.width for axis in plan.axes if axis.name != "depth"} == {1.0}
    example = make_plan(parts=["scaling"], settings={"network.name": NAME})
    assert "width" in [axis.name for axis in example.axes]


def test_an_audit_says_which_network_its_runs_have():
    plan = AuditPlan(settings={"network.name": "net.py:net"}, sources={"net.py:net": SHA})
    assert all(spec.network == plan.trained() for spec in accuracy_specs(plan).values())
    assert plan.trained() == plan.trained("ff") == NetworkSpec(name="net.py:net", source_sha256=SHA)
    assert AuditPlan(settings={"network.width": 0.25}).trained() == NetworkSpec(name="cnn4", width=0.25)
