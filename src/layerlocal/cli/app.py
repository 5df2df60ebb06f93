"""The application: help, options that commands share, and what becomes of errors. Commands register themselves with `app`."""

from __future__ import annotations

import codecs
import errno
import io
import json
import os
import sys
import unicodedata
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from layerlocal import __version__
from layerlocal.cli import complete
from layerlocal.options import MOST_SEEDS
from layerlocal.plugins import own_file_of
from layerlocal.spec import parse_value
from layerlocal.types import InputError, LostProcessError, describe_error, first_line, is_fault, shown
from layerlocal.words import duration, several

__all__ = [
    "MOST_SEEDS",
    "AsJson",
    "Device",
    "DryRun",
    "Out",
    "Reread",
    "Settings",
    "Workers",
    "app",
    "err",
    "folder",
    "main",
    "parse_settings",
    "prepare_torch",
    "print_forecast",
    "refuse_cluster",
    "speaks_for_run",
    "typed",
    "typed_options",
]


KEEPING = ("audit", "cost", "study", "train", "tune")
"""Commands that go on where they were interrupted."""


class _Interruptible(typer.core.TyperGroup):
    """Says how to go on when any command is interrupted (typer itself would end in silence)."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            goes_on = "; finished runs are kept, and the same command goes on with the rest"
            err.print(f"interrupted{goes_on * (ctx.invoked_subcommand in KEEPING)}", style="yellow")
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_Interruptible,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Train networks by layer-local rules beside their backprop twins, and see whether it holds up and what it costs.\n\n"
    "Start with `layerlocal audit`: real images, five rules, a page with every number, in minutes on two cores.",
)
MOST_THREADS = 256
MOST_LETTERS = 900
"""Of a sentence about a mistake; a longer one has a name in it that nobody can read."""
err = Console(stderr=True, soft_wrap=True)


def folder(text: str) -> Path:
    """A parser of options that name a folder: never the name of a file, nor of anything in one."""
    if not text:
        raise typer.BadParameter("it needs the name of a folder; write --out . for the current one")
    text = os.path.expanduser(text)  # a shell does not, in --out=~/runs
    try:
        file = next((path for path in (Path(text), *Path(text).parents) if path.exists() and not path.is_dir()), None)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{shown(text)} cannot be a folder: {getattr(error, 'strerror', error)}") from None
    if file is not None:
        raise typer.BadParameter(f"{file} is a file, not a run store; give the folder that the runs are in")
    return Path(text)


Out = Annotated[
    Path,
    typer.Option(
        "--out", parser=folder, metavar="FOLDER", help="Folder of runs; finished ones in it are never run again."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else.")]


def _refuse_crowd(workers: int | None) -> int | None:
    most = max(MOST_THREADS, 4 * (os.cpu_count() or 1))
    if workers is not None and workers > most:
        raise InputError(f"--workers {workers} is more than this machine can use; give {most} at most")
    return workers


Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, callback=_refuse_crowd, help="Worker processes of one thread each; default: one a core."
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.", autocompletion=complete.devices)]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say how many runs (or measurements) are left to make (of `tune`: all from its beginning) and about how long they take; make none.",
    ),
]
Reread = Annotated[
    bool,
    typer.Option(
        "--reread",
        help="Read the files of the data again, even where their sizes and times of change are those of the decoded copy.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="KEY=VALUE, repeatable: rule.grid=4, recipe.learning_rate=0.01, network.depth=8, data.num_train=2000.",
    ),
]


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit()


def parse_settings(words: list[str], options: Mapping[str, str] | None = None) -> dict[str, Any]:
    """``["rule.grid=4", "data.labels=coarse"]`` → values as JSON where they are JSON, as text otherwise.

    Args:
        words: as typed after ``--set``.
        options: settings that were typed as options of their own too, and these options: `typed_options`.

    Raises:
        InputError: another form, or a key twice.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise InputError(f"--set takes KEY=VALUE, got {shown(word)}; for example --set rule.grid=4")
        if key in found:
            raise InputError(f"--set has {shown(key)} twice; leave one out")
        if options and key in options:
            raise InputError(f"{key} is given twice, by {options[key]} and by --set; leave one out")
        try:
            found[key] = parse_value(text)
        except InputError as error:
            raise InputError(f"--set {shown(key)}: {error}") from None
    return found


