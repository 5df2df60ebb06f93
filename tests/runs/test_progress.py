"""What a command says of itself while it runs: counts that add up, and a time left that rests on something."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

import layerlocal.runs.progress
from layerlocal.runs.progress import ManyRuns, OneRun, Tally
from layerlocal.runs.run import RunEvent
from layerlocal.spec import RunSpec
from layerlocal.training.evaluate import Evaluation
from layerlocal.training.train import EpochRecord

RECORD = EpochRecord(1, 1.0, 100.0, 0.1, {}, {}, None)


def step(run, number, total=100, record=None, rate=100.0):
    return RunEvent(run, number, total, 1 + (number - 1) // (total // 4), 4, rate, record)


def state(run, name):
    return RunEvent(run, 0, 0, 0, 4, 0.0, state=name)


def finish(tally, run, start, end, first=1):
    """One run from its first step to its end."""
    tally.take(state(run, "started"), start)
    tally.take(step(run, first), start)
    tally.end(run, end, failed=False)


# --- time left --------------------------------------------------------------------------------------------------------


def test_no_time_left_is_shown_before_a_run_finished():
    tally = Tally(4, workers=2)
    assert tally.seconds_left() is None and tally.describe_time_left() == "time left –"
    tally.take(step("a", 50), 10.0)
    tally.end("b", 11.0, failed=True)
    tally.end("was finished before", 11.0, failed=False)
    assert tally.seconds_left() is None


def test_time_left_is_mean_seconds_a_run_times_runs_left_over_workers():
    tally = Tally(12, workers=2)
    finish(tally, "a", 0, 10)
    finish(tally, "b", 10, 30)
    assert tally.seconds_a_run == 15
    assert tally.seconds_left() == 15 * 10 / 2
    assert tally.describe_time_left() == "about 1:15 left at 15 s a run"


def test_the_done_part_of_running_runs_counts_and_the_last_runs_have_no_more_workers_than_runs():
    tally = Tally(3, workers=8)
    finish(tally, "a", 0, 10)
    tally.take(step("b", 1), 10)
    tally.take(step("b", 75), 17)
    tally.take(step("c", 50), 17)
    assert tally.seconds_left() == pytest.approx(10 * (2 - 0.75 - 0.5) / 2)


def test_a_failed_run_is_no_evidence():
    tally = Tally(3, workers=1)
    finish(tally, "a", 0, 10)
    tally.take(step("b", 1), 10)
    tally.end("b", 10.1, failed=True)
    assert tally.seconds_a_run == 10 and tally.seconds_left() == 10


def test_a_run_continued_from_half_way_counts_for_half_a_run():
    """Its second half took 5 s: a whole run takes 10."""
    tally = Tally(3, workers=1)
    finish(tally, "a", 0, 5, first=51)
    assert tally.seconds_a_run == 10 and tally.seconds_left() == 20


def test_a_first_event_after_an_epoch_counts_that_epoch_as_done_here():
    tally = Tally(2, workers=1)
    tally.take(state("a", "started"), 0)
    tally.take(step("a", 50, record=RECORD), 2)  # the second of four epochs: one was done before
    tally.end("a", 6, failed=False)
    assert tally.seconds_a_run == pytest.approx(6 / 0.75)


def test_a_run_that_was_only_measured_again_is_no_evidence():
    tally = Tally(2, workers=1)
    tally.take(state("a", "started"), 0)
    tally.end("a", 1, failed=False)
    assert tally.seconds_left() is None


def test_a_lost_run_keeps_what_its_checkpoint_keeps():
    tally = Tally(3, workers=1)
    finish(tally, "a", 0, 10)
    tally.take(step("b", 1), 10)
    tally.take(step("b", 50, record=RECORD), 15)
    tally.take(step("b", 60), 16)
    tally.take(state("b", "lost"), 17)
    assert tally.seconds_left() == 15 and not tally.running
    tally.take(state("b", "started"), 18)
    assert tally.seconds_left() == 15
    tally.take(step("b", 51), 19)
    assert tally.seconds_left() == pytest.approx(14.9)


def test_where_the_workers_are_not_known_as_many_count_as_were_seen_at_once():
    tally = Tally(8)
    for run in "abc":
        tally.take(step(run, 1), 0)
    for run in "abc":
        tally.end(run, 10, failed=False)
    assert tally.seconds_left() == pytest.approx(10 * 5 / 3, rel=0.02)


# --- counts -----------------------------------------------------------------------------------------------------------


def test_every_run_is_counted_in_one_place():
    tally = Tally(6, workers=3)
    finish(tally, "a", 0, 1)
    tally.end("b", 1, failed=True)
    tally.take(state("c", "started"), 1)
    tally.take(step("d", 3), 1)
    tally.take(state("e", "started"), 1)
    tally.take(state("e", "waiting"), 1)
    assert tally.describe() == "1 done, 2 running, 1 failed, 1 waiting for another process"
    tally.take(state("e", "started"), 2)
    tally.take(state("d", "lost"), 2)
    assert tally.describe() == "1 done, 2 running, 1 failed"


def test_an_event_that_comes_after_the_end_of_its_run_brings_nobody_back():
    tally = Tally(2, workers=2)
    finish(tally, "a", 0, 1)
    tally.take(step("a", 99), 2)
    tally.take(state("a", "waiting"), 2)
    assert tally.describe() == "1 done, 0 running, 0 failed"


# --- what is printed --------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    clock = [0.0]
    monkeypatch.setattr(layerlocal.runs.progress.time, "monotonic", lambda: clock[0])
    return clock


def log():
    return Console(file=io.StringIO(), width=100)


def lines(console):
    return [line for line in console.file.getvalue().splitlines() if line.strip()]


def test_a_log_gets_a_line_a_tenth_of_the_runs(clock):
    console = log()
    progress = ManyRuns(console, 20, workers=1)
    for seed in range(20):
        spec = RunSpec(seed=seed)
        progress(state(spec.hash, "started"))
        progress(step(spec.hash, 1))
        clock[0] += 2.0
        progress.done(spec, "it broke" if seed == 4 else None)
    found = [line for line in lines(console) if not line.startswith("failed")]
    assert len(found) == 10
    assert found[0] == "2/20 runs: 2 done, 0 running, 0 failed, about 0:36 left at 2 s a run"
    assert found[2] == "6/20 runs: 5 done, 0 running, 1 failed, about 0:28 left at 2 s a run"
    assert found[-1] == "20/20 runs: 19 done, 0 running, 1 failed, about 0:00 left at 2 s a run"
    assert f"failed: class-goodness seed 4 ({RunSpec(seed=4).hash}): it broke" in " ".join(lines(console))


def test_a_log_gets_a_line_a_minute_where_runs_are_long(clock):
    console = log()
    progress = ManyRuns(console, 20, workers=2)
    for second in range(0, 200, 10):
        clock[0] = float(second)
        progress(step("a", 1 + second // 10))
    assert lines(console) == ["0/20 runs: 0 done, 1 running, 0 failed, time left –"] * 3


def test_a_terminal_shows_counts_and_time_left(clock):
    console = Console(file=io.StringIO(), width=160, force_terminal=True, color_system=None)
    with ManyRuns(console, 4, workers=2) as progress:
        for seed in range(2):
            progress(state(RunSpec(seed=seed).hash, "started"))
            progress(step(RunSpec(seed=seed).hash, 1, rate=300.0))
        clock[0] = 10.0
        progress.done(RunSpec(seed=0), None)
        progress.done(RunSpec(seed=7), "it broke")
        progress.progress.refresh()
    text = console.file.getvalue()
    assert "runs: 1 done, 1 running, 1 failed  300 samples/s" in text and "2/4" in text
    assert "about 0:10 left at 10 s a run" in text


def test_runs_finished_before_count_as_done_and_promise_nothing(clock):
    console = log()
    progress = ManyRuns(console, 2, workers=1)
    progress.done(RunSpec(seed=0), None)
    assert lines(console) == ["1/2 runs: 1 done, 0 running, 0 failed, time left –"]


def test_one_run_that_waits_for_another_process_says_so_and_then_goes_on(clock):
    console = log()
    with OneRun(console) as progress:
        progress(RunEvent.of_state(RunSpec(), "waiting"))
        validation = Evaluation(0.5, {"block0": 0.25}, 10)
        progress(step("run", 25, record=EpochRecord(1, 1.0, 100.0, 0.1, {}, {}, validation)))
    text = console.file.getvalue()
    assert f"run {RunSpec().hash} is being trained by another process, waiting" in " ".join(text.split())
    assert "validation 50.0%  by block 0: 25.0%" in text


def test_where_nobody_sees_a_bar_one_run_says_every_half_minute_how_far_it_is(clock):
    """A step a second: 20 of 100 steps in 20 s, and so on; the loss is the last that was read."""
    console = log()
    with OneRun(console) as progress:
        for number in range(1, 101):
            clock[0] = number - 1.0
            loss = {20: 2.0, 61: 1.0}.get(number)
            progress(RunEvent("run", number, 100, 1, 1, 7.0, loss=loss))
    lines = console.file.getvalue().strip().splitlines()
    assert lines == [
        "epoch 1/1  step 31/100  loss 2  7 samples/s  1:07 left",
        "epoch 1/1  step 61/100  loss 1  7 samples/s  0:38 left",
        "epoch 1/1  step 91/100  loss 1  7 samples/s  0:09 left",
    ]


def test_an_epoch_without_validation_data_is_said_too_with_its_loss(clock):
    console = log()
    with OneRun(console) as progress:
        progress(step("run", 25, record=EpochRecord(1, 1.0, 100.0, 0.1, {"block0": 1.0, "block1": 2.0}, {}, None)))
    assert console.file.getvalue().strip() == "epoch   1       100 samples/s  loss 1.5"


def test_the_time_left_of_one_run_rests_on_the_steps_done_here(clock):
    """Continued at step 50 of 100; 10 steps take 5 s, so the other 40 take 20."""
    console = log()
    progress = OneRun(console)
    task = progress.progress.tasks[0]
    progress.progress.start_task(progress.task)
    column = progress.progress.columns[-1]
    progress(step("run", 51))
    clock[0] = 5.0
    progress(step("run", 60))
    task.start_time, task._get_time = 0.0, lambda: 5.0
    assert task.fields["before"] == 50 and str(column.render(task)) == "0:20 left"
    task.completed = 50
    assert str(column.render(task)) == "time left –"
