"""Experiments from Python: the numbers of the commands, the three rules that studies train, and what a `Summary` gives."""

from __future__ import annotations

import inspect
import json
import re
import warnings
from pathlib import Path

import pytest
import torch

import layerlocal
from layerlocal import (
    InputError,
    Recipe,
    RuleSpec,
    RunSpec,
    RunStore,
    Summary,
    create_network,
    fit,
    load_data,
)
from layerlocal.cli import cost as cost_command
from layerlocal.cli import runs, studies
from layerlocal.cli import tune as tune_command
from layerlocal.experiments.reading import read_summary
from layerlocal.experiments.studies.base import StudyPlan, twins_of_rule
from layerlocal.names import names_of_today
from layerlocal.runs.export import load_trained
from layerlocal.runs.run import build, load_task, run_spec
from sizes import shrink_quick

TINY = {
    "data": {"source": "teacher_student", "classes": 4, "num_train": 96, "num_test": 48},
    "recipe": {"epochs": 1, "batch_size": 16},
}


@pytest.fixture
def small(monkeypatch):
    """Quick, made quicker still."""
    shrink_quick(monkeypatch, num_train=500, num_test=200, recipe={"epochs": 1}, synthetic_train=256, draws=1)


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize(
    ("rule", "partner"), [*((name, name) for name in ("class-goodness", "cwcomp", "ff")), ("dtg-ff-shared", "dtg-ff")]
)
def test_twins_are_bit_by_bit_what_a_study_trains(rule, partner, tmp_path):
    """Before training, and after it."""
    source = RunSpec.parse(TINY | {"network": {"name": "mlp", "width": 0.0625, "options": {"depth": 3}}, "seed": 2})
    plan = StudyPlan(study="accuracy", rules=(rule,), twins_of={} if partner == rule else {rule: partner})
    data = load_task(source.data)
    network = create_network("mlp", in_channels=data.in_channels, image_size=1, width=0.0625, depth=3, seed=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    three = layerlocal.twins(rule, network, num_classes=4, seed=2)
    for name, made in zip(("local", "bp", "bp-deepsup"), three, strict=True):
        spec = source.model_copy(update={"rule": twins_of_rule(plan, rule)[name]})
        assert same(made.state_dict(), build(spec)[1].state_dict())
        accuracy = run_spec(spec, RunStore(tmp_path)).result["validation_accuracy"]
        found = fit(made, data, spec.recipe, seed=2)
        assert found.records[-1].validation.accuracy == accuracy
        assert same(made.state_dict(), load_trained(RunStore(tmp_path), spec.hash)[2].state_dict())
    assert same(network.state_dict(), before)


def test_twins_share_no_tensor_and_begin_with_equal_blocks():
    network = create_network("mlp", in_channels=4, image_size=1, depth=2, width=0.05)
    three = layerlocal.twins("class-goodness", network, num_classes=3, grid=1)
    blocks = [list(rule.network.parameters()) for rule in three]
    assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(*blocks, strict=True))
    assert len({part.data_ptr() for rule in three for part in rule.parameters()}) == sum(
        len(list(rule.parameters())) for rule in three
    )


@pytest.mark.parametrize("rule", ["bp-deepsup", layerlocal.rules.find_rule("bp-deepsup")])
def test_a_baseline_has_no_twins(rule):
    network = create_network("mlp", in_channels=4, image_size=1, depth=2, width=0.05)
    with pytest.raises(layerlocal.InputError, match="bp-deepsup is a baseline"):
        layerlocal.twins(rule, network, num_classes=3)


def test_a_study_from_python_finds_what_the_command_finds_and_trains_nothing_again(small, cli, tmp_path):
    with pytest.warns(UserWarning, match="^P11 cannot be judged by 1 seed"):
        found = layerlocal.study("composition", seeds=[0], workers=1, out=tmp_path / "runs")
    assert isinstance(found, Summary) and len(found.rows) == 2 and found.sentences
    code, text, err = cli("study", "composition", "--seeds", "0,", "--workers", 1, "--out", tmp_path / "runs", "--json")
    said, told = json.loads(text), found.to_dict()
    assert code == 0 and "10 of 10 runs are finished already" in err
    assert said["rows"] == told["rows"] and said["quantities"] == told["quantities"]
    assert told["command"] == f"layerlocal.study('composition', seeds=[0], workers=1, out={str(tmp_path / 'runs')!r})"
    assert found.write_page() == tmp_path / "runs" / "report.html"
    judged = layerlocal.judge(tmp_path / "runs", claims="P11")
    code, text, _ = cli("claims", "--claim", "P11", "--out", tmp_path / "runs", "--json")
    assert list(judged.rows) == json.loads(text)["claims"] and judged.sentences[0].startswith("P11: ")


