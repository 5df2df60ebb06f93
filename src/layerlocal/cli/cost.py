"""The command about cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from layerlocal.cli import complete
from layerlocal.cli.app import AsJson, Device, DryRun, Out, Settings, app, err, prepare_torch, print_forecast, typed
from layerlocal.cli.options import Network, Width, chosen_settings, names_of
from layerlocal.words import ratio_estimate

_LOCKS = {"forward": "F", "update": "U", "backward": "B", "weight_transport": "W", "labels_everywhere": "L"}
_PROCESS_MEMORY = {"resident_bytes": "process memory", "allocated_bytes": "CUDA memory"}


@app.command()
def cost(
    context: typer.Context,
    size: Annotated[
        str,
        typer.Option(
            autocompletion=complete.one_of(complete.COST_SIZES),
            help="quick (10 minutes on 2 cores), standard (an hour) or full (a GPU: ResNet-18 and VGG-16 at 224 px, 8 GB).",
        ),
    ] = "quick",
    rules: Annotated[
        list[str] | None,
        typer.Option(
            "--rules",
            "--rule",
            autocompletion=complete.rules_list,
            help="Beside bp and bp-deepsup; names or FILE.py:CLASS, comma-separated; default dtg-ff,ff.",
        ),
    ] = None,
    modes: Annotated[
        list[str] | None,
        typer.Option(
            "--modes",
            help="plain, micro-N (a batch in N parts), checkpointing, step-per-block; comma-separated; default all.",
        ),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            "--part",
            autocompletion=complete.several_of(complete.PARTS),
            help="methods, scaling, roofline, budget, distribution; comma-separated; default all.",
        ),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="Budget of the part budget: a number with KB, MB, GB, KiB, MiB or GiB.")
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(min=1, help="Fresh processes of each method's memory; default: 3."),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Rounds in which methods take turns (methods, distribution); default: the size's.",
        ),
    ] = None,
    network: Network = None,
    width: Width = None,
    depth: Annotated[int | None, typer.Option(min=1, help="Its blocks.")] = None,
    image_size: Annotated[int | None, typer.Option(min=1, help="Side of the images in pixels.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Samples a step.")] = None,
    num_classes: Annotated[int | None, typer.Option("--classes", min=2, help="Number of classes.")] = None,
    precision: Annotated[
        str | None, typer.Option(autocompletion=complete.one_of(("float32", "bf16")), help="float32 or bf16.")
    ] = None,
    compile: Annotated[bool, typer.Option("--compile", help="torch.compile every block.")] = False,
    fused: Annotated[
        bool, typer.Option("--fused/--no-fused", help="Our fused operations, for every method alike.")
    ] = True,
    settings: Settings = None,
    device: Device = "cpu",
    threads: Annotated[
        int | None, typer.Option(min=1, help="Torch threads of every measurement; default: all cores.")
    ] = None,
    dry_run: DryRun = False,
    out: Out = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Measure what training costs: backprop, its micro-batched and checkpointed forms, and local rules, side by side.

    **methods**: samples/s in turns, saved bytes, process or CUDA memory in fresh processes, FLOPs, passes, what is locked.
    **scaling**: against depth, width, batch, resolution, classes.
    **roofline**: ceilings of this machine and where a step's time goes.
    **budget**: the largest batch and images that train within `--memory`, and samples/s there.
    **distribution**: data-parallel, layer-parallel and pipelined training on two processes, and a model of more.

    Every finished measurement is kept in OUT/cost and never made again: the same command goes on where it was interrupted, and with more
    `--repeats`, `--rounds`, parts or rules only the new ones are made.
    `layerlocal report` draws the page. What each number means: docs/cost.md.
    """  # fmt: skip
    from layerlocal.experiments.cost.driver import forecast_cost, run_cost

    prepare_torch(device, threads)
    chosen = chosen_settings(
        context, settings, network__name=network, network__width=width, network__depth=depth, image_size=image_size,
        recipe__batch_size=batch_size, num_classes=num_classes, recipe__precision=precision, network__compile=compile or None,
        network__fused=None if fused else False,
    )  # fmt: skip
    asked: dict[str, Any] = {
        "size": size, "rules": names_of(rules, "--rules"), "modes": names_of(modes, "--modes"), "parts": names_of(part, "--part"),
        "memory": memory, "repeats": repeats, "rounds": rounds, "settings": chosen, "threads": threads, "device": device, "console": err,
    }  # fmt: skip
    if dry_run:
        print_forecast(forecast_cost(out, **asked), as_json=as_json)
        return
    summary = run_cost(out, **asked, command=typed())
    _print_cost(summary, out, as_json=as_json)
    if summary["failed"]:
        raise typer.Exit(1)


