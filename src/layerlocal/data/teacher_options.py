"""What teaches teacher-student data. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from layerlocal.options import real_number, whole_number
from layerlocal.types import InputError, unknown_name

__all__ = ["TeacherOptions"]


@dataclass(frozen=True, kw_only=True)
class TeacherOptions:
    """What teaches.

    Args:
        kind: "mlp" (inputs are vectors) or "conv" (inputs are Gaussian float images).
        inputs: D, features of a vector (mlp only).
        hidden: F, hidden units, or channels of the convolution; None is 256 (mlp) or 32 (conv).
        image_size: H = W in pixels, at least 8 (conv only).
        channels: C (conv only).
        groups: classes are put into that many groups, class k into group k mod groups; 1: no groups.
        similarity: ρ in [0, 1): how much of its second-layer weights a class has in common with its group. Class k's weights are
            ρ·(its group's) + √(1 − ρ²)·(its own), so ρ² of a logit's variance says nothing about which class of the group it is,
            and the margins between classes of one group shrink with √(1 − ρ²) while those between groups stay. K stays as it is.
        noise: standard deviation, ≥ 0, of Gaussian noise on the standardized logits when labels are drawn. Without it small margins
            are as learnable as large ones; with it classes of a similar group are confused more often than others.
    """

    kind: Literal["mlp", "conv"] = "mlp"
    inputs: int = 64
    hidden: int | None = None
    image_size: int = 16
    channels: int = 3
    groups: int = 1
    similarity: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("mlp", "conv"):
            raise unknown_name("teacher kind", str(self.kind), ("mlp", "conv"))
        for name, least in (("inputs", 1), ("hidden", 1), ("image_size", 8), ("channels", 1), ("groups", 1)):
            value = getattr(self, name)
            if value is not None or name != "hidden":
                object.__setattr__(self, name, whole_number(f"teacher option {name}", value, least=least))
        for name in ("similarity", "noise"):
            value = getattr(self, name)
            plain = real_number(f"teacher option {name}", value)
            object.__setattr__(self, name, value if isinstance(value, int | float) else plain)
        if not 0 <= self.similarity < 1:
            raise InputError(f"teacher option similarity={self.similarity} must be at least 0 and below 1")
        if self.noise < 0:
            raise InputError(f"teacher option noise={self.noise} must be at least 0")

    @classmethod
    def parse(cls, options: TeacherOptions | Mapping[str, Any] | None) -> TeacherOptions:
        """Options from a mapping; an unknown key lists the known ones."""
        if isinstance(options, TeacherOptions):
            return options
        if not isinstance(options, Mapping | None):
            raise InputError(f"teacher must be a dictionary of options, got {options!r}")
        known = [item.name for item in fields(cls)]
        for key in options or {}:
            if key not in known:
                raise unknown_name("teacher option", str(key), known)
        try:
            return cls(**dict(options or {}))
        except TypeError as error:
            given = ", ".join(f"{key}={value!r}" for key, value in (options or {}).items())
            raise InputError(f"teacher options {given} do not fit: {error}") from error

    @property
    def units(self) -> int:
        """F."""
        return self.hidden or (256 if self.kind == "mlp" else 32)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """(D,) or (C, H, W)."""
        return (self.inputs,) if self.kind == "mlp" else (self.channels, self.image_size, self.image_size)

    def as_json(self) -> dict[str, Any]:
        """The options that matter for this kind."""
        unused = {"image_size", "channels"} if self.kind == "mlp" else {"inputs"}
        unused |= {"groups", "similarity"} if self.similarity == 0 else set()
        unused |= {"noise"} if self.noise == 0 else set()
        return {key: value for key, value in asdict(self).items() if key not in unused} | {"hidden": self.units}
