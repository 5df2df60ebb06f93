"""A trained rule as a plain module: its blocks, readouts and fusion in ordinary operations, and nothing of the rule.

What comes out is a copy in evaluation mode for `torch.export`, ONNX and state dicts: training the rule further does not change it. Rules
of ours become a `TrainedNetwork`; a rule of a user's own that makes its scores in another way becomes a `RuleScores`.
Letters: B batch, C channels, K classes, L readouts, s t cells down and across.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from layerlocal.networks.base import CompiledForward
from layerlocal.rules.base import BlockwiseRule, Rule
from layerlocal.rules.dtg_ff import DTGFF
from layerlocal.rules.ff import FF
from layerlocal.rules.functional import fuse, goodness, rms_normalize
from layerlocal.rules.local_heads import LocalHeads
from layerlocal.rules.readout import SpatialReadout
from layerlocal.rules.twins import Twin
from layerlocal.types import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Normalize", "Readout", "RuleScores", "TrainedNetwork", "trained_module"]

Copied = TypeVar("Copied", bound=nn.Module)
READ_BY = ("scores", "fuse", "block_scores", "block_score", "feed", "temperature", "write_label", "_label_goodness")
"""The methods that make scores: a subclass with one of its own is not read as the rule it comes from."""


class Normalize(nn.Module):
    """Raw input → what the network was trained on: uint8 → (x / 255 − mean) / std, other numbers → (x − mean) / std.

    Args:
        mean: one number a channel, or a feature; of pixels scaled to 0..1.
        std: likewise, above 0.
        sample_shape: (C, H, W) or (D,).

    Raises:
        InputError: another number of values, or a deviation that is not above 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: ArrayLike | Tensor, std: ArrayLike | Tensor, sample_shape: Sequence[int]) -> None:
        super().__init__()
        for name, given in (("mean", mean), ("std", std)):
            values = torch.as_tensor(given, dtype=torch.float32).detach().clone()
            if values.shape != (sample_shape[0],):
                raise InputError(
                    f"{name} needs one number for each of the {sample_shape[0]} channels, got shape {tuple(values.shape)}"
                )
            self.register_buffer(name, values.view(-1, *[1] * (len(sample_shape) - 1)))
        if not bool((self.std > 0).all()):
            raise InputError(f"std must be above 0, got {self.std.flatten().tolist()}")

    def forward(self, x: Tensor) -> Tensor:
        """(B, *sample_shape) → the same shape, in the type of ``mean``."""
        pixels = x.dtype == torch.uint8
        x = x.to(self.mean.dtype)
        return ((x / 255 if pixels else x) - self.mean) / self.std


class ChannelsLast(nn.Module):
    """(B, C, H, W) laid out as NHWC; values as they are."""

    def forward(self, x: Tensor) -> Tensor:
        """The same tensor in the other layout."""
        return x.contiguous(memory_format=torch.channels_last)


class RMSNormalize(nn.Module):
    """Each sample divided by its root mean square."""

    def forward(self, activity: Tensor) -> Tensor:
        """(B, ...) → the same shape."""
        return rms_normalize(activity)


class CellAverage(nn.Module):
    """Means of cells of unequal size: (B, C, H, W) → (B, C, s, t). Cells cover the map, the first ones larger by one.

    Args:
        height: H.
        width: W.
        grid: cells a side, at most H and W of them.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, height: int, width: int, grid: int) -> None:
        super().__init__()
        for name, size in (("rows", height), ("columns", width)):
            cells = torch.arange(size).tensor_split(min(grid, size))
            average = torch.block_diag(*[torch.full((1, len(cell)), 1 / len(cell)) for cell in cells])
            self.register_buffer(name, average, persistent=False)  # (s, H) and (t, W)

    def forward(self, activity: Tensor) -> Tensor:
        """Two matrix products."""
        return self.rows @ (activity @ self.columns.T)


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
            self.pool = (
                nn.AvgPool2d((height // down, width // across)) if even else CellAverage(height, width, head.grid)
            )
        self.squares = head.statistic == "rms"
        self.standardize = _copied(head.standardize)
        self.linear = _copied(head.linear)
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

    def __init__(self, prepare: nn.Module, rule: Rule) -> None:
        super().__init__()
        self.prepare = prepare
        self.rule = rule

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, K)."""
        return self.rule.scores(self.prepare(x))


