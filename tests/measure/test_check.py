"""The contract of a rule: every registered rule keeps it, and for each clause there is a rule that breaks it and is caught."""

from __future__ import annotations

import random
import re

import pytest
import torch
import torch.nn.functional as F

from layerlocal.measure.bench import Bench
from layerlocal.measure.contract import CHECKS, CheckResult, check_rule, conclude
from layerlocal.networks import create_network
from layerlocal.rules import LocalHeads, Rule, RuleInfo, create_rule, find_rule
from layerlocal.spec import Recipe
from layerlocal.training.train import train_rule
from layerlocal.types import BlockLoss, InputError

CLAUSES = [check.__doc__.rstrip(".") for check in CHECKS]


def failures(rule, **options):
    """Clause → message for every clause that does not hold."""
    return {result.name: result.message for result in check_rule(rule, **options) if not result.passed}


@pytest.fixture
def only(monkeypatch):
    """Run one clause of the contract, by the beginning of its name."""

    def choose(clause):
        chosen = [check for check in CHECKS if check.__doc__.startswith(clause)]
        assert len(chosen) == 1
        monkeypatch.setattr("layerlocal.measure.contract.CHECKS", tuple(chosen))

    return choose


# --- rules that keep it -----------------------------------------------------------------------------------------------


class FromScratch(Rule):
    """A local rule on the bare interface: a linear head on each block's mean activity."""

    info = RuleInfo(name="from-scratch", locality="block")

    def __init__(self, network, *, num_classes, seed=None):
        super().__init__(network, num_classes=num_classes)
        sizes = [shape[0] for shape in network.activity_shapes]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.heads = torch.nn.ModuleDict(
                {f"block{i}": torch.nn.Linear(n, num_classes) for i, n in enumerate(sizes)}
            )

    def losses(self, x, y):
        h = x
        for index, block in enumerate(self.network.blocks):
            h = block(h.detach())
            yield BlockLoss(f"block{index}", F.cross_entropy(self.heads[f"block{index}"](h.mean((2, 3))), y), {})

    def block_scores(self, x):
        found = []
        for index, block in enumerate(self.network.blocks):
            x = block(x)
            found.append(self.heads[f"block{index}"](x.mean((2, 3))))
        return torch.stack(found)


class Unseeded(FromScratch):
    """Takes no seed, so its heads are others each time."""

    def __init__(self, network, *, num_classes):
        super().__init__(network, num_classes=num_classes, seed=int(torch.randint(0, 2**31, ())))


def test_a_rule_on_the_bare_interface_keeps_every_clause():
    assert not failures(FromScratch)


def test_a_rule_whose_initial_weights_take_no_seed_is_not_repeatable():
    assert set(failures(Unseeded)) == {"The same seed gives the same run"}


# --- rules that break one clause --------------------------------------------------------------------------------------


class Honest(LocalHeads):
    info = RuleInfo(name="cheat", locality="block")


class NoLoss(Honest):
    def losses(self, x, y):
        return iter(())


class VectorLoss(Honest):
    def losses(self, x, y):
        return (loss._replace(value=loss.value.expand(2)) for loss in super().losses(x, y))


class DetachedLoss(Honest):
    def losses(self, x, y):
        return (loss._replace(value=loss.value.detach()) for loss in super().losses(x, y))


class NaNLoss(Honest):
    def losses(self, x, y):
        return (loss._replace(value=loss.value * float("nan")) for loss in super().losses(x, y))


class NaNScores(Honest):
    def scores(self, x):
        return super().scores(x) * float("nan")


class OtherScores(Honest):
    def scores(self, x):
        return -super().scores(x)


class OtherName(Honest):
    def losses(self, x, y):
        return (loss._replace(block="layer1") for loss in super().losses(x, y))


class MetricWithGraph(Honest):
    def losses(self, x, y):
        return (loss._replace(metrics={"loss/again": loss.value * 2}) for loss in super().losses(x, y))


class NoDetach(Honest):
    def losses(self, x, y):
        h = x
        for index, block in enumerate(self.network.blocks):
            h = block(h)
            yield BlockLoss(f"block{index}", self.local_loss(index, h, y)[0], {})


class IdleParameter(Honest):
    def __init__(self, network, **options):
        super().__init__(network, **options)
        self.heads["block1"].idle = torch.nn.Parameter(torch.zeros(3))


class MovesWeights(Honest):
    def losses(self, x, y):
        with torch.no_grad():
            self.heads["block0"].linear.weight.mul_(0.99)
        return super().losses(x, y)


