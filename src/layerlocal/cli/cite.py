"""The command `layerlocal cite`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from layerlocal.cli import complete
from layerlocal.cli.app import Out, app
from layerlocal.cli.options import names_of
from layerlocal.types import InputError, unknown_name

FORMATS = ("text", "bibtex")


@app.command()
def cite(
    context: typer.Context,
    rules: Annotated[
        list[str] | None,
        typer.Option(
            "--rule", "--rules", autocompletion=complete.rules_list, help="Rules instead of a store: names or FILE.py:CLASS, comma-separated."
        ),
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(autocompletion=complete.data_list, help="Data sets instead of a store, comma-separated or repeated.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every known rule and data set instead of a store.")] = False,
    form: Annotated[str, typer.Option("--format", autocompletion=complete.one_of(FORMATS), help="text or bibtex.")] = "text",
    out: Out = Path("runs"),
) -> None:  # fmt: skip
    """Name the papers of the rules and data that a store's runs used, and how to cite layerlocal."""
    if form not in FORMATS:
        raise unknown_name("format", form, FORMATS)
    from layerlocal.runs import cite as citing

    asked = names_of(rules, "--rule"), names_of(data, "--data")
    typed_out = getattr(context.get_parameter_source("out"), "name", "") == "COMMANDLINE"
    ways = {"--rule or --data": bool(asked[0] or asked[1]), "--all": everything, "--out": typed_out}
    if sum(ways.values()) > 1:
        raise InputError(
            f"{' and '.join(way for way, given in ways.items() if given)} are different things to cite; give one"
        )
    if any(asked):
        citing.refuse_unknown(*asked)
    else:
        asked = citing.known_names() if everything else citing.used_in(out)
    found = citing.cite(*asked, run_files=bool(rules))
    print({"text": citing.render_text, "bibtex": citing.render_bibtex}[form](found), end="")
