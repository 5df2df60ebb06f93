"""Where the numbers of every epoch go while a run is trained: CSV, TensorBoard, wandb, or an object of the user's own. Imports no torch."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from layerlocal.files import cannot_write, write_atomic
from layerlocal.types import InputError, first_line, unknown_name

if TYPE_CHECKING:
    from layerlocal.training.train import EpochRecord

__all__ = [
    "LOGGERS", "CsvLogger", "Logger", "MetricRow", "TensorBoardLogger", "WandbLogger", "check_logger", "closing", "log_rows", "make_logger",
    "rows_of",
]  # fmt: skip

MetricRow = tuple[int, str, str, float]
"""(epoch, metric, block, value)."""


@runtime_checkable
class Logger(Protocol):
    """What takes the numbers of every epoch: ``fit(..., logger=mine)``, where ``mine`` has these two methods. One logger is of one run.

    Nothing is asked of the device for it: the numbers are read once an epoch in any case.
    """

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Take one epoch.

        Args:
            epoch: from 1. A run that is continued gives its epochs from 1 on again: what was kept of this epoch and later ones is replaced.
            values: name → number: ``train_loss/block0`` (mean over the epoch's steps; ``train_loss/all`` of backprop), what a rule tells of
                itself, such as ``temperature/block0``, ``validation_accuracy/fused`` and ``validation_accuracy/block0`` in [0, 1] where there
                is a validation split, ``validation_nats/...`` of text, ``learning_rate`` at the epoch's end, ``train_seconds`` without
                evaluation, ``samples_per_s``.
        """

    def close(self) -> None:
        """The run is over, or was cut short."""


class CsvLogger:
    """A CSV file with a line an epoch and a column a number; it is whole after every epoch.

    Args:
        path: of the file; one that is there is replaced.

    Raises:
        InputError: it cannot be written.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = _path(path)
        if self.path.is_dir():
            raise InputError(f"{self.path} is a folder; give the name of a CSV file")
        self._lines: dict[int, dict[str, float]] = {}

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write the file anew, this epoch last."""
        self._lines = {number: line for number, line in self._lines.items() if number < epoch}
        self._lines[epoch] = dict(values)
        names = ["epoch", *dict.fromkeys(name for line in self._lines.values() for name in line)]
        text = io.StringIO()
        table = csv.DictWriter(text, names, lineterminator="\n")
        table.writeheader()
        table.writerows({"epoch": number, **line} for number, line in self._lines.items())
        write_atomic(self.path, text.getvalue().encode(), mend="name another file")

    def close(self) -> None:
        """There is nothing to do."""


class TensorBoardLogger:
    """Scalars for TensorBoard, an epoch a step (extra ``tensorboard``).

    Args:
        folder: of the event files; of earlier ones in it TensorBoard shows no epoch that is logged again.

    Raises:
        InputError: the extra is not installed, or the folder cannot be made.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = _path(folder)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError("TensorBoard is not installed; pip install 'layerlocal[tensorboard]'") from error
        _make(self.folder)
        self._open: Callable[..., Any] = SummaryWriter
        self._writer: Any = None

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write this epoch's scalars; the first that comes hides it and later ones in earlier files."""
        if self._writer is None:
            self._writer = self._open(str(self.folder), purge_step=epoch)
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()


