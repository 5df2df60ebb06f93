"""Heads of local-heads: the linear one is what it always was, hidden layers and convolutions are what they say, and their cost is told."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layerlocal.kernels import grid_rms
from layerlocal.networks import create_network
from layerlocal.rules import create_rule
from layerlocal.rules.core.auxiliary import ConvReadout, HeadCost, MLPReadout, head_cost
from layerlocal.spec import Recipe
from layerlocal.training.train import make_optimizer, train_step
from layerlocal.types import InputError, derive_seed

K = 3
X = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(1))
Y = torch.arange(12) % K
COSTLY = pytest.mark.filterwarnings("ignore:the heads of .* cost more:UserWarning")


def make(name="local-heads", network="cnn4", depth=3, fused=False, **options):
    sizes = (
        {"in_channels": 5, "image_size": 1, "width": 0.25} if network == "mlp" else {"in_channels": 3, "image_size": 8}
    )
    built = create_network(network, depth=depth, seed=0, fused=fused, **{"width": 0.25, **sizes})
    return create_rule(name, built, num_classes=K, seed=7, **options)


def standardized(values):
    return (values - values.mean(0)) / (values.var(0, correction=0) + 1e-5).sqrt()


def cells_of(a, grid, statistic="rms"):
    """(B, C, H, W) → (B, C, s, t): rows and columns are dealt to cells, the first ones larger by one."""
    rows = [row.tensor_split(min(grid, a.shape[3]), 3) for row in a.tensor_split(min(grid, a.shape[2]), 2)]
    one = lambda cell: cell.square().mean((2, 3)).sqrt() if statistic == "rms" else cell.mean((2, 3))  # noqa: E731
    return torch.stack([torch.stack([one(cell) for cell in row], -1) for row in rows], -2)


# --- the linear head, which earlier runs have -------------------------------------------------------------------------


class PlainHead(nn.Module):
    """What the default head was before there were others: root mean squares on 2×2 cells, standardized, one linear map."""

    def __init__(self, features):
        super().__init__()
        self.standardize = nn.BatchNorm1d(features, affine=False)
        self.linear = nn.Linear(features, K)

    def forward(self, a):
        return self.linear(self.standardize(grid_rms(a, 2)))


def plain_head(index, features):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(7, "head", index))
        return PlainHead(features)


def test_local_heads_by_default_is_to_the_last_bit_what_it_was_before_there_were_other_heads():
    """Initial weights, three steps of AdamW, and the scores after them."""
    rule = make()
    recipe = Recipe(learning_rate=0.01, weight_decay=0.0)
    blocks, channels = nn.Sequential(), 3
    for width in [8, 16, 32]:
        parts = [
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        blocks.append(nn.Sequential(*parts))
        channels = width
    blocks.load_state_dict(rule.network.blocks.state_dict())
    heads = [plain_head(index, features) for index, features in enumerate([8 * 4, 16 * 4, 32])]
    for index, head in enumerate(heads):
        assert list(head.state_dict()) == list(rule.heads[f"block{index}"].state_dict())
        assert torch.equal(head.linear.weight, rule.heads[f"block{index}"].linear.weight)
        assert torch.equal(head.linear.bias, rule.heads[f"block{index}"].linear.bias)
    optimizer = make_optimizer(rule.train(), recipe)
    plain = [
        torch.optim.AdamW(
            [*blocks[i].parameters(), *heads[i].parameters()], lr=0.01, betas=(0.9, 0.999), weight_decay=0
        )
        for i in range(3)
    ]
    for step in range(3):
        x = X + step
        train_step(rule, x, Y, optimizer, recipe=recipe)
        for index in range(3):
            plain[index].zero_grad()
            a = blocks[index](x.detach())
            F.cross_entropy(heads[index](a), Y).backward()
            plain[index].step()
            x = a
    expected = [part.state_dict() for part in (blocks, *heads)]
    found = [part.state_dict() for part in (rule.network.blocks, *rule.heads.values())]
    for ours, theirs in zip(found, expected, strict=True):
        assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    with torch.no_grad():
        x, scores = X, []
        for block, head in zip(blocks.eval(), heads, strict=True):
            x = block(x)
            scores.append(head.eval()(x))
        assert torch.equal(rule.eval().block_scores(X), torch.stack(scores))


def test_the_linear_heads_loss_is_the_cross_entropy_of_standardized_root_mean_squares():
    """The same once more without a line of the library: every operation written out."""
    rule, h = make(), X
    for index, loss in enumerate(rule.losses(X, Y)):
        with torch.no_grad():
            h = rule.network.blocks[index](h)
            head = rule.heads[f"block{index}"].linear
            values = standardized(cells_of(h, 2).permute(0, 2, 3, 1).flatten(1))
            logs = (values @ head.weight.T + head.bias).log_softmax(1)
        assert loss.value.item() == pytest.approx(-logs[torch.arange(12), Y].mean().item(), rel=1e-4)


def test_the_linear_head_says_nothing_of_its_cost_and_has_no_size():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(make().losses(X, Y))
    assert not make().costs


# --- hidden layers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "layers"), [((5, 7, 7), 1), ((5, 7, 7), 2), ((9,), 1)])
def test_an_mlp_puts_hidden_layers_between_the_statistics_and_the_scores(shape, layers):
    head = MLPReadout(shape, K, layers=layers, width=6)
    a = torch.rand(8, *shape) + 0.1
    values = standardized(cells_of(a, 2).permute(0, 2, 3, 1).flatten(1) if len(shape) == 3 else a)
    weights = [weight for name, weight in head.named_parameters() if name.endswith("weight") and weight.dim() == 2]
    features = 20 if len(shape) == 3 else 9
    assert [tuple(weight.shape) for weight in weights] == [(6, features), *[(6, 6)] * (layers - 1), (K, 6)]
    for weight in weights[:-1]:
        values = standardized(values @ weight.T).relu()
    bias = dict(head.named_parameters())[f"linear.{3 * layers}.bias"]
    torch.testing.assert_close(head(a), values @ weights[-1].T + bias, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("statistic", ["rms", "mean"])
@pytest.mark.parametrize(
    ("side", "grid", "options", "pooled"),
    [
        (8, 2, {}, 4),  # 4×4 positions averaged to one
        (4, 2, {}, 2),  # no more than leaves 2×2 cells
        (7, 2, {}, 3),  # 3, 3 and 1 positions
        (8, 2, {"reduction": 2}, 2),
        (8, 2, {"reduction": 1}, 1),
        (8, 4, {"kernel": 1}, 2),
        (6, 1, {"layers": 2, "width": 7}, 4),
        (1, 2, {}, 1),
    ],
)
def test_a_convolutional_head_averages_convolves_and_reads_the_last_map_on_a_grid(
    side, grid, options, pooled, statistic
):
    head = ConvReadout((5, side, side), K, grid=grid, statistic=statistic, **options)
    a = torch.rand(16, 5, side, side)
    convolutions = [weight for weight in head.parameters() if weight.dim() == 4]
    kernel, width = options.get("kernel", 3), options.get("width", 5)
    expected = [(width, 5, kernel, kernel), *[(width, width, kernel, kernel)] * (options.get("layers", 1) - 1)]
    assert [tuple(weight.shape) for weight in convolutions] == expected
    parts = [torch.stack([c.mean((2, 3)) for c in row.split(pooled, 3)], -1) for row in a.split(pooled, 2)]
    maps = torch.stack(parts, -2)
    for weight in convolutions:
        maps = F.conv2d(maps, weight, padding=kernel // 2)
        mean, var = maps.mean((0, 2, 3), keepdim=True), maps.var((0, 2, 3), correction=0, keepdim=True)
        maps = ((maps - mean) / (var + 1e-5).sqrt()).relu()
    values = standardized(cells_of(maps, grid, statistic).flatten(1))
    linear = head.readout.linear
    torch.testing.assert_close(head(a), values @ linear.weight.T + linear.bias, rtol=1e-3, atol=1e-3)


def test_a_channel_that_is_silent_in_one_cell_has_a_finite_gradient_in_the_others():
    head = ConvReadout((5, 8, 8), K, kernel=1, reduction=1)
    a = torch.rand(4, 5, 8, 8).requires_grad_()
    half = torch.cat([torch.zeros(4), torch.full((4,), 10.0)])
    silent = (head.layers(a * half) == 0).all(0).all(1)  # (channels, columns)
    assert (silent[:, :4].all(1) & ~silent[:, 4:].any(1)).any()
    head(a * half).square().sum().backward()
    assert a.grad.isfinite().all() and all(parameter.grad.isfinite().all() for parameter in head.parameters())


@COSTLY
@pytest.mark.parametrize("options", [{"head": "mlp"}, {"head": "conv"}, {"head": "conv", "readout": "mean"}])
def test_the_loss_of_a_block_is_the_cross_entropy_of_its_heads_scores_fused_or_not(options):
    found = []
    for fused in (False, True):
        rule, h = make(fused=fused, label_smoothing=0.2, **options), X
        found.append([loss.value for loss in rule.losses(X, Y)])
    for index, head in enumerate(rule.heads.values()):
        with torch.no_grad():
            h = rule.network.blocks[index](h)
            logs = head(h).log_softmax(1)
            expected = -0.8 * logs[torch.arange(12), Y].mean() - 0.2 * logs.mean()
        for losses in found:
            torch.testing.assert_close(losses[index].detach(), expected, rtol=1e-4, atol=1e-5)


# --- what they cost ---------------------------------------------------------------------------------------------------


def test_costs_are_products_of_sizes():
    """Two FLOPs a multiply-add, one sample; parameters with those of the normalizations."""
    rule = make(network="mlp", head="mlp", head_width=100, depth=2)
    cost = head_cost(rule.network, 1, rule.heads["block1"])
    assert (cost.block_flops, cost.block_parameters) == (2 * 64 * 64, 64 * 64 + 2 * 64)
    assert (cost.head_flops, cost.head_parameters) == (2 * 100 * (64 + K), 100 * (64 + K) + 2 * 100 + K)
    built = create_network("cnn4", in_channels=3, image_size=8, width=0.25, seed=0)
    cost = head_cost(built, 0, nn.Conv2d(8, 2, 1, bias=False))
    assert (cost.block_flops, cost.block_parameters) == (2 * 9 * 3 * 8 * 8 * 8, 9 * 3 * 8 + 2 * 8)
    assert (cost.head_flops, cost.head_parameters) == (2 * 8 * 2 * 4 * 4, 16)


def test_a_head_costs_more_by_flops_or_by_parameters():
    found = [HeadCost(*sizes).exceeds for sizes in [(3, 2, 1, 9), (2, 3, 9, 1), (3, 3, 9, 9), (4, 3, 9, 8)]]
    assert found == [True, True, False, True]


def test_counting_leaves_the_network_and_the_head_as_they_were():
    rule = make().train()
    rule.network.blocks[1][1].eval()
    modes = [part.training for part in rule.modules()]
    before = {name: value.clone() for name, value in rule.state_dict().items()}
    head_cost(rule.network, 1, rule.heads["block1"])
    assert all(torch.equal(value, before[name]) for name, value in rule.state_dict().items())
    assert [part.training for part in rule.modules()] == modes


def test_heads_that_cost_more_than_their_block_are_told_once_with_both_numbers():
    rule = make(network="mlp", head="mlp", head_width=100, depth=3)
    with pytest.warns(UserWarning, match="cost more") as told:
        for _ in range(2):
            list(rule.losses(torch.randn(12, 5), Y))
    [message] = [str(each.message) for each in told]
    assert message.startswith(
        "the heads of 3 of 3 blocks cost more than the block they read (head against block): block0 "
    )
    assert "block1 0.0134 against 0.00819 MFLOPs a sample, 6,903 against 4,224 parameters" in message


def test_a_head_that_costs_less_is_not_told():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(make(network="mlp", head="mlp", head_width=4, depth=3).losses(torch.randn(12, 5), Y))


@pytest.mark.parametrize(("twin", "counted"), [("bp", "1 of 1"), ("segmented", "2 of 2"), ("bp-deepsup", "4 of 4")])
def test_heads_that_a_twin_has_dropped_are_not_told(twin, counted):
    rule = make(twin, network="mlp", head="mlp", head_width=100, depth=4)
    with pytest.warns(UserWarning, match=f"the heads of {counted} blocks"):
        list(rule.losses(torch.randn(12, 5), Y))


def test_of_many_blocks_three_are_told():
    rule = make(network="mlp", head="mlp", head_width=100, depth=6)
    with pytest.warns(UserWarning, match=r"6 of 6 .*block2 [^;]*; and 3 more$"):
        list(rule.losses(torch.randn(12, 5), Y))


# --- options of the rule ----------------------------------------------------------------------------------------------


@COSTLY
@pytest.mark.parametrize("name", ["local-heads", "bp", "bp-deepsup", "segmented", "lookahead"])
def test_the_rule_and_its_twins_take_the_heads_options(name):
    rule = make(name, depth=4, head="conv", head_width=5)
    assert len(rule.heads)
    for head in rule.heads.values():
        [conv] = [weight for weight in head.parameters() if weight.dim() == 4]
        assert isinstance(head, ConvReadout) and len(conv) == 5


def test_a_convolutional_head_on_vectors_is_refused_in_a_sentence():
    words = r"head='conv' reads maps \(B, C, H, W\) and a block gives \(B, 64\); use head='mlp'"
    with pytest.raises(InputError, match=words):
        make(network="mlp", head="conv")
