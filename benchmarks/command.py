"""What every benchmark shares as a command: a mistake is one sentence and exit code 2, and the command is noted as it was typed."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from layerlocal.report.canvas import FORMATS
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
