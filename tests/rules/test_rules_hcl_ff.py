"""HCL-FF: goodness of a level's classes beside a supervised contrast of the normalized activity, restated in plain PyTorch."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from layerlocal.networks import Network, create_network
from layerlocal.rules import create_rule
from layerlocal.rules.core.functional import supervised_contrast
from layerlocal.rules.hcl_ff import block_levels, class_levels, class_tree, pool_side
from layerlocal.types import InputError
from rules_by_hand import K, X, Y, assert_same, make, network, normalized, run, run_by_hand

# --- both losses ------------------------------------------------------------------------------------------------------


def contrast_by_hand(embedded, y, temperature):
    """Sample by sample: the mean over the others of its class of −log of their softmax among all others."""
    total = 0.0
    for i in range(len(y)):
        others = [j for j in range(len(y)) if j != i]
        exponentials = {j: torch.exp(embedded[i] @ embedded[j] / temperature) for j in others}
        own = [-torch.log(exponentials[j] / sum(exponentials.values())) for j in others if y[j] == y[i]]
        total = total + (sum(own) / len(own) if own else 0.0)
    return total / len(y)


def without_goodness(activity):
    """Each class's channels of each sample at mean 0 and variance 1 over channels and positions."""
    return normalized(activity.reshape(len(activity), K, -1), 2).reshape(activity.shape)


def embedded_by_hand(activity, weight, side):
    """Pooled channel by channel, mapped, standardized over the batch, at unit length; ``weight`` has its columns cell by cell."""
    kept = without_goodness(activity)
    if kept.dim() == 4:
        kept = F.adaptive_avg_pool2d(kept, side).flatten(1)
        weight = weight.unflatten(1, (side, side, -1)).permute(0, 3, 1, 2).flatten(1)
    mapped = normalized(kept @ weight.T, 0)
    return mapped / mapped.norm(dim=1, keepdim=True)


GROUPS = {None: [[[0], [1], [2]]] * 4, "(0,(1,2))": [[[0], [1, 2]], [[0], [1, 2]], [[0], [1], [2]], [[0], [1], [2]]]}
"""Classes of each group at each of four blocks: of two levels the first two have the coarse one."""


@pytest.mark.parametrize("hierarchy", GROUPS)
@pytest.mark.parametrize(
    ("of", "more"),
    [
        ("cnn4", {}),
        ("cnn4", {"norm": False}),  # as the released code: no batch normalization before the ReLU
        ("mlp", {"depth": 4}),
    ],
)
@pytest.mark.parametrize(("temperature", "contrast", "tau", "smoothing"), [(1.0, 1.0, 0.2, 0.0), (0.1, 0.5, 0.8, 0.1)])
def test_each_block_learns_by_goodness_of_its_groups_and_by_the_contrast_of_what_it_hands_on(
    of, more, hierarchy, temperature, contrast, tau, smoothing
):
    rule = create_rule(
        "hcl-ff", network(of, **more), num_classes=K, seed=0, temperature=temperature, contrast=contrast,
        contrast_temperature=tau, hierarchy=hierarchy, label_smoothing=smoothing,
    )  # fmt: skip
    weights = [rule.heads[name].embed[0].weight.detach().clone().requires_grad_() for name in rule.network.block_names]

    def loss_of(index, activity):
        goodness = activity.reshape(12, K, -1).mean(2) / temperature
        groups = GROUPS[hierarchy][index]
        scores = torch.stack([goodness[:, members].mean(1) for members in groups], dim=1)
        target = torch.tensor([next(g for g, members in enumerate(groups) if label in members) for label in Y.tolist()])
        embedded = embedded_by_hand(activity, weights[index], min(4, activity.shape[-1]))
        return F.cross_entropy(scores, target, label_smoothing=smoothing) + contrast * contrast_by_hand(
            embedded, Y, tau
        )

    losses, gradients = run_by_hand(network(of, **more), loss_of, without_goodness)
    found, found_gradients = run(rule)
    assert_same(found, losses)
    maps = {f"heads.block{i}.embed.0.weight": weight.grad for i, weight in enumerate(weights)}
    assert found_gradients.keys() > gradients.keys() | maps.keys()
    assert_same({name: found_gradients[name] for name in gradients | maps}, gradients | maps)


def test_without_a_contrast_and_a_hierarchy_it_is_deeperforward_to_the_last_bit():
    plain = make("hcl-ff", contrast=0.0)
    assert not list(plain.heads.parameters()) and not plain.compares_samples
    (losses, gradients), (expected, expected_gradients) = run(plain), run(make("deeperforward"))
    assert losses == expected and gradients.keys() == expected_gradients.keys()
    assert all(torch.equal(gradients[name], value) for name, value in expected_gradients.items())


def test_the_defaults_are_the_contrast_of_the_released_code_and_no_hierarchy():
    rule = make("hcl-ff")
    assert (rule.contrast, rule.contrast_temperature, rule.fusion, rule.normalize.groups) == (1.0, 0.2, "span", K)
    assert [pool_side(channels) for channels in (100, 101, 400, 401)] == [4, 2, 2, 1]
    assert all(head.embed[0].out_features == 128 and head.embed[0].bias is None for head in rule.heads.values())


def test_what_is_contrasted_does_not_predict_and_is_not_exported():
    rule = make("hcl-ff", hierarchy="(0,(1,2))").eval()
    with torch.no_grad():
        before = rule.scores(X)
        for head in rule.heads.values():
            head.embed[0].weight.zero_()
        assert torch.equal(rule.scores(X), before), "goodness of the classes at every block, whatever its level"
    own = {name for name, _ in rule.network.named_parameters()}
    assert len(list(rule.to_module().parameters())) == len(own)


