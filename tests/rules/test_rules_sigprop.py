"""Signal propagation: targets go forward through the blocks, and samples are drawn to those of their class."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layerlocal.networks import Network, create_network
from layerlocal.rules import create_rule
from layerlocal.rules.sigprop import ClassTargets, target_loss
from layerlocal.types import InputError

K = 4
X = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))
Y = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])  # class 3 is not in the batch


def make(norm=True, depth=4, **options):
    network = create_network("cnn4", in_channels=3, image_size=8, width=0.25, depth=depth, norm=norm, seed=0)
    return create_rule("sigprop", network, num_classes=K, seed=0, **options)


def represent(activity, grid):
    """Centred root mean squares of channel and cell at unit length, in plain operations."""
    cells = F.adaptive_avg_pool2d(activity.square(), min(grid, activity.shape[2])).sqrt()
    numbers = cells.permute(0, 2, 3, 1).flatten(1)
    centred = numbers - numbers.mean(1, keepdim=True)
    return centred / centred.norm(dim=1, keepdim=True)


def loss_by_hand(samples, targets, y, temperature):
    """Sample by sample: mean over the targets of its own class of −log of their softmax among all targets."""
    total = 0.0
    for sample, label in zip(samples, y, strict=True):
        exponentials = torch.stack([torch.exp(sample @ target / temperature) for target in targets])
        own = torch.stack([-torch.log(exponentials[j] / exponentials.sum()) for j in range(len(y)) if y[j] == label])
        total = total + own.mean()
    return total / len(y)


# --- the loss ---------------------------------------------------------------------------------------------------------


def test_target_loss_is_the_cross_entropy_of_picking_a_target_of_the_own_class():
    """Two of class 0, one of class 1; softmaxes by hand."""
    similarity = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0], [0.5, 0.5, 3.0]])
    y = torch.tensor([0, 0, 1])
    e = math.e
    first = math.log(e + 1 + e**2) - (1.0 + 0.0) / 2
    second = math.log(1 + e + 1) - (0.0 + 1.0) / 2
    third = math.log(2 * e**0.5 + e**3) - 3.0
    assert target_loss(similarity, y).item() == pytest.approx((first + second + third) / 3, rel=1e-6)


def test_target_loss_is_log_of_the_batch_where_all_are_alike_and_log_of_the_class_where_classes_are_told_apart():
    y = torch.tensor([0, 0, 1, 1])
    assert target_loss(torch.zeros(4, 4), y).item() == pytest.approx(math.log(4), rel=1e-6)
    apart = 50.0 * (y[:, None] == y[None]).float()
    assert target_loss(apart, y).item() == pytest.approx(math.log(2), rel=1e-6)
    assert target_loss(-apart, y).item() > 49


def test_summed_over_its_class_a_sample_counts_once_for_every_target_of_its_own_as_in_the_released_code():
    """Soft targets of 1 for each target of the own class, in plain PyTorch; the mean's gradient is not this one scaled."""
    similarity = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = torch.tensor([0, 0, 0, 1, 2])
    wanted = torch.tensor([[float(a == b) for b in y] for a in y])
    expected = (-wanted * F.log_softmax(similarity, dim=-1)).sum(-1).mean()
    torch.testing.assert_close(target_loss(similarity, y, "sum"), expected)
    slopes = [torch.autograd.grad(target_loss(similarity, y, over), similarity)[0] for over in ("mean", "sum")]
    ratios = (slopes[1] / slopes[0])[:, 0]
    torch.testing.assert_close(ratios, torch.tensor([3.0, 3.0, 3.0, 1.0, 1.0]), rtol=1e-4, atol=0)


