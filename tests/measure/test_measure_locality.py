"""The locality certificate: what is local passes, and every known way of not being local is caught, by the measure that can see it."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layerlocal.measure import gradient_reach, intervention, measure_locality
from layerlocal.measure.contract import iterate_checks
from layerlocal.networks import create_network
from layerlocal.rules import LocalHeads, RuleInfo, create_rule
from layerlocal.types import BlockLoss, InputError, trained_blocks

X = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))
Y = torch.arange(8) % 3


def make(rule, depth=4, **options):
    network = create_network("cnn4", in_channels=3, image_size=8, width=9 / 32, depth=depth, seed=0)
    return create_rule(rule, network, num_classes=3, seed=0, **options)


# --- honest rules -----------------------------------------------------------------------------------------------------


def test_reach_and_intervention_of_a_local_rule_are_diagonal_and_below():
    found = measure_locality(make("local-heads"), X, Y)
    blocks = ["block0", "block1", "block2", "block3"]
    assert found["blocks"] == found["losses"] == blocks
    assert found["reach"] == [[i == j for i in range(4)] for j in range(4)]
    assert all((norm > 0) == hit for row, hits in zip(found["reach_norm"], found["reach"], strict=True)
               for norm, hit in zip(row, hits, strict=True))  # fmt: skip
    assert found["intervention"] == [[i >= j for i in range(4)] for j in range(4)]


def test_reach_and_intervention_of_segments_are_blocks_of_the_matrix():
    found = measure_locality(make("segmented", segment_size=2), X, Y)
    assert found["losses"] == ["block0-1", "block2-3"]
    assert found["reach"] == [[True, True, False, False], [False, False, True, True]]
    assert found["intervention"] == [[True] * 4, [True] * 4, [False, False, True, True], [False, False, True, True]]


def test_reach_and_intervention_of_backprop_are_full():
    found = measure_locality(make("bp"), X, Y)
    assert (found["losses"], found["reach"]) == (["all"], [[True] * 4])
    assert found["intervention"] == [[True] * 4] * 4


def test_reach_norm_is_the_length_of_the_gradient():
    rule = make("local-heads").train()
    found = gradient_reach(rule, X, Y)
    for loss in rule.losses(X, Y):
        loss.value.backward()
    for index, group in enumerate(rule.block_parameters().values()):
        expected = torch.cat([p.grad.flatten() for p in group]).double().norm().item()
        assert found["reach_norm"][index][index] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "locality"), [("bp", "global"), ("local-heads", "block"), ("class-goodness", "block")]
)
def test_a_network_of_one_block_is_certified_whatever_is_declared(name, locality):
    found = measure_locality(make(name, depth=1), X, Y)
    assert found["certified"] and found["declared"] == locality


def test_measuring_twice_gives_the_same_certificate():
    rule = make("ff")
    assert measure_locality(rule, X, Y, seed=3) == measure_locality(rule, X, Y, seed=3)


# --- cheats -----------------------------------------------------------------------------------------------------------


def info(locality="block"):
    return RuleInfo(name="cheat", locality=locality)


class NoDetach(LocalHeads):
    """`LocalHeads` with the gradient boundary removed."""

    info = info()

    def losses(self, x, y):
        h = self.network.prepare(x)
        for index, block in enumerate(self.network.blocks):
            h = block(h)
            yield BlockLoss(f"block{index}", self.local_loss(index, h, y)[0], {})


class NoDetachRecomputed(LocalHeads):
    """Every loss on a forward pass of its own from the input: no backward fails, and every one reaches down to block 0."""

    info = info()

    def losses(self, x, y):
        for index in range(self.network.depth):
            h = self.network.prepare(x)
            for block in self.network.blocks[: index + 1]:
                h = block(h)
            yield BlockLoss(f"block{index}", self.local_loss(index, h, y)[0], {})


class SummedAsOneBlock(LocalHeads):
    """All local losses in one sum without boundaries, said to train the first block."""

    info = info()

    def losses(self, x, y):
        h, total = self.network.prepare(x), 0.0
        for index, block in enumerate(self.network.blocks):
            h = block(h)
            total = total + self.local_loss(index, h, y)[0]
        yield BlockLoss("block0", total, {})


class SummedAsAll(SummedAsOneBlock):
    """The same sum, called what it is, but declared local."""

    def losses(self, x, y):
        for loss in super().losses(x, y):
            yield loss._replace(block="all")


class ZeroGradientLeak(LocalHeads):
    """The first block's loss has a path to the second block's weights along which the gradient is zero today."""

    info = info()

    def losses(self, x, y):
        for loss in super().losses(x, y):
            if loss.block == "block0":
                loss = loss._replace(value=loss.value + 0 * next(self.network.blocks[1].parameters()).sum())
            yield loss


class TooModest(LocalHeads):
    """A local rule that declares segments."""

    info = info("segment")


class WrongBlock(LocalHeads):
    """Each loss named after the block before."""

    info = info()

    def losses(self, x, y):
        for loss in super().losses(x, y):
            yield loss._replace(block=f"block{max(0, int(loss.block[5:]) - 1)}")


class SkipsABlock(LocalHeads):
    """The third block gets no loss at all."""

    info = info()

    def losses(self, x, y):
        return (loss for loss in super().losses(x, y) if loss.block != "block2")


class BorrowedScale(LocalHeads):
    """No gradient crosses, but the first block's loss is scaled by the weights of the last."""

    info = info()

    def losses(self, x, y):
        for loss in super().losses(x, y):
            if loss.block == "block0":
                last = next(self.network.blocks[-1].parameters()).detach()
                loss = loss._replace(value=loss.value * last.norm())
            yield loss


