"""Every rule on transformers: tokens are vectors to it, nothing comes from later tokens or blocks, twins are exact, and refusals of text."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import layerlocal as ll
from layerlocal import InputError, Network, Recipe, create_network, create_rule, list_rules
from layerlocal.measure import measure_flops, measure_locality, measure_saved_bytes
from layerlocal.rules import find_rule
from layerlocal.training.train import Training, make_optimizer, train_step

T, V = 8, 32
MAKES_INPUTS = {"ff", "symba", "scff", "sigprop"}
OPTIONS = {"hcl-ff": {"normalization": "layer"}, "deeperforward": {"normalization": "layer"}}
READS_TEXT = sorted(set(list_rules()) - MAKES_INPUTS - {"diffusion-blocks"})
"""All others: one refuses a network for text, whatever its labels (`test_rules_diffusion_blocks`)."""
LOCAL = sorted(name for name in list_rules() if find_rule(name).info.locality == "block")


def text_rule(name, depth=3, **options):
    network = create_network("gpt", vocabulary=V, context=T, hidden=64, depth=depth, seed=1)
    return create_rule(name, network, num_classes=V, seed=2, **OPTIONS.get(name, {}) | options)


def image_rule(name, tokens="class", **options):
    network = create_network("vit", in_channels=2, image_size=8, hidden=60, heads=2, depth=3, tokens=tokens, seed=1)
    return create_rule(name, network, num_classes=10, seed=2, **OPTIONS.get(name, {}) | options)


def batch(rule, count=6):
    generator = torch.Generator().manual_seed(3)
    x = rule.network.random_inputs(count, generator)
    return x, torch.randint(rule.num_classes, (count, *rule.label_shape), generator=generator)


def step(rule, times=2):
    recipe = Recipe(learning_rate=1e-2)
    optimizer = make_optimizer(rule, recipe)
    rule.train()
    for _ in range(times):
        train_step(rule, *batch(rule), optimizer, recipe=recipe)
    return rule


@pytest.mark.parametrize("name", READS_TEXT)
def test_what_a_rule_says_of_a_token_depends_on_none_behind_it(name):
    rule = step(text_rule(name)).eval()
    x, _ = batch(rule)
    other = x.clone()
    other[:, 5:] = (x[:, 5:] + 7) % V
    with torch.no_grad():
        before, after = (torch.cat([rule.block_scores(each), rule.scores(each)[None]]) for each in (x, other))
    assert before.shape[1:] == (6, T, V)
    assert torch.equal(before[:, :, :5], after[:, :, :5])
    assert (before != after).any(-1)[:, :, 5:].float().mean() > 0.9


@pytest.mark.parametrize("name", READS_TEXT)
def test_the_certificate_of_a_rule_holds_on_text(name):
    rule = text_rule(name)
    found = measure_locality(rule, *batch(rule))
    assert found["certified"], found["problems"]
    assert found["measured"] == rule.locality


@pytest.mark.parametrize("tokens", ["class", "mean"])
@pytest.mark.parametrize("name", sorted(list_rules()))
def test_every_rule_trains_a_vit_and_its_certificate_holds(name, tokens):
    if name == "diffusion-blocks" and tokens == "mean":
        with pytest.raises(InputError, match="take the network 'vit', read by its class token"):
            image_rule(name, tokens)
        return
    rule = image_rule(name, tokens)
    before = {key: value.clone() for key, value in rule.state_dict().items()}
    assert measure_locality(rule, *batch(rule))["certified"]
    step(rule)
    after = rule.state_dict()
    moved = {key.split(".")[2] for key in before if "blocks" in key and not torch.equal(before[key], after[key])}
    assert moved == {"0", "1", "2"}
    assert all(value.isfinite().all() for value in after.values() if value.is_floating_point())


@pytest.mark.parametrize("name", sorted(set(LOCAL) & set(READS_TEXT)))
def test_first_blocks_of_a_local_rule_are_bit_equal_at_depth_two_and_four(name):
    options = {"dtg-ff": {"fusion": "uniform"}, "reconstruct": {"boundary": 1}}.get(name, {})  # what depth would change
    shallow, deep = (step(text_rule(name, depth, **options)).state_dict() for depth in (2, 4))
    same = [key for key in shallow if key.startswith(("network.blocks.", "heads."))]
    assert same
    assert all(torch.equal(shallow[key], deep[key]) for key in same)


@pytest.mark.parametrize(
    "name", ["local-heads", "class-goodness", "mono-forward", "dtg-ff", "committee", "blockwise-decoder"]
)
def test_bp_deepsup_is_backprop_of_the_sum_of_the_local_losses(name):
    options = {"fusion": "uniform"} if name == "dtg-ff" else {}
    local, twin = text_rule(name, **options), text_rule("bp-deepsup", of=name, **options)
    x, y = batch(local)
    local.train(), twin.train()
    [loss] = twin.losses(x, y)
    loss.value.backward()
    h, total = x, 0.0
    for index, block in enumerate(local.network.blocks):  # the same walk, without a boundary
        h = block(h)
        total = total + local.block_loss(index, h, y)[0]
        h = local.feed(index, h)
    total.backward()
    torch.testing.assert_close(loss.value, total)
    for (key, left), (_, right) in zip(local.network.named_parameters(), twin.network.named_parameters(), strict=True):
        torch.testing.assert_close(left.grad, right.grad, msg=key)


def test_local_heads_loss_is_the_mean_cross_entropy_of_every_token():
    rule = text_rule("local-heads").eval()
    x, y = batch(rule)
    h = x
    for index, block in enumerate(rule.network.blocks):
        h = block(h)
        head = rule.heads[f"block{index}"]
        by_hand = [
            F.cross_entropy(head(F.layer_norm(h[:, t], (64,))), y[:, t]) for t in range(T)
        ]  # fmt: skip
        torch.testing.assert_close(rule.block_loss(index, h, y)[0], torch.stack(by_hand).mean())


@pytest.mark.parametrize("name", sorted(MAKES_INPUTS))
def test_a_rule_that_makes_inputs_refuses_text_and_says_which_rules_read_it(name):
    with pytest.raises(InputError, match=f"'{name}' makes inputs of its own .* such as 'local-heads'"):
        text_rule(name)


@pytest.mark.parametrize("name", ["cwcomp", "deeperforward", "hcl-ff"])
def test_channels_are_features_of_a_token_not_their_number(name):
    network = create_network("vit", in_channels=3, image_size=8, hidden=64, depth=2)
    with pytest.raises(InputError, match=r"block0 has 64 .*cannot be dealt evenly to 10 classes"):
        create_rule(name, network, num_classes=10)


def test_goodness_of_ff_is_that_of_its_tokens_averaged():
    rule = image_rule("ff").train()
    activity = torch.randn(4, 5, 60, generator=torch.Generator().manual_seed(0))
    read = rule.read(activity)
    positive, negative = activity.square().sum(2).mean(1).split(2)
    expected = (F.softplus(60 - positive) + F.softplus(negative - 60)).mean()
    torch.testing.assert_close(rule.local_loss(0, read, torch.tensor([0, 1]))[0], expected)
    onward = rule.feed(0, activity)
    torch.testing.assert_close(onward.square().mean(2), torch.ones(4, 5))


@pytest.mark.parametrize("name", READS_TEXT)
def test_an_exported_module_answers_for_every_token_as_the_rule_does(name):
    rule = step(text_rule(name)).eval()
    x, _ = batch(rule)
    with torch.no_grad():
        torch.testing.assert_close(rule.to_module()(x.to(torch.uint8)), rule.scores(x), rtol=1e-5, atol=1e-5)


def test_an_exported_module_goes_through_torch_export():
    rule = text_rule("local-heads").eval()
    x, _ = batch(rule)
    program = torch.export.export(rule.to_module(), (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.testing.assert_close(program.module()(x[:3]), rule.scores(x[:3]))


def test_a_local_step_saves_a_blocks_share_of_what_backprop_saves():
    local, twin = text_rule("local-heads", depth=6), text_rule("bp-deepsup", depth=6)
    saved = [measure_saved_bytes(rule, *batch(rule))["peak_saved_bytes"] for rule in (local, twin)]
    assert saved[0] < 0.25 * saved[1]
    deep = measure_saved_bytes(text_rule("local-heads", depth=12), *batch(local))["peak_saved_bytes"]
    assert deep == saved[0]


def test_flops_of_a_step_are_those_of_its_products():
    rule = text_rule("bp", depth=2)
    x, y = batch(rule)
    rows, features = 6 * T, 64
    block = 2 * rows * 12 * features**2 + 2 * 2 * 6 * T * T * features  # linear maps, and q kᵀ and a v
    forward = 2 * block + 2 * rows * features * V
    found = measure_flops(rule, x, y)
    assert found["flops_per_prediction"] == forward
    pairs_once_more = 2 * 2 * 6 * T * T * features  # q kᵀ of both blocks, made anew in backward
    assert found["flops_per_step"] == 3 * forward + pairs_once_more


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(V, 16)

    def forward(self, x):
        return self.table(x)


def test_tokens_may_have_one_label_for_all():
    network = Network(
        [Words(), nn.Sequential(nn.Linear(16, 16), nn.ReLU())], sample_shape=(T,), vocabulary=V, tokens="mean"
    )
    rule = create_rule("local-heads", network, num_classes=3, seed=0)
    x, y = batch(rule)
    assert y.shape == (6,)
    assert rule.block_scores(x).shape == (2, 6, 3)
    assert measure_locality(rule, x, y)["certified"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y: (x + V, y), "x must be whole numbers from 0 to 31, the network's vocabulary"),
        (lambda x, y: (x.float(), y), "x must be whole numbers from 0 to 31"),
        (lambda x, y: (x, y[:, 0]), "y must be whole numbers of shape .6, 8., one a token"),
        (lambda x, y: (x[:, :-1], y), "x must be .B, 8."),
    ],
)
def test_what_is_no_batch_of_tokens_is_refused(change, words):
    rule = text_rule("local-heads")
    with pytest.raises(InputError, match=words):
        measure_locality(rule, *change(*batch(rule)))


def test_images_and_text_do_not_go_together():
    data = ll.load_data("python_library", context=T, num_train=200, num_test=20)
    with pytest.raises(InputError, match="network 'vgg8' takes images, not text"):
        ll.fit("local-heads", data, Recipe(epochs=1), network="vgg8")
    network = Network([Words()], sample_shape=(T,), vocabulary=V)
    rule = create_rule("local-heads", network, num_classes=256)
    with pytest.raises(
        InputError, match="takes tokens of a vocabulary of 32, the data are tokens of a vocabulary of 256"
    ):
        Training(rule, data, Recipe(epochs=1))
    network = Network([nn.Embedding(256, 8)], sample_shape=(T,), vocabulary=256, tokens="mean")
    with pytest.raises(
        InputError, match="has 8 labels, and the network is read for 1; make the network with tokens='every'"
    ):
        Training(create_rule("local-heads", network, num_classes=256), data, Recipe(epochs=1))