class WrongShape(Honest):
    def fuse(self, block_scores):
        return super().fuse(block_scores)[:, :-1]


class BlocksLast(Honest):
    def block_scores(self, x):
        return super().block_scores(x).movedim(0, -1)

    def fuse(self, block_scores):
        return super().fuse(block_scores.movedim(-1, 0))


class InfiniteScores(Honest):
    def fuse(self, block_scores):
        return super().fuse(block_scores) / 0


class ByPosition(Honest):
    """The answer depends on where in the batch a sample stands."""

    def fuse(self, block_scores):
        found = super().fuse(block_scores)
        return found + torch.arange(found.shape[0])[:, None] * torch.arange(found.shape[1])


class ByBatch(Honest):
    """Scores standardized over the test batch: in any order the same, yet not a function of the sample."""

    def fuse(self, block_scores):
        found = super().fuse(block_scores)
        return found - found.mean(0)


class RemembersLabels(Honest):
    def losses(self, x, y):
        self.seen = F.one_hot(y, self.num_classes).float().mean(0) + y[0]
        return super().losses(x, y)

    def fuse(self, block_scores):
        return super().fuse(block_scores) + getattr(self, "seen", 0) * torch.arange(self.num_classes)


class StateOutsideBuffers(Honest):
    """Running means of the scores in a plain tensor, as in loeweX/Forward-Forward: lost on save."""

    def __init__(self, network, **options):
        super().__init__(network, **options)
        self.running = torch.zeros(self.num_classes)

    def losses(self, x, y):
        for loss in super().losses(x, y):
            self.running = 0.9 * self.running + 0.1 * x.mean() + 0.1
            yield loss

    def fuse(self, block_scores):
        return super().fuse(block_scores) + self.running * torch.arange(self.num_classes)


class PlainList(Honest):
    """Heads in a plain list, as in pytorch/examples mnist_forward_forward: not in ``state_dict``, not trained."""

    def __init__(self, network, **options):
        super().__init__(network, **options)
        self.plain = [torch.nn.Linear(shape[0], self.num_classes) for shape in network.activity_shapes]
        self.heads = torch.nn.ModuleDict()

    def block_score(self, index, activity):
        return self.plain[index](activity.mean((2, 3)))


class ForeignGenerator(Honest):
    """Draws from Python's generator, which nothing seeds."""

    def losses(self, x, y):
        return (loss._replace(value=loss.value * (1 + random.random())) for loss in super().losses(x, y))


class LearnsNothing(Honest):
    """Ascends instead of descending."""

    def losses(self, x, y):
        return (loss._replace(value=-loss.value) for loss in super().losses(x, y))


class AllGraphsAtOnce(Honest):
    """Detached between blocks, but every forward before the first backward: as local as it is, no byte is saved."""

    def losses(self, x, y):
        h, found = x, []
        for index, block in enumerate(self.network.blocks):
            h = block(h.detach())
            found.append(BlockLoss(f"block{index}", self.local_loss(index, h, y)[0], {}))
        return iter(found)


class HoldsAGraph(Honest):
    kept: list = []  # noqa: RUF012 (what the test is about)

    def losses(self, x, y):
        self.kept.append(self.network.blocks[0](x).square().sum())
        return super().losses(x, y)


class TwoPassesDeclared(Honest):
    info = RuleInfo(name="cheat", locality="block", passes_per_step=2)


class KPassesDeclared(Honest):
    info = RuleInfo(name="cheat", locality="block", passes_per_prediction="num_classes")


class Raises(Honest):
    def block_scores(self, x):
        raise ZeroDivisionError("no score today")


class ChannelsOfClasses(Honest):
    """Each class owns an equal share of the channels, and `info` does not say so."""

    def __init__(self, network, **options):
        super().__init__(network, **options)
        self.heads = torch.nn.ModuleDict()

    def block_score(self, index, activity):
        return activity.reshape(len(activity), self.num_classes, -1).square().mean(2)


class DeclaredChannels(ChannelsOfClasses):
    info = RuleInfo(name="cheat", locality="block", channel_groups=True)


