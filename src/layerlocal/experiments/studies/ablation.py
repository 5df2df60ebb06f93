"""Study `ablation`: what each part of a rule brings: of `dtg-ff`, the method of arXiv:2606.06539, or of `class-goodness`, our definition after
its abstract.

A full factorial: every combination of the parts, on or off. The effect of a part is the mean, over the settings of the others, of
the accuracy with it minus without it; of an interaction, half of how much one effect changes when the other part is switched on.

Of `dtg-ff` the parts are the learned temperature (without: fixed at its midpoint), the random projection (without: learned) and LayerNorm
onward. Its classifier is not in the factorial: stopped, shared and left out, it is trained at the whole rule alone. Of `class-goodness` they
are dynamic temperature, decoupled normalization and fusion, which needs no run of its own: without it the prediction is the last block's.

Beside them: the temperature against fixed ones, the best of which is chosen by validation accuracy; the fusion of `class-goodness` against
the one block that is best on the validation split; and the same classifier or fusion of the deeply supervised twin.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from layerlocal.experiments.studies.axis import AxisStudy, Each
from layerlocal.experiments.studies.base import Cell, StudyPlan, estimates, group_rows, last_accuracy
from layerlocal.experiments.studies.effects import factorial_effects, subsets
from layerlocal.experiments.studies.scale import methods_of, readout_of, scale_of
from layerlocal.experiments.studies.views import Along, Grid, Marks, View
from layerlocal.spec import RuleSpec
from layerlocal.summary import Axis, Row
from layerlocal.words import ABOVE, difference, relation

__all__ = ["AblationStudy"]

BASES = ("cifar10", "cifar100")
DATA, WHAT = Along("data", "data set"), Along("what", "part", head="effect")
LAST = "last block of "
"""Before a method: what its last block alone answers."""


@dataclass(frozen=True)
class Control:
    """Two methods that are held against one another.

    Args:
        name: of the quantity.
        what: in words; ``{best}`` is the name of the second.
        left: the first.
        right: the second, by name; of several that which is the best on validation data.
    """

    name: str
    what: str
    left: str
    right: Mapping[str, str]


@dataclass(frozen=True)
class Anatomy:
    """What a rule is taken apart into.

    Args:
        parts: part → what it is, and the options without it; none: the last block is read alone.
        variants: method → rule and options: what is trained beside the combinations.
        controls: what they are for.
    """

    parts: Mapping[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    variants: Mapping[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    controls: tuple[Control, ...] = ()

    @property
    def main(self) -> tuple[str, ...]:
        """The parts in words."""
        return tuple(words for words, _ in self.parts.values())

    @property
    def combinations(self) -> dict[str, dict[str, Any]]:
        """Method → options."""
        return {
            self.without(off): {k: v for part in off for k, v in self.parts[part][1].items()}
            for off in subsets(self.parts)
        }

    def without(self, off: Sequence[str]) -> str:
        """The method that trains without some parts."""
        trained = [part for part, (_, options) in self.parts.items() if options]
        off = [part for part in trained if part in off]
        both = len(off) == len(trained) == 2
        return f"without {'both' if both else ' and '.join(off)}" if off else "local"

    def accuracy(self, row: Row, off: Sequence[str]) -> float:
        """Without some parts."""
        unfused = any(not self.parts[part][1] for part in off)
        return _accuracy(row, (LAST if unfused else "") + self.without(off))


def _fixed(rule: str) -> dict[str, tuple[str, dict[str, Any]]]:
    return {name: (rule, {"temperature_min": float(t), "temperature_max": float(t)}) for t, name in FIXED.items()}


FIXED = {f"{t:g}": f"temperature {t:g}" for t in (0.25, 0.5, 2.0)}
UNIFORM = {"fusion": "uniform"}
PARTS: dict[str, Anatomy] = {
    "dtg-ff": Anatomy(
        {
            "temperature": ("learned temperature", {"learned_temperature": False}),
            "projection": ("random projection", {"projection": "learned"}),
            "normalization": ("LayerNorm onward", {"layer_norm": False}),
        },
        _fixed("dtg-ff")
        | {
            "shared classifier": ("dtg-ff-shared", {}),
            "no classifier": ("dtg-ff", UNIFORM),
            "bp-deepsup, no classifier": ("bp-deepsup", {"of": "dtg-ff"} | UNIFORM),
        },
        (
            Control(
                "learned_against_fixed", "learned temperature − fixed at {best}, the best on validation data",
                "local", {"1.05": "without temperature"} | FIXED,
            ),
            Control("shared_classifier", "classifier shared − stopped", "shared classifier", {"": "local"}),
            Control("stopped_classifier", "classifier stopped − uniform fusion", "local", {"": "no classifier"}),
            Control(
                "classifier_of_deepsup", "the same classifier of BP-DeepSup − uniform fusion",
                "bp-deepsup", {"": "bp-deepsup, no classifier"},
            ),
        ),
    ),
    "class-goodness": Anatomy(
        {
            "temperature": ("dynamic temperature", {"dynamic_temperature": False}),
            "normalization": ("decoupled normalization", {"decoupled_norm": False}),
            "fusion": ("multi-layer fusion", {}),
        },
        _fixed("class-goodness") | {"best block": ("class-goodness", {"fusion": "best"})},
        (
            Control(
                "dynamic_against_fixed", "dynamic temperature − fixed at {best}, the best on validation data",
                "local", {"1": "without temperature"} | FIXED,
            ),
            Control(
                "fusion_against_best_block", "fusion − the best block on validation data", "local", {"": "best block"}
            ),
            Control(
                "fusion_of_deepsup", "the same fusion of BP-DeepSup − its last block", "bp-deepsup", {"": f"{LAST}bp-deepsup"}
            ),
        ),
    ),
}  # fmt: skip


class AblationStudy(AxisStudy):
    """Which parts of a rule matter?"""

    name = "ablation"
    title = "Rules taken apart"
    only = tuple(PARTS)
    usual = ("dtg-ff",)
    own_readouts = True
    most_data = 8
    question = "What does each part of dtg-ff, or of class-goodness, bring?"
    axis = Along("of")
    differences = (Each("effect", "{what}, {data}", name="{at}"),)

    def cells(self, plan: StudyPlan, rule: str, seed: int) -> list[Cell]:
        """One a data set, its methods every combination of parts and the variants."""
        scale, anatomy, readout = scale_of(plan), PARTS.get(rule, Anatomy()), readout_of(plan, rule)
        trained = {name: (rule, options) for name, options in anatomy.combinations.items()} | dict(anatomy.variants)
        methods = methods_of(plan, rule)
        for name, (kind, options) in trained.items():
            methods.setdefault(name, RuleSpec(name=kind, options=readout | options))
        return [
            Cell({"data": base}, scale.images(base, seed=seed), scale.network, scale.recipe_on(base), methods)
            for base in plan.data or BASES
        ]

    def entries(self, rows: Sequence[Row]) -> list[Row]:
        """Of each row one an effect, interaction and control: ``what`` it is, and its ``effect`` on test accuracy."""
        return [
            row | {"of": f"{name}/{row['data']}", "what": what, "effect": value}
            for (rule, _), part in group_rows(rows, "rule", "data").items()
            for name, what, values in (*_effects(PARTS[rule], part), *_controls(PARTS[rule], part))
            for row, value in zip(part, values, strict=True)
        ]

    def views(self, plan: StudyPlan) -> Iterable[View]:
        """Two tables and a figure a rule."""
        for rule in filter(PARTS.get, plan.rules):
            yield Grid(
                f"What each part of {rule} brings", (DATA, WHAT), (("effect", "on test accuracy", "points"),), at={"rule": rule}
            )  # fmt: skip
            yield Grid(f"{rule} whole, beside its twins", (DATA,), at={"rule": rule})
            yield Marks(
                "effects" if len(plan.rules) == 1 else f"effects-{rule}",
                f"{rule}: main effect of each part: accuracy with it minus without it, over all settings of the other two. "
                "95 % intervals over seeds.",
                ("what", Axis(label="part", scale="category")), ({"effect": ""}, Axis(label="effect on test accuracy", unit="pp")),
                of=("what",), series=DATA, label="data", at={"rule": rule, "what": PARTS[rule].main},
            )  # fmt: skip

    def sentences(self, rule: str, rows: Sequence[Row]) -> Iterator[str]:
        """Main effects on each data set, those that are not shown, and the controls."""
        main = PARTS[rule].main
        for (base,), part in group_rows(rows, "data").items():
            found = {what: estimates(of, "effect")["effect"] for (what,), of in group_rows(part, "what").items()}
            yield f"{rule}, {base}: " + "; ".join(f"{what} {difference(found[what])}" for what in main) + "."
            nothing = [what for what in main if relation(found[what]) != ABOVE]
            if nothing:
                yield f"{rule}, {base}: no gain is shown of {', '.join(nothing)} (the interval does not lie above 0)."
            yield from (f"{rule}, {base}: {what}: {difference(of)}." for what, of in found.items() if " − " in what)


def _accuracy(row: Row, method: str) -> float:
    return last_accuracy(row, method.removeprefix(LAST)) if method.startswith(LAST) else float(row[method])


def _effects(anatomy: Anatomy, rows: Sequence[Row]) -> Iterator[tuple[str, str, list[float]]]:
    """Name, words and a value a row: main effects first."""
    found = [factorial_effects({off: anatomy.accuracy(row, off) for off in subsets(anatomy.parts)}) for row in rows]
    for parts in found[0]:
        words = " × ".join(anatomy.parts[part][0] for part in parts)
        what = words if len(parts) == 1 else f"interaction {words}"
        yield f"effect/{'+'.join(parts)}", what, [effects[parts] for effects in found]


def _controls(anatomy: Anatomy, rows: Sequence[Row]) -> Iterator[tuple[str, str, list[float]]]:
    """The same of controls."""
    for control in anatomy.controls:
        best = next(iter(control.right))
        if len(control.right) > 1:
            best = max(control.right, key=lambda at: sum(row["validation"][control.right[at]] or 0.0 for row in rows))
        values = [_accuracy(row, control.left) - _accuracy(row, control.right[best]) for row in rows]
        yield control.name, control.what.format(best=best), values
