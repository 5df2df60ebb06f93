"""Finding one quantity in the summaries of studies: the best trained one, or the largest, or why there is none."""

from __future__ import annotations

import difflib
import math
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from layerlocal.summary import Quantity, Summary
from layerlocal.types import InputError, unknown_name

__all__ = [
    "COST_STUDY",
    "REPLICAS",
    "SIZE_ORDER",
    "Indexed",
    "Measured",
    "Unmeasured",
    "find_beside",
    "find_best_trained",
    "find_measured",
    "for_rule",
    "index_summaries",
    "study_command",
    "with_more",
]

REPLICAS = {"seeds": "--seeds", "rounds": "--rounds", "processes": "--repeats"}
"""What values are taken over → the option of the study, or of the cost audit, that says of how many."""
SIZE_ORDER = ("quick", "medium", "standard", "full")
"""Sizes of a study from small to large."""
COST_STUDY = "cost"
"""What claims call the cost audit, which is a command of its own."""
Indexed = dict[str, list[Summary]]
"""Study → its summaries, the largest size first."""


@dataclass(frozen=True)
class Measured:
    """One quantity of one rule: its value for each seed, in seed order."""

    study: str
    size: str
    what: str
    unit: str
    seeds: tuple[str, ...]
    values: list[float]
    command: str
    of: str = "seeds"
    """What its values were taken over, in the plural."""
    protocol: str = ""
    """What was trained, in words, where the study says so."""
    images: float | None = None
    """Standard error that test images add to the mean (`Quantity.images`)."""
    headroom: float | None = None
    """What backprop still gains with twice the steps, in the raw unit (`Quantity.headroom`)."""

    @property
    def can_have_headroom(self) -> bool:
        """Whether training can be too short for it: not of cost, which is no accuracy."""
        return self.study != COST_STUDY


@dataclass(frozen=True)
class Unmeasured:
    """Why a quantity has no value, in words that go on a sentence.

    Args:
        reason: the words.
        unjudged: whether the study was run and says that what came out leaves the quantity without a meaning.
        study: which that was.
        size: of that study.
        command: of that study.
    """

    reason: str
    unjudged: bool = False
    study: str | None = None
    size: str | None = None
    command: str = ""

    @property
    def sentence(self) -> str:
        """The reason by itself."""
        return f"{self.reason[0].upper()}{self.reason[1:]}."


def with_more(command: str, number: int, of: str = "seeds") -> str:
    """The command of a study or of the cost audit with another number of what a quantity's values were taken over.

    Args:
        command: as it was typed.
        number: of the seeds, rounds or processes.
        of: a key of `REPLICAS`.
    """
    return _with_option(command, (REPLICAS[of],), str(number))


def for_rule(command: str, rule: str) -> str:
    """The command of a study or of the cost audit for one rule: its own may name rules that were added later, and leave this one out."""
    return _with_option(command, ("--rules", "--rule"), rule)


def _with_option(command: str, names: tuple[str, ...], value: str) -> str:
    """The command with the option given once: where it first stands under one of its names, otherwise at the end."""
    left, place, words = [], None, iter(shlex.split(command))
    for word in words:
        name, equals, _ = word.partition("=")
        if name not in names:
            left.append(word)
            continue
        place = len(left) if place is None else place
        if not equals:
            next(words, None)
    place = len(left) if place is None else place
    return shlex.join([*left[:place], names[0], value, *left[place:]])


def study_command(study: str, rule: str = "class-goodness", *, trained: bool = False) -> str:
    """What to type for a study that has not been run; ``trained``: at the size at which networks are."""
    command = "layerlocal cost" if study == COST_STUDY else f"layerlocal study {shlex.quote(study)}"
    command = f"{command} --size standard" if trained else command
    return for_rule(command, rule)


def index_summaries(summaries: Iterable[Summary]) -> Indexed:
    """Study → its summaries, the largest size first.

    Raises:
        InputError: an unknown size, or two summaries of one study and size.
    """
    found: dict[str, dict[str, Summary]] = {}
    for summary in summaries:
        study, size = summary.name, summary.size
        if size not in SIZE_ORDER:
            raise unknown_name(f"size of the study {study!r}", size, SIZE_ORDER)
        if size in found.setdefault(study, {}):
            raise InputError(f"there are two summaries of the study {study!r} at size {size!r}; keep one")
        found[study][size] = summary
    return {study: [sizes[size] for size in reversed(SIZE_ORDER) if size in sizes] for study, sizes in found.items()}


def find_measured(indexed: Indexed, study: str, rule: str, quantity: str) -> Measured | Unmeasured:
    """The quantity at the largest size of one study that has values of it, or says why it cannot; otherwise the reason why it is missing.

    Which size is taken depends on what was run, never on what came out.

    Raises:
        InputError: a value that is no finite number.
    """
    for summary, found in _having(indexed, (study,), rule, quantity):
        return _read(found, summary, rule, quantity)
    return _missing(indexed, study, rule, quantity)


