"""Study `hybrid` (claim P10): how much of the gap comes back when some global signal is let in.

recovery = (hybrid − local) / (BP − local), a ratio of means over seeds (and the same against BP-DeepSup, which has the same extra
supervision: the price of locality that comes back), against the share of global signal: of segments the blocks
that get a gradient from above, of steps those that are global, of lookahead the blocks a loss may look through; a random feedback of
the output error has no share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from layerlocal.experiments.studies.base import (
    Cell,
    Conclusion,
    Study,
    StudyPlan,
    by_seed,
    group_rows,
    last_accuracy,
    over_seeds,
    quantity,
)
from layerlocal.experiments.studies.effects import contrast, ratio_of_means
from layerlocal.experiments.studies.parts import block_figure, columns, difference_table
from layerlocal.experiments.studies.scale import methods_of, readout_of, scale_of
from layerlocal.spec import RuleSpec
from layerlocal.summary import Axis, Figure, Point, Quantity, Row, Series, Table
from layerlocal.words import difference, several

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
LEAST_GAP = 0.005
"""Where BP is on average less than half a point above the local rule, or seeds cannot tell its lead from zero, no ratio is given, and that
is said.
"""


class HybridStudy(Study):
    """How much global signal is needed?"""

    name = "hybrid"
    title = "Hybrids of local and global learning"
    own_readouts = True
    question = "How much of the gap to backprop comes back with how much global signal?"

    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """One task, all hybrids."""
        scale = scale_of(plan)
        partner = plan.twins_of.get(rule, rule)
        source = plan.sources.get(rule) if partner == rule else None
        shared: dict[str, Any] = {"of": partner, **readout_of(plan, rule)}
        methods = methods_of(plan, rule) | {
            name: RuleSpec(name=kind, options=shared | options, source_sha256=source)
            for name, (_, kind, options, _) in HYBRIDS.items()
        }
        network = scale.network.model_copy(update={"name": "cnn4", "options": {"depth": DEPTH}})
        base = plan.source(BASE)
        return [Cell({"data": base}, scale.images(base, seed=seed), network, scale.recipe_on(base), methods)]

    def conclude(self, plan: StudyPlan, rows: Sequence[Row]) -> Conclusion:
        """Gain and recovery of each hybrid."""
        found = Conclusion()
        for (rule,), part in group_rows(rows, "rule").items():
            own = found.quantities.setdefault(rule, {})
            local = by_seed(part, "local")
            gaps, prices = (contrast(by_seed(part, twin), local) for twin in ("bp", "bp-deepsup"))
            body: list[Row] = []
            for name, (family, _, _, share) in HYBRIDS.items():
                gains = contrast(by_seed(part, name), local)
                last = contrast(_last(part, name), _last(part, "local"))
                shares = {"recovery": _shares(gains, gaps), "price_recovery": _shares(gains, prices)}
                own[f"gain/{name}"] = quantity(f"{name} − local", gains)
                own[f"gain_last/{name}"] = quantity(f"{name} − local, read at the last block alone (exploratory)", last)
                own[f"recovery/{name}"] = _recovery(name, "BP", shares["recovery"], gaps)
                own[f"price_recovery/{name}"] = _recovery(name, "BP-DeepSup", shares["price_recovery"], prices)
                told = {"accuracy": by_seed(part, name), "gain": gains, "gain_last": last, **shares}
                known = {key: over_seeds(values) if values else None for key, values in told.items()}
                body.append({"method": name, "family": family, "share": share, **known})
            found.sentences += _sentences(rule, body, over_seeds(gaps))
            found.figures += _figures(rule, body, over_seeds(gaps))
            found.tables.append(_table(rule, body))
        if rows:
            shown = {"local": "local", "bp-deepsup": "BP-DeepSup", **{name: name for name in HYBRIDS}}
            found.figures.append(block_figure("hybrid-blocks", rows, panel="data", methods=shown))
            found.tables.append(
                difference_table("The rule and its twins on this task", rows, [("rule", "rule"), ("data", "data set")])
            )
        return found


def _is_a_gap(gaps: Mapping[int, float]) -> bool:
    """Whether something can be recovered: half a point at least, and told from zero. A share of what may be nothing is any number."""
    gap = over_seeds(gaps)
    return gap["mean"] > LEAST_GAP and gap["low"] is not None and gap["low"] > 0


def _shares(gains: Mapping[int, float], gaps: Mapping[int, float]) -> dict[int, float]:
    """Share of a gap that comes back; none where there is no gap."""
    return ratio_of_means(gains, gaps) if _is_a_gap(gaps) else {}


def _recovery(name: str, twin: str, shares: Mapping[int, float], gaps: Mapping[int, float]) -> Quantity:
    """The quantity, or why there is none: claims about it then cannot be judged."""
    found = quantity(f"({name} − local) ÷ ({twin.removeprefix('BP-')} − local)", shares, unit="share")
    if shares:
        return found
    gap = over_seeds(gaps)
    where = "below" if gap["mean"] < 0 else f"not {100 * LEAST_GAP:.1f} pp above"
    if gap["mean"] > LEAST_GAP:
        where = f"not told apart, by {several(len(gaps), 'seed')}, from"
    reason = f"{twin} is {where} the local rule here ({difference(gap)}), so there is nothing to recover"
    return found.model_copy(update={"reason": reason})


def _last(rows: Sequence[Row], method: str) -> dict[int, float]:
    """Accuracy of the last block's own readout, by seed: methods fuse different numbers of readouts, this compares one with one."""
    return {row["seed"]: last_accuracy(row, method) for row in rows}


