"""Separability: closed-form leave-one-out against refits by plain numpy, pairwise accuracy by counting, and the scale's two ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import layerlocal.measure.separability as module
from layerlocal.data import Split, data_from_splits, load_data
from layerlocal.measure import measure_separability
from layerlocal.measure.separability import leave_one_out, pairwise_accuracy


def make_data(x, y):
    return data_from_splits("toy", Split(x, y), Split(x, y), validation=Split(x, y))


def noise_data(classes, each, *shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(classes * each, *shape, generator=generator)
    return make_data(x, torch.arange(classes * each) % classes)


# --- pairwise accuracy ------------------------------------------------------------------------------------------------


def test_pairwise_accuracy_is_the_share_of_wrong_classes_below_the_true_one():
    scores = torch.randint(0, 4, (40, 6), generator=torch.Generator().manual_seed(1)).float()  # many ties
    y = torch.arange(40) % 6
    points = []
    for row, true in zip(scores.tolist(), y.tolist(), strict=True):
        wrong = [score for k, score in enumerate(row) if k != true]
        points.append(sum(1.0 if row[true] > s else 0.5 if row[true] == s else 0.0 for s in wrong) / 5)
    assert pairwise_accuracy(scores, y) == pytest.approx(sum(points) / 40, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 50])
def test_pairwise_accuracy_of_constant_right_and_wrong_scores_is_a_half_one_and_zero(classes):
    y = torch.arange(4 * classes) % classes
    right = torch.nn.functional.one_hot(y, classes).double()
    assert pairwise_accuracy(torch.full_like(right, 3.0), y) == 0.5
    assert pairwise_accuracy(right, y) == 1.0
    assert pairwise_accuracy(-right, y) == 0.0


def test_pairwise_accuracy_of_two_classes_is_accuracy_and_random_scores_give_a_half_for_every_k():
    generator = torch.Generator().manual_seed(2)
    scores, y = torch.randn(300, 2, generator=generator), torch.randint(0, 2, (300,), generator=generator)
    assert pairwise_accuracy(scores, y) == pytest.approx((scores.argmax(1) == y).double().mean().item())
    for classes in (2, 10, 100):
        scores = torch.randn(3000, classes, generator=generator)
        assert abs(pairwise_accuracy(scores, torch.arange(3000) % classes) - 0.5) < 4 * 0.5 / 3000**0.5


# --- leave one out ----------------------------------------------------------------------------------------------------


def refit_without_each_row(x, targets):
    """N ridge regressions with an intercept that is not penalized, each by the normal equations of all rows but one."""
    number, features = x.shape
    penalty = 0.1 * number * x.var(0).mean()  # a tenth of N times the mean variance, of all rows
    design = np.hstack([np.ones((number, 1)), x])
    penalties = np.diag([0.0] + [penalty] * features)
    found = []
    for row in range(number):
        rest = np.delete(np.arange(number), row)
        weights = np.linalg.solve(design[rest].T @ design[rest] + penalties, design[rest].T @ targets[rest])
        found.append(design[row] @ weights - targets[rest].mean(0))
    return np.array(found)


@pytest.mark.parametrize(("number", "features", "classes"), [(30, 5, 3), (12, 40, 2), (25, 25, 5)])
def test_leave_one_out_equals_n_refits_exactly(number, features, classes):
    rng = np.random.default_rng(number)
    x = rng.normal(size=(number, features)) * rng.uniform(0.2, 3, features)
    x -= x.mean(0)
    labels = rng.integers(0, classes, number)  # unbalanced
    targets = np.eye(classes)[labels]
    found = leave_one_out(torch.from_numpy(x), torch.from_numpy(targets)).numpy()
    np.testing.assert_allclose(found, refit_without_each_row(x, targets), rtol=0, atol=1e-10)


def test_leave_one_out_of_constant_features_says_nothing():
    targets = torch.eye(3, dtype=torch.float64)[torch.tensor([0, 0, 0, 1, 2, 2])]
    assert torch.equal(leave_one_out(torch.zeros(6, 4, dtype=torch.float64), targets), torch.zeros(6, 3).double())


# --- the scale --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("classes", "each", "shape"), [(2, 100, (8,)), (10, 30, (16,)), (5, 40, (1, 8, 8))], ids=str)
def test_labels_that_are_noise_give_about_a_half(classes, each, shape):
    found = [measure_separability(noise_data(classes, each, *shape, seed=seed)) for seed in range(3)]
    assert abs(np.mean(found) - 0.5) < 0.06
    assert all(abs(value - 0.5) < 0.12 for value in found)


def test_small_classes_without_signal_are_not_below_chance():
    x, y = torch.randn(60, 300, 2), torch.arange(300) % 30  # ten of each: leaving one out makes its class the rarest
    found = [measure_separability(make_data(part, y)) for part in x[:8]]
    assert abs(np.mean(found) - 0.5) < 0.025


def test_a_frequent_class_is_no_easier_to_tell():
    generator = torch.Generator().manual_seed(3)
    y = torch.cat([torch.zeros(90), torch.ones(10)]).long()  # 0.9 of all pairs would be won by the share alone
    found = [measure_separability(make_data(torch.randn(100, 4, generator=generator), y)) for _ in range(6)]
    assert abs(np.mean(found) - 0.5) < 0.1


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


def test_the_further_apart_the_higher_and_more_classes_at_the_same_distance_are_no_harder():
    def clusters(classes, distance):
        y = torch.arange(classes * 60) % classes
        return make_data(distance * torch.eye(16)[y] + torch.randn(len(y), 16), y)

    rising = [measure_separability(clusters(4, distance)) for distance in (0.0, 1.0, 2.0, 4.0)]
    assert rising == sorted(rising) and rising[0] < 0.6 and rising[-1] > 0.95
    few, many = (measure_separability(clusters(classes, 3.0)) for classes in (2, 16))
    assert abs(few - many) < 0.06  # accuracy would fall from 0.98 to 0.7


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
    other.gather = closed
    data = data_from_splits("toy", Split(x, y), other, validation=other)
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
    assert measure_separability(make_data(x, sparse)) == measure_separability(make_data(x, y))


def test_at_most_a_hundred_samples_a_class_and_five_thousand_in_all_are_taken(monkeypatch):
    seen = []
    monkeypatch.setattr(module, "leave_one_out", lambda x, targets: seen.append((x, targets)) or targets)
    y = torch.cat([torch.zeros(250), torch.ones(130), torch.full((40,), 2)]).long()
    assert measure_separability(make_data(torch.randn(420, 3), y)) == 1.0
    monkeypatch.setattr(module, "MOST", 60)
    measure_separability(make_data(torch.randn(420, 3), y))
    assert [targets.sum(0).tolist() for _, targets in seen] == [[100, 100, 40], [20, 20, 20]]
    for x, _ in seen:
        assert x.shape[1] == 1024 and x.mean(0).abs().max() < 1e-5
        assert torch.allclose(x.std(0), torch.ones(1024).double(), atol=1e-4)


def test_large_images_are_measured_at_32_pixels():
    y = torch.arange(24) % 2
    small = torch.randint(0, 256, (24, 1, 32, 32), dtype=torch.uint8)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)  # each pixel four times: its mean is itself
    found = [module._features(data, data.train, 0) for data in (make_data(small, y), make_data(large, y))]
    assert found[0].shape == (24, 1024) and torch.allclose(*found, atol=1e-5)
