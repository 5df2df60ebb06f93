"""The command that writes a finished run as a file for deployment."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from layerlocal.cli.app import AsJson, Out, app
from layerlocal.types import InputError


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="A finished run's hash, or its first digits (`layerlocal show`).")],
    onnx: Annotated[Path | None, typer.Option("--onnx", help="Write an ONNX model (extra `onnx`).")] = None,
    torch: Annotated[
        Path | None, typer.Option("--torch", help="Write a torch.export program; torch.export.load reads it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    out: Out = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Write a trained network with its fused readout to a file, raw samples in, scores out, checked against the rule."""
    from layerlocal.exporting import export_run
    from layerlocal.store import RunStore

    files = {kind: path for kind, path in (("onnx", onnx), ("torch", torch)) if path is not None}
    if not files:
        raise InputError("say what to write: --onnx FILE, --torch FILE, or both")
    found = export_run(RunStore(out), run, files, force=force)
    if as_json:
        print(json.dumps([asdict(entry) for entry in found]))
        return
    console = Console(soft_wrap=True)
    for entry in found:
        console.print(f"{entry.path}  {entry.num_bytes / 2**20:.2f} MiB", highlight=False, markup=False)
        console.print(f"  {entry.input} → {entry.output}", highlight=False, markup=False)
        console.print(
            f"  largest difference from the rule's scores {entry.largest_difference:.1e} "
            f"on {entry.checked} samples (scores reach {entry.largest_score:.1f})",
            highlight=False,
            markup=False,
        )
