"""`gpt` and `vit` in plain PyTorch operations, and what a network says of its tokens."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layerlocal import InputError, Network, create_network, network_options
from layerlocal.networks.tokens import by_token, read_tokens

T, V, D = 12, 40, 64


def text_network(**options):
    return create_network("gpt", vocabulary=V, context=T, width=0.5, seed=1, **{"depth": 3} | options)


def image_network(**options):
    return create_network("vit", in_channels=3, image_size=16, width=0.5, seed=1, **{"depth": 2} | options)


def by_hand(state, prefix, x, *, heads, causal):
    """A pre-norm block from its weights, attention written out."""

    def linear(name, h):
        return h @ state[f"{prefix}{name}.weight"].T + state[f"{prefix}{name}.bias"]

    def norm(name, h):
        mean, variance = h.mean(-1, keepdim=True), h.var(-1, keepdim=True, correction=0)
        return (h - mean) / (variance + 1e-5).sqrt() * state[f"{prefix}{name}.weight"] + state[f"{prefix}{name}.bias"]

    batch, tokens, features = x.shape
    q, k, v = (
        part.view(batch, tokens, heads, -1).transpose(1, 2)
        for part in linear("attention.project", norm("attention_norm", x)).split(features, -1)
    )
    scores = q @ k.transpose(2, 3) / (features // heads) ** 0.5
    if causal:
        scores = scores.masked_fill(torch.ones(tokens, tokens).triu(1).bool(), float("-inf"))
    found = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, features)
    x = x + linear("attention.join", found)
    return x + linear("mlp.2", F.gelu(linear("mlp.0", norm("mlp_norm", x))))


def perturbed(network):
    """No weight and no shift at its first value, so that each counts."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def test_gpt_computes_what_attention_and_mlp_do_written_out():
    network = perturbed(text_network(depth=2))
    x = torch.randint(V, (2, T), generator=torch.Generator().manual_seed(0))
    state = dict(network.blocks[0].named_parameters())
    h = F.one_hot(x, V).float() @ state["0.embed.weight"] + state["0.positions"]
    h = by_hand(state, "1.", h, heads=2, causal=True)
    torch.testing.assert_close(network.blocks[0](x), h, rtol=1e-4, atol=1e-4)
    second = by_hand(dict(network.blocks[1].named_parameters()), "", h, heads=2, causal=True)
    torch.testing.assert_close(network(x), second, rtol=1e-4, atol=1e-4)


def test_vit_computes_what_patches_attention_and_mlp_do_written_out():
    network = perturbed(image_network(patch=8))
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    state = dict(network.blocks[0].named_parameters())
    patches = [x[:, :, i : i + 8, j : j + 8].flatten(1) for i in (0, 8) for j in (0, 8)]
    weight = state["0.embed.weight"].flatten(1)
    tokens = [state["0.class_token"].expand(2, -1), *(p @ weight.T + state["0.embed.bias"] for p in patches)]
    h = by_hand(state, "1.", torch.stack(tokens, 1) + state["0.positions"], heads=2, causal=False)
    torch.testing.assert_close(network.blocks[0](x), h, rtol=1e-4, atol=1e-4)


def test_as_many_weights_as_the_sizes_give():
    block = 12 * D * D + 13 * D  # attention 4D² + 4D, MLP 8D² + 5D, two norms 4D
    assert sum(p.numel() for p in text_network().parameters()) == 3 * block + V * D + T * D
    assert sum(p.numel() for p in image_network().parameters()) == 2 * block + 48 * D + D + D + 17 * D
    network = create_network("gpt", vocabulary=256, context=128)
    assert (network.depth, network.activity_shapes[0]) == (6, (128, 128))


def test_a_token_is_what_those_before_it_make_it():
    network = perturbed(text_network())
    x = torch.randint(V, (2, T), generator=torch.Generator().manual_seed(0))
    other = x.clone()
    other[:, 7] = (x[:, 7] + 1) % V
    with torch.no_grad():
        before, after = network(x), network(other)
    assert torch.equal(before[:, :7], after[:, :7])
    assert not torch.equal(before[:, 7], after[:, 7])
    assert (before != after).any(-1)[:, 7:].all()


