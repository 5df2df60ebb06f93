"""What `certify` refuses, in one sentence, with the model as it was."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from layerlocal.measure.certify import certify, certify_file
from layerlocal.types import InputError
from steps_by_hand import B, D, X, adam, blocks, greedy, loss_of, sgd


def refused(step, groups, state=None):
    """The sentence; every parameter of the groups is as it was."""
    held = [p for group in groups for p in (group.parameters() if isinstance(group, nn.Module) else group)] if (
        isinstance(groups, list | nn.ModuleList)
    ) else []  # fmt: skip
    held = [p for p in held if isinstance(p, nn.Parameter)]
    before = [(p.detach().clone(), p.grad) for p in held]
    with pytest.raises(InputError) as caught:
        certify(step, groups, state)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(p, old) and p.grad is grad for p, (old, grad) in zip(held, before, strict=True))
    return str(caught.value)


def fed_by(batches, parts=None):
    """A step that takes its batch from an iterator."""
    parts = parts or blocks()
    optimizer = adam(parts)

    def step():
        h = next(batches)
        for block in parts:
            h = block(h.detach())
            loss_of(h).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step, parts


# --- a step that does not repeat itself ---------------------------------------------------------------------------------


def test_a_loader_that_goes_on_is_named_and_what_to_do_is_said():
    said = refused(*fed_by(iter(torch.randn(50, B, D))))
    assert "does not repeat itself" in said
    assert "`batches` goes on at every call: take one batch before, and let the step use that" in said


def test_a_loader_that_ends_is_named():
    said = refused(*fed_by(iter([X, X, X])))
    assert "StopIteration" in said and "`batches` goes on at every call" in said


def test_a_loader_that_gives_the_same_batch_for_ever_is_no_mistake():
    assert certify(*fed_by(itertools.cycle([X])))["locality"] == "block"


class Counted:
    calls = 0


def test_a_counter_in_a_class_is_told_from_rounding():
    parts = blocks()
    optimizer = sgd(parts)

    def step():
        Counted.calls += 1
        h = X * Counted.calls
        for block in parts:
            h = block(h.detach())
            loss_of(h).backward()
        optimizer.step()
        optimizer.zero_grad()

    said = refused(step, parts)
    assert "does not repeat itself" in said and "name in `state` what else it keeps" in said


class Opaque:
    """Its count is nowhere in Python's own attributes; only ``state_dict`` has it."""

    __slots__ = ("count",)

    def __init__(self):
        self.count = 0

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def test_state_that_is_given_is_put_back_by_its_state_dict():
    parts, kept = blocks(), Opaque()
    optimizer = sgd(parts)

    def step():
        kept.count += 1
        h = X * kept.count
        for block in parts:
            h = block(h.detach())
            loss_of(h).backward()
        optimizer.step()
        optimizer.zero_grad()

    assert "does not repeat itself" in refused(step, parts)
    kept.count = 0
    assert certify(step, parts, [kept])["repeats"]
    assert kept.count == 0


# --- groups that are no division of what is trained ----------------------------------------------------------------------


def test_parameters_that_are_left_out_are_named_with_their_optimizer():
    step, parts = greedy()
    said = refused(step, parts[:3])
    assert "optimizer trains parts.3.0.weight of shape (16, 16), which is in no group" in said


def test_parameters_that_are_changed_by_hand_outside_of_the_groups_are_named():
    parts, reader = blocks(), nn.Linear(D, D)
    optimizer = sgd(parts)

    def step():
        h = X
        for block in parts:
            h = block(h.detach())
            loss_of(reader(h)).backward()
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            for p in reader.parameters():
                p.sub_(0.1 * p.grad)
                p.grad = None

    before = reader.weight.detach().clone()
    assert "the step trains reader.weight of shape (16, 16), which is in no group" in refused(step, parts)
    assert torch.equal(reader.weight, before) and reader.weight.grad is None


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        (lambda parts: [parts, parts[1]], "group0 and group1 overlap"),
        (lambda parts: [parts[0], parts[0]], "group0 and group1 overlap"),
        (lambda parts: [list(parts[0].parameters()), list(parts.parameters())], "group0 and group1 overlap"),
        (lambda parts: [parts[0], list(parts[0].parameters())], "group0 and group1 overlap"),
        (lambda parts: [parts], "two or more"),
        (lambda parts: [], "two or more"),
        (lambda parts: nn.Sequential(), "two or more"),
        (lambda parts: nn.Linear(2, 2), "give its parts in forward order"),
        (lambda parts: parts[0][0].weight, "groups must be a list of modules"),
        (lambda parts: 3, "groups must be a list of modules"),
        (lambda parts: "blocks", "groups must be a list of modules"),
        (lambda parts: [parts[0], nn.ReLU()], r"group1 \(ReLU\) has no parameters"),
        (lambda parts: [parts[0], []], "group1 has no parameters"),
        (lambda parts: [parts[0], 5], "group1 must be a module or a list of parameters, got 5"),
        (lambda parts: [parts[0], [5]], "group1 must hold modules or parameters, got 5"),
        (lambda parts: [parts[0], nn.LazyLinear(3)], "without a shape yet"),
        (lambda parts: [parts[0], nn.Linear(3, 3, device="meta")], "meta device"),
        (lambda parts: [[nn.Parameter(torch.zeros(1))] for _ in range(300)], "256 at most, got 300"),
    ],
)
def test_groups_that_are_none_are_refused(cut, words):
    step, parts = greedy()
    with pytest.raises(InputError, match=words):
        certify(step, cut(parts))


