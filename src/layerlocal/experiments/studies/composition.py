"""Study `composition` (claim P11): two images in one, the label their pair of classes, some pairs never seen in training.

Every method has the same factored readout (a pair's score is the sum of its two classes' scores), so an unseen pair can be answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from layerlocal.experiments.studies.axis import AxisStudy, Each, Finding
from layerlocal.experiments.studies.base import DIFFERENCES, Cell, StudyPlan, estimates, group_rows
from layerlocal.experiments.studies.effects import between
from layerlocal.experiments.studies.scale import methods_of, scale_of
from layerlocal.experiments.studies.views import Along
from layerlocal.summary import Row
from layerlocal.words import difference

__all__ = ["CompositionStudy"]

BASE = "fashion_mnist_subset"
CLASSES = 10
HOW = {"side": "side by side", "overlay": "overlaid"}
FACTORS = {"side": f"{CLASSES}x{CLASSES}", "overlay": f"{CLASSES // 2}x{CLASSES // 2}"}


class CompositionStudy(AxisStudy):
    """Is the gap larger on combinations that training never showed?"""

    name = "composition"
    takes_text = False
    title = "Composed images with held-out combinations"
    own_readouts = True
    sets = frozenset({"factors"})
    question = "Is the gap to backprop larger on combinations of classes that were never seen together?"
    axis, panel = Along("pairs", "pairs of classes"), Along("how", "images", HOW)
    differences = (
        Each("gap", "local − BP on {at} pairs"),
        Each("price_of_locality", "local − DeepSup on {at} pairs"),
    )
    measured = (
        Finding(
            "unseen_minus_seen", "gap on unseen − gap on seen pairs", between("gap", "pairs", "unseen", "seen")
        ),
    )  # fmt: skip
    table = "Composed images: seen and unseen pairs"
    figure = "Differences on seen and on unseen pairs"

    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """Side by side and overlaid."""
        scale = scale_of(plan)
        images = scale.images(plan.source(BASE), num_train=min(2 * scale.num_train, 50_000), seed=seed)
        recipe = scale.recipe.model_copy(update={"flip": False})  # a mirrored pair is another pair
        cells = []
        for how, factors in FACTORS.items():
            data = images.model_copy(update={"classes": CLASSES, "compose": how, "held_out": 0.2})
            cells.append(Cell({"how": how}, data, scale.network, recipe, methods_of(plan, rule, factors=factors)))
        return cells

    def entries(self, rows: Sequence[Row]) -> list[Row]:
        """Of each row one entry for seen and one for unseen pairs, with differences on each."""
        return [_on_pairs(row, name) for row in rows for name in ("seen", "unseen")]

    def sentences(self, rule: str, rows: Sequence[Row]) -> Iterator[str]:
        """Both gaps, for each way of composing."""
        for (how,), part in group_rows(rows, "how").items():
            seen, unseen = (estimates(of, "gap")["gap"] for of in group_rows(part, "pairs").values())
            yield f"{rule}, {HOW[how]}: gap {difference(seen)} on seen pairs and {difference(unseen)} on unseen ones."

    def notes(self, plan: StudyPlan) -> list[str]:
        """What is held out."""
        return [
            "A fifth of the pairs is held out; every class is seen in other pairs. The readout is factored for every method alike; a rule "
            "without that option cannot take part."
        ]


def _on_pairs(row: Row, name: str) -> Row:
    on = {method: groups[name] for method, groups in row["groups"].items()}
    differences = {
        key: on[left] - on[right] for key, (left, right) in DIFFERENCES.items() if {left, right} <= on.keys()
    }
    return row | {"pairs": name, **on, **differences}
