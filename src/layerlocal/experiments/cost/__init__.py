"""What training costs: cases, measurements in fresh processes, memory budgets, scaling, ceilings, and what theory allows.

The names are loaded when first used: what shows finished measurements needs no torch.
"""

from __future__ import annotations

from typing import Any

_HOME = {"MODES": "case", "CostCase": "case", "limits": "theory"}

__all__ = ["MODES", "CostCase", "limits"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