def _sentences(rule: str, body: Sequence[Row], gap: Any) -> list[str]:
    best = max(body, key=lambda row: row["gain"]["mean"])
    found = [
        f"{rule}: the largest gain is {best['method']}'s, {difference(best['gain'])} over purely local learning; BP's is {difference(gap)}."
    ]
    sharpest = max(body, key=lambda row: row["gain_last"]["mean"])
    found.append(
        f"{rule}, read at the last block alone, without fusion: {sharpest['method']} gains {difference(sharpest['gain_last'])} (exploratory)."
    )
    if gap["mean"] <= LEAST_GAP:
        found.append(
            f"{rule}: BP is not {100 * LEAST_GAP:.1f} pp above the local rule here, so there is no gap to recover."
        )
    elif gap["low"] is None or gap["low"] <= 0:
        found.append(
            f"{rule}: by {several(gap['n'], 'seed')} BP is not told apart from the local rule, so no share of a gap is given."
        )
    return found


def _figures(rule: str, body: Sequence[Row], gap: Any) -> list[Figure]:
    families = list(dict.fromkeys(row["family"] for row in body if row["share"] is not None))
    found = []
    for name, key, label, unit in (
        ("recovery", "recovery", "recovery of the gap", ""),
        ("price-recovery", "price_recovery", "recovery of the price of locality", ""),
        ("gain", "gain", "accuracy above the local rule", "pp"),
    ):
        series = []
        for family in families:
            own = sorted((row for row in body if row["family"] == family and row[key]), key=lambda row: row["share"])
            points = tuple(Point(x=row["share"], y=row[key], label=row["method"]) for row in own)
            series.append(Series(name=family, points=points))
        caption = f"{rule}: {label} against the share of global signal; BP is {difference(gap)} above the local rule. 95 % intervals."
        if any(line.points for line in series):
            found.append(
                Figure(
                    name=f"hybrid-{name}-{rule}", caption=caption, x=Axis(label="share of global signal (depth 8)"),
                    y=Axis(label=label, unit=unit), series=tuple(series),
                )
            )  # fmt: skip
    return found


def _table(rule: str, body: Sequence[Row]) -> Table:
    shown = columns(
        ("method", "method", "text"),
        ("share", "share of global signal", "number"),
        ("accuracy", "fused accuracy", "percent"),
        ("gain", "gain over local", "points"),
        ("gain_last", "gain at the last block alone (exploratory)", "points"),
        ("recovery", "recovery of the gap to BP", "number"),
        ("price_recovery", "recovery of the price of locality", "number"),
    )
    return Table(caption=f"{rule}: hybrids at depth {DEPTH}", columns=shown, rows=tuple(body))
