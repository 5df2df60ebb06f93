"""`layerlocal study` as an experiment: its plan, which rules can take part, and what falls with what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from layerlocal.claims import load_claims
from layerlocal.data.task import refuse_no_images, task_of
from layerlocal.data.text import is_text
from layerlocal.experiments.driver import (
    How,
    Key,
    Missing,
    Refusal,
    RunExperiment,
    seeds_of,
)
from layerlocal.experiments.places import Place
from layerlocal.experiments.settings import refuse_fixed, refuse_settings, refuse_unnamed_files
from layerlocal.experiments.stored import read_plan, study_place
from layerlocal.experiments.studies import STUDIES
from layerlocal.experiments.studies.base import SIZES, Study, StudyPlan, plan_runs
from layerlocal.experiments.studies.summary import summarize_study
from layerlocal.runs.comparable import comparable
from layerlocal.runs.listing import partner_of, refuse_baseline, rule_facts
from layerlocal.runs.pin import sources_of
from layerlocal.runs.store import RunStore
from layerlocal.spec import DataSpec, RunSpec
from layerlocal.summary import Summary
from layerlocal.types import InputError, UnreachableError, unknown_name

__all__ = ["Studied"]

Part = tuple[str | None, int | None]
"""A rule, a cell's position, or one of both."""


@dataclass(frozen=True)
class Studied(RunExperiment[StudyPlan]):
    """A study with what was asked of it.

    Args:
        study: which.
        size: see `SIZES`.
        rules: local rules, by name or ``FILE.py:CLASS``, the study's usual ones where none is named; rules of an earlier call with the same
            data stay part of the study.
        seeds: how many, from 0 on, or which; those of an earlier call stay part of the study too.
        data: data sets instead of the study's own.
        settings: of every run, dotted, e.g. ``{"network.width": 0.25}``.
        command: noted beside the numbers.
        controls: whether ordinary BP is trained too, and for twice the steps.
    """

    study: Study
    size: str = "quick"
    rules: Sequence[str] = ()
    seeds: int | Sequence[int] = 3
    data: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    controls: bool = True

    def place(self, out: Path, plan: StudyPlan) -> Place:
        """Its folder."""
        return study_place(out, self.study.name, self.size)

    def plan(self, out: Path, how: How) -> StudyPlan:
        """With the rules and seeds of an earlier call; settings that leave the question alone."""
        if self.size not in SIZES:
            raise unknown_name("size", self.size, SIZES)
        refuse_fixed(self.settings)
        for rule in self.rules:
            refuse_baseline(rule)
        plan = _joined(out, _asked_plan(self))
        plan = _with_own(self.study, plan, read_plan(out, self.study.name, self.size))
        compared = plan.model_copy(update={"controls": False})  # they differ in what may be set
        refuse_settings(
            plan.settings, lambda settings: plan_runs(self.study, compared.model_copy(update={"settings": settings}))
        )
        return plan

    def jobs(self, plan: StudyPlan) -> dict[Key, RunSpec]:
        """Every cell and method, seed by seed."""
        return dict(plan_runs(self.study, plan))

    def looks(self, plan: StudyPlan) -> tuple[Callable[[RunSpec], Any], ...]:
        """What is wrong with the data is said before any rule is built."""
        return (partial(_look_at_data, self.study), *super().looks(plan))

    def looked_at(self, plan: StudyPlan, jobs: dict[Key, RunSpec]) -> dict[Key, RunSpec]:
        """Seeds are alike."""
        return {key: spec for key, spec in jobs.items() if key[1] == plan.seeds[0]}

    def parts(self, plan: StudyPlan, key: Key) -> tuple[Part, ...]:
        """Its rule, its cell, and its rule in that cell."""
        rule, _, position, _ = key
        return (rule, None), (None, position), (rule, position)

    def blame(self, plan: StudyPlan, key: Key, spec: RunSpec, error: InputError) -> tuple[Part, Refusal]:
        """A rule of which one method cannot take part (say, a hybrid of it) takes no part at all (in a study of tasks apart: not in that
        task), nor does a data set that cannot be reached, in a study that can do without."""
        from layerlocal.runs.preview import is_about_rule

        rule, _, position, _ = key
        if isinstance(error, UnreachableError):
            if not self.study.optional_data:
                raise error
            return (None, position), Refusal(str(error), unreachable=spec.data.source)
        if not is_about_rule(spec) or (len(plan.rules) == 1 and not self.study.tasks_apart):
            raise error
        if self.study.tasks_apart:
            return (rule, position), Refusal(
                f"{rule} on {spec.data.source}, in the network of size {plan.size}: {error}"
            )
        return (rule, None), Refusal(f"{rule}: {error}")

    def refused(self, plan: StudyPlan) -> dict[Any, Refusal]:
        """Rules that lack what the study sets."""
        return {
            (rule, None): Refusal(f"{rule}: {reason}") for rule, reason in _rules_that_cannot(self.study, plan).items()
        }

    def with_data(self, plan: StudyPlan, contents: dict[str, str]) -> StudyPlan:
        """Recorded in the plan, so that the study is of these data."""
        return plan.model_copy(update={"contents": contents})

    def conclude(self, out: Path, plan: StudyPlan, missing: Sequence[Missing], how: How) -> Summary:
        """Its rows, tables and figures."""
        records, warnings = comparable(out)
        for warning in warnings:
            how.console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)
        reasons = {name: entry.reason for entry in missing for name in entry.runs}
        left_out = {name for entry in missing if entry.left_out for name in entry.runs}
        store = RunStore(out)
        return summarize_study(
            plan, records, reasons=reasons, left_out=left_out, metrics=store.metrics, answers=store.answers
        )


