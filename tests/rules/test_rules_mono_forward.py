"""Mono-Forward: goodness is one projection of the activity as it is, every block learns by its cross-entropy alone, goodness adds up."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layerlocal.rules.mono_forward import Projection, projected_goodness
from layerlocal.spec import Recipe
from layerlocal.training.train import make_optimizer, train_step
from rules_by_hand import X8 as X
from rules_by_hand import K, Y, small


def activities(rule, x):
    """Of every block, in the mode the rule is in."""
    found = []
    with torch.no_grad():
        for block in rule.network.blocks:
            x = block(x)
            found.append(x)
    return found


def cell_means(a, cells):
    """(B, C, H, W) → (B, s·s·C), cell by cell, channels last; H and W are multiples of s."""
    side = a.shape[2] // cells
    rows = [
        a[:, :, i * side : (i + 1) * side, j * side : (j + 1) * side].mean((2, 3))
        for i in range(cells)
        for j in range(cells)
    ]
    return torch.cat(rows, 1)


# --- goodness ---------------------------------------------------------------------------------------------------------


def test_goodness_is_the_sum_of_activity_times_projection_without_anything_added():
    a, projection = (
        torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]]),
        torch.tensor([[1.0, 10.0, 100.0], [-1.0, 0.0, 5.0]]),
    )
    assert projected_goodness(a, projection).tolist() == [[21.0, -1.0], [0.0, 0.0]]


@pytest.mark.parametrize(("grid", "cells"), [(1, 1), (2, 2), (4, 4)])
def test_a_map_is_averaged_on_a_grid_and_projected_as_it_is(grid, cells):
    head = Projection((5, 8, 8), K, grid=grid)
    a = torch.rand(6, 5, 8, 8) * 3 + 1
    weight = dict(head.named_parameters())["linear.weight"]
    assert list(dict(head.named_parameters())) == ["linear.weight"], "no bias"
    assert weight.shape == (K, 5 * cells**2) and not list(head.buffers())
    torch.testing.assert_close(head(a), cell_means(a, cells) @ weight.T, rtol=1e-5, atol=1e-5)


def test_a_grid_as_large_as_the_map_projects_every_position():
    head = Projection((5, 3, 3), K, grid=8)
    a = torch.randn(6, 5, 3, 3)
    by_hand = torch.einsum("bchw,khwc->bk", a, head.linear.weight.view(K, 3, 3, 5))
    torch.testing.assert_close(head(a), by_hand, rtol=1e-5, atol=1e-5)


def test_a_vector_is_projected_as_it_is():
    head = Projection((5,), K)
    a = torch.randn(6, 5)
    torch.testing.assert_close(head(a), a @ head.linear.weight.T)


# --- learning ---------------------------------------------------------------------------------------------------------


def test_every_block_has_the_cross_entropy_of_its_own_goodness():
    rule = small("mono-forward", depth=3, grid=2)
    found = [(loss.block, loss.value.item()) for loss in rule.losses(X, Y)]
    for index, a in enumerate(activities(rule, X)):
        goodness = cell_means(a, min(2, a.shape[2])) @ rule.heads[f"block{index}"].linear.weight.T
        expected = -goodness.log_softmax(1)[torch.arange(12), Y].mean().item()
        assert found[index] == (f"block{index}", pytest.approx(expected, rel=1e-5))


def test_training_is_a_plain_loop_of_blocks_and_matrices_each_alone_to_the_last_bit():
    rule = small("mono-forward", "mlp", depth=3)
    recipe = Recipe(optimizer="sgd", learning_rate=0.1, weight_decay=0.0)
    sizes = [12, 64, 64]
    blocks = nn.Sequential(*[nn.Sequential(nn.Linear(n, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU()) for n in sizes])
    blocks.load_state_dict(rule.network.blocks.state_dict())
    matrices = [rule.heads[f"block{i}"].linear.weight.detach().clone().requires_grad_() for i in range(3)]
    optimizers = [
        torch.optim.SGD([*blocks[i].parameters(), matrices[i]], lr=0.1, momentum=0.9, nesterov=True) for i in range(3)
    ]
    optimizer = make_optimizer(rule.train(), recipe)
    generator = torch.Generator().manual_seed(2)
    for _ in range(4):
        x = torch.randn(12, 12, generator=generator)
        train_step(rule, x, Y, optimizer, recipe=recipe)
        for index in range(3):
            optimizers[index].zero_grad()
            a = blocks[index](x.detach())
            F.cross_entropy(a @ matrices[index].T, Y).backward()
            optimizers[index].step()
            x = a
    for found, expected in zip(rule.network.blocks.state_dict().values(), blocks.state_dict().values(), strict=True):
        assert torch.equal(found, expected)
    for index, matrix in enumerate(matrices):
        assert torch.equal(rule.heads[f"block{index}"].linear.weight, matrix)


# --- prediction -------------------------------------------------------------------------------------------------------


def test_the_fused_prediction_is_that_of_the_goodness_summed_over_blocks():
    rule = small("mono-forward", depth=3).eval()
    with torch.no_grad():
        summed, fused = rule.block_scores(X).sum(0), rule.scores(X)
    torch.testing.assert_close(fused.softmax(1), (summed / 3).softmax(1))
    assert torch.equal(fused.argmax(1), summed.argmax(1)) and len(fused.argmax(1).unique()) > 1
    for score, a, head in zip(rule.block_scores(X), activities(rule, X), rule.heads.values(), strict=True):
        torch.testing.assert_close(
            score, cell_means(a, min(4, a.shape[2])) @ head.linear.weight.T, rtol=1e-4, atol=1e-5
        )