SET_BY_OPTIONS = {
    "rule.name": "rule", "data.source": "data", "network.name": "network", "network.width": "width", "recipe.epochs": "epochs", "seed": "seed",
    "network.start": "start", "network.depth": "depth", "network.compile": "compile", "network.fused": "fused", "image_size": "image_size",
    "num_classes": "num_classes", "recipe.batch_size": "batch_size", "recipe.precision": "precision",
}  # fmt: skip
"""Settings and the parameters of a command that mean the same."""
FLAGS = {"num_classes": "classes", "image_size": "image-size", "batch_size": "batch-size"}
"""Parameters that are typed otherwise."""


def typed_options(context: typer.Context) -> dict[str, str]:
    """Settings that were given by an option of their own, and which."""
    given = {name: context.get_parameter_source(name) for name in SET_BY_OPTIONS.values()}
    return {
        key: f"--{FLAGS.get(name, name)}"
        for key, name in SET_BY_OPTIONS.items()
        if getattr(given[name], "name", "") == "COMMANDLINE"
    }


def refuse_many_threads(threads: int | None) -> None:
    """More threads than are ever of use."""
    most = max(MOST_THREADS, 4 * (os.cpu_count() or 1))
    if threads is not None and threads > most:
        raise InputError(f"--threads {threads} is more than this machine can use; give {most} at most")


def prepare_torch(device: str, threads: int | None) -> None:
    """Set the threads, and refuse a device that cannot be used before anything is done."""
    import torch

    from layerlocal.devices import find_device

    refuse_many_threads(threads)
    if threads is not None:
        torch.set_num_threads(threads)
    find_device(device)
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device!r} cannot be used: {first_line(error)}; try --device cpu") from error


def refuse_cluster(ray: str | None) -> None:
    """Where a dry run is asked for."""
    if ray is not None:
        raise InputError("--dry-run times some steps on this machine, which says nothing of a cluster; leave out --ray")


def print_forecast(found: dict[str, Any], *, as_json: bool) -> None:
    """Of a dry run: jobs ``planned``, ``finished`` and perhaps ``left_out``, and the ``seconds`` that the others take on ``workers``.

    A search says what it takes (``size_words``); a study that searches first how many runs are ``trials``; measurements are made one after
    another.
    """
    if as_json:
        print(json.dumps(found))
        return
    planned, finished, apart = found["planned"], found["finished"], found.get("left_out", 0)
    left = planned - finished
    if found.get("of") == "measurements":
        print(f"about {planned} measurements: {finished} kept, {left} to make")
    else:
        what = f" ({found['size_words']})" if "size_words" in found else ""
        what = f", {found['trials']} of them trials" if "trials" in found and not what else what
        print(
            f"{planned} runs{what}: {finished} finished, {left} to train{f'; {apart} more left out' if apart else ''}"
        )
    if left:
        print(_describe_time(found))


def _describe_time(found: dict[str, Any]) -> str:
    """The time of a dry run in words: its ``seconds`` on its ``workers``."""
    if found.get("of") == "measurements":
        return f"about {duration(found['seconds'])}, one after another, a rough estimate"
    workers = several(found["workers"], "worker")
    return f"about {duration(found['seconds'])} on {workers}, a rough estimate, and some seconds a run for what is measured beside training"


_state = {"speaks": True}
"""Of several processes of one run one speaks; every other command speaks always, whatever ``RANK`` the surroundings set."""


def speaks_for_run(parallel: str | None) -> bool:
    """Whether this process is the one that speaks: all do without ``--parallel``, process 0 with it."""
    _state["speaks"] = parallel is None or os.environ.get("RANK", "0") == "0"
    return _state["speaks"]


def typed() -> str:
    """The command line as it was typed, for a record beside the numbers."""
    import shlex

    return shlex.join(["layerlocal", *sys.argv[1:]])


