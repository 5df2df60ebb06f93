"""The maths of the rules against closed forms, loops written by hand, plain autograd and scipy."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import optimize, special, stats

from layerlocal.kernels import grid_max
from layerlocal.rules.core.auxiliary import ConvReadout
from layerlocal.rules.core.functional import (
    bounded_temperature,
    clarity,
    ff_loss,
    fit_fusion_weights,
    fuse,
    goodness,
    grid_mean,
    grid_rms,
    rms_normalize,
    wrong_labels,
)
from layerlocal.rules.core.members import GroupedNets

GRIDS = [(4, 4, 2), (5, 7, 2), (7, 5, 3), (1, 3, 2), (2, 2, 4), (6, 6, 1)]
"""(height, width, cells a side): even, not divisible, and maps smaller than the grid."""


def edges(size, cells):
    """Where cells begin and end: as equal as possible, the longer ones first."""
    cells = min(cells, size)
    lengths = [size // cells + (1 if index < size % cells else 0) for index in range(cells)]
    return [sum(lengths[:index]) for index in range(cells + 1)]


def by_hand(activity, grid, statistic):
    """One number a cell and channel; cells row by row, channels inside a cell."""
    parts = []
    for top, bottom in pairwise(edges(activity.shape[2], grid)):
        for left, right in pairwise(edges(activity.shape[3], grid)):
            parts.append(statistic(activity[:, :, top:bottom, left:right]))
    return torch.cat(parts, dim=1)


def plain_rms(cell):
    return (cell**2).mean((2, 3)).sqrt()


def images(height, width, seed=0):
    return torch.randn(3, 4, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# --- goodness and the Forward-Forward loss ----------------------------------------------------------------------------


def test_goodness_is_the_sum_or_mean_of_squares_over_channels_with_positions_averaged():
    a = torch.tensor([[[[1.0, 2.0]], [[0.0, 3.0]]], [[[1.0, 1.0]], [[2.0, 0.0]]]])  # (B=2, C=2, H=1, W=2)
    sums = [(1 + 4) / 2 + (0 + 9) / 2, (1 + 1) / 2 + (4 + 0) / 2]
    assert goodness(a, "sum").tolist() == sums
    assert goodness(a, "mean").tolist() == [value / 2 for value in sums]
    vectors = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    assert goodness(vectors, "sum").tolist() == [25.0, 4.0]
    assert goodness(vectors, "mean").tolist() == [12.5, 2.0]


def test_ff_loss_equals_softplus_of_threshold_minus_goodness():
    positive, negative, theta = [0.5, 3.0, 7.0], [2.0, 0.0, 4.0], 2.5
    expected = sum(math.log1p(math.exp(theta - g)) for g in positive) / 3
    expected += sum(math.log1p(math.exp(g - theta)) for g in negative) / 3
    found = ff_loss(torch.tensor(positive).double(), torch.tensor(negative).double(), theta)
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_ff_loss_pulls_positive_goodness_up_and_negative_goodness_down_by_the_logistic_function():
    positive = torch.tensor([1.0, 4.0], dtype=torch.float64, requires_grad=True)
    negative = torch.tensor([1.0, 4.0], dtype=torch.float64, requires_grad=True)
    ff_loss(positive, negative, 2.0).backward()
    logistic = special.expit
    assert positive.grad.tolist() == pytest.approx([-logistic(1.0) / 2, -logistic(-2.0) / 2])
    assert negative.grad.tolist() == pytest.approx([logistic(-1.0) / 2, logistic(2.0) / 2])


@pytest.mark.parametrize("num_classes", [2, 5, 10])
def test_wrong_labels_are_never_the_true_one_and_uniform_over_the_others(num_classes):
    draws = 4000
    y = torch.arange(num_classes).repeat_interleave(draws)
    table = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    table.index_put_((y, wrong_labels(y, num_classes)), torch.ones_like(y), accumulate=True)
    assert table.diagonal().tolist() == [0] * num_classes
    others = table[~torch.eye(num_classes, dtype=torch.bool)].view(num_classes, -1)
    assert others.sum(1).tolist() == [draws] * num_classes
    expected = draws / (num_classes - 1)
    chi_square = ((others - expected) ** 2 / expected).sum().item()
    assert num_classes == 2 or stats.chi2.sf(chi_square, num_classes * (num_classes - 2)) > 1e-4


# --- normalization ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 5), (6, 3, 4, 5)])
def test_rms_normalize_forgets_the_length_of_each_sample_and_nothing_else(shape):
    a = torch.randn(*shape)
    factors = torch.tensor([1e-6, 1e-3, 0.5, 1.0, 1e3, 1e6]).view(-1, *[1] * (len(shape) - 1))
    once, scaled = rms_normalize(a), rms_normalize(a * factors)
    torch.testing.assert_close(once.square().flatten(1).mean(1), torch.ones(6), rtol=1e-4, atol=0)
    cosine = torch.nn.functional.cosine_similarity(once.flatten(1), a.flatten(1))
    torch.testing.assert_close(cosine, torch.ones(6))
    torch.testing.assert_close(scaled, once, rtol=1e-4, atol=1e-5)


def test_rms_normalize_of_a_dead_sample_is_zero_with_a_finite_gradient():
    a = torch.zeros(2, 3, requires_grad=True)
    out = rms_normalize(a)
    out.sum().backward()
    assert not out.any() and a.grad.isfinite().all()


# --- the spatial statistics -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width", "grid"), GRIDS)
def test_grid_rms_and_grid_mean_are_the_statistic_of_each_cell(height, width, grid):
    a = images(height, width)
    torch.testing.assert_close(grid_rms(a, grid), by_hand(a, grid, plain_rms))
    torch.testing.assert_close(grid_mean(a, grid), by_hand(a, grid, lambda cell: cell.mean((2, 3))))


@pytest.mark.parametrize(("height", "width", "grid"), GRIDS)
def test_grid_max_is_the_largest_of_each_cell_and_its_gradient_goes_there(height, width, grid):
    a = images(height, width).requires_grad_()
    expected = by_hand(a, grid, lambda cell: cell.flatten(2).max(2).values)
    torch.testing.assert_close(grid_max(a, grid), expected)
    pull = torch.arange(1.0, expected.numel() + 1, dtype=torch.float64).view_as(expected)
    found = [torch.autograd.grad((value * pull).sum(), a)[0] for value in (grid_max(a, grid), expected)]
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("grid", [1, 2, 3])
def test_readers_with_convolutions_read_the_largest_of_each_cell_of_their_last_maps(grid):
    maps, x = (4, 7, 7), images(7, 7).float()
    conv = ConvReadout(maps, 5, statistic="max", grid=grid, reduction=1).eval()
    features = by_hand(conv.layers(x), grid, lambda cell: cell.flatten(2).max(2).values)
    readout = conv.readout
    torch.testing.assert_close(conv(x), readout.linear(readout.standardize(features)))
    nets = GroupedNets([], maps, 5, nets=2, statistic="max", grid=grid, factors=None).eval()
    cells = (
        by_hand(x, grid, lambda cell: cell.flatten(2).max(2).values).unflatten(1, (grid * grid, 4)).transpose(1, 2)
    )  # (B, C, s·s)
    weight = nets.linear.weight.view(2, 5, -1)  # a net has half of the channels
    halves = cells.unflatten(1, (2, 2)).flatten(2) / (1 + nets.standardize.eps) ** 0.5
    by_net = torch.einsum("bnf,nkf->bnk", halves, weight) + nets.linear.bias.view(2, 5)
    torch.testing.assert_close(nets(x), by_net)


@pytest.mark.parametrize(("height", "width", "grid"), GRIDS)
def test_grid_rms_gradient_is_that_of_plain_autograd(height, width, grid):
    a = images(height, width).requires_grad_()
    pull = torch.randn(by_hand(a, grid, plain_rms).shape, dtype=torch.float64)
    (expected,) = torch.autograd.grad((by_hand(a, grid, plain_rms) * pull).sum(), a)
    (found,) = torch.autograd.grad((grid_rms(a, grid) * pull).sum(), a)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-8)
    assert torch.autograd.gradcheck(lambda t: grid_rms(t, grid), (a,), atol=1e-5)


def test_grid_rms_of_channels_last_maps_has_the_same_values_and_gradients():
    a = images(5, 6)
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        leaf = a.clone(memory_format=torch.preserve_format).contiguous(memory_format=layout).requires_grad_()
        out = grid_rms(leaf, 2)
        (out * torch.arange(out.numel()).view_as(out)).sum().backward()
        found.append((out.detach(), leaf.grad))
    torch.testing.assert_close(found[0], found[1])


def test_grid_rms_gradient_is_zero_where_a_cell_is_dead_and_right_elsewhere():
    a = images(4, 4)
    a[0] = 0
    a[1, 2, :2, :2] = 0
    a.requires_grad_()
    out = grid_rms(a, 2)
    out.sum().backward()
    assert out.isfinite().all() and a.grad.isfinite().all()
    assert not a.grad[0].any() and not a.grad[1, 2, :2, :2].any()
    alive = a.detach()[2, 0, 2:, 2:]
    torch.testing.assert_close(
        a.grad[2, 0, 2:, 2:], alive / (4 * plain_rms(alive[None, None])[0, 0]), rtol=1e-4, atol=0
    )


# --- fusion -----------------------------------------------------------------------------------------------------------


def test_fuse_is_the_mean_or_weighted_sum_of_log_softmax():
    scores = np.random.default_rng(0).normal(size=(3, 5, 4))
    logs = special.log_softmax(scores, axis=-1)
    np.testing.assert_allclose(fuse(torch.from_numpy(scores)), logs.mean(0), rtol=1e-12)
    weights = np.array([0.2, 0.0, 1.5])
    found = fuse(torch.from_numpy(scores), torch.from_numpy(weights))
    np.testing.assert_allclose(found, np.tensordot(weights, logs, 1), rtol=1e-12)


def test_fuse_ignores_a_constant_added_to_the_scores_of_one_sample():
    scores = torch.randn(3, 5, 4, dtype=torch.float64)
    torch.testing.assert_close(fuse(scores + torch.randn(3, 5, 1)), fuse(scores))


def fusion_problem():
    """One informative block between two of noise: (L=3, N, K=4) scores and (N,) labels."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 600)
    scores = rng.normal(size=(3, 600, 4))
    scores[1] += 2.0 * np.eye(4)[y]
    return scores, y


