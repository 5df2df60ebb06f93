"""Planted effects: where the truth is known, verdicts are right nearly always, and wrong no more often than alpha says."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy import stats

from layerlocal.claims import Claim, ClaimSet, judge
from layerlocal.summary import Quantity, Summary

SD = 0.005
"""Of one seed's value: 0.5 pp."""
RIGHT = {
    # truth in pp → the verdict it must give; the smallest effect is 2.5 pp, so every truth is five standard deviations or more from a boundary
    "greater": {5.0: "supported", 0.0: "contradicted", -2.0: "contradicted"},
    "less": {-5.0: "supported", 0.0: "contradicted", 2.0: "contradicted"},
    "none": {5.0: "contradicted", -5.0: "contradicted", 0.0: "supported"},
}


def planted(directions, *, smallest_effect=1.0, test="t", alpha=0.05):
    """One claim for each direction given, each on a quantity of its own."""
    return ClaimSet(
        claims=tuple(
            Claim(
                id=f"C{index}", source="planted", sentence="It is so.", reported={"value": None, "unit": "pp", "text": ""},
                study="classes", quantity=f"q{index}", direction=direction, smallest_effect=smallest_effect, test=test,
            )
            for index, direction in enumerate(directions)
        ),
        alpha=alpha,
    )  # fmt: skip


def draw(rng, truths, n, *, noise=None):
    """A summary with n seeds of each quantity around its true mean, in pp."""
    drawn = (noise or (lambda size: rng.normal(size=size)))((len(truths), n))
    quantities = {
        f"q{index}": Quantity(values={str(seed): value for seed, value in enumerate((truth / 100 + SD * row).tolist())})
        for index, (truth, row) in enumerate(zip(truths, drawn, strict=True))
    }
    return Summary(name="classes", size="quick", quantities={"class-goodness": quantities})


def verdicts(claims, summary):
    return [row["verdict"] for row in judge(claims, [summary])]


def most_by_chance(draws, alpha):
    """Errors that a true rate of alpha exceeds once in a thousand times."""
    return stats.binom.ppf(0.999, draws, alpha)


@pytest.fixture
def no_planning(monkeypatch):
    """How many seeds would settle an open claim takes most of the time and is not the question where nearly all are open."""
    monkeypatch.setattr(sys.modules["layerlocal.claims.judge"], "samples_needed", lambda *args, **options: None)


@pytest.mark.parametrize(("test", "n"), [("t", 5), ("t", 10), ("bootstrap", 10)])
def test_planted_effects_get_the_right_verdict_in_95_of_100_draws(test, n):
    """Nine claims judged together, so each against Holm's stricter level."""
    cases = [(direction, truth, right) for direction, row in RIGHT.items() for truth, right in row.items()]
    claims = planted([direction for direction, _, _ in cases], smallest_effect=2.5, test=test)
    rng = np.random.default_rng(n)
    good = np.zeros(len(cases))
    for _ in range(200):
        found = verdicts(claims, draw(rng, [truth for _, truth, _ in cases], n))
        good += [verdict == right for verdict, (_, _, right) in zip(found, cases, strict=True)]
    assert (good >= 0.95 * 200).all(), dict(zip(cases, good, strict=True))


@pytest.mark.parametrize(("direction", "smallest", "truth"), [
    ("greater", 0.0, 0.0), ("less", 0.0, 0.0), ("none", 0.0, 0.0),
    ("greater", 1.0, 1.0), ("less", 1.0, -1.0), ("none", 1.0, 1.0), ("none", 1.0, -1.0), ("none", 0.1, 0.1),
])  # fmt: skip
@pytest.mark.parametrize(("test", "n"), [("t", 4), ("bootstrap", 10)])
def test_on_the_boundary_any_verdict_is_wrong_and_comes_no_oftener_than_alpha(
    direction, smallest, truth, test, n, no_planning
):
    """There θ is exactly the smallest effect that counts: neither side is true by more than nothing."""
    claims = planted([direction], smallest_effect=smallest, test=test)
    rng = np.random.default_rng(n)
    draws = 300
    wrong = sum(verdicts(claims, draw(rng, [truth], n)) != ["inconclusive"] for _ in range(draws))
    assert wrong <= most_by_chance(draws, 0.05)


