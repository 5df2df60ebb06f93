"""The README is true: its Python runs, its commands are commands, its files are there."""

from __future__ import annotations

import ast
import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command

import layerlocal
import layerlocal.run
from layerlocal.cli import app

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
FIXED = ("fashion_mnist_subset", "teacher_student")
LANGUAGES = ("console", "bash", "sh", "shell")


def text():
    return README.read_text() if README.exists() else ""


def blocks(*languages):
    """The fenced blocks of these languages, in order."""
    found = re.findall(r"^```([\w-]*)[^\n]*\n(.*?)^```", text(), re.DOTALL | re.MULTILINE)
    return [body for language, body in found if language in languages]


def commands():
    """Every shell command, without prompt, output, comment and ``NAME=value`` before it; ``&&``, ``;`` and ``|`` part commands."""
    for language in LANGUAGES:
        for body in blocks(language):
            for line in body.replace("\\\n", " ").splitlines():
                if language == "console" and not line.startswith("$ "):
                    continue  # what the command prints
                words = shlex.split(line.removeprefix("$ "), comments=True)
                part = []
                for word in [*words, ";"]:
                    if word in ("&&", ";", "|", "||"):
                        while part and re.fullmatch(r"[A-Z_]+=.*", part[0]):
                            part.pop(0)
                        if part:
                            yield part
                        part = []
                    else:
                        part.append(word)


def test_the_readme_opens_with_a_figure_and_then_the_two_commands():
    before = text().split("make test")[0]
    assert "make audit" in before
    assert re.search(r"!\[[^]]+\]\(|<img |<picture", before.split("make audit")[0])


def test_the_readme_has_python_and_it_runs(tmp_path, monkeypatch):
    """All blocks, in order, in one namespace, as a reader would paste them, in a folder of their own beside ``examples``."""
    python = blocks("python")
    assert python, "README.md has no python block"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    namespace = {"__name__": "readme"}
    for number, block in enumerate(python, 1):
        exec(compile(block, f"README.md, python block {number}", "exec"), namespace)


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
    [block] = [block for block in blocks("python") if "class LogisticMargin" in block]
    example = (ROOT / "examples" / "my_rule.py").read_text()
    assert functions(block, "LogisticMargin") == functions(example, "LogisticMargin") != {}


def test_every_layerlocal_command_of_the_readme_is_one_the_program_takes():
    program = get_command(app)
    found = 0
    for words in commands():
        if Path(words[0]).name != "layerlocal":
            continue
        found += 1
        line = shlex.join(words)
        if words[1:2] and words[1].startswith("-"):
            assert words[1] in ("--help", "--version"), line
            continue
        assert words[1] in program.commands, line
        if "--help" in words:
            continue
        try:
            context = program.commands[words[1]].make_context(words[1], [word for word in words[2:] if word != ">"])
        except Exception as error:
            pytest.fail(f"{line}: {error}")
        assert context.params, line
    assert found, "README.md has no layerlocal command"


def test_every_make_target_of_the_readme_is_in_the_makefile():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    asked = {word for words in commands() if words[0] == "make" for word in words[1:] if "=" not in word}
    assert {"audit", "test"} <= asked <= targets


def test_every_file_the_readme_links_to_is_there():
    prose = re.sub(r"^```.*?^```", "", text(), flags=re.DOTALL | re.MULTILINE)  # heads["block0"](activity) is no link
    links = re.findall(r"\]\(([^)#\s]+)", prose) + re.findall(r'(?:src|srcset|href)="([^"#]+)"', prose)
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_every_file_named_in_a_command_of_the_readme_is_there():
    words = [word.rpartition("=")[2].partition(":")[0] for command in commands() for word in command]
    named = {word for word in words if word.endswith(".py")}
    written = {match for body in blocks("python") for match in re.findall(r"# (\S+\.py)\b", body)}
    assert [name for name in named - written if not (ROOT / name).exists()] == []


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
