"""Study `accuracy` (claims P1, P8): rules and their twins on real data sets.

Each data set is one task with the same number of images, network and recipe; a set that is not at hand, or that a rule cannot be run on, is
left out and said so. Rules that deal channels to classes have, with their twins, the nearest width of the network at which that can be done.
"""

from __future__ import annotations

from collections.abc import Sequence

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
from layerlocal.experiments.studies.scale import network_of, readout_of, scale_of
from layerlocal.summary import Row

__all__ = ["AccuracyStudy"]

NINE = ("mnist", "fashion_mnist", "kmnist", "svhn", "cifar10", "cifar100", "stl10", "tiny_imagenet", "imagenet100")
IMAGE_SIZE = {"stl10": 32, "tiny_imagenet": 64, "imagenet100": 64}
"""Sides in pixels below ``full``; other sets as stored."""


class AccuracyStudy(Study):
    """Is a local rule below its twins on real images, and where?"""

    name = "accuracy"
    title = "Accuracy on real data sets"
    question = "How far is the rule from backprop on real images, and how much of that is locality?"
    optional_data = True
    tasks_apart = True
    own_widths = True
    most_data = 100

    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """One a data set."""
        scale = scale_of(plan)
        methods = twins_of_rule(plan, rule, **readout_of(plan, rule))
        cells = []
        for name in plan.data or ("fashion_mnist_subset", *NINE):
            size = IMAGE_SIZE.get(name) if plan.size != "full" else (224 if name == "imagenet100" else None)
            data = scale.images(name, image_size=size, seed=seed)
            network = network_of(plan, rule, name)
            cells.append(Cell({"data": name}, data, network, scale.recipe_on(name), methods))
        return cells

    def _protocol(self, plan: StudyPlan, rule: str, data: str) -> str:
        """What was trained, in words; alike for all seeds."""
        [cell] = [cell for cell in self.cells(plan, rule, plan.seeds[0]) if cell.at["data"] == data]
        network, recipe = cell.network, cell.recipe
        length = f"{recipe.steps} steps" if recipe.steps else f"{recipe.epochs} epochs"
        return f"{network.name} at width {network.width:g}, {cell.data.num_train:,} images, {length}"

    def conclude(self, plan: StudyPlan, rows: Sequence[Row]) -> Conclusion:
        """Gaps by data set."""
        found = Conclusion()
        for (rule, data), part in group_rows(rows, "rule", "data").items():
            own = found.quantities.setdefault(rule, {})
            for key, what in (
                ("gap", "local − BP"),
                ("extra_supervision", "DeepSup − BP"),
                ("price_of_locality", "local − DeepSup"),
            ):
                own[f"{key}/{data}"] = quantity(f"{what} on {data}", by_seed(part, key))
            protocol = self._protocol(plan, rule, data)
            own[f"accuracy/{data}"] = quantity(
                f"test accuracy on {data}", by_seed(part, "local"), unit="%", protocol=protocol
            )
            found.sentences.append(gap_sentence(f"{rule} on {data}", estimates(part, "gap", "price_of_locality")))
            for harder, easier in (("cifar100", "cifar10"),):
                prices = [
                    by_seed([row for row in rows if (row["rule"], row["data"]) == (rule, name)], "price_of_locality")
                    for name in (harder, easier)
                ]
                if all(prices):
                    own[f"price_complexity/{harder}_minus_{easier}"] = quantity(
                        f"price of locality, {harder} − {easier}", contrast(*prices)
                    )
        if rows:
            found.tables.append(
                difference_table("Fused test accuracy by data set", rows, [("rule", "rule"), ("data", "data set")])
            )
            found.figures.append(
                difference_figure(
                    "accuracy-gap",
                    "Differences to the twins by data set",
                    rows,
                    x="data",
                    label="data set",
                    scale="category",
                )
            )
            found.figures.append(block_figure("accuracy-blocks", rows, panel="data"))
        return found
