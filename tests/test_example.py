"""The example plug-in: as short as it is said to be, sound, trainable, and with exact twins."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path

import pytest
import torch
from typer.main import get_command

import layerlocal
from layerlocal import (
    DataSpec,
    NetworkSpec,
    Recipe,
    RuleSpec,
    RunSpec,
    RunStore,
    create_network,
    create_rule,
)
from layerlocal.cli import app
from layerlocal.runs.run import pin_plugin, run_spec
from layerlocal.training.train import losses_of

ROOT = Path(__file__).parents[1]
FILE = ROOT / "examples" / "my_rule.py"
NAME = f"{FILE}:LogisticMargin"


def make(rule, **options):
    network = create_network("cnn4", in_channels=3, image_size=8, width=0.125, seed=0)
    return create_rule(rule, network, num_classes=3, seed=0, **options)


def test_a_whole_plugin_has_fewer_than_40_lines():
    assert len(FILE.read_text().splitlines()) < 40


def test_the_example_uses_public_names_only():
    lines = [
        line for line in FILE.read_text().splitlines() if line.startswith(("from layerlocal", "import layerlocal"))
    ]
    assert lines and all(line.startswith("from layerlocal import ") for line in lines)
    names = {name.strip() for line in lines for name in line.removeprefix("from layerlocal import ").split(",")}
    assert names <= set(layerlocal.__all__)


def test_the_loss_of_a_block_is_the_sum_of_logistic_losses_of_its_margins():
    """With scores s and margin 1: log(1 + e^(1 - s_y)) + Σ over other classes of log(1 + e^(1 + s_k)), by hand."""
    rule = make(NAME).eval()
    scores = torch.tensor([[2.0, -1.0, 0.5]])
    rule.block_score = lambda index, activity: scores
    loss, _ = rule.local_loss(0, torch.zeros(1), torch.tensor([0]))
    expected = sum(torch.log1p(torch.tensor(value).exp()) for value in (1 - 2.0, 1 + -1.0, 1 + 0.5))
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)


def test_the_example_trains_and_is_stored_with_its_source_and_its_certificate(tmp_path):
    data = DataSpec(num_train=200, num_test=100)
    network = NetworkSpec(name="cnn4", width=0.125)
    spec = RunSpec(data=data, network=network, rule=RuleSpec(name=NAME), recipe=Recipe(epochs=2, batch_size=20))
    record = run_spec(pin_plugin(spec), RunStore(tmp_path))
    assert record.spec.rule.source_sha256 == hashlib.sha256(FILE.read_bytes()).hexdigest()
    assert record.result["locality"]["certified"] and record.result["locality"]["measured"] == "block"
    assert record.result["test_accuracy"] > 2 * record.result["chance"]


def test_the_twins_of_the_example_start_from_its_weights_and_share_its_losses():
    x, y = torch.randn(6, 3, 8, 8), torch.arange(6) % 3
    local, bp, deepsup = make(NAME), make("bp", of=NAME), make("bp-deepsup", of=NAME)
    state, twin = local.state_dict(), deepsup.state_dict()
    assert state.keys() == twin.keys() and all(torch.equal(state[name], twin[name]) for name in state)
    values = {}
    for name, rule in (("local", local), ("bp", bp), ("bp-deepsup", deepsup)):
        values[name] = [loss.value.item() for loss in losses_of(rule.train(), x, y)]
    depth = local.network.depth
    assert [len(values[name]) for name in ("local", "bp", "bp-deepsup")] == [depth, 1, 1]
    assert values["bp"][0] == pytest.approx(values["local"][-1], rel=1e-5)
    assert values["bp-deepsup"][0] == pytest.approx(sum(values["local"]), rel=1e-5)


def test_a_bp_twin_of_the_example_trains(tmp_path):
    data = DataSpec(source="teacher_student", classes=3, num_train=256, num_test=64)
    network = NetworkSpec(name="mlp", options={"depth": 2, "hidden": 16})
    rule = RuleSpec(name="bp", options={"of": NAME, "margin": 2.0})
    record = run_spec(RunSpec(data=data, network=network, rule=rule, recipe=Recipe(epochs=1)), RunStore(tmp_path))
    assert list(record.result["block_accuracies"]) == ["block1"]
    assert record.result["locality"]["measured"] == "global"


@pytest.mark.parametrize("name", ["my_rule", "my_network"])
def test_the_commands_in_an_example_are_commands(name):
    file = ROOT / f"examples/{name}.py"
    lines = [line.partition("#")[0] for line in file.read_text().splitlines() if line.startswith("layerlocal ")]
    assert {"check", "train"} < {shlex.split(line)[1] for line in lines}
    for line in lines:
        _, command, *words = shlex.split(line)
        get_command(app).commands[command].make_context(command, list(words))
        assert any(word.startswith(f"examples/{name}.py:") for word in words)
