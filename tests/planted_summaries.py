"""PLANTED TEST FIXTURE: summaries, verdicts, runs and whole contents with made-up numbers, to see that a page shows what it is given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from layerlocal.report import Content
from layerlocal.summary import Column, Figure, Missed, Part, Point, Summary, Table
from planted_figures import (
    bar_figure,
    block_figure,
    category_figure,
    estimate,
    forest_figure,
    heat_figure,
    line_figure,
    matrix_figure,
    pareto_figure,
    scatter_figure,
    stacked_figure,
)

LINE = "layerlocal study planted-classes --size quick --out planted"
GAP = {"mean": -0.02, "low": -0.03, "high": -0.01, "n": 3, "values": [-0.01, -0.02, -0.03]}
CELLS: dict[str, tuple[Any, Any, str, str]] = {
    "gap": (GAP, "points", "−2.0 pp", "[−3.0, −1.0], n=3"),
    "speed": ({"median": 1.5, "low": 1.25, "high": 2.0, "n": 5}, "ratio", "1.50×", "[1.25, 2.00], n=5"),
    "saved": (1572864, "bytes", "1.5 MiB", ""),
    "flops": (1234567, "count", "1.23 M", ""),
    "p": (0.0004, "probability", "< 0.001", ""),
    "left": (None, "percent", "–", ""),
    "locality": ("✓ block", "text", "✓ block", ""),
    "trains": ("layerlocal train --rule class-goodness", "command", "layerlocal train --rule class-goodness", ""),
}
"""Column → value, kind, and what is written in the first and in the second line of its cell."""


def study_row(seed: int, classes: int) -> dict[str, Any]:
    return {
        "rule": "class-goodness",
        "seed": seed,
        "classes": classes,
        "separability": None,
        "local": 0.5,
        "gap": -0.125,
        "blocks": {"local": {"block0": 0.25, "block1": 0.5}},
        "runs": {"local": f"aaaa{seed}{classes:02}", "bp": f"bbbb{seed}{classes:02}"},
    }


def planted_study(name: str = "planted-classes", **changes: Any) -> Summary:
    """A whole planted study: four figures, one table, 6 rows, 2 runs missing."""
    columns = (
        Column(key="arm", label="arm"),
        Column(key="k", label="classes", kind="int"),
        Column(key="slope", label="slope", kind="number"),
        Column(key="bp", label="BP", kind="percent"),
        Column(key="gap", label="gap", kind="points"),
    )
    rows = (
        {"arm": "real", "k": 16, "slope": -2.5, "bp": estimate(0.75, 0.01), "gap": estimate(-0.08, 0.004)},
        {"arm": "synthetic", "k": 16, "slope": 1.25, "bp": 0.5, "gap": None},
    )
    missing = (
        Missed(label="class-goodness, 16 classes, seed 2", reason="NaN in the loss of block1"),
        Missed(label="bp, 16 classes, seed 2", reason=""),
    )
    given: dict[str, Any] = {
        "experiment": "study", "name": name, "size": "quick", "title": "Does the gap grow with the number of classes? (planted)",
        "question": "Planted question: is it output dimension or class difficulty?", "protocol": 1, "layerlocal": "0.0.planted",
        "command": LINE, "created": "2026-01-02T03:04:05Z", "environment": {"processor": "planted cpu", "torch": "9.9.9"},
        "rules": ("class-goodness",), "seeds": (0, 1, 2), "facts": {"data": "planted data"}, "planned": 38, "finished": 36, "missing": missing,
        "notes": ("planted note",),
        "sentences": ("The planted gap is −8.0 pp at 16 classes.", "The planted slope is −2.0 pp a doubling."),
        "figures": (line_figure(), category_figure(), heat_figure(), scatter_figure()),
        "tables": (Table(caption="Planted table of arms", columns=columns, rows=rows),),
        "rows": tuple(study_row(seed, classes) for seed in range(3) for classes in (2, 16)),
    }  # fmt: skip
    return Summary(**(given | changes))


def planted_parts(**changes: Any) -> Summary:
    """A summary with parts: a table that is judged, then figures of all other kinds."""
    columns = [Column(key=key, label=key, kind=kind, judged=key == "gap") for key, (_, kind, *_) in CELLS.items()]
    row = {"rule": "class-goodness", **{key: value for key, (value, *_) in CELLS.items()}}
    table = Table(caption="Every rule (planted)", columns=(Column(key="rule", label="rule"), *columns), rows=(row,))
    folded = Table(
        caption="Left out (planted)", columns=(Column(key="a", label="a"),), rows=({"a": "why"},), folded=True
    )
    given: dict[str, Any] = {
        "experiment": "audit", "name": "audit", "size": "quick", "title": "The planted audit", "facts": {"data": "planted data"},
        "sentences": ("Of 2 <planted> rules, 1 is below backprop.", "And why."), "tables": (table, folded), "notes": ("A note of the audit.",),
        "command": "layerlocal audit --out planted", "rules": ("class-goodness", "ff"), "seeds": (0, 1, 2), "layerlocal": "0.0.planted",
        "protocol": 1, "planned": 9, "finished": 9,
        "rows": ({"rule": "class-goodness", "gap": GAP},), "environment": {"processor": "planted cpu", "torch": "9.9.9"},
        "parts": (
            Part(title="Accuracy (planted)", figures=(forest_figure(), stacked_figure()), sentences=("Inside.",), command="layerlocal inner",
                 parts=(Part(title="By block", figures=(with_runs(block_figure(), 20),)),)),
            Part(title="Cost (planted)", figures=(bar_figure(), pareto_figure())),
            Part(title="Locality (planted)", figures=(matrix_figure(),)),
        ),
    }  # fmt: skip
    return Summary(**(given | changes))


def with_runs(figure: Figure, *numbers: int) -> Figure:
    """A figure that says which runs it is of."""
    return figure.model_copy(update={"runs": tuple(f"{number:016x}" for number in numbers)})


def large_summary(rules: int = 12, depth: int = 24) -> Summary:
    """Many rows, long names, a figure of many points."""
    names = [f"a-rule-with-a-long-name-{i}.py:Rule" for i in range(rules)]
    series = (
        bar_figure()
        .series[0]
        .model_copy(update={"points": tuple(Point(x=0.1 * (i + 1), y=n) for i, n in enumerate(names))})
    )
    row = {"rule": "x" * 60, "text": "word " * 40, "gap": GAP}
    columns = (
        Column(key="rule", label="rule"),
        Column(key="text", label="text"),
        Column(key="gap", label="gap", kind="points", judged=True),
    )
    return planted_parts(
        figures=(bar_figure(series=(series,)), heat_figure(depth)), title="t" * 200, question="y" * 300, sentences=("x" * 300,),
        tables=(Table(caption="c" * 200, columns=columns, rows=(row,) * rules),), environment={"long": "x" * 300},
        missing=tuple(Missed(label="ff seed 3", reason="NaN in the loss of block2 at step 17 " * 9) for _ in range(9)),
    )  # fmt: skip


def run_row(index: int) -> dict[str, Any]:
    rule = ("class-goodness", "ff", "bp")[index % 3]
    return {
        "run": f"{index:016x}", "rule": rule, "label": "planted", "seed": index // 3, "data": "planted-data", "network": "vgg8 x0.25",
        "epochs": 4, "test_accuracy": 0.8765, "block_accuracies": {"block0": 0.5, "block1": 0.75}, "samples_per_s": 1234.5,
        "peak_saved_bytes": 3 * 2**20, "spec": {"rule": {"name": rule, "temperature_max": 2.0}},
        "command": f"layerlocal train --rule {rule} --seed {index // 3}",
    }  # fmt: skip


def claim(name: str, verdict: str, **changes: Any) -> dict[str, Any]:
    """A planted verdict row: −8.0 ± 0.4 pp (a fraction) against a smallest effect of 1 pp (in its unit, like what is reported)."""
    return {
        "id": name,
        "source": "planted et al. 2026, Table 3",
        "sentence": f"A planted sentence that is {verdict}.",
        "reported": {"value": -2.1, "unit": "pp", "text": "about −2.1 points"},
        "study": "planted-classes",
        "quantity": "gap_at_16",
        "what": "gap at 16 classes",
        "rule": "class-goodness",
        "size": "quick",
        "unit": "pp",
        "direction": "less",
        "reference": 0.0,
        "smallest_effect": 1.0,
        "test": "t",
        "estimate": estimate(-0.08, 0.004),
        "verdict": verdict,
        "p": 0.01234,
        "p_adjusted": 0.0371,
        "alpha": 0.05,
        "n": 3,
        "n_needed": None,
        "reason": "The mean over 3 seeds is shown to lie where it lies.",
        "protocol_differences": "10 epochs instead of 200",
        "note": "planted reason for the smallest effect",
        "command": LINE,
    } | changes


def planted_claims() -> list[dict[str, Any]]:
    """One of each verdict and of each unit."""
    share = {
        "unit": "share",
        "estimate": estimate(0.515, 0.125),
        "smallest_effect": 0.1,
        "reported": {"value": 0.6, "unit": "share"},
    }
    return [
        claim("P1", "supported"),
        claim("P2", "contradicted", unit="pp per doubling"),
        claim("P3", "inconclusive", n_needed=11, n_needed_range=[5, 40], reason="the interval holds both sides", **share),
        claim("P4", "not run", estimate=None, p=None, p_adjusted=None, n=None, study="unknown-study"),
    ]  # fmt: skip


def accuracy_row(**changes: Any) -> dict[str, Any]:
    return {
        "method": "planted method A",
        "source": "planted et al. 2026",
        "data": "planted-data",
        "reported": 0.981,
        "rule": "class-goodness",
        "measured": estimate(0.9725, 0.0025),
        "size": "quick",
        "protocol_differences": "smaller network; fewer epochs",
    } | changes


def planted_content(**changes: Any) -> Content:
    """Everything a store may hold at once."""
    whole = Content(
        title="layerlocal report: planted test fixture, not a measurement",
        command="layerlocal report --out planted",
        created="2026-01-02T03:04:05Z",
        summaries=[planted_parts(), planted_study()],
        claims=planted_claims(),
        claims_sha256="c0ffee" * 10 + "abcd",
        accuracies=[accuracy_row(), accuracy_row(method="planted method B", measured=None)],
        runs=[run_row(i) for i in range(20, 24)],
        warnings=["planted warning: 2 runs are of an older protocol"],
    )
    return replace(whole, **changes)
