"""What 2404.00498 (airbench94) adds to a recipe: rates, flips and averaged weights as its public code has them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from layerlocal import Augment, Batches, InputError, Recipe, RunSpec, create_network, create_rule, load_data
from layerlocal.training.averaging import Average
from layerlocal.training.optimizer import learning_rate, make_optimizer, set_rate
from layerlocal.training.train import Training


@pytest.fixture(scope="module")
def data():
    return load_data("fashion_mnist_subset", num_train=200, num_test=50)


def rule_of(width=0.05, seed=0):
    network = create_network("cnn4", in_channels=1, image_size=28, width=width, seed=seed)
    return create_rule("local-heads", network, num_classes=10, seed=seed)


def triangle(steps, start=0.2, end=0.07, peak=0.23):
    """The factors of airbench94's ``triangle``: straight lines through the begin, the peak and the end."""
    top = int(peak * steps)
    up = [start + (1 - start) * i / top for i in range(top)]
    return up + [1 + (end - 1) * (i - top) / (steps - top) for i in range(top, steps)]


def test_a_triangular_schedule_is_airbenchs():
    recipe = Recipe(learning_rate=0.5, schedule="triangular", warmup=0.23)
    found = [learning_rate(recipe, step, 100) for step in range(100)]
    assert found == pytest.approx([0.5 * factor for factor in triangle(100)])


def test_what_normalization_learns_has_a_rate_of_its_own():
    rule = rule_of()
    plain, scaled = (make_optimizer(rule, Recipe(optimizer="sgd", norm_rate=v)) for v in (1.0, 64.0))
    norms = {p for m in rule.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d) for p in m.parameters()}
    assert len(norms) == 8  # weight and bias in four blocks; readouts standardize without
    for optimizer, factor in ((plain, 1.0), (scaled, 64.0)):
        set_rate(optimizer, 0.25)
        rates = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
        assert rates == {p: 0.25 * factor if p in norms else 0.25 for p in rule.parameters()}
    assert [len(g["params"]) for g in plain.param_groups] == [2, 3] * 4  # as in checkpoints of before


def test_an_image_is_mirrored_every_other_epoch_and_half_of_them_in_the_first(data):
    batches = Batches(
        data.train, batch_size=20, mean=data.mean, std=data.std, augment=Augment(flip="alternating"), shuffle=True, seed=3
    )  # fmt: skip
    count = len(data.train)
    by_row = []
    for epoch in range(3):
        flips = torch.empty(count, dtype=torch.bool)
        flips[batches.order(epoch)] = batches.draws(epoch).flip
        by_row.append(flips)
    assert torch.equal(by_row[1], ~by_row[0])
    assert torch.equal(by_row[2], by_row[0])
    assert abs(by_row[0].double().mean() - 0.5) < 4 * 0.5 / count**0.5
    first = next(iter(batches.epoch(0)))[0]
    rows = batches.order(0)[:20]
    raw = (data.train.gather(rows)[0].float() / 255 - data.mean) / data.std
    expected = torch.where(by_row[0][rows][:, None, None, None], raw.flip(3), raw)
    torch.testing.assert_close(first, expected)


def airbench_lookahead(history, every):
    """Weights after each step by the public code's loop: ``ema.lerp_(net, 1 - decay)``, ``net.copy_(ema)``; at the end decay 1."""
    steps, ema = len(history), None
    alphas = [0.95**5 * (i / steps) ** 3 for i in range(steps + 1)]
    net = ema = torch.tensor(0.0, dtype=torch.float64)
    for step, move in enumerate(history, 1):
        net = net + move
        if step % every == 0:
            ema = ema + (net - ema) * (1 - alphas[step])
            net = ema
    return ema


@pytest.mark.parametrize("steps", [10, 12])
def test_averaged_weights_are_airbenchs(steps):
    rule = rule_of().double()
    weight = next(iter(rule.parameters()))
    with torch.no_grad():
        weight.zero_()
        average = Average(rule, 5)
        moves = torch.linspace(1, 2, steps, dtype=torch.float64)
        for step, move in enumerate(moves, 1):
            weight.add_(move)
            average.after_step(step, steps)
    torch.testing.assert_close(weight, airbench_lookahead(moves, 5).expand_as(weight))


def test_training_with_averages_goes_on_from_a_checkpoint_to_the_same_bits(data):
    recipe = Recipe(epochs=2, batch_size=40, average_every=2, schedule="triangular", flip="alternating", norm_rate=4.0)
    whole, first = (Training(rule_of(), data, recipe, seed=1) for _ in range(2))
    for _ in range(2):
        whole.run_epoch()
    first.run_epoch()
    kept = {name: value.clone() for name, value in first.state_tensors().items()}
    second = Training(rule_of(seed=5), data, recipe, seed=1)
    second.load_state_tensors(kept, 1)
    second.run_epoch()
    for a, b in zip(whole.rule.state_dict().values(), second.rule.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_averages_are_told_the_steps_of_the_run_from_the_first_to_the_last(data, monkeypatch):
    training = Training(rule_of(), data, Recipe(epochs=2, batch_size=40, average_every=2), seed=1)
    told = []
    monkeypatch.setattr(training.average, "after_step", lambda step, steps: told.append((step, steps)))
    for _ in range(2):
        training.run_epoch()
    assert told == [(step, training.steps) for step in range(1, training.steps + 1)] and training.steps > 2


def test_averages_couple_no_blocks(data):
    """Two depths: equal seeds give equal first blocks, averaged or not."""
    found = []
    for depth in (2, 4):
        network = create_network("cnn4", in_channels=1, image_size=28, width=0.05, depth=depth, seed=0)
        rule = create_rule("local-heads", network, num_classes=10, seed=0)
        training = Training(rule, data, Recipe(epochs=1, batch_size=40, average_every=2), seed=1)
        training.run_epoch()
        found.append(network.blocks[0].state_dict())
    for a, b in zip(found[0].values(), found[1].values(), strict=True):
        assert torch.equal(a, b)


def test_a_spec_that_sets_none_of_these_has_the_hash_that_it_had():
    assert not {"norm_rate", "average_every"} & Recipe().model_dump().keys()
    assert Recipe(average_every=5).model_dump()["average_every"] == 5
    assert (
        RunSpec().with_settings({"recipe.flip": "alternating"}).hash
        != RunSpec().with_settings({"recipe.flip": True}).hash
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"recipe.flip": "sometimes"}, "recipe.flip"),
        ({"recipe.norm_rate": 0.0}, "recipe.norm_rate"),
        ({"recipe.average_every": -1}, "recipe.average_every"),
    ],
)
def test_values_out_of_their_range_are_refused(settings, words):
    with pytest.raises(InputError, match=words):
        RunSpec().with_settings(settings)


def test_the_rate_told_of_an_epoch_is_the_schedules(data):
    rule = rule_of()
    assert isinstance(next(iter(rule.heads.values())), nn.Module)
    training = Training(rule, data, Recipe(epochs=1, batch_size=40, schedule="triangular", norm_rate=8.0), seed=1)
    record = training.run_epoch()
    assert record.learning_rate == pytest.approx(learning_rate(training.recipe, training.steps - 1, training.steps))
