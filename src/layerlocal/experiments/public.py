"""What one or several stores hold, as the public table: every method, claimed and measured (`layerlocal.report.site`). Trains nothing."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from layerlocal.claims import COST_STUDY, compare_accuracies, judge, load_accuracies, load_claims
from layerlocal.claims.accuracies import measured_accuracies
from layerlocal.claims.foreign import load_foreign
from layerlocal.experiments.audit.certificates import certificate_figure, certificate_of
from layerlocal.experiments.stored import content_of_store, study_summaries
from layerlocal.experiments.studies import STUDIES
from layerlocal.report.content import Content
from layerlocal.report.site import Site, write_site
from layerlocal.runs.comparable import comparable
from layerlocal.runs.listing import describe
from layerlocal.summary import Figure, Part, Summary
from layerlocal.types import InputError
from layerlocal.words import shorten

__all__ = ["beside_published", "site_of", "write_public_site"]

TITLE = "Layer-local learning: claimed and re-measured"


def beside_published(out: Path) -> list[dict[str, Any]]:
    """Published accuracies beside those of a store's studies (`layerlocal.claims.compare_accuracies`)."""
    return compare_accuracies(load_accuracies(), study_summaries(out, comparable(out)[0]))


def write_public_site(stores: Sequence[Path], folder: Path) -> list[Path]:
    """Writes the public table of stores into a folder.

    Args:
        stores: run stores, or folders of published results; where two have the same experiment the first one's is shown.
        folder: made where there is none; files of other names in it stay.

    Returns:
        The pages, ``index.html`` first.

    Raises:
        InputError: no store, one in which nothing is finished, a damaged file, a folder that cannot be written.
    """
    return write_site(site_of(stores, folder), folder)


def site_of(stores: Sequence[Path], folder: Path = Path("site")) -> Site:
    """Everything that the public table of these stores shows; ``folder`` is named in its command.

    Raises:
        InputError: as `write_public_site`.
    """
    if not stores:
        raise InputError("give one store or more, folders of runs or of published results")
    claims, accuracies = load_claims(), load_accuracies()  # before any result is read
    contents = [content_of_store(store) for store in dict.fromkeys(stores)]
    summaries, warnings = _together(stores, contents)
    judged = [one for one in summaries if one.name in (*STUDIES, COST_STUDY)]
    runs = {str(row.get("run")): row for content in reversed(contents) for row in content.runs}
    rows = [*compare_accuracies(accuracies, judged), *measured_accuracies(accuracies, judged)]
    content = Content(  # created: of the newest numbers, so that pages made again are the same
        title=TITLE,
        command=shlex.join(["layerlocal", "site", *map(str, stores), "--to", str(folder)]),
        created=max((summary.created for summary in summaries), default=""),
        summaries=summaries,
        claims=judge(claims, judged),
        claims_sha256=claims.sha256,
        accuracies=rows,
        runs=list(runs.values()),
        warnings=warnings,
    )
    return Site(
        content=content,
        rules=describe("rules")["rules"],
        certificates={**_published_certificates(summaries), **_certificates(stores)},
        foreign=[entry.view() for entry in load_foreign()],
        stores=[store.name or str(store) for store in stores],
    )


def _together(stores: Sequence[Path], contents: Sequence[Content]) -> tuple[list[Summary], list[str]]:
    """Each experiment once, and what a reader should know before anything else."""
    found: dict[tuple[str, str, str], Summary] = {}
    warnings = []
    for store, content in zip(dict.fromkeys(stores), contents, strict=True):
        warnings += [f"{store.name}: {text}" if len(contents) > 1 else text for text in content.warnings]
        for summary in content.summaries:
            key = (summary.experiment, summary.name, summary.size)
            if key in found and summary.experiment != "tune":
                name = shorten(" ".join(filter(None, key[1:])), 60)
                warnings.append(
                    f"{store.name} has the experiment {name} too, which is shown as the store before it has it; `layerlocal merge` puts runs "
                    "of several stores together."
                )
            found.setdefault(key, summary)
    return list(found.values()), list(dict.fromkeys(warnings))


def _certificates(stores: Iterable[Path]) -> dict[str, Figure]:
    """Rule → the certificate of the first of its runs that has one."""
    found: dict[str, Figure] = {}

    def look(record: Any) -> None:
        rule = record.spec.rule.name
        if rule not in found and record.result.get("locality") and not record.spec.rule.options.get("of"):
            found[rule] = certificate_figure([certificate_of(record)], "certificate")

    for store in stores:
        comparable(store, look)
    return found


def _published_certificates(summaries: Iterable[Summary]) -> dict[str, Figure]:
    """Rule → its certificate as a summary of an audit shows it."""
    found: dict[str, Figure] = {}
    for summary in summaries:
        for figure in _matrices(summary):
            name = figure.title.partition(" ")[2].partition(": ")[0]
            found.setdefault(name, figure.model_copy(update={"name": "certificate"}))
    return found


def _matrices(part: Part) -> Iterator[Figure]:
    yield from (figure for figure in part.figures if figure.kind == "matrix")
    for inner in part.parts:
        yield from _matrices(inner)
