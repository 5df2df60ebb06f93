"""A press of Tab: options' values by name in bash, zsh and fish, without torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import get_args

import pytest

from layerlocal.claims import load_claims
from layerlocal.cli import complete
from layerlocal.data import list_data
from layerlocal.experiments.audit.plan import SIZES as AUDIT_SIZES
from layerlocal.experiments.cost.plan import PARTS
from layerlocal.experiments.cost.plan import SIZES as COST_SIZES
from layerlocal.experiments.studies import STUDIES
from layerlocal.experiments.studies.base import Size
from layerlocal.networks import list_networks
from layerlocal.rules import list_rules
from layerlocal.training.loggers import LOGGERS

COMMAND = [sys.executable, "-m", "layerlocal"]


def completed(typed, **more):
    """What bash would offer after ``typed``."""
    words = typed.split(" ")
    env = {"COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1), "_LAYERLOCAL_COMPLETE": "complete_bash"}
    found = subprocess.run(COMMAND, env={**os.environ, **env}, capture_output=True, text=True, check=True, **more)
    assert found.stderr == ""
    return found.stdout.split()


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        ("layerlocal che", ["check"]),
        ("layerlocal train --rule ", list_rules()),
        ("layerlocal check s", [name for name in list_rules() if name.startswith("s")]),
        ("layerlocal audit --rules ff,class-goodness,sy", ["ff,class-goodness,symba"]),
        ("layerlocal study classes --rule ff,f", ["ff,feedback"]),
        ("layerlocal train --network ", list_networks()),
        ("layerlocal tune --data ", list_data()),
        ("layerlocal study ", list(STUDIES)),
        ("layerlocal study depth --size ", list(get_args(Size))),
        ("layerlocal audit --size s", ["standard"]),
        ("layerlocal cost --part methods,s", ["methods,scaling"]),
        ("layerlocal claims --claim P1-", ["P1-cifar10", "P1-cifar100"]),
        ("layerlocal cite --format ", ["text", "bibtex"]),
        ("layerlocal train --rule ./m", []),
        ("layerlocal train --logger ", ["csv", "tensorboard", "wandb"]),
    ],
)
def test_bash_is_offered_the_names_that_begin_so(typed, values):
    assert completed(typed) == values


def test_constants_of_completion_are_what_there_is():
    assert tuple(STUDIES) == complete.STUDIES and get_args(Size) == complete.STUDY_SIZES
    assert tuple(AUDIT_SIZES) == complete.AUDIT_SIZES and tuple(COST_SIZES) == complete.COST_SIZES
    assert tuple(PARTS) == complete.PARTS and tuple(LOGGERS) == complete.LOGGERS
    assert {name for name, _ in complete.claims("")} == {claim.statement for claim in load_claims().claims}


def test_finished_runs_of_the_named_store_are_offered_and_nothing_else(tmp_path):
    for name, done in (("0123456789abcdef", True), ("0fedcba987654321", False), ("0ther", True)):
        (tmp_path / name).mkdir()
        if done:
            (tmp_path / name / "DONE").touch()
    assert completed(f"layerlocal show --out {tmp_path} 0") == ["0123456789abcdef"]
    assert completed("layerlocal export --out nowhere 0", cwd=tmp_path) == []


def test_zsh_and_fish_are_told_what_a_value_is_in_one_line():
    for shell, sign in (("zsh", '"scff":"'), ("fish", "scff\t")):
        env = {"_TYPER_COMPLETE_ARGS": "layerlocal check sc", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
        env["_LAYERLOCAL_COMPLETE"] = f"complete_{shell}"
        found = subprocess.run(COMMAND, env={**os.environ, **env}, capture_output=True, text=True, check=True)
        assert sign in found.stdout and len(found.stdout.splitlines()) == 1


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_the_script_that_is_shown_completes_in_a_real_bash(tmp_path):
    (tmp_path / "layerlocal").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m layerlocal "$@"\n')
    (tmp_path / "layerlocal").chmod(0o755)
    script = (
        'eval "$(_LAYERLOCAL_COMPLETE=source_bash layerlocal)"; complete -p layerlocal >&2\n'
        "COMP_WORDS=(layerlocal study cl); COMP_CWORD=2; _layerlocal_completion layerlocal\n"
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    found = subprocess.run(["bash", "--norc", "-c", script], env=env, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["classes"] and "_layerlocal_completion" in found.stderr


@pytest.mark.parametrize("typed", ["layerlocal ", "layerlocal study --rules ", "layerlocal claims --claim "])
def test_completion_loads_no_torch_and_nothing_else_that_is_slow(typed):
    env = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" ")), "_LAYERLOCAL_COMPLETE": "complete_bash"}
    command = [sys.executable, "-X", "importtime", "-m", "layerlocal"]
    found = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in found.stderr.splitlines()}
    assert found.stdout and "layerlocal" in loaded
    assert not loaded & {"torch", "numpy", "scipy", "pyarrow", "huggingface_hub", "matplotlib", "pandas"}


def test_help_names_completion_once_and_fits_a_narrow_terminal():
    env = {**os.environ, "COLUMNS": "80"}
    found = subprocess.run([*COMMAND, "--help"], env=env, capture_output=True, text=True, check=True).stdout
    assert found.count("--install-completion") == found.count("--show-completion") == 1
    assert max(map(len, found.splitlines())) <= 80
