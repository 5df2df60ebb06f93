"""Study `classes` (claims P2, P4, P5): the gap against the number of classes K, with the controls that tell K from class difficulty.

Arms: teacher-student data and random class subsets of a real set, each with images per class fixed and with total images fixed;
K fixed and difficulty varied by superclasses (within one, across several) and by the dial of a hierarchical teacher.
Every task is trained for exactly as many steps, so fewer images are seen more often. Difficulty is measured by
`measure_separability`, which no rule has a part in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from layerlocal.experiments.studies.base import (
    Cell,
    Conclusion,
    Study,
    StudyPlan,
    by_seed,
    estimates,
    group_rows,
    over_seeds,
    quantity,
)
from layerlocal.experiments.studies.effects import contrast, doublings, effects_by_seed, explained, slopes
from layerlocal.experiments.studies.parts import block_figure, columns, difference_figure, difference_table, series_by
from layerlocal.experiments.studies.scale import Scale, methods_of, scale_of
from layerlocal.spec import DataSpec
from layerlocal.summary import Axis, CellKind, Figure, Point, Quantity, Row, Series, Table
from layerlocal.words import difference

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


class ClassesStudy(Study):
    """Does the gap follow the number of classes, or how hard they are to tell apart?"""

    name = "classes"
    title = "Number of classes, and the controls for their difficulty"
    question = (
        "Does the gap to backprop grow with the number of classes K, or with how hard the classes are to tell apart?"
    )

    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """Sweeps over K, then the two controls at one K."""
        scale = scale_of(plan)
        return [
            *self._synthetic(plan, scale, rule, seed),
            *self._real(plan, scale, plan.source(BASE), rule, seed),
        ]

    def _synthetic(self, plan: StudyPlan, scale: Scale, rule: str, seed: int) -> Iterator[Cell]:
        methods = methods_of(plan, rule)
        most = max(SYNTHETIC_K[plan.size])

        def cell(arm: str, classes: int, number: int, **at: Any) -> Cell:
            teacher = {"groups": 2, "similarity": at["similarity"], "noise": TEACHER_NOISE} if arm == "dial" else None
            data = DataSpec(
                source="teacher_student", classes=classes, num_train=number, num_test=2048, seed=seed, teacher=teacher
            )
            return Cell(
                {"arm": arm, "classes": classes, **at}, data, scale.mlp, scale.synthetic_recipe_for(number), methods
            )

        for k in SYNTHETIC_K[plan.size]:
            yield cell("synthetic", k, scale.synthetic_train)
            yield cell("synthetic_per_class", k, scale.synthetic_train * 2 * k // most)
        for similarity in DIALS[plan.size]:
            yield cell("dial", 10, scale.synthetic_train, similarity=similarity)

    def _real(self, plan: StudyPlan, scale: Scale, base: str, rule: str, seed: int) -> Iterator[Cell]:
        methods = methods_of(plan, rule)
        most = max(REAL_K[plan.size])
        each = min(MOST_PER_CLASS, scale.num_train * 2 // most)

        def cell(arm: str, classes: int, number: int, *, nth: int = 0, **options: Any) -> Cell:
            tests = min(scale.num_test, TESTS_PER_CLASS * classes)
            data = scale.images(
                base, classes=classes, num_train=number, num_test=tests, seed=1000 * nth + seed, **options
            )
            return Cell(
                {"arm": arm, "classes": classes, "nth": nth}, data, scale.network, scale.recipe_for(number), methods
            )

        for k in REAL_K[plan.size]:
            yield cell("subsets_per_class", k, each * k)
            if k >= LEAST_K:
                yield cell("subsets_total", k, min(scale.num_train, MOST_PER_CLASS * LEAST_K))
        for nth in range(scale.draws):
            for arm in ("within", "across"):
                number = min(scale.num_train, MOST_PER_CLASS * FIXED_K)
                yield cell(arm, FIXED_K, number, nth=nth, draw=arm)

    def conclude(self, plan: StudyPlan, rows: Sequence[Row]) -> Conclusion:
        """Slopes, controls, regression."""
        rows = [row | _corrected(row) for row in rows]
        found = Conclusion()
        for (rule,), part in group_rows(rows, "rule").items():
            arms = {arm: of for (arm,), of in group_rows(part, "arm").items()}
            found.quantities[rule] = _sweep_quantities(arms) | _control_quantities(arms)
            found.sentences += _sentences(rule, arms, found.quantities[rule])
            if table := _regression_table(rule, arms):
                found.tables.append(table)
        swept = [row for row in rows if row["arm"] in ARMS]
        if swept:
            panels = {title: [row for row in swept if row["arm"] == arm] for arm, title in ARMS.items()}
            panels = {title: part for title, part in panels.items() if part}
            found.figures += _sweep_figures(panels)
            swept_total = [row for row in swept if row["arm"] == "subsets_total"]
            names = {k: f"K = {k}" for k in REAL_K[plan.size]}
            if swept_total:
                found.figures.append(block_figure("classes-blocks", swept_total, panel="classes", titles=names))
            named = [row | {"arm": ARMS[row["arm"]]} for row in swept]
            found.tables.insert(
                0, difference_table("The sweep over K", named, [("arm", "data"), ("classes", "K")], more=CORRECTED)
            )
        controls = [row | {"arm": CONTROLS[row["arm"]]} for row in rows if row["arm"] in CONTROLS]
        if controls:
            axes = [("arm", "control at fixed K"), ("classes", "K"), ("similarity", "similarity")]
            found.tables.insert(1, difference_table("K fixed, difficulty varied", controls, axes))
        if rows:
            found.figures += _difficulty_figures(rows)
        return found


CORRECTED: list[tuple[str, str, CellKind]] = [
    ("local_corrected", "local, corrected for chance", "percent"),
    ("bp_corrected", "BP, corrected for chance", "percent"),
    ("corrected_gap", "gap of corrected accuracies", "points"),
]


def _corrected(row: Row) -> dict[str, float]:
    """(accuracy − chance) / (1 − chance): 0 at chance and 1 at best, whatever K."""
    local, bp = ((row[name] - row["chance"]) / (1 - row["chance"]) for name in ("local", "bp"))
    return {"local_corrected": local, "bp_corrected": bp, "corrected_gap": local - bp}


def _sweep_quantities(arms: Mapping[str, list[Row]]) -> dict[str, Quantity]:
    names = {"gap": "gap", "price": "price_of_locality", "extra": "extra_supervision", "corrected_gap": "corrected_gap"}
    names |= {"gap_last": "gap_last", "price_last": "price_of_locality_last"}
    found = {}
    for short, key in names.items():
        for arm, title in ARMS.items():
            values = slopes(arms.get(arm, []), key, "classes")
            if values:
                found[f"{short}_slope/{arm}"] = quantity(f"change of {key} per doubling of K, {title}", values)
        for arm, title in ARMS.items() if short in ("gap", "price") else ():
            if part := arms.get(arm):
                most = max(row["classes"] for row in part)
                at_most = by_seed([row for row in part if row["classes"] == most], key)
                found[f"{short}_at_most/{arm}"] = quantity(f"{key} at K = {most}, {title}", at_most)
        unlike = contrast(*(slopes(arms.get(arm, []), key, "classes") for arm in ("synthetic", "subsets_total")))
        if unlike:
            name = "slope_difference" if short == "gap" else f"{short}_slope_difference"
            found[name] = quantity(f"slope of {key} over K, total fixed: synthetic − real", unlike)
    return found


def _control_quantities(arms: Mapping[str, list[Row]]) -> dict[str, Quantity]:
    found = {}
    dial = arms.get("dial", [])
    ends = sorted({row["similarity"] for row in dial})
    for short, key in (("gap", "gap"), ("price", "price_of_locality")):
        real = contrast(by_seed(arms.get("within", []), key), by_seed(arms.get("across", []), key))
        if real:
            found[f"difficulty_{short}/real"] = quantity(
                f"{key}: 5 classes of one superclass − of 5 superclasses", real
            )
        if len(ends) > 1:
            high, low = ([row for row in dial if row["similarity"] == end] for end in (ends[-1], ends[0]))
            found[f"difficulty_{short}/synthetic"] = quantity(
                f"{key}: similarity {ends[-1]:g} − {ends[0]:g}, K = 10", contrast(by_seed(high, key), by_seed(low, key))
            )
    for suffix, names in (("", REAL_ARMS), ("/synthetic", SYNTHETIC_ARMS)):
        effects = effects_by_seed([row for arm in names for row in arms.get(arm, [])], "gap", FACTORS)
        if effects["dimension"]:
            found[f"dimension_effect{suffix}"] = quantity(
                "gap per doubling of K at equal separability", effects["dimension"]
            )
            found[f"separability_effect{suffix}"] = quantity(
                "gap per 10 pp of separability at equal K", effects["separability"]
            )
    return found


def _regression_table(rule: str, arms: Mapping[str, list[Row]]) -> Table | None:
    """Coefficients over seeds, and the share of the gap's variance over all rows that each factor explains alone and both together."""
    body: list[Row] = []
    for what, names in (("real", REAL_ARMS), ("synthetic", SYNTHETIC_ARMS)):
        rows = [row for arm in names for row in arms.get(arm, [])]
        effects = effects_by_seed(rows, "gap", FACTORS)
        if not effects["dimension"]:
            continue
        factors = {name: [of(row) for row in rows] for name, of in FACTORS.items()}
        gaps = [row["gap"] for row in rows]
        body.append(
            {
                "data": what,
                **{name: over_seeds(values) for name, values in effects.items()},
                "k_alone": explained({"dimension": factors["dimension"]}, gaps),
                "separability_alone": explained({"separability": factors["separability"]}, gaps),
                "both": explained(factors, gaps),
            }
        )
    if not body:
        return None
    shown = columns(
        ("data", "data", "text"),
        ("dimension", "gap per doubling of K, at equal separability", "points"),
        ("separability", "gap per 10 pp of separability, at equal K", "points"),
        ("k_alone", "variance explained by K alone", "percent"),
        ("separability_alone", "by separability alone", "percent"),
        ("both", "by both", "percent"),
    )
    caption = f"{rule}: regression of the gap on K and on separability (coefficients fitted seed by seed, variance over all rows)"
    return Table(caption=caption, columns=shown, rows=tuple(body))


