"""The command `layerlocal show`, and how a finished run is printed."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from layerlocal.cli import complete
from layerlocal.cli.app import AsJson, Out, app
from layerlocal.types import InputError, unknown_name
from layerlocal.words import bits, byte_count, percent, rate

if TYPE_CHECKING:
    from layerlocal.runs.store import RunRecord, RunStore
    from layerlocal.spec import RunSpec

__all__ = ["last_losses", "print_run"]


@dataclass(frozen=True, slots=True)
class _Shown:
    """What is shown of a finished run, without the rest of its record: of many runs there would be no room for it."""

    hash: str
    when: datetime
    spec: RunSpec
    accuracy: float
    """On the split that the run is judged on."""
    data_sha256: str | None

    @property
    def rule(self) -> str:
        """As it is shown: of a file its name and class."""
        return self.spec.rule.name.rpartition("/")[2]


SORTS: dict[str, Callable[[_Shown], Any]] = {
    "date": lambda shown: shown.when,
    "accuracy": lambda shown: -shown.accuracy,
    "rule": lambda shown: (shown.rule, shown.spec.seed),
    "data": lambda shown: (shown.spec.data.source, shown.rule, shown.spec.seed),
    "run": lambda shown: shown.hash,
}


@app.command()
def show(
    run: Annotated[
        str | None, typer.Argument(autocompletion=complete.runs, help="A run's hash, or its first digits; every run where left out.")
    ] = None,
    rule: Annotated[str | None, typer.Option(autocompletion=complete.rules, help="Only runs of this rule, and of its twins.")] = None,
    data: Annotated[str | None, typer.Option(autocompletion=complete.data, help="Only runs on this data set: its name, or a folder's.")] = None,
    network: Annotated[str | None, typer.Option(autocompletion=complete.networks, help="Only runs of this network.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Only runs with this seed.")] = None,
    since: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Only runs finished on that day or later.")] = None,
    sort: Annotated[str, typer.Option(autocompletion=complete.one_of(SORTS), help=f"By {', '.join(SORTS)}.")] = "date",
    limit: Annotated[int | None, typer.Option(min=1, help="The last so many; of --sort accuracy the best.")] = None,
    out: Out = Path("runs"),
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show one finished run, or list them, the latest last."""
    from layerlocal.runs.store import RunStore, warn_of

    store = RunStore(out)
    _refuse_published(out)
    if run is not None:
        if any(value is not None for value in (rule, data, network, seed, since, limit)):
            raise InputError("a run's hash names one run: leave out what chooses among many, or the hash")
        _show_one(store, run, as_json)
        return
    if sort not in SORTS:
        raise unknown_name("order", sort, SORTS)
    day = _day(since)
    problems: list[str] = []
    found = [_shown(store, record) for record in store.each(problems)]
    warn_of(problems)
    chosen = [
        shown
        for shown in found
        if _is_named(rule, shown.spec.rule.name, shown.spec.rule.options.get("of"))
        and _is_named(data, shown.spec.data.source)
        and network in (None, shown.spec.network.name)
        and seed in (None, shown.spec.seed)
        and (day is None or shown.when.date() >= day)
    ]
    chosen.sort(key=SORTS[sort])
    if limit is not None:
        chosen = chosen[:limit] if sort == "accuracy" else chosen[-limit:]
    if as_json:
        print(f"[{', '.join(json.dumps(_as_json(store.load(shown.hash), shown.when)) for shown in chosen)}]")
        return
    if not found:
        print(_nothing(out))
        return
    _print_table(chosen)
    if len(chosen) < len(found):
        print(f"{len(chosen)} of {len(found)} runs")


def _refuse_published(out: Path) -> None:
    """Published results have a table of runs, and no run folders to show."""
    from layerlocal.runs.table import published_table

    if (table := published_table(out)) is not None:
        raise InputError(
            f"{out} holds published results, not runs; `layerlocal report --out {out}` shows them, and layerlocal.load_runs({str(out)!r}) gives "
            f"the runs of {table.name} as a table"
        )


def _nothing(out: Path) -> str:
    """Why no run is shown: a store without any, or one of a search, whose trials are kept apart."""
    from layerlocal.experiments.stored import TRIALS

    if any((out / TRIALS).glob("*/DONE")):
        shown = shlex.join(["layerlocal", "show", "--out", str(out / TRIALS)])
        return f"{out} has the trials of a search and no other runs: `{shown}` lists them, `layerlocal report --out {out}` shows the search"
    return f"{out} has no finished runs"


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise InputError(f"--since takes a day as YYYY-MM-DD, got {text!r}") from None


def _shown(store: RunStore, record: RunRecord) -> _Shown:
    from layerlocal.runs.table import data_sha256

    name = "validation_accuracy" if record.spec.judged_on == "validation" else "test_accuracy"
    return _Shown(record.hash, _finished(store, record), record.spec, record.result[name], data_sha256(record))


def _finished(store: RunStore, record: RunRecord) -> datetime:
    done = os.stat(f"{store.root}/{record.hash}/DONE")
    return datetime.fromtimestamp(done.st_mtime).astimezone()


