"""What an audit concludes from PLANTED runs: the arithmetic is that of a table of Student's t, and its words follow the intervals."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from layerlocal.experiments.audit.certificates import certificate_part, locality_of
from layerlocal.experiments.audit.plan import ROLES, AuditPlan, accuracy_specs
from layerlocal.experiments.audit.published import summary_of_0_1_0
from layerlocal.experiments.audit.sentences import class_sentence, headline, split_sentence
from layerlocal.experiments.audit.summary import summarize
from layerlocal.experiments.stored import audit_summary
from layerlocal.names import names_of_today
from layerlocal.runs.store import RunRecord
from layerlocal.spec import RunSpec
from layerlocal.summary import Missed, Summary
from layerlocal.types import InputError
from planted_audit import (
    cost_rule,
    locality_entry,
    planted_cost,
    planted_plan,
    planted_record,
    planted_records,
    planted_summary,
)
from planted_figures import estimate

T_95 = {1: 12.706205, 2: 4.302653}
"""Two-sided 95 % quantiles of Student's t by degrees of freedom, from a printed table."""
ONE_RULE = AuditPlan(rules=("local-heads",), sweep_rule="local-heads", real_classes=(2, 10))
PLANTED = {"local": (0.80, 0.82, 0.87), "bp": (0.85, 0.86, 0.88), "bp-deepsup": (0.86, 0.88, 0.89)}
"""PLANTED accuracies by seed, as no run ever gave them."""
PUBLISHED = Path(__file__).parent / "0.1.0" / "audit-quick.json"


def planted(plan, *, without=()):
    """PLANTED accuracies in every run of a plan, whatever its task."""
    records = planted_records(plan)
    again = {name: planted_record(of.spec, _of(plan, of.spec)) for name, of in records.items()}
    return {name: record for name, record in again.items() if name not in {spec.hash for spec in without}}


def _of(plan, spec):
    role = spec.rule.name if spec.rule.name in ROLES else "local"
    return PLANTED[role][plan.seeds.index(spec.seed)]


def by_hand(values):
    """Mean and interval from the textbook formula and a printed table."""
    n, mean = len(values), sum(values) / len(values)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    half = T_95[n - 1] * deviation / math.sqrt(n)
    return mean, mean - half, mean + half


def assert_estimate(found, values):
    mean, low, high = by_hand(values)
    assert found["n"] == len(values)
    assert found["values"] == pytest.approx(values)
    assert (found["mean"], found["low"], found["high"]) == pytest.approx((mean, low, high), abs=1e-7)


def part(summary, title):
    [found] = [of for of in summary.parts if of.title.startswith(title)]
    return found


# --- the arithmetic ---------------------------------------------------------------------------------------------------


def test_paired_differences_and_their_intervals_are_those_worked_out_by_hand():
    [row] = summarize(ONE_RULE, planted(ONE_RULE)).tables[0].rows
    gap = row["gap"]
    assert gap["mean"] == pytest.approx(-0.1 / 3) and gap["n"] == 3  # of −0.05, −0.04, −0.01
    assert (gap["low"], gap["high"]) == pytest.approx((-0.0850449, 0.0183782), abs=1e-6)  # ± 4.302653 · 0.0208167 / √3
    assert_estimate(row["gap"], [-0.05, -0.04, -0.01])
    assert_estimate(row["extra_supervision"], [0.01, 0.02, 0.01])
    assert_estimate(row["price_of_locality"], [-0.06, -0.06, -0.02])
    for role in ROLES:
        assert_estimate(row[role], PLANTED[role])


def test_the_gap_is_extra_supervision_plus_price_of_locality_in_every_row():
    rows = summarize(ONE_RULE, planted(ONE_RULE)).rows
    assert {(row["arm"], row["classes"]) for row in rows} == {
        ("accuracy", 10), ("synthetic", 2), ("synthetic", 10), ("synthetic", 50), ("real", 2), ("real", 10),
    }  # fmt: skip
    assert len(rows) == 6 * 3
    for row in rows:
        assert row["gap"] == pytest.approx(row["extra_supervision"] + row["price_of_locality"])


def test_every_row_names_its_runs_and_what_they_cost():
    for row in summarize(ONE_RULE, planted(ONE_RULE)).rows:
        assert row["runs"].keys() == row["samples_per_s"].keys() == row["peak_saved_bytes"].keys() == set(ROLES)
        assert set(row["peak_saved_bytes"].values()) == {3 * 2**20}


