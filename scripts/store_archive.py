"""Put what a run store knows into one small file, and back: finished runs without their weights, and its experiments.

    python scripts/store_archive.py pack runs-standard results/standard.tar.xz
    python scripts/store_archive.py unpack results/standard.tar.xz runs-standard

A study over a night or several goes on from such a file on another machine: a finished run counts without its weights.
"""

from __future__ import annotations

import argparse
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

from layerlocal.files import write_atomic

PACKED = ("spec.json", "env.json", "metrics.parquet", "result.json", "answers.bin", "images.bin", "DONE")


def files_of(store: Path) -> Iterator[Path]:
    """Of finished runs in the store and in its folder of trials, and of experiments; in order."""
    for done in sorted([*store.glob("*/DONE"), *store.glob("tune/*/DONE")]):
        yield from (path for name in PACKED if (path := done.parent / name).is_file())
    yield from sorted(path for path in store.glob("experiments/*/*.json"))


def pack(store: Path, file: Path) -> int:
    """Write the file; the number of runs in it. The same content is the same bytes."""
    sink, runs = io.BytesIO(), 0
    with tarfile.open(fileobj=sink, mode="w:xz") as archive:
        for path in files_of(store):
            entry = tarfile.TarInfo(path.relative_to(store).as_posix())
            entry.size = path.stat().st_size
            with path.open("rb") as content:
                archive.addfile(entry, content)
            runs += path.name == "DONE"
    write_atomic(file, sink.getvalue())
    return runs


def unpack(file: Path, store: Path) -> None:
    """Write what is not there yet; files inside the store only."""
    with tarfile.open(file, mode="r:xz") as archive:
        for entry in archive:
            path = store / entry.name
            content = archive.extractfile(entry)
            if content is not None and path.resolve().is_relative_to(store.resolve()) and not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(path, content.read())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pack", "unpack"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    asked = parser.parse_args()
    if asked.what == "unpack":
        unpack(asked.source, asked.target)
        return
    print(f"{pack(asked.source, asked.target)} runs, {asked.target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
