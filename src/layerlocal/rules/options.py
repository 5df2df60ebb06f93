"""The options of a rule, and whether given ones are known and of the declared types."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from numbers import Integral, Real
from types import NoneType
from typing import TYPE_CHECKING, Any

from layerlocal.types import InputError, unknown_name

if TYPE_CHECKING:
    from layerlocal.rules.base import Rule

__all__ = ["check_options", "rule_options"]

WORDS = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text", NoneType: "null"}
"""Types that are checked, and how a message calls them."""


def rule_options(rule: type[Rule]) -> dict[str, Any]:
    """The keyword options of a rule and their defaults, without ``network``, ``num_classes`` and ``seed``."""
    return {parameter.name: parameter.default for parameter in _parameters(rule)}


def check_options(rule: type[Rule], options: Mapping[str, Any], others: Mapping[str, Any] | None = None) -> None:
    """See that options exist and have the declared types; ranges are the rule's own business.

    A parameter without annotation is of the type of its default. What is not made of true or false, numbers, text and null is let through.

    Args:
        rule: the class.
        options: by name.
        others: options that are known besides, which nobody looks at here; ``None``: those that a rule with ``**options`` takes for itself.

    Raises:
        InputError: the first option that is unknown or of another type.
    """
    known = {parameter.name: parameter for parameter in _parameters(rule)}
    collects = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(rule).parameters.values())
    if others is not None or not collects:
        for name in options:
            if name not in known and name not in (others or {}):
                raise unknown_name(f"option of rule {rule.info.name!r}:", name, [*known, *(others or {})])
    for name, value in options.items():
        kinds = _kinds(known[name]) if name in known else []
        if kinds and not _fits(value, kinds):
            words = " or ".join(WORDS[kind] for kind in kinds)
            raise InputError(f"{name} of rule {rule.info.name!r} must be {words}, got {value!r}")


def _parameters(rule: type[Rule]) -> list[inspect.Parameter]:
    taken = {"num_classes", "seed"}
    return [p for p in inspect.signature(rule).parameters.values() if p.kind is p.KEYWORD_ONLY and p.name not in taken]


def _kinds(parameter: inspect.Parameter) -> list[type]:
    """The types of a parameter in the order of `WORDS`; none where there is another among them, or none known."""
    declared = parameter.annotation
    if declared is parameter.empty:
        default = parameter.default
        return [float] if type(default) is int else [type(default)] if type(default) in (bool, float, str) else []
    names = (declared if isinstance(declared, str) else inspect.formatannotation(declared)).split(" | ")
    kinds = {"None" if kind is NoneType else kind.__name__: kind for kind in WORDS}
    return [kind for name, kind in kinds.items() if name in names] if kinds.keys() >= set(names) else []


def _fits(value: Any, kinds: list[type]) -> bool:
    if value is None or isinstance(value, bool | str):
        return type(value) in kinds
    if isinstance(value, Integral):
        return int in kinds or float in kinds
    return isinstance(value, Real) and float in kinds and math.isfinite(value)