def _asked_plan(asked: Studied) -> StudyPlan:
    """The plan in the words of whoever asks, not looked at yet."""
    study = asked.study
    plan = StudyPlan.model_validate(
        {
            "study": study.name,
            "size": asked.size,
            "rules": tuple(dict.fromkeys(asked.rules)) or study.usual,
            "seeds": seeds_of(asked.seeds),
            "data": tuple(asked.data),
            "settings": dict(asked.settings),
            "command": asked.command,
            "controls": asked.controls,
        }
    )
    if len(plan.data) > study.most_data:
        most = f"at most {study.most_data}" if study.most_data else "none"
        raise InputError(
            f"the study {study.name!r} takes {most} of your data sets, got {', '.join(plan.data)}; leave out --data or name fewer"
        )
    return plan


def _joined(out: Path, plan: StudyPlan) -> StudyPlan:
    """With the rules and seeds of an earlier call on the same data: a second rule joins a study, it does not replace the first."""
    before = read_plan(out, plan.study, plan.size)
    refuse_unnamed_files(f"the study in {out}", before.rules if before else (), plan.rules)
    if before is None:
        return plan
    for word, told, old, new in (
        ("data", ", ".join(before.data) or "its own data", before.data, plan.data),
        ("settings", ", ".join(f"{k}={v}" for k, v in before.settings.items()) or "its own settings", before.settings, plan.settings),
    ):  # fmt: skip
        if old != new:
            raise InputError(
                f"{out} holds the study {plan.study!r} at this size on {told}; give another folder with --out for other {word}"
            )
    rules = tuple(dict.fromkeys([*before.rules, *plan.rules]))
    seeds, controls = tuple(sorted({*before.seeds, *plan.seeds})), before.controls or plan.controls
    return plan.model_copy(update={"rules": rules, "seeds": seeds, "controls": controls})


def _with_own(study: Study, plan: StudyPlan, before: StudyPlan | None) -> StudyPlan:
    """With what the rules and the claims say of themselves."""
    from layerlocal.experiments.studies.widths import fitting_widths

    begun = before.claims_sha256 if before is not None else load_claims().sha256_about(STUDIES)
    twins = {rule: partner for rule in plan.rules if (partner := partner_of(rule)) != rule}
    sources = sources_of(plan.rules, plan.settings)
    plan = plan.model_copy(update={"twins_of": twins, "sources": sources, "claims_sha256": begun})
    network = study.widened(plan)
    return plan if network is None else plan.model_copy(update={"widths": fitting_widths(plan, network)})


def _look_at_data(study: Study, spec: RunSpec) -> None:
    """Of all runs before any rule is built: what is wrong with the data is said first. A network of one's own may take vectors."""
    who = f"the study {study.name!r}"
    if is_text(spec.data):
        if not study.takes_text:  # said before it is asked for classes; a network that takes none says so itself
            refuse_no_images(task_of(DataSpec(source=spec.data.source)), spec.data.source, who)
        task_of(spec.data)
    elif spec.network.name != "mlp" and spec.network.source_sha256 is None:
        refuse_no_images(task_of(spec.data), spec.data.source, who)


def _rules_that_cannot(study: Study, plan: StudyPlan) -> dict[str, str]:
    """Rules that the study is not about, that lack an option it sets, or whose twins would have to be made of another rule, and why."""
    found = {}
    for rule in plan.rules:
        missing = sorted(study.sets - rule_facts(rule).options.keys())
        if study.only and rule not in study.only:
            found[rule] = f"the study {study.name!r} is about {' and '.join(study.only)} alone"
        elif study.own_readouts and not rule_facts(rule).blockwise:
            found[rule] = (
                f"it has no readout at every block (it is no BlockwiseRule), so it cannot take part in the study {study.name!r}"
            )
        elif missing:
            found[rule] = (
                f"it has no option {missing[0]!r}, which the study {study.name!r} sets, so it cannot take part"
            )
    return found
