"""Sizes of studies made smaller, so that a test trains in a second."""

from __future__ import annotations

import dataclasses
from typing import Any

import layerlocal.experiments.studies.scale as scale_module
from layerlocal.spec import NetworkSpec

__all__ = ["shrink_quick"]


def shrink_quick(monkeypatch, *, recipe: dict[str, Any], **changes: Any) -> None:
    """Size quick with these images and changes of its recipe, on a narrow `cnn4`."""
    quick = scale_module._SCALES["quick"]
    changes = {
        "network": NetworkSpec(name="cnn4", width=0.125),
        "recipe": quick.recipe.model_copy(update=recipe),
    } | changes
    monkeypatch.setitem(scale_module._SCALES, "quick", dataclasses.replace(quick, **changes))
