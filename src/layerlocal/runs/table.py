"""All finished runs as one table, for pandas, polars and spreadsheets: one row a run.

load_runs(path) -> pyarrow.Table         # .to_pandas(), .to_pydict(), the `__dataframe__` protocol; of a store, or of published results
write_runs_table(store, path)            # the same as *.parquet or *.csv: small enough to commit, with nothing of this machine's folders in it

Accuracies are fractions. Columns ``data.*``, ``network.*``, ``rule.*`` and ``recipe.*`` are the spec's own fields and options, under the
names that ``layerlocal train --set`` takes. Never imports torch.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import NoneType
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from layerlocal.command import command_of
from layerlocal.names import names_of_today
from layerlocal.runs.store import RunRecord, RunStore, warn_of, write_atomic
from layerlocal.spec import FIXED_SOURCES, RunSpec
from layerlocal.types import InputError

__all__ = [
    "RUNS_TABLE",
    "csv_text",
    "data_names",
    "data_sha256",
    "load_runs",
    "published_table",
    "run_row",
    "unguarded",
    "write_rows",
    "write_runs_table",
]

RUNS_TABLE = "runs.parquet"
"""The table of runs in a folder of published results, which has no run folders."""

_COLUMNS: dict[str, pa.DataType] = {
    **dict.fromkeys(("run", "rule", "twin_of", "data", "labels", "classes"), pa.string()),
    "num_classes": pa.int64(),
    "network": pa.string(),
    "width": pa.float64(),
    **dict.fromkeys(("epochs", "steps", "seed"), pa.int64()),
    **dict.fromkeys(("test_accuracy", "validation_accuracy", "last_block_accuracy", "chance"), pa.float64()),
    "block_accuracies": pa.string(),
    "separability": pa.float64(),
    **dict.fromkeys(("samples_per_s", "train_seconds"), pa.float64()),
    **dict.fromkeys(("peak_saved_bytes", "process_peak_resident_bytes", "num_parameters"), pa.int64()),
    **dict.fromkeys(("flops_per_step", "passes_per_step", "passes_per_prediction"), pa.float64()),
    **dict.fromkeys(("declared_locality", "locality"), pa.string()),
    "certified": pa.bool_(),
    **dict.fromkeys(("protocol", "names", "threads"), pa.int64()),
    **dict.fromkeys(("device", "gpu", "processor", "torch", "layerlocal", "commit", "command", "store"), pa.string()),
    "data_sha256": pa.string(),
}
"""Always there, in this order; options and the rest of the spec follow, by name."""
_NEEDED = {"run", "rule", "seed", "test_accuracy"}
_LOOKS_LIKE_A_FORMULA = re.compile(r"'*[=+\-@\t\n＝＋－＠]")
_GUARDED = re.compile(r"'+[=+\-@\t\n＝＋－＠]")


def load_runs(path: str | Path) -> pa.Table:
    """Every finished run, one row each, ordered by the run's hash.

    Args:
        path: a run store, a folder of run stores (a run that several hold counts once: that of the first by name), a table that
            `write_runs_table` wrote, or a folder of published results, which has such a table instead of runs.

    Returns:
        A `pyarrow.Table`; ``load_runs("runs").to_pandas()`` needs pandas (``pip install 'layerlocal[pandas]'``).

    Raises:
        InputError: no finished run there, or a file that is not such a table. Runs that cannot be used are warned of (`RunStore.scan`).
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"load_runs takes the name of a folder or a table, got {type(path).__name__}")
    path = Path(path)
    if (table := published_table(path)) is not None:
        return _read_table(table)
    if path.is_dir():
        return _as_table(_rows_below(path))
    if not path.exists():
        raise InputError(f"there is no run store and no table at {path}; `layerlocal audit --out {path}` makes a store")
    return _read_table(path)


def write_runs_table(store: RunStore | str | Path, path: str | Path) -> Path:
    """Write the table of a store as Parquet or CSV, by the ending of ``path``; where a file of this machine is named, only its name stays.

    Raises:
        InputError: another ending, no finished run, or a ``path`` that cannot be written.
    """
    root = store.root if isinstance(store, RunStore) else Path(store)
    _refuse_ending(Path(path))
    return write_rows(_rows_below(root, portable=True), path)


def write_rows(rows: list[dict[str, Any]], path: str | Path) -> Path:
    """Write rows that are in the form of `run_row` as such a table.

    Raises:
        InputError: another ending, or a ``path`` that cannot be written.
    """
    path = Path(path)
    _refuse_ending(path)
    table = _as_table(rows)
    if path.suffix == ".csv":
        write_atomic(path, csv_text(table.to_pylist(), table.column_names).encode())
    else:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        write_atomic(path, sink.getvalue().to_pybytes())
    return path


