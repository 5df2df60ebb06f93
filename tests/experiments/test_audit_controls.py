"""Ordinary backprop in an audit: beside the comparison of accuracies alone, once a network, in a table and a sentence of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

import layerlocal.runs.preview
from layerlocal.experiments.audit.driver import Audit
from layerlocal.experiments.audit.plan import ROLES, accuracy_specs, audit_specs, class_specs
from layerlocal.experiments.audit.sentences import headroom_sentence
from layerlocal.experiments.audit.summary import summarize
from layerlocal.experiments.driver import How, prepare
from layerlocal.experiments.studies.controls import CONTROLS
from layerlocal.types import InputError
from planted_audit import planted_plan, planted_records, planted_summary
from planted_figures import estimate

PLAN = planted_plan(controls=True)
"""PLANTED: BP 90 %, ordinary BP 89 %, with twice the steps 90.2 %: the objective brings 1 pp, and training has left 1.2 pp."""
QUIET = How(console=Console(quiet=True))


def beside(summary):
    """The table of ordinary backprop, if there is one."""
    return [table for table in summary.parts[0].tables if table.caption.startswith("Beside ordinary")]


def test_an_audit_of_three_rules_in_one_network_trains_five_runs_more():
    bare = PLAN.model_copy(update={"controls": False})
    runs, before = ({spec.hash for spec in audit_specs(plan)} for plan in (PLAN, bare))
    assert before < runs and len(runs - before) == 3 + 2
    assert {spec.hash for spec in class_specs(PLAN).values()} <= before
    for (rule, role, seed), spec in accuracy_specs(PLAN).items():
        twin = accuracy_specs(PLAN)[rule, "bp", seed]
        assert (spec.data, spec.network) == (twin.data, twin.network)
        assert spec.recipe.epochs == (2 if role == "ordinary-2x" else 1) * twin.recipe.epochs
        assert role not in CONTROLS or spec.rule.name == "bp"
    assert {seed for _, role, seed in accuracy_specs(PLAN) if role == "ordinary-2x"} == {0, 1}


def test_a_rule_in_a_network_of_its_own_width_has_ordinary_bp_of_its_own():
    plan = planted_plan(3, controls=True, widths={"ff": {"cnn4": {10: 0.625}}})
    hashes = {spec.hash for (_, role, _), spec in accuracy_specs(plan).items() if role in CONTROLS}
    assert len(hashes) == 2 * (3 + 2)
    assert accuracy_specs(plan)["ff", "ordinary", 0].network.width == 0.625


def test_settings_of_rules_are_none_of_ordinary_bps_and_its_readout_is_that_of_the_network_that_is_set():
    plan = planted_plan(1, controls=True, settings={"rule.grid": 7, "recipe.steps": 9, "network.name": "speedrun"})
    for (_, role, _), spec in accuracy_specs(plan).items():
        assert (spec.rule.options.get("grid") == 7) == (role in ROLES)
        assert spec.recipe.steps == (18 if role == "ordinary-2x" else 9) and spec.network.name == "speedrun"
        assert role in ROLES or spec.rule.options["readout"] == "max"


def test_the_difference_to_ordinary_bp_is_the_sum_of_three_terms_in_a_table_of_its_own():
    [table] = beside(summarize(PLAN, planted_records(PLAN)))
    assert [row["rule"] for row in table.rows] == list(PLAN.rules)
    for row in table.rows:
        terms = [row[key]["mean"] for key in ("objective", "extra_supervision", "price_of_locality")]
        assert row["total"]["mean"] == pytest.approx(sum(terms)) == pytest.approx(row["local"]["mean"] - 0.89)
        assert terms[0] == pytest.approx(0.01)
        assert row["headroom"]["values"] == pytest.approx([0.012, 0.012])


def test_the_first_table_is_the_same_with_controls_and_without():
    with_them, without = (summarize(plan, planted_records(plan)) for plan in (PLAN, planted_plan()))
    assert with_them.tables == without.tables and not beside(without)
    assert [sentence for sentence in with_them.sentences if sentence not in without.sentences] == [
        "Ordinary BP has 89.0 % here, and with twice the steps gains +1.2 pp [+1.2, +1.2], n=2: smaller differences may be of training that is "
        "too short."
    ]  # fmt: skip
    assert with_them.sentences[1].startswith("Ordinary BP has")
    assert with_them.parts[-1] == without.parts[-1]  # the certificates are of rules and twins


def test_every_quantity_of_the_comparison_stands_beside_its_headroom():
    own = summarize(PLAN, planted_records(PLAN)).quantities["class-goodness"]
    for key in ("gap", "extra_supervision", "price_of_locality", "total", "objective"):
        assert own[key].headroom == pytest.approx(0.012)
    assert own["objective"].values == pytest.approx(dict.fromkeys("012", 0.01))
    assert own["headroom"].values == pytest.approx(dict.fromkeys("01", 0.012))
    assert own["gap_slope/real"].headroom is None  # the class sweep has none
    assert planted_summary().quantities["class-goodness"]["gap"].headroom is None


@pytest.mark.parametrize("role", CONTROLS)
def test_a_rule_whose_controls_are_missing_still_has_its_row(role):
    lost = [spec for key, spec in accuracy_specs(PLAN).items() if key[1] == role]
    summary = summarize(PLAN, planted_records(PLAN, without=lost))
    assert len([row for row in summary.rows if row["arm"] == "accuracy"]) == 9
    assert summary.planned - summary.finished == len({spec.hash for spec in lost})
    assert bool(beside(summary)) == (role == "ordinary-2x")
    assert all(of.headroom is None for of in summary.quantities["ff"].values())
    said = "Ordinary BP has 89.0 % here; what it gains with twice the steps was not measured."
    assert (said in summary.sentences) == (role == "ordinary-2x")


def test_the_terms_are_of_the_seeds_that_have_ordinary_bp():
    """PLANTED: of seed 2, whose gap is larger by 0.4 pp than the mean, it is missing."""
    lost = [accuracy_specs(PLAN)[rule, "ordinary", 2] for rule in PLAN.rules]
    [table] = beside(summarize(PLAN, planted_records(PLAN, without=lost)))
    for row in table.rows:
        terms = [row[key]["mean"] for key in ("objective", "extra_supervision", "price_of_locality")]
        assert row["total"]["n"] == 2 and row["total"]["mean"] == pytest.approx(sum(terms))


def test_backprop_that_gains_nothing_is_said_to():
    row = {"rule": "x", "local": estimate(0.8), "gap": estimate(0.0), "ordinary": estimate(0.849)}
    assert headroom_sentence([row | {"headroom": estimate(-0.002, 0.01)}]) == (
        "Ordinary BP has 84.9 % here, and gains nothing with twice the steps (−0.2 pp [−1.2, +0.8], n=3)."
    )


# --- planning ---------------------------------------------------------------------------------------------------------


def test_controls_are_no_part_of_what_an_audit_varies():
    settings = {"recipe.epochs": 2, "data.num_train": 1000, "rule.grid": 2}
    plan = Audit(settings=settings).plan(Path("nowhere"), QUIET)
    assert plan.controls and plan.settings == settings
    assert {spec.recipe.epochs for key, spec in accuracy_specs(plan).items() if key[1] == "ordinary-2x"} == {4}
    assert not Audit(controls=False).plan(Path("nowhere"), QUIET).controls


def test_ordinary_bp_that_cannot_take_part_leaves_the_comparison_as_it_is(monkeypatch):
    def refuse(spec):
        if spec.rule.name == "bp" and spec.rule.options.get("readout") == "mean":
            raise InputError("a planted reason")

    monkeypatch.setattr(layerlocal.runs.preview, "look_ahead", refuse)
    ready = prepare(Audit(seeds=1), Path("nowhere"), QUIET)
    [left_out] = ready.missing
    assert left_out.label == "ordinary BP on fashion_mnist_subset, cnn4 of width 0.5" and len(left_out.runs) == 2
    assert {key[:2] for key in ready.kept if len(key) == 3} == {
        (rule, role) for rule in ready.plan.rules for role in ROLES
    }


def test_a_rule_that_cannot_take_part_takes_its_own_ordinary_bp_with_it(monkeypatch):
    def refuse(spec):
        if spec.rule.name == "cwcomp":
            raise InputError("a planted reason")

    monkeypatch.setattr(layerlocal.runs.preview, "look_ahead", refuse)
    ready = prepare(Audit(["cwcomp", "segmented"], seeds=1), Path("nowhere"), QUIET)
    assert not [key for key in ready.kept if key[0] == "cwcomp"]
    assert {key[0] for key in ready.kept if key[1] == "ordinary"} == {*ready.plan.rules} - {"cwcomp"}
