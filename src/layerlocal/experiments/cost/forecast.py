"""About how long measurements of cost take: by the seconds of those that are kept, else by some timed steps; the rest goes by FLOPs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from layerlocal.experiments.cost.case import CostCase, Trainer, build_network
from layerlocal.experiments.cost.requests import Request, steps_of
from layerlocal.experiments.cost.theory import limits
from layerlocal.measure import measure_speed
from layerlocal.runs.timing import one_thread

__all__ = ["forecast_seconds"]

START = 1.0
"""Seconds of a process before it trains."""
SIDE = 64
"""Pixels of the largest images that layers are traced on; larger ones take as much more as they have more pixels."""
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
    pace = sum(took for _, took in known) / sum(flops for flops, _ in known) if known else work.timed_pace(left)
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
        spec, side = case.network, min(case.image_size, SIDE)
        key = f"{spec.model_dump_json()} {side} {case.in_channels}"
        if key not in self.traced:
            plain = spec.model_copy(update={"compile": False, "fused": False})
            network = build_network(case.but(network=plain, image_size=side))
            self.traced[key] = limits(network, 1)["bp_flops"]
        return self.traced[key] * case.batch_size * (case.image_size / side) ** 2

    def timed_pace(self, requests: Sequence[Request]) -> float:
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
        case = case.but(network=case.network.model_copy(update={"compile": False}))
        trainer = Trainer(case)
        if case.device.startswith("cuda"):
            [speed] = measure_speed({"a": trainer.step}, batch_size=1, repeats=1, warm_up=1, device=case.device)["a"]
            return 1 / (speed * self.of_step(case))
        with one_thread():  # whose own time counts, whatever else this machine does
            trainer.step()
            begun = time.process_time()
            trainer.step()
            spent = time.process_time() - begun
        return spent / case.threads / self.of_step(case)
