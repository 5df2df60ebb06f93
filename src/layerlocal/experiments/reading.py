"""Reading what an experiment found: summaries of this version, of stores of earlier ones, and those that are published."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from layerlocal.claims import COST_STUDY
from layerlocal.files import read_json, read_model
from layerlocal.summary import Row, Summary
from layerlocal.types import InputError
from layerlocal.words import difference

__all__ = ["read_summary", "summary_of"]

Old = Mapping[str, Any]
NEEDS = ("quantities", "rules", "rows", "sentences", "figures", "tables")
"""What a summary of a study has, whatever version wrote it."""


def read_summary(path: Path, *, damaged: Callable[[Path, object], InputError], content: Any = None) -> Summary | None:
    """The summary in a JSON file, of this version or of an earlier one; ``None`` where there is no file.

    Args:
        path: of the file.
        damaged: path, reason → what to say of a file that does not hold one.
        content: of the file, where it was read already.

    Raises:
        InputError: it is damaged, or cannot be read.
    """
    content = read_json(path, damaged=damaged) if content is None else content
    if content is None:
        return None
    try:
        new = _in_this_form(content)
        if lacks := [key for key in NEEDS if new["experiment"] == "study" and key not in new]:
            raise KeyError(lacks[0])
    except KeyError as error:
        raise damaged(path, f"it has no {error.args[0]}") from None
    return read_model(path, Summary, content=new, damaged=damaged)


def summary_of(content: Old) -> Summary:
    """A summary from what an experiment of an earlier version gave."""
    return Summary.model_validate(_in_this_form(content))


def _in_this_form(content: Old) -> Old:
    """What a file holds, under the names of `Summary`; raises `KeyError` of what is missing."""
    if "experiment" in content:
        return content
    if "methods" in content:
        return _search(content)
    if "accuracy" in content:
        return _audit(content)
    return _cost(content) if content["study"] == COST_STUDY else _study(content)


def _study(old: Old) -> Old:
    notes = [*old.get("notes", ()), *filter(None, [old.get("hardware_note")])]
    same = {key: value for key, value in old.items() if key not in ("study", "hardware_note", "failed")}
    return {"experiment": "study", "name": old["study"], **same, "notes": notes}


def _kept(old: Old) -> dict[str, Any]:
    """What all experiments called alike."""
    return {key: old[key] for key in ("command", "created", "layerlocal", "environment", "claims_sha256") if key in old}


def _audit(old: Old) -> Old:
    rules = old["accuracy"]["rules"]
    differences = ("gap", "extra_supervision", "price_of_locality")
    rows = [
        {"rule": row["rule"], "accuracy": row["fused"], **{name: side["fused"] for name, side in row["twins"].items()},
         **{name: row[name] for name in differences}, "note": row["note"]}
        for row in rules
    ]  # fmt: skip
    sentences = [
        f"{row['rule']}: gap to BP {difference(row['gap'])} = extra supervision {difference(row['extra_supervision'])} + price of locality "
        f"{difference(row['price_of_locality'])}"
        for row in rules
    ]
    missing = [{"label": entry["label"], "reason": entry["reason"]} for entry in old.get("failed", ())]
    found = {"rows": rows, "sentences": sentences, "missing": missing, "rules": [row["rule"] for row in rules]}
    return {"experiment": "audit", "name": "audit", "title": old.get("title", ""), **_kept(old), **found}


def _cost(old: Old) -> Old:
    same = {key: old[key] for key in ("size", "rules", "quantities", "sentences", "notes")}
    return {"experiment": "cost", "name": COST_STUDY, **_kept(old), **same, "rows": list(_cost_rows(old))}


def _cost_rows(old: Old) -> Iterator[Row]:
    for part, name in (("groups", "methods"), ("budget", "budget")):
        for group in old[part]:
            yield from ({"part": name, "setting": group["setting"], **row} for row in group["rows"])


def _search(old: Old) -> Old:
    same = {"sentences": old["sentences"], "plan": old.get("plan"), "rows": list(_trials(old))}
    return {"experiment": "tune", "name": old.get("name", ""), **_kept(old), **same}


def _trials(old: Old) -> Iterator[Row]:
    for method in old["methods"]:
        best = method["trials"].index(method["best"]) if method["best"] else None
        for number, trial in enumerate(method["trials"]):
            told = {"value": trial["value"], "best": number == best, "reason": trial["reason"]}
            yield {"method": method["label"], "trial": number, **told, **trial["settings"]}