def test_a_search_from_python_is_that_of_the_command(cli, tmp_path):
    found = layerlocal.tune(
        "local-heads", space=["rule.grid=1,2"], trials=2, sampler="random", data="teacher_student", network="mlp", width=0.05, epochs=1,
        settings={"data.num_train": 128, "recipe.batch_size": 32}, workers=1, out=tmp_path,
    )  # fmt: skip
    assert [row["method"] for row in found.rows] == [
        name for name in ("local-heads", "bp of local-heads", "bp-deepsup of local-heads") for _ in range(2)
    ]
    assert sum(row["best"] for row in found.rows) == 3
    code, text, _ = cli(
        "tune", "--rule", "local-heads", "--space", "rule.grid=1,2", "--trials", 2, "--sampler", "random", "--data", "teacher_student",
        "--network", "mlp", "--width", 0.05, "--epochs", 1, "--set", "data.num_train=128", "--set", "recipe.batch_size=32", "--workers", 1,
        "--out", tmp_path, "--json",
    )  # fmt: skip
    said = json.loads(text)
    assert code == 0 and said["sentences"] == list(found.sentences) and said["name"] == found.name
    assert [row["value"] for row in said["rows"]] == [row["value"] for row in found.rows]


@pytest.mark.parametrize(("ours", "command", "only"), [
    (layerlocal.study, studies.study, {"as_json", "dry_run", "context", "config"}),
    (layerlocal.audit, runs.audit, {"as_json", "dry_run", "context", "config"}),
    (layerlocal.cost, cost_command.cost, {"as_json", "part", "dry_run", "context"}),
    (layerlocal.tune, tune_command.tune, {"as_json", "dry_run", "context", "config"}),
])  # fmt: skip
def test_arguments_and_defaults_are_those_of_the_command(ours, command, only):
    mine, typed = (inspect.signature(function).parameters for function in (ours, command))
    assert mine.keys() - {"verbose", "parts"} == typed.keys() - only
    for name in mine.keys() & typed.keys() - {"name", "rules"}:
        default = typed[name].default
        assert (mine[name].default or None) == (
            str(default) if name == "out" else int(default) if name == "seeds" else default or None
        ), name


def planted(**change):
    estimate = {"mean": 0.5, "low": 0.25, "high": 0.75, "n": 3, "values": [0.25, 0.5, 0.75]}
    rows = [{"rule": f"r{i}", "gap": estimate, "runs": {"local": "h"}} for i in range(40)]
    content = {"title": "a <b> title", "sentences": ["1 < 2"], "planned": 6, "finished": 5, "rows": rows}
    return Summary(**content | change)


def test_a_notebook_shows_sentences_and_the_numbers_of_the_first_rows():
    shown = planted()._repr_html_()
    assert "a &lt;b&gt; title, 40 rows of 5 of 6 runs" in shown and "1 &lt; 2" in shown and "<b> title" not in shown
    assert shown.count("<tr>") == 31 and "and 10 more in .rows" in shown
    assert re.findall(r"<th>(.*?)</th>", shown) == ["rule", "gap"]
    assert "<td>0.5 [0.25, 0.75]</td>" in shown
    assert "<table>" not in planted(rows=[])._repr_html_()


def test_a_data_frame_has_a_column_for_every_value():
    pandas = pytest.importorskip("pandas")
    frame = planted().to_pandas()
    assert isinstance(frame, pandas.DataFrame) and len(frame) == 40
    assert list(frame.columns) == ["rule", "gap.mean", "gap.low", "gap.high", "gap.n", "gap.values", "runs.local"]
    assert frame["gap.low"].tolist() == [0.25] * 40


