"""A trained rule as a plain module: its blocks, readouts and fusion in ordinary operations that every exporter knows, and nothing of the rule.

What comes out is a copy in evaluation mode for `torch.export`, ONNX and state dicts: training the rule further does not change it. A rule
says itself what it needs (`Rule.export_parts`) and becomes a `TrainedNetwork`; one that does not say becomes a `RuleScores`.
Letters: B batch, C channels, K classes, L readouts, s t cells down and across.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from layerlocal.networks import Network
from layerlocal.networks.base import CompiledForward
from layerlocal.networks.blocks import FusableBlock
from layerlocal.networks.tokens import ReadTokens, TokenReading, is_tokens
from layerlocal.options import check_kind
from layerlocal.rules.core.cells import CellAverage, CellMax
from layerlocal.rules.core.functional import fuse, goodness, rms_normalize
from layerlocal.rules.core.readout import SpatialReadout
from layerlocal.scale import Scale
from layerlocal.types import InputError, first_line

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = [
    "ChannelsLast", "Double", "ExportParts", "Fusion", "Goodness", "LabelSum", "Normalize", "RMSNormalize", "Readout",
    "RuleScores", "Temperature", "TrainedNetwork", "WriteLabels", "copied", "copied_rule", "finished", "input_steps", "plain_readout",
]  # fmt: skip

Copied = TypeVar("Copied", bound=nn.Module)


class Normalize(nn.Module):
    """Raw input → what the network was trained on: pixels → (x / 255 − mean) / std, other numbers → (x − mean) / std.

    With a ``scale`` the values say which, whatever their type, and images on another scale are refused: by their type everywhere, by their
    values on the CPU outside of traces. Without one the type says it: uint8 are pixels, everything else is on the scale of ``mean``.

    Args:
        mean: one number a channel, or a feature; of pixels scaled to 0..1.
        std: likewise, above 0.
        sample_shape: (C, H, W) or (D,).
        scale: of the samples it was trained on.

    Raises:
        InputError: another number of values, or a deviation that is not above 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: ArrayLike | Tensor,
        std: ArrayLike | Tensor,
        sample_shape: Sequence[int],
        scale: Scale | None = None,
    ) -> None:
        super().__init__()
        check_kind("scale", scale, Scale | None)
        self.scale = scale
        for name, given in (("mean", mean), ("std", std)):
            try:
                values = torch.as_tensor(given, dtype=torch.float32).detach().clone()
            except (TypeError, ValueError, RuntimeError) as error:
                raise InputError(f"{name} must be numbers, one a channel or feature: {first_line(error)}") from error
            if values.shape != (sample_shape[0],):
                raise InputError(
                    f"{name} needs one number for each of the {sample_shape[0]} channels, got shape {tuple(values.shape)}"
                )
            self.register_buffer(name, values.view(-1, *[1] * (len(sample_shape) - 1)))
        if not bool(self.mean.isfinite().all()):
            raise InputError(f"mean must be finite numbers, got {self.mean.flatten().tolist()}")
        if not bool((self.std > 0).all()):
            raise InputError(f"std must be above 0, got {self.std.flatten().tolist()}")

    def forward(self, x: Tensor) -> Tensor:
        """(B, *sample_shape) → the same shape, in the type of ``mean``."""
        if not (torch.compiler.is_compiling() or torch.jit.is_tracing()):
            self._refuse(x)
        pixels = self.scale.pixels if self.scale is not None else x.dtype == torch.uint8
        if self.scale is not None:
            self.scale.refuse_type(x.dtype)
        x = x.to(self.mean.dtype)
        return ((x / 255 if pixels else x) - self.mean) / self.std

    def _refuse(self, x: Tensor) -> None:
        """What broadcasting would let through, and images on another scale."""
        check_kind("a batch", x, Tensor)
        if x.dim() != self.mean.dim() + 1 or x.shape[1] != self.mean.shape[0]:
            wanted = ", ".join(["B", str(self.mean.shape[0]), "H", "W"][: self.mean.dim() + 1])
            raise InputError(f"the module takes batches ({wanted}), got shape {tuple(x.shape)}")
        if self.scale is not None and x.device.type == "cpu":
            with contextlib.suppress(RuntimeError):  # values that cannot be looked at: of fake tensors, under vmap
                self.scale.refuse_values(x)


class ChannelsLast(nn.Module):
    """(B, C, H, W) laid out as NHWC; values as they are."""

    def forward(self, x: Tensor) -> Tensor:
        """The same tensor in the other layout."""
        return x.contiguous(memory_format=torch.channels_last)


