"""Which column of a Parquet table holds images, which the labels, and what classes the labels are.

Columns are taken by name before they are guessed, and nothing is guessed where two would do.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from layerlocal.data.split_source import pick_label
from layerlocal.types import InputError
from layerlocal.words import several

__all__ = [
    "ClassColumn",
    "class_names",
    "column_values",
    "embedded_bytes",
    "image_column",
    "label_column",
    "number_classes",
    "read_features",
    "superclass_columns",
    "text_column",
]

MOST_SINGLE_ROWS = 100  # training rows that may all have labels of their own
_SMALLEST_IMAGE = 64  # bytes: no encoded image is that small, a checksum is


def read_features(schema: Any) -> dict[str, Any]:
    """The Hugging Face features in a Parquet file's metadata, by column; empty where there are none."""
    try:
        info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        found = info.get("info", {}).get("features", {})
        return {name: entry for name, entry in found.items() if isinstance(entry, dict)}
    except (ValueError, AttributeError, RecursionError):
        return {}


def class_names(schema: Any, column: str) -> list[str] | None:
    """The class names of a column by the metadata; None where it does not say."""
    names = read_features(schema).get(column, {}).get("names")
    return [str(name) for name in names] if isinstance(names, list) and names else None


def _marked(schema: Any, kind: str) -> list[str]:
    features = read_features(schema)
    return [name for name in schema.names if features.get(name, {}).get("_type") == kind]


def _plain(kind: Any) -> Any:
    """The type of a dictionary's values, or the type itself."""
    import pyarrow as pa

    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or str(kind) == "string_view"


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_fixed_size_binary(kind):
        return bool(kind.byte_width > _SMALLEST_IMAGE)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or str(kind) == "binary_view"


