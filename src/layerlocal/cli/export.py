"""The command that writes a finished run as a file for deployment."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from layerlocal.cli import complete
from layerlocal.cli.app import AsJson, Out, app
from layerlocal.types import InputError
from layerlocal.words import byte_count

if TYPE_CHECKING:
    from layerlocal.runs.store import RunStore


def _file(text: str) -> Path:
    if not text:
        raise typer.BadParameter("it needs the name of a file")
    return Path(text)


@app.command()
def export(
    run: Annotated[
        str,
        typer.Argument(
            autocompletion=complete.runs, help="A finished run's hash, or its first digits (`layerlocal show`)."
        ),
    ],
    onnx: Annotated[
        Path | None, typer.Option("--onnx", parser=_file, metavar="FILE", help="Write an ONNX model (extra `onnx`).")
    ] = None,
    torch: Annotated[
        Path | None,
        typer.Option(
            "--torch", parser=_file, metavar="FILE", help="Write a torch.export program; torch.export.load reads it."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    trust_rule_files: Annotated[
        bool,
        typer.Option(
            "--trust-rule-files",
            help="Run the Python files that the run names as its rule and network, without asking.",
        ),
    ] = False,
    out: Out = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Write a trained network with its fused readout to a file, raw samples in, scores out, checked against the rule."""
    from layerlocal.runs.export import export_run
    from layerlocal.runs.store import RunStore

    files = {kind: path for kind, path in (("onnx", onnx), ("torch", torch)) if path is not None}
    if not files:
        raise InputError("say what to write: --onnx FILE, --torch FILE, or both")
    store = RunStore(out)
    trusted = trust_rule_files or _trusts(store, run)
    found = export_run(store, run, files, force=force, trust_rule_files=trusted)
    if as_json:
        print(json.dumps([asdict(entry) for entry in found]))
        return
    console = Console(soft_wrap=True)
    for entry in found:
        console.print(f"{entry.path}  {byte_count(entry.num_bytes)}", highlight=False, markup=False)
        console.print(f"  {entry.input} → {entry.output}", highlight=False, markup=False)
        console.print(
            f"  largest difference from the rule's scores {entry.largest_difference:.1e} "
            f"on {entry.checked} samples (scores reach {entry.largest_score:.1f})",
            highlight=False,
            markup=False,
        )


def _trusts(store: RunStore, run: str) -> bool:
    """Whether whoever sits at the terminal lets the run's own files be run; false where there are none, or nobody to ask."""
    from layerlocal.runs.export import files_of

    files = files_of(store.load(run))
    if not files or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    said = (f"the {kind} of this run is the file {file}, which will be run: go on?" for kind, file in files.items())
    return all(typer.confirm(sentence, err=True) for sentence in said)
