"""Commands about studies: study, claims, report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from layerlocal.cli import complete
from layerlocal.cli.app import (
    MOST_SEEDS,
    AsJson,
    Device,
    DryRun,
    Out,
    Reread,
    Settings,
    Workers,
    app,
    err,
    prepare_torch,
    print_forecast,
    refuse_cluster,
    typed,
)
from layerlocal.cli.config import plan_option
from layerlocal.cli.found import print_summary
from layerlocal.cli.options import (
    Controls,
    Network,
    Ray,
    Rules,
    SeedList,
    Width,
    chosen_settings,
    names_of,
    seeds_typed,
)
from layerlocal.types import InputError, unknown_name

CLAIM_FORMATS = ("text", "md")
_COLOURS = {"supported": "green", "contradicted": "red", "inconclusive": "yellow", "undertrained": "yellow"}


@app.command()
def study(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            autocompletion=complete.one_of(complete.STUDIES),
            help="A study; all of them are listed where it is left out.",
        ),
    ] = None,
    config: Annotated[Path | None, plan_option("study")] = None,
    size: Annotated[
        str,
        typer.Option(
            autocompletion=complete.one_of(complete.STUDY_SIZES),
            help="quick (10 minutes on 2 cores), medium (an hour), standard (a night) or full (a day on a GPU).",
        ),
    ] = "quick",
    rules: Rules = None,
    seeds: SeedList = "3",
    data: Annotated[
        list[str] | None,
        typer.Option(
            autocompletion=complete.data_list,
            help="Data sets instead of the study's own: names or folders, comma-separated or repeated.",
        ),
    ] = None,
    network: Network = None,
    width: Width = None,
    settings: Settings = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1, max=100_000, help="Of the study best: trials of each method, all at the same points; the size's own."
        ),
    ] = None,
    trial_seeds: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_SEEDS, help="Of the study best: runs of each trial, whose mean counts; 2."),
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(
            help="Of the study best: a dimension that is searched, as of tune, repeatable; learning rate and weight decay."
        ),
    ] = None,
    controls: Controls = True,
    reread: Reread = False,
    workers: Workers = None,
    ray: Ray = None,
    device: Device = "cpu",
    dry_run: DryRun = False,
    out: Out = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Run one study: rules beside their twins under controls that answer one question. Finished runs are never run again."""
    if name is None:
        _list_studies(as_json)
        return
    from layerlocal.experiments.studies.running import forecast_study, run_study

    if device != "cpu":
        prepare_torch(device, None)
    asked: dict[str, Any] = {
        "size": size,
        "rules": names_of(rules, "--rules"),
        "seeds": seeds_typed(seeds),
        "data": names_of(data, "--data"),
        "settings": chosen_settings(context, settings, network__name=network, network__width=width),
        "space": space or [],
        "trials": trials,
        "trial_seeds": trial_seeds,
        "controls": controls,
    }
    here: dict[str, Any] = {"workers": workers, "device": device, "reread": reread, "console": err}
    if dry_run:
        refuse_cluster(ray)
        print_forecast(forecast_study(out, name, **asked, **here), as_json=as_json)
        return
    summary = run_study(out, name, **asked, **here, ray=ray, command=typed())
    print_summary(summary, out, as_json=as_json)


def _list_studies(as_json: bool) -> None:
    from layerlocal.experiments.studies import STUDIES

    if as_json:
        print(
            json.dumps(
                [{"name": found.name, "title": found.title, "question": found.question} for found in STUDIES.values()]
            )
        )
        return
    for found in STUDIES.values():
        Console(soft_wrap=True).print(f"[cyan]{found.name:<12}[/] {escape(found.question)}", highlight=False)


