"""How far a command is, on standard error: runs done, samples/s, accuracy, time left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from layerlocal.spec import RunSpec

if TYPE_CHECKING:
    from layerlocal.run import RunEvent

__all__ = ["ManyRuns", "OneRun"]


class _TimeLeft(ProgressColumn):
    """Time left at the mean rate since the start, steadier than rich's own for steps of very different length."""

    def render(self, task: Task) -> Text:
        if not task.completed or task.total is None or task.elapsed is None:
            return Text("time left –")
        seconds = round(task.elapsed * (task.total - task.completed) / task.completed)
        return Text(f"{seconds // 60}:{seconds % 60:02d} left")


def _bar(console: Console, *columns: ProgressColumn) -> Progress:
    return Progress(*columns, BarColumn(bar_width=24), *_tail(), console=console, transient=False, refresh_per_second=4)


def _tail() -> list[ProgressColumn]:
    return [MofNCompleteColumn(), TimeElapsedColumn(), _TimeLeft()]


class OneRun:
    """One run: a bar of steps with samples/s, and a line an epoch with fused and per-block validation accuracy."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = _bar(console, TextColumn("{task.description}"))
        self.task = self.progress.add_task("starting", total=None)
        self.drawn = 0.0

    def __enter__(self) -> OneRun:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def __call__(self, event: RunEvent) -> None:
        """Take one event of the run."""
        now = time.monotonic()
        if event.validation is None and now - self.drawn < 0.2:
            return
        self.drawn = now
        text = f"epoch {event.epoch}/{event.epochs}  {event.samples_per_s:,.0f} samples/s"
        self.progress.update(self.task, completed=event.step, total=event.total_steps, description=text)
        if event.validation is not None:
            blocks = "  ".join(
                f"{name.removeprefix('block')}: {value:.1%}"
                for name, value in event.validation.block_accuracies.items()
            )
            self.console.print(
                f"epoch {event.epoch:>3}  {event.samples_per_s:>8,.0f} samples/s  validation {event.validation.accuracy:.1%}  by block {blocks}",
                highlight=False,
            )


class ManyRuns:
    """Many runs: one bar of runs, and what is running now."""

    def __init__(self, console: Console, total: int) -> None:
        self.console = console
        self.progress = _bar(console, TextColumn("{task.description}"))
        self.task = self.progress.add_task("starting workers", total=total)
        self.failed = 0
        self.rates: dict[str, tuple[float, float]] = {}
        self.drawn = 0.0

    def __enter__(self) -> ManyRuns:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def __call__(self, event: RunEvent) -> None:
        """Take one event of any run."""
        now = time.monotonic()
        self.rates[event.run] = (now, event.samples_per_s)
        if now - self.drawn < 0.3:
            return
        self.drawn = now
        self.rates = {run: (when, rate) for run, (when, rate) in self.rates.items() if now - when < 3}
        total = sum(rate for _, rate in self.rates.values())
        failed = f", {self.failed} failed" if self.failed else ""
        self.progress.update(self.task, description=f"runs ({len(self.rates)} running{failed})  {total:,.0f} samples/s")

    def done(self, spec: RunSpec, reason: str | None) -> None:
        """One run ended."""
        self.progress.advance(self.task)
        if reason is not None:
            self.failed += 1
            self.console.print(
                f"failed: {spec.rule.name} seed {spec.seed} ({spec.hash}): {reason}", style="red", markup=False
            )
