"""The audit: local rules beside their exact twins on real images, a class sweep on synthetic and real data, locality, cost.

`accuracy_specs` and `class_specs` say which runs answer it, `summarize` says what finished runs answer. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from layerlocal.command import command_of
from layerlocal.experiments.settings import set_on
from layerlocal.runs.environment import shared_environment
from layerlocal.runs.store import RunRecord
from layerlocal.spec import PROTOCOL, DataSpec, NetworkSpec, Recipe, RuleSpec, RunSpec
from layerlocal.stats import estimate, paired_difference

__all__ = ["AuditPlan", "Role", "accuracy_specs", "audit_runs", "audit_specs", "class_specs", "summarize"]

Role = Literal["local", "bp", "bp-deepsup"]
ROLES: tuple[Role, ...] = ("local", "bp", "bp-deepsup")
SweepKey = tuple[str, int, Role, int]
AccuracyKey = tuple[str, Role, int]


class _Size(BaseModel):
    """How much work a size takes."""

    model_config = ConfigDict(frozen=True)
    num_train: int
    num_test: int
    width: float
    network: str
    recipe: Recipe
    synthetic_train: int
    synthetic_recipe: Recipe
    synthetic_classes: tuple[int, ...]


SIZES: dict[str, _Size] = {
    "quick": _Size(
        num_train=2500, num_test=2000, width=0.5, network="cnn4",
        recipe=Recipe(epochs=3, batch_size=32, learning_rate=5e-3),
        synthetic_train=4096, synthetic_recipe=Recipe(epochs=5, batch_size=64, learning_rate=2e-3), synthetic_classes=(2, 10, 50),
    ),
    "standard": _Size(
        num_train=10000, num_test=2000, width=1.0, network="cnn4",
        recipe=Recipe(epochs=10, batch_size=32, learning_rate=5e-3),
        synthetic_train=8192, synthetic_recipe=Recipe(epochs=10, batch_size=64, learning_rate=2e-3), synthetic_classes=(2, 5, 10, 50, 100),
    ),
}  # fmt: skip

READOUT: dict[str, dict[str, Any]] = {"local-heads": {"grid": 4}, "dtg-ff": {"grid": 4}, "segmented": {"grid": 4}}
"""Options of a rule and of its twins alike in plans that do not say them: those of 0.1.0."""


class AuditPlan(BaseModel):
    """What an audit runs; kept beside the runs (`layerlocal.experiments.places`), so that a report can be made again.

    Args:
        rules: the local rules compared; each is run with its own twins.
        sweep_rule: the rule of the class sweep.
        twins_of: rule → the rule its twins are made of: itself, or ``local-heads`` for a plug-in without one readout a block.
        data: the real data set.
        size: ``"quick"`` or ``"standard"``; ``budget`` in plans of 0.1.0.
        seeds: of the runs.
        real_classes: class counts of the real sweep; the largest is the whole data set.
        sources: rule or network that is a file → its SHA-256.
        command: what was typed.
        grid: cells a side on which every rule that has this option is read.
        options: rule → its options and, alike, those of its twins.
        reads: rule → what its blocks are read from, in its own words.
        widths: rule that deals channels to classes → network → number of classes → width, where it is not the usual one.
        whole_train: train on every image there is, as there are fewer than the size asks for.
        whole_test: likewise, of the test images.
        device: of every run and of the cost.
        settings: of every run, dotted (`layerlocal.experiments.settings`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    rules: tuple[str, ...] = ("local-heads", "dtg-ff", "ff")
    sweep_rule: str = "dtg-ff"
    twins_of: dict[str, str] = Field(default_factory=dict)
    data: DataSpec = DataSpec()
    size: Literal["quick", "standard"] = Field(default="quick", validation_alias=AliasChoices("size", "budget"))
    seeds: tuple[int, ...] = (0, 1, 2)
    real_classes: tuple[int, ...] = (2, 5, 10)
    sources: dict[str, str] = Field(default_factory=dict)
    command: str = "layerlocal audit"
    grid: int = 4
    options: dict[str, dict[str, Any]] = Field(default_factory=lambda: dict(READOUT))
    reads: dict[str, str] = Field(default_factory=dict)
    widths: dict[str, dict[str, dict[int, float]]] = Field(default_factory=dict)
    whole_train: bool = False
    whole_test: bool = False
    device: str = "cpu"
    settings: dict[str, Any] = Field(default_factory=dict)

    @property
    def contents(self) -> dict[str, str]:
        """What the data are, where that is known."""
        return {} if self.data.content_sha256 is None else {self.data.place: self.data.content_sha256}

    @property
    def usual_reading(self) -> str:
        """What a block is read from unless a table says otherwise, in the words of `Rule.reads`."""
        return f"RMS, {self.grid}×{self.grid} cells"

    def network(self, rule: str, name: str, width: float, classes: int) -> NetworkSpec:
        """A rule's network, twins alike, at the width at which it can be run on so many classes."""
        return NetworkSpec(name=name, width=self.widths.get(rule, {}).get(name, {}).get(classes, width))

    @property
    def detail(self) -> _Size:
        """How much work its size takes."""
        return SIZES[self.size]


def _rule_spec(plan: AuditPlan, rule: str, role: Role) -> RuleSpec:
    partner = plan.twins_of.get(rule, rule)
    options = dict(plan.options.get(rule if role == "local" else partner, {}))
    source = plan.sources.get(rule) if role == "local" or partner == rule else None
    if role == "local":
        return RuleSpec(name=rule, options=options, source_sha256=source)
    return RuleSpec(name=role, options={"of": partner, **options}, source_sha256=source)


def _real_data(plan: AuditPlan, num_classes: int, seed: int) -> DataSpec:
    """The whole set, or a random class subset (another one each seed) with as many images a class as the whole set's share."""
    size, most = plan.detail, max(plan.real_classes)
    numbers = {
        "num_train": None if plan.whole_train else size.num_train * num_classes // most,
        "num_test": None if plan.whole_test else size.num_test * num_classes // most,
    }
    chosen = {} if num_classes == most else {"classes": num_classes, "seed": seed}
    return plan.data.model_copy(update=numbers | chosen)


def accuracy_specs(plan: AuditPlan) -> dict[AccuracyKey, RunSpec]:
    """(rule, role, seed) → run: every rule and its two twins on the same task."""
    size, most = plan.detail, max(plan.real_classes)
    data = _real_data(plan, most, 0)
    specs = {
        (rule, role, seed): RunSpec(
            data=data, network=plan.network(rule, size.network, size.width, most), rule=_rule_spec(plan, rule, role),
            recipe=size.recipe, seed=seed,
        )
        for rule in plan.rules
        for role in ROLES
        for seed in plan.seeds
    }  # fmt: skip
    return set_on(specs, plan.settings, plan.contents, plan.sources)


def class_specs(plan: AuditPlan) -> dict[SweepKey, RunSpec]:
    """(``"synthetic"`` or ``"real"``, K, role, seed) → run of the class sweep."""
    size, rule = plan.detail, plan.sweep_rule
    specs: dict[SweepKey, RunSpec] = {}
    for role in ROLES:
        of_role = _rule_spec(plan, rule, role)
        for seed in plan.seeds:
            for k in size.synthetic_classes:
                data = DataSpec(
                    source="teacher_student", classes=k, num_train=size.synthetic_train, num_test=2048, seed=seed
                )
                network = plan.network(rule, "mlp", 1.0, k)
                specs["synthetic", k, role, seed] = RunSpec(
                    data=data, network=network, rule=of_role, recipe=size.synthetic_recipe, seed=seed
                )
            for k in plan.real_classes:
                network = plan.network(rule, size.network, size.width, k)
                specs["real", k, role, seed] = RunSpec(
                    data=_real_data(plan, k, seed), network=network, rule=of_role, recipe=size.recipe, seed=seed
                )
    return set_on(specs, plan.settings, plan.contents, plan.sources)


def audit_runs(plan: AuditPlan) -> dict[tuple[Any, ...], RunSpec]:
    """The keys of both → every run of the audit, seed by seed, so that an interrupted audit has whole seeds."""
    specs = [*accuracy_specs(plan).items(), *class_specs(plan).items()]
    return dict(sorted(specs, key=lambda item: item[0][-1]))


def audit_specs(plan: AuditPlan) -> list[RunSpec]:
    """The runs alone."""
    return list(audit_runs(plan).values())


def summarize(
    plan: AuditPlan,
    records: Mapping[str, RunRecord],
    *,
    failed: Sequence[dict[str, str]] = (),
    cost: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What the finished runs say: the content of ``summary.json`` and of the report.

    Args:
        plan: which runs belong to the audit.
        records: finished runs by hash; missing ones leave their row out, never a number made up.
        failed: ``{"label", "reason"}`` of runs that ended without a result.
        cost: what `layerlocal.experiments.audit.cost.measure_cost` measured.
    """
    accuracy, sweep = accuracy_specs(plan), class_specs(plan)
    hashes = [spec.hash for spec in [*accuracy.values(), *sweep.values()]]
    used = [records[name] for name in dict.fromkeys(hashes) if name in records]
    main = [records[spec.hash] for spec in accuracy.values() if spec.hash in records]
    return {
        "title": f"layerlocal audit of {', '.join(plan.rules)} on {plan.data.source}",
        "layerlocal": used[0].env["layerlocal"] if used else None,
        "protocol": PROTOCOL,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": plan.command,
        "budget": plan.size,
        "environment": shared_environment(record.env for record in used),
        "data": _data_section(main[0]) if main else {},
        "accuracy": _accuracy_section(plan, accuracy, records),
        "classes": _class_section(plan, sweep, records),
        "cost": cost or {},
        "locality": _locality_section(main),
        "runs": [_run_row(record) for record in used],
        "failed": list(failed),
    }


def _data_section(record: RunRecord) -> dict[str, Any]:
    provenance = record.result["data"]["provenance"]
    counts = {f"num_{split}": count for split, count in provenance.get("num_images", {}).items()}
    return {
        "name": record.result["data"]["name"],
        "num_classes": record.result["num_classes"],
        "chance": record.result["chance"],
        "provenance": provenance,
        **counts,
    }


def _side(records: Sequence[RunRecord]) -> dict[str, Any]:
    """Fused, last and per-block accuracy of one rule over seeds."""
    blocks = list(records[0].result["block_accuracies"])
    per_block = [[record.result["block_accuracies"][block] for record in records] for block in blocks]
    return {
        "fused": estimate(_fused(records)),
        "last": estimate(per_block[-1]),
        "blocks": blocks,
        "block_accuracies": [estimate(values) for values in per_block],
        "runs": [record.hash for record in records],
    }


def _fused(records: Sequence[RunRecord]) -> list[float]:
    return [record.result["test_accuracy"] for record in records]


def _paired(records: Mapping[Role, Sequence[RunRecord]]) -> dict[str, Any]:
    """local − BP = (DeepSup − BP: what extra supervision brings) + (local − DeepSup: the price of locality), paired by seed."""
    local, bp, deepsup = (_fused(records[role]) for role in ROLES)
    return {
        "gap": paired_difference(local, bp),
        "extra_supervision": paired_difference(deepsup, bp),
        "price_of_locality": paired_difference(local, deepsup),
    }


def _whole_seeds(seeds: Sequence[int], find: Any) -> dict[Role, list[RunRecord]]:
    """The runs of the seeds for which a rule and both twins are finished."""
    found: dict[Role, list[RunRecord]] = {role: [] for role in ROLES}
    for seed in seeds:
        trio = {role: find(role, seed) for role in ROLES}
        if all(trio.values()):
            for role in ROLES:
                found[role].append(trio[role])
    return found


def _accuracy_section(
    plan: AuditPlan, specs: Mapping[AccuracyKey, RunSpec], records: Mapping[str, RunRecord]
) -> dict[str, Any]:
    rows = []
    for rule in plan.rules:
        runs = _whole_seeds(plan.seeds, lambda role, seed, rule=rule: records.get(specs[rule, role, seed].hash))
        if runs["local"]:
            rows.append(
                {
                    "rule": rule,
                    "note": _note(plan, rule),
                    "reads": plan.reads.get(rule, ""),
                    "own_width": _own_width(plan, rule),
                    "seeds": [record.spec.seed for record in runs["local"]],
                    **_side(runs["local"]),
                    "twins": {"bp": _side(runs["bp"]), "bp-deepsup": _side(runs["bp-deepsup"])},
                    **_paired(runs),
                }
            )
    size = plan.detail
    return {
        "command": plan.command,
        "network": f"{size.network}, width {size.width:g}",
        "usual_reading": plan.usual_reading,
        "readout_note": _readout_note(plan, [row["rule"] for row in rows]),
        "rules": rows,
    }


def _own_width(plan: AuditPlan, rule: str) -> float | None:
    """Of its network in the comparison of accuracies, where it is not everybody's."""
    size = plan.detail
    width = plan.network(rule, size.network, size.width, max(plan.real_classes)).width
    return None if width == size.width else width


def _note(plan: AuditPlan, rule: str) -> str:
    """What is to be said of a rule's row alone."""
    width, partner = _own_width(plan, rule), plan.twins_of.get(rule, rule)
    said = [] if partner == rule else [f"twins made with the readout of {partner}"]
    if width is not None:
        said.append(
            f"it and its twins at width {width:g}, at which channels can be dealt to the classes: compare it with its own twins only"
        )
    return "; ".join(said)


def _readout_note(plan: AuditPlan, rules: Sequence[str]) -> str:
    """How blocks are read, by the rules' own words; in a plan of 0.1.0 by its table."""
    usual = [
        rule
        for rule in rules
        if plan.reads.get(rule, plan.usual_reading if rule in plan.options else "") == plan.usual_reading
    ]
    others = [f"{rule} ({plan.reads.get(rule) or 'its own way'})" for rule in rules if rule not in usual]
    said = (
        [
            f"{' and '.join(filter(None, [', '.join(usual[:-1]), *usual[-1:]]))} through the root mean square of each channel on "
            f"{plan.grid}×{plan.grid} cells"
        ]
        if usual
        else []
    )
    said += [f"read otherwise: {', '.join(others)}"] if others else []
    return (
        f"Every rule and its twins read a block alike: {'; '.join(said) or 'nothing is finished yet'}. "
        "The sign of the gap can depend on this choice: see results/readout_grid.json"
    )


def _class_section(
    plan: AuditPlan, specs: Mapping[SweepKey, RunSpec], records: Mapping[str, RunRecord]
) -> dict[str, Any]:
    def rows(kind: str, counts: Sequence[int]) -> list[dict[str, Any]]:
        found = []
        for k in counts:
            runs = _whole_seeds(plan.seeds, lambda role, seed, k=k: records.get(specs[kind, k, role, seed].hash))
            if runs["local"]:
                sides: dict[str, Any] = {role: estimate(_fused(runs[role])) for role in ROLES}
                chance = sum(record.result["chance"] for record in runs["local"]) / len(runs["local"])
                hashes = [record.hash for role in ROLES for record in runs[role]]
                found.append({"num_classes": k, "chance": chance, **sides, **_paired(runs), "runs": hashes})
        return found

    size, widths = plan.detail, plan.widths.get(plan.sweep_rule, {})
    wider = {
        name: f"; at width {', '.join(f'{w:g} (K={k})' for k, w in found.items())}"
        for name, found in widths.items()
        if found
    }
    per_class = "all" if plan.whole_train else size.num_train // max(plan.real_classes)
    return {
        "rule": plan.sweep_rule,
        "command": plan.command,
        "synthetic": rows("synthetic", size.synthetic_classes),
        "real": rows("real", plan.real_classes),
        "notes": {
            "synthetic": f"64-dimensional Gaussian inputs, random two-layer teacher (another one each seed), {size.synthetic_train} training "
            f"samples whatever K, mlp of 4 × 256{wider.get('mlp', '')}",
            "real": f"random class subsets of {plan.data.source} (another one each seed), {per_class} training images a class, {size.network}"
            f"{wider.get(size.network, '')}",
        },
    }


def _locality_section(records: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """One certificate a rule: that of its first run."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        rule = record.spec.rule.name
        partner = record.spec.rule.options.get("of")
        label = f"{rule} (twin of {partner})" if partner else rule
        found.setdefault(
            label, {"rule": label, "run": record.hash, "command": _command(record), **record.result["locality"]}
        )
    return list(found.values())


def _command(record: RunRecord) -> str:
    """What makes this run again, to the last bit on the same machine: the thread count belongs to it."""
    return f"{command_of(record.spec)} --threads {record.env['threads']}"


def _run_row(record: RunRecord) -> dict[str, Any]:
    spec, result = record.spec, record.result
    partner = spec.rule.options.get("of")
    label = f"{spec.rule.name} (twin of {partner})" if partner else spec.rule.name
    return {
        "run": record.hash,
        "rule": spec.rule.name,
        "label": f"{label}, {result['num_classes']} classes, seed {spec.seed}",
        "seed": spec.seed,
        "data": spec.data.source,
        "network": f"{spec.network.name}, width {spec.network.width:g}",
        "epochs": spec.recipe.epochs,
        "test_accuracy": result["test_accuracy"],
        "block_accuracies": result["block_accuracies"],
        "samples_per_s": result["samples_per_s"],
        "peak_saved_bytes": result["peak_saved_bytes"],
        "spec": spec.model_dump(mode="json"),
        "command": _command(record),
    }
