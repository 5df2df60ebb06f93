"""PLANTED TEST FIXTURE: a run store with made-up numbers, written in seconds because nothing in it was ever trained.

python tests/planted_store.py FOLDER 5000
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RuleSpec, RunSpec

TWINS = ("local", "bp", "bp-deepsup")
ENVIRONMENT = {
    "layerlocal": "0.0.planted",
    "python": "3.11",
    "torch": "0.0.planted",
    "numpy": "0.0.planted",
    "system": "planted test fixture",
    "processor": "planted processor, nothing was trained",
    "cores": 2,
    "threads": 1,
    "device": "cpu",
    "commit": "0000planted",
}


def planted_specs(count: int, rule: str = "class-goodness") -> Iterator[RunSpec]:
    """Specs that differ: for each seed the class counts 2 … 11, each with a rule and its two twins."""
    for index in range(count):
        seed, rest = divmod(index, 30)
        classes, twin = 2 + rest // 3, TWINS[rest % 3]
        options: dict[str, Any] = {"grid": 4} if twin == "local" else {"of": rule, "grid": 4}
        yield RunSpec(
            data=DataSpec(source="planted-data", classes=classes, num_train=1000, num_test=1000, seed=seed),
            network=NetworkSpec(name="mlp", width=0.5, options={"depth": 4}),
            rule=RuleSpec(name=rule if twin == "local" else twin, options=options),
            recipe=Recipe(epochs=3),
            seed=seed,
        )


def planted_accuracy(spec: RunSpec) -> float:
    """90 % for BP at any K, +0.5 pp for BP-DeepSup, −1 pp for the rule, and 0.1 pp for each of the seed's last digit."""
    shift = {"bp": 0.0, "bp-deepsup": 0.005}.get(spec.rule.name, -0.01)
    return round(0.9 + shift + 0.001 * (spec.seed % 10), 6)


def planted_result(spec: RunSpec) -> dict[str, Any]:
    classes = spec.data.classes if isinstance(spec.data.classes, int) else 10
    accuracy, blocks = planted_accuracy(spec), [f"block{i}" for i in range(4)]
    local = spec.rule.name not in TWINS
    own = [[loss == block for block in blocks] for loss in blocks]
    return {
        "run": spec.hash,
        "rule": spec.rule.name,
        "test_accuracy": accuracy,
        "block_accuracies": {name: round(accuracy - 0.1 * (3 - i), 6) for i, name in enumerate(blocks)},
        "validation_accuracy": accuracy - 0.002,
        "num_test": 1000,
        "num_classes": classes,
        "chance": 1 / classes,
        "data": {"name": "planted-data", "class_names": [str(i) for i in range(classes)], "provenance": {"planted": 1}},
        "train_seconds": 12.5,
        "samples_per_s": 2000.0,
        "num_parameters": 4321,
        "passes_per_step": 1,
        "passes_per_prediction": 1,
        "flops_per_step": 10**9,
        "peak_saved_bytes": 3 * 2**20,
        "process_peak_resident_bytes": 400 * 2**20,
        "locality": {"declared": "block" if local else "global", "measured": "block" if local else "global"}
        | {"certified": True, "blocks": blocks, "losses": blocks, "problems": []}
        | {"reach": own, "reach_norm": [list(map(float, row)) for row in own], "intervention": own},
    }


def _metrics() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"epoch": [1], "metric": ["planted"], "block": ["all"], "value": [0.0]}), sink)
    return sink.getvalue()


def plant_store(root: Path, count: int) -> list[RunSpec]:
    """Write ``count`` finished runs below ``root``; no lock, no rename, no fsync: a test's folder only."""
    metrics, specs = _metrics(), list(planted_specs(count))
    for spec in specs:
        plant_run(root, spec, metrics=metrics)
    return specs


def plant_run(root: Path, spec: RunSpec, *, metrics: bytes = b"", **result: Any) -> Path:
    """Write one finished run; ``result`` replaces planted numbers."""
    folder = root / spec.hash
    folder.mkdir(parents=True)
    content = {
        "spec.json": json.dumps(spec.model_dump(mode="json")).encode(),
        "env.json": json.dumps(ENVIRONMENT).encode(),
        "metrics.parquet": metrics or _metrics(),
        "result.json": json.dumps(planted_result(spec) | result).encode(),
    }
    for name, data in content.items():
        (folder / name).write_bytes(data)
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    (folder / "DONE").write_text(json.dumps(sums))
    return folder


if __name__ == "__main__":
    plant_store(Path(sys.argv[1]), int(sys.argv[2]))