def _as_json(record: RunRecord, when: datetime) -> dict[str, Any]:
    """The result, and beside it what it is of."""
    spec = record.spec.model_dump(mode="json")
    return {**record.result, "finished": when.isoformat(timespec="seconds"), "spec": spec}


def _is_named(asked: str | None, *names: Any) -> bool:
    """By the whole name, or by the last part of a path."""
    short = [str(name).rstrip("/").rpartition("/")[2] for name in names]
    return asked is None or asked in names or asked.rstrip("/").rpartition("/")[2] in short


HEADS = ("run", "finished", "rule", "twin of", "data", "network", "width", "epochs", "seed", "test accuracy")
MOST_LAID_OUT = 500
"""Runs in a table whose columns are folded to the width of the terminal; of more each is one line, however long."""


def _print_table(runs: Sequence[_Shown]) -> None:
    from layerlocal.runs.table import data_names

    called = data_names([_data_row(shown) for shown in runs])
    lines = [_cells(shown, data) for shown, data in zip(runs, called, strict=True)]
    if len(lines) > MOST_LAID_OUT:
        widths = [max(map(len, column)) for column in zip(HEADS, *lines, strict=True)]
        for line in (HEADS, *lines):
            print("  ".join(map(str.ljust, line, widths)).rstrip())
        return
    table = Table(box=None)
    for name in HEADS:
        table.add_column(name, no_wrap=name in ("run", "finished"), overflow="fold")
    for line in lines:
        table.add_row(*map(escape, line))
    Console(width=None if Console().is_terminal else 160).print(table)


def _data_row(shown: _Shown) -> dict[str, Any]:
    """What of a run's row says what its data are called."""
    data = shown.spec.data
    asked = {"data": data.source, "labels": data.labels, "image_size": data.image_size, "draw": data.draw}
    return asked | {"data_sha256": shown.data_sha256}


def _cells(shown: _Shown, data: str) -> tuple[str, ...]:
    spec = shown.spec
    judged = " (validation)" if spec.judged_on == "validation" else ""
    return (
        shown.hash, f"{shown.when:%Y-%m-%d %H:%M}", shown.rule, str(spec.rule.options.get("of") or "").rpartition("/")[2], data,
        spec.network.name, f"{spec.network.width:g}", f"{spec.recipe.steps} steps" if spec.recipe.steps else str(spec.recipe.epochs),
        str(spec.seed), f"{shown.accuracy:.1%}{judged}",
    )  # fmt: skip


def _show_one(store: RunStore, run: str, as_json: bool) -> None:
    from layerlocal.command import command_of
    from layerlocal.runs.table import data_names, run_row

    record = store.load(run)
    when = _finished(store, record)
    if as_json:
        print(json.dumps(_as_json(record, when)))
        return
    print_run(record.result, last_losses(store, record))
    [data] = data_names([run_row(record)])
    print(f"finished {when:%Y-%m-%d %H:%M}, kept in {store.root / record.hash}; data {data}")
    print(json.dumps({"spec": record.spec.model_dump(mode="json"), "env": record.env}, indent=1))
    print(command_of(record.spec))


def last_losses(store: RunStore, record: RunRecord) -> dict[str, float]:
    """Block → its mean training loss in the last epoch."""
    rows = [row for row in store.metrics(record.hash).to_pylist() if row["metric"] == "train_loss"]
    last = max((row["epoch"] for row in rows), default=0)
    return {row["block"]: row["value"] for row in rows if row["epoch"] == last}


def _accuracy(result: dict[str, Any]) -> str:
    """On the test split, or of a run of a search, which does not open it, on the validation split."""
    if result.get("judged_on") == "validation":
        return f"{percent(result['validation_accuracy'])} (validation)"
    return percent(result["test_accuracy"])


def print_run(result: dict[str, Any], losses: dict[str, float]) -> None:
    """A finished run in lines: accuracy, training loss, blocks, locality, speed and memory."""
    console = Console(soft_wrap=True)

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    trained = "training loss in the last epoch  " + "  ".join(f"{name} {value:.4g}" for name, value in losses.items())
    if result.get("judged_on") == "validation":
        say(f"run {result['run']}  {result['rule']}: {_accuracy(result)}")
        if losses:
            say(trained)
        return
    certificate = result["locality"]
    verdict = "certified" if certificate["certified"] else f"NOT as declared: {'; '.join(certificate['problems'])}"
    say(f"run {result['run']}  {result['rule']}")
    say(
        f"test accuracy {percent(result['test_accuracy'], 2)} of {result['num_test']} (chance {percent(result['chance'])})"
    )
    say("by block  " + "  ".join(f"{name} {percent(value)}" for name, value in result["block_accuracies"].items()))
    if "test_nats" in result:
        blocks = "  ".join(f"{name} {bits(value)}" for name, value in result["block_nats"].items())
        say(f"test loss {result['test_nats']:.3f} nats, {bits(result['test_nats'])} a byte  {blocks}")
    if losses:
        say(trained)
    say(f"locality {certificate['measured']} ({verdict})")
    saved = f"peak saved activations {byte_count(result['peak_saved_bytes'])} a batch"
    say(f"{rate(result['samples_per_s'])} samples/s, {saved}")
