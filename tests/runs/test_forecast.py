"""How long runs would take: counts by hand, a planted clock."""

from __future__ import annotations

import pytest
import torch

import layerlocal.runs.forecast
import layerlocal.runs.timing
from layerlocal.data.task import task_of
from layerlocal.runs.forecast import forecast_seconds
from layerlocal.runs.looks import Pace
from layerlocal.runs.preview import look_ahead
from layerlocal.runs.run import build, load_task
from layerlocal.runs.timing import measure_pace, noise
from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RuleSpec, RunSpec
from layerlocal.training.train import Training
from layerlocal.types import InputError

FAILS = """
from layerlocal import RuleInfo
from layerlocal.rules import LocalHeads


class Mine(LocalHeads):
    info = RuleInfo(name="mine", locality="block")

    def local_loss(self, index, activity, y):
        return 1 / 0
"""
SPEC = RunSpec(
    data=DataSpec(source="fashion_mnist_subset", num_train=600, num_test=100, validation=0.1),
    network=NetworkSpec(name="mlp", options={"depth": 2, "hidden": 16}),
    rule=RuleSpec(name="local-heads"),
    recipe=Recipe(epochs=2, batch_size=32),
)


def changed(**parts):
    """The spec with some settings of some of its parts changed."""
    update = {
        name: getattr(SPEC, name).model_copy(update=value) if isinstance(value, dict) else value
        for name, value in parts.items()
    }
    return SPEC.model_copy(update=update)


@pytest.mark.parametrize(
    "spec, steps, predictions",
    [
        (SPEC, 32, 2 * 60 + 100),  # 540 of 600 images are trained on: 16 batches; 60 validate, twice
        (changed(recipe={"batch_size": 50}), 20, 220),  # 10 batches, the rest of 40 is left out
        (changed(recipe={"epochs": 1, "steps": 17}), 17, 220),  # one step of a second epoch
        (changed(recipe={"epochs": 1, "steps": 16}), 16, 160),
        (changed(data={"validation": 0.0}), 36, 100),
        (changed(judged_on="validation"), 32, 120),
    ],
)
def test_a_run_is_its_steps_validation_after_each_epoch_and_the_test(spec, steps, predictions):
    assert Pace(step=7.0, prediction=0.5).seconds(spec, task_of(spec.data)) == pytest.approx(
        7 * steps + 0.5 * predictions
    )


def test_the_pace_is_the_median_step_after_the_first_and_a_batch_of_predictions(monkeypatch):
    data, rule = build(SPEC)
    training = Training(rule, data, SPEC.recipe)
    times = iter([50.0, 51.0, 59.0, 61.0, 200.0, 205.0])  # steps of 1, 8 and 2 seconds; predictions of 5
    monkeypatch.setattr(layerlocal.runs.timing, "clock", lambda _: next(times))
    seen, sizes = [], []
    monkeypatch.setattr(
        layerlocal.runs.timing, "evaluate_split", lambda rule, data, split, device: sizes.append(len(split))
    )
    monkeypatch.setattr(training, "step", lambda x, y, observe: seen.append(len(x)))
    assert measure_pace(training, steps=3) == Pace(step=2.0, prediction=5.0 / 500)
    assert seen == [32] * 4 and sizes == [500, 500] and next(times, None) is None


def test_more_steps_than_an_epoch_has_go_on_with_the_next(monkeypatch):
    spec = changed(data={"num_train": 100, "validation": 0.2})  # 80 are left: two batches an epoch
    data, rule = build(spec)
    training, seen = Training(rule, data, spec.recipe), []
    monkeypatch.setattr(training, "step", lambda x, y, observe: seen.append(y))
    measure_pace(training, steps=4)
    [_, _, *second] = seen
    expected = [y for epoch in (1, 2) for _, y in training.batches.epoch(epoch)]
    assert len(seen) == 5 and all(map(torch.equal, second, expected))


@pytest.mark.parametrize(
    "data",
    [
        {"source": "teacher_student", "classes": 7, "num_train": 140, "num_test": 60},
        {"source": "teacher_student", "teacher": {"kind": "conv", "image_size": 8}, "validation": 0.0, "num_train": 64},
        {"source": "fashion_mnist_subset", "classes": 3, "num_train": 90, "num_test": 31, "validation": 0.2},
        *(
            {"source": "fashion_mnist_subset", "classes": 4, "image_size": 9, "compose": how}
            for how in ("side", "overlay")
        ),
        {
            "source": "fashion_mnist_subset",
            "classes": 4,
            "compose": "side",
            "num_train": 99,
            "num_test": 50,
            "validation": 0,
        },
    ],
)
def test_a_task_in_numbers_is_that_of_its_data(data):
    spec = DataSpec(**data)
    found, loaded = task_of(spec), load_task(spec)
    assert (found.sample_shape, found.num_classes) == (loaded.sample_shape, loaded.num_classes)
    counts = found.num_train, found.num_validation, found.num_test
    assert counts == (len(loaded.train), len(loaded.validation or ()), loaded.provenance["num_images"]["test"])
    x, y = noise(found, 5)
    assert x.shape == (5, *loaded.sample_shape) and y.min() >= 0 and y.max() < loaded.num_classes