def test_blocks_are_shown_for_the_rule_and_for_its_twins_and_fused():
    [figure] = part(summarize(ONE_RULE, planted(ONE_RULE)), "Every block").figures
    assert [(line.panel, line.name) for line in figure.series] == [
        ("local-heads", name) for name in ("local-heads", "BP-DeepSup", "BP")
    ]
    for line, role in zip(figure.series, ("local", "bp-deepsup", "bp"), strict=True):
        blocks = {"block0": 0.2, "block1": 0.1, "fused": 0.0}
        assert [point.x for point in line.points] == [x for x in blocks if role != "bp" or x != "block0"]
        for point in line.points:
            assert_estimate(point.y, [value - blocks[point.x] for value in PLANTED[role]])


def test_a_seed_of_which_any_of_the_three_runs_is_missing_is_left_out_of_all_three():
    for role in ROLES:
        missing = accuracy_specs(ONE_RULE)["local-heads", role, 1]
        summary = summarize(ONE_RULE, planted(ONE_RULE, without=[missing]))
        [row] = summary.tables[0].rows
        assert_estimate(row["gap"], [-0.05, -0.01])
        assert_estimate(row["local"], [0.80, 0.87])
        assert {line["seeds"] for line in part(summary, "Accuracy").tables[0].rows} == {"0, 2"}
        assert summary.planned - summary.finished == 1


def test_one_seed_has_a_mean_and_no_interval():
    plan = ONE_RULE.model_copy(update={"seeds": (0,)})
    [row] = summarize(plan, planted(plan)).tables[0].rows
    gap = pytest.approx(-0.05)
    assert row["gap"] == {"mean": gap, "low": None, "high": None, "n": 1, "values": [gap]}


def test_quantities_are_by_seed_and_slopes_are_per_doubling_of_the_classes():
    found = planted_summary().quantities
    assert found["ff"]["gap"].values == pytest.approx({"0": -0.146, "1": -0.142, "2": -0.138})
    assert found["ff"]["accuracy"].unit == "%" and "gap_slope/real" not in found["ff"]
    # +1.2, 2.4 and 3.6 pp at 2, 10 and 50 classes: equal steps of log2 5
    assert found["class-goodness"]["gap_slope/synthetic"].values == pytest.approx(
        dict.fromkeys(("0", "1", "2"), 0.012 / math.log2(5))
    )


@pytest.mark.parametrize("left", [0, 8])
def test_whatever_runs_are_missing_the_summary_has_the_rows_there_are(left):
    plan = planted_plan()
    some = dict(list(planted(plan).items())[:left])
    missing = [Missed(label="planted", reason="a planted reason")]
    summary = summarize(plan, some, missing=missing)
    whole = {
        rule
        for rule in plan.rules
        if any(all(accuracy_specs(plan)[rule, role, seed].hash in some for role in ROLES) for seed in plan.seeds)
    }
    assert {row["rule"] for row in summary.rows if row["arm"] == "accuracy"} == whole
    assert summary.finished == left and list(summary.missing) == missing
    assert Summary.model_validate_json(summary.model_dump_json()) == summary
    assert [of.title for of in summary.parts if any("not run" in note for note in of.notes)] == [
        of.title for of in summary.parts if not of.figures
    ]
    assert all(of.command == plan.command for of in summary.parts if not of.figures)


def test_nothing_finished_is_no_verdict():
    summary = summarize(planted_plan(), {})
    assert summary.sentences == ("No local rule has been measured against backprop yet, so there is no verdict.",)
    assert not summary.tables and not summary.notes


def test_runs_of_another_plan_are_not_counted():
    records, other = planted(ONE_RULE), RunSpec(seed=77)
    more = summarize(ONE_RULE, records | {other.hash: planted_record(other, 0.1)})
    assert (more.rows, more.finished) == (summarize(ONE_RULE, records).rows, len(records))


def test_an_environment_that_differs_between_runs_is_told_in_full():
    records = planted(ONE_RULE)
    name = next(iter(records))
    old = records[name]
    records[name] = RunRecord(name, old.spec, old.env | {"torch": "another"}, old.result)
    environment = summarize(ONE_RULE, records).environment
    assert environment["threads"] == 1
    assert sorted(environment["torch"].split(", ")) == ["9.9.9", "another"]


# --- the words --------------------------------------------------------------------------------------------------------


def verdict(rule, accuracy, bp, gap, **more):
    zero = estimate(0.0, 0.01)
    given = {"local": estimate(accuracy), "bp": estimate(bp), "gap": gap}
    return {"rule": rule, **given, "extra_supervision": zero, "price_of_locality": zero, **more}


