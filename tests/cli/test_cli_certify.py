"""`layerlocal certify`: words, JSON, a badge and a picture of any step; bad input is one sentence and exit code 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/certify_step.py"


def test_a_step_in_words_says_the_verdict_first_then_the_matrix_and_the_cost(cli):
    code, out, err = cli("certify", f"{EXAMPLE}:moved")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0].startswith(
        "segment-local: embed to block1, block2 to block3, and lighter: 0.51× the saved activations"
    )
    assert "block1     x x + + +" in lines and "block2     · · · + +" in lines
    assert any(line.startswith("peak saved activations ") and "0.51× of its end-to-end twin" in line for line in lines)
    assert "labels" in lines[-1]


def test_a_step_as_json_badge_and_picture(cli, tmp_path):
    code, out, _ = cli("certify", f"{EXAMPLE}:summed", "--json", "--svg", "badge.svg", "--picture", "who.svg")
    found = json.loads(out)
    assert code == 0 and found["locality"] == "segment" and found["verdict"].count("\n") == 0
    asked = {
        "coupling",
        "repeats",
        "untrained",
        "shared",
        "saved_bytes_vs_end_to_end",
        "flops_vs_end_to_end",
        "verdict",
    }
    assert asked <= set(found)
    for name in ("badge.svg", "who.svg"):
        assert ElementTree.fromstring((tmp_path / name).read_text()).tag.endswith("svg")


def test_a_global_step_is_a_finding_and_no_failure(cli, tmp_path):
    (tmp_path / "bp.py").write_text(
        "import torch\nfrom torch import nn\n\ndef made():\n"
        "    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))\n"
        "    optimizer, x = torch.optim.SGD(net.parameters(), lr=0.1), torch.randn(8, 4)\n"
        "    def step():\n        net(x).square().mean().backward()\n        optimizer.step()\n        optimizer.zero_grad()\n"
        "    return step, net\n"
    )
    code, out, _ = cli("certify", "bp.py:made")
    assert code == 0 and out.startswith("global: perturbing group1 changes the update of group0")


@pytest.mark.parametrize("name", ["who.png", "who.pdf"])
def test_a_picture_is_of_the_kind_that_its_name_says(cli, tmp_path, name):
    assert cli("certify", f"{EXAMPLE}:moved", "--picture", name)[0] == 0
    assert (tmp_path / name).read_bytes()[1:4] in (b"PNG", b"PDF")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["away.py:made"], "cannot read the step file away.py"),
        ([f"{EXAMPLE}"], "FILE.py:FUNCTION"),
        ([f"{EXAMPLE}:mowed"], "Did you mean 'moved'?"),
        ([f"{EXAMPLE}:model"], "must return (step, groups) or (step, groups, state)"),
        ([f"{EXAMPLE}:moved", "--picture", "who.gif"], "--picture must name a .svg, .png or .pdf"),
        ([f"{EXAMPLE}:moved", "--svg", ""], "it needs the name of a file"),
        ([], "FILE.py:FUNCTION"),
    ],
)
def test_bad_input_is_one_sentence(refused, words, said):
    assert said in refused("certify", *words)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_one_sentence(refused, tmp_path):
    (tmp_path / "shut").mkdir(mode=0o500)
    assert "name another file with --svg" in refused("certify", f"{EXAMPLE}:moved", "--svg", "shut/badge.svg")


def test_a_badge_whose_folder_is_a_file_is_one_sentence(refused, tmp_path):
    (tmp_path / "file").write_text("")
    assert "name another file with --svg" in refused("certify", f"{EXAMPLE}:moved", "--svg", "file/badge.svg")


def test_the_help_teaches_with_a_step_that_is_one(cli, tmp_path, monkeypatch):
    """The lines of its example, in a file, are certified."""
    monkeypatch.setenv("COLUMNS", "200")
    _, out, _ = cli("certify", "--help")
    lines = [line.strip("│ ").rstrip() if "│" in line else line for line in out.splitlines()]
    start = next(i for i, line in enumerate(lines) if "def tiny():" in line)
    end = next(i for i, line in enumerate(lines) if "return step, blocks" in line)
    indent = len(lines[start]) - len(lines[start].lstrip())
    body = "\n".join(line[indent:] for line in lines[start : end + 1])
    (tmp_path / "mine.py").write_text(f"import torch\nfrom torch import nn\n\n{body}\n")
    assert cli("certify", "mine.py:tiny")[1].startswith("block-local: ")


PRINTS = """
import os, subprocess, sys
print("at import")
import torch
from torch import nn

def made():
    blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
    optimizer, x = torch.optim.SGD(blocks.parameters(), lr=0.1), torch.randn(8, 4)
    def step():
        h = x
        for block in blocks:
            h = block(h.detach())
            h.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        print("from Python")
        os.write(1, b"from below\\n")
    return step, blocks
"""


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_what_a_step_prints_goes_to_standard_error(tmp_path, form):
    (tmp_path / "prints.py").write_text(PRINTS)
    command = [sys.executable, "-m", "layerlocal", "certify", "prints.py:made", *form]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)["verdict"] if form else done.stdout
    assert told.startswith("block-local: ")
    words = ("at import", "from Python", "from below")
    assert all(word in done.stderr and word not in done.stdout for word in words)


def test_standard_output_is_as_it_was_after_a_step_that_fails(cli, tmp_path):
    (tmp_path / "prints.py").write_text(PRINTS.replace("optimizer.step()", "raise ValueError"))
    before = sys.stdout, os.fstat(1)
    code, out, _ = cli("certify", "prints.py:made")
    assert (code, out) == (2, "") and (sys.stdout, os.fstat(1)) == before
