"""How much work a size allows: images, network, recipe, shared by all studies, so that equal tasks are equal runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from layerlocal.data.medmnist import MEDMNIST
from layerlocal.data.shaped import USUAL_NETWORK
from layerlocal.data.text import find_text
from layerlocal.experiments.studies.base import StudyPlan, twins_of_rule
from layerlocal.runs.listing import rule_facts
from layerlocal.spec import DataSpec, NetworkSpec, Recipe, RuleSpec

__all__ = [
    "TRAINED",
    "Scale",
    "beside",
    "methods_of",
    "network_of",
    "readout_of",
    "scale_of",
    "trained_options",
    "trained_scale_of",
]


@dataclass(frozen=True)
class Scale:
    """The budget of one run at one size.

    Attributes:
        num_train: training images, validation split included.
        num_test: test images.
        network: for images.
        recipe: for images; its epochs are for ``num_train`` images (`recipe_for`).
        synthetic_train: samples of teacher-student data.
        synthetic_recipe: for them, on an mlp.
        draws: class draws a seed where a study averages over draws.
    """

    num_train: int
    num_test: int
    network: NetworkSpec
    recipe: Recipe
    synthetic_train: int
    synthetic_recipe: Recipe
    draws: int

    def recipe_for(self, num_train: int) -> Recipe:
        """The image recipe with exactly as many steps as on the scale's own ``num_train``, whatever the number of images: more images
        then mean more different ones (each seen less often), not longer training."""
        return _equal_steps(self.recipe, self.num_train, num_train)

    def synthetic_recipe_for(self, num_train: int) -> Recipe:
        """The same for teacher-student data."""
        return _equal_steps(self.synthetic_recipe, self.synthetic_train, num_train)

    @property
    def steps(self) -> int:
        """Of the image recipe on ``num_train`` images."""
        return _steps(self.recipe, self.num_train)

    def images(self, source: str, **options: Any) -> DataSpec:
        """A task on a data set, with the scale's numbers of images unless given, and no more of either than the data set has."""
        classes = options.get("classes")
        train, test, known = SIZES_OF.get(source, (10**9, 10**9, 1))
        share = classes / known if isinstance(classes, int) and options.get("draw") != "groups" and known > 1 else 1
        numbers = {
            "num_train": min(options.pop("num_train", self.num_train), round(train * share)),
            "num_test": min(options.pop("num_test", self.num_test), round(test * share)),
        }
        return DataSpec(source=source, **numbers, **options)

    def teacher_student(self, classes: int, seed: int, number: int | None = None, **teacher: Any) -> DataSpec:
        """A teacher-student task with the scale's number of samples unless given, and these options of the teacher."""
        return DataSpec(
            source="teacher_student", classes=classes, num_train=number or self.synthetic_train, num_test=2048,
            seed=seed, teacher=teacher or None,
        )  # fmt: skip

    def recipe_on(self, source: str) -> Recipe:
        """The recipe for a whole data set: digits, letters, and organs of a left and a right side, are not mirrored: others would come of it."""
        return self.recipe.model_copy(update={"flip": False}) if source in NOT_MIRRORED else self.recipe

    @property
    def mlp(self) -> NetworkSpec:
        """For teacher-student vectors."""
        return NetworkSpec(name=USUAL_NETWORK["vectors"])


def _equal_steps(recipe: Recipe, usual: int, number: int) -> Recipe:
    if number == usual:
        return recipe
    return recipe.model_copy(update={"epochs": 1, "steps": _steps(recipe, usual)})


