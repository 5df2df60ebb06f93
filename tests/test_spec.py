"""The spec: one hash for one run, whatever the order of keys; another for any field changed; frozen; errors that list what is known."""

from __future__ import annotations

import hashlib
import json
import math
import shlex

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError

from layerlocal.command import command_of
from layerlocal.runs.specs import SpecReader, spec_texts
from layerlocal.spec import (
    PROTOCOL,
    DataSpec,
    NetworkSpec,
    Recipe,
    RuleSpec,
    RunSpec,
    parse_value,
)
from layerlocal.types import InputError

OTHER = {
    "protocol": PROTOCOL + 1,
    "seed": 1,
    "judged_on": "validation",
    "data.source": "cifar10",
    "data.labels": "coarse",
    "data.classes": 5,
    "data.image_size": 16,
    "data.num_train": 1000,
    "data.num_test": 100,
    "data.validation": 0.2,
    "data.seed": 1,
    "data.teacher": {"hidden": 8},
    "network.name": "mlp",
    "network.width": 0.5,
    "network.channels_last": False,
    "network.compile": True,
    "network.fused": True,
    "network.options": {"depth": 3},
    "network.source_sha256": "1" * 64,
    "network.start": "weights.safetensors",
    "network.start_sha256": "2" * 64,
    "network.frozen": [0, 1],
    "rule.name": "ff",
    "rule.options": {"grid": 4},
    "rule.source_sha256": "0" * 64,
    "recipe.epochs": 3,
    "recipe.batch_size": 32,
    "recipe.micro_batches": 2,
    "recipe.optimizer": "sgd",
    "recipe.learning_rate": 0.1,
    "recipe.momentum": 0.5,
    "recipe.weight_decay": 0.0,
    "recipe.schedule": "linear",
    "recipe.warmup": 0.0,
    "recipe.clip": 1.0,
    "recipe.precision": "bf16",
    "recipe.crop": 2,
    "recipe.flip": True,
    "recipe.cutout": 4,
    "recipe.steps": 210,
    "recipe.checkpointing": True,
    "recipe.step_per_block": True,
    "recipe.norm_rate": 64.0,
    "recipe.average_every": 5,
    "data.draw": "within",
    "data.superclass": 3,
    "data.compose": "side",
    "data.held_out": 0.5,
    "data.test": 0.25,
    "data.context": 64,
    "data.content_sha256": "0123456789abcdef" * 4,
}
"""Another value for every field of the spec."""


def leaves(model=RunSpec, prefix=""):
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from leaves(inner, f"{prefix}{name}.")
        else:
            yield prefix + name


def changed(key):
    content = RunSpec().model_dump(mode="json")
    section, _, name = key.partition(".")
    if name:
        content[section][name] = OTHER[key]
    else:
        content[section] = OTHER[key]
    return RunSpec.parse(content)


def test_the_hash_differs_by_every_field():
    assert set(leaves()) - {"names"} == set(OTHER), "a field was added: say here what another value of it is"
    hashes = {RunSpec().hash} | {changed(key).hash for key in OTHER}
    assert len(hashes) == len(OTHER) + 1


def test_the_hash_is_16_digits_of_the_sha256_of_sorted_json():
    content = RunSpec().model_dump(mode="json")
    for later in ("draw", "superclass", "compose", "held_out"):  # younger than protocol 1: left out at their defaults
        del content["data"][later]
    del content["network"]["fused"]
    for later in ("steps", "checkpointing", "step_per_block"):
        del content["recipe"][later]
    del content["names"]
    content["rule"]["name"] = "dtg-ff"  # what it was called in protocol 1
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert RunSpec().canonical() == text
    assert RunSpec().hash == hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    "content",
    [
        {"recipe": {"momentum": 1.0}}, {"recipe": {"momentum": -0.1}}, {"recipe": {"warmup": 1.0}}, {"recipe": {"warmup": -0.1}},
        {"recipe": {"learning_rate": 0.0}}, {"recipe": {"learning_rate": 2e30}}, {"recipe": {"epochs": 0}}, {"recipe": {"steps": 0}},
        {"recipe": {"weight_decay": -1e-9}}, {"recipe": {"clip": 0.0}}, {"recipe": {"crop": -1}}, {"recipe": {"cutout": -1}},
        {"recipe": {"batch_size": 1}}, {"recipe": {"micro_batches": 0}}, {"data": {"validation": 1.0}}, {"data": {"validation": -0.1}},
        {"data": {"test": 0.0}}, {"data": {"test": 1.0}}, {"data": {"num_train": 0}}, {"network": {"width": 0.0}}, {"seed": -1},
    ],
    ids=str,
)  # fmt: skip
def test_a_number_just_outside_its_range_is_refused_by_the_name_of_its_field(content):
    [(section, value)] = content.items()
    with pytest.raises(InputError, match=next(iter(value)) if isinstance(value, dict) else section):
        RunSpec.parse(content)