@pytest.mark.parametrize(
    ("gap", "said"),
    [
        (estimate(-0.02, 0.01), "x is below backprop: 70.0 % beside 72.0 % of its BP twin, −2.0 pp [−3.0, −1.0], n=3."),
        (estimate(0.02, 0.01), "x is above backprop: 70.0 % beside 72.0 % of its BP twin, +2.0 pp [+1.0, +3.0], n=3."),
        (estimate(-0.004, 0.01), "x is not told apart from backprop: 70.0 % beside 72.0 % of its BP twin, −0.4 pp [−1.4, +0.6], n=3, "
                                 "not told apart."),
        (estimate(-0.02, None, 1), "x is measured with one seed only, so not judged: 70.0 % beside 72.0 % of its BP twin, −2.0 pp, n=1, "
                                   "no interval."),
    ],
)  # fmt: skip
def test_the_headline_follows_the_interval_not_the_mean(gap, said):
    assert headline("On planted data", [verdict("x", 0.7, 0.72, gap)]) == f"On planted data, {said}"


def test_the_headline_names_the_most_accurate_rule_and_says_of_it_what_the_tally_says():
    """PLANTED: the rule with the best gap has the worse accuracy, and its interval holds zero."""
    rows = [verdict("a", 0.7, 0.69, estimate(0.01, 0.02)), verdict("b", 0.8, 0.83, estimate(-0.03, 0.01))]
    assert headline("Here", rows) == (
        "Here, of 2 local rules 1 is below backprop and 1 is not told apart from backprop. The most accurate is b: 80.0 % beside 83.0 % of its "
        "BP twin, −3.0 pp [−4.0, −2.0], n=3."
    )
    rows[0] = verdict("a", 0.9, 0.89, estimate(0.01, 0.02))
    assert headline("Here", rows).endswith(
        "is a: 90.0 % beside 89.0 % of its BP twin, +1.0 pp [−1.0, +3.0], n=3, not told apart."
    )


def test_a_rule_in_a_network_of_its_own_width_is_not_the_most_accurate_beside_the_others():
    """PLANTED: b is more accurate, and so is its wider twin."""
    rows = [
        verdict("a", 0.7, 0.69, estimate(0.03, 0.02)),
        verdict("b", 0.9, 0.8, estimate(0.1, 0.02), own_width=0.625),
    ]
    assert "The most accurate in the network that most share is a: 70.0 %" in headline("Here", rows)
    assert split_sentence(rows).startswith("Of a's +3.0 pp, ")


def test_a_rule_of_its_own_width_or_reading_is_told_beside_the_table():
    plan = planted_plan(
        2,
        widths={"class-goodness": {"cnn4": {10: 0.625}}},
        reads={"local-heads": "RMS, 4×4 cells", "class-goodness": "goodness"},
    )
    summary = summarize(plan, planted_records(plan))
    assert "Blocks are read by RMS, 4×4 cells; class-goodness instead uses goodness." in summary.sentences
    assert any(
        note.startswith("class-goodness: it and its twins at width 0.625, at which channels") for note in summary.notes
    )
    assert not any(text.startswith("Blocks are read") for text in planted_summary().sentences)


def test_a_rule_that_shares_its_twins_is_told_beside_the_table():
    plan = planted_plan(("dtg-ff", "dtg-ff-shared"), 2, twins_of={"dtg-ff-shared": "dtg-ff"}, options={})
    summary = summarize(plan, planted_records(plan))
    assert "dtg-ff-shared: its twins are those of dtg-ff" in summary.notes
    runs = {row["rule"]: row["runs"] for row in summary.rows if row["arm"] == "accuracy" and row["seed"] == 0}
    assert {runs["dtg-ff"][twin] == runs["dtg-ff-shared"][twin] for twin in ("bp", "bp-deepsup")} == {True}


def test_the_sentences_of_a_planted_audit():
    assert planted_summary().sentences == (
        "On planted-data (10 classes), all 3 local rules are below backprop. The most accurate is local-heads: 88.7 % beside 90.0 % of its BP "
        "twin, −1.3 pp [−2.3, −0.3], n=3.",
        "Of local-heads's −1.3 pp, extra supervision brings +0.5 pp (BP with the same local losses has it too) and local learning itself "
        "−1.8 pp: the price of locality.",
        "The gap of class-goodness to BP against the number of classes: "
        "on teacher-student data from +1.2 pp at K=2 to +3.6 pp [+2.6, +4.6], n=3 at "
        "K=50 (of which DeepSup − BP +0.5 pp); on real classes from −1.5 pp at K=2 to −3.1 pp [−4.1, −2.1], n=3 at K=10 (of which "
        "DeepSup − BP +0.5 pp).",
    )  # fmt: skip


