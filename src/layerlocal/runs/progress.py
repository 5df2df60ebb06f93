"""How far a command is, on standard error: runs done, samples/s, accuracy, time left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from layerlocal.spec import RunSpec
from layerlocal.words import bits, duration

if TYPE_CHECKING:
    from layerlocal.runs.run import RunEvent
    from layerlocal.training.train import EpochRecord

__all__ = ["ManyRuns", "OneRun", "Tally", "TaskInWork", "Tasks"]


LOG_SECONDS = 60.0
"""Where nobody sees a bar move, a line this often, or a line a tenth of the runs."""
STEP_SECONDS = 30.0
"""Of one run, where nobody sees a bar move, a line this often at the most."""


def _time_left(elapsed: float, completed: float, total: float, before: float) -> str:
    """At the mean rate since the start; what was done ``before`` took none of that time."""
    return f"{duration(elapsed * (total - completed) / (completed - before))} left"


class _TimeLeft(ProgressColumn):
    """Time left at the mean rate since the start, steadier than rich's own for steps of very different length.

    What was done before the start (the task's field ``before``) took none of that time.
    """

    def render(self, task: Task) -> Text:
        before = task.fields.get("before", 0)
        if task.completed <= before or task.total is None or task.elapsed is None:
            return Text("time left –")
        return Text(_time_left(task.elapsed, task.completed, task.total, before))


class _TimeLeftOfRuns(ProgressColumn):
    """What a `Tally` says."""

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self.tally = tally

    def render(self, task: Task) -> Text:
        return Text(self.tally.describe_time_left())


def _bar(console: Console, time_left: ProgressColumn) -> Progress:
    columns = [TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn()]
    return Progress(*columns, time_left, console=console, transient=True, refresh_per_second=4)


class _Display:
    """A bar on a console while a ``with`` block runs."""

    def __init__(self, console: Console, description: str, total: int | None, time_left: ProgressColumn) -> None:
        self.console = console
        self.progress = _bar(console, time_left)
        self.task = self.progress.add_task(description, total=total)
        self.drawn = 0.0

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()


class OneRun(_Display):
    """One run: a bar of steps with samples/s, and a line an epoch with loss, fused and per-block validation accuracy.

    Where nobody sees a bar, a line of how far it is every `STEP_SECONDS` too.

    Attributes:
        epochs: of the whole run; 0 before it is known.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console, "loading data", None, _TimeLeft())
        self.before: int | None = None
        self.begun = self.said = time.monotonic()
        self.loss: float | None = None
        self.epochs = 0

    def __call__(self, event: RunEvent) -> None:
        """Take one event of the run."""
        now = time.monotonic()
        if event.state != "training":
            self._say_state(event)
            return
        self._count(event, now)
        if event.record is None and not self.console.is_terminal and now - self.said >= STEP_SECONDS:
            self._say_step(event, now)
        if event.record is None and now - self.drawn < 0.2:
            return
        self.drawn = now
        text = f"epoch {event.epoch}/{event.epochs}  {_loss(self.loss)}{event.samples_per_s:,.0f} samples/s"
        self.progress.update(
            self.task, completed=event.step, total=event.total_steps, description=text, before=self.before
        )
        if event.record is not None:
            self._say_epoch(event, event.record, now)

    def _count(self, event: RunEvent, now: float) -> None:
        if self.before is None:
            self.before = event.step - 1 if event.record is None else 0
            self.begun = now
        self.loss = event.loss if event.loss is not None else self.loss
        self.epochs = event.epochs

    def _say_step(self, event: RunEvent, now: float) -> None:
        self.said = now
        done = max(1, event.step - (self.before or 0))
        left = _time_left(now - self.begun, done, event.total_steps - (self.before or 0), 0)
        text = f"epoch {event.epoch}/{event.epochs}  step {event.step}/{event.total_steps}  {_loss(self.loss)}"
        self.console.print(f"{text}{event.samples_per_s:,.0f} samples/s  {left}", highlight=False, soft_wrap=True)

    def _say_epoch(self, event: RunEvent, record: EpochRecord, now: float) -> None:
        self.said = now
        losses = list(record.losses.values())
        self.loss = sum(losses) / len(losses) if losses else None
        text = f"epoch {event.epoch:>3}  {event.samples_per_s:>8,.0f} samples/s  {_loss(self.loss)}".rstrip()
        self.loss = None  # the next epoch has one of its own
        if event.validation is not None:
            blocks = "  ".join(
                f"{name.removeprefix('block')}: {value:.1%}"
                for name, value in event.validation.block_accuracies.items()
            )
            loss = "" if event.validation.nats is None else f"  {bits(event.validation.nats)} a byte"
            text += f"  validation {event.validation.accuracy:.1%}{loss}  by block {blocks}"
        self.console.print(text, highlight=False)

    def _say_state(self, event: RunEvent) -> None:
        if event.state == "waiting":
            text = f"run {event.run} is being trained by another process, waiting"
            self.progress.update(self.task, description="waiting")
            self.console.print(text, highlight=False)


