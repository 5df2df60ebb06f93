"""Accuracy on parts of a split, told apart; and a composed task from its spec to the result."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from layerlocal.data import Batches, Split, data_from_splits, load_data
from layerlocal.measure import measure_separability
from layerlocal.networks import Network
from layerlocal.rules import Rule, RuleInfo
from layerlocal.runs.run import run_spec
from layerlocal.runs.store import RunStore
from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RuleSpec, RunSpec
from layerlocal.training.evaluate import evaluate_batches, evaluate_split

K = 4


class Known(Rule):
    """Answers with fixed parts of the input: block l with features l·K … (l+1)·K; fused: the last block alone."""

    info = RuleInfo(name="known", locality="block")

    def block_scores(self, x):
        return x.view(len(x), 2, K).transpose(0, 1)

    def fuse(self, block_scores):
        return block_scores[-1]


def known():
    return Known(Network([nn.Identity(), nn.Identity()], sample_shape=(2 * K,)), num_classes=K)


def make_split(number, **groups):
    x, y = torch.randn(number, 2 * K), torch.arange(number) % K
    right = (x[:, K:].argmax(1) == y).double()
    return Split(x, y, groups=groups), right


@pytest.mark.parametrize("number", [1203, 500, 7])
def test_a_group_s_accuracy_is_the_share_of_right_fused_answers_in_it(number):
    odd, first = torch.arange(number) % 2 == 1, torch.arange(number) < 3
    split, right = make_split(number, odd=odd, first=first, all=torch.ones(number, dtype=torch.bool))
    data = data_from_splits("known", split, split)
    found = evaluate_split(known(), data, split)
    assert found.group_accuracies == {
        "odd": right[odd].mean().item(),
        "first": right[:3].mean().item(),
        "all": found.accuracy,
    }
    assert found.accuracy == right.mean().item() != found.block_accuracies["block0"]


def test_parts_that_make_up_the_split_average_to_its_accuracy():
    seen = torch.rand(900) < 0.7
    split, _ = make_split(900, seen=seen, unseen=~seen)
    found = evaluate_split(known(), data_from_splits("known", split, split), split)
    share = seen.double().mean().item()
    whole = share * found.group_accuracies["seen"] + (1 - share) * found.group_accuracies["unseen"]
    assert whole == pytest.approx(found.accuracy, abs=1e-12)
    assert list(found.group_accuracies) == ["seen", "unseen"]


def test_an_empty_group_is_left_out_and_no_groups_give_none():
    split, right = make_split(20, seen=torch.ones(20, dtype=torch.bool), unseen=torch.zeros(20, dtype=torch.bool))
    data = data_from_splits("known", split, split)
    assert evaluate_split(known(), data, split).group_accuracies == {"seen": right.mean().item()}
    plain, _ = make_split(20)
    assert evaluate_split(known(), data, plain).group_accuracies == {}
    batches = Batches(split, batch_size=6, mean=torch.zeros(2 * K), std=torch.ones(2 * K), shuffle=False)
    assert evaluate_batches(known(), batches).group_accuracies == {}


def test_groups_stay_with_their_samples_in_a_part_of_the_split():
    odd = torch.arange(60) % 2 == 1
    split, right = make_split(60, odd=odd)
    data = data_from_splits("known", split, split)
    rows = torch.randperm(60)[:25]
    found = evaluate_split(known(), data, split.subset(rows)).group_accuracies
    assert found == {"odd": right[rows][odd[rows]].mean().item()}


# --- from the spec to the result --------------------------------------------------------------------------------------

PAIRS = DataSpec(classes=3, compose="side", num_train=180, num_test=45, held_out=0.25, seed=1)
SPEC = RunSpec(
    data=PAIRS,
    network=NetworkSpec(name="mlp", options={"depth": 2, "hidden": 16}),
    rule=RuleSpec(name="class-goodness", options={"factors": "3x3"}),
    recipe=Recipe(epochs=4, batch_size=32, learning_rate=0.01),
)


def test_a_composed_task_ends_with_accuracies_of_seen_and_unseen_pairs_and_its_separability(tmp_path):
    result = run_spec(SPEC, RunStore(tmp_path / "runs")).result
    groups = result["group_accuracies"]
    assert set(groups) == {"seen", "unseen"}
    # 5 test images of each of 9 pairs, 2 pairs (0.25 · 9 = 2.25) held out
    assert result["test_accuracy"] == pytest.approx((35 * groups["seen"] + 10 * groups["unseen"]) / 45)
    assert groups["unseen"] == pytest.approx(round(10 * groups["unseen"]) / 10)
    assert groups["seen"] > 3 / 9
    assert (result["num_classes"], result["num_test"], result["chance"]) == (9, 45, 5 / 45)
    assert len(result["data"]["class_names"]) == 9
    data = load_data(**PAIRS.model_dump())
    assert result["data"]["separability"] == measure_separability(data)
    assert 0.6 < result["data"]["separability"] <= 1 and data.test_reads == 0


def test_a_task_without_pairs_has_no_groups(tmp_path):
    plain = SPEC.model_copy(
        update={"data": DataSpec(source="teacher_student", classes=3, num_train=90, num_test=30), "rule": RuleSpec()}
    )
    result = run_spec(plain.model_copy(update={"recipe": Recipe(epochs=1)}), RunStore(tmp_path / "runs")).result
    assert result["group_accuracies"] == {} and 0.5 < result["data"]["separability"] <= 1
