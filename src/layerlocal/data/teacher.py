"""Teacher-student data: Gaussian inputs labelled by a random frozen network, K balanced classes, seeded.

The teacher is ``logits = (W2 relu(W1 x) - centre) / spread + bias`` (kind "mlp"), or the same with a 3×3 convolution of
stride 2 and a 4×4 average grid in place of ``W1`` (kind "conv"). An untouched random teacher gives some classes hardly
any inputs, so each class gets a bias, fitted on a pool of inputs until its classes are about equally frequent; then
inputs are drawn and each class takes its exact quota. The label of an input is always the teacher's argmax.

Shape letters: N inputs, D features, C channels, F hidden units, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from layerlocal.data.teacher_options import TeacherOptions
from layerlocal.types import InputError, derive_seed

__all__ = ["Teacher", "create_teacher", "draw_balanced"]

_POOL = 8192  # inputs the biases are fitted on, at least
_ROUNDS = 12  # more make classes no more equal on fresh inputs: 12 and 60 rounds differ by less than 1 % in frequency
_CHUNK = 1024
_GRID = 4


@dataclass(frozen=True, eq=False)
class Teacher:
    """A frozen network.

    Attributes:
        first: (F, D), or (F, C, 3, 3).
        second: (K, F), or (K, F·16).
        centre: (K,) mean logit on the pool.
        spread: (K,) standard deviation of the logit on the pool.
        bias: (K,) fitted so that classes are about equally frequent.
        noise: on the standardized logits when labels are drawn.
    """

    first: Tensor
    second: Tensor
    centre: Tensor
    spread: Tensor
    bias: Tensor
    noise: float = 0.0

    def raw_logits(self, x: Tensor) -> Tensor:
        """(N, D) or (N, C, H, W) → (N, K), before standardization and bias."""
        if self.first.ndim == 2:
            hidden = F.relu(x @ self.first.T)  # (N, F)
        else:
            maps = F.relu(F.conv2d(x, self.first, stride=2, padding=1))  # (N, F, H/2, W/2)
            hidden = F.adaptive_avg_pool2d(maps, _GRID).flatten(1)  # (N, F*16)
        return hidden @ self.second.T

    def label(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(N, D) or (N, C, H, W) → int64 (N,). The generator draws the noise, where there is any."""
        parts = []
        for chunk in x.split(_CHUNK):
            logits = (self.raw_logits(chunk) - self.centre) / self.spread + self.bias
            if self.noise > 0:
                logits += self.noise * torch.randn(logits.shape, generator=generator)
            parts.append(logits.argmax(1))
        return torch.cat(parts)


def _generator(seed: int, *purpose: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, "teacher_student", *purpose))


@torch.no_grad()
def create_teacher(options: TeacherOptions, *, num_classes: int, seed: int) -> Teacher:
    """A random teacher of K classes, a pure function of options, K and seed. The first layer does not depend on K."""
    fan_in = options.inputs if options.kind == "mlp" else options.channels * 9
    shape = (options.units, fan_in) if options.kind == "mlp" else (options.units, options.channels, 3, 3)
    width = options.units if options.kind == "mlp" else options.units * _GRID**2
    first = torch.randn(shape, generator=_generator(seed, "first")) / fan_in**0.5
    second = torch.randn(num_classes, width, generator=_generator(seed, "second", num_classes)) / width**0.5
    if options.similarity > 0:
        shared = torch.randn(options.groups, width, generator=_generator(seed, "groups", options.groups)) / width**0.5
        member = torch.arange(num_classes) % options.groups
        second = options.similarity * shared[member] + (1 - options.similarity**2) ** 0.5 * second
    zeros, ones = torch.zeros(num_classes), torch.ones(num_classes)
    bare = Teacher(first, second, zeros, ones, zeros)
    pool = torch.randn(max(_POOL, 16 * num_classes), *options.sample_shape, generator=_generator(seed, "pool"))
    logits = torch.cat([bare.raw_logits(chunk) for chunk in pool.split(_CHUNK)])  # (N, K)
    centre, spread = logits.mean(0), logits.std(0).clamp(min=1e-6)
    bias = _fit_bias(logits.sub_(centre).div_(spread))
    return Teacher(first, second, centre, spread, bias, options.noise)


def _fit_bias(logits: Tensor) -> Tensor:
    """Per-class bias, (K,), under which the argmax over (N, K) logits is about equally often each class."""
    num_rows, num_classes = logits.shape
    bias = torch.zeros(num_classes)
    target = num_rows / num_classes
    shifted = torch.empty_like(logits)
    for turn in range(_ROUNDS):
        counts = torch.bincount(torch.add(logits, bias, out=shifted).argmax(1), minlength=num_classes)
        step = 0.3 * (1 - turn / _ROUNDS) + 0.02
        bias -= step * torch.log((counts + 0.5) / (target + 0.5)).clamp(-2, 2)
    return bias


@torch.no_grad()
def draw_balanced(
    teacher: Teacher, quota: Tensor, *, shape: tuple[int, ...], seed: int, what: str
) -> tuple[Tensor, Tensor]:
    """Inputs and labels with exactly ``quota`` (K,) of each class, in the order drawn.

    Pools of Gaussian inputs are drawn until every class has its quota; a pool's surplus is dropped.

    Returns:
        float32 (N, *shape) and int64 (N,).

    Raises:
        InputError: some class is so rare under this teacher that its quota cannot be filled.
    """
    generator, noise = _generator(seed, "inputs", what), _generator(seed, "noise", what)
    left = quota.clone()
    inputs, labels = [], []
    for _ in range(200):
        pool = torch.randn(max(1024, int(left.sum() * 1.25)), *shape, generator=generator)
        answer = teacher.label(pool, noise)
        order = answer.argsort(stable=True)  # by class, each class in the order drawn
        starts = torch.cumsum(torch.bincount(answer, minlength=len(quota)), 0) - torch.bincount(
            answer, minlength=len(quota)
        )
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order)) - starts[answer[order]]
        keep = torch.nonzero(rank < left[answer]).squeeze(1)
        inputs.append(pool[keep])
        labels.append(answer[keep])
        left -= torch.bincount(answer[keep], minlength=len(quota))
        if not left.any():
            return torch.cat(inputs), torch.cat(labels)
    raise InputError(
        f"the teacher gives {int((left > 0).sum())} of {len(quota)} classes too few inputs; "
        "use more hidden units or inputs, fewer classes, or another seed"
    )
