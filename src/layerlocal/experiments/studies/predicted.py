"""`layerlocal study scaling`: one call predicts, the next one trains what was predicted. The plan keeps the prediction as it was."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layerlocal.experiments.driver import How, forecast, run
from layerlocal.experiments.reading import read_summary
from layerlocal.experiments.stored import read_plan, study_place
from layerlocal.experiments.studies.base import StudyPlan
from layerlocal.experiments.studies.driver import Studied
from layerlocal.experiments.studies.scaling import PREDICTION, ScalingStudy
from layerlocal.types import InputError

__all__ = ["forecast_predicted", "run_predicted"]


@dataclass(frozen=True)
class Predicted(Studied):
    """The runs.

    Args:
        predicted: rule → seed → value, by earlier calls.
    """

    predicted: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def plan(self, out: Path, how: How) -> StudyPlan:
        """With what was predicted."""
        predicted = {rule: dict(values) for rule, values in self.predicted.items()}
        return super().plan(out, how).model_copy(update={"predicted": predicted})


def run_predicted(out: Path, study: ScalingStudy, *, how: How, **asked: Any) -> Any:
    """Finish the corners, and the larger network of the rules for which an earlier call predicted it.

    Args:
        out: the run store.
        study: the study `scaling`.
        how: where runs are made.
        **asked: of `Studied`.

    Raises:
        InputError: as `run_study`.
    """
    return run(Predicted(study, predicted=_known(out, study, asked["size"]), **asked), out, how)


def forecast_predicted(out: Path, study: ScalingStudy, *, how: How, **asked: Any) -> dict[str, Any]:
    """What `run_predicted` would train and for how long. Writes nothing.

    Raises:
        InputError: as `run_predicted`.
    """
    return forecast(Predicted(study, predicted=_known(out, study, asked["size"]), **asked), out, how)


def _known(out: Path, study: ScalingStudy, size: str) -> dict[str, dict[str, float]]:
    """What the plan keeps, and what the last summary says of rules that it has nothing of."""
    before = read_plan(out, study.name, size)
    if before is None:
        return {}
    said: Mapping[str, Mapping[str, Any]] = {}
    with suppress(InputError):  # a damaged summary is written anew from the same corners, with the same prediction
        summary = read_summary(
            study_place(out, study.name, size).summary.path, damaged=lambda _, reason: InputError(str(reason))
        )
        said = {} if summary is None else summary.quantities
    fresh = {rule: dict(of[PREDICTION].values) for rule, of in said.items() if PREDICTION in of}
    return fresh | before.predicted
