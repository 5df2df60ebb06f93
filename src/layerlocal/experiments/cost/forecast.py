"""About how long measurements of cost take: by the seconds of those that are kept, else by a pace that is known or timed; the rest by FLOPs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from layerlocal.experiments.cost.case import CostCase
from layerlocal.experiments.cost.known import SIDE, look_at_network
from layerlocal.experiments.cost.requests import Request, steps_of
from layerlocal.runs.looks import yardstick

__all__ = ["TIMED_BATCH", "TIMED_FLOPS", "forecast_seconds", "time_step", "trace_flops"]

START = 1.0
"""Seconds of a process before it trains."""
TIMED_BATCH, TIMED_FLOPS = 8, 4e9


def forecast_seconds(
    left: Sequence[Request], kept: Sequence[Request], seconds: Callable[[Request], float | None]
) -> list[float]:
    """Seconds of each measurement that is not made yet: a rough estimate.

    Args:
        left: those.
        kept: measurements of the same audit that were made.
        seconds: how long one of them took.
    """
    if not left:
        return []
    work = _Work()
    known = [(work.of(job), took - START) for job in kept if (took := seconds(job)) is not None and took > START]
    pace = sum(took for _, took in known) / sum(flops for flops, _ in known) if known else work.pace(left)
    return [START + work.of(job) * pace for job in left]


class _Work:
    """FLOPs of steps, by closed forms; each network is traced once."""

    def __init__(self) -> None:
        self.traced: dict[str, float] = {}

    def of(self, request: Request) -> float:
        """All steps of a measurement."""
        cases = [CostCase.parse(content) for content in request["cases"].values()]
        return steps_of(request) * sum(map(self.of_step, cases)) / len(cases)

    def of_step(self, case: CostCase) -> float:
        """One step of backprop."""
        side = min(case.image_size, SIDE)
        key = f"{case.network.model_dump_json()} {side} {case.in_channels} {case.context}"
        if key not in self.traced:
            look = look_at_network(case)
            self.traced[key] = trace_flops(case) if look is None else look.flops
        return self.traced[key] * case.batch_size * (1 if case.context else (case.image_size / side) ** 2)

    def pace(self, requests: Sequence[Request]) -> float:
        """Seconds a FLOP of the case with the most work that takes a moment, at a small batch: small networks are slower a FLOP."""
        cases = [CostCase.parse(content) for request in requests for content in request["cases"].values()]
        small = {
            case.but(batch_size=min(case.batch_size, TIMED_BATCH), mode="plain").model_dump_json(): case
            for case in cases
        }
        by_work = sorted(map(CostCase.model_validate_json, small), key=self.of_step)
        case = max(
            (case for case in by_work if self.of_step(case) <= TIMED_FLOPS), key=self.of_step, default=by_work[0]
        )
        look = look_at_network(case) if case.device == "cpu" else None
        if look is not None:
            return yardstick() * look.pace / case.threads
        return time_step(case) / self.of_step(case) / (case.threads if case.device == "cpu" else 1)


def trace_flops(case: CostCase) -> float:
    """Of a step of backprop on the case's network, a sample, on images of at most `SIDE`."""
    from layerlocal.experiments.cost.building import build_network
    from layerlocal.experiments.cost.theory import limits
    from layerlocal.runs.timing import one_thread

    plain = case.network.model_copy(update={"compile": False, "fused": False})
    with one_thread():
        network = build_network(case.but(network=plain, image_size=min(case.image_size, SIDE)))
        return float(limits(network, 1)["bp_flops"])


def time_step(case: CostCase) -> float:
    """Seconds of a case's second step, on the CPU on one thread."""
    from layerlocal.experiments.cost.building import Trainer
    from layerlocal.measure import measure_speed
    from layerlocal.runs.timing import one_thread

    trainer = Trainer(case.but(network=case.network.model_copy(update={"compile": False})))
    if case.device != "cpu":
        [speed] = measure_speed({"a": trainer.step}, batch_size=1, repeats=1, warm_up=1, device=case.device)["a"]
        return 1 / speed
    with one_thread():  # whose own time counts, whatever else this machine does
        trainer.step()
        begun = time.process_time()
        trainer.step()
        return time.process_time() - begun
