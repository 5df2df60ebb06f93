"""What test images add to the error of a mean over seeds: closed forms, and coverage where the truth is planted."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from layerlocal.sampling import image_error, pooled_spread, share, weighted
from layerlocal.stats import bootstrap_p, estimate, one_sided_p, samples_needed

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from interval_coverage import SEEDS, SPREADS, WORLDS, coverage, pooled_coverage

CHANCE = np.random.default_rng(0)


def shares(d, places=None, source="test"):
    places = np.arange(d.shape[1])[None].repeat(len(d), 0) if places is None else places
    return [share(*one, source) for one in zip(d, places, strict=True)]


def test_with_the_same_images_it_is_the_component_of_a_two_way_analysis_of_variance():
    """(MS of images − MS of residual) / (nN), Cornfield & Tukey 1956."""
    n, images = 4, 30
    d = CHANCE.normal(size=(n, images)) + CHANCE.normal(size=images)
    rows, columns = d.mean(1, keepdims=True), d.mean(0, keepdims=True)
    of_images = n * ((columns - d.mean()) ** 2).sum() / (images - 1)
    residual = ((d - rows - columns + d.mean()) ** 2).sum() / ((n - 1) * (images - 1))
    assert image_error(shares(d)) ** 2 == pytest.approx((of_images - residual) / (n * images))


def test_with_two_seeds_that_share_some_images_it_is_their_covariance_on_those():
    d, places = CHANCE.normal(size=(2, 6)) + 1, np.array([[0, 1, 2, 3, 4, 5], [3, 4, 5, 6, 7, 8]])
    d[1, :3] = d[0, 3:]  # the shared ones answer alike
    centred = d - d.mean(1, keepdims=True)
    assert image_error(shares(d, places)) ** 2 == pytest.approx((centred[0, 3:] * centred[1, :3]).sum() / (6 * 5))


def test_images_of_their_own_add_nothing_and_one_seed_says_nothing():
    d = CHANCE.normal(size=(3, 5))
    assert image_error(shares(d, np.arange(15).reshape(3, 5))) == 0
    assert image_error([{**shares(d[:1])[0]}, *shares(d[1:2], source="another")]) == 0
    assert image_error(shares(d[:1])) is None


def test_a_weighted_sum_of_values_has_the_weighted_sum_of_shares():
    d = CHANCE.normal(size=(2, 3, 7))  # two cells on the same images
    whole = shares(2 * d[0] - 0.5 * d[1])
    parts = [weighted([(2, a), (-0.5, b)]) for a, b in zip(shares(d[0]), shares(d[1]), strict=True)]
    assert image_error(parts) == pytest.approx(image_error(whole))
    assert all(np.allclose(a["test"], b["test"]) for a, b in zip(parts, whole, strict=True))


def test_the_order_in_which_places_are_given_does_not_count():
    d, order = CHANCE.normal(size=8), CHANCE.permutation(8)
    assert np.allclose(share(d, np.arange(8), "a")["a"], share(d[order], np.arange(8)[order], "a")["a"])


# --- intervals and tests with both parts ------------------------------------------------------------------------------


def test_the_halves_are_put_together_at_right_angles():
    values = [0.01, 0.03, 0.02, 0.05]
    over_seeds = stats.t.ppf(0.975, 3) * stats.sem(values)
    found = estimate(values, images=0.004)
    assert found["high"] - found["mean"] == pytest.approx(np.hypot(over_seeds, stats.norm.ppf(0.975) * 0.004))
    assert found["over"] == "seeds and images"
    nothing = estimate(values, images=0.0)
    assert (nothing["low"], nothing["high"]) == (estimate(values)["low"], estimate(values)["high"])
    assert "over" not in estimate(values) and nothing["over"] == "seeds and images"


@pytest.mark.parametrize("side", ["greater", "less"])
@pytest.mark.parametrize("images", [1e-9, 0.002, 0.02])
def test_p_is_five_percent_where_the_interval_at_ninety_percent_ends(side, images):
    values = [0.01, 0.03, 0.02]
    found = estimate(values, level=0.9, images=images)
    near, far = ("low", "high") if side == "greater" else ("high", "low")
    assert one_sided_p(values, found[near], side=side, images=images) == pytest.approx(0.05)
    assert one_sided_p(values, found[far], side=side, images=images) == pytest.approx(0.95)


def test_with_images_alone_the_test_is_the_normal_one_and_without_them_students():
    assert one_sided_p([0.02, 0.02], images=0.01) == pytest.approx(stats.norm.sf(2))
    assert bootstrap_p([0.02, 0.02], images=0.01) == pytest.approx(stats.norm.sf(2))
    values = [0.01, 0.03, 0.02]
    assert one_sided_p(values, images=1e-12) == pytest.approx(
        stats.ttest_1samp(values, 0, alternative="greater").pvalue
    )


def test_a_bootstrap_with_large_images_tends_to_the_normal_test():
    values = CHANCE.normal(size=12) * 1e-4 + 0.02
    assert bootstrap_p(values, images=0.01) == pytest.approx(stats.norm.sf(values.mean() / 0.01), abs=0.005)
    assert bootstrap_p(values, 0.0, images=1e-9) == bootstrap_p(values)


def test_no_number_of_seeds_shows_what_the_images_hide():
    assert samples_needed(0.01, 0.01, alpha=0.025, images=0.01) is None, "one standard error of images away"
    few, more = (samples_needed(0.01, 0.01, alpha=0.025, images=size) for size in (0.0005, 0.003))
    assert samples_needed(0.01, 0.01, alpha=0.025) <= few <= more


def test_the_planned_number_of_seeds_has_about_the_power_that_was_asked_for():
    sd, images, distance = 0.01, 0.003, 0.015
    n = samples_needed(distance, sd, alpha=0.025, images=images)
    draws = distance + CHANCE.normal(size=(1500, n)) * sd + images * CHANCE.normal(size=(1500, 1))
    shown = np.mean([estimate(one, images=images)["low"] > 0 for one in draws])
    assert 0.72 < shown < 0.9


# --- coverage where the truth is planted ------------------------------------------------------------------------------


@pytest.mark.parametrize("n", SEEDS)
@pytest.mark.parametrize("name", WORLDS)
def test_nominal_95_percent_intervals_over_both_hold_the_truth_in_93_to_98_of_100(name, n):
    repeats = 800
    found = coverage(WORLDS[name], n, images=100, repeats=repeats)
    slack = 2.5 * np.sqrt(0.05 * 0.95 / repeats)
    assert 0.93 - slack < found["both"] < 0.98 + slack
    assert found["both"] >= found["seeds"]


@pytest.mark.parametrize("n", SEEDS)
def test_intervals_over_seeds_alone_miss_where_images_are_the_larger_part(n):
    assert coverage(WORLDS["images"], n, images=100, repeats=300)["seeds"] < 0.75


@pytest.mark.parametrize("n", SEEDS)
@pytest.mark.parametrize("name", SPREADS)
def test_pooled_intervals_hold_the_truth_in_the_mean_over_cells(name, n):
    found = pooled_coverage(name, n, repeats=500)
    assert 0.92 < found["pooled"] < 0.98 and found["worst"] > 0.88  # of 500 repeats
    assert found["width"] <= 1.01


def test_pooling_takes_the_root_mean_square_of_spreads_and_counts_half_the_degrees_of_freedom():
    cells = CHANCE.normal(size=(5, 3))
    found = pooled_spread(cells, level=1e-9)
    assert found.sd == pytest.approx(np.sqrt(cells.var(axis=1, ddof=1).mean()))
    assert pooled_spread(CHANCE.normal(size=(3, 4)), level=1e-9).df == 4, "9 // 2"
    assert pooled_spread([[1.0], [2.0, 3.0]], level=1e-9) is None, "a cell of one seed has no spread"
    assert found.df == 5 and found.p == pytest.approx(stats.bartlett(*cells).pvalue)
    assert pooled_spread([[0.0, 1.0, 2.0], [0.0, 100.0, -100.0]]) is None, "Bartlett's test rejects"
    assert pooled_spread([[1.0, 1.0], [2.0, 3.0]]) is None and pooled_spread([[1.0, 2.0]]) is None
    assert pooled_spread([[1.0, 1.0], [2.0, 2.0]]).sd == 0


def test_a_pooled_interval_has_the_larger_spread_and_says_so():
    values = [0.01, 0.03, 0.02]
    for sd in (0.001, 0.05):
        found = estimate(values, pooled=(sd, 6))
        half = stats.t.ppf(0.975, 6) * max(sd, np.std(values, ddof=1)) / np.sqrt(3)
        assert found["high"] - found["mean"] == pytest.approx(half) and found["over"] == "seeds of all cells"
    assert estimate(values, pooled=(0.001, 6), images=0.01)["over"] == "seeds of all cells and images"
