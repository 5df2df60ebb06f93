"""Study `language`: bytes a parameter, width and number of segments, for a small causal transformer that learns the next byte.

Everything is told in bits a byte of the test text, differences so that above 0 the locally trained network is ahead. Each number of segments
has its controls: backprop; backprop with readouts at the same places; and the *shallow* twin, backprop of the first segment's depth alone, which
is the first segment itself: no gradient comes to it, so it is trained as if nothing were behind it (to the last bit; a test holds it). Every
method answers by its last block, and what each block would answer is shown: a shallow network learns faster, so that a local one may be ahead
by its first segment alone, and not by being trained locally in depth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import log

from layerlocal.experiments.studies.axis import AxisStudy, Finding
from layerlocal.experiments.studies.base import Cell, Size, StudyPlan, estimates, group_rows, twins_of_rule
from layerlocal.experiments.studies.effects import mean, slope
from layerlocal.experiments.studies.parts import standings
from layerlocal.experiments.studies.views import RULE, Along, Blocks, Differences, Grid, View
from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RuleSpec
from layerlocal.summary import Axis, CellKind, Row
from layerlocal.words import measured

__all__ = ["LanguageStudy", "parameters_of"]

BASE = "python_library"
DEPTH, CONTEXT, VOCABULARY, FEATURES = 6, 64, 256, 128
GRID: dict[Size, dict[float, tuple[float, ...]]] = {
    "quick": {0.125: (0.5, 2, 20), 0.25: (0.5, 2)},
    "medium": {0.25: (0.5, 4, 20), 0.5: (0.5, 4)},
    "standard": {0.25: (0.25, 0.5, 1, 4, 10, 20, 40), 0.5: (0.25, 0.5, 1, 4, 10, 20, 40), 1: (0.25, 0.5, 1, 4)},
    "full": {0.5: (0.25, 0.5, 1, 4, 10, 20, 40), 1: (0.25, 0.5, 1, 4, 10, 20, 40), 2: (0.25, 0.5, 1, 4)},
}
"""Size → width → bytes a parameter. Each ratio is trained at the least width, the large ones only there: a step of a small network costs as much
as one of a large one."""
SEGMENTS: dict[Size, tuple[int, ...]] = {"quick": (6, 2), "medium": (6, 2), "standard": (6, 3, 2), "full": (6, 3, 2)}
"""Numbers of segments of equal size; as many as there are blocks is strictly block-local."""
RECIPE = Recipe(epochs=1, batch_size=8, learning_rate=2e-2, weight_decay=0.01, clip=1.0)
BITS = Axis(label="bits a byte ahead", unit="bits", better="more")
KEYS = {
    "ahead": "ahead of BP",
    "ahead_deepsup": "ahead of BP-DeepSup: minus the price of locality",
    "supervision": "BP-DeepSup ahead of BP: extra supervision",
    "deepening": "ahead of its first segment alone: the shallow twin",
}
RATIO = Along(
    "ratio",
    "training bytes a parameter",
    {x: f"{x:g} bytes a parameter" for x in (0.25, 0.5, 1, 2, 4, 10, 20, 40)},
    scale="log2",
    kind="number",
)
COUNT = Along("segments", "segments", {6: "6 segments, a block each", 3: "3 segments", 2: "2 segments"})
SHOWN: tuple[tuple[str, str, CellKind], ...] = (
    ("local_bits", "local", "number"),
    ("bp_bits", "BP", "number"),
    ("ahead", "ahead of BP", "bits"),
    ("ahead_deepsup", "of DeepSup", "bits"),
    ("supervision", "DeepSup of BP", "bits"),
    ("deepening", "of its first segment", "bits"),
)
TABLED = (RULE, RATIO, Along("width", "width", kind="number"), Along("segments", "segments", kind="int"))


def parameters_of(width: float) -> int:
    """Weights of `gpt` at this width: V·D + T·D of the embeddings, 12 D² + 13 D a block. Multiples of an eighth."""
    features = round(FEATURES * width)
    return (VOCABULARY + CONTEXT) * features + DEPTH * (12 * features**2 + 13 * features)


class LanguageStudy(AxisStudy):
    """Is local language learning ahead where there are few bytes a parameter, and why?"""

    name = "language"
    title = "Text: bytes a parameter, width and segments"
    question = (
        "Is a language model that is trained locally ahead where bytes a parameter are few, and is it by its depth?"
    )
    usual = ("local-heads",)
    sets = frozenset({"fusion"})
    asks_cost = True
    doubles = False
    axis, panel = RATIO, COUNT

    def views(self, plan: StudyPlan) -> Iterable[View]:
        """The table has all widths, the figures the least, which has every ratio."""
        least = min(GRID[plan.size])
        told = f"width {least:g}, 95 % intervals over seeds"
        ahead = f"How far ahead in bits a byte; paired by seed, {told}."
        blocks = f"What each block would answer, in nats a byte, one segment a block; {told}."
        nats = Axis(label="nats a byte by the block's readout", better="less")
        return (
            Grid("In bits a byte, by bytes a parameter, width and segments", TABLED, SHOWN),
            Differences("ahead", ahead, RATIO, panel=COUNT, names=KEYS, y=BITS, at={"width": least}),
            Blocks(RATIO, of="block_nats", y=nats, caption=blocks, at={"segments": DEPTH, "width": least}),
        )

    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """One a width and number of bytes, its methods the numbers of segments and their controls."""
        counts = SEGMENTS[plan.size]
        data = DataSpec(source=plan.source(BASE), context=CONTEXT, seed=seed)
        methods = twins_of_rule(plan, rule, fusion="last")
        partner, source = methods["bp"].options["of"], methods["bp"].source_sha256
        for kind, name in (("segmented", "segments"), ("bp-deepsup", "deepsup")):
            for count in counts[1:]:
                places = "-".join([str(DEPTH // count)] * count)
                options = {"of": partner, "segments": places, "fusion": "last"}
                methods[f"{name}-{count}"] = RuleSpec(name=kind, options=options, source_sha256=source)
        methods["bp"] = RuleSpec(
            name="bp", options={"of": partner}, source_sha256=source
        )  # one readout: nothing is fused
        cells = []
        for width, ratios in GRID[plan.size].items():
            network = NetworkSpec(name="gpt", width=width, channels_last=False, options={"depth": DEPTH})
            for ratio in ratios:
                steps = max(1, round(ratio * parameters_of(width) / (RECIPE.batch_size * CONTEXT)))
                recipe = RECIPE.model_copy(update={"steps": steps})
                cells.append(Cell({"ratio": ratio, "width": width}, data, network, recipe, methods))
        return cells

    def entries(self, rows: Sequence[Row]) -> list[Row]:
        """Of each row one a number of segments, in bits."""
        return [_entry(row, count) for row in rows if "nats" in row for count in _counts(row)]

    def findings(self, plan: StudyPlan) -> Iterable[Finding]:
        """Each difference at each ratio and number of segments, over widths; and what doubling bytes or width does to it."""
        least, every = min(GRID[plan.size]), GRID[plan.size][min(GRID[plan.size])]
        near = min(every, key=lambda ratio: abs(ratio - 0.5))
        for key, words in KEYS.items():
            for count in SEGMENTS[plan.size]:
                of = COUNT.named(count)
                for ratio in every:
                    what = f"{words}, {ratio:g} bytes a parameter, {of}"
                    yield Finding(f"{key}/{ratio:g}/{count}", what, mean(key, ratio=ratio, segments=count), unit="bits")
                what = f"{words} per doubling of bytes a parameter, width {least:g}, {of}"
                slope_of = slope(key, "ratio", segments=count, width=least)
                yield Finding(f"{key}_bytes_slope/{count}", what, slope_of, unit="bits")
                what = f"{words} per doubling of width, {near:g} bytes a parameter, {of}"
                slope_of = slope(key, "width", segments=count, ratio=near)
                yield Finding(f"{key}_width_slope/{count}", what, slope_of, unit="bits")

    def sentences(self, rule: str, rows: Sequence[Row]) -> Iterator[str]:
        """Where it is ahead of BP, and whether its last segment is ahead of its first there."""
        for (count,), part in group_rows(rows, "segments").items():
            by = {f"{ratio:g}": estimates(own, *KEYS) for (ratio,), own in sorted(group_rows(part, "ratio").items())}
            stands = standings({at: found["ahead"] for at, found in by.items()}, "BP", "at {} bytes a parameter")
            told = "; ".join(
                f"{at}: ahead by {measured(found['ahead'], 'bits')}, ahead of its first segment alone by {measured(found['deepening'], 'bits')}"
                for at, found in by.items()
            )
            yield f"{rule}, {COUNT.named(count)}: {stands} ({told})."


def _counts(row: Row) -> list[int]:
    """Numbers of segments that were trained."""
    return [count for count in range(DEPTH, 0, -1) if count == DEPTH or f"segments-{count}" in row["nats"]]


def _entry(row: Row, count: int) -> Row:
    """Bits a byte of one number of segments; every difference is the other's minus the local network's."""
    bits = {method: nats / log(2) for method, nats in row["nats"].items()}
    whole = count == DEPTH
    local, twin = ("local", "bp-deepsup") if whole else (f"segments-{count}", f"deepsup-{count}")
    blocks = [nats / log(2) for nats in row["block_nats"][local].values()]
    return row | {
        "segments": count,
        "local_bits": bits[local],
        "bp_bits": bits["bp"],
        "ahead": bits["bp"] - bits[local],
        "ahead_deepsup": bits[twin] - bits[local],
        "supervision": bits["bp"] - bits[twin],
        "deepening": blocks[0] - blocks[-1],
    }
