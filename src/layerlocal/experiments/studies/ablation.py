"""Study `ablation`: what each part of DTG-FF brings: dynamic temperature, decoupled normalization, multi-layer fusion.

A full factorial: every combination of the parts, on or off. The effect of a part is the mean, over the settings of the others, of
the accuracy with it minus without it; of an interaction, half of how much one effect changes when the other part is switched on.
Fusion needs no run of its own: without it the prediction is the last block's, which every run has.

Beside it: the dynamic temperature against fixed ones, the best of which is chosen by validation accuracy; fusion against the one block
that is best on the validation split; and the same fusion of the deeply supervised twin.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from layerlocal.experiments.studies.axis import AxisStudy, Each
from layerlocal.experiments.studies.base import Cell, StudyPlan, estimates, group_rows, last_accuracy
from layerlocal.experiments.studies.effects import factorial_effects, subsets
from layerlocal.experiments.studies.scale import methods_of, readout_of, scale_of
from layerlocal.experiments.studies.views import Along, Grid, Marks
from layerlocal.spec import RuleSpec
from layerlocal.summary import Axis, Row
from layerlocal.words import ABOVE, difference, relation

__all__ = ["AblationStudy"]

BASES = ("cifar10", "cifar100")
PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "temperature": ("dynamic temperature", {"dynamic_temperature": False}),
    "normalization": ("decoupled normalization", {"decoupled_norm": False}),
    "fusion": ("multi-layer fusion", {}),
}
"""Part → what it is, and the options without it; of fusion none: the last block is read alone."""
FIXED = {f"{t:g}": f"temperature {t:g}" for t in (0.25, 0.5, 2.0)}
VARIANTS: dict[str, dict[str, Any]] = {
    **{name: {"temperature_min": float(t), "temperature_max": float(t)} for t, name in FIXED.items()},
    "best block": {"fusion": "best"},
}
"""Method → options: what is trained beside the combinations."""
CONTROLS = {
    "dynamic_against_fixed": (
        "dynamic temperature − fixed at {best}, the best on validation data",
        {"1": "without temperature"} | FIXED,
    ),
    "fusion_against_best_block": ("fusion − the best block on validation data", {"": "best block"}),
}
"""What it is called, and methods by name: all of DTG-FF is held against that which is the best on validation data."""
MAIN = tuple(words for words, _ in PARTS.values())
DATA, WHAT = Along("data", "data set"), Along("what", "part", head="effect")


def _without(off: Sequence[str]) -> str:
    """The method that trains without some parts."""
    trained = [part for part, (_, options) in PARTS.items() if options]
    off = [part for part in trained if part in off]
    return f"without {'both' if off == trained[:2] == trained else ' and '.join(off)}" if off else "local"


class AblationStudy(AxisStudy):
    """Which parts of DTG-FF matter?"""

    name = "ablation"
    title = "DTG-FF taken apart"
    only = ("class-goodness",)
    own_readouts = True
    most_data = 8
    question = "What does each part of DTG-FF bring: dynamic temperature, decoupled normalization, multi-layer fusion?"
    axis = Along("of")
    differences = (Each("effect", "{what}, {data}", name="{at}"),)
    shown = (
        Grid("What each part of DTG-FF brings", (DATA, WHAT), (("effect", "on test accuracy", "points"),)),
        Grid("DTG-FF whole, beside its twins", (DATA,)),
        Marks(
            "effects",
            "Main effect of each part: accuracy with it minus without it, over all settings of the other two. 95 % intervals over seeds.",
            ("what", Axis(label="part", scale="category")), ({"effect": ""}, Axis(label="effect on test accuracy", unit="pp")),
            of=("what",), series=DATA, label="data", at={"what": MAIN},
        ),
    )  # fmt: skip

    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """One a data set, its methods every combination of parts and the variants."""
        scale = scale_of(plan)
        off = {_without(off): {k: v for part in off for k, v in PARTS[part][1].items()} for off in subsets(PARTS)}
        methods = methods_of(plan, rule)
        for name, options in (off | VARIANTS).items():
            methods.setdefault(name, RuleSpec(name=rule, options=readout_of(plan, rule) | options))
        return [
            Cell({"data": base}, scale.images(base, seed=seed), scale.network, scale.recipe_on(base), methods)
            for base in plan.data or BASES
        ]

    def entries(self, rows: Sequence[Row]) -> list[Row]:
        """Of each row one an effect, interaction and control: ``what`` it is, and its ``effect`` on test accuracy."""
        return [
            row | {"of": f"{name}/{row['data']}", "what": what, "effect": value}
            for part in group_rows(rows, "rule", "data").values()
            for name, what, values in (*_effects(part), *_controls(part))
            for row, value in zip(part, values, strict=True)
        ]

    def sentences(self, rule: str, rows: Sequence[Row]) -> Iterator[str]:
        """Main effects on each data set, those that are not shown, and the controls."""
        for (base,), part in group_rows(rows, "data").items():
            found = {what: estimates(of, "effect")["effect"] for (what,), of in group_rows(part, "what").items()}
            yield f"{base}: " + "; ".join(f"{what} {difference(found[what])}" for what in MAIN) + "."
            nothing = [what for what in MAIN if relation(found[what]) != ABOVE]
            if nothing:
                yield f"{base}: no gain is shown of {', '.join(nothing)} (the interval does not lie above 0)."
            yield from (f"{base}: {what}: {difference(of)}." for what, of in found.items() if " − " in what)


def _accuracy(row: Row, off: Sequence[str]) -> float:
    return last_accuracy(row, _without(off)) if "fusion" in off else row[_without(off)]


def _effects(rows: Sequence[Row]) -> Iterator[tuple[str, str, list[float]]]:
    """Name, words and a value a row: main effects first."""
    found = [factorial_effects({off: _accuracy(row, off) for off in subsets(PARTS)}) for row in rows]
    for parts in found[0]:
        words = " × ".join(PARTS[part][0] for part in parts)
        what = words if len(parts) == 1 else f"interaction {words}"
        yield f"effect/{'+'.join(parts)}", what, [effects[parts] for effects in found]


def _controls(rows: Sequence[Row]) -> Iterator[tuple[str, str, list[float]]]:
    """The same of controls."""
    for name, (what, methods) in CONTROLS.items():
        best = max(methods, key=lambda at: sum(row["validation"][methods[at]] or 0.0 for row in rows))
        yield name, what.format(best=best), [row["local"] - row[methods[best]] for row in rows]
    fused = [row["bp-deepsup"] - last_accuracy(row, "bp-deepsup") for row in rows]
    yield "fusion_of_deepsup", "the same fusion of BP-DeepSup − its last block", fused