class Double(nn.Module):
    """A sample paired with itself, as `scff` adds pairs: 2x."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return x + x


class RMSNormalize(nn.Module):
    """Each sample divided by its root mean square."""

    def forward(self, activity: Tensor) -> Tensor:
        """(B, ...) → the same shape."""
        return rms_normalize(activity)


class Readout(nn.Module):
    """A `SpatialReadout` in operations that every exporter knows: pooling, standardization, one linear map.

    Args:
        head: what is copied.
        activity_shape: (C, H, W) or (D,), of the activity it reads.
    """

    def __init__(self, head: SpatialReadout, activity_shape: Sequence[int]) -> None:
        super().__init__()
        self.pool: nn.Module | None = None
        if len(activity_shape) == 3:
            height, width = activity_shape[1:]
            down, across = min(head.grid, height), min(head.grid, width)
            even = height % down == 0 and width % across == 0
            if head.statistic == "max":
                self.pool = nn.MaxPool2d((height // down, width // across)) if even else CellMax(head.grid)
            else:
                self.pool = (
                    nn.AvgPool2d((height // down, width // across)) if even else CellAverage(height, width, head.grid)
                )
        self.squares = head.statistic == "rms"
        self.standardize = copied(head.standardize)
        self.linear = copied(head.linear)
        self.factors = head.factors

    def forward(self, activity: Tensor) -> Tensor:
        """Class scores (B, K)."""
        if self.pool is not None:
            cells = self.pool(activity.square()).sqrt() if self.squares else self.pool(activity)
            activity = cells.permute(0, 2, 3, 1).flatten(1)
        scores = self.linear(self.standardize(activity))
        if self.factors is None:
            return scores
        first, second = scores.split(self.factors, dim=-1)
        return (first[..., :, None] + second[..., None, :]).flatten(-2)


class Temperature(nn.Module):
    """Scores divided by a temperature that no longer moves."""

    temperature: Tensor

    def __init__(self, temperature: Tensor | float) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.as_tensor(temperature).detach().clone())

    def forward(self, scores: Tensor) -> Tensor:
        """The same shape."""
        return scores / self.temperature


class Fusion(nn.Module):
    """Σ_l w_l · log softmax(scores_l): (L, B, K) → (B, K)."""

    weights: Tensor

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights.detach().clone())

    def forward(self, block_scores: Tensor) -> Tensor:
        """The prediction."""
        return fuse(block_scores, self.weights)


class WriteLabels(nn.Module):
    """Every sample once with each of M label codes written into it: (B, *sample_shape) → (M·B, *sample_shape), code by code.

    Args:
        codes: (M, *sample_shape) that are added, or (M, n) that stand in for the first n inputs.
        adds: which of the two.
    """

    codes: Tensor

    def __init__(self, codes: Tensor, *, adds: bool) -> None:
        super().__init__()
        self.register_buffer("codes", codes.detach().clone(), persistent=False)
        self.adds = adds

    def forward(self, x: Tensor) -> Tensor:
        """All codes of the batch as one larger batch."""
        if self.adds:
            return (x + self.codes[:, None]).flatten(0, 1)
        count, length = self.codes.shape
        rest = x.flatten(1)[:, length:].expand(count, -1, -1)
        codes = self.codes[:, None].expand(-1, x.shape[0], -1)
        return torch.cat([codes, rest], dim=2).reshape(-1, *x.shape[1:])


class Goodness(nn.Module):
    """`functional.goodness` of one kind: (B, C, ...) → (B,)."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, activity: Tensor) -> Tensor:
        """Positions are averaged."""
        return goodness(activity, self.kind)


class LabelSum(nn.Module):
    """Goodness summed over blocks, label by label: (L, K·B) → (B, K)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, block_goodness: Tensor) -> Tensor:
        """The prediction."""
        return block_goodness.sum(0).view(self.num_classes, -1).T


class TrainedNetwork(nn.Module):
    """Blocks, their readouts and the fusion of what they answer: (B, *sample_shape) → (B, K) scores.

    Blocks after the last readout are left out, and so is a readout of which the fusion makes nothing.

    Args:
        prepare: what happens to the input before the first block.
        blocks: by name, in order.
        readouts: by the name of their block; activity (B, ...) → (B, K).
        feed: what the next block gets of a block's activity.
        fusion: (L, B, K) → (B, K).
    """

    def __init__(
        self,
        *,
        prepare: nn.Module,
        blocks: nn.ModuleDict,
        readouts: Mapping[str, nn.Module],
        feed: nn.Module,
        fusion: nn.Module,
    ) -> None:
        super().__init__()
        self.prepare = prepare
        self.blocks = blocks
        self.readouts = nn.ModuleDict(readouts)
        self.feed = feed
        self.fusion = fusion

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, K)."""
        activity = self.prepare(x)
        found = []
        for index, (name, block) in enumerate(self.blocks.items()):
            activity = block(self.feed(activity) if index else activity)
            if name in self.readouts:
                found.append(self.readouts[name](activity))
        return self.fusion(torch.stack(found))


