"""Rules that compare goodness (Forward-Forward, SymBa, SCFF): what they write into their input, ask of each block, and how they predict."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from layerlocal.networks import create_network
from layerlocal.rules import create_rule
from layerlocal.rules.ff import PeerMean, label_patterns
from layerlocal.rules.scff import pair_sums
from layerlocal.rules.symba import symba_loss
from layerlocal.types import InputError
from rules_by_hand import goodness_by_hand, unit_rms

K = 4
X = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))
Y = torch.arange(8) % K
LABELLED = pytest.mark.parametrize("name", ["ff", "symba"])


def make(name, depth=3, norm=True, **options):
    network = create_network("cnn4", in_channels=3, image_size=8, width=0.25, depth=depth, norm=norm, seed=0)
    return create_rule(name, network, num_classes=K, seed=0, **options)


def gradients(rule, y=Y):
    """Of the blocks, and of the heads."""
    torch.manual_seed(3)
    for loss in rule.losses(X, y):
        loss.value.backward()
    return [p.grad for p in rule.network.parameters()], [p.grad for p in rule.heads.parameters()]


# --- the label in the input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 28, 28)])
def test_patterns_differ_by_class_have_the_height_of_normalized_inputs_and_are_the_same_in_every_channel(shape):
    patterns = label_patterns(10, shape)
    assert patterns.shape == (10, *shape) and torch.equal(patterns, label_patterns(10, shape))
    assert torch.equal(patterns, patterns[:, :1].expand_as(patterns))
    rms = patterns.square().flatten(1).mean(1).sqrt()
    assert (rms > 0.8).all() and (rms < 1.2).all()
    assert torch.pdist(patterns.flatten(1)).min() > 0.5 * patterns[0].numel() ** 0.5
    signs = label_patterns(10, (64,))
    assert set(signs.unique().tolist()) == {-1.0, 1.0} and torch.pdist(signs).min() > 4


def test_the_class_pattern_of_symba_is_a_sign_at_every_input_and_unlike_for_every_class():
    patterns = make("symba").patterns
    assert patterns.shape == (K, 3, 8, 8) and set(patterns.unique().tolist()) == {-1.0, 1.0}
    signs = patterns.flatten(1)
    agreement = (signs @ signs.T / signs.shape[1]).fill_diagonal_(0)
    assert agreement.abs().max() < 0.4, "192 fair signs: a standard deviation of 0.07"
    assert not torch.equal(patterns[:, 0], patterns[:, 1]), "channels have signs of their own"
    assert torch.equal(patterns, make("symba").patterns)


@LABELLED
def test_positive_data_carry_the_true_label_and_negative_data_a_wrong_one(name):
    rule = make(name, label_scale=0.5)
    for _ in range(20):
        parts, _ = rule.inputs(X, Y)
        positive, negative = (part - X for part in parts.split(8))
        distance = (negative[:, None] - 0.5 * rule.patterns[None]).flatten(2).norm(dim=2)  # (B, K)
        torch.testing.assert_close(positive, 0.5 * rule.patterns[Y], rtol=0, atol=1e-5)
        assert distance.amin(1).max() < 1e-4, "a negative carries the pattern of one class"
        assert (distance.argmin(1) != Y).all()


def test_one_hot_replaces_the_first_inputs_and_the_neutral_label_is_the_mean_of_all():
    rule, pattern = make("ff", label="one-hot", label_scale=2.0), make("ff")
    flat = rule.write_label(X, Y).flatten(1)
    assert torch.equal(flat[:, :K], 2.0 * F.one_hot(Y, K).float()) and torch.equal(flat[:, K:], X.flatten(1)[:, K:])
    neutral = rule.write_label(X, None).flatten(1)
    assert torch.equal(neutral[:, :K], torch.full((8, K), 2.0 / K))
    mean = pattern.patterns.mean(0).expand_as(X)
    torch.testing.assert_close(pattern.write_label(X, None) - X, mean, rtol=0, atol=1e-6)


def test_a_one_hot_label_that_does_not_fit_is_refused_with_the_way_out():
    network = create_network("mlp", in_channels=3, image_size=1, depth=1)
    with pytest.raises(InputError, match="pattern"):
        create_rule("ff", network, num_classes=4, label="one-hot")


def test_a_pair_of_scff_is_a_sample_with_itself_or_with_another_one_of_the_batch():
    """One-hot samples, so that a sum tells which two it was made of."""
    samples = torch.eye(5)
    partners = torch.zeros(5, 5)
    for _ in range(400):
        positive, negative = pair_sums(samples)
        assert torch.equal(positive, 2 * samples)
        rest = negative - samples
        assert torch.equal(rest.sum(1), torch.ones(5)) and set(rest.unique().tolist()) == {0.0, 1.0}
        partners += rest
    assert (partners.diagonal() == 0).all(), "never itself"
    others = partners[~torch.eye(5, dtype=torch.bool)] / 400
    assert others.min() > 0.17 and others.max() < 0.33, "a quarter each of the 4 others: a deviation of 0.02"


def test_a_batch_of_one_has_no_pairs_and_is_refused_with_the_way_out():
    with pytest.raises(InputError, match="this one has 1; raise batch_size"):
        list(make("scff").losses(X[:1], Y[:1]))


# --- the loss ---------------------------------------------------------------------------------------------------------


def test_the_loss_of_symba_is_the_mean_of_log_one_plus_exp_of_minus_alpha_times_the_gap():
    positive, negative = [1.0, 0.2, 3.0], [0.5, 0.9, 3.0]
    for alpha in (0.5, 4.0):
        gaps = [p - n for p, n in zip(positive, negative, strict=True)]
        expected = sum(math.log(1 + math.exp(-alpha * gap)) for gap in gaps) / 3
        found = symba_loss(torch.tensor(positive), torch.tensor(negative), alpha)
        assert found.item() == pytest.approx(expected, rel=1e-6)
    far = symba_loss(torch.tensor([0.0, 1e6]), torch.tensor([1e6, 0.0]), 4.0)
    assert far.item() == pytest.approx(4e6 / 2), "finite however large the gap"


def test_symba_pulls_positive_and_negative_goodness_apart_with_the_same_force_and_there_is_no_threshold():
    alpha = 3.0
    positive = torch.tensor([1.0, 0.2, 3.0, 0.1], requires_grad=True)
    negative = torch.tensor([0.5, 0.9, 3.0, 2.0], requires_grad=True)
    loss = symba_loss(positive, negative, alpha)
    loss.backward()
    gaps = (positive - negative).tolist()
    torch.testing.assert_close(positive.grad, -torch.tensor([alpha / (1 + math.exp(alpha * gap)) / 4 for gap in gaps]))
    assert torch.equal(positive.grad, -negative.grad)
    raised = symba_loss(positive + 100, negative + 100, alpha)
    assert raised.item() == pytest.approx(loss.item(), rel=1e-4)


def asked(name, options, activity, head):
    """The loss of a block by hand, and its two goodnesses."""
    kind, theta, alpha = options["goodness"], options.get("theta"), options.get("alpha")
    positive, negative = goodness_by_hand(activity, kind).split(8)
    if name == "symba":
        return torch.log1p(torch.exp(-alpha * (positive - negative))).mean(), positive, negative
    theta = theta if theta is not None else {"sum": activity.shape[1], "mean": 1.0}[kind]
    value = torch.log1p(torch.exp(theta - positive)).mean() + torch.log1p(torch.exp(negative - theta)).mean()
    own = F.cross_entropy(head(activity[:8]), Y) if name == "scff" else 0.0  # its readout learns from labels
    return value + own, positive, negative


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *[(n, {"goodness": g, "theta": t}) for n in ("ff", "scff") for g, t in (("sum", None), ("mean", None), ("sum", 3.0), ("mean", 0.25))],
        ("symba", {"goodness": "mean", "alpha": 4.0}),
        ("symba", {"goodness": "sum", "alpha": 0.1}),
    ],
    ids=str,
)  # fmt: skip
def test_every_block_is_asked_for_more_goodness_on_positive_than_on_negative_data(name, options):
    rule, fresh = make(name, **options), make(name, **options).heads
    torch.manual_seed(7)
    found = list(rule.losses(X, Y))
    torch.manual_seed(7)
    h, _ = rule.inputs(X, Y)
    assert [loss.block for loss in found] == ["block0", "block1", "block2"]
    assert name != "scff" or torch.equal(h[:8], 2 * X)
    with torch.no_grad():
        for index, (block, value, metrics) in enumerate(found):
            activity = rule.network.blocks[index](h)
            expected, positive, negative = asked(name, options, activity, fresh[block] if len(fresh) else None)
            torch.testing.assert_close(value.detach(), expected, rtol=1e-4, atol=1e-5)
            assert metrics[f"goodness_pos/{block}"].item() == pytest.approx(positive.mean().item(), rel=1e-4)
            assert metrics[f"goodness_neg/{block}"].item() == pytest.approx(negative.mean().item(), rel=1e-4)
            h = unit_rms(activity)


def test_a_whole_step_moves_the_weights_as_plain_autograd_on_the_hand_written_loss_does():
    rule = make("symba", norm=False, depth=2)
    torch.manual_seed(7)
    for loss in rule.losses(X, Y):
        loss.value.backward()
    torch.manual_seed(7)
    h, _ = rule.inputs(X, Y)
    for block in rule.network.blocks:
        activity = block(h)
        positive, negative = goodness_by_hand(activity, "mean").split(8)
        expected = torch.autograd.grad(F.softplus(-4 * (positive - negative)).mean(), list(block.parameters()))
        for parameter, gradient in zip(block.parameters(), expected, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-7)
            assert gradient.any()
        h = unit_rms(activity.detach())


@LABELLED
def test_the_one_pass_readout_is_trained_beside_the_blocks_and_changes_none(name):
    """Without batch norm, of which the third pass would move the batch's statistics."""
    (blocks, _), (others, heads) = (gradients(make(name, norm=False, prediction=p)) for p in ("labels", "softmax"))
    torch.testing.assert_close(blocks, others, rtol=1e-4, atol=1e-7)
    assert heads and all(gradient.any() for gradient in heads)


