"""`Frozen`: what every spec, plan and case is made of. Immutable, and one sentence for whatever does not fit."""

from __future__ import annotations

import functools
from typing import Any, LiteralString, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from layerlocal.types import InputError, shown, unknown_name

__all__ = ["Frozen"]


class Frozen(BaseModel):
    """What a run or a measurement depends on: immutable, no unknown field, no infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, **content: Any) -> None:
        try:
            super().__init__(**content)
        except ValidationError as error:
            raise _refusal(error, type(self)) from None
        except RecursionError:
            raise _nested(content) from None

    @field_validator("*", mode="before")
    @classmethod
    def _plain_number(cls, value: Any, info: ValidationInfo) -> Any:
        """NumPy's numbers as Python's, which hash alike; true and false are no numbers."""
        assert info.field_name is not None
        if value is None:
            return None
        value = _as_plain(value)
        is_number, is_model = _kind_of(cls, info.field_name)
        parts = value if isinstance(value, list | tuple) else [value]
        if is_number and any(isinstance(part, bool) for part in parts):
            raise PydanticCustomError("number", "Input should be a number, not true or false")
        wrong = None if is_model else _unfit(value)
        if wrong is not None:
            raise PydanticCustomError("unfit", wrong)
        return value

    @classmethod
    def parse(cls, content: dict[str, Any]) -> Self:
        """Validated, from plain JSON content; `InputError` says which field is wrong."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise _refusal(error, cls) from None
        except RecursionError:
            raise _nested(content) from None


@functools.cache
def _kind_of(model: type[BaseModel], field: str) -> tuple[bool, bool]:
    """Whether a field takes numbers and no true or false, and whether it is a model of its own."""
    kind = model.model_fields[field].annotation
    kinds = {kind, *get_args(kind)}
    return bool(kinds & {int, float}) and bool not in kinds, isinstance(kind, type) and issubclass(kind, BaseModel)


def _as_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_as_plain(part) for part in value)
    return value.item() if type(value).__module__ == "numpy" and getattr(value, "shape", None) == () else value


def _unfit(value: Any) -> LiteralString | None:
    """What neither a table nor a file of JSON can hold."""
    if isinstance(value, dict | list | tuple):
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        return next(filter(None, map(_unfit, parts)), None)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "Input should be a number of at most 64 bits"
    if isinstance(value, str) and any("\ud800" <= sign <= "\udfff" for sign in value):
        return "Input should be UTF-8 text"
    return None


def _nested(content: Any) -> InputError:
    return InputError(f"a value is nested too deep in {shown(content)}; give numbers, words, true, false or null")


_UNIONS = {
    "classes": "Input should be a number, or a list of indices and names",
    "flip": "Input should be true, false or 'alternating'",
}
"""Fields of several kinds → what they take: the kind that pydantic tried last tells nobody anything."""


def _refusal(error: ValidationError, model: type[BaseModel]) -> InputError:
    """The first thing that is wrong, and in which field."""
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden" and len(where) == 1:
        known = str(unknown_name("field", where[0], model.model_fields)).partition("; ")[2]
        return InputError(f"{where[0]}: there is no such field; {known}")
    first["msg"] = first["msg"].partition(", got ")[0]
    inner = first.get("ctx", {}).get("error")
    if isinstance(inner, InputError):  # of a section, which has said which of its fields it is
        return InputError(".".join([*where, str(inner)]))
    if (
        "options" in where[:-2] or "teacher" in where[:-2]
    ):  # then a member of `Scalar` follows, which tells nobody anything
        where, first["msg"] = where[:-1], "Input should be true, false, null, a finite number or text"
    for name in _UNIONS.keys() & set(where[:-1]):
        where, first["msg"] = where[: 1 + where.index(name)], _UNIONS[name]
    if not where:
        return InputError(f"{first['msg']}, got {shown(first['input'])}")
    return InputError(f"{'.'.join(where)}: {first['msg']}, got {shown(first['input'])}")
