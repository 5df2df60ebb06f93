"""What a search found, as a `Summary`: how far each method came trial by trial, and the best settings of each. Imports no torch.

What it is made of, a *finding*, is plain JSON: ``name``, ``command``, ``plan``, ``space``, ``budget`` (what the search takes, in words),
``metric`` (what trials are judged by, where it is not validation accuracy), ``methods`` (each with ``label``, ``trials``, ``best``,
``usual``, ``command``), ``sentences``. Summaries of earlier versions are findings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from layerlocal.summary import Axis, Column, Figure, Missed, Point, Row, Series, Summary, Table
from layerlocal.words import NOTHING, percent

__all__ = ["summary_of_search"]

Finding = Mapping[str, Any]


def summary_of_search(found: Finding) -> Summary:
    """The summary of a search.

    Args:
        found: a finding.
    """
    plan, methods = found.get("plan") or {}, found["methods"]
    given = {"data": (plan.get("data") or {}).get("source"), "network": (plan.get("network") or {}).get("name")}
    judged = [trial for method in methods for trial in method["trials"]]
    return Summary(
        experiment="tune",
        name=found.get("name") or "",
        title="Search for settings",
        question="Which settings are best for each method, with the same space and as many trials, judged on validation data?",
        size_words=found["budget"],
        facts={word: text for word, text in given.items() if text} | {"search": found["budget"]},
        rules=tuple(dict.fromkeys(method["rule"] for method in methods)),
        sentences=tuple(found["sentences"]),
        figures=(_so_far(methods, found["budget"], _metric(found)),),
        tables=(_best_table(found),),
        notes=(
            f"Every trial is judged on the validation split, by the {_metric(found)}; the test split stayed closed.",
        ),
        command=found.get("command") or "layerlocal tune",
        rows=tuple(_rows(methods)),
        planned=sum(len(trial["runs"]) for trial in judged),
        finished=sum(len(trial["runs"]) for trial in judged if trial["value"] is not None),
        missing=tuple(_without_any(methods)),
        layerlocal=found.get("layerlocal"),
        created=found.get("created") or "",
        environment=dict(found.get("environment") or {}),
        plan=dict(plan) or None,
    )


def _metric(found: Finding) -> str:
    return str(found.get("metric") or "validation accuracy")


def _rows(methods: list[Finding]) -> Iterator[Row]:
    """A trial each."""
    for method in methods:
        best = method["trials"].index(method["best"]) if method["best"] else None
        for number, trial in enumerate(method["trials"]):
            told = {"value": trial["value"], "best": number == best, "reason": trial["reason"]}
            yield {"method": method["label"], "trial": number, **told, **trial["settings"], "runs": trial["runs"]}


def _without_any(methods: list[Finding]) -> Iterator[Missed]:
    """Methods of which no trial ended; other trials that failed are rows with their reasons."""
    for method in methods:
        if method["best"] is None:
            runs = sum(len(trial["runs"]) for trial in method["trials"])
            yield Missed(label=method["label"], reason=method["trials"][0]["reason"], runs=runs)


def _so_far(methods: list[Finding], size_words: str, metric: str) -> Figure:
    return Figure(
        name="best-so-far",
        title=f"Best {metric} so far",
        caption=f"The best {metric} so far against trials made: {size_words}. The test split stayed closed.",
        x=Axis(label="trials"),
        y=Axis(label=metric, unit="%"),
        series=tuple(Series(name=method["label"], points=tuple(_best_so_far(method))) for method in methods),
    )


def _best_so_far(method: Finding) -> Iterator[Point]:
    best = None
    for number, trial in enumerate(method["trials"], 1):
        value = trial["value"]
        best = value if best is None else best if value is None else max(best, value)
        if best is not None:
            yield Point(x=number, y=best, label=f"trial {number}: {percent(value)}")


def _best_table(found: Finding) -> Table:
    """A row a method: its best trial, and what it was as it is."""
    keys = list(dict.fromkeys(text.partition("=")[0].rpartition("/")[2] for text in found.get("space") or ()))
    columns = (
        Column(key="method", label="method"),
        Column(key="trials", label="trials", kind="int"),
        Column(key="best", label=f"best {_metric(found)}", kind="percent"),
        Column(key="usual", label="as it is", kind="percent"),
        *(Column(key=f"set {key}", label=key) for key in keys),
        Column(key="command", label="trains and tests it", kind="command"),
    )
    rows = tuple(
        {"method": method["label"], "trials": len(method["trials"]), "best": (best := method["best"] or {}).get("value"),
         "usual": method["usual"], **{f"set {key}": best.get("settings", {}).get(key) for key in keys},
         "command": method["command"] or NOTHING}
        for method in found["methods"]
    )  # fmt: skip
    return Table(caption=f"Best settings of each method: {found['budget']}", columns=columns, rows=rows)
