"""What the documents say of the results of benchmarks is what the committed files hold."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), str(ROOT / "scripts"), *sys.path])


def test_the_table_of_the_docs_is_that_of_the_results(benchmarks):
    from trainer_figure import table

    assert table(json.loads((ROOT / "results/trainer.json").read_text())) in (ROOT / "results/trainer.md").read_text()


def test_how_often_intervals_hold_a_planted_truth_is_in_the_docs_as_it_was_counted(benchmarks):
    from interval_coverage import tables

    found = json.loads((ROOT / "results/interval_coverage.json").read_text())
    for table in tables(found).split("\n\n"):
        assert table in (ROOT / "docs/report.md").read_text()
    both = [one["both"] for by_n in found["worlds"].values() for one in by_n.values()]
    assert min(both) > 0.93 and max(both) < 0.98


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_the_smallest_price_in_the_card_is_that_of_the_results(benchmarks, data):
    import published_figures

    from layerlocal.words import difference

    price = published_figures.prices()[data]["+ wide readers"]
    assert difference(price).removesuffix(", n=3") in (ROOT / "docs/rules/committee.md").read_text()


@pytest.mark.parametrize("name", ["cpu_protocol", "cpu_protocol_one_setting"])
def test_the_tables_of_the_protocol_in_the_docs_are_those_of_the_results(benchmarks, name):
    from published_figures import table

    assert (
        table(json.loads((ROOT / f"results/{name}.json").read_text())["rows"])
        in (ROOT / "docs/findings-appendix.md").read_text()
    )


def test_what_rules_keep_is_counted_for_all_and_as_the_trainer_counts_it(benchmarks):
    from layerlocal.rules import list_rules

    rows = {row["rule"]: row for row in json.loads((ROOT / "results/rule_memory.json").read_text())["rows"]}
    assert rows.keys() == set(list_rules())
    for other in json.loads((ROOT / "results/trainer.json").read_text())["memory"]:
        rule, _, fused = other["method"].partition(", ")
        if other["network"] == "vgg8" and fused == "fused" and rule in rows:
            assert rows[rule]["width"] == other["width"]
            assert rows[rule]["peak_saved_bytes"] == other["peak_saved_bytes"]
            assert rows[rule]["flops_per_step"] == other["flops_per_step"]


def test_every_published_figure_can_be_drawn_again(benchmarks):
    import published_figures

    names = published_figures.published()
    assert len(names) == 8 and all((ROOT / f"{name}.{form}").is_file() for name in names for form in ("svg", "pdf"))


# --- the protocol for one GPU, on the CPU ------------------------------------------------------------------------------------


def test_the_gpu_protocol_runs_whole_in_small_and_keeps_every_result(benchmarks, tmp_path, monkeypatch, capsys):
    import gpu_protocol

    words = f"--smoke --out {tmp_path} --parts speed accuracy --methods local-heads --minutes 5".split()
    monkeypatch.setattr("gpu_speed.FIRST", ("bp", "local-heads"))
    monkeypatch.setattr(sys, "argv", ["gpu_protocol.py", *words])
    gpu_protocol.main()
    rows = [json.loads(line) for line in (tmp_path / "gpu_protocol.jsonl").read_text().splitlines()]
    assert [row["part"] for row in rows] == ["start", *["speed"] * 2, "accuracy"]
    assert rows[1]["speed_ratio"]["median"] == 1 and rows[2]["saved_bytes_a_sample"] < rows[1]["saved_bytes_a_sample"]
    run = rows[3]
    assert (run["cut"], len(run["epochs"]), len(run["test_blocks"])) == (False, 1, 6)
    assert run["train_seconds"] == run["epochs"][-1]["seconds"] and 0 <= run["test_augmented"] <= 1
    said = capsys.readouterr().out
    assert "fashion_mnist_subset: test accuracy" in said and "local-heads" in said.rpartition("held out")[2]


def test_without_a_gpu_the_protocol_says_so_in_one_sentence(benchmarks, monkeypatch):
    import gpu_protocol

    from layerlocal.types import InputError

    monkeypatch.setattr(gpu_protocol.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_protocol.py"])
    with pytest.raises(
        InputError, match=r"^torch \S+ (is a build without CUDA|finds no GPU here); run it where there is one"
    ):
        gpu_protocol.main()


def test_a_run_without_time_is_left_out_or_cut_and_says_so(benchmarks, monkeypatch):
    import gpu_accuracy
    from gpu_protocol import Budget, asked
    from gpu_summary import summary

    given = asked(["--smoke", "--methods", "bp"])
    assert list(gpu_accuracy.runs(given, "cpu", Budget(0))) == []
    data = gpu_accuracy.read(None, "fashion_mnist_subset", "cpu", num_train=200)

    class AnEpoch(Budget):
        def left(self):
            self.asked = getattr(self, "asked", 0) + 1
            return 60 if self.asked == 1 else -1

    row = gpu_accuracy.run("bp", data, 0, "cpu", AnEpoch(1), epochs=3, precision="float32", smoke=True)
    assert row["cut"] and len(row["epochs"]) == 1 and "test" not in row and data.test_reads == 0
    assert summary([row | {"part": "accuracy"}], {}).endswith("1 runs were cut off")


def test_seconds_to_an_accuracy_are_those_of_the_first_epoch_with_as_much(benchmarks):
    from gpu_accuracy import reached

    epochs = [{"seconds": s, "validation": a} for s, a in ((2.0, 0.5), (4.0, 0.91), (6.0, 0.89), (8.0, 0.93))]
    assert [reached(epochs, "validation", target) for target in (0.5, 0.9, 0.92, 0.94)] == [2.0, 4.0, 8.0, None]


def test_the_rate_of_the_protocol_is_the_papers_for_a_mean_over_the_batch(benchmarks):
    """airbench94, whose loss is summed over a batch of 1,024: rate 11.5 and decay 0.0153 · 1024, both over 1024 · (1 + 1 / 0.15)."""
    from gpu_accuracy import recipe_of

    rate, decay = 11.5 / (1024 * (1 + 1 / 0.15)), 0.0153 * 1024 / (1024 * (1 + 1 / 0.15))
    recipe = recipe_of(1.0, 10, "bf16", batch=1024)
    assert recipe.learning_rate == pytest.approx(rate * 1024)  # the mean's gradient is smaller by the batch
    assert recipe.learning_rate * recipe.weight_decay == pytest.approx(rate * decay)


def test_test_time_augmentation_of_scores_that_no_view_changes_is_the_accuracy(benchmarks):
    import gpu_accuracy

    data = gpu_accuracy.read(None, "fashion_mnist_subset", "cpu", num_train=200)
    rule = gpu_accuracy.training_of("bp", data, 0, "cpu", epochs=1, precision="float32", smoke=True).rule
    rule.scores = lambda x: rule.num_classes * x.new_ones(len(x), rule.num_classes).cumsum(1)  # always the last class
    expected = float((data.validation.labels == 9).double().mean())
    assert gpu_accuracy.augmented_accuracy(rule, data, data.validation, "cpu") == pytest.approx(expected)


def test_packed_images_come_back_bit_for_bit_in_pieces_of_at_most_a_size(benchmarks, tmp_path):
    import gpu_data

    images = np.random.default_rng(0).integers(0, 256, (50, 3, 8, 8), dtype=np.uint8)
    assert np.array_equal(gpu_data.images_of(gpu_data.differences(images)), images)
    paths = gpu_data.pack(None, tmp_path, 300_000, names=["fashion_mnist_subset"])
    assert len(paths) > 1 and all(path.stat().st_size <= 300_000 for path in paths)
    whole = gpu_data.load_data("fashion_mnist_subset", validation=0)
    found, labels, count, names = gpu_data.unpack(tmp_path, "fashion_mnist_subset")
    assert np.array_equal(found[:count], whole.train.images.numpy()) and names == whole.class_names
    assert labels[:count].tolist() == whole.train.labels.tolist() and len(found) == count + len(whole.take_test())
    data = gpu_data.read(tmp_path, "fashion_mnist_subset", "cpu")
    assert len(data.train) + len(data.validation) == count and len(data.take_test()) == len(found) - count
    assert data.validation.labels.bincount().tolist() == [
        round(0.05 * n) for n in whole.train.labels.bincount().tolist()
    ]
    paths[0].unlink()
    with pytest.raises(gpu_data.InputError, match="carry all that --pack has written"):
        gpu_data.unpack(tmp_path, "fashion_mnist_subset")


def test_the_large_store_has_a_whole_study_and_a_whole_audit(benchmarks, tmp_path):
    import large_store

    from layerlocal.experiments.stored import audit_summary, study_summaries, write_report
    from layerlocal.runs.comparable import comparable

    name = large_store.plant(tmp_path / "runs", 200)
    records, warnings = comparable(tmp_path / "runs")
    assert len(records) == 200 and name in records and not any("left out" in text for text in warnings)
    [study] = study_summaries(tmp_path / "runs", records)
    assert study.finished == study.planned > 0
    assert audit_summary(tmp_path / "runs", records) is not None
    assert write_report(tmp_path / "runs").is_file()
