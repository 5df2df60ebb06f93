"""Study `resolution` (claim P3): the same images at 32 to 224 px, the same network (as many parameters at every size)."""

from __future__ import annotations

from collections.abc import Sequence

from layerlocal.experiments.studies.base import (
    Cell,
    Conclusion,
    Study,
    StudyPlan,
    by_seed,
    group_rows,
    quantity,
    twins_of_rule,
)
from layerlocal.experiments.studies.effects import slopes
from layerlocal.experiments.studies.parts import block_figure, difference_figure, difference_table
from layerlocal.experiments.studies.scale import readout_of
from layerlocal.spec import DataSpec, NetworkSpec, Recipe
from layerlocal.stats import estimate
from layerlocal.summary import Row
from layerlocal.words import difference

__all__ = ["ResolutionStudy"]

BASE = "caltech101_224"
SIDES = (32, 64, 112, 224)
CLASSES = {"quick": 20, "medium": 50, "standard": None, "full": None}
PER_CLASS = {"quick": (23, 8), "medium": (23, 8), "standard": None, "full": None}
NETWORK = {
    "quick": NetworkSpec(name="cnn4", width=0.25, options={"depth": 6}),
    "medium": NetworkSpec(name="cnn4", width=0.5, options={"depth": 6}),
    "standard": NetworkSpec(name="cnn4", width=1.0, options={"depth": 8}),
    "full": NetworkSpec(name="cnn4", width=2.0, options={"depth": 8}),
}
RECIPE = {
    "quick": Recipe(epochs=6, batch_size=16, learning_rate=5e-3, flip=True),
    "medium": Recipe(epochs=10, batch_size=16, learning_rate=5e-3, flip=True),
    "standard": Recipe(epochs=40, batch_size=32, learning_rate=5e-3, flip=True),
    "full": Recipe(epochs=100, batch_size=64, learning_rate=5e-3, flip=True),
}


class ResolutionStudy(Study):
    """Does the gap grow with the images' size?"""

    name = "resolution"
    title = "Resolution of the same images"
    question = "Does the gap to backprop grow with the resolution of the same images, at matched network capacity?"

    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """One a side in pixels."""
        base = plan.data[0] if plan.data else BASE
        methods = twins_of_rule(plan, rule, **readout_of(plan, rule))
        classes, each = CLASSES[plan.size], PER_CLASS[plan.size]
        number, tests = (classes * count for count in each) if classes and each else (None, None)
        return [
            Cell(
                {"side": side},
                DataSpec(source=base, image_size=side, classes=classes, num_train=number, num_test=tests, seed=seed),
                NETWORK[plan.size],
                RECIPE[plan.size],
                methods,
            )
            for side in SIDES
        ]

    def conclude(self, plan: StudyPlan, rows: Sequence[Row]) -> Conclusion:
        """The slope over doublings of the side."""
        found = Conclusion()
        for (rule,), part in group_rows(rows, "rule").items():
            own = found.quantities.setdefault(rule, {})
            for name, key in (("gap_slope", "gap"), ("price_slope", "price_of_locality")):
                values = slopes(part, key, "side")
                if values:
                    own[name] = quantity(f"{key} per doubling of the side in pixels", values)
                    told = difference(estimate(list(values.values())), bounded=False)
                    found.sentences.append(
                        f"{rule}: {key.replace('_', ' ')} changes by {told} per doubling of the side."
                    )
            for (side,), of in group_rows(part, "side").items():
                own[f"gap/{side}"] = quantity(f"local − BP at {side} px", by_seed(of, "gap"))
        if rows:
            found.tables.append(
                difference_table("The same images at each side", rows, [("rule", "rule"), ("side", "side, px")])
            )
            found.figures.append(
                difference_figure(
                    "resolution-gap",
                    "Differences against the images' side",
                    rows,
                    x="side",
                    label="side, pixels",
                    scale="log2",
                )
            )
            sides = {side: f"{side} px" for side in SIDES}
            found.figures.append(block_figure("resolution-blocks", rows, panel="side", titles=sides))
        found.notes.append(
            "Three poolings and goodness on 4×4 cells at every side: the network and its readouts have the same parameters. Its receptive "
            "field is the same in pixels, so it covers less of a larger image."
        )
        return found
