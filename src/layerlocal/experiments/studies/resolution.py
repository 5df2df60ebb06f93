"""Study `resolution` (claim P3): the same images at 32 to 224 px, the same network (as many parameters at every size)."""

from __future__ import annotations

from layerlocal.experiments.studies.axis import AxisStudy, Each, Finding
from layerlocal.experiments.studies.base import Cell, StudyPlan
from layerlocal.experiments.studies.effects import slope
from layerlocal.experiments.studies.scale import methods_of
from layerlocal.experiments.studies.views import Along
from layerlocal.spec import DataSpec, NetworkSpec, Recipe

__all__ = ["ResolutionStudy"]

BASE = "caltech101_224"
TITLES = {32: "32 px", 64: "64 px", 112: "112 px", 224: "224 px"}
IMAGES = {"quick": (20, 23, 8), "medium": (50, 23, 8)}
"""Classes, and images of each to train on and to test on, below ``standard``; there all."""
NETWORKS = {
    "quick": NetworkSpec(name="cnn4", width=0.25, options={"depth": 6}),
    "medium": NetworkSpec(name="cnn4", width=0.5, options={"depth": 6}),
    "standard": NetworkSpec(name="cnn4", width=1.0, options={"depth": 8}),
    "full": NetworkSpec(name="cnn4", width=2.0, options={"depth": 8}),
}
RECIPES = {
    size: Recipe(epochs=epochs, batch_size=batch, learning_rate=5e-3, flip=True)
    for size, epochs, batch in (("quick", 6, 16), ("medium", 10, 16), ("standard", 40, 32), ("full", 100, 64))
}


class ResolutionStudy(AxisStudy):
    """Does the gap grow with the images' size?"""

    name = "resolution"
    takes_text = False
    title = "Resolution of the same images"
    question = "Does the gap to backprop grow with the resolution of the same images, at matched network capacity?"
    axis = Along("side", "side, pixels", TITLES, "log2", head="side, px")
    differences = (Each("gap", "local − BP at {at}"),)
    measured = tuple(
        Finding(
            name, f"{key} per doubling of the side in pixels", slope(key, "side"),
            said=f"{{rule}}: {words} changes by {{found}} per doubling of the side.",
        )
        for name, key, words in (
            ("gap_slope", "gap", "gap"), ("price_slope", "price_of_locality", "price of locality"),
        )
    )  # fmt: skip
    table = "The same images at each side"
    figure = "Differences against the images' side"

    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """One a side in pixels."""
        data = DataSpec(source=plan.source(BASE), seed=seed)
        if plan.size in IMAGES:
            classes, train, test = IMAGES[plan.size]
            data = data.model_copy(
                update={"classes": classes, "num_train": classes * train, "num_test": classes * test}
            )
        network, recipe, methods = NETWORKS[plan.size], RECIPES[plan.size], methods_of(plan, rule)
        return [
            Cell({"side": side}, data.model_copy(update={"image_size": side}), network, recipe, methods)
            for side in TITLES
        ]

    def notes(self, plan: StudyPlan) -> list[str]:
        """Why the network is the same."""
        return [
            "Three poolings and goodness on 4×4 cells at every side: the network and its readouts have the same parameters. Its receptive "
            "field is the same in pixels, so it covers less of a larger image."
        ]
