"""Locality certificates as figures: which loss reaches which block, and which update notices which block; and as a table.

A *certificate* is what `layerlocal.measure.measure_locality` found of a run, with the ``rule`` it is of and its ``run``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from layerlocal.experiments.studies.parts import columns
from layerlocal.runs.records import RunRecord
from layerlocal.summary import Axis, Figure, Part, Point, Series, Table
from layerlocal.types import trained_blocks
from layerlocal.words import MISSING, is_number, several

__all__ = ["certificate_figure", "certificate_of", "certificate_part", "locality_of"]

Certificate = Mapping[str, Any]
SAME = ("rule", "declared", "measured", "certified", "losses", "blocks", "reach", "intervention")
"""By what certificates are equal: the size of a gradient differs from seed to seed."""
INTRODUCTION = (
    "Two tests on one batch. Gradient: does the loss of a row put any gradient on the parameters of a column's block? Intervention: if the "
    "parameters of a row's block are perturbed, does a column's block get another update? A block may always notice a change below it; a change "
    "above it must not reach it unless the rule declares so."
)
REACH, MOVED = "loss → block", "perturbed → update"
_Cell = tuple[str, str, str, str]
"""Row, column, what is drawn, and in words."""


def certificate_part(certificates: Sequence[Certificate], command: str) -> Part:
    """A figure for every rule and twin, and the table of what they declare and what was measured.

    Args:
        certificates: of every run; those that are equal share a figure.
        command: what makes the runs.
    """
    alike: dict[str, list[Certificate]] = {}
    for entry in certificates:
        alike.setdefault(json.dumps([entry.get(key) for key in SAME]), []).append(entry)
    rows = tuple(_row(entries) for entries in alike.values())
    named = columns(
        ("rule", "rule", "text"), ("declared", "declared", "text"), ("measured", "measured", "text"),
        ("certified", "certificate", "text"), ("runs", "runs", "int"), ("problems", "problems", "text"),
    )  # fmt: skip
    shown = named if any(row["problems"] for row in rows) else named[:-1]
    table = Table(caption="What rules and twins declare, and what was measured", columns=shown, rows=rows)
    figures = tuple(
        certificate_figure(entries, f"audit-locality-{number}").model_copy(
            update={"folded": bool(entries[0]["certified"])}
        )
        for number, entries in enumerate(alike.values())
    )
    return Part(
        title="Locality certificates",
        notes=(INTRODUCTION,) if rows else ("Locality certificates: not run. This runs them:",),
        figures=figures,
        folded_words="certificates that hold",
        tables=(table,) if rows else (),
        command="" if rows else command,
    )


def locality_of(certificates: Sequence[Certificate], rule: str) -> str:
    """``✓ block``, ``✗ declared block, measured global`` over every certificate of a rule; ``not run`` where it has none."""
    found = [entry for entry in certificates if entry["rule"] == rule]
    if not found:
        return MISSING
    shown = next((entry for entry in found if not entry["certified"]), found[0])
    if shown["certified"] and shown["declared"] == shown["measured"]:
        return f"✓ {shown['measured']}"
    return f"{_said(shown)[0]} {_verdict(shown)}"


def _said(entry: Certificate) -> str:
    return "✓ certified" if entry["certified"] else "✗ not certified"


def _verdict(entry: Certificate) -> str:
    return f"declared {entry['declared']}, measured {entry['measured']}"


def _row(entries: Sequence[Certificate]) -> dict[str, Any]:
    first = entries[0]
    named = {key: first[key] for key in ("rule", "declared", "measured")}
    return {
        **named,
        "certified": _said(first),
        "runs": len(entries),
        "problems": "; ".join(first.get("problems") or ()),
    }


def certificate_of(record: RunRecord) -> Certificate:
    """The certificate of a run that has one, under its rule's name, and whose twin it is."""
    rule, partner = record.spec.rule.name, record.spec.rule.options.get("of")
    label = f"{rule} (twin of {partner})" if partner else rule
    return {**record.result["locality"], "rule": label, "run": record.hash}


