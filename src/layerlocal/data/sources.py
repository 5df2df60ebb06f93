"""Folders that images come from: Parquet files or an ImageFolder. Encoded images and labels out.

Parquet is read with pyarrow itself, a batch of rows at a time, and an ImageFolder with the file system: the `datasets`
library would first copy both into an Arrow cache of its own, does not say which row of which file is broken, and takes
seconds to import. The Hub is read with `datasets` (hub.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from layerlocal.data.decode import EncodedImage
from layerlocal.types import InputError, unknown_name

__all__ = ["READ_ROWS", "OpenSplit", "SplitSource", "find_folder", "parquet_labels", "pick_label"]

READ_ROWS = 256  # rows read at a time
TEST_NAMES = ("test", "validation", "valid", "val")
IMAGE_SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))


@dataclass(frozen=True)
class OpenSplit:
    """A split that can be read.

    Attributes:
        count: N.
        labels: int64 (N,) for each label column.
        names: class names for each label column, by index.
        read: starts over and gives the N encoded images in order.
        facts: what else is known (e.g. the Hub's commit); JSON values.
    """

    count: int
    labels: dict[str, np.ndarray]
    names: dict[str, list[str]]
    read: Callable[[], Iterator[EncodedImage]]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SplitSource:
    """A split that may not have to be opened, because its decoded copy may be in the cache.

    Attributes:
        identity: what the split is: file names, sizes and times of change, or the Hub's id. The cache's key.
        open: reads labels and gets ready to read images.
    """

    identity: list[Any]
    open: Callable[[], OpenSplit]


def pick_label(known: Sequence[str], labels: str | None, *, default: str | None = None) -> str:
    """The label column to use: the one asked for ("fine" and "coarse" are short for "fine_label", "coarse_label").

    Without one asked for: ``default`` if it is there, "label", "fine_label", or the only one.

    Raises:
        InputError: the column is not there, or none was asked for and there are several.
    """
    if labels is not None:
        for name in (labels, f"{labels}_label"):
            if name in known:
                return name
        raise unknown_name("label column", labels, known)
    for likely in (default, "label", "fine_label"):
        if likely in known:
            return str(likely)
    if len(known) == 1:
        return known[0]
    raise InputError(f"the data has several label columns: {', '.join(sorted(known))}; choose one with labels=…")


def find_folder(folder: Path) -> tuple[str, SplitSource, SplitSource]:
    """The kind ("parquet" or "imagefolder"), training and test source of a folder.

    Parquet files lie in the folder itself or in exactly one folder inside it (as the Hub lays them out). The test
    split is the first there is of test, validation, valid, val; another one is left alone.

    Raises:
        InputError: no such folder, no training or no test images in it.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(
            f"{folder} {what}; give a folder with train-*.parquet and test-*.parquet, or train/<class>/<image>"
        )
    places = [
        place for place in (folder, *sorted(p for p in folder.iterdir() if p.is_dir())) if _parquet(place, "train")
    ]
    if places:
        inside = places[1:] if places[0] == folder else places
        if places[0] != folder and len(inside) > 1:
            raise InputError(
                f"{folder} has Parquet files in {', '.join(p.name for p in inside)}; give one of these folders"
            )
        return "parquet", *_parquet_folder(places[0])
    if (folder / "train").is_dir():
        return "imagefolder", *_image_folder(folder)
    raise InputError(f"{folder} has neither train-*.parquet nor train/<class>/<image>; put the training images there")


def _identity(files: Sequence[Path], root: Path) -> list[Any]:
    """Names, sizes and times of change."""
    found: list[list[Any]] = []
    for file in files:
        try:
            state = file.stat()
        except OSError as error:
            what = "is a broken link" if file.is_symlink() else f"cannot be read ({error.strerror})"
            raise InputError(f"{file} {what}; replace it or take it out") from error
        found.append([str(file.relative_to(root)), state.st_size, state.st_mtime_ns])
    return [str(root.resolve()), found]


# --- Parquet ----------------------------------------------------------------------------------------------------------


def _parquet(folder: Path, split: str) -> list[Path]:
    """``split.parquet`` and ``split-*.parquet``, sorted."""
    return sorted({*folder.glob(f"{split}.parquet"), *folder.glob(f"{split}-*.parquet")})


def _parquet_folder(folder: Path) -> tuple[SplitSource, SplitSource]:
    train = _parquet(folder, "train")
    test = next((files for name in TEST_NAMES if (files := _parquet(folder, name))), None)
    if test is None:
        raise InputError(f"{folder} has no test-*.parquet or validation-*.parquet; put the test images there")

    def source(files: list[Path]) -> SplitSource:
        return SplitSource(["parquet", *_identity(files, folder)], lambda: _open_parquet(files))

    return source(train), source(test)


def _open_parquet(files: list[Path]) -> OpenSplit:
    """Read the labels of Parquet files and get ready to read their images."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schemas = [pq.read_schema(file) for file in files]
        features = _features(schemas[0])
        columns = parquet_labels(schemas[0], where=files[0].name)
        image = _image_column(schemas[0], features, where=files[0].name)
        tables = [pq.read_table(file, columns=columns) for file in files]
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"cannot read Parquet in {files[0].parent} ({str(error).splitlines()[0][:160]}); copy it again"
        ) from error
    labels = {name: _label_values(tables, name, files) for name in columns}
    names = {
        name: list(features.get(name, {}).get("names") or map(str, range(int(values.max(initial=0)) + 1)))
        for name, values in labels.items()
    }
    for name, values in labels.items():
        if values.max(initial=0) >= len(names[name]):
            raise InputError(
                f"column {name!r} in {files[0].parent} has label {values.max()} but {len(names[name])} class names"
            )
    return OpenSplit(sum(map(len, tables)), labels, names, lambda: _read_parquet(files, image))


def _features(schema: Any) -> dict[str, Any]:
    """The Hugging Face features in a Parquet file's metadata, by column; empty where there are none."""
    try:
        info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        return dict(info.get("info", {}).get("features", {}))
    except (ValueError, AttributeError):
        return {}


def parquet_labels(schema: Any, *, where: str) -> list[str]:
    """Columns that hold class indices: ClassLabel by their metadata, else whole numbers.

    Raises:
        InputError: there are none; the message lists the columns.
    """
    import pyarrow as pa

    features = _features(schema)
    found = [name for name in schema.names if features.get(name, {}).get("_type") == "ClassLabel"]
    found = found or [f.name for f in schema if pa.types.is_integer(f.type) and not f.name.startswith("__")]
    if not found:
        raise InputError(
            f"{where} has no label column (its columns: {', '.join(schema.names)}); add one of whole numbers, 'label'"
        )
    return found


def _image_column(schema: Any, features: dict[str, Any], *, where: str) -> str:
    """The column of encoded images: an Image by its metadata, else a struct with bytes, else plain bytes."""
    import pyarrow as pa

    def is_bytes(kind: Any) -> bool:
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    marked = [name for name in schema.names if features.get(name, {}).get("_type") == "Image"]
    structs = [
        f.name
        for f in schema
        if pa.types.is_struct(f.type) and "bytes" in [f.type[i].name for i in range(f.type.num_fields)]
    ]
    plain = [f.name for f in schema if is_bytes(f.type)]
    for name in (*marked, *structs, *plain):
        return str(name)
    raise InputError(
        f"{where} has no image column (its columns: {', '.join(schema.names)}); add one of encoded images, 'image'"
    )


def _label_values(tables: Sequence[Any], name: str, files: Sequence[Path]) -> np.ndarray:
    """One label column over all files, int64 (N,); no value may be missing or negative."""
    parts = []
    for table, file in zip(tables, files, strict=True):
        values = table.column(name)
        if values.null_count:
            raise InputError(
                f"column {name!r} of {file.name} has {values.null_count} rows without a label; fill or drop them"
            )
        part = values.to_numpy().astype(np.int64)
        if len(part) and part.min() < 0:
            raise InputError(
                f"row {int(part.argmin())} of {file.name} has {name} {part.min()}; drop rows without a label"
            )
        parts.append(part)
    return np.concatenate(parts)


def _read_parquet(files: Sequence[Path], column: str) -> Iterator[EncodedImage]:
    for file in files:
        for row, value in enumerate(_read_column(file, column)):
            where = f"{file.name} row {row}"
            data = value.get("bytes") if isinstance(value, dict) else value
            if not data:
                raise InputError(f"{where} has no image bytes; the Parquet files must hold the images themselves")
            yield EncodedImage(data, where)


def _read_column(file: Path, column: str) -> Iterator[Any]:
    """Values of a column, a few hundred rows in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(batch_size=READ_ROWS, columns=[column]):
                yield from batch.column(0).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"cannot read {file.name} ({str(error).splitlines()[0][:160]}); copy it again") from error


# --- ImageFolder ------------------------------------------------------------------------------------------------------


def _image_folder(folder: Path) -> tuple[SplitSource, SplitSource]:
    test = next((folder / name for name in TEST_NAMES if (folder / name).is_dir()), None)
    if test is None:
        raise InputError(f"{folder} has no test/<class>/<image> (or val/, validation/); put the test images there")
    train = folder / "train"
    names = _class_folders(train)
    names += [name for name in _class_folders(test) if name not in names]
    if not names:
        raise InputError(f"{train} has no class folders; put images in {train.name}/<class>/")

    def source(place: Path) -> SplitSource:
        files = [(f, k) for k, name in enumerate(names) for f in _image_files(place / name)]
        identity = ["imagefolder", names, *_identity([f for f, _ in files], place)]
        return SplitSource(identity, lambda: _open_image_folder(place, files, names))

    return source(train), source(test)


def _class_folders(place: Path) -> list[str]:
    return sorted(p.name for p in place.iterdir() if p.is_dir() and not p.name.startswith("."))


def _image_files(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    return sorted(p for p in place.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))


def _open_image_folder(place: Path, files: list[tuple[Path, int]], names: list[str]) -> OpenSplit:
    labels = np.array([k for _, k in files], dtype=np.int64)

    def read() -> Iterator[EncodedImage]:
        for file, _ in files:
            yield EncodedImage(file, str(file.relative_to(place.parent)))

    return OpenSplit(len(files), {"label": labels}, {"label": list(names)}, read)