@pytest.mark.parametrize(
    "recipe",
    [{"momentum": 0.0, "warmup": 0.0, "weight_decay": 0.0, "crop": 0, "cutout": 0}, {"learning_rate": 1e30, "batch_size": 2}],
    ids=str,
)  # fmt: skip
def test_the_ends_of_a_range_that_belong_to_it_are_taken(recipe):
    assert RunSpec.parse({"recipe": recipe}).recipe.model_dump().items() >= recipe.items()


CONTENT = "0123456789abcdef" * 4


def test_a_run_of_known_content_is_the_same_wherever_its_data_lie_and_however_they_are_asked_for():
    def spec(**data):
        return RunSpec(data=DataSpec(content_sha256=CONTENT, **data))

    assert spec(source="./s/x").hash == spec(source="s/x").hash == spec(source="/elsewhere/copy").hash
    assert spec(source="s/x", labels="coarse").hash == spec(source="s/x", image_size=32).hash
    assert spec(source="s/x").hash != RunSpec(data=DataSpec(source="s/x")).hash
    assert spec(source="s/x", num_train=100).hash != spec(source="s/x").hash
    assert spec(source="s/x", seed=1).hash != spec(source="s/x").hash


def test_words_are_what_was_asked_for_whatever_the_data_turned_out_to_be():
    asked = RunSpec(data=DataSpec(source="./s/x"))
    found = asked.with_content({asked.data.place: CONTENT})
    assert found.data.content_sha256 == CONTENT and found.hash != asked.hash
    assert found.words == asked.words == RunSpec(data=DataSpec(source="s/x")).words != RunSpec().words
    assert RunSpec(data=DataSpec(source="s/x")).words == RunSpec(data=DataSpec(source="s/x")).canonical()


def test_content_is_filled_in_by_place_and_never_replaced():
    other = "f" * 64
    spec = DataSpec(source="s/x", image_size=32)
    assert spec.with_content({DataSpec(source="s/x").place: CONTENT}) == spec
    assert spec.with_content({spec.place: CONTENT}).with_content({spec.place: other}).content_sha256 == CONTENT
    assert DataSpec().with_content({DataSpec().place: CONTENT}) == DataSpec(), "the embedded images need none"
    assert DataSpec(source="s/x", draw="across").place != DataSpec(source="s/x").place, "superclasses are content too"


def test_content_that_is_not_known_is_not_written():
    assert "content_sha256" not in RunSpec().model_dump_json()
    assert CONTENT in RunSpec(data=DataSpec(source="x", content_sha256=CONTENT)).model_dump_json()
    assert RunSpec().with_settings({"data.content_sha256": CONTENT}).data.content_sha256 == CONTENT


def test_specs_without_steps_keep_the_hash_they_had_before_there_were_steps():
    """The hash of ``RunSpec()`` as protocol 1 first had it."""
    without = RunSpec(recipe=Recipe(steps=None))
    assert without.hash == RunSpec().hash == "8f9d67e6013f456f"
    assert len({without.hash, *(RunSpec(recipe=Recipe(steps=n)).hash for n in (1, 2))}) == 3


