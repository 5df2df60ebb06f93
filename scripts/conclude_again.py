"""Conclude the studies in `results/` anew from their rows, and judge the claims on them: for when a study or a verdict says more than it did.

    python scripts/conclude_again.py    # from the repository's root; trains nothing, and needs no run

Quantities are added to and take new words; a number that comes out otherwise than it was published is refused, not replaced. Then
``claims.json`` is written anew, with the page of the audit and the table of claims.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import render_results

from layerlocal.experiments.places import write_kept
from layerlocal.experiments.reading import read_summary
from layerlocal.experiments.stored import judge_claims
from layerlocal.experiments.studies import find_study
from layerlocal.experiments.studies.base import StudyPlan, whole_seeds
from layerlocal.runs.store import write_atomic
from layerlocal.summary import Quantity, Summary
from layerlocal.types import InputError

RESULTS = Path(__file__).parents[1] / "results"
Quantities = dict[str, dict[str, Quantity]]


def concluded(summary: Summary) -> Quantities:
    """Rule → name → quantity, as the study finds them in the summary's rows today."""
    plan = StudyPlan.model_validate(summary.plan)
    return find_study(plan.study).conclude(plan, whole_seeds(summary.rows)).quantities


def merged(file: str, old: Quantities, new: Quantities) -> Quantities:
    """Today's quantities with the numbers that were published, which are the same up to rounding.

    Raises:
        InputError: a quantity that is gone or a number that differs.
    """
    for rule, quantities in old.items():
        for name, quantity in quantities.items():
            values, today = quantity.values, new.get(rule, {}).get(name, Quantity()).values
            if values.keys() != today.keys() or not all(
                math.isclose(values[s], today[s], rel_tol=1e-9, abs_tol=1e-9) for s in values
            ):
                raise InputError(f"results/{file}: {name} of {rule} was {values} and is {today}: run the study again")
            new[rule][name] = new[rule][name].model_copy(update={"values": values})
    return new


def main() -> None:
    """Write the summaries that say more now, and ``claims.json``."""
    for path in sorted(RESULTS.glob("study-*.json")):
        summary = read_summary(path, damaged=lambda path, reason: InputError(f"{path} cannot be read ({reason})"))
        assert summary is not None
        found = merged(path.name, summary.quantities, concluded(summary))
        if found != summary.quantities:
            content = summary.model_copy(update={"quantities": found})
            write_kept(path, content)
            print(path)
    rows, claims, _ = judge_claims(RESULTS)
    content = {"claims_sha256": claims.sha256, "claims": rows}
    write_atomic(RESULTS / "claims.json", (json.dumps(content, indent=1) + "\n").encode())
    render_results.main(RESULTS)


if __name__ == "__main__":
    main()