PLAIN = str.maketrans({
    "−": "-", "–": "-", "—": "-", "×": "x", "÷": "/", "·": "*", "✓": "ok", "✗": "NO", "≥": ">=", "≤": "<=", "≈": "~", "±": "+/-", "→": "->",
    "…": "...", "“": '"', "”": '"', "’": "'", "²": "^2", "³": "^3", "Σ": "sum ", "µ": "u",
})  # fmt: skip
"""What stands for a sign on a terminal that cannot show it."""


def _in_plain_signs(error: UnicodeError) -> tuple[str, int]:
    """Of an encoder: signs in letters it knows; a letter without its accent; a byte of a name that is no text as ``\\xff``; else ``?``."""
    assert isinstance(error, UnicodeEncodeError)
    found = []
    for sign in error.object[error.start : error.end]:
        bare = unicodedata.normalize("NFKD", sign.translate(PLAIN)).encode("ascii", "ignore").decode()
        found.append(f"\\x{ord(sign) - 0xDC00:02x}" if "\udc80" <= sign <= "\udcff" else bare or "?")
    return "".join(found), error.end


def _print_anything() -> None:
    """Standard output and error take every text, whatever their encoding can show."""
    codecs.register_error("layerlocal", _in_plain_signs)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="layerlocal")


def main() -> None:
    """Entry point: a mistake of the user is one sentence and exit code 2, never a traceback; a warning is a sentence too."""
    _print_anything()
    _state["speaks"] = True
    warnings.showwarning = lambda message, *_: err.print(
        f"warning: {message}", style="yellow", markup=False, highlight=False
    )
    try:
        _refuse_what_is_no_text(sys.argv[1:])
        _refuse_no_place()
        status = app(prog_name="layerlocal", standalone_mode=False)
        sys.stdout.flush()  # now, while a full disk can still be told in a sentence
    except BaseException as error:
        text = _in_one_sentence(error)
        if text is None:
            raise
        if _state["speaks"] or isinstance(error, LostProcessError):
            text = text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 300]} … {text[-300:]}"
            err.print(f"error: {text}", style="red", markup=False, highlight=False)
        sys.exit(2)
    sys.exit(status or 0)


_UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # typer has no name of its own for it


def _as_sentence(error: Any) -> str:
    """Of a mistake that the parser found: what it says, and where help is."""
    text = " ".join(error.format_message().split()).rstrip(".")
    command = "" if error.ctx is None else error.ctx.command_path.partition(" ")[2]
    return f"{text[:1].lower()}{text[1:]}; see `layerlocal {f'{command} ' if command else ''}--help`"


def _refuse_what_is_no_text(words: list[str]) -> None:
    """A spec is JSON, and a name in it has to be text."""
    for word in words:
        if any("\ud800" <= sign <= "\udfff" for sign in word):
            raise InputError(f"the name {word} is no UTF-8 text, which a run's record needs; rename the file or folder")
        if "\0" in word:
            raise InputError(f"the word {shown(word)} has a NUL character in it; leave it out")


def _refuse_no_place() -> None:
    """Without a working folder nothing that is named can be found, and torch cannot even be imported."""
    try:
        os.getcwd()
    except OSError as error:
        raise InputError(
            f"the folder this command is given in cannot be used ({error.strerror}); cd to one that is there"
        ) from error


def _in_one_sentence(error: BaseException) -> str | None:
    """What to tell the user of what ended a command; ``None`` for an end that is none of theirs."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, _UsageError):
        if type(error).__name__ == "NoArgsIsHelpError":  # it has shown the help
            sys.exit(2)
        return _as_sentence(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EPIPE):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python itself complains when it ends
        if error.errno == errno.EPIPE:
            sys.exit(1)
        where = f"writing {error.filename}" if error.filename else "writing what was to be printed"
        return f"no space left on the disk, {where}; make room and give the same command: finished runs are kept"
    if isinstance(error, MemoryError | RuntimeError):
        from layerlocal.experiments.cost.measure import is_out_of_memory

        if is_out_of_memory(error):
            return f"not enough memory ({first_line(error)}); lower the width, the image size or the batch size"
    if is_fault(error) and own_file_of(error) is not None:
        return f"your own code {describe_error(error)}; `layerlocal check` shows more of a rule"
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.strerror}: {shown(error.filename)}"
    return None
