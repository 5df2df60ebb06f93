"""Commands about rules and runs: audit, train, check, list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from layerlocal.cli import complete
from layerlocal.cli.app import (
    AsJson,
    Device,
    DryRun,
    Out,
    Reread,
    Settings,
    Workers,
    app,
    err,
    parse_settings,
    prepare_torch,
    print_forecast,
    refuse_cluster,
    speaks_for_run,
    typed,
)
from layerlocal.cli.config import (
    SpecFile,
    config_spec,
    names_network,
    plan_option,
    refuse_changed,
    refuse_unnamed,
    with_typed,
)
from layerlocal.cli.found import print_summary
from layerlocal.cli.options import (
    Controls,
    NamedNetwork,
    Network,
    Ray,
    Rules,
    SeedList,
    Width,
    chosen_settings,
    names_of,
    seeds_typed,
)
from layerlocal.cli.show import last_losses, print_run

if TYPE_CHECKING:
    from layerlocal.runs.progress import OneRun
    from layerlocal.runs.store import RunRecord, RunStore
    from layerlocal.spec import RunSpec
    from layerlocal.training.loggers import Logger

AUDITED = ("rule", "local", "bp", "bp-deepsup", "gap", "extra_supervision", "price_of_locality")
"""Columns of an audit's table for which a terminal has room; the page has them all."""


