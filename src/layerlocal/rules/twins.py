"""Backprop and its relatives: the same blocks, heads, losses and fusion as a local rule, with the gradient boundaries elsewhere.

`bp` keeps the last readout and no boundary; `bp-deepsup` keeps every readout and no boundary (deep supervision, arXiv:1409.5185);
`segmented` puts a boundary after every ``segment_size`` blocks, or where it is told, and keeps the readout at each segment's end, or all.
All three are the exact twins of the rule named by ``of``: only what the boundaries change differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from layerlocal.networks import Network
from layerlocal.rules.core.checkpointing import find_cuts
from layerlocal.rules.core.export import ExportParts
from layerlocal.rules.core.registry import create_rule, register_rule
from layerlocal.rules.core.rule import Rule, RuleInfo, parts_of
from layerlocal.rules.core.segments import choose_segments, cut_segments
from layerlocal.rules.core.walk import BlockwiseRule, segment_losses
from layerlocal.types import BlockLoss, InputError, Locality

__all__ = ["BP", "BPDeepSup", "Segmented", "Twin"]


class Twin(Rule):
    """A rule's partner with other gradient boundaries.

    Args:
        network: what is trained.
        num_classes: K ≥ 2.
        of: the rule whose heads, losses and fusion are shared; a `BlockwiseRule`.
        seed: of the heads, the same draw as for ``of`` itself.
        segments: runs of block indices between two boundaries, in order; every block by itself where left out.
        readouts: indices of the blocks that keep their readout and loss; all where left out.
        **options: of the rule named by ``of``.

    Raises:
        InputError: ``of`` is not a rule with one readout a block.
    """

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        of: str | type[Rule],
        seed: int | None,
        segments: Sequence[Sequence[int]] | None = None,
        readouts: Sequence[int] | None = None,
        **options: Any,
    ) -> None:
        nn.Module.__init__(self)  # not Rule's: the partner owns the network, and owning it twice would save it twice
        self.num_classes = num_classes
        partner = create_rule(of, network, num_classes=num_classes, seed=seed, **options)
        if not isinstance(partner, BlockwiseRule):
            raise InputError(
                f"{self.info.name} can be the twin of a rule with one readout a block (BlockwiseRule), not of {of!r}"
            )
        if readouts is not None:
            partner.keep_readouts(readouts)
        self.partner = partner
        self.segments = [list(segment) for segment in segments or cut_segments(network.depth, 1)]
        self.cuts: frozenset[int] = frozenset()

    @property
    def network(self) -> Network:  # type: ignore[override]
        """The partner's."""
        return self.partner.network

    @property
    def heads(self) -> nn.ModuleDict:
        """The partner's heads, by block name."""
        return self.partner.heads

    @property
    def compares_samples(self) -> bool:
        """As the partner."""
        return self.partner.compares_samples

    @property
    def needs_whole_batches(self) -> str | None:
        """As the partner."""
        return self.partner.needs_whole_batches

    @property
    def passes_per_step(self) -> int:
        """The partner's."""
        return self.partner.passes_per_step

    @property
    def passes_per_prediction(self) -> int:
        """The partner's."""
        return self.partner.passes_per_prediction

    @property
    def readout_blocks(self) -> list[str]:
        """Names of the blocks that keep their readout."""
        return self.partner.readout_blocks

    @property
    def reads(self) -> str:
        """As the partner."""
        return self.partner.reads

    def losses(self, x: Tensor, y: Tensor) -> Iterator[BlockLoss]:
        """One loss a segment."""
        return segment_losses(self.partner, x, y, self.segments, cuts=self.cuts)

    @property
    def longest_segments(self) -> Sequence[Sequence[int]]:
        """The segments of the step whose gradient goes furthest."""
        return self.segments

    def use_checkpointing(self, x: Tensor) -> None:
        """Cut every segment of several blocks into chunks, by what each block saves (`checkpointing.find_cuts`)."""
        if all(len(segment) == 1 for segment in self.longest_segments):
            super().use_checkpointing(x)
        self.cuts = find_cuts(self.partner, x, self.longest_segments)

    def block_scores(self, x: Tensor) -> Tensor:
        """(L, B, K) of the readouts that are kept."""
        return self.partner.block_scores(x)

    def fuse(self, block_scores: Tensor) -> Tensor:
        """The partner's fusion."""
        return self.partner.fuse(block_scores)

    def export_parts(self) -> ExportParts | None:
        """The partner's."""
        return parts_of(self.partner)

    @property
    def calibrates(self) -> bool:
        """As the partner."""
        return self.partner.calibrates

    def calibrate(self, block_scores: Tensor, y: Tensor) -> None:
        """The partner's choices on validation data."""
        self.partner.calibrate(block_scores, y)


