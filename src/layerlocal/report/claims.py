"""Verdict rows and accuracies beside published ones as plain text for the page and for Markdown: nothing is judged here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from layerlocal.claims import COST_STUDY, VERDICTS
from layerlocal.report.views import Cell, Grid
from layerlocal.words import (
    INCONCLUSIVE,
    NOT_RUN,
    NOTHING,
    UNJUDGED,
    cell,
    clean,
    exact,
    in_two,
    is_number,
    known,
    measured,
    percent,
    plain,
    probability,
    several,
    spoken,
)

__all__ = ["accuracy_table", "brings_command", "claim_rows", "claims_headline", "reported_text"]

View = dict[str, Any]
Row = Mapping[str, Any]
Homes = dict[tuple[Any, Any], str]


def claims_headline(rows: Sequence[Row]) -> str:
    """``Of 5 claims, 2 are supported, 1 is contradicted and 2 are not run.``"""
    verdicts = [_verdict(row) for row in rows]
    counts = [(verdicts.count(word), word) for word in dict.fromkeys([*VERDICTS, *verdicts])]
    told = [f"{n} {word}" if word == UNJUDGED else f"{n} {'is' if n == 1 else 'are'} {word}" for n, word in counts if n]
    return f"Of {several(len(rows), 'claim')}, {spoken(told)}."


def claim_rows(rows: Sequence[Row], studies: Homes | None = None) -> list[View]:
    """One view a claim, in the order given.

    Args:
        rows: verdict rows.
        studies: (study, size) → its anchor in the page, for those that have a section.
    """
    return [_claim(row, studies or {}) for row in rows]


def _claim(row: Row, studies: Homes) -> View:
    verdict, unit = _verdict(row), _unit(row)
    estimate = row.get("estimate")
    return {
        "id": _text(row.get("id")),
        "sentence": _text(row.get("sentence"), ""),
        "source": _text(row.get("source"), ""),
        "study": _text(row.get("study"), ""),
        "href": studies.get((row.get("study"), row.get("size"))),
        "reported": reported_text(row.get("reported")),
        "measured": in_two(estimate, unit),
        "what": _what(row),
        "verdict": (verdict.replace(" ", "-") if verdict in VERDICTS else "other", VERDICTS.get(verdict, "·"), verdict),
        "needs": _needs(row, verdict),
        "headroom": _headroom(row, unit),
        "reason": _text(row.get("reason"), ""),
        "left": verdict == NOT_RUN,
        "command": _text(row.get("command"), "") if brings_command(row) else "",
        "n": plain(row.get("n", estimate.get("n") if isinstance(estimate, dict) else None)),
        "size": _text(row.get("size")),
        "effect": _as_shown(row.get("smallest_effect"), unit),
        "p": probability(row.get("p_adjusted")),
        "how": [text for text in (_test(row), _trained(row), _text(row.get("note"), ""), _differences(row)) if text],
    }


def _verdict(row: Row) -> str:
    return clean(row.get("verdict") or NOT_RUN)


def brings_command(row: Row) -> bool:
    """Whether its command is of what is not there yet: of a claim that is not run, or that more seeds, rounds or processes would settle."""
    verdict = _verdict(row)
    return verdict == NOT_RUN or (verdict == INCONCLUSIVE and (is_number(row.get("n_needed")) or row.get("n") == 1))


def _unit(row: Row) -> str:
    """Of the quantity; of the published number where the quantity was never measured."""
    reported = row.get("reported")
    return clean(row.get("unit") or (reported.get("unit") if isinstance(reported, dict) else "") or "")


def _text(value: Any, empty: str = NOTHING) -> str:
    return clean(value) if value not in (None, "") else empty


def _as_shown(value: Any, unit: str) -> str:
    """A number that is in its unit already, as claims have them: 0.5 of ``pp`` is half a point."""
    if not is_number(value):
        return NOTHING
    return plain(value) if unit in ("", "share") else f"{plain(value)} {unit}"


def _what(row: Row) -> str:
    """What was measured, of which rule."""
    what, rule = _text(row.get("what"), "") or _text(row.get("quantity"), ""), _text(row.get("rule"), "")
    return f"{what} ({rule})" if what and rule and rule not in what else what or rule


def _needs(row: Row, verdict: str) -> str:
    """For a verdict that is open, the numbers of seeds between which it would be settled."""
    ends = row.get("n_needed_range")
    if verdict != INCONCLUSIVE or not ends:
        return ""
    least, most = (f"{end:,}" if is_number(end) else "more than 10,000" for end in ends)
    return f"n = {least} would settle it" if least == most else f"n = {least} to {most} would settle it"


def _headroom(row: Row, unit: str) -> str:
    """What backprop still gains with twice the steps; nothing of cost, and of what is not measured."""
    if "headroom" not in row or not row.get("n") or row.get("study") == COST_STUDY:
        return ""
    return f"headroom {exact(row['headroom'], unit)}" if is_number(row["headroom"]) else "headroom not measured"


def _trained(row: Row) -> str:
    """What was trained and how long, in one line."""
    return f"Trained: {text}" if (text := _text(row.get("trained"), "")) else ""


def _test(row: Row) -> str:
    """How it is judged, in one line."""
    family = _text(row.get("family"), "")
    parts = [f"{_text(row.get('test'))} test" if row.get("test") else "", _bound(row)]
    parts.append(f"corrected with the family {family}" if family else "")
    if is_number(row.get("p")):
        parts.append(f"p {probability(row['p'])} before adjustment")
    if is_number(row.get("alpha")):
        parts.append(f"α {plain(row['alpha'])}")
    return "; ".join(part for part in parts if part)


def _bound(row: Row) -> str:
    """Where the mean has to lie for the claim to be supported."""
    unit, effect = _unit(row), row.get("smallest_effect")
    reference = row.get("reference")
    centre = float(reference) if reference is not None and is_number(reference) else 0.0
    if effect is None or not is_number(effect):
        return ""
    if row.get("direction") == "greater":
        return f"supported if shown to lie above {_as_shown(centre + effect, unit)}"
    if row.get("direction") == "less":
        return f"supported if shown to lie below {_as_shown(centre - effect, unit)}"
    if row.get("direction") == "none":
        return f"supported if shown to lie within ±{_as_shown(effect, unit)} of {_as_shown(centre, unit)}"
    return ""


def _differences(row: Row) -> str:
    """How the protocols differ: a text or a list of them."""
    given = row.get("protocol_differences")
    texts = given if isinstance(given, list | tuple) else [given]
    told = "; ".join(clean(text) for text in texts if text)
    return f"Protocol: {told}" if told else ""


def reported_text(value: Any) -> str:
    """A published number in the words of its source; without any, the number in its unit; a bare number is a fraction."""
    if not isinstance(value, dict):
        return percent(value) if is_number(value) else _text(value)
    return _text(value.get("text"), "") or _as_shown(value.get("value"), clean(value.get("unit") or ""))


_ACCURACY_COLUMNS: tuple[tuple[str, bool, Callable[[Row], str]], ...] = (
    ("method", False, lambda row: _text(row.get("method"))),
    ("source", False, lambda row: _text(row.get("source"))),
    ("data", False, lambda row: _text(row.get("data"))),
    ("reported", True, lambda row: _text(row.get("text"), "") or reported_text(row.get("reported"))),
    ("reported BP", True, lambda row: cell(row.get("reported_bp"), "percent")),
    ("our rule", False, lambda row: _text(row.get("rule"))),
    ("measured", True, lambda row: measured(row.get("measured"), "%") if known(row.get("measured")) else "not run"),
    ("our BP", True, lambda row: measured(row.get("measured_bp"), "%")),
    ("measured − reported", True, lambda row: cell(row.get("difference"), "points")),
    ("n", True, lambda row: plain(row["measured"].get("n")) if known(row.get("measured")) else NOTHING),
    ("size", False, lambda row: _text(row.get("size"))),
    ("our protocol", False, lambda row: _text(row.get("our_protocol") or None)),
    ("differences in protocol", False, lambda row: _differences(row).removeprefix("Protocol: ") or NOTHING),
    ("why not run", False, lambda row: _text(row.get("reason"))),
)


def accuracy_table(rows: Sequence[Row]) -> Grid:
    """Accuracies as published beside ours; columns that no row fills are left out."""
    texts = [[write(row) for _, _, write in _ACCURACY_COLUMNS] for row in rows]
    shown = [i for i in range(len(_ACCURACY_COLUMNS)) if any(line[i] != NOTHING for line in texts)]
    return Grid(
        caption="Accuracy as reported beside accuracy measured; brackets are 95 % intervals over n seeds. Protocols differ, so a difference "
        "is no verdict.",
        head=[_ACCURACY_COLUMNS[i][0] for i in shown],
        rows=[[Cell(line[i]) for i in shown] for line in texts],
        numeric=[_ACCURACY_COLUMNS[i][1] for i in shown],
    )
