"""`RunSpec`: everything a run depends on, frozen, validated and hashed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from layerlocal.names import EDITION, first_name, names_of_today
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
    "parse_value",
]

PROTOCOL = 1
"""Runs compare only within one protocol version; it rises when the same spec would give other numbers."""

FIXED_SOURCES = ("fashion_mnist_subset", "python_library", "teacher_student")
"""Data that a spec and the version determine: embedded images and text, whose checksums are held at every load, and the synthetic teacher."""
WHERE = ("source", "labels", "image_size")
"""How data are found and read. Where it is known what they are (``content_sha256``), that counts in their place."""
_HASHED = {
    "network.name": "network.source_sha256", "network.start": "network.start_sha256", "rule.name": "rule.source_sha256",
    "rule.of": "rule.source_sha256",
}  # fmt: skip
"""Settings that name a file, and the one that has its hash."""
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


class Section(Frozen):
    """A part of a spec. A new field changes no hash and no text of a spec that does not set it: nothing is to be listed for that.

    ``oldest`` and ``written`` are history and are never added to.

    Attributes:
        oldest: the fields of the first specs, which count in every hash. Any other counts where it is not its default.
        written: those that came next and are in every JSON text too. Any other is written where it is not its default.
    """

    oldest: ClassVar[frozenset[str]] = frozenset()
    written: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_unset(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Texts of older specs, and names made of them, stay the same."""
        return self._counting(serialize(self), self.oldest | self.written)

    def hashed(self) -> dict[str, Any]:
        """What of it a run is named after: JSON content."""
        return self._counting(self.model_dump(mode="json"), self.oldest)

    @classmethod
    def _counting(cls, content: dict[str, Any], always: frozenset[str]) -> dict[str, Any]:
        """Without fields at their defaults, but for those that are kept ``always``."""
        fields = cls.model_fields
        return {key: value for key, value in content.items() if key in always or value != fields[key].default}


class DataSpec(Section):
    """Which images, which labels, which split: the arguments of `load_data`.

    Args:
        source: a name of `list_data()`, a folder, or a file ``NAME.npz``.
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
        context: T, bytes of a sample of text; ``None``: 128. Not for images.
        content_sha256: what the source's data are: decoded pixels, labels, splits and class names (`Data.content_sha256`). Filled in before a
            run begins; given by hand, it refuses other data. Then ``source``, ``labels`` and ``image_size`` are no part of a run's hash, so
            the same data under another path are the same run. ``None`` for `FIXED_SOURCES`, and in runs of 0.1.0, which did not record it.
    """

    oldest = frozenset(
        ("source", "labels", "classes", "image_size", "num_train", "num_test", "validation", "seed", "teacher")
    )
    written = frozenset(("draw", "superclass", "compose", "held_out"))

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
    context: int | None = Field(default=None, ge=1)
    content_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")

    def hashed(self) -> dict[str, Any]:
        """What the data are, where that is known, and not where they lay."""
        content = super().hashed()
        elsewhere = WHERE if content.get("content_sha256") is not None else ()
        return {key: value for key, value in content.items() if key not in elsewhere}

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


class NetworkSpec(Section):
    """A network by name: the arguments of `create_network`; ``depth`` and the like go into ``options``.

    Channels-last is the default: on the CPU it was 1.3 to 1.9 times as fast for narrow networks, for a rule and its twins alike. Of a network
    of one's own (``FILE.py:FUNCTION``) there is the hash of its source too, so that an edit makes a new run.

    Args:
        start: file of the weights that it starts from (`load_weights`); ``None``: drawn from the run's seed.
        start_sha256: of that file, filled in before a run begins. Then ``start`` is no part of a run's hash: a moved file is the same start.
        frozen: indices of blocks that keep their weights (`Network.freeze`).
    """

    oldest = frozenset(("name", "width", "channels_last", "compile", "options"))
    written = frozenset(("fused",))

    name: str = "vgg8"
    width: float = Field(default=1.0, gt=0)
    channels_last: bool = True
    compile: bool = False
    fused: bool = False
    options: dict[str, Scalar] = Field(default={})
    source_sha256: str | None = None
    start: str | None = Field(default=None, min_length=1)
    start_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    frozen: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(default=None, min_length=1)

    def hashed(self) -> dict[str, Any]:
        """Which weights it starts from, where that is known, and not where they lay."""
        content = super().hashed()
        return {key: value for key, value in content.items() if key != "start" or "start_sha256" not in content}


