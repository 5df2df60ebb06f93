"""`RunSpec`: everything a run depends on, frozen, validated and hashed."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from layerlocal.files import compact_json
from layerlocal.types import InputError, shown, unknown_name
from layerlocal.validated import Frozen

__all__ = [
    "PROTOCOL",
    "SECTIONS",
    "TYPED_NETWORK",
    "DataSpec",
    "Frozen",
    "NetworkSpec",
    "Recipe",
    "RuleSpec",
    "RunSpec",
    "SpecReader",
    "command_of",
    "parse_value",
    "spec_texts",
]

PROTOCOL = 1
"""Runs compare only within one protocol version; it rises when the same spec would give other numbers."""

LATER: dict[str, tuple[str, ...]] = {
    "data": ("draw", "superclass", "compose", "held_out", "test", "content_sha256"),
    "network": ("fused",),
    "recipe": ("steps", "checkpointing", "step_per_block"),
}
"""Fields added after protocol 1 was first used: at their defaults they change no number, so they change no hash either."""

FIXED_SOURCES = ("fashion_mnist_subset", "teacher_student")
"""Data that a spec and the version determine: the embedded images, whose checksum is held at every load, and the synthetic teacher."""
UNWRITTEN = ("content_sha256", "test")
"""Fields of `DataSpec` that are left out of its JSON where they are not set."""
WHERE = ("source", "labels", "image_size")
"""How data are found and read. Where it is known what they are (``content_sha256``), that counts in their place."""
_ELSEWHERE = {f"data.{name}" for name in (*WHERE, "draw")}

Scalar = bool | int | float | str | None
PYTHON_WORDS = {"True": True, "False": False, "None": None}


def parse_value(text: str) -> Any:
    """What was typed after ``=``: JSON where it is JSON, Python's ``True``, ``False`` and ``None`` too, text otherwise.

    Raises:
        InputError: JSON that is nested too deep.
    """
    if text in PYTHON_WORDS:
        return PYTHON_WORDS[text]
    try:
        return json.loads(text)
    except ValueError:
        return text
    except RecursionError:
        raise InputError(f"{shown(text)} is nested too deep; give a number, a word, true, false or null") from None


class DataSpec(Frozen):
    """Which images, which labels, which split: the arguments of `load_data`.

    Args:
        source: a name of `list_data()` or a folder.
        labels: the label column where there are several (``"coarse"``, ``"fine"``).
        classes: number of classes drawn by ``seed``, or a tuple of indices or names; for synthetic data their number K.
        image_size: side in pixels to resize to.
        num_train: training images before the validation split is taken out of them.
        num_test: test images.
        validation: share of the training images held out for choices, in [0, 1).
        seed: of the subsets and of the validation split (not of the run).
        teacher: options of the synthetic teacher.
        draw: how ``classes`` (a number) are drawn: ``"any"`` of them; ``"within"`` one superclass; ``"across"`` superclasses, one of
            each; ``"groups"``: all classes, put at random into that many groups of equal size, which become the labels;
            ``"superclasses"``: all classes, their superclasses as labels. For all but ``"any"`` the images are the same as those that
            all classes together would have, class by class.
        superclass: which one ``"within"`` draws from; ``None``: drawn by ``seed``.
        compose: put two images into one, the label being the pair of their classes: ``"side"`` by side, or ``"overlay"`` (their mean;
            the first from the first half of the classes, the second from the other half).
        held_out: share of the pairs that no training image shows, with ``compose``; in [0, 1).
        test: share of the images that is drawn as test split, by class and ``seed``, from a folder that has none; in (0, 1).
        content_sha256: what the source's data are: decoded pixels, labels, splits and class names (`Data.content_sha256`). Filled in before a
            run begins; given by hand, it refuses other data. Then ``source``, ``labels`` and ``image_size`` are no part of a run's hash, so
            the same data under another path are the same run. ``None`` for `FIXED_SOURCES`, and in runs of 0.1.0, which did not record it.
    """

    source: str = "fashion_mnist_subset"
    labels: str | None = None
    classes: int | tuple[int | str, ...] | None = None
    image_size: int | None = Field(default=None, ge=1)
    num_train: int | None = Field(default=None, ge=1)
    num_test: int | None = Field(default=None, ge=1)
    validation: float = Field(default=0.1, ge=0, lt=1)
    seed: int = 0
    teacher: dict[str, Scalar] | None = None
    draw: Literal["any", "within", "across", "groups", "superclasses"] = "any"
    superclass: int | None = Field(default=None, ge=0)
    compose: Literal["side", "overlay"] | None = None
    held_out: float = Field(default=0.2, ge=0, lt=1)
    test: float | None = Field(default=None, gt=0, lt=1)
    content_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")

    @model_serializer(mode="wrap")
    def _without_unset(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Fields of `UNWRITTEN` are written only where they are set: the text of older specs, and names made of it, stay the same."""
        content: dict[str, Any] = serialize(self)
        return {key: value for key, value in content.items() if value is not None or key not in UNWRITTEN}

    @property
    def is_fixed(self) -> bool:
        """Whether the spec alone says what the data are."""
        return self.source in FIXED_SOURCES

    @property
    def is_recorded(self) -> bool:
        """Whether it is known what the data are, and not only where they lay."""
        return self.is_fixed or self.content_sha256 is not None

    @property
    def place(self) -> str:
        """Where the data are looked for and how they are read, as text: two specs of one place have one content."""
        grouped = self.draw in ("within", "across", "superclasses")
        return json.dumps([self.source, self.labels, self.image_size, *(["superclasses"] if grouped else [])])

    def with_content(self, contents: Mapping[str, str]) -> Self:
        """A copy with the content that ``contents`` has for its `place`; as it is where it has none or one was given."""
        found = None if self.is_recorded else contents.get(self.place)
        return self if found is None else self.model_copy(update={"content_sha256": found})


