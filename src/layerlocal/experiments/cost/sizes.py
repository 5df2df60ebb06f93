"""How much each size of a cost audit measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from layerlocal.experiments.cost.case import MODES

__all__ = ["DETAILS", "Size", "network_of"]


@dataclass(frozen=True)
class Size:
    """What one size measures.

    Attributes:
        groups: networks whose methods are compared, as fields of a case.
        budget: the network whose largest batch, and images or context, are searched.
        memory: the budget, unless told.
        budget_modes: of methods that are searched, unless told.
        rounds: in which methods take turns.
        repeats: fresh processes of each method's memory.
        most_batch: the largest batch that is tried.
        most_image: the largest side in pixels that is tried.
        most_context: the most tokens of a sample that are tried: the time of a step grows with their square.
        tolerance: to which share of itself the largest is known.
        scale: factor on the width of scaling's networks.
        distribution: networks that are trained on two processes.
        steps: of a round of distributed training.
    """

    groups: tuple[dict[str, Any], ...]
    budget: dict[str, Any]
    memory: str
    budget_modes: tuple[str, ...]
    rounds: int
    repeats: int
    most_batch: int
    most_image: int
    most_context: int
    tolerance: float
    scale: float
    distribution: tuple[dict[str, Any], ...] = ()
    steps: int = 4


def network_of(name: str, width: float, image_size: int, batch_size: int, **more: Any) -> dict[str, Any]:
    """Fields of a case; ``network``, ``width`` and ``depth`` are its network's."""
    return {"network": name, "width": width, "image_size": image_size, "batch_size": batch_size, **more}


DETAILS = {
    "quick": Size(
        groups=(network_of("vgg8", 0.5, 32, 32),), budget=network_of("vgg8", 0.25, 32, 32), memory="100MB",
        budget_modes=("plain", "micro-4", "checkpointing"), rounds=5, repeats=3, most_batch=256, most_image=224, most_context=2048,
        tolerance=0.1, scale=1.0, distribution=(network_of("vgg8", 0.25, 32, 64),),
    ),
    "standard": Size(
        groups=(
            network_of("vgg8", 1.0, 32, 32), network_of("vgg16", 0.5, 32, 64), network_of("resnet18", 0.5, 32, 64),
            network_of("vgg16", 0.5, 224, 8),
        ),
        budget=network_of("vgg16", 0.5, 224, 8), memory="1GB", budget_modes=("plain", "micro-2", "micro-8", "checkpointing", "step-per-block"),
        rounds=7, repeats=3, most_batch=512, most_image=512, most_context=4096, tolerance=0.05, scale=2.0,
        distribution=(network_of("vgg8", 0.5, 32, 64), network_of("plain", 0.25, 32, 32, depth=64)), steps=6,
    ),
    "full": Size(
        groups=(
            network_of("resnet18", 1.0, 224, 64, num_classes=100), network_of("vgg16", 1.0, 224, 64, num_classes=100),
            network_of("vgg8", 1.0, 32, 512), network_of("resnet18", 1.0, 32, 512),
        ),
        budget=network_of("resnet18", 1.0, 224, 64, num_classes=100), memory="8GB", budget_modes=MODES,
        rounds=15, repeats=3, most_batch=8192, most_image=1024, most_context=65_536, tolerance=0.02, scale=4.0,
    ),
}  # fmt: skip
