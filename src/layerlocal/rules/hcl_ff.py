"""HCL-FF: DeeperForward with a supervised contrast of what is handed on, and coarse classes before fine ones.

Paper: arXiv:2605.24797 (CVPR 2026), Yao, Chen, Kuo. Its abstract and its released code (JNNNNYao/HCL-FF) were read, its full text was not.
Taken from the code, and equal to it in numbers: goodness CE(g, y) on the mean activity of each class's channels; the normalization of each
class's channels; the contrastive loss on that normalized activity, pooled (4×4, 2×2 or 1 cells, fewer the more channels), through a linear
map to 128 numbers and a batch normalization, at unit length, with the classes themselves; both losses added; a block's level of the class
hierarchy, at which goodness is averaged over the classes of a group, and its loss is that of the groups; the fused run of blocks.
Differs: as `deeperforward` (networks are any of ours or yours, batch normalization before the ReLU, a temperature of goodness, the run chosen
once). The contrast's temperature stays at 0.2; theirs falls from 0.8 to 0.2 in 50 epochs and to 0.1 in 1,000. Its linear map learns at the
rate of its block, theirs at twice that. With other depths than their 17 the last block's level is still that of the classes themselves.
Their softmax classifier on the last map, trained beside it, is left out: goodness alone predicts, one of three answers whose accuracy their
code prints.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerlocal.kernels import grid_mean
from layerlocal.networks import Network
from layerlocal.rules.core.functional import supervised_contrast
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import RuleInfo
from layerlocal.rules.cwcomp import ChannelGroups
from layerlocal.rules.deeperforward import DeeperForward, refuse_lone_numbers
from layerlocal.types import InputError, shown

__all__ = ["HCLFF", "ContrastedGroups", "block_levels", "class_levels", "class_tree"]

EMBEDDED = 128
"""Numbers that are contrasted."""


def class_levels(tree: str, num_classes: int) -> list[list[int]]:
    """The groups of classes of each level of a hierarchy, coarse to fine: group of each class, K numbers a level. arXiv:2605.24797.

    Level d holds a group for every node d steps below the root; a class whose branch ended before is a group of its own. The last level is
    the classes themselves.

    Args:
        tree: classes 0 to K − 1 in nested parentheses, each once: ``"((0,1),(2,(3,4)))"``.
        num_classes: K.

    Raises:
        InputError: text of another form, or a class that is missing, unknown or there twice.

    Example:
        >>> class_levels("((0,1),(2,(3,4)))", 5)
        [[0, 0, 1, 1, 1], [0, 1, 2, 3, 3], [0, 1, 2, 3, 4]]
    """
    try:
        nodes = [ast.literal_eval(tree.strip())]
        if sorted(_classes_of(nodes[0])) != list(range(num_classes)):
            raise ValueError
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise InputError(
            f"hierarchy must be the classes 0 to {num_classes - 1} in nested parentheses, each once, as '((0,1),(2,3))', got {shown(tree)}"
        ) from error
    levels: list[list[int]] = []
    while not levels or any(isinstance(node, tuple) for node in nodes):
        nodes = [child for node in nodes for child in (node if isinstance(node, tuple) else (node,))]
        group_of = {each: group for group, node in enumerate(nodes) for each in _classes_of(node)}
        levels.append([group_of[each] for each in range(num_classes)])
    return levels


def _classes_of(node: Any) -> list[int]:
    """The classes under a node, which is one itself or a tuple of nodes."""
    if isinstance(node, tuple) and node:
        return [each for child in node for each in _classes_of(child)]
    if type(node) is not int:
        raise ValueError
    return [node]


def class_tree(prototypes: Tensor) -> str:
    """A hierarchy of classes by how alike they are: Ward's clustering of their prototypes at unit length, as in arXiv:2605.24797.

    Args:
        prototypes: (K, D), one row a class: the weights of a trained linear classifier (as there), or the mean image of each class.

    Returns:
        What `class_levels` takes: a tree in which two branches meet at every node.

    Example:
        >>> class_tree(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]]))
        '(1,(0,2))'
    """
    from scipy.cluster.hierarchy import linkage

    rows = F.normalize(prototypes.detach().double().flatten(1), dim=1)
    nodes = [str(each) for each in range(len(rows))]
    for first, second, *_ in linkage(rows.cpu().numpy(), "ward").tolist():
        nodes.append(f"({nodes[int(first)]},{nodes[int(second)]})")
    return nodes[-1]


def block_levels(depth: int, count: int, how: str) -> list[int]:
    """The level of the hierarchy at which each block learns, from 0 (coarse) to ``count`` − 1 (the classes), which the last block has.

    ``"linear"``: floor(l · count / depth) at block l; ``"increasing"``: l, until the levels end.
    """
    steps = [index * count // depth if how == "linear" else min(index, count - 1) for index in range(depth - 1)]
    return [*steps, count - 1]


def pool_side(channels: int) -> int:
    """Cells a side of what is contrasted: 4 up to 100 channels, 2 up to 400, else 1."""
    return 4 if channels <= 100 else 2 if channels <= 400 else 1


class ContrastedGroups(ChannelGroups):
    """`ChannelGroups` of mean activity, with the map to what is contrasted and the groups of classes of the block's level.

    Args:
        activity_shape: (C, H, W) or (D,).
        num_classes: K, a divisor of C.
        temperature: of goodness, τ > 0.
        contrasts: whether there is a map.
        group_of: the group of each class, K numbers; ``None``: the classes themselves.

    Raises:
        InputError: activities of another form.
    """

    group_of: Tensor | None
    share: Tensor | None

    def __init__(
        self,
        activity_shape: Sequence[int],
        num_classes: int,
        *,
        temperature: float,
        contrasts: bool = True,
        group_of: Sequence[int] | None = None,
    ) -> None:
        super().__init__(num_classes, statistic="mean", temperature=temperature)
        if len(activity_shape) not in (1, 3):
            raise InputError(
                f"hcl-ff contrasts activities (B, D) or (B, C, H, W), got (B, {', '.join(map(str, activity_shape))})"
            )
        features = activity_shape[0]
        self.side = pool_side(features)
        if len(activity_shape) == 3:
            features *= min(self.side, activity_shape[1]) * min(self.side, activity_shape[2])
        self.embed = (
            nn.Sequential(nn.Linear(features, EMBEDDED, bias=False), nn.BatchNorm1d(EMBEDDED)) if contrasts else None
        )
        groups = None if group_of is None else torch.tensor(group_of)
        members = None if groups is None else F.one_hot(groups).float()  # (K, G)
        self.register_buffer("group_of", groups, persistent=False)
        self.register_buffer("share", None if members is None else members / members.sum(0), persistent=False)

    def embedded(self, normalized: Tensor) -> Tensor:
        """What is contrasted of a normalized activity: (B, C, ...) → (B, 128), at unit length."""
        assert self.embed is not None
        numbers = grid_mean(normalized, self.side) if normalized.dim() == 4 else normalized
        return F.normalize(self.embed(numbers), dim=1)

    def grouped(self, scores: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, K) and labels (B,) of classes → those of the level's groups, a group's score the mean of its classes'."""
        if self.group_of is None or self.share is None:
            return scores, y
        return scores @ self.share.to(scores.dtype), self.group_of[y]


