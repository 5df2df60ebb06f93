"""What every benchmark shares as a command: a mistake is one sentence and exit code 2, and the command is noted as it was typed."""

from __future__ import annotations

import shlex
import sys

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


def refuse_failures(failed):
    """Numbers of fewer runs than were asked for are not written: hash → reason."""
    if failed:
        reasons = "; ".join(dict.fromkeys(failed.values()))
        raise InputError(f"{len(failed)} runs failed, the others are kept, and nothing is written: {reasons}")


def add_first(parser):
    parser.add_argument(
        "--first", choices=("learned", "cosine"), default="learned", help="first convolution, of all methods"
    )


def first_options(first):
    """Options of a network; the default is not named in runs."""
    return {} if first == "learned" else {"first": first}
