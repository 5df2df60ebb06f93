"""Sentences that the pages quote are those that the program says: of broken rules, of networks that are refused, of claims, of pictures."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from documents import ROOT, blocks
from layerlocal import (
    BlockLoss,
    BlockwiseRule,
    InputError,
    Network,
    RuleInfo,
    SpatialReadout,
    create_network,
    create_rule,
    fit,
    load_weights,
)
from layerlocal.measure import contract

RULES, NETWORKS = ROOT / "docs/own-rules.md", ROOT / "docs/networks.md"


class Heads(BlockwiseRule):
    info = RuleInfo(name="heads", locality="block")

    def __init__(self, network, *, num_classes, seed=None):
        super().__init__(network, num_classes=num_classes, seed=seed)
        shapes = network.activity_shapes
        self.heads = self.head_per_block(lambda i: SpatialReadout(shapes[i], num_classes, grid=2))

    def loss_of(self, index, activity, y):
        return cross_entropy(self.block_score(index, activity), y)


class NoDetach(Heads):
    def losses(self, x, y):
        h = self.network.prepare(x)
        for index, block in enumerate(self.network.blocks):
            h = block(h)
            yield BlockLoss(self.network.block_names[index], self.loss_of(index, h, y), {})


class AllGraphs(Heads):
    def losses(self, x, y):
        h, found = self.network.prepare(x), []
        for index, block in enumerate(self.network.blocks):
            h = block(h.detach())
            found.append(BlockLoss(self.network.block_names[index], self.loss_of(index, h, y), {}))
        yield from found


class OneSum(Heads):
    def losses(self, x, y):
        h, total = self.network.prepare(x), torch.zeros(())
        for index, block in enumerate(self.network.blocks):
            h = block(h.detach())
            total = total + self.loss_of(index, h, y)
        yield BlockLoss("all", total, {})


class OneHead(Heads):
    def __init__(self, network, *, num_classes, seed=None):
        super().__init__(network, num_classes=num_classes, seed=seed)
        shared = SpatialReadout(network.activity_shapes[0], num_classes, grid=2)
        self.heads = nn.ModuleDict({name: shared for name in network.block_names})


class NextWeights(Heads):
    def local_loss(self, index, activity, y):
        later = self.network.block_names[min(index + 1, self.network.depth - 1)]
        return self.loss_of(index, activity, y) * self.heads[later].linear.weight.detach().norm(), {}


class BatchScores(Heads):
    def block_score(self, index, activity):
        score = super().block_score(index, activity)
        return (score - score.mean(0)) / (score.std(0, correction=0) + 1e-5)


class PlainList(Heads):
    def __init__(self, network, *, num_classes, seed=None):
        super().__init__(network, num_classes=num_classes, seed=seed)
        self.centre = [torch.zeros(num_classes) for _ in network.block_names]

    def local_loss(self, index, activity, y):
        score = self.block_score(index, activity)
        self.centre[index] = 0.9 * self.centre[index] + 0.1 * score.detach().mean(0)
        return cross_entropy(score, y), {}

    def block_score(self, index, activity):
        return super().block_score(index, activity) - self.centre[index]


class OwnDraws(Heads):
    def local_loss(self, index, activity, y):
        return self.loss_of(index, activity * torch.from_numpy(np.random.rand(*activity.shape) > 0.1), y), {}


class TwoPasses(Heads):
    def losses(self, x, y):
        with torch.no_grad():
            self.network(x)
        yield from super().losses(x, y)


class Idle(Heads):
    def __init__(self, network, *, num_classes, seed=None):
        super().__init__(network, num_classes=num_classes, seed=seed)
        for head in self.heads.values():
            head.scale = nn.Parameter(torch.ones(()))


class OfNoBlock(Heads):
    def __init__(self, network, *, num_classes, seed=None):
        super().__init__(network, num_classes=num_classes, seed=seed)
        self.margin = nn.Parameter(torch.ones(()))

    def local_loss(self, index, activity, y):
        return cross_entropy(self.margin * self.block_score(index, activity), y), {}


class GraphInMetric(Heads):
    def local_loss(self, index, activity, y):
        loss = self.loss_of(index, activity, y)
        return loss, {"loss": loss}


MISTAKES = {
    NoDetach: contract.check_losses, AllGraphs: contract.check_memory, OneSum: contract.check_locality, OneHead: contract.check_locality,
    NextWeights: contract.check_locality, BatchScores: contract.check_scores, PlainList: contract.check_state_dict,
    OwnDraws: contract.check_repeatable, TwoPasses: contract.check_passes, Idle: contract.check_every_parameter,
    OfNoBlock: contract.check_locality, GraphInMetric: contract.check_losses,
}  # fmt: skip


@pytest.mark.parametrize("rule", MISTAKES, ids=lambda rule: rule.__name__)
def test_what_the_page_on_own_rules_says_of_a_mistake_is_what_check_says(rule):
    """Up to the first comma or semicolon that begins a list, which the page cuts short."""
    with pytest.raises(Exception) as error:
        MISTAKES[rule](contract.Bench(rule, {}))
    said, page = str(error.value), RULES.read_text()
    assert said in page or re.split(r"[,;] ", said)[0] in page, said


def test_a_misspelt_method_is_warned_of_as_the_page_says():
    with pytest.warns(UserWarning) as caught:
        type("Typo", (Heads,), {"local_los": lambda self: None})
    assert str(caught[0].message) in RULES.read_text()


def test_the_page_has_a_line_for_every_clause_of_the_contract():
    [table] = re.findall(r"\| clause \|.*?\n\n", RULES.read_text(), re.DOTALL)
    assert table.count("\n| ") == len(contract.CHECKS)


def functions(source, name):
    """The functions of a class, as syntax: without comments, layout and annotations."""
    [found] = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef) and node.name == name]
    functions = {node.name: node for node in found.body if isinstance(node, ast.FunctionDef)}
    for node in functions.values():
        node.returns = None
        for argument in (*node.args.args, *node.args.kwonlyargs):
            argument.annotation = None
    return {name: ast.dump(node) for name, node in functions.items()}


def test_the_rule_of_the_page_is_the_one_in_the_example():
    [block] = [block for block in blocks(RULES.read_text(), "python") if "class LogisticMargin" in block]
    example = (ROOT / "examples/my_rule.py").read_text()
    assert functions(block, "LogisticMargin") == functions(example, "LogisticMargin") != {}


def small_resnet():
    """As the page defines it."""
    namespace = {"__name__": "page", "nn": nn, "torch": torch}
    [block] = [block for block in blocks(NETWORKS.read_text(), "python") if "class SmallResNet" in block]
    exec(block, namespace)
    return namespace["SmallResNet"]()


def misfit():
    Network([nn.Conv2d(1, 16, 3, 2, 1), nn.Linear(16, 10)], sample_shape=(1, 28, 28))


def lossy():
    names = [["conv1", "bn1", "relu"], "layer1", "layer2", "avgpool", "fc"]
    Network.from_module(small_resnet(), names, sample_shape=(1, 28, 28))


def pickled():
    Path("model.pt").touch()
    load_weights(Network([nn.Linear(3, 4)], sample_shape=(3,)), "model.pt")


def shared():
    layer = nn.Linear(8, 8)
    Network([nn.Flatten(), nn.Linear(784, 8), layer, layer], sample_shape=(1, 28, 28))


def tokens():
    create_rule("ff", create_network("gpt", vocabulary=256, context=8, depth=1), num_classes=256)


def oblong():
    network = Network([nn.Conv2d(1, 4, 3)], sample_shape=(1, 20, 28))
    fit("class-goodness", (torch.rand(60, 1, 20, 28), torch.arange(60) % 3), network=network)


@pytest.fixture
def net(tmp_path, monkeypatch):
    """A file of the user's own, in the folder the work is done in."""
    monkeypatch.chdir(tmp_path)
    made = "nn.Sequential(nn.Conv2d(in_channels, 4, 3))"
    (tmp_path / "net.py").write_text(f"from torch import nn\n\ndef make(in_channels, image_size):\n    return {made}\n")


