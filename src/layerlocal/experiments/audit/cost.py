"""What each rule costs against backprop: samples/s side by side in one process, saved bytes, FLOPs, passes; saved bytes against depth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from layerlocal.measure import measure_flops, measure_saved_bytes, measure_speed, speed_ratios
from layerlocal.networks import create_network
from layerlocal.rules import Rule, create_rule
from layerlocal.runs.listing import PARTNER
from layerlocal.spec import Recipe
from layerlocal.training.train import make_optimizer, train_step
from layerlocal.types import describe_error

__all__ = ["measure_cost", "rule_costs"]

BASELINE = "bp"
DEPTHS = (2, 4, 8, 16)
BATCH_SIZE = 16
IMAGE_SIZE = 32
NUM_CLASSES = 10


Options = Mapping[str, Mapping[str, Any]]


def _make(rule: str, network: str, options: Options, device: str, **sizes: Any) -> Rule:
    built = create_network(network, in_channels=3, image_size=IMAGE_SIZE, seed=0, channels_last=True, **sizes)
    return create_rule(rule, built, num_classes=NUM_CLASSES, seed=0, **options.get(rule, {})).to(device)


def _batch(batch_size: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch_size, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator)
    return x.to(device), torch.randint(0, NUM_CLASSES, (batch_size,), generator=generator).to(device)


def _step(rule: Rule, x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    optimizer = make_optimizer(rule.train(), Recipe(optimizer="sgd"))
    return lambda: train_step(rule, x, y, optimizer)


class _Failures:
    """Rules that could not be measured, and why: each fails alone."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    @contextmanager
    def of(self, rule: str) -> Iterator[None]:
        """Whatever this rule raises here is its reason."""
        try:
            yield
        except (Exception, SystemExit) as error:
            self.reasons.setdefault(rule, describe_error(error))

    def guard(self, rule: str, step: Callable[[], None]) -> Callable[[], None]:
        """The step; after a failure none."""

        def guarded() -> None:
            if rule not in self.reasons:
                with self.of(rule):
                    step()

        return guarded


def rule_costs(
    rules: Sequence[str],
    *,
    network: str,
    width: float,
    batch_size: int,
    repeats: int,
    options: Options | None = None,
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """One row a rule, `BASELINE` among them: speed and bytes and their ratios to it, on random 32×32 images.

    Args:
        rules: names, or ``FILE.py:CLASS``; of one that cannot be measured the row has its ``failed``, the reason, and no number.
        network: its name.
        width: of the network.
        batch_size: samples a step.
        repeats: timed rounds.
        options: rule → its options.
        device: where it is measured.
    """
    x, y = _batch(batch_size, device)
    made: dict[str, Rule] = {}
    steps: dict[str, Callable[[], None]] = {}
    failures = _Failures()
    for name in rules:
        with failures.of(name):
            made[name] = _make(name, network, options or {}, device, width=width)
            steps[name] = failures.guard(name, _step(made[name], x, y))
    speeds = measure_speed(steps, batch_size=batch_size, repeats=repeats, warm_up=1, device=device)
    ratios = speed_ratios(speeds, BASELINE) if BASELINE in speeds else {}
    rows: dict[str, dict[str, Any]] = {}
    for name, row in ratios.items():
        with failures.of(name):
            rule = made[name]
            costs = measure_saved_bytes(rule, x, y) | measure_flops(rule, x, y)
            passes = {"passes_per_step": rule.passes_per_step, "passes_per_prediction": rule.passes_per_prediction}
            rows[name] = {"rule": name, "readout": rule.reads} | row | costs | passes
    base = rows.get(BASELINE, {})
    for row in rows.values():
        row["saved_ratio"] = row["peak_saved_bytes"] / base["peak_saved_bytes"]
        row["flops_ratio"] = row["flops_per_step"] / base["flops_per_step"]
    return [
        {"rule": name, "readout": "", "failed": failures.reasons[name]} if name in failures.reasons else rows[name]
        for name in rules
    ]


def _saved_against_depth(rules: Sequence[str], options: Options, device: str) -> dict[str, Any]:
    """A rule that cannot be measured at every depth has no line."""
    x, y = _batch(8, device)
    series, failures = [], _Failures()
    for name in rules:
        with failures.of(name):
            made = [_make(name, "plain", options, device, width=0.25, depth=depth) for depth in DEPTHS]
            saved = [measure_saved_bytes(rule, x, y)["peak_saved_bytes"] for rule in made]
            series.append({"rule": name, "peak_saved_bytes": saved})
    return {"network": "plain, width 0.25, 32 px, batch 8", "depths": list(DEPTHS), "series": series}


def measure_cost(
    rules: Sequence[str],
    *,
    options: Options | None = None,
    device: str = "cpu",
    width: float = 0.5,
    repeats: int = 5,
    command: str = "",
) -> dict[str, Any]:
    """The cost section of an audit.

    Args:
        rules: local rules; `BASELINE` and ``bp-deepsup`` are added.
        options: rule → its options, as in the audit; the two added ones are made of ``local-heads`` with its options.
        device: where it is measured.
        width: of vgg8.
        repeats: timed rounds.
        command: what makes these numbers again.
    """
    names = list(dict.fromkeys([BASELINE, "bp-deepsup", *rules]))
    known = dict(options or {})
    known |= {twin: known.get(PARTNER, {}) for twin in (BASELINE, "bp-deepsup")}  # what they are made of
    rows = rule_costs(
        names, network="vgg8", width=width, batch_size=BATCH_SIZE, repeats=repeats, options=known, device=device
    )
    return {
        "command": command,
        "network": f"vgg8, width {width:g}, 32 px, float32, channels-last",
        "batch_size": BATCH_SIZE,
        "threads": torch.get_num_threads(),
        "device": device,
        "repeats": repeats,
        "interval_note": f"median of {repeats} rounds in which the rules take turns, with quartiles of the ratio",
        "rules": rows,
        "depth": _saved_against_depth(names, known, device) | {"command": command},
    }
