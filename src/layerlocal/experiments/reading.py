"""Reading what an experiment found: summaries of this version, of stores of earlier ones, and those that are published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from layerlocal.claims import COST_STUDY
from layerlocal.experiments.audit.published import summary_of_0_1_0
from layerlocal.experiments.cost.present import summary_of_finding
from layerlocal.experiments.places import read_kept
from layerlocal.experiments.tune.present import summary_of_search
from layerlocal.files import read_model
from layerlocal.summary import Summary
from layerlocal.types import InputError

__all__ = ["read_summary"]

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
    content = read_kept(path, damaged=damaged) if content is None else content
    if content is None:
        return None
    try:
        new = _in_this_form(content)
        if lacks := [key for key in NEEDS if new["experiment"] == "study" and key not in new]:
            raise KeyError(lacks[0])
    except KeyError as error:
        raise damaged(path, f"it has no {error.args[0]}") from None
    except (TypeError, AttributeError, ValueError):
        raise damaged(path, "it is not in the form of a summary") from None
    return read_model(path, Summary, content=new, damaged=damaged)


def _in_this_form(content: Old) -> Old:
    """What a file holds, under the names of `Summary`; raises `KeyError` of what is missing."""
    if "experiment" in content:
        return content
    if "methods" in content:
        return summary_of_search(content).model_dump()
    if "accuracy" in content:
        return summary_of_0_1_0(content).model_dump()
    return summary_of_finding(content).model_dump() if content["study"] == COST_STUDY else _study(content)


def _study(old: Old) -> Old:
    notes = [*old.get("notes", ()), *filter(None, [old.get("hardware_note")])]
    same = {key: value for key, value in old.items() if key not in ("study", "hardware_note", "failed")}
    return {"experiment": "study", "name": old["study"], **same, "notes": notes}
