"""Measurements inside the process made for them (`layerlocal.experiments.cost.worker`): plain data in, plain data out.

`measure_turns`: several methods side by side, each training one batch in its turn, so that a machine whose speed drifts is the same for
all; with what is exact anywhere (saved bytes, FLOPs, passes, locks). `measure_alone`: one method with the process to itself: peak resident
size, CUDA's allocator, energy. `try_budget`: whether one method trains under a hard memory limit.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from layerlocal.data.shaped import USUAL_NETWORK
from layerlocal.experiments.cost.building import Trainer
from layerlocal.experiments.cost.case import CostCase
from layerlocal.experiments.cost.energy import EnergyMeter
from layerlocal.experiments.cost.theory import limits
from layerlocal.measure import count_passes, measure_speed, peak_resident_bytes, reset_peak_resident
from layerlocal.measure.memory import SavedBytes, process_bytes
from layerlocal.networks.flops import flop_counter
from layerlocal.runs.listing import rule_facts
from layerlocal.types import InputError, describe_error, first_line

__all__ = [
    "count_costs",
    "is_out_of_memory",
    "measure_alone",
    "measure_turns",
    "saved_bytes",
    "try_budget",
    "warm_up_process",
]

Cases = Mapping[str, CostCase]
_OUT_OF_MEMORY = re.compile(
    r"out of memory|not enough memory|bad_alloc|alloc_failed|(can't|cannot|could not|unable to|failed to) allocate|"
    r"could not (create|execute) a (primitive|memory)|can't start new thread",
    re.IGNORECASE,
)
"""What allocators say, and what oneDNN, cuDNN and threads say when theirs refused."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception is the system's, the allocator's or a library's refusal of more memory."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or bool(_OUT_OF_MEMORY.search(str(error)))


def warm_up_process(case: CostCase) -> None:
    """Train a tiny network by the same rule for a step and drop it: what is left is what any training by torch needs, however small.

    That is: everything imported, thread pools and library handles made, kernels loaded.
    """
    name, width, options, size = _tiny(case)
    changes = {"name": name, "width": width, "compile": False, "options": {"depth": 2, **options}, "frozen": None}
    network = case.network.model_copy(update=changes)
    Trainer(case.but(network=network, mode="plain", batch_size=4, **size)).step()
    gc.collect()


def _tiny(case: CostCase) -> tuple[str, float, dict[str, Any], dict[str, int]]:
    """Name, width and options of a network as small as the case's rule takes one, and the size of its samples."""
    features = case.num_classes if rule_facts(case.rule.name).channel_groups else 8
    if case.context is not None:
        return USUAL_NETWORK["text"], 1.0, {"hidden": features}, {"context": min(case.context, 8)}
    if case.image_size == 1:
        return USUAL_NETWORK["vectors"], 1.0, {"hidden": features}, {}
    return "plain", features / 64, {}, {"image_size": 8}


def saved_bytes(trainer: Trainer) -> int:
    """The most bytes kept for backward at any moment of a step of the loop: the same on every machine."""
    with SavedBytes([*trainer.rule.parameters(), *trainer.rule.buffers()]) as saved:
        trainer.step()
    return saved.peak


def count_costs(trainer: Trainer) -> dict[str, Any]:
    """What one step of the loop costs by count: the same on every machine.

    Returns:
        ``reads`` (what a block is read from, in the rule's words), ``peak_saved_bytes`` (kept for backward at any moment),
        ``flops_per_step`` (of the batch; matrix products and convolutions, what is computed again included), ``flops_per_prediction`` (of
        one sample), ``passes_per_step``, ``passes_per_prediction`` (through the network's busiest block), ``locality``, ``locks``,
        ``parameters`` (trainable), ``limits`` (`.theory.limits`).
    """
    rule, case = trainer.rule, trainer.case
    peak = saved_bytes(trainer)
    plain = trainer if not case.network.compile else Trainer(_uncompiled(case))
    plain.rule.rewind()  # a rule whose steps differ is counted at its first, here as in a run's record
    with flop_counter() as step:
        plain.step()
    few = plain.x[:2]
    plain.rule.eval()
    with torch.no_grad(), flop_counter() as prediction:
        plain.rule.scores(few)
    plain.rule.train()
    return {
        "reads": rule.reads,
        "peak_saved_bytes": peak,
        "flops_per_step": step.get_total_flops(),
        "flops_per_prediction": prediction.get_total_flops() // len(few),
        **count_passes(plain.rule, few, plain.y[:2]),
        "locality": rule.locality,
        "locks": rule.locks,
        "parameters": sum(p.numel() for p in rule.parameters() if p.requires_grad),
        "limits": limits(plain.rule.network, case.batch_size),
    }


def _uncompiled(case: CostCase) -> CostCase:
    return case.but(network=case.network.model_copy(update={"compile": False}))


