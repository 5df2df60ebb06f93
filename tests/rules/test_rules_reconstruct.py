"""Reconstruct: below a boundary a block keeps its input, above it predicts; as two halves it is the released loss of LoPT."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layerlocal import InputError, Network, create_network, create_rule
from layerlocal.measure import measure_locality, measure_saved_bytes
from layerlocal.networks.transformer import TransformerBlock
from layerlocal.rules.reconstruct import KeepingHead, at_positions, on_grid
from layerlocal.spec import Recipe
from layerlocal.training.train import make_optimizer, train_step
from rules_by_hand import X8, K, Y, assert_equal_bits, batches, gradients, small, train, trained

T, V, D = 6, 11, 16
NAME = "reconstruct"


def rows(values):
    """Standardized over the first dimension, as the readout does in training."""
    return (values - values.mean(0)) / (values.var(0, correction=0) + 1e-5).sqrt()


def decode(head, positions):
    """Layer norm, linear to a quarter, GELU, linear: the decoder of the released code, from its weights."""
    norm, narrow, _, wide = head.decoder
    mean, variance = positions.mean(-1, keepdim=True), positions.var(-1, keepdim=True, correction=0)
    h = (positions - mean) / (variance + 1e-5).sqrt() * norm.weight + norm.bias
    h = h @ narrow.weight.T + narrow.bias
    return (0.5 * h * (1 + torch.erf(h / 2**0.5))) @ wide.weight.T + wide.bias


def answer(head, vectors, y):
    """Cross-entropy of a linear readout of vectors."""
    readout = getattr(head, "readout", head)
    scores = rows(vectors) @ readout.linear.weight.T + readout.linear.bias
    return -scores.log_softmax(-1)[torch.arange(len(y)), y].mean()


def patches(x, side):
    """(B, C, H, W) → (B, positions, C·side²), row by row, channel by channel."""
    found = [
        x[:, :, i : i + side, j : j + side].flatten(1)
        for i in range(0, x.shape[2], side)
        for j in range(0, x.shape[3], side)
    ]
    return torch.stack(found, 1)


def text(depth=4, name=NAME, **options):
    network = create_network("gpt", vocabulary=V, context=T, hidden=D, depth=depth, seed=1)
    return create_rule(name, network, num_classes=V, seed=2, **options)


def words():
    drawn = torch.randint(0, V, (5, T + 1), generator=torch.Generator().manual_seed(3))
    return drawn[:, :-1], drawn[:, 1:]


def vectors(blocks=4, name=NAME, **options):
    """Transformer blocks on tokens that are vectors already, as a language model's layers after its embedding."""
    torch.manual_seed(0)
    made = [TransformerBlock(D, 2, causal=True) for _ in range(blocks)]
    network = Network(made, sample_shape=(T, D), tokens="every")
    return create_rule(name, network, num_classes=V, seed=2, **options)


# --- targets ----------------------------------------------------------------------------------------------------------