def test_a_new_field_changes_no_hash_and_no_text_while_it_has_its_default():
    class Newer(Recipe):
        dropout: float = 0.0

    def spec(recipe):
        return RunSpec().model_copy(update={"recipe": recipe})

    assert spec(Newer()).hash == RunSpec().hash != spec(Newer(dropout=0.5)).hash
    assert Newer().model_dump_json() == Recipe().model_dump_json()
    assert Newer(dropout=0.5).model_dump() == Recipe().model_dump() | {"dropout": 0.5}


def test_a_network_of_ours_is_written_without_a_sum_and_one_s_own_with_it():
    assert "sha256" not in NetworkSpec().model_dump_json()
    own = NetworkSpec(name="net.py:net", source_sha256=CONTENT)
    assert RunSpec.parse(json.loads(RunSpec(network=own).model_dump_json())).network == own
    assert RunSpec().with_settings({"network.source_sha256": CONTENT}).network.source_sha256 == CONTENT


def test_the_hash_does_not_depend_on_the_order_of_keys_or_on_a_trip_through_json():
    one = RunSpec(rule=RuleSpec(name="ff", options={"theta": 2.0, "goodness": "mean"}), data=DataSpec(classes=(3, 1)))
    two = RunSpec(data=DataSpec(classes=(3, 1)), rule=RuleSpec(options={"goodness": "mean", "theta": 2.0}, name="ff"))
    again = RunSpec.parse(json.loads(json.dumps(one.model_dump(mode="json"))))
    assert one.hash == two.hash == again.hash and again == one


def test_whole_numbers_given_for_real_fields_name_the_same_run():
    assert RunSpec(network=NetworkSpec(width=1)).hash == RunSpec(network=NetworkSpec(width=1.0)).hash


@pytest.mark.parametrize("part", [RunSpec(), DataSpec(), NetworkSpec(), RuleSpec(), Recipe()])
def test_a_spec_is_frozen(part):
    for name in type(part).model_fields:
        with pytest.raises(ValidationError):
            setattr(part, name, getattr(part, name))


def test_changing_the_options_of_one_spec_in_place_does_not_change_another():
    options = {"depth": 3}
    spec = RunSpec(network=NetworkSpec(options=options))
    before = spec.hash
    options["depth"] = 4
    RunSpec().rule.options["grid"] = 9
    assert spec.hash == before and RunSpec().rule.options == {}


# --- settings ---------------------------------------------------------------------------------------------------------


def test_settings_reach_fields_and_what_is_no_field_of_rule_or_network_is_an_option():
    spec = RunSpec().with_settings(
        {
            "rule.temperature_max": 2.0,
            "rule.name": "class-goodness",
            "network.depth": 4,
            "network.width": 0.25,
            "recipe.epochs": 3,
            "data.classes": [0, 1],
            "data.teacher.hidden": 16,
            "seed": 7,
        }
    )
    assert spec.rule.options == {"temperature_max": 2.0} and spec.network.options == {"depth": 4}
    assert (spec.network.width, spec.recipe.epochs, spec.seed) == (0.25, 3, 7)
    assert spec.data.classes == (0, 1) and spec.data.teacher == {"hidden": 16}


def test_settings_add_to_options_and_leave_the_first_spec_as_it_was():
    first = RunSpec(rule=RuleSpec(options={"grid": 2}), data=DataSpec(teacher={"inputs": 8}))
    second = first.with_settings({"rule.fusion": "last", "data.teacher.hidden": 4})
    assert second.rule.options == {"grid": 2, "fusion": "last"} and second.data.teacher == {"inputs": 8, "hidden": 4}
    assert first.rule.options == {"grid": 2} and first.data.teacher == {"inputs": 8}


@pytest.mark.parametrize("key", ["epochs", "optimizer.lr", "rule", "seed.x", ""])
def test_an_unknown_setting_lists_the_known(key):
    with pytest.raises(InputError, match=r"unknown setting .*known: .*recipe\.epochs.*seed"):
        RunSpec().with_settings({key: 1})