def _refuse_ending(path: Path) -> None:
    if path.suffix not in (".parquet", ".csv"):
        raise InputError(f"a table of runs ends in .parquet or .csv, got {path.name!r}")


def published_table(folder: Path) -> Path | None:
    """The table of runs of a folder of published results; ``None`` of a store, or of a folder of stores, which may hold a table too."""
    table = folder / RUNS_TABLE
    stored = any(next(folder.glob(pattern), None) for pattern in ("*/DONE", "*/*/DONE"))
    return (
        table if os.path.isfile(table) and not stored else None
    )  # a path's own `is_file` raises where it may not look


def run_row(record: RunRecord, *, options: bool = True) -> dict[str, Any]:
    """A finished run as one flat row of text, numbers and ``None``; without ``options`` it leaves out the rest of the spec, which is quicker."""
    spec, result, env = record.spec, record.result, record.env
    blocks, locality = result.get("block_accuracies") or {}, result.get("locality") or {}
    found = {
        "run": record.hash,
        "rule": spec.rule.name,
        "twin_of": spec.rule.options.get("of"),
        "data": spec.data.source,
        "labels": spec.data.labels,
        "classes": _scalar(spec.data.classes, as_text=True),
        "network": spec.network.name,
        "width": spec.network.width,
        "epochs": spec.recipe.epochs,
        "seed": spec.seed,
        "last_block_accuracy": list(blocks.values())[-1] if blocks else None,
        "block_accuracies": json.dumps(blocks) if blocks else None,
        "separability": (result.get("data") or {}).get("separability"),
        "declared_locality": locality.get("declared"),
        "locality": locality.get("measured"),
        "certified": locality.get("certified"),
        "data_sha256": data_sha256(record),
        "protocol": spec.protocol,
        "names": spec.names,
        "command": f"{command_of(spec)} --threads {env.get('threads', 1)}",
    }
    row = {key: _finite(found[key] if key in found else result.get(key, env.get(key))) for key in _COLUMNS}
    return row | (dict(sorted(_options(spec))) if options else {})


