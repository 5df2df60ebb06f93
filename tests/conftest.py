"""For all tests: one thread (tiny tensors are much faster on one, and sums then have one order), a fresh seed each, and no Hub."""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path

import pytest
import torch

import layerlocal.cli
import layerlocal.runs.kept
from heavy import HEAVY

torch.set_num_threads(1)
os.environ.setdefault(
    "HF_HUB_OFFLINE", "1"
)  # or each set that a test names would be asked for, and waited for, on the network


def pytest_collection_modifyitems(items):
    """Heavy files first, so that the workers, which take tests as they end others, end together."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        rank = {Path(__file__).parent / f"{name}.py": place for place, name in enumerate(HEAVY)}
        items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.fixture(autouse=True)
def _reseed():
    torch.set_num_threads(1)  # a command or a measurement in this process may have set more
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _keeps_no_looks(monkeypatch):
    """Or what a test finds would hang on what another looked at."""
    monkeypatch.setattr("layerlocal.runs.kept._place", lambda: Path("/dev/null/looks.json"))
    layerlocal.runs.kept._read.cache_clear()


@pytest.fixture
def forks(monkeypatch):
    """Workers that start within milliseconds, because torch is imported once; ``test_audit.py`` starts them as they always are."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["layerlocal.runs.run", "layerlocal.runs.many", "torch._dynamo", "torch.export", "pandas"]
    )
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: context)


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path):
    """Run a command as the installed program does, in an empty folder: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["layerlocal", *map(str, words)])
        try:
            layerlocal.cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert "\x1b" not in out + err, "escape codes where nobody looks at a terminal"
        return code, out, err

    return call


@pytest.fixture
def refused(cli):
    """The one sentence of a command that is refused with exit code 2 and writes nothing to standard output."""

    def call(*words):
        code, out, err = cli(*words)
        assert (code, out) == (2, ""), err
        [sentence] = [line for line in err.splitlines() if line.strip()]
        assert sentence.startswith("error: ")
        return sentence.removeprefix("error: ")

    return call