TYPED_NETWORK = NetworkSpec(fused=True)
"""What a command takes unless it is told otherwise, as `fit` does. A spec's own default stays as it was: old specs mean what they meant."""


class RuleSpec(Section):
    """A rule by name with its options; for a plug-in also the hash of its source, so that an edit makes a new run."""

    oldest = frozenset(("name", "options", "source_sha256"))

    name: str = "class-goodness"
    options: dict[str, Scalar] = Field(default={})
    source_sha256: str | None = None

    def hashed(self) -> dict[str, Any]:
        """As runs are named after it: with the first names of rules."""
        content = super().hashed()
        options = content["options"]
        of = {"of": first_name(str(options["of"]))} if "of" in options else {}
        return content | {"name": first_name(self.name), "options": options | of}


class Recipe(Section):
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
        schedule: ``"cosine"`` or ``"linear"`` decay to 0, ``"constant"``, or ``"triangular"``: linear from 0.2 of the peak up to it and down
            to 0.07 of it (2404.00498). A function of the step, never of a loss.
        warmup: share of all steps over which the rate rises linearly, in [0, 1).
        clip: largest gradient norm of one block (never of the whole network: that would couple blocks), or ``None``.
        precision: ``"float32"`` or ``"bf16"`` (autocast; needs no loss scaling).
        crop: pad by so many pixels and crop at random; 0 is off.
        flip: flip left and right at random; ``"alternating"``: each image at random in the first epoch, then every other epoch, so that two
            epochs show both (2404.00498).
        cutout: side of a square set to the mean, in pixels; 0 is off.
        steps: optimizer steps of the whole run instead of ``epochs``, ≥ 1; the last epoch ends early: tasks of different size are then
            trained exactly equally long.
        checkpointing: keep only a few activities for backward and compute the others again (1604.06174); the same numbers for less
            memory and about a third more time. For rules whose gradient spans several blocks.
        step_per_block: step the optimizer for a segment right after its backward, and free its gradients, instead of once at the end of
            the step; the same numbers for less memory. For rules each of whose losses trains blocks of its own.
        norm_rate: factor on the learning rate of what normalization layers learn, > 0 (2404.00498: 64).
        average_every: every so many steps each weight becomes a moving average of itself, which moves slower towards the end, and at the end
            it stays that average (1907.08610 as in 2404.00498, there 5); 0 is off. A block's weights are averaged with its own alone.
    """

    oldest = frozenset((
        "epochs", "batch_size", "micro_batches", "optimizer", "learning_rate", "momentum", "weight_decay", "schedule", "warmup", "clip",
        "precision", "crop", "flip", "cutout",
    ))  # fmt: skip
    written = frozenset(("steps", "checkpointing", "step_per_block"))

    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=64, ge=2)
    micro_batches: int = Field(default=1, ge=1)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=2e-3, gt=0, le=1e30)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-2, ge=0, le=1e30)
    schedule: Literal["cosine", "linear", "constant", "triangular"] = "cosine"
    warmup: float = Field(default=0.1, ge=0, lt=1)
    clip: float | None = Field(default=None, gt=0)
    precision: Literal["float32", "bf16"] = "float32"
    crop: int = Field(default=0, ge=0)
    flip: bool | Literal["alternating"] = False
    cutout: int = Field(default=0, ge=0)
    steps: int | None = Field(default=None, ge=1)
    checkpointing: bool = False
    step_per_block: bool = False
    norm_rate: float = Field(default=1.0, gt=0, le=1e30)
    average_every: int = Field(default=0, ge=0)

    def count_steps(self, batches: int) -> int:
        """Optimizer steps of the whole run, at so many batches an epoch."""
        return self.steps or self.epochs * batches


class RunSpec(Section):
    """One rule on one task with one seed. ``seed`` draws initial weights, batches, augmentation and whatever the rule draws.

    ``judged_on`` the ``"test"`` split, once, after the last epoch; or on the ``"validation"`` split, the test split staying closed: for
    searches, whose results are choices. ``names`` is the edition of rules' names, for files of earlier versions (`layerlocal.names`).
    """

    oldest = frozenset(("protocol", "data", "network", "rule", "recipe", "seed"))
    written = frozenset(("names",))

    protocol: int = PROTOCOL
    names: int = Field(default=EDITION, ge=EDITION, le=EDITION)
    data: DataSpec = DataSpec()
    network: NetworkSpec = NetworkSpec()
    rule: RuleSpec = RuleSpec()
    recipe: Recipe = Recipe()
    seed: int = Field(default=0, ge=0)
    judged_on: Literal["test", "validation"] = "test"

    @model_validator(mode="before")
    @classmethod
    def _in_names_of_today(cls, content: Any) -> Any:
        """Specs that were written whole by an earlier version say no edition."""
        is_old = isinstance(content, dict) and "protocol" in content and "names" not in content
        return {**content, "rule": names_of_today(content["rule"])} if is_old and "rule" in content else content

    def canonical(self) -> str:
        """The spec as JSON with sorted keys: what is hashed. Fields younger than ``oldest`` count where they differ from their default."""
        return self.joined({name: canonical_section(getattr(self, name)) for name in SECTIONS})

    def joined(self, sections: Mapping[str, str]) -> str:
        """`canonical`, of its sections' texts (`canonical_section`)."""
        texts = {**sections, "protocol": str(self.protocol), "seed": str(self.seed)}
        if self.judged_on != "test":
            texts["judged_on"] = f'"{self.judged_on}"'
        return "{" + ",".join(f'"{name}":{texts[name]}' for name in sorted(texts)) + "}"

    @property
    def has_own_code(self) -> bool:
        """Whether its rule or its network is a file of the user's own, once that is pinned."""
        return self.rule.source_sha256 is not None or self.network.source_sha256 is not None

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
        return short_sum(self.canonical())

    def with_settings(self, settings: dict[str, Any]) -> Self:
        """A copy with dotted keys set, e.g. ``{"rule.temperature_max": 2.0, "recipe.epochs": 3, "network.depth": 4}``.

        Under ``rule.`` and ``network.`` a key that is not a field of the spec is an option of that rule or network.

        Raises:
            InputError: a key or a value that is not known or not allowed.
        """
        if not isinstance(settings, dict):
            raise InputError(f'settings must be a dictionary such as {{"recipe.epochs": 3}}, got {shown(settings)}')
        content = self.model_dump()
        for key, value in settings.items():
            section, _, name = str(key).partition(".")
            if section in ("seed", "judged_on") and not name:
                content[section] = value
            elif section not in ("data", "network", "rule", "recipe") or not name:
                raise unknown_name("setting", str(key), _known_settings())
            elif name in SECTIONS[section].model_fields:
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
        for key, of in _HASHED.items():
            if key in settings and of not in settings:
                section, _, name = of.partition(".")
                content[section].pop(name, None)  # it was of another file
        if settings.keys() & _ELSEWHERE and "data.content_sha256" not in settings:
            content["data"]["content_sha256"] = None  # it was of other data, or of data read otherwise
        return type(self).parse(content)


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


SECTIONS: dict[str, type[Section]] = {"data": DataSpec, "network": NetworkSpec, "recipe": Recipe, "rule": RuleSpec}


def canonical_section(section: Section) -> str:
    """What `RunSpec.canonical` has of one section."""
    return _CANONICAL.encode(section.hashed())


def short_sum(text: str) -> str:
    """16 hex digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _known_settings() -> list[str]:
    fields = [
        f"{section}.{name}"
        for section, model in SECTIONS.items()
        for name in model.model_fields
        if section != "rule" and name not in ("options", "source_sha256", "start_sha256")
    ]
    return [*fields, "rule.<option>", "network.<option>", "data.teacher.<option>", "seed", "judged_on"]
