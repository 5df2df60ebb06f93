"""Study `ablation`: what each part of DTG-FF brings: dynamic temperature, decoupled normalization, multi-layer fusion.

A full factorial: every combination of the three parts, on or off. The effect of a part is the mean, over the settings of the other two, of
the accuracy with it minus without it; of an interaction, half of how much one effect changes when the other part is switched on.
Fusion needs no run of its own: without it the prediction is the last block's, which every run has.

Beside it: the dynamic temperature against fixed ones, the best of which is chosen by validation accuracy; fusion against the one block
that is best on the validation split; and the same fusion of the deeply supervised twin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from layerlocal.experiments.studies.base import (
    Cell,
    Conclusion,
    Study,
    StudyPlan,
    by_seed,
    group_rows,
    last_accuracy,
    over_seeds,
    quantity,
    twins_of_rule,
)
from layerlocal.experiments.studies.effects import contrast
from layerlocal.experiments.studies.parts import columns, difference_table
from layerlocal.experiments.studies.scale import READOUT, scale_of
from layerlocal.spec import RuleSpec
from layerlocal.summary import Axis, Figure, Point, Row, Series, Table
from layerlocal.words import difference

__all__ = ["AblationStudy", "effect"]

BASES = ("cifar10", "cifar100")
PARTS = {
    "temperature": "dynamic temperature",
    "normalization": "decoupled normalization",
    "fusion": "multi-layer fusion",
}
FIXED = (0.25, 0.5, 2.0)
"""Temperatures beside 1, which is dynamic temperature switched off."""
WITHOUT = {"temperature": {"dynamic_temperature": False}, "normalization": {"decoupled_norm": False}}
Factorial = Mapping[tuple[bool, bool, bool], float]


class AblationStudy(Study):
    """Which parts of DTG-FF matter?"""

    name = "ablation"
    title = "DTG-FF taken apart"
    only = ("dtg-ff",)
    own_readouts = True
    most_data = 8
    question = "What does each part of DTG-FF bring: dynamic temperature, decoupled normalization, multi-layer fusion?"

    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """One a data set, its methods the four trainings of the factorial and the controls."""
        scale, own = scale_of(plan), dict(READOUT["dtg-ff"])
        methods = twins_of_rule(plan, rule, **own) | {
            name: RuleSpec(name=rule, options=own | options) for name, options in _variants().items()
        }
        return [
            Cell({"data": base}, scale.images(base, seed=seed), scale.network, scale.recipe_on(base), methods)
            for base in plan.data or BASES
        ]

    def conclude(self, plan: StudyPlan, rows: Sequence[Row]) -> Conclusion:
        """Effects and interactions, and the three controls, on each data set."""
        found = Conclusion()
        own = found.quantities.setdefault("dtg-ff", {}) if rows else {}
        body = []
        for (base,), part in group_rows(rows, "data").items():
            for name, (what, values) in (_effects(part) | _controls(part)).items():
                own[f"{name}/{base}"] = quantity(f"{what}, {base}", values)
                body.append({"data": base, "what": what, "effect": over_seeds(values)})
            found.sentences += _sentences(base, body)
        if rows:
            shown = columns(
                ("data", "data set", "text"), ("what", "effect", "text"), ("effect", "on test accuracy", "points")
            )
            found.tables.append(Table(caption="What each part of DTG-FF brings", columns=shown, rows=tuple(body)))
            found.tables.append(difference_table("DTG-FF whole, beside its twins", rows, [("data", "data set")]))
            found.figures.append(_figure(body))
        return found


def _variants() -> dict[str, dict[str, Any]]:
    """Method → options. Whole DTG-FF is ``"local"``; without fusion is the last block of each."""
    found: dict[str, dict[str, Any]] = {f"without {part}": dict(options) for part, options in WITHOUT.items()}
    found["without both"] = {**WITHOUT["temperature"], **WITHOUT["normalization"]}
    found |= {f"temperature {t:g}": {"temperature_min": t, "temperature_max": t} for t in FIXED}
    return found | {"best block": {"fusion": "best"}}


def _factorial(row: Row) -> Factorial:
    """(temperature, normalization, fusion) → test accuracy."""
    trained = {
        (True, True): "local",
        (False, True): "without temperature",
        (True, False): "without normalization",
        (False, False): "without both",
    }
    return {
        (*parts, fused): row[method] if fused else last_accuracy(row, method)
        for parts, method in trained.items()
        for fused in (True, False)
    }


def effect(accuracies: Factorial, parts: Sequence[int]) -> float:
    """Main effect of one part (its index), or interaction of several: Σ ±accuracy / 4, the sign the product of the parts' ±1."""
    total = 0.0
    for setting, accuracy in accuracies.items():
        sign = 1
        for part in parts:
            sign *= 1 if setting[part] else -1
        total += sign * accuracy
    return total / 4