def _steps(recipe: Recipe, number: int) -> int:
    kept = round(number * (1 - DataSpec().validation))
    return recipe.epochs * (kept // recipe.batch_size)


SIZES_OF: Mapping[str, tuple[int, int, int]] = {
    "fashion_mnist_subset": (10_000, 2_000, 10),
    "python_library": (
        13_000,
        1_562,
        256,
    ),  # a split by documents leaves so many samples of 128 bytes, whatever its seed
    "mnist": (60_000, 10_000, 10),
    "fashion_mnist": (60_000, 10_000, 10),
    "kmnist": (60_000, 10_000, 10),
    "svhn": (73_257, 26_032, 10),
    "cifar10": (50_000, 10_000, 10),
    "cifar100": (50_000, 10_000, 100),
    "stl10": (5_000, 8_000, 10),
    "tiny_imagenet": (100_000, 10_000, 200),
    "imagenet100": (126_689, 5_000, 100),
    **{name: file.sizes for name, file in MEDMNIST.items()},
}
"""Training images, test images, classes."""
NOT_MIRRORED = ("mnist", "kmnist", "svhn", *(name for name, file in MEDMNIST.items() if not file.mirrored))

_SYNTHETIC = Recipe(epochs=5, batch_size=64, learning_rate=2e-3)
_IMAGES = Recipe(epochs=3, batch_size=32, learning_rate=5e-3)
_SCALES = {
    "quick": Scale(2500, 2000, NetworkSpec(name="cnn4", width=0.5), _IMAGES, 4096, _SYNTHETIC, 2),
    "medium": Scale(
        5000, 5000, NetworkSpec(name="cnn4"), _IMAGES.model_copy(update={"epochs": 6, "flip": True}), 8192,
        _SYNTHETIC.model_copy(update={"epochs": 10}), 4,
    ),
    "standard": Scale(
        10_000, 10_000, NetworkSpec(name="vgg8", width=0.5),
        Recipe(epochs=20, batch_size=64, learning_rate=5e-3, flip=True, crop=2), 16_384,
        _SYNTHETIC.model_copy(update={"epochs": 20}), 8,
    ),
    "full": Scale(
        50_000, 10_000, NetworkSpec(name="vgg8"),
        Recipe(epochs=100, batch_size=128, learning_rate=5e-3, flip=True, crop=4, cutout=8), 65_536,
        _SYNTHETIC.model_copy(update={"epochs": 30}), 16,
    ),
}  # fmt: skip

_SPEEDRUN = Recipe(
    epochs=16, batch_size=500, optimizer="sgd", learning_rate=0.7, momentum=0.85, weight_decay=1.3e-3, schedule="triangular", warmup=0.23,
    crop=2, flip="alternating", average_every=5,
)  # fmt: skip
"""That of arXiv:2404.00498, at a batch of 500."""


def _trained(width: float, epochs: int) -> Scale:
    """The network `speedrun` on whole data sets."""
    recipe = _SPEEDRUN.model_copy(update={"epochs": epochs})
    network = NetworkSpec(name="speedrun", width=width)
    return replace(_SCALES["standard"], num_train=50_000, network=network, recipe=recipe)


TRAINED = {"standard": _trained(0.25, 16), "full": _trained(1.0, 32)}
"""Sizes of studies that train networks to their end."""

READOUT: Mapping[str, dict[str, Any]] = {"local-heads": {"grid": 4}, "class-goodness": {"grid": 4}}
"""Options of a rule and of its twins alike: goodness on 4×4 cells."""


_TEXTS = Recipe(epochs=3, batch_size=16, learning_rate=3e-3, clip=1.0)
_OF_TEXT = {"quick": (0.25, 3), "medium": (0.5, 6), "standard": (1.0, 20), "full": (2.0, 30)}
"""Width of ``gpt``, and epochs."""


def _for_text(size: str) -> Scale:
    """As many samples of text as of images, a transformer, and no augmentation."""
    width, epochs = _OF_TEXT[size]
    network = NetworkSpec(name=USUAL_NETWORK["text"], width=width, channels_last=False)
    return replace(_SCALES[size], network=network, recipe=_TEXTS.model_copy(update={"epochs": epochs}))


def _is_text(plan: StudyPlan) -> bool:
    return any(find_text(source) is not None for source in plan.data)


def scale_of(plan: StudyPlan) -> Scale:
    """The plan's scale: of text, where such data are named, with a network and a recipe for it."""
    return _for_text(plan.size) if _is_text(plan) else _SCALES[plan.size]


def trained_scale_of(plan: StudyPlan) -> Scale:
    """The plan's scale in a study of networks that are trained to their end: its own at sizes `TRAINED`."""
    return scale_of(plan) if _is_text(plan) else TRAINED.get(plan.size) or scale_of(plan)


def trained_options(plan: StudyPlan, rule: str) -> dict[str, Any]:
    """Options of a rule and its twins in such a study: at sizes `TRAINED` labels are smoothed for every method alike."""
    smooths = "label_smoothing" in rule_facts(plan.twins_of.get(rule, rule)).options
    return {"label_smoothing": 0.2} if plan.size in TRAINED and smooths else {}


def network_of(plan: StudyPlan, rule: str, source: str, scale: Scale | None = None) -> NetworkSpec:
    """The network of a scale, unless given the plan's, at the width that the plan has for this rule and as many classes, twins alike."""
    network = (scale or scale_of(plan)).network
    width = plan.widths.get(rule, {}).get(SIZES_OF[source][2]) if source in SIZES_OF else None
    return network if width is None else network.model_copy(update={"width": width})


def methods_of(plan: StudyPlan, rule: str, **options: Any) -> dict[str, RuleSpec]:
    """The rule and its exact twins with the readout that they share and these options (`twins_of_rule`)."""
    return twins_of_rule(plan, rule, **readout_of(plan, rule), **options)


def beside(plan: StudyPlan, rule: str, others: Mapping[str, tuple[str, dict[str, Any]]]) -> dict[str, RuleSpec]:
    """Other ways to train the rule's blocks and readouts, beside it and its twins (`methods_of`).

    Args:
        plan: as for `methods_of`.
        rule: likewise.
        others: method → the rule that trains so, e.g. ``"segmented"``, and its options beyond ``of`` and the readout.
    """
    partner = plan.twins_of.get(rule, rule)
    shared, source = {"of": partner, **readout_of(plan, rule)}, plan.sources.get(rule) if partner == rule else None
    return {
        name: RuleSpec(name=kind, options=shared | options, source_sha256=source)
        for name, (kind, options) in others.items()
    }


def readout_of(plan: StudyPlan, rule: str) -> dict[str, Any]:
    """Options of the readout that the rule and its twins share."""
    return dict(READOUT.get(plan.twins_of.get(rule, rule), {}))
