"""A store goes through one file and back: finished runs without weights, and nothing outside the store."""

from __future__ import annotations

import importlib.util
import io
import shutil
import tarfile
from pathlib import Path

from layerlocal.runs.store import RunStore

SCRIPT = Path(__file__).parents[2] / "scripts/store_archive.py"
SPEC = importlib.util.spec_from_file_location("store_archive", SCRIPT)
archive = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(archive)


def test_what_is_packed_is_unpacked_without_weights_and_goes_on(tmp_path):
    store = shutil.copytree(Path(__file__).with_name("store-0.1.0"), tmp_path / "store")
    runs = sorted(path.parent for path in store.glob("*/DONE"))
    run = runs[0]
    shutil.copytree(run, store / "tune" / run.name)
    (store / "experiments/best-standard").mkdir(parents=True)
    (store / "experiments/best-standard/plan.json").write_text("{}")
    (run / "checkpoint").mkdir(exist_ok=True)
    (run / "checkpoint/state.safetensors").write_bytes(b"0" * 1000)
    assert archive.pack(store, tmp_path / "packed") == len(runs) + 1
    archive.unpack(tmp_path / "packed", tmp_path / "again")
    assert (tmp_path / "again/experiments/best-standard/plan.json").read_text() == "{}"
    for folder, number in (("", len(runs)), ("tune", 1)):
        before, after = (list(RunStore(root / folder).finished()) for root in (store, tmp_path / "again"))
        assert after == before and len(after) == number
    assert not list((tmp_path / "again").rglob("*.safetensors"))
    packed = (tmp_path / "packed").read_bytes()
    archive.pack(tmp_path / "again", tmp_path / "packed")
    assert (tmp_path / "packed").read_bytes() == packed


def test_what_is_there_stays_and_nothing_is_written_elsewhere(tmp_path):
    with tarfile.open(tmp_path / "evil", "w:xz") as made:
        for name in ("../outside", "inside"):
            entry = tarfile.TarInfo(name)
            entry.size = 3
            made.addfile(entry, io.BytesIO(b"new"))
    (tmp_path / "store").mkdir()
    (tmp_path / "store/inside").write_bytes(b"old")
    archive.unpack(tmp_path / "evil", tmp_path / "store")
    assert (tmp_path / "store/inside").read_bytes() == b"old" and not (tmp_path / "outside").exists()
