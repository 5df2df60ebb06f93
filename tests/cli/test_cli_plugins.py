"""A rule file may do anything at any place: every command still ends with one sentence and a code that no CI takes for success."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from layerlocal.data.task import task_of
from layerlocal.measure.contract import check_rule
from layerlocal.networks import create_network
from layerlocal.rules import create_rule, find_rule
from layerlocal.runs.many import run_many
from layerlocal.runs.preview import look_ahead
from layerlocal.runs.run import pin_plugin
from layerlocal.runs.store import RunStore
from layerlocal.runs.timing import noise
from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RuleSpec, RunSpec
from layerlocal.types import InputError, describe_error, first_line

DATA = ["--data", "teacher_student", "--set", "data.classes=3", "--set", "data.num_train=96", "--set", "data.num_test=32"]  # fmt: skip
MLP = ["--network", "mlp", "--set", "network.depth=2", "--set", "network.hidden=16", "--set", "recipe.batch_size=32"]  # fmt: skip
TRAIN = ["train", *DATA, *MLP, "--epochs", "1", "--rule"]
TUNE = ["tune", *DATA, *MLP, "--epochs", "1", "--trials", "1", "--workers", "1", "--json", "--rule"]
STUDY = ["study", "accuracy", "--data", "fashion_mnist_subset", "--seeds", "1", "--workers", "1", "--dry-run", "--rule"]
COST = [
    "cost",
    "--part",
    "methods",
    "--modes",
    "plain",
    "--network",
    "cnn4",
    "--image-size",
    "8",
    "--batch-size",
    "4",
    "--rule",
]
FILE = """
import sys
from layerlocal import RuleInfo
from layerlocal.rules import LocalHeads


class Away(BaseException):
    pass


