"""The README is true: its Python runs, its commands are commands, its files are there. Its links: test_docs.py."""

from __future__ import annotations

import ast
import json
import re
import shlex
import sys

import numpy as np

import layerlocal
import layerlocal.run
from documents import ROOT, blocks, commands, missing_files, refusals, run_python

README = ROOT / "README.md"
FIXED = ("fashion_mnist_subset", "teacher_student")


def text():
    return README.read_text()


def test_the_readme_opens_with_a_figure_and_then_the_two_commands():
    before = text().split("make test")[0]
    assert "make audit" in before
    assert re.search(r"!\[[^]]+\]\(|<img |<picture", before.split("make audit")[0])


def test_the_readme_has_python_and_it_runs(tmp_path, monkeypatch):
    """All blocks, in order, in one namespace, as a reader would paste them, in a folder of their own beside ``examples``."""
    assert blocks(text(), "python"), "README.md has no python block"
    monkeypatch.chdir(tmp_path)
    run_python(README, tmp_path)


def test_nothing_in_the_readme_is_still_to_be_filled_in():
    assert text() and not re.search(r"@@|TODO|TBD|FIXME", text())


def functions(source, name):
    """The functions of a class, as syntax: without comments, layout and annotations."""
    [found] = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef) and node.name == name]
    functions = {node.name: node for node in found.body if isinstance(node, ast.FunctionDef)}
    for node in functions.values():
        node.returns = None
        for argument in (*node.args.args, *node.args.kwonlyargs):
            argument.annotation = None
    return {name: ast.dump(node) for name, node in functions.items()}


def test_the_rule_in_the_readme_is_the_one_in_the_example():
    [block] = [block for block in blocks(text(), "python") if "class LogisticMargin" in block]
    example = (ROOT / "examples" / "my_rule.py").read_text()
    assert functions(block, "LogisticMargin") == functions(example, "LogisticMargin") != {}


def test_every_layerlocal_command_of_the_readme_is_one_the_program_takes():
    refused, found = refusals(text())
    assert refused == [] and found, "README.md has no layerlocal command"


def test_every_make_target_of_the_readme_is_in_the_makefile():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = {word for words in commands(text()) if words[0] == "make" for word in words[1:] if "=" not in word}
    assert {"audit", "test"} <= asked <= targets


def test_every_file_the_readme_names_in_a_command_or_a_comment_is_there():
    assert missing_files(README) == []


def test_a_published_command_makes_the_run_that_it_stands_for(monkeypatch, cli):
    """Of every twentieth run in `results/runs.parquet` whose data are in the package."""
    found = []
    monkeypatch.setattr(layerlocal.run, "run_spec", lambda spec, *_, **__: found.append(spec.hash) or sys.exit(3))
    rows = layerlocal.load_runs(ROOT / "results").to_pylist()
    rows = [row for row in rows if row["data"] in FIXED and row["command"].startswith("layerlocal train ")][::20]
    for row in rows:
        cli(*shlex.split(row["command"])[1:])
    assert len(rows) > 10 and found == [row["run"] for row in rows]


def test_what_the_readme_says_of_class_sweeps_is_what_its_seeds_carry():
    """Slope of the gap per doubling of K in each seed (NumPy's line) and its Student interval (t = 4.3027 at 2 degrees of freedom)."""
    classes = json.loads((ROOT / "results/audit-quick.json").read_text())["classes"]
    for kind, key in (("synthetic", "gap"), ("synthetic", "extra_supervision"), ("real", "gap")):
        doublings = np.log2([row["num_classes"] for row in classes[kind]])
        values = 100 * np.array([row[key]["values"] for row in classes[kind]])  # (K, seeds)
        slopes = np.polyfit(doublings, values, 1)[0]
        half = 4.3027 * slopes.std(ddof=1) / np.sqrt(3)
        ends = [
            f"{value:+.1f}".replace("-", "−") for value in (slopes.mean(), slopes.mean() - half, slopes.mean() + half)
        ]
        assert f"{ends[0]} [{ends[1]}, {ends[2]}]" in text()
    assert "does not grow" not in text()
