"""The audit's plan: local rules beside their exact twins on real images, and a class sweep on synthetic and real data. Imports no torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from layerlocal.experiments.settings import set_on
from layerlocal.experiments.studies.controls import controls_at, ordinary_bp, set_beside, with_doubled
from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RuleSpec, RunSpec

__all__ = ["AuditPlan", "Role", "accuracy_specs", "audit_runs", "audit_specs", "class_specs"]

Role = Literal["local", "bp", "bp-deepsup"]
ROLES: tuple[Role, ...] = ("local", "bp", "bp-deepsup")
SweepKey = tuple[str, int, Role, int]
AccuracyKey = tuple[str, str, int]
"""(rule, one of `ROLES` or of the controls, seed)."""


class _Size(BaseModel):
    """How much work a size takes."""

    model_config = ConfigDict(frozen=True)
    words: str
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
        words="minutes on 2 cores", num_train=2500, num_test=2000, width=0.5, network="cnn4",
        recipe=Recipe(epochs=3, batch_size=32, learning_rate=5e-3),
        synthetic_train=4096, synthetic_recipe=Recipe(epochs=5, batch_size=64, learning_rate=2e-3), synthetic_classes=(2, 10, 50),
    ),
    "standard": _Size(
        words="hours on 2 cores", num_train=10000, num_test=2000, width=1.0, network="cnn4",
        recipe=Recipe(epochs=10, batch_size=32, learning_rate=5e-3),
        synthetic_train=8192, synthetic_recipe=Recipe(epochs=10, batch_size=64, learning_rate=2e-3), synthetic_classes=(2, 5, 10, 50, 100),
    ),
}  # fmt: skip

READOUT: dict[str, dict[str, Any]] = {
    "local-heads": {"grid": 4},
    "class-goodness": {"grid": 4},
    "segmented": {"grid": 4},
}
"""Options of a rule and of its twins alike in plans that do not say them: those of 0.1.0."""


class AuditPlan(BaseModel):
    """What an audit runs; kept beside the runs (`layerlocal.experiments.places`), so that a report can be made again.

    Args:
        rules: the local rules compared; each is run with its own twins.
        sweep_rule: the rule of the class sweep.
        twins_of: rule → the rule its twins are made of, where it is not the rule itself: ``local-heads`` for a plug-in without one readout a
            block, or the rule whose twins it shares.
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
        controls: whether ordinary BP is trained beside the comparison of accuracies, and for twice the steps
            (`layerlocal.experiments.studies.controls`); not in plans of earlier versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    rules: tuple[str, ...] = ("local-heads", "class-goodness", "ff")
    sweep_rule: str = "class-goodness"
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
    controls: bool = False

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

    def trained(self, rule: str = "") -> NetworkSpec:
        """A rule's network on all classes, as the settings have it; of no rule: everybody's, but for widths of their own."""
        size = self.detail
        spec = RunSpec(network=self.network(rule, size.network, size.width, max(self.real_classes)))
        return set_on({0: spec}, self.settings, self.contents, self.sources)[0].network

    @property
    def detail(self) -> _Size:
        """How much work its size takes."""
        return SIZES[self.size]


def _rule_spec(plan: AuditPlan, rule: str, role: str) -> RuleSpec:
    if role not in ROLES:
        return ordinary_bp()
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
    """(rule, role, seed) → run: every rule and its two twins on the same task, and the plan's controls on that of each rule's network."""
    size, most = plan.detail, max(plan.real_classes)
    data = _real_data(plan, most, 0)
    keys: list[AccuracyKey] = []
    for rule in plan.rules:
        keys += [(rule, role, seed) for role in ROLES for seed in plan.seeds]
        if plan.controls:
            keys += [(rule, role, seed) for seed in plan.seeds for role in controls_at(seed, plan.seeds)]
    specs = {
        (rule, role, seed): RunSpec(
            data=data, network=plan.network(rule, size.network, size.width, most), rule=_rule_spec(plan, rule, role),
            recipe=size.recipe, seed=seed,
        )
        for rule, role, seed in keys
    }  # fmt: skip
    return with_doubled(set_beside(specs, plan.settings, plan.contents, plan.sources, at=1), at=1)


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