def test_the_t_test_errs_on_the_boundary_as_often_as_alpha_says(no_planning):
    """Neither more nor much less: the level is used, also after doubling. 2,000 draws."""
    claims = planted(["greater"], alpha=0.1)
    rng = np.random.default_rng(100)
    wrong = sum(verdicts(claims, draw(rng, [1.0], 4)) != ["inconclusive"] for _ in range(2000))
    assert stats.binom.ppf(0.001, 2000, 0.1) <= wrong <= most_by_chance(2000, 0.1)


@pytest.mark.parametrize(("test", "n"), [("t", 4), ("bootstrap", 10)])
def test_no_effect_is_never_taken_for_one_oftener_than_alpha(test, n, no_planning):
    """θ = 0 and an effect must reach 0.2 pp: "supported" is wrong for greater and less, "contradicted" for none."""
    claims = planted(["greater", "less", "none"], smallest_effect=0.2, test=test)
    wrong_words = ["supported", "supported", "contradicted"]
    rng = np.random.default_rng(n)
    draws = 300
    wrong = sum(any(map(str.__eq__, verdicts(claims, draw(rng, [0.0] * 3, n)), wrong_words)) for _ in range(draws))
    assert wrong <= most_by_chance(draws, 0.05)


@pytest.mark.parametrize(("test", "n"), [("t", 3), ("bootstrap", 10)])
def test_one_or_more_wrong_verdicts_among_five_come_no_oftener_than_alpha(test, n, no_planning):
    """Family-wise: all five truths lie on a boundary, so without Holm a wrong one would come in about 23 of 100 reports."""
    claims = planted(["greater", "less", "none", "none", "greater"], test=test)
    rng = np.random.default_rng(n)
    draws = 400
    wrong = sum(
        set(verdicts(claims, draw(rng, [1.0, -1.0, 1.0, -1.0, 1.0], n))) != {"inconclusive"} for _ in range(draws)
    )
    assert wrong <= most_by_chance(draws, 0.05)


def test_true_effects_beside_them_do_not_raise_the_errors_of_open_claims(no_planning):
    """Holm's strong control: two claims settled rightly, three on a boundary."""
    claims = planted(["greater", "less", "greater", "less", "none"])
    rng = np.random.default_rng(0)
    found = [verdicts(claims, draw(rng, [9.0, -9.0, 1.0, -1.0, 1.0], 5)) for _ in range(300)]
    assert np.mean([row[:2] == ["supported"] * 2 for row in found]) > 0.99
    assert sum(set(row[2:]) != {"inconclusive"} for row in found) <= most_by_chance(300, 0.05)


def test_the_bootstrap_holds_its_level_for_skewed_seeds_better_than_the_t_test(no_planning):
    """Exponential noise, centred; 12 seeds; on the boundary. Why there is a second test."""
    errors = {}
    for test in ("t", "bootstrap"):
        rng = np.random.default_rng(0)
        claims = planted(["greater"], test=test)

        def noise(size, rng=rng):
            return rng.exponential(size=size) - 1

        errors[test] = sum(
            verdicts(claims, draw(rng, [1.0], 12, noise=noise)) != ["inconclusive"] for _ in range(600)
        )  # fmt: skip
    assert errors["bootstrap"] < errors["t"] and errors["t"] > most_by_chance(600, 0.05)


def test_n_needed_is_enough_for_four_reports_in_five():
    """Seeds of known mean and sd: exactly as many as `n_needed` settle the claim in 80 of 100 fresh reports."""
    base = stats.norm.ppf((np.arange(4) + 0.5) / 4)
    base = (base - base.mean()) / base.std(ddof=1)
    summary = draw(np.random.default_rng(0), [1.6], 4, noise=lambda size: base[None, :])
    (row,) = judge(planted(["greater"]), [summary])
    assert row["verdict"] == "inconclusive" and row["n_needed"] > 4
    rng = np.random.default_rng(1)
    found = [verdicts(planted(["greater"]), draw(rng, [1.6], row["n_needed"])) for _ in range(600)]
    supported = np.mean(np.array(found) == "supported")
    assert 0.76 < supported < 0.90