@register_rule
class BP(Twin):
    """End-to-end backprop of the last block's loss: the BP twin of the rule ``of``."""

    info = RuleInfo(name="bp", locality="global", summary="end-to-end backprop of the last block's loss")

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        of: str | type[Rule] = "local-heads",
        **options: Any,
    ) -> None:
        depth = network.depth
        super().__init__(
            network, num_classes=num_classes, segments=[range(depth)], readouts=[depth - 1], of=of, seed=seed, **options
        )


@register_rule
class BPDeepSup(Twin):
    """Backprop of the sum of all local losses: the architecture-matched twin of the rule ``of``.

    Args:
        network: what is trained.
        num_classes: K ≥ 2.
        segment_size: a readout after every so many blocks and after the last: the twin of `segmented` with the same segments.
        segments: readouts at the ends of these, as of `segmented`; goes before ``segment_size``.
        seed: of the heads.
        of: the rule whose heads, losses and fusion are shared.
        **options: of that rule.
    """

    info = RuleInfo(
        name="bp-deepsup",
        locality="global",
        summary="backprop of the sum of every block's local loss (deep supervision)",
        references=("arXiv:1409.5185",),
    )

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        segment_size: int = 1,
        segments: str | None = None,
        of: str | type[Rule] = "local-heads",
        **options: Any,
    ) -> None:
        super().__init__(network, num_classes=num_classes, segments=[range(network.depth)], of=of, seed=seed, **options)
        self.partner.keep_readouts(segment[-1] for segment in choose_segments(self.partner, segment_size, segments))


@register_rule
class Segmented(Twin):
    """Backprop inside segments, none across; one segment of all blocks is `bp`, one a block is the rule ``of`` itself.

    Args:
        network: what is trained.
        num_classes: K ≥ 2.
        segment_size: blocks a segment, ≥ 1; the last segment may be shorter.
        segments: blocks of each segment, ``"1-1-4"``, or ``"free"``: the fewest segments that save no more for backward at any moment than the
            rule ``of`` does with a boundary after every block (`free_segments`); goes before ``segment_size``.
        readouts: ``"ends"``: a readout and a loss at each segment's end; ``"all"``: at every block, so that `bp-deepsup` without options is
            the twin.
        seed: of the heads.
        of: the rule whose heads, losses and fusion are shared.
        **options: of that rule.

    Raises:
        InputError: segments that do not make up the network, or readouts at other places.
    """

    info = RuleInfo(
        name="segmented",
        locality="segment",
        summary="backprop inside segments of several blocks, gradient boundaries between them",
        references=("arXiv:1901.08164", "arXiv:2101.10832"),
    )

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        segment_size: int = 2,
        segments: str | None = None,
        readouts: str = "ends",
        of: str | type[Rule] = "local-heads",
        **options: Any,
    ) -> None:
        if readouts not in ("ends", "all"):
            raise InputError(f"readouts must be 'ends' or 'all', got {readouts!r}")
        super().__init__(network, num_classes=num_classes, of=of, seed=seed, **options)
        self.segments = [list(segment) for segment in choose_segments(self.partner, segment_size, segments)]
        if readouts == "ends":
            self.partner.keep_readouts(segment[-1] for segment in self.segments)

    @property
    def locality(self) -> Locality:
        """By the longest segment: one block, several, or the whole network."""
        if len(self.segments) == 1:
            return "global"
        return "block" if all(len(segment) == 1 for segment in self.segments) else "segment"
