"""What every benchmark shares as a command: a mistake is one sentence and exit code 2, and the command is noted as it was typed."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from rich.console import Console

from layerlocal.report.canvas import FORMATS
from layerlocal.runs.many import run_many
from layerlocal.runs.pin import pin_all
from layerlocal.runs.progress import ManyRuns
from layerlocal.types import InputError


def typed():
    """``python benchmarks/NAME.py`` with its arguments, for a record beside the numbers."""
    name = sys.argv[0].rpartition("/")[2]
    return shlex.join(["python", f"benchmarks/{name}", *sys.argv[1:]])


def run_main(main):
    """Call it, as the script's last line."""
    try:
        main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def write_drawing(path, drawing):
    """A figure at ``path``, which ends with .svg, and beside it as PNG and PDF."""
    for form in FORMATS:
        Path(path).with_suffix(f".{form}").write_bytes(drawing.to_file(form))


def pinned(specs):
    """Key → run, of the data as they are now: what the runs are called in the store."""
    return dict(zip(specs, pin_all(specs.values()), strict=True))


def finish(specs, store, *, workers=None, threads=1, device="cpu"):
    """Train those that are not done, two runs of one name once, and refuse to go on with fewer than were asked for.

    Args:
        specs: runs of `pinned`, any iterable.
        store: a `RunStore`.
        workers: runs at a time; as many as there are cores.
        threads: of each.
        device: of all.
    """
    store.prepare()
    workers = workers or os.cpu_count()
    todo = list({spec.hash: spec for spec in specs if not store.is_done(spec)}.values())
    with ManyRuns(Console(stderr=True), len(todo), workers=workers) as progress:
        outcome = run_many(
            todo, store, workers=workers, threads=threads, device=device, listen=progress, on_done=progress.done
        )
    if outcome.failed:
        reasons = "; ".join(dict.fromkeys(outcome.failed.values()))
        raise InputError(f"{len(outcome.failed)} runs failed, the others are kept, and nothing is written: {reasons}")


def add_first(parser):
    parser.add_argument(
        "--first", choices=("learned", "cosine"), default="learned", help="first convolution, of all methods"
    )


def first_options(first):
    """Options of a network; the default is not named in runs."""
    return {} if first == "learned" else {"first": first}
