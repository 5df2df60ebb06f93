"""Experiments on text: studies with a scale of their own, what is not about text refused before anything is trained, and the words of pages."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from layerlocal import tune
from layerlocal.data.task import task_of
from layerlocal.data.text import BYTES
from layerlocal.experiments.driver import How
from layerlocal.experiments.stored import write_report
from layerlocal.experiments.studies import STUDIES
from layerlocal.experiments.studies.base import plan_runs
from layerlocal.experiments.studies.driver import Studied
from layerlocal.experiments.tune import network_of_trials
from layerlocal.runs.store import RunStore
from layerlocal.spec import DataSpec
from layerlocal.types import InputError

SMALL = [
    "--set",
    "data.num_train=120",
    "--set",
    "data.num_test=20",
    "--set",
    "data.context=16",
    "--set",
    "network.depth=2",
]


TAKEN = [("python_library", "gpt"), ("teacher_student", "mlp"), ("fashion_mnist_subset", "vgg8")]
"""What is trained where no network is named."""


@pytest.mark.parametrize(("data", "network"), TAKEN)
def test_without_a_name_train_takes_the_network_of_the_data(monkeypatch, cli, data, network):
    asked = []

    def capture(spec, *_, **__):
        asked.append(spec)
        raise InputError("captured")

    monkeypatch.setattr("layerlocal.runs.run.run_spec", capture)
    cli("train", "--data", data, "--width", "0.25")
    cli("train", "--data", data, "--width", "0.25", "--network", "cnn4")
    assert [spec.network.name for spec in asked] == [network, "cnn4"]
    assert {spec.network.width for spec in asked} == {0.25}


@pytest.mark.parametrize(("data", "network"), TAKEN)
def test_without_a_name_a_search_takes_the_network_of_the_data_in_the_shell_and_in_python(
    monkeypatch, cli, data, network
):
    asked = []

    def capture(plan, *_, **__):
        asked.append(plan)
        raise InputError("captured")

    for name in ("run_tuning", "forecast_tuning"):
        monkeypatch.setattr(f"layerlocal.experiments.tune.driver.{name}", capture)
    cli("tune", "--data", data)
    cli("tune", "--data", data, "--dry-run", "--set", "data.num_train=100")
    for options in ({}, {"network": "cnn4"}, {"settings": {"network.name": "cnn4"}}):
        with pytest.raises(InputError, match="captured"):
            tune(data=data, **options)
    assert [plan.network.name for plan in asked] == [network] * 3 + ["cnn4"] * 2
    assert all(plan.network.fused and "network.name" not in plan.settings for plan in asked)


def test_a_folder_of_text_is_known_for_text_by_the_column_that_a_setting_names(tmp_path):
    for split in ("train", "test"):
        pq.write_table(pa.table({"poem": ["a" * 30], "label": [0]}), tmp_path / f"{split}.parquet")
    settings = {"data.labels": "poem", "recipe.epochs": 1}
    assert network_of_trials(str(tmp_path), settings).name == "gpt"
    assert network_of_trials(str(tmp_path), {}).name == "vgg8"
    assert settings == {"data.labels": "poem", "recipe.epochs": 1}


@pytest.mark.parametrize("size", ["quick", "medium", "standard", "full"])
def test_a_study_of_text_has_a_network_and_a_recipe_for_it(size):
    plan = Studied(STUDIES["accuracy"], size, seeds=1, data=["python_library"]).plan(Path("nowhere"), How())
    for spec in dict(plan_runs(STUDIES["accuracy"], plan)).values():
        assert spec.network.name == "gpt"
        assert not spec.recipe.crop and not spec.recipe.flip and not spec.recipe.cutout
        task = task_of(spec.data)
        assert (task.vocabulary, task.num_classes) == (256, 256) and task.num_test <= spec.data.num_test


@pytest.mark.parametrize("seed", range(5))
def test_the_text_has_the_samples_that_a_study_asks_for_whatever_its_seed(seed):
    from layerlocal.experiments.studies.scale import SIZES_OF

    train, tested, _ = SIZES_OF["python_library"]
    task = task_of(DataSpec(source="python_library", num_train=train, num_test=tested, seed=seed))
    assert task.num_train + task.num_validation <= train and task.num_test == tested


@pytest.mark.parametrize("name", [name for name, study in STUDIES.items() if not study.takes_text and study.most_data])
def test_a_study_of_classes_or_pixels_refuses_text_in_a_sentence(refused, name):
    sentence = refused("study", name, "--data", "python_library", "--network", "gpt", "--dry-run")
    assert sentence.startswith(f"python_library is text, and the study '{name}' trains networks for images")
    assert "`layerlocal train --data python_library --network gpt` trains on text" in sentence


@pytest.mark.parametrize("more", [[], ["--network", "gpt"]])
def test_the_audit_refuses_text_in_a_sentence(refused, more):
    sentence = refused("audit", "--data", "python_library", *more, "--dry-run")
    assert sentence.startswith("python_library is text, and the audit trains networks for images")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["study", "accuracy", "--data", "python_library", "--network", "vgg8"], "network 'vgg8' takes images, not text; for text take gpt"),
        (["study", "accuracy", "--data", "fashion_mnist_subset", "--network", "gpt"], "network 'gpt' takes text, not images; for images take "),
        (["study", "accuracy", "--data", "python_library", "--rules", "ff"], "rule 'ff' makes inputs of its own"),
        (["audit", "--network", "gpt"], "network 'gpt' takes text, not images"),
        (["tune", "--data", "python_library", "--network", "vgg8"], "network 'vgg8' takes images, not text; for text take gpt"),
        (["tune", "--network", "gpt"], "network 'gpt' takes text, not images"),
        (["tune", "--data", "python_library", "--network", "gpt", "--rules", "symba"], "rule 'symba' makes inputs of its own"),
    ],
)  # fmt: skip
def test_networks_and_data_of_two_kinds_are_refused_before_anything_is_trained(refused, words, sentence):
    assert sentence in refused(*words, "--dry-run")
    assert sentence in refused(*words, "--workers", "1")
    assert not list(Path().glob("runs/*/DONE"))


def test_the_study_accuracy_on_text_is_of_the_next_bytes_block_by_block(cli):
    code, out, err = cli(
        "study", "accuracy", "--data", "python_library", "--rules", "local-heads", "--seeds", "1", "--workers", "1", "--no-controls",
        "--set", "recipe.epochs=1", *SMALL, "--json",
    )  # fmt: skip
    assert code == 0, err
    summary = json.loads(out)
    [row] = summary["rows"]
    runs = {name: RunStore(Path("runs")).load(run).result for name, run in row["runs"].items()}
    assert {result["num_test"] for result in runs.values()} == {20 * 16}
    assert {name: row[name] for name in runs} == {name: result["test_accuracy"] for name, result in runs.items()}
    assert row["blocks"]["local"].keys() == {"block0", "block1"}
    assert any("accuracies are shares of the bytes of the test text" in note for note in summary["notes"])
    page = write_report(Path("runs")).read_text()
    assert "python_library" in page and BYTES[7] not in page


def test_a_search_on_text_says_that_bytes_are_counted_and_names_of_bytes_are_nowhere_stored(cli):
    words = ["tune", "--data", "python_library", "--network", "gpt", "--rule", "local-heads", "--trials", "1"]
    code, out, err = cli(*words, "--epochs", "1", "--width", "0.25", "--workers", "1", *SMALL)
    assert code == 0, err
    assert "local-heads: validation accuracy of the next byte " in out
    page = write_report(Path("runs")).read_text()
    assert "best validation accuracy of the next byte" in page
    results = [path.read_text() for path in Path("runs").rglob("result.json")]
    assert results and all("class_names" not in text and BYTES[7] not in text for text in results)


def test_a_run_of_text_is_shown_and_exported_without_its_classes_being_told(cli):
    import torch

    code, out, err = cli(
        "train", "--data", "python_library", "--network", "gpt", "--epochs", "1", "--width", "0.25", *SMALL, "--json"
    )
    assert code == 0, err
    run = json.loads(out)["run"]
    shown = cli("show", run)[1]
    assert "bits a byte" in shown and BYTES[7] not in shown + cli("show", run, "--json")[1]
    assert cli("export", run, "--torch", "net.pt2")[0] == 0
    scores = torch.export.load("net.pt2").module()(torch.zeros(2, 16, dtype=torch.uint8))
    assert scores.shape == (2, 16, 256)