def test_the_one_pass_readout_adds_its_cross_entropy_on_the_neutral_label():
    rule = make("symba", norm=False, prediction="softmax", depth=1)
    torch.manual_seed(3)
    [loss] = rule.losses(X, Y)
    with torch.no_grad():
        torch.manual_seed(3)
        parts, _ = rule.inputs(X, Y)
        activity = rule.network.blocks[0](parts)
        positive, negative, _ = goodness_by_hand(activity, "mean").split(8)
        answer = rule.heads["block0"](unit_rms(rule.network.blocks[0](X + rule.patterns.mean(0))))
        expected = F.softplus(-4 * (positive - negative)).mean() + F.cross_entropy(answer, Y)
    assert loss.value.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize(("rule", "options"), [("scff", {}), ("bp", {"of": "scff"}), ("bp-deepsup", {"of": "scff"})])
def test_labels_change_no_block_of_scff_only_readouts(rule, options):
    """Not even where the loss goes back through the whole network."""
    (blocks, heads), (other_blocks, other_heads) = (gradients(make(rule, **options), y) for y in (Y, (Y + 1) % K))
    assert all(torch.equal(a, b) for a, b in zip(blocks, other_blocks, strict=True))
    assert all(gradient.any() for gradient in blocks)
    assert heads and all(not torch.equal(a, b) for a, b in zip(heads, other_heads, strict=True))
    assert make("scff").info.unsupervised and not make("scff").locks["labels_everywhere"]


