"""A small world for bad input: a store with one finished run, good and bad data, and a check that nothing in it changes."""

from __future__ import annotations

import io
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import worlds
from torch import nn

import layerlocal.cli
from layerlocal import InputError, LayerLocalClassifier

MOST = 1000
"""Letters of the longest sentence that is still one."""


def is_one_sentence(text, most=MOST):
    """One line of bearable length, with no remains of a traceback."""
    return 0 < len(text) <= most and "\n" not in text.strip() and "Traceback" not in text and 'File "' not in text


def listing(folder):
    """Every file, folder and link below: name → (size, time of change)."""
    found = {}
    for place, folders, files in os.walk(os.fsencode(folder)):  # names may be no text
        for name in (*folders, *files):
            path = os.path.join(place, name)
            about = os.lstat(path)
            kept = (about.st_size, about.st_mtime_ns) if name in files else ()
            found[path] = kept
    return found


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """The folder; see `worlds`. Its cache and its home lie elsewhere."""
    return worlds.make(tmp_path_factory.mktemp("world"))


@pytest.fixture
def inside(world, tmp_path, monkeypatch):
    """The world as current folder."""
    monkeypatch.chdir(world)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LAYERLOCAL_CACHE", str(tmp_path / "cache"))
    for name in ("LAYERLOCAL_DATA", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    return world


def _stream():
    return io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace", write_through=True)


@pytest.fixture
def refuse(inside, monkeypatch):
    """Run a command that must be refused; its sentence."""

    def call(*words, changes=False):
        out, err = _stream(), _stream()
        before = listing(inside)
        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("default")
            patch.setattr(sys, "argv", ["layerlocal", *words])
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            try:
                layerlocal.cli.main()
                code = 0
            except SystemExit as stop:
                code = stop.code or 0
            except Exception as error:
                pytest.fail(f"a traceback: {type(error).__name__}: {str(error)[:200]}")
        said = err.buffer.getvalue().decode()
        assert code == 2, f"exit code {code}; {said or out.buffer.getvalue().decode()}"
        lines = [line for line in said.splitlines() if line.strip() and not line.startswith("warning: ")]
        assert is_one_sentence("\n".join(lines)) and lines[0].startswith("error: "), said
        assert out.buffer.getvalue() == b"", "a refused command prints nothing on standard output"
        if not changes:
            assert listing(inside) == before, "a refused command left something behind"
        return lines[0].removeprefix("error: ")

    return call


@pytest.fixture
def reject(inside):
    """Make a Python call that must be refused; its sentence."""

    def call(function):
        before = listing(inside)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                given = function()
            except InputError as error:
                said = str(error)
            except Exception as error:
                pytest.fail(f"{type(error).__name__}: {str(error)[:200]}")
            else:
                pytest.fail(f"it was taken and gave {str(given)[:200]}")
        assert is_one_sentence(said, most=6 * MOST), said  # a path of thousands of letters is not cut
        assert listing(inside) == before, "a refused call left something behind"
        return said

    return call


def split(*, y=(0, 1, 2, 0), shape=(5,), value=0.5):
    labels = torch.tensor(y, dtype=torch.int64)
    images = torch.linspace(-1, 1, len(y))[:, None].expand(len(y), *shape).clone()
    if len(y):
        images[0] = value
    return layerlocal.Split(images, labels)


def network(inputs=5):
    return layerlocal.create_network("mlp", in_channels=inputs, image_size=1, depth=2, hidden=4, seed=0)


def tokens():
    """A small network of tokens."""
    return layerlocal.create_network("vit", in_channels=3, image_size=8, hidden=12, depth=2, seed=0)


def tokens_of_no_grid():
    """Three tokens made from an image of 8 × 8."""
    three = nn.Sequential(nn.Flatten(), nn.Unflatten(1, (3, 64)), nn.Linear(64, 12))
    return layerlocal.Network([three, nn.Linear(12, 12)], sample_shape=(3, 8, 8))


def rule(inputs=5, classes=3):
    return layerlocal.create_rule("class-goodness", network(inputs), num_classes=classes, seed=0)


def other(*, rule="class-goodness", network="mlp", data="teacher_student", **fields):
    """The finished run's spec with something else in it."""
    content = worlds.TINY.model_dump()
    content["rule"]["name"], content["network"]["name"], content["data"]["source"] = rule, network, data
    return layerlocal.RunSpec.parse(content | fields)


def nested():
    found = []
    for _ in range(2000):
        found = [found]
    return found


@pytest.fixture(scope="session")
def names():
    """What stands in the calls of the tables."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(48, 5)), np.arange(48) % 3
    found = {name: getattr(layerlocal, name) for name in layerlocal.__all__}
    found |= {"LayerLocalClassifier": LayerLocalClassifier, "X": X, "y": y, "data": layerlocal.data_from_arrays(X, y)}
    found |= {"x": torch.linspace(-1, 1, 20).reshape(4, 5), "labels": torch.tensor([0, 1, 2, 0]), "TINY": worlds.TINY}
    found |= {
        "small": layerlocal.Recipe(epochs=1, batch_size=8),
        "split": split,
        "network": network,
        "tokens": tokens,
        "tokens_of_no_grid": tokens_of_no_grid,
        "rule": rule,
        "other": other,
        "deep": nested(),
        "step": lambda: None,
    }
    return found | {"np": np, "torch": torch, "nn": nn, "Path": Path, "zeros": torch.zeros, "ones": torch.ones}


def identity(words):
    """A short name of a case, of letters that a terminal shows."""
    text = " ".join(words) if isinstance(words, tuple | list) else str(words)
    return ascii(text)[1:-1][:90]


def pytest_make_parametrize_id(config, val):
    """Of every test of a session, also of those beside this folder: what is not words is left to pytest."""
    words = isinstance(val, tuple) and all(isinstance(part, str) for part in val)
    return identity(val) if words or isinstance(val, str) else None


def pytest_ignore_collect(collection_path: Path):
    return collection_path.name == "worlds.py" or None