@app.command()
def audit(
    context: typer.Context,
    config: Annotated[Path | None, plan_option("audit")] = None,
    rules: Rules = None,
    data: Annotated[
        str, typer.Option("--data", autocompletion=complete.data, help="Name or folder of the real data set.")
    ] = "fashion_mnist_subset",
    size: Annotated[
        str,
        typer.Option(
            "--size",
            "--budget",
            autocompletion=complete.one_of(complete.AUDIT_SIZES),
            help="quick (minutes on 2 cores) or standard (hours).",
        ),
    ] = "quick",
    seeds: SeedList = "3",
    network: Network = None,
    width: Width = None,
    settings: Settings = None,
    controls: Controls = True,
    reread: Reread = False,
    workers: Workers = None,
    ray: Ray = None,
    device: Device = "cpu",
    dry_run: DryRun = False,
    out: Out = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Audit the rules: accuracy beside exact BP and BP-DeepSup twins, class sweep, locality, cost → summary.json and report.html."""
    from layerlocal.experiments.audit.driver import forecast_audit, run_audit

    if device != "cpu":
        prepare_torch(device, None)
    asked: dict[str, Any] = {
        "rules": names_of(rules, "--rules"),
        "data": data,
        "seeds": seeds_typed(seeds),
        "settings": chosen_settings(context, settings, network__name=network, network__width=width),
        "size": size,
        "controls": controls,
        "device": device,
        "reread": reread,
        "workers": workers,
        "console": err,
    }
    if dry_run:
        refuse_cluster(ray)
        print_forecast(forecast_audit(out, **asked), as_json=as_json)
        return
    summary = run_audit(out, **asked, ray=ray, command=typed())
    print_summary(summary, out, as_json=as_json, columns=AUDITED, page=out / "report.html")


@app.command()
def train(
    context: typer.Context,
    config: SpecFile = None,
    rule: Annotated[
        str, typer.Option(autocompletion=complete.rules, help="A name of `layerlocal list rules`, or FILE.py:CLASS.")
    ] = "class-goodness",
    data: Annotated[
        str,
        typer.Option(
            autocompletion=complete.data,
            help="A name of `layerlocal list data`, a folder of Parquet files, images or text, or a file NAME.npz.",
        ),
    ] = "fashion_mnist_subset",
    network: NamedNetwork = None,
    width: Annotated[float | None, typer.Option(help="Factor on the network's widths.")] = None,
    start: Annotated[
        str | None,
        typer.Option(help="Weights that the network starts from: safetensors, .pt2 or a run's folder (network.start)."),
    ] = None,
    blocks: Annotated[
        str | None,
        typer.Option(help="What each block does: frozen, local or joint, e.g. '5 frozen, 2 local, 2 joint'."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training split.")] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Of initial weights, batches, augmentation and the rule's draws.")
    ] = 0,
    settings: Settings = None,
    reread: Reread = False,
    out: Out = Path("runs"),
    device: Device = "cpu",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Torch threads; results are bit-equal for equal counts.")
    ] = None,
    parallel: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete.one_of(("data", "layers")),
            help="Under `torchrun -m layerlocal train`: data (each batch spread over the processes) or layers (a local rule's blocks).",
        ),
    ] = None,
    logger: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete.one_of(complete.LOGGERS),
            help="Also log every epoch: csv (OUT/csv/RUN.csv), tensorboard (OUT/tensorboard/RUN) or wandb (extras of their names).",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train one rule with one seed; the same command finds it finished, or continues it."""
    from layerlocal.runs.progress import OneRun
    from layerlocal.runs.store import RunStore

    speaks = speaks_for_run(parallel)
    chosen = chosen_settings(context, settings, network__width=width, network__start=start, recipe__epochs=epochs)
    prepare_torch(device, threads)
    spec = _asked(context, config, chosen, blocks, RunStore(out), reread)
    log = _logger(logger, spec, RunStore(out)) if logger is not None and speaks else None
    progress = OneRun(err if speaks else Console(quiet=True))
    try:
        with progress:
            record = _run(spec, RunStore(out), device, progress, log, parallel)
    except KeyboardInterrupt:
        err.print(f"interrupted; {_what_is_kept(spec, out, progress)}", style="yellow")
        raise typer.Exit(130) from None
    losses = last_losses(RunStore(out), record)
    if as_json:
        folder = str(out / record.hash)
        print(json.dumps({"store": str(out), "folder": folder, "train_losses": losses, **record.result}))
    else:
        print_run(record.result, losses)
        print(f"kept in {out / record.hash}")
    certificate = record.result.get("locality")  # a run that only searches has none
    if certificate is not None and not certificate["certified"]:
        problems = "; ".join(certificate["problems"])
        err.print(f"warning: not as local as declared: {problems}", style="red", markup=False)


def _asked(
    context: typer.Context,
    config: Path | None,
    chosen: dict[str, Any],
    blocks: str | None,
    store: RunStore,
    reread: bool,
) -> RunSpec:
    """The run that is asked for, of its data and files of code as they are now; one that a spec names and the store has is as it was."""
    from layerlocal.data.task import usual_network
    from layerlocal.runs.pin import pin

    spec = with_typed(config_spec(config), context, chosen)
    if not names_network(config, context, chosen):
        spec = spec.with_settings({"network.name": usual_network(spec.data)})
    if config is None:
        return pin(_with_roles(spec, blocks), reread=reread)
    if blocks is None and store.is_done(spec):
        return spec
    refuse_unnamed(config, spec, context, chosen)
    spec = _with_roles(spec, blocks)
    found = pin(spec, reread=reread)
    refuse_changed(config, spec, found)
    return found


def _with_roles(spec: RunSpec, blocks: str | None) -> RunSpec:
    """The run whose blocks do what ``--blocks`` says."""
    if blocks is None:
        return spec
    from layerlocal.rules.roles import Roles
    from layerlocal.runs.run import build

    roles = Roles.parse(blocks)
    name, options = roles.rule(spec.rule.name, spec.rule.options)
    roles.refuse_other_depth(build(spec)[1].network.depth)
    frozen = {"network.frozen": roles.frozen} if roles.frozen else {}
    rule = spec.rule.model_copy(update={"name": name, "options": options})
    return spec.model_copy(update={"rule": rule}).with_settings(frozen)


def _what_is_kept(spec: RunSpec, out: Path, progress: OneRun) -> str:
    """Of an interrupted run: whole epochs are saved, and nothing else is."""
    from layerlocal.runs.backlog import saved_epoch
    from layerlocal.runs.store import RunStore

    epoch = saved_epoch(RunStore(out), spec)
    if not epoch:
        return f"run {spec.hash} has no whole epoch yet, so nothing of it is saved: the same command begins it anew"
    of = f" of {progress.epochs}" if progress.epochs else ""
    return f"epoch {epoch}{of} of run {spec.hash} is saved: the same command goes on from there"


def _logger(kind: str, spec: RunSpec, store: RunStore) -> Logger | None:
    """The logger of that name; none of a run that is finished already, as that is said."""
    from layerlocal.training.loggers import LOGGERS, make_logger

    if kind in LOGGERS and store.is_done(spec):
        err.print(
            f"the run is finished already, so nothing is logged; its numbers are in {store.root / spec.hash / 'metrics.parquet'}",
            highlight=False,
        )
        return None
    return make_logger(kind, store.root, spec.hash)


def _run(
    spec: RunSpec, store: RunStore, device: str, listen: OneRun, logger: Logger | None, parallel: str | None
) -> RunRecord:
    """The run's record; of several processes only the first has one, the others end here."""
    from layerlocal.runs.run import run_spec

    if parallel is None:
        return run_spec(spec, store, device=device, listen=listen, logger=logger)
    from layerlocal.distributed import run_parallel

    record = run_parallel(spec, store, mode=parallel, device=device, listen=listen, logger=logger)
    if record is None:
        raise typer.Exit()
    return record


@app.command()
def check(
    rule: Annotated[
        str, typer.Argument(autocompletion=complete.rules, help="A name of `layerlocal list rules`, or FILE.py:CLASS.")
    ],
    network: Network = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Hold a rule to the contract: locality measured, scores free of labels, same seed same run, memory flat in depth, ..."""
    from layerlocal.measure.contract import conclude, iterate_checks
    from layerlocal.rules.core.registry import rule_class, tried_on

    prepare_torch("cpu", 1)
    chosen = parse_settings(settings or [])
    of_network = {key: value for key, value in chosen.items() if network and key.startswith("network.")}
    sizes = {key.removeprefix("network."): value for key, value in of_network.items()}
    options = {key.removeprefix("rule."): value for key, value in chosen.items() if key not in of_network}
    console, results = Console(soft_wrap=True), []
    for result in iterate_checks(rule, network=network, network_options=sizes, **options):
        results.append(result)
        if not as_json:
            mark = "[green]✓[/]" if result.passed else "[red]✗[/]" if result.measured else "[dim]?[/]"
            console.print(f"{mark} {result.name}", highlight=False)
            if not result.passed:
                console.print(f"    {result.message}", markup=False, highlight=False)
    passed = all(result.passed for result in results)
    found = conclude(rule, results, network, tried_on(rule_class(rule), options))
    if as_json:
        checks = [vars(result) for result in results]
        print(json.dumps({"rule": rule, "network": network, "passed": passed, "found": found, "checks": checks}))
    else:
        console.print(found, markup=False, highlight=False)
    raise typer.Exit(0 if passed else 1)


@app.command("list")
def list_known(
    what: Annotated[
        str,
        typer.Argument(
            autocompletion=complete.one_of(("rules", "networks", "data", "all")),
            help="rules, networks or data; all where left out.",
        ),
    ] = "all",
    as_json: AsJson = False,
) -> None:
    """List the known rules, networks and data sets."""
    from layerlocal.runs.listing import describe

    found = describe(what)
    if as_json:
        print(json.dumps(found))
        return
    console = Console(highlight=False)
    for title, rows in found.items():
        console.print(f"[bold]{title}[/]")
        width = max(len(row["name"]) for row in rows)
        for row in rows:
            facts = ", ".join(str(value) for key, value in row.items() if key not in ("name", "options") and value)
            console.print(f"  [cyan]{row['name']:<{width}}[/]  {escape(facts)}", soft_wrap=True)
            if row.get("options"):
                console.print(f"  {'':<{width}}  [dim]--set {escape(row['options'])}[/]", soft_wrap=True)
        console.print()