def csv_text(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows as CSV that a spreadsheet cannot take for formulas: text that begins like one gets an apostrophe (see `unguarded`)."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow([_csv_cell(name) for name in columns])
    writer.writerows([_csv_cell(row.get(name)) for name in columns] for row in rows)
    return sink.getvalue()


def unguarded(text: str) -> str:
    """What a cell of `csv_text` said before its apostrophe."""
    return text[1:] if _GUARDED.match(text) else text


def _csv_cell(value: Any) -> str:
    value = _finite(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = text.replace("\x00", "").replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode()
    return f"'{text}" if _LOOKS_LIKE_A_FORMULA.match(text) else text


def data_sha256(record: RunRecord) -> str | None:
    """What the data of a run were; ``None`` where that was not recorded (0.1.0, other data than the embedded and the synthetic ones)."""
    data = record.result.get("data") or {}
    known = data.get("content_sha256") or record.spec.data.content_sha256
    return known or ((data.get("provenance") or {}).get("checksum") if record.spec.data.is_fixed else None)


def data_names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to call the data of each of some rows of `run_row`: the name; with the beginning of their sum where one name stands for several
    data; marked where nobody recorded what they were. A row without ``data_sha256`` says nothing of it.
    """
    sums: dict[Any, set[str]] = {}
    for row in rows:
        if row.get("data_sha256") and row.get("data") not in FIXED_SOURCES:
            sums.setdefault(_asked(row), set()).add(row["data_sha256"])
    return [_data_name(row, several=len(sums.get(_asked(row), ())) > 1) for row in rows]


def _asked(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What of a row may change the sum of the same data: the place, and how they are read."""
    return tuple(row.get(key) for key in ("data", "labels", "image_size", "data.image_size", "draw", "data.draw"))


def _data_name(row: Mapping[str, Any], *, several: bool) -> str:
    name, found = str(row.get("data") or ""), row.get("data_sha256", "")
    if not name or found == "":
        return name
    return f"{name} (data not recorded)" if found is None else f"{name} ({found[:8]})" if several else name


def _finite(value: Any) -> Any:
    """NaN and infinities, which neither JSON nor a spreadsheet knows, become ``None``; numpy's numbers plain ones."""
    if type(value) in (str, int, NoneType, bool):
        return value
    value = value.item() if hasattr(value, "item") and not isinstance(value, str) else value
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def _scalar(value: Any, *, as_text: bool = False) -> Any:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False) if as_text or isinstance(value, list | tuple | dict) else value


def _options(spec: RunSpec) -> list[tuple[str, Any]]:
    """Every field of the spec that has no column of its own, under its dotted name."""
    content = spec.model_dump(mode="json")
    found: dict[str, Any] = {}
    for section in ("data", "network", "rule", "recipe"):
        fields = content[section]
        nested = {key: fields.pop(key) or {} for key in ("options", "teacher") if key in fields}
        found |= {f"{section}.{key}": value for key, value in fields.items()}
        found |= {f"{section}.{key}": value for key, value in nested.get("options", {}).items() if key != "of"}
        found |= {f"{section}.teacher.{key}": value for key, value in nested.get("teacher", {}).items()}
    own = ("data.source", "data.labels", "data.classes", "network.name", "network.width", "rule.name", "recipe.epochs")
    return [(key, _scalar(_finite(value))) for key, value in found.items() if key not in own]


def _portable(record: RunRecord) -> RunRecord:
    """The record with files of this machine named without their folders."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        return PurePosixPath(value).name or value if isinstance(value, str) and value[:1] in "/~" else value

    spec = RunSpec.model_validate(plain(record.spec.model_dump(mode="json")))
    return RunRecord(record.hash, spec, record.env, record.result)


def _rows_below(path: Path, *, portable: bool = False) -> list[dict[str, Any]]:
    """The rows of a store, or of every store directly below a folder; ``store`` names the one they are from."""
    homes = (
        [path] if any(path.glob("*/DONE")) else sorted({done.parents[1] for done in path.glob("*/*/DONE")}) or [path]
    )
    rows: dict[str, dict[str, Any]] = {}
    problems: list[str] = []
    for home in homes:
        for record in RunStore(home).each(problems):
            if record.hash not in rows:
                rows[record.hash] = run_row(_portable(record) if portable else record)
                rows[record.hash]["store"] = "." if home == path else home.name
    warn_of(problems)
    if not rows:
        raise InputError(f"there is no finished run in {path}; `layerlocal audit --out {path}` makes some")
    return [rows[name] for name in sorted(rows)]


def _as_table(rows: list[dict[str, Any]]) -> pa.Table:
    rest = sorted({key for row in rows for key in row if key not in _COLUMNS})
    arrays = {name: _column([row.get(name) for row in rows], kind) for name, kind in _COLUMNS.items()}
    return pa.table(arrays | {name: _column([row.get(name) for row in rows], None) for name in rest})


def _column(values: list[Any], kind: pa.DataType | None) -> pa.Array:
    """Of one type: where runs differ in it (an option that is a number here and a word there) everything is text."""
    try:
        if {type(value) for value in values} - {type(None)} == {int, float}:
            kind = pa.float64()
        return pa.array(values, kind if kind is not None or any(v is not None for v in values) else pa.string())
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([_scalar(value, as_text=True) for value in values], pa.string())


def _read_table(path: Path) -> pa.Table:
    try:
        if path.suffix == ".csv":
            table = _read_csv(path)
        else:
            table = pq.read_table(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), "unreadable")
        raise InputError(f"{path} is not a table of runs ({reason}); `write_runs_table` writes one") from error
    missing = _NEEDED - set(table.column_names)
    if missing:
        raise InputError(
            f"{path} is not a table of runs (no column {sorted(missing)[0]!r}); `write_runs_table` writes one"
        )
    return table if "names" in table.column_names else _in_names_of_today(table)


def _in_names_of_today(table: pa.Table) -> pa.Table:
    """A table of an earlier version, with the rules' names of today."""
    for name in {"rule", "twin_of", "command"} & set(table.column_names):
        values = pa.array(names_of_today(table[name].to_pylist()), table.schema.field(name).type)
        table = table.set_column(table.column_names.index(name), name, values)
    return table


def _read_csv(path: Path) -> pa.Table:
    """Our own columns have their types whatever the cells look like (a hash of digits only is no number)."""
    with open(path, newline="", encoding="utf-8") as file:
        names = next(csv.reader(file), [])
    types = {name: _COLUMNS.get(unguarded(name), pa.string()) for name in names}
    options = pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""])
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    table = pyarrow.csv.read_csv(path, convert_options=options, parse_options=parse)
    columns = {unguarded(name): table[name].combine_chunks() for name in table.column_names}
    return pa.table({name: _typed(values, known=name in _COLUMNS) for name, values in columns.items()})


def _typed(values: pa.Array, *, known: bool) -> pa.Array:
    """An option's column as whole numbers, numbers, yes or no, or else as text without its apostrophes."""
    if not pa.types.is_string(values.type):
        return values
    for kind in (pa.int64(), pa.float64(), pa.bool_()):
        if not known and values.null_count < len(values):
            with contextlib.suppress(pa.ArrowInvalid):
                return values.cast(kind)
    return pa.array([None if value is None else unguarded(value) for value in values.to_pylist()], pa.string())
