"""What was looked at on this machine is not looked at again, as long as it is this package and no code of the user's own."""

from __future__ import annotations

import json
import os

import pytest

import layerlocal.runs.kept as kept
from layerlocal.data.task import task_of
from layerlocal.runs.forecast import forecast_seconds, known_seconds
from layerlocal.runs.looks import find_look, kind_of, pace_of
from layerlocal.runs.preview import look_ahead
from layerlocal.spec import RunSpec

SPEC = RunSpec.parse(
    {
        "data": {
            "source": "teacher_student",
            "classes": 3,
            "num_train": 64,
            "num_test": 8,
        },
        "network": {"name": "mlp", "options": {"hidden": 16, "depth": 2}},
        "rule": {"name": "class-goodness"},
        "recipe": {"batch_size": 8},
    }
)


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """What a process that begins now knows; called again: another process."""
    monkeypatch.setattr("layerlocal.runs.kept._place", lambda: tmp_path / "cache" / "looks.json")

    def begin():
        kept._read.cache_clear()
        monkeypatch.setattr("layerlocal.runs.preview._LOOKED_AT", {})

    begin()
    return begin


def forbid(monkeypatch):
    for name in ("look_at", "time_kind"):
        monkeypatch.setattr(f"layerlocal.runs.timing.{name}", lambda *_: pytest.fail("it was looked at again"))


def test_a_kind_that_was_forecast_is_neither_built_nor_timed_by_the_next_process(fresh, monkeypatch):
    assert known_seconds([SPEC], workers=1) is None
    [seconds] = forecast_seconds([SPEC])
    flops = look_ahead(SPEC)[1]
    fresh()
    forbid(monkeypatch)
    assert look_ahead(SPEC)[1] == flops
    assert list(forecast_seconds([SPEC])) == [pytest.approx(seconds)]
    assert known_seconds([SPEC], workers=1) == pytest.approx(seconds)


def test_a_kind_that_was_only_built_is_still_timed(fresh):
    look_ahead(SPEC)
    fresh()
    task = task_of(SPEC.data)
    look = find_look(kind_of(task, SPEC), pace_of(task, SPEC))
    assert look is not None and look.pace is None
    assert known_seconds([SPEC], workers=1) is None
    assert next(forecast_seconds([SPEC])) > 0


@pytest.mark.parametrize("change", ["other package", "half a file", "no numbers"])
def test_looks_of_another_package_and_damaged_ones_are_taken_again(fresh, change):
    look_ahead(SPEC)
    place = kept._place()
    content = json.loads(place.read_bytes())
    text = json.dumps(content | {"of": "another"}) if change == "other package" else json.dumps(content)[:-9]
    place.write_text(json.dumps(content | {"looks": {"key": "word"}}) if change == "no numbers" else text)
    fresh()
    assert kept.kept_looks() == {}
    look_ahead(SPEC)
    fresh()
    assert kept.kept_looks() == content["looks"]


def test_nothing_is_kept_of_a_rule_of_the_users_own(fresh, tmp_path):
    (tmp_path / "mine.py").write_text(
        "from layerlocal.rules.class_goodness import ClassGoodness\n\n\nclass Mine(ClassGoodness):\n    pass\n"
    )
    from layerlocal.runs.pin import pin_plugin

    look_ahead(pin_plugin(SPEC.with_settings({"rule.name": f"{tmp_path}/mine.py:Mine"})))
    assert kept.kept_looks() == {} and not kept._place().exists()


def test_a_folder_that_cannot_be_written_stops_no_forecast(monkeypatch):
    assert kept._place().parent == type(kept._place())(os.devnull)
    assert next(forecast_seconds([SPEC])) > 0
