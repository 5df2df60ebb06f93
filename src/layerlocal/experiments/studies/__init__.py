"""The questions, one file each: which runs answer it, and what they say."""

from __future__ import annotations

from layerlocal.experiments.studies.ablation import AblationStudy
from layerlocal.experiments.studies.accuracy import AccuracyStudy
from layerlocal.experiments.studies.base import Study
from layerlocal.experiments.studies.best import BestStudy
from layerlocal.experiments.studies.calibration import CalibrationStudy
from layerlocal.experiments.studies.classes import ClassesStudy
from layerlocal.experiments.studies.composition import CompositionStudy
from layerlocal.experiments.studies.depth import DepthStudy
from layerlocal.experiments.studies.equal_cost import EqualCostStudy
from layerlocal.experiments.studies.equal_time import EqualTimeStudy
from layerlocal.experiments.studies.hierarchy import HierarchyStudy
from layerlocal.experiments.studies.hybrid import HybridStudy
from layerlocal.experiments.studies.language import LanguageStudy
from layerlocal.experiments.studies.length import LengthStudy
from layerlocal.experiments.studies.resolution import ResolutionStudy
from layerlocal.experiments.studies.scaling import ScalingStudy
from layerlocal.types import unknown_name

__all__ = ["STUDIES", "find_study"]

_ALL: tuple[Study, ...] = (
    AccuracyStudy(), BestStudy(), EqualTimeStudy(), EqualCostStudy(), ClassesStudy(), HierarchyStudy(), DepthStudy(), LengthStudy(),
    ScalingStudy(), ResolutionStudy(), CompositionStudy(), HybridStudy(), CalibrationStudy(), AblationStudy(),
    LanguageStudy(),
)  # fmt: skip
STUDIES: dict[str, Study] = {study.name: study for study in _ALL}


def find_study(name: str) -> Study:
    """A study by name.

    Raises:
        InputError: no such study; the known ones are named.
    """
    if name not in STUDIES:
        raise unknown_name("study", name, STUDIES)
    return STUDIES[name]
