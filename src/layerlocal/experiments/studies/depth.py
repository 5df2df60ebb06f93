"""Study `depth` (claim P9): depth and module count as two axes, with per-block accuracy.

At each depth L the network is cut into 1, 2, ..., L gradient-isolated modules; each is compared with backprop and with backprop
that has readouts at the same places, so that what depth does and what isolation does are told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from layerlocal.experiments.studies.base import (
    Cell,
    Conclusion,
    Study,
    StudyPlan,
    estimates,
    group_rows,
)
from layerlocal.experiments.studies.parts import (
    Slope,
    add_slope,
    block_figure,
    columns,
    difference_table,
    fusion_sentence,
)
from layerlocal.experiments.studies.scale import methods_of, readout_of, scale_of
from layerlocal.spec import RuleSpec
from layerlocal.summary import Axis, Figure, Point, Row, Series, Table

__all__ = ["DepthStudy"]

BASE = "cifar10"
DEPTHS = {"quick": (4, 8, 16), "medium": (4, 8, 16), "standard": (4, 8, 16, 32), "full": (4, 8, 16, 32)}
MODULES = Slope("modules_slope", "price", "modules", "price of isolation per doubling of modules")
WHOLE = Slope("depth_slope", "price", "depth", "price of locality per doubling of depth, one module a block")
DEPTH = (
    Slope("gap_depth_slope", "gap", "depth", "gap to BP per doubling of depth, one module a block"),
    Slope(
        "depth_slope_last",
        "price_of_locality_last",
        "depth",
        "the same price read at the last block alone (exploratory)",
    ),
    Slope("gap_depth_slope_last", "gap_last", "depth", "the same gap read at the last block alone (exploratory)"),
)


class DepthStudy(Study):
    """Is it depth, or the number of isolated modules?"""

    name = "depth"
    title = "Depth against the number of modules"
    own_readouts = True
    question = "Does the gap grow with depth, or with the number of gradient-isolated modules, and at which block does it open?"

    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """One a depth, its methods every module count that divides it."""
        scale = scale_of(plan)
        cells = []
        for depth in DEPTHS[plan.size]:
            network = scale.network.model_copy(update={"name": "cnn4", "options": {"depth": depth}})
            methods = methods_of(plan, rule) | _segments(plan, rule, depth)
            data = scale.images(plan.source(BASE), seed=seed)
            cells.append(Cell({"depth": depth}, data, network, scale.recipe_on(data.source), methods))
        return cells

    def conclude(self, plan: StudyPlan, rows: Sequence[Row]) -> Conclusion:
        """Slopes on both axes, the heat map, block curves."""
        found, deepest = Conclusion(), max(DEPTHS[plan.size])
        modules = replace(MODULES, what=f"{MODULES.what}, depth {deepest}")
        for (rule,), part in group_rows(rows, "rule").items():
            grid = [entry for row in part for entry in _by_modules(row)]
            found.quantities[rule] = {}
            add_slope(found, rule, [entry for entry in grid if entry["depth"] == deepest], modules)
            add_slope(found, rule, [entry for entry in grid if entry["modules"] == entry["depth"]], WHOLE)
            for slope in DEPTH:
                add_slope(found, rule, part, slope)
            by_depth = group_rows(part, "depth").items()
            hidden = (fusion_sentence(f"{rule} at depth {depth}", of) for (depth,), of in by_depth)
            found.sentences += [sentence for sentence in hidden if sentence]
            titles = {depth: f"depth {depth}" for depth in DEPTHS[plan.size]}
            found.figures += [
                _heat(rule, grid, "price", "price of isolation: modules − BP with the same readouts"),
                _heat(rule, grid, "gap", "gap: modules − BP"),
                block_figure(f"depth-blocks-{rule}", part, panel="depth", titles=titles),
            ]
            found.tables.append(_table(rule, grid))
        if rows:
            found.tables.append(difference_table("One module a block", rows, [("rule", "rule"), ("depth", "depth")]))
        return found


def _segments(plan: StudyPlan, rule: str, depth: int) -> dict[str, RuleSpec]:
    """``modules-M`` and ``deepsup-M`` for every M between 1 and the depth that divides it in twos."""
    partner = plan.twins_of.get(rule, rule)
    options: dict[str, Any] = {"of": partner, **readout_of(plan, rule)}
    source = plan.sources.get(rule) if partner == rule else None
    found = {}
    size = 2
    while size < depth:
        for name, kind in (("modules", "segmented"), ("deepsup", "bp-deepsup")):
            found[f"{name}-{depth // size}"] = RuleSpec(
                name=kind, options=options | {"segment_size": size}, source_sha256=source
            )
        size *= 2
    return found


def _by_modules(row: Row) -> list[Row]:
    """One entry a module count: gap to BP, and price against BP with readouts at the same places."""
    pairs = {1: (row["bp"], row["bp"]), row["depth"]: (row["local"], row["bp-deepsup"])}
    pairs |= {
        int(name.removeprefix("modules-")): (row[name], row[name.replace("modules", "deepsup")])
        for name in row["runs"]
        if name.startswith("modules-")
    }
    return [
        {
            "rule": row["rule"],
            "seed": row["seed"],
            "depth": row["depth"],
            "modules": count,
            "accuracy": own,
            "gap": own - row["bp"],
            "price": own - twin,
        }
        for count, (own, twin) in sorted(pairs.items())
    ]


def _heat(rule: str, grid: Sequence[Row], key: str, label: str) -> Figure:
    cells = tuple(
        Point(x=str(modules), y=str(depth), z=estimates(part, key)[key])
        for (depth, modules), part in sorted(group_rows(grid, "depth", "modules").items())
    )
    return Figure(
        name=f"depth-{key}-{rule}",
        kind="heat",
        caption=f"{rule}: {label}, by depth and number of gradient-isolated modules; 1 module is BP. Means over seeds.",
        x=Axis(label="modules", scale="category"),
        y=Axis(label="depth in blocks", scale="category"),
        z=Axis(label=label, unit="pp"),
        series=(Series(name=label, points=cells),),
    )


def _table(rule: str, grid: Sequence[Row]) -> Table:
    return Table(
        caption=f"{rule}: depth × modules",
        columns=columns(
            ("depth", "depth", "int"),
            ("modules", "modules", "int"),
            ("accuracy", "fused accuracy", "percent"),
            ("gap", "gap to BP", "points"),
            ("price", "price against BP with the same readouts", "points"),
        ),
        rows=tuple(
            {"depth": depth, "modules": modules, **estimates(part, "accuracy", "gap", "price")}
            for (depth, modules), part in sorted(group_rows(grid, "depth", "modules").items())
        ),
    )