class NetworkSpec(Frozen):
    """A network by name: the arguments of `create_network`; ``depth`` and the like go into ``options``.

    Channels-last is the default: on the CPU it was 1.3 to 1.9 times as fast for narrow networks, for a rule and its twins alike.
    """

    name: str = "vgg8"
    width: float = Field(default=1.0, gt=0)
    channels_last: bool = True
    compile: bool = False
    fused: bool = False
    options: dict[str, Scalar] = Field(default={})


TYPED_NETWORK = NetworkSpec(fused=True)
"""What a command takes unless it is told otherwise, as `fit` does. A spec's own default stays as it was: old specs mean what they meant."""


class RuleSpec(Frozen):
    """A rule by name with its options; for a plug-in also the hash of its source, so that an edit makes a new run."""

    name: str = "dtg-ff"
    options: dict[str, Scalar] = Field(default={})
    source_sha256: str | None = None


class Recipe(Frozen):
    """How long and with what optimizer: the same for a rule and its twins.

    Args:
        epochs: passes over the training split, ≥ 1.
        batch_size: samples a step, ≥ 2.
        micro_batches: parts a batch is cut into, their gradients accumulated before one step: the step of the whole batch, except that
            batch statistics are those of each part and running averages move once a part (docs/run_options.md).
        optimizer: ``"adamw"`` or ``"sgd"`` (Nesterov momentum).
        learning_rate: peak, > 0 and at most 1e30.
        momentum: of SGD, in [0, 1).
        weight_decay: decoupled for AdamW, L2 for SGD; on weights of two or more dimensions only.
        schedule: ``"cosine"`` or ``"linear"`` decay to 0, or ``"constant"``. A function of the step, never of a loss.
        warmup: share of all steps over which the rate rises linearly, in [0, 1).
        clip: largest gradient norm of one block (never of the whole network: that would couple blocks), or ``None``.
        precision: ``"float32"`` or ``"bf16"`` (autocast; needs no loss scaling).
        crop: pad by so many pixels and crop at random; 0 is off.
        flip: flip left and right at random.
        cutout: side of a square set to the mean, in pixels; 0 is off.
        steps: optimizer steps of the whole run instead of ``epochs``, ≥ 1; the last epoch ends early: tasks of different size are then
            trained exactly equally long.
        checkpointing: keep only a few activities for backward and compute the others again (1604.06174); the same numbers for less
            memory and about a third more time. For rules whose gradient spans several blocks.
        step_per_block: step the optimizer for a segment right after its backward, and free its gradients, instead of once at the end of
            the step; the same numbers for less memory. For rules each of whose losses trains blocks of its own.
    """

    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=64, ge=2)
    micro_batches: int = Field(default=1, ge=1)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=2e-3, gt=0, le=1e30)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-2, ge=0, le=1e30)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: float = Field(default=0.1, ge=0, lt=1)
    clip: float | None = Field(default=None, gt=0)
    precision: Literal["float32", "bf16"] = "float32"
    crop: int = Field(default=0, ge=0)
    flip: bool = False
    cutout: int = Field(default=0, ge=0)
    steps: int | None = Field(default=None, ge=1)
    checkpointing: bool = False
    step_per_block: bool = False

    def count_steps(self, batches: int) -> int:
        """Optimizer steps of the whole run, at so many batches an epoch."""
        return self.steps or self.epochs * batches