def cross_entropy_of(weights, scores, y):
    fused = np.tensordot(weights, special.log_softmax(scores, axis=-1), 1)
    return -special.log_softmax(fused, axis=-1)[np.arange(len(y)), y].mean()


def test_fit_fusion_weights_finds_the_minimum_that_scipy_finds():
    scores, y = fusion_problem()
    best = optimize.minimize(cross_entropy_of, np.ones(3), args=(scores, y), bounds=[(0, None)] * 3, method="L-BFGS-B")
    weights = fit_fusion_weights(torch.from_numpy(scores), torch.from_numpy(y)).numpy().astype(float)
    assert cross_entropy_of(weights, scores, y) == pytest.approx(best.fun, abs=1e-4)
    np.testing.assert_allclose(weights, best.x, atol=0.02)


def test_fit_fusion_weights_trusts_the_informative_block_and_is_never_negative():
    scores, y = fusion_problem()
    weights = fit_fusion_weights(torch.from_numpy(scores).float(), torch.from_numpy(y))
    assert (weights >= 0).all() and weights[1] > 0.5 and weights[[0, 2]].max() < 0.1 * weights[1]
    assert not weights.requires_grad and weights.dtype == torch.float32


# --- dynamic temperature ----------------------------------------------------------------------------------------------


def test_clarity_equals_a_hand_computed_example():
    g = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]])
    y = torch.tensor([0, 2])
    margin = ((3 - 1) + (1 - 2)) / 2
    spread = (math.sqrt(14 / 9) + math.sqrt(2 / 3)) / 2  # standard deviations over the classes of each row
    assert clarity(g, y).item() == pytest.approx(margin / spread, rel=1e-5)


