"""`show` says of every run what it is, and finds those that are asked for; the store is written by hand of one trained run."""

from __future__ import annotations

import json
import os
import shutil
from datetime import datetime
from pathlib import Path

import pytest

from layerlocal.runs.store import RunStore
from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RuleSpec, RunSpec

RUNS = [  # rule, twin of, data, network, seed, day, accuracy
    ("class-goodness", None, "cifar10", "vgg8", 0, 1, 0.5),
    ("bp", "class-goodness", "cifar10", "vgg8", 0, 2, 0.9),
    ("ff", None, "./images/cats", "cnn4", 1, 3, 0.7),
    ("my/rule.py:Mine", None, "cifar10", "cnn4", 1, 4, 0.8),
    ("bp", "my/rule.py:Mine", "./images/cats", "vgg8", 0, 5, 0.6),
]


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Five finished runs, one a day."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "250")
    store, names = RunStore("runs"), []
    store.prepare()
    for rule, of, data, network, seed, day, accuracy in RUNS:
        spec = RunSpec(
            data=DataSpec(source=data, content_sha256="0" * 64), network=NetworkSpec(name=network, width=0.25), seed=seed,
            rule=RuleSpec(name=rule, options={"of": of} if of else {}), recipe=Recipe(epochs=3),
        )  # fmt: skip
        with store.open(spec) as folder:
            result = {"run": spec.hash, "rule": rule, "test_accuracy": accuracy}
            folder.finish(env={"threads": 1}, result=result, metrics=[(1, "train_loss", "all", 2.0)])
        when = datetime(2026, 1, day, 12).timestamp()
        os.utime(store.root / spec.hash / "DONE", (when, when))
        names.append(spec.hash)
    return names


def shown(cli, *words):
    """The runs that are listed, by number, in order."""
    code, out, err = cli("show", *words, "--json")
    assert code == 0, err
    return [found["run"] for found in json.loads(out)]


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ([], [0, 1, 2, 3, 4]),
        (["--rule", "class-goodness"], [0, 1]),
        (["--rule", "bp"], [1, 4]),
        (["--rule", "my/rule.py:Mine"], [3, 4]),
        (["--rule", "rule.py:Mine"], [3, 4]),
        (["--data", "cifar10"], [0, 1, 3]),
        (["--data", "images/cats/"], [2, 4]),
        (["--network", "cnn4"], [2, 3]),
        (["--seed", "0"], [0, 1, 4]),
        (["--since", "2026-01-03"], [2, 3, 4]),
        (["--limit", "2"], [3, 4]),
        (["--sort", "accuracy", "--limit", "2"], [1, 3]),
        (["--sort", "rule"], [1, 4, 0, 2, 3]),
        (["--rule", "bp", "--data", "cifar10", "--seed", "0"], [1]),
        (["--rule", "nobody"], []),
    ],
    ids=str,
)  # fmt: skip
def test_runs_are_found_by_what_they_are(cli, store, words, numbers):
    found = shown(cli, *words)
    if "rule" in words and "--sort" in words:
        assert sorted(found[:2]) == sorted([store[1], store[4]]) and found[2:] == [store[n] for n in numbers[2:]]
    else:
        assert found == [store[number] for number in numbers]


def test_a_row_says_when_what_and_whose_twin(cli, store):
    code, out, _ = cli("show", "--rule", "bp")
    head, *rows, last = out.splitlines()
    assert code == 0 and last == "2 of 5 runs"
    assert head.split() == [
        "run",
        "finished",
        "rule",
        "twin",
        "of",
        "data",
        "network",
        "width",
        "epochs",
        "seed",
        "test",
        "accuracy",
    ]
    assert rows[0].split() == [
        store[1],
        "2026-01-02",
        "12:00",
        "bp",
        "class-goodness",
        "cifar10",
        "vgg8",
        "0.25",
        "3",
        "0",
        "90.0%",
    ]
    assert "rule.py:Mine" in rows[1]


def test_json_has_the_whole_spec_and_the_time(cli, store):
    found = json.loads(cli("show", "--limit", "1", "--json")[1])
    assert RunSpec.parse(found[0]["spec"]).hash == store[4] and found[0]["finished"].startswith("2026-01-05T12:00:00")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--since", "yesterday"], "--since takes a day as YYYY-MM-DD, got 'yesterday'"),
        (["--sort", "acuracy"], "Did you mean 'accuracy'?"),
        (["0123", "--rule", "bp"], "a run's hash names one run"),
    ],
)
def test_what_cannot_be_asked_is_refused(refused, store, words, said):
    assert said in refused("show", *words)


def test_a_store_without_runs_says_so_and_one_of_a_search_where_its_trials_are(cli, store, tmp_path):
    (tmp_path / "search").mkdir()
    (tmp_path / "empty").mkdir()
    shutil.copytree("runs", "search/tune")
    code, out, _ = cli("show", "--out", "empty")
    assert (code, out) == (0, "empty has no finished runs\n")
    code, out, _ = cli("show", "--out", "search")
    assert code == 0 and out.count("\n") == 1
    assert "trials of a search" in out and "`layerlocal show --out search/tune`" in out
    assert cli("show", "--out", "search", "--json")[1] == "[]\n"
    assert cli("show", "--out", "search/tune")[1].count("\n") == 1 + len(RUNS)


def test_published_results_are_no_store_and_that_is_said(refused, tmp_path):
    (tmp_path / "results").mkdir()
    shutil.copy(Path(__file__).resolve().parents[2] / "results" / "runs.parquet", tmp_path / "results")
    sentence = refused("show", "--out", "results")
    assert "holds published results, not runs" in sentence and "load_runs('results')" in sentence


def test_a_long_list_has_the_columns_of_a_short_one(cli, store, monkeypatch):
    short = cli("show")[1].splitlines()
    monkeypatch.setattr("layerlocal.cli.show.MOST_LAID_OUT", 2)
    long = cli("show")[1].splitlines()
    assert [line.split() for line in long] == [line.split() for line in short] and len(long) == 1 + len(store)
