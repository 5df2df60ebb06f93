"""Options read off a signature, and whether given ones are known and of the declared types."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Mapping
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, get_args

from layerlocal.types import InputError, shown, unknown_name

__all__ = [
    "MOST_PIXELS",
    "MOST_SEEDS",
    "check_kind",
    "check_options",
    "options_of",
    "real_number",
    "seed_number",
    "whole_number",
]

MOST_PIXELS = 2**14
"""Side of the largest image; activities of larger ones fit no machine."""
MOST_SEEDS = 10_000
"""Of an experiment: as many as a claim asks for at most."""
WORDS = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text", NoneType: "null"}
"""Types that are checked, and how a message calls them."""


def options_of(made: Callable[..., Any], taken: Collection[str]) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a class or a function, without those that are ``taken``."""
    parameters = inspect.signature(made).parameters.values()
    return {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in taken}


def check_options(
    what: str,
    known: Mapping[str, inspect.Parameter],
    options: Mapping[str, Any],
    others: Collection[str] | None = (),
) -> None:
    """See that options exist and have the declared types; ranges are the business of what takes them.

    A parameter without annotation is of the type of its default. What is not made of true or false, numbers, text and null is let through.

    Args:
        what: whose options they are, for the message: ``"rule 'ff'"``.
        known: `options_of` it.
        options: by name.
        others: options that are known besides, which nobody looks at here; ``None``: any.

    Raises:
        InputError: the first option that is unknown, or else the first of another type.
    """
    for name in options:
        if others is not None and name not in known and name not in others:
            raise unknown_name(f"option of {what}:", name, [*known, *others])
    for name, value in options.items():
        kinds = _kinds(known[name]) if name in known else []
        if kinds and not _fits(value, kinds):
            words = " or ".join(WORDS[kind] for kind in kinds)
            raise InputError(f"{name} of {what} must be {words}, got {shown(value)}")


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


def whole_number(name: str, value: Any, *, least: int | None = None, most: int | None = None) -> int:
    """A number given as Python's or NumPy's integer; true and false are none.

    Raises:
        InputError: anything else, or a number out of the range.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(f"{name} must be a whole number, got {shown(value)}")
    number = int(value)
    if least is not None and number < least:
        raise InputError(f"{name} must be at least {least}, got {number}")
    if most is not None and number > most:
        raise InputError(f"{name} must be at most {most}, got {number}")
    return number


def seed_number(value: Any) -> int:
    """A seed: a whole number from 0.

    Raises:
        InputError: anything else.
    """
    return whole_number("seed", value, least=0)


def real_number(name: str, value: Any) -> float:
    """A finite number given as Python's or NumPy's; true and false are none.

    Raises:
        InputError: anything else.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise InputError(f"{name} must be a finite number, got {shown(value)}")
    return float(value)


def check_kind(name: str, value: Any, kind: type | UnionType) -> None:
    """See that something that only we make is of its kind.

    Raises:
        InputError: it is not.
    """
    if not isinstance(value, kind):
        wanted = " or ".join(part.__name__ for part in get_args(kind) or (kind,)).replace("NoneType", "None")
        raise InputError(f"{name} must be a {wanted}, got {type(value).__name__}")
