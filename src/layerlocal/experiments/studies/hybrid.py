"""Study `hybrid` (claim P10): how much of the gap comes back when some global signal is let in.

recovery = (hybrid − local) / (BP − local), a ratio of means over seeds (and the same against BP-DeepSup, which has the same extra
supervision: the price of locality that comes back), against the share of global signal: of segments the blocks
that get a gradient from above, of steps those that are global, of lookahead the blocks a loss may look through; a random feedback of
the output error has no share.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from layerlocal.experiments.studies.axis import AxisStudy, Each, Share
from layerlocal.experiments.studies.base import Cell, StudyPlan
from layerlocal.experiments.studies.parts import gains
from layerlocal.experiments.studies.scale import beside, methods_of, scale_of
from layerlocal.experiments.studies.views import RULE, Along, Blocks, Grid, Marks
from layerlocal.summary import Axis, Row

__all__ = ["HybridStudy"]

BASE = "cifar10"
DEPTH = 8
HYBRIDS: dict[str, tuple[str, str, dict[str, Any], float | None]] = {
    "segments-2": ("segments", "segmented", {"segment_size": 2}, 4 / 7),
    "segments-4": ("segments", "segmented", {"segment_size": 4}, 6 / 7),
    "bp-every-8": ("global step every n", "bp-every", {"every": 8}, 1 / 8),
    "bp-every-2": ("global step every n", "bp-every", {"every": 2}, 1 / 2),
    "lookahead-1": ("lookahead", "lookahead", {"blocks_ahead": 1}, 1 / 7),
    "lookahead-2": ("lookahead", "lookahead", {"blocks_ahead": 2}, 2 / 7),
    "feedback": ("random feedback of the output error", "feedback", {}, None),
}
"""Method → (family, rule, options, share of global signal at depth 8)."""
METHOD, DATA = Along("method", "method"), Along("data", "data set")
SHARE = Along("share", "share of global signal", kind="number")
FIGURES = {
    "recovery": ("recovery", "recovery of the gap", ""),
    "price-recovery": ("price_recovery", "recovery of the price of locality", ""),
    "gain": ("gain", "accuracy above the local rule", "pp"),
}
AGAINST = "{{rule}}: {} against the share of global signal; BP is {{lead}} above the local rule. 95 % intervals."


class HybridStudy(AxisStudy):
    """How much global signal is needed?"""

    name = "hybrid"
    title = "Hybrids of local and global learning"
    own_readouts = True
    question = "How much of the gap to backprop comes back with how much global signal?"
    axis = METHOD
    differences = (
        Each("gain", "{at} − local"),
        Each("gain_last", "{at} − local, read at the last block alone (exploratory)"),
        Share("recovery", "({at} − local) ÷ (BP − local)", lead="lead", twin="BP"),
        Share("price_recovery", "({at} − local) ÷ (DeepSup − local)", lead="deepsup_lead", twin="BP-DeepSup"),
    )
    largest = MappingProxyType(
        {
            "gain": "{rule}: the largest gain is {at}'s, {gain} over purely local learning; BP's is {lead}.",
            "gain_last": "{rule}, read at the last block alone, without fusion: {at} gains {gain_last} (exploratory).",
        }
    )
    shown = (
        *(
            Marks(
                name, AGAINST.format(label), ("share", Axis(label="share of global signal (depth 8)")),
                ({key: label}, Axis(label=label, unit=unit)),
                of=("method", "share"), series=Along("family"), label="method", apart=True,
            )
            for name, (key, label, unit) in FIGURES.items()
        ),
        Grid(
            f"{{rule}}: hybrids at depth {DEPTH}", (METHOD, SHARE),
            (
                ("accuracy", "fused accuracy", "percent"), ("gain", "gain over local", "points"),
                ("gain_last", "gain at the last block alone (exploratory)", "points"),
                ("recovery", "recovery of the gap to BP", "number"),
                ("price_recovery", "recovery of the price of locality", "number"),
            ), apart=True,
        ),
        Blocks(DATA, {"local": "local", "bp-deepsup": "BP-DeepSup", **{name: name for name in HYBRIDS}}),
        Grid("The rule and its twins on this task", (RULE, DATA)),
    )  # fmt: skip

    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """One task, all hybrids."""
        scale, base = scale_of(plan), plan.source(BASE)
        hybrids = {name: (kind, options) for name, (_, kind, options, _) in HYBRIDS.items()}
        network = scale.network.model_copy(update={"name": "cnn4", "options": {"depth": DEPTH}})
        methods = methods_of(plan, rule) | beside(plan, rule, hybrids)
        return [Cell({"data": base}, scale.images(base, seed=seed), network, scale.recipe_on(base), methods)]

    def entries(self, rows: Sequence[Row]) -> list[Row]:
        """Of each row one a hybrid: what it gains, beside the leads of the twins."""
        return [
            gains(row, name) | {"family": family, "share": share}
            for row in rows
            for name, (family, _, _, share) in HYBRIDS.items()
        ]
