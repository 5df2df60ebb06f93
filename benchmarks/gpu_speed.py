"""Samples/s and memory of a training step of every rule against backprop, on one device; part of `gpu_protocol.py`."""

from __future__ import annotations

import time

import torch

from layerlocal import Recipe, create_network, create_rule, measure_saved_bytes
from layerlocal.measure import measure_speed, speed_ratios
from layerlocal.rules import find_rule, list_rules
from layerlocal.training.optimizer import Stepper, make_optimizer
from layerlocal.training.train import train_step
from layerlocal.types import InputError

FIRST = ("bp", "bp-deepsup", "local-heads", "committee")
"""Those that must be there; the others as time allows. Those of `FIRST` are what ``--compile`` compiles."""
K = 10
STEPS, ROUNDS, WARM_UP = 5, 7, 3
RESERVED = 0.5
"""Share of the part's time that is kept for the rounds."""


def built(name, device, precision, *, smoke, compiled):
    """A rule on `vgg8` of ten classes, a width at which ten divides all channels, ready to step; and one batch."""
    width, size = (0.15625, 32) if smoke else (1.25, 512)
    network = create_network(
        "vgg8", in_channels=3, image_size=32, width=width, seed=0, channels_last=True, compile=compiled
    )
    rule = create_rule(name, network, num_classes=K, seed=0).to(device).train()
    recipe = Recipe(optimizer="sgd", precision=precision, batch_size=size)
    stepper = Stepper(rule, make_optimizer(rule, recipe), recipe)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(size, 3, 32, 32, generator=generator).to(device)
    y = torch.randint(0, K, (size,), generator=generator).to(device)

    def steps(count=1 if smoke else STEPS):
        for _ in range(count):
            train_step(rule, x, y, stepper, recipe=recipe)

    return rule, x, y, steps


def looked_at(name, device, precision, *, smoke, compiled):
    """What one rule needs, alone, and its function of some steps."""
    cuda = device != "cpu"
    before = torch.cuda.memory_allocated() if cuda else 0
    rule, x, y, steps = built(name, device, precision, smoke=smoke, compiled=compiled)
    steps(1 if smoke else WARM_UP)
    found = {
        "rule": name,
        "compiled": compiled,
        "batch_size": len(x),
        "network": "vgg8",
        "precision": precision,
        "allocated_bytes": None,
    }
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        steps(1)
        torch.cuda.synchronize()
        found["allocated_bytes"] = torch.cuda.max_memory_allocated() - before  # weights, optimizer and batch included
    if not compiled:
        few = max(2, len(x) // 16)
        found["saved_bytes_a_sample"] = measure_saved_bytes(rule, x[:few], y[:few])["peak_saved_bytes"] / few
    return found, steps


def speeds(device, budget, *, precision="bf16", smoke=False, compiled=False):
    """One row a rule that `vgg8` will do for; those that fail or find no time say so."""
    others = [name for name in list_rules() if name not in FIRST and not find_rule(name).info.tried_on]
    wanted = [(name, False) for name in (*FIRST, *others)]
    wanted = wanted[: len(FIRST)] if smoke else wanted + [(name, True) for name in FIRST if compiled]
    rows, steps, longest = {}, {}, 0.0
    whole = budget.left()
    for name, compiles in wanted:
        if budget.left() - longest < RESERVED * whole and len(rows) >= len(FIRST):
            yield {"rule": name, "compiled": compiles, "skipped": "no time was left"}
            continue
        start = time.monotonic()
        try:
            rows[name, compiles], steps[name, compiles] = looked_at(
                name, device, precision, smoke=smoke, compiled=compiles
            )
        except (InputError, RuntimeError) as error:
            yield {"rule": name, "compiled": compiles, "failed": str(error)[:500]}
        longest = max(longest, time.monotonic() - start)
    baseline = FIRST[0], False
    if baseline not in rows:
        return
    found = measured(steps, device, budget, rows[baseline]["batch_size"], smoke)
    of_bp = rows[baseline]["allocated_bytes"]
    for key, ratio in speed_ratios(found, baseline).items():
        allocated = rows[key]["allocated_bytes"]
        yield rows[key] | ratio | {"allocated_ratio": allocated / of_bp if allocated and of_bp else None}


def measured(steps, device, budget, batch, smoke):
    """Samples/s of each round; as many rounds as fit, one at least."""
    count = 1 if smoke else STEPS
    start = time.monotonic()
    found = measure_speed(steps, batch_size=count * batch, repeats=1, warm_up=0, device=device)
    a_round = time.monotonic() - start
    rounds = int(max(1, min(ROUNDS, budget.left() / (1.2 * a_round))))
    return (
        measure_speed(steps, batch_size=count * batch, repeats=rounds, warm_up=0, device=device)
        if rounds > 1
        else found
    )