def from_file(**given):
    create_network("net.py:make", in_channels=1, image_size=28, **given)


REFUSED = {
    "no width": lambda: from_file(width=0.5),
    "plain module": from_file,
    "tuple": lambda: Network([nn.LSTM(28, 8)], sample_shape=(28, 28)),
    "shared": shared,
    "function": lambda: Network([lambda x: x], sample_shape=(8,)),
    "half": lambda: Network([nn.Sequential(nn.Conv2d(1, 8, 3)).half()], sample_shape=(1, 28, 28)),
    "whole module": lambda: Network(small_resnet(), sample_shape=(1, 28, 28)),
    "does not fit": misfit,
    "lost function": lossy,
    "other weights": lambda: load_weights(
        Network([nn.Sequential(nn.Linear(3, 4))], sample_shape=(3,)), nn.Linear(3, 4)
    ),
    "pickle": pickled,
    "roles": lambda: fit("local-heads", (torch.rand(60, 8), torch.arange(60) % 3), network="mlp", blocks="2 local"),
    "tokens": tokens,
    "oblong": oblong,
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_page_on_own_networks_says_of_a_refusal_is_what_is_said(case, net):
    with pytest.raises(InputError) as error:
        REFUSED[case]()
    assert str(error.value).replace("(precision='bf16' of a recipe computes in bf16 all the same)", "(…)") in (
        NETWORKS.read_text()
    )


def script(name, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    spec = importlib.util.spec_from_file_location(name, ROOT / f"scripts/{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_list_of_claims_has_the_verdicts_of_the_results(monkeypatch):
    """Where this fails, `python scripts/claims_table.py` writes it anew."""
    made, page = script("claims_table", monkeypatch), (ROOT / "docs/studies.md").read_text()
    claims = json.loads((ROOT / "results/claims.json").read_text())["claims"]
    assert made.table(claims) in page
    assert all(f"| {claim['id'].partition('@')[0]} | {claim['sentence']} |" in page for claim in claims)


def test_the_annotated_report_shows_the_numbers_of_the_results_with_a_line_for_every_mark(monkeypatch):
    """Where this fails, `python scripts/report_annotated.py` draws it anew."""
    Image = pytest.importorskip("PIL.Image")
    made = script("report_annotated", monkeypatch)
    assert made.PICTURE.stat().st_size < 300_000
    with Image.open(made.PICTURE) as picture:
        assert picture.text["shows"] == made.mark(made.AUDIT)
    explained = re.findall(r"^(\d+)\. ", (ROOT / "docs/report.md").read_text(), re.MULTILINE)
    assert explained == [str(number) for number in range(1, len(made.MARKS) + 1)]