def _loss(value: float | None) -> str:
    """The mean over blocks, where it is known."""
    return "" if value is None else f"loss {value:.4g}  "


@dataclass
class _Running:
    """A run in work: since when, and how far it was then and is now, as parts of the whole run."""

    since: float
    before: float | None = None
    now: float = 0.0
    samples_per_s: float = 0.0


class Tally:
    """Counts of many runs and the time they will take; a pure function of what it is told and when.

    Args:
        total: runs.
        workers: runs at once; ``None``: the most that were seen at once.
    """

    def __init__(self, total: int, workers: int | None = None) -> None:
        self.total = total
        self.workers = workers
        self.done = 0
        self.failed = 0
        self.running: dict[str, _Running] = {}
        self.waiting: set[str] = set()
        self._ended: set[str] = set()
        self._kept: dict[str, float] = {}
        self._most = 1
        self._spent_seconds = 0.0
        self._spent_runs = 0.0

    def take(self, event: RunEvent, now: float) -> None:
        """Take one event; those of runs that ended come too late and say nothing."""
        run = event.run
        if run in self._ended:
            return
        if event.state == "waiting":
            self.waiting.add(run)
        if event.state in ("waiting", "lost"):
            self.running.pop(run, None)
            return
        self.waiting.discard(run)
        entry = self.running.setdefault(run, _Running(now, now=self._kept.get(run, 0.0)))
        self._most = max(self._most, len(self.running))
        if event.total_steps:
            self._advance(entry, event)

    def _advance(self, entry: _Running, event: RunEvent) -> None:
        entry.now = event.step / event.total_steps
        entry.samples_per_s = event.samples_per_s
        if entry.before is None:  # the first step of this worker's: all before it came from a checkpoint
            steps = event.step // event.epoch if event.record is not None else 1
            entry.before = (event.step - steps) / event.total_steps
        if event.record is not None:
            self._kept[event.run] = entry.now

    def end(self, run: str, now: float, *, failed: bool) -> None:
        """A run ended; one that finished here is evidence of how long a run takes."""
        self._ended.add(run)
        self.waiting.discard(run)
        entry = self.running.pop(run, None)
        self.failed += failed
        self.done += not failed
        if entry is not None and entry.before is not None and not failed:
            self._spent_seconds += now - entry.since
            self._spent_runs += 1 - entry.before

    @property
    def ended(self) -> int:
        """Runs that are done or failed."""
        return self.done + self.failed

    @property
    def seconds_a_run(self) -> float | None:
        """Mean seconds of a whole run among those finished here, parts from checkpoints aside; ``None`` before there is one."""
        return self._spent_seconds / self._spent_runs if self._spent_runs > 0 else None

    def seconds_left(self) -> float | None:
        """Mean seconds a run, times what is left in runs, over the workers that share it; ``None`` before there is evidence."""
        mean, left = self.seconds_a_run, self.total - self.ended
        if mean is None:
            return None
        begun = sum(entry.now for entry in self.running.values())
        begun += sum(kept for run, kept in self._kept.items() if run not in self.running and run not in self._ended)
        return mean * max(0.0, left - begun) / max(1, min(self.workers or self._most, left))

    def describe(self) -> str:
        """The counts in words."""
        waiting = f", {len(self.waiting)} waiting for another process" if self.waiting else ""
        return f"{self.done} done, {len(self.running)} running, {self.failed} failed{waiting}"

    def describe_time_left(self) -> str:
        """The time left and what it rests on, or that nothing is known of it yet."""
        seconds, mean = self.seconds_left(), self.seconds_a_run
        if seconds is None or mean is None:
            return "time left –"
        return f"about {duration(seconds)} left at {mean:.3g} s a run"


