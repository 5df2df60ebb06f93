"""DeeperForward: mean goodness, nothing of which is handed on, and the run of blocks that is best on validation data."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

from layerlocal.data import Split, data_from_splits
from layerlocal.networks import Network, create_network
from layerlocal.rules import create_rule
from layerlocal.rules.deeperforward import choose_span
from layerlocal.spec import Recipe
from layerlocal.training.train import train_rule, train_step
from layerlocal.types import InputError
from rules_by_hand import K, X, Y, assert_same, make, network, run, run_by_hand


def normalized(activity, groups):
    """Mean 0 and variance 1 over each group of consecutive channels and all positions of each sample."""
    parts = activity.reshape(len(activity), groups, -1)
    centred = parts - parts.mean(2, keepdim=True)
    return (centred / (parts.var(2, correction=0, keepdim=True) + 1e-5).sqrt()).reshape(activity.shape)


FEEDS = {"group": lambda a: normalized(a, K), "layer": lambda a: normalized(a, 1), "none": lambda a: a}


# --- the loss and what is fed on --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of", "normalization", "temperature"),
    [("cnn4", "group", 0.1), ("cnn4", "layer", 1.0), ("cnn4", "none", 1.0), ("mlp", "group", 0.5)],
)
def test_each_block_learns_by_cross_entropy_of_its_own_mean_goodness_alone(of, normalization, temperature):
    losses, gradients = run_by_hand(
        network(of),
        lambda _, activity: F.cross_entropy(activity.reshape(12, K, -1).mean(2) / temperature, Y),
        feed=FEEDS[normalization],
    )
    rule = make("deeperforward", of, normalization=normalization, temperature=temperature)
    found, found_gradients = run(rule)
    assert_same(found, losses)
    assert_same(found_gradients, gradients)


def test_no_classs_goodness_can_be_read_from_what_the_next_block_is_fed():
    """Multiply the activity of each class's channels by a factor of its own: the next block's input stays the same, of mean 0."""
    rule = make("deeperforward").eval()
    seen = []
    rule.network.blocks[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    rule.scores(X)
    factors = torch.tensor([1.0, 3.0, 9.0]).repeat_interleave(3).view(1, 9, 1, 1)
    rule.network.blocks[0].register_forward_hook(lambda _, __, activity: activity * factors)
    goodness = rule.block_scores(X)[0]
    assert (goodness[:, 2] > 5 * goodness[:, 0]).all()
    torch.testing.assert_close(seen[1], seen[0], rtol=0, atol=2e-3)
    torch.testing.assert_close(seen[1].reshape(12, K, -1).mean(2), torch.zeros(12, K), rtol=0, atol=1e-5)
    torch.testing.assert_close(seen[0].reshape(12, K, -1).var(2), torch.ones(12, K), rtol=0.02, atol=0)


def test_the_defaults_are_groups_a_temperature_of_a_tenth_and_the_chosen_run():
    rule = make("deeperforward")
    assert (rule.normalize.groups, rule.heads["block0"].temperature, rule.fusion) == (K, 0.1, "span")


# --- the run of blocks that is fused ----------------------------------------------------------------------------------


def score_of(right, classes=2):
    """Scores (N, K) of samples of class 0, with log-probabilities in proportion to ``right``."""
    return torch.stack([torch.tensor(right), *[torch.zeros(len(right))] * (classes - 1)], dim=1)


def test_the_run_is_the_one_that_classifies_most_validation_samples():
    y = torch.zeros(4, dtype=torch.int64)
    blocks = [
        score_of([-9.0, -9.0, -9.0, 9.0]),
        score_of([3.0, 3.0, -1.0, -1.0]),
        score_of([-1.0, -1.0, 3.0, 3.0]),
        score_of([-5.0] * 4),
    ]
    assert choose_span(torch.stack(blocks), y) == (1, 2)
    assert choose_span(torch.stack(blocks[::-1]), y) == (1, 2)
    assert choose_span(torch.stack(blocks[:1]), y) == (0, 0)


def test_it_agrees_with_trying_every_run_by_hand():
    scores, y = torch.randn(5, 40, 4), torch.arange(40) % 4
    probabilities = scores.softmax(-1)
    correct = {}
    for first, last in itertools.combinations_with_replacement(range(5), 2):
        correct[first, last] = int((probabilities[first : last + 1].prod(0).argmax(-1) == y).sum())
    most = max(correct.values())
    expected = min((last, first) for (first, last), count in correct.items() if count == most)
    assert choose_span(scores, y) == (expected[1], expected[0])


def test_of_equal_runs_the_one_that_ends_first_and_then_the_longest_is_taken():
    y = torch.zeros(3, dtype=torch.int64)
    good, bad = score_of([2.0, 2.0, 2.0]), score_of([-1.0, -1.0, -1.0])
    assert choose_span(torch.stack([bad, good, good]), y) == (0, 1)
    assert choose_span(torch.stack([good, good, good]), y) == (0, 0)
    assert choose_span(torch.stack([bad, bad, bad]), y) == (0, 0)


def test_all_blocks_count_alike_until_the_run_is_chosen_and_then_its_blocks_alone():
    rule = make("deeperforward").eval()
    assert rule.calibrates and torch.equal(rule.fusion_weights, torch.full((4,), 0.25))
    good, bad = 5.0 * F.one_hot(Y, K), -9.0 * F.one_hot(Y, K)
    half = torch.where(torch.arange(12)[:, None] < 6, good, 0 * good)
    other = torch.where(torch.arange(12)[:, None] < 6, 0 * good, good)
    rule.calibrate(torch.stack([bad, half, other, bad]), Y)
    assert rule.fusion_weights.tolist() == [0.0, 0.5, 0.5, 0.0]
    with torch.no_grad():
        scores = rule.block_scores(X)
        assert_same(rule.scores(X), (scores[1].log_softmax(-1) + scores[2].log_softmax(-1)) / 2)
        assert torch.equal(rule.scores(X).argmax(-1), (scores[1] + scores[2]).argmax(-1)), "as by the sum of goodness"
    copy = make("deeperforward")
    copy.load_state_dict(rule.state_dict())
    assert copy.fusion_weights.tolist() == [0.0, 0.5, 0.5, 0.0]


def test_the_run_is_chosen_on_the_validation_split():
    """Training and validation labels disagree, so that the best run of the one is not that of the other."""
    images = torch.randn(60, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    labels = torch.arange(60) % K
    train = Split(images, labels)
    validation = Split(images.flip(0), (labels * 2 + (torch.arange(60) > 30)) % K)
    data = data_from_splits("two tasks", train, test=train, validation=validation)
    made = create_network("cnn4", in_channels=3, image_size=8, width=9 / 32, seed=0)
    rule = create_rule("deeperforward", made, num_classes=K)
    train_rule(rule, data, Recipe(epochs=3, batch_size=20, learning_rate=5e-3), seed=0)
    mean, std = (torch.as_tensor(part).view(1, 3, 1, 1) for part in (data.mean, data.std))
    spans = {}
    with torch.no_grad():
        for split in (train, validation):
            scores = rule.eval().block_scores((split.images - mean) / std)
            spans[split] = choose_span(scores, split.labels)
    assert spans[train] != spans[validation]
    first, last = spans[validation]
    assert rule.fusion_weights.nonzero().flatten().tolist() == list(range(first, last + 1))


def test_a_twin_with_one_readout_fuses_that_one():
    twin = create_rule("bp", network(), num_classes=K, of="deeperforward")
    assert twin.calibrates and twin.fusion_weights.tolist() == [1.0]
    twin.calibrate(torch.randn(1, 12, K), Y)
    assert twin.fusion_weights.tolist() == [1.0]


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_channels_that_do_not_divide_are_refused_as_by_cwcomp():
    narrow = create_network("cnn4", in_channels=3, image_size=8)
    with pytest.raises(InputError, match=r"block0 .*32 channels.* 10 classes; .*width .*0\.9375"):
        create_rule("deeperforward", narrow, num_classes=10)


def test_a_class_of_one_number_is_refused_because_nothing_of_it_would_be_left():
    def rule(hidden, depth=2, **options):
        made = create_network("mlp", in_channels=7, image_size=1, hidden=hidden, depth=depth)
        return create_rule("deeperforward", made, num_classes=K, **options)

    with pytest.raises(InputError, match=r"block0 .*3 classes.*normalization='layer'"):
        rule(3)
    for allowed in (rule(3, normalization="layer"), rule(3, depth=1), rule(6)):
        trained_step(allowed)
    positions = Network([torch.nn.Conv2d(3, 3, 1), torch.nn.Conv2d(3, 3, 1)], sample_shape=(3, 2, 2))
    create_rule("deeperforward", positions, num_classes=K)


def trained_step(rule):
    """One step leaves finite scores that differ from sample to sample."""
    x = torch.randn(12, 7)
    train_step(rule.train(), x, Y, torch.optim.SGD(rule.parameters(), lr=0.1))
    scores = rule.eval().scores(x)
    assert scores.isfinite().all() and scores.std(0).min() > 1e-4


def test_its_readouts_have_no_weights():
    assert not list(make("deeperforward").heads.parameters())
