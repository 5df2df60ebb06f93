"""What a newcomer ran into: each is one sentence with exit code 2 that says where and how to mend it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from PIL import Image

from layerlocal import InputError, RuleInfo
from layerlocal.rules import LocalHeads
from layerlocal.runs.many import run_many
from layerlocal.runs.store import RunStore
from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RuleSpec, RunSpec

VECTORS = ["--data", "teacher_student", "--set", "data.classes=3", "--set", "data.num_train=96", "--set", "data.num_test=32"]  # fmt: skip
MLP = ["--network", "mlp", "--set", "network.depth=2", "--set", "network.hidden=16", "--set", "recipe.batch_size=32"]  # fmt: skip
TINY = ["train", *VECTORS, *MLP, "--epochs", "1"]
PLUGIN = """
import sys
import torch
from layerlocal import RuleInfo
from layerlocal.rules import LocalHeads


class Base(LocalHeads):
    info = RuleInfo(name="mine", locality="block")


class Rows(Base):
    def local_loss(self, index, activity, y):
        return activity.square().flatten(1).sum(1), {}


class Bare(Base):
    def local_loss(self, index, activity, y):
        return super().local_loss(index, activity, y)[0]


class Nothing(Base):
    def local_loss(self, index, activity, y):
        pass


class Number(Base):
    def local_loss(self, index, activity, y):
        return 0.5, {}


class Leaves(Base):
    def local_loss(self, index, activity, y):
        sys.exit(5)
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN)
    return "mine.py"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("Rows", "a loss of shape (32,)"),
        ("Bare", "gave Tensor;"),
        ("Nothing", "gave NoneType;"),
        ("Number", "a tuple of float, dict"),
    ],
)
def test_a_local_loss_that_gives_something_else_is_named(refused, mine, name, what):
    sentence = refused(*TINY, "--rule", f"{mine}:{name}")
    assert f"local_loss of {name} gave" in sentence and what in sentence
    assert "must return (a scalar Tensor, a dict of Tensors)" in sentence


def test_a_rule_that_leaves_in_the_middle_is_one_sentence_and_ends_no_other_run(refused, mine, tmp_path):
    assert f"rule {mine}:Leaves raised SystemExit at mine.py:" in refused(*TINY, "--rule", f"{mine}:Leaves")
    spec = RunSpec(
        data=DataSpec(source="teacher_student", classes=3, num_train=96, num_test=32),
        network=NetworkSpec(name="mlp", options={"depth": 2, "hidden": 16}), recipe=Recipe(epochs=1, batch_size=32),
    )  # fmt: skip
    leaves = spec.model_copy(update={"rule": RuleSpec(name=f"{mine}:Leaves")})
    outcome = run_many([leaves, spec], RunStore(tmp_path / "store"), threads=1)
    assert outcome.finished == [spec.hash] and len(outcome.failed) == 1


def test_a_finished_run_that_lost_its_spec_says_which_folder_to_delete(cli, refused, tmp_path):
    assert cli(*TINY)[0] == 0
    [spec] = (tmp_path / "runs").glob("*/spec.json")
    spec.unlink()
    for words in (TINY, ["show", spec.parent.name]):
        sentence = refused(*words)
        assert spec.parent.name in sentence and "is damaged" in sentence and "delete that folder" in sentence


def test_a_file_in_the_place_of_a_store_is_not_taken_for_a_missing_one(refused, tmp_path):
    (tmp_path / "afile").write_text("")
    for command in ("show", "report"):
        assert "afile is a file" in refused(command, "--out", "afile")


@pytest.mark.parametrize("width", ["0", "-1", "nan"])
def test_a_width_that_is_none_is_refused_by_the_cost_audit_too(refused, width):
    assert "width: Input should be" in refused("cost", "--network", "cnn4", "--width", width, "--part", "methods")


@pytest.mark.parametrize("words", [("train",), ("audit", "--dry-run")])
def test_a_broken_link_among_the_images_is_named(refused, tmp_path, words):
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / "d" / split / name).mkdir(parents=True)
            for index in range(3):
                Image.new("RGB", (8, 8), (index, 0, 0)).save(tmp_path / "d" / split / name / f"{index}.png")
    (tmp_path / "d" / "train" / "a" / "9.png").symlink_to(tmp_path / "nowhere.png")
    assert "9.png is a broken link" in refused(*words, "--data", "d")