def _effects(rows: Sequence[Row]) -> dict[str, tuple[str, dict[int, float]]]:
    """Name → (words, seed → effect), main effects first."""
    names, found = list(PARTS), {}
    for parts in (parts for size in (1, 2, 3) for parts in combinations(range(3), size)):
        words = " × ".join(PARTS[names[index]] for index in parts)
        values = {row["seed"]: effect(_factorial(row), parts) for row in rows}
        found["effect/" + "+".join(names[index] for index in parts)] = (
            words if len(parts) == 1 else f"interaction {words}",
            values,
        )
    return found


def _controls(rows: Sequence[Row]) -> dict[str, tuple[str, dict[int, float]]]:
    local = by_seed(rows, "local")
    fixed = {1.0: "without temperature"} | {t: f"temperature {t:g}" for t in FIXED}
    best = max(fixed, key=lambda t: sum(row["validation"][fixed[t]] or 0.0 for row in rows))
    fused = {row["seed"]: row["bp-deepsup"] - last_accuracy(row, "bp-deepsup") for row in rows}
    return {
        "dynamic_against_fixed": (
            f"dynamic temperature − fixed at {best:g}, the best on validation data", contrast(local, by_seed(rows, fixed[best])),
        ),
        "fusion_against_best_block": ("fusion − the best block on validation data", contrast(local, by_seed(rows, "best block"))),
        "fusion_of_deepsup": ("the same fusion of BP-DeepSup − its last block", fused),
    }  # fmt: skip


def _sentences(base: str, body: Sequence[Row]) -> list[str]:
    own = [row for row in body if row["data"] == base]
    mains = [row for row in own if row["what"] in PARTS.values()]
    nothing = [row["what"] for row in mains if row["effect"]["low"] is None or row["effect"]["low"] <= 0]
    found = [f"{base}: " + "; ".join(f"{row['what']} {difference(row['effect'])}" for row in mains) + "."]
    if nothing:
        found.append(f"{base}: no gain is shown of {', '.join(nothing)} (the interval does not lie above 0).")
    controls = [row for row in own if " − " in row["what"]]
    return [*found, *(f"{base}: {row['what']}: {difference(row['effect'])}." for row in controls)]


def _figure(body: Sequence[Row]) -> Figure:
    mains = [row for row in body if row["what"] in PARTS.values()]
    series = tuple(
        Series(name=base, points=tuple(_spot(row) for row in mains if row["data"] == base))
        for base in dict.fromkeys(row["data"] for row in mains)
    )
    return Figure(
        name="ablation-effects", kind="points", series=series,
        caption="Main effect of each part: accuracy with it minus without it, over all settings of the other two. 95 % intervals over seeds.",
        x=Axis(label="part", scale="category"), y=Axis(label="effect on test accuracy", unit="pp"),
    )  # fmt: skip


def _spot(row: Row) -> Point:
    return Point(x=row["what"], y=row["effect"], label=row["data"])
