"""Class goodness: Forward-Forward by a learned class readout of goodness, with a temperature from its clarity and fusion of all blocks.

Paper: arXiv:2606.06539 (2026). This is our definition after its abstract; what secondary sources say of its method is `dtg-ff`. Each of the
three parts can be switched off:
goodness g_l,k = W_l r(a_l), r the root mean square of each channel on a small spatial grid; loss CE(g_l / τ_l, y), one pass, no negatives.
Differs from the author's public 2025 prototype, whose goodness carried no information, whose blocks were not detached and whose loss
was NaN at the first step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerlocal.networks import Network
from layerlocal.rules.core.export import ExportParts, RMSNormalize, Temperature
from layerlocal.rules.core.functional import bounded_temperature, clarity, rms_normalize
from layerlocal.rules.core.readout import SpatialReadout
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import RuleInfo
from layerlocal.rules.core.walk import BlockwiseRule
from layerlocal.types import InputError

__all__ = ["ClassGoodness", "GoodnessHead"]


class GoodnessHead(SpatialReadout):
    """Class goodness of one block, and the clarity of that goodness, smoothed over steps in a buffer of its own.

    Attributes:
        whole_mean: from means over a part of a batch to those over all of it; set by data-parallel training on whatever module has it.
    """

    clarity: Tensor
    whole_mean: Callable[[Tensor], Tensor] | None = None

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self.register_buffer("clarity", torch.zeros(()))


@register_rule
class ClassGoodness(BlockwiseRule):
    """Class goodness at every block, in one pass: loss_l = CE(g_l / τ_l, y); fused prediction Σ_l w_l log softmax(g_l / τ_l).

    Args:
        network: what is trained.
        num_classes: K ≥ 2.
        seed: of the readouts.
        dynamic_temperature: τ_l = τ_min + (τ_max − τ_min) σ(gain · clarity_l), with clarity_l from the block's own goodness
            (`functional.clarity`) as an exponential moving average; off: τ_l = 1.
        temperature_min: τ_min > 0.
        temperature_max: τ_max ≥ τ_min.
        temperature_gain: gain; negative values heat unclear blocks instead of clear ones.
        clarity_momentum: share of the old average kept at each step, in [0, 1).
        decoupled_norm: goodness is read from the activity; the next block is fed the activity divided by its root mean square, from
            which the block's goodness (its mean square) cannot be read. Off: the next block is fed the activity itself.
        fusion: ``"uniform"``, ``"fitted"`` or ``"best"`` on the validation split, or ``"last"`` (no multi-layer fusion).
        grid: cells a side of the spatial goodness, ≥ 1.
        label_smoothing: in [0, 1).
        factors: ``"AxB"`` where a class is a pair (`SpatialReadout`).
    """

    info = RuleInfo(
        name="class-goodness",
        locality="block",
        summary="class goodness on a spatial grid with dynamic temperature, decoupled normalization, multi-layer fusion",
        references=("arXiv:2606.06539", "arXiv:2212.13345"),
    )

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        dynamic_temperature: bool = True,
        temperature_min: float = 0.25,
        temperature_max: float = 1.0,
        temperature_gain: float = 1.0,
        clarity_momentum: float = 0.95,
        decoupled_norm: bool = True,
        fusion: str = "uniform",
        grid: int = 2,
        label_smoothing: float = 0.0,
        factors: str | None = None,
    ) -> None:
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion, label_smoothing=label_smoothing)
        if not 0 < temperature_min <= temperature_max:
            raise InputError(
                f"0 < temperature_min <= temperature_max is needed, got {temperature_min} and {temperature_max}"
            )
        if not 0 <= clarity_momentum < 1:
            raise InputError(f"clarity_momentum must be in [0, 1), got {clarity_momentum}")
        self.dynamic_temperature = dynamic_temperature
        self.temperature_min = temperature_min
        self.temperature_max = temperature_max
        self.temperature_gain = temperature_gain
        self.clarity_momentum = clarity_momentum
        self.decoupled_norm = decoupled_norm
        shapes = self.read_shapes
        self.heads = self.head_per_block(lambda i: GoodnessHead(shapes[i], num_classes, grid=grid, factors=factors))

    def temperature(self, index: int) -> Tensor | float:
        """τ_l of one block, from its smoothed clarity."""
        if not self.dynamic_temperature:
            return 1.0
        found: Tensor = self.heads[f"block{index}"].clarity  # type: ignore[assignment]
        return bounded_temperature(self.temperature_gain * found, self.temperature_min, self.temperature_max)

    def feed(self, index: int, activity: Tensor) -> Tensor:
        """The activity, or (decoupled) the activity at unit root mean square."""
        return rms_normalize(activity) if self.decoupled_norm else activity

    def block_score(self, index: int, activity: Tensor) -> Tensor:
        """g_l / τ_l: (B, K)."""
        return self.heads[f"block{index}"](activity) / self.temperature(index)

    def export_parts(self) -> ExportParts:
        """Those of the heads, with what `feed` does."""
        parts = super().export_parts()
        return replace(parts, feed=RMSNormalize()) if self.decoupled_norm else parts

    def export_readout(self, name: str) -> nn.Module:
        """The head, over a temperature that no longer moves."""
        head = super().export_readout(name)
        if not self.dynamic_temperature:
            return head
        return nn.Sequential(head, Temperature(self.temperature(self.network.block_names.index(name))))

    def local_loss(self, index: int, activity: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """CE(g_l / τ_l, y); in training the block's smoothed clarity moves first."""
        head = self.heads[f"block{index}"]
        assert isinstance(head, GoodnessHead)
        class_goodness = head(activity)
        if self.training and self.dynamic_temperature:
            found = clarity(class_goodness, y, head.whole_mean)
            head.clarity.lerp_(found.to(head.clarity.dtype), 1 - self.clarity_momentum)
        temperature = self.temperature(index)
        loss = F.cross_entropy(class_goodness / temperature, y, label_smoothing=self.label_smoothing)
        metrics = {"temperature": torch.as_tensor(temperature)} if self.dynamic_temperature else {}
        return loss, metrics
