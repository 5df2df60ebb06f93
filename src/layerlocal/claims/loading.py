"""Reading claims from YAML, and checking every one.

Above the list ``claims`` a file may say, for all of its claims:

    alpha: 0.05                        the level; 0.05 where it is left out
    family: paper                      what they are corrected together as; the file's name where it is left out
    rules: [class-goodness, dtg-ff]    whose quantities they are about, where a claim names no rule itself

A claim of several rules is a claim about each: ``P2`` about the first, ``P2@dtg-ff``, of the family ``paper@dtg-ff``, about the second. Its
``protocol_differences`` may be one text, or a text for each rule under the rule's name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from layerlocal.claims.claim import ALPHA, Claim, ClaimSet
from layerlocal.claims.files import invalid, list_entries, own_file, parse_entry, read_yaml
from layerlocal.types import InputError, unknown_name

__all__ = ["load_claims"]

OWN = ("paper.yaml", "ours.yaml", "cost.yaml", "trained.yaml", "length.yaml", "language.yaml", "small.yaml")
DIFFERENCES = "protocol_differences"


def load_claims(
    paths: Sequence[str | Path] | str | Path | None = None,
    *,
    known_studies: Collection[str] | None = None,
    known_quantities: Mapping[str, Collection[str]] | None = None,
) -> ClaimSet:
    """Every claim of one or more files, checked: they are judged together, so there is no reading of a part.

    Args:
        paths: YAML files; our own (the paper's claims and ours) where left out.
        known_studies: names a claim's study must be among; not checked where left out.
        known_quantities: study → its quantities, where ``*`` stands for anything: a claim's must be one of some study; likewise.

    Raises:
        InputError: one sentence: which file, which claim, which field and how to mend it.
    """
    if isinstance(paths, str | Path):
        paths = [paths]
    claims: dict[str, Claim] = {}
    levels: dict[float, str] = {}
    families: dict[str, str] = {}
    for path in [own_file(name) for name in OWN] if paths is None else [Path(path) for path in paths]:
        content = read_yaml(path, "claims", optional=("alpha", "family", "rules"))
        if "alpha" in content:
            levels[_level(content["alpha"], path.name)] = path.name
        family = _family(content, path, families)
        for claim in _claims(content, family, path.name):
            if claim.id in claims:
                raise InputError(f"{path.name}: two claims have the id {claim.id!r}; give each its own")
            if known_studies is not None and claim.study not in known_studies:
                raise InputError(
                    f"{path.name}: claim {claim.id!r}: {unknown_name('study', claim.study, known_studies)}"
                )
            if known_quantities is not None:
                _refuse_unmeasured(claim, known_quantities, path.name)
            claims[claim.id] = claim
    if len(levels) > 1:
        told = " and ".join(f"{level:g} ({name})" for level, name in levels.items())
        raise InputError(f"the files give different levels alpha, {told}; give one, or judge them one by one")
    return ClaimSet(claims=tuple(claims.values()), alpha=next(iter(levels), ALPHA))


def _refuse_unmeasured(claim: Claim, known: Mapping[str, Collection[str]], name: str) -> None:
    """Of a quantity that no experiment has no verdict would ever come."""
    if not any(fnmatchcase(claim.quantity, pattern) for patterns in known.values() for pattern in patterns):
        told = unknown_name("quantity", claim.quantity, known.get(claim.study, ()))
        raise InputError(f"{name}: claim {claim.id!r}: {told}")


def _level(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 0.5:
        raise invalid(name, "alpha", "must be a number above 0 and at most 0.5, such as 0.05", value)
    return float(value)


def _family(content: Mapping[str, Any], path: Path | Traversable, known: dict[str, str]) -> str:
    """The family of a file, which no other file may have: what is corrected together stands together."""
    family = content.get("family", path.name.rpartition(".")[0] or path.name)
    if not isinstance(family, str) or not family.strip() or "@" in family:
        raise invalid(path.name, "family", "must be a name without '@', such as paper", family)
    if family in known:
        raise InputError(
            f"{path.name}: a family named twice: {family!r} is that of {known[family]} too; begin one of them with a line 'family: ...' "
            "of its own"
        )
    known[family] = path.name
    return family


def _rules(content: Mapping[str, Any], name: str) -> list[str]:
    rules = content.get("rules", [Claim.model_fields["rule"].default])
    plain = isinstance(rules, list) and rules and all(isinstance(rule, str) and rule.strip() for rule in rules)
    if not plain or len({*rules}) < len(rules):
        raise invalid(name, "rules", "must be a list of names, each once, such as [class-goodness, dtg-ff]", rules)
    return list(rules)


def _claims(content: dict[str, Any], family: str, name: str) -> Iterator[Claim]:
    """Every claim of a file, about each of its rules."""
    rules = _rules(content, name)
    for entry in list_entries(content, "claims", name):
        if "family" in entry:
            raise invalid(
                name, "family", "must stand once, above the list, for all claims of the file", entry["family"]
            )
        about = [entry["rule"]] if "rule" in entry else rules
        texts = _differences(entry, about, name)
        claims = [
            parse_entry(Claim, {"rule": rule, **entry, "family": family} | ({DIFFERENCES: text} if texts else {}), name)
            for rule, text in zip(about, texts or about, strict=True)
        ]
        first = claims[0]
        if first.id != first.id.strip() or {",", "@"} & {*first.id}:
            raise invalid(
                name, "id", "has a comma, an @ or a blank at an end, so that --claim could not name it", first.id
            )
        yield first
        for claim in claims[1:]:
            yield first.about(claim.rule).model_copy(update={DIFFERENCES: claim.protocol_differences})


def _differences(entry: Mapping[str, Any], rules: Sequence[str], name: str) -> list[Any]:
    """The text for each rule, where they are given one by one."""
    given = entry.get(DIFFERENCES)
    if not isinstance(given, dict):
        return []
    if sorted(given, key=repr) != sorted(rules, key=repr):
        where = f"{name}: claim {entry.get('id')!r}"
        raise invalid(where, DIFFERENCES, f"needs one text, or one for each of {', '.join(rules)}", given)
    return [given[rule] for rule in rules]