def test_a_block_sums_over_its_class_where_it_is_told_to():
    rule = make(over_class="sum", depth=1)
    [loss] = rule.losses(X, Y)
    with torch.no_grad():
        samples, targets = represent(rule.network.blocks[0](torch.cat([X, rule.patterns[Y]])), 4).split(8)
        wanted = (Y[:, None] == Y[None]).float()
        expected = (-wanted * F.log_softmax(samples @ targets.T / 0.1, dim=-1)).sum(-1).mean()
    torch.testing.assert_close(loss.value.detach(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("grid", "temperature"), [(4, 0.1), (2, 0.5)])
def test_every_block_compares_its_activity_of_samples_with_that_of_targets(grid, temperature):
    rule = make(grid=grid, temperature=temperature)
    found = list(rule.losses(X, Y))
    assert [loss.block for loss in found] == ["block0", "block1", "block2", "block3"]
    h = torch.cat([X, rule.patterns[Y]])
    with torch.no_grad():
        for index, (_, value, _) in enumerate(found):
            h = rule.network.blocks[index](h)
            samples, targets = represent(h, grid).split(8)
            expected = loss_by_hand(samples, targets, Y, temperature)
            torch.testing.assert_close(value.detach(), expected, rtol=1e-4, atol=1e-4)


def test_blocks_learn_from_samples_and_from_targets():
    """The gradient is that of the hand-written loss through both of its sides; with either side held still it is another."""
    rule = make(norm=False)
    for loss in rule.losses(X, Y):
        loss.value.backward()
    h = torch.cat([X, rule.patterns[Y]])
    for index, block in enumerate(rule.network.blocks):
        activity = block(h.detach())
        samples, targets = represent(activity, 4).split(8)
        weight = next(block.parameters())
        sides = [(samples, targets), (samples.detach(), targets), (samples, targets.detach())]
        both, *halves = [
            torch.autograd.grad(loss_by_hand(a, b, Y, 0.1), weight, retain_graph=True)[0] for a, b in sides
        ]
        assert (weight.grad - both).norm() < 0.01 * both.norm()
        assert all((half - both).norm() > 0.05 * both.norm() for half in halves), index
        h = activity


# --- targets ----------------------------------------------------------------------------------------------------------


def test_a_target_is_a_fixed_sign_at_every_input_and_unlike_for_every_class():
    rule = make()
    assert rule.patterns.shape == (K, 3, 8, 8) and set(rule.patterns.unique().tolist()) == {-1.0, 1.0}
    signs = rule.patterns.flatten(1)
    assert (signs @ signs.T / signs.shape[1]).fill_diagonal_(0).abs().max() < 0.4
    assert torch.equal(rule.patterns, make().patterns) and "patterns" not in rule.state_dict()
    inputs, y = rule.inputs(X, Y)
    assert torch.equal(inputs[:8], X) and torch.equal(inputs[8:], rule.patterns[Y]) and torch.equal(y, Y)


def test_class_targets_follow_the_mean_of_their_class_and_stay_where_it_is_missing():
    head = ClassTargets((2,), 3, grid=1)
    head.classes.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]]))
    targets = torch.tensor([[0.0, 2.0], [0.0, 4.0], [8.0, 0.0]])
    head.follow(targets, torch.tensor([0, 0, 1]), 0.75)
    expected = torch.tensor([[0.75, 0.25 * 3], [0.25 * 8, 0.75], [5.0, 5.0]])
    torch.testing.assert_close(head.classes, expected)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_class_targets_move_in_training_only_and_are_saved(momentum):
    rule = make(target_momentum=momentum, depth=1)
    list(rule.losses(X, Y))
    with torch.no_grad():
        targets = represent(rule.network.blocks[0](torch.cat([X, rule.patterns[Y]])), 4)[8:]
        expected = torch.stack([(1 - momentum) * targets[label == Y].mean(0) for label in range(3)])
    classes = rule.heads["block0"].classes
    torch.testing.assert_close(classes[:3], expected, rtol=1e-4, atol=1e-5)
    assert not classes[3].any() and "heads.block0.classes" in rule.state_dict()
    before = classes.clone()
    rule.eval()
    list(rule.losses(X, Y))
    assert torch.equal(classes, before)


# --- prediction -------------------------------------------------------------------------------------------------------


def test_prediction_is_the_cosine_to_every_class_target_and_no_target_goes_through_the_network():
    rule = make(temperature=0.2)
    for _ in range(3):
        list(rule.losses(X, Y))
    rule.eval()
    seen = []
    rule.network.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        scores = rule.block_scores(X)
        h = X
        for index, block in enumerate(rule.network.blocks):
            h = block(h)
            classes = rule.heads[f"block{index}"].classes
            for label in range(3):
                expected = represent(h, 4) @ classes[label] / classes[label].norm() / 0.2
                torch.testing.assert_close(scores[index, :, label], expected, rtol=1e-3, atol=1e-4)
            assert not scores[index, :, 3].any(), "a class that was never seen is like nothing"
    assert torch.equal(seen[0], X)
    torch.testing.assert_close(rule.scores(X), scores.log_softmax(-1).mean(0))
    torch.testing.assert_close(rule.to_module()(X), rule.scores(X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 8, 8), (3, 7, 5), (4, 1, 1), (6,)])
def test_activities_look_the_same_in_training_and_in_evaluation_whatever_their_size(shape):
    head = ClassTargets(shape, K, grid=4)
    activity = torch.randn(5, *shape).relu()
    trained = head.train().represent(activity)
    torch.testing.assert_close(trained, head.eval().represent(activity), rtol=1e-4, atol=1e-5)
    assert trained.shape == (5, head.classes.shape[1])
    torch.testing.assert_close(trained.sum(1), torch.zeros(5), rtol=0, atol=1e-5)


def test_a_silent_activity_has_finite_scores_and_gradients():
    for training in (True, False):
        head = ClassTargets((2, 4, 4), K, grid=2).train(training)
        activity = torch.zeros(3, 2, 4, 4, requires_grad=True)
        found = head.represent(activity)
        found.sum().backward()
        assert found.isfinite().all() and activity.grad.isfinite().all()


def test_activities_of_another_form_are_refused():
    network = Network([nn.Linear(4, 6)], sample_shape=(2, 3, 5, 4))
    with pytest.raises(InputError, match=r"sigprop .*got \(B, 2, 3, 5, 6\)"):
        create_rule("sigprop", network, num_classes=K)