# --- prediction -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), [("ff", "sum"), ("symba", "mean")])
def test_prediction_by_labels_is_the_goodness_of_each_label_summed_over_all_blocks_but_the_first(name, kind):
    rule = make(name).eval()
    scores = rule.block_scores(X)
    assert scores.shape == (3, 8, K)
    with torch.no_grad():
        for label in range(K):
            h = X + rule.patterns[label]
            for index, block in enumerate(rule.network.blocks):
                activity = block(h)
                expected = goodness_by_hand(activity, kind)
                torch.testing.assert_close(scores[index, :, label], expected, rtol=1e-4, atol=1e-4)
                h = unit_rms(activity)
    torch.testing.assert_close(rule.scores(X), scores[1] + scores[2])


def test_a_single_block_answers_for_itself():
    rule = make("ff", depth=1).eval()
    torch.testing.assert_close(rule.scores(X), rule.block_scores(X)[0])


def test_a_twin_without_a_readout_at_the_first_block_leaves_no_readout_out():
    """Only the first block's goodness sees the label directly; the readouts of segments end later."""
    rule = make("segmented", depth=4, segment_size=2, of="ff").eval()
    scores = rule.block_scores(X)
    assert rule.readout_blocks == ["block1", "block3"]
    torch.testing.assert_close(rule.scores(X), scores[0] + scores[1])


