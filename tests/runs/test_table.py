"""Finished runs as one table: planted stores (see planted_store), read by pandas, Parquet and CSV."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from layerlocal.runs.store import RunStore
from layerlocal.runs.table import load_runs, run_row, write_runs_table
from layerlocal.spec import RuleSpec, RunSpec
from layerlocal.types import InputError
from planted_store import plant_run, plant_store, planted_specs


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("planted") / "runs"
    plant_store(root, 33)
    return root


def rows_of(path: Path) -> dict[str, dict[str, object]]:
    return {row["run"]: row for row in load_runs(path).to_pylist()}


def test_one_row_a_finished_run_with_its_numbers(store: Path) -> None:
    rows = rows_of(store)
    specs = list(planted_specs(33))
    assert list(rows) == sorted(spec.hash for spec in specs)
    row = rows[specs[30].hash]  # seed 1, 2 classes, the rule: 90 − 1 + 0.1 %
    assert (
        row
        | {
            "rule": "class-goodness",
            "twin_of": None,
            "data": "planted-data",
            "labels": None,
            "classes": "2",
            "num_classes": 2,
            "network": "mlp",
            "width": 0.5,
            "epochs": 3,
            "seed": 1,
            "test_accuracy": 0.891,
            "validation_accuracy": 0.889,
            "last_block_accuracy": 0.891,
            "chance": 0.5,
            "samples_per_s": 2000.0,
            "train_seconds": 12.5,
            "peak_saved_bytes": 3 * 2**20,
            "flops_per_step": 1e9,
            "declared_locality": "block",
            "locality": "block",
            "certified": True,
            "protocol": 1,
            "threads": 1,
            "processor": "planted processor, nothing was trained",
            "rule.grid": 4,
            "network.depth": 4,
            "data.seed": 1,
            "recipe.learning_rate": 2e-3,
            "store": ".",
        }
        == row
    )
    assert json.loads(str(row["block_accuracies"])) == {
        "block0": 0.591,
        "block1": 0.691,
        "block2": 0.791,
        "block3": 0.891,
    }
    assert rows[specs[1].hash]["twin_of"] == "class-goodness" and rows[specs[1].hash]["locality"] == "global"
    assert str(row["command"]).startswith("layerlocal train --rule class-goodness --data planted-data")
    assert str(row["command"]).endswith("--seed 1 --threads 1")


def test_it_is_a_data_frame_for_pandas(store: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = load_runs(store).to_pandas()
    assert isinstance(frame, pandas.DataFrame) and len(frame) == 33
    means = frame[frame.seed == 0].groupby("rule").test_accuracy.mean()
    assert means.to_dict() == pytest.approx({"bp": 0.9, "bp-deepsup": 0.905, "class-goodness": 0.89})
    assert hasattr(load_runs(store), "__dataframe__")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_written_table_reads_back_the_same(store: Path, tmp_path: Path, ending: str) -> None:
    path = write_runs_table(store, tmp_path / f"runs.{ending}")
    assert path.name == f"runs.{ending}" and load_runs(path).equals(load_runs(store))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    first = path.read_bytes()
    write_runs_table(RunStore(store), path)
    assert path.read_bytes() == first


def test_a_hash_of_digits_stays_a_word_in_csv(store: Path, tmp_path: Path) -> None:
    path = write_runs_table(store, tmp_path / "runs.csv")
    with open(path, newline="") as file:
        head, first, *_ = list(csv.reader(file))
    first[0] = "12e4567890123456"
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([head, first])
    table = load_runs(path)
    assert table["run"].to_pylist() == ["12e4567890123456"] and table["seed"].type == pa.int64()


def test_text_like_a_formula_survives_csv(tmp_path: Path) -> None:
    spec = RunSpec(rule=RuleSpec(name="=cmd()", options={"style": "-x", "mode": "two\nlines"}))
    plant_run(tmp_path / "runs", spec)
    path = write_runs_table(tmp_path / "runs", tmp_path / "runs.csv")
    assert "'=cmd()" in path.read_text()
    (row,) = load_runs(path).to_pylist()
    assert (row["rule"], row["rule.style"], row["rule.mode"]) == ("=cmd()", "-x", "two\nlines")


def test_options_that_differ_in_kind_become_text_and_numbers_stay_numbers(tmp_path: Path) -> None:
    for options in ({"grid": 4, "rate": 1}, {"grid": "fine", "rate": 0.5}, {"grid": None, "rate": None}):
        plant_run(tmp_path / "runs", RunSpec(rule=RuleSpec(options=options)))
    table = load_runs(tmp_path / "runs")
    assert sorted(map(str, table["rule.grid"].to_pylist())) == ["4", "None", "fine"]
    assert table["rule.rate"].type == pa.float64() and set(table["rule.rate"].to_pylist()) == {1.0, 0.5, None}


def test_a_committed_table_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    rule = "/home/someone/rules/mine.py:Mine"
    spec = RunSpec(rule=RuleSpec(name="bp", options={"of": rule}), data={"source": "/data/set"})
    plant_run(tmp_path / "runs", spec)
    assert load_runs(tmp_path / "runs").to_pylist()[0]["data"] == "/data/set"
    for ending in ("csv", "parquet"):
        path = write_runs_table(tmp_path / "runs", tmp_path / f"runs.{ending}")
        (row,) = load_runs(path).to_pylist()
        assert (row["run"], row["twin_of"], row["data"]) == (spec.hash, "mine.py:Mine", "set")
        assert "/home" not in str(row) and "/data" not in str(row) and str(tmp_path) not in str(row)
        assert "rule.of=mine.py:Mine" in row["command"]


def test_a_folder_of_stores_is_one_table_and_a_run_in_two_of_them_counts_once(tmp_path: Path) -> None:
    specs = list(planted_specs(3))
    for name, own in (("a", specs[:2]), ("b", specs[1:])):
        for spec in own:
            plant_run(tmp_path / name, spec, test_accuracy=0.5 if name == "a" else 0.25)
    rows = rows_of(tmp_path)
    assert [(rows[s.hash]["store"], rows[s.hash]["test_accuracy"]) for s in specs] == [
        ("a", 0.5),
        ("a", 0.5),
        ("b", 0.25),
    ]


def test_a_result_without_its_newer_parts_has_holes_and_never_nan(tmp_path: Path) -> None:
    holes = {
        "locality": None,
        "block_accuracies": {},
        "validation_accuracy": None,
        "data": {},
        "samples_per_s": None,
    }
    plant_run(tmp_path / "runs", next(planted_specs(1)), **holes)
    (row,) = load_runs(tmp_path / "runs").to_pylist()
    (record,) = RunStore(tmp_path / "runs").finished()
    endless = dataclasses.replace(record, result=record.result | {"samples_per_s": float("inf")})
    assert run_row(endless)["samples_per_s"] is None
    for key in ("locality", "certified", "last_block_accuracy", "validation_accuracy", "separability", "samples_per_s"):
        assert row[key] is None


def test_a_row_without_options_has_the_same_first_columns(store: Path) -> None:
    record = RunStore(store).finished()[0]
    short, whole = run_row(record, options=False), run_row(record)
    assert (
        list(whole)[: len(short)] == list(short) and whole | short == whole and "rule.grid" in set(whole) - set(short)
    )


def test_what_is_no_store_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no run store .*table"):
        load_runs(tmp_path / "nothing")
    with pytest.raises(InputError, match="no finished run in"):
        load_runs(tmp_path)
    with pytest.raises(InputError, match=r"\.parquet or \.csv, .*'runs\.txt'"):
        write_runs_table(tmp_path, tmp_path / "runs.txt")
    with pytest.raises(InputError, match="no finished run in"):
        write_runs_table(tmp_path, tmp_path / "runs.csv")


@pytest.mark.parametrize("part", ["result.json", "spec.json", "DONE"])
def test_a_damaged_run_is_named(tmp_path: Path, part: str) -> None:
    plant_store(tmp_path / "runs", 2)
    name = next(planted_specs(1)).hash
    (tmp_path / "runs" / name / part).write_text("{")
    with pytest.warns(UserWarning, match=f"{name} is damaged"):
        rows = rows_of(tmp_path / "runs")
    assert len(rows) == 1 and name not in rows


def test_a_run_in_progress_is_left_out(tmp_path: Path) -> None:
    specs = plant_store(tmp_path / "runs", 3)
    (tmp_path / "runs" / specs[0].hash / "DONE").unlink()
    assert set(rows_of(tmp_path / "runs")) == {spec.hash for spec in specs[1:]}


@pytest.mark.parametrize("content", [b"", b"PAR1 no", b"\x00\xff\xfe", b"a,b\n1,2\n", b"run,rule\n1\n"])
@pytest.mark.parametrize("ending", ["csv", "parquet", "txt"])
def test_a_file_that_is_no_table_of_runs_is_one_sentence(tmp_path: Path, content: bytes, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"x.{ending} .*write_runs_table") as error:
        load_runs(path)
    assert "\n" not in str(error.value)


def test_another_table_is_refused_by_the_column_it_lacks(tmp_path: Path) -> None:
    pq.write_table(pa.table({"run": ["a"], "rule": ["bp"], "seed": [0]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="no column 'test_accuracy'"):
        load_runs(tmp_path / "x.parquet")


def test_a_folder_of_published_results_is_its_table_and_a_store_is_not(tmp_path: Path, store: Path) -> None:
    """Published: a table and no run folder. A store that a table was written into is still read run by run."""
    results = tmp_path / "results"
    results.mkdir()
    write_runs_table(store, results / "runs.parquet")
    assert load_runs(results).to_pylist() == load_runs(store).to_pylist()
    mixed = tmp_path / "mixed"
    plant_run(mixed, RunSpec())
    write_runs_table(store, mixed / "runs.parquet")
    assert [row["run"] for row in load_runs(mixed).to_pylist()] == [RunSpec().hash]