class RunSpec(Frozen):
    """One rule on one task with one seed. ``seed`` draws initial weights, batches, augmentation and whatever the rule draws.

    ``judged_on`` the ``"test"`` split, once, after the last epoch; or on the ``"validation"`` split, the test split staying closed: for
    searches, whose results are choices.
    """

    protocol: int = PROTOCOL
    data: DataSpec = DataSpec()
    network: NetworkSpec = NetworkSpec()
    rule: RuleSpec = RuleSpec()
    recipe: Recipe = Recipe()
    seed: int = Field(default=0, ge=0)
    judged_on: Literal["test", "validation"] = "test"

    @model_serializer(mode="wrap")
    def _without_later(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """``judged_on`` came later too: it is written only where it is not the default."""
        content: dict[str, Any] = serialize(self)
        if self.judged_on == "test":
            del content["judged_on"]
        return content

    def canonical(self) -> str:
        """The spec as JSON with sorted keys: what is hashed. Fields of `LATER` count only where they differ from their default."""
        return self._canonical({name: _canonical_section(getattr(self, name)) for name in SECTIONS})

    def _canonical(self, sections: Mapping[str, str]) -> str:
        """`canonical`, of its sections' texts."""
        texts = {**sections, "protocol": str(self.protocol), "seed": str(self.seed)}
        if self.judged_on != "test":
            texts["judged_on"] = f'"{self.judged_on}"'
        return "{" + ",".join(f'"{name}":{texts[name]}' for name in sorted(texts)) + "}"

    @property
    def words(self) -> str:
        """The spec as it was asked for, without what its data are: two runs of the same words may be of different data."""
        source = self.data.source
        asked = {"content_sha256": None, "source": os.path.normpath(source) if os.sep in source else source}
        return self.model_copy(update={"data": self.data.model_copy(update=asked)}).canonical()

    def with_content(self, contents: Mapping[str, str]) -> Self:
        """A copy whose data have the content that ``contents`` names for their place (`DataSpec.with_content`)."""
        data = self.data.with_content(contents)
        return self if data is self.data else self.model_copy(update={"data": data})

    @property
    def hash(self) -> str:
        """16 hex digits of the SHA-256 of `canonical`: the run's name on disk."""
        return _short_sum(self.canonical())

    def with_settings(self, settings: dict[str, Any]) -> Self:
        """A copy with dotted keys set, e.g. ``{"rule.temperature_max": 2.0, "recipe.epochs": 3, "network.depth": 4}``.

        Under ``rule.`` and ``network.`` a key that is not a field of the spec is an option of that rule or network.

        Raises:
            InputError: a key or a value that is not known or not allowed.
        """
        if not isinstance(settings, dict):
            raise InputError(f'settings must be a dictionary such as {{"recipe.epochs": 3}}, got {shown(settings)}')
        content = self.model_dump()
        content["data"] = dict.fromkeys(UNWRITTEN) | content["data"]
        for key, value in settings.items():
            section, _, name = str(key).partition(".")
            if section in ("seed", "judged_on") and not name:
                content[section] = value
            elif section not in ("data", "network", "rule", "recipe") or not name:
                raise unknown_name("setting", str(key), _known_settings())
            elif name in content[section]:
                content[section][name] = value
            elif section == "data" and name.startswith("teacher."):
                content[section]["teacher"] = {
                    **(content[section]["teacher"] or {}),
                    name.removeprefix("teacher."): value,
                }
            elif "options" in content[section]:
                content[section]["options"] = {**content[section]["options"], name: value}
            else:
                raise unknown_name("setting", str(key), _known_settings())
        if settings.keys() & _ELSEWHERE and "data.content_sha256" not in settings:
            content["data"]["content_sha256"] = None  # it was of other data, or of data read otherwise
        return type(self).parse(content)


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def spec_texts(content: Mapping[str, Any]) -> tuple[str, ...]:
    """A spec's JSON content as text: of each of `SECTIONS`, and of the rest.

    Raises:
        InputError: it is nested deeper than any spec.
    """
    rest = {key: value for key, value in content.items() if key not in SECTIONS}
    try:
        return (*(compact_json(content.get(name, {})) for name in SECTIONS), compact_json(rest))
    except RecursionError:
        raise InputError("a spec is not nested so deep; give numbers, words, true, false or null") from None


class SpecReader:
    """Reads many specs as `spec_texts` gives them. A section that many have is validated once, and is then one object of them all."""

    def __init__(self) -> None:
        self._sections: dict[tuple[str, str], tuple[Frozen, str]] = {}
        self._rest: dict[str, RunSpec] = {}

    def read(self, texts: tuple[str, ...]) -> tuple[RunSpec, str]:
        """A spec and its hash.

        Raises:
            InputError: what `RunSpec.parse` says of the content.
        """
        *sections, rest = texts
        try:
            found = {name: self._section(name, text) for name, text in zip(SECTIONS, sections, strict=True)}
            whole = self._without_sections(rest).model_copy(update={name: part for name, (part, _) in found.items()})
        except (ValueError, RecursionError):  # an `InputError` too: it does not say of which section
            content = {name: json.loads(text) for name, text in zip(SECTIONS, sections, strict=True)}
            spec = RunSpec.parse(content | json.loads(rest))
            return spec, spec.hash
        return whole, _short_sum(whole._canonical({name: text for name, (_, text) in found.items()}))

    def _section(self, name: str, text: str) -> tuple[Frozen, str]:
        key = name, text
        if key not in self._sections:
            _make_room(self._sections)
            section = SECTIONS[name].model_validate(json.loads(text))
            self._sections[key] = section, _canonical_section(section)
        return self._sections[key]

    def _without_sections(self, text: str) -> RunSpec:
        if text not in self._rest:
            _make_room(self._rest)
            self._rest[text] = RunSpec.model_validate(json.loads(text))
        return self._rest[text]


def _make_room(known: dict[Any, Any], most: int = 10_000) -> None:
    if len(known) >= most:
        known.clear()


SECTIONS: dict[str, type[Frozen]] = {"data": DataSpec, "network": NetworkSpec, "recipe": Recipe, "rule": RuleSpec}


def _canonical_section(section: Frozen) -> str:
    """What `RunSpec.canonical` has of one section."""
    content = section.model_dump(mode="json")
    name = next(name for name, kind in SECTIONS.items() if isinstance(section, kind))
    for later in LATER.get(name, ()):
        if content.get(later) == type(section).model_fields[later].default:
            content.pop(later, None)
    if content.get("content_sha256") is not None:
        for place in WHERE:
            del content[place]
    return _CANONICAL.encode(content)


def _short_sum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _known_settings() -> list[str]:
    sections: dict[str, type[Frozen]] = {"data": DataSpec, "network": NetworkSpec, "recipe": Recipe}
    fields = [
        f"{section}.{name}" for section, model in sections.items() for name in model.model_fields if name != "options"
    ]
    return [*fields, "rule.<option>", "network.<option>", "data.teacher.<option>", "seed", "judged_on"]


def _as_word(value: Any) -> str:
    """Text as it is, unless it could be taken for JSON; everything else as JSON."""
    if isinstance(value, str):
        try:
            json.loads(value)
        except ValueError:
            return value
    return json.dumps(value, ensure_ascii=False)


_USUAL: dict[str, dict[str, Any]] = {
    name: {
        key: value for key, value in section if key not in ("source", "name", "options", "teacher", "content_sha256")
    }
    for name, section in (("data", DataSpec()), ("network", TYPED_NETWORK), ("recipe", Recipe()))
}


def command_of(spec: RunSpec) -> str:
    """The shell command that makes this run: ``layerlocal train`` with whatever differs from what it takes by itself."""
    flags = {"rule": spec.rule.name, "data": spec.data.source, "network": spec.network.name}
    words = ["layerlocal", "train", *(word for flag, value in flags.items() for word in (f"--{flag}", value))]
    settings = {
        f"{name}.{key}": value
        for name, fields in _USUAL.items()
        for key, usual in fields.items()
        if (value := getattr(getattr(spec, name), key)) != usual
    }
    settings |= {f"data.teacher.{key}": value for key, value in (spec.data.teacher or {}).items()}
    settings |= {f"network.{key}": value for key, value in spec.network.options.items()}
    settings |= {f"rule.{key}": value for key, value in spec.rule.options.items()}
    if spec.judged_on != "test":
        settings["judged_on"] = spec.judged_on
    for key, value in settings.items():
        words += ["--set", f"{key}={_as_word(value)}"]
    return shlex.join([*words, "--seed", str(spec.seed)])
