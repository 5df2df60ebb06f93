"""Folders of Parquet files: whole sets of shards, encoded images and labels out.

Read with pyarrow itself, a batch of rows at a time. The files may be those of a data set on the Hub (hub.py).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from layerlocal.data.columns import (
    ClassColumn,
    class_names,
    column_values,
    embedded_bytes,
    image_column,
    label_column,
    number_classes,
    superclass_columns,
)
from layerlocal.data.decode import EncodedImage
from layerlocal.data.split_source import (
    READ_ROWS,
    TEST_NAMES,
    OpenSplit,
    SplitSource,
    describe_depth,
    file_identity,
    share_depth,
)
from layerlocal.types import InputError

__all__ = [
    "ParquetSet",
    "check_shards",
    "parquet_files",
    "parquet_folder",
    "parquet_place",
    "read_schemas",
    "read_text_column",
]

_SHARD = re.compile(r"(?P<split>.+)-(?P<index>\d+)-of-(?P<count>\d+)(?P<tag>-[0-9a-f]+)?\.parquet")


def parquet_files(folder: Path, split: str) -> list[Path]:
    """``split.parquet`` and ``split-*.parquet``, sorted."""
    return sorted({*folder.glob(f"{split}.parquet"), *folder.glob(f"{split}-*.parquet")})


def parquet_place(folder: Path) -> Path | None:
    """Where the training files of a folder lie: in itself, or in exactly one folder inside it, as the Hub lays them out; ``None``: nowhere.

    Raises:
        InputError: the folder cannot be read, or several folders inside it have training files.
    """
    if parquet_files(folder, "train"):
        return folder
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}); give it the permission") from error
    places = [place for place in inside if parquet_files(place, "train")]
    if len(places) > 1:
        raise InputError(
            f"{folder} has Parquet files in {', '.join(p.name for p in places)}; give one of these folders"
        )
    return places[0] if places else None


def parquet_folder(folder: Path, *, labels: str | None, test_share: bool) -> tuple[SplitSource, SplitSource | None]:
    """Training and test source; the test source is None where there is none and ``test_share`` allows it.

    Raises:
        InputError: no test split, shards that are missing or of two generations, no column of images or of labels.
    """
    train = parquet_files(folder, "train")
    test = next((files for name in TEST_NAMES if (files := parquet_files(folder, name))), [])
    if not test and not test_share:
        raise InputError(
            f"{folder} has no test-*.parquet or validation-*.parquet; put the test images there, or draw them with --set data.test=0.2"
        )
    splits = [files for files in (train, test) if files]
    for files in splits:
        check_shards(files)
    schema = read_schemas(train[:1])[0]
    image = image_column(schema, where=train[0].name)
    label = label_column(schema, labels, image=image, where=train[0].name)
    found = ParquetSet(folder, splits, image, label, superclass_columns(schema, label))
    sources = [SplitSource(found.identity(index), partial(found.open, index)) for index in range(len(splits))]
    return sources[0], sources[1] if test else None


def check_shards(files: Sequence[Path]) -> None:
    """Look at the files of one split, which lie in one folder.

    Raises:
        InputError: shards are missing, or those of two generations lie side by side.
    """
    shards = {file: match for file in files if (match := _SHARD.fullmatch(file.name))}
    folder, counts = files[0].parent, sorted({int(match["count"]) for match in shards.values()})
    others = [file.name for file in files if file not in shards]
    split = re.split(r"[-.]", files[0].name)[0]
    if (shards and others) or (len(others) > 1 and f"{split}.parquet" in others):
        one, other = (files[0].name, others[0] if others[0] != files[0].name else files[-1].name)
        raise InputError(f"{folder} has {one} beside {other}, which may be the same images twice; keep one kind")
    if len(counts) > 1:
        raise InputError(
            f"{folder} has {split} files of {counts[0]} and of {counts[1]} shards side by side; keep one generation"
        )
    if not counts:
        return
    indices = sorted(int(match["index"]) for match in shards.values())
    twice = next((a for a, b in itertools.pairwise(indices) if a == b), None)
    if twice is not None:
        raise InputError(f"{folder} has two files for shard {twice} of {split}; keep one generation")
    if indices[-1] >= counts[0]:
        raise InputError(
            f"{folder} has {split} shard {indices[-1]}, beyond the {counts[0]} that its name tells; number them from 0"
        )
    missing = sorted(set(range(counts[0])) - set(indices))
    if missing:
        which = ", ".join(map(str, missing[:3])) + (", …" if len(missing) > 3 else "")
        raise InputError(
            f"{folder} has {len(indices)} of the {counts[0]} {split} files, not number {which}; copy all of them, or rename those that "
            "are to be the whole set"
        )


@dataclass(frozen=True)
class ParquetSet:
    """The files of all splits, training first, and the columns that are read.

    Attributes:
        folder: that all files lie in.
        splits: the files of each split.
        image: the column of images.
        label: the column of labels.
        others: columns that may hold classes, too.
        origin: where the files are from, for messages; ``None``: the folder.
    """

    folder: Path
    splits: list[list[Path]]
    image: str
    label: str
    others: list[str]
    origin: str | None = None

    def identity(self, index: int) -> list[Any]:
        """Of one split, with the files of all: class numbers and bits depend on all of them."""
        columns = [self.image, *sorted([self.label, *self.others])]
        return ["parquet", index, columns, *(file_identity(files, self.folder) for files in self.splits)]

    def open(self, index: int) -> OpenSplit:
        """Labels of one split, ready to read its images."""
        reads, bits = share_depth([partial(self._read_images, files) for files in self.splits])
        notes = [column.note for column in (self._classes[self.label],) if column.note] + describe_depth(bits())
        return OpenSplit(
            count=len(self._classes[self.label].labels[index]),
            labels={name: column.labels[index] for name, column in self._classes.items()},
            names={name: column.names[index] for name, column in self._classes.items()},
            read=reads[index],
            facts={"notes": notes} if notes else {},
        )

    @cached_property
    def _classes(self) -> dict[str, ClassColumn]:
        """The label column, and of the others those that hold classes."""
        schemas = [read_schemas(files) for files in self.splits]
        found = {self.label: self._number(self.label, schemas)}
        for name in self.others:
            try:
                found[name] = self._number(name, schemas)
            except InputError:
                continue  # nobody asked for it
        return dict(sorted(found.items()))

    def _number(self, name: str, schemas: list[list[Any]]) -> ClassColumn:
        splits = []
        for files, of_split in zip(self.splits, schemas, strict=True):
            _check_names(files, of_split, name)
            splits.append([column_values(_read_labels(file, name), name, where=self._where(file)) for file in files])
            if not any(len(part.values) for part in splits[-1]):
                raise InputError(f"{files[0]} has no rows; write the images into it")
        known = [class_names(of_split[0], name) for of_split in schemas]
        return number_classes(splits, name, known, where=self.origin or str(self.folder))

    def _read_images(self, files: Sequence[Path]) -> Iterator[EncodedImage]:
        for file in files:
            for row, value in enumerate(_read_column(file, self.image)):
                where = f"{self._where(file)} row {row}"
                yield EncodedImage(embedded_bytes(value, self.image, where=where), where)

    def _where(self, file: Path) -> str:
        return file.name if self.origin is None else f"{self.origin} {file.relative_to(self.folder).as_posix()}"


def _check_names(files: Sequence[Path], schemas: Sequence[Any], name: str) -> None:
    """Every file of a split has the column, with the class names of the first."""
    names = class_names(schemas[0], name)
    for file, schema in zip(files, schemas, strict=True):
        if schema.names.count(name) != 1:
            count = schema.names.count(name)
            raise InputError(
                f"{file} has {count or 'no'} column{'s' * (count > 1)} {name!r}; write all files with the same columns"
            )
        if class_names(schema, name) != names:
            raise InputError(
                f"{file.name} and {files[0].name} in {file.parent} have different class names of {name!r}; write both with the same names"
            )


def read_schemas(files: Sequence[Path]) -> list[Any]:
    """The Arrow schema of each file.

    Raises:
        InputError: a file that cannot be read as Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = []
    for file in files:
        if file.exists() and not file.is_file():
            raise InputError(f"{file} is not a regular file; put the Parquet files themselves into {file.parent}")
        try:
            found.append(pq.read_schema(file))
        except (pa.ArrowException, OSError) as error:
            raise _broken(file, error) from error
    return found


