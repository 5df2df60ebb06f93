"""Finished runs of another store, taken into one's own: each is held against its sums and its spec, and nothing of it is ever executed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from layerlocal.files import cannot_write
from layerlocal.runs.answers import ANSWERS, IMAGES, read_answers
from layerlocal.runs.records import PARTS, RunReader, RunRecord, is_finished, is_hash
from layerlocal.runs.store import RunStore
from layerlocal.spec import PROTOCOL
from layerlocal.types import InputError
from layerlocal.words import byte_count, is_number

__all__ = ["MergedRuns", "merge_runs"]

FILES = (*PARTS, ANSWERS, IMAGES, "DONE")
"""What is taken of a run: all that is read of it. Weights stay where they are."""
LARGEST = 64 * 2**20
"""Bytes of a file; ours have some thousands."""
TOLD = ("layerlocal", "torch", "python", "processor", "device", "threads")
"""What an environment has to say, so that a reader knows where a number comes from."""


@dataclass
class MergedRuns:
    """What became of the runs of one store.

    Attributes:
        taken: hashes of the runs that are new here.
        same: of those that both have, with the same accuracies.
        differ: of those that both have with other accuracies, a sentence each; one's own stay.
        left_out: a sentence for each run that was not taken.
    """

    taken: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    differ: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def merge_runs(source: Path, out: Path) -> MergedRuns:
    """Copy every finished run of ``source`` that is whole and of this protocol into ``out``, each whole or not at all.

    Args:
        source: a store of somebody else.
        out: the store; made where there is none.

    Raises:
        InputError: ``source`` is no store, or ``out`` cannot be written.
    """
    found, reader, own = MergedRuns(), RunReader(), RunStore(out)
    names = [name for name in RunStore(source).names() if is_hash(name)]
    own.prepare()
    for name in names:
        path, place = source / name, out / name
        try:
            if not is_finished(path):
                continue
            record = _looked_at(path, reader)
            if is_finished(place):
                _compare(record, reader.read(place), found)
            elif place.exists():
                found.left_out.append(
                    f"run {name} is begun in {out} and not finished: finish it here, or delete {place}"
                )
            else:
                _take(path, place)
                found.taken.append(name)
        except InputError as error:
            found.left_out.append(str(error))
    return found


def _looked_at(path: Path, reader: RunReader) -> RunRecord:
    """The run, which is of this protocol, says where it was made and is no larger than runs are.

    Raises:
        InputError: it is not.
    """
    for part in _there(path):
        size = os.stat(path / part, follow_symlinks=False).st_size
        if os.path.islink(path / part) or size > LARGEST:
            told = (
                "is a link"
                if os.path.islink(path / part)
                else f"has {byte_count(size)}, more than a run's file can have"
            )
            raise InputError(f"run {path}: {part} {told}; ask for a copy of the run as it was written")
    record = reader.read(path)
    if record.spec.protocol != PROTOCOL:
        raise InputError(
            f"run {path} is of protocol {record.spec.protocol}, this version of protocol {PROTOCOL}: their numbers do not compare"
        )
    if silent := [key for key in TOLD if record.env.get(key) in (None, "")]:
        raise InputError(f"run {path} does not say where it was made: its env.json has no {silent[0]!r}")
    if not record.spec.data.is_recorded:
        raise InputError(f"run {path} does not say what its data were, so nobody can run it again")
    read_answers(path, record)
    return record


def _there(path: Path) -> Iterator[str]:
    yield from (part for part in FILES if os.path.lexists(path / part))


def _compare(theirs: RunRecord, own: RunRecord, found: MergedRuns) -> None:
    """The same spec: on like machines also the same numbers, to the last bit."""
    apart = [
        f"{key} {own.result[key]} here, {theirs.result.get(key)} there"
        for key in ("test_accuracy", "validation_accuracy", "test_nats")
        if is_number(own.result.get(key)) and own.result[key] != theirs.result.get(key)
    ]
    if apart:
        found.differ.append(f"run {own.hash}: {'; '.join(apart)}; yours stays")
    else:
        found.same.append(own.hash)


def _take(path: Path, place: Path) -> None:
    """A copy under another name first, so that a run is there whole or not at all."""
    half = place.with_name(f".{place.name}.merging")
    try:
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir()
        for part in _there(path):
            shutil.copyfile(path / part, half / part, follow_symlinks=False)
        half.rename(place)
    except OSError as error:
        raise cannot_write(place, error) from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
