"""What the process that one measurement is made in does: a request in, the result out, both plain JSON."""

from __future__ import annotations

import json
import os
import sys
from multiprocessing.connection import Connection
from typing import Any

from layerlocal.types import InputError, describe_error, is_fault

__all__ = ["answer", "handle"]


def handle(request: dict[str, Any]) -> dict[str, Any]:
    """Measure what a request asks for.

    Args:
        request: ``{"kind": "turns" | "alone" | "fits" | "roofline" | "ranks", "cases": {label: case}, ...}``, the rest as the arguments of the
            function of that kind.
    """
    import torch

    from layerlocal.experiments.cost import measure, ranks, roofline
    from layerlocal.experiments.cost.case import CostCase

    cases = {label: CostCase.parse(content) for label, content in request["cases"].items()}
    first = next(iter(cases.values()))
    torch.set_num_threads(first.threads)
    options = {key: value for key, value in request.items() if key not in ("kind", "cases", "repeat")}
    if request["kind"] == "turns":
        return measure.measure_turns(cases, **options)
    if request["kind"] == "roofline":
        return roofline.measure_roofline(cases, **options)
    if request["kind"] == "ranks":
        return ranks.measure_rank(cases, **options)
    if request["kind"] == "alone":
        return measure.measure_alone(first, **options)
    return measure.try_budget(first, **options)


def answer(connection: Connection, request: str) -> None:
    """Send ``{"result": ...}``, or ``{"error": sentence, "input": whether the user can mend it}``; what libraries print is dropped."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        stream.flush()
        os.dup2(nowhere, number)
    try:
        found: dict[str, Any] = {"result": handle(json.loads(request))}
    except BaseException as error:
        if not is_fault(error):
            return
        found = {"error": describe_error(error), "input": isinstance(error, InputError)}
    connection.send_bytes(json.dumps(found).encode())
    connection.close()