def certificate_figure(entries: Sequence[Certificate], name: str) -> Figure:
    """Both matrices of equal certificates."""
    first = entries[0]
    reach, moved = list(_reach_cells(first)), list(_intervention_cells(first))
    halves = ((REACH, reach), (MOVED, moved))
    return Figure(
        name=name,
        kind="matrix",
        title=f"{_said(first)[0]} {first['rule']}: {_verdict(first)}",
        caption=_in_words(first, reach, moved),
        x=Axis(scale="category"),
        y=Axis(scale="category"),
        series=tuple(
            Series(
                name=title,
                points=tuple(
                    Point(x=_bare(column), y=_bare(row), z=kind, label=words) for row, column, kind, words in cells
                ),
            )
            for title, cells in halves
        ),
        runs=tuple(entry["run"] for entry in entries),
    )


def _bare(name: str) -> str:
    """A loss or block by its numbers, as there is little room: ``2-3``."""
    return name.removeprefix("block")


def _allowed(entry: Certificate) -> list[set[str]]:
    """For each loss, the blocks that the *declared* locality lets it reach."""
    blocks, whole = entry["blocks"], entry["declared"] == "global"
    return [set(blocks) if whole else trained_blocks(loss, blocks) for loss in entry["losses"]]


def _reach_cells(entry: Certificate) -> Iterator[_Cell]:
    for i, (loss, allowed) in enumerate(zip(entry["losses"], _allowed(entry), strict=True)):
        for j, block in enumerate(entry["blocks"]):
            kind = _kind(_at(entry["reach"], i, j), block in allowed)
            norm = _at(entry.get("reach_norm"), i, j)
            size = f", |gradient| {norm:.3g}" if is_number(norm) else ""
            verb = {"unknown": "not measured for", "no": "does not reach"}.get(kind, "reaches")
            yield loss, block, kind, f"loss {loss} {verb} {block}{size}{_leak(kind)}"


def _intervention_cells(entry: Certificate) -> Iterator[_Cell]:
    """An earlier block always changes what a later one sees; the other way is a leak."""
    blocks, allowed, ahead = entry["blocks"], _allowed(entry), entry.get("reads_ahead") or 0
    for j, perturbed in enumerate(blocks):
        for i, updated in enumerate(blocks):
            together = any({perturbed, updated} <= group for group in allowed)
            kind = _kind(_at(entry["intervention"], j, i), j <= i or together or j - i <= ahead)
            verb = {"unknown": "was not measured", "no": "did not change"}.get(kind, "changed")
            yield perturbed, updated, kind, f"{perturbed} perturbed: the update of {updated} {verb}{_leak(kind)}"


def _at(matrix: Any, i: int, j: int) -> Any:
    """A cell; ``None`` where a test ended early."""
    return matrix[i][j] if matrix and i < len(matrix) and j < len(matrix[i]) else None


def _kind(value: Any, permitted: bool) -> str:
    if value is None:
        return "unknown"
    return "no" if not value else "yes" if permitted else "wrong"


def _leak(kind: str) -> str:
    return " (more than declared)" if kind == "wrong" else ""


def _in_words(entry: Certificate, reach: Sequence[_Cell], moved: Sequence[_Cell]) -> str:
    """The figure in a sentence, counts and all."""
    place = {block: number for number, block in enumerate(entry["blocks"])}
    later = [kind for perturbed, updated, kind, _ in moved if place[updated] < place[perturbed]]
    reached = sum(kind in ("yes", "wrong") for *_, kind, _ in reach)
    backward = sum(kind in ("yes", "wrong") for kind in later)
    wrong = sum(kind == "wrong" for *_, kind, _ in [*reach, *moved])
    losses = f"{len(entry['losses'])} {'loss' if len(entry['losses']) == 1 else 'losses'}"
    leak = f" {wrong} of the cells are more than the rule declared." if wrong else ""
    return (
        f"{losses} on {several(len(place), 'block')}; gradient reaches {reached} of {len(reach)} loss × block cells; a perturbed later block "
        f"changed an earlier block's update in {backward} of {sum(kind != 'unknown' for kind in later)} cases.{leak}"
    )
