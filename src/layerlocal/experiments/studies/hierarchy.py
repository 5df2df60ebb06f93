"""Study `hierarchy` (claim P6): the same images under fine, coarse and random-group labels, and fine labels within a superclass.

20 random groups of 5 fine classes have as many outputs as 20 superclasses, but no meaning: the control for "20 outputs".
"""

from __future__ import annotations

from typing import Any

from layerlocal.experiments.studies.axis import AxisStudy, Each, Finding
from layerlocal.experiments.studies.base import Cell, StudyPlan
from layerlocal.experiments.studies.effects import between
from layerlocal.experiments.studies.parts import STANDS
from layerlocal.experiments.studies.scale import methods_of, scale_of
from layerlocal.experiments.studies.views import Along

__all__ = ["HierarchyStudy"]

BASE = "cifar100"
GROUPS = 20
WITHIN = 5
WITHIN_DRAWS = {"quick": 3, "medium": 5, "standard": 20, "full": 20}
LABELS = {
    "fine": "100 fine classes",
    "coarse": "20 superclasses",
    "random_groups": "20 random groups of 5",
    "within": "5 fine classes of one superclass",
}
PAIRS = (("fine", "coarse"), ("coarse", "random_groups"), ("fine", "random_groups"))


class HierarchyStudy(AxisStudy):
    """Is it the number of labels, their meaning, or the images?"""

    name = "hierarchy"
    takes_text = False
    title = "Label hierarchy on the same images"
    question = "On the same images: does the gap follow how many labels there are, or what they group together?"
    axis = Along("labels", "labels", LABELS)
    differences = (Each("gap", "local − BP, {at}"), Each("price_of_locality", "local − DeepSup, {at}"))
    measured = tuple(
        Finding(
            f"{prefix}{left}_minus_{right}", f"{key}: {LABELS[left]} − {LABELS[right]}", between(key, "labels", left, right)
        )
        for left, right in PAIRS
        for prefix, key in (("", "gap"), ("price_", "price_of_locality"))
    )  # fmt: skip
    said = (f"{{rule}}, {STANDS}",)
    table = "The same images under other labels"
    figure = "Differences to the twins by labelling of the same images"

    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """Fine, coarse, random groups on the same images; then fine within drawn superclasses."""
        scale, methods = scale_of(plan), methods_of(plan, rule)
        number, tests = min(2 * scale.num_train, 50_000), scale.num_test

        def cell(labels: str, images: int, tests: int, *, nth: int = 0, **options: Any) -> Cell:
            data = scale.images(plan.source(BASE), num_train=images, num_test=tests, seed=seed, **options)
            return Cell({"labels": labels, "nth": nth}, data, scale.network, scale.recipe_for(images), methods)

        cells = [
            cell("fine", number, tests),
            cell("coarse", number, tests, draw="superclasses"),
            cell("random_groups", number, tests, classes=GROUPS, draw="groups"),
        ]
        draws = WITHIN_DRAWS[plan.size]
        for nth in range(draws):
            part = {"classes": WITHIN, "draw": "within", "superclass": (seed * draws + nth) % GROUPS}
            cells.append(cell("within", number * WITHIN // 100, min(tests, 100 * WITHIN), nth=nth, **part))
        return cells

    def notes(self, plan: StudyPlan) -> list[str]:
        """What is alike and what is not."""
        return [
            "Fine, coarse and random-group labels are put on exactly the same training and test images (of each fine class the same ones); "
            "within a superclass there are its images alone, so fewer, seen more often. All are trained for the same number of steps. Each seed "
            f"visits {WITHIN_DRAWS[plan.size]} other superclasses of the 20."
        ]