def test_a_sweep_of_one_count_is_not_told_as_a_change():
    rows = [{"seed": 0, "classes": 7, "gap": -0.02, "extra_supervision": 0.01}]
    assert class_sentence("x", {"real classes": rows, "nothing": []}) == (
        "The gap of x to BP against the number of classes: on real classes the gap is −2.0 pp, n=1, no interval at K=7 (of which DeepSup − BP "
        "+1.0 pp)."
    )


# --- cost -------------------------------------------------------------------------------------------------------------


def test_the_first_table_has_what_a_step_costs_beside_bp_and_on_which_network():
    summary = planted_summary()
    rows = {row["rule"]: (row["speed"], row["saved"]) for row in summary.tables[0].rows}
    assert rows == {"local-heads": (1.31, 0.58), "class-goodness": (1.25, 0.58), "ff": (0.72, 0.58)}
    labels = {column.key: column.label for column in summary.tables[0].columns}
    assert labels["speed"] == "speed ÷ BP, vgg8" and labels["saved"] == "saved bytes ÷ BP, vgg8"
    assert "Speed and saved bytes are those of one step of another network, vgg8, width 1." in summary.notes


def test_speed_and_memory_of_the_same_network_have_no_mark():
    plan, cost = planted_plan(1), planted_cost(("local-heads",)) | {"network": "cnn4, width 0.5, 32 px"}
    summary = summarize(plan, planted_records(plan), cost=cost)
    assert "speed ÷ BP" in [column.label for column in summary.tables[0].columns]
    assert not any("another network" in note for note in summary.notes)


def test_a_rule_whose_cost_cannot_be_measured_says_so_and_has_no_number():
    plan, cost = planted_plan(2), planted_cost(("local-heads", "class-goodness"))
    cost["rules"][-1] = {"rule": "class-goodness", "readout": "", "failed": "the moon is full"}
    summary = summarize(plan, planted_records(plan), cost=cost)
    assert summary.tables[0].rows[1]["speed"] == summary.tables[0].rows[1]["saved"] == "not measured"
    assert part(summary, "What it costs").notes == ("class-goodness: not measured: the moon is full.",)
    [table] = part(summary, "What it costs").tables
    assert [row["rule"] for row in table.rows] == ["bp", "bp-deepsup", "local-heads"]
    assert table.rows[2] == {key: cost_rule("local-heads", 1.31, 0.58)[key] for key in table.rows[2]}


def test_depth_lines_are_the_bytes_of_every_rule():
    [figure] = [of for of in part(planted_summary(), "What it costs").figures if of.name == "audit-depth"]
    assert [line.name for line in figure.series] == ["bp", "bp-deepsup", "local-heads", "class-goodness", "ff"]
    assert [(point.x, point.y) for point in figure.series[1].points] == [(d, 4 * d * 2**20) for d in (2, 4, 8, 16)]


# --- certificates -----------------------------------------------------------------------------------------------------


def cells(figure, name):
    [series] = [of for of in figure.series if of.name == name]
    return {(point.y, point.x): (point.z, point.label) for point in series.points}


def test_a_leak_is_told_in_words_and_marked_in_the_matrix():
    entry = locality_entry("local-heads", leak=True)
    found = certificate_part([entry], "")
    [figure], [table] = found.figures, found.tables
    assert figure.title == "✗ local-heads: declared block, measured global"
    assert locality_of([entry], "local-heads") == "✗ declared block, measured global"
    assert "2 of the cells are more than the rule declared." in figure.caption
    reach, moved = cells(figure, "loss → block"), cells(figure, "perturbed → update")
    assert reach["2", "1"] == ("wrong", "loss block2 reaches block1, |gradient| 0.25 (more than declared)")
    assert moved["2", "1"] == ("wrong", "block2 perturbed: the update of block1 changed (more than declared)")
    assert reach["0", "0"][0] == "yes" and reach["0", "1"][0] == "no" and moved["0", "0"][0] == "unknown"
    assert table.rows[0]["problems"] == "the loss of block2 reaches the parameters of block1"


@pytest.mark.parametrize(("declared", "backward"), [("block", "0 of 6"), ("segment", "2 of 6"), ("global", "6 of 6")])
def test_what_is_declared_is_no_leak(declared, backward):
    [figure] = certificate_part([locality_entry("r", declared)], "").figures
    assert "more than the rule declared" not in figure.caption
    assert f"earlier block's update in {backward} cases" in figure.caption


