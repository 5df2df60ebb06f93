"""What was looked at beforehand is what looking finds, and a dry run of a usual plan needs no torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from layerlocal.data.task import task_of
from layerlocal.experiments.audit.driver import DATA, Audit
from layerlocal.experiments.driver import How
from layerlocal.rules import list_rules
from layerlocal.runs.forecast import forecast_seconds
from layerlocal.runs.listing import is_baseline
from layerlocal.runs.looks import Look, Pace, find_look, kind_of, pace_of, yardstick
from layerlocal.runs.preview import look_ahead
from layerlocal.runs.timing import look_at
from layerlocal.spec import DataSpec, NetworkSpec, RunSpec
from layerlocal.types import InputError

LIGHT = (
    "import sys; sys.argv = ['layerlocal', *sys.argv[1:]]; from layerlocal.cli import main\n"
    "try: main()\n"
    "except SystemExit as stop: assert not stop.code\n"
    "assert not {'torch', 'scipy.stats'} & {*sys.modules}"
)


def usual(rules=(), size="quick"):
    """The runs of an audit, each with its look."""
    audit = Audit(rules, DATA, 1, size, {})
    specs = list(audit.jobs(audit.plan(Path("nowhere"), How())).values())
    tasks = [(spec, task_of(spec.data)) for spec in specs]
    return [(spec, find_look(kind_of(task, spec), pace_of(task, spec))) for spec, task in tasks]


@pytest.mark.parametrize("size", ["quick", "standard"])
def test_every_kind_of_run_of_an_audit_was_looked_at(size):
    assert [spec for spec, look in usual(size=size) if look is None] == []


@pytest.mark.parametrize("rule", [name for name in list_rules() if not is_baseline(name)])
def test_flops_in_the_file_are_those_of_the_rule_and_its_twins_as_they_are(rule):
    """On teacher-student data. Where this fails, `python scripts/make_looks.py` writes them anew."""
    found = {}
    for spec, look in usual([rule]):
        if spec.data.source == "teacher_student":
            found.setdefault(spec.rule.model_dump_json(), (spec, look))
    for spec, look in found.values():
        if look is None:  # its width does not fit
            with pytest.raises(InputError):
                look_at(task_of(spec.data), spec)
        else:
            assert look_at(task_of(spec.data), spec) == pytest.approx(look.flops, rel=1e-3)


def test_the_pace_of_a_known_kind_is_scaled_by_the_yardstick(monkeypatch):
    spec, _ = usual()[0]
    monkeypatch.setattr("layerlocal.runs.forecast.find_look", lambda *_: Look(1e6, Pace(step=3.0, prediction=0.5)))
    monkeypatch.setattr("layerlocal.runs.forecast.yardstick", lambda: 2.0)
    steps, predictions = 3 * (2250 // 32), 3 * 250 + 2000  # of 2,500 images a tenth validates, after each of 3 epochs
    assert list(forecast_seconds([spec])) == [pytest.approx(6 * steps + 1.0 * predictions)]


def test_another_width_is_another_kind_and_another_learning_rate_is_not():
    spec, _ = usual()[0]
    task = task_of(spec.data)
    wider = spec.model_copy(update={"network": NetworkSpec(name="cnn4", width=0.75)})
    assert find_look(kind_of(task, wider), pace_of(task, wider)) is None
    faster = spec.with_settings({"recipe.learning_rate": 0.123, "recipe.epochs": 77})
    assert find_look(kind_of(task, faster), pace_of(task, faster)) == find_look(
        kind_of(task, spec), pace_of(task, spec)
    )


def test_a_known_kind_is_refused_like_any_other_where_its_data_are_less_than_a_batch():
    spec, _ = usual()[0]
    with pytest.raises(InputError, match=r"batch_size 32 .*10 training samples"):
        look_ahead(spec.with_settings({"data.num_train": 20}))


def test_the_yardstick_is_the_same_within_a_process():
    assert yardstick() == yardstick() > 0


@pytest.mark.parametrize(
    "words",
    [
        ["audit"],
        ["audit", "--rules", "committee", "--size", "standard"],
        ["study", "accuracy", "--data", "fashion_mnist_subset"],
        *(["study", name, "--data", "fashion_mnist_subset"] for name in ("depth", "hybrid", "ablation")),
        ["study", "composition"],
        ["study", "best"],
        *(["study", name, "--data", "fashion_mnist_subset"] for name in ("length", "scaling")),
        ["study", "equal-cost"],
        ["tune", "--trials", "4"],
        ["tune", "--rule", "mono-forward"],
    ],
    ids=" ".join,
)
def test_a_dry_run_of_a_usual_plan_loads_no_torch(words, tmp_path):
    command = [sys.executable, "-c", LIGHT, *words, "--dry-run", "--json", "--out", str(tmp_path / "runs")]
    own = {
        **os.environ,
        "LAYERLOCAL_CACHE": str(tmp_path / "cache"),
    }  # looks that this machine took before are no answer
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=own)
    assert found.returncode == 0 and '"seconds"' in found.stdout, found.stderr
    assert not (tmp_path / "runs").exists()


def test_the_task_of_images_is_known_without_opening_one(monkeypatch):
    monkeypatch.setattr("layerlocal.data.builtin.Embedded.images", lambda *_, **__: pytest.fail("images were opened"))
    spec = RunSpec(
        data=DataSpec(source="fashion_mnist_subset", classes=4, num_train=123, num_test=31, image_size=20, seed=9)
    )
    task = task_of(spec.data)
    assert (task.sample_shape, task.num_classes) == ((1, 20, 20), 4)
    assert task.num_train + task.num_validation == 123 and task.num_test == 31
