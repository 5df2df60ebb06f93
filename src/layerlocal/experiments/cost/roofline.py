"""Ceilings of this machine, the share of them that a step reaches, and where its time goes by operation. Runs in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from layerlocal.experiments.cost.building import Trainer
from layerlocal.experiments.cost.case import CostCase
from layerlocal.experiments.cost.measure import count_costs
from layerlocal.measure import measure_speed

__all__ = ["OPERATIONS", "classify", "measure_roofline"]

MATRIX, COPY = "matrix product", "copy"
OPERATIONS = (
    "convolution forward", "convolution backward", "attention", "linear maps", "batch norm", "pooling", "readout", "fused kernels",
    "element-wise and copies", "optimizer", "other",
)  # fmt: skip
_KINDS = (
    ("fused kernels", ("layerlocal::", "normact", "gridrms", "triton", "compiledfunction")),
    ("convolution backward", ("convolution_backward", "conv_backward")),
    ("convolution forward", ("conv",)),
    ("attention", ("scaled_dot_product", "flash_attention", "fmha")),
    ("batch norm", ("batch_norm",)),
    ("pooling", ("max_pool",)),
    ("readout", ("pool", "addmm", "aten::mm", "linear", "softmax", "nll_loss", "cross_entropy", "bmm")),
    ("element-wise and copies", ("aten::", "detach")),
)
"""The first kind of which a piece stands in an operation's name; average pooling is the readout's, max pooling the network's."""
_LINEAR = ("addmm", "aten::mm", "linear", "bmm")
"""Of the readout in a network of convolutions; in one of tokens they are the network's own too."""


def measure_roofline(cases: Mapping[str, CostCase], *, rounds: int, small: bool = False) -> dict[str, Any]:
    """Ceilings and cases take turns; then one profile a case.

    Args:
        cases: of one device, by label.
        rounds: timed rounds.
        small: small matrices, for tests.

    Returns:
        ``matrix_flops_per_s`` and ``copy_bytes_per_s`` (medians; a copy reads and writes, so each byte counts twice), and ``rules``: label
        → ``flops_per_s`` (counted FLOPs over measured time), ``share`` (of the matrix ceiling, median of the rounds) and ``operations``
        (share of the step's time by kind).
    """
    device = next(iter(cases.values())).device
    precision = next(iter(cases.values())).precision
    trainers = {label: Trainer(case) for label, case in cases.items()}
    flops = {label: count_costs(trainer)["flops_per_step"] for label, trainer in trainers.items()}
    ceilings, work = _ceilings(device, precision, small)
    steps = ceilings | {label: trainer.step for label, trainer in trainers.items()}
    speeds = measure_speed(steps, batch_size=1, repeats=rounds, warm_up=2, device=device)
    found: dict[str, Any] = {
        "matrix_flops_per_s": work[MATRIX] * median(speeds[MATRIX]),
        "copy_bytes_per_s": work[COPY] * median(speeds[COPY]),
        "rules": {},
    }
    for label, trainer in trainers.items():
        pairs = zip(speeds[label], speeds[MATRIX], strict=True)
        found["rules"][label] = {
            "flops_per_s": flops[label] * median(speeds[label]),
            "share": median(flops[label] * own / (work[MATRIX] * ceiling) for own, ceiling in pairs),
            "operations": profile_step(trainer),
        }
    return found


def _ceilings(device: str, precision: str, small: bool) -> tuple[dict[str, Callable[[], None]], dict[str, int]]:
    """Functions that multiply two matrices and copy one, and the FLOPs and bytes of each."""
    size = 256 if small else 8192 if device.startswith("cuda") else 1536
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b, c = (torch.rand(size, size, device=device, dtype=kind) for _ in range(3))
    numbers = 2**18 if small else 2**28 if device.startswith("cuda") else 2**25
    source, target = torch.rand(numbers, device=device), torch.empty(numbers, device=device)

    def multiply() -> None:
        torch.mm(a, b, out=c)

    def copy() -> None:
        target.copy_(source)

    return {MATRIX: multiply, COPY: copy}, {MATRIX: 2 * size**3, COPY: 2 * source.numel() * source.element_size()}


def profile_step(trainer: Trainer, *, steps: int = 2) -> dict[str, float]:
    """Share of a step's time by kind of operation; adds up to 1."""
    cuda = trainer.case.device.startswith("cuda")
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as profiler:
        for _ in range(steps):
            trainer.step()
        if cuda:
            torch.cuda.synchronize()
    times, tokens = dict.fromkeys(OPERATIONS, 0.0), trainer.rule.network.tokens is not None
    for event in profiler.events():
        spent = event.self_device_time_total if cuda else event.self_cpu_time_total
        if not cuda or str(event.device_type).endswith("CPU"):  # a kernel's time is its operation's: once
            times[_kind_of(event, tokens)] += spent
    total = sum(times.values()) or 1.0
    return {kind: spent / total for kind, spent in times.items()}


def _kind_of(event: Any, tokens: bool) -> str:
    """The optimizer's work by who called it, everything else by name; linear maps of a network of tokens apart."""
    caller = event
    while caller is not None:
        if caller.name.startswith("Optimizer."):
            return "optimizer"
        caller = caller.cpu_parent
    if tokens and any(piece in event.name for piece in _LINEAR):
        return "linear maps"
    return classify(event.name)


def classify(name: str) -> str:
    """``"aten::native_batch_norm"`` → ``"batch norm"``."""
    low = name.lower()
    return next((kind for kind, pieces in _KINDS if any(piece in low for piece in pieces)), "other")
