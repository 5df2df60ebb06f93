"""Study `length`: how long networks are trained, and on how many images. All lengths are counted in steps, whatever the number of images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import TypeVar

from layerlocal.experiments.studies.axis import AxisStudy, Finding
from layerlocal.experiments.studies.base import Cell, StudyPlan, estimates, group_rows, over_seeds
from layerlocal.experiments.studies.effects import mean, slope, slopes
from layerlocal.experiments.studies.parts import NAMES, standings
from layerlocal.experiments.studies.scale import methods_of, trained_options, trained_scale_of
from layerlocal.experiments.studies.views import RULE, Along, Differences, Grid
from layerlocal.summary import Row
from layerlocal.words import difference

__all__ = ["LengthStudy"]

BASE = "cifar10"
X = TypeVar("X")
LENGTHS = {"quick": (0.25, 0.5, 1.0, 2.0), "medium": (0.25, 0.5, 1.0, 2.0), "standard": (0.125, 0.25, 0.5, 1.0, 2.0)}
"""Size → training, in that of the size."""
IMAGES = {"quick": (500, 2_500), "medium": (1_000, 5_000), "standard": (2_500, 10_000, 50_000)}
KEYS = {"total": "local − ordinary BP", **NAMES}
LENGTH = Along(
    "length",
    "training, times the usual",
    {x: str(Fraction(x)) for x in LENGTHS["standard"]},
    "log2",
    head="× usual",
    kind="number",
)


class LengthStudy(AxisStudy):
    """Where does the sign change?"""

    name = "length"
    title = "Length of training and number of images"
    question = "Does the difference to backprop change its sign with longer training, or with more images?"
    axis, panel = LENGTH, Along("images", "images", {n: f"{n:,} images" for of in IMAGES.values() for n in of})
    shown = (
        Grid("By number of images and length of training", (RULE, Along("images", "images", kind="count"), LENGTH)),
        Differences("differences", "Differences against the length of training", LENGTH, panel=panel, names=KEYS),
    )

    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """One a number of images and a length."""
        scale, base = trained_scale_of(plan), plan.source(BASE)
        methods = methods_of(plan, rule, **trained_options(plan, rule))
        cells = []
        for images in self._of(IMAGES, plan):
            data, recipe = scale.images(base, num_train=images, seed=seed), scale.recipe_on(base)
            for length in self._of(LENGTHS, plan):
                steps = recipe.model_copy(update={"epochs": 1, "steps": max(1, round(length * scale.steps))})
                cells.append(Cell({"images": images, "length": length}, data, scale.network, steps, methods))
        return cells

    def findings(self, plan: StudyPlan) -> Iterable[Finding]:
        """Each difference at each number and length, and its slopes."""
        for key, words in KEYS.items():
            for images in self._of(IMAGES, plan):
                for length in self._of(LENGTHS, plan):
                    what = f"{words}, {images:,} images, {LENGTH.named(length)} of the training"
                    yield Finding(f"{key}/{images}/{length:g}", what, mean(key, images=images, length=length))
                what = f"{words} per doubling of the training, {images:,} images"
                yield Finding(f"{key}_length_slope/{images}", what, slope(key, "length", images=images))
            what = f"{words} per doubling of the number of images, at the usual length"
            yield Finding(f"{key}_images_slope", what, slope(key, "images", length=1.0))

    def sentences(self, rule: str, rows: Sequence[Row]) -> Iterator[str]:
        """At which lengths the rule is above ordinary BP, and at which below, for each number of images, and how that moves."""
        for (images,), part in sorted(group_rows(rows, "images").items()):
            by = {length: estimates(own, "total") for (length,), own in group_rows(part, "length").items()}
            found = {LENGTH.named(length): of["total"] for length, of in sorted(by.items()) if of}
            if found:
                moved = f"with every doubling of the training {difference(over_seeds(slopes(part, 'total', 'length')))}"
                stands = standings(found, "ordinary BP", "at {} of the training")
                yield f"{rule} on {images:,} images: {stands}; {moved}."
        if by_images := slope("total", "images", length=1.0)(rows):
            yield f"{rule} at the usual length, with every doubling of the number of images: {difference(over_seeds(by_images))}."

    def _of(self, table: Mapping[str, tuple[X, ...]], plan: StudyPlan) -> tuple[X, ...]:
        return table.get(plan.size) or table["standard"]
