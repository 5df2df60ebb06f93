"""Logs of training: what the table of metrics holds, one line an epoch, of a continued run too, and no two runs in one place."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from layerlocal import CsvLogger, InputError, Recipe, TensorBoardLogger, WandbLogger, data_from_arrays, fit, run_spec
from layerlocal.runs.run import RunEvent
from layerlocal.runs.store import RunStore
from layerlocal.spec import DataSpec, NetworkSpec, RunSpec
from layerlocal.training.loggers import LOGGERS, make_logger

SPEC = RunSpec(
    data=DataSpec(source="teacher_student", classes=3, num_train=96, num_test=32),
    network=NetworkSpec(name="mlp", options={"depth": 2, "hidden": 16}), recipe=Recipe(epochs=3, batch_size=32),
)  # fmt: skip
TINY = [
    "train", "--data", "teacher_student", "--network", "mlp", "--epochs", "2",
    *(f"--set={text}" for text in ("data.classes=3", "data.num_train=96", "data.num_test=32", "network.depth=2", "network.hidden=16")),
    "--set=recipe.batch_size=32",
]  # fmt: skip


class Listed:
    """A logger of one's own."""

    def __init__(self):
        self.epochs, self.closed = [], 0

    def log(self, epoch, values):
        self.epochs.append((epoch, dict(values)))

    def close(self):
        self.closed += 1


class Stop(Exception):
    pass


def expected(store, name):
    """Epoch → name → number, of the table of metrics."""
    found = {}
    for row in store.metrics(name).to_pylist():
        block = "" if row["block"] == "all" and row["metric"] != "train_loss" else f"/{row['block']}"
        found.setdefault(row["epoch"], {})[row["metric"] + block] = row["value"]
    return found