class WandbLogger:
    """A run of Weights & Biases, an epoch a step (extra ``wandb``). ``wandb login``, or ``WANDB_MODE=offline``, comes first.

    Args:
        project: of the run.
        run: its name and id there; a run of this id is continued. ``None``: a new one.
        folder: of wandb's own files; ``None``: where wandb puts them.

    Raises:
        InputError: the extra is not installed, or wandb begins no run.
    """

    def __init__(
        self, project: str = "layerlocal", *, run: str | None = None, folder: Path | str | None = None
    ) -> None:
        named: dict[str, Any] = {} if run is None else {"id": run, "name": run, "resume": "allow"}
        if folder is not None:
            named["dir"] = str(_path(folder))
        try:
            import wandb
        except ImportError as error:
            raise InputError("wandb is not installed; pip install 'layerlocal[wandb]'") from error
        if folder is not None:
            _make(_path(folder))
        try:
            self._run: Any = wandb.init(project=project, **named)
        except Exception as error:  # wandb's own kinds: no key, no network
            raise InputError(
                f"wandb begins no run: {first_line(error)}; log in by `wandb login`, or set WANDB_MODE=offline"
            ) from error

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Send this epoch; wandb itself passes over one that it has."""
        self._run.log(dict(values), step=epoch)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


def _path(path: Path | str) -> Path:
    if not isinstance(path, Path | str) or not str(path) or "\0" in str(path):
        raise InputError(f"a log needs the name of a file or folder, got {path!r}")
    return Path(path)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error, "name another folder") from error


# --- by name, for one run of a store ----------------------------------------------------------------------------------


LOGGERS: dict[str, Callable[[Path, str], Logger]] = {
    "csv": lambda out, run: CsvLogger(out / "csv" / f"{run}.csv"),
    "tensorboard": lambda out, run: TensorBoardLogger(out / "tensorboard" / run),
    "wandb": lambda out, run: WandbLogger(run=run, folder=out),
}
"""Name → store, run → its logger: each run has a place of its own."""


def make_logger(kind: str, out: Path, run: str) -> Logger:
    """The logger of a run.

    Args:
        kind: a name of `LOGGERS`.
        out: the run store.
        run: its hash.

    Raises:
        InputError: no such logger, or it cannot be made.
    """
    if kind not in LOGGERS:
        raise unknown_name("logger", kind, LOGGERS)
    return LOGGERS[kind](out, run)


def check_logger(logger: Any) -> None:
    """See that something is a `Logger`, or ``None``.

    Raises:
        InputError: it is not.
    """
    if logger is not None and (isinstance(logger, type) or not isinstance(logger, Logger)):
        raise InputError(
            f"logger must have the methods log(epoch, values) and close(), as CsvLogger('log.csv') has them, got {logger!r}"
        )


@contextlib.contextmanager
def closing(logger: Logger | None) -> Iterator[None]:
    """Close a logger at the end, whatever that is."""
    try:
        yield
    finally:
        if logger is not None:
            logger.close()


# --- what is logged: the rows of metrics.parquet ----------------------------------------------------------------------


def rows_of(record: EpochRecord) -> list[MetricRow]:
    """An epoch's record as rows of the long table."""
    rows: list[MetricRow] = [
        (record.epoch, "train_seconds", "all", record.seconds),
        (record.epoch, "samples_per_s", "all", record.samples_per_s),
        (record.epoch, "learning_rate", "all", record.learning_rate),
    ]
    rows += [(record.epoch, "train_loss", block, value) for block, value in record.losses.items()]
    for name, value in record.metrics.items():
        metric, _, block = name.partition("/")
        rows.append((record.epoch, metric, block or "all", value))
    if record.validation is not None:
        rows.append((record.epoch, "validation_accuracy", "fused", record.validation.accuracy))
        rows += [
            (record.epoch, "validation_accuracy", block, v) for block, v in record.validation.block_accuracies.items()
        ]
        if record.validation.nats is not None:
            nats = {"fused": record.validation.nats, **record.validation.block_nats}
            rows += [(record.epoch, "validation_nats", block, value) for block, value in nats.items()]
    return rows


def log_rows(logger: Logger | None, rows: Iterable[MetricRow]) -> None:
    """Hand on the epochs that these rows are of, in their order; to no logger nothing."""
    if logger is None:
        return
    for epoch, of_epoch in itertools.groupby(rows, key=lambda row: row[0]):
        logger.log(epoch, {_name(metric, block): value for _, metric, block, value in of_epoch})


def _name(metric: str, block: str) -> str:
    """A loss is always of blocks; of any other number that is the whole run's ``all`` says nothing."""
    return metric if block == "all" and metric != "train_loss" else f"{metric}/{block}"
