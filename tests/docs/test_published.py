"""`results/` is whole: every run behind a published number is a row of its table, under the hash of its spec, with the number that is quoted."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from layerlocal.runs.table import load_runs
from layerlocal.types import InputError

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
FILES = sorted(RESULTS.glob("*.json"))


@pytest.fixture(scope="module")
def table():
    found = {}
    for row in load_runs(RESULTS).to_pylist():
        found.setdefault(row["run"], []).append(row)
    return found


@pytest.fixture
def script(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    import published_runs

    return published_runs


def words_in(content):
    """Every text of a JSON content, keys too; what is `missing` was never run."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield key
            yield from () if key == "missing" else words_in(value)
    elif isinstance(content, list):
        for value in content:
            yield from words_in(value)
    elif isinstance(content, str):
        yield content


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_run_that_a_results_file_names_is_in_the_table(table, path):
    named = {name for text in words_in(json.loads(path.read_text())) for name in re.findall(r"\b[0-9a-f]{16}\b", text)}
    assert named - table.keys() == set()


def test_the_table_knows_the_runs_of_the_protocol_and_of_the_audit(table):
    for file, names in (
        ("cpu_protocol.json", json.loads((RESULTS / "cpu_protocol.json").read_text())["runs"]),
        ("audit-quick.json", list(json.loads((RESULTS / "audit-quick.json").read_text())["specs"])),
    ):
        assert len(names) == 72
        assert all(any(file in row["published_in"].split(", ") for row in table[name]) for name in names)


@pytest.mark.parametrize("path", sorted(RESULTS.glob("study-*.json")), ids=lambda path: path.name)
def test_accuracies_of_a_study_are_those_of_the_table(table, path):
    for row in json.loads(path.read_text())["rows"]:
        for method, name in row["runs"].items():
            assert row[method] in [
                of["test_accuracy"] for of in table[name] if path.name in of["published_in"].split(", ")
            ]


def test_every_number_of_a_benchmark_stands_in_the_table_once(script, table):
    """n is not inflated: two rows of one run differ in a number, and each number of each file is one row's."""
    count = {}
    for quoted in script.quoted_runs(RESULTS):
        here = [row for row in table[quoted.run] if quoted.file in row["published_in"].split(", ")]
        for key in ("test_accuracy", "validation_accuracy"):
            if quoted.result.get(key) is not None:
                assert [row[key] for row in here] == [quoted.result[key]], (quoted.file, quoted.run)
        count.setdefault(quoted.file, set()).add(quoted.run)
    sizes = {file: len(names) for file, names in count.items()}
    assert sizes["cpu_protocol.json"] == sizes["cpu_protocol_one_setting.json"] == sizes["audit-quick.json"] == 72
    assert sizes["equal_time.json"] == 7 and sizes["readout_grid.json"] == 27 and len(sizes) == 20
    for rows in table.values():
        numbers = [(row["test_accuracy"], row["validation_accuracy"], row["block_accuracies"]) for row in rows]
        assert len(set(numbers)) == len(rows)


def test_a_row_says_where_it_is_from(table):
    for rows in table.values():
        for row in rows:
            assert row["store"] == "." or row["store"] in row["published_in"].split(", ")
            assert row["published_in"], row["run"]


def test_making_the_table_again_gives_the_same_rows(script, table):
    rows = [row for rows in table.values() for row in rows if row["store"] == "."]
    rows = script.with_commands(rows, RESULTS)
    again = script.merge(rows, script.quoted_runs(RESULTS), script.names_in_studies(RESULTS))
    assert [{k: v for k, v in row.items() if v is not None} for row in again] == [
        {k: v for k, v in row.items() if v is not None} for name in sorted(table) for row in table[name]
    ]


@pytest.mark.parametrize("file", ["audit-quick.json", "cpu_protocol.json", "tuned_long.json", "free_segments.json"])
def test_a_run_whose_hash_is_not_the_published_one_is_refused(script, tmp_path, file):
    text = (RESULTS / file).read_text()
    content = json.loads(text)
    if file == "audit-quick.json":
        next(iter(content["specs"].values()))["seed"] = 77
    elif file == "cpu_protocol.json":
        content["rows"][0]["settings"]["local"]["recipe.learning_rate"] = 0.5
    elif file == "tuned_long.json":
        content["methods"][0]["trials"][0]["settings"]["recipe.learning_rate"] = 0.5
    else:
        content["runs"] = dict.fromkeys(content["runs"], "0" * 16)
    (tmp_path / file).write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"results/{file}: .* is [0-9a-f]{{16}} here, and the file names"):
        list(script.quoted_runs(tmp_path))
