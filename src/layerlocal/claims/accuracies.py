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
    find_measured,
    index_summaries,
    study_command,
)
from layerlocal.stats import estimate
from layerlocal.summary import Summary
from layerlocal.types import InputError
from layerlocal.words import NOT_RUN

__all__ = ["Accuracy", "compare_accuracies", "load_accuracies"]

STUDY = "accuracy"
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
        summaries: as for `judge`; those of the study ``accuracy`` are used, the largest size that has the data set.

    Returns:
        Rows of plain JSON, accuracies as fractions:
        ``{"method", "source", "data", "reported", "reported_bp", "text", "rule", "status": "measured" | "not run", "measured": Estimate or
        None, "measured_bp": Estimate or None, "difference": measured mean − reported or None, "size", "our_protocol", "n",
        "protocol_differences", "note", "reason", "command"}``. ``measured_bp`` is accuracy − gap, seed by seed; ``our_protocol`` says
        what was trained, ``""`` where nothing was.
    """
    indexed = index_summaries(summaries)
    return [_row(entry, indexed) for entry in accuracies]


def _row(entry: Accuracy, indexed: Indexed) -> dict[str, Any]:
    found: Measured | Unmeasured = Unmeasured("we have no such rule")
    bp = None
    if entry.rule is not None:
        found = find_measured(indexed, STUDY, entry.rule, f"accuracy/{entry.data}")
        gap = find_measured(indexed, STUDY, entry.rule, f"gap/{entry.data}")
        if isinstance(found, Measured) and isinstance(gap, Measured):
            bp = _backprop(found, gap)
    measured = estimate(found.values, images=found.images) if isinstance(found, Measured) else None
    reported = entry.accuracy_percent / 100
    return {
        "method": entry.method,
        "source": entry.source,
        "data": entry.data,
        "reported": reported,
        "reported_bp": None if entry.bp_percent is None else entry.bp_percent / 100,
        "text": entry.text or f"{entry.accuracy_percent:g} %",
        "rule": entry.rule,
        "status": NOT_RUN if measured is None else "measured",
        "measured": measured,
        "measured_bp": bp,
        "difference": None if measured is None else measured["mean"] - reported,
        "size": found.size if isinstance(found, Measured) else None,
        "our_protocol": found.protocol if isinstance(found, Measured) else "",
        "n": measured["n"] if measured else 0,
        "protocol_differences": entry.protocol_differences,
        "note": entry.note,
        "reason": "" if isinstance(found, Measured) else found.sentence,
        "command": _command(entry, found),
    }


def _backprop(accuracy: Measured, gap: Measured) -> Any:
    """Accuracy of plain backprop, accuracy − gap, where both are of the same seeds and size."""
    if accuracy.size != gap.size or accuracy.seeds != gap.seeds:
        return None
    return estimate([own - difference for own, difference in zip(accuracy.values, gap.values, strict=True)])


def _command(entry: Accuracy, found: Measured | Unmeasured) -> str | None:
    if isinstance(found, Measured):
        return found.command
    return None if entry.rule is None else study_command(STUDY, entry.rule)