@pytest.mark.parametrize(
    ("key", "near"),
    [("recipe.epoch", r" Did you mean 'recipe\.epochs'\?"), ("recipe.lr", ""), ("recipe.", ""), ("recipe.data", "")],
)
def test_an_unknown_setting_of_a_known_group_lists_that_group_alone(key, near):
    with pytest.raises(InputError, match=rf"known: recipe\.average_every(, recipe\.\w+)+\.{near}$"):
        RunSpec().with_settings({key: 1})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe.epochs": 0}, r"recipe.epochs.*equal to 1, got 0"),
        ({"recipe.steps": 0}, r"^recipe\.steps: .*got 0$"),
        ({"recipe.optimizer": "adam"}, "recipe.optimizer.*adamw.*got 'adam'"),
        ({"recipe.learning_rate": float("nan")}, "recipe.learning_rate"),
        ({"recipe.learning_rate": float("inf")}, "recipe.learning_rate"),
        ({"recipe.batch_size": 1}, "recipe.batch_size"),
        ({"recipe.warmup": 1.0}, "recipe.warmup"),
        ({"recipe.clip": 0}, "recipe.clip"),
        ({"data.validation": 1.0}, "data.validation"),
        ({"network.width": "wide"}, "network.width.*got 'wide'"),
        ({"rule.options": 5}, "rule.options"),
        ({"seed": -1}, "seed"),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_its_field(settings, message):
    with pytest.raises(InputError, match=message):
        RunSpec().with_settings(settings)


def test_an_unknown_field_is_refused_by_name():
    with pytest.raises(InputError, match=r"recipe\.epoch"):
        RunSpec.parse({"recipe": {"epoch": 3}})


def test_a_spec_that_is_not_an_object_is_refused():
    with pytest.raises(InputError):
        RunSpec.parse([1, 2])


# --- the command ------------------------------------------------------------------------------------------------------


def parsed(command):
    """What the command line makes of a command: flags into the spec, ``--set`` values as JSON where they are JSON."""
    words = shlex.split(command)
    assert words[:2] == ["layerlocal", "train"]
    flags = list(zip(words[2::2], words[3::2], strict=True))
    named = {flag: value for flag, value in flags if flag != "--set"}
    settings = {}
    for flag, text in flags:
        if flag == "--set":
            key, _, value = text.partition("=")
            try:
                settings[key] = json.loads(value)
            except ValueError:
                settings[key] = value
    base = RunSpec(
        data=DataSpec(source=named["--data"]),
        network=NetworkSpec(name=named["--network"]),
        rule=RuleSpec(name=named["--rule"]),
        seed=int(named["--seed"]),
    )
    return base.with_settings(settings)


@pytest.mark.parametrize(
    "spec",
    [
        RunSpec(),
        RunSpec(
            data=DataSpec(source="./a folder/x", classes=("T-shirt/top", 3), validation=0, teacher={"kind": "conv"}),
            network=NetworkSpec(name="mlp", width=0.3, channels_last=False, options={"depth": 2, "norm": False}),
            rule=RuleSpec(name="bp", options={"of": "class-goodness", "temperature_max": 1e-3, "grid": 2}),
            recipe=Recipe(epochs=3, clip=0.5, optimizer="sgd", flip=True, warmup=0),
            seed=12,
        ),
        RunSpec(recipe=Recipe(epochs=1, steps=210)),
    ],
)
def test_the_command_of_a_run_makes_that_run(spec):
    assert parsed(command_of(spec)).hash == spec.hash


def test_the_command_of_a_run_says_its_steps():
    assert "--set recipe.steps=210 " in command_of(RunSpec(recipe=Recipe(steps=210)))
    assert "steps" not in command_of(RunSpec())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("0.5", 0.5),
        ("true", True),
        ("True", True),
        ("False", False),
        ("null", None),
        ("None", None),
        ("coarse", "coarse"),
        ("no", "no"),
    ],
)
def test_what_is_typed_is_read_as_json_or_python_or_text(text, value):
    found = parse_value(text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, [1]])