@pytest.mark.parametrize(("name", "lacks"), [("cost-quick", "study"), ("tune-0123abcd", "methods")])
def test_a_summary_that_lacks_its_parts_is_damaged(refused, tmp_path, cli, name, lacks):
    assert cli(*TINY)[0] == 0
    (tmp_path / "runs" / f"{name}.json").write_text("{}")
    sentence = refused("report")
    assert f"{name}.json is damaged (it has no {lacks})" in sentence


def test_too_much_of_everything_is_one_sentence(refused):
    huge = [word.replace("hidden=16", "hidden=100000000") for word in TINY]
    assert "needs more memory" in refused(*huge)
    assert "--threads 100000" in refused(*TINY, "--threads", "100000")


def test_a_study_that_could_not_begin_leaves_its_folder_to_others(cli, tmp_path):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    code, _, err = cli("study", "composition", "--seeds", "0,", "--ray", "nowhere.invalid:1", "--out", "s")
    assert code == 2 and err.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "s/experiments").exists()


def test_a_search_takes_a_rule_of_the_users_own_and_refuses_one_that_cannot_begin(cli, mine, tmp_path):
    (tmp_path / "good.py").write_text(PLUGIN.replace('name="mine"', 'name="good"'))
    settings = [
        "--set",
        "data.num_train=96",
        "--set",
        "data.num_test=32",
        *MLP,
        "--trials",
        "1",
        "--workers",
        "1",
        "--json",
    ]
    code, out, err = cli("tune", "--rule", "good.py:Base", *VECTORS[:4], "--epochs", "1", *settings)
    trials = json.loads(out)["rows"]
    assert code == 0 and [trial["method"] for trial in trials] == [
        "good.py:Base",
        "bp of good.py:Base",
        "bp-deepsup of good.py:Base",
    ], err
    assert all(trial["best"] and trial["value"] > 0 for trial in trials)
    code, out, err = cli("tune", "--rule", f"{mine}:Leaves", *VECTORS[:4], "--epochs", "1", *settings)
    assert (code, out) == (2, "") and "SystemExit at mine.py" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "--data", ""), "data needs a name or a folder, got an empty one"),
        (("claims", "--accuracies", "--claim", "P1"), "--accuracies lists every published accuracy: leave out"),
        (("claims", "--accuracies", "--alpha", "0.1"), "--accuracies lists every published accuracy: leave out"),
    ],
)
def test_words_that_would_be_passed_over_are_refused(refused, words, said):
    assert said in refused(*words)


def test_an_empty_name_is_no_store(cli):
    code, out, err = cli("audit", "--out", "")
    assert (code, out) == (2, "") and "write --out ." in err


@pytest.mark.parametrize("words", [("list", "rules"), ("list", "rules", "--json"), ("--version",)])
def test_printing_to_a_full_disk_is_one_sentence(words):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with open("/dev/full", "w") as full:
        found = subprocess.run(
            [sys.executable, "-m", "layerlocal", *words], stdout=full, stderr=subprocess.PIPE, check=False
        )
    said = found.stderr.decode()
    assert found.returncode == 2 and said.startswith("error: no space left") and said.count("\n") == 1


def test_a_reader_that_goes_away_is_no_mistake():
    words = shlex.join([sys.executable, "-m", "layerlocal", "list", "rules", "--json"])
    found = subprocess.run(
        ["bash", "-c", f"{words} | true; exit ${{PIPESTATUS[0]}}"], stderr=subprocess.PIPE, check=False
    )
    assert found.returncode in (0, 1) and found.stderr == b""


def test_a_hook_with_a_name_misspelt_is_pointed_out():
    with pytest.warns(UserWarning, match=r"Slip .*local_losses, .*local_loss meant"):

        class Slip(LocalHeads):
            def local_losses(self, index, activity, y):
                return activity.mean(), {}

    with warnings.catch_warnings():
        warnings.simplefilter("error")

        class Both(LocalHeads):
            def local_loss(self, index, activity, y):
                return self.local_losses(index, activity, y)

            def local_losses(self, index, activity, y):
                return activity.mean(), {}

        class Further(Slip):
            def local_losses(self, index, activity, y):
                return activity.sum(), {}


def test_a_locality_that_there_is_not_is_refused():
    with pytest.raises(InputError, match=r"'blocks'; known: .*Did you mean 'block'"):
        RuleInfo(name="mine", locality="blocks")


@pytest.mark.parametrize("words", [["list"], ["train", "--data", "./images"], ["report"]], ids=" ".join)
def test_a_working_folder_that_is_gone_is_one_sentence(refused, tmp_path, monkeypatch, words):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    said = refused(*words)
    assert "the folder" in said and "cd to" in said
