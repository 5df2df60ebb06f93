"""What a cost audit asks for, part by part, and what it makes of the answers: the same whether measurements are made, kept or only counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from layerlocal.experiments.cost.budget import search
from layerlocal.experiments.cost.case import CostCase
from layerlocal.experiments.cost.plan import Compared, CostPlan
from layerlocal.experiments.cost.requests import Asking, Request, Row, request_of, steps_of
from layerlocal.experiments.cost.summary import (
    budget_summary,
    distribution_summary,
    group_summary,
    roofline_summary,
    scaling_summary,
)

__all__ = ["ask", "expected", "walk", "work_of"]

TRIES = 6
"""Of a search for the largest size, about."""


def ask(plan: CostPlan) -> Asking[dict[str, list[Row]]]:
    """Every part of the summary; what could not be measured is not in it, or says so."""
    found: dict[str, list[Row]] = {"groups": [], "scaling": [], "roofline": [], "budget": [], "distribution": []}
    for group in plan.groups:
        if "methods" in plan.parts:
            found["groups"].append((yield from _group(plan, group)))
        if "roofline" in plan.parts:
            [result] = yield [plan.roofline(group)]
            found["roofline"] += [] if result is None else [roofline_summary(plan, group, result)]
    for axis in plan.axes:
        [result] = yield [plan.scaling(axis)]
        found["scaling"] += [] if result is None else [scaling_summary(plan, axis, result)]
    for group in plan.budgets:
        found["budget"].append((yield from _budget(plan, group)))
    for group in plan.distributions:
        part = yield from _distribution(plan, group)
        found["distribution"] += [] if part is None else [part]
    return found


def walk(plan: CostPlan, answer: Callable[[Request], Row | None]) -> Iterator[Request]:
    """Every request of an audit that is given these answers."""
    asking = ask(plan)
    requests = next(asking, None)
    while requests is not None:
        yield from requests
        try:
            requests = asking.send([answer(request) for request in requests])
        except StopIteration:
            return


def expected(request: Request) -> int:
    """Measurements that come of a request that has no answer yet, itself included, about: further tries, or the same on two processes."""
    return TRIES if request["kind"] == "fits" else 2 if request.get("processes") == 1 else 1


def work_of(plan: CostPlan) -> int:
    """Of all rounds, in steps of training, about."""
    return sum(expected(request) * steps_of(request) for request in walk(plan, lambda _: None))


def _group(plan: CostPlan, group: Compared) -> Asking[Row]:
    turns = yield plan.turns(group)
    alone = {}
    for label, case in group.by_label.items():
        results = yield plan.alone(case)
        alone[label] = _made(results)
    return group_summary(plan, group, _made(turns), alone)


def _budget(plan: CostPlan, group: Compared) -> Asking[Row]:
    found = {}
    for label, case in group.by_label.items():
        for axis, most in _growing(plan, group.base).items():
            found[label, axis] = yield from search(
                case, axis, budget_bytes=plan.budget_bytes, most=most, tolerance=plan.detail.tolerance
            )
    largest = {
        label: case.but(batch_size=found[label, "batch_size"]["largest"])
        for label, case in group.by_label.items()
        if found[label, "batch_size"]["largest"]
    }
    speeds = yield _speeds(plan, largest)
    turns = {label: row for result in _made(speeds) for label, row in result.items()}
    return budget_summary(plan, group, found, turns)


def _growing(plan: CostPlan, base: CostCase) -> dict[str, int]:
    """What is searched, and the largest that is tried: the batch, and the side of images or the context of text; vectors have neither."""
    size = plan.detail
    if base.context is not None:
        return {"batch_size": size.most_batch, "context": size.most_context}
    return {"batch_size": size.most_batch} | ({"image_size": size.most_image} if base.image_size > 1 else {})


def _speeds(plan: CostPlan, cases: dict[str, CostCase]) -> list[Request]:
    """On the CPU side by side in turns; on a GPU, whose speed does not drift, each in a process that has the card to itself."""
    if not cases:
        return []
    apart = next(iter(cases.values())).device.startswith("cuda")
    together = [{label: case} for label, case in cases.items()] if apart else [cases]
    return [request_of("turns", each, rounds=plan.detail.rounds) for each in together]


def _distribution(plan: CostPlan, group: Compared) -> Asking[Row | None]:
    one = yield plan.ranks(group)
    if not (alone := _made(one)):
        return None
    two = yield plan.ranks(group, alone[0]["ranks"][0]["costs"])
    return distribution_summary(plan, group, alone, together) if (together := _made(two)) else None


def _made(results: list[Row | None]) -> list[Row]:
    return [result for result in results if result is not None]