def test_flops_before_a_run_are_the_convolutions_and_linear_maps_of_its_forward_passes_by_hand():
    by_hand = 2 * (28 * 28 * 16 + 16 * 16) + 2 * (16 * 10 + 16 * 10)  # two layers of 16 units and a readout on each
    assert look_ahead(SPEC)[1] == pytest.approx(by_hand, rel=1e-4)
    bp = changed(rule=RuleSpec(name="bp", options={"of": "local-heads"}))
    assert look_ahead(bp)[1] == pytest.approx(by_hand - 2 * 16 * 10, rel=1e-4)  # one readout
    ff = changed(rule=RuleSpec(name="ff"))  # two passes, positive and negative data, and no readout
    assert look_ahead(ff)[1] == pytest.approx(2 * (by_hand - 2 * 2 * 16 * 10), rel=1e-4)


ALIKE = [
    changed(seed=3),
    changed(recipe={"epochs": 5}),
    changed(data={"num_train": 1200}),
    changed(data={"classes": 5}),
    changed(recipe={"epochs": 1, "steps": 9}),
]
OTHER = [
    changed(recipe={"batch_size": 16}),
    changed(rule=RuleSpec(name="bp", options={"of": "local-heads"})),
]


def test_runs_of_one_kind_are_timed_once_on_one_thread(monkeypatch):
    timed = []

    def pace(spec, *_):
        timed.append((spec.rule.name, spec.recipe.batch_size, torch.get_num_threads()))
        return Pace(step=1.0, prediction=0.0)

    monkeypatch.setattr(layerlocal.runs.timing, "time_kind", pace)
    torch.set_num_threads(2)
    assert list(forecast_seconds([SPEC, *ALIKE, *OTHER])) == [32, 32, 80, 66, 32, 9, 66, 32]
    assert sorted(timed) == [("bp", 32, 1), ("local-heads", 16, 1), ("local-heads", 32, 1)]
    assert torch.get_num_threads() == 2


def test_kinds_for_which_no_time_is_left_take_as_long_a_flop_as_the_timed_one(monkeypatch):
    """Only the kind with the most work is timed: the other's half a batch takes half as long, bp's one readout less by its FLOPs."""
    monkeypatch.setattr(layerlocal.runs.forecast, "SECONDS", -1.0)
    monkeypatch.setattr(layerlocal.runs.timing, "time_kind", lambda *_: Pace(step=1.0, prediction=0.01))
    found = list(forecast_seconds([SPEC, *ALIKE, *OTHER]))
    assert found[:2] == pytest.approx([32 + 2.2, 32 + 2.2])
    assert found[-2] == pytest.approx(66 / 2 + 2.2)
    bp = look_ahead(OTHER[-1])[1] / look_ahead(SPEC)[1]
    assert 0.9 < bp < 1 and found[-1] == pytest.approx(bp * (32 + 2.2))


def test_a_large_batch_is_timed_in_part_and_counted_whole(monkeypatch):
    sizes = []
    losses = layerlocal.runs.timing.losses_of
    times = iter(float(second) for second in range(100))  # every step and the prediction take a second
    monkeypatch.setattr(layerlocal.runs.timing, "_now", lambda _: next(times))
    monkeypatch.setattr(
        layerlocal.runs.timing, "losses_of", lambda rule, x, y, p: sizes.append(len(x)) or losses(rule, x, y, p)
    )
    monkeypatch.setattr(layerlocal.runs.timing, "MOST_FLOPS", 8 * look_ahead(SPEC)[1])
    [seconds] = forecast_seconds([SPEC])
    assert set(sizes) == {8}
    assert seconds == pytest.approx(32 * 4 * layerlocal.runs.timing.WHOLE_STEP + 220 / 8)


def test_data_smaller_than_a_batch_are_refused_also_where_another_run_of_the_kind_was_timed():
    with pytest.raises(InputError, match=r"batch_size 32 .*20 training samples"):
        list(forecast_seconds([SPEC, changed(data={"num_train": 20, "validation": 0.0})]))


def test_a_spec_that_cannot_be_built_is_refused_and_threads_are_as_before():
    torch.set_num_threads(2)
    with pytest.raises(InputError, match="no_such"):
        list(forecast_seconds([changed(rule=RuleSpec(name="local-heads", options={"no_such": 1}))]))
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("name, options", [("{}:Mine", {}), ("bp", {"of": "{}:Mine"})])
def test_a_rule_of_the_users_own_that_fails_is_one_sentence(tmp_path, name, options):
    file = tmp_path / "mine.py"
    file.write_text(FAILS)
    rule = RuleSpec(name=name.format(file), options={key: value.format(file) for key, value in options.items()})
    with pytest.raises(InputError, match=r"ZeroDivisionError.*`layerlocal check` shows more"):
        list(forecast_seconds([changed(rule=rule)]))
