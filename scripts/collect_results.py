"""Copy what a store says into `results/`: one summary a study (with every row, spec, hardware and command), cost audits, searches, all runs.
Runs of which only results files of benchmarks are left are added to the table by `published_runs.py`.

    python scripts/collect_results.py runs results

Weights stay where they are, and studies that were cut short are left out (not those whose data are not at hand). Run it again after more
studies; what it wrote before is replaced.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import published_runs
import render_results
from pydantic import BaseModel

from layerlocal.experiments.audit.plan import audit_specs
from layerlocal.experiments.places import write_kept
from layerlocal.experiments.stored import (
    audit_summary,
    cost_path,
    cost_summaries,
    judge_claims,
    read_audit_plan,
    read_plan,
    study_summaries,
    tune_path,
    tune_summaries,
)
from layerlocal.experiments.studies import find_study
from layerlocal.experiments.studies.base import plan_runs
from layerlocal.runs.comparable import Records, comparable
from layerlocal.runs.store import write_atomic
from layerlocal.runs.table import RUNS_TABLE, write_runs_table
from layerlocal.spec import RunSpec
from layerlocal.summary import Summary


def write_published(path: Path, summary: Summary, plan: BaseModel, specs: Iterable[RunSpec], records: Records) -> None:
    """A summary with its plan and the specs of its runs, so that it can be read where they are not."""
    kept = {spec.hash: spec.model_dump(mode="json") for spec in specs if spec.hash in records}
    content = summary.model_copy(update={"plan": plan.model_dump(mode="json"), "specs": kept})
    write_kept(path, content)
    print(path, summary.finished, "of", summary.planned, "runs")


def main(store: str, results: str) -> None:
    """Write the summaries of studies, audit, cost audits and searches, ``claims.json``, ``runs.parquet``, and what is there to be looked at."""
    out, target = Path(store), Path(results)
    records, _ = comparable(out)
    for summary in study_summaries(out, records):
        if any(entry.reason == "not run yet" for entry in summary.missing):
            print(f"left out: {summary.name} {summary.size}, {summary.finished} of {summary.planned} runs")
            continue
        plan = read_plan(out, summary.name, summary.size)
        assert plan is not None
        specs = plan_runs(find_study(plan.study), plan).values()
        write_published(target / f"study-{summary.name}-{summary.size}.json", summary, plan, specs, records)
    audited, audit = read_audit_plan(out), audit_summary(out, records)
    if audited is not None and audit is not None:
        write_published(target / f"audit-{audit.size}.json", audit, audited, audit_specs(audited), records)
    whole = [(cost_path(target, cost.size), cost) for cost in cost_summaries(out)]
    for path, content in [*whole, *((tune_path(target, tune.name), tune) for tune in tune_summaries(out))]:
        write_kept(path, content)
        print(path)
    rows, claims, _ = judge_claims(out)
    content = {"claims_sha256": claims.sha256, "claims": rows}
    write_atomic(target / "claims.json", (json.dumps(content, indent=1) + "\n").encode())
    write_runs_table(out, target / RUNS_TABLE)
    published_runs.main(target)
    render_results.main(target)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", help="what is copied from")
    parser.add_argument("results", help="the folder that is written")
    asked = parser.parse_args()
    main(asked.store, asked.results)