class Deaf(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def fault():
    {fault}

{top}

class Mine(LocalHeads):
    info = RuleInfo(name="mine", locality="block")
    {body}

    def __init__(self, network, **options):
        super().__init__(network, **options)
        {init}

    def losses(self, x, y):
        {losses}
        yield from super().losses(x, y)

    def fuse(self, block_scores):
        {scores}
        return super().fuse(block_scores)
"""
FAULTS = {
    "exit": ("sys.exit(0)", "SystemExit"),
    "quit": ("raise SystemExit", "SystemExit"),
    "away": ("raise Away('gone')", "Away"),
    "closed": ("raise ExceptionGroup('many', [ValueError('one')])", "ExceptionGroup"),
    "deep": ("fault()", "RecursionError"),
    "deaf": ("raise Deaf", "Deaf"),
}
PLACES = ("top", "body", "init", "losses", "scores")


@pytest.fixture
def mine(tmp_path):
    """Write a rule whose code goes wrong at one place; its ``FILE.py:CLASS``."""

    def write(fault, place):
        parts = dict.fromkeys(PLACES, "pass") | ({place: "fault()"} if place else {})
        (tmp_path / "mine.py").write_text(FILE.format(fault=FAULTS[fault][0], **parts))
        return "mine.py:Mine"

    return write


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fault", FAULTS)
def test_train_refuses_a_rule_that_goes_wrong_anywhere(refused, mine, fault, place):
    sentence = refused(*TRAIN, mine(fault, place))
    assert FAULTS[fault][1] in sentence and "mine.py" in sentence
    assert list(Path("runs").glob("*/DONE")) == []


@pytest.mark.parametrize("place", ["top", "body"])
@pytest.mark.parametrize("words", [["check"], TUNE, STUDY, COST, ["audit", "--rule"]], ids=lambda words: words[0])
def test_a_file_that_does_not_import_is_refused_by_every_command(refused, mine, words, place):
    assert "mine.py does not import: SystemExit" in refused(*words, mine("exit", place))


@pytest.mark.parametrize("words", [TUNE, STUDY, COST], ids=lambda words: words[0])
def test_a_rule_that_cannot_be_made_is_refused_by_every_command(refused, mine, words):
    assert "SystemExit at mine.py" in refused(*words, mine("exit", "init"))


@pytest.mark.parametrize("place", ["losses", "scores"])
def test_a_dry_run_of_a_study_refuses_a_rule_that_leaves(refused, mine, place):
    assert "SystemExit at mine.py" in refused(*STUDY, mine("exit", place))


OWN = """
from layerlocal import RuleInfo
from layerlocal.rules import LocalHeads


class Mine(LocalHeads):
    info = RuleInfo(name="mine", locality="block")

    def local_loss(self, index, activity, y):
        value, metrics = super().local_loss(index, activity, y)
        return value * {factor}, metrics

    def block_scores(self, x):
        return super().block_scores(x) * {scale}
"""


@pytest.mark.parametrize("words", [STUDY, [word for word in STUDY if word != "--dry-run"]], ids=["dry run", "study"])
@pytest.mark.parametrize(("factor", "scale", "said"), [
    ("float('nan')", "1", "the loss of block0 (rule 'mine') is nan on the first training samples"),
    ("(activity.detach().mean() / 0)", "1", "the loss of block0"),
    ("1", "float('nan')", "NaN"),
])  # fmt: skip
def test_a_study_refuses_a_rule_without_finite_losses_or_scores_before_any_run(refused, words, factor, scale, said):
    Path("mine.py").write_text(OWN.format(factor=factor, scale=scale))
    assert said in refused(*words, "mine.py:Mine")
    assert not Path("runs").exists()


def test_a_rule_that_only_noise_breaks_is_not_refused_before_its_data_have_spoken(tmp_path, monkeypatch):
    """Normalized images of Fashion-MNIST go down to −0.8, noise in their place to below −2: a rule may need the former."""
    monkeypatch.chdir(tmp_path)
    body = """
    def losses(self, x, y):
        for loss in super().losses(x, y):
            yield loss._replace(value=loss.value * (float("nan") if x.min() < -1.5 else 1))
"""
    Path("mine.py").write_text(OWN.format(factor="1", scale="1") + body)
    data = DataSpec(source="fashion_mnist_subset", classes=2, num_train=64, num_test=16)
    assert noise(task_of(data), 4)[0].min() < -2
    network, recipe = NetworkSpec(name="cnn4", width=0.125), Recipe(batch_size=32)
    spec = pin_plugin(RunSpec(data=data, network=network, recipe=recipe, rule=RuleSpec(name="mine.py:Mine")))
    assert look_ahead(spec)[0] == task_of(data)


@pytest.mark.parametrize("place", ["losses", "scores"])
def test_a_search_refuses_a_rule_that_leaves_before_any_trial(refused, mine, place):
    assert "SystemExit at mine.py" in refused(*TUNE, mine("exit", place))


@pytest.mark.parametrize(("fault", "place"), [*((fault, "losses") for fault in FAULTS), ("exit", "init"), ("away", "scores")])  # fmt: skip
def test_check_fails_a_rule_that_goes_wrong_once_and_does_not_say_so_again(cli, mine, fault, place):
    code, out, _ = cli("check", mine(fault, place), "--json")
    found = json.loads(out)
    failed = [check for check in found["checks"] if not check["passed"] and check["measured"]]
    assert code == 1 and len(failed) == 1 and FAULTS[fault][1] in failed[0]["message"]
    assert sum(not check["measured"] for check in found["checks"]) >= 4


def test_many_runs_go_on_where_one_rule_leaves(mine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sound = RunSpec(
        data=DataSpec(source="teacher_student", classes=3, num_train=96, num_test=32),
        network=NetworkSpec(name="mlp", options={"depth": 2, "hidden": 16}), recipe=Recipe(epochs=1, batch_size=32),
    )  # fmt: skip
    away = pin_plugin(sound.model_copy(update={"rule": RuleSpec(name=mine("away", "losses"))}))
    outcome = run_many([away, sound], RunStore(tmp_path / "store"), threads=1)
    assert outcome.finished == [sound.hash]
    [reason] = outcome.failed.values()
    assert "Away at mine.py" in reason and "gone" in reason


def test_ctrl_c_in_a_rule_is_ctrl_c(mine, tmp_path, monkeypatch):
    """Nobody can tell the two apart, and neither is success."""
    monkeypatch.chdir(tmp_path)
    FAULTS["stop"] = ("raise KeyboardInterrupt", "")
    try:
        name = mine("stop", "losses")
    finally:
        del FAULTS["stop"]
    with pytest.raises(KeyboardInterrupt):
        check_rule(name)


def test_in_python_a_file_is_refused_by_the_same_words(mine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"SystemExit: .*exit code 0"):
        find_rule(mine("exit", "body"))
    network = create_network("mlp", in_channels=4, image_size=1, depth=2, hidden=8)
    with pytest.raises(InputError, match=r"Mine of mine\.py .*Away at mine\.py:[0-9]+: gone"):
        create_rule(mine("away", "init"), network, num_classes=3)


def test_a_representation_that_never_ends_is_nobodys_business(cli, tmp_path):
    source = FILE.format(fault="pass", **dict.fromkeys(PLACES, "pass"))
    (tmp_path / "mine.py").write_text(source + "\n    def __repr__(self):\n        return repr(self)\n")
    assert cli(*TRAIN, "mine.py:Mine", "--json")[0] == 0


def test_what_an_exception_says_is_one_short_line():
    assert first_line(ValueError("one\ntwo")) == "one" and first_line(ValueError()) == "no message"
    assert len(first_line(ValueError("x" * 10**6))) < 500
    assert re.fullmatch("raised SystemExit: .* exit code 3", describe_error(SystemExit(3)))


def test_a_rule_file_runs_as_it_is_now_and_leaves_no_bytecode_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "rule.py"
    text = "from layerlocal.rules import LocalHeads\n\nclass Mine(LocalHeads):\n    value = 1\n"
    path.write_text(text)
    time = path.stat().st_mtime_ns
    assert find_rule(f"{path}:Mine").value == 1
    path.write_text(text.replace("1", "2"))
    os.utime(path, ns=(time, time))  # a cache of bytecode knows a file by its time and size
    assert find_rule(f"{path}:Mine").value == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["rule.py"]
