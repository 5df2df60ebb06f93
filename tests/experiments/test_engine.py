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

from layerlocal.experiments.cost.driver import forecast_cost, run_cost
from layerlocal.experiments.places import Place
from layerlocal.experiments.stored import cost_place, study_place, tune_place, write_report
from layerlocal.experiments.studies.running import forecast_study, run_study
from layerlocal.experiments.tune import TunePlan, parse_dimension
from layerlocal.experiments.tune.driver import forecast_tuning, run_tuning
from layerlocal.spec import DataSpec, NetworkSpec, Recipe
from layerlocal.types import InputError
from planted_store import ENVIRONMENT, planted_result

SEARCH = TunePlan(
    rules=("local-heads",), space=(parse_dimension("recipe.learning_rate=log:0.001:0.01"),), trials=2, sampler="random",
    data=DataSpec(num_train=200, num_test=50), network=NetworkSpec(name="mlp", width=0.25), recipe=Recipe(epochs=1),
)  # fmt: skip
STUDY = {"name": "accuracy", "data": ["fashion_mnist_subset"], "seeds": 2}
COST = {
    "rules": ["dtg-ff"],
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
    "search": lambda out, maker: Case(
        partial(run_tuning, SEARCH, out, workers=1, console=QUIET),
        partial(forecast_tuning, SEARCH),
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
    return CASES[request.param](tmp_path / "store", maker), maker


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def untimed(summary):
    content = summary if isinstance(summary, dict) else summary.to_dict()
    return {key: value for key, value in content.items() if key != "created"}


def test_plan_missing_and_summary_are_kept_and_the_page_is_made_of_them(engine):
    case, maker = engine
    summary = case.run()
    assert len(maker.names) == len(set(maker.names)) > 2
    assert untimed(json.loads(case.place.summary.path.read_text())) == json.loads(json.dumps(untimed(summary)))
    assert json.loads(case.place.missing.path.read_text()) == []
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
    case.run()
    [entry] = json.loads(case.place.missing.path.read_text())
    assert (entry["reason"], entry["left_out"], len(entry["runs"])) == ("a planted reason", False, 1)
    assert "a planted reason" in case.place.summary.path.read_text()
    made, failed = len(maker.names), maker.names[1]
    case.run()
    assert maker.names[made:] == [failed] and json.loads(case.place.missing.path.read_text()) == []


def test_a_dry_run_counts_what_is_left_and_writes_nothing(engine):
    case, maker = engine
    found = case.forecast()
    assert found["planned"] > 2 and found["seconds"] > 0 and not case.place.out.exists()
    case.run()
    assert len(maker.names) == found["planned"]
    before = contents(case.place.out)
    assert case.forecast()["planned"] == found["planned"] and contents(case.place.out) == before


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