def test_prediction_by_softmax_reads_the_normalized_activity_of_the_neutral_label():
    rule = make("ff", prediction="softmax").eval()
    with torch.no_grad():
        scores = rule.block_scores(X)
        h = X + rule.patterns.mean(0)
        for index, block in enumerate(rule.network.blocks):
            h = unit_rms(block(h))
            head = rule.heads[f"block{index}"].linear
            numbers = h.square().mean((2, 3)).sqrt() / (1 + 1e-5) ** 0.5  # one cell, a fresh batch norm
            torch.testing.assert_close(scores[index], numbers @ head.weight.T + head.bias, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rule.scores(X), scores.log_softmax(-1).mean(0))


@pytest.mark.parametrize(("prediction", "step", "answer"), [("labels", 2, K), ("softmax", 3, 1)])
def test_passes_are_those_of_positive_negative_and_neutral_data(prediction, step, answer):
    rule = make("ff", prediction=prediction)
    assert (rule.passes_per_step, rule.passes_per_prediction) == (step, answer)


@pytest.mark.parametrize(("readout", "grid"), [("rms", 1), ("mean", 1), ("rms", 2)])
def test_scff_reads_the_activity_of_a_sample_with_itself_at_every_block(readout, grid):
    rule = make("scff", readout=readout, grid=grid).eval()
    with torch.no_grad():
        scores = rule.block_scores(X)
        h = 2 * X
        for index, block in enumerate(rule.network.blocks):
            activity = block(h)
            squares = activity.square() if readout == "rms" else activity
            cells = F.adaptive_avg_pool2d(squares, min(grid, activity.shape[2]))
            cells = cells.sqrt() if readout == "rms" else cells
            numbers = cells.permute(0, 2, 3, 1).flatten(1) / (1 + 1e-5) ** 0.5  # a fresh batch norm: mean 0, variance 1
            head = rule.heads[f"block{index}"].linear
            torch.testing.assert_close(scores[index], numbers @ head.weight.T + head.bias, rtol=1e-4, atol=1e-5)
            h = unit_rms(activity)
    torch.testing.assert_close(rule.scores(X), scores.log_softmax(-1).mean(0))


# --- options as published ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mean", "sum"])
def test_the_loss_of_each_position_is_averaged_where_scff_is_told_to(kind):
    """log(1 + exp(θ − g)) of each position's goodness, as the released code has it; on vectors both are the same."""
    rule = make("scff", goodness=kind, average="loss", norm=False)
    torch.manual_seed(3)
    found = [loss.value.item() for loss in rule.losses(X, Y)]
    torch.manual_seed(3)
    h, labels = rule.inputs(X, Y)
    for index, block in enumerate(rule.network.blocks):
        h = block(h.detach())
        by_position = h.square().mean(1) if kind == "mean" else h.square().sum(1)
        theta = 1.0 if kind == "mean" else h.shape[1]
        up, down = by_position.detach().split(8)
        expected = torch.log(1 + torch.exp(theta - up)).mean() + torch.log(1 + torch.exp(down - theta)).mean()
        answer = F.cross_entropy(rule.heads[f"block{index}"](h[:8].detach()), labels)
        assert found[index] == pytest.approx((expected + answer).item(), rel=1e-4)
        h = unit_rms(h)
    flat = create_network("mlp", in_channels=5, image_size=1, width=1 / 32, seed=0)
    x, losses = torch.randn(8, 5, generator=torch.Generator().manual_seed(2)), []
    for average in ("goodness", "loss"):
        torch.manual_seed(3)
        vectors = create_rule("scff", flat, num_classes=K, seed=0, average=average, goodness=kind)
        losses.append([loss.value.item() for loss in vectors.losses(x, Y)])
    assert losses[0] == losses[1]


