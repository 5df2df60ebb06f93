"""panel: nets computed at once are nets of their own, as deep and as wide as their resolution allows, and each with a loss of its own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from layerlocal.rules.panel import pyramid_nets
from rules_by_hand import K, X, Y, cells, make, normalized

pytestmark = pytest.mark.filterwarnings("ignore:the heads of .* cost more:UserWarning")
SIZES = {
    "nets": 2,
    "side": 8,
    "budget": 16,
    "widest": 99,
    "statistic": "rms",
    "grid": 2,
    "factors": None,
    "fused": False,
}


def nets_of(shape, **sizes):
    torch.manual_seed(0)
    return pyramid_nets(shape, K, **SIZES | sizes)


def one_by_hand(nets, m, activity, *, step, sides, statistic, grid):
    """Net m by itself in torch's functions, with its share of the weights; ``sides`` that its convolutions 3×3 see."""
    maps = activity if activity.dim() == 4 else activity[:, :, None, None]
    assert len(nets.layers) == len(sides) + 1
    for layer, side in zip(nets.layers, [None, *sides], strict=True):
        if side is not None and side != maps.shape[2]:
            maps = F.max_pool2d(maps, 2, ceil_mode=True)
        assert side in (None, maps.shape[2])
        weight = layer[0].weight.chunk(nets.nets)[m]
        how = {"padding": weight.shape[-1] // 2} if side is not None else {"stride": step}
        maps = normalized(F.conv2d(maps, weight, **how), (0, 2, 3)).relu()
    weight, bias = (part.chunk(nets.nets)[m] for part in (nets.linear.weight, nets.linear.bias))
    return (
        normalized(cells(maps, [min(grid, size) for size in maps.shape[2:]], statistic), (0,)) @ weight[..., 0].T + bias
    )


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    ("shape", "sizes", "step", "sides"),
    [
        ((5, 16, 16), {}, 2, [8, 4]),  # two positions a side in each of 2×2 cells
        ((5, 16, 16), {"nets": 3, "grid": 1}, 2, [8, 4, 2]),
        ((5, 16, 16), {"nets": 1, "side": 16, "grid": 3}, 1, [16, 8]),  # 8 positions: not 12
        ((5, 7, 7), {"statistic": "mean", "grid": 1}, 1, [7, 4, 2]),
        ((5, 9, 7), {"side": 3}, 3, [3]),
        ((5, 2, 2), {}, 1, [2]),
        ((5, 1, 1), {}, 1, [1]),
        ((6,), {}, 1, [1]),
    ],
    ids=str,
)
def test_nets_computed_at_once_are_nets_of_their_own(shape, sizes, step, sides, fused):
    """Positive activities, as blocks give; in training, where normalization is over the batch."""
    nets = nets_of(shape, fused=fused, **sizes)
    activity = torch.rand(16, *shape, generator=torch.Generator().manual_seed(1))
    how = {"step": step, "sides": sides, **{key: (SIZES | sizes)[key] for key in ("statistic", "grid")}}
    expected = [one_by_hand(nets, m, activity, **how) for m in range(nets.nets)]
    torch.testing.assert_close(nets(activity), torch.stack(expected, 1), rtol=2e-3, atol=2e-3)


def test_a_net_learns_from_its_own_loss_alone():
    nets, activity = nets_of((5, 16, 16), nets=3), torch.rand(16, 5, 16, 16)
    for m in range(3):
        nets.zero_grad()
        F.cross_entropy(nets(activity)[:, m], torch.arange(16) % K).backward()
        for layer in nets.layers:
            reached = [part.abs().max().item() > 0 for part in layer[0].weight.grad.chunk(3)]
            assert reached == [other == m for other in range(3)]


@pytest.mark.parametrize(
    ("shape", "sizes", "channels"),
    [
        ((5, 32, 32), {"side": 16, "budget": 256}, [32, 32, 64, 128]),  # of two nets, at 16, 16, 8, 4 positions
        ((5, 32, 32), {"side": 16, "budget": 256, "widest": 40}, [32, 32, 64, 80]),
        ((5, 16, 16), {"nets": 1, "budget": 256}, [32, 32, 64]),
        ((5, 2, 2), {"budget": 256, "widest": 50}, [100, 100]),
        ((5, 33, 33), {"nets": 1, "side": 16, "budget": 66}, [6, 6, 11]),  # 11, 11, 6 positions
        ((6,), {"budget": 24}, [48, 48]),
    ],
    ids=str,
)  # fmt: skip
def test_channels_times_positions_a_side_are_the_budget(shape, sizes, channels):
    assert [len(layer[0].weight) for layer in nets_of(shape, **sizes).layers] == channels


def test_the_rule_learns_by_the_losses_of_all_its_members():
    rule = make("panel", nets=3, head_side=8, budget=8, label_smoothing=0.1)
    h = X
    for index, loss in enumerate(rule.losses(X, Y)):
        with torch.no_grad():
            h = rule.network.blocks[index](h)
            scores = rule.heads[f"block{index}"].member_scores(h)
        assert scores.shape == (len(X), 4, K)
        own = [F.cross_entropy(scores[:, m], Y, label_smoothing=0.1) for m in range(4)]
        assert loss.value.item() == pytest.approx(sum(own).item() / 4, rel=1e-4)


def test_without_the_linear_readout_there_are_the_nets_alone():
    rule = make("panel", nets=1, head_side=4, budget=8, linear=False)
    assert rule.heads["block0"].linear is None and rule.block_scores(X).shape == (rule.network.depth, len(X), K)
