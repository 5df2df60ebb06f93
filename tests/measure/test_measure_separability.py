"""Separability: answers to held-out pairs against refits by plain numpy, what is drawn, and that neither K nor sample counts matter."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import layerlocal.measure.separability as module
from layerlocal.data import Split, data_from_splits, load_data
from layerlocal.measure import measure_separability
from layerlocal.measure.separability import draw_problems, leave_pair_out, pair_accuracy


def make_data(x, y):
    return data_from_splits("toy", Split(x, y), Split(x, y), validation=Split(x, y))


def noise_data(classes, each, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(classes * each, *shape, generator=generator)
    return make_data(x, torch.arange(classes * each) % classes)


def cluster_data(classes, each, *, seed, distance=0.6):
    """Class centres drawn alike and independently, so that each pair of classes is as far apart in expectation."""
    generator = torch.Generator().manual_seed(seed)
    centres = distance * torch.randn(classes, 8, generator=generator)
    y = torch.arange(classes * each) % classes
    return make_data(centres[y] + torch.randn(len(y), 8, generator=generator), y)


def mean_and_error(values):
    return np.mean(values), np.std(values, ddof=1) / len(values) ** 0.5


# --- leave a pair out -------------------------------------------------------------------------------------------------


def refits(x):
    """(2n, D) → two of (n, n): for each row of the first half and each of the other, ridge regression onto ±1 without the two.

    By the normal equations of features and an intercept that is not penalized; features have mean 0 and variance 1 over all rows.
    """
    x = x[:, x.std(0) > 0]
    x = (x - x.mean(0)) / x.std(0)
    number, features = x.shape
    n = number // 2
    y = np.where(np.arange(number) < n, 1.0, -1.0)
    design = np.hstack([np.ones((number, 1)), x])
    penalties = np.diag([0.0] + [0.3 * features] * features)
    first, second = np.empty((n, n)), np.empty((n, n))
    for i in range(n):
        for j in range(n):
            rest = np.delete(np.arange(number), [i, n + j])
            weights = np.linalg.solve(design[rest].T @ design[rest] + penalties, design[rest].T @ y[rest])
            first[i, j], second[i, j] = design[i] @ weights, design[n + j] @ weights
    return first, second


def standard_kernel(x):
    z = (x - x.mean(0)) / x.std(0)
    return z @ z.T / x.shape[1]


@pytest.mark.parametrize(("n", "features"), [(20, 30), (20, 3), (5, 40), (2, 6)])
def test_leave_pair_out_equals_refits_without_each_pair(n, features):
    rng = np.random.default_rng(n + features)
    xs = [rng.normal(size=(2 * n, features)) * rng.uniform(0.2, 3, features) + 5 for _ in range(2)]
    kernels = torch.from_numpy(np.stack([standard_kernel(x) for x in xs]))
    found = leave_pair_out(kernels)
    for p, x in enumerate(xs):
        for part, expected in zip(found, refits(x), strict=True):
            np.testing.assert_allclose(part[p].numpy(), expected, rtol=0, atol=1e-9)


def test_pair_accuracy_counts_the_refits_right_answers():
    rng = np.random.default_rng(4)
    xs = rng.normal(size=(3, 16, 12)) * rng.uniform(0.1, 9, 12)
    xs[:, :8] += 0.1 * rng.uniform(0.1, 9, 12)
    xs[1, :, 4:9] = 7.0  # features that do not vary within this problem
    expected = []
    for x in xs:
        first, second = refits(x)
        expected.append(((first > 0).mean() + (second < 0).mean()) / 2)
    found = pair_accuracy(torch.from_numpy(xs))
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)
    assert len(set(expected)) == 3 and all(0.1 < value < 0.95 for value in expected)


def test_pair_accuracy_ignores_the_scale_and_offset_of_features_and_the_order_of_rows():
    x = torch.randn(4, 40, 10, generator=torch.Generator().manual_seed(5)).double()
    x[:, :20, 0] += 1
    plain = pair_accuracy(x)
    assert torch.allclose(pair_accuracy(x * torch.arange(1, 11) - 3), plain, atol=1e-12)
    assert torch.allclose(pair_accuracy(x.flip(1)), plain, atol=1e-12)  # classes change places, rows their order
    assert torch.equal(pair_accuracy(x)[2:], pair_accuracy(x[2:]))  # a problem knows of no other


def test_on_all_ways_to_label_the_same_rows_the_mean_is_exactly_a_half():
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(6)).double()
    ways = [
        [*half, *(k for k in range(6) if k not in half)] for half in torch.combinations(torch.arange(6), 3).tolist()
    ]
    assert len(ways) == 20
    found = pair_accuracy(torch.stack([x[way] for way in ways]))
    assert found.mean().item() == pytest.approx(0.5, abs=1e-12) and found.std() > 0.05


def test_features_that_do_not_vary_give_exactly_a_half():
    assert pair_accuracy(torch.zeros(2, 40, 7)).tolist() == [0.5, 0.5]
    assert pair_accuracy(torch.full((1, 4, 7), 0.1)).tolist() == [0.5]
    rounding = 1 + 1e-7 * torch.randn(1, 40, 7, generator=torch.Generator().manual_seed(7))
    assert pair_accuracy(rounding).tolist() == [0.5]


# --- what is drawn ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 5, 21, 100])
def test_problems_are_two_hundred_of_twenty_rows_of_two_classes_in_turn(classes):
    labels = torch.arange(classes * 30) % classes
    problems = draw_problems(labels, 0)
    assert len(problems) == 200
    counts = dict.fromkeys(((a, b) for a in range(classes) for b in range(a + 1, classes)), 0)
    for rows in problems:
        assert rows.shape == (2, 20) and len(rows.unique()) == 40
        first, second = (part.unique() for part in labels[rows])
        assert len(first) == len(second) == 1  # one class in each half
        counts[tuple(sorted((first.item(), second.item())))] += 1
    assert max(counts.values()) - min(counts.values()) <= 1  # 21 classes have 210 pairs: ten do not come
    assert len({tuple(rows.sort().values.flatten().tolist()) for rows in problems}) == 200  # other rows each time


def test_a_small_class_makes_its_own_problems_small_and_equal_and_one_row_is_too_few():
    labels = torch.cat([torch.full((count,), k) for k, count in enumerate((40, 25, 7, 2, 1))])
    sizes: dict[tuple[int, ...], set[int]] = {}
    for rows in draw_problems(labels, 3):
        pair = tuple(sorted(labels[rows][:, 0].tolist()))
        sizes.setdefault(pair, set()).add(rows.shape[1])
        assert (labels[rows] == labels[rows][:, :1]).all() and len(rows.unique()) == rows.numel()
    assert sizes == {(0, 1): {20}, (0, 2): {7}, (1, 2): {7}, (0, 3): {2}, (1, 3): {2}, (2, 3): {2}}
    found = measure_separability(make_data(3 * torch.randn(5, 6)[labels] + 0.01 * torch.randn(75, 6), labels))
    assert found > 0.95


def test_where_no_two_classes_have_two_rows_nothing_can_be_told():
    assert draw_problems(torch.tensor([0, 1, 2, 2]), 0) == []
    assert measure_separability(make_data(torch.randn(4, 3), torch.tensor([0, 1, 2, 2]))) == 0.5


@pytest.mark.parametrize(("classes", "each", "most"), [(2, 3000, 400), (100, 60, 2000), (400, 20, 2000)])
def test_rows_come_from_a_bounded_pool_all_over_the_split(classes, each, most):
    labels = torch.arange(classes * each) % classes
    used = torch.cat([rows.flatten() for rows in draw_problems(labels, 0)]).unique()
    assert 0.7 * most < len(used) <= most
    assert abs(used.double().mean() / len(labels) - 0.5) < 0.1


# --- the scale --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "each", "shape"),
    [(2, 60, (8,)), (10, 30, (16,)), (50, 20, (4,)), (30, 6, (2,)), (5, 40, (1, 8, 8))],
    ids=str,
)
def test_labels_that_are_noise_give_a_half_within_a_few_standard_errors(classes, each, shape):
    found = [measure_separability(noise_data(classes, each, *shape, seed=seed), seed=seed) for seed in range(8)]
    mean, error = mean_and_error(found)
    assert abs(mean - 0.5) < 3.5 * error and error < 0.03


def test_the_number_of_samples_a_class_does_not_matter():
    found = {}
    for each in (30, 100, 300):
        found[each] = [measure_separability(cluster_data(10, each, seed=seed), seed=seed) for seed in range(8)]
    for few, many in ((30, 100), (30, 300), (100, 300)):  # the same centres with other samples
        difference, error = mean_and_error(np.subtract(found[few], found[many]))
        assert abs(difference) < 3.5 * error and error < 0.01
    assert all(0.6 < value < 0.9 for values in found.values() for value in values)


def test_the_number_of_classes_does_not_matter():
    few = mean_and_error([measure_separability(cluster_data(5, 40, seed=seed)) for seed in range(16)])
    many = mean_and_error([measure_separability(cluster_data(50, 40, seed=100 + seed)) for seed in range(6)])
    assert abs(few[0] - many[0]) < 3.5 * (few[1] ** 2 + many[1] ** 2) ** 0.5
    assert few[1] < 0.02 and many[1] < 0.01 and 0.6 < many[0] < 0.9


def test_a_frequent_class_is_no_easier_to_tell():
    generator = torch.Generator().manual_seed(3)
    y = torch.cat([torch.zeros(180), torch.ones(30)]).long()
    found = [measure_separability(make_data(torch.randn(210, 4, generator=generator), y)) for _ in range(10)]
    mean, error = mean_and_error(found)
    assert abs(mean - 0.5) < 3.5 * error and error < 0.04


def test_the_order_of_rows_and_the_names_of_classes_change_the_draw_only():
    data = cluster_data(6, 50, seed=8)
    x, y = data.train.images, data.train.labels
    differences = []
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        order, names = torch.randperm(len(y), generator=generator), torch.randperm(6, generator=generator)
        other = measure_separability(make_data(x[order], names[y[order]]), seed=seed)
        differences.append(other - measure_separability(data, seed=seed))
    mean, error = mean_and_error(differences)
    assert abs(mean) < 3.5 * error and max(map(abs, differences)) < 0.06


def test_inputs_that_are_all_alike_give_exactly_a_half():
    y = torch.arange(40) % 4
    assert measure_separability(make_data(torch.zeros(40, 6), y)) == 0.5
    assert measure_separability(make_data(torch.full((40, 3, 8, 8), 7, dtype=torch.uint8), y)) == 0.5


@pytest.mark.parametrize("classes", [2, 8])
def test_well_separated_clusters_and_patterns_give_about_one(classes):
    y = torch.arange(classes * 20) % classes
    vectors = torch.randn(classes, 16)[y] * 3 + 0.1 * torch.randn(len(y), 16)
    assert measure_separability(make_data(vectors, y)) > 0.99
    patterns = torch.randint(0, 256, (classes, 3, 8, 8))[y] + torch.randint(-5, 6, (len(y), 3, 8, 8))
    assert measure_separability(make_data(patterns.clamp(0, 255).to(torch.uint8), y)) > 0.99


def test_the_further_apart_the_higher():
    def clusters(classes, distance):
        y = torch.arange(classes * 60) % classes
        return make_data(distance * torch.eye(16)[y] + torch.randn(len(y), 16), y)

    rising = [measure_separability(clusters(4, distance)) for distance in (0.0, 1.0, 2.0, 4.0)]
    assert rising == sorted(rising) and rising[0] < 0.6 and rising[-1] > 0.95


def test_the_teacher_s_noise_and_its_groups_similarity_make_the_same_number_of_classes_harder():
    def of(**teacher):
        data = load_data("teacher_student", classes=6, num_train=600, num_test=60, teacher=teacher, validation=0)
        return measure_separability(data)

    plain = of(noise=1.0)
    assert of() > plain + 0.05 and plain > of(noise=4.0) + 0.05
    assert plain > of(noise=1.0, groups=2, similarity=0.98) + 0.02


# --- what it looks at -------------------------------------------------------------------------------------------------


def test_only_training_data_are_looked_at():
    x, y = torch.randn(60, 5), torch.arange(60) % 3

    def closed(*_):
        raise AssertionError("a split other than the training split was opened")

    other = Split(x.clone(), y.clone())
    data = data_from_splits("toy", Split(x, y), other, validation=other)
    other.gather = closed
    assert 0 <= measure_separability(data) <= 1
    assert data.test_reads == 0
    found = load_data("fashion_mnist_subset", classes=3, num_train=60, num_test=30)
    assert measure_separability(found) > 0.9 and found.test_reads == 0


def test_it_is_a_function_of_the_data_and_its_own_seed():
    data = noise_data(3, 30, 6)
    first = measure_separability(data)
    torch.manual_seed(77)
    assert measure_separability(data) == first
    assert len({measure_separability(data, seed=seed) for seed in range(4)}) > 1


def test_classes_without_training_samples_do_not_count():
    x, y = torch.randn(90, 8), torch.arange(90) % 3
    sparse = torch.tensor([1, 4, 8])[y]  # of nine classes, six are never shown: as held-out pairs of a composed task
    data = make_data(x, y)
    composed = dataclasses.replace(data, train=Split(x, sparse), num_classes=9)
    assert measure_separability(composed) == measure_separability(data)


def test_large_images_are_measured_at_32_pixels():
    y = torch.arange(24) % 2
    small = torch.randint(0, 256, (24, 1, 32, 32), dtype=torch.uint8)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)  # each pixel four times: its mean is itself
    found = [module._features(data, data.train, 0) for data in (make_data(small, y), make_data(large, y))]
    assert found[0].shape == (24, 1024) and torch.allclose(*found, atol=1e-5)
