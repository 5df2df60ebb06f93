"""predsim: similarities are correlations of samples, the two losses are mixed as declared, and prediction knows nothing of the second."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from layerlocal.rules.predsim import (
    label_similarity,
    map_features,
    predsim_loss,
    similarity_matrix,
)
from rules_by_hand import X8 as X
from rules_by_hand import K, Y, gradients, small

V = torch.randn(12, 12, generator=torch.Generator().manual_seed(2))


def make(name="predsim", network="cnn4", depth=3, **options):
    return small(name, network, depth=depth, **options)


# --- similarity -------------------------------------------------------------------------------------------------------


def test_similarity_is_the_correlation_of_two_samples_features():
    features = torch.randn(7, 9, generator=torch.Generator().manual_seed(3)) * torch.rand(7, 1) + torch.randn(7, 1) * 5
    np.testing.assert_allclose(similarity_matrix(features).numpy(), np.corrcoef(features.numpy()), atol=1e-5)


def test_similarity_is_blind_to_a_samples_scale_and_mean_and_tells_opposites():
    features = torch.tensor([[1.0, 2.0, 3.0], [30.0, 20.0, 10.0], [7.0, 9.0, 11.0], [1.0, 0.0, 1.0]])
    expected = [[1, -1, 1, 0], [-1, 1, -1, 0], [1, -1, 1, 0], [0, 0, 0, 1]]
    torch.testing.assert_close(
        similarity_matrix(features), torch.tensor(expected, dtype=torch.float32), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_labels_are_as_similar_as_their_one_hot_codes(num_classes):
    y = torch.randint(0, num_classes, (15,), generator=torch.Generator().manual_seed(4))
    np.testing.assert_allclose(
        label_similarity(y, num_classes).numpy(), np.corrcoef(np.eye(num_classes)[y.numpy()]), atol=1e-6
    )


def test_a_map_is_compared_by_the_deviation_of_each_channel_over_its_positions():
    maps = torch.randn(4, 5, 3, 2)
    np.testing.assert_allclose(map_features(maps).numpy(), maps.numpy().std((2, 3), ddof=1), rtol=1e-5)
    few, point, vector = torch.randn(4, 3, 2, 2), torch.randn(4, 5, 1, 1), torch.randn(4, 5)
    assert torch.equal(map_features(few), few.view(4, 12))
    assert torch.equal(map_features(point), point.view(4, 5)) and torch.equal(map_features(vector), vector)


def test_samples_without_any_activity_give_a_finite_gradient():
    maps = torch.zeros(4, 5, 3, 3, requires_grad=True)
    loss, _ = predsim_loss(torch.zeros(()), map_features(maps), Y[:4], num_classes=K, beta=0.5)
    loss.backward()
    assert loss.isfinite() and maps.grad.isfinite().all()


# --- the loss ---------------------------------------------------------------------------------------------------------


def test_the_mixture_weighs_prediction_by_what_similarity_leaves():
    same = torch.tensor(
        [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]]
    )  # similarity 1 everywhere; two classes of three: off the diagonal −1/2
    loss, similarity = predsim_loss(torch.tensor(10.0), same, torch.tensor([0, 1]), num_classes=3, beta=0.9)
    assert similarity.item() == pytest.approx(2 * 1.5**2 / 4)
    assert loss.item() == pytest.approx(0.1 * 10 + 0.9 * 2 * 1.5**2 / 4)


@pytest.mark.parametrize("beta", [0.2, 0.99])
@pytest.mark.parametrize(("network", "readout"), [("cnn4", "rms"), ("cnn4", "mean"), ("mlp", "rms")])
def test_every_block_has_the_loss_of_its_equation(network, readout, beta):
    rule = make(network=network, beta=beta, readout=readout)
    h = X if network == "cnn4" else V
    targets = np.corrcoef(np.eye(K)[Y.numpy()])
    for index, (name, value, metrics) in enumerate(rule.losses(h, Y)):
        with torch.no_grad():
            h = rule.network.blocks[index](h)
            head = rule.heads[f"block{index}"]
            cells, maps = h, h @ head.similarity.weight.T if network == "mlp" else None
            if network == "cnn4":
                parts = [
                    part
                    for row in h.tensor_split(min(2, h.shape[2]), 2)
                    for part in row.tensor_split(min(2, h.shape[3]), 3)
                ]
                cells = torch.cat(
                    [p.square().mean((2, 3)).sqrt() if readout == "rms" else p.mean((2, 3)) for p in parts], 1
                )
                maps = nn.functional.conv2d(h, head.similarity.weight, padding=1)
                maps = maps.flatten(1) if maps.shape[2] == 1 else maps.flatten(2).std(2)
            cells = (cells - cells.mean(0)) / (cells.var(0, correction=0) + 1e-5).sqrt()
            scores = cells @ head.linear.weight.T + head.linear.bias
            prediction = -scores.log_softmax(1)[torch.arange(12), Y].mean().item()
        similarity = ((np.corrcoef(maps.numpy()) - targets) ** 2).mean()
        assert name == f"block{index}"
        assert value.item() == pytest.approx((1 - beta) * prediction + beta * similarity, rel=1e-4)
        assert metrics[f"pred/block{index}"].item() == pytest.approx(prediction, rel=1e-4)
        assert metrics[f"sim/block{index}"].item() == pytest.approx(similarity, rel=1e-4)


def test_the_head_learns_from_prediction_only_the_net_from_similarity_only_and_the_block_from_both():
    _, plain = gradients(make(beta=0.0), X, Y)
    _, mixed = gradients(make(beta=0.75), X, Y)
    for index in range(3):
        head, block = f"heads.block{index}.linear.weight", f"network.blocks.{index}.0.weight"
        torch.testing.assert_close(mixed[head], 0.25 * plain[head], rtol=1e-4, atol=1e-7)
        assert mixed[f"heads.block{index}.similarity.weight"].any()
        assert not torch.allclose(mixed[block], 0.25 * plain[block], rtol=1e-2)


def test_without_similarity_it_is_local_heads_to_the_last_bit():
    rule, local = make(beta=0.0), make("local-heads")
    assert list(rule.state_dict()) == list(local.state_dict())
    found, expected = gradients(rule, X, Y), gradients(local, X, Y)
    assert found[0] == expected[0] and all(torch.equal(found[1][name], expected[1][name]) for name in expected[1])
    assert not rule.compares_samples and rule.info.compares_samples and rule.needs_whole_batches is None


def test_every_block_has_a_net_of_its_own_without_bias_and_of_as_many_channels():
    rule = make(depth=5)
    nets = [head.similarity for head in rule.heads.values()]
    assert [tuple(net.weight.shape) for net in nets] == [(n, n, 3, 3) for n in (8, 16, 32, 32, 32)]
    assert all(net.bias is None for net in nets) and not torch.equal(nets[3].weight, nets[4].weight)
    assert torch.equal(nets[1].weight, make(depth=2).heads["block1"].similarity.weight), "one draw a block"
    vectors = [head.similarity for head in make(network="mlp").heads.values()]
    assert [(net.in_features, net.out_features, net.bias) for net in vectors] == [(64, 64, None)] * 3


# --- prediction -------------------------------------------------------------------------------------------------------


def test_prediction_does_not_look_through_the_similarity_net_and_the_plain_module_has_none():
    rule = make().eval()
    module = rule.to_module()
    assert not [name for name in module.state_dict() if "similarity" in name]
    with torch.no_grad():
        before = rule.scores(X)
        for head in rule.heads.values():
            head.similarity.weight.fill_(float("nan"))
        assert torch.equal(rule.scores(X), before)
        torch.testing.assert_close(module(X), before, rtol=1e-5, atol=1e-5)
