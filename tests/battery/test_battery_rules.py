"""Bad rule files: one sentence that names the file, exit code 2, and no run in the store."""

from __future__ import annotations

import pytest

HEAD = """
import sys
import torch
from layerlocal import BlockLoss, InputError, Rule, RuleInfo
from layerlocal.rules import LocalHeads

INFO = RuleInfo(name="mine", locality="block")
"""

WHOLE = {
    "empty": ("", "Mine"),
    "a slip": ("class Mine(:", "SyntaxError"),
    "deep": ("x = " + "(" * 5000, "mine.py"),
    "spaces": ("class A:\n  x = 1\n y = 2", "IndentationError"),
    "an import that fails": ("import nowhere_at_all", "nowhere_at_all"),
    "an import that is a relative one": ("from . import other", "ImportError"),
    "an import that raises": ("raise ValueError('out of\\norder')", "ValueError"),
    "an import that leaves": ("import sys; sys.exit(0)", "SystemExit"),
    "an import that leaves with a text": ("import sys; sys.exit('bye')", "bye"),
    "an import that recurses": ("def f(): f()\nf()", "RecursionError"),
    "an import that is out of memory": ("raise MemoryError", "MemoryError"),
    "an import that stops": ("raise StopIteration", "StopIteration"),
    "a loop of imports": ("import mine", "mine"),
    "no rule": ("class Mine: pass", "Mine"),
    "a function": ("def Mine(*args): pass", "Mine"),
    "a value": ("Mine = 3", "Mine"),
    "a module": ("import sys as Mine", "Mine"),
    "an instance": (f"{HEAD}\nMine = LocalHeads.__new__(LocalHeads)", "Mine"),
    "a rule that declares nothing": (f"{HEAD}\nclass Mine(Rule): pass", "info"),
    "a declaration of text": (f"{HEAD}\nclass Mine(LocalHeads): info = 'mine'", "info"),
    "a declaration of a wrong word": (
        f"{HEAD}\nclass Mine(LocalHeads): info = RuleInfo(name='mine', locality='blocks')",
        "blocks",
    ),
    "a declaration without a name": (f"{HEAD}\nclass Mine(LocalHeads): info = RuleInfo(locality='block')", "name"),
    "a declaration of an unknown word": (
        f"{HEAD}\nclass Mine(LocalHeads): info = RuleInfo(name='a', locality='block', fast=1)",
        "fast",
    ),
    "no losses": (f"{HEAD}\nclass Mine(Rule): info = INFO", "losses"),
}

INSIDE = {
    "a rule that takes nothing": ("def __init__(self): pass", "Mine"),
    "a rule that forgets its parent": ("def __init__(self, network, *, num_classes, seed=None): pass", "mine.py"),
    "a rule that raises when it is made": ("def __init__(self, *a, **k): raise KeyError('no\\nsuch')", "KeyError"),
    "a rule that leaves when it is made": ("def __init__(self, *a, **k): sys.exit(0)", "SystemExit"),
    "a loss that raises": ("def local_loss(self, index, activity, y): raise RuntimeError('out of\\norder')", "RuntimeError"),
    "a loss that leaves": ("def local_loss(self, index, activity, y): sys.exit(0)", "SystemExit"),
    "a loss that recurses": ("def local_loss(self, index, activity, y): return self.local_loss(index, activity, y)", "RecursionError"),
    "a loss that divides by zero": ("def local_loss(self, index, activity, y): return 1 / 0, {}", "ZeroDivisionError"),
    "a loss that takes less": ("def local_loss(self, index): pass", "local_loss"),
    "a loss of nothing": ("def local_loss(self, index, activity, y): pass", "local_loss"),
    "a loss of a number": ("def local_loss(self, index, activity, y): return 0.5, {}", "local_loss"),
    "a loss of rows": ("def local_loss(self, index, activity, y): return activity.flatten(1).mean(1), {}", "local_loss"),
    "a loss without a graph": ("def local_loss(self, index, activity, y): return activity.detach().mean(), {}", "graph"),
    "a loss of NaN": ("def local_loss(self, index, activity, y): return activity.mean() * float('nan'), {}", "nan"),
    "a loss of infinity": ("def local_loss(self, index, activity, y): return activity.mean() * float('inf'), {}", "inf"),
    "a loss of whole numbers": ("def local_loss(self, index, activity, y): return activity.mean().long(), {}", "local_loss"),
    "a loss of complex numbers": ("def local_loss(self, index, activity, y): return activity.mean() * 1j, {}", "complex"),
    "a loss without metrics": ("def local_loss(self, index, activity, y): return activity.mean()", "local_loss"),
    "metrics that are no dict": ("def local_loss(self, index, activity, y): return activity.mean(), [1]", "local_loss"),
    "losses of nothing": ("def losses(self, x, y): return None", "NoneType"),
    "no loss at all": ("def losses(self, x, y): return iter(())", "loss"),
    "losses of numbers": ("def losses(self, x, y): yield 0.5", "BlockLoss"),
    "losses of an unknown block": ("def losses(self, x, y): yield BlockLoss('block9', self.network(x).mean(), {})", "block9"),
    "losses of a block without a name": ("def losses(self, x, y): yield BlockLoss('first', self.network(x).mean(), {})", "first"),
    "losses of a block that is a number": ("def losses(self, x, y): yield BlockLoss(0, self.network(x).mean(), {})", "0"),
    "losses that raise late": ("def losses(self, x, y):\n        yield next(super().losses(x, y))\n        raise OSError('late')", "late"),
    "scores that raise": ("def block_score(self, index, activity): raise ValueError('no score')", "no score"),
    "scores of nothing": ("def block_score(self, index, activity): return None", "NoneType"),
    "scores of another number of classes": ("def block_score(self, index, activity): return activity.new_zeros(len(activity), 7)", "graph"),
    "scores of one class": ("def block_score(self, index, activity): return activity.new_zeros(len(activity), 1)", "1"),
    "scores of no class": ("def block_score(self, index, activity): return activity.new_zeros(len(activity))", "target"),
    "scores of other rows": ("def block_score(self, index, activity): return activity.new_zeros(3, 3)", "3"),
    "scores of NaN": ("def block_score(self, index, activity): return super().block_score(index, activity) * float('nan')", "nan"),
    "scores that leave": ("def block_score(self, index, activity): sys.exit(0)", "SystemExit"),
    "fused scores of another number of classes": ("def fuse(self, block_scores): return block_scores.mean(0)[:, :2]", "fuse"),
    "fused scores of NaN": ("def fuse(self, block_scores): return block_scores.mean(0) * float('nan')", "finite"),
    "fused scores that raise": ("def fuse(self, block_scores): raise LookupError('no fusion')", "no fusion"),
    "a readout that does not exist": ("readout_blocks = ['block9']", "block_scores"),
    "inputs of nothing": ("def inputs(self, x, y): return None", "NoneType"),
    "inputs of another shape": ("def inputs(self, x, y): return x[:, :3], y", "32x3"),
    "a feed of nothing": ("def feed(self, index, activity): return None", "NoneType"),
    "an option without a default": ("def __init__(self, *args, must, **rest): super().__init__(*args, **rest)", "must"),
}  # fmt: skip