def _holds_images(kind: Any) -> bool:
    """Bytes, or a struct with a field ``bytes`` of them."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _is_bytes(_plain(field.type)) for field in kind)
    return _is_bytes(_plain(kind))


def _holds_classes(kind: Any) -> bool:
    import pyarrow as pa

    kind = _plain(kind)
    return pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_floating(kind) or _is_text(kind)


def _refuse_twins(schema: Any, name: str, where: str) -> str:
    if schema.names.count(name) > 1:
        raise InputError(f"{where} has {schema.names.count(name)} columns named {name!r}; rename all but one")
    return name


def image_column(schema: Any, *, where: str) -> str:
    """The column of encoded images: ``image``, else the only one marked as Image, else the only one of bytes.

    Raises:
        InputError: there are none, or several; the message lists the columns.
    """
    able = [field.name for field in schema if _holds_images(field.type)]
    if "image" in able:
        return _refuse_twins(schema, "image", where)
    marked = [name for name in _marked(schema, "Image") if name in able]
    found = marked or able
    if len(set(found)) == 1:
        return _refuse_twins(schema, found[0], where)
    if found:
        raise InputError(f"{where} has several image columns ({', '.join(found)}); name the right one 'image'")
    types = ", ".join(f"{field.name}: {str(field.type)[:40]}" for field in schema)
    raise InputError(
        f"{where} has no image column (its columns: {types}); add one of the bytes of PNG or JPEG files, 'image'. "
        "Names of files are not followed. A column to learn text from is 'text', or the one that labels=… names"
    )


def text_column(schema: Any, labels: str | None) -> str | None:
    """The column of text to learn: the one asked for, else ``text``; ``None`` where there is none, or where there are images."""
    named = labels or "text"
    if schema.names.count(named) != 1 or any(_holds_images(field.type) for field in schema):
        return None
    return named if _is_text(_plain(schema.field(named).type)) else None


def label_column(schema: Any, labels: str | None, *, image: str, where: str) -> str:
    """The column asked for, else ``label``, else ``fine_label``, else the only one that can hold classes.

    Class columns by their metadata (ClassLabel) go before others. Every other column of whole numbers, text, bool or floats can hold
    classes.

    Raises:
        InputError: there is none, or several and none was asked for; the message lists the columns.
    """
    others = [field for field in schema if field.name != image and not field.name.startswith("__")]
    able = [field.name for field in others if _holds_classes(field.type)]
    if labels is not None:
        named = [field.name for field in others]
        known = named if {labels, f"{labels}_label"} & set(named) else able
    else:
        named = [name for name in ("label", "fine_label") if name in schema.names]
        known = named or _marked(schema, "ClassLabel") or able
    if not known:
        raise InputError(
            f"{where} has no label column (its columns: {', '.join(schema.names)}); add one of whole numbers or text, 'label'"
        )
    return _refuse_twins(schema, pick_label(list(dict.fromkeys(known)), labels), where)


def superclass_columns(schema: Any, label: str) -> list[str]:
    """Further class columns, which may group the classes: those marked as ClassLabel, and whole numbers named ``*_label``."""
    import pyarrow as pa

    marked = _marked(schema, "ClassLabel")
    named = [field.name for field in schema if field.name.endswith("_label") and pa.types.is_integer(field.type)]
    found = dict.fromkeys(name for name in (*marked, *named) if schema.names.count(name) == 1)
    return [name for name in found if name != label]


def embedded_bytes(value: Any, name: str, *, where: str) -> bytes:
    """The bytes of one encoded image, as they are in the table or in its struct.

    Raises:
        InputError: there are none. What is text may name any file of this machine, so it is never opened.
    """
    data = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(data, bytes) and data:
        return data
    raise InputError(
        f"{where} has no image bytes in {name!r}; the Parquet files must hold the images themselves, names of files are not followed"
    )


class ColumnValues(NamedTuple):
    """The labels of one file: ``kind`` is "numbers", "text" or "bool"; ``values`` int64 (N,), or (N,) text."""

    kind: str
    values: np.ndarray


def column_values(column: Any, name: str, *, where: str) -> ColumnValues:
    """One label column of one file.

    Raises:
        InputError: a label is missing, below 0, not a whole number, or of a type that holds no classes.
    """
    import pyarrow as pa

    kind = _plain(column.type)
    column = column.cast(kind)  # a dictionary may hold what is missing among its values
    if pa.types.is_null(kind) or column.null_count:
        count = len(column) if pa.types.is_null(kind) else column.null_count
        raise InputError(f"column {name!r} of {where} has {several(count, 'row')} without a label; fill or drop them")
    if not _holds_classes(kind):
        raise InputError(
            f"column {name!r} of {where} is of type {str(kind)[:60]}, which holds no classes; "
            "choose a column of whole numbers or text with labels=…"
        )
    if _is_text(kind):
        return ColumnValues("text", _text_values(column.cast(pa.large_string()), name, where))
    if pa.types.is_boolean(kind):
        return ColumnValues("bool", column.cast(pa.int8()).to_numpy().astype(np.int64))
    if pa.types.is_floating(kind):
        values = _whole_values(column.to_numpy().astype(np.float64), name, where)
    else:
        values = column.to_numpy()
        if len(values) and values.max() > np.iinfo(np.int64).max:
            raise InputError(
                f"column {name!r} of {where} has the value {values.max()}, too large for a class; number the classes from 0"
            )
        values = values.astype(np.int64)
    if len(values) and values.min() < 0:
        raise InputError(
            f"row {int(values.argmin())} of {where} has {name} {values.min()}; drop rows without a label, and number the classes from 0"
        )
    return ColumnValues("numbers", values)


def _text_values(column: Any, name: str, where: str) -> np.ndarray:
    values = np.array(column.to_pylist(), dtype=object)
    empty = sum(not value.strip() for value in values)
    if empty:
        raise InputError(f"column {name!r} of {where} has {empty} rows with an empty text; fill or drop them")
    return values


def _whole_values(values: np.ndarray, name: str, where: str) -> np.ndarray:
    """Floats as whole numbers."""
    missing = int(np.isnan(values).sum())
    if missing:
        raise InputError(
            f"column {name!r} of {where} has {several(missing, 'row')} without a label (NaN); fill or drop them"
        )
    broken = np.flatnonzero((values != np.floor(values)) | (np.abs(values) > 2**53))
    if len(broken):
        raise InputError(
            f"column {name!r} of {where} has real values ({values[broken[0]]:g} in row {broken[0]}), which are no classes; "
            "choose another column with labels=…"
        )
    return values.astype(np.int64)


@dataclass(frozen=True)
class ClassColumn:
    """A label column over all splits.

    Attributes:
        labels: int64 (N,) of each split, 0..K-1.
        names: the class names of each split.
        note: what the user should know, or None.
    """

    labels: list[np.ndarray]
    names: list[list[str]]
    note: str | None = None


def number_classes(
    splits: Sequence[Sequence[ColumnValues]], name: str, known: Sequence[list[str] | None], *, where: str
) -> ClassColumn:
    """Classes 0..K-1 and their names, from the values of all splits.

    Args:
        splits: for each split, training first, the values of its files.
        name: of the column.
        known: for each split, class names by its metadata; values are then indices into them.
        where: the folder, for messages.

    Raises:
        InputError: files that do not fit together, a label beyond the class names, or a value of its own in every row.
    """
    kinds = {part.kind for parts in splits for part in parts if len(part.values)}
    if len(kinds) > 1:
        raise InputError(
            f"column {name!r} in {where} has {' and '.join(sorted(kinds))} in different files; write all alike"
        )
    values = [np.concatenate([part.values for part in parts]) for parts in splits]
    kind = next(iter(kinds), "numbers")
    if kind == "bool":
        return ClassColumn(values, [["False", "True"] for _ in splits])
    if kind == "numbers" and any(known):
        return ClassColumn(
            values, [_known_names(part, names, name, where) for part, names in zip(values, known, strict=True)]
        )
    distinct = np.unique(np.concatenate(values))
    _refuse_keys(values[0], name, where)
    numbers = np.arange(len(distinct))
    note = None
    if kind == "numbers" and not np.array_equal(distinct, numbers):
        note = (
            f"column {name!r} has {len(distinct)} different values, {distinct[0]} to {distinct[-1]}: "
            f"they are the classes 0 to {len(distinct) - 1}, named by their values"
        )
    labels = [np.searchsorted(distinct, part).astype(np.int64) for part in values]
    return ClassColumn(labels, [[str(value) for value in distinct] for _ in splits], note)


def _known_names(values: np.ndarray, names: list[str] | None, name: str, where: str) -> list[str]:
    largest = int(values.max(initial=0))
    if names and largest >= len(names):
        raise InputError(f"column {name!r} in {where} has label {largest} but {len(names)} class names")
    twice = next((a for a, b in itertools.pairwise(sorted(names or ())) if a == b), None)
    if twice is not None:
        raise InputError(f"column {name!r} in {where} has two classes named {twice!r}; give each its own name")
    return list(names or map(str, range(largest + 1)))


def _refuse_keys(train: np.ndarray, name: str, where: str) -> None:
    """A column that tells rows apart, as names of files do, holds no classes."""
    if len(train) > MOST_SINGLE_ROWS and len(np.unique(train)) == len(train):
        raise InputError(
            f"column {name!r} in {where} has another value in each of its {len(train)} training rows, so it holds no "
            "classes; choose one with labels=…"
        )