def test_clarity_ignores_scale_and_offset_of_goodness_and_carries_no_gradient():
    g, y = torch.randn(6, 4, dtype=torch.float64, requires_grad=True), torch.arange(6) % 4
    found = clarity(g, y)
    assert not found.requires_grad
    torch.testing.assert_close(clarity(g * 100, y), found, rtol=1e-5, atol=0)
    torch.testing.assert_close(clarity(g + 7, y), found, rtol=1e-9, atol=0)


def test_clarity_is_positive_exactly_where_the_true_class_leads_and_finite_where_all_classes_tie():
    y = torch.tensor([0, 1])
    right = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]])
    assert clarity(right, y) > 0 > clarity(-right, y)
    assert clarity(torch.ones(2, 3), y) == 0


def test_a_bounded_temperature_lies_between_its_ends_is_monotone_and_halfway_at_zero():
    values = torch.linspace(-50, 50, 101, dtype=torch.float64)
    tau = bounded_temperature(values, 0.5, 3.0)
    assert tau[0].item() == pytest.approx(0.5) and tau[-1].item() == pytest.approx(3.0)
    assert tau[50].item() == pytest.approx(1.75)
    assert (tau.diff() >= 0).all() and (bounded_temperature(-values, 0.5, 3.0).diff() <= 0).all()
    expected = 0.5 + 2.5 / (1 + math.exp(-2.0 * 0.3))
    assert bounded_temperature(torch.tensor(2.0 * 0.3).double(), 0.5, 3.0).item() == pytest.approx(expected)
