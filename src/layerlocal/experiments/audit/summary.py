"""From an audit's plan and finished runs to its summary: a verdict for every rule, then accuracy, blocks, classes, cost and certificates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import product
from typing import Any

from layerlocal.experiments.audit.certificates import Certificate, certificate_of, certificate_part, locality_of
from layerlocal.experiments.audit.parts import ARMS, accuracy_part, block_part, class_part, cost_part
from layerlocal.experiments.audit.plan import ROLES, AuditPlan, accuracy_specs, class_specs
from layerlocal.experiments.audit.sentences import (
    class_sentence,
    cost_sentences,
    headline,
    headroom_sentence,
    split_sentence,
)
from layerlocal.experiments.studies.base import by_seed, estimates, group_rows, make_row, quantity, with_headroom
from layerlocal.experiments.studies.controls import CONTROLS, ORDINARY
from layerlocal.experiments.studies.effects import slopes
from layerlocal.experiments.studies.parts import CONTROLLED, OF_TWINS
from layerlocal.experiments.studies.sampled import AnswersOf, interval_notes, kept
from layerlocal.plugins import file_of
from layerlocal.runs.environment import shared_environment
from layerlocal.runs.store import RunRecord
from layerlocal.spec import PROTOCOL
from layerlocal.summary import Column, Missed, Quantity, Row, Summary, Table
from layerlocal.types import PARTNER
from layerlocal.words import MISSING, percent

__all__ = ["summarize"]

Records = Mapping[str, RunRecord]
Arms = dict[str, list[Row]]
DIFFERENCES = OF_TWINS | {key: what.removesuffix(", {at}") for key, what in CONTROLLED.items()}
"""Columns that are quantities, in words."""
CAPTION = "test accuracy in %; differences paired by seed with 95 % intervals"
MEANING = (
    "Every local rule against backprop (BP) on the same network, heads, data and seeds. Gap in test accuracy (local − BP) = extra supervision "
    "(BP-DeepSup − BP) + price of locality (local − BP-DeepSup); brackets are 95 % intervals over n paired seeds."
)
READING = "Every rule and its twins read a block alike. The way of reading can turn the sign of a gap; --set rule.grid=1 is another way."


def summarize(
    plan: AuditPlan,
    records: Records,
    *,
    missing: Sequence[Missed] = (),
    cost: Mapping[str, Any] | None = None,
    answers: AnswersOf | None = None,
) -> Summary:
    """What the finished runs of an audit say.

    Args:
        plan: which runs belong to the audit.
        records: finished runs by hash; missing ones leave their row out, never a number made up.
        missing: runs that ended without a result, or could not take part.
        cost: what `layerlocal.experiments.audit.cost.measure_cost` measured.
        answers: what a run answered on its test images (`RunStore.answers`); intervals of differences are then over these images too.
    """
    compared, sweep, cost = _compared(plan, records, answers), _sweep(plan, records, answers), cost or {}
    specs = {spec.hash: spec for spec in [*accuracy_specs(plan).values(), *class_specs(plan).values()]}
    used = [records[name] for name in specs if name in records]
    main = [
        records[spec.hash] for key, spec in accuracy_specs(plan).items() if key[1] in ROLES and spec.hash in records
    ]
    certificates = [certificate_of(record) for record in main if record.result.get("locality")]
    verdicts = [
        _verdict(plan, rule, part, cost, certificates) for (rule,), part in group_rows(compared, "rule").items()
    ]
    command = plan.command
    return Summary(
        experiment="audit",
        name="audit",
        size=plan.size,
        size_words=plan.detail.words,
        title=f"layerlocal audit of {', '.join(plan.rules)} on {plan.data.source}",
        sentences=tuple(filter(None, _sentences(plan, main, verdicts, sweep))),
        tables=(_verdict_table(verdicts, cost, plan),) if verdicts else (),
        notes=(*_notes(plan, verdicts, cost), *interval_notes(compared)),
        command=command,
        parts=(
            accuracy_part(verdicts, compared, _data(main), command),
            block_part(compared, command),
            class_part(plan.sweep_rule, sweep, _sweep_notes(plan), command),
            cost_part(cost, command),
            certificate_part(certificates, command),
        ),
        facts=dict(_facts(plan, main)),
        rules=plan.rules,
        seeds=plan.seeds,
        rows=kept([*compared, *(row for part in sweep.values() for row in part)]),
        quantities=_quantities(plan, compared, sweep),
        planned=len(specs),
        finished=len(used),
        missing=tuple(missing),
        protocol=PROTOCOL,
        layerlocal=used[0].env["layerlocal"] if used else None,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        environment=shared_environment(record.env for record in used),
    )


# --- rows -------------------------------------------------------------------------------------------------------------


def _compared(plan: AuditPlan, records: Records, answers: AnswersOf | None) -> list[Row]:
    """A row a rule and seed of which the rule and both twins are finished, with the controls that are."""
    specs, most = accuracy_specs(plan), max(plan.real_classes)
    rows = []
    for rule, seed in product(plan.rules, plan.seeds):
        keys = {role: (rule, role, seed) for role in (*ROLES, *CONTROLS)}
        found = {role: records.get(specs[key].hash) for role, key in keys.items() if key in specs}
        rows.append(_row(rule, seed, "accuracy", most, found, answers))
    return [row for row in rows if row is not None]


def _sweep(plan: AuditPlan, records: Records, answers: AnswersOf | None) -> Arms:
    """Of each arm a row a number of classes and seed."""
    specs, rule = class_specs(plan), plan.sweep_rule
    counts = {"synthetic": plan.detail.synthetic_classes, "real": plan.real_classes}
    arms: Arms = {arm: [] for arm in ARMS}
    for arm, rows in arms.items():
        for k, seed in product(counts[arm], plan.seeds):
            found: dict[str, RunRecord | None] = {role: records.get(specs[arm, k, role, seed].hash) for role in ROLES}
            row = _row(rule, seed, arm, k, found, answers)
            rows += [row] if row is not None else []
    return arms


def _row(
    rule: str, seed: int, arm: str, classes: int, found: Mapping[str, RunRecord | None], answers: AnswersOf | None
) -> Row | None:
    """The row of a study, with what each run cost."""
    runs = {role: record for role, record in found.items() if record is not None}
    if not {*ROLES} <= {*runs}:
        return None
    measured = {
        key: {role: record.result[key] for role, record in runs.items()}
        for key in ("samples_per_s", "peak_saved_bytes")
    }
    return make_row(rule, seed, {"arm": arm, "classes": classes}, runs, answers) | measured


# --- the first table --------------------------------------------------------------------------------------------------


def _verdict(
    plan: AuditPlan, rule: str, rows: Sequence[Row], cost: Mapping[str, Any], certificates: Sequence[Certificate]
) -> dict[str, Any]:
    """A rule's accuracies, differences, costs and locality."""
    found: Row = next((row for row in cost.get("rules") or [] if row["rule"] == rule), {})
    text = "not measured" if found.get("failed") else MISSING
    return {
        "rule": rule,
        **estimates(rows, *ROLES, *OF_TWINS, ORDINARY, "total", "headroom"),
        "speed": found["speed_ratio"]["median"] if "speed_ratio" in found else text,
        "saved": found.get("saved_ratio", text),
        "locality": locality_of(certificates, rule),
        "reads": plan.reads.get(rule, ""),
        "own_width": _own_width(plan, rule),
    }