# --- a step that is none --------------------------------------------------------------------------------------------------


def raises(error):
    parts = blocks()
    optimizer = adam(parts)

    def step():
        loss_of(parts[0](X)).backward()
        optimizer.step()
        raise error

    return step, parts


@pytest.mark.parametrize(
    "error", [ValueError("half-way"), KeyError("x"), SystemExit(3), AssertionError(), RuntimeError("a\nb")]
)
def test_a_step_that_raises_half_way_is_told_and_the_model_is_as_it_was(error):
    said = refused(*raises(error))
    assert (
        said.startswith("the step raised")
        and "steps" not in said.partition(" at ")[0]
        and said.endswith("the model is as it was")
    )


def test_an_interrupt_is_passed_on_and_the_model_is_as_it_was():
    step, parts = raises(KeyboardInterrupt())
    before = [p.detach().clone() for p in parts.parameters()]
    with pytest.raises(KeyboardInterrupt):
        certify(step, parts)
    assert all(torch.equal(p, old) for p, old in zip(parts.parameters(), before, strict=True))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_step_that_needs_a_missing_gpu_says_so():
    assert refused(lambda: X.cuda(), blocks()).startswith("the step needs a GPU, and torch finds none here")


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (lambda: None, "change no parameter"),
        (lambda x: None, "without arguments"),
        (3, "without arguments"),
    ],
)
def test_what_trains_nothing_is_no_step(step, words):
    assert words in refused(step, blocks())


def test_numbers_that_are_not_finite_are_refused():
    parts = blocks()
    optimizer = sgd(parts)

    def step():
        (loss_of(parts[0](X)) * float("nan")).backward()
        optimizer.step()

    assert "group0 that are not finite" in refused(step, parts)


def test_state_without_a_state_dict_is_refused():
    assert "state must list what has a state_dict" in refused(*greedy(), state=[3])


# --- a file ---------------------------------------------------------------------------------------------------------------

FILE = """
import torch
from torch import nn
from beside import X

def made():
    blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
    optimizer = torch.optim.Adam(blocks.parameters())
    def step():
        h = X
        for block in blocks:
            h = block(h.detach())
            h.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return step, blocks, [optimizer]

def one():
    return made()[0]

def fails():
    raise OSError("no data here")

def on_gpu():
    return made()[0], torch.zeros(3, device="cuda")
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FILE)
    (tmp_path / "beside.py").write_text("import torch\nX = torch.randn(8, 4)\n")
    yield "mine.py"
    import sys

    sys.modules.pop("beside", None)


def test_a_file_is_certified_with_what_lies_beside_it(file):
    import sys

    before = list(sys.path)
    assert certify_file("mine.py:made")["locality"] == "block"
    assert sys.path == before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mine.py", "FILE.py:FUNCTION"), ("mine", "FILE.py:FUNCTION"), ("mine.py:", "FILE.py:FUNCTION"),
        ("away.py:made", "cannot read the step file away.py"), ("mine.py:maid", "Did you mean 'made'"),
        ("mine.py:X", "unknown function 'X'; known: fails, made, on_gpu, one"), ("mine.py:one", "must return"),
        ("mine.py:fails", "mine.py:fails raised OSError at mine.py:.*: no data here"),
    ],
)  # fmt: skip
def test_a_file_that_gives_no_step_is_refused(file, name, words):
    with pytest.raises(InputError, match=words):
        certify_file(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_file_that_needs_a_missing_gpu_says_so(file):
    with pytest.raises(InputError, match=r"mine\.py:on_gpu needs a GPU, and torch finds none here"):
        certify_file("mine.py:on_gpu")


def test_a_file_that_does_not_import_is_refused(file, tmp_path):
    (tmp_path / "bad.py").write_text("import nowhere_to_be_found\n")
    with pytest.raises(InputError, match=r"bad\.py does not import: ModuleNotFoundError"):
        certify_file("bad.py:made")
