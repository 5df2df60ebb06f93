"""Blockwise decoder: each block learns through a small transformer of its own, written out here in plain operations."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layerlocal import Network, create_network, create_rule
from layerlocal.measure import measure_flops, measure_locality, measure_saved_bytes
from layerlocal.networks.transformer import TransformerBlock
from layerlocal.rules.blockwise_decoder import DecoderHead
from layerlocal.spec import Recipe
from layerlocal.types import InputError
from rules_by_hand import X8, K, Y, assert_equal_bits, gradients, small, train, trained

NAME = "blockwise-decoder"
T, V = 6, 11

pytestmark = pytest.mark.filterwarnings("ignore:the heads of .* cost more:UserWarning")


def text(depth=3, name=NAME, hidden=16, **options):
    network = create_network("gpt", vocabulary=V, context=T, hidden=hidden, depth=depth, seed=1)
    return create_rule(name, network, num_classes=V, seed=2, **options)


def words():
    drawn = torch.randint(0, V, (5, T + 1), generator=torch.Generator().manual_seed(3))
    return drawn[:, :-1], drawn[:, 1:]


def transformer_block(block, x, *, causal):
    """Pre-norm attention and MLP from a block's weights, each head and each token by itself."""
    h = F.layer_norm(x, x.shape[-1:], block.attention_norm.weight, block.attention_norm.bias)
    q, k, v = (h @ block.attention.project.weight.T + block.attention.project.bias).chunk(3, -1)
    found, size = [], x.shape[-1] // block.attention.heads
    for part in range(block.attention.heads):
        each = slice(part * size, (part + 1) * size)
        for t in range(x.shape[1]):
            seen = t + 1 if causal else x.shape[1]
            weights = (q[:, t : t + 1, each] @ k[:, :seen, each].transpose(1, 2) / math.sqrt(size)).softmax(-1)
            found.append(weights @ v[:, :seen, each])
    heads = torch.stack(
        [torch.cat(found[part * x.shape[1] : (part + 1) * x.shape[1]], 1) for part in range(block.attention.heads)], 2
    )
    x = x + heads.flatten(2) @ block.attention.join.weight.T + block.attention.join.bias
    h = F.layer_norm(x, x.shape[-1:], block.mlp_norm.weight, block.mlp_norm.bias)
    inner = h @ block.mlp[0].weight.T + block.mlp[0].bias
    return x + (0.5 * inner * (1 + torch.erf(inner / 2**0.5))) @ block.mlp[2].weight.T + block.mlp[2].bias