def _sweep_figures(panels: Mapping[str, Sequence[Row]]) -> list[Figure]:
    rows = [row for part in panels.values() for row in part]
    figure = difference_figure(
        "classes-gap", "Differences against the number of classes K; equal numbers of steps", rows,
        x="classes", label="number of classes K", scale="log2", panels=panels,
    )  # fmt: skip
    corrected = {
        "name": "classes-corrected",
        "caption": "The gap with both accuracies corrected for chance: (accuracy − chance) ÷ (1 − chance). 95 % intervals.",
        "series": tuple(
            line.model_copy(update={"name": line.name.replace("corrected_gap", "gap ÷ (1 − chance)")})
            for title, part in panels.items()
            for line in series_by(part, "classes", ("corrected_gap",), panel=title)
        ),
    }
    return [figure, figure.model_copy(update=corrected)]


def _difficulty_figures(rows: Sequence[Row]) -> list[Figure]:
    """Gap against separability, a series for each K; and against the teacher's dial."""
    series = []
    for panel, names in (("Real classes", REAL_ARMS), ("Teacher-student", SYNTHETIC_ARMS)):
        part = [row for row in rows if row["arm"] in names]
        for (k,), of in sorted(group_rows(part, "classes").items()):
            dots = [
                estimates(cell, "separability", "gap") for cell in group_rows(of, "rule", "arm", "similarity").values()
            ]
            points = tuple(Point(x=dot["separability"], y=dot["gap"]) for dot in dots)
            series.append(Series(name=f"K = {k}", panel=panel, points=points))
    figures = [
        Figure(
            name="classes-difficulty",
            kind="points",
            caption="The gap against how well the classes can be told apart two by two (reference: ridge regression on random features, "
            "50 % is chance whatever K). One mark an arm and K, 95 % intervals over seeds.",
            x=Axis(label="pairwise separability of the classes", unit="%"),
            y=Axis(label="gap: local − BP", unit="pp"),
            series=tuple(series),
        )
    ]
    dial = [row for row in rows if row["arm"] == "dial"]
    if dial:
        caption = "Teacher-student data with two groups of five classes: more similarity within groups, same K"
        figures.append(
            difference_figure("classes-dial", caption, dial, x="similarity", label="similarity ρ", scale="linear")
        )
    return figures


def _sentences(rule: str, arms: Mapping[str, list[Row]], quantities: Mapping[str, Quantity]) -> Iterator[str]:
    for arm, title in ARMS.items():
        name = f"gap_slope/{arm}"
        if name in quantities:
            slope = over_seeds(quantities[name].values)
            extra = over_seeds(quantities[f"extra_slope/{arm}"].values)
            gap, more = difference(slope, bounded=False), difference(extra, bounded=False)
            yield f"{rule}, {title}: the gap changes by {gap} per doubling of K, DeepSup − BP by {more}."
    for name, words in (
        (
            "price_slope_difference",
            "the price of locality changes per doubling of K more on synthetic than on real data by",
        ),
        ("difficulty_gap/real", "K = 5, classes of one superclass against classes of five: the gap differs by"),
        ("difficulty_gap/synthetic", "K = 10, similar against dissimilar teacher classes: the gap differs by"),
        ("dimension_effect", "regression on real rows: per doubling of K at equal separability the gap changes by"),
        ("separability_effect", "regression on real rows: per 10 pp of separability at equal K the gap changes by"),
    ):
        if name in quantities:
            found = over_seeds(quantities[name].values)
            yield f"{rule}, {words} {difference(found, bounded=False)}."