def _read_labels(file: Path, column: str) -> Any:
    """One whole column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as parquet:  # not `read_table`, which adds columns by the names of folders
            return parquet.read(columns=[column]).column(0)
    except (pa.ArrowException, OSError) as error:
        raise _broken(file, error) from error


def read_text_column(file: Path, column: str) -> Iterator[str]:
    """The texts of a file, row by row.

    Raises:
        InputError: a row without text, or a file that cannot be read.
    """
    for row, value in enumerate(_read_column(file, column)):
        if not isinstance(value, str):
            raise InputError(f"row {row} of {file} has no text in {column!r}; fill or drop it")
        yield value


def _broken(file: Path, error: Exception) -> InputError:
    if isinstance(error, OSError) and file.is_symlink() and not file.exists():
        return InputError(f"{file} is a broken link; replace it or take it out")
    return InputError(f"cannot read Parquet in {file} ({str(error).splitlines()[0][:160]}); copy it again")


def _read_column(file: Path, column: str) -> Iterator[Any]:
    """Values of a column, a few hundred rows in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as parquet:
            if parquet.schema_arrow.names.count(column) != 1:
                raise InputError(f"{file} has not one column {column!r}; write all files with the same columns")
            for batch in parquet.iter_batches(batch_size=READ_ROWS, columns=[column]):
                yield from batch.column(0).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise _broken(file, error) from error