def find_best_trained(
    indexed: Indexed, study: str, rule: str, quantity: str, *, trained: bool = False
) -> Measured | Unmeasured:
    """The quantity where it was best trained, of all studies that measured it: with the least headroom (any before one that was not
    measured), then of the largest size, then of ``study``; otherwise the reason why it is missing.

    Which is taken depends on what was run and on how far backprop was from done, never on what the rule came out at. ``trained``: only
    those with a headroom.

    Raises:
        InputError: a value that is no finite number.
    """

    def rank(one: tuple[Summary, Quantity]) -> tuple[bool, float, int, bool]:
        summary, found = one
        left = found.headroom
        return left is None, abs(left or 0.0), -SIZE_ORDER.index(summary.size), summary.name != study

    having = _having(indexed, indexed, rule, quantity)
    best = min((one for one in having if one[1].headroom is not None or not trained), key=rank, default=None)
    if best is None and trained and next(_having(indexed, indexed, rule, quantity), None) is not None:
        return Unmeasured("no study has measured what backprop still gains with twice the steps, beside it")
    return _missing(indexed, study, rule, quantity) if best is None else _read(best[1], best[0], rule, quantity)


def find_beside(indexed: Indexed, other: Measured, rule: str, quantity: str) -> Measured | None:
    """The quantity of the experiment that ``other`` is of, for numbers that stand in one row; ``None`` where it has no value there."""
    for summary, _ in _having(indexed, (other.study,), rule, quantity):
        if summary.size == other.size:
            found = _read(summary.quantities[rule][quantity], summary, rule, quantity)
            return found if isinstance(found, Measured) else None
    return None


def _having(indexed: Indexed, studies: Iterable[str], rule: str, quantity: str) -> Iterator[tuple[Summary, Quantity]]:
    """The summaries that have values of it, or say why they cannot; of one study the largest first."""
    for study in studies:
        for summary in indexed.get(study, ()):
            found = summary.quantities.get(rule, {}).get(quantity, Quantity())
            if found.values or found.reason:
                yield summary, found


def _missing(indexed: Indexed, study: str, rule: str, quantity: str) -> Unmeasured:
    """Why nothing is there."""
    if not indexed.get(study):
        return Unmeasured(f"the study {study!r} has not been run")
    known = {name for summary in indexed[study] for name in summary.quantities.get(rule, {})}
    if not known:
        return Unmeasured(_other_rules(indexed[study], study, rule))
    if quantity in known:
        return Unmeasured(f"the study {study!r} has no finished seed of {quantity!r} yet")
    near = difflib.get_close_matches(quantity, sorted(known), n=1)
    hint = f"; nearest is {near[0]!r}" if near else ""
    return Unmeasured(f"the study {study!r} has been run, but not what {quantity!r} needs{hint}")


def _other_rules(found: Iterable[Summary], study: str, rule: str) -> str:
    """That nothing of this rule is there, and of which rules there is something."""
    others = {other for summary in found for other, of in summary.quantities.items() if of}
    told = f"; it has {', '.join(sorted(others))}" if others else ""
    return f"the study {study!r} has been run, but has finished nothing of the rule {rule!r} yet{told}"


def _read(found: Quantity, summary: Summary, rule: str, quantity: str) -> Measured | Unmeasured:
    """Its values in the order of seeds; without any, the reason that the study gives."""
    command = summary.command or study_command(summary.name, rule)
    if not found.values:
        return Unmeasured(found.reason, unjudged=True, study=summary.name, size=summary.size, command=command)
    seeds = sorted(found.values, key=lambda seed: (len(seed), seed))
    for seed in seeds:
        if not math.isfinite(found.values[seed]):
            where = f"{summary.name} ({summary.size}), {rule}, {quantity}, seed {seed}"
            raise InputError(
                f"the summary of {where}: needs a finite number, got {found.values[seed]!r}; run the study again"
            )
    return Measured(
        study=summary.name,
        size=summary.size,
        what=found.what,
        unit=found.unit,
        seeds=tuple(seeds),
        values=[found.values[seed] for seed in seeds],
        command=command,
        of=found.of,
        protocol=found.protocol or _protocol(summary, rule, quantity),
        images=found.images,
        headroom=found.headroom,
    )


def _protocol(summary: Summary, rule: str, quantity: str) -> str:
    """What was trained, as the accuracy says it that stands beside a difference."""
    name = f"accuracy/{quantity.partition('/')[2]}"
    return summary.quantities.get(rule, {}).get(name, Quantity()).protocol
