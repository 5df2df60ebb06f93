"""Intervals against scipy, tables and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from layerlocal.stats import estimate, paired_difference


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
