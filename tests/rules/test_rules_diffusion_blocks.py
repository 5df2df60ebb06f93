"""DiffusionBlocks: borders of noise, preconditioning, losses and Euler steps against their closed forms; blocks that never see one another."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import norm
from torch import nn

from layerlocal import InputError, create_network, create_rule
from layerlocal.measure import measure_locality, measure_saved_bytes
from layerlocal.measure.contract import check_rule
from layerlocal.rules.diffusion_blocks import denoised, noise_borders
from layerlocal.spec import Recipe
from rules_by_hand import X8, K, Y, assert_equal_bits, gradients, small, train, trained

NAME = "diffusion-blocks"
D = 24


# --- noise ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [1, 2, 3, 6, 12])
def test_borders_are_quantiles_of_the_log_normal_distribution_of_noise(blocks):
    found = noise_borders(blocks)
    least, most = norm.cdf(np.log([0.002, 80]), -1.2, 1.2)
    expected = np.exp(norm.ppf(np.linspace(most, least, blocks + 1), -1.2, 1.2))
    assert found == pytest.approx(expected, rel=1e-5) and (found[0], found[-1]) == (80, 0.002)
    shares = np.diff(norm.cdf(np.log(found), -1.2, 1.2))
    assert shares == pytest.approx([(least - most) / blocks] * blocks, rel=1e-6)


@pytest.mark.parametrize("overlap", [0.0, 0.1, 0.5])
def test_strengths_of_a_block_follow_that_distribution_between_its_borders_made_wider(overlap):
    rule = small(NAME, overlap=overlap)
    for index in range(4):
        torch.manual_seed(index)
        found = rule._strengths_for(index, 20_000, torch.zeros(1)).double()
        high, low = np.log(rule.borders[index : index + 2])
        wider = overlap * (high - low)
        low, high = max(math.log(0.002), low - wider), min(math.log(80), high + wider)
        assert math.exp(low) * (1 - 1e-5) <= found.min() and found.max() <= math.exp(high) * (1 + 1e-5)
        shares = np.sort(
            (norm.cdf(found.log(), -1.2, 1.2) - norm.cdf(low, -1.2, 1.2)) / np.diff(norm.cdf([low, high], -1.2, 1.2))
        )
        assert (
            np.abs(shares - np.linspace(0, 1, len(shares))).max() < 1.95 / len(shares) ** 0.5
        )  # Kolmogorov, p = 0.001


@pytest.mark.parametrize("sigma", [0.002, 0.3, 0.5, 7.0, 80.0])
def test_preconditioning_is_that_of_edm(sigma):
    """With a block that gives its class token times 2 and a label of standard deviation σ_d = 0.5, noisy, what goes in has variance 1."""
    tokens, strength = torch.zeros(4096, 3, D), torch.full((4096,), sigma)
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(4096, D, generator=generator) for _ in range(2))
    z = 0.5 * clean + sigma * noise
    seen = []
    found = denoised(tokens, lambda given: seen.append(given) or 2 * given, z, strength)
    [given] = seen
    assert given[:, 0].var().item() == pytest.approx(1, rel=0.02) and (given[:, 1:] == 0).all()
    torch.testing.assert_close(given[:, 0], z / math.sqrt(sigma**2 + 0.25))
    skip, out = 0.25 / (sigma**2 + 0.25), sigma * 0.5 / math.sqrt(sigma**2 + 0.25)
    inner = (z - z.mean(1, keepdim=True)) / (z.var(1, keepdim=True, correction=0) + (sigma**2 + 0.25) / 4 * 1e-5).sqrt()
    torch.testing.assert_close(found, skip * z + out * inner, rtol=1e-4, atol=1e-5)
    assert (1 - skip) ** 2 * 0.25 + skip**2 * sigma**2 == pytest.approx(out**2)  # what F is to give has variance 1
    assert skip**2 * (sigma**2 + 0.25) + out**2 == pytest.approx(0.25)  # D has the variance of the data


# --- losses -----------------------------------------------------------------------------------------------------------


def parts(rule, index):
    """The weights that a block denoises with: what makes tokens, the transformer, W."""
    shared = rule.shared
    head = rule.heads["block0" if shared or not index else f"block{index}"]
    first = rule.network.blocks[0]
    return (
        (first[0] if head.stem is None else head.stem),
        (rule.network.blocks[index] if index else first[1]),
        head.linear,
    )


def denoised_by_hand(rule, index, x, z, sigma):
    stem, block, linear = parts(rule, index)
    side = stem.embed.stride[0]
    cut = x.unfold(2, side, side).unfold(3, side, side).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
    images = cut @ stem.embed.weight.flatten(1).T + stem.embed.bias + stem.positions[1:]
    first = stem.class_token + stem.positions[0] + z / (sigma**2 + 0.25).sqrt()[:, None]
    found = block(torch.cat([first[:, None], images], 1))[:, 0]
    found = (found - found.mean(1, keepdim=True)) / (found.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
    skip, out = 0.25 / (sigma**2 + 0.25), 0.5 * sigma / (sigma**2 + 0.25).sqrt()
    return (skip[:, None] * z + out[:, None] * found) @ linear.weight.T + linear.bias


def embeddings_by_hand(rule):
    labels = rule.heads["block0"].labels if rule.shared else rule.fixed_labels
    return labels / labels.square().sum(1, keepdim=True).sqrt()


@pytest.mark.parametrize("embeddings", ["private", "shared"])
def test_losses_and_gradients_are_those_of_the_equations(embeddings):
    rule, other = small(NAME, embeddings=embeddings), small(NAME, embeddings=embeddings).train()
    losses, found = gradients(rule, X8, Y, seed=5)
    torch.manual_seed(5)
    expected = []
    for index in range(4):
        sigma = other._strengths_for(index, len(X8), X8)
        e = embeddings_by_hand(other)[Y]
        noisy = e + sigma[:, None] * torch.randn(len(X8), D)
        scores = denoised_by_hand(other, index, X8, noisy, sigma)
        expected.append(-scores.log_softmax(1)[torch.arange(len(Y)), Y].mean())
        expected[-1].backward()
    assert losses == pytest.approx([loss.item() for loss in expected], rel=1e-5)
    for name, parameter in other.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-5, msg=name)
        assert parameter.grad.abs().max() > 0, name


def test_one_euler_step_a_block_goes_towards_the_expected_embedding():
    rule = trained(small(NAME))
    e, z, expected = embeddings_by_hand(rule), rule.start.expand(len(X8), -1), []
    with torch.no_grad():
        for index, (sigma, after) in enumerate(zip(rule.borders, rule.borders[1:], strict=False)):
            scores = denoised_by_hand(rule, index, X8, z, torch.full((len(X8),), sigma))
            likely = scores.softmax(1) @ e
            z = likely + (z - likely) * after / sigma  # the straight line from noise of σ to none, at σ'
            expected.append(scores)
        torch.testing.assert_close(rule.block_scores(X8), torch.stack(expected), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(rule.scores(X8), expected[-1].log_softmax(1), rtol=1e-3, atol=1e-4)


def test_labels_are_at_unit_length_and_fixed_ones_at_equal_distances():
    rule, crowded = small(NAME), create_rule(NAME, small(NAME).network, num_classes=40, seed=0)
    torch.testing.assert_close(rule.label_embeddings @ rule.label_embeddings.T, torch.eye(K))
    torch.testing.assert_close(crowded.label_embeddings.norm(dim=1), torch.ones(40))
    learned = small(NAME, embeddings="shared")
    torch.testing.assert_close(learned.label_embeddings.norm(dim=1), torch.ones(K))
    assert "fixed_labels" in rule.state_dict() and not rule.state_dict().keys() & {"heads.block0.labels"}


def test_the_start_of_a_prediction_is_noise_of_the_largest_strength_and_comes_from_the_seed():
    starts = [
        create_rule(
            NAME,
            create_network("vit", in_channels=3, image_size=8, hidden=512, heads=4, depth=1),
            num_classes=K,
            seed=s,
        ).start
        for s in (0, 0, 1)
    ]
    assert torch.equal(starts[0], starts[1]) and not torch.equal(starts[0], starts[2])
    assert starts[0].std().item() == pytest.approx(80, rel=0.1)


# --- locality ---------------------------------------------------------------------------------------------------------


def test_private_blocks_are_strictly_local_and_wait_for_no_forward():
    rule = small(NAME)
    found = measure_locality(rule, X8, Y)
    assert found["certified"] and found["measured"] == "block", found["problems"]
    assert found["losses"] == rule.network.block_names
    waits = {lock for lock, waits in rule.locks.items() if waits}
    assert waits == {"labels_everywhere"}


def test_no_block_changes_another_even_forward():
    """Which no rule that walks its blocks can say: what block 0 computes plays no part in how block 2 learns."""
    one, other = small(NAME), small(NAME)
    with torch.no_grad():
        for parameter in (*other.network.blocks[0].parameters(), *other.heads["block0"].parameters()):
            parameter.add_(1.0)
    (losses, found), (other_losses, changed) = gradients(one, X8, Y), gradients(other, X8, Y)
    assert losses[0] != other_losses[0] and losses[1:] == other_losses[1:]
    later = {name for name in found if not name.startswith(("network.blocks.0", "heads.block0"))}
    assert later and all(torch.equal(found[name], changed[name]) for name in later)


def test_shared_embeddings_are_declared_and_measured_global_and_every_loss_reaches_the_first_block():
    rule = small(NAME, embeddings="shared")
    found = measure_locality(rule, X8, Y)
    assert found["certified"] and found["measured"] == "global" == rule.locality, found["problems"]
    assert found["reach"] == [[i in (0, loss) for i in range(4)] for loss in range(4)]
    assert rule.locks == {
        "forward": False,
        "update": True,
        "backward": True,
        "weight_transport": False,
        "labels_everywhere": True,
    }
    assert small(NAME, depth=1, embeddings="shared").locality == "block"


def test_shared_embeddings_keep_every_clause_of_the_contract_but_the_pace_at_which_they_learn():
    broken = {result.name for result in check_rule(NAME, embeddings="shared") if not result.passed}
    assert broken <= {"Beats chance on a separable toy"}


def test_saved_bytes_are_those_of_one_block_at_every_depth():
    def peak(depth, **options):
        return measure_saved_bytes(small(NAME, depth=depth, **options), X8, Y)

    assert peak(2) == peak(8) and peak(8)["left_saved_bytes"] == 0
    assert peak(8, embeddings="shared") == peak(2, embeddings="shared")


# --- depth, prediction, refusals --------------------------------------------------------------------------------------


def test_the_first_blocks_begin_alike_at_every_depth_and_with_the_same_borders_end_alike():
    shallow, deep = small(NAME, depth=2), small(NAME, depth=4)
    same = {key: value for key, value in shallow.state_dict().items()}
    assert_equal_bits(deep.state_dict(), same)
    assert shallow.borders[:2] != deep.borders[:2], (
        "what block 0 answers for is another range of noise at another depth"
    )
    deep.borders[:3] = shallow.borders = [80.0, 1.0, 0.1]
    train(shallow, Recipe(), steps=1), train(deep, Recipe(), steps=1)
    assert_equal_bits(deep.state_dict(), shallow.state_dict())


@pytest.mark.parametrize("embeddings", ["private", "shared"])
def test_a_prediction_depends_on_the_image_alone(embeddings):
    rule = trained(small(NAME, embeddings=embeddings))
    with torch.no_grad():
        scores = rule.scores(X8)
        torch.manual_seed(123)
        assert torch.equal(scores, rule.scores(X8)), "no noise is drawn"
        torch.testing.assert_close(scores, torch.cat([rule.scores(x) for x in X8.split(1)]), rtol=1e-4, atol=1e-5)
    assert scores.std(0).min() > 1e-5, "images are told apart"
    state = {key: value.clone() for key, value in rule.state_dict().items()}
    gradients(rule, X8, (Y + 1) % K)
    rule.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(rule.eval().scores(X8), scores)


def test_blocks_go_on_from_what_the_one_before_them_found():
    """The first block has learned labels, the others copy what they are handed: all answer alike, and right."""
    rule = small(NAME)
    with torch.no_grad():
        rule.borders = [80.0, 0.01, 0.005, 0.003, 0.002]
        for head in rule.heads.values():
            head.linear.weight.copy_(100 * rule.label_embeddings)
            head.linear.bias.zero_()
        rule.heads["block0"].linear.weight.zero_()
        rule.heads["block0"].linear.bias.copy_(torch.tensor([0.0, 50.0, 0.0]))
        found = rule.eval().block_scores(X8).argmax(-1)
    assert found.tolist() == [[1] * len(X8)] * 4


@pytest.mark.parametrize(
    "network",
    [
        ("cnn4", {"in_channels": 3, "image_size": 8}),
        ("vit", {"in_channels": 3, "image_size": 8, "tokens": "mean"}),
        ("gpt", {"vocabulary": 8, "context": 4}),
    ],
    ids=["cnn", "mean of tokens", "text"],
)
def test_another_network_is_refused_word_for_word(network):
    name, options = network
    with pytest.raises(InputError) as refused:
        create_rule(NAME, create_network(name, **options), num_classes=8)
    assert str(refused.value) == (
        "rule 'diffusion-blocks' adds the noisy label to the class token of a vit of ours; take the network 'vit', read by its class token"
    )


def test_what_is_exported_holds_no_rule_and_each_weight_once():
    for embeddings in ("private", "shared"):
        rule = trained(small(NAME, embeddings=embeddings))
        module = rule.to_module()
        with torch.no_grad():
            torch.testing.assert_close(module(X8), rule.scores(X8))
        assert isinstance(module, nn.Sequential) and not any(part is rule for part in module.modules())
        content = module.state_dict()
        assert len({value.data_ptr() for value in content.values()}) == len(content)
        before = {key: value.clone() for key, value in content.items()}
        train(rule, Recipe(), steps=1)
        assert_equal_bits(module.state_dict(), before)
    assert F.softmax(module(X8), 1).sum(1).allclose(torch.ones(len(X8)))
