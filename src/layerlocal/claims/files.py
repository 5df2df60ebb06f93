"""Reading lists of checked entries from YAML: every mistake is one clear sentence."""

from __future__ import annotations

import re
import reprlib
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from layerlocal.types import InputError, first_line, unknown_name

__all__ = ["invalid", "list_entries", "load_yaml", "own_file", "parse_entry", "read_yaml"]

Model = TypeVar("Model", bound=BaseModel)
LARGEST = 4_000_000
"""Bytes of a file; ours have some 20,000."""
MOST = 100_000
"""Values of a file, those that a reference (``*name``) stands for counted wherever it stands."""


class _Strict(yaml.SafeLoader):
    """YAML in which nothing is said twice and no reference stands for more than is written: what is read is what a reader sees."""

    def get_single_node(self) -> yaml.Node | None:
        """References to references grow as powers do; one to what it stands in never ends."""
        node = super().get_single_node()
        if node is not None:
            _count(node, {})
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """PyYAML keeps the last of two values of one key and says nothing."""
        seen: dict[str, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            line, again = key.start_mark.line + 1, seen.get(key.value)
            if again is not None or key.value == "<<":
                told = (
                    "'<<' takes values from elsewhere"
                    if again is None
                    else f"{key.value!r} stands here and in line {again}"
                )
                mend = "write them out" if again is None else "keep one"
                raise yaml.constructor.ConstructorError(None, None, f"{told}; {mend}", key.start_mark)
            seen[key.value] = line
        return super().construct_mapping(node, deep)


_Strict.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?([0-9]+|[0-9]*\.[0-9]+|[0-9]+\.)[eE][-+]?[0-9]{1,3}$"),
    [*"+-.0123456789"],
)  # 1e-3, which PyYAML takes for text as YAML of 2005 did


def _count(node: yaml.Node, known: dict[int, int | None]) -> int:
    """Values in a node with its references written out; ``known`` has those of the nodes seen, ``None`` where one is not done yet."""
    if id(node) in known:
        counted = known[id(node)]
    else:
        known[id(node)] = None
        parts = [] if isinstance(node, yaml.ScalarNode) else node.value
        flat = [part for pair in parts for part in pair] if isinstance(node, yaml.MappingNode) else parts
        counted = known[id(node)] = 1 + sum(_count(part, known) for part in flat)
    if counted is None or counted > MOST:
        told = "a reference to what it stands in" if counted is None else f"references to more than {MOST:,} values"
        raise yaml.composer.ComposerError(None, None, f"{told}; write it out", node.start_mark)
    return counted


def own_file(name: str) -> Traversable:
    """A data file of this room, also from a zipped wheel."""
    return files("layerlocal.claims").joinpath(name)


def read_yaml(path: Path | Traversable, key: str, *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """The mapping a file holds: the list under ``key`` and, if given, the ``optional`` keys, nothing else.

    Raises:
        InputError: no such file, not text, not YAML, not such a mapping.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}; give a YAML file") from None
    if len(raw) > LARGEST:
        raise InputError(f"{path.name} has {len(raw):,} bytes, too many for a list of {key}; give the right file")
    content = load_yaml(path.name, raw, f"a plain list of {key}")
    if not isinstance(content, dict) or key not in content:
        raise InputError(f"{path.name} has no list {key!r}; begin it with a line '{key}:' and one '- ' item for each")
    for other in content:
        if other not in (key, *optional):
            raise InputError(f"{path.name}: {unknown_name('key', str(other), (key, *optional))}")
    return content


def load_yaml(name: str, raw: bytes, wanted: str) -> Any:
    """What a file of this name holds, whose bytes are ``raw``; ``wanted`` says what it should.

    Raises:
        InputError: not text, not YAML.
    """
    try:
        return yaml.load(raw.decode("utf-8-sig"), _Strict)  # a safe loader
    except UnicodeDecodeError:
        raise InputError(f"{name} is not UTF-8 text; save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise InputError(f"{name} is not YAML we can read: {_yaml_words(error)}") from None
    except (RecursionError, ValueError) as error:
        raise InputError(f"{name} is not YAML we can read: {first_line(error)}; write {wanted}") from None


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
    """Where, what and how to mend it."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"{first_line(error)}; save it as plain text"
    text, mend = str(error.problem), "; often a text with ': ' or '#' needs quotes"
    if "'\\t'" in text:
        mend = "; indent with blanks instead of tabs"
    elif "another document" in text:
        mend = "; give each its own file"
    elif "constructor" in text:
        mend = "; write plain texts, numbers and lists"
    elif "; " in text:
        mend = ""
    return f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {text}{mend}"
