"""Study `hierarchy` (claim P6): the same images under fine, coarse and random-group labels, and fine labels within a superclass.

20 random groups of 5 fine classes have as many outputs as 20 superclasses, but no meaning: the control for "20 outputs".
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
from layerlocal.experiments.studies.parts import block_figure, difference_figure, difference_table, gap_sentence
from layerlocal.experiments.studies.scale import readout_of, scale_of
from layerlocal.summary import Row

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
DIFFERENCES = (("fine", "coarse"), ("coarse", "random_groups"), ("fine", "random_groups"))


class HierarchyStudy(Study):
    """Is it the number of labels, their meaning, or the images?"""

    name = "hierarchy"
    title = "Label hierarchy on the same images"
    question = "On the same images: does the gap follow how many labels there are, or what they group together?"

    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """Fine, coarse, random groups on the same images; then fine within drawn superclasses."""
        scale = scale_of(plan)
        base = plan.data[0] if plan.data else BASE
        methods = twins_of_rule(plan, rule, **readout_of(plan, rule))
        number = min(2 * scale.num_train, 50_000)

        def cell(labels: str, images: int, tests: int, *, nth: int = 0, **options: Any) -> Cell:
            data = scale.images(base, num_train=images, num_test=tests, seed=seed, **options)
            return Cell({"labels": labels, "nth": nth}, data, scale.network, scale.recipe_for(images), methods)

        tests = scale.num_test
        cells = [
            cell("fine", number, tests),
            cell("coarse", number, tests, draw="superclasses"),
            cell("random_groups", number, tests, classes=GROUPS, draw="groups"),
        ]
        draws = WITHIN_DRAWS[plan.size]
        for nth in range(draws):
            superclass = (seed * draws + nth) % GROUPS
            part = {"classes": WITHIN, "draw": "within", "superclass": superclass}
            cells.append(cell("within", number * WITHIN // 100, min(tests, 100 * WITHIN), nth=nth, **part))
        return cells

    def conclude(self, plan: StudyPlan, rows: Sequence[Row]) -> Conclusion:
        """Gap and price under each labelling, and what changes between them."""
        found = Conclusion()
        for (rule,), part in group_rows(rows, "rule").items():
            own = found.quantities.setdefault(rule, {})
            by_labels = {labels: of for (labels,), of in group_rows(part, "labels").items()}
            for labels, of in by_labels.items():
                own[f"gap/{labels}"] = quantity(f"local − BP, {LABELS[labels]}", by_seed(of, "gap"))
                own[f"price_of_locality/{labels}"] = quantity(
                    f"local − DeepSup, {LABELS[labels]}", by_seed(of, "price_of_locality")
                )
                found.sentences.append(
                    gap_sentence(f"{rule}, {LABELS[labels]}", estimates(of, "gap", "price_of_locality"))
                )
            for left, right in DIFFERENCES:
                if left in by_labels and right in by_labels:
                    for prefix, key in (("", "gap"), ("price_", "price_of_locality")):
                        values = contrast(by_seed(by_labels[left], key), by_seed(by_labels[right], key))
                        own[f"{prefix}{left}_minus_{right}"] = quantity(
                            f"{key}: {LABELS[left]} − {LABELS[right]}", values
                        )
        if rows:
            named = [row | {"labels": LABELS[row["labels"]]} for row in rows]
            found.tables.append(
                difference_table("The same images under other labels", named, [("rule", "rule"), ("labels", "labels")])
            )
            caption = "Differences to the twins by labelling of the same images"
            found.figures.append(
                difference_figure("hierarchy-gap", caption, named, x="labels", label="labels", scale="category")
            )
            found.figures.append(block_figure("hierarchy-blocks", rows, panel="labels", titles=LABELS))
        found.notes.append(
            "Fine, coarse and random-group labels are put on exactly the same training and test images (of each fine class the same ones); "
            "within a superclass there are its images alone, so fewer, seen more often. All are trained for the same number of steps. Each seed "
            f"visits {WITHIN_DRAWS[plan.size]} other superclasses of the 20."
        )
        return found