class BorrowedForward(LocalHeads):
    """A look ahead without gradient: the first block's loss is weighted by how well the last one does."""

    info = info()

    def losses(self, x, y):
        with torch.no_grad():
            weight = F.cross_entropy(self.block_scores(x)[-1], y)
        for loss in super().losses(x, y):
            yield loss._replace(value=loss.value * weight)


class BorrowedNextStep(LocalHeads):
    """The last block's loss is kept and scales the first block's at the next step."""

    info = info()

    def __init__(self, network, **options):
        super().__init__(network, **options)
        self.register_buffer("kept", torch.ones(()))

    def losses(self, x, y):
        scale = self.kept.clone()
        for loss in super().losses(x, y):
            if loss.block == f"block{self.network.depth - 1}":
                self.kept.copy_(loss.value.detach())
            yield loss._replace(value=loss.value * scale) if loss.block == "block0" else loss


class SharedHead(LocalHeads):
    """One head reads two blocks."""

    info = info()

    def __init__(self, network, **options):
        super().__init__(network, **options)
        self.heads["block1"] = self.heads["block0"]


class StrangeName(LocalHeads):
    info = info()

    def losses(self, x, y):
        return (loss._replace(block=f"layer{loss.block[5:]}") for loss in super().losses(x, y))


class BeyondTheEnd(LocalHeads):
    info = info()

    def losses(self, x, y):
        return (loss._replace(block=f"block{int(loss.block[5:]) + 1}") for loss in super().losses(x, y))


CAUGHT = [
    (NoDetach, "the backward of block1 failed.*"),
    (NoDetachRecomputed, "the loss of block1 reaches the parameters of block0"),
    (SummedAsOneBlock, "the loss of block0 reaches the parameters of block3"),
    (SummedAsAll, "declares locality 'block', measured 'global'"),
    (ZeroGradientLeak, "the loss of block0 reaches the parameters of block1"),
    (TooModest, "declares locality 'segment', measured 'block'"),
    (WrongBlock, "the loss of block0 reaches the parameters of block1"),
    (SkipsABlock, "no loss reaches the parameters of block2"),
    (BorrowedScale, "perturbing block3 changes the update of block0"),
    (BorrowedForward, "perturbing block3 changes the update of block0"),
    (BorrowedNextStep, "perturbing block3 changes the update of block0"),
]


def locality_clause(rule):
    return next(result for result in iterate_checks(rule) if result.name.startswith("Measured reach"))


@pytest.mark.parametrize(("rule", "problem"), CAUGHT, ids=[rule.__name__ for rule, _ in CAUGHT])
def test_a_rule_that_is_not_what_it_declares_gets_no_certificate_and_fails_the_contract(rule, problem):
    found = measure_locality(make(rule), X, Y)
    assert not found["certified"]
    assert any(re.fullmatch(problem, found_problem) for found_problem in found["problems"]), found["problems"]
    assert not locality_clause(rule).passed


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (SharedHead, "shared by block0 and block1"),
        (StrangeName, r"'block1', 'block2-3' .*got 'layer0'"),
        (BeyondTheEnd, r"block4, .*block0 to block3"),
    ],
)
def test_what_cannot_be_measured_is_refused_and_fails_the_contract(rule, message):
    network = create_network("plain", in_channels=8, image_size=8, width=1 / 8, seed=0, depth=4)
    with pytest.raises(InputError, match=message):
        measure_locality(create_rule(rule, network, num_classes=3), torch.randn(8, 8, 8, 8), Y)
    assert not locality_clause(rule).passed


@pytest.mark.parametrize("rule", [BorrowedScale, BorrowedForward])
def test_a_coupling_without_gradient_is_seen_by_intervention_alone(rule):
    found = measure_locality(make(rule), X, Y)
    assert found["reach"] == [[i == j for i in range(4)] for j in range(4)]
    assert intervention(make(rule), X, Y)[3][0]


def test_a_normalization_shared_between_blocks_is_refused():
    norm = nn.BatchNorm2d(8)
    rule = make("local-heads")
    rule.network.blocks[0][1] = rule.network.blocks[1][1] = norm
    with pytest.raises(InputError, match="shared by block0 and block1"):
        measure_locality(rule, X, Y)


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_loss_names_one_block_a_run_of_blocks_or_all():
    blocks = [f"block{index}" for index in range(12)]
    assert trained_blocks("block11", blocks) == {"block11"}
    assert trained_blocks("block2-4", blocks) == {"block2", "block3", "block4"}
    assert trained_blocks("all", blocks) == set(blocks)
    for name in ("block", "block-1", "block1-", "block3-1", "block1-x", "2", "head", "block12", "block10-12", ""):
        with pytest.raises(InputError):
            trained_blocks(name, blocks)