class RuleScores(nn.Module):
    """The scores of a rule that makes them in a way of its own, from a copy of that rule: (B, *sample_shape) → (B, K)."""

    def __init__(self, prepare: nn.Module, rule: nn.Module) -> None:
        super().__init__()
        self.prepare = prepare
        self.rule = rule

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, K)."""
        scores: Tensor = self.rule.scores(self.prepare(x))  # type: ignore[operator]
        return scores


@dataclass(frozen=True)
class ExportParts:
    """What a rule makes its prediction of, beside the blocks.

    Args:
        readouts: by the name of their block, those that count; what is read of an activity (N, ...) → (N, K), or what ``fusion`` takes.
        fusion: (L, B, *P, K) → (B, *P, K).
        feed: what the next block gets of a block's activity.
        writes: what is done to the input before the first block, one after another.
    """

    readouts: Mapping[str, nn.Module]
    fusion: nn.Module
    feed: nn.Module = field(default_factory=nn.Identity)
    writes: Sequence[nn.Module] = ()

    def join(self, network: Network, before: Sequence[nn.Module], *, reading: TokenReading = "vectors") -> nn.Module:
        """One module of these and copies of the network's blocks, ``before`` at its begin; tokens are read as ``reading`` says."""
        shapes = dict(zip(network.block_names, network.activity_shapes, strict=True))
        readouts = {
            name: ReadTokens(readout, network.tokens, reading)
            if network.tokens and is_tokens(shapes[name])
            else readout
            for name, readout in self.readouts.items()
        }
        layout = [ChannelsLast()] if network.channels_last and len(network.sample_shape) == 3 else []
        names = network.block_names
        last = max(names.index(name) for name in self.readouts)
        return TrainedNetwork(
            prepare=nn.Sequential(*before, *self.writes, *layout),
            blocks=copied(nn.ModuleDict(dict(zip(names[: last + 1], network.blocks, strict=False)))),
            readouts=readouts,
            feed=self.feed,
            fusion=self.fusion,
        )


def input_steps(
    network: Network, mean: ArrayLike | Tensor | None, std: ArrayLike | Tensor | None, scale: Scale | None
) -> list[nn.Module]:
    """`Normalize`, where raw inputs are to be taken; tokens are taken as they are, whole numbers of any type.

    Raises:
        InputError: one of ``mean`` and ``std`` alone, or values that do not fit.
    """
    if network.vocabulary is not None:
        return []
    if (mean is None) != (std is None):
        raise InputError("give both mean and std, or neither for inputs that are normalized already")
    return [] if mean is None or std is None else [Normalize(mean, std, network.sample_shape, scale)]


def finished(module: nn.Module, rule: nn.Module) -> nn.Module:
    """The module on the rule's device, in torch's usual layout, in evaluation mode."""
    device = next((tensor.device for tensor in (*rule.parameters(), *rule.buffers())), torch.device("cpu"))
    plain: nn.Module = module.to(device)
    return plain.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]


def plain_readout(head: nn.Module, activity_shape: Sequence[int]) -> nn.Module:
    """A copy of a head, a `SpatialReadout` as a `Readout`.

    Args:
        head: of a block.
        activity_shape: of the activity that it reads, without the batch dimension.
    """
    if isinstance(head, SpatialReadout) and type(head).forward is SpatialReadout.forward:
        return Readout(head, activity_shape)
    return copied(head)


def copied_rule(rule: Copied, network: Network) -> Copied:
    """A copy of a rule, its spatial readouts in plain operations."""
    found = copied(rule)
    heads: Any = getattr(found, "heads", {})
    for name, shape in zip(network.block_names, network.read_shapes, strict=True):
        if name in heads and type(heads[name]) is SpatialReadout:
            heads[name] = Readout(heads[name], shape)
    return found


def copied(part: Copied) -> Copied:
    """A deep copy in plain operations: not fused, and without compiled functions, which would run the original's weights."""
    found = copy.deepcopy(part)
    for inner in found.modules():
        if isinstance(vars(inner).get("forward"), CompiledForward):
            del inner.forward
        if isinstance(inner, FusableBlock):
            inner.fused = False
    return found
