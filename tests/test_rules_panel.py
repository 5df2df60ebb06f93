"""panel: nets computed at once are nets of their own, each as deep and as wide as it is told, and each with a loss of its own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from layerlocal.rules.panel import PyramidNets, parse_nets
from layerlocal.types import InputError
from rules_by_hand import K, X, Y, cells, make, normalized

pytestmark = pytest.mark.filterwarnings("ignore:the heads of .* cost more:UserWarning")
SIZES = {"side": 8, "budget": 16, "statistic": "rms", "grid": 2, "factors": None, "fused": False}


def nets_of(shape, depths, **sizes):
    torch.manual_seed(0)
    return PyramidNets(shape, K, depths=depths, **SIZES | sizes)


def one_by_hand(nets, depths, m, activity, *, step, pools, statistic):
    """Net m by itself in torch's functions, with its share of the weights; ``pools`` after which layer, the first to fewer positions aside."""
    maps = activity if activity.dim() == 4 else activity[:, :, None, None]
    for layer in range(depths[m] + 1):
        alive = sum(depth >= layer for depth in depths)
        weight = nets.layers[layer][0].weight.chunk(alive)[m]
        how = {"padding": weight.shape[-1] // 2} if layer else {"stride": step}
        maps = normalized(F.conv2d(maps, weight, **how), (0, 2, 3)).relu()
        if layer < depths[m] and pools[layer]:
            maps = F.max_pool2d(maps, 2, ceil_mode=True)
    together = [other for other, depth in enumerate(depths) if depth == depths[m]]
    read, place = nets.reads[str(depths[m])], together.index(m)
    weight, bias = (part.chunk(len(together))[place] for part in (read.linear.weight, read.linear.bias))
    grid = [min(2, size) for size in maps.shape[2:]]
    return normalized(cells(maps, grid, statistic), (0,)) @ weight[..., 0].T + bias


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    ("shape", "depths", "sizes", "step", "pools"),
    [
        ((5, 16, 16), [3, 3, 2], {}, 2, [0, 1, 1]),  # 8 → 4 → 2 positions
        ((5, 16, 16), [2, 1, 1], {}, 2, [0, 1]),
        ((5, 8, 8), [4, 2], {}, 1, [0, 1, 1, 0]),
        ((5, 7, 7), [2], {"statistic": "mean"}, 1, [0, 1]),  # 7 → 4
        ((5, 9, 7), [2, 1], {"side": 3}, 3, [0, 0]),  # 3 × 2 positions: halving them would leave less than the grid
        ((5, 2, 2), [3, 1], {}, 1, [0, 0, 0]),
        ((5, 1, 1), [1], {}, 1, [0]),
        ((6,), [2, 1], {}, 1, [0, 0]),
    ],
    ids=str,
)
def test_nets_computed_at_once_are_nets_of_their_own(shape, depths, sizes, step, pools, fused):
    """Positive activities, as blocks give; in training, where normalization is over the batch."""
    nets = nets_of(shape, depths, fused=fused, **sizes)
    activity = torch.rand(16, *shape, generator=torch.Generator().manual_seed(1))
    expected = [
        one_by_hand(nets, depths, m, activity, step=step, pools=pools, statistic=sizes.get("statistic", "rms"))
        for m in range(len(depths))
    ]
    torch.testing.assert_close(nets(activity), torch.stack(expected, 1), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("depths", [[3, 3, 2], [2, 1, 1]])
def test_a_net_learns_from_its_own_loss_alone(depths):
    nets, activity = nets_of((5, 16, 16), depths), torch.rand(16, 5, 16, 16)
    for m in range(3):
        nets.zero_grad()
        F.cross_entropy(nets(activity)[:, m], torch.arange(16) % K).backward()
        reached = [part.abs().max().item() > 0 for part in nets.layers[1][0].weight.grad.chunk(3)]
        assert reached == [other == m for other in range(3)]


@pytest.mark.parametrize(
    ("shape", "side", "budget", "channels"),
    [
        ((5, 32, 32), 16, 256, [16, 16, 32, 64]),  # 16, 16, 8, 4 positions
        ((5, 16, 16), 8, 256, [32, 32, 64, 128]),
        ((5, 2, 2), 16, 256, [128, 128, 128, 128]),
        ((5, 33, 33), 16, 66, [6, 6, 11, 22]),  # 11, 11, 6, 3 positions
        ((6,), 16, 24, [24, 24, 24, 24]),
    ],
    ids=str,
)
def test_channels_times_positions_a_side_are_the_budget(shape, side, budget, channels):
    assert [len(layer[0].weight) for layer in nets_of(shape, [3], side=side, budget=budget).layers] == channels


def test_nets_are_told_in_words_the_finest_and_the_deepest_first():
    assert parse_nets("1@8+3@16+2@8+3@16") == {16: [3, 3], 8: [2, 1]}


@pytest.mark.parametrize("text", ["", "2", "2@", "@8", "0@8", "2@0", "2@8+", "2@8 1@8", "-1@8", "1.5@8", "2@8@4"])
def test_nets_that_are_none_are_refused(text):
    with pytest.raises(InputError, match=r"nets are LAYERS@POSITIONS joined by '\+', such as '2@16\+1@8'"):
        parse_nets(text)


def test_the_rule_learns_by_the_losses_of_all_its_members():
    rule = make("panel", nets="2@8+1@4+1@4", budget=8, label_smoothing=0.1)
    h = X
    for index, loss in enumerate(rule.losses(X, Y)):
        with torch.no_grad():
            h = rule.network.blocks[index](h)
            scores = rule.heads[f"block{index}"].member_scores(h)
        assert scores.shape == (len(X), 4, K)
        own = [F.cross_entropy(scores[:, m], Y, label_smoothing=0.1) for m in range(4)]
        assert loss.value.item() == pytest.approx(sum(own).item() / 4, rel=1e-4)


def test_without_the_linear_readout_there_are_the_nets_alone():
    rule = make("panel", nets="1@4", budget=8, linear=False)
    assert rule.heads["block0"].linear is None and rule.block_scores(X).shape == (rule.network.depth, len(X), K)
