"""``--network FILE.py:FUNCTION`` means the same in every command; a file that makes no network is one sentence in all of them."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch

from layerlocal import RunStore
from layerlocal.runs.export import load_trained

EXAMPLE = f"{Path(__file__).parents[2]}/examples/my_network.py:small_cnn"
FILE = """
from torch import nn
from layerlocal import Network


def raises(in_channels, image_size):
    raise ValueError("of moonlight")


def unchained(in_channels, image_size):
    blocks = [nn.Conv2d(in_channels, 4, 3), nn.Conv2d(5, 4, 3)]
    return Network(blocks, sample_shape=(in_channels, image_size, image_size))


def module(in_channels, image_size):
    return nn.Conv2d(in_channels, 4, 3)
"""
COMMANDS = {
    "train": ["train", "--epochs", "1", "--set", "data.num_train=64"],
    "check": ["check", "class-goodness"],
    "study": ["study", "accuracy", "--data", "fashion_mnist_subset", "--seeds", "1", "--workers", "1"],
    "audit": ["audit", "--seeds", "1", "--workers", "1"],
    "tune": ["tune", "--trials", "1", "--workers", "1"],
    "cost": ["cost", "--part", "methods"],
}
WRONG = {
    "away.py:net": "cannot read the network file away.py: No such file or directory",
    "net.py:nothing": "net.py has no function 'nothing'; it has: raises, unchained, module",
    "net.py:raises": "network 'net.py:raises' cannot be made: it raised ValueError at net.py:7: of moonlight",
    "net.py:unchained": "network 'net.py:unchained' cannot be made: block1 cannot take an input of shape (4, ",
    "net.py:module": "network 'net.py:module' cannot be made: its function returns Conv2d; return a Network, or a module",
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("command", COMMANDS)
def test_what_makes_no_network_is_one_sentence_in_every_command(refused, command, name):
    Path("net.py").write_text(FILE)
    assert refused(*COMMANDS[command], "--network", name).startswith(WRONG[name])
    assert not list(Path().glob("runs/*/DONE"))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_says_that_a_file_may_be_named(cli, command):
    code, out, _ = cli(command, "--help")
    assert code == 0 and "FILE.py:FUNCTION" in out.replace("\n", " ").replace("│", " ")


@pytest.mark.parametrize("command", ["study", "audit", "tune"])
def test_every_dry_run_takes_one(cli, command):
    code, out, err = cli(*COMMANDS[command], "--network", EXAMPLE, "--dry-run", "--json")
    assert code == 0, err
    assert json.loads(out)["planned"] > 0


def test_a_run_on_it_is_shown_repeated_and_exported_by_who_trusts_its_file(cli, refused):
    source = Path(EXAMPLE.rpartition(":")[0]).read_text()
    Path("net.py").write_text(source)
    words = [
        "train",
        "--network",
        "net.py:small_cnn",
        "--set",
        "network.channels=8",
        "--set",
        "network.depth=2",
        "--epochs",
        "1",
    ]
    words += ["--set", "data.num_train=96", "--set", "data.num_test=32"]
    code, out, err = cli(*words, "--json")
    assert code == 0, err
    run = json.loads(out)["run"]
    assert json.loads(cli(*words, "--json")[1])["run"] == run
    command = cli("show", run)[1].splitlines()[-1]
    assert "--network net.py:small_cnn" in command and "--set network.depth=2" in command and "sha256" not in command
    assert run in cli("show", "--network", "net.py:small_cnn")[1]
    assert f"{run} is the file net.py" in refused("export", run, "--torch", "net.pt2")
    assert cli("export", run, "--torch", "net.pt2", "--trust-rule-files")[0] == 0
    Path("net.py").write_text(source + "# another one now\n")
    sentence = refused("export", run, "--torch", "other.pt2", "--trust-rule-files")
    assert f"net.py:small_cnn has changed since run {run}" in sentence
    assert json.loads(cli(*words, "--json")[1])["run"] != run


def test_a_width_is_refused_where_the_function_has_none(refused):
    Path("net.py").write_text(FILE)
    sentence = refused(*COMMANDS["train"], "--network", "net.py:module", "--width", "0.5")
    assert "'net.py:module' has no width" in sentence and "0.5" in sentence


def test_a_rule_is_checked_on_it(cli):
    code, out, _ = cli("check", "class-goodness", "--network", EXAMPLE, "--set", "network.channels=9", "--json")
    found = json.loads(out)
    assert code == 0 and found["network"] == EXAMPLE and len(found["checks"]) == 12
    assert found["found"].endswith(f"`layerlocal train --rule class-goodness --network {EXAMPLE}`")


def test_a_rule_that_does_not_fit_it_is_told_so_by_check(cli):
    code, out, _ = cli("check", "cwcomp", "--network", EXAMPLE, "--json")
    broken = [check for check in json.loads(out)["checks"] if not check["passed"] and check["measured"]]
    assert code == 1 and re.search("block0 .*32 channels, .*3 classes", broken[0]["message"])


# --- a classifier as other libraries write it, and what goes on from its weights --------------------------------------

CLASSIFIER = """
import torch
from layouts import ResNet
from torch import nn