@register_rule
class HCLFF(DeeperForward):
    """`DeeperForward`'s goodness of a level's classes, and a contrast: loss_l = CE(g_l / τ, y) + contrast · SupCon(z_l, y).

    z_l is made of the normalized activity, which the next block is fed: it must tell the classes although goodness is taken out of it.

    Args:
        network: what is trained; the channels of every block (units, in an mlp) must be a multiple of ``num_classes``.
        num_classes: K ≥ 2.
        seed: of the maps to what is contrasted.
        temperature: τ > 0; the paper has 1.
        contrast: weight of the contrastive loss, ≥ 0; 0 leaves it out.
        contrast_temperature: of the contrastive loss (`functional.supervised_contrast`), > 0.
        hierarchy: classes in nested parentheses (`class_levels`), early blocks then tell coarse groups only; ``None``: all tell the classes.
        levels: how blocks are dealt to the hierarchy's levels, ``"linear"`` or ``"increasing"`` (`block_levels`).
        normalization: as of `DeeperForward`.
        fusion: as of `DeeperForward`.
        label_smoothing: of goodness's cross-entropy, in [0, 1).

    Raises:
        InputError: channels that cannot be dealt evenly, classes with too few numbers to normalize, or a value out of its range.
    """

    info = RuleInfo(
        name="hcl-ff",
        locality="block",
        summary="mean goodness of each class's channels, normalized away, and a supervised contrast of what is left; coarse classes first",
        references=("arXiv:2605.24797", "https://openreview.net/forum?id=kOYnXVQCtA"),
        compares_samples=True,
        channel_groups=True,
    )

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        temperature: float = 0.1,
        contrast: float = 1.0,
        contrast_temperature: float = 0.2,
        hierarchy: str | None = None,
        levels: str = "linear",
        normalization: str = "group",
        fusion: str = "span",
        label_smoothing: float = 0.0,
    ) -> None:
        if not 0 <= contrast < float("inf"):
            raise InputError(f"contrast must be at least 0 and finite, got {contrast}")
        if not 0 < contrast_temperature < float("inf"):
            raise InputError(f"contrast_temperature must be above 0 and finite, got {contrast_temperature}")
        if levels not in ("linear", "increasing"):
            raise InputError(f"levels must be 'linear' or 'increasing', got {levels!r}")
        if hierarchy is None and levels != "linear":
            raise InputError(f"levels={levels!r} has no effect without a hierarchy; give one, or leave levels out")
        super().__init__(
            network, num_classes=num_classes, seed=seed, temperature=temperature,
            normalization=normalization, fusion=fusion, label_smoothing=label_smoothing,
        )  # fmt: skip
        if contrast and normalization == "group":
            refuse_lone_numbers(network, num_classes, network.block_names)
        self.contrast = contrast
        self.contrast_temperature = contrast_temperature
        groups: list[list[int] | None] = [None] * network.depth
        if hierarchy is not None:
            found = class_levels(hierarchy, num_classes)
            groups = [found[level] for level in block_levels(network.depth, len(found), levels)]
        shapes, contrasts = self.read_shapes, contrast > 0
        self.heads = self.head_per_block(
            lambda i: ContrastedGroups(
                shapes[i], num_classes, temperature=temperature, contrasts=contrasts, group_of=groups[i]
            )
        )

    @property
    def compares_samples(self) -> bool:
        """Where there is a contrast."""
        return self.contrast > 0

    def local_loss(self, index: int, activity: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Both losses of one block."""
        head = self.heads[f"block{index}"]
        assert isinstance(head, ContrastedGroups)
        scores, groups = head.grouped(self.block_score(index, activity), y)
        loss = F.cross_entropy(scores, groups, label_smoothing=self.label_smoothing)
        if not self.contrast:
            return loss, {}
        found = supervised_contrast(head.embedded(self.normalize(activity)), y, self.contrast_temperature)
        return loss + self.contrast * found, {"contrast": found.detach()}

    def export_readout(self, name: str) -> nn.Module:
        """Goodness alone: what is contrasted does not predict."""
        head = self.heads[name]
        assert isinstance(head, ContrastedGroups)
        return ChannelGroups(self.num_classes, statistic="mean", temperature=head.temperature)