def test_a_rule_that_says_that_it_reads_ahead_may():
    entry = locality_entry("r") | {"reads_ahead": 1}
    entry["intervention"][2][1] = True
    [figure] = certificate_part([entry], "").figures
    assert cells(figure, "perturbed → update")["2", "1"][0] == "yes"


def test_a_test_that_ended_early_is_not_measured():
    entry = locality_entry("r") | {"reach": [[True]], "reach_norm": [[1.0]], "intervention": []}
    [figure] = certificate_part([entry], "").figures
    assert {z for z, _ in cells(figure, "perturbed → update").values()} == {"unknown"}
    assert cells(figure, "loss → block")["3", "3"] == ("unknown", "loss block3 not measured for block3")
    assert "in 0 of 0 cases" in figure.caption


def test_equal_certificates_share_one_figure_that_names_all_their_runs():
    entries = [locality_entry("r") | {"run": f"hash{i}", "reach_norm": None} for i in range(9)]
    other = locality_entry("r", leak=True) | {"run": "bad"}
    found = certificate_part([*entries, other], "")
    assert [figure.runs for figure in found.figures] == [tuple(f"hash{i}" for i in range(9)), ("bad",)]
    assert [row["runs"] for row in found.tables[0].rows] == [9, 1]
    assert locality_of([*entries, other], "r") == "✗ declared block, measured global"
    assert locality_of(entries, "r") == "✓ block" and locality_of(entries, "s") == "not run"


# --- what 0.1.0 published ---------------------------------------------------------------------------------------------


def test_the_audit_that_0_1_0_published_has_its_numbers_and_its_words():
    old = names_of_today(json.loads(PUBLISHED.read_text()))
    found = summary_of_0_1_0(old)
    for row, was in zip(found.tables[0].rows, old["accuracy"]["rules"], strict=True):
        assert row["rule"] == was["rule"] and row["local"] == was["fused"]
        assert all(row[twin] == was["twins"][twin]["fused"] for twin in ("bp", "bp-deepsup"))
        assert all(row[key] == was[key] for key in ("gap", "extra_supervision", "price_of_locality"))
    for arm in ("synthetic", "real"):
        for was in old["classes"][arm]:
            gaps = [row["gap"] for row in found.rows if (row["arm"], row["classes"]) == (arm, was["num_classes"])]
            assert gaps == was["gap"]["values"]
    assert found.sentences[:3] == (
        "On fashion_mnist_subset (10 classes), of 3 local rules 1 is below backprop, 1 is above backprop and 1 is not told apart from backprop. "
        "The most accurate is local-heads: 85.7 % beside 84.3 % of its BP twin, +1.4 pp [−0.02, +2.8], n=3, not told apart.",
        "Of local-heads's +1.4 pp, extra supervision brings +1.8 pp (BP with the same local losses has it too) and local learning itself "
        "−0.4 pp: the price of locality.",
        "The gap of class-goodness to BP against the number of classes: "
        "on teacher-student data from +1.4 pp at K=2 to +9.4 pp [+5.8, +12.9], n=3 at "
        "K=50 (of which DeepSup − BP +9.0 pp); on real classes from +1.7 pp at K=2 to +1.1 pp [+0.1, +2.1], n=3 at K=10 (of which "
        "DeepSup − BP +1.1 pp).",
    )  # fmt: skip
    assert (found.planned, found.finished, found.layerlocal, found.created) == (72, 72, "0.1.0", old["created"])
    assert {name: RunSpec.parse(spec).hash for name, spec in found.specs.items()} == {
        run["run"]: run["run"] for run in old["runs"]
    }
    assert len(part(found, "Locality").figures) == len(old["locality"]) == 9
    assert AuditPlan.model_validate(found.plan).rules == ("local-heads", "class-goodness", "ff")


@pytest.mark.parametrize(
    "change",
    [
        {"runs": None}, {"runs": [{"run": "0" * 16}]}, {"runs": []}, {"accuracy": {"rules": []}}, {"classes": {}}, {"data": {}},
        {"budget": "huge"}, {"locality": {}}, {"cost": []}, {"environment": 3},
    ],
    ids=str,
)  # fmt: skip
def test_a_published_audit_that_is_damaged_is_one_sentence_that_names_it(tmp_path, change):
    path = tmp_path / "audit-quick.json"
    path.write_text(json.dumps(json.loads(PUBLISHED.read_text()) | change))
    try:
        assert audit_summary(tmp_path, {}).finished == 72  # what the page does not need may be missing
    except InputError as error:
        assert str(error).startswith(f"{path} cannot be read") and "\n" not in str(error)
