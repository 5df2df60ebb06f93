"""Reconstruct: below a boundary every block learns to keep its input, above it to predict; nothing passes back in between.

Paper: LoPT, Local-Learning Post-Training, arXiv:2605.04913 (2026): a gradient boundary in the middle of a language model; the half above learns
the task, the half below that a small decoder can make its own detached input from its output, by the mean squared error. The released code
(HumyuShi/LoPT) was read: the decoder is layer norm – linear to a quarter – GELU – linear, its weights from Xavier's distribution at gain 0.1.
Taken: this loss and this decoder. Differs: every block has a loss of its own, so that the rule is strictly block-local; the paper's two halves
are `segmented` of it, ``segments="3-3"``, ``boundary=3`` and ``keeps="input"``. The input of the first block are not vectors here: tokens of
text are told by cross-entropy, patches of images by their pixels. Below the boundary a linear readout learns beside, on the detached activity,
so that a block's answer can be seen; it changes no block. There the losses of all halves are added and go back at once, which keeps both
graphs; here one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt, prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerlocal.networks import Network
from layerlocal.options import whole_number
from layerlocal.rules.core.export import plain_readout
from layerlocal.rules.core.readout import SpatialReadout
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import RuleInfo
from layerlocal.rules.core.walk import BlockwiseRule
from layerlocal.types import InputError

__all__ = ["KeepingHead", "Reconstruct", "at_positions", "on_grid"]

GAIN = 0.1


def at_positions(x: Tensor) -> Tensor:
    """What is at each position: tokens (B, T, D) as they are, maps (B, C, H, W) → (B, H·W, C), vectors (B, D) → (B, 1, D)."""
    return x if x.dim() == 3 else x.flatten(2).transpose(1, 2) if x.dim() == 4 else x[:, None]


def on_grid(x: Tensor, height: int, width: int) -> Tensor:
    """A map cut into patches of all its numbers, or averaged where it cannot be cut: (B, C, H, W) → (B, height·width, features)."""
    down, across = x.shape[2] // height, x.shape[3] // width
    if (down * height, across * width) == tuple(x.shape[2:]):
        return F.unfold(x, (down, across), stride=(down, across)).transpose(1, 2)
    return at_positions(F.adaptive_avg_pool2d(x, (height, width)))


class KeepingHead(nn.Module):
    """The decoder that makes a block's input from its activity, and a readout beside it.

    Args:
        given_shape: of the block's input, without the batch.
        activity_shape: of its activity.
        read_shape: of what is read of that.
        num_classes: K.
        vocabulary: V where the input is tokens by number.

    Raises:
        InputError: tokens that cannot be laid on the image that they are made from.
    """

    def __init__(
        self,
        given_shape: Sequence[int],
        activity_shape: Sequence[int],
        read_shape: Sequence[int],
        num_classes: int,
        *,
        vocabulary: int | None,
    ) -> None:
        super().__init__()
        self.words = vocabulary is not None
        self.grid = _grid(given_shape, activity_shape)
        self.skips = len(activity_shape) == 2 and self.grid is not None and prod(self.grid) < activity_shape[0]
        features = at_positions(torch.zeros(1, *activity_shape)).shape[2]
        wanted = vocabulary or self.target(torch.zeros(1, *given_shape)).shape[2]
        narrow = max(1, features // 4)
        self.decoder = nn.Sequential(
            nn.LayerNorm(features), nn.Linear(features, narrow), nn.GELU(), nn.Linear(narrow, wanted)
        )
        for part in (self.decoder[1], self.decoder[3]):
            nn.init.xavier_uniform_(part.weight, gain=GAIN)  # type: ignore[arg-type]
            nn.init.zeros_(part.bias)  # type: ignore[arg-type]
        self.readout = SpatialReadout(read_shape, num_classes)

    @property
    def reads(self) -> str:
        """What it reads, in a few words."""
        return self.readout.reads

    def target(self, given: Tensor) -> Tensor:
        """What is made of the activity at its positions: tokens by number as they are, or (B, positions, features)."""
        if self.words:
            return given
        return at_positions(given) if self.grid is None else on_grid(given, *self.grid)

    def keeping_loss(self, activity: Tensor, given: Tensor) -> Tensor:
        """Of the input made from the activity: mean squared error, or cross-entropy where it is tokens by number."""
        made = self.decoder(at_positions(activity[:, 1:] if self.skips else activity))
        target = self.target(given)
        return F.cross_entropy(made.flatten(0, 1), target.flatten()) if self.words else F.mse_loss(made, target)

    def forward(self, read: Tensor) -> Tensor:
        """Class scores of the readout."""
        scores: Tensor = self.readout(read)
        return scores


def _grid(given_shape: Sequence[int], activity_shape: Sequence[int]) -> tuple[int, int] | None:
    """Positions down and across of an activity that is made from a map; ``None`` where the input is tokens, or either is a vector."""
    if len(given_shape) != 3:
        return None
    if len(activity_shape) == 3:
        return activity_shape[1], activity_shape[2]
    if len(activity_shape) == 1:
        return 1, 1
    for count in (activity_shape[0], activity_shape[0] - 1):  # with or without a class token
        if (side := isqrt(count)) and side * side == count:
            return side, side
    raise InputError(
        f"rule 'reconstruct' lays tokens on a square of the image, and {activity_shape[0]} are none, nor one fewer; take another patch"
    )


@register_rule
class Reconstruct(BlockwiseRule):
    """Blocks below the boundary keep their input, those above predict.

    loss_l = mean (decoder_l(a_l) − stopgrad(input_l))² below it, CE(readout_l(a_l), y) above.

    Args:
        network: what is trained.
        num_classes: K ≥ 2.
        seed: of decoders and readouts.
        boundary: number of blocks below it, from 0 to depth − 1; ``None``: half of them, rounded down.
        keeps: what a block below it keeps: its own input (``"block"``), or the ``"input"`` of the network.
        fusion: ``"last"`` (the last block's answer), ``"uniform"``, ``"fitted"`` or ``"best"`` (`BlockwiseRule`).
        label_smoothing: of the cross-entropy above the boundary, in [0, 1).

    Raises:
        InputError: a value out of its range, or tokens that cannot be laid on the image.
    """

    info = RuleInfo(
        name="reconstruct",
        locality="block",
        summary="below a boundary blocks learn to keep their input, above it to predict; a readout beside them",
        references=("arXiv:2605.04913",),
    )
    gathers = True

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        boundary: int | None = None,
        keeps: str = "block",
        fusion: str = "last",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion, label_smoothing=label_smoothing)
        half = network.depth // 2 if boundary is None else boundary
        self.boundary = whole_number("boundary", half, least=0, most=network.depth - 1)
        if keeps not in ("block", "input"):
            raise InputError(f"keeps must be 'block' or 'input', got {keeps!r}")
        self.keeps = keeps
        self.given: dict[int, Tensor] = {}
        shapes, read = [network.sample_shape, *network.activity_shapes], self.read_shapes

        def head_of(index: int) -> nn.Module:
            if index >= self.boundary:
                return SpatialReadout(read[index], num_classes)
            kept = self._kept(index)
            vocabulary = None if kept else network.vocabulary
            return KeepingHead(shapes[kept], shapes[index + 1], read[index], num_classes, vocabulary=vocabulary)

        self.heads = self.head_per_block(head_of)

    def _kept(self, index: int) -> int:
        """The block whose input block ``index`` keeps."""
        return index if self.keeps == "block" else 0

    def inputs(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The data as they are; the first block will have to keep them."""
        self.given = {0: x}
        return x, y

    def feed(self, index: int, activity: Tensor) -> Tensor:
        """The activity as it is; the next block may have to keep it."""
        if self.training and index + 1 < self.boundary and index + 1 in self.readouts and self.keeps == "block":
            self.given[index + 1] = activity.detach()
        return activity

    def block_loss(self, index: int, activity: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The keeping loss and the readout's, which changes no block; above the boundary the cross-entropy."""
        if index >= self.boundary:
            return super().block_loss(index, activity, y)
        head = self.heads[self.network.block_names[index]]
        assert isinstance(head, KeepingHead)
        kept = head.keeping_loss(activity, self.given[self._kept(index)])
        answer, _ = self.local_loss(index, self.read(activity.detach()), y.flatten())
        return kept + answer, {"kept": kept.detach(), "readout": answer.detach()}

    def export_readout(self, name: str) -> nn.Module:
        """The readout alone."""
        head = self.heads[name]
        shape = self.read_shapes[self.network.block_names.index(name)]
        return plain_readout(head.readout if isinstance(head, KeepingHead) else head, shape)
