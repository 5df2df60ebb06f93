"""Options of a rule: their types are those that its signature declares, whatever its own checks look at."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from layerlocal.networks import create_network
from layerlocal.rules import (
    BlockwiseRule,
    LocalHeads,
    Rule,
    RuleInfo,
    create_rule,
    find_rule,
    register_rule,
)  # fmt: skip
from layerlocal.types import InputError


class Typed(BlockwiseRule):
    """One option of every kind."""

    info = RuleInfo(name="typed", locality="block")

    def __init__(
        self, network, *, num_classes, seed=None, flag: bool = True, count: int = 2, share: float = 0.5, word: str = "a",
        maybe: float | None = None, either: int | str = 1, whole=3, on=False, other: list[int] | None = None, open=None,
    ):  # fmt: skip
        super().__init__(network, num_classes=num_classes, seed=seed)


GOOD = [
    {"flag": False}, {"count": 3}, {"count": np.int64(3)}, {"share": 1}, {"share": np.float32(0.25)}, {"word": ""}, {"maybe": None},
    {"maybe": 2}, {"either": "b"}, {"either": 4}, {"whole": 2.5}, {"on": True}, {"other": [1]}, {"other": "free"}, {"open": "free"},
]  # fmt: skip
BAD = [
    ({"flag": 1}, "flag of rule 'typed' must be true or false, got 1"),
    ({"flag": "False"}, "flag of rule 'typed' must be true or false, got 'False'"),
    ({"count": 2.0}, "count of rule 'typed' must be a whole number, got 2.0"),
    ({"count": True}, "count of rule 'typed' must be a whole number, got True"),
    ({"share": math.nan}, "share of rule 'typed' must be a finite number, got nan"),
    ({"share": -math.inf}, "share of rule 'typed' must be a finite number, got -inf"),
    ({"share": None}, "share of rule 'typed' must be a finite number, got None"),
    ({"word": True}, "word of rule 'typed' must be text, got True"),
    ({"word": 3}, "word of rule 'typed' must be text, got 3"),
    ({"maybe": "b"}, "maybe of rule 'typed' must be a finite number or null, got 'b'"),
    ({"either": 1.5}, "either of rule 'typed' must be a whole number or text, got 1.5"),
    ({"whole": "b"}, "whole of rule 'typed' must be a finite number, got 'b'"),
    ({"on": 0}, "on of rule 'typed' must be true or false, got 0"),
    ({"shares": 1}, "unknown option of rule 'typed': 'shares'; .* Did you mean 'share'"),
]


def network():
    return create_network("cnn4", in_channels=3, image_size=8, width=0.25)


@pytest.mark.parametrize("options", GOOD, ids=str)
def test_a_value_of_the_declared_type_is_taken(options):
    create_rule(Typed, network(), num_classes=3, **options)


@pytest.mark.parametrize(("options", "words"), BAD, ids=str)
def test_another_type_is_refused_in_one_sentence(options, words):
    with pytest.raises(InputError, match=words):
        create_rule(Typed, network(), num_classes=3, **options)


@pytest.mark.parametrize("twin", ["bp", "bp-deepsup", "segmented", "bp-every", "feedback", "lookahead"])
def test_a_twin_checks_the_options_of_its_rule_and_hides_its_own_workings(twin):
    with pytest.raises(InputError, match=r"temperature_gain of rule 'class-goodness' .*got 'abc'"):
        create_rule(twin, network(), num_classes=3, of="class-goodness", temperature_gain="abc")
    public = {"segmented": {"segments", "readouts"}, "bp-deepsup": {"segments"}}.get(twin, set())
    for hidden in {"segments", "readouts"} - public:
        with pytest.raises(InputError, match=f"unknown option of rule '{twin}': '{hidden}'"):
            create_rule(twin, network(), num_classes=3, of="class-goodness", **{hidden: 5})
    for option in public:
        with pytest.raises(InputError, match=f"{option} of rule '{twin}'"):
            create_rule(twin, network(), num_classes=3, of="class-goodness", **{option: 5})
    with pytest.raises(InputError, match=r"a rule is a name, .*got 5"):
        create_rule(twin, network(), num_classes=3, of=5)


@pytest.mark.parametrize("name", [5, None, dict, LocalHeads.__init__])
def test_what_is_no_rule_is_refused(name):
    with pytest.raises(InputError, match="a rule is a name"):
        create_rule(name, network(), num_classes=3)


def test_a_rule_file_without_its_class_names_the_classes_of_its_own(tmp_path: Path):
    file = tmp_path / "mine.py"
    file.write_text("from layerlocal.rules import BlockwiseRule, LocalHeads\nclass Mine(BlockwiseRule): pass\n")
    for name in (str(file), f"{file}:Wrong"):
        with pytest.raises(InputError, match=r"it has: Mine$"):
            find_rule(name)


def test_a_rule_without_heads_says_what_to_fill():
    class Bare(BlockwiseRule):
        info = RuleInfo(name="bare", locality="block")

    rule: Rule = Bare(network(), num_classes=3)
    with pytest.raises(InputError, match=r"Bare .*head .*block0: .*self\.head_per_block"):
        rule.block_scores(rule.network.prepare(torch.zeros(2, 3, 8, 8)))


def test_a_rule_is_registered_once_and_only_as_a_rule(monkeypatch):
    monkeypatch.setattr("layerlocal.rules.core.registry._RULES", {"bp": find_rule("bp")})

    def define(name):
        return type("Mine", (BlockwiseRule,), {"info": RuleInfo(name=name, locality="block"), "__module__": __name__})

    assert register_rule(define("mine")) is find_rule("mine")
    again = register_rule(define("mine"))  # a cell of a notebook that is run twice
    assert find_rule("mine") is again
    with pytest.raises(InputError, match=r"Mine .*'bp', .*layerlocal\.rules\.twins\.BP"):
        register_rule(define("bp"))
    for value in (None, 5, "bp", dict, LocalHeads.__init__):
        with pytest.raises(InputError, match="a rule is "):
            register_rule(value)
    with pytest.raises(InputError, match="BlockwiseRule declares no info"):
        register_rule(BlockwiseRule)
    for value in (None, 5, ""):
        with pytest.raises(InputError, match=r"a rule is named .*got"):
            RuleInfo(name=value, locality="block")


def test_what_is_no_network_and_what_is_no_number_of_classes_make_no_rule():
    for value in (None, 5, "mlp", torch.nn.Linear(3, 3)):
        with pytest.raises(InputError, match=r"Network, got .*create_network"):
            create_rule("bp", value, num_classes=3)
    for value in (0, 1, -5, 2.0, math.nan, None, "3", True, 10**9):
        with pytest.raises(InputError, match="num_classes"):
            create_rule("bp", network(), num_classes=value)
    assert create_rule("bp", network(), num_classes=np.int64(3)).num_classes == 3


@pytest.mark.parametrize("readouts", [[], [3], [-1, 0]])
def test_readouts_are_at_blocks_that_there_are(readouts):
    rule = create_rule("local-heads", network(), num_classes=3)
    with pytest.raises(InputError, match="blocks 0 to 3"):
        rule.keep_readouts([4, *readouts] if readouts == [3] else readouts)
