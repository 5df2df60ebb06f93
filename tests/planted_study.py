"""PLANTED TEST FIXTURE: studies, verdicts and whole contents with made-up numbers, to see that the page shows what it is given."""

from __future__ import annotations

from typing import Any

from planted_audit import estimate, planted_summary, run_row

LINE = "layerlocal study planted-classes --size quick --out planted"


def lines_figure() -> dict[str, Any]:
    """Two panels over the number of classes; the gap falls by 2 pp a doubling on real data and rises by 1 pp on synthetic."""

    def series(panel: str, slope: float) -> list[dict[str, Any]]:
        return [
            {"name": name, "panel": panel, "points": [{"x": 2**i, "y": estimate(share * slope * i, 0.004)} for i in range(1, 5)]}
            for name, share in (("gap", 1.0), ("extra supervision", 0.5))
        ]  # fmt: skip

    return {
        "name": "gap",
        "kind": "lines",
        "caption": "Planted gap against the number of classes.",
        "x": {"label": "classes", "unit": "", "scale": "log2"},
        "y": {"label": "difference to BP", "unit": "pp", "scale": "linear"},
        "series": [*series("real classes", -0.02), *series("synthetic classes", 0.01)],
    }


def category_figure() -> dict[str, Any]:
    points = [("coarse labels", 0.61), ("fine labels", 0.37), ("random groups of classes", 0.225)]
    return {
        "name": "arms",
        "kind": "lines",
        "caption": "Planted accuracy by arm.",
        "x": {"label": "arm", "unit": "", "scale": "category"},
        "y": {"label": "test accuracy", "unit": "%", "scale": "linear"},
        "series": [
            {"name": name, "panel": None, "points": [{"x": x, "y": estimate(y + shift, 0.02)} for x, y in points]}
            for name, shift in (("local", -0.03), ("bp", 0.0), ("bp-deepsup", 0.015))
        ],
    }


def heat_figure(columns: int = 4) -> dict[str, Any]:
    """A cell is column − row in pp, with 0.3 pp of interval on both sides."""
    return {
        "name": "grid",
        "kind": "heat",
        "caption": "Planted gap by depth and width.",
        "x": {"label": "blocks", "unit": "", "scale": "category"},
        "y": {"label": "width", "unit": "", "scale": "category"},
        "z": {"label": "gap", "unit": "pp", "scale": "linear"},
        "series": [
            {
                "name": "dtg-ff",
                "panel": None,
                "points": [
                    {"x": 2 * (i + 1), "y": f"{2**j} channels", "z": estimate((i - j) / 100, 0.003)}
                    for i in range(columns)
                    for j in range(3)
                ],
            }
        ],
    }


def points_figure() -> dict[str, Any]:
    return {
        "name": "scatter",
        "kind": "points",
        "caption": "Planted reported against measured.",
        "x": {"label": "reported accuracy", "unit": "%", "scale": "linear"},
        "y": {"label": "measured accuracy", "unit": "%", "scale": "linear"},
        "series": [
            {"name": "mlp", "panel": None, "points": [{"x": 0.981, "y": estimate(0.9725), "label": "method A"}]},
            {"name": "conv", "panel": None, "points": [{"x": 0.92, "y": estimate(0.9, None, 1), "label": "method B"}]},
        ],
    }


def study_row(seed: int, classes: int) -> dict[str, Any]:
    return {
        "rule": "dtg-ff",
        "seed": seed,
        "arm": "real",
        "classes": classes,
        "num_classes": classes,
        "chance": 1 / classes,
        "separability": None,
        "local": 0.5,
        "bp": 0.625,
        "gap": -0.125,
        "blocks": {"local": {"block0": 0.25, "block1": 0.5}},
        "runs": {"local": f"aaaa{seed}{classes:02}", "bp": f"bbbb{seed}{classes:02}"},
    }


def planted_study(name: str = "planted-classes", **changes: Any) -> dict[str, Any]:
    """A whole planted study: four figures, one table, 6 rows, 2 runs missing."""
    return {
        "study": name,
        "title": "Does the gap grow with the number of classes? (planted)",
        "question": "Planted question: is it output dimension or class difficulty?",
        "size": "quick",
        "protocol": 1,
        "layerlocal": "0.0.planted",
        "command": LINE,
        "created": "2026-01-02T03:04:05Z",
        "environment": {"processor": "planted cpu", "torch": "9.9.9"},
        "rules": ["dtg-ff"],
        "seeds": [0, 1, 2],
        "hardware_note": "planted on no hardware",
        "planned": 38,
        "finished": 36,
        "missing": [
            {"label": "dtg-ff, 16 classes, seed 2", "reason": "NaN in the loss of block1"},
            {"label": "bp, 16 classes, seed 2", "reason": ""},
        ],
        "notes": ["planted note"],
        "sentences": ["The planted gap is −8.0 pp at 16 classes.", "The planted slope is −2.0 pp a doubling."],
        "figures": [lines_figure(), category_figure(), heat_figure(), points_figure()],
        "tables": [
            {
                "caption": "Planted table of arms",
                "columns": [
                    {"key": "arm", "label": "arm", "kind": "text"},
                    {"key": "k", "label": "classes", "kind": "int"},
                    {"key": "slope", "label": "slope", "kind": "number"},
                    {"key": "bp", "label": "BP", "kind": "percent"},
                    {"key": "gap", "label": "gap", "kind": "points"},
                ],
                "rows": [
                    {"arm": "real", "k": 16, "slope": -2.5, "bp": estimate(0.75, 0.01), "gap": estimate(-0.08, 0.004)},
                    {"arm": "synthetic", "k": 16, "slope": 1.25, "bp": 0.5, "gap": None},
                ],
            }
        ],
        "rows": [study_row(seed, classes) for seed in range(3) for classes in (2, 16)],
        "quantities": {"dtg-ff": {"slope": {"what": "slope", "unit": "pp per doubling", "values": {"0": -0.02}}}},
    } | changes


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
        "rule": "dtg-ff",
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
        "rule": "dtg-ff",
        "measured": estimate(0.9725, 0.0025),
        "size": "quick",
        "protocol_differences": "smaller network; fewer epochs",
    } | changes


def planted_content(**changes: Any) -> dict[str, Any]:
    """Everything a store may hold at once."""
    return {
        "title": "layerlocal report: planted test fixture, not a measurement",
        "command": "layerlocal report --out planted",
        "created": "2026-01-02T03:04:05Z",
        "summaries": [],
        "audit": planted_summary(rules=1),
        "studies": [planted_study()],
        "costs": [],
        "tunes": [],
        "claims": planted_claims(),
        "claims_sha256": "c0ffee" * 10 + "abcd",
        "accuracies": [accuracy_row(), accuracy_row(method="planted method B", measured=None)],
        "runs": [{k: v for k, v in run_row(i).items() if k != "spec"} for i in range(20, 24)],
        "warnings": ["planted warning: 2 runs are of an older protocol"],
    } | changes