# --- the contrast -----------------------------------------------------------------------------------------------------


def test_the_contrast_is_log_of_the_others_where_all_are_alike_and_log_of_the_class_where_classes_are_told_apart():
    y = torch.tensor([0, 0, 0, 1, 1, 1])
    alike = F.normalize(torch.ones(6, 4), dim=1)
    assert supervised_contrast(alike, y, 0.2).item() == pytest.approx(math.log(5), rel=1e-6)
    apart = F.one_hot(y, 4).float()
    assert supervised_contrast(apart, y, 0.01).item() == pytest.approx(math.log(2), rel=1e-5)
    assert supervised_contrast(apart, torch.tensor([0, 1, 0, 1, 0, 1]), 0.01).item() > 49


def test_a_sample_that_is_alone_of_its_class_adds_nothing_to_the_contrast_and_counts():
    y = torch.tensor([0, 0, 1])
    embedded = F.normalize(torch.randn(3, 5, generator=torch.Generator().manual_seed(0)), dim=1).requires_grad_()
    value = supervised_contrast(embedded, y, 0.5)
    torch.testing.assert_close(value, contrast_by_hand(embedded, y, 0.5))
    value.backward()
    assert embedded.grad.isfinite().all() and embedded.grad[2].abs().max() > 0, "the others are held apart from it"
    alone = supervised_contrast(embedded.detach(), torch.arange(3), 0.5)
    assert alone.item() == 0


# --- the hierarchy ----------------------------------------------------------------------------------------------------


def test_levels_are_the_nodes_at_a_depth_and_classes_whose_branch_has_ended():
    assert class_levels("(0,1,2)", 3) == [[0, 1, 2]]
    levels = class_levels(" ((3,0), (1,(4,(2,5)))) ", 6)
    partitions = [{frozenset(c for c in range(6) if level[c] == g) for g in level} for level in levels]
    expected = [["03", "1245"], ["0", "3", "1", "245"], ["0", "1", "3", "4", "25"], ["0", "1", "2", "3", "4", "5"]]
    assert partitions == [{frozenset(map(int, group)) for group in level} for level in expected]


@pytest.mark.parametrize("count", range(1, 18))
def test_blocks_are_dealt_to_levels_as_in_the_released_code_at_its_17_layers(count):
    assert block_levels(17, count, "linear") == [min(1 + (i * count) // 17, count) - 1 for i in range(17)]
    assert block_levels(17, count, "increasing") == [min(1 + i, count) - 1 for i in range(17)]


@pytest.mark.parametrize("how", ["linear", "increasing"])
def test_levels_never_fall_along_the_network_and_the_last_block_has_the_classes(how):
    for depth in range(1, 9):
        for count in range(1, 12):
            levels = block_levels(depth, count, how)
            assert len(levels) == depth and levels == sorted(levels) and levels[-1] == count - 1


def test_a_tree_of_prototypes_joins_those_that_point_the_same_way_whatever_their_length():
    """Two pairs and one apart, with lengths that would join others."""
    prototypes = torch.tensor([[9.0, 0.1, 0.0], [0.0, 1.0, 0.1], [1.0, 0.0, 0.0], [0.0, 7.0, 0.0], [0.0, 0.0, 1.0]])
    levels = class_levels(class_tree(prototypes), 5)
    pairs = {frozenset(c for c in range(5) if level[c] == level[each]) for level in levels for each in range(5)}
    assert {frozenset({0, 2}), frozenset({1, 3})} <= pairs and frozenset({0, 1}) not in pairs


def test_the_last_block_of_bps_twin_learns_the_classes():
    twin = create_rule("bp", network(), num_classes=K, seed=0, of="hcl-ff", hierarchy="(0,(1,2))")
    [head] = twin.heads.values()
    assert head.group_of.tolist() == [0, 1, 2]


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tree", ["", "0", "(0,1)", "(0,1,1,2)", "(0,1,3)", "(0,1,'2')", "[0,1,2]", "((0,1),2", "(0,1,())",
                                  "(True,0,2)", "(" * 500 + "0", "__import__('os')"])  # fmt: skip
def test_a_hierarchy_that_is_no_tree_of_the_classes_is_refused(tree):
    with pytest.raises(InputError, match=r"hierarchy must be the classes 0 to 2 in nested parentheses"):
        make("hcl-ff", hierarchy=tree)


def test_channels_that_do_not_divide_are_refused_as_by_cwcomp():
    narrow = create_network("cnn4", in_channels=3, image_size=8)
    with pytest.raises(InputError, match=r"block0 .*32 channels.* 10 classes; .*width .*0\.9375"):
        create_rule("hcl-ff", narrow, num_classes=10)


def test_a_class_of_one_number_is_refused_at_the_last_block_too_where_there_is_a_contrast():
    def built(**options):
        made = create_network("mlp", in_channels=7, image_size=1, hidden=3, depth=1)
        return create_rule("hcl-ff", made, num_classes=K, **options)

    with pytest.raises(InputError, match=r"block0 .*3 classes.*normalization='layer'"):
        built()
    built(normalization="layer")
    built(contrast=0.0)


def test_activities_of_another_form_are_refused():
    volumes = Network([torch.nn.Unflatten(1, (3, 4, 2, 1))], sample_shape=(24,))
    with pytest.raises(InputError, match=r"hcl-ff contrasts activities .*got \(B, 3, 4, 2, 1\)"):
        create_rule("hcl-ff", volumes, num_classes=K)
