"""What the documents say of the results of benchmarks is what the committed files hold."""

from __future__ import annotations

import json
import sys
from pathlib import Path

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
        in (ROOT / "docs/findings.md").read_text()
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


@pytest.mark.parametrize("plain", [False, True])
def test_the_gpu_protocol_sets_the_same_for_every_method_and_only_what_a_rule_has(benchmarks, plain):
    import gpu_protocol

    from layerlocal.experiments.studies import find_study
    from layerlocal.experiments.studies.base import StudyPlan, plan_runs
    from layerlocal.runs.listing import rule_facts
    from layerlocal.spec import RuleSpec

    for rule, options in gpu_protocol.RULES.items():
        assert options.keys() <= rule_facts(rule).options.keys()
        settings = gpu_protocol.settings_of(rule, epochs=60, smoke=False, plain=plain)
        plan = StudyPlan(study="accuracy", size="full", rules=(rule,), seeds=(0,), data=("cifar10",), settings=settings)
        specs = list(plan_runs(find_study("accuracy"), plan).values())
        assert len({spec.model_copy(update={"rule": RuleSpec()}).model_dump_json() for spec in specs}) == 1
        assert (specs[0].recipe.epochs, specs[0].recipe.precision, specs[0].network.width) == (60, "bf16", 1.0)
        assert specs[0].network.options == ({} if plain else {"first": "cosine"})


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