def _verdict_table(verdicts: Sequence[dict[str, Any]], cost: Mapping[str, Any], plan: AuditPlan) -> Table:
    network = _cost_network(plan, cost)
    on = f", {network.partition(',')[0]}" if network else ""
    named = [
        Column(key="rule", label="rule"),
        Column(key="local", label="accuracy", kind="percent"),
        Column(key="bp", label="BP", kind="percent"),
        Column(key="bp-deepsup", label="DeepSup", kind="percent"),
        Column(key="gap", label="local − BP", kind="points", judged=True),
        Column(key="extra_supervision", label="= extra supervision", kind="points"),
        Column(key="price_of_locality", label="+ price of locality", kind="points"),
        Column(key="speed", label=f"speed ÷ BP{on}", kind="ratio"),
        Column(key="saved", label=f"saved bytes ÷ BP{on}", kind="ratio"),
        Column(key="locality", label="locality"),
    ]
    keys = [column.key for column in named]
    return Table(caption=CAPTION, columns=tuple(named), rows=tuple({key: row[key] for key in keys} for row in verdicts))


def _cost_network(plan: AuditPlan, cost: Mapping[str, Any]) -> str:
    """The network on which speed and memory were measured, where it is not that of the accuracies; else nothing."""
    full = str(cost.get("network") or "")
    return "" if full.startswith(_network(plan)) else full


def _network(plan: AuditPlan) -> str:
    """That most rules of the comparison share."""
    network = plan.trained()
    return f"{network.name}, width {network.width:g}"


# --- words ------------------------------------------------------------------------------------------------------------


