"""What is typed is read once and as it was meant: settings beside options, long and deep values, numbers of any size, lists of names."""

from __future__ import annotations

import json

import pytest

from layerlocal import InputError, Recipe, RunSpec
from layerlocal.spec import parse_value
from layerlocal.types import shown

TINY = [
    "train", "--data", "teacher_student", "--set", "data.classes=3", "--set", "data.num_train=96", "--set", "data.num_test=32",
    "--network", "mlp", "--set", "network.depth=2", "--set", "network.hidden=16", "--set", "recipe.batch_size=32", "--json",
]  # fmt: skip


def test_an_option_and_its_setting_mean_the_same_and_exclude_each_other(cli, refused):
    by_option = cli(*TINY, "--epochs", "1", "--seed", "3", "--rule", "bp")
    by_setting = cli(*TINY, "--set", "recipe.epochs=1", "--set", "seed=3", "--set", "rule.name=bp")
    assert by_option[0] == by_setting[0] == 0
    assert json.loads(by_option[1])["run"] == json.loads(by_setting[1])["run"]
    said = refused(*TINY, "--epochs", "1", "--set", "recipe.epochs=1")
    assert "recipe.epochs" in said and "--epochs and by --set" in said
    assert "--set has 'network.depth' twice" in refused(*TINY, "--set", "network.depth=3")


@pytest.mark.parametrize("depth", [900, 2000])
def test_a_value_nested_deep_is_refused_wherever_its_depth_is_too_much(depth):
    with pytest.raises(InputError, match=r"nested too deep|Input should be"):
        RunSpec().with_settings({"rule.grid": parse_value("[" * depth + "]" * depth)})


def test_numbers_of_64_bits_are_taken_and_larger_ones_refused():
    assert RunSpec(seed=2**63 - 1).seed == 2**63 - 1
    for make in (
        lambda: RunSpec(seed=2**63),
        lambda: Recipe(batch_size=2**64),
        lambda: RunSpec().with_settings({"rule.grid": 10**30}),
    ):
        with pytest.raises(InputError, match="at most 64 bits"):
            make()


def test_a_value_is_shown_as_it_is_unless_it_is_too_long_for_a_sentence():
    assert [shown(value) for value in ("grid", 4, [1, 2], None)] == ["'grid'", "4", "[1, 2]", "None"]
    nested: list = []
    for _ in range(5000):
        nested = [nested]
    for value in ("a" * 5000, list(range(5000)), nested, 10**3000, 10**6000):
        assert len(shown(value)) <= 210 and "\n" not in shown(value)


def test_help_comes_without_words_and_a_slip_names_the_command_whose_help_helps(cli, refused):
    code, out, err = cli()
    assert (code, err) == (2, "") and "layerlocal audit" in out
    assert "'adit'. Did you mean 'audit'?" in refused("adit")
    assert refused("train", "--epoch", "1").endswith("see `layerlocal train --help`")


def test_a_name_given_twice_in_a_list_counts_once_and_a_list_without_a_name_is_refused(cli, refused):
    words = ["study", "composition", "--dry-run", "--json"]
    once, twice = (
        json.loads(cli(*words, "--rules", rules)[1]) for rules in ("local-heads", "local-heads,local-heads,")
    )
    assert once["planned"] == twice["planned"] > 0
    assert "--rules needs a name" in refused(*words, "--rules", ",")
