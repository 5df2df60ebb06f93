"""What is asked of the processes that measure cost: plain JSON, which names its measurement."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, TypeVar

from layerlocal.experiments.cost.case import CostCase

__all__ = ["MICRO_BATCHES", "Asking", "Request", "Row", "label_of", "methods_of", "request_of", "steps_of"]

KINDS = {
    "turns": "speed",
    "alone": "memory",
    "fits": "whether there is room for a step",
    "roofline": "ceilings and profiles",
}
"""Of a request, in words; those on several processes say how many."""

MICRO_BATCHES = 8
"""Of backprop with its layers on several processes."""
Request = dict[str, Any]
Row = dict[str, Any]
T = TypeVar("T")
Asking = Generator[list[Request], list[Row | None], T]
"""Asks for measurements, some at a time, is told their results (``None``: it failed), and says in the end what they mean."""


def request_of(kind: str, cases: Mapping[str, CostCase], **options: Any) -> Request:
    """A request for `layerlocal.experiments.cost.worker.handle`; ``repeat`` among the options only tells equal requests apart."""
    content = {label: case.model_dump(mode="json") for label, case in cases.items()}
    return {"kind": kind, "cases": content, **options}


def methods_of(label: str, *, backprop: bool) -> list[str]:
    """Names of the ways to spread backprop, or a block-local rule."""
    return [f"data, {label}", f"{'pipeline' if backprop else 'layers'}, {label}"]


def label_of(request: Request) -> str:
    """What is measured, in words."""
    first = CostCase.parse(next(iter(request["cases"].values())))
    more = "" if len(request["cases"]) == 1 else f" and {len(request['cases']) - 1} more"
    kind = f"training on {request.get('processes')} processes" if request["kind"] == "ranks" else KINDS[request["kind"]]
    return f"{kind} of {first.label}{more}, {first.place}"


def steps_of(request: Request) -> int:
    """Steps of training in a measurement, about: rounds, warm-up and counts."""
    if request["kind"] == "ranks":
        return int(
            (request["rounds"] + 1)
            * request["steps"]
            * len(request["methods"])
            * (2 if request["processes"] == 1 else 1)
        )
    return len(request["cases"]) * (request["rounds"] + 4) if "rounds" in request else 2 * int(request["steps"])
