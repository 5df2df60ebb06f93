"""Study `classes` (claims P2, P4, P5): the gap against the number of classes K, with the controls that tell K from class difficulty.

Arms: teacher-student data and random class subsets of a real set, each with images per class fixed and with total images fixed;
K fixed and difficulty varied by superclasses (within one, across several) and by the dial of a hierarchical teacher.
Every task is trained for exactly as many steps, so fewer images are seen more often. Difficulty is measured by
`measure_separability`, which no rule has a part in. Seven arms are more than one axis: they are declared beside each other, and only the
table of the regression is coded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from layerlocal.experiments.studies.axis import AxisStudy, Finding
from layerlocal.experiments.studies.base import Cell, StudyPlan, over_seeds
from layerlocal.experiments.studies.effects import (
    between,
    chosen,
    doublings,
    effect,
    effects_by_seed,
    explained,
    mean,
    minus,
    slope,
)
from layerlocal.experiments.studies.parts import COLUMNS, columns
from layerlocal.experiments.studies.scale import methods_of, scale_of
from layerlocal.experiments.studies.views import Along, Blocks, Differences, Grid, Marks, View
from layerlocal.spec import RuleSpec
from layerlocal.summary import Axis, CellKind, Row, Table

__all__ = ["ClassesStudy"]

BASE = "cifar100"
SYNTHETIC_K = {
    "quick": (2, 10, 50),
    "medium": (2, 5, 10, 20, 50, 100),
    "standard": (2, 5, 10, 20, 50, 100),
    "full": (2, 5, 10, 20, 50, 100, 200),
}
REAL_K = {
    "quick": (5, 20, 100),
    "medium": (5, 20, 100),
    "standard": (2, 5, 10, 20, 50, 100),
    "full": (2, 5, 10, 20, 50, 100),
}
DIALS = {
    "quick": (0.0, 0.8, 0.95),
    "medium": (0.0, 0.5, 0.8, 0.9, 0.95),
    "standard": (0.0, 0.5, 0.8, 0.9, 0.95),
    "full": (0.0, 0.5, 0.8, 0.9, 0.95, 0.98),
}
FIXED_K = 5
LEAST_K = 5
"""Of the arm with fixed total images: 5 classes can supply 2,500, so every K gets no more."""
MOST_PER_CLASS = 500
TESTS_PER_CLASS = 100
"""Of CIFAR-100."""
TEACHER_NOISE = 0.3
ARMS = {
    "synthetic": "Teacher-student, total samples fixed",
    "synthetic_per_class": "Teacher-student, samples per class fixed",
    "subsets_total": "Real subsets, total images fixed",
    "subsets_per_class": "Real subsets, images per class fixed",
}
CONTROLS = {
    "within": "5 classes of one superclass",
    "across": "5 classes of 5 superclasses",
    "dial": "teacher with groups of similar classes",
}

REAL_ARMS = ("subsets_total", "subsets_per_class", "within", "across")
SYNTHETIC_ARMS = ("synthetic", "synthetic_per_class", "dial")
FACTORS = {"dimension": doublings("classes"), "separability": lambda row: row["separability"] / 0.1}
KEYS = {
    "gap": "gap",
    "price": "price_of_locality",
    "extra": "extra_supervision",
    "corrected_gap": "corrected_gap",
    "gap_last": "gap_last",
    "price_last": "price_of_locality_last",
}
"""Short → column, in names of quantities."""
ARM, K = Along("arm", "data", ARMS), Along("classes", "number of classes K", scale="log2", head="K")
ALONE = {"dimension": "k_alone", "separability": "separability_alone"}
KINDS = {"real": "Real classes", "synthetic": "Teacher-student"}
CALLED = {k: f"K = {k}" for k in sorted({FIXED_K, 10, *SYNTHETIC_K["full"], *REAL_K["full"]})}
CORRECTED: list[tuple[str, str, CellKind]] = [
    ("local_corrected", "local, corrected for chance", "percent"),
    ("bp_corrected", "BP, corrected for chance", "percent"),
    ("corrected_gap", "gap of corrected accuracies", "points"),
]


@dataclass(frozen=True)
class Regression(View):
    """Coefficients over seeds, and the share of the gap's variance over all rows that each factor explains alone and both together."""

    def make(self, study: str, rule: str, rows: Sequence[Row]) -> Table | None:
        """A row for real and for synthetic data; nothing where there is neither."""
        body: list[Row] = []
        for what, arms in (("real", REAL_ARMS), ("synthetic", SYNTHETIC_ARMS)):
            of = chosen(rows, {"arm": arms})
            effects = effects_by_seed(of, "gap", FACTORS)
            if effects["dimension"]:
                factors = {name: [factor(row) for row in of] for name, factor in FACTORS.items()}
                gaps = [row["gap"] for row in of]
                alone = {ALONE[name]: explained({name: values}, gaps) for name, values in factors.items()}
                found = {name: over_seeds(values) for name, values in effects.items()}
                body.append({"data": what, **found, **alone, "both": explained(factors, gaps)})
        shown = columns(
            ("data", "data", "text"),
            ("dimension", "gap per doubling of K, at equal separability", "points"),
            ("separability", "gap per 10 pp of separability, at equal K", "points"),
            ("k_alone", "variance explained by K alone", "percent"),
            ("separability_alone", "by separability alone", "percent"),
            ("both", "by both", "percent"),
        )
        caption = f"{rule}: regression of the gap on K and on separability (coefficients fitted seed by seed, variance over all rows)"
        return Table(caption=caption, columns=shown, rows=tuple(body)) if body else None


