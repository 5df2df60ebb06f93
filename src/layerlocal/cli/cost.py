"""The command about cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from layerlocal.cli import complete
from layerlocal.cli.app import (
    AsJson,
    Device,
    DryRun,
    Out,
    Settings,
    app,
    err,
    prepare_torch,
    print_forecast,
    refuse_many_threads,
    typed,
)
from layerlocal.cli.found import print_summary
from layerlocal.cli.options import Network, Width, chosen_settings, names_of

PRINTED = (
    "label", "samples_per_s", "speed_ratio", "saved_ratio", "resident_bytes", "resident_ratio", "allocated_bytes", "allocated_ratio",
    "flops_ratio",
)  # fmt: skip
"""Columns of the table of methods; the page has them all."""


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
            help="Beside bp and bp-deepsup; names or FILE.py:CLASS, comma-separated; default class-goodness,ff (text: local-heads for ff).",
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
    num_classes: Annotated[
        int | None, typer.Option("--classes", min=2, help="Number of classes; of text its vocabulary.")
    ] = None,
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
    **scaling**: against depth, width, batch, resolution, classes; of text (`--network gpt --set context=128`) context.
    **roofline**: ceilings of this machine and where a step's time goes.
    **budget**: the largest batch, and images or context, that train within `--memory`; samples/s there.
    **distribution**: data-parallel, layer-parallel and pipelined training on two processes, and a model of more.

    Every finished measurement is kept in OUT/cost and never made again: the same command goes on where it was interrupted, and with more
    `--repeats`, `--rounds`, parts or rules only the new ones are made.
    `layerlocal report` draws the page. What each number means: docs/cost.md.
    """  # fmt: skip
    from layerlocal.experiments.cost.driver import forecast_cost, run_cost

    if dry_run and device == "cpu":
        refuse_many_threads(threads)
    else:
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
    print_summary(summary, out, as_json=as_json, columns=PRINTED)
