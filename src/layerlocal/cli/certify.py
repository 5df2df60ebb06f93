"""The command `layerlocal certify`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from layerlocal.cli.app import AsJson, app
from layerlocal.types import InputError
from layerlocal.words import byte_count, count, plain, ratio, shorten

FORMS = ("svg", "png", "pdf")


def _file(text: str) -> Path:
    if not text:
        raise typer.BadParameter("it needs the name of a file")
    return Path(text)


@app.command()
def certify(
    step: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py:FUNCTION",
            help="A function without arguments that returns (step, groups) or (step, groups, state).",
        ),
    ],
    svg: Annotated[
        Path | None, typer.Option("--svg", parser=_file, metavar="FILE", help="Write a badge for a README.")
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture", parser=_file, metavar="FILE", help="Draw who is coupled to whom: a .svg, .png or .pdf."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Certify any training step: how far its credit travels, what it keeps for backward, what it costs.

    The step is yours: plain PyTorch, Hugging Face, several optimizers. It is run dozens of times on the batch that it holds; your model is put
    back bit by bit. What it prints goes to standard error. In `mine.py`:

    ```
    def tiny():
        blocks = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
        optimizer = torch.optim.Adam(blocks.parameters())
        x = torch.randn(32, 8)

        def step():
            h = x
            for block in blocks:
                h = block(h.detach())
                h.square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

        return step, blocks
    ```

    Then: `layerlocal certify mine.py:tiny --svg badge.svg`

    `groups` are modules, or lists of modules and parameters, in forward order. `state` lists what else has a `state_dict`; what the step
    holds in its closure is found. What is seen and what is not: docs/certify.md.
    """
    form = _form(picture)
    from layerlocal.files import write_atomic
    from layerlocal.measure.certify import certify_file

    with _output_to_error():
        found = certify_file(step)
    if svg is not None:
        from layerlocal.report import badge_svg

        write_atomic(svg, badge_svg(found).encode(), mend="name another file with --svg")
    if picture is not None:
        from layerlocal.report import certificate_drawing

        write_atomic(picture, certificate_drawing(found).to_file(form), mend="name another file with --picture")
    if as_json:
        print(json.dumps(found))
        return
    console = Console(soft_wrap=True)
    for line in _lines(found):
        console.print(line, markup=False, highlight=False)
    for kind, path in (("badge", svg), ("picture", picture)):
        if path is not None:
            console.print(f"{kind}: {path}", markup=False, highlight=False)


@contextmanager
def _output_to_error() -> Iterator[None]:
    """What the step prints, from Python or from below, goes to standard error: standard output is the certificate's alone."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # closed: there is nothing to keep clean
        kept = None
    try:
        with redirect_stdout(sys.stderr):
            if kept is not None:
                with suppress(OSError):  # standard error is closed
                    os.dup2(2, 1)
            yield
    finally:
        sys.stdout.flush()
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)


def _form(picture: Path | None) -> str:
    """The format that a picture's name asks for.

    Raises:
        InputError: another one, or one that needs an extra.
    """
    from layerlocal.report.canvas import refuse_undrawable

    form = "svg" if picture is None else picture.suffix.removeprefix(".").lower()
    if form not in FORMS:
        raise InputError(f"--picture must name a .svg, .png or .pdf, got {str(picture)!r}")
    refuse_undrawable(form)
    return form


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield found["verdict"]
    yield from (f"  {sentence}" for sentence in found["sentences"] if sentence not in found["verdict"])
    yield ""
    yield from _matrix(found)
    yield ""
    saved, flops = found["saved_bytes_vs_end_to_end"], found["flops_vs_end_to_end"]
    beside = "" if saved is None else f", {ratio(saved)} of its end-to-end twin"
    yield f"peak saved activations {byte_count(found['peak_saved_bytes'])}{beside}"
    beside = "" if flops is None else f", {ratio(flops)} of its end-to-end twin"
    yield f"FLOPs a step {count(found['flops_per_step'])}{beside}"
    repeated = "bit by bit" if found["repeats"] else f"to {plain(100 * found['tolerance'], 2)} % of an update"
    yield f"the step repeats itself {repeated}; {found['steps']} calls, {plain(found['seconds'], 2)} s"
    yield found["limits"]


def _matrix(found: dict[str, Any]) -> Iterator[str]:
    """Who changes when a row is perturbed: ``x`` backwards, ``l`` backwards and a step later, ``+`` forwards or itself."""
    names = [shorten(name, 16) for name in found["groups"]]
    wide, n = max(map(len, names)), range(len(names))
    yield f"{'perturbed':<{max(wide, 9)}}  whose update changes (x: an earlier group's, l: a step later only)"
    for j in n:
        signs = [
            ("x" if i < j else "+") if found["coupling"][j][i] else "l" if i < j and found["coupling_later"][j][i] else "·" for i in n
        ]  # fmt: skip
        yield f"{names[j]:<{max(wide, 9)}}  {' '.join(signs)}"