def loss_by_hand(head, activity, y, *, causal, tokens):
    h = activity
    for block in head.decoder:
        h = transformer_block(block, h, causal=causal)
    h = (h - h.mean(-1, keepdim=True)) / (h.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    read = {"every": h.flatten(0, 1), "class": h[:, 0], "mean": h.mean(1)}[tokens]
    read = (read - read.mean(0)) / (read.var(0, correction=0) + 1e-5).sqrt()
    log = (read @ head.readout.linear.weight.T + head.readout.linear.bias).log_softmax(-1)
    return -log[torch.arange(y.numel()), y.flatten()].mean()


@pytest.mark.parametrize("layers", [1, 2])
def test_losses_and_gradients_on_text_are_those_of_a_causal_decoder_of_each_block(layers):
    rule, other = text(layers=layers, heads=2), text(layers=layers, heads=2).train()
    x, y = words()
    losses, found = gradients(rule, x, y)
    h, expected = x, []
    for index, block in enumerate(other.network.blocks):
        h = block(h.detach())
        expected.append(loss_by_hand(other.heads[f"block{index}"], h, y, causal=True, tokens="every"))
        expected[-1].backward()
    assert losses == pytest.approx([loss.item() for loss in expected], rel=1e-5)
    for name, parameter in other.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("tokens", ["class", "mean"])
def test_losses_on_images_are_those_of_a_decoder_that_sees_all_patches(tokens):
    network = create_network("vit", in_channels=3, image_size=8, hidden=24, depth=2, tokens=tokens, seed=0)
    rule = create_rule(NAME, network, num_classes=K, seed=0, heads=3).train()
    losses, h = [loss.value.item() for loss in rule.losses(X8, Y)], X8
    for index, block in enumerate(network.blocks):
        h = block(h)
        expected = loss_by_hand(rule.heads[f"block{index}"], h, Y, causal=False, tokens=tokens)
        assert losses[index] == pytest.approx(expected.item(), rel=1e-5)


def test_a_decoder_of_text_sees_no_token_behind_the_one_it_answers_for():
    head = DecoderHead(16, V, layers=2, heads=2, tokens="every", factors=None).eval()
    activity = torch.randn(3, T, 16, requires_grad=True)
    head(activity).unflatten(0, (3, T))[:, 2].sum().backward()
    assert (activity.grad[:, 3:] == 0).all() and (activity.grad[:, :3] != 0).any(-1).all()


def test_it_is_strictly_block_local_and_its_memory_is_flat_in_depth():
    rule = text()
    found = measure_locality(rule, *words())
    assert found["certified"] and found["measured"] == "block", found["problems"]

    def peak(name, depth, **options):
        return measure_saved_bytes(text(depth, name, **options), *words())["peak_saved_bytes"]

    assert peak(NAME, 4) == peak(NAME, 8) < 0.5 * peak("bp-deepsup", 8, of=NAME)


def test_twins_are_exact():
    x, y = words()
    bp, local = text(name="bp", of=NAME).train(), text().train()
    (loss,) = bp.losses(x, y)
    assert loss.value.item() == pytest.approx(
        loss_by_hand(local.heads["block2"], local.network(x), y, causal=True, tokens="every").item(), rel=1e-5
    )
    assert list(bp.heads) == ["block2"]
    (loss,) = text(name="bp-deepsup", of=NAME).train().losses(x, y)
    h, total = x, 0.0
    for index, block in enumerate(local.network.blocks):
        h = block(h)
        total = total + loss_by_hand(local.heads[f"block{index}"], h, y, causal=True, tokens="every")
    assert loss.value.item() == pytest.approx(total.item(), rel=1e-5)


def test_runs_of_several_blocks_learn_through_one_decoder_at_their_end_and_no_gradient_crosses():
    runs = text(depth=4, name="segmented", of=NAME, segments="2-2")
    x, y = words()
    losses, found = gradients(runs, x, y)
    other = text(depth=4, name="segmented", of=NAME, segments="2-2").train()
    h, expected = x, []
    for start in (0, 2):
        h = other.network.blocks[start + 1](other.network.blocks[start](h.detach()))
        expected.append(loss_by_hand(other.heads[f"block{start + 1}"], h, y, causal=True, tokens="every"))
        expected[-1].backward()
    assert list(other.heads) == ["block1", "block3"]
    assert losses == pytest.approx([loss.item() for loss in expected], rel=1e-5)
    for name, parameter in other.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_twins_begin_with_the_rules_weights_and_one_block_a_segment_is_the_rule():
    start = small(NAME).state_dict()
    for twin in ("bp", "bp-deepsup", "segmented"):
        found = {k: v for k, v in small(twin, of=NAME).state_dict().items() if k != "fusion_weights"}
        assert_equal_bits(start, found)
    one, rule = small("segmented", of=NAME, segment_size=1), small(NAME)
    train(one, Recipe()), train(rule, Recipe())
    assert_equal_bits(one.state_dict(), dict(rule.state_dict()))


def test_the_first_blocks_are_bit_equal_at_depth_two_and_four():
    shallow, deep = (small(NAME, depth=depth) for depth in (2, 4))
    train(shallow, Recipe()), train(deep, Recipe())
    same = {k: v for k, v in shallow.state_dict().items() if k != "fusion_weights"}
    assert_equal_bits(deep.state_dict(), same)


def test_the_last_block_alone_predicts_by_default_and_no_other_sample_and_no_label_plays_a_part():
    rule = trained(small(NAME))
    with torch.no_grad():
        scores = rule.scores(X8)
        head, activity = rule.heads["block3"], rule.network(X8)
        torch.testing.assert_close(scores, head(activity).log_softmax(-1))
        torch.testing.assert_close(scores, torch.cat([rule.scores(x) for x in X8.split(1)]), rtol=1e-4, atol=1e-5)
    state = {key: value.clone() for key, value in rule.state_dict().items()}
    gradients(rule, X8, (Y + 1) % K)
    rule.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(rule.eval().scores(X8), scores)


def test_a_decoder_of_one_block_has_the_products_of_the_block_it_reads():
    """So a prediction has two blocks twice, a readout each, and the weights of the fusion times both answers."""
    rule, x = text(depth=2), words()[0]
    rows, block = 5 * T, 2 * 5 * T * 12 * 16**2 + 2 * 2 * 5 * T * T * 16  # linear maps, and q kᵀ and a v
    found = measure_flops(rule, *words())
    assert found["flops_per_prediction"] == 2 * (2 * block + 2 * rows * 16 * V) + 2 * 2 * rows * V
    assert len(x) * T == rows


def test_it_warns_once_of_decoders_that_cost_more_than_their_block():
    rule = text(layers=2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list(rule.losses(*words())), list(rule.losses(*words()))
    assert [str(each.message).partition(" cost")[0] for each in caught] == ["the heads of 3 of 3 blocks"]


@pytest.mark.parametrize(
    ("features", "heads"), [(128, 4), (24, 1), (48, 2), (7, 1), (160, 5)]
)  # of 48: 1.5 heads of 32, rounded to an even number
def test_heads_are_one_for_every_32_features_where_they_divide_them(features, heads):
    network = create_network("gpt", vocabulary=V, context=T, hidden=features, heads=1, depth=1)
    rule = create_rule(NAME, network, num_classes=V)
    assert [block.attention.heads for block in rule.heads["block0"].decoder] == [heads]
    assert all(isinstance(block, TransformerBlock) for block in rule.heads["block0"].decoder)


def test_what_gives_no_tokens_is_refused_by_the_block_that_does_not():
    tokens = nn.Sequential(nn.Conv2d(3, 24, 4, stride=4), nn.Flatten(2))
    network = Network([tokens, nn.Flatten()], sample_shape=(3, 8, 8))
    with pytest.raises(InputError) as refused:
        create_rule(NAME, network, num_classes=K)
    assert str(refused.value) == (
        "rule 'blockwise-decoder' reads tokens (B, T, D), and block1 gives (B, 96); take the network 'vit' or 'gpt', or the rule 'local-heads'"
    )
    with pytest.raises(InputError) as refused:
        text(heads=3)
    assert str(refused.value) == "heads=3 does not divide the 16 features of a token; take a number that does"
