"""What the commands and calls of the battery find on disk: good things with known names, and broken ones beside them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from layerlocal.runs.run import run_spec
from layerlocal.runs.store import RunStore
from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RuleSpec, RunSpec

VECTORS = DataSpec(source="teacher_student", classes=3, num_train=96, num_test=32)
MLP = NetworkSpec(name="mlp", options={"depth": 2, "hidden": 16})
TINY = RunSpec(data=VECTORS, network=MLP, rule=RuleSpec(name="class-goodness"), recipe=Recipe(epochs=1, batch_size=32))

RULE = """
from layerlocal import RuleInfo
from layerlocal.rules import LocalHeads


class Mine(LocalHeads):
    info = RuleInfo(name="mine", locality="block")
"""

NETWORKS = """
from torch import nn
from layerlocal import Network


def raises(in_channels, image_size):
    raise ValueError("of moonlight")


def module(in_channels, image_size):
    return nn.Linear(in_channels, 4)


def other_shape(in_channels, image_size):
    return Network([nn.Linear(7, 4)], sample_shape=(7,))


def takes_nothing():
    return module(3, 8)


def without_default(in_channels, image_size, depth):
    return module(in_channels, image_size)
"""
CLAIM = {
    "id": "P2",
    "source": "mine",
    "sentence": "It widens.",
    "reported": {"value": None, "unit": "pp", "text": "2.4"},
    "study": "classes",
    "quantity": "gap_slope/synthetic",
    "direction": "greater",
    "smallest_effect": 0.5,
}


def png(path, *, size=8, value=0, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (size, size), value if mode != "RGB" else (value, 0, 0)).save(path, "PNG")


def image_folder(root, *, classes=("cat", "dog"), splits=("train", "test"), size=8, each=4):
    for split in splits:
        for name in classes:
            for index in range(each):
                png(root / split / name / f"{index}.png", size=size, value=40 * index)
    return root


def encoded(value=0, size=8):
    """Bytes of a PNG image."""
    import io

    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (value, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def table(**columns):
    """Eight rows of images with a label, but for the columns that are given; ``None`` leaves one out."""
    content = {
        "image": [{"bytes": encoded(20 * row), "path": None} for row in range(8)],
        "label": [row % 2 for row in range(8)],
    } | columns
    return pa.table({name: values for name, values in content.items() if values is not None})


def parquet_folder(root, train=None, test=None):
    root.mkdir(parents=True, exist_ok=True)
    pq.write_table(table() if train is None else train, root / "train-00000-of-00001.parquet")
    pq.write_table(table() if test is None else test, root / "test-00000-of-00001.parquet")
    return root


def arrays_file(file, **arrays):
    """Eight images each of train, val and test with a label, but for the arrays that are given; ``None`` leaves one out."""
    content = {
        f"{part}_images": np.arange(8 * 64, dtype=np.uint8).reshape(8, 8, 8) for part in ("train", "val", "test")
    }
    content |= {f"{part}_labels": np.arange(8)[:, None] % 2 for part in ("train", "val", "test")}
    np.savez(file, **{name: found for name, found in (content | arrays).items() if found is not None})
    return file


STEPS = """
import torch
from torch import nn

class Count:
    calls = 0

def trained(scale=lambda: 1.0, left=0, outside=None):
    blocks, x = nn.ModuleList([nn.Linear(3, 3) for _ in range(3)]), torch.ones(4, 3)
    optimizer = torch.optim.SGD(blocks.parameters(), lr=0.1)
    def step():
        h = x * scale()
        for block in blocks:
            h = block(h.detach())
            (h if outside is None else outside(h)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        for p in [] if outside is None else outside.parameters():
            p.data -= 0.1 * p.grad
    return step, blocks[left:]

def counts():
    def scale():
        Count.calls += 1
        return float(Count.calls)
    return trained(scale)

def loads():
    batches = iter(range(1, 100))
    def scale():
        return next(batches)
    return trained(scale)

def not_finite():
    return trained(lambda: float("nan"))

def left_out():
    return trained(left=1)

def outside():
    return trained(outside=nn.Linear(3, 3))

def one():
    return trained()[0]

def raises():
    raise ValueError("the moon is full")
"""


def make(root: Path) -> Path:
    """Everything below ``root``."""
    record = run_spec(TINY, RunStore(root / "runs"))
    (root / "run.txt").write_text(record.hash)
    (root / "empty").mkdir()
    (root / "afile").write_text("no folder\n")
    (root / "mine.py").write_text(RULE)
    (root / "net.py").write_text(NETWORKS)
    (root / "steps.py").write_text(STEPS)
    image_folder(root / "images")
    parquet_folder(root / "parquet")
    _claims(root)
    return root


def _claims(root):
    (root / "empty.yaml").write_text("")
    (root / "broken.json").write_text("{")
    (root / "study.yaml").write_text("study: depth")
    (root / "later.yaml").write_text("protocol: 2")
    (root / "names.yaml").write_text("names: 3")
    (root / "code.yaml").write_text("rule: {name: 'mine.py:Mine'}")
    (root / "list.yaml").write_text("- 1\n- 2\n")
    (root / "broken.yaml").write_text("claims:\n- id: [\n")
    (root / "deep.yaml").write_text("claims: " + "[" * 1000)
    (root / "latin.yaml").write_bytes("claims: caf\xe9".encode("latin-1"))
    (root / "twice.yaml").write_text("claims: []\nclaims: []\n")
    (root / "other.yaml").write_text("claims: []\nfoo: 1\n")
    (root / "none.yaml").write_text("claims: []\n")
    (root / "own.yaml").write_text(json.dumps({"claims": [CLAIM]}))
    (root / "family.yaml").write_text("family: a@b\nclaims: [{id: P2}]\n")
    (root / "rules.yaml").write_text("rules: ff\nclaims: [{id: P2}]\n")
    (root / "noid.yaml").write_text("claims:\n- sentence: x\n")


__all__ = [
    "CLAIM",
    "MLP",
    "NETWORKS",
    "RULE",
    "TINY",
    "VECTORS",
    "encoded",
    "image_folder",
    "json",
    "make",
    "np",
    "os",
    "parquet_folder",
    "png",
    "table",
]
