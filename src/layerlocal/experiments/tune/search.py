"""One method's search: which settings to try next, from what trials before were worth (Optuna, arXiv:1907.10902) or from one list for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from layerlocal.experiments.tune.plan import Method, TunePlan
from layerlocal.experiments.tune.points import shared_points
from layerlocal.experiments.tune.space import Dimension
from layerlocal.types import InputError, derive_seed

__all__ = ["AT_ONCE", "Search", "at_once"]

AT_ONCE = 4
"""Trials asked for before any of them is told, whatever the number of workers: so that it changes no result."""
STARTUP = 8
"""Random trials before TPE looks at them."""


class Search:
    """The trials of one method, in order. A function of the plan and of what it is told, so it can be played again.

    Args:
        plan: the search.
        method: whose.

    Raises:
        InputError: Optuna is not installed, and the sampler needs it.
    """

    def __init__(self, plan: TunePlan, method: Method) -> None:
        self.plan, self.method = plan, method
        self.space = plan.dimensions(method.rule)
        self.made = 0
        self.usual = plan.usual(method)
        self.first = {d.key: self.usual[d.key] if d.holds(self.usual[d.key]) else d.first for d in self.space}
        """Settings that a run can be built with: those that it has anyway where they lie in the space."""
        self._source: _Listed | _Sampled = _Listed(plan, method) if plan.sampler == "sobol" else _Sampled(plan, method)

    def ask(self) -> list[dict[str, Any]]:
        """Settings of the next trials, `at_once` or as many as are left; none at the end."""
        number = min(at_once(self.plan), self.plan.trials - self.made)
        self.made += number
        return self._source.ask(number)

    def tell(self, values: Sequence[float | None]) -> None:
        """What the last trials asked for were worth, in their order; ``None``: it failed."""
        self._source.tell(values)


def at_once(plan: TunePlan) -> int:
    """Trials of one round: all of a list, which does not hang on what they are worth."""
    return plan.trials if plan.sampler == "sobol" else AT_ONCE


class _Listed:
    """The list that a rule and its twins share (`shared_points`)."""

    def __init__(self, plan: TunePlan, method: Method) -> None:
        usual = [plan.usual(other) for other in plan.methods if other.rule == method.rule]
        self.points = shared_points(plan.dimensions(method.rule), usual, plan.trials, seed=plan.seed)

    def ask(self, number: int) -> list[dict[str, Any]]:
        asked, self.points = self.points[:number], self.points[number:]
        return asked

    def tell(self, values: Sequence[float | None]) -> None:
        """It changes nothing."""


class _Sampled:
    """Draws of its own for each method, by Optuna."""

    def __init__(self, plan: TunePlan, method: Method) -> None:
        try:
            import optuna
        except ImportError:
            raise InputError(
                f'the sampler {plan.sampler} needs Optuna; install it with `pip install "layerlocal[tune]"`, or take --sampler sobol'
            ) from None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space = plan.dimensions(method.rule)
        seed = derive_seed(plan.seed, "tune", method.label) % 2**32
        sampler = (
            optuna.samplers.RandomSampler(seed=seed)
            if plan.sampler == "random"
            else optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP, constant_liar=True)
        )
        self.study = optuna.create_study(direction="maximize", sampler=sampler)
        self.failed = optuna.trial.TrialState.FAIL
        self.distributions = {dimension.key: _distribution(optuna, dimension) for dimension in self.space}
        self.open: list[Any] = []
        usual = plan.usual(method)
        if all(dimension.holds(usual[dimension.key]) for dimension in self.space):
            self.study.enqueue_trial(usual)

    def ask(self, number: int) -> list[dict[str, Any]]:
        self.open = [self.study.ask(self.distributions) for _ in range(number)]
        return [{d.key: d.tidy(trial.params[d.key]) for d in self.space} for trial in self.open]

    def tell(self, values: Sequence[float | None]) -> None:
        for trial, value in zip(self.open, values, strict=True):
            if value is None:
                self.study.tell(trial, state=self.failed)
            else:
                self.study.tell(trial, value)
        self.open = []


def _distribution(optuna: Any, dimension: Dimension) -> Any:
    if dimension.kind == "choices":
        return optuna.distributions.CategoricalDistribution(dimension.choices)
    log = dimension.kind == "log"
    if dimension.whole:
        return optuna.distributions.IntDistribution(int(dimension.low), int(dimension.high), log=log)
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=log)
