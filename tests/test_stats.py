"""Intervals, tests, power and regression against scipy, tables, enumeration and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from layerlocal.stats import (
    bootstrap_p,
    estimate,
    holm,
    one_sided_p,
    paired_difference,
    r_squared,
    regress,
    samples_needed,
    sd_interval,
    spread,
)

SAMPLE = [0.021, 0.034, 0.012, 0.040, 0.018]


def test_the_interval_of_three_values_equals_a_hand_computed_one():
    """t(0.975; 2) = 4.302653 (any table); values 1, 2, 6: mean 3, s² = (4 + 1 + 9) / 2 = 7."""
    found = estimate([1.0, 2.0, 6.0])
    half = 4.302653 * math.sqrt(7 / 3)
    assert (found["mean"], found["n"], found["values"]) == (3.0, 3, [1.0, 2.0, 6.0])
    assert found["low"] == pytest.approx(3 - half, rel=1e-6) and found["high"] == pytest.approx(3 + half, rel=1e-6)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_the_interval_is_scipys_student_interval(n, level):
    values = np.random.default_rng(n).normal(size=n)
    low, high = stats.t.interval(level, n - 1, loc=values.mean(), scale=stats.sem(values))
    found = estimate(values.tolist(), level=level)
    assert (found["low"], found["high"]) == pytest.approx((low, high), rel=1e-12)


def test_the_interval_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    draws = rng.normal(2.0, 3.0, size=(3000, 4))
    found = [estimate(row) for row in draws.tolist()]
    covered = np.mean([e["low"] <= 2.0 <= e["high"] for e in found])
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 3000)


def test_one_value_has_no_interval():
    assert estimate([0.7]) == {"mean": 0.7, "low": None, "high": None, "n": 1, "values": [0.7]}


def test_equal_values_have_an_interval_of_no_width():
    found = estimate([0.25, 0.25, 0.25])
    assert found["low"] == found["mean"] == found["high"] == 0.25


def test_a_paired_difference_is_the_estimate_of_the_differences_seed_by_seed():
    """What all seeds share cancels: the paired interval is far narrower than that of either side."""
    shared = np.array([0.1, 0.5, 0.9])
    left, right = (shared + np.array([0.01, 0.02, 0.03])).tolist(), shared.tolist()
    found = paired_difference(left, right)
    low, high = stats.ttest_rel(left, right).confidence_interval(0.95)
    assert found["mean"] == pytest.approx(0.02) and found["values"] == pytest.approx([0.01, 0.02, 0.03])
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    assert paired_difference(right, left)["mean"] == pytest.approx(-0.02)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")], [[1.0], [2.0]]])
def test_what_is_no_list_of_finite_numbers_is_refused(values):
    with pytest.raises(ValueError, match="finite"):
        estimate(values)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_outside_zero_to_one_is_refused(level):
    with pytest.raises(ValueError, match="level"):
        estimate([1.0, 2.0], level=level)


def test_sides_of_different_length_are_refused():
    with pytest.raises(ValueError, match="as many"):
        paired_difference([1.0, 2.0], [1.0])


@pytest.mark.parametrize("threshold", [-0.01, 0.0, 0.02, 0.025, 0.05])
@pytest.mark.parametrize("side", ["greater", "less"])
def test_the_one_sided_p_is_scipys(side, threshold):
    expected = stats.ttest_1samp(SAMPLE, threshold, alternative=side).pvalue
    assert one_sided_p(SAMPLE, threshold, side=side) == pytest.approx(expected, rel=1e-9)


def test_the_one_sided_p_of_two_values_has_a_closed_form():
    """Student's t with one degree of freedom is Cauchy: P(T > t) = 1/2 − atan(t) / π. Values 1 and 3: t = 2 / 1."""
    assert one_sided_p([1.0, 3.0]) == pytest.approx(0.5 - math.atan(2) / math.pi)


def test_both_sides_share_the_whole_probability():
    assert one_sided_p(SAMPLE, 0.02) + one_sided_p(SAMPLE, 0.02, side="less") == pytest.approx(1)


@pytest.mark.parametrize("test", [one_sided_p, bootstrap_p])
@pytest.mark.parametrize(("threshold", "side", "p"), [
    (0.01, "greater", 0.0), (0.01, "less", 1.0), (0.03, "greater", 1.0), (0.03, "less", 0.0), (0.02, "greater", 1.0), (0.02, "less", 1.0),
])  # fmt: skip
def test_without_spread_p_is_its_limit(test, threshold, side, p):
    """Also where the values differ by rounding: 0.71 − 0.69 is not the float 0.02."""
    assert test([0.02, 0.02, 0.02], threshold, side=side) == p
    assert test([0.71 - 0.69, 0.72 - 0.70, 0.02], threshold, side=side) == p


def test_spread_is_exactly_zero_where_values_differ_by_rounding_only():
    assert spread([0.1 + 0.2, 0.3, 0.3]) == (0.1 + 0.2, 0.0)
    assert spread([1.0, 2.0, 6.0]) == (3.0, pytest.approx(math.sqrt(7)))