BROKEN = [
    (NoLoss, "Losses are finite", "gives no loss"),
    (VectorLoss, "Losses are finite", "must be a scalar"),
    (DetachedLoss, "Losses are finite", "no graph"),
    (NaNLoss, "Losses are finite", "is nan on random images"),
    (MetricWithGraph, "Losses are finite", "metric loss/again of block0 carries a graph"),
    (NoDetach, "Measured reach", "backward of block1 failed"),
    (IdleParameter, "Every trainable parameter", "heads.block1.idle"),
    (MovesWeights, "Computing losses and scores changes no parameter", "heads.block0.linear.weight"),
    (WrongShape, "Scores are", r"shape \(12, 2\), not \(B, K\) = \(12, 3\)"),
    (BlocksLast, "Scores are", r"not \(L, B, K\)"),
    (InfiniteScores, "Scores are", "not finite"),
    (ByPosition, "Scores are", "order of the batch"),
    (ByBatch, "Scores are", "depends on the others"),
    (RemembersLabels, "No label reaches", "remembers the labels"),
    (StateOutsideBuffers, "state_dict carries", "scores otherwise"),
    (PlainList, "state_dict carries", "scores otherwise"),
    (ForeignGenerator, "The same seed", "different"),
    (LearnsNothing, "Beats chance", "only; 60% is asked"),
    (AllGraphsAtOnce, "Peak saved bytes", "yield each loss before the next forward"),
    (HoldsAGraph, "Peak saved bytes", "stay saved after the last backward"),
    (TwoPassesDeclared, "Declared forward passes", "passes_per_step = 2, counted 1"),
    (KPassesDeclared, "Declared forward passes", "passes_per_prediction = 3, counted 1"),
    (
        ChannelsOfClasses,
        "Any number",
        r"with 10 channels it raised RuntimeError .*declare RuleInfo\(channel_groups=True\)",
    ),
    (Raises, "Scores are", "raised ZeroDivisionError at test_check.py:[0-9]+: no score today"),
]


def test_every_clause_is_broken_by_one_of_the_rules_here():
    assert {clause for clause in CLAUSES for _, start, _ in BROKEN if clause.startswith(start)} == set(CLAUSES)


@pytest.mark.parametrize(("rule", "clause", "message"), BROKEN, ids=[rule.__name__ for rule, *_ in BROKEN])
def test_a_rule_that_breaks_a_clause_fails_it_with_a_sentence_that_says_how(rule, clause, message, only):
    only(clause)
    found = failures(rule)
    HoldsAGraph.kept.clear()
    assert len(found) == 1 and re.search(message, *found.values()), found


def test_a_rule_that_declares_its_channel_groups_holds_and_is_refused_with_the_width_to_give():
    """A 10-channel block cannot be dealt to 4 classes; 12 channels can, which is width 12 / 64 of `plain`."""
    assert failures(DeclaredChannels) == {}
    network = create_network("plain", in_channels=3, image_size=8, width=10 / 64, depth=2)
    with pytest.raises(InputError, match=r"block0 .*10 channels.* 4 classes; .*0\.1\d+ \("):
        create_rule(DeclaredChannels, network, num_classes=4)


def test_training_a_rule_that_does_not_declare_its_channel_groups_says_what_to_declare():
    data = Bench("bp", {}).toy_data()
    network = create_network("plain", in_channels=3, image_size=8, width=10 / 64, depth=2)
    rule = create_rule(ChannelsOfClasses, network, num_classes=3)
    with pytest.raises(InputError, match=r"block0 .*10 channels .*3 classes: .*channel_groups=True"):
        train_rule(rule, data, Recipe(epochs=1))


@pytest.mark.parametrize("rule", [TwoPassesDeclared, MetricWithGraph, AllGraphsAtOnce])
def test_one_broken_clause_does_not_fail_the_others(rule):
    (name,) = failures(rule)
    assert name.startswith(next(clause for broken, clause, _ in BROKEN if broken is rule))


def clauses(*beginnings):
    return {name for name in CLAUSES if name.startswith(beginnings)}


STEPS = {name for name in CLAUSES if not name.startswith(("Losses", "Scores"))}


