"""``--network FILE.py:FUNCTION`` means the same in every command; a file that makes no network is one sentence in all of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

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