def measure_turns(cases: Cases, *, rounds: int, apart: bool = False) -> dict[str, Any]:
    """Every case trains one batch a round, in turns.

    Args:
        cases: by label.
        rounds: that are timed.
        apart: a rule whose code raises fails alone; otherwise it ends them all.

    Returns:
        By label: ``samples_per_s`` (one number a round; pair them round by round) and what `count_costs` gives; or ``failed``, a reason.
    """
    found: dict[str, Any] = {}

    def guarded(label: str, act: Callable[[], None]) -> None:
        """Do it, unless this method has failed; if it fails now, say why."""
        try:
            if "failed" not in found.setdefault(label, {}):
                act()
        except (Exception, SystemExit) as error:
            if not apart and not is_out_of_memory(error):
                raise
            found[label] = {"failed": _reason(error)}

    trainers: dict[str, Trainer] = {}

    def start(label: str) -> None:
        trainers[label] = Trainer(cases[label])
        found[label] = count_costs(trainers[label])

    for label in cases:
        guarded(label, partial(start, label))
    steps = {label: partial(guarded, label, trainers[label].step) for label in cases if "failed" not in found[label]}
    device = next(iter(cases.values())).device
    speeds = measure_speed(steps, batch_size=1, repeats=rounds, warm_up=1, device=device) if steps else {}
    for label, steps_per_s in speeds.items():
        if "failed" not in found[label]:
            found[label]["samples_per_s"] = [cases[label].batch_size * speed for speed in steps_per_s]
    return found


def _reason(error: BaseException) -> str:
    return f"out of memory: {first_line(error)}" if is_out_of_memory(error) else describe_error(error)


def measure_alone(case: CostCase, *, steps: int) -> dict[str, Any]:
    """One case with a process to itself.

    Idle is the process after `warm_up_process`, before network, optimizer and batch exist: what counts is all that training this network
    needs, weights and optimizer state included.

    Returns:
        ``failed``, a reason, where memory runs out; else ``resident_bytes`` (peak above idle; ``None`` where /proc is absent), and on CUDA
        ``allocated_bytes``, ``reserved_bytes`` (the allocator's peaks above idle) and ``joules_per_sample`` (NVML's counter; ``None`` where
        NVML is not to be had).
    """
    warm_up_process(case)
    cuda = case.device.startswith("cuda")
    allocated, reserved = (torch.cuda.memory_allocated(), torch.cuda.memory_reserved()) if cuda else (0, 0)
    idle = process_bytes("VmRSS")
    exact = reset_peak_resident()
    before = peak_resident_bytes()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    try:
        trainer = Trainer(case)
        trainer.run(steps)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return {"failed": f"out of memory: {first_line(error)}"}
    peak = peak_resident_bytes()
    known = peak is not None and idle is not None and before is not None and (exact or peak > before)
    found: dict[str, Any] = {"resident_bytes": peak - idle if known else None, "idle_bytes": idle}  # type: ignore[operator]
    if cuda:
        torch.cuda.synchronize()
        found["allocated_bytes"] = torch.cuda.max_memory_allocated() - allocated
        found["reserved_bytes"] = torch.cuda.max_memory_reserved() - reserved
    meter = EnergyMeter(case.device)
    joules = meter.of(lambda: trainer.run(10 * steps)) if meter.available else None
    found["joules_per_sample"] = None if joules is None else joules / (10 * steps * case.batch_size)
    return found


def try_budget(case: CostCase, *, budget_bytes: int, steps: int) -> dict[str, Any]:
    """Whether a case trains within a budget: the process is refused every byte beyond it, as a card of that size would.

    On CUDA torch's allocator is capped (``set_per_process_memory_fraction``). On the CPU the limit is RLIMIT_DATA, set to what the process
    has at idle plus the budget: it counts every private writable page, so each tensor, workspace and piece of heap; RLIMIT_AS would also
    count libraries and address space that is only reserved, several GB in torch, and a watch on the resident size comes too late.

    Returns:
        ``fits``, and ``reason`` where it does not.

    Raises:
        InputError: a system that does not enforce the limit.
    """
    warm_up_process(case)
    if case.device.startswith("cuda"):
        _cap_cuda(case.device, budget_bytes)
    else:
        _cap_data(budget_bytes)
    try:
        trainer = Trainer(case)
        trainer.run(steps)
        if case.device.startswith("cuda"):
            torch.cuda.synchronize()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return {"fits": False, "reason": first_line(error)}
    return {"fits": True}


def _cap_cuda(device: str, budget_bytes: int) -> None:
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    if budget_bytes > total:
        raise InputError(
            f"the budget of {budget_bytes:,} bytes is more than the {total:,} bytes of {device}; lower --memory"
        )
    torch.cuda.set_per_process_memory_fraction(
        budget_bytes / total
    )  # of the current GPU, which `warm_up_process` chose


def _cap_data(budget_bytes: int) -> None:
    import mmap
    import resource

    data = process_bytes("VmData")
    if data is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (data + budget_bytes, hard))
        try:
            mmap.mmap(-1, budget_bytes + 2**26, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
        except OSError:
            return
    raise InputError(
        "this system does not enforce a limit on a process's data (RLIMIT_DATA), which a memory budget on the CPU needs; "
        "run the part budget on Linux or on a GPU, or leave it out with --part methods,scaling,roofline"
    )
