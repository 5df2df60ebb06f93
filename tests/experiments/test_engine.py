"""What the engine does alike for every experiment: plan, jobs, what is missing, summary, dry run.

Jobs are PLANTED: nothing is trained or measured.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
from rich.console import Console
from test_cost_audit import CHOSEN
from test_cost_audit import planted as planted_measurement

from layerlocal.experiments.audit.driver import Audit, forecast_audit, run_audit
from layerlocal.experiments.audit.plan import AuditPlan
from layerlocal.experiments.audit.summary import summarize
from layerlocal.experiments.cost.driver import forecast_cost, run_cost
from layerlocal.experiments.driver import How, prepare, seeds_of
from layerlocal.experiments.places import Place
from layerlocal.experiments.reading import read_summary
from layerlocal.experiments.stored import (
    audit_place,
    audit_summary,
    cost_kept,
    cost_place,
    read_plan,
    study_place,
    study_summaries,
    tune_place,
    write_report,
)
from layerlocal.experiments.studies import find_study
from layerlocal.experiments.studies.base import StudyPlan, plan_runs
from layerlocal.experiments.studies.driver import Studied
from layerlocal.experiments.studies.running import forecast_study, run_study
from layerlocal.experiments.studies.summary import summarize_study
from layerlocal.experiments.tune import TunePlan, parse_dimension
from layerlocal.experiments.tune.driver import forecast_tuning, run_tuning
from layerlocal.runs.comparable import comparable
from layerlocal.spec import DataSpec, NetworkSpec, Recipe
from layerlocal.summary import Missed
from layerlocal.types import InputError
from planted_audit import planted_cost
from planted_store import ENVIRONMENT, planted_result

SEARCH = TunePlan(
    rules=("local-heads",), space=(parse_dimension("recipe.learning_rate=log:0.001:0.01"),), trials=2, sampler="random",
    data=DataSpec(num_train=200, num_test=50), network=NetworkSpec(name="mlp", width=0.25), recipe=Recipe(epochs=1),
)  # fmt: skip
STUDY = {"name": "accuracy", "data": ["fashion_mnist_subset"], "seeds": 2}
COST = {
    "rules": ["class-goodness"],
    "modes": ["plain"],
    "parts": ["methods", "scaling", "roofline", "distribution"],
    "settings": CHOSEN,
    "threads": 1,
}
QUIET = Console(quiet=True)


@dataclass
class Maker:
    """Makes jobs: all, or as far as it is asked to.

    Args:
        names: of those that were made, in order.
        breaks: the number of the job that fails.
        stops: the number of the job that is interrupted.
    """

    names: list[str] = field(default_factory=list)
    breaks: int | None = None
    stops: int | None = None

    def begin(self, name):
        self.names.append(name)
        if len(self.names) == self.stops:
            raise KeyboardInterrupt
        if len(self.names) == self.breaks:
            raise InputError("a planted reason")

    def train(self, spec, folder, *_):
        self.begin(spec.hash)
        return folder.finish(env=ENVIRONMENT, result=planted_result(spec), metrics=[])

    def measure(self, request):
        self.begin(json.dumps(request, sort_keys=True))
        return planted_measurement(request)


@dataclass
class Case:
    """One experiment in one store.

    Args:
        run, forecast: calls without arguments.
        place: its files.
        shown: those that a page is made of.
    """

    run: Callable[[], object]
    forecast: Callable[[], dict]
    place: Place
    shown: tuple[str, ...] = ("summary",)


CASES = {
    "study": lambda out, maker: Case(
        partial(run_study, out, **STUDY, workers=1, console=QUIET),
        partial(forecast_study, out, **STUDY, workers=1, console=QUIET),
        study_place(out, "accuracy", "quick"),
        ("plan", "missing"),
    ),
    "audit": lambda out, maker: Case(
        partial(run_audit, out, seeds=1, workers=1, console=QUIET),
        partial(forecast_audit, out, seeds=1, workers=1, console=QUIET),
        audit_place(out, "quick"),
        ("plan", "missing"),
    ),
    "search": lambda out, maker: Case(
        partial(run_tuning, SEARCH, out, workers=1, console=QUIET),
        partial(forecast_tuning, SEARCH, out, workers=1, console=QUIET),
        tune_place(out, SEARCH.name),
    ),
    "cost": lambda out, maker: Case(
        partial(run_cost, out, **COST, measure=maker.measure, console=QUIET),
        partial(forecast_cost, out, **COST, console=QUIET),
        cost_place(out, "quick"),
    ),
}


@pytest.fixture(params=CASES)
def engine(request, tmp_path, monkeypatch):
    """(case, maker) of each experiment."""
    maker = Maker()
    monkeypatch.setattr("layerlocal.runs.run._train_run", maker.train)
    monkeypatch.setattr("layerlocal.experiments.audit.cost.measure_cost", lambda rules, **_: planted_cost(rules))
    return CASES[request.param](tmp_path / "store", maker), maker


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def untimed(summary):
    return summary.model_copy(update={"created": ""})


def test_plan_missing_and_summary_are_kept_and_the_page_is_made_of_them(engine):
    case, maker = engine
    summary = case.run()
    assert len(maker.names) == len(set(maker.names)) > 2
    assert read_summary(case.place.summary.path, damaged=InputError) == summary
    assert case.place.missing.read(kind=list) == []
    assert json.loads(case.place.plan.path.read_text())
    assert write_report(case.place.out).read_text().startswith("<!doctype html>")


def test_the_same_again_makes_nothing_and_says_the_same(engine):
    case, maker = engine
    before = case.run()
    made = len(maker.names)
    assert untimed(case.run()) == untimed(before) and len(maker.names) == made


def test_what_is_interrupted_keeps_what_was_made_and_goes_on_with_the_rest(engine):
    case, maker = engine
    maker.stops = 3
    with pytest.raises(KeyboardInterrupt):
        case.run()
    assert case.place.plan.path.exists() and not case.place.summary.path.exists()
    interrupted, maker.stops = maker.names.pop(), None
    case.run()
    assert interrupted in maker.names and len(maker.names) == len(set(maker.names))


def test_a_job_that_fails_is_told_with_its_reason_loses_no_other_and_is_made_again(engine):
    case, maker = engine
    maker.breaks = 2
    summary = case.run()
    [entry] = case.place.missing.read(kind=list)
    assert (entry["reason"], entry["left_out"], len(entry["runs"])) == ("a planted reason", False, 1)
    assert "a planted reason" in summary.model_dump_json()
    made, failed = len(maker.names), maker.names[1]
    case.run()
    assert maker.names[made:] == [failed] and case.place.missing.read(kind=list) == []


def test_a_dry_run_counts_what_is_left_and_writes_nothing(engine):
    case, maker = engine
    found = case.forecast()
    assert found["planned"] > 2 and found["seconds"] > 0 and not case.place.out.exists()
    case.run()
    assert len(maker.names) == found["planned"]
    before = contents(case.place.out)
    later = case.forecast()
    assert later["planned"] == found["planned"] and contents(case.place.out) == before
    assert (found["finished"], later["finished"], later["seconds"]) == (0, found["planned"], 0)


def test_a_damaged_file_of_an_experiment_is_one_sentence_that_names_it(engine):
    case, _ = engine
    case.run()
    for name in case.shown:
        path = getattr(case.place, name).path
        whole = path.read_bytes()
        for content in ("[1", '"text"'):
            path.write_text(content)
            with pytest.raises(InputError, match=f"{re.escape(str(path))} is damaged .* again") as refused:
                write_report(case.place.out)
            assert "\n" not in str(refused.value)
        path.write_bytes(whole)


# --- what is asked for, of experiments whose jobs are runs -------------------------------------------------------------

EMBEDDED = ["fashion_mnist_subset"]
ASKED = {
    "audit": lambda **asked: Audit(**asked),
    "study": lambda **asked: Studied(find_study("accuracy"), data=EMBEDDED, **asked),
}
every_asked = pytest.mark.parametrize("make", ASKED.values(), ids=ASKED)


@pytest.fixture
def no_looks(monkeypatch):
    """Rules are not built: what is tested is the plan."""
    monkeypatch.setattr("layerlocal.runs.preview.look_ahead", lambda spec: None)


@pytest.mark.parametrize(("asked", "seeds"), [(2, (0, 1)), ((0, 3, 4), (0, 3, 4)), ([7, 7], (7,))])
def test_seeds_are_a_number_from_0_on_or_those_that_are_named(asked, seeds):
    assert seeds_of(asked) == seeds


@pytest.mark.parametrize("asked", [0, (), (-1,)])
def test_no_seed_and_a_negative_one_are_refused(asked):
    with pytest.raises(InputError, match="seed"):
        seeds_of(asked)


@every_asked
def test_named_seeds_are_those_of_every_run(no_looks, make, tmp_path):
    ready = prepare(make(seeds=(2, 5)), tmp_path, How())
    assert {spec.seed for spec in ready.kept.values()} == {2, 5}


@every_asked
def test_a_setting_is_of_every_run_and_is_kept_in_the_plan(no_looks, make, tmp_path):
    settings = {"recipe.learning_rate": 0.125, "network.width": 0.375}
    plain, ready = (prepare(make(seeds=1, settings=given), tmp_path, How()) for given in ({}, settings))
    assert ready.plan.settings == settings and ready.kept.keys() == plain.kept.keys()
    for key, spec in ready.kept.items():
        own = plain.kept[key]
        drawn = spec.data.source == "teacher_student"  # beside real data its network is its own
        assert spec.recipe == own.recipe.model_copy(update={"learning_rate": 0.125})
        assert spec.network == (own.network if drawn else own.network.model_copy(update={"width": 0.375}))
        assert (spec.data, spec.rule, spec.seed) == (own.data, own.rule, own.seed)


@every_asked
@pytest.mark.parametrize("key", ["seed", "judged_on", "rule.name", "data.source"])
def test_what_has_an_option_of_its_own_is_no_setting(no_looks, make, tmp_path, key):
    with pytest.raises(InputError, match=f"{key} is no setting"):
        prepare(make(settings={key: 1}), tmp_path, How())


def test_what_an_experiment_varies_is_no_setting(no_looks, tmp_path):
    with pytest.raises(InputError, match=r"data.classes .*--set data.classes"):
        prepare(Audit(settings={"data.classes": 5}), tmp_path, How())


@every_asked
@pytest.mark.parametrize("rule", ["bp", "bp-deepsup"])
def test_a_baseline_is_refused(make, tmp_path, rule):
    with pytest.raises(InputError, match=f"{rule} is a baseline"):
        prepare(make(rules=[rule]), tmp_path, How())


@every_asked
def test_preparing_writes_nothing(no_looks, make, tmp_path):
    prepare(make(), tmp_path / "store", How())
    assert not (tmp_path / "store").exists()


def test_a_study_with_settings_and_one_without_do_not_share_a_folder(no_looks, tmp_path):
    plan = StudyPlan(study="accuracy", data=tuple(EMBEDDED), settings={"recipe.epochs": 1})
    path = study_place(tmp_path, "accuracy", "quick").plan.path
    path.parent.mkdir(parents=True)
    path.write_text(plan.model_dump_json())
    with pytest.raises(InputError, match=r"recipe.epochs=1; .*--out"):
        prepare(ASKED["study"](), tmp_path, How())


# --- stores of earlier versions ----------------------------------------------------------------------------------------


def test_the_loose_files_of_an_earlier_audit_are_read_until_there_is_a_new_one(tmp_path):
    plan = AuditPlan(seeds=(0,))
    failed = [{"label": "ff, seed 0", "reason": "it fell over"}]
    content = plan.model_dump(mode="json", exclude={"settings", "size"}) | {"budget": "quick"}
    (tmp_path / "audit.json").write_text(json.dumps(content))
    (tmp_path / "failed.json").write_text(json.dumps(failed))
    cost_kept(tmp_path, plan).old.write_text(json.dumps(planted_cost(plan.rules)))
    found = audit_summary(tmp_path, {})
    missing = [Missed(**entry) for entry in failed]
    assert untimed(found) == untimed(summarize(plan, {}, missing=missing, cost=planted_cost(plan.rules)))
    assert list(found.missing) == missing and any(figure.name == "audit-speed" for figure in found.parts[3].figures)
    later = audit_place(tmp_path, "quick").plan.path
    later.parent.mkdir(parents=True)
    later.write_text(plan.model_copy(update={"command": "later"}).model_dump_json())
    found = audit_summary(tmp_path, {})
    assert found.command == "later" and not found.missing


def test_the_loose_files_of_an_earlier_study_are_read_and_joined(no_looks, tmp_path):
    plan = StudyPlan(study="accuracy", data=tuple(EMBEDDED), rules=("local-heads",), seeds=(0, 1))
    name = next(iter(plan_runs(find_study("accuracy"), plan).values())).hash
    content = plan.model_dump(mode="json", exclude={"settings", "widths", "contents"})
    (tmp_path / "study-accuracy-quick.json").write_text(json.dumps(content))
    (tmp_path / "study-accuracy-quick-missing.json").write_text(json.dumps({name: "the worker died"}))
    assert read_plan(tmp_path, "accuracy", "quick") == plan
    [summary] = study_summaries(tmp_path, comparable(tmp_path)[0])
    assert untimed(summary) == untimed(summarize_study(plan, {}, reasons={name: "the worker died"}))
    assert "the worker died" in [entry.reason for entry in summary.missing]
    joined = prepare(ASKED["study"](rules=["ff"], seeds=1), tmp_path, How()).plan
    assert (joined.rules, joined.seeds) == (("local-heads", "ff"), (0, 1))
