"""The command line: what goes to standard output, what a mistake looks like, and that a printed command makes the run it stands for."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import shlex
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import layerlocal
import layerlocal.cli
import layerlocal.runs.pin
import layerlocal.runs.run
from layerlocal import fit
from layerlocal.command import command_of
from layerlocal.runs.run import pin_plugin
from layerlocal.runs.store import RunStore
from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RuleSpec, RunSpec
from layerlocal.training.train import Training
from layerlocal.types import InputError

RULES = ["bp", "bp-deepsup", "class-goodness", "ff", "local-heads", "segmented"]
NETWORKS = ["mlp", "resnet18", "vgg8", "vgg11", "vgg16"]
DATA = [
    "fashion_mnist_subset", "teacher_student", "mnist", "fashion_mnist", "kmnist", "svhn", "cifar10", "cifar100", "stl10",
    "tiny_imagenet", "imagenet100", "pathmnist", "dermamnist", "octmnist", "pneumoniamnist", "retinamnist", "breastmnist", "bloodmnist",
    "tissuemnist", "organamnist", "organcmnist", "organsmnist",
]  # fmt: skip
COMMANDS = [
    "audit",
    "train",
    "check",
    "list",
    "show",
    "study",
    "claims",
    "report",
    "cost",
    "export",
    "certify",
    "site",
    "merge",
]
VECTORS = [
    "--data",
    "teacher_student",
    "--set",
    "data.classes=3",
    "--set",
    "data.num_train=256",
    "--set",
    "data.num_test=64",
]
MLP = ["--network", "mlp", "--set", "network.depth=2", "--set", "network.hidden=16"]
TINY = ["train", *VECTORS, *MLP, "--epochs", "2", "--set", "recipe.batch_size=32"]

PLUGIN = '''
import time
from pathlib import Path
from layerlocal import BlockLoss, RuleInfo
from layerlocal.rules import LocalHeads


class Sound(LocalHeads):
    info = RuleInfo(name="sound", locality="block")


class Leaks(LocalHeads):
    """The gradient boundary is missing."""

    info = RuleInfo(name="leaks", locality="block")

    def losses(self, x, y):
        h = self.network.prepare(x)
        for index, block in enumerate(self.network.blocks):
            h = block(h)
            yield BlockLoss(f"block{index}", self.local_loss(index, h, y)[0], {})


class LeaksQuietly(LocalHeads):
    """Every loss has a graph of its own that reaches down to the first block, so no backward fails."""

    info = RuleInfo(name="leaks-quietly", locality="block")

    def losses(self, x, y):
        for index in range(self.network.depth):
            h = self.network.prepare(x)
            for block in self.network.blocks[: index + 1]:
                h = block(h)
            yield BlockLoss(f"block{index}", self.local_loss(index, h, y)[0], {})


class Raises(LocalHeads):
    info = RuleInfo(name="raises", locality="block")

    def local_loss(self, index, activity, y):
        raise ValueError("the moon is full\\nand bright")


class NotFinite(LocalHeads):
    info = RuleInfo(name="not-finite", locality="block")

    def local_loss(self, index, activity, y):
        loss, metrics = super().local_loss(index, activity, y)
        return loss * (float("nan") if index == 1 else 1), metrics


class Waits(LocalHeads):
    """Stops in its second epoch until it may go on."""

    info = RuleInfo(name="waits", locality="block")
    calls = 0

    def inputs(self, x, y):
        self.calls += 1
        end = time.monotonic() + 60
        while self.calls > 7 and not (Path(__file__).parent / "go").exists() and time.monotonic() < end:
            time.sleep(0.01)
        return x, y


class NoRule:
    pass
'''


@pytest.fixture
def plug(tmp_path):
    (tmp_path / "plugin.py").write_text(PLUGIN)
    return lambda name: f"{tmp_path / 'plugin.py'}:{name}"


def only_json(text):
    """The object, where the text is one JSON value on one line and nothing else."""
    assert text.endswith("\n") and text.count("\n") == 1
    return json.loads(text)


def line_of(words):
    return next(number for number, line in enumerate(PLUGIN.splitlines(), 1) if words in line)


# --- train ------------------------------------------------------------------------------------------------------------


def test_train_with_json_prints_one_object_and_the_same_one_when_the_run_is_found_finished(cli, monkeypatch):
    code, out, _ = cli(*TINY, "--json")
    found = only_json(out)
    assert code == 0
    assert {"test_accuracy", "block_accuracies", "run", "store"} <= found.keys()
    assert found["store"] == "runs" and (Path("runs") / found["run"] / "DONE").exists()
    assert 0 <= found["test_accuracy"] <= 1 and list(found["block_accuracies"]) == ["block0", "block1"]
    monkeypatch.setattr(Training, "run_epoch", lambda *_: pytest.fail("trained again"))
    code, again, _ = cli(*TINY, "--json")
    assert code == 0 and only_json(again) == found


def test_train_says_on_standard_error_how_it_goes_and_on_standard_output_what_came_out(cli):
    code, out, err = cli(*TINY, "--out", "elsewhere", "--seed", "3")
    result = RunStore("elsewhere").finished()[0].result
    assert code == 0
    assert result["run"] in out and "class-goodness" in out and f"{100 * result['test_accuracy']:.2f} %" in out
    for value in result["block_accuracies"].values():
        assert f"{100 * value:.1f} %" in out
    assert "certified" in out and "chance 34.4 %" in out
    assert out.splitlines()[-1] == f"kept in elsewhere/{result['run']}" and Path("elsewhere", result["run"]).is_dir()
    table = RunStore("elsewhere").metrics(result["run"]).to_pylist()
    losses = {(row["epoch"], row["block"]): row["value"] for row in table if row["metric"] == "train_loss"}
    assert (
        "training loss in the last epoch  " + "  ".join(f"block{i} {losses[2, f'block{i}']:.4g}" for i in (0, 1)) in out
    )
    epochs = [line for line in err.splitlines() if re.match(r"epoch +\d", line)]
    assert len(epochs) == 2 and all("samples/s" in line and "block 0:" in line for line in epochs)
    for epoch, line in enumerate(epochs, 1):
        assert f"loss {(losses[epoch, 'block0'] + losses[epoch, 'block1']) / 2:.4g} " in line
    assert f"validation {result['validation_accuracy']:.1%}" in epochs[-1]


def captured(monkeypatch, cli, command):
    """The spec that a command asks for."""
    words = shlex.split(command)
    assert words.pop(0) == "layerlocal"
    found = []

    def capture(spec, *_, **__):
        found.append(spec)
        raise InputError("captured")

    monkeypatch.setattr(layerlocal.runs.run, "run_spec", capture)
    monkeypatch.setattr(
        layerlocal.runs.pin, "pin", lambda spec, **_: pin_plugin(spec)
    )  # the data of these commands are nowhere
    _, _, err = cli(*words)
    assert found, err
    return found[0]


def test_flags_and_settings_are_the_fields_they_name(monkeypatch, cli):
    command = (
        "layerlocal train --rule ff --data cifar100 --network vgg11 --width 0.25 --epochs 7 --seed 5 --set rule.theta=2.0 "
        "--set data.labels=coarse --set 'data.classes=[1, 5, \"apple\"]' --set data.teacher.hidden=8 --set network.norm=false "
        "--set recipe.clip=0.5 --set recipe.optimizer=sgd --set data.validation=0"
    )
    assert captured(monkeypatch, cli, command) == RunSpec(
        data=DataSpec(source="cifar100", labels="coarse", classes=(1, 5, "apple"), teacher={"hidden": 8}, validation=0),
        network=NetworkSpec(name="vgg11", width=0.25, fused=True, options={"norm": False}),
        rule=RuleSpec(name="ff", options={"theta": 2.0}),
        recipe=Recipe(epochs=7, clip=0.5, optimizer="sgd"),
        seed=5,
    )


CHOICES = {
    "data.source": ["fashion_mnist_subset", "teacher_student", "./a folder/with 'quotes'", "/data/ünï", "cifar100"],
    "data.labels": [None, "coarse", "4", "null", "true", "two words"],
    "data.classes": [None, 5, (0, 3, 9), ("T-shirt/top", "Bag"), ("3", 4, "null")],
    "data.image_size": [None, 16],
    "data.num_train": [None, 1000],
    "data.num_test": [None, 64],
    "data.validation": [0.0, 0.1, 0.25],
    "data.seed": [0, 17],
    "data.teacher": [None, {"hidden": 8}, {"kind": "conv", "channels": 1}],
    "network.name": ["vgg8", "mlp", "resnet18"],
    "network.width": [1.0, 0.125, 1e-3],
    "network.channels_last": [True, False],
    "network.compile": [False, True],
    "network.fused": [False, True],
    "network.options": [{}, {"depth": 4}, {"norm": False, "hidden": 32}],
    "rule.name": ["class-goodness", "bp", "bp-deepsup", "segmented"],
    "rule.options": [
        {}, {"of": "class-goodness", "temperature_max": 2.0}, {"grid": 4, "readout": "mean"}, {"x": None, "y": True, "z": -1.5e-7},
        {"x": "4", "y": "true", "z": "null"}, {"x": "", "y": "a=b", "z": '"quoted"'}, {"x": "1e5", "y": " ", "z": 3},
    ],
    "recipe.epochs": [10, 1],
    "recipe.batch_size": [64, 32],
    "recipe.micro_batches": [1, 4],
    "recipe.optimizer": ["adamw", "sgd"],
    "recipe.learning_rate": [2e-3, 0.1, 1e-5],
    "recipe.momentum": [0.9, 0.0],
    "recipe.weight_decay": [1e-2, 0.0],
    "recipe.schedule": ["cosine", "linear", "constant", "triangular"],
    "recipe.warmup": [0.1, 0.0],
    "recipe.clip": [None, 1.0, 0.5],
    "recipe.precision": ["float32", "bf16"],
    "recipe.crop": [0, 2],
    "recipe.flip": [False, True],
    "recipe.cutout": [0, 8],
    "seed": [0, 12],
    "judged_on": ["test", "validation"],
}  # fmt: skip
"""Values of every field: the default, and others whose text could be taken for something else."""


def spec_of(settings):
    content = RunSpec().model_dump()
    for key, value in settings.items():
        section, _, name = key.rpartition(".")
        (content[section] if section else content)[name] = value
    return RunSpec.parse(content)


@pytest.mark.parametrize("key", CHOICES)
def test_the_command_of_a_run_that_differs_in_one_field_makes_that_run(monkeypatch, cli, key):
    for value in CHOICES[key]:
        spec = spec_of({key: value})
        assert captured(monkeypatch, cli, command_of(spec)) == spec


def test_the_command_of_any_run_makes_that_run(monkeypatch, cli):
    chance = random.Random(0)
    for _ in range(60):
        spec = spec_of({key: chance.choice(values) for key, values in CHOICES.items()})
        assert captured(monkeypatch, cli, command_of(spec)).hash == spec.hash, command_of(spec)


@pytest.mark.parametrize("role", ["sound", "bp", "bp-deepsup"])
def test_the_command_of_a_plugin_and_of_its_twins_makes_that_run(monkeypatch, cli, plug, role):
    name = plug("Sound")
    rule = RuleSpec(name=name) if role == "sound" else RuleSpec(name=role, options={"of": name, "grid": 4})
    spec = pin_plugin(RunSpec(rule=rule))
    assert spec.rule.source_sha256
    assert captured(monkeypatch, cli, command_of(spec)).hash == spec.hash


def test_the_shell_trains_as_python_does_with_fused_blocks_and_an_old_spec_stays_what_it_was(monkeypatch, cli):
    found = captured(monkeypatch, cli, "layerlocal train")
    images = np.random.default_rng(0).integers(0, 255, (16, 16, 16), np.uint8), np.arange(16) % 2
    fitted = fit("class-goodness", images, Recipe(epochs=1, batch_size=2), network="cnn4", width=0.125)
    assert found.network.fused and any(getattr(part, "fused", False) for part in fitted.rule.network.modules())
    assert not captured(monkeypatch, cli, "layerlocal train --set network.fused=false").network.fused
    assert not RunSpec.parse({"network": {"name": "vgg8"}}).network.fused
    assert "--set network.fused=false" in command_of(RunSpec())
    assert "fused" not in command_of(RunSpec(network=NetworkSpec(fused=True)))


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "known"),
    [
        ((*TINY, "--rule", "dtgff"), ["unknown rule 'dtgff'", *RULES, "Did you mean 'dtg-ff'?"]),
        ((*TINY, "--network", "vgg88"), ["unknown network 'vgg88'", *NETWORKS, "Did you mean 'vgg8'?"]),
        (("train", "--data", "cifar1000"), ["unknown data 'cifar1000'", *DATA, "Did you mean 'cifar10"]),
        ((*TINY, "--set", "recipe.epoch=3"), ["'recipe.epoch'", "recipe.epochs", "recipe.batch_size"]),
        ((*TINY, "--set", "nonsense=3"), ["'nonsense'", "recipe.epochs", "seed"]),
        ((*TINY, "--set", "optimizer.name=3"), ["'optimizer.name'", "recipe.optimizer"]),
        ((*TINY, "--set", "rule.gird=4"), ["'gird'", "grid", "temperature_max", "fusion"]),
        ((*TINY, "--rule", "bp", "--set", "rule.gird=4"), ["'gird'", "grid", "readout"]),
        ((*TINY, "--rule", "bp", "--set", "rule.of=dtgff"), ["'dtgff'", "dtg-ff"]),
        ((*TINY, "--rule", "bp", "--set", "rule.seed=4"), ["'seed'"]),
        ((*TINY, "--rule", "bp", "--set", "rule.num_classes=4"), ["num_classes"]),
        ((*TINY, "--set", "network.dept=4"), ["'dept'", "depth", "hidden"]),
        ((*TINY, "--set", "network.seed=4"), ["seed", "depth", "hidden"]),
        ((*TINY, "--set", "data.teacher.hiden=4"), ["'hiden'", "hidden", "inputs"]),
        ((*TINY, "--device", "gpu"), ["device 'gpu'", "cpu", "cuda"]),
        ((*TINY, "--device", "meta"), ["device 'meta'", "cpu", "cuda"]),
        (("audit", "--budget", "huge"), ["unknown size 'huge'", "quick", "standard"]),
        (("audit", "--rule", "dtgff"), ["unknown rule 'dtgff'", *RULES]),
        (("audit", "--data", "cifar1000"), ["unknown data 'cifar1000'", *DATA]),
        (("audit", "--rule", "bp"), ["bp", "baseline", "stand beside every rule"]),
        (("list", "ruls"), ["'ruls'", "rules", "networks", "data"]),
        (("check", "dtgff"), ["unknown rule 'dtgff'", *RULES, "FILE.py:CLASS"]),
        (("check", "class-goodness", "--set", "rule.gird=4"), ["'gird'", "grid"]),
    ],
)  # fmt: skip
def test_a_name_that_is_not_known_is_one_sentence_that_lists_the_known_ones(refused, words, known):
    sentence = refused(*words)
    assert [name for name in known if name not in sentence] == []


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--set", "rule.grid"), "KEY=VALUE"),
        (("--set", "=4"), "KEY=VALUE"),
        (("--set", ""), "KEY=VALUE"),
        (("--epochs", "0"), "recipe.epochs"),
        (("--width", "0"), "network.width"),
        (("--width", "nan"), "network.width"),
        (("--set", "recipe.batch_size=many"), "recipe.batch_size"),
        (("--set", "recipe.batch_size=1000"), "batch_size"),
        (("--set", "recipe.optimizer=adam"), "recipe.optimizer"),
        (("--set", "recipe.learning_rate=NaN"), "recipe.learning_rate"),
        (("--set", "recipe.micro_batches=3"), "micro_batches"),
        (("--set", "rule.temperature_max=NaN"), "temperature_max"),
        (("--set", "rule.temperature_max=hot"), "temperature_max"),
        (("--set", "rule.grid=wide"), "grid"),
        (("--set", "rule.grid=0"), "grid"),
        (("--set", "rule.fusion=4"), "fusion"),
        (("--set", "rule.fusion=first"), "fusion"),
        (("--set", "rule.label_smoothing=high"), "label_smoothing"),
        (("--set", "rule.options=4"), "rule.options"),
        (("--set", "rule.grid=[4]"), "grid"),
        (("--set", "network.depth=deep"), "depth"),
        (("--set", "network.depth=0"), "depth"),
        (("--set", "network.hidden=wide"), "hidden"),
        (("--set", "data.classes=1"), "classes"),
        (("--set", "data.classes=many"), "classes"),
        (("--set", "data.num_train=2"), "num_train"),
        (("--set", "data.validation=1"), "data.validation"),
        (("--set", "data.teacher=4"), "data.teacher"),
        (("--set", "data.teacher.hidden=many"), "hidden"),
        (("--set", "data.teacher.kind=rnn"), "kind"),
        (("--set", "data.image_size=8"), "image_size"),
        (("--set", "seed=-1"), "seed"),
        (("--network", "vgg8"), "vgg8"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_one_sentence_that_names_it(refused, words, named):
    assert named in refused(*TINY, *words)


@pytest.mark.parametrize(
    "words", [("--seed", "-1"), ("--threads", "0"), ("--epochs", "some"), ("--nonsense",), ("stray",)]
)
def test_an_option_that_is_wrong_in_itself_is_refused_with_exit_code_2(cli, words):
    code, out, err = cli(*TINY, *words)
    assert (code, out) == (2, "") and words[0] in err


def test_a_command_that_is_not_known_is_refused(cli):
    code, out, err = cli("trian")
    assert (code, out) == (2, "") and "trian" in err


@pytest.mark.parametrize("command", [TINY, ["audit"], ["report"], ["show"], ["show", "abc"]])
def test_a_file_in_place_of_the_store_is_one_sentence_and_left_alone(refused, tmp_path, command):
    (tmp_path / "file").write_text("mine")
    assert "file" in refused(*command, "--out", "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_is_one_sentence(refused, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "the disk is full" in refused(*TINY)


def test_a_damaged_run_is_one_sentence_and_the_others_can_still_be_shown(cli, refused):
    runs = [only_json(cli(*TINY, "--seed", seed, "--json")[1])["run"] for seed in (0, 1)]
    (Path("runs") / runs[0] / "result.json").write_text("{}")
    for words in (("show", runs[0]), (*TINY, "--seed", "0")):
        assert f"{runs[0]} is damaged" in refused(*words)
    code, out, _ = cli("show", runs[1])
    assert code == 0 and runs[1] in out
    with warnings.catch_warnings(action="default"):
        code, out, err = cli("show")
    assert code == 0 and runs[1] in out and runs[0] not in out
    assert err.startswith("warning: ") and f"{runs[0]} is damaged" in err and len(err.splitlines()) == 1
    code, out, _ = cli("report", "--format", "md")
    assert code == 0 and f"{runs[0]} is damaged" in out
    code, _, err = cli("claims")
    assert f"{runs[0]} is damaged" in err


# --- plug-ins ---------------------------------------------------------------------------------------------------------


def test_a_sound_plugin_trains(cli, plug):
    code, out, err = cli(*TINY, "--rule", plug("Sound"), "--json")
    assert code == 0 and only_json(out)["locality"]["certified"] and "warning" not in err


def test_a_plugin_that_raises_is_one_sentence_that_says_where(cli, plug):
    code, out, err = cli(*TINY, "--rule", plug("Raises"))
    assert (code, out) == (2, "")
    [sentence] = [line for line in err.splitlines() if "error:" in line]
    assert f"ValueError at plugin.py:{line_of('the moon is full')}: the moon is full" in sentence
    assert "and bright" not in err


def test_a_twin_of_a_plugin_that_raises_is_one_sentence_that_says_where(cli, plug):
    code, out, err = cli(*TINY, "--rule", "bp", "--set", f"rule.of={plug('Raises')}")
    assert (code, out) == (2, "") and f"ValueError at plugin.py:{line_of('the moon is full')}" in err


def test_a_plugin_whose_backward_leaks_into_a_freed_graph_is_one_sentence(cli, plug):
    code, out, err = cli(*TINY, "--rule", plug("Leaks"))
    assert (code, out) == (2, "")
    [sentence] = [line for line in err.splitlines() if "error:" in line]
    assert "rule 'leaks'" in sentence and "gradient boundary (detach) is missing" in sentence


def test_a_plugin_that_leaks_quietly_is_not_certified_and_that_is_said(cli, plug):
    _, out, err = cli(*TINY, "--rule", plug("LeaksQuietly"), "--json")
    locality = only_json(out)["locality"]
    assert not locality["certified"] and locality["measured"] == "global"
    assert "the loss of block1 reaches the parameters of block0" in locality["problems"]
    assert re.search("loss of block1 .*parameters of block0", err)
    _, out, _ = cli(*TINY, "--rule", plug("LeaksQuietly"))
    assert "NOT as declared" in out


def test_a_loss_that_is_not_finite_names_block_and_step_and_leaves_no_finished_run(cli, plug):
    code, out, err = cli(*TINY, "--rule", plug("NotFinite"))
    assert (code, out) == (2, "")
    assert re.search(r"error: .*block1 \(rule 'not-finite'\) is nan", err)
    assert list(Path("runs").glob("*/DONE")) == []


BROKEN = {
    "missing.py:Rule": (None, "cannot read the rule file missing.py"),
    "syntax.py:Rule": ("def broken(:\n", "syntax.py does not import: SyntaxError"),
    "imports.py:Rule": ("import no_such_module_of_ours\n", "imports.py does not import: ModuleNotFoundError"),
    "lines.py:Rule": (
        "raise ValueError('one line\\nanother line')\n",
        "lines.py does not import: ValueError: one line",
    ),
    "exits.py:Rule": ("import sys\nsys.exit(0)\n", "exits.py does not import: SystemExit"),
    "plugin.py:NoRule": (PLUGIN, "plugin.py has no Rule class 'NoRule'; it has: "),
    "plugin.py:Sond": (PLUGIN, "Sound"),
    "plugin.py": (PLUGIN, "FILE.py:CLASS"),
    "plugin.py:": (PLUGIN, "Sound"),
    "noinfo.py:Bare": ("from layerlocal import Rule\nclass Bare(Rule):\n    pass\n", "info = RuleInfo("),
}


@pytest.mark.parametrize("command", [("check",), (*TINY, "--rule"), ("audit", "--rule")])
@pytest.mark.parametrize("name", BROKEN)
def test_a_plugin_file_that_gives_no_rule_is_one_sentence(refused, tmp_path, name, command):
    source, message = BROKEN[name]
    if source is not None:
        (tmp_path / name.partition(":")[0]).write_text(source)
    assert message in refused(*command, name)


# --- check ------------------------------------------------------------------------------------------------------------


def test_a_rule_that_keeps_the_contract_passes_with_exit_code_0(cli):
    code, out, _ = cli("check", "ff")
    *lines, last = out.splitlines()
    assert code == 0 and len(lines) >= 10 and all(line.startswith("✓") for line in lines)
    assert last == f"all {len(lines)} clauses hold; next: `layerlocal train --rule ff`"


@pytest.mark.parametrize(("name", "clause"), [("Leaks", "Losses are"), ("LeaksQuietly", "Measured reach")])
def test_a_leaking_rule_fails_with_exit_code_1_and_the_leak_is_named(cli, plug, name, clause):
    code, out, _ = cli("check", plug(name))
    *lines, last = out.splitlines()
    failed = {line: lines[i + 1] for i, line in enumerate(lines) if line.startswith("✗")}
    [reason] = [reason for line, reason in failed.items() if clause in line]
    assert code == 1 and "block1" in reason
    assert any(line.startswith("✓") for line in lines)
    assert f"{len(failed)} of 12 clauses do" in last and last.endswith(f"run `layerlocal check {plug(name)}` again")
    unseen = [lines[i + 1].strip() for i, line in enumerate(lines) if line.startswith("? ")]
    assert unseen == ["not measured: see above"] * (10 if name == "Leaks" else 0)


def test_a_rule_that_raises_fails_with_exit_code_1_and_says_where(cli, plug):
    code, out, _ = cli("check", plug("Raises"), "--json")
    found = only_json(out)
    assert code == 1 and found["passed"] is False and found["rule"] == plug("Raises")
    assert {"name", "passed", "message", "measured"} == found["checks"][0].keys()
    assert found["found"].startswith("1 of 12 clauses does not hold, ")
    where = f"raised ValueError at plugin.py:{line_of('the moon is full')}: the moon is full"
    messages = [check["message"] for check in found["checks"] if not check["passed"]]
    assert messages == [where] + ["not measured: see above"] * (len(messages) - 1)


def test_a_check_of_a_rule_with_options_checks_the_rule_with_those_options(cli):
    assert cli("check", "segmented", "--set", "rule.segment_size=1", "--json")[0] == 0
    code, out, err = cli("check", "segmented", "--set", "rule.segment_size=0", "--json")
    assert code in (1, 2) and "segment_size must be at least 1" in out + err


# --- list, show, report -----------------------------------------------------------------------------------------------


def test_list_names_every_rule_network_and_data_set(cli):
    code, out, err = cli("list")
    assert (code, err) == (0, "")
    words = set(re.split(r"\s+", out))
    assert [name for name in [*RULES, *NETWORKS, *DATA] if name not in words] == []


def test_list_with_json_prints_one_object_of_what_was_asked_for(cli):
    for section, names in (("rules", RULES), ("data", DATA)):
        code, out, _ = cli("list", section, "--json")
        found = only_json(out)
        assert code == 0 and list(found) == [section]
        assert set(names) <= {row["name"] for row in found[section]}


@pytest.fixture
def run(cli):
    return only_json(cli(*TINY, "--json")[1])


def test_show_gives_the_run_its_spec_its_environment_and_its_command(cli, run, monkeypatch):
    code, out, _ = cli("show", run["run"][:6])
    assert code == 0 and f"{100 * run['test_accuracy']:.2f} %" in out
    record = RunStore("runs").load(run["run"])
    content = json.loads(out[out.index("\n{") : out.rindex("}") + 1])
    assert RunSpec.parse(content["spec"]) == record.spec and content["env"] == record.env
    command = out.splitlines()[-1]
    assert captured(monkeypatch, cli, command).hash == run["run"]


def test_show_with_json_gives_the_result_and_what_it_is_of(cli, run):
    for key in ("store", "folder", "train_losses"):
        del run[key]
    found = only_json(cli("show", run["run"], "--json")[1])
    assert only_json(cli("show", "--json")[1]) == [found]
    assert RunSpec.parse(found.pop("spec")).hash == run["run"] and found.pop("finished")
    assert found == run


def test_show_lists_every_run_by_a_name_that_show_takes(cli, plug, run):
    other = only_json(cli(*TINY, "--rule", plug("Sound"), "--json")[1])
    code, out, _ = cli("show")
    assert code == 0
    for found in (run, other):
        assert found["run"] in out and f"{found['test_accuracy']:.1%}" in out
    assert "class-goodness" in out and "Sound" in out


def test_show_lists_rules_whose_path_looks_like_markup(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "[red]a").mkdir()
    (tmp_path / "[red]a" / "[red]plugin.py").write_text(PLUGIN)
    found = only_json(cli(*TINY, "--rule", "[red]a/[red]plugin.py:Sound", "--json")[1])
    for words, name in ((("show",), "[red]plugin.py:Sound"), (("show", found["run"]), "[red]a/[red]plugin.py:Sound")):
        code, out, _ = cli(*words)
        assert code == 0 and name in out


def test_a_run_that_is_not_there_is_one_sentence_that_says_how_to_list_them(refused, run):
    for name in ("0123456789abcdef", "../..", "", "*"):
        assert "layerlocal show" in refused("show", name)


def test_a_run_that_is_not_finished_is_one_sentence_that_says_how_to_go_on(cli, refused, run):
    (Path("runs") / run["run"] / "DONE").unlink()
    assert "not finished" in refused("show", run["run"])


@pytest.mark.parametrize("command", ["report", "show"])
def test_a_store_that_is_not_there_is_one_sentence_that_says_how_to_make_one(refused, command):
    assert "layerlocal audit" in refused(command, "--out", "nowhere")
    assert not Path("nowhere").exists()


def test_a_report_on_a_store_of_single_runs_shows_them(cli, run):
    code, out, _ = cli("report")
    assert (code, out.strip()) == (0, "runs/report.html")
    page = Path("runs/report.html").read_text()
    assert run["run"] in page


def test_a_report_on_an_empty_store_is_one_sentence_that_says_how_to_fill_it(refused):
    Path("runs").mkdir()
    sentence = refused("report")
    assert "nothing is finished in runs" in sentence and "layerlocal audit --out runs" in sentence


def test_a_report_of_an_unknown_format_lists_the_known_ones(refused, run):
    assert "md" in refused("report", "--format", "docx")


# --- interrupts -------------------------------------------------------------------------------------------------------


def start(words, folder, **environment):
    """The program as a process of its own, in a session of its own so that a Ctrl-C reaches all of it and only it."""
    return subprocess.Popen(
        [sys.executable, "-m", "layerlocal.cli", *words], cwd=folder, env=os.environ | environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def wait_until(condition, process):
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.01)


@pytest.fixture
def heeds_ctrl_c():
    """A program started in the background, as this suite may be, ignores Ctrl-C, and so would those that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_ends_a_run_with_exit_code_130_and_the_same_command_finishes_it(cli, plug, tmp_path, monkeypatch):
    words = [*TINY, "--rule", plug("Waits"), "--threads", "1"]
    process = start(words, tmp_path)
    try:
        wait_until(lambda: list(tmp_path.glob("runs/*/checkpoint/*.safetensors")), process)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    [folder] = tmp_path.glob("runs/*")
    assert "Traceback" not in err
    assert f"epoch 1 of 2 of run {folder.name} is saved" in err
    assert list(tmp_path.glob("runs/*/DONE")) == []
    (tmp_path / "go").touch()
    epochs = []
    train = Training.run_epoch
    monkeypatch.setattr(Training, "run_epoch", lambda self, *a: epochs.append(self.epoch) or train(self, *a))
    code, out, _ = cli(*words, "--json")
    assert code == 0 and only_json(out)["test_accuracy"] > 0
    assert epochs == [1]


