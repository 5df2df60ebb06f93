"""Rules of one readout and one local loss a block, and the walk over blocks that they share: one loss a segment, one segment's graph at a time.

Letters: B batch, K classes, L readouts, P shape of a sample's labels, () or (T,).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerlocal.devices import drawn_from
from layerlocal.networks import Network
from layerlocal.networks.blocks import FusableBlock
from layerlocal.networks.tokens import as_map, is_tokens
from layerlocal.rules.core.export import ExportParts, Fusion, plain_readout
from layerlocal.rules.core.functional import fit_fusion_weights, fuse
from layerlocal.rules.core.readout import CellReader
from layerlocal.rules.core.recompute import Buffer, Found, buffers_of, keep_input_only
from layerlocal.rules.core.rule import Rule
from layerlocal.types import BlockLoss, InputError, derive_seed

__all__ = ["BlockwiseRule", "LocalLoss", "learns_by", "run_blocks", "segment_loss", "segment_losses", "segment_name"]

LocalLoss = Callable[[int, Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]
"""(block index, activity (B, ...), labels (B, *P)) → the block's loss with a graph, and detached scalars to log."""


class BlockwiseRule(Rule):
    """Rules with one readout and one local loss a block, and a gradient boundary between blocks.

    A subclass fills ``self.heads`` (`head_per_block`); `block_score`, `local_loss`, `feed`, `inputs` and `receive` have defaults. `block_score`
    and `local_loss` get what is read of an activity (`read`): of tokens (B, T, D) vectors (N, D), N = B, or B·T where every token has a label.
    So heads are made for `read_shapes`.
    The same object also runs with other boundaries and fewer readouts: that is how its exact BP and BP-DeepSup twins are made.

    Args:
        network: what is trained.
        num_classes: K ≥ 2.
        seed: of the heads' initial weights, one draw a block, so that head i starts the same at every depth.
        fusion: how block scores become one: ``"uniform"`` (mean log-probability), ``"fitted"`` (weights ≥ 0 fitted on the validation
            split), ``"best"`` (the one block that is best on the validation split) or ``"last"`` (the last block alone).
        label_smoothing: of the default cross-entropy, in [0, 1).
    """

    fusion_weights: Tensor

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        fusion: str = "uniform",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(network, num_classes=num_classes)
        if network.vocabulary is not None and self.makes_inputs:
            raise InputError(
                f"rule {self.info.name!r} makes inputs of its own (labels or sums written into samples), which cannot be done to tokens; "
                "take a rule that reads them, such as 'local-heads', 'class-goodness', 'mono-forward' or 'dtg-ff'"
            )
        if fusion not in ("uniform", "fitted", "best", "last"):
            raise InputError(f"fusion must be 'uniform', 'fitted', 'best' or 'last', got {fusion!r}")
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
        self.seed = seed
        self.fusion = fusion
        self.label_smoothing = label_smoothing
        self.heads = nn.ModuleDict()
        self.readouts: list[int] = []
        self.register_buffer("fusion_weights", torch.empty(0))
        self.keep_readouts(range(network.depth))

    @property
    def readout_blocks(self) -> list[str]:
        """Names of the blocks that have a readout."""
        return [self.network.block_names[index] for index in self.readouts]

    @property
    def read_shapes(self) -> list[tuple[int, ...]]:
        """Shape of what is read at each block, without the first dimension: (C, H, W) or (D,)."""
        shapes = self.network.activity_shapes
        if self.token_reading == "vectors":
            return self.network.read_shapes
        if self.token_reading == "tokens":
            return shapes
        return [(shape[1], shape[0], 1) if is_tokens(shape) else shape for shape in shapes]

    def read(self, activity: Tensor) -> Tensor:
        """What is read of an activity (B, ...): of tokens what `token_reading` says, maps and vectors as they are."""
        if self.token_reading == "vectors":
            return self.network.read(activity)
        return as_map(activity) if self.token_reading == "positions" and activity.dim() == 3 else activity

    def head_per_block(self, make: Callable[[int], nn.Module]) -> nn.ModuleDict:
        """``{"block0": make(0), ...}``, each head's initial weights drawn from a seed of its own."""
        heads = nn.ModuleDict()
        for index, name in enumerate(self.network.block_names):
            heads[name] = self.drawn_head(index, make)
            self._tell_block(index, heads[name])
        return heads

    def drawn_head(self, index: int, make: Callable[[int], nn.Module]) -> nn.Module:
        """``make(index)``, its initial weights drawn from the block's own seed."""
        seed = None if self.seed is None else derive_seed(self.seed, "head", index)
        with nullcontext() if seed is None else drawn_from(seed):
            return make(index)

    def _tell_block(self, index: int, head: nn.Module | None) -> None:
        """A block whose head reads root mean squares of ``rms_cells`` cells a side can make them on the way (`kernels.norm_act`)."""
        block = self.network.blocks[index]
        if isinstance(block, FusableBlock):
            block.cells = head.rms_cells if isinstance(head, CellReader) else 0

    def keep_readouts(self, indices: Iterable[int]) -> None:
        """Read the network at these blocks only, and drop the heads of the others."""
        self.readouts = sorted(indices)
        if not self.readouts or not 0 <= self.readouts[0] <= self.readouts[-1] < self.network.depth:
            raise InputError(
                f"readouts are at blocks 0 to {self.network.depth - 1}, at least at one of them, got {self.readouts}"
            )
        for index, name in enumerate(self.network.block_names):
            if index not in self.readouts and name in self.heads:
                del self.heads[name]
                self._tell_block(index, None)
        weights = torch.full((len(self.readouts),), 1.0 / len(self.readouts))
        if self.fusion == "last":
            weights = torch.eye(len(self.readouts))[-1]
        self.fusion_weights = weights.to(self.fusion_weights.device)

    def inputs(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """What enters the first block in training; the place to make positive and negative data."""
        return x, y

    def receive(self, index: int, given: Tensor) -> None:
        """What block ``index`` is given in training, just before it is run; a rule whose loss reads that keeps it until `block_loss`."""

    def feed(self, index: int, activity: Tensor) -> Tensor:
        """What the next block gets of block ``index``'s activity; same shape."""
        return activity

    def block_score(self, index: int, activity: Tensor) -> Tensor:
        """(N, K) scores of one block from what is read of its activity, (N, ...). Default: what its head answers."""
        name = self.network.block_names[index]
        if name not in self.heads:
            raise InputError(
                f"{type(self).__name__} has no head for {name}: fill self.heads with self.head_per_block(...) in __init__, or write block_score"
            )
        scores: Tensor = self.heads[name](activity)
        return scores

    def local_loss(self, index: int, activity: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of one block (scalar with a graph) and detached scalars to log, from what is read of its activity, (N, ...), and labels (N,).

        Default: cross-entropy of `block_score`.
        """
        return F.cross_entropy(self.block_score(index, activity), y, label_smoothing=self.label_smoothing), {}

    def block_loss(self, index: int, activity: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """`local_loss` of what is read of an activity (B, ...) and its labels (B, *P)."""
        return self.local_loss(index, self.read(activity), y.flatten())

    def losses(self, x: Tensor, y: Tensor) -> Iterator[BlockLoss]:
        """One loss a block."""
        return segment_losses(self, x, y, [range(index, index + 1) for index in range(self.network.depth)])

    def block_scores(self, x: Tensor) -> Tensor:
        """(L, B, *P, K): one forward pass, every readout."""
        h = self.network.prepare(x)
        found = []
        for index, block in enumerate(self.network.blocks):
            h = block(h)
            if index in self.readouts:
                found.append(self.block_score(index, self.read(h)))
            if index + 1 < self.network.depth:
                h = self.feed(index, h)
        return self.by_label(torch.stack(found))

    def by_label(self, scores: Tensor) -> Tensor:
        """Scores of every label as one row, (..., B·|P|, K) → (..., B, *P, K)."""
        shape = self.label_shape
        return scores.unflatten(-2, (-1, *shape)) if shape else scores

    def export_parts(self) -> ExportParts:
        """The readouts that count, their fusion, and the activity as it is for the next block."""
        weights = dict(zip(self.readout_blocks, self.fusion_weights.tolist(), strict=True))
        kept = [name for name, weight in weights.items() if weight != 0] or list(weights)
        chosen = [index for index, name in enumerate(weights) if name in kept]
        return ExportParts({name: self.export_readout(name) for name in kept}, Fusion(self.fusion_weights[chosen]))

    def export_readout(self, name: str) -> nn.Module:
        """What reads one block in a plain module: (N, ...) of what is read → (N, K). Default: the head, in plain operations."""
        shapes = dict(zip(self.network.block_names, self.read_shapes, strict=True))
        return plain_readout(self.heads[name], shapes[name])

    def fuse(self, block_scores: Tensor) -> Tensor:
        """Σ_l w_l · log softmax(scores_l), w from ``fusion``."""
        return fuse(block_scores, self.fusion_weights)

    @property
    def calibrates(self) -> bool:
        """Where the fusion weights are fitted, or the best block is chosen."""
        return self.fusion in ("fitted", "best")

    def calibrate(self, block_scores: Tensor, y: Tensor) -> None:
        """Fit the fusion weights on validation scores, or choose the block with most right answers there (of equal ones the first)."""
        if self.fusion == "fitted":
            self.fusion_weights = fit_fusion_weights(block_scores, y)
        elif self.fusion == "best":
            right = (block_scores.argmax(-1) == y).sum(1)
            self.fusion_weights = F.one_hot(right.argmax(), len(block_scores)).to(block_scores.dtype)


def segment_name(segment: Sequence[int], depth: int) -> str:
    """``"block3"`` for one block, ``"block2-3"`` for several, ``"all"`` for the whole network."""
    first, last = segment[0], segment[-1]
    if len(segment) == depth and depth > 1:
        return "all"
    return f"block{first}" if first == last else f"block{first}-{last}"


def segment_losses(
    rule: BlockwiseRule,
    x: Tensor,
    y: Tensor,
    segments: Sequence[Sequence[int]],
    local_loss: LocalLoss | None = None,
    cuts: Collection[int] = (),
) -> Iterator[BlockLoss]:
    """Walk the blocks; one loss a segment: the sum of its blocks' local losses, with gradient inside and none across.

    One segment of all blocks is backprop (with deep supervision where there are several readouts), one segment a block is a strictly
    local rule. At any moment only one segment's graph exists, with its input and output: nothing else is held across a ``yield``.
    A segment with nothing to train (frozen blocks, poolings) is run and has no loss.
    ``local_loss`` stands in for the rule's own `block_loss`: that is how hybrids are made. ``cuts`` are blocks at which a new chunk of a segment
    starts: of every chunk but a segment's last only the input is kept (`checkpointing`).
    """
    h, y = rule.inputs(rule.network.prepare(x), y)
    depth = rule.network.depth
    for segment in segments:
        name = segment_name(segment, depth)
        value, metrics, h = segment_loss(rule, segment, local_loss or rule.block_loss, h.detach(), y, cuts)
        if value is None and not rule.network.frozen.issuperset(segment):
            raise InputError(f"{name} has no readout, so nothing would train it")
        if value is not None and learns_by(rule, segment, value):
            yield BlockLoss(name, value, metrics)
        del value
        if segment[-1] + 1 < depth:
            h = rule.feed(segment[-1], h)


def learns_by(rule: BlockwiseRule, segment: Sequence[int], value: Tensor) -> bool:
    """Whether a segment learns by its loss; not where its blocks and their heads have nothing to train.

    Raises:
        InputError: there is something to train, and the loss has no graph.
    """
    if value.requires_grad or not torch.is_grad_enabled():
        return True
    names = [rule.network.block_names[index] for index in segment]
    parts = [*(rule.network.blocks[index] for index in segment), *(rule.heads[n] for n in names if n in rule.heads)]
    if any(parameter.requires_grad for part in parts for parameter in part.parameters()):
        raise InputError(
            f"the loss of {segment_name(segment, rule.network.depth)} has no graph, so it cannot train what is there; local_loss of "
            f"{type(rule).__name__} must not detach the activity, nor the block's forward"
        )
    return False


def segment_loss(
    rule: BlockwiseRule,
    segment: Sequence[int],
    local_loss: LocalLoss,
    h: Tensor,
    y: Tensor,
    cuts: Collection[int] = (),
) -> tuple[Tensor | None, dict[str, Tensor], Tensor]:
    """The segment's loss and metrics, and its last activity without a graph. Nothing else of the segment outlives the call."""
    value: Tensor | None = None
    metrics: dict[str, Tensor] = {}
    for chunk in _chunks(segment, cuts):
        run = partial(run_blocks, rule, chunk, segment[-1], local_loss, y)
        last = chunk[-1] == segment[-1]  # its backward comes at once: there is nothing to win
        h, terms, found = run(h) if last else keep_input_only(run, h, _buffers_that_move(rule, chunk))
        for term in terms:
            value = term if value is None else value + term
        metrics |= found
    return value, metrics, h.detach()


def run_blocks(
    rule: BlockwiseRule, blocks: Sequence[int], last: int, local_loss: LocalLoss, y: Tensor, h: Tensor
) -> Found:
    """Some blocks of a segment that ends at ``last``: what the next block gets (at the end: the activity), losses, and what is logged."""
    terms: list[Tensor] = []
    metrics: dict[str, Tensor] = {}
    for index in blocks:
        rule.receive(index, h)
        h = rule.network.blocks[index](h)
        if index in rule.readouts:
            term, found = _checked(rule, local_loss(index, h, y))
            terms.append(term)
            metrics |= {f"{name}/block{index}": metric for name, metric in found.items()}
        if index != last:
            h = rule.feed(index, h)
    return h, terms, metrics


def _checked(rule: BlockwiseRule, given: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """What a local loss gave, where it is what it must be: a rule of the user's own may give anything."""
    match given:
        case (Tensor() as value, dict() as metrics) if value.dim() == 0:
            return value, metrics
        case (Tensor() as value, dict()):
            what = f"a loss of shape {tuple(value.shape)}"
        case tuple():
            what = f"a tuple of {', '.join(type(part).__name__ for part in given)}"
        case _:
            what = type(given).__name__
    raise InputError(
        f"local_loss of {type(rule).__name__} gave {what}; it must return (a scalar Tensor, a dict of Tensors)"
    )


def _chunks(segment: Sequence[int], cuts: Collection[int]) -> list[range]:
    starts = [index for index in segment if index == segment[0] or index in cuts]
    return [range(start, end) for start, end in zip(starts, [*starts[1:], segment[-1] + 1], strict=True)]


def _buffers_that_move(rule: BlockwiseRule, blocks: Sequence[int]) -> list[Buffer]:
    """Buffers that these blocks and their losses may change: their own, their heads', and the rule's, those aside that are not saved."""
    names = [rule.network.block_names[index] for index in blocks]
    parts = [
        *(rule.network.blocks[index] for index in blocks),
        *(rule.heads[name] for name in names if name in rule.heads),
    ]
    beside = [part for part in rule.children() if part is not rule.network and part is not rule.heads]
    own = [(rule, name) for name in rule._buffers if name not in rule._non_persistent_buffers_set]
    return [*buffers_of([*parts, *beside]), *own]
