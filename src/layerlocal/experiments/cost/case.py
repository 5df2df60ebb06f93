"""`CostCase`: everything one measurement of cost depends on, frozen, validated and named. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from layerlocal.spec import SECTIONS, NetworkSpec, Recipe, RuleSpec, Section
from layerlocal.types import InputError, unknown_name

__all__ = ["BASELINE", "MODES", "SETTINGS", "CostCase", "check_division", "parse_mode", "why_no_effect"]

BASELINE = "bp"
MODES = ("plain", "micro-2", "micro-4", "micro-8", "checkpointing", "step-per-block")
"""How a step is run: as it is, in micro-batches, with activities computed again, with a step of the optimizer after every block."""

SETTINGS = {
    "recipe.batch_size": "batch_size", "recipe.precision": "precision", "recipe.optimizer": "optimizer", "image_size": "image_size",
    "in_channels": "in_channels", "num_classes": "num_classes", "context": "context",
}  # fmt: skip
"""What may be set of a case beside its network and its rule's options, and the field that it is."""


class CostCase(Section):
    """One network trained by one rule in one way.

    Args:
        network: name, width, layout, ``fused``, ``compile`` and options (``depth``).
        rule: name and options.
        mode: one of `MODES`, or ``micro-N`` with any N ≥ 2.
        image_size: side in pixels; 1 for vectors.
        in_channels: of the images, or the length of the vectors.
        num_classes: K; of text the vocabulary.
        batch_size: samples a step.
        precision: ``"float32"`` or ``"bf16"`` (autocast).
        optimizer: ``"sgd"`` (momentum: one number a weight) or ``"adamw"`` (two).
        threads: of torch, ≥ 1.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        seed: of weights and batch.
        context: T, tokens of a sample; then the network is one for text, and ``image_size`` and ``in_channels`` say nothing.
    """

    oldest = frozenset((
        "network", "rule", "mode", "image_size", "in_channels", "num_classes", "batch_size", "precision", "optimizer", "threads", "device",
        "seed",
    ))  # fmt: skip

    network: NetworkSpec = NetworkSpec(name="vgg8", width=0.5, fused=True)
    rule: RuleSpec = RuleSpec(name=BASELINE)
    mode: str = "plain"
    image_size: int = Field(default=32, ge=1)
    in_channels: int = Field(default=3, ge=1)
    num_classes: int = Field(default=10, ge=2)
    batch_size: int = Field(default=32, ge=2)
    precision: Literal["float32", "bf16"] = "float32"
    optimizer: Literal["adamw", "sgd"] = "sgd"
    threads: int = Field(default=1, ge=1)
    device: str = "cpu"
    seed: int = Field(default=0, ge=0)
    context: int | None = Field(default=None, ge=1)

    @property
    def label(self) -> str:
        """The method: ``"class-goodness"``, ``"bp micro-4"``."""
        name = self.rule.name.rpartition("/")[2]
        return name if self.mode == "plain" else f"{name} {self.mode}"

    @property
    def place(self) -> str:
        """Network, image or context, and batch size, in words."""
        options = "".join(f", {key} {value}" for key, value in self.network.options.items())
        return f"{self.network.name}, width {self.network.width:g}{options}, {self.sample}, batch {self.batch_size}"

    @property
    def sample(self) -> str:
        """What a sample is, in words."""
        if self.context is not None:
            return f"context {self.context}"
        return f"{self.image_size} px" if self.image_size > 1 else f"{self.in_channels} features"

    @property
    def sample_bytes(self) -> int:
        """Of one in a batch: numbers of 4 bytes, tokens of 8."""
        return 4 * self.in_channels * self.image_size**2 if self.context is None else 8 * self.context

    @property
    def network_input(self) -> dict[str, Any]:
        """What `create_network` is told of a sample."""
        if self.context is not None:
            return {"vocabulary": self.num_classes, "context": self.context}
        return {"in_channels": self.in_channels, "image_size": self.image_size}

    @property
    def setting(self) -> str:
        """Everything but the method, in words."""
        answers = f"{self.num_classes} classes" if self.context is None else f"vocabulary {self.num_classes}"
        parts = [self.place, answers, self.precision, self.optimizer]
        parts += ["channels-last"] * self.network.channels_last
        parts += ["fused"] * self.network.fused + ["compiled"] * self.network.compile
        return ", ".join(parts)

    @property
    def recipe(self) -> Recipe:
        """What the loop is told."""
        return Recipe(
            batch_size=self.batch_size, precision=self.precision, optimizer=self.optimizer, **parse_mode(self.mode)
        )

    def but(self, **changes: Any) -> CostCase:
        """A validated copy with fields changed; ``depth`` and ``width`` are the network's.

        Raises:
            InputError: a value out of its range.
        """
        content = self.model_dump()
        for key, value in changes.items():
            if key == "depth":
                content["network"]["options"] = {**content["network"]["options"], "depth": value}
            elif key == "width":
                content["network"]["width"] = value
            else:
                content[key] = value.model_dump() if isinstance(value, BaseModel) else value
        return self.parse(content)

    def of_rule(self, name: str, sources: Mapping[str, str]) -> CostCase:
        """The same of another rule, with the options of this one.

        Args:
            name: its name, or ``FILE.py:CLASS``.
            sources: SHA-256 of rules that are files.
        """
        return self.but(rule=RuleSpec(name=name, options=self.rule.options, source_sha256=sources.get(name)))

    def with_settings(self, settings: Mapping[str, Any]) -> CostCase:
        """A validated copy with dotted keys set, as after ``--set``; options of the rule and the network too.

        Raises:
            InputError: a key that no case has, or a value out of its range.
        """
        content = self.model_dump()
        for key, value in settings.items():
            section, _, name = key.partition(".")
            if key in SETTINGS:
                content[SETTINGS[key]] = value
            elif section not in ("network", "rule") or not name or key == "rule.name":
                fields = [f"network.{field}" for field in content["network"] if field != "options"]
                known = [*SETTINGS, *fields, "rule.<option>", "network.<option>"]
                raise unknown_name("setting of a cost audit:", key, known)
            elif name in SECTIONS[section].model_fields:
                content[section][name] = value
            else:
                content[section]["options"] = {**content[section]["options"], name: value}
        return self.parse(content)