def _print_cost(summary: dict[str, Any], out: Path, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(summary))
        return
    console = Console(width=None if Console().is_terminal else 150)
    for group in summary["groups"]:
        console.print(_methods(group))
    for budget in summary["budget"]:
        console.print(_budget(budget))
    plain = Console(soft_wrap=True)
    for text in [*summary["sentences"], *filter(None, [summary["energy_note"]])]:
        plain.print(text, markup=False, highlight=False)
    plain.print(f"`layerlocal report --out {out}` makes the page", markup=False, highlight=False)


def _ratio(value: Any) -> str:
    """``1.22 [1.20, 1.25]`` or ``0.58``."""
    if isinstance(value, dict):
        return escape(ratio_estimate(value, with_n=False).replace("×", ""))
    return "–" if value is None else f"{value:.2f}"


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def _methods(group: dict[str, Any]) -> Table:
    key = group["memory_key"]
    memory = {"resident_bytes": "resident_ratio", "allocated_bytes": "allocated_ratio"}[key]
    title = (
        f"{group['setting']}; threads {group['threads']}; relative to plain bp, n = {group['n']} rounds with quartiles"
    )
    table = Table(box=None, title=title, title_justify="left")
    names = (
        "method", "samples/s", "÷ bp", "saved ÷ bp", f"{_PROCESS_MEMORY[key]}, MB", "÷ bp", "FLOPs ÷ bp", "passes step, predict", "locks",
    )  # fmt: skip
    for name in names:
        table.add_column(name, overflow="fold", justify="left" if name in ("method", "locks") else "right")
    table.caption = "locks: F forward, U update, B backward; W weight transport; L labels at every block"
    table.caption_justify = "left"
    for row in group["rows"]:
        if row.get("failed"):
            table.add_row(escape(row["label"]), escape(row["failed"]))
            continue
        locks = "".join(letter for name, letter in _LOCKS.items() if row["locks"].get(name))
        size = None if row.get(key) is None else row[key] / 1e6
        table.add_row(
            escape(row["label"]), _number(row["samples_per_s"]), _ratio(row["speed_ratio"]), _ratio(row["saved_ratio"]), _number(size),
            _ratio(row[memory]), _ratio(row["flops_ratio"]), f"{row['passes_per_step']:g}, {row['passes_per_prediction']:g}", locks,
        )  # fmt: skip
    return table


def _budget(budget: dict[str, Any]) -> Table:
    title = f"within {budget['memory']}: {budget['setting']}; threads {budget['threads']}"
    table = Table(box=None, title=title, title_justify="left")
    names = (
        "method", f"largest batch at {budget['image_size']} px", "samples/s there", f"÷ {budget['baseline']}",
        f"largest images at batch {budget['batch_size']}, px",
    )  # fmt: skip
    for name in names:
        table.add_column(name, overflow="fold", justify="left" if name == "method" else "right")
    for row in budget["rows"]:
        table.add_row(
            escape(row["label"]), _largest(row["largest_batch"], row["batch_stopped"]), _number(row["samples_per_s"]),
            _ratio(row["speed_ratio"]), _largest(row["largest_image"], row["image_stopped"]),
        )  # fmt: skip
    return table


def _largest(value: Any, stopped: bool) -> str:
    return "nothing fits" if value is None else f"{'≥ ' * stopped}{value}"