def enumerated_p(values, threshold):
    """The bootstrap-t p of "greater" over every one of the n^n resamples."""
    values = np.asarray(values)
    n, mean = len(values), values.mean()
    observed = (mean - threshold) / (values.std(ddof=1) / math.sqrt(n))
    hits = 0
    for picks in itertools.product(range(n), repeat=n):
        drawn = values[list(picks)]
        if len(set(picks)) == 1:
            hits += drawn[0] > mean
        else:
            hits += (drawn.mean() - mean) / (drawn.std(ddof=1) / math.sqrt(n)) >= observed
    return hits / n**n


@pytest.mark.parametrize(("values", "threshold"), [
    (SAMPLE, 0.0), (SAMPLE, 0.01), (SAMPLE, 0.02), (SAMPLE, 0.03), ([0.0, 1.0, 2.0], -9.0), ([0.0, 1.0, 5.0], 0.3), ([0.0, 4.0, 5.0], 9.0),
])  # fmt: skip
def test_the_bootstrap_p_is_that_of_all_resamples(values, threshold):
    """Of three values every ninth resample has no spread: it lies infinitely far on its side of the mean."""
    expected = enumerated_p(values, threshold)
    found = bootstrap_p(values, threshold, draws=40_000)
    assert abs(found - expected) < 4 * math.sqrt(max(expected * (1 - expected), 1e-4) / 40_000)


def test_the_bootstrap_p_of_less_mirrors_that_of_greater():
    mirrored = [-value for value in SAMPLE]
    assert bootstrap_p(SAMPLE, 0.01) == bootstrap_p(mirrored, -0.01, side="less")


def test_the_bootstrap_is_reproducible_and_draws_from_no_global_state():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    assert bootstrap_p(SAMPLE, 0.02) == bootstrap_p(SAMPLE, 0.02) != bootstrap_p(SAMPLE, 0.02, seed=1)
    assert (np.random.get_state()[1] == before).all()


def test_the_bootstrap_p_is_never_zero_while_values_vary():
    assert bootstrap_p(np.random.default_rng(0).normal(100, 1, 12).tolist(), draws=99) == 1 / 100
    with pytest.raises(ValueError, match="draws"):
        bootstrap_p(SAMPLE, draws=0)


@pytest.mark.parametrize("test", [one_sided_p, bootstrap_p])
@pytest.mark.parametrize("values", [[], [1.0], [1.0, float("nan")], [[1.0, 2.0]]])
def test_a_test_refuses_what_has_no_spread_to_speak_of(test, values):
    with pytest.raises(ValueError, match="two or more finite"):
        test(values)


@pytest.mark.parametrize("test", [one_sided_p, bootstrap_p])
def test_an_unknown_side_is_refused(test):
    with pytest.raises(ValueError, match="side"):
        test(SAMPLE, 0.0, side="both")


def test_holm_adjusts_as_by_hand():
    """Sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, made monotone: .02 .03 .06 .06."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_caps_at_one_and_leaves_a_single_p_alone():
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([0.04]) == [0.04] and holm([]) == []
    with pytest.raises(ValueError, match="p values"):
        holm([0.5, 1.1])


@pytest.mark.parametrize(("effect", "alpha", "n"), [
    (0.2, 0.025, 199), (0.5, 0.025, 34), (0.8, 0.025, 15), (0.2, 0.05, 156), (0.5, 0.05, 27), (0.8, 0.05, 12),
])  # fmt: skip
def test_samples_needed_are_those_of_power_tables(effect, alpha, n):
    """One-sample t test, 80 % power, as G*Power 3.1 gives them."""
    assert samples_needed(effect, 1.0, alpha=alpha) == n
    assert samples_needed(3 * effect, 3.0, alpha=alpha) == n


def test_samples_needed_reach_the_power_they_promise():
    n = samples_needed(0.9, 1.0, alpha=0.01)
    rng = np.random.default_rng(0)

    def power(count):
        draws = rng.normal(0.9, 1.0, size=(20_000, count))
        return (stats.ttest_1samp(draws, 0, axis=1, alternative="greater").pvalue <= 0.01).mean()

    assert power(n) > 0.79 and power(n - 1) < 0.81


def test_samples_needed_for_equivalence_reach_their_power_too():
    """Two boundaries at different distances: the bound is close, never above the truth."""
    n = samples_needed([0.8, 1.2], 1.0, alpha=0.025)
    draws = np.random.default_rng(1).normal(0.0, 1.0, size=(20_000, n))
    above = stats.ttest_1samp(draws, -1.2, axis=1, alternative="greater").pvalue
    below = stats.ttest_1samp(draws, 0.8, axis=1, alternative="less").pvalue
    assert 0.79 < (np.maximum(above, below) <= 0.025).mean() < 0.86


@pytest.mark.parametrize(("distance", "sd", "n"), [
    (0.0, 1.0, None), (-1.0, 1.0, None), ([1.0, 0.0], 1.0, None), (1e-4, 1.0, None), (1.0, 0.0, 2), (0.0, 0.0, None), (1e9, 1.0, 2),
])  # fmt: skip
def test_samples_needed_at_the_edges(distance, sd, n):
    assert samples_needed(distance, sd, alpha=0.025) == n


def test_samples_needed_stop_at_the_cap_exactly():
    assert samples_needed(0.5, 1.0, alpha=0.025, cap=34) == 34
    assert samples_needed(0.5, 1.0, alpha=0.025, cap=33) is None


@pytest.mark.parametrize("options", [{"sd": -1.0}, {"alpha": 0.0}, {"alpha": 1.0}, {"power": 1.0}])
def test_samples_needed_refuse_nonsense(options):
    with pytest.raises(ValueError, match="alpha and power"):
        samples_needed(1.0, **{"sd": 1.0, "alpha": 0.05, **options})


@pytest.mark.parametrize(
    ("n", "low", "high"), [(2, 0.446, 31.91), (3, 0.521, 6.285), (10, 0.688, 1.826), (30, 0.796, 1.344)]
)
def test_the_interval_of_a_standard_deviation_is_that_of_any_table(n, low, high):
    """Factors of the sample's standard deviation at 95 %, as handbooks print them (chi-square with n − 1 degrees of freedom)."""
    assert sd_interval(2.0, n) == pytest.approx((2 * low, 2 * high), rel=2e-3)
    assert sd_interval(0.0, n) == (0.0, 0.0)