TINY = [
    "train", "--rule", "mine.py:Mine", "--data", "teacher_student", "--set", "data.classes=3", "--set", "data.num_train=96",
    "--set", "data.num_test=32", "--network", "mlp", "--set", "network.depth=2", "--set", "network.hidden=16",
    "--set", "recipe.batch_size=32", "--epochs", "1", "--out",
]  # fmt: skip


def content_of(name):
    """The rule file of a case of either table."""
    if name in WHOLE:
        return WHOLE[name][0]
    return f"{HEAD}\n\nclass Mine(LocalHeads):\n    info = INFO\n\n    {INSIDE[name][0]}\n"


@pytest.fixture
def train(refuse, tmp_path, inside, monkeypatch):
    """Train the rule of a file; the sentence. The store is as empty as before."""

    def call(content):
        if isinstance(content, str):
            (tmp_path / "mine.py").write_text(content)
        else:
            (tmp_path / "mine.py").write_bytes(content)
        monkeypatch.chdir(tmp_path)
        said = refuse(*TINY, "store")
        assert not list((tmp_path / "store").glob("*")), "a run was left in the store"
        return said

    return call


@pytest.mark.parametrize("name", WHOLE)
def test_a_bad_file_is_one_sentence(train, name):
    content, culprit = WHOLE[name]
    said = train(content)
    assert culprit in said and ("mine.py" in said or "'mine'" in said)


@pytest.mark.parametrize("name", INSIDE)
def test_a_bad_rule_is_one_sentence(train, name):
    assert INSIDE[name][1] in train(content_of(name))


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\0", b"x = 1\0", "x = 'caf\xe9'".encode("latin-1"), b"\x7fELF" + bytes(range(256))]
)
def test_a_file_that_is_no_python_is_one_sentence(train, content):
    assert "mine.py" in train(content)


def test_a_folder_in_the_place_of_a_file_is_one_sentence(refuse, tmp_path, inside, monkeypatch):
    (tmp_path / "mine.py").mkdir()
    monkeypatch.chdir(tmp_path)
    assert "mine.py" in refuse(*TINY, "store")


@pytest.mark.parametrize(
    "words",
    [("audit", "--dry-run"), ("study", "accuracy"), ("tune",), ("cost", "--part", "methods"), ("check",)],
)
def test_every_command_names_a_bad_file(refuse, tmp_path, inside, monkeypatch, words):
    (tmp_path / "mine.py").write_text("import nowhere_at_all")
    monkeypatch.chdir(tmp_path)
    option = () if words == ("check",) else ("--rule",)
    said = refuse(*words, *option, "mine.py:Mine")
    assert "mine.py" in said and "nowhere_at_all" in said