def test_without_pandas_a_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(InputError, match="to_pandas needs pandas; pip install pandas"):
        planted().to_pandas()


def test_published_audits_and_costs_have_a_row_a_method_and_sentences():
    results = Path(__file__).resolve().parents[2] / "results"
    old = Path(__file__).parent / "0.1.0" / "audit-quick.json"
    audit = names_of_today(json.loads(old.read_text()))
    found, published = (read_summary(path, damaged=InputError) for path in (old, results / "audit-quick.json"))
    assert (found.rows, found.sentences, found.tables) == (published.rows, published.sentences, published.tables)
    assert [row["rule"] for row in found.tables[0].rows] == [row["rule"] for row in audit["accuracy"]["rules"]]
    for row in found.rows:
        assert row["gap"] == pytest.approx(row["extra_supervision"] + row["price_of_locality"], abs=1e-12)
    cost = json.loads((results / "cost-quick.json").read_text())
    found = read_summary(results / "cost-quick.json", damaged=InputError)
    parts = [group for part in ("groups", "budget", "scaling", "roofline", "distribution") for group in cost[part]]
    assert len(found.rows) == sum(len(group["rows"]) for group in parts)
    assert list(found.sentences) == cost["sentences"] and "<th>speed_ratio</th>" in found._repr_html_()


def test_what_is_handed_out_is_a_copy():
    found = planted()
    found.to_dict()["rows"][0]["rule"] = "another"
    assert found.rows[0]["rule"] == found.to_dict()["rows"][0]["rule"] == "r0"


def test_a_summary_read_from_a_file_writes_no_page_and_is_printed_as_its_sentences():
    with pytest.raises(InputError, match="layerlocal report"):
        planted().write_page()
    assert str(planted()) == "a <b> title, 40 rows of 5 of 6 runs\n1 < 2"


def test_what_a_command_says_in_yellow_is_a_warning_and_nothing_else_is_said(small, tmp_path, capfd):
    with pytest.warns(UserWarning, match=r"ff: .*option 'factors'"):
        layerlocal.study("composition", rules=["ff", "local-heads"], seeds=1, workers=1, out=tmp_path / "runs")
    assert capfd.readouterr() == ("", "")


def test_published_results_are_judged_as_they_are():
    results = Path(__file__).resolve().parents[2] / "results"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = layerlocal.judge(results)
    published = json.loads((results / "claims.json").read_text())["claims"]
    assert [(row["id"], row["verdict"]) for row in found.rows] == [(row["id"], row["verdict"]) for row in published]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_rule_and_its_module_have_the_accuracy_that_a_run_finds(split, tmp_path):
    spec = RunSpec.parse(
        TINY | {"network": {"name": "mlp", "width": 0.0625}, "rule": RuleSpec(name="local-heads").model_dump()}
    )
    data = load_data("teacher_student", classes=4, num_train=96, num_test=48)
    fitted = fit(
        "local-heads",
        data,
        Recipe(epochs=1, batch_size=16),
        network="mlp",
        width=0.0625,
        network_options={"fused": False, "channels_last": False},
    )
    found = layerlocal.evaluate(fitted, data, split=split)
    assert found == layerlocal.evaluate(fitted.rule, data, split=split)
    assert layerlocal.evaluate(fitted.to_module(), data, split=split).accuracy == found.accuracy
    assert data.test_reads == 3 * (split == "test")
    if split != "train":
        assert found.accuracy == run_spec(spec, RunStore(tmp_path)).result[f"{split}_accuracy"]


def test_a_fitted_rule_is_evaluated_on_other_data_as_it_was_trained():
    """Normalized by its own numbers, not by those of the data given."""
    data = load_data("fashion_mnist_subset", num_train=200, num_test=20)
    other = load_data("fashion_mnist_subset", num_train=100, num_test=20, seed=1)
    fitted = fit("local-heads", data, Recipe(epochs=1, batch_size=50), network="mlp", width=0.05)
    assert not torch.equal(data.mean, other.mean)
    assert layerlocal.evaluate(fitted, other).accuracy == layerlocal.evaluate(fitted.to_module(), other).accuracy
