"""Options that mean the same in every experiment: audit, study, cost, tune."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from layerlocal.cli import complete
from layerlocal.cli.app import MOST_SEEDS, parse_settings, typed_options
from layerlocal.cli.config import plan_settings
from layerlocal.types import InputError, shown

__all__ = [
    "Controls",
    "NamedNetwork",
    "Network",
    "Ray",
    "Rules",
    "SeedList",
    "Width",
    "chosen_settings",
    "names_of",
    "seeds_typed",
]

Rules = Annotated[
    list[str] | None,
    typer.Option(
        "--rules",
        "--rule",
        autocompletion=complete.rules_list,
        help="Rules by name or FILE.py:CLASS, comma-separated or repeated; beside ours in an audit; left out elsewhere: class-goodness alone "
        "(in the study ablation dtg-ff).",
    ),
]
SeedList = Annotated[
    str,
    typer.Option(
        "--seeds", metavar="N or A,B,…", help="Seeds of every run: how many, or which; intervals need 2 or more."
    ),
]
Ray = Annotated[str | None, typer.Option("--ray", help="Address of a Ray cluster to run on (extra `ray`), or local.")]
_NETWORKS = "name of `layerlocal list networks`, or FILE.py:FUNCTION"
NamedNetwork = Annotated[
    str | None,
    typer.Option(
        "--network",
        autocompletion=complete.networks,
        help=f"A {_NETWORKS}; left out: vgg8 for images, gpt for text, mlp for vectors.",
    ),
]
Network = Annotated[
    str | None,
    typer.Option(
        "--network",
        autocompletion=complete.networks,
        help=f"One network instead of those that would be taken; a {_NETWORKS}.",
    ),
]
Controls = Annotated[
    bool,
    typer.Option(
        help="Train ordinary BP too, and for twice the steps on two seeds: the price of the objective, and headroom."
    ),
]
Width = Annotated[float | None, typer.Option("--width", help="Factor on the network's widths.")]


def names_of(words: list[str] | None, option: str) -> list[str]:
    """Repeated options and comma-separated ones alike, each name once.

    Raises:
        InputError: the option was given, and no name with it.
    """
    found = list(dict.fromkeys(name for word in words or [] for name in word.split(",") if name))
    if words and not found:
        raise InputError(f"{option} needs a name, got an empty one; leave it out for the default")
    return found


def seeds_typed(text: str) -> int | tuple[int, ...]:
    """``"3"`` → 3 seeds, ``"0,3,4"`` or ``"7,"`` → these.

    Raises:
        InputError: anything else, none, or too many.
    """
    words = [word.strip() for word in text.split(",")]
    listed = [word for word in words if word]
    if not listed or not all(word.isdecimal() and word.isascii() for word in listed):
        raise InputError(f"--seeds takes a number of seeds (3) or the seeds themselves (0,3,4), got {shown(text)}")
    found = tuple(map(int, listed))
    if len(words) > 1:
        return found
    if not 1 <= found[0] <= MOST_SEEDS:
        raise InputError(f"--seeds {found[0]} is not between 1 and {MOST_SEEDS}")
    return found[0]


def chosen_settings(context: typer.Context, words: list[str] | None, **given: Any) -> dict[str, Any]:
    """``--set``, the options that mean a setting, e.g. ``network__width=0.25``, and below them the settings of an experiment's ``--config``;
    those that were not given are left out.

    Raises:
        InputError: a setting in another form, or given twice.
    """
    own = {key.replace("__", "."): value for key, value in given.items() if value is not None}
    typed = own | parse_settings(words or [], typed_options(context))
    return plan_settings(context, typed) | typed