@pytest.mark.parametrize(
    ("rule", "found", "hidden"),
    [
        (NoDetach, "the backward of block1 failed: a loss runs back into the graph of an earlier one", STEPS),
        (NoLoss, "losses() gives no loss", STEPS),
        (VectorLoss, "must be a scalar", STEPS),
        (DetachedLoss, "has no graph", STEPS),
        (NaNLoss, "is nan on random images, before any step", clauses("Measured", "state_dict", "The same", "Beats")),
        (Raises, "no score today", clauses("Scores", "No label", "state", "The same", "Beats", "Declared", "Any")),
        (WrongShape, "gives shape (12, 2)", clauses("state", "The same", "Beats")),
        (NaNScores, "scores are not finite", clauses("No label", "state", "The same", "Beats")),
        (OtherScores, "scores() is not what all_scores() gives", clauses("state", "The same", "Beats")),
        (OtherName, "a loss names its blocks as 'block1', 'block2-3' or 'all', got 'layer1'", clauses("state", "The same", "Beats")),
    ],
)  # fmt: skip
def test_one_fault_is_said_once_and_what_it_hides_is_not_measured(rule, found, hidden):
    results = check_rule(rule)
    [told] = [result for result in results if not result.passed and result.measured]
    assert found in told.message
    unseen = [result for result in results if not result.measured]
    assert {result.name for result in unseen} == hidden
    assert {(result.passed, result.message) for result in unseen} == {(False, "not measured: see above")}
    assert results.index(told) < min(map(results.index, unseen)), "above"
    text = conclude("mine.py:Mine", results)
    assert text == (
        f"1 of 12 clauses does not hold, {len(hidden)} could not be measured because of that; next: mend it and run "
        "`layerlocal check mine.py:Mine` again"
    )


def test_two_faults_of_one_rule_are_both_told():
    class Twice(NaNLoss, WrongShape):
        pass

    told = {name for name, message in failures(Twice).items() if "see above" not in message}
    assert told == clauses("Losses", "Scores")
    text = conclude("mine.py:Mine", check_rule(Twice))
    assert text.startswith("2 of 12 clauses do not hold, ") and "the first, 'Losses are finite" in text


def test_of_a_sound_rule_it_says_what_to_do_with_it():
    text = conclude("a b.py:Mine", check_rule(FromScratch))
    assert text == "all 12 clauses hold; next: `layerlocal train --rule 'a b.py:Mine'`"


def test_a_global_rule_that_says_it_is_local_fails_by_reach_and_by_memory(only):
    class Pretender(find_rule("bp")):
        info = RuleInfo(name="cheat", locality="block")

    for clause in ("Measured reach", "Peak saved bytes"):
        only(clause)
        assert failures(Pretender)


def test_a_local_rule_that_says_it_is_global_fails_by_reach_and_by_memory(only):
    class Modest(Honest):
        info = RuleInfo(name="cheat", locality="global")

    for clause, message in (
        ("Measured reach", "measured 'block'"),
        ("Peak saved bytes", "saved bytes at depth 12 are 1.00"),
    ):
        only(clause)
        assert message in str(failures(Modest))


def test_an_unknown_name_is_refused_before_any_clause():
    with pytest.raises(InputError, match="unknown rule"):
        check_rule("no-such-rule")


@pytest.mark.parametrize(("rule", "options"), [("diffusion-blocks", {}), ("bp", {"of": "blockwise-decoder"})])
def test_a_rule_that_not_every_network_will_do_for_is_tried_on_its_own_in_every_clause(rule, options):
    bench = Bench(rule, options)
    for depth, channels in ((None, None), (6, None), (None, 10)):
        made = bench.make(depth, 0, channels).network
        assert (made.depth, made.tokens) == (depth or 4, "class")
        assert made.activity_shapes == [(5, channels or 12)] * made.depth, "4 patches of 4×4 pixels and the class token"
    assert Bench("bp", {}).make().network.tokens is None


def test_it_may_still_be_tried_on_another_network_by_name_and_is_refused_where_that_will_not_do():
    assert Bench("blockwise-decoder", {}, "vit", {"depth": 2, "hidden": 24}).make().network.depth == 2
    with pytest.raises(InputError, match="take the network 'vit'"):
        Bench("blockwise-decoder", {}, "cnn4").make()


def test_a_rule_of_ones_own_says_what_it_is_tried_on_and_a_network_that_is_none_is_refused():
    class OfTokens(Honest):
        info = RuleInfo(name="of-tokens", locality="block", tried_on="vit")

    assert Bench(OfTokens, {}).make().network.tokens == "class"

    class OfNothing(Honest):
        info = RuleInfo(name="of-nothing", locality="block", tried_on="vitt")

    with pytest.raises(InputError, match=r"unknown network 'vitt'.*Did you mean 'vit'"):
        check_rule(OfNothing)


def test_the_next_command_names_the_network_that_the_rule_is_for():
    held = [CheckResult("a clause", True, "")]
    assert conclude("some-rule", held, tried_on="vit").endswith("`layerlocal train --rule some-rule --network vit`")
    assert conclude("some-rule", held, "mlp", tried_on="vit").endswith("--rule some-rule --network mlp`")