def test_a_map_is_cut_into_patches_or_averaged_where_it_cannot_be():
    x = torch.randn(2, 3, 8, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(on_grid(x, 4, 2), patches(x, 2))
    assert torch.equal(on_grid(x, 8, 4), x.flatten(2).transpose(1, 2))
    assert torch.equal(on_grid(x, 1, 1), x.flatten(1)[:, None])
    expected = torch.stack([x[:, :, rows].mean((2, 3)) for rows in (slice(0, 3), slice(2, 6), slice(5, 8))], 1)
    torch.testing.assert_close(on_grid(x, 3, 1), expected)
    assert torch.equal(on_grid(x, 16, 4)[:, :8], x.repeat_interleave(2, 2)[:, :, :2].flatten(2).transpose(1, 2))


@pytest.mark.parametrize(
    ("given", "activity", "grid", "skips"),
    [
        ((3, 8, 8), (5, 4, 4), (4, 4), False),
        ((3, 8, 8), (16, 6), (4, 4), False),
        ((3, 8, 8), (17, 6), (4, 4), True),  # a class token before the patches
        ((3, 8, 16), (8, 6), (2, 4), False),
        ((3, 16, 8), (9, 6), (4, 2), True),
        ((3, 8, 8), (7,), (1, 1), False),
        ((16, 6), (16, 6), None, False),
        ((5,), (7,), None, False),
    ],
)
def test_tokens_are_laid_on_the_image_that_they_are_made_from(given, activity, grid, skips):
    head = KeepingHead(0, given, activity, activity[-1:] if len(activity) == 2 else activity, K, vocabulary=None)
    assert (head.grid, head.skips) == (grid, skips)
    assert head.keeping_loss(torch.randn(2, *activity), torch.randn(2, *given)).isfinite()


def test_a_class_token_keeps_nothing():
    rule = small(NAME, depth=4)
    head = KeepingHead(0, (3, 8, 8), (5, D), (D,), K, vocabulary=None)
    activity, given = torch.randn(4, 5, D, requires_grad=True), torch.randn(4, 3, 8, 8)
    head.keeping_loss(activity, given).backward()
    assert (activity.grad[:, 0] == 0).all() and (activity.grad[:, 1:] != 0).any(-1).all()
    assert rule.heads["block0"].decoder[3].out_features == 3 * 2 * 2  # a pooled position stands for four pixels


def test_where_positions_do_not_match_the_mean_stands_for_each():
    head = KeepingHead(0, (T, D), (7,), (7,), K, vocabulary=None)
    activity, given = torch.randn(3, 7), torch.randn(3, T, D)
    torch.testing.assert_close(
        head.keeping_loss(activity, given), (decode(head, activity)[:, None] - given).square().mean()
    )
    head = KeepingHead(0, (T,), (2, D), (D,), K, vocabulary=V)
    activity, given = torch.randn(3, 2, D), torch.randint(0, V, (3, T))
    log = decode(head, activity).mean(1).log_softmax(-1)
    torch.testing.assert_close(head.keeping_loss(activity, given), -log.gather(1, given).mean())


# --- losses and gradients ---------------------------------------------------------------------------------------------


def test_losses_and_gradients_of_a_cnn_are_those_of_the_equations():
    rule = small(NAME, label_smoothing=0.0)
    losses, found = gradients(rule, X8, Y)
    by_hand, h, total = small(NAME).train(), X8, []
    for index, block in enumerate(by_hand.network.blocks):
        head, given = by_hand.heads[f"block{index}"], h.detach()
        h = block(given)
        side = min(2, h.shape[2])
        cells = [c.flatten(2) for row in h.tensor_split(side, 2) for c in row.tensor_split(side, 3)]
        read = torch.cat([torch.linalg.vector_norm(c, dim=2) / c.shape[2] ** 0.5 for c in cells], 1)
        if index < 2:
            kept = (decode(head, h.flatten(2).transpose(1, 2)) - patches(given, given.shape[2] // h.shape[2])).square()
            total.append(kept.mean() + answer(head, read.detach(), Y))
        else:
            total.append(answer(head, read, Y))
        total[-1].backward()
    assert losses == pytest.approx([loss.item() for loss in total], rel=1e-5)
    for name, parameter in by_hand.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=5e-6, msg=name)


def test_tokens_of_text_are_kept_by_cross_entropy_and_later_inputs_by_squares():
    rule = text().train()
    x, y = words()
    losses, h = [loss.value.item() for loss in rule.losses(x, y)], x
    for index, block in enumerate(rule.network.blocks):
        head, given = rule.heads[f"block{index}"], h
        h = block(given).detach()
        read = F.layer_norm(h, (D,)).flatten(0, 1)
        expected = answer(head, read, y.flatten())
        if index == 0:
            log = decode(head, h).log_softmax(-1)
            expected = expected - log.gather(2, x[..., None]).mean()
        elif index == 1:
            expected = expected + (decode(head, h) - given).square().mean()
        assert losses[index] == pytest.approx(expected.item(), rel=1e-5)


def test_the_two_halves_are_the_released_loss_of_lopt():
    """Its first half keeps the embeddings that it is given, its second predicts; by hand on the same weights, sent back at once."""
    halves = vectors(name="segmented", of=NAME, segments="2-2", boundary=2)
    x, (_, y) = torch.randn(5, T, D, generator=torch.Generator().manual_seed(4)), words()
    losses, found = gradients(halves, x, y)
    other = vectors(name="segmented", of=NAME, segments="2-2", boundary=2).train()
    blocks, below, above = other.network.blocks, other.heads["block1"], other.heads["block3"]
    middle = blocks[1](blocks[0](x))
    kept = (decode(below, middle) - x).square().mean()
    beside = answer(below, F.layer_norm(middle.detach(), (D,)).flatten(0, 1), y.flatten())
    end = blocks[3](blocks[2](middle.detach()))
    task = answer(above, F.layer_norm(end, (D,)).flatten(0, 1), y.flatten())
    assert losses == pytest.approx([(kept + beside).item(), task.item()], rel=1e-5)
    (kept + beside + task).backward()
    for name, parameter in other.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_each_of_three_parts_below_the_last_keeps_its_own_input():
    parts = vectors(blocks=6, name="segmented", of=NAME, segments="2-2-2", boundary=4).train()
    x, (_, y) = torch.randn(5, T, D, generator=torch.Generator().manual_seed(4)), words()
    found, h, blocks = list(parts.losses(x, y)), x, parts.network.blocks
    for index in (1, 3):
        given, h = h, blocks[index](blocks[index - 1](h)).detach()
        expected = (decode(parts.heads[f"block{index}"], h) - given).square().mean()
        torch.testing.assert_close(found[index // 2].metrics[f"kept/block{index}"], expected)


def test_the_decoder_begins_as_the_released_one():
    head = KeepingHead(0, (T, 64), (T, 64), (64,), K, vocabulary=None)
    _, narrow, _, wide = head.decoder
    assert (narrow.in_features, narrow.out_features, wide.out_features) == (64, 16, 64)
    for part in (narrow, wide):
        bound = 0.1 * (6 / sum(part.weight.shape)) ** 0.5  # Xavier's uniform distribution at gain 0.1
        assert 0.9 * bound < part.weight.abs().max() <= bound and (part.bias == 0).all()


def test_the_readout_below_the_boundary_changes_no_block_and_no_decoder():
    one, other = small(NAME, boundary=2), small(NAME, boundary=2)
    with torch.no_grad():
        other.heads["block0"].readout.linear.weight.mul_(7)
    (_, found), (_, expected) = gradients(one, X8, Y), gradients(other, X8, Y)
    readouts = [name for name in found if ".readout." in name]
    assert not torch.equal(found["heads.block0.readout.linear.weight"], expected["heads.block0.readout.linear.weight"])
    assert all(torch.equal(found[name], expected[name]) for name in set(found) - set(readouts))


def test_labels_teach_no_block_below_the_boundary():
    (_, one), (_, other) = gradients(small(NAME), X8, Y), gradients(small(NAME), X8, (Y + 1) % K)
    same = {name for name in one if torch.equal(one[name], other[name])}
    blocks = {name.split(".")[2] for name in one if name.startswith("network.blocks.")}
    assert {name.split(".")[2] for name in same if name.startswith("network.blocks.")} == {"0", "1"} < blocks
    assert all(name in same for name in one if name.startswith(("network.blocks.0", "network.blocks.1")))


# --- twins ------------------------------------------------------------------------------------------------------------


def test_bp_is_the_last_cross_entropy_alone_and_bp_deepsup_the_sum_of_all_losses():
    bp, local = small("bp", of=NAME).train(), small(NAME).train()
    (loss,) = bp.losses(X8, Y)
    h = local.network(X8)
    torch.testing.assert_close(loss.value, F.cross_entropy(local.heads["block3"](h), Y))
    deep = small("bp-deepsup", of=NAME).train()
    (loss,) = deep.losses(X8, Y)
    loss.value.backward()
    local, h, total = small(NAME).train(), X8, 0.0
    for index, block in enumerate(local.network.blocks):
        local.receive(index, h)
        h = block(h)
        total = total + local.block_loss(index, h, Y)[0]
    total.backward()
    torch.testing.assert_close(loss.value, total)
    for (name, left), right in zip(local.named_parameters(), deep.parameters(), strict=True):
        torch.testing.assert_close(left.grad, right.grad, msg=name)


def test_twins_begin_with_the_rules_weights_where_they_read_the_same():
    start = small(NAME).state_dict()
    for twin, options in (("bp", {}), ("bp-deepsup", {}), ("segmented", {"segment_size": 1})):
        found = small(twin, of=NAME, **options).state_dict()
        assert_equal_bits(start, {key: value for key, value in found.items() if key != "fusion_weights"})
    halves = small("segmented", of=NAME, segments="2-2").state_dict()
    readout = {key: value for key, value in halves.items() if "readout" in key or key.startswith("network.")}
    assert_equal_bits(start, readout)
    assert (
        halves["heads.block1.decoder.3.weight"].shape[0] == 3 * 4 * 4 != start["heads.block1.decoder.3.weight"].shape[0]
    )


def test_one_block_a_segment_is_the_rule_and_deep_segments_are_their_deep_twin():
    one, rule = small("segmented", of=NAME, segment_size=1), small(NAME)
    train(one, Recipe()), train(rule, Recipe())
    assert_equal_bits(one.state_dict(), {k: v for k, v in rule.state_dict().items()})
    whole = small("segmented", of=NAME, segments="4", readouts="all")
    deep = small("bp-deepsup", of=NAME)
    train(whole, Recipe()), train(deep, Recipe())
    assert_equal_bits(whole.state_dict(), deep.state_dict())


def test_lookahead_reads_the_losses_of_blocks_further_on():
    rule = small("lookahead", of=NAME, blocks_ahead=1, boundary=2).train()
    found = {loss.block: loss for loss in rule.losses(X8, Y)}
    blocks = rule.network.blocks
    a0, head = blocks[0](X8), rule.heads["block1"]
    a1 = blocks[1](a0)
    ahead = head.keeping_loss(a1, a0) + F.cross_entropy(head(a1), Y)
    torch.testing.assert_close(found["block0"].metrics["ahead/block0"], ahead.detach())
    assert not rule.given


# --- locality, memory, prediction -------------------------------------------------------------------------------------


@pytest.mark.parametrize("boundary", [0, 1, 3])
@pytest.mark.parametrize("of", ["cnn4", "mlp"])
def test_it_is_strictly_block_local_at_every_boundary(of, boundary):
    rule = small(NAME, of, boundary=boundary)
    x = next(batches(1, rule.network.sample_shape))[0]
    found = measure_locality(rule, x, Y)
    assert found["certified"] and found["measured"] == "block", found["problems"]
    assert boundary or not any(isinstance(head, KeepingHead) for head in rule.heads.values())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (NAME, {}),
        ("segmented", {"of": NAME}),
        ("bp", {"of": NAME}),
        ("bp-deepsup", {"of": NAME}),
        ("feedback", {"of": NAME}),
    ],
)
def test_nothing_is_held_after_a_step(name, options):
    rule = trained(small(name, **options), steps=1)
    assert rule.given == {}
    assert measure_saved_bytes(rule, X8, Y)["left_saved_bytes"] == 0 and rule.given == {}


def test_a_block_holds_its_input_no_longer_than_its_own_loss():
    rule, held = small(NAME, boundary=3).train(), []
    for loss in rule.losses(X8, Y):
        held.append(len(rule.given))
        loss.value.backward()
    assert held == [0, 0, 0, 0]


def test_saved_bytes_do_not_grow_with_depth():
    def peak(name, depth, **options):
        network = create_network("plain", in_channels=3, image_size=8, width=12 / 64, depth=depth, seed=0)
        return measure_saved_bytes(create_rule(name, network, num_classes=K, seed=0, **options), X8, Y)[
            "peak_saved_bytes"
        ]

    assert peak(NAME, 6) == peak(NAME, 12) < 0.5 * peak("bp-deepsup", 12, of=NAME)
    assert peak("segmented", 12, of=NAME) == peak("segmented", 24, of=NAME)


def test_activations_are_computed_again_only_where_no_run_of_several_blocks_keeps_its_input():
    deep, again = small("bp-deepsup", of=NAME), small("bp-deepsup", of=NAME)
    again.cuts = frozenset({1, 2, 3})
    (_, found), (_, expected) = gradients(again, X8, Y), gradients(deep, X8, Y)
    assert_equal_bits(found, expected)
    assert again.given == {} and not again.gathers
    halves = small("segmented", of=NAME, segments="2-2")
    assert halves.gathers
    with pytest.raises(InputError, match="not made for 'reconstruct', a loss of which reads several blocks"):
        halves.use_checkpointing(X8)


def test_the_first_blocks_are_bit_equal_at_depth_two_and_four():
    shallow, deep = (small(NAME, depth=depth, boundary=1) for depth in (2, 4))
    for rule in (shallow, deep):
        train(rule, Recipe())
    same = {key: value for key, value in shallow.state_dict().items() if key != "fusion_weights"}
    assert_equal_bits(deep.state_dict(), same)


def test_a_prediction_is_the_last_blocks_and_depends_on_neither_batch_nor_label():
    rule = trained(small(NAME))
    with torch.no_grad():
        scores = rule.scores(X8)
        alone = torch.cat([rule.scores(x) for x in X8.split(1)])
        expected = rule.heads["block3"](rule.network(X8)).log_softmax(-1)
    torch.testing.assert_close(scores, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores, expected)
    state = {key: value.clone() for key, value in rule.state_dict().items()}
    gradients(rule, X8, (Y + 1) % K)
    rule.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(rule.eval().scores(X8), scores)


def test_blocks_below_the_boundary_really_learn_to_keep_their_input():
    rule = small(NAME, "mlp")
    x, y = next(batches(1, (12,)))
    optimizer = make_optimizer(rule.train(), recipe := Recipe(learning_rate=1e-2))

    def kept():
        return [loss.metrics[f"kept/block{i}"].item() for i, loss in enumerate(rule.losses(x, y)) if i < 2]

    before = kept()
    for _ in range(60):
        train_step(rule, x, y, optimizer, recipe=recipe)
    assert all(after < 0.5 * start for after, start in zip(kept(), before, strict=True))


def test_tokens_that_fill_no_grid_are_refused_and_any_boundary_below_the_last_block_is_taken():
    three = nn.Sequential(nn.Flatten(), nn.Unflatten(1, (3, 64)))
    network = Network([three, nn.Linear(64, 12)], sample_shape=(3, 8, 8))
    with pytest.raises(InputError, match="3 tokens, or one fewer, fill no grid with the sides of one of 8×8"):
        create_rule(NAME, network, num_classes=K)
    assert create_rule(NAME, network, num_classes=K, boundary=0).boundary == 0
    assert at_positions(torch.zeros(2, 5)).shape == (2, 1, 5)
    assert [small(NAME, depth=depth).boundary for depth in (1, 2, 3, 4)] == [0, 1, 1, 2]
