"""Dimensions of a search: settings of a run and what values they may take."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from layerlocal.spec import Frozen, Scalar, parse_value
from layerlocal.types import InputError, shown

__all__ = ["DEFAULT_SPACE", "Dimension", "of_rule", "parse_dimension", "refuse_unfair", "settings_words"]

DEFAULT_SPACE = ("recipe.learning_rate=log:0.0005:0.1", "recipe.weight_decay=log:0.0001:0.1")
"""What every method has."""
EDGE = 0.1
"""Share of a range on either side in which a value is at its edge."""
_DIGITS = 3
"""Significant digits of a number that is drawn: enough for any setting, and short to type."""


class Dimension(Frozen):
    """One setting that is searched.

    Args:
        key: as after ``--set``: ``recipe.learning_rate``, ``rule.grid``.
        rule: only for this rule and its twins; ``None``: for all.
        kind: ``"log"`` and ``"linear"`` numbers between ``low`` and ``high``, whole ones where both are; or one of ``choices``.
        low: least value.
        high: largest value, > low; for ``"log"`` low > 0.
        choices: two values or more.
    """

    key: str
    rule: str | None = None
    kind: Literal["log", "linear", "choices"]
    low: float = 0.0
    high: float = 0.0
    choices: tuple[Scalar, ...] = Field(default=())

    @property
    def whole(self) -> bool:
        """Whether its numbers are whole ones."""
        return self.kind != "choices" and self.low.is_integer() and self.high.is_integer() and self.high - self.low >= 1

    @property
    def first(self) -> Any:
        """Some value it can have."""
        return self.choices[0] if self.kind == "choices" else int(self.low) if self.whole else self.low

    @property
    def text(self) -> str:
        """As `parse_dimension` reads it."""
        owner = "" if self.rule is None else f"{self.rule}/"
        if self.kind == "choices":
            return f"{owner}{self.key}={','.join(json.dumps(c) if not isinstance(c, str) else c for c in self.choices)}"
        return f"{owner}{self.key}={'log:' if self.kind == 'log' else ''}{self.low:g}:{self.high:g}"

    def holds(self, value: Any) -> bool:
        """Whether a value can be drawn, so that a search may begin with it."""
        if self.kind == "choices":
            return value in self.choices
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high and (not self.whole or float(value).is_integer())

    def at(self, share: float) -> Any:
        """The value at a share, in [0, 1), of the way from ``low`` to ``high``; choices and whole numbers have equal shares each."""
        if self.kind == "choices":
            return self.choices[int(share * len(self.choices))]
        half = 0.5 if self.whole else 0.0
        low, high = self.low - half, self.high + half
        value = low * (high / low) ** share if self.kind == "log" else low + (high - low) * share
        return min(int(self.high), max(int(self.low), round(value))) if self.whole else self.tidy(value)

    def edge(self, value: Any) -> str | None:
        """``"lower"`` or ``"upper"`` where a value lies in the outermost tenth of its range, else ``None``.

        Choices have no edge: nobody knows what lies beyond them.
        """
        if self.kind == "choices":
            return None
        low, high, found = (math.log(x) if self.kind == "log" else x for x in (self.low, self.high, value))
        share = (found - low) / (high - low)
        if share <= EDGE:
            return "lower"
        return "upper" if share >= 1 - EDGE else None

    def tidy(self, value: Any) -> Any:
        """A drawn value as it is set: numbers with few digits, inside the bounds."""
        if self.kind == "choices" or not isinstance(value, float):
            return value
        return min(self.high, max(self.low, float(f"{value:.{_DIGITS}g}")))


def parse_dimension(text: str) -> Dimension:
    """``recipe.learning_rate=log:1e-4:1e-2``, ``rule.grid=1,2,4``, ``rule.label_smoothing=0:0.2``, ``ff/rule.theta=0.5:4``.

    Raises:
        InputError: what it should look like.
    """
    target, equals, values = text.partition("=")
    rule, _, key = target.rpartition("/")
    if not equals or not key or not values:
        raise InputError(
            f"--space takes KEY=LOW:HIGH, KEY=log:LOW:HIGH or KEY=A,B,C, got {shown(text)}; for example rule.grid=1,2,4"
        )
    if ":" not in values:
        try:
            choices = tuple(_value(word) for word in values.split(","))
        except InputError as error:
            raise InputError(f"--space {shown(key)}: {error}") from None
        if "" in choices or any(map(_is_endless, choices)):
            raise InputError(f"--space {shown(text)}: a choice is a word, true, false, null or a finite number")
        if len(choices) == 1:
            raise InputError(
                f"--space {shown(text)} has one choice; give two or more, or fix it with --set {key}={values}"
            )
        if len(set(choices)) < len(choices):
            raise InputError(f"--space {shown(text)} has one choice twice; leave one out")
        return Dimension(key=key, rule=rule or None, kind="choices", choices=choices)
    parts = values.split(":")
    kind = parts.pop(0) if parts[0] == "log" else "linear"
    try:
        low, high = (float(part) for part in parts)
    except ValueError:
        raise InputError(f"--space {shown(text)}: bounds are two numbers, LOW:HIGH or log:LOW:HIGH") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"--space {shown(text)}: LOW must be below HIGH, and both finite")
    if kind == "log" and low <= 0:
        raise InputError(f"--space {shown(text)}: on a log scale LOW must be above 0")
    return Dimension(key=key, rule=rule or None, kind="log" if kind == "log" else "linear", low=low, high=high)


def _is_endless(choice: Scalar) -> bool:
    """NaN or infinite, as a number or as a word for it."""
    try:
        return isinstance(choice, float | str) and not math.isfinite(float(choice))
    except ValueError:
        return False


def _value(word: str) -> Scalar:
    found = parse_value(word)
    return found if isinstance(found, bool | int | float | str) or found is None else word


def of_rule(space: Sequence[Dimension], rule: str) -> tuple[Dimension, ...]:
    """The dimensions of a rule and its twins."""
    return tuple(d for d in space if d.rule in (None, rule))


def refuse_unfair(space: Sequence[Dimension], rules: Sequence[str], settings: Mapping[str, Any]) -> None:
    """See that every rule has a space of its own, as large as that of the others.

    Args:
        space: dimensions.
        rules: that are searched.
        settings: dotted ones that are fixed.

    Raises:
        InputError: what is wrong and how to mend it.
    """
    for dimension in space:
        if dimension.rule is not None and dimension.rule not in rules:
            raise InputError(f"--space {dimension.text!r} is of a rule that is not tuned; tuned: {', '.join(rules)}")
    sizes = {rule: len(of_rule(space, rule)) for rule in rules}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{rule} {size}" for rule, size in sizes.items())
        raise InputError(
            f"a fair search has spaces of one size, and these have as many dimensions: {told}; give each as many"
        )
    for rule in rules:
        keys = [dimension.key for dimension in of_rule(space, rule)]
        for key in keys:
            if keys.count(key) > 1:
                raise InputError(f"--space has {key} twice for {rule}; leave one out")
            if key in settings:
                raise InputError(f"{key} is searched and set; leave out --set {key} or the dimension")


def settings_words(settings: Mapping[str, Any]) -> str:
    """``"recipe.learning_rate=0.01, rule.grid=2"``."""
    return ", ".join(
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in settings.items()
    )