class ClassesStudy(AxisStudy):
    """Does the gap follow the number of classes, or how hard they are to tell apart?"""

    name = "classes"
    takes_text = False
    title = "Number of classes, and the controls for their difficulty"
    question = (
        "Does the gap to backprop grow with the number of classes K, or with how hard the classes are to tell apart?"
    )
    axis = K
    shown = (
        Differences(
            "gap", "Differences against the number of classes K; equal numbers of steps", K, ARM, at={"arm": tuple(ARMS)}
        ),
        Differences(
            "corrected",
            "The gap with both accuracies corrected for chance: (accuracy − chance) ÷ (1 − chance). 95 % intervals.",
            K, ARM, {"corrected_gap": "gap ÷ (1 − chance)"}, at={"arm": tuple(ARMS)},
        ),
        Blocks(Along("classes", titles=CALLED), at={"arm": "subsets_total"}),
        Marks(
            "difficulty",
            "The gap against how well the classes can be told apart two by two (reference: ridge regression on random features, "
            "50 % is chance whatever K). One mark an arm and K, 95 % intervals over seeds.",
            ("separability", Axis(label="pairwise separability of the classes", unit="%")),
            ({"gap": ""}, Axis(label="gap: local − BP", unit="pp")),
            of=("rule", "arm", "similarity"), series=Along("classes", titles=CALLED), panel=Along("kind", titles=KINDS),
        ),
        Differences(
            "dial", "Teacher-student data with two groups of five classes: more similarity within groups, same K",
            Along("similarity", "similarity ρ", scale="linear"), at={"arm": "dial"},
        ),
        Grid(
            "K fixed, difficulty varied",
            (Along("arm", "control at fixed K", CONTROLS), K, Along("similarity", "similarity")), at={"arm": tuple(CONTROLS)},
        ),
        Regression(apart=True),
    )  # fmt: skip

    def views(self, plan: StudyPlan) -> Iterable[View]:
        """The sweep first. Beside controls, which are columns too, corrected accuracies have a table of their own."""
        caption, along, at = "The sweep over K", (ARM, K), {"arm": tuple(ARMS)}
        if not plan.controls:
            return (Grid(caption, along, (*COLUMNS, *CORRECTED), at=at), *self.shown)
        return (
            Grid(caption, along, at=at),
            Grid(f"{caption}, corrected for chance", along, CORRECTED, at=at),
            *self.shown,
        )

    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """Sweeps over K, then the two controls at one K."""
        methods = methods_of(plan, rule)
        return [*_synthetic(plan, methods, seed), *_real(plan, methods, seed)]

    def entries(self, rows: Sequence[Row]) -> list[Row]:
        """With both accuracies corrected for chance."""
        return [row | _corrected(row) for row in rows]

    def findings(self, plan: StudyPlan) -> Iterable[Finding]:
        """Slopes over K in each arm, the two controls, and the regression."""
        return (*_slopes(plan), *_controls(plan), *_regressed())


