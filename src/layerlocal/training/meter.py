"""Sums over the steps of an epoch, kept on the device so that nothing waits for it."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from layerlocal.types import BlockLoss, InputError, trained_blocks

__all__ = ["Meter"]


@dataclass
class Meter:
    """Sums over steps: losses, metrics, and how many steps each sum has been finite. Losses name blocks among ``blocks``."""

    blocks: list[str]
    losses: dict[str, Tensor] = field(default_factory=dict)
    metrics: dict[str, Tensor] = field(default_factory=dict)
    finite: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    metric_counts: dict[str, int] = field(default_factory=dict)

    def add(self, loss: BlockLoss) -> None:
        """Count one loss and its metrics.

        Raises:
            InputError: a loss that names no block of the network.
        """
        if loss.block not in self.losses:
            trained_blocks(loss.block, self.blocks)
        value = loss.value.detach().float()
        self.losses[loss.block] = total = self.losses.get(loss.block, 0.0) + value
        self.finite[loss.block] = self.finite.get(loss.block, 0) + total.isfinite()
        self.counts[loss.block] = self.counts.get(loss.block, 0) + 1
        for name, metric in loss.metrics.items():
            self.metrics[name] = (
                self.metrics.get(name, 0.0) + metric.detach().float()
            )  # sums of bf16 numbers would soon stand still
            self.metric_counts[name] = self.metric_counts.get(name, 0) + 1

    def refuse_non_finite(self, rule: str, epoch: int, micro_batches: int) -> None:
        """A sum stays non-finite once it is, so the count of finite sums is the number of the first bad one."""
        for name, finite in self.finite.items():
            good = int(finite)
            if good < self.counts[name]:
                raise InputError(
                    f"the loss of {name} became NaN or infinite at step {good // micro_batches + 1} of epoch {epoch + 1} (rule {rule}); "
                    "lower recipe.learning_rate, set recipe.clip, or look at the rule's loss"
                )

    def mean_loss(self) -> float | None:
        """The mean loss so far, over steps and over the blocks that have one; reads the device. ``None`` before the first."""
        found = self.means(self.losses).values()
        return sum(found) / len(found) if found else None

    def means(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """Means over steps; reads the device."""
        counts = self.metric_counts if sums is self.metrics else self.counts
        return {name: float(total) / counts[name] for name, total in sums.items()}
