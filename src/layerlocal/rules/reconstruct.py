"""Reconstruct: below a boundary every block learns to keep its input, above it to predict; nothing passes back in between.

Paper: LoPT, Local-Learning Post-Training, arXiv:2605.04913 (2026): a gradient boundary in the middle of a language model; the half above learns
the task, the half below that a small decoder can make its own detached input from its output, by the mean squared error. The released code
(HumyuShi/LoPT) was read: the decoder is layer norm – linear to a quarter – GELU – linear, its weights from Xavier's distribution at gain 0.1;
with more than two parts each but the last keeps its own input, and their losses are averaged.
Taken: this loss and this decoder. Differs: every block has a loss of its own, so that the rule is strictly block-local; the paper's two halves
are `segmented` of it, ``segments="3-3"`` and ``boundary=3``: what a readout keeps is the input of the run of blocks that ends there. There the
input of the first part are embeddings that it learns itself, pretrained: from scratch they could be kept by shrinking to one point. So it keeps
what it is given here, which nothing can shrink: tokens of text by cross-entropy, images by their pixels. Below the boundary a linear readout
learns beside, on the detached activity, so that a block's answer can be seen; it changes no block. There the losses of all parts go back at
once, which keeps every graph; here one after another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
NARROW = 4
"""Features of an activity for one of the decoder's middle, and the factor on Xavier's weights: as in the released code."""


def at_positions(x: Tensor) -> Tensor:
    """What is at each position: tokens (B, T, D) as they are, maps (B, C, H, W) → (B, H·W, C), vectors (B, D) → (B, 1, D)."""
    return x if x.dim() == 3 else x.flatten(2).transpose(1, 2) if x.dim() == 4 else x[:, None]


def on_grid(x: Tensor, height: int, width: int) -> Tensor:
    """A map cut into patches of all its numbers, or averaged where it cannot be cut: (B, C, H, W) → (B, height·width, features)."""
    sizes = x.shape[2] // height, x.shape[3] // width
    if (sizes[0] * height, sizes[1] * width) == tuple(x.shape[2:]):
        return F.unfold(x, sizes, stride=sizes).transpose(1, 2)
    return at_positions(F.adaptive_avg_pool2d(x, (height, width)))


class KeepingHead(nn.Module):
    """The decoder that makes the input of a run of blocks from its last activity, and a readout beside it.

    Args:
        start: index of the first block of the run.
        given_shape: of that block's input, without the batch: (T,) whole numbers, (D,), (T, D) or (C, H, W).
        activity_shape: of the activity, without the batch: (D,), (T, D) or (C, H, W).
        read_shape: of what is read of that.
        num_classes: K.
        vocabulary: V where the input is tokens by number.

    Raises:
        InputError: tokens that cannot be laid on the image that they are made from.
    """

    def __init__(
        self,
        start: int,
        given_shape: Sequence[int],
        activity_shape: Sequence[int],
        read_shape: Sequence[int],
        num_classes: int,
        *,
        vocabulary: int | None,
    ) -> None:
        super().__init__()
        self.start = start
        self.readout = SpatialReadout(read_shape, num_classes)
        self.words = vocabulary is not None
        self.grid = None if self.words else _grid(given_shape, activity_shape)
        self.skips = self.grid is not None and len(activity_shape) == 2 and prod(self.grid) < activity_shape[0]
        features = at_positions(torch.zeros(1, *activity_shape)).shape[2]
        wanted = vocabulary or self.target(torch.zeros(1, *given_shape)).shape[2]
        narrow = max(1, features // NARROW)
        self.decoder = nn.Sequential(
            nn.LayerNorm(features), nn.Linear(features, narrow), nn.GELU(), nn.Linear(narrow, wanted)
        )
        for part in (self.decoder[1], self.decoder[3]):
            nn.init.xavier_uniform_(part.weight, gain=GAIN)  # type: ignore[arg-type]
            nn.init.zeros_(part.bias)  # type: ignore[arg-type]

    @property
    def reads(self) -> str:
        """What it reads, in a few words."""
        return self.readout.reads

    def target(self, given: Tensor) -> Tensor:
        """What is made of the activity at its positions: tokens by number as they are, (B, T), or (B, positions, features)."""
        if self.words:
            return given
        return at_positions(given) if self.grid is None else on_grid(given, *self.grid)

    def keeping_loss(self, activity: Tensor, given: Tensor) -> Tensor:
        """Of the input made from the activity: mean squared error, or cross-entropy where it is tokens by number.

        Where the activity has another number of positions than the input, the mean over its own stands for each: of tokens by number then
        only which there are is kept, of vectors only their mean.
        """
        made, target = self.decoder(at_positions(activity[:, 1:] if self.skips else activity)), self.target(given)
        if made.shape[1] != target.shape[1]:
            made = made.mean(1, keepdim=True).expand(-1, target.shape[1], -1)
        if self.words:
            return F.cross_entropy(made.flatten(0, 1), target.flatten())
        return F.mse_loss(made, target)

    def forward(self, read: Tensor) -> Tensor:
        """Class scores of the readout."""
        scores: Tensor = self.readout(read)
        return scores


def _grid(given_shape: Sequence[int], activity_shape: Sequence[int]) -> tuple[int, int] | None:
    """Positions down and across of an activity that is made from a map; ``None`` where the input is no map."""
    if len(given_shape) != 3:
        return None
    if len(activity_shape) == 3:
        return activity_shape[1], activity_shape[2]
    if len(activity_shape) == 1:
        return 1, 1
    _, height, width = given_shape
    for count in (activity_shape[0], activity_shape[0] - 1):  # without or with a class token
        down = isqrt(count * height // width)
        if down and count % down == 0 and down * width == count // down * height:
            return down, count // down
    raise InputError(
        f"rule 'reconstruct' lays tokens on the map that they are made from, and {activity_shape[0]} tokens, or one fewer, fill no grid with "
        f"the sides of one of {height}×{width}; take another patch"
    )


@register_rule
class Reconstruct(BlockwiseRule):
    """Blocks below the boundary keep their input, those above predict.

    loss_l = mean (decoder_l(a_l) − stopgrad(input_l))² below it, CE(readout_l(a_l), y) above. In a twin, input_l is that of the run of
    blocks that ends at the readout, and begins after the one before.

    Args:
        network: what is trained.
        num_classes: K ≥ 2.
        seed: of decoders and readouts.
        boundary: number of blocks below it, from 0 to depth − 1; ``None``: half of them, rounded down.
        fusion: ``"last"`` (the last block's answer), ``"uniform"``, ``"fitted"`` or ``"best"`` (`BlockwiseRule`).
        label_smoothing: of every cross-entropy with labels, in [0, 1).

    Raises:
        InputError: a value out of its range, or tokens that cannot be laid on the image.
    """

    info = RuleInfo(
        name="reconstruct",
        locality="block",
        summary="below a boundary blocks learn to keep their input, above it to predict; a readout beside them",
        references=("arXiv:2605.04913",),
    )

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        boundary: int | None = None,
        fusion: str = "last",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion, label_smoothing=label_smoothing)
        half = network.depth // 2 if boundary is None else boundary
        self.boundary = whole_number("boundary", half, least=0, most=network.depth - 1)
        self.given: dict[int, Tensor] = {}
        self.heads = self.head_per_block(self._head_of)

    def _head_of(self, index: int) -> nn.Module:
        read = self.read_shapes[index]
        if index >= self.boundary:
            return SpatialReadout(read, self.num_classes)
        network, start = self.network, self._start_of(index)
        shapes = [network.sample_shape, *network.activity_shapes]
        vocabulary = None if start else network.vocabulary
        return KeepingHead(start, shapes[start], shapes[index + 1], read, self.num_classes, vocabulary=vocabulary)

    def _start_of(self, index: int) -> int:
        """The first block of the run that ends at a readout."""
        return max((before + 1 for before in self.readouts if before < index), default=0)

    def keep_readouts(self, indices: Iterable[int]) -> None:
        """As in every rule; a decoder whose run begins elsewhere now is made anew, with the readout that it had at first."""
        super().keep_readouts(indices)
        for index in self.readouts:
            head = self.heads[name] if (name := self.network.block_names[index]) in self.heads else None
            if isinstance(head, KeepingHead) and head.start != self._start_of(index):
                self.heads[name] = self.drawn_head(index, self._head_of)

    @property
    def gathers(self) -> bool:
        """Where a run has several blocks, its loss reads the input of the first."""
        return any(self._start_of(index) < index for index in self.readouts if index < self.boundary)

    def receive(self, index: int, given: Tensor) -> None:
        """The input of a run that will have to keep it."""
        end = min((readout for readout in self.readouts if readout >= index), default=self.boundary)
        if end < self.boundary and self._start_of(end) == index:
            self.given[end] = given.detach()

    def block_loss(self, index: int, activity: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The keeping loss and the readout's, which changes no block; above the boundary the cross-entropy."""
        if index >= self.boundary:
            return super().block_loss(index, activity, y)
        head = self.heads[self.network.block_names[index]]
        assert isinstance(head, KeepingHead)
        kept = head.keeping_loss(activity, self.given.pop(index))
        answer, metrics = super().block_loss(index, activity.detach(), y)
        return kept + answer, metrics | {"kept": kept.detach(), "readout": answer.detach()}

    def export_readout(self, name: str) -> nn.Module:
        """The readout alone."""
        head = self.heads[name]
        shape = self.read_shapes[self.network.block_names.index(name)]
        return plain_readout(head.readout if isinstance(head, KeepingHead) else head, shape)
