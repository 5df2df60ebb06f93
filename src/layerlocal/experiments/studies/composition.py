"""Study `composition` (claim P11): two images in one, the label their pair of classes, some pairs never seen in training.

Every method has the same factored readout (a pair's score is the sum of its two classes' scores), so an unseen pair can be answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from layerlocal.experiments.studies.base import (
    Cell,
    Conclusion,
    Study,
    StudyPlan,
    by_seed,
    estimates,
    group_rows,
    quantity,
    twins_of_rule,
)
from layerlocal.experiments.studies.effects import contrast
from layerlocal.experiments.studies.parts import block_figure, difference_figure, difference_table
from layerlocal.experiments.studies.scale import readout_of, scale_of
from layerlocal.summary import Row
from layerlocal.words import difference

__all__ = ["CompositionStudy"]

BASE = "fashion_mnist_subset"
CLASSES = 10
HOW = {"side": "side by side", "overlay": "overlaid"}
FACTORS = {"side": f"{CLASSES}x{CLASSES}", "overlay": f"{CLASSES // 2}x{CLASSES // 2}"}


class CompositionStudy(Study):
    """Is the gap larger on combinations that training never showed?"""

    name = "composition"
    title = "Composed images with held-out combinations"
    own_readouts = True
    sets = frozenset({"factors"})
    question = "Is the gap to backprop larger on combinations of classes that were never seen together?"

    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """Side by side and overlaid."""
        scale = scale_of(plan)
        base = plan.data[0] if plan.data else BASE
        number = min(2 * scale.num_train, 50_000)
        cells = []
        for how, factors in FACTORS.items():
            methods = twins_of_rule(plan, rule, **readout_of(plan, rule), factors=factors)
            data = scale.images(base, num_train=number, seed=seed).model_copy(
                update={"classes": CLASSES, "compose": how, "held_out": 0.2}
            )
            recipe = scale.recipe.model_copy(update={"flip": False})  # a mirrored pair is another pair
            cells.append(Cell({"how": how}, data, scale.network, recipe, methods))
        return cells

    def conclude(self, plan: StudyPlan, rows: Sequence[Row]) -> Conclusion:
        """Gaps on seen and on unseen pairs, and their difference."""
        found = Conclusion()
        flat = [entry for row in rows for entry in _by_group(row)]
        for (rule,), part in group_rows(flat, "rule").items():
            own = found.quantities.setdefault(rule, {})
            seen, unseen = ([entry for entry in part if entry["pairs"] == name] for name in ("seen", "unseen"))
            for name, of in (("seen", seen), ("unseen", unseen)):
                for key, label in (("gap", "local − BP"), ("price_of_locality", "local − DeepSup")):
                    own[f"{key}/{name}"] = quantity(f"{label} on {name} pairs", by_seed(of, key))
            own["unseen_minus_seen"] = quantity(
                "gap on unseen − gap on seen pairs", contrast(by_seed(unseen, "gap"), by_seed(seen, "gap"))
            )
            for (how,), of in group_rows(part, "how").items():
                gaps = [estimates([e for e in of if e["pairs"] == name], "gap")["gap"] for name in ("seen", "unseen")]
                found.sentences.append(
                    f"{rule}, {HOW[how]}: gap {difference(gaps[0])} on seen pairs and {difference(gaps[1])} on unseen ones."
                )
        if flat:
            named = [entry | {"how": HOW[entry["how"]]} for entry in flat]
            axes = [("rule", "rule"), ("how", "images"), ("pairs", "pairs of classes")]
            found.tables.append(difference_table("Composed images: seen and unseen pairs", named, axes))
            panels = {
                how: [entry for entry in named if entry["how"] == how] for how in dict.fromkeys(e["how"] for e in named)
            }
            found.figures.append(
                difference_figure(
                    "composition-gap", "Differences on seen and on unseen pairs", named, x="pairs", label="pairs of classes",
                    scale="category", panels=panels,
                )
            )  # fmt: skip
            found.figures.append(block_figure("composition-blocks", rows, panel="how", titles=HOW))
        found.notes.append(
            "A fifth of the pairs is held out; every class is seen in other pairs. The readout is factored for every method alike; a rule "
            "without that option cannot take part."
        )
        return found


def _by_group(row: Row) -> list[Row]:
    """One entry for seen and one for unseen pairs, with differences on each."""
    entries: list[dict[str, Any]] = []
    for name in ("seen", "unseen"):
        local, bp, deepsup = (row["groups"][method][name] for method in ("local", "bp", "bp-deepsup"))
        entries.append(
            {
                "rule": row["rule"], "seed": row["seed"], "how": row["how"], "pairs": name, "local": local, "bp": bp,
                "bp-deepsup": deepsup, "gap": local - bp, "extra_supervision": deepsup - bp, "price_of_locality": local - deepsup,
            }
        )  # fmt: skip
    return entries
