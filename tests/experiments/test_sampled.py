"""Differences over seeds and test images: from what runs answered to intervals, quantities and verdicts. Answers here are planted."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from test_studies import flat, plan_of, planted

from layerlocal.claims import judge, load_claims
from layerlocal.experiments.studies.base import by_seed, estimates, over_seeds, quantity
from layerlocal.experiments.studies.effects import contrast, ratio_of_means, slopes
from layerlocal.experiments.studies.sampled import BySeed, row_shares
from layerlocal.experiments.studies.summary import summarize_study
from layerlocal.runs.answers import Answers
from layerlocal.sampling import image_error, share
from layerlocal.summary import Summary
from layerlocal.words import difference, interval_over

N = 60


def answers(rng, accuracy, source="test", places=None, count=N):
    return Answers(rng.random(count) < accuracy, source, np.arange(count) if places is None else places)


def row(seed, found, **more):
    right = {method: one.right.mean() for method, one in found.items()}
    gap = {"gap": right["local"] - right["bp"]} if {"local", "bp"} <= found.keys() else {}
    return {"rule": "class-goodness", "seed": seed, **right, **gap, "answers": found, **more}


@pytest.fixture
def rows():
    """Three seeds on the same images; images differ in how hard they are to the local rule."""
    rng = np.random.default_rng(1)
    hard = rng.choice([0.1, 0.9], N)
    return [row(seed, {"local": answers(rng, hard), "bp": answers(rng, 0.7)}) for seed in range(3)]


def two_way(d):
    """σ_b²/N of the classical analysis: (MS of images − MS of residual) / (nN)."""
    n, images = d.shape
    by_row, by_column = d.mean(1, keepdims=True), d.mean(0, keepdims=True)
    of_images = n * ((by_column - d.mean()) ** 2).sum() / (images - 1)
    residual = ((d - by_row - by_column + d.mean()) ** 2).sum() / ((n - 1) * (images - 1))
    return (of_images - residual) / (n * images)


def differences(rows, left="local", right="bp"):
    return np.stack([one["answers"][left].right * 1.0 - one["answers"][right].right for one in rows])


def test_the_interval_of_a_gap_has_what_seeds_and_what_images_bring(rows):
    found, d = estimates(rows, "gap")["gap"], differences(rows)
    over_seeds_alone = stats.t.ppf(0.975, 2) * stats.sem(d.mean(1))
    assert two_way(d) > 0
    assert found["high"] - found["mean"] == pytest.approx(np.hypot(over_seeds_alone, 1.959964 * np.sqrt(two_way(d))))
    assert interval_over(found) == "seeds and images" and difference(found).endswith("n=3 + images")


def test_an_accuracy_is_over_seeds_alone_and_a_difference_of_two_over_both(rows):
    local, bp = (by_seed(rows, method) for method in ("local", "bp"))
    assert interval_over(over_seeds(local)) == "seeds"
    assert contrast(local, bp).images == pytest.approx(np.sqrt(two_way(differences(rows))))


def test_without_the_answers_of_one_run_all_is_over_seeds_alone(rows):
    rows[1]["answers"]["bp"] = None
    found = estimates(rows, "gap")["gap"]
    assert "over" not in found and difference(found).endswith("n=3")
    assert quantity("gap", by_seed(rows, "gap")).images is None


def test_answers_on_other_images_are_not_paired(rows):
    found = rows[0]["answers"]
    found["bp"] = replace(found["bp"], places=found["bp"].places + 1)
    assert row_shares(rows[0], "gap") is None
    found["bp"] = replace(found["bp"], places=found["local"].places, source="others")
    assert row_shares(rows[0], "gap") is None


def test_a_column_made_of_something_else_than_the_answers_has_no_shares(rows):
    assert row_shares({**rows[0], "gap": rows[0]["gap"] - 0.01}, "gap") is None
    assert row_shares(rows[0] | {"chance": 0.1}, "chance") is None


def test_an_entry_that_names_two_methods_is_their_difference(rows):
    entries = [one | {"gain": one["bp"] - one["local"], "methods_of": {"gain": ("bp", "local")}} for one in rows]
    assert by_seed(entries, "gain").images == pytest.approx(by_seed(rows, "gap").images)
    unnamed = [{key: value for key, value in one.items() if key != "methods_of"} for one in entries]
    assert by_seed(unnamed, "gain").images is None


def test_several_cells_of_a_seed_count_as_their_mean_on_common_images():
    rng = np.random.default_rng(2)
    rows = [
        row(seed, {"local": answers(rng, 0.6), "bp": answers(rng, 0.7)}, cell=cell)
        for seed in range(3)
        for cell in "ab"
    ]
    d = differences(rows).reshape(3, 2, N).mean(1)
    expected = image_error([share(one, np.arange(N), "test") for one in d])
    assert by_seed(rows, "gap").images == pytest.approx(expected)


def test_a_slope_has_the_images_of_its_rows_with_their_weights():
    """Per doubling over K = 2, 4, 8 the slope is (gap at 8 − gap at 2) / 2."""
    rng = np.random.default_rng(3)
    hard = rng.choice([0.1, 0.9], N)
    rows = [
        row(seed, {"local": answers(rng, hard if k == 8 else 0.5), "bp": answers(rng, 0.7)}, k=k)
        for seed in range(3)
        for k in (2, 4, 8)
    ]
    d = differences(rows).reshape(3, 3, N)
    expected = image_error([share((one[2] - one[0]) / 2, np.arange(N), "test") for one in d])
    found = slopes(rows, "gap", "k")
    assert expected > 0 and found.images == pytest.approx(expected)
    assert found[0] == pytest.approx((d[0, 2] - d[0, 0]).mean() / 2)


def test_a_share_whose_denominator_is_known_has_the_error_of_its_numerator(rows):
    gap = by_seed(rows, "gap")
    two = BySeed(dict.fromkeys(gap, 2.0), {seed: {"test": np.zeros(N)} for seed in gap}, paired=True)
    assert ratio_of_means(gap, two).images == pytest.approx(gap.images / 2)
    assert ratio_of_means(gap, dict.fromkeys(gap, 2.0)).images is None, "nothing is known of the denominator's images"


def test_one_seed_has_no_interval(rows):
    found = estimates(rows[:1], "gap")["gap"]
    assert found["low"] is None and interval_over(found) == ""


# --- a whole study ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study():
    """A study with planted answers of every run: to each method the same of 200 images are easy, whatever the seed."""
    plan = plan_of("resolution", seeds=(0, 1, 2))
    records = planted(plan, flat)
    rng, found = np.random.default_rng(4), {}
    order = {name: rng.permutation(200) for name in ("bp", "bp-deepsup", "class-goodness")}
    for name, record in records.items():
        right = order[record.spec.rule.name] < round(200 * record.result["test_accuracy"])
        found[name] = Answers(right, "test", np.arange(200))
    return plan, records, lambda record: found[record.hash]


def test_a_study_says_what_its_intervals_are_over_and_keeps_no_answers(study):
    plan, records, answered = study
    summary = summarize_study(plan, records, answers=answered)
    assert any("over seeds and test images" in note for note in summary.notes)
    assert not any("answers" in one for one in summary.rows)
    again = Summary.model_validate(json.loads(summary.model_dump_json()))
    assert again.quantities == summary.quantities
    gaps = [one for name, one in summary.quantities["class-goodness"].items() if name.startswith("gap")]
    assert gaps and all(one.images is not None for one in gaps)


@pytest.mark.parametrize(
    ("name", "quantity"),
    [("hybrid", "gain/"), ("depth", "modules_slope"), ("classes", "gap_slope"), ("hybrid", "recovery")],
)
def test_studies_with_columns_of_their_own_know_the_images_of_their_differences(name, quantity):
    plan = plan_of(name, seeds=(0, 1, 2))
    records, rng = (
        planted(plan, lambda spec, seed, method: flat(spec, seed, method) + (0.03 if method == "bp" else 0)),
        {},
    )
    for record in records.values():
        right = np.arange(200) < round(200 * record.result["test_accuracy"])
        record.result["test_accuracy"] = right.mean()
        rng[record.hash] = Answers(right, "test", np.arange(200))
    found = summarize_study(plan, records, answers=lambda record: rng[record.hash]).quantities["class-goodness"]
    chosen = [one for key, one in found.items() if key.startswith(quantity) and "last" not in key and one.values]
    assert chosen and all(one.images is not None for one in chosen)


def test_a_study_of_runs_without_answers_is_as_before(study):
    plan, records, _ = study
    plain, none = (summarize_study(plan, records, answers=given) for given in (None, lambda record: None))
    assert plain.model_dump(exclude={"created"}) == none.model_dump(exclude={"created"})
    assert not any("over seeds and test images" in note for note in plain.notes)
    assert all(one.images is None for one in plain.quantities["class-goodness"].values())


def test_verdicts_and_their_intervals_have_the_images_too(study, tmp_path):
    plan, records, answered = study
    name = "gap/32"
    claim = {
        "id": "M1", "source": "layerlocal", "sentence": "The gap is negative.", "reported": {"value": -2, "unit": "pp", "text": "−2 pp"},
        "study": "resolution", "quantity": name, "rule": "class-goodness", "direction": "less", "smallest_effect": 0.1,
        "protocol_differences": "planted", "note": "planted",
    }  # fmt: skip
    (tmp_path / "mine.yaml").write_text(json.dumps({"alpha": 0.05, "claims": [claim]}))
    [before], [after] = (
        judge(load_claims(tmp_path / "mine.yaml"), [summarize_study(plan, records, answers=given)])
        for given in (None, answered)
    )
    assert after["estimate"]["over"] == "seeds and images" and "over" not in before["estimate"]
    assert before["p"] < after["p"] < 1
    assert "The mean over 3 seeds and the test images" in after["reason"] and "test images" not in before["reason"]
