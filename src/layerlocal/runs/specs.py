"""Reading many specs: what they have alike is parsed once for them all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from layerlocal.files import compact_json
from layerlocal.names import names_of_today
from layerlocal.spec import SECTIONS, RunSpec, Section, canonical_section, short_sum
from layerlocal.types import InputError

__all__ = ["SpecReader", "spec_texts"]


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
        self._sections: dict[tuple[str, str, bool], tuple[Section, str]] = {}
        self._rest: dict[str, RunSpec] = {}

    def read(self, texts: tuple[str, ...]) -> tuple[RunSpec, str]:
        """A spec and its hash.

        Raises:
            InputError: what `RunSpec.parse` says of the content.
        """
        *sections, rest = texts
        old = '"names"' not in rest  # of an earlier version: other names of rules
        try:
            found = {name: self._section(name, text, old) for name, text in zip(SECTIONS, sections, strict=True)}
            whole = self._without_sections(rest).model_copy(update={name: part for name, (part, _) in found.items()})
        except (ValueError, RecursionError):  # an `InputError` too: it does not say of which section
            content = {name: json.loads(text) for name, text in zip(SECTIONS, sections, strict=True)}
            spec = RunSpec.parse(content | json.loads(rest))
            return spec, spec.hash
        return whole, short_sum(whole.joined({name: text for name, (_, text) in found.items()}))

    def _section(self, name: str, text: str, old: bool) -> tuple[Section, str]:
        key = name, text, old
        if key not in self._sections:
            _make_room(self._sections)
            content = json.loads(text)
            section = SECTIONS[name].model_validate(names_of_today(content) if old and name == "rule" else content)
            self._sections[key] = section, canonical_section(section)
        return self._sections[key]

    def _without_sections(self, text: str) -> RunSpec:
        if text not in self._rest:
            _make_room(self._rest)
            self._rest[text] = RunSpec.model_validate(json.loads(text))
        return self._rest[text]


def _make_room(known: dict[Any, Any], most: int = 10_000) -> None:
    if len(known) >= most:
        known.clear()
