"""Settings of a method's own: how they are searched, what was tried, and which were chosen. Imports no torch.

The rule that chooses, fixed beforehand: the trial with the highest mean validation accuracy over its seeds; of equal ones the first in the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

from pydantic import Field

from layerlocal.experiments.tune import DEFAULT_SPACE, Dimension, parse_dimension
from layerlocal.spec import Frozen
from layerlocal.types import InputError

__all__ = ["Choice", "SearchPlan", "Trial", "best_of", "search_of"]

USUAL = {"quick": (8, 1.0), "medium": (16, 1.0), "standard": (6, 0.125), "full": (16, 0.25)}
"""Size → trials of a method, and their length beside the runs that are judged."""
TRAINED_SPACE = ("recipe.learning_rate=log:0.05:3", "recipe.weight_decay=log:0.0002:0.01")
"""Of sizes standard and full, which train by SGD."""
EQUAL = {
    "recipe.epochs": "every method trains equally long",
    "recipe.steps": "every method trains equally long",
    "judged_on": "trials are judged on the validation split, always",
    "seed": "the seeds of trials are counted with --trial-seeds",
    "rule.name": "name the rules with --rules",
    "rule.of": "each twin is that of its rule",
}
"""What a search leaves alone, and why."""

EQUAL_DIGITS = 9
"""Means of as many right answers are equal, whatever the rounding of their sum."""
TRIAL_SEED = 10_000
"""The first seed of trials: a number of seeds is counted from 0 on and never comes so far, so that the settings are judged on others."""


class SearchPlan(Frozen):
    """How the settings of each method are searched: the same points, seeds and length for all.

    Args:
        space: dimensions.
        trials: of each method, ≥ 1 (`layerlocal.experiments.tune.shared_points`).
        seeds: runs of a trial, from `TRIAL_SEED` on; each draws images and a validation split of its own.
        length: of a trial's training, as a share of that of the runs that are judged.
    """

    space: tuple[Dimension, ...]
    trials: int = Field(ge=1)
    seeds: int = Field(default=2, ge=1)
    length: float = Field(default=1.0, gt=0, le=1)

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds of every trial."""
        return tuple(range(TRIAL_SEED, TRIAL_SEED + self.seeds))

    @property
    def words(self) -> str:
        """To stand beside every number."""
        size = len({dimension.key for dimension in self.space})
        length = "" if self.length == 1 else f", {self.length:.3g} of the length"
        return (
            f"{self.trials} trial{'s' * (self.trials != 1)} of {self.seeds} seed{'s' * (self.seeds != 1)} a method at the same points"
            f"{length}, {size} dimension{'s' * (size != 1)}, validation split"
        )


class Trial(Frozen):
    """Settings and what they were worth.

    Args:
        settings: dotted.
        values: validation accuracy of each seed.
        reason: why there is none.
    """

    settings: dict[str, Any]
    values: tuple[float, ...] = ()
    reason: str = ""

    @property
    def value(self) -> float | None:
        """What it is judged by; ``None`` where one of its runs failed."""
        return mean(self.values) if self.values else None


class Choice(Frozen):
    """What one method of a rule has on one data set.

    Args:
        settings: dotted; beyond those that all methods have.
        usual: what was searched, as it is where nothing is chosen.
        trials: in the order of the list; of a search.
        seconds_per_step: as it was timed; of studies at equal cost, as what follows.
        flops_per_step: of a whole batch.
        saved_bytes: that autograd holds for backward at most in a step.
    """

    settings: dict[str, Any]
    usual: dict[str, Any] = Field(default={})
    trials: tuple[Trial, ...] = ()
    seconds_per_step: float | None = None
    flops_per_step: float | None = None
    saved_bytes: int | None = None


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The one that is chosen, by the rule above; ``None`` where none ended."""
    ended = [(round(trial.value, EQUAL_DIGITS), trial) for trial in trials if trial.value is not None]
    return max(ended, key=lambda found: found[0])[1] if ended else None


def search_of(
    size: str,
    *,
    space: Sequence[str] = (),
    trials: int | None = None,
    trial_seeds: int | None = None,
    text: bool = False,
) -> SearchPlan:
    """How settings are searched at a size, but for what is said.

    Args:
        size: see `layerlocal.experiments.studies.base.SIZES`.
        space: dimensions (`parse_dimension`); learning rate and weight decay where there are none.
        trials: of each method, ≥ 1.
        trial_seeds: runs of a trial, ≥ 1; two where left out.
        text: whether data are text, of which no size has a recipe of its own.

    Raises:
        InputError: a dimension that is none, or that methods are not compared by.
    """
    usually = TRAINED_SPACE if size in ("standard", "full") and not text else DEFAULT_SPACE
    dimensions = tuple(map(parse_dimension, space or usually))
    for dimension in dimensions:
        part = dimension.key.partition(".")[0]
        if part in ("data", "network"):
            raise InputError(f"--space {dimension.key}: methods are compared on one {part}; set it for all with --set")
        if dimension.key in EQUAL:
            raise InputError(f"--space {dimension.key}: {EQUAL[dimension.key]}")
    usual, length = USUAL[size]
    return SearchPlan(space=dimensions, trials=trials or usual, seeds=trial_seeds or 2, length=length)
