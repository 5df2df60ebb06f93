"""Settings of a method's own: how they are searched, what was tried, and which were chosen. Imports no torch.

The rule that chooses, fixed beforehand: the trial with the highest mean validation accuracy over its seeds; of equal ones the first in the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Any

from pydantic import Field

from layerlocal.experiments.tune import Dimension
from layerlocal.spec import Frozen

__all__ = ["Choice", "SearchPlan", "Trial", "best_of"]

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
        trials: in the order of the list; of a search.
        seconds_per_step: as it was timed; of equal time.
    """

    settings: dict[str, Any]
    trials: tuple[Trial, ...] = ()
    seconds_per_step: float | None = None


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The one that is chosen, by the rule above; ``None`` where none ended."""
    ended = [(trial.value, trial) for trial in trials if trial.value is not None]
    return max(ended, key=lambda found: found[0])[1] if ended else None