@app.command()
def claims(
    rule: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete.rules, help="Judge the claims for this rule instead of the one each names."
        ),
    ] = None,
    claim: Annotated[
        list[str] | None,
        typer.Option(
            "--claim", autocompletion=complete.claims, help="Only these claims, by id; comma-separated or repeated."
        ),
    ] = None,
    file: Annotated[
        list[Path] | None, typer.Option("--file", help="Claim files (YAML) instead of ours; repeatable.")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="Family-wise error rate; default: that of the claim files.")
    ] = None,
    accuracies: Annotated[bool, typer.Option("--accuracies", help="Published accuracies beside ours instead.")] = False,
    form: Annotated[
        str, typer.Option("--format", autocompletion=complete.one_of(CLAIM_FORMATS), help="text, or md: one table.")
    ] = "text",
    out: Out = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Hold published claims against the finished studies of a store, or list them where there is none: supported, contradicted, inconclusive,
    undertrained, cannot be judged or not run. Whole families are judged together, whichever claims are shown.
    """
    if form not in CLAIM_FORMATS:
        raise unknown_name("format", form, CLAIM_FORMATS)
    if form != "text" and (as_json or accuracies):
        raise InputError(f"--format {form} is the table of claims: leave out {'--json' if as_json else '--accuracies'}")
    from layerlocal.experiments.stored import judge_claims

    if accuracies:
        from layerlocal.experiments.public import beside_published

        if rule or claim or file or alpha is not None:
            raise InputError(
                "--accuracies lists every published accuracy: leave out --rule, --claim, --file and --alpha"
            )
        rows = beside_published(out)
        print(json.dumps(rows)) if as_json else _print_accuracies(rows)
        return
    if rule is not None:
        from layerlocal.experiments.api import refuse_unknown_rule

        refuse_unknown_rule(rule)
    rows, judged, warnings = judge_claims(out, files=file, rule=rule, names=names_of(claim, "--claim"), alpha=alpha)
    for warning in warnings:
        err.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)
    if not out.exists():
        err.print(
            f"there is no store at {out} yet, so nothing is judged: these are the statements",
            highlight=False,
            markup=False,
        )
    if as_json:
        print(json.dumps({"claims_sha256": judged.sha256, "claims": rows}))
        return
    if form == "md":
        from layerlocal.report import render_claims

        print(render_claims(rows, judged.sha256, typed()), end="")
        return
    from layerlocal.report.claims import claim_rows

    title = f"claims {judged.sha256[:12]}, fixed before the results were read"
    if len(rows) < len(judged.claims):
        title += f"; {len(rows)} of {len(judged.claims)} shown, whole families judged"
    console = Console(soft_wrap=True)
    console.print(f"{title}\n", style="italic", highlight=False)
    for view in claim_rows(rows):
        _print_claim(console, view, judged=out.exists())


def _print_claim(console: Console, view: dict[str, Any], *, judged: bool) -> None:
    """Statement and verdict, then what was reported, measured and found, and the command that would find more."""
    kind, sign, verdict = view["verdict"]
    mark, colour = f"{sign} {verdict}", _COLOURS.get(kind)
    head = f"[{colour}]{mark}[/] " if colour else f"{mark} "
    reported = f"reported: {view['reported']}"
    if not judged:
        lines = [f"{reported} ({view['source']})", *view["how"][:1]]
    elif view["measured"][1]:
        measured = [" ".join(view["measured"]), f"n = {view['n']}", view["size"], view["headroom"]]
        lines = [f"{reported}; measured: {', '.join(text for text in measured if text)}", view["reason"]]
    else:
        lines = [reported, view["reason"]]
    if view["command"]:
        lines.append(f"$ {view['command']}")
    console.print(f"{head if judged else ''}[bold]{escape(view['id'])}[/] {escape(view['sentence'])}", highlight=False)
    for line in lines:
        console.print(f"    {line}", style="dim", markup=False, highlight=False)


def _print_accuracies(rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, title="published test accuracies beside ours, %", title_justify="left")
    for column in ("method", "data", "reported", "measured", "ours", "differences of protocol"):
        table.add_column(column, overflow="fold")
    for row in rows:
        measured = (
            "not run" if row["measured"] is None else f"{100 * row['measured']['mean']:.1f} (n={row['measured']['n']})"
        )
        table.add_row(
            escape(str(row["method"])), escape(str(row["data"])), f"{100 * row['reported']:.1f}", measured,
            ": ".join(text for text in (row["size"], row["our_protocol"]) if text), escape(str(row["protocol_differences"] or "")),
        )  # fmt: skip
    Console(width=None if Console().is_terminal else 140).print(table)


@app.command()
def report(
    out: Out = Path("runs"),
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            autocompletion=complete.one_of(("html", "md", "csv", "json", "svg", "png", "pdf")),
            help="html (a page beside the runs, as where left out), or md, csv, json on standard output; "
            "with --figures some of svg, png, pdf (the last two: extra `figures`), all that can be drawn where left out.",
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write every figure of the page into this folder instead, each a file."),
    ] = None,
    file: Annotated[
        list[Path] | None, typer.Option("--claims", help="Claim files (YAML) instead of ours; repeatable.")
    ] = None,
) -> None:
    """Write report.html from everything in a store: claims, audit, studies, runs; trains nothing."""
    from layerlocal.experiments.stored import write_report, write_report_figures
    from layerlocal.report.canvas import FORMATS

    if figures is not None:
        forms = None if form is None else names_of([form], "--format")
        written = write_report_figures(out, figures, forms=forms, claim_files=file)
        print("\n".join(map(str, written)))
        return
    form = "html" if form is None else form
    if set(form.split(",")) <= set(FORMATS):
        raise InputError(f"--format {form} is of figures: say with --figures FOLDER where they go")
    found = write_report(out, form=form, claim_files=file)
    print(found) if isinstance(found, Path) else print(found, end="")
