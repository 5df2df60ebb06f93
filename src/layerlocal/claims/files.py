"""Reading lists of checked entries from YAML: every mistake is one clear sentence."""

from __future__ import annotations

import reprlib
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from layerlocal.types import InputError, first_line, unknown_name

__all__ = ["invalid", "list_entries", "own_file", "parse_entry", "read_yaml"]

Model = TypeVar("Model", bound=BaseModel)


def own_file(name: str) -> Traversable:
    """A data file of this room, also from a zipped wheel."""
    return files("layerlocal.claims").joinpath(name)


def read_yaml(path: Path | Traversable, key: str, *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """The mapping a file holds: the list under ``key`` and, if given, the ``optional`` keys, nothing else.

    Raises:
        InputError: no such file, not text, not YAML, not such a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}; give a YAML file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path.name} is not UTF-8 text; save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise InputError(
            f"{path.name} is not YAML: {_yaml_words(error)}; often a text with ': ' or '#' needs quotes"
        ) from None
    except (RecursionError, ValueError) as error:
        raise InputError(
            f"{path.name} is not YAML we can read: {first_line(error)}; write a plain list of {key}"
        ) from None
    if not isinstance(content, dict) or key not in content:
        raise InputError(f"{path.name} has no list {key!r}; begin it with a line '{key}:' and one '- ' item for each")
    for other in content:
        if other not in (key, *optional):
            raise InputError(f"{path.name}: {unknown_name('key', str(other), (key, *optional))}")
    return content


def list_entries(content: dict[str, Any], key: str, name: str) -> list[dict[str, Any]]:
    """The list under ``key``; `InputError` where it is empty or an item is no mapping."""
    entries = content[key]
    if not isinstance(entries, list) or not entries:
        raise invalid(name, key, "must be a list of one or more items, each begun by '- '", entries)
    for position, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise invalid(name, f"item {position} of {key}", "must be 'field: value' lines", entry)
    return entries


def parse_entry(model: type[Model], entry: dict[str, Any], name: str, label: str = "id") -> Model:
    """One checked entry; ``label`` is the field that names it in an error."""
    try:
        return model.model_validate(entry)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    kind = model.__name__.lower()
    where = (
        f"{name}: {kind} {entry[label]!r}" if isinstance(entry.get(label), str) else f"{name}: a {kind} without {label}"
    )
    field = ".".join(str(part) for part in first["loc"]) or kind
    if first["type"] == "missing":
        raise InputError(f"{where}: the field {field!r} is missing; add a line '{first['loc'][-1]}: ...'") from None
    if first["type"] == "extra_forbidden":
        raise InputError(f"{where}: {unknown_name('field', field, _fields(model))}") from None
    words = first["msg"][0].lower() + first["msg"][1:]
    hint = (
        ", put it in quotes" if first["type"] == "string_type" and not isinstance(first["input"], dict | list) else ""
    )
    raise invalid(where, field, words + hint, first["input"]) from None


def invalid(where: str, field: str, words: str, value: Any) -> InputError:
    """The error for a value that will not do, the value itself kept short."""
    return InputError(f"{where}: {field}: {words}, got {reprlib.repr(value)}")


def _fields(model: type[BaseModel]) -> list[str]:
    """Fields as they are written, those of an object inside with its name before a dot."""
    found = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        found.append(name)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found += [f"{name}.{part}" for part in inner.model_fields]
    return found


def _yaml_words(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {error.problem}"
    return first_line(error)