def trained_module(
    rule: Rule, *, mean: ArrayLike | Tensor | None = None, std: ArrayLike | Tensor | None = None
) -> nn.Module:
    """`Rule.to_module`."""
    if (mean is None) != (std is None):
        raise InputError("give both mean and std, or neither for inputs that are normalized already")
    network = rule.network
    before: list[nn.Module] = []
    if mean is not None and std is not None:
        before.append(Normalize(mean, std, network.sample_shape))
    while isinstance(rule, Twin) and _reads_as(rule, Twin):
        rule = rule.partner
    known = next((kind for kind in _PARTS if isinstance(rule, kind) and _reads_as(rule, kind)), None)
    if known is None:
        found: nn.Module = RuleScores(nn.Sequential(*before), _plain_rule(rule))
    else:
        writes, readouts, feed, fusion = _PARTS[known](rule)
        layout = [ChannelsLast()] if network.channels_last and len(network.sample_shape) == 3 else []
        names = network.block_names
        last = max(names.index(name) for name in readouts)
        blocks = _copied(nn.ModuleDict(dict(zip(names[: last + 1], network.blocks, strict=False))))
        found = TrainedNetwork(
            prepare=nn.Sequential(*before, *writes, *layout), blocks=blocks, readouts=readouts, feed=feed, fusion=fusion
        )
    plain: nn.Module = found.to(next(rule.parameters()).device)
    return plain.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]


Parts = tuple[list[nn.Module], dict[str, nn.Module], nn.Module, nn.Module]
"""What writes into the input, the readouts by block, what feeds the next block, the fusion."""


def _local_heads(rule: LocalHeads) -> Parts:
    readouts, fusion = _fused_heads(rule)
    return [], readouts, nn.Identity(), fusion


def _dtg_ff(rule: DTGFF) -> Parts:
    readouts, fusion = _fused_heads(rule)
    if rule.dynamic_temperature:
        heated = {name: Temperature(rule.temperature(rule.network.block_names.index(name))) for name in readouts}
        readouts = {name: nn.Sequential(head, heated[name]) for name, head in readouts.items()}
    return [], readouts, RMSNormalize() if rule.decoupled_norm else nn.Identity(), fusion


def _ff(rule: FF) -> Parts:
    adds, one_pass = rule.label == "pattern", rule.prediction == "softmax"
    codes = rule.patterns if adds else torch.eye(rule.num_classes)
    writes = WriteLabels(rule.label_scale * (codes.mean(0, keepdim=True) if one_pass else codes), adds=adds)
    if one_pass:
        readouts, fusion = _fused_heads(rule)
        readouts = {name: nn.Sequential(RMSNormalize(), head) for name, head in readouts.items()}
        return [writes], readouts, RMSNormalize(), fusion
    names = rule.readout_blocks
    kept = names[1:] if names[0] == "block0" and len(names) > 1 else names
    return [writes], {name: Goodness(rule.goodness) for name in kept}, RMSNormalize(), LabelSum(rule.num_classes)


_PARTS: dict[type[Rule], Callable[[Any], Parts]] = {LocalHeads: _local_heads, DTGFF: _dtg_ff, FF: _ff}


def _reads_as(rule: Rule, known: type[Rule]) -> bool:
    """Whether a rule makes its scores as ``known`` does."""
    return all(getattr(type(rule), name, None) is getattr(known, name, None) for name in READ_BY)


def _fused_heads(rule: BlockwiseRule) -> tuple[dict[str, nn.Module], nn.Module]:
    """The readouts that count, by block, and their fusion."""
    weights = dict(zip(rule.readout_blocks, rule.fusion_weights.tolist(), strict=True))
    kept = [name for name, weight in weights.items() if weight != 0] or list(weights)
    shapes = dict(zip(rule.network.block_names, rule.network.activity_shapes, strict=True))
    readouts = {name: _plain_readout(rule.heads[name], shapes[name]) for name in kept}
    chosen = [index for index, name in enumerate(weights) if name in kept]
    return readouts, Fusion(rule.fusion_weights[chosen])


def _plain_readout(head: nn.Module, activity_shape: Sequence[int]) -> nn.Module:
    if isinstance(head, SpatialReadout) and type(head).forward is SpatialReadout.forward:
        return Readout(head, activity_shape)
    return _copied(head)


def _plain_rule(rule: Rule) -> Rule:
    """A copy of a rule, in evaluation mode, its spatial readouts in plain operations."""
    copied = _copied(rule)
    heads = getattr(copied, "heads", {})
    for name, shape in zip(rule.network.block_names, rule.network.activity_shapes, strict=True):
        if name in heads and type(heads[name]) is SpatialReadout:
            heads[name] = Readout(heads[name], shape)
    return copied


def _copied(part: Copied) -> Copied:
    """A deep copy in plain operations: not fused, and without compiled functions, which would run the original's weights."""
    found = copy.deepcopy(part)
    for inner in found.modules():
        if isinstance(vars(inner).get("forward"), CompiledForward):
            del inner.forward
        if hasattr(inner, "fused"):
            inner.fused = False  # type: ignore[assignment]
    return found