def parse_mode(mode: str) -> dict[str, Any]:
    """``"micro-4"`` → ``{"micro_batches": 4}``: the fields of a `Recipe` that a mode sets.

    Raises:
        InputError: an unknown mode.
    """
    known: dict[str, dict[str, Any]] = {
        "plain": {}, "checkpointing": {"checkpointing": True}, "step-per-block": {"step_per_block": True},
    }  # fmt: skip
    if mode in known:
        return known[mode]
    match = re.fullmatch(r"micro-([1-9][0-9]{0,5})", mode)
    if match is None or int(match[1]) < 2:
        raise unknown_name("mode", mode, [*MODES, "micro-N"])
    return {"micro_batches": int(match[1])}


def check_division(case: CostCase) -> None:
    """See that the batch can be cut into equal micro-batches of two samples or more.

    Raises:
        InputError: it cannot.
    """
    parts = case.recipe.micro_batches
    if case.batch_size % parts or case.batch_size // parts < 2:
        raise InputError(
            f"mode {case.mode!r} cuts a batch into {parts} equal parts of 2 samples or more, which batch size {case.batch_size} "
            f"does not allow; give --batch-size as a multiple of {parts}, at least {2 * parts}, or other --modes"
        )


def why_no_effect(
    mode: str, name: str, *, locality: str, compares_samples: bool, checkpointing: Callable[[], str | None]
) -> str | None:
    """Why a mode is nothing for a rule; ``None`` where it is something.

    Args:
        mode: as of a case.
        name: of the rule.
        locality: of the rule.
        compares_samples: whether its loss does.
        checkpointing: says why activities cannot be computed again, in the rule's own words; asked where the mode is that.
    """
    chosen = parse_mode(mode)
    if "micro_batches" in chosen and compares_samples:
        return (
            f"micro-batches would change the loss of {name!r}, which compares the samples of a batch with one another; "
            "leave the mode out for it"
        )
    if "step_per_block" in chosen and locality == "global":
        return f"a step per block has no effect on {name!r}: one loss trains every block; leave the mode out for it"
    return checkpointing() if "checkpointing" in chosen else None
