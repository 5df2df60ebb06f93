"""The finished runs of a store that compare with each other: what every report, study, audit and verdict is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from layerlocal.runs.records import RunReader, RunRecord
from layerlocal.runs.store import RunStore
from layerlocal.runs.table import data_sha256
from layerlocal.spec import PROTOCOL

__all__ = ["Records", "StoredRuns", "comparable"]

Records = Mapping[str, RunRecord]
"""Finished runs by hash."""


class StoredRuns(Mapping[str, RunRecord]):
    """Finished runs by hash. The first `MOST_KEPT` are kept in memory; others are read, and held against their sums, when they are asked for.

    Args:
        store: that they are in.
    """

    def __init__(self, store: RunStore) -> None:
        self._store, self._reader = store, RunReader()
        self._found: dict[str, RunRecord | None] = {}

    def add(self, record: RunRecord) -> None:
        """One more, which was just read."""
        self._found[record.hash] = record if len(self._found) < MOST_KEPT else None

    def __getitem__(self, name: str) -> RunRecord:
        """Raises `KeyError` of a run that is not among them, and `InputError` of one that has been damaged or removed since."""
        return self._found[name] or self._reader.read(self._store.root / name)

    def __contains__(self, name: object) -> bool:
        return name in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


MOST_KEPT = 2000


def comparable(out: Path, each: Callable[[RunRecord], object] | None = None) -> tuple[Records, list[str]]:
    """The finished runs of this protocol by hash, and what is to be said of others: numbers of two protocols do not compare.

    Args:
        out: the store.
        each: is called with every one of these runs, once, in the order of their hashes.

    Raises:
        InputError: no store.
    """
    store, problems, others, unknown = RunStore(out), list[str](), list[int](), list[RunRecord]()
    records, count = StoredRuns(store), 0
    for record in store.each(problems):
        if record.spec.protocol != PROTOCOL:
            others.append(record.spec.protocol)
            continue
        records.add(record)
        if data_sha256(record) is None:
            unknown, count = unknown or [record], count + 1
        if each is not None:
            each(record)
    warnings = [f"left out: {problem}" for problem in problems]
    if others:
        versions = ", ".join(sorted(map(str, set(others))))
        warnings.append(
            f"{len(others)} of {len(records) + len(others)} runs are of protocol {versions} and are left out: this version is of protocol "
            f"{PROTOCOL}, and numbers of two protocols do not compare. Run them again to have them in."
        )
    if unknown:
        warnings.append(
            f"Of {count} of {len(records)} runs the data were not recorded (the first: {unknown[0].hash} on "
            f"{unknown[0].spec.data.source}): they are of 0.1.0, and nobody can tell whether their folders have changed since."
        )
    return records, warnings