@pytest.mark.parametrize(("prediction", "of"), [("labels", "cnn4"), ("softmax", "cnn4"), ("labels", "mlp")])
def test_peer_normalization_draws_the_average_activity_of_a_blocks_channels_together(prediction, of):
    """Restated from the equations of loeweX/Forward-Forward: running means from 0.5, of positive data only, with this step's graph."""
    size = {"cnn4": {"in_channels": 3, "image_size": 8, "width": 0.25, "depth": 2, "norm": False},
            "mlp": {"in_channels": 12, "image_size": 1, "width": 1 / 32, "depth": 2, "norm": False}}[of]  # fmt: skip

    def built(**options):
        return create_rule(
            "ff", create_network(of, seed=0, **size), num_classes=K, seed=0, prediction=prediction, **options
        )

    weight, momentum = 0.3, 0.8
    rule, plain = built(peer_normalization=weight, peer_momentum=momentum), built()
    running = [torch.full((shape[0],), 0.5) for shape in rule.network.activity_shapes]
    for step in range(3):
        x = torch.randn(8, *rule.network.sample_shape, generator=torch.Generator().manual_seed(step))
        for each in (rule, plain):
            each.zero_grad()
            torch.manual_seed(step)
            for loss in each.losses(x, Y):
                loss.value.backward()
        torch.manual_seed(step)
        h, _ = plain.inputs(x, Y)
        for index, (block, trained) in enumerate(zip(plain.network.blocks, rule.network.blocks, strict=True)):
            activity = block(h.detach())
            dims = (0, 2, 3) if of == "cnn4" else (0,)
            now = running[index] * momentum + activity[:8].mean(dims) * (1 - momentum)
            peers = ((now.mean() - now) ** 2).mean()
            for mine, theirs, slope in zip(
                trained.parameters(),
                block.parameters(),
                torch.autograd.grad(peers, list(block.parameters())),
                strict=True,
            ):
                torch.testing.assert_close(mine.grad, theirs.grad + weight * slope, rtol=1e-4, atol=1e-6)
            running[index] = now.detach()
            h = unit_rms(activity.detach())
        for name, expected in zip(rule.network.block_names, running, strict=True):
            torch.testing.assert_close(rule.state_dict()[f"heads.{name}.peers.active"], expected)
    before = {key: value.clone() for key, value in rule.state_dict().items()}
    for loss in rule.eval().losses(x, Y):
        assert loss.value.isfinite()
    assert all(torch.equal(rule.state_dict()[key], value) for key, value in before.items() if "peers" in key)


def test_peer_normalization_is_off_by_default_and_its_averages_are_those_of_the_whole_batch():
    assert not len(make("ff").heads) and not len(make("symba").heads)
    halves = [PeerMean(3, 0.9), PeerMean(3, 0.9)]
    activity = torch.rand(8, 3, 2, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    whole = PeerMean(3, 0.9)(activity)
    [slope] = torch.autograd.grad((whole.mean() - whole).square().mean(), activity)
    means = [part.mean((0, 2, 3)).detach() for part in activity.split(4)]
    found = []
    for half, part in zip(halves, activity.split(4), strict=True):
        half.whole_mean = lambda mean: torch.stack(means).mean(0)
        average = half(part)
        torch.testing.assert_close(average, whole)
        found.append(torch.autograd.grad((average.mean() - average).square().mean(), activity)[0])
    torch.testing.assert_close(sum(found) / 2, slope)
