"""What every study is made of: a plan (rules, size, seeds), cells (points on its axes), methods compared in a cell, rows, a summary.

A study is a file with one `Study`: `cells` says which tasks are trained, `conclude` says what finished rows say. Everything else,
from specs to rows to the summary that claims and the report read, is here and is the same for all. Imports no torch.

A row is one rule, one cell, one seed; accuracies are fractions:

    {"rule", "seed", <axes of the cell>, "num_classes", "chance", "separability",
     <one fused accuracy per method: "local", "bp", "bp-deepsup", ...>, "gap", "extra_supervision", "price_of_locality", with controls also
     "total", "objective", "headroom", the same with "_last": of the last block's own readout, without fusion,
     "validation": {method: accuracy}, "blocks": {method: {block: accuracy}}, "groups": {method: {group: accuracy}}, "runs": {method: hash},
     of text also "nats": {method: loss}, "block_nats": {method: {block: loss}}}
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from layerlocal.experiments.studies.choice import Choice, SearchPlan
from layerlocal.experiments.studies.controls import CONTROLS, set_beside, with_controls, with_doubled
from layerlocal.experiments.studies.sampled import ANSWERS, DIFFERENCES, AnswersOf, BySeed, pair_of, row_shares
from layerlocal.runs.store import RunRecord
from layerlocal.sampling import Shares, weighted
from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RuleSpec, RunSpec
from layerlocal.stats import Estimate, estimate
from layerlocal.summary import Figure, Point, Quantity, Row, Table
from layerlocal.types import PARTNER

__all__ = [
    "DIFFERENCES",
    "METHODS",
    "SIZES",
    "Cell",
    "Conclusion",
    "Key",
    "Size",
    "Study",
    "StudyPlan",
    "by_seed",
    "cells_of",
    "estimates",
    "group_rows",
    "last_accuracy",
    "make_row",
    "make_rows",
    "over_seeds",
    "plan_runs",
    "plotted",
    "quantity",
    "twins_of_rule",
    "whole_seeds",
    "with_headroom",
]  # fmt: skip

Size = Literal["quick", "medium", "standard", "full"]
SHORT = "Size quick trains for some 200 steps: networks, and plain BP most of all, are far from done. What it finds holds there."
SIZES: dict[str, str] = {
    "quick": "at most 10 minutes on 2 cores",
    "medium": "about an hour on 2 cores",
    "standard": "a night on 2 cores",
    "full": "a day on one GPU",
}
METHODS = ("local", "bp", "bp-deepsup")
"""A rule and its exact twins: in every study unless it says otherwise."""


class StudyPlan(BaseModel):
    """What one study runs; kept beside the runs (`layerlocal.experiments.places`), so that a report can be made again.

    Args:
        study: its name.
        size: see `SIZES`.
        rules: local rules, each run with its own twins.
        seeds: of the runs; also of class draws, so that an interval covers them.
        data: data sets instead of the study's own, by name or folder.
        twins_of: rule → the rule its twins are made of, where it is not the rule itself.
        sources: rule or network that is a file → its SHA-256.
        contents: what the data of its runs are, by ``DataSpec.place``; empty in plans of 0.1.0.
        widths: rule that deals channels to classes → number of classes → width of its network, where it is not the usual one.
        command: what was typed.
        predicted: rule → seed → what the study `scaling` predicted of a larger network before that was trained.
        claims_sha256: of our claims when the study was first started; a report says so where they have changed since.
        settings: of every run, dotted (`layerlocal.experiments.settings`).
        search: how the settings of each method were searched, in a study of methods at their best.
        chosen: rule → data set → method → settings of its own, in studies that find them before they begin.
        controls: whether ordinary BP is trained too, and for twice the steps (`layerlocal.experiments.studies.controls`); not in plans of
            earlier versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    study: str
    size: Size = "quick"
    rules: tuple[str, ...] = ("class-goodness",)
    seeds: tuple[int, ...] = (0, 1, 2)
    data: tuple[str, ...] = ()
    twins_of: dict[str, str] = Field(default_factory=dict)
    sources: dict[str, str] = Field(default_factory=dict)
    contents: dict[str, str] = Field(default_factory=dict)
    widths: dict[str, dict[int, float]] = Field(default_factory=dict)
    command: str = ""
    claims_sha256: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    search: SearchPlan | None = None
    chosen: dict[str, dict[str, dict[str, Choice]]] = Field(default_factory=dict)
    predicted: dict[str, dict[str, float]] = Field(default_factory=dict)
    controls: bool = False

    def source(self, usual: str) -> str:
        """The data set that takes the place of a study's usual one, where the user named one."""
        return self.data[0] if self.data else usual

    def own_settings(self, rule: str, data: str) -> dict[str, dict[str, Any]]:
        """Method → what was chosen for it, where something was."""
        return {method: choice.settings for method, choice in self.chosen.get(rule, {}).get(data, {}).items()}


