"""Study `depth` (claim P9): depth and module count as two axes, with per-block accuracy.

At each depth L the network is cut into 1, 2, ..., L gradient-isolated modules; each is compared with backprop and with backprop
that has readouts at the same places, so that what depth does and what isolation does are told apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from layerlocal.experiments.studies.axis import AxisStudy, Finding
from layerlocal.experiments.studies.base import Cell, StudyPlan, group_rows
from layerlocal.experiments.studies.effects import chosen, slope
from layerlocal.experiments.studies.parts import fusion_sentence
from layerlocal.experiments.studies.sampled import PAIRS
from layerlocal.experiments.studies.scale import beside, methods_of, scale_of
from layerlocal.experiments.studies.views import RULE, Along, Blocks, Grid, Heat
from layerlocal.summary import Row

__all__ = ["DepthStudy"]

BASE = "cifar10"
DEPTHS = {"quick": (4, 8, 16), "medium": (4, 8, 16), "standard": (4, 8, 16, 32), "full": (4, 8, 16, 32)}
DEPTH = Along("depth", "depth", {depth: f"depth {depth}" for depth in DEPTHS["full"]}, "log2")
GRID = (Along("depth", "depth in blocks", head="depth", kind="int"), Along("modules", "modules", kind="int"))
LABELS = {"price": "price of isolation: modules − BP with the same readouts", "gap": "gap: modules − BP"}
CELLS = "{{rule}}: {}, by depth and number of gradient-isolated modules; 1 module is BP. Means over seeds."
SAID = "{rule}: {what}: {found}."


class DepthStudy(AxisStudy):
    """Is it depth, or the number of isolated modules?"""

    name = "depth"
    title = "Depth against the number of modules"
    own_readouts = True
    question = "Does the gap grow with depth, or with the number of gradient-isolated modules, and at which block does it open?"
    axis = DEPTH
    measured = tuple(
        Finding(name, what, slope(key, "depth", whole=True), SAID)
        for name, key, what in (
            ("depth_slope", "price", "price of locality per doubling of depth, one module a block"),
            ("gap_depth_slope", "gap", "gap to BP per doubling of depth, one module a block"),
            ("depth_slope_last", "price_of_locality_last", "the same price read at the last block alone (exploratory)"),
            ("gap_depth_slope_last", "gap_last", "the same gap read at the last block alone (exploratory)"),
        )
    )
    shown = (
        *(Heat(key, label, CELLS.format(label), x=GRID[1], y=GRID[0], apart=True) for key, label in LABELS.items()),
        Blocks(DEPTH, at={"whole": True}, apart=True),
        Grid(
            "{rule}: depth × modules",
            GRID,
            (
                ("accuracy", "fused accuracy", "percent"),
                ("gap", "gap to BP", "points"),
                ("price", "price against BP with the same readouts", "points"),
            ),
            apart=True,
        ),
        Grid("One module a block", (RULE, DEPTH), at={"whole": True}),
    )

    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """One a depth, its methods every module count that divides it in twos: ``modules-M``, and BP-DeepSup read as often."""
        scale, base = scale_of(plan), plan.source(BASE)
        cells = []
        for depth in DEPTHS[plan.size]:
            network = scale.network.model_copy(update={"name": "cnn4", "options": {"depth": depth}})
            cut = {
                f"{name}-{depth // size}": (kind, {"segment_size": size})
                for size in (2, 4, 8, 16)
                for name, kind in (("modules", "segmented"), ("deepsup", "bp-deepsup"))
                if size < depth
            }
            methods = methods_of(plan, rule) | beside(plan, rule, cut)
            cells.append(Cell({"depth": depth}, scale.images(base, seed=seed), network, scale.recipe_on(base), methods))
        return cells

    def entries(self, rows: Sequence[Row]) -> list[Row]:
        """Of each row one entry a module count; the count is ``whole`` where each block is a module."""
        return [entry for row in rows for entry in _by_modules(row)]

    def findings(self, plan: StudyPlan) -> Iterable[Finding]:
        """Also what modules do, where there are most."""
        deepest = max(DEPTHS[plan.size])
        what = f"price of isolation per doubling of modules, depth {deepest}"
        return (Finding("modules_slope", what, slope("price", "modules", depth=deepest), SAID), *self.measured)

    def sentences(self, rule: str, rows: Sequence[Row]) -> Iterator[str]:
        """Where fusion hides a better block."""
        for (depth,), part in group_rows(chosen(rows, {"whole": True}), "depth").items():
            if hidden := fusion_sentence(f"{rule} at depth {depth}", part):
                yield hidden


def _by_modules(row: Row) -> Iterator[Row]:
    """The price is against BP with readouts at the same places."""
    counts = {int(name.removeprefix("modules-")): name for name in row["runs"] if name.startswith("modules-")}
    for count, own in sorted((counts | {1: "bp", row["depth"]: "local"}).items()):
        twin = {"bp": "bp", "local": "bp-deepsup"}.get(own, own.replace("modules", "deepsup"))
        gap, price = row[own] - row["bp"], row[own] - row[twin]
        whole = count == row["depth"]
        pairs = {"gap": (own, "bp"), "price": (own, twin)}
        yield row | {"modules": count, "whole": whole, "accuracy": row[own], "gap": gap, "price": price, PAIRS: pairs}
