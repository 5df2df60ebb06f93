"""What the driver does alike for every experiment whose jobs are runs: settings, seeds, folders, and stores of earlier versions."""

from __future__ import annotations

import json

import pytest

from layerlocal.experiments.audit.driver import Audit
from layerlocal.experiments.audit.plan import AuditPlan
from layerlocal.experiments.audit.summary import summarize
from layerlocal.experiments.driver import How, prepare, seeds_of
from layerlocal.experiments.stored import (
    audit_place,
    audit_summary,
    cost_kept,
    read_plan,
    study_place,
    study_summaries,
)
from layerlocal.experiments.studies import find_study
from layerlocal.experiments.studies.base import StudyPlan, plan_runs
from layerlocal.experiments.studies.driver import Studied
from layerlocal.experiments.studies.summary import summarize_study
from layerlocal.runs.comparable import comparable
from layerlocal.summary import Missed
from layerlocal.types import InputError
from planted_audit import planted_cost

EMBEDDED = ["fashion_mnist_subset"]
EXPERIMENTS = {
    "audit": lambda **asked: Audit(**asked),
    "study": lambda **asked: Studied(find_study("accuracy"), data=EMBEDDED, **asked),
}
every_experiment = pytest.mark.parametrize("make", EXPERIMENTS.values(), ids=EXPERIMENTS)


@pytest.fixture
def no_looks(monkeypatch):
    """Rules are not built: what is tested is the plan."""
    monkeypatch.setattr("layerlocal.runs.preview.look_ahead", lambda spec: None)


# --- what is asked for -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "seeds"), [(2, (0, 1)), ((0, 3, 4), (0, 3, 4)), ([7, 7], (7,))])
def test_seeds_are_a_number_from_0_on_or_those_that_are_named(asked, seeds):
    assert seeds_of(asked) == seeds


@pytest.mark.parametrize("asked", [0, (), (-1,)])
def test_no_seed_and_a_negative_one_are_refused(asked):
    with pytest.raises(InputError, match="seed"):
        seeds_of(asked)


@every_experiment
def test_named_seeds_are_those_of_every_run(no_looks, make, tmp_path):
    ready = prepare(make(seeds=(2, 5)), tmp_path, How())
    assert {spec.seed for spec in ready.kept.values()} == {2, 5}


@every_experiment
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


@every_experiment
@pytest.mark.parametrize("key", ["seed", "judged_on", "rule.name", "data.source"])
def test_what_has_an_option_of_its_own_is_no_setting(no_looks, make, tmp_path, key):
    with pytest.raises(InputError, match=f"{key} is no setting of an experiment"):
        prepare(make(settings={key: 1}), tmp_path, How())


def test_what_an_experiment_varies_is_no_setting(no_looks, tmp_path):
    with pytest.raises(InputError, match=r"data.classes is what this experiment varies; leave out --set data.classes"):
        prepare(Audit(settings={"data.classes": 5}), tmp_path, How())


@every_experiment
@pytest.mark.parametrize("rule", ["bp", "bp-deepsup"])
def test_a_baseline_is_refused(make, tmp_path, rule):
    with pytest.raises(InputError, match=f"{rule} is a baseline, not a local rule"):
        prepare(make(rules=[rule]), tmp_path, How())


@every_experiment
def test_preparing_writes_nothing(no_looks, make, tmp_path):
    prepare(make(), tmp_path / "store", How())
    assert not (tmp_path / "store").exists()


def test_a_study_with_settings_and_one_without_do_not_share_a_folder(no_looks, tmp_path):
    plan = StudyPlan(study="accuracy", data=tuple(EMBEDDED), settings={"recipe.epochs": 1})
    path = study_place(tmp_path, "accuracy", "quick").plan.path
    path.parent.mkdir(parents=True)
    path.write_text(plan.model_dump_json())
    with pytest.raises(InputError, match=r"at this size on recipe.epochs=1; give another folder with --out"):
        prepare(EXPERIMENTS["study"](), tmp_path, How())


# --- stores of earlier versions ----------------------------------------------------------------------------------------


def untimed(summary):
    return {key: value for key, value in summary.to_dict().items() if key != "created"}


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
    joined = prepare(EXPERIMENTS["study"](rules=["ff"], seeds=1), tmp_path, How()).plan
    assert (joined.rules, joined.seeds) == (("local-heads", "ff"), (0, 1))