def _sentences(
    plan: AuditPlan, main: Sequence[RunRecord], verdicts: Sequence[dict[str, Any]], sweep: Arms
) -> Iterator[str]:
    where = "On this data"
    if main:
        result = main[0].result
        where = f"On {result['data']['name']} ({result['num_classes']} classes)"
    yield headline(where, verdicts)
    yield headroom_sentence(verdicts)
    yield from cost_sentences(verdicts)
    yield split_sentence(verdicts)
    yield class_sentence(plan.sweep_rule, {"teacher-student data": sweep["synthetic"], "real classes": sweep["real"]})
    yield _reading_sentence(plan, verdicts)


def _reading_sentence(plan: AuditPlan, verdicts: Sequence[dict[str, Any]]) -> str:
    """What blocks are read by, where rules differ in that."""
    others = [row for row in verdicts if row["reads"] not in ("", plan.usual_reading)]
    told = "; ".join(f"{row['rule'].rpartition('/')[2]} instead uses {row['reads']}" for row in others)
    return f"Blocks are read by {plan.usual_reading}; {told}." if told else ""


def _notes(plan: AuditPlan, verdicts: Sequence[dict[str, Any]], cost: Mapping[str, Any]) -> Iterator[str]:
    """What the first table leaves open."""
    if not verdicts:
        return
    yield MEANING
    yield READING
    for row in verdicts:
        partner = plan.twins_of.get(row["rule"], row["rule"])
        if partner != row["rule"]:
            own = "twins made with the readout of" if partner == PARTNER else "its twins are those of"
            yield f"{row['rule']}: {own} {partner}"
        if row["own_width"]:
            yield (
                f"{row['rule']}: it and its twins at width {row['own_width']:g}, at which channels can be dealt to the classes: compare it with "
                "its own twins only"
            )
    if network := _cost_network(plan, cost):
        yield f"Speed and saved bytes are those of one step of another network, {network}."


def _own_width(plan: AuditPlan, rule: str) -> float | None:
    """Of its network in the comparison of accuracies, where it is not everybody's."""
    width = plan.trained(rule).width
    return None if width == plan.trained().width else width


def _sweep_notes(plan: AuditPlan) -> dict[str, str]:
    """What each arm of the class sweep trained."""
    size, network = plan.detail, plan.trained().name
    wider = {
        name: f"; at width {', '.join(f'{width:g} (K={k})' for k, width in found.items())}"
        for name, found in plan.widths.get(plan.sweep_rule, {}).items()
        if found
    }
    each = "all" if plan.whole_train else size.num_train // max(plan.real_classes)
    return {
        "synthetic": "64-dimensional Gaussian inputs, random two-layer teacher (another one each seed), "
        f"{size.synthetic_train} training samples whatever K, mlp of 4 × 256{wider.get('mlp', '')}",
        "real": f"random class subsets of {plan.data.source} (another one each seed), {each} training images a class, {network}"
        f"{wider.get(size.network, '') if file_of(network) is None else ''}",
    }


def _data(main: Sequence[RunRecord]) -> dict[str, Any]:
    """What is known of the data of the comparison."""
    found = main[0].result["data"] if main else {}
    return {"name": found["name"], **found["provenance"]} if found else {}


def _facts(plan: AuditPlan, main: Sequence[RunRecord]) -> Iterator[tuple[str, str]]:
    """What the line under the title says."""
    if main:
        result = main[0].result
        images = result["data"]["provenance"].get("num_images", {})
        yield "data", result["data"]["name"]
        if sizes := [f"{images[split]:,} {split}" for split in ("train", "validation", "test") if split in images]:
            yield "samples", ", ".join(sizes)
        yield "classes", f"{result['num_classes']} (chance {percent(result['chance'])})"
    yield "network", _network(plan)


# --- quantities -------------------------------------------------------------------------------------------------------


def _quantities(plan: AuditPlan, compared: Sequence[Row], sweep: Arms) -> dict[str, dict[str, Quantity]]:
    """Rule → its differences to its twins and to ordinary BP, and its accuracy; of the rule of the class sweep also how they change with K."""
    found: dict[str, dict[str, Quantity]] = {}
    for (rule,), rows in group_rows(compared, "rule").items():
        measured = {key: (what, values) for key, what in DIFFERENCES.items() if (values := by_seed(rows, key))}
        headroom = by_seed(rows, "headroom")
        own = {key: with_headroom(quantity(what, values), headroom) for key, (what, values) in measured.items()}
        found[rule] = own | {"accuracy": quantity("test accuracy", by_seed(rows, "local"), unit="%")}
    for arm, rows in sweep.items():
        for key in OF_TWINS:
            if values := slopes(rows, key, "classes"):
                what = f"change of {OF_TWINS[key]} per doubling of K, {ARMS[arm].lower()}"
                found.setdefault(plan.sweep_rule, {})[f"{key}_slope/{arm}"] = quantity(what, values)
    return found
