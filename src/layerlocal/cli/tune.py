"""The command `layerlocal tune`."""

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
from layerlocal.cli.options import Network, Ray, Rules, SeedList, Width, chosen_settings, names_of, seeds_typed


@app.command()
def tune(
    context: typer.Context,
    config: Annotated[Path | None, plan_option("tune")] = None,
    rules: Rules = None,
    space: Annotated[
        list[str] | None,
        typer.Option(
            help="A dimension, repeatable: recipe.learning_rate=log:0.0005:0.1, rule.grid=1,2,4, rule.label_smoothing=0:0.2; with RULE/ in "
            "front for one rule and its twins. Default: learning rate and weight decay."
        ),
    ] = None,
    trials: Annotated[
        int,
        typer.Option(
            min=1,
            max=100_000,
            help="For each rule and each twin; the first is the settings as they are, where they lie in the space.",
        ),
    ] = 16,
    seeds: SeedList = "1",
    sampler: Annotated[
        str,
        typer.Option(
            autocompletion=complete.one_of(("tpe", "random", "sobol")),
            help="tpe, random, or sobol: the same settings for every method.",
        ),
    ] = "tpe",
    data: Annotated[
        str,
        typer.Option(
            autocompletion=complete.data, help="A name of `layerlocal list data`, a folder, or a file NAME.npz."
        ),
    ] = "fashion_mnist_subset",
    network: Network = None,
    width: Width = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training split.")] = None,
    settings: Settings = None,
    reread: Reread = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampler.")] = 0,
    workers: Workers = None,
    ray: Ray = None,
    device: Device = "cpu",
    dry_run: DryRun = False,
    out: Out = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Search settings for rules and their twins: as many trials each, judged on the validation split; the test split stays closed.

    The same command goes on where an interrupted search stopped; with more --trials it goes on from the trials there are.

    - A first look: `layerlocal tune --rule class-goodness --trials 8 --epochs 2 --width 0.25`
    """
    from layerlocal.experiments.tune import DEFAULT_SPACE, TunePlan, network_of_trials, parse_dimension
    from layerlocal.experiments.tune.driver import forecast_tuning, run_tuning
    from layerlocal.spec import DataSpec

    if device != "cpu":
        prepare_torch(device, None)
    chosen = chosen_settings(context, settings, network__name=network, network__width=width, recipe__epochs=epochs)
    names = names_of(rules, "--rules") or ["class-goodness"]
    plan = TunePlan.parse(
        {
            "rules": tuple(names), "data": DataSpec(source=data).model_dump(),
            "network": network_of_trials(data, chosen).model_dump(),
            "settings": chosen, "space": [parse_dimension(text).model_dump() for text in space or DEFAULT_SPACE], "trials": trials,
            "seeds": seeds_typed(seeds), "sampler": sampler, "seed": seed,
        }
    )  # fmt: skip
    here: dict[str, Any] = {"workers": workers, "device": device, "reread": reread, "console": err}
    if dry_run:
        refuse_cluster(ray)
        print_forecast(forecast_tuning(plan, out, **here), as_json=as_json)
        return
    summary = run_tuning(plan, out, **here, ray=ray, command=typed())
    print_summary(summary, out, as_json=as_json)
