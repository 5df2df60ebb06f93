"""A trained rule as a plain module: its blocks, readouts and fusion in ordinary operations, and nothing of the rule.

What comes out is a copy in evaluation mode for `torch.export`, ONNX and state dicts: training the rule further does not change it. Rules
of ours become a `TrainedNetwork`; a rule of a user's own that makes its scores in another way becomes a `RuleScores`.
Letters: B batch, C channels, K classes, L readouts, s t cells down and across.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from layerlocal.rules.asge import ASGE
from layerlocal.rules.core.members import CommitteeHead
from layerlocal.rules.core.pieces import (
    ChannelsLast,
    Double,
    Fusion,
    Goodness,
    LabelSum,
    Normalize,
    Readout,
    RMSNormalize,
    RuleScores,
    Temperature,
    TrainedNetwork,
    WriteLabels,
    copied,
)
from layerlocal.rules.core.readout import SpatialReadout
from layerlocal.rules.core.rule import BlockwiseRule, Rule
from layerlocal.rules.deeperforward import DeeperForward
from layerlocal.rules.dtg_ff import DTGFF
from layerlocal.rules.ff import FF
from layerlocal.rules.scff import SCFF
from layerlocal.rules.twins import Twin
from layerlocal.scale import Scale
from layerlocal.types import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["trained_module"]

READ_BY = ("scores", "fuse", "block_scores", "block_score", "feed", "temperature", "write_label", "_label_goodness")
"""The methods that make scores: a subclass with one of its own is not read as the rule it comes from."""


def trained_module(
    rule: Rule,
    *,
    mean: ArrayLike | Tensor | None = None,
    std: ArrayLike | Tensor | None = None,
    scale: Scale | None = None,
) -> nn.Module:
    """`Rule.to_module`."""
    if (mean is None) != (std is None):
        raise InputError("give both mean and std, or neither for inputs that are normalized already")
    network = rule.network
    before: list[nn.Module] = []
    if mean is not None and std is not None:
        before.append(Normalize(mean, std, network.sample_shape, scale))
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
        blocks = copied(nn.ModuleDict(dict(zip(names[: last + 1], network.blocks, strict=False))))
        found = TrainedNetwork(
            prepare=nn.Sequential(*before, *writes, *layout), blocks=blocks, readouts=readouts, feed=feed, fusion=fusion
        )
    device = next((tensor.device for tensor in (*rule.parameters(), *rule.buffers())), torch.device("cpu"))
    plain: nn.Module = found.to(device)
    return plain.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]


Parts = tuple[list[nn.Module], dict[str, nn.Module], nn.Module, nn.Module]
"""What writes into the input, the readouts by block, what feeds the next block, the fusion."""


def _heads(rule: BlockwiseRule) -> Parts:
    readouts, fusion = _fused_heads(rule)
    return [], readouts, nn.Identity(), fusion


def _dtg_ff(rule: DTGFF) -> Parts:
    readouts, fusion = _fused_heads(rule)
    if rule.dynamic_temperature:
        heated = {name: Temperature(rule.temperature(rule.network.block_names.index(name))) for name in readouts}
        readouts = {name: nn.Sequential(head, heated[name]) for name, head in readouts.items()}
    return [], readouts, RMSNormalize() if rule.decoupled_norm else nn.Identity(), fusion


def _asge(rule: ASGE) -> Parts:
    readouts, fusion = _fused_heads(rule)
    return [], readouts, RMSNormalize() if rule.decoupled_norm else nn.Identity(), fusion


def _deeperforward(rule: DeeperForward) -> Parts:
    readouts, fusion = _fused_heads(rule)
    return [], readouts, copied(rule.normalize), fusion


def _scff(rule: SCFF) -> Parts:
    readouts, fusion = _fused_heads(rule)
    return [Double()], readouts, RMSNormalize(), fusion


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


_PARTS: dict[type[Rule], Callable[[Any], Parts]] = {
    ASGE: _asge, DTGFF: _dtg_ff, DeeperForward: _deeperforward, FF: _ff, SCFF: _scff, BlockwiseRule: _heads,
}  # fmt: skip
"""The last is of every rule that scores and feeds as `BlockwiseRule` does."""


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
    found = copied(head)
    if isinstance(found, CommitteeHead) and found.linear:
        found.linear = Readout(found.linear, activity_shape)  # type: ignore[assignment]
    return found


def _plain_rule(rule: Rule) -> Rule:
    """A copy of a rule, in evaluation mode, its spatial readouts in plain operations."""
    found = copied(rule)
    heads = getattr(found, "heads", {})
    for name, shape in zip(rule.network.block_names, rule.network.activity_shapes, strict=True):
        if name in heads and type(heads[name]) is SpatialReadout:
            heads[name] = Readout(heads[name], shape)
    return found
