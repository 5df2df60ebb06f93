"""The contract on networks for text and on transformers: who keeps it, who refuses text, and that what breaks a clause is caught there too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from layerlocal import InputError, Split, data_from_splits, list_rules
from layerlocal.measure import measure_saved_bytes
from layerlocal.measure.bench import CONTEXT, DEEP, FOLLOWS, SHALLOW, VOCABULARY, Bench
from layerlocal.measure.contract import check_rule, conclude
from layerlocal.networks.transformer import TransformerBlock
from layerlocal.rules import LocalHeads, RuleInfo, rule_class
from layerlocal.types import BlockLoss

MAKES_INPUTS = {"ff", "symba", "scff", "sigprop"}
READS_TEXT = sorted(set(list_rules()) - MAKES_INPUTS - {"diffusion-blocks"})  # that one is for a vit
SMALL = {"hidden": 32, "depth": 2}
OWN = """
from torch import nn
from layerlocal import Network


def words(vocabulary, context, features=8):
    blocks = [nn.Embedding(vocabulary, features), nn.Sequential(nn.Linear(features, features), nn.ReLU())]
    return Network(blocks, sample_shape=(context,), vocabulary=vocabulary)


def one_answer(vocabulary, context):
    return Network([nn.Embedding(vocabulary, 8)], sample_shape=(context,), vocabulary=vocabulary, tokens="mean")
"""


def failures(rule, network="gpt", options=SMALL):
    """Clause → message for every clause that does not hold."""
    found = check_rule(rule, network=network, network_options=options)
    return {result.name: result.message for result in found if not result.passed and result.measured}


@pytest.mark.parametrize("name", READS_TEXT)
def test_every_rule_that_reads_text_keeps_the_contract_on_it(name):
    assert failures(name) == {}


@pytest.mark.parametrize("name", sorted(MAKES_INPUTS))
def test_a_rule_that_makes_inputs_is_no_broken_one_but_refuses_text(name):
    with pytest.raises(InputError, match=f"rule '{name}' makes inputs of its own"):
        check_rule(name, network="gpt")


@pytest.mark.parametrize("name", ["class-goodness", "bp", "dtg-ff", "ff"])
def test_rules_keep_the_contract_on_a_vit(name):
    assert failures(name, "vit", {"hidden": 48, "depth": 2, "patch": 8}) == {}


class NoBoundary(LocalHeads):
    info = RuleInfo(name="cheat", locality="block")

    def losses(self, x, y):
        for index, block in enumerate(self.network.blocks):
            x = block(x)
            yield BlockLoss(f"block{index}", self.block_loss(index, x, y)[0], {})


class AllAtOnce(LocalHeads):
    info = RuleInfo(name="cheat", locality="block")

    def losses(self, x, y):
        yield from list(super().losses(x, y))


class LooksAhead(LocalHeads):
    info = RuleInfo(name="cheat", locality="block")

    def block_scores(self, x):
        return super().block_scores(x) + super().block_scores(x).mean(1, keepdim=True)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (NoBoundary, "a gradient boundary .detach. is missing"),
        (AllAtOnce, r"saved bytes at depth 12 are 1\.\d+ × those at 6"),
        (LooksAhead, "the score of a sample depends on the others of its batch"),
    ],
)
def test_what_breaks_a_clause_is_caught_on_text(rule, words):
    found = failures(rule)
    assert any(re.search(words, message) for message in found.values()), found


def test_memory_is_compared_on_the_named_network_where_it_has_a_depth_and_equal_blocks():
    deep = Bench(LocalHeads, {}, "gpt", SMALL).network(DEEP)
    assert deep.depth == DEEP and all(isinstance(part, TransformerBlock) for part in list(deep.blocks)[1:])
    assert Bench(LocalHeads, {}, "vit").deepens and not Bench(LocalHeads, {}, "vgg8").deepens
    assert Bench(LocalHeads, {}, "vgg8").network(DEEP).depth == DEEP  # plain blocks


def test_what_a_gathering_rule_keeps_of_each_block_is_a_vector_a_token():
    bench = Bench(rule_class("dtg-ff"), {}, "gpt", SMALL)
    peaks = [measure_saved_bytes(bench.make(d), bench.x, bench.y)["peak_saved_bytes"] for d in (SHALLOW, DEEP)]
    assert peaks[1] - peaks[0] == (DEEP - SHALLOW) * 4 * 12 * CONTEXT * 32


def test_the_toy_text_is_learned_up_to_its_noise_and_its_labels_are_the_next_tokens():
    train = Bench(LocalHeads, {}, "gpt").toy_data().train
    x, y = train.images.long(), train.labels
    assert torch.equal(x[:, 1:], y[:, :-1])
    share = ((x + 1) % VOCABULARY == y).double().mean().item()
    expected = FOLLOWS + (1 - FOLLOWS) / VOCABULARY
    assert share == pytest.approx(expected, abs=4 * (expected * (1 - expected) / y.numel()) ** 0.5)


def test_a_network_for_text_of_ones_own_is_checked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(OWN)
    assert failures("local-heads", "own.py:words", {"features": 16}) == {}
    assert conclude("local-heads", [], "own.py:words").endswith("--network own.py:words --data python_library`")
    with pytest.raises(InputError, match="has 16 labels, and the network is read for 1"):
        check_rule("local-heads", network="own.py:one_answer")


def test_splits_of_tokens_are_a_task_whose_classes_are_the_vocabulary():
    tokens = torch.tensor([[0, 1, 2, 1], [1, 1, 5, 0]], dtype=torch.uint8)
    split = Split(tokens[:, :-1], tokens[:, 1:].long(), tokens=True)
    data = data_from_splits("numbers", split, split)
    assert (data.num_classes, data.vocabulary, data.label_shape, data.sample_shape) == (6, 6, (3,), (3,))
    assert data.chance == pytest.approx(3 / 6)  # the label 1, thrice of six
    images = Split(torch.zeros(2, 3), torch.tensor([0, 1]))
    with pytest.raises(InputError, match="the test split holds float32 numbers, the training split tokens"):
        data_from_splits("numbers", split, images)
