"""committee: nets computed at once are nets of their own, every member has its own loss, and a block's score is their mean log-probability."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from layerlocal.rules.committee import small_nets
from layerlocal.rules.core.members import CommitteeHead, committee_loss
from layerlocal.rules.core.readout import SpatialReadout
from rules_by_hand import K, X, Y, cells, make, normalized

pytestmark = pytest.mark.filterwarnings("ignore:the heads of .* cost more:UserWarning")
SIZES = {"nets": 3, "width": 4, "layers": 2, "side": 4, "statistic": "rms", "grid": 2, "factors": None, "fused": False}  # fmt: skip


def head_of(shape, **sizes):
    torch.manual_seed(0)
    return small_nets(shape, K, **SIZES | sizes)


def one_by_hand(head, m, activity, *, step, pools, grid=(2, 2), statistic="rms"):
    """Net m by itself in torch's functions, with its share of the head's weights."""
    maps = activity if activity.dim() == 4 else activity[:, :, None, None]
    for index, pool in enumerate(pools):
        every = head.layers[index][0].weight
        weight = every.chunk(head.nets)[m]
        how = {"stride": step} if index == 0 and step > 1 else {"padding": every.shape[-1] // 2}
        maps = normalized(F.conv2d(maps, weight, **how), (0, 2, 3)).relu()
        maps = F.max_pool2d(maps, 2, ceil_mode=True) if pool else maps
    values = normalized(cells(maps, grid, statistic), (0,))
    weight, bias = head.linear.weight.chunk(head.nets)[m], head.linear.bias.chunk(head.nets)[m]
    return values @ weight[..., 0].T + bias


@pytest.mark.parametrize(
    ("shape", "sizes", "step", "pools", "grid"),
    [
        ((5, 8, 8), {}, 2, [0, 1, 0], (2, 2)),
        ((5, 8, 8), {"side": 16}, 1, [1, 0], (2, 2)),
        ((5, 7, 7), {"side": 16, "layers": 3}, 1, [1, 1, 0], (2, 2)),  # 7 → 4 → 2
        ((5, 8, 8), {"layers": 1, "statistic": "mean", "grid": 3}, 2, [0, 0], (3, 3)),
        ((5, 9, 7), {}, 3, [0, 0, 0], (2, 2)),  # to 3 × 2 positions: halving them would leave less than the grid
        ((5, 2, 2), {}, 1, [0, 0], (2, 2)),
        ((5, 1, 1), {}, 1, [0, 0], (1, 1)),
        ((6,), {}, 1, [0, 0], (1, 1)),
        ((5, 8, 8), {"fused": True}, 2, [0, 1, 0], (2, 2)),
    ],
    ids=str,
)
def test_nets_computed_at_once_are_nets_of_their_own(shape, sizes, step, pools, grid):
    """Positive activities, as blocks give; in training, where normalization is over the batch."""
    head, activity = head_of(shape, **sizes), torch.rand(16, *shape, generator=torch.Generator().manual_seed(1))
    statistic = sizes.get("statistic", "rms")
    expected = [
        one_by_hand(head, m, activity, step=step, pools=pools, grid=grid, statistic=statistic) for m in range(3)
    ]
    found = head(activity)
    torch.testing.assert_close(found, torch.stack(expected, 1), rtol=2e-3, atol=2e-3)
    assert (found[:, 0] - found[:, 1]).abs().max() > 0.1, "nets start unlike"


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
    assert [len(block[0].weight) for block in head_of(shape, nets=1, width=width).layers] == channels


@pytest.mark.parametrize(("shape", "channels"), [((3, 8, 8), [7, 7, 7]), ((9, 4, 4), [7, 7]), ((6,), [7, 7])], ids=str)
def test_a_wide_net_has_the_width_that_was_told_whatever_it_reads(shape, channels):
    assert [len(block[0].weight) for block in head_of(shape, nets=1, width=7, wide=True).layers] == channels


def test_the_rule_passes_on_whether_its_nets_are_wide():
    channels = make("committee").network.activity_shapes[0][0]
    for wide, width in ((False, channels), (True, channels + 1)):
        head = make("committee", nets=2, head_width=channels + 1, wide=wide).heads["block0"]
        assert len(head.nets.layers[0][0].weight) == 2 * width


def test_a_head_is_its_members_the_linear_one_last_and_answers_their_mean_log_probability():
    activity = torch.rand(16, 5, 8, 8, generator=torch.Generator().manual_seed(1))
    nets, linear = head_of((5, 8, 8)), SpatialReadout((5, 8, 8), K)
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


def test_vectors_are_read_by_one_by_one_convolutions_which_are_linear_maps():
    head = head_of((6,), nets=1)
    assert [tuple(block[0].weight.shape) for block in head.layers] == [(4, 6, 1, 1), (4, 4, 1, 1)]


def test_the_loss_is_the_mean_of_the_members_own_cross_entropies():
    scores = torch.randn(5, 2, K, generator=torch.Generator().manual_seed(2)) * 3
    y = torch.tensor([0, 1, 2, 2, 1])
    own = [-(scores[:, m].log_softmax(1)[torch.arange(5), y]).mean() for m in range(2)]
    torch.testing.assert_close(committee_loss(scores, y), (own[0] + own[1]) / 2)
    uniform = [-scores[:, m].log_softmax(1).mean() for m in range(2)]
    smooth = sum(0.8 * a + 0.2 * b for a, b in zip(own, uniform, strict=True)) / 2
    torch.testing.assert_close(committee_loss(scores, y, 0.2), smooth)


def test_the_rule_learns_by_the_members_losses_and_not_by_that_of_their_mean():
    rule = make("committee", head_width=2, label_smoothing=0.1)
    h = X
    for index, loss in enumerate(rule.losses(X, Y)):
        with torch.no_grad():
            h = rule.network.blocks[index](h)
            scores = rule.heads[f"block{index}"].member_scores(h)
        own = [F.cross_entropy(scores[:, m], Y, label_smoothing=0.1) for m in range(3)]
        assert loss.value.item() == pytest.approx(sum(own).item() / 3, rel=1e-4)
        assert loss.value.item() > F.cross_entropy(scores.log_softmax(-1).mean(1), Y, label_smoothing=0.1).item() + 1e-4


def test_a_net_learns_from_its_own_loss_alone():
    head, activity = head_of((5, 8, 8)), torch.rand(16, 5, 8, 8)
    scores = head(activity)
    F.cross_entropy(scores[:, 1], torch.arange(16) % K).backward()
    for parameter in head.parameters():
        by_member = [part.abs().max().item() for part in parameter.grad.chunk(3)]
        assert by_member[0] == by_member[2] == 0


@pytest.mark.parametrize(
    ("image", "side", "positions"), [(32, 16, 16), (28, 16, 14), (14, 16, 14), (64, 16, 16), (33, 16, 11), (8, 16, 8)]
)
def test_a_head_begins_at_no_more_positions_than_it_is_told(image, side, positions):
    head = head_of((2, image, image), side=side, layers=1)
    assert head.layers[0](torch.rand(2, 2, image, image)).shape[2:] == (positions, positions)


def test_heads_that_cost_more_than_their_block_are_told():
    with pytest.warns(UserWarning, match=r"^the heads of 4 of 4 blocks cost more than the block they read"):
        list(make("committee").losses(X, Y))
