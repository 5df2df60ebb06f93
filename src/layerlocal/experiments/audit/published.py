"""Published audits, ``audit-<size>.json``: that of 0.1.0, plain JSON of another form, as this version's summary; and the runs in a summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from layerlocal.experiments.audit.plan import AuditPlan
from layerlocal.experiments.audit.summary import summarize
from layerlocal.runs.store import RunRecord
from layerlocal.spec import RunSpec
from layerlocal.summary import Missed, Summary

__all__ = ["runs_in", "summary_of_0_1_0"]

Old = Mapping[str, Any]


def summary_of_0_1_0(old: Old) -> Summary:
    """What such a file says, concluded anew from the runs that it lists.

    Raises:
        KeyError: what is not there.
        pydantic.ValidationError: a run or a plan that none can be.
    """
    records = {record.hash: record for record in _records(old)}
    plan = _plan(old, records)
    missing = [Missed(label=entry["label"], reason=entry["reason"]) for entry in old.get("failed", ())]
    found = summarize(plan, records, missing=missing, cost=old.get("cost"))
    kept = {key: old[key] for key in ("title", "created", "protocol", "layerlocal", "environment") if key in old}
    specs = {name: record.spec.model_dump(mode="json") for name, record in records.items()}
    return found.model_copy(update={**kept, "plan": plan.model_dump(mode="json"), "specs": specs})


def _records(old: Old) -> Iterator[RunRecord]:
    """Every run with what the file says of it: its accuracies and costs, its data, and of one run of each rule the certificate."""
    data = old["data"]
    certificates = {entry["run"]: entry for entry in old["locality"]}
    for run in old["runs"]:
        spec = RunSpec.parse(run["spec"])
        classes = spec.data.classes if isinstance(spec.data.classes, int) else data["num_classes"]
        result = {key: run[key] for key in ("test_accuracy", "block_accuracies", "samples_per_s", "peak_saved_bytes")}
        result |= {"num_classes": classes, "chance": 1 / classes, "locality": certificates.get(run["run"])}
        result["data"] = {"name": data["name"], "provenance": data["provenance"]}
        yield RunRecord(run["run"], spec, dict(old["environment"]), result)


def _plan(old: Old, records: Mapping[str, RunRecord]) -> AuditPlan:
    """What was run, as the runs themselves say it."""
    rows = {row["rule"]: row for row in old["accuracy"]["rules"]}
    if not rows:
        raise KeyError("rule that was compared")
    local = {rule: [records[name].spec for name in row["runs"]] for rule, row in rows.items()}
    partners = {rule: records[row["twins"]["bp"]["runs"][0]].spec.rule.options["of"] for rule, row in rows.items()}
    first = next(iter(local.values()))[0]
    counts = {row["num_classes"] for row in old["classes"]["real"]} | {old["data"]["num_classes"]}
    return AuditPlan.model_validate(
        {
            "rules": tuple(rows), "sweep_rule": old["classes"]["rule"], "data": first.data.model_dump(), "size": old["budget"],
            "twins_of": {rule: partner for rule, partner in partners.items() if partner != rule},
            "seeds": tuple(sorted({spec.seed for specs in local.values() for spec in specs})),
            "real_classes": tuple(sorted(counts)), "command": old["command"],
            "sources": {rule: found for rule, specs in local.items() if (found := specs[0].rule.source_sha256)},
            "options": {rule: specs[0].rule.options for rule, specs in local.items() if specs[0].rule.options},
            "whole_train": first.data.num_train is None, "whole_test": first.data.num_test is None,
        }
    )  # fmt: skip


def runs_in(summary: Summary) -> Iterator[RunRecord]:
    """The runs that a published summary was concluded from, with what its rows say of them.

    Args:
        summary: with its ``specs``.
    """
    seen: set[str] = set()
    for row in summary.rows:
        for role, name in row["runs"].items():
            if name not in seen:
                seen.add(name)
                result = {"test_accuracy": row[role], "block_accuracies": row["blocks"][role]}
                result |= {key: row[key][role] for key in ("samples_per_s", "peak_saved_bytes")}
                yield RunRecord(name, RunSpec.parse(summary.specs[name]), dict(summary.environment), result)
