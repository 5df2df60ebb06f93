"""`committee` and `panel`: nets computed at once are nets of their own, and every member of a block has a loss of its own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from layerlocal.rules.committee import small_nets
from layerlocal.rules.core.members import CommitteeHead, committee_loss
from layerlocal.rules.core.readout import SpatialReadout
from layerlocal.rules.panel import pyramid_nets
from rules_by_hand import K, X, Y, cells, make, normalized

pytestmark = pytest.mark.filterwarnings("ignore:the heads of .* cost more:UserWarning")
READS = {"statistic": "rms", "grid": 2, "factors": None, "fused": False}
SMALL = {"nets": 3, "width": 4, "layers": 2, "side": 4, **READS}
PYRAMID = {"nets": 2, "side": 8, "budget": 16, "widest": 99, **READS}


def small_of(shape, **sizes):
    torch.manual_seed(0)
    return small_nets(shape, K, **SMALL | sizes)


def pyramid_of(shape, **sizes):
    torch.manual_seed(0)
    return pyramid_nets(shape, K, **PYRAMID | sizes)


def one_by_hand(nets, m, activity, sides, *, step, statistic, grid):
    """Net m by itself in torch's functions, with its share of the weights; ``sides`` of the maps that its later convolutions see."""
    maps = activity if activity.dim() == 4 else activity[:, :, None, None]
    assert len(nets.layers) == len(sides) + 1
    for index, (layer, side) in enumerate(zip(nets.layers, [None, *sides], strict=True)):
        if side is not None and side != maps.shape[2]:
            maps = F.max_pool2d(maps, 2, ceil_mode=True)
        assert side in (None, maps.shape[2])
        weight = layer[0].weight.chunk(nets.nets)[m]
        how = {"stride": step} if index == 0 and weight.shape[-1] == step else {"padding": weight.shape[-1] // 2}
        maps = normalized(F.conv2d(maps, weight, **how), (0, 2, 3)).relu()
    values = normalized(cells(maps, [min(grid, size) for size in maps.shape[2:]], statistic), (0,))
    weight, bias = (part.chunk(nets.nets)[m] for part in (nets.linear.weight, nets.linear.bias))
    return values @ weight[..., 0].T + bias


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    ("make_nets", "shape", "sizes", "step", "sides"),
    [
        (small_of, (5, 8, 8), {}, 2, [4, 2]),
        (small_of, (5, 8, 8), {"side": 16}, 1, [4]),
        (small_of, (5, 7, 7), {"side": 16, "layers": 3}, 1, [4, 2]),  # 7 → 4 → 2
        (small_of, (5, 8, 8), {"layers": 1, "statistic": "mean", "grid": 3}, 2, [4]),
        (small_of, (5, 9, 7), {}, 3, [3, 3]),  # to 3 × 2 positions: halving them would leave less than the grid
        (small_of, (5, 2, 2), {}, 1, [2]),
        (small_of, (5, 1, 1), {}, 1, [1]),
        (small_of, (6,), {}, 1, [1]),
        (pyramid_of, (5, 16, 16), {}, 2, [8, 4]),  # two positions a side in each of 2×2 cells
        (pyramid_of, (5, 16, 16), {"nets": 3, "grid": 1}, 2, [8, 4, 2]),
        (pyramid_of, (5, 16, 16), {"nets": 1, "side": 16, "grid": 3}, 1, [16, 8]),  # 8 positions: not 12
        (pyramid_of, (5, 7, 7), {"statistic": "mean", "grid": 1}, 1, [7, 4, 2]),
        (pyramid_of, (5, 9, 7), {"side": 3}, 3, [3]),
        (pyramid_of, (5, 2, 2), {}, 1, [2]),
        (pyramid_of, (5, 1, 1), {}, 1, [1]),
        (pyramid_of, (6,), {}, 1, [1]),
    ],
)
def test_nets_computed_at_once_are_nets_of_their_own(make_nets, shape, sizes, step, sides, fused):
    """Positive activities, as blocks give; in training, where normalization is over the batch."""
    nets = make_nets(shape, fused=fused, **sizes)
    activity = torch.rand(16, *shape, generator=torch.Generator().manual_seed(1))
    how = {"step": step, **{key: (READS | sizes)[key] for key in ("statistic", "grid")}}
    expected = [one_by_hand(nets, m, activity, sides, **how) for m in range(nets.nets)]
    found = nets(activity)
    torch.testing.assert_close(found, torch.stack(expected, 1), rtol=2e-3, atol=2e-3)
    assert nets.nets == 1 or (found[:, 0] - found[:, 1]).abs().max() > 0.05, "nets start unlike"


@pytest.mark.parametrize("make_nets", [small_of, pyramid_of])
def test_a_net_learns_from_its_own_loss_alone(make_nets):
    nets, activity = make_nets((5, 16, 16), nets=3), torch.rand(16, 5, 16, 16)
    for m in range(3):
        nets.zero_grad()
        F.cross_entropy(nets(activity)[:, m], torch.arange(16) % K).backward()
        for parameter in nets.parameters():
            reached = [part.abs().max().item() > 0 for part in parameter.grad.chunk(3)]
            assert [each for each, other in zip(reached, range(3), strict=True) if other != m] == [False, False]
        assert all(layer[0].weight.grad.chunk(3)[m].any() for layer in nets.layers)


