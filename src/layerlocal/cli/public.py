"""Commands about results of several people: site, merge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from layerlocal.cli.app import AsJson, Out, app, err, folder
from layerlocal.words import several

Stores = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="STORE...", parser=folder, help="Folders of runs, or of published results.", show_default="runs"
    ),
]


@app.command()
def site(
    stores: Stores = None,
    to: Annotated[
        Path, typer.Option("--to", parser=folder, metavar="FOLDER", help="Where the pages are written.")
    ] = Path("site"),
) -> None:
    """Write the public table as a folder of pages: every method claimed and re-measured, every claim with its verdict, a page for each rule.

    Open `index.html` in a browser. The pages need no server and no network.
    """
    from layerlocal.experiments.public import write_public_site

    written = write_public_site(stores or [Path("runs")], to)
    pages = sum(path.suffix == ".html" for path in written)
    err.print(f"{several(pages, 'page')} written", highlight=False)
    print(written[0])


@app.command()
def merge(
    stores: Annotated[
        list[Path],
        typer.Argument(metavar="STORE...", parser=folder, help="Folders of runs of other people or machines."),
    ],
    out: Out = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Take the finished runs of other stores into yours. Each is checked: its files against their sums, its name against its spec, the machine
    that it names. Nothing of it is executed; text in it is only shown.
    """
    from layerlocal.experiments.merge import merge_stores

    merged = merge_stores(stores, out)
    for one in merged:
        for text in (*one.runs.differ, *one.runs.left_out, *one.left_out):
            err.print(f"warning: {text}", style="yellow", markup=False, highlight=False)
    if as_json:
        print(json.dumps({"out": str(out), "stores": [one.to_dict() for one in merged]}))
        return
    for one in merged:
        runs = one.runs
        parts = [
            f"{several(len(runs.taken), 'run')} taken", f"{len(runs.same)} here already", f"{len(runs.differ)} with other numbers",
            f"{len(runs.left_out)} left out",
        ]  # fmt: skip
        grown = f"; studies that grew: {', '.join(one.plans)}" if one.plans else ""
        print(f"{one.store}: {', '.join(parts)}{grown}")