def test_a_block_starts_the_same_at_every_depth():
    shallow, deep = text_network(depth=2).state_dict(), text_network(depth=4).state_dict()
    assert all(torch.equal(value, deep[name]) for name, value in shallow.items())


def test_initial_weights_are_gpt_2s():
    network = create_network("gpt", vocabulary=256, context=128, seed=0, depth=1)
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.05), name
        else:
            assert set(parameter.tolist()) == {1.0 if name.endswith("norm.weight") else 0.0}, name


def test_what_is_read_of_tokens():
    activity = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    mean, variance = activity.mean(-1, keepdim=True), activity.var(-1, keepdim=True, correction=0)
    normalized = (activity - mean) / (variance + 1e-5).sqrt()
    torch.testing.assert_close(read_tokens(activity, "class"), normalized[:, 0])
    torch.testing.assert_close(read_tokens(activity, "mean"), normalized.mean(1))
    torch.testing.assert_close(read_tokens(activity, "every"), normalized.reshape(15, 4))


def test_an_operation_by_token_sees_no_other_token():
    activity = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    found = by_token(lambda each: F.group_norm(each, 2), activity)
    one_by_one = torch.stack([F.group_norm(activity[:, token], 2) for token in range(5)], 1)
    torch.testing.assert_close(found, one_by_one)


def test_a_network_says_what_its_labels_are():
    network = text_network()
    assert (network.tokens, network.label_shape, network.read_shapes) == ("every", (T,), [(D,)] * 3)
    network = image_network()
    assert (network.tokens, network.label_shape, network.read_shapes) == ("class", (), [(D,)] * 2)
    assert image_network(tokens="mean").tokens == "mean"
    network = create_network("cnn4", in_channels=3, image_size=16, width=0.1)
    assert (network.tokens, network.label_shape) == (None, ())
    assert network.read_shapes == network.activity_shapes


class Embed(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(V, 8)

    def forward(self, x):
        return self.table(x)


def test_a_network_of_ones_own_takes_tokens():
    network = Network([Embed(), nn.Linear(8, 8)], sample_shape=(T,), vocabulary=V)
    assert (network.tokens, network.label_shape, network.activity_shapes) == ("every", (T,), [(T, 8), (T, 8)])
    assert Network([Embed()], sample_shape=(T,), vocabulary=V, tokens="mean").label_shape == ()


def test_inputs_without_meaning_are_of_the_kind_that_a_network_takes():
    found = text_network().random_inputs(500)
    assert found.shape == (500, T)
    assert set(found.flatten().tolist()) == set(range(V))
    assert image_network().random_inputs(2).shape == (2, 3, 16, 16)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: create_network("cnn4", vocabulary=V, context=T), "'cnn4' takes images, not text; for text take gpt"),
        (lambda: create_network("gpt", in_channels=3, image_size=16), "'gpt' takes text, not images; for images take"),
        (lambda: create_network("gpt", vocabulary=V), "for text, with vocabulary and context; got vocabulary"),
        (lambda: create_network("gpt", vocabulary=V, image_size=8), "got image_size and vocabulary"),
        (lambda: create_network("gpt", vocabulary=1, context=T), "vocabulary"),
        (lambda: image_network(patch=5), "patch=5 does not divide images of 16 px; take 4"),
        (lambda: image_network(tokens="every"), "tokens must be 'class' or 'mean', got 'every'"),
        (lambda: text_network(heads=0), "heads must be"),
        (lambda: text_network(hidden=0), "hidden must be"),
        (lambda: Network([nn.Linear(4, 4)], sample_shape=(4,), tokens="mean"), "no block gives one; leave it out"),
        (lambda: Network([nn.Linear(4, 4)], sample_shape=(3, 4), tokens="first"), "tokens must be 'mean', 'class' or"),
        (lambda: Network([Embed(), nn.Flatten()], sample_shape=(T,), vocabulary=V), "each block must give as many"),
    ],
)  # fmt: skip
def test_refusals(make, words):
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        make()


def test_the_options_that_each_has():
    assert network_options("gpt") == {"depth": 6, "hidden": 128, "heads": None}
    assert network_options("vit") == {"depth": 6, "hidden": 128, "heads": None, "patch": 4, "tokens": "class"}