def _synthetic(plan: StudyPlan, methods: dict[str, RuleSpec], seed: int) -> Iterator[Cell]:
    scale, most = scale_of(plan), max(SYNTHETIC_K[plan.size])

    def cell(arm: str, classes: int, number: int, **at: Any) -> Cell:
        teacher = {"groups": 2, "similarity": at["similarity"], "noise": TEACHER_NOISE} if arm == "dial" else {}
        data, recipe = scale.teacher_student(classes, seed, number, **teacher), scale.synthetic_recipe_for(number)
        return Cell({"arm": arm, "classes": classes, **at}, data, scale.mlp, recipe, methods)

    for k in SYNTHETIC_K[plan.size]:
        yield cell("synthetic", k, scale.synthetic_train)
        yield cell("synthetic_per_class", k, scale.synthetic_train * 2 * k // most)
    for similarity in DIALS[plan.size]:
        yield cell("dial", 10, scale.synthetic_train, similarity=similarity)


def _real(plan: StudyPlan, methods: dict[str, RuleSpec], seed: int) -> Iterator[Cell]:
    scale, base = scale_of(plan), plan.source(BASE)
    each = min(MOST_PER_CLASS, scale.num_train * 2 // max(REAL_K[plan.size]))

    def cell(arm: str, classes: int, number: int, *, nth: int = 0, **options: Any) -> Cell:
        numbers = {"num_train": number, "num_test": min(scale.num_test, TESTS_PER_CLASS * classes)}
        data = scale.images(base, classes=classes, seed=1000 * nth + seed, **numbers, **options)
        at = {"arm": arm, "classes": classes, "nth": nth}
        return Cell(at, data, scale.network, scale.recipe_for(number), methods)

    for k in REAL_K[plan.size]:
        yield cell("subsets_per_class", k, each * k)
        if k >= LEAST_K:
            yield cell("subsets_total", k, min(scale.num_train, MOST_PER_CLASS * LEAST_K))
    for nth in range(scale.draws):
        for arm in ("within", "across"):
            yield cell(arm, FIXED_K, min(scale.num_train, MOST_PER_CLASS * FIXED_K), nth=nth, draw=arm)


def _corrected(row: Row) -> Row:
    """(accuracy − chance) / (1 − chance): 0 at chance and 1 at best, whatever K; and which kind of data it is."""
    local, bp = ((row[name] - row["chance"]) / (1 - row["chance"]) for name in ("local", "bp"))
    kind = "real" if row["arm"] in REAL_ARMS else "synthetic"
    return {"kind": kind, "local_corrected": local, "bp_corrected": bp, "corrected_gap": local - bp}


def _slopes(plan: StudyPlan) -> Iterator[Finding]:
    both = "{{rule}}, {}: the gap changes by {{found}} per doubling of K, DeepSup − BP by {{extra_slope/{}}}."
    more = "{rule}, the price of locality changes per doubling of K more on synthetic than on real data by {found}."
    for short, key in KEYS.items():
        for arm, title in ARMS.items():
            said, over_k = both.format(title, arm) if short == "gap" else "", slope(key, "classes", arm=arm)
            yield Finding(f"{short}_slope/{arm}", f"change of {key} per doubling of K, {title}", over_k, said)
            if short in ("gap", "price"):
                most = max((SYNTHETIC_K if arm in SYNTHETIC_ARMS else REAL_K)[plan.size])
                at_most = mean(key, arm=arm, classes=most)
                yield Finding(f"{short}_at_most/{arm}", f"{key} at K = {most}, {title}", at_most)
        yield Finding(
            "slope_difference" if short == "gap" else f"{short}_slope_difference",
            f"slope of {key} over K, total fixed: synthetic − real",
            minus(slope(key, "classes", arm="synthetic"), slope(key, "classes", arm="subsets_total")),
            more if short == "price" else "",
        )


def _controls(plan: StudyPlan) -> Iterator[Finding]:
    low, high = DIALS[plan.size][0], DIALS[plan.size][-1]
    for short, key in (("gap", "gap"), ("price", "price_of_locality")):
        for kind, what, said, measure in (
            (
                "real", "5 classes of one superclass − of 5 superclasses",
                "K = 5, classes of one superclass against classes of five", between(key, "arm", "within", "across"),
            ),
            (
                "synthetic", f"similarity {high:g} − {low:g}, K = 10",
                "K = 10, similar against dissimilar teacher classes", between(key, "similarity", high, low, arm="dial"),
            ),
        ):  # fmt: skip
            told = f"{{rule}}, {said}: the gap differs by {{found}}." if short == "gap" else ""
            yield Finding(f"difficulty_{short}/{kind}", f"{key}: {what}", measure, told)


def _regressed() -> Iterator[Finding]:
    said = "{{rule}}, regression on real rows: {} the gap changes by {{found}}."
    for suffix, arms in (("", REAL_ARMS), ("/synthetic", SYNTHETIC_ARMS)):
        for factor, words in (
            ("dimension", "per doubling of K at equal separability"),
            ("separability", "per 10 pp of separability at equal K"),
        ):
            told, measure = "" if suffix else said.format(words), effect("gap", factor, FACTORS, arm=arms)
            yield Finding(f"{factor}_effect{suffix}", f"gap {words}", measure, told)
