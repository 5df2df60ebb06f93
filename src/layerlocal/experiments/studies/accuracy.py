"""Study `accuracy` (claims P1, P8): rules and their twins on real data sets.

Each data set is one task with the same number of images, network and recipe; a set that is not at hand, or that a rule cannot be run on, is
left out and said so. Rules that deal channels to classes have, with their twins, the nearest width of the network at which that can be done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from layerlocal.data.text import is_text
from layerlocal.experiments.studies.axis import AxisStudy, Each, Finding
from layerlocal.experiments.studies.base import Cell, StudyPlan, by_seed, plan_runs, quantity
from layerlocal.experiments.studies.effects import between
from layerlocal.experiments.studies.parts import STANDS
from layerlocal.experiments.studies.scale import Scale, methods_of, network_of, scale_of
from layerlocal.experiments.studies.views import Along
from layerlocal.spec import NetworkSpec, RuleSpec
from layerlocal.summary import Quantity, Row

__all__ = ["AccuracyStudy"]

NINE = ("mnist", "fashion_mnist", "kmnist", "svhn", "cifar10", "cifar100", "stl10", "tiny_imagenet", "imagenet100")
IMAGE_SIZE = {"stl10": 32, "tiny_imagenet": 64, "imagenet100": 64}
"""Sides in pixels below ``full``; other sets as stored."""


class AccuracyStudy(AxisStudy):
    """Is a local rule below its twins on real images, and where?"""

    name = "accuracy"
    title = "Accuracy on real data sets"
    question = "How far is the rule from backprop on real images, and how much of that is locality?"
    optional_data = True
    tasks_apart = True
    most_data = 100
    axis = Along("data", "data set")
    differences: ClassVar[tuple[Each, ...]] = (
        Each("gap", "local − BP on {at}"),
        Each("extra_supervision", "DeepSup − BP on {at}"),
        Each("price_of_locality", "local − DeepSup on {at}"),
    )
    measured: ClassVar[tuple[Finding, ...]] = (
        Finding(
            "price_complexity/cifar100_minus_cifar10", "price of locality, cifar100 − cifar10",
            between("price_of_locality", "data", "cifar100", "cifar10"),
        ),
    )  # fmt: skip
    said: ClassVar[tuple[str, ...]] = (f"{{rule}} on {STANDS}",)
    table = "Fused test accuracy by data set"
    figure = "Differences to the twins by data set"

    def sources(self, plan: StudyPlan) -> tuple[str, ...]:
        """The data sets of its own."""
        return ("fashion_mnist_subset", *NINE)

    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """One a data set."""
        return [self._cell(plan, rule, name, seed) for name in plan.data or self.sources(plan)]

    def scale(self, plan: StudyPlan) -> Scale:
        """How much is trained."""
        return scale_of(plan)

    def widened(self, plan: StudyPlan) -> NetworkSpec:
        """The scale's."""
        return self.scale(plan).network

    def options(self, plan: StudyPlan, rule: str) -> dict[str, Any]:
        """Of a rule and its twins alike."""
        return {}

    def methods(self, plan: StudyPlan, rule: str) -> dict[str, RuleSpec]:
        """What is compared."""
        return methods_of(plan, rule, **self.options(plan, rule))

    def _cell(self, plan: StudyPlan, rule: str, name: str, seed: int) -> Cell:
        scale = self.scale(plan)
        size = IMAGE_SIZE.get(name) if plan.size != "full" else (224 if name == "imagenet100" else None)
        data = scale.images(name, image_size=size, seed=seed)
        network, methods = network_of(plan, rule, name, scale), self.methods(plan, rule)
        return Cell({"data": name}, data, network, scale.recipe_on(name), methods, plan.own_settings(rule, name))

    def more(self, plan: StudyPlan, rule: str, value: Any, rows: Sequence[Row]) -> Mapping[str, Quantity]:
        """The accuracy itself, and what was trained, in words; alike for all seeds."""
        one = plan.model_copy(update={"rules": (rule,), "seeds": plan.seeds[:1], "data": (value,)})
        [spec] = [spec for (*_, method), spec in plan_runs(self, one).items() if method == "local"]
        length = f"{spec.recipe.steps} steps" if spec.recipe.steps else f"{spec.recipe.epochs} epochs"
        what = "texts" if is_text(spec.data) else "images"
        protocol = f"{spec.network.name} at width {spec.network.width:g}, {spec.data.num_train:,} {what}, {length}"
        accuracy = quantity(f"test accuracy on {value}", by_seed(rows, "local"), unit="%", protocol=protocol)
        return {f"accuracy/{value}": accuracy}
