"""How far a command is, on standard error: runs done, samples/s, accuracy, time left."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from layerlocal.spec import RunSpec
from layerlocal.types import InputError

if TYPE_CHECKING:
    from layerlocal.run import RunEvent
    from layerlocal.train import EpochRecord

__all__ = ["EpochLog", "ManyRuns", "OneRun"]


class _TimeLeft(ProgressColumn):
    """Time left at the mean rate since the start, steadier than rich's own for steps of very different length."""

    def render(self, task: Task) -> Text:
        if not task.completed or task.total is None or task.elapsed is None:
            return Text("time left –")
        seconds = round(task.elapsed * (task.total - task.completed) / task.completed)
        return Text(f"{seconds // 60}:{seconds % 60:02d} left")


def _bar(console: Console) -> Progress:
    columns = [
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        _TimeLeft(),
    ]
    return Progress(*columns, console=console, transient=True, refresh_per_second=4)


class EpochLog:
    """Every epoch's losses, metrics and accuracies as TensorBoard scalars.

    Raises:
        InputError: the extra `tensorboard` is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError("TensorBoard is not installed; pip install 'layerlocal[tensorboard]'") from error
        self.writer = SummaryWriter(str(folder))

    def __call__(self, record: EpochRecord) -> None:
        """Log one epoch."""
        scalars = {f"train_loss/{block}": value for block, value in record.losses.items()} | record.metrics
        scalars |= {"samples_per_s": record.samples_per_s, "learning_rate": record.learning_rate}
        if record.validation is not None:
            scalars["validation_accuracy/fused"] = record.validation.accuracy
            scalars |= {
                f"validation_accuracy/{block}": value for block, value in record.validation.block_accuracies.items()
            }
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, record.epoch)
        self.writer.flush()


class _Display:
    """A bar on a console while a ``with`` block runs."""

    def __init__(self, console: Console, description: str, total: int | None) -> None:
        self.console = console
        self.progress = _bar(console)
        self.task = self.progress.add_task(description, total=total)
        self.drawn = 0.0

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()


class OneRun(_Display):
    """One run: a bar of steps with samples/s, and a line an epoch with fused and per-block validation accuracy."""

    def __init__(self, console: Console, log: EpochLog | None = None) -> None:
        super().__init__(console, "loading data", None)
        self.log = log

    def __call__(self, event: RunEvent) -> None:
        """Take one event of the run."""
        now = time.monotonic()
        if event.record is None and now - self.drawn < 0.2:
            return
        if event.record is not None and self.log is not None:
            self.log(event.record)
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


class ManyRuns(_Display):
    """Many runs: one bar of runs, and what is running now."""

    def __init__(self, console: Console, total: int) -> None:
        super().__init__(console, "starting workers", total)
        self.total = total
        self.ended = 0
        self.failed = 0
        self.start = time.monotonic()
        self.rates: dict[str, tuple[float, float]] = {}

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
        self.ended += 1
        if not self.console.is_terminal and self.ended * 10 // self.total > (self.ended - 1) * 10 // self.total:
            seconds = (time.monotonic() - self.start) * (self.total - self.ended) / self.ended
            self.console.print(f"{self.ended}/{self.total} runs, about {seconds:.0f} s left", highlight=False)
        if reason is not None:
            self.failed += 1
            self.console.print(
                f"failed: {spec.rule.name} seed {spec.seed} ({spec.hash}): {reason}", style="red", markup=False
            )