@dataclass(frozen=True)
class Cell:
    """One task of a study and the methods compared on it.

    Args:
        at: where it lies on the study's axes, e.g. ``{"arm": "real", "classes": 10}``; JSON scalars.
        data: the task.
        network: what is trained.
        recipe: how.
        methods: name → rule with its options; ``"local"``, ``"bp"`` and ``"bp-deepsup"`` give the paired differences.
        settings: method → settings of its own, dotted.
    """

    at: dict[str, Any]
    data: DataSpec
    network: NetworkSpec
    recipe: Recipe
    methods: dict[str, RuleSpec]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)

    def specs(self, seed: int, contents: Mapping[str, str]) -> dict[str, RunSpec]:
        """Method → run, on data of these contents (`StudyPlan.contents`); without settings of its own."""
        data = self.data.with_content(contents)
        return {
            name: RunSpec(data=data, network=self.network, rule=rule, recipe=self.recipe, seed=seed)
            for name, rule in self.methods.items()
        }


@dataclass
class Conclusion:
    """What a study says of its rows: the parts of the summary that are its own."""

    sentences: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    quantities: dict[str, dict[str, Quantity]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def show(self, pieces: Iterable[Figure | Table | None]) -> None:
        """Add tables and figures, those that there are."""
        for piece in pieces:
            if isinstance(piece, Figure):
                self.figures.append(piece)
            elif piece is not None:
                self.tables.append(piece)


class Study(ABC):
    """One question and the runs that answer it."""

    name: ClassVar[str]
    title: ClassVar[str]
    question: ClassVar[str]
    optional_data: ClassVar[bool] = False
    """Whether cells whose data cannot be reached are left out (and said so) rather than refused."""
    tasks_apart: ClassVar[bool] = False
    """Whether a rule that one task refuses still takes part in the others; its conclusions are of each task by itself."""
    own_readouts: ClassVar[bool] = False
    """Whether the rule itself must have one readout a block (twins made of another rule's readouts would change the question)."""
    only: ClassVar[tuple[str, ...]] = ()
    """Rules that it is about; none: any."""
    usual: ClassVar[tuple[str, ...]] = ("class-goodness",)
    """Rules of a plan that names none."""
    sets: ClassVar[frozenset[str]] = frozenset()
    """Options of a rule that its runs set beyond those of `twins_of_rule`: a rule must have them to take part."""
    doubles: ClassVar[bool] = True
    """Whether ordinary BP is also trained for twice the steps; not where the length of training is what is asked."""
    takes_text: ClassVar[bool] = True
    """Whether its question can be asked of text; not where it is one of classes or of pixels."""
    most_data: ClassVar[int] = 1
    """How many data sets of the user's own it takes."""

    def widened(self, plan: StudyPlan) -> NetworkSpec | None:
        """The network that rules which deal channels to classes get at a width at which they can (`StudyPlan.widths`); none: as it is."""
        return None

    @abstractmethod
    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """Every task of one rule and one seed; the same axes for every seed."""

    def with_history(self, row: Row, metrics: Callable[[str], Any]) -> Row:
        """A row with what the study needs of its runs' epochs.

        Args:
            row: of `make_row`.
            metrics: hash → table of a run (`RunStore.metrics`).
        """
        return row

    @abstractmethod
    def conclude(self, plan: StudyPlan, rows: Sequence[Row]) -> Conclusion:
        """What finished rows say. Rows may be missing: then so is what would need them, never a number made up."""


def twins_of_rule(plan: StudyPlan, rule: str, **options: Any) -> dict[str, RuleSpec]:
    """The rule and its two exact twins with the same options, as `Cell.methods`.

    Args:
        plan: knows plug-ins and which rule a rule's twins are made of.
        rule: a name or ``FILE.py:CLASS``.
        **options: of the rule and, alike, of its twins; not of a rule without readouts, whose twins are of `PARTNER`.
    """
    partner = plan.twins_of.get(rule, rule)
    source = plan.sources.get(rule)
    shared = source if partner == rule else None
    own = {} if partner == PARTNER != rule else options
    return {
        "local": RuleSpec(name=rule, options=own, source_sha256=source),
        "bp": RuleSpec(name="bp", options={"of": partner, **options}, source_sha256=shared),
        "bp-deepsup": RuleSpec(name="bp-deepsup", options={"of": partner, **options}, source_sha256=shared),
    }


Key = tuple[str, int, int, str]
"""(rule, seed, position of the cell, method)."""


def plan_runs(study: Study, plan: StudyPlan) -> dict[Key, RunSpec]:
    """Every run of a study, seed by seed, so that an interrupted study has whole seeds."""
    cells = {
        (rule, seed, position): cell
        for seed in plan.seeds
        for rule in plan.rules
        for position, cell in enumerate(cells_of(study, plan, rule, seed))
    }
    specs = {
        (*at, method): spec for at, cell in cells.items() for method, spec in cell.specs(at[1], plan.contents).items()
    }
    runs = set_beside(specs, plan.settings, plan.contents, plan.sources, at=3)
    own = {(*at, method): settings for at, cell in cells.items() for method, settings in cell.settings.items()}
    runs |= {key: runs[key].with_settings(settings) for key, settings in own.items()}
    return with_doubled(runs, at=3)


def cells_of(study: Study, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
    """Every task of one rule and one seed, with the controls if the plan has them."""
    cells, doubled = study.cells(plan, rule, seed), plan.seeds if study.doubles else ()
    return [with_controls(cell, seed, doubled) for cell in cells] if plan.controls else cells


def make_rows(
    study: Study, plan: StudyPlan, records: Mapping[str, RunRecord], answers: AnswersOf | None = None
) -> list[Row]:
    """One row a rule, seed and cell of which every method but the controls is finished; ``answers``: what a run answered on its test images."""
    rows, planned = [], plan_runs(study, plan)
    for rule in plan.rules:
        for seed in plan.seeds:
            for position, cell in enumerate(cells_of(study, plan, rule, seed)):
                runs = {method: planned[rule, seed, position, method].hash for method in cell.methods}
                found = {method: records[run] for method, run in runs.items() if run in records}
                if {*runs} - {*CONTROLS} <= {*found}:
                    rows.append(make_row(rule, seed, cell.at, found, answers))
    return rows


def make_row(
    rule: str, seed: int, at: Mapping[str, Any], found: Mapping[str, RunRecord], answers: AnswersOf | None = None
) -> Row:
    """The row of one task.

    Args:
        rule: a local rule.
        seed: of the runs.
        at: where the task lies on the axes.
        found: method → its run; the paired differences are those of `DIFFERENCES` of which both are there.
        answers: what a run answered on its test images; the row has it until it is `kept`.
    """
    results = {name: record.result for name, record in found.items()}
    first = next(iter(results.values()))
    accuracies = {name: result["test_accuracy"] for name, result in results.items()}
    last = {name: list(result["block_accuracies"].values())[-1] for name, result in results.items()}
    pairs = {name: pair for name, pair in DIFFERENCES.items() if {*pair} <= results.keys()}
    differences = {name: accuracies[left] - accuracies[right] for name, (left, right) in pairs.items()}
    differences |= {f"{name}_last": last[left] - last[right] for name, (left, right) in pairs.items()}
    return {
        "rule": rule,
        "seed": seed,
        **at,
        "num_classes": first["num_classes"],
        "chance": first["chance"],
        "separability": first["data"].get("separability"),
        **accuracies,
        **differences,
        "validation": {name: result.get("validation_accuracy") for name, result in results.items()},
        "blocks": {name: result["block_accuracies"] for name, result in results.items()},
        **_nats_of(results),
        "groups": {name: result["group_accuracies"] for name, result in results.items() if result.get("group_accuracies")},
        "runs": {name: record.hash for name, record in found.items()},
        **({} if answers is None else {ANSWERS: {name: answers(record) for name, record in found.items()}}),
    }  # fmt: skip


def _nats_of(results: Mapping[str, Any]) -> Row:
    """Of text: the loss of each method's answer, and of each of its blocks alone, in nats a label."""
    if not all("test_nats" in result for result in results.values()):
        return {}
    return {
        "nats": {name: result["test_nats"] for name, result in results.items()},
        "block_nats": {name: result["block_nats"] for name, result in results.items()},
    }


def last_accuracy(row: Row, method: str) -> float:
    """Accuracy of a method's last block alone, without fusion."""
    return float(list(row["blocks"][method].values())[-1])


def group_rows(rows: Iterable[Row], *axes: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by their values on some axes, in order of first appearance."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row.get(axis) for axis in axes), []).append(row)
    return found


def by_seed(rows: Iterable[Row], key: str) -> BySeed:
    """Mean of a column for each seed, over the rows that have it."""
    having: dict[int, list[Row]] = {}
    for row in rows:
        if row.get(key) is not None:
            having.setdefault(row["seed"], []).append(row)
    values = {seed: sum(row[key] for row in found) / len(found) for seed, found in having.items()}
    paired = all(pair_of(row, key) for found in having.values() for row in found)
    return BySeed(values, {seed: _mean_shares(found, key) for seed, found in having.items()}, paired=paired)


def _mean_shares(rows: Sequence[Row], key: str) -> Shares | None:
    """What test images add to the mean of a column."""
    shares = [found for row in rows if (found := row_shares(row, key)) is not None]
    return None if len(shares) < len(rows) else weighted((1 / len(rows), found) for found in shares)


def over_seeds(values: Mapping[Any, float]) -> Estimate:
    """Mean and interval of values by seed; over test images too, where they are differences of which these are known."""
    return estimate(list(values.values()), images=values.images if isinstance(values, BySeed) else None)


def estimates(rows: Sequence[Row], *keys: str) -> dict[str, Estimate]:
    """Each column's mean over seeds with its interval; several rows of one seed count as their mean."""
    found = {key: by_seed(rows, key) for key in keys}
    return {key: over_seeds(values) for key, values in found.items() if values}


def whole_seeds(rows: Sequence[Row]) -> list[Row]:
    """The rows of each rule's seeds that have as many rows as the fullest one: part of a grid would give another slope."""
    found = []
    for of in group_rows(rows, "rule").values():
        by = group_rows(of, "seed").values()
        most = max(len(part) for part in by)
        found += [row for part in by if len(part) == most for row in part]
    return found


def quantity(what: str, values: Mapping[int, float], **more: str) -> Quantity:
    """One measured quantity for claims: its value for each seed; ``more`` of `Quantity`, e.g. its ``unit``."""
    by_name = {str(seed): float(value) for seed, value in sorted(values.items())}
    images = values.images if isinstance(values, BySeed) else None
    return Quantity.model_validate({"what": what, "values": by_name, "images": images, **more})


def with_headroom(found: Quantity, headroom: Mapping[int, float]) -> Quantity:
    """A quantity beside what training left of it: the same of the headroom, a mean over the seeds that have it."""
    return found.model_copy(update={"headroom": sum(headroom.values()) / len(headroom)}) if headroom else found


def plotted(rows: Sequence[Row], x: str, key: str) -> Iterator[Point]:
    """A series' points: the column's estimate at each value of ``x``, ascending."""
    for (value,), found in sorted(group_rows(rows, x).items()):
        known = estimates(found, key)
        if known:
            yield Point(x=value, y=known[key])
