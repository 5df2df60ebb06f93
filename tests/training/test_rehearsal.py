"""Before the first step: what is wrong with a rule is said, nothing is written, and nothing that a run is made of changes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layerlocal.data import Split, data_from_splits
from layerlocal.networks import Network
from layerlocal.rules import BlockwiseRule, Rule, RuleInfo, create_rule
from layerlocal.spec import Recipe
from layerlocal.training.evaluate import evaluate_split
from layerlocal.training.train import Training, train_rule
from layerlocal.types import BlockLoss, InputError

K = 3
RECIPE = Recipe(epochs=2, batch_size=12)


def data(x=None):
    x = torch.randn(36, 6, generator=torch.Generator().manual_seed(0)) if x is None else x
    split = Split(x, torch.arange(36) % K)
    return data_from_splits("vectors", split, test=split, validation=split)


def network(*blocks):
    torch.manual_seed(0)
    return Network(list(blocks) or [nn.Linear(6, 6), nn.Sequential(nn.ReLU(), nn.Linear(6, 6))], sample_shape=(6,))


class Sound(Rule):
    """Two losses and two readouts without weights, as a user may write them; every part may be broken by a function of that part."""

    info = RuleInfo(name="mine", locality="block")

    def __init__(self, net, *, num_classes, **broken):
        super().__init__(net, num_classes=num_classes)
        self.broken = broken

    def part(self, name, value):
        """The value, or what the broken part makes of it."""
        return self.broken[name](value) if name in self.broken else value

    def losses(self, x, y):
        """Cross-entropy of the first K numbers."""
        for index, block in enumerate(self.network.blocks):
            x = block(x.detach())
            value = self.part("value", F.cross_entropy(x[:, :K], y))
            metrics = self.part("metrics", {"mean": x.detach().mean()})
            yield self.part("loss", BlockLoss(self.part("named", f"block{index}"), value, metrics))

    def block_scores(self, x):
        """(2, B, K)."""
        found = []
        for block in self.network.blocks:
            x = block(x)
            found.append(x[:, :K])
        return self.part("block_scores", torch.stack(found))

    def fuse(self, block_scores):
        """The mean."""
        return self.part("fuse", block_scores.mean(0))


def last_nan(scores):
    found = scores.clone()
    found[-1] = math.nan
    return found


BROKEN = [
    ({"named": lambda n: "layer1"}, "a loss names .*got 'layer1'"),
    ({"named": lambda n: "block7"}, "block7, .*block0 to block1"),
    ({"named": lambda n: 0}, r"losses\(\) of rule 'mine' .*blocks 0"),
    ({"value": lambda v: v.expand(3)}, r"block0 \(rule 'mine'\) .*shape \(3,\); .*scalar"),
    ({"value": lambda v: v.item()}, r"block0 \(rule 'mine'\) is float; .*scalar"),
    ({"value": lambda v: v.detach()}, "block0 .* has no graph"),
    ({"value": lambda v: v * math.nan}, "block0 .* is nan"),
    ({"value": lambda v: v / 0}, "block0 .* is inf"),
    ({"metrics": lambda m: {"mean": 1.0}}, "'mean' of block0 .* is float"),
    ({"metrics": lambda m: {"mean": torch.ones(2)}}, r"'mean' of block0 .*shape \(2,\)"),
    ({"metrics": lambda m: None}, "block0 .*metrics of type NoneType"),
    ({"loss": lambda v: v.value}, r"losses\(\) of rule 'mine' .*Tensor; .*BlockLoss"),
    ({"loss": lambda v: None}, "gives no loss"),
    ({"loss": lambda v: v.missing}, "rule 'mine' raised AttributeError at test_rehearsal.py"),
    ({"block_scores": lambda s: s.repeat(1, 1, 2)}, r"block_scores\(\) .*\(2, 4, 6\); .*\(2, 4, 3\)"),
    ({"block_scores": lambda s: s[:1]}, r"block_scores\(\) .*\(1, 4, 3\); .*\(2, 4, 3\)"),
    ({"block_scores": lambda s: s[:, :1]}, r"block_scores\(\) .* gives shape \(2, 1, 3\)"),
    ({"block_scores": lambda s: s.argmax(-1)}, r"block_scores\(\) .* gives torch.int64 numbers"),
    ({"block_scores": lambda s: [*s]}, r"block_scores\(\) .* gives list"),
    ({"block_scores": lambda s: None}, r"block_scores\(\) .* gives NoneType"),
    ({"block_scores": last_nan}, "block1 of rule 'mine' .*NaN"),
    ({"fuse": lambda s: s.repeat(1, 2)}, r"fuse\(\) .*\(4, 6\); .*\(4, 3\)"),
    ({"fuse": lambda s: s / 0}, "fused .*'mine' .*NaN"),
    ({"fuse": lambda s: 1 / len({}) }, "rule 'mine' raised ZeroDivisionError at test_rehearsal.py"),
]  # fmt: skip


@pytest.mark.parametrize(("broken", "words"), BROKEN, ids=[f"{i} {words[:40]}" for i, (_, words) in enumerate(BROKEN)])
def test_a_broken_rule_is_refused_before_the_first_step_in_one_sentence(broken, words):
    words = words.replace("4, ", "12, ").replace(r"\(4,", r"\(12,")  # the whole batch has the last word
    rule = create_rule(Sound, network(), num_classes=K, **broken)
    before = {name: value.clone() for name, value in rule.state_dict().items()}
    with pytest.raises(InputError, match=words) as refusal:
        Training(rule, data(), RECIPE)
    assert "\n" not in str(refusal.value)
    assert all(torch.equal(before[name], value) for name, value in rule.state_dict().items())
    assert all(parameter.grad is None for parameter in rule.parameters())


class OwnScores(Sound):
    """Answers by ``scores`` of its own."""

    def scores(self, x):
        """(B, K)."""
        return self.part("scores", super().scores(x))


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (
            lambda s: s * math.nan,
            r"scores\(\) of rule 'mine' .*NaN",
        ),
        (
            lambda s: -s,
            r"scores\(\) of rule 'mine' .*all_scores\(\) gives",
        ),
    ],
)
def test_scores_of_a_rules_own_are_those_that_accuracy_is_counted_on(broken, words):
    with pytest.raises(InputError, match=words):
        Training(create_rule(OwnScores, network(), num_classes=K, scores=broken), data(), RECIPE)
    Training(create_rule(OwnScores, network(), num_classes=K), data(), RECIPE)


def test_a_sound_rule_trains():
    assert train_rule(create_rule(Sound, network(), num_classes=K), data(), RECIPE)[-1].validation.num_samples == 36


class Changing(nn.Module):
    """In training another thing than in evaluation."""

    def __init__(self, function):
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.function = function

    def forward(self, x):
        """(B, 6)."""
        x = self.linear(x)
        return self.function(x) if self.training else x


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: (x, x), r"block1 \(Changing\) returns a tuple"),
        (lambda x: x[:, :3], r"block1 \(Changing\) .*\(3,\) .*\(6,\)"),
        (lambda x: x[:1], r"block1 \(Changing\) .*\(1, 6\) .*12"),
        (lambda x: x / 0, r"block1 \(Changing\) .*NaN .*training mode"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["local-heads", "bp", "ff"])
def test_a_block_that_breaks_in_training_is_named_before_the_first_step(name, function, words):
    rule = create_rule(name, network(nn.Linear(6, 6), Changing(function)), num_classes=K)
    words = words if name != "ff" else words.replace("12", "24")  # positive and negative data
    with pytest.raises(InputError, match=words):
        Training(rule, data(), RECIPE)


class Counting(BlockwiseRule):
    """Its loss depends on how often it was asked, on plain attributes and on a tensor that is no buffer."""

    info = RuleInfo(name="counting", locality="block")

    def __init__(self, net, *, num_classes):
        super().__init__(net, num_classes=num_classes)
        self.calls, self.seen, self.table = 0, [], {}
        self.average = torch.zeros(())
        self.register_buffer("passing", torch.zeros(()), persistent=False)

    def local_loss(self, index, activity, y):
        """Cross-entropy, weighted by all that was kept."""
        self.calls += 1
        self.seen.append(self.calls)
        self.table[self.calls] = torch.rand(())
        self.average.add_(1)
        self.passing += 1
        self.late = True
        weight = self.calls + len(self.seen) + len(self.table) + self.average + self.passing + torch.rand(())
        return weight * F.cross_entropy(self.block_score(index, activity), y), {}

    def block_score(self, index, activity):
        """(B, K)."""
        return activity[:, : self.num_classes]


def test_the_rehearsal_leaves_no_trace(monkeypatch):
    states, randoms = [], []
    for rehearsed in (True, False):
        torch.manual_seed(5)
        rule = create_rule(Counting, network(), num_classes=K)
        if not rehearsed:
            monkeypatch.setattr("layerlocal.training.train.rehearse", lambda *_: None)
        training = Training(rule, data(), RECIPE)
        assert (rule.calls, rule.seen, rule.table, float(rule.average), float(rule.passing)) == (0, [], {}, 0, 0)
        assert not hasattr(rule, "late")
        randoms.append(torch.rand(4))
        while not training.finished:
            training.run_epoch()
        states.append(rule.state_dict())
    assert torch.equal(*randoms)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


class Wholes(Sound):
    """Compares samples: it takes no fewer than eight, and of at least two classes."""

    def losses(self, x, y):
        """As ever."""
        if len(x) < 8 or y.unique().numel() < 2:
            raise RuntimeError("too few samples to compare")
        yield from super().losses(x, y)


def test_a_rule_that_needs_a_whole_batch_is_rehearsed_on_one():
    order = torch.arange(36).sort(stable=True).indices
    sorted_by_class = data().train.subset(order)
    made = data_from_splits("sorted", sorted_by_class, test=sorted_by_class, validation=sorted_by_class)
    train_rule(create_rule(Wholes, network(), num_classes=K), made, RECIPE)
    with pytest.raises(InputError, match=r"'mine' .*RuntimeError at test_rehearsal.py.*too few samples"):
        Training(create_rule(Wholes, network(), num_classes=K), made, Recipe(batch_size=12, micro_batches=2))


def test_the_test_split_stays_closed():
    made = data()
    Training(create_rule("ff", network(), num_classes=K), made, RECIPE)
    assert made.take_test() is not None  # it is given once


def test_a_warning_of_the_rule_is_given_once_as_ever(recwarn):
    rule = create_rule("local-heads", network(), num_classes=K, head="mlp", head_width=500)
    train_rule(rule, data(), RECIPE)
    assert len([w for w in recwarn if "cost more than the block" in str(w.message)]) == 1


def test_two_losses_of_one_block_and_a_step_a_block_do_not_go_together():
    rule = create_rule(Sound, network(), num_classes=K, named=lambda n: "block0")
    words = "two losses of one step train block0, .*; leave recipe.step_per_block off"
    with pytest.raises(InputError, match=words):
        Training(rule, data(), RECIPE.model_copy(update={"step_per_block": True}))
    rule = create_rule("bp", network(), num_classes=K)
    whole = rule.losses
    rule.losses = lambda x, y: (loss._replace(block="block1") for loss in whole(x, y))
    with pytest.raises(InputError, match=r"block0 .*recipe.step_per_block"):
        Training(rule, data(), RECIPE.model_copy(update={"step_per_block": True}))


# --- later ------------------------------------------------------------------------------------------------------------


def breaks_after(calls, function):
    """A part that is sound for so many calls."""
    made = iter(range(10**6))
    return lambda value: value if next(made) < calls else function(value)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (last_nan, r"block1 .*'mine' .*NaN .*validation .*epoch 2"),
        (lambda s: s * math.inf, r"block0 .*'mine' .*NaN .*validation .*epoch 2"),
        (lambda s: s.repeat(1, 1, 2), r"block_scores\(\) .*'mine' .*\(2, 36, 6\); .*\(L, B, K\)"),
    ],
)  # fmt: skip
def test_scores_are_held_to_shape_and_finiteness_at_every_evaluation(function, words):
    rule = create_rule(Sound, network(), num_classes=K, block_scores=breaks_after(2, function))
    with pytest.raises(InputError, match=words):
        train_rule(rule, data(), RECIPE)
    assert rule.training  # as it was found


def test_scores_of_the_test_split_are_held_too():
    rule = create_rule(Sound, network(), num_classes=K, fuse=breaks_after(3, lambda s: s * math.nan))
    training = Training(rule, data(), RECIPE)
    while not training.finished:
        training.run_epoch()
    with pytest.raises(InputError, match=r"fused .*'mine' .*NaN .*test split"):
        training.test()
    with pytest.raises(InputError, match=r"NaN .*these samples"):
        evaluate_split(rule, data(), data().train)


def test_a_name_that_comes_later_is_refused_at_its_first_step():
    rule = create_rule(Sound, network(), num_classes=K, named=breaks_after(6, lambda n: "layer2"))
    with pytest.raises(InputError, match=r"a loss names .*got 'layer2'"):
        train_rule(rule, data(), RECIPE)


@pytest.mark.parametrize("what", ["rule", "data", "recipe"])
@pytest.mark.parametrize("value", [None, 5, "bp", Sound])
def test_training_takes_a_rule_data_and_a_recipe(what, value):
    given = {"rule": create_rule("bp", network(), num_classes=K), "data": data(), "recipe": RECIPE} | {what: value}
    with pytest.raises(InputError, match=rf"{what} .*got {type(value).__name__}"):
        Training(**given)


# --- on the command line ----------------------------------------------------------------------------------------------

PLUGIN = """
import torch
from layerlocal.rules import LocalHeads, RuleInfo

class Mine(LocalHeads):
    info = RuleInfo(name="mine", locality="block")
    {method}
"""
METHODS = [
    (
        "def losses(self, x, y):\n        for loss in super().losses(x, y): yield loss._replace(block='layer')",
        "got 'layer'",
    ),
    ("def block_scores(self, x): return super().block_scores(x) * float('nan')", "are NaN"),
    ("def fuse(self, s): return torch.cat([s[0], s[0]], 1)", "fuse() of rule 'mine' gives shape"),
    ("def local_loss(self, i, a, y): return a.sum()", "local_loss of Mine gave Tensor"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "words"), METHODS, ids=[words[:30] for _, words in METHODS])
def test_a_broken_rule_file_ends_in_one_sentence_and_leaves_nothing_in_the_store(refused, tmp_path, method, words):
    (tmp_path / "mine.py").write_text(PLUGIN.format(method=method))
    sentence = refused(
        "train", "--rule", "mine.py:Mine", "--network", "mlp", "--width", 0.05, "--data", "teacher_student", "--out", "store",
        "--set", "data.num_train=200", "--set", "data.num_test=50",
    )  # fmt: skip
    assert words in sentence
    assert not list((tmp_path / "store").glob("runs/*"))
