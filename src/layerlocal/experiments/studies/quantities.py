"""Which quantities each experiment can have: the names that a claim may be about. Imports no torch."""

from __future__ import annotations

import re
from functools import cache
from typing import get_args

from layerlocal.claims import COST_STUDY
from layerlocal.experiments.cost.quantities import COST_QUANTITIES
from layerlocal.experiments.studies import STUDIES
from layerlocal.experiments.studies.axis import AxisStudy
from layerlocal.experiments.studies.base import Size, StudyPlan
from layerlocal.experiments.studies.parts import CONTROLLED

__all__ = ["known_quantities"]

BESIDE = {
    "accuracy": ("accuracy/*",),
    "best": ("accuracy/*", "validation/*"),
    "equal-time": ("accuracy/*",),
    "equal-cost": ("accuracy/*",),
    "scaling": ("prediction",),
    "ablation": ("effect/*", "dynamic_against_fixed/*", "fusion_against_best_block/*", "fusion_of_deepsup/*"),
}
"""Study → what it has beside what it declares."""


@cache
def known_quantities() -> dict[str, tuple[str, ...]]:
    """Study, or the cost audit → its quantities, where ``*`` stands for a value of its axis, such as a data set."""
    return {name: tuple(_of(name)) for name in STUDIES} | {COST_STUDY: COST_QUANTITIES}


def _of(name: str) -> list[str]:
    study = STUDIES[name]
    assert isinstance(study, AxisStudy)
    each = [re.sub(r"{[^}]*}", "*", one.name) or f"{one.key}/*" for one in study.differences]
    over = [
        one.name
        for size in get_args(Size)
        for one in study.findings(StudyPlan.model_validate({"study": name, "size": size}))
    ]
    controlled = [f"{key}/*" for key in CONTROLLED] if study.differences else []
    names = [*each, *over, *controlled, *BESIDE.get(name, ())]
    return [one for one in dict.fromkeys(names) if one != "*"]