def test_the_interval_of_a_standard_deviation_holds_the_true_one_as_often_as_it_says():
    found = [
        sd_interval(float(s), 3, level=0.9) for s in np.random.default_rng(5).normal(size=(4000, 3)).std(axis=1, ddof=1)
    ]
    held = sum(low <= 1 <= high for low, high in found)
    assert abs(held - 3600) <= 3 * (4000 * 0.9 * 0.1) ** 0.5


@pytest.mark.parametrize(
    "given", [(-1.0, 3, 0.95), (float("nan"), 3, 0.95), (1.0, 1, 0.95), (1.0, 3, 0.0), (1.0, 3, 1.0)]
)
def test_the_interval_of_a_standard_deviation_refuses_nonsense(given):
    sd, n, level = given
    with pytest.raises(ValueError, match="two or more values"):
        sd_interval(sd, n, level=level)


def test_regression_finds_the_plane_it_was_given():
    a, b = [0.0, 1.0, 2.0, 5.0, 3.0], [1.0, 0.0, 4.0, 2.0, 2.0]
    y = [2 + 3 * x - 0.5 * z for x, z in zip(a, b, strict=True)]
    assert regress({"a": a, "b": b}, y) == pytest.approx({"intercept": 2, "a": 3, "b": -0.5})
    assert r_squared({"a": a, "b": b}, y) == pytest.approx(1)


def test_regression_on_one_column_is_scipys_line():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=20), rng.normal(size=20)
    line = stats.linregress(x, y)
    found = regress({"x": x.tolist()}, y.tolist())
    assert found == pytest.approx({"intercept": line.intercept, "x": line.slope})
    assert r_squared({"x": x.tolist()}, y.tolist()) == pytest.approx(line.rvalue**2)


def test_regression_does_not_mind_the_units_of_a_column():
    x, z, y = [1.0, 2.0, 3.0, 5.0], [2.0, 1.0, 0.0, 4.0], [1.0, 0.0, 2.0, 5.0]
    plain = regress({"x": x, "z": z}, y)
    scaled = regress({"x": [1e9 * value for value in x], "z": [1e-9 * value for value in z]}, y)
    assert scaled["x"] * 1e9 == pytest.approx(plain["x"]) and scaled["z"] * 1e-9 == pytest.approx(plain["z"])


@pytest.mark.parametrize(("columns", "y", "match"), [
    ({"a": [1.0, 2.0], "b": [0.0, 1.0]}, [1.0, 2.0], "too few rows"),
    ({"a": [1.0, 2.0, 3.0], "b": [2.0, 4.0, 6.0]}, [1.0, 2.0, 0.0], "collinear"),
    ({"a": [2.0, 2.0, 2.0]}, [1.0, 2.0, 0.0], "collinear"),
    ({"a": [1.0, 2.0]}, [1.0, 2.0, 0.0], "as many rows"),
    ({"a": [1.0, 2.0, float("inf")]}, [1.0, 2.0, 0.0], "column 'a'"),
    ({"intercept": [1.0, 2.0, 4.0]}, [1.0, 2.0, 0.0], "intercept"),
    ({}, [1.0, 2.0], "one or more columns"),
])  # fmt: skip
def test_a_regression_without_one_answer_is_refused(columns, y, match):
    for function in (regress, r_squared):
        with pytest.raises(ValueError, match=match):
            function(columns, y)


def test_nothing_explains_what_does_not_vary():
    assert regress({"a": [1.0, 2.0, 4.0]}, [3.0, 3.0, 3.0]) == pytest.approx({"intercept": 3, "a": 0})
    with pytest.raises(ValueError, match="spread"):
        r_squared({"a": [1.0, 2.0, 4.0]}, [3.0, 3.0, 3.0])