@pytest.mark.parametrize(
    ("name", "sizes"), [("committee", {"head_width": 2}), ("panel", {"head_side": 8, "budget": 8})]
)
def test_the_rule_learns_by_the_members_losses_and_not_by_that_of_their_mean(name, sizes):
    rule = make(name, nets=2, label_smoothing=0.1, **sizes)
    h = X
    for index, loss in enumerate(rule.losses(X, Y)):
        with torch.no_grad():
            h = rule.network.blocks[index](h)
            scores = rule.heads[f"block{index}"].member_scores(h)
        assert scores.shape == (len(X), 3, K)
        own = [F.cross_entropy(scores[:, m], Y, label_smoothing=0.1) for m in range(3)]
        assert loss.value.item() == pytest.approx(sum(own).item() / 3, rel=1e-4)
        assert loss.value.item() > F.cross_entropy(scores.log_softmax(-1).mean(1), Y, label_smoothing=0.1).item() + 1e-4


# --- widths and sizes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "width", "channels"),
    [
        ((5, 8, 8), 4, [4, 4, 4]),
        ((3, 8, 8), 4, [3, 3, 3]),
        ((5, 4, 4), 4, [4, 4]),
        ((6,), 4, [4, 4]),
        ((6,), 9, [6, 6]),
    ],
    ids=str,
)
def test_a_net_is_as_wide_as_what_it_reads_but_no_wider_than_told(shape, width, channels):
    assert [len(block[0].weight) for block in small_of(shape, nets=1, width=width).layers] == channels


@pytest.mark.parametrize(("shape", "channels"), [((3, 8, 8), [7, 7, 7]), ((9, 4, 4), [7, 7]), ((6,), [7, 7])], ids=str)
def test_a_wide_net_has_the_width_that_was_told_whatever_it_reads(shape, channels):
    assert [len(block[0].weight) for block in small_of(shape, nets=1, width=7, wide=True).layers] == channels


def test_the_rule_passes_on_whether_its_nets_are_wide():
    channels = make("committee").network.activity_shapes[0][0]
    for wide, width in ((False, channels), (True, channels + 1)):
        head = make("committee", nets=2, head_width=channels + 1, wide=wide).heads["block0"]
        assert len(head.nets.layers[0][0].weight) == 2 * width


def test_vectors_are_read_by_one_by_one_convolutions_which_are_linear_maps():
    head = small_of((6,), nets=1)
    assert [tuple(block[0].weight.shape) for block in head.layers] == [(4, 6, 1, 1), (4, 4, 1, 1)]


@pytest.mark.parametrize(
    ("image", "side", "positions"), [(32, 16, 16), (28, 16, 14), (14, 16, 14), (64, 16, 16), (33, 16, 11), (8, 16, 8)]
)
def test_a_head_begins_at_no_more_positions_than_it_is_told(image, side, positions):
    head = small_of((2, image, image), side=side, layers=1)
    assert head.layers[0](torch.rand(2, 2, image, image)).shape[2:] == (positions, positions)


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
    assert [len(layer[0].weight) for layer in pyramid_of(shape, **sizes).layers] == channels


# --- heads and losses -------------------------------------------------------------------------------------------------


def test_a_head_is_its_members_the_linear_one_last_and_answers_their_mean_log_probability():
    activity = torch.rand(16, 5, 8, 8, generator=torch.Generator().manual_seed(1))
    nets, linear = small_of((5, 8, 8)), SpatialReadout((5, 8, 8), K)
    every = [*nets(activity).unbind(1), linear(activity)]
    for kept in ([0, 1, 2, 3], [0, 1, 2], [3]):
        head = CommitteeHead(nets if 0 in kept else None, linear if 3 in kept else None)
        scores = [every[index] for index in kept]
        torch.testing.assert_close(head.member_scores(activity), torch.stack(scores, 1))
        expected = sum(torch.log(score.softmax(1)) for score in scores) / len(kept)
        torch.testing.assert_close(head(activity), expected)
        assert head.rms_cells == (2 if 3 in kept else 0)


def test_the_linear_member_starts_and_learns_as_the_head_of_local_heads():
    found = make("committee", nets=0).heads["block1"].linear.state_dict()
    expected = make("local-heads").heads["block1"].state_dict()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    beside = make("committee").heads["block1"].linear.state_dict()
    assert all(torch.equal(beside[key], value) for key, value in expected.items())


def test_without_the_linear_readout_there_are_the_nets_alone():
    rule = make("panel", nets=1, head_side=4, budget=8, linear=False)
    assert rule.heads["block0"].linear is None and rule.block_scores(X).shape == (rule.network.depth, len(X), K)


def test_the_loss_is_the_mean_of_the_members_own_cross_entropies():
    scores = torch.randn(5, 2, K, generator=torch.Generator().manual_seed(2)) * 3
    y = torch.tensor([0, 1, 2, 2, 1])
    own = [-(scores[:, m].log_softmax(1)[torch.arange(5), y]).mean() for m in range(2)]
    torch.testing.assert_close(committee_loss(scores, y), (own[0] + own[1]) / 2)
    uniform = [-scores[:, m].log_softmax(1).mean() for m in range(2)]
    smooth = sum(0.8 * a + 0.2 * b for a, b in zip(own, uniform, strict=True)) / 2
    torch.testing.assert_close(committee_loss(scores, y, 0.2), smooth)


def test_heads_that_cost_more_than_their_block_are_told():
    with pytest.warns(UserWarning, match=r"^the heads of 4 of 4 blocks"):
        list(make("committee").losses(X, Y))
