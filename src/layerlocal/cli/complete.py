"""What a shell completes after an option, by name: from `layerlocal list`'s facts and file names, so that a press of Tab loads no torch.

A completer takes what is typed so far and gives the values that begin so. Where it gives none, the shell completes file names.
"""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path

import typer

__all__ = [
    "AUDIT_SIZES", "COST_SIZES", "LOGGERS", "PARTS", "STUDIES", "STUDY_SIZES", "claims", "data", "data_list", "devices", "networks", "one_of",
    "rules", "rules_list", "runs", "several_of",
]  # fmt: skip

Found = list[str | tuple[str, str]]
STUDIES = (
    "accuracy",
    "best",
    "equal-time",
    "equal-cost",
    "classes",
    "hierarchy",
    "depth",
    "length",
    "scaling",
    "resolution",
    "composition",
    "hybrid",
    "calibration",
    "ablation",
    "language",
)
STUDY_SIZES = ("quick", "medium", "standard", "full")
AUDIT_SIZES = ("quick", "standard")
COST_SIZES = ("quick", "standard", "full")
LOGGERS = ("csv", "tensorboard", "wandb")
PARTS = ("methods", "scaling", "roofline", "budget", "distribution")
"""Held to what there is by a test: where they are defined, numpy and SciPy are loaded."""
DEVICES = ("cpu", "cuda")
OWN_CLAIMS = Path(__file__).parents[1] / "claims"


def one_of(values: Iterable[str]) -> Callable[[str], Found]:
    """A completer of these values."""
    known = tuple(values)

    def complete(incomplete: str) -> Found:
        return [value for value in known if value.startswith(incomplete)]

    return complete


def several_of(values: Iterable[str]) -> Callable[[str], Found]:
    """A completer of these values, comma-separated: what stands after the last comma is completed."""
    known = tuple(values)

    def complete(incomplete: str) -> Found:
        return _after_comma(incomplete, [(value, "") for value in known])

    return complete


def rules(incomplete: str) -> Found:
    """A rule's name, and what it is."""
    return _beginning(incomplete, _described("rules", "what"))


def rules_list(incomplete: str) -> Found:
    """Names of rules, comma-separated."""
    return _after_comma(incomplete, _described("rules", "what"))


def networks(incomplete: str) -> Found:
    """A network's name, and its size."""
    return _beginning(incomplete, _described("networks", "blocks"))


def data(incomplete: str) -> Found:
    """A data set's name, and where it comes from."""
    return _beginning(incomplete, _described("data", "from"))


def data_list(incomplete: str) -> Found:
    """Names of data sets, comma-separated."""
    return _after_comma(incomplete, _described("data", "from"))


devices = one_of(DEVICES)


def claims(incomplete: str) -> Found:
    """Ids of our claims, comma-separated, of whichever rule (`P2` names `P2@dtg-ff` too), without reading more of them."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(OWN_CLAIMS.glob("*.yaml"))]
    ids = [found for text in texts for found in re.findall(r"^  - id: (\S+)", text, re.MULTILINE)]
    return _after_comma(incomplete, [(name, "") for name in ids])


def runs(context: typer.Context, incomplete: str) -> Found:
    """Hashes of the finished runs of the store that ``--out`` names."""
    store = context.params.get("out") or Path("runs")
    try:
        with os.scandir(store) as entries:
            names = [entry.name for entry in entries if re.fullmatch(r"[0-9a-f]{16}", entry.name)]
    except OSError:
        return []
    return [
        name
        for name in sorted(names)
        if name.startswith(incomplete) and os.path.exists(os.path.join(store, name, "DONE"))
    ]


def _described(section: str, key: str) -> list[tuple[str, str]]:
    """Names of a section of `layerlocal list`, each with a fact about it that fits into one line: some shells take a second line for a value."""
    from layerlocal.runs.listing import describe

    return [(row["name"], textwrap.shorten(row[key], 60, placeholder=" …")) for row in describe(section)[section]]


def _beginning(incomplete: str, values: list[tuple[str, str]]) -> Found:
    return [value for value in values if value[0].startswith(incomplete)]


def _after_comma(incomplete: str, values: list[tuple[str, str]]) -> Found:
    """Without those that were typed already."""
    before, comma, last = incomplete.rpartition(",")
    typed = before.split(",")
    return [(before + comma + name, what) for name, what in values if name.startswith(last) and name not in typed]