def resnet(in_channels, image_size):
    model = ResNet(num_classes=1000)
    model.conv1 = nn.Conv2d(in_channels, 8, 7, 2, 3, bias=False)
    return model, [["conv1", "bn1", "relu", "maxpool"], "layer1", ["layer2", "avgpool", torch.flatten]]
"""
TINY = [
    "--set",
    "data.num_train=96",
    "--set",
    "data.num_test=32",
    "--set",
    "recipe.steps=2",
    "--set",
    "recipe.batch_size=16",
]
ONCE = ["--repeats", "1", "--rounds", "1"]
EXPERIMENTS = {
    "study": ["study", "accuracy", "--data", "fashion_mnist_subset", "--seeds", "2", "--no-controls", "--workers", "1", *TINY],
    "tune": ["tune", "--trials", "1", "--workers", "1", *TINY],
    "cost": ["cost", "--part", "methods", "--rules", "class-goodness", "--image-size", "28", "--set", "in_channels=1", *ONCE],
}  # fmt: skip


@pytest.fixture
def classifier(tmp_path):
    (tmp_path / "net.py").write_text(CLASSIFIER)
    return "net.py:resnet"


def train(cli, *words):
    code, out, err = cli("train", *words, *TINY, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("command", EXPERIMENTS)
def test_every_experiment_takes_a_classifier_with_the_names_of_its_blocks(cli, classifier, command):
    code, out, err = cli(*EXPERIMENTS[command], "--network", classifier, "--json")
    assert code == 0, err
    assert json.loads(out)["missing"] == []
    assert cli("report")[0] == 0 and "net.py:resnet" in Path("runs/report.html").read_text()


def test_a_classifier_is_trained_checked_shown_and_exported(cli, classifier):
    found = train(cli, "--network", classifier)
    assert found["locality"]["certified"] and list(found["train_losses"]) == ["block0", "block1", "block2"]
    assert cli("export", found["run"], "--torch", "net.pt2", "--trust-rule-files")[0] == 0
    assert f"--network {classifier}" in cli("show", found["run"])[1]
    assert cli("check", "class-goodness", "--network", classifier)[0] == 0


def test_a_run_goes_on_from_another_and_its_command_makes_it_again(cli, classifier):
    """From a run's folder and from an exported file alike: the weights are the same, so the run's numbers are, and its name is another."""
    first = train(cli, "--network", classifier)
    assert cli("export", first["run"], "--torch", "net.pt2", "--trust-rule-files")[0] == 0
    blocks = ["--blocks", "frozen, local, joint"]
    second = train(cli, "--network", classifier, "--start", f"runs/{first['run']}", *blocks)
    assert list(second["train_losses"]) == ["block1", "block2"] and second["locality"]["certified"]
    third = train(cli, "--network", classifier, "--start", "net.pt2", *blocks)
    assert third["run"] != second["run"] and third["train_losses"] == second["train_losses"]
    command = cli("show", second["run"])[1].splitlines()[-1]
    assert (
        "--rule segmented" in command and "network.start=runs/" in command and "--set 'network.frozen=[0]'" in command
    )
    code, out, err = cli(*shlex.split(command)[1:], "--json")
    assert code == 0, err
    assert json.loads(out)["run"] == second["run"]


@pytest.mark.filterwarnings("ignore")
def test_rule_and_twins_of_a_study_start_alike(cli, classifier):
    first = train(cli, "--network", classifier)
    start = ["--set", f"network.start=runs/{first['run']}", "--set", "network.frozen=[0]"]
    code, _, err = cli(*EXPERIMENTS["study"], "--network", classifier, *start, "--out", "studied", "--json")
    assert code == 0, err
    records = RunStore("studied").finished()
    assert len({record.spec.network.start_sha256 for record in records}) == 1 and len(records) == 6
    assert {record.spec.rule.name for record in records} == {"class-goodness", "bp", "bp-deepsup"}

    def first_block(store, run):
        return load_trained(RunStore(store), run, trust_rule_files=True)[2].network.blocks[0].state_dict()

    expected = first_block("runs", first["run"])
    for record in records:
        found = first_block("studied", record.hash)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