class ManyRuns(_Display):
    """Many runs, on one machine or many: a bar of runs done, running, failed, and the time left; where nobody sees a bar, lines.

    Args:
        console: where it is shown.
        total: runs.
        workers: runs at once, where it is known.
    """

    def __init__(self, console: Console, total: int, workers: int | None = None) -> None:
        self.tally = Tally(total, workers)
        super().__init__(console, "starting workers", total, _TimeLeftOfRuns(self.tally))
        self.said = time.monotonic()

    def __call__(self, event: RunEvent) -> None:
        """Take one event of any run."""
        now = time.monotonic()
        self.tally.take(event, now)
        if now - self.drawn >= 0.3 or event.state != "training":
            self._draw(now)
        if now - self.said >= LOG_SECONDS:
            self._say(now)

    def done(self, spec: RunSpec, reason: str | None) -> None:
        """One run ended."""
        now = time.monotonic()
        self.tally.end(spec.hash, now, failed=reason is not None)
        self._draw(now)
        ended, total = self.tally.ended, max(1, self.tally.total)
        if ended * 10 // total > (ended - 1) * 10 // total:
            self._say(now)
        if reason is not None:
            self.console.print(
                f"failed: {spec.rule.name} seed {spec.seed} ({spec.hash}): {reason}", style="red", markup=False
            )

    def _draw(self, now: float) -> None:
        self.drawn = now
        rate = sum(entry.samples_per_s for entry in self.tally.running.values())
        text = f"runs: {self.tally.describe()}  {rate:,.0f} samples/s"
        self.progress.update(self.task, description=text, completed=self.tally.ended)

    def _say(self, now: float) -> None:
        if not self.console.is_terminal:
            self.said = now
            text = f"{self.tally.ended}/{self.tally.total} runs: {self.tally.describe()}, {self.tally.describe_time_left()}"
            self.console.print(text, highlight=False, soft_wrap=True)


@dataclass
class TaskInWork:
    """One of `Tasks`; ``before`` says that it had been done before and took no time."""

    label: str
    before: bool


class Tasks(_Display):
    """Tasks of unlike kind, one after another: which one is in work, how far all are, the time left; where nobody sees a bar, lines.

    Args:
        console: where it is shown.
        total: work of all tasks together, in any unit, about.
    """

    def __init__(self, console: Console, total: int) -> None:
        super().__init__(console, "starting", total, _TimeLeft())
        self.total, self.ended, self.before = total, 0, 0
        self.begun = time.monotonic()

    @contextmanager
    def running(self, label: str, work: int = 1, *, before: bool = False) -> Iterator[TaskInWork]:
        """One task, from its begin to its end."""
        found = TaskInWork(label, before)
        self.progress.update(self.task, description=label)
        yield found
        self.ended += work
        self.total = max(self.total, self.ended)
        self.before += work * found.before
        self.progress.update(self.task, completed=self.ended, total=self.total, before=self.before)
        if not found.before and not self.console.is_terminal:
            spent, made = time.monotonic() - self.begun, self.ended - self.before
            left = duration(spent / made * (self.total - self.ended))
            text = f"{self.ended / self.total:.0%} {label} ({left} left)"
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)