AUDIT = """
import multiprocessing
import sys
import layerlocal.runs.many
from layerlocal.cli import main
from layerlocal.spec import Recipe
from layerlocal.experiments.audit.plan import SIZES
tiny = {"num_train": 200, "num_test": 100, "network": "mlp", "width": 1 / 16, "synthetic_train": 256, "synthetic_classes": (2,)}
SIZES["quick"] = SIZES["quick"].model_copy(update=tiny | {"recipe": Recipe(epochs=1000, batch_size=16)})
fork = multiprocessing.get_context("fork")  # workers that need not import torch again
multiprocessing.get_context = lambda _: fork
main()
"""


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_ends_an_audit_and_its_workers_with_exit_code_130_and_says_how_to_go_on(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", AUDIT, "audit", "--workers", "2", "--seeds", "1"], cwd=tmp_path, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        wait_until(lambda: list(tmp_path.glob("runs/*/checkpoint/*.safetensors")), process)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)  # ends only when every worker has closed it
    finally:
        process.kill()
    assert (process.returncode, out) == (130, ""), err
    assert "Traceback" not in err
    assert "the same command goes on" in err


def test_ctrl_c_before_anything_is_saved_is_a_sentence_too(cli, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(layerlocal.runs.run, "pin_plugin", stop)
    code, out, err = cli(*TINY)
    assert (code, out) == (130, "") and "interrupted" in err


def test_ctrl_c_in_the_first_epoch_says_that_nothing_is_saved(cli, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "step", stop)
    code, out, err = cli(*TINY)
    assert (code, out) == (130, "") and "nothing of it is saved" in err
    assert not list(Path("runs").rglob("*.safetensors")) and "goes on" not in err


# --- the program itself -----------------------------------------------------------------------------------------------


def in_a_terminal(words, folder, **environment):
    """What the program writes when a person looks at it."""
    mine, theirs = pty.openpty()
    env = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "layerlocal.cli", *words], cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs,
        env=env | {"TERM": "xterm-256color"} | environment,
    )  # fmt: skip
    os.close(theirs)
    text = b""
    while True:
        try:
            found = os.read(mine, 4096)
        except OSError:  # Linux: the other side is closed
            break
        if not found:
            break
        text += found
    os.close(mine)
    return process.wait(timeout=60), text.decode()


def test_a_terminal_gets_colour_and_no_color_takes_it_away(tmp_path):
    code, text = in_a_terminal(["show", "--out", "nowhere"], tmp_path)
    assert code == 2 and "\x1b[31m" in text
    code, text = in_a_terminal(["show", "--out", "nowhere"], tmp_path, NO_COLOR="1")
    assert code == 2 and "no run store at nowhere" in text
    assert not re.search(r"\x1b\[[0-9;]*(3[0-9]|4[0-9]|9[0-7])", text)


def test_version_prints_the_version_and_nothing_else(cli):
    assert cli("--version") == (0, f"{layerlocal.__version__}\n", "")


def test_no_command_shows_every_command(cli):
    code, out, err = cli()
    assert code in (0, 2) and all(command in out + err for command in COMMANDS)


SAYS = {
    "audit": [
        "--rule",
        "--data",
        "--seeds",
        "--budget",
        "--dry-run",
        "--out",
        "--json",
        "summary.json",
        "report.html",
        "twins",
    ],
    "train": ["--rule", "--data", "--network", "--epochs", "--set", "--out", "--device", "--json", "continues"],
    "check": ["FILE.py:CLASS", "--set", "--json", "contract", "locality"],
    "list": ["--json", "rules", "networks", "data"],
    "report": ["--out", "--format", "--claims", "report.html", "trains nothing"],
    "study": [
        "name",
        "--size",
        "--rules",
        "--seeds",
        "--data",
        "--workers",
        "--ray",
        "--device",
        "--dry-run",
        "--out",
        "--json",
        "quick",
        "never run again",
    ],
    "claims": ["--rule", "--claim", "--file", "--alpha", "--accuracies", "--out", "--json", "supported", "not run"],
    "show": [
        "--out",
        "--json",
        "hash",
        "finished",
        "--rule",
        "--data",
        "--network",
        "--seed",
        "--since",
        "--sort",
        "--limit",
    ],
    "cost": [
        "--size",
        "--rules",
        "--modes",
        "--part",
        "--memory",
        "--device",
        "--out",
        "--json",
        "backprop",
        "never made again",
    ],
    "certify": ["FILE.py:FUNCTION", "--svg", "--picture", "--json", "(step, groups)", "back bit by bit"],
    "site": ["STORE...", "--to", "index.html", "no server"],
    "merge": ["STORE...", "--out", "--json", "Nothing of it is executed"],
    "export": ["--onnx", "--torch", "--force", "--out", "--json", "hash", "checked"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_command_does_and_what_it_takes(cli, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = cli(command, "--help")
    assert code == 0
    assert [words for words in SAYS[command] if words not in out] == []
    assert command in cli("--help")[1]
