"""Study `scaling`: how the price of locality follows width, images, depth and modules, and what that predicts for a network four times as large.

The first call trains the corners of a grid and fits log2 of each axis. Its summary holds the prediction. The same command again trains the
larger network, and says whether the prediction held (`layerlocal.experiments.studies.predicted`); the plan keeps it as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import hypot
from statistics import fmean

from layerlocal.experiments.studies.axis import AxisStudy, Finding
from layerlocal.experiments.studies.base import Cell, Conclusion, StudyPlan, by_seed, group_rows, over_seeds, quantity
from layerlocal.experiments.studies.effects import Factor, chosen, doublings, effect, effects_by_seed, mean
from layerlocal.experiments.studies.sampled import PAIRS
from layerlocal.experiments.studies.scale import beside, methods_of, scale_of
from layerlocal.experiments.studies.views import RULE, Along, Grid, Marks
from layerlocal.stats import Estimate
from layerlocal.summary import Axis, Row
from layerlocal.words import difference

__all__ = ["PREDICTION", "ScalingStudy"]

BASE = "cifar10"
AXES = ("width", "images", "depth", "modules")
FACTORS: Mapping[str, Factor] = {key: doublings(key) for key in AXES}
PREDICTION = "prediction"
"""The quantity that a larger network is held to."""
CLOSE = 0.01
"""How far prediction and measurement may be apart, by their intervals, where it is a hit."""
PAIR = 2
"""Blocks of a module where not every block is one."""


@dataclass(frozen=True)
class Corners:
    """Two values of each axis; the larger network has twice the largest width, and the largest of all else."""

    width: tuple[float, float]
    images: tuple[int, int]
    depth: tuple[int, int] = (4, 8)

    @property
    def places(self) -> list[tuple[float, int, int]]:
        """Width, images and depth of each corner."""
        return list(product(self.width, self.images, self.depth))

    @property
    def target(self) -> tuple[float, int, int]:
        """Width, images and depth of the network that is predicted: four times the parameters of the largest corner."""
        return 2 * max(self.width), max(self.images), max(self.depth)


GRIDS = {
    "quick": Corners((0.25, 0.5), (625, 2_500)),
    "medium": Corners((0.5, 1.0), (1_250, 5_000)),
    "standard": Corners((0.5, 1.0), (10_000, 40_000)),
    "full": Corners((1.0, 2.0), (12_500, 50_000), (8, 16)),
}


class ScalingStudy(AxisStudy):
    """Does a law that is fitted to small networks hold for a larger one?"""

    name = "scaling"
    title = "Scaling law of the price of locality"
    question = "How does the price of locality follow width, images, depth and modules, and does that predict a larger network?"
    own_readouts = True
    axis = Along("width", "width", scale="log2", kind="number")
    measured = (
        *(
            Finding(
                f"{key}_effect", f"price of isolation per doubling of {key}", effect("price", key, FACTORS, role="corner"),
                said="{rule}: {what}: {found}.",
            )
            for key in AXES
        ),
        Finding("price/target", "price of locality of the larger network", mean("price", role="target", whole=True)),
    )  # fmt: skip
    shown = (
        Grid(
            "Price of isolation: modules − BP with the same readouts",
            (
                RULE,
                *(Along(key, key, kind="int" if key != "width" else "number") for key in AXES),
                Along("role", "role"),
            ),
            (("accuracy", "accuracy", "percent"), ("price", "price", "points"), ("headroom", "headroom", "points")),
        ),
        Marks(
            "price", "{rule}: price of isolation against width. Means over seeds, 95 % intervals.", ("width", Axis(label="width", scale="log2")),
            ({"price": "price"}, Axis(label="price of isolation", unit="pp")), ("width", "images", "net"), series=Along("net"),
            panel=Along("images", "images", {n: f"{n:,} images" for grid in GRIDS.values() for n in grid.images}), apart=True,
        ),
    )  # fmt: skip

    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """The corners, and the larger network once its price has been predicted; two methods and their twins of each: a module a block, and two
        blocks a module."""
        scale, grid, base = scale_of(plan), GRIDS[plan.size], plan.source(BASE)
        pairs = {"modules": ("segmented", {"segment_size": PAIR}), "deepsup": ("bp-deepsup", {"segment_size": PAIR})}
        methods = methods_of(plan, rule) | beside(plan, rule, pairs)
        places = [("corner", at) for at in grid.places]
        places += [("target", grid.target)] if rule in plan.predicted else []
        cells = []
        for role, (width, images, depth) in places:
            network = scale.network.model_copy(update={"name": "cnn4", "width": width, "options": {"depth": depth}})
            recipe = scale.recipe_for(images).model_copy(update={"flip": scale.recipe_on(base).flip})
            at = {"role": role, "width": width, "images": images, "depth": depth}
            cells.append(Cell(at, scale.images(base, num_train=images, seed=seed), network, recipe, methods))
        return cells

    def entries(self, rows: Sequence[Row]) -> list[Row]:
        """Of each row one entry a number of modules."""
        return [entry for row in rows for entry in _by_modules(row)]

    def conclude(self, plan: StudyPlan, rows: Sequence[Row]) -> Conclusion:
        """Effects, the prediction while there is only that, and whether it held."""
        found = super().conclude(plan, rows)
        by_rule = group_rows(self.entries(rows), "rule").items()
        found.sentences[:0] = [text for (rule,), part in by_rule for text in self._told(plan, rule, part, found)]
        return found

    def notes(self, plan: StudyPlan) -> list[str]:
        """What the fit is."""
        return [
            "The fit is linear in log2 of width, images, depth and modules, in each seed alone; every network has as many steps. The larger "
            "network has twice the width of the largest corner, which is about four times its parameters."
        ]

    def _told(self, plan: StudyPlan, rule: str, rows: Sequence[Row], found: Conclusion) -> Iterator[str]:
        """What is predicted, and what came of it."""
        grid, early = GRIDS[plan.size], plan.predicted.get(rule)
        width, images, depth = grid.target
        where = f"the larger network (width {width:g}, {images:,} images, depth {depth})"
        expected = {int(seed): value for seed, value in early.items()} if early else _extended(grid, plan.seeds, rows)
        if not expected:
            return
        found.quantities[rule][PREDICTION] = quantity(f"price of locality of {where}, as predicted", expected)
        measured = by_seed(chosen(rows, {"role": "target", "whole": True}), "price")
        told = f"predicted to have a price of {difference(over_seeds(expected))}"
        if measured:
            verdict = _held(over_seeds(expected), over_seeds(measured))
            yield f"{rule}: {where} was {told}; it has {difference(over_seeds(measured))}: {verdict}."
        else:
            yield f"{rule}: {where} is {told}. The same command again trains it."


def _by_modules(row: Row) -> Iterator[Row]:
    """The price is against BP with readouts at the same places."""
    for size, own, twin in ((PAIR, "modules", "deepsup"), (1, "local", "bp-deepsup")):
        depth, modules = row["depth"], row["depth"] // size
        of = {
            "modules": modules,
            "whole": size == 1,
            "net": f"depth {depth}, {modules} modules",
            PAIRS: {"price": (own, twin)},
        }
        yield row | of | {"accuracy": row[own], "price": row[own] - row[twin]}


def _extended(grid: Corners, seeds: Sequence[int], rows: Sequence[Row]) -> dict[int, float]:
    """Seed → the price of the larger network by the fit to the seed's corners; nothing while one of any seed is missing, since what is predicted
    stays as it is."""
    width, images, depth = grid.target
    target = {"width": width, "images": images, "depth": depth, "modules": depth}
    by = group_rows(chosen(rows, {"role": "corner"}), "seed")
    whole = {seed: part for (seed,), part in by.items() if len(part) == len(grid.places) * len((1, PAIR))}
    if {*whole} < {*seeds}:
        return {}
    fitted = effects_by_seed([row for part in whole.values() for row in part], "price", FACTORS)
    return {
        seed: fmean(row["price"] for row in part)
        + sum(fitted[key][seed] * (of(target) - fmean(map(of, part))) for key, of in FACTORS.items())
        for seed, part in whole.items()
    }


def _held(expected: Estimate, measured: Estimate) -> str:
    """Whether the two are apart by more than their intervals allow, and whether these are narrow enough to call it a hit."""
    apart = abs(measured["mean"] - expected["mean"])
    halves = [_half(expected), _half(measured)]
    if None in halves:
        return "one seed, not judged"
    room = hypot(*(half for half in halves if half is not None))
    if apart > room:
        return "a miss"
    return "a hit" if room <= CLOSE else "not told apart, by intervals too wide for a hit"


def _half(of: Estimate) -> float | None:
    low, high = of["low"], of["high"]
    return None if low is None or high is None else (high - low) / 2
