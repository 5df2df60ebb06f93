"""Published accuracies beside measured ones. Protocols differ, so a difference here is information and never a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from layerlocal.claims.files import list_entries, own_file, parse_entry, read_yaml
from layerlocal.claims.measured import (
    Indexed,
    Measured,
    Unmeasured,
    find_beside,
    find_best_trained,
    index_summaries,
    study_command,
)
from layerlocal.stats import estimate
from layerlocal.summary import Summary
from layerlocal.types import InputError
from layerlocal.words import NOT_RUN

__all__ = ["Accuracy", "compare_accuracies", "load_accuracies", "measured_accuracies"]

STUDY = "accuracy"
STUDIES = (STUDY, "best")
"""Studies whose accuracies stand beside published ones: every method at the length at which the study trains."""
DataName = Literal[
    "mnist", "fashion_mnist", "svhn", "cifar10", "cifar100", "stl10", "tiny_imagenet", "imagenet100", "imagenet"
]


class Accuracy(BaseModel):
    """One published test accuracy.

    Args:
        method: as its authors call it.
        source: where it was published.
        data: our name of the data set.
        accuracy_percent: top-1, in [0, 100].
        bp_percent: the same source's own backprop figure, if it gives one.
        rule: our rule where we have the method.
        text: as printed, where that says more than the number; else empty.
        protocol_differences: how its protocol differs from ours.
        note: anything else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)
    method: str = Field(min_length=1)
    source: str = Field(min_length=1)
    data: DataName
    accuracy_percent: float = Field(ge=0, le=100)
    bp_percent: float | None = Field(ge=0, le=100)
    rule: str | None
    text: str = ""
    protocol_differences: str
    note: str = ""


def load_accuracies(path: str | Path | None = None) -> tuple[Accuracy, ...]:
    """Every published accuracy of a YAML file with a list ``accuracies``; of our own where left out.

    Raises:
        InputError: one sentence: which file, which entry, which field and how to mend it.
    """
    file = own_file("accuracies.yaml") if path is None else Path(path)
    entries = list_entries(read_yaml(file, "accuracies"), "accuracies", file.name)
    found = tuple(parse_entry(Accuracy, entry, file.name, "method") for entry in entries)
    seen: set[tuple[str, str, str, str | None]] = set()
    for entry in found:
        key = (entry.method, entry.source, entry.data, entry.rule)
        if key in seen:
            raise InputError(f"{file.name}: {entry.method!r} has two accuracies on {entry.data!r}; keep one")
        seen.add(key)
    return found


def compare_accuracies(accuracies: Sequence[Accuracy], summaries: Iterable[Summary]) -> list[dict[str, Any]]:
    """One row for each published accuracy, what we measured beside it or the reason why nothing was.

    Args:
        accuracies: from `load_accuracies`.
        summaries: as for `judge`; those of the studies ``accuracy`` and ``best`` are used, the largest size that has the data set.

    Returns:
        Rows of plain JSON, accuracies and differences as fractions:
        ``{"method", "source", "data", "reported", "reported_bp", "text", "rule", "status": "measured" | "not run", "measured": Estimate or
        None, "measured_bp": Estimate or None, "extra_supervision", "price_of_locality", "objective": Estimates or None, "headroom": number
        or None, "difference": measured mean − reported or None, "study", "size", "our_protocol", "n", "protocol_differences", "note",
        "reason", "command"}``. ``measured_bp`` is accuracy − gap, seed by seed; ``objective`` is the price of the objective; ``our_protocol``
        says what was trained, ``""`` where nothing was.
    """
    indexed = _used(summaries)
    return [_row(entry, indexed) for entry in accuracies]


def measured_accuracies(accuracies: Sequence[Accuracy], summaries: Iterable[Summary]) -> list[dict[str, Any]]:
    """Rows as of `compare_accuracies` for what was measured and never published: each rule and data set of the studies' summaries without an
    entry among ``accuracies``. ``method`` is the rule, ``source`` is ``""`` and ``reported`` is ``None``.
    """
    indexed = _used(summaries)
    published = {(entry.rule, entry.data) for entry in accuracies}
    found = {
        (rule, name.removeprefix(f"{STUDY}/"))
        for of_study in indexed.values()
        for summary in of_study
        for rule, quantities in summary.quantities.items()
        for name, quantity in quantities.items()
        if name.startswith(f"{STUDY}/") and quantity.values
    }
    return [
        {"method": rule, "source": "", "data": data, "reported": None, "reported_bp": None, "text": "", "rule": rule,
         **_ours(rule, data, indexed), "difference": None, "protocol_differences": "", "note": ""}
        for rule, data in sorted(found - published)
    ]  # fmt: skip


def _used(summaries: Iterable[Summary]) -> Indexed:
    return {study: found for study, found in index_summaries(summaries).items() if study in STUDIES}


def _row(entry: Accuracy, indexed: Indexed) -> dict[str, Any]:
    ours, reported = _ours(entry.rule, entry.data, indexed), entry.accuracy_percent / 100
    measured = ours["measured"]
    return {
        "method": entry.method,
        "source": entry.source,
        "data": entry.data,
        "reported": reported,
        "reported_bp": None if entry.bp_percent is None else entry.bp_percent / 100,
        "text": entry.text or f"{entry.accuracy_percent:g} %",
        "rule": entry.rule,
        **ours,
        "difference": None if measured is None else measured["mean"] - reported,
        "protocol_differences": entry.protocol_differences,
        "note": entry.note,
    }


def _ours(rule: str | None, data: str, indexed: Indexed) -> dict[str, Any]:
    """What we have of a rule on a data set: all of one study, at one size."""
    found: Measured | Unmeasured = Unmeasured("we have no such rule")
    if rule is not None:
        found = find_best_trained(indexed, STUDY, rule, f"{STUDY}/{data}")
    if rule is None or isinstance(found, Unmeasured):
        assert isinstance(found, Unmeasured)
        empty = dict.fromkeys(("measured", "measured_bp", *DIFFERENCES, "headroom", "study", "size"))
        command = None if rule is None else study_command(STUDY, rule)
        return {"status": NOT_RUN, **empty, "our_protocol": "", "n": 0, "reason": found.sentence, "command": command}
    gap, *differences = (find_beside(indexed, found, rule, f"{name}/{data}") for name in ("gap", *DIFFERENCES))
    measured = estimate(found.values, images=found.images)
    return {
        "status": "measured",
        "measured": measured,
        "measured_bp": None if gap is None else _backprop(found, gap),
        **dict(zip(DIFFERENCES, map(_estimate, differences), strict=True)),
        "headroom": None if gap is None else gap.headroom,
        "study": found.study,
        "size": found.size,
        "our_protocol": found.protocol,
        "n": measured["n"],
        "reason": "",
        "command": found.command,
    }


DIFFERENCES = ("extra_supervision", "price_of_locality", "objective")
"""What stands beside an accuracy, where its study has it."""


def _estimate(found: Measured | None) -> Any:
    return None if found is None else estimate(found.values, images=found.images)


def _backprop(accuracy: Measured, gap: Measured) -> Any:
    """Accuracy of plain backprop, accuracy − gap, where both are of the same seeds and size."""
    if accuracy.size != gap.size or accuracy.seeds != gap.seeds:
        return None
    return estimate([own - difference for own, difference in zip(accuracy.values, gap.values, strict=True)])