def table(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {int(row.pop("epoch")): {name: float(value) for name, value in row.items()} for row in rows}, len(rows)


def begun(store, logger=None):
    """The run, stopped in its second epoch."""

    def stop(event: RunEvent):
        if event.epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        run_spec(SPEC, store, listen=stop, logger=logger)


def small():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(64, 6, generator=generator), torch.arange(64) % 3
    return data_from_arrays(x, y)


# --- what is logged ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["class-goodness", "bp"])
def test_a_log_holds_the_numbers_of_the_table_of_metrics_epoch_by_epoch(tmp_path, rule):
    store, mine = RunStore(tmp_path / "runs"), Listed()
    record = run_spec(SPEC.with_settings({"rule.name": rule}), store, logger=mine)
    assert dict(mine.epochs) == expected(store, record.hash) and [epoch for epoch, _ in mine.epochs] == [1, 2, 3]
    assert mine.closed == 1
    names = set(mine.epochs[0][1])
    blocks = {"train_loss/all"} if rule == "bp" else {"train_loss/block0", "train_loss/block1"}
    assert names >= {"learning_rate", "train_seconds", "samples_per_s", "validation_accuracy/fused", *blocks}


def test_fit_takes_a_logger_of_ones_own_and_closes_it_at_the_end_and_after_a_fault():
    mine, seen = Listed(), []
    fitted = fit("local-heads", small(), Recipe(epochs=2, batch_size=8), logger=mine, on_epoch=seen.append)
    assert [epoch for epoch, _ in mine.epochs] == [1, 2] and mine.closed == 1 and seen == list(fitted.records)
    for (_, values), record in zip(mine.epochs, fitted.records, strict=True):
        assert values["train_loss/block0"] == record.losses["block0"]
        assert values["validation_accuracy/fused"] == record.validation.accuracy
        assert values["learning_rate"] == record.learning_rate
    with pytest.raises(InputError):
        fit("local-heads", small(), Recipe(epochs=1, batch_size=8, learning_rate=1e30), logger=mine)
    assert mine.closed == 2


@pytest.mark.parametrize("wrong", [3, "csv", CsvLogger, SimpleNamespace(log=print)])
def test_what_is_no_logger_is_refused_before_anything_is_trained(wrong):
    with pytest.raises(InputError, match="logger"):
        fit("local-heads", small(), Recipe(epochs=1, batch_size=8), logger=wrong)


# --- runs that are continued ------------------------------------------------------------------------------------------


def test_a_continued_run_has_every_epoch_once_in_its_csv_also_where_the_log_was_lost_or_is_of_more_epochs(tmp_path):
    store = RunStore(tmp_path / "runs")
    path = tmp_path / "log" / "a.csv"
    begun(store, CsvLogger(path))
    assert set(table(path)[0]) == {1}
    path.write_text("epoch,train_loss/block0\n1,9\n2,9\n3,9\n4,9\n")  # of something else, or of a run that was deleted
    record = run_spec(SPEC, store, logger=CsvLogger(path))
    found, lines = table(path)
    assert lines == 3 and found == expected(store, record.hash)


def test_a_finished_run_logs_nothing_and_closes_the_logger(tmp_path):
    store, mine = RunStore(tmp_path / "runs"), Listed()
    run_spec(SPEC, store)
    run_spec(SPEC, store, logger=mine)
    assert mine.epochs == [] and mine.closed == 1


def test_a_number_that_comes_later_gets_a_column_of_its_own(tmp_path):
    log = CsvLogger(tmp_path / "a.csv")
    log.log(1, {"a": 1.0})
    log.log(2, {"a": 2.0, "b": 0.1})
    assert (tmp_path / "a.csv").read_text() == "epoch,a,b\n1,1.0,\n2,2.0,0.1\n"
    log.log(2, {"a": 3.0})
    assert (tmp_path / "a.csv").read_text() == "epoch,a\n1,1.0\n2,3.0\n"


# --- TensorBoard and wandb, by what is called of them -----------------------------------------------------------------


@pytest.fixture
def scalars(monkeypatch):
    """What SummaryWriters were told: folder → [(purged from, {(name, epoch): value})]."""
    told = {}

    class Writer:
        def __init__(self, folder, purge_step=None):
            self.mine = {}
            told.setdefault(folder, []).append((purge_step, self.mine))

        def add_scalar(self, name, value, epoch):
            assert (name, epoch) not in self.mine
            self.mine[name, epoch] = value

        def flush(self):
            pass

        close = flush

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    return told


def test_tensorboard_has_every_epoch_of_a_continued_run_and_hides_those_of_the_file_before(tmp_path, scalars):
    store = RunStore(tmp_path / "runs")
    begun(store, TensorBoardLogger(tmp_path / "board"))
    record = run_spec(SPEC, store, logger=TensorBoardLogger(tmp_path / "board"))
    [(first, before), (second, after)] = scalars[str(tmp_path / "board")]
    assert (first, second) == (1, 1) and {epoch for _, epoch in before} == {1}
    assert after == {(name, n): v for n, values in expected(store, record.hash).items() for name, v in values.items()}


def test_tensorboard_itself_shows_each_epoch_once(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    store = RunStore(tmp_path / "runs")
    begun(store, TensorBoardLogger(tmp_path / "board"))
    record = run_spec(SPEC, store, logger=TensorBoardLogger(tmp_path / "board"))
    shown = reader.EventAccumulator(str(tmp_path / "board")).Reload()
    for name, value in expected(store, record.hash)[2].items():
        assert [event.step for event in shown.Scalars(name)] == [1, 2, 3]
        assert shown.Scalars(name)[1].value == pytest.approx(value)


@pytest.fixture
def wandb(monkeypatch):
    """A module with the calls that are made: the arguments of `init`, what was logged, how often it was finished."""
    told = SimpleNamespace(inits=[], logged=[], finished=0)

    def finish():
        told.finished += 1

    def init(**words):
        told.inits.append(words)
        return SimpleNamespace(log=lambda values, step: told.logged.append((step, values)), finish=finish)

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    return told


def test_wandb_gets_a_run_of_its_own_that_is_continued_by_its_id(tmp_path, wandb):
    store = RunStore(tmp_path / "runs")
    record = run_spec(SPEC, store, logger=make_logger("wandb", store.root, SPEC.hash))
    assert wandb.inits == [
        {"project": "layerlocal", "id": record.hash, "name": record.hash, "resume": "allow", "dir": str(store.root)}
    ]
    assert dict(wandb.logged) == expected(store, record.hash) and wandb.finished == 1
    WandbLogger("mine").close()
    assert wandb.inits[1] == {"project": "mine"}


def test_what_wandb_says_is_one_sentence(monkeypatch):
    def init(**_):
        raise RuntimeError("api_key not configured\n(no-tty)")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    with pytest.raises(InputError, match="api_key not configured; log in") as refused:
        WandbLogger()
    assert "\n" not in str(refused.value)


# --- the command ------------------------------------------------------------------------------------------------------


def test_runs_of_one_store_have_logs_of_their_own_and_a_finished_one_says_where_its_numbers_are(cli):
    for seed in ("0", "1"):
        code, out, err = cli(*TINY, "--logger", "csv", "--seed", seed, "--json")
        assert code == 0, err
        name = json.loads(out)["run"]
        assert table(f"runs/csv/{name}.csv")[0] == expected(RunStore("runs"), name)
    assert len(list(Path("runs/csv").iterdir())) == 2
    code, _, err = cli(*TINY, "--logger", "csv", "--seed", "1")
    assert code == 0 and f"runs/{name}/metrics.parquet" in err and "nothing is logged" in err


@pytest.mark.parametrize(("kind", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")])
def test_without_an_extra_its_logger_names_it_and_nothing_is_trained(refused, monkeypatch, kind, module):
    monkeypatch.setitem(sys.modules, module, None)
    assert f"layerlocal[{kind}]" in refused(*TINY, "--logger", kind)
    assert not Path("runs").exists()


def test_an_unknown_logger_is_refused_with_those_there_are(refused):
    sentence = refused(*TINY, "--logger", "cvs")
    assert "'cvs'" in sentence and all(name in sentence for name in LOGGERS)