def test_an_option_that_no_file_can_hold_is_refused_by_name(value):
    with pytest.raises(InputError, match=r"^rule\.options\.alpha: .*got "):
        RunSpec().with_settings({"rule.alpha": value})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Recipe(epochs=0), r"^epochs: .*got 0$"),
        (lambda: Recipe(epochs=True), r"^epochs: .*got True$"),
        (lambda: Recipe(learning_rate=False), "^learning_rate: Input should be a number"),
        (lambda: Recipe(clip=math.inf), r"^clip: .*got inf$"),
        (lambda: Recipe(epoch=3), "^epoch: "),
        (
            lambda: DataSpec(classes=[1.5, 2]),
            r"^classes: .*number, .*got",
        ),
        (lambda: DataSpec(classes=(True, 2)), "^classes: Input should be a number"),
        (lambda: DataSpec(num_train=None, num_test=True), "^num_test: Input should be a number"),
        (lambda: RuleSpec(options={"grid": [1]}), r"^options.grid: .*finite number"),
        (lambda: RunSpec(recipe={"epochs": 0}), "^recipe.epochs: Input should be greater"),
        (lambda: RunSpec(recipe=3), "^recipe: "),
        (lambda: RunSpec.parse({"recipe": {"epochs": True}}), "^recipe.epochs: Input should be a number"),
        (lambda: RunSpec.parse([]), "^Input should be a valid dictionary"),
    ],
)
def test_a_spec_that_is_written_by_hand_is_refused_in_one_sentence(make, words):
    with pytest.raises(InputError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_name_the_same_run_as_those_of_python():
    plain = RunSpec(
        seed=3, recipe=Recipe(epochs=2, learning_rate=0.5), data=DataSpec(classes=(3, 1)), rule=RuleSpec(options={"grid": 2})
    )  # fmt: skip
    recipe = Recipe(epochs=np.int64(2), learning_rate=np.float32(0.5))
    data, rule = DataSpec(classes=[np.int32(3), np.int64(1)]), RuleSpec(options={"grid": np.int64(2)})
    found = RunSpec(seed=np.int16(3), recipe=recipe, data=data, rule=rule)
    assert found == plain and found.canonical() == plain.canonical() and type(found.rule.options["grid"]) is int


def test_the_command_of_a_run_says_where_its_data_lay_and_not_what_they_were():
    spec = RunSpec(data=DataSpec(source="s/x", num_train=9, content_sha256=CONTENT))
    assert command_of(spec) == command_of(spec.with_settings({"data.source": "s/x"}))
    assert (
        "--data s/x" in command_of(spec) and "data.num_train=9" in command_of(spec) and CONTENT not in command_of(spec)
    )
    assert spec.with_settings({"data.source": "other"}).data.content_sha256 is None, "it was of the data before"


def test_specs_read_one_after_another_are_those_read_alone_whatever_they_share():
    own = {"data": {"source": "images", "content_sha256": "a" * 64, "classes": [1, "cat"]}, "recipe": {"steps": 7}}
    contents = [
        RunSpec.parse(content | {"seed": seed}).model_dump(mode="json")
        for seed in (0, 1)
        for content in ({}, own, {"rule": {"name": "ff", "options": {"theta": 2}}}, {"judged_on": "validation"})
    ]
    contents += [{"seed": 3}, {**contents[0], "rule": {"name": "ff", "options": {"theta": 2.0}}}]
    reader = SpecReader()
    for content in json.loads(json.dumps(contents * 2)):
        alone = RunSpec.parse(content)
        found, name = reader.read(spec_texts(content))
        assert (found, name) == (alone, alone.hash)
        assert found.model_dump_json() == alone.model_dump_json()
        assert found.canonical() == json.dumps(json.loads(alone.canonical()), sort_keys=True, separators=(",", ":"))


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"recipe": {"epochs": 0}}, {"rule": 3}, {"other": 1}, {"network": {"width": True}}]
)
def test_a_spec_that_is_refused_alone_is_refused_among_others_in_the_same_words(wrong):
    reader, content = SpecReader(), RunSpec().model_dump(mode="json")
    reader.read(spec_texts(content))
    with pytest.raises(InputError) as alone:
        RunSpec.parse(content | wrong)
    with pytest.raises(InputError) as among:
        reader.read(spec_texts(content | wrong))
    assert str(among.value) == str(alone.value)
