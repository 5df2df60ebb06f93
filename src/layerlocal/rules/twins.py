"""Backprop and its relatives: the same blocks, heads, losses and fusion as a local rule, with the gradient boundaries elsewhere.

`bp` keeps the last readout and no boundary; `bp-deepsup` keeps every readout and no boundary (deep supervision, arXiv:1409.5185);
`segmented` puts a boundary after every ``segment_size`` blocks, or where it is told, and keeps the readout at each segment's end, or all.
All three are the exact twins of the rule named by ``of``: only what the boundaries change differs.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor

from layerlocal.networks import Network
from layerlocal.rules.core.checkpointing import find_cuts
from layerlocal.rules.core.registry import accepted_options, register_rule, rule_class
from layerlocal.rules.core.rule import Rule, RuleInfo
from layerlocal.rules.core.segments import choose_segments, cut_segments, ends_of
from layerlocal.rules.core.walk import BlockwiseRule, segment_losses
from layerlocal.types import PARTNER, BlockLoss, InputError, Locality

__all__ = ["BP", "BPDeepSup", "Segmented", "Twin"]


class Twin(BlockwiseRule):
    """A rule's partner walked with other gradient boundaries.

    What is made is an object of both classes: it is the rule named by ``of``, with its heads, losses, fusion and options, and the twin
    says where the boundaries are and what is read.

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

    twin_of: ClassVar[type[BlockwiseRule]]
    """The class of the rule named by ``of``."""
    segments: list[list[int]]
    cuts: frozenset[int]
    """Blocks at which a new chunk of a segment starts (`use_checkpointing`)."""

    def __new__(cls, *args: Any, of: str | type[Rule] = PARTNER, **options: Any) -> Twin:
        """An object of the twin's class and of that of ``of``."""
        joined = hasattr(cls, "twin_of")  # where an object is copied
        return super().__new__(cls if joined else _twin_class(cls, _partner_class(cls, of)))

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None,
        segments: Sequence[Sequence[int]] | None = None,
        readouts: Sequence[int] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(network, num_classes=num_classes, **accepted_options(self.twin_of, options, seed))
        self._refuse_shared_names()
        if readouts is not None:
            self.keep_readouts(readouts)
        self.segments = [list(segment) for segment in segments or cut_segments(network.depth, 1)]
        self.cuts = frozenset()

    def _refuse_shared_names(self) -> None:
        """Two classes in one object must not write each other's attributes; what every rule has aside."""
        twins = [kind for kind in type(self).__mro__[1:] if issubclass(kind, Twin)]
        names = {name for kind in twins for name in (*vars(kind), *inspect.get_annotations(kind))}
        theirs = {*dir(self.twin_of), *vars(self), *self._buffers, *self._parameters, *self._modules}
        if shared := sorted((names & theirs) - {"info", *dir(BlockwiseRule), *dir(type)}):
            raise InputError(
                f"{self.twin_of.__name__} and its twin {self.info.name!r} both have {shared[0]!r}; give that of the rule another name"
            )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Also from twins of version 0.1.0, which held their partner as a part."""
        for name in [name for name in state_dict if name.startswith(f"{prefix}partner.")]:
            state_dict[prefix + name.removeprefix(f"{prefix}partner.")] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @property
    def locality(self) -> Locality:
        """The twin's, whatever the rule's."""
        return self.info.locality

    @property
    def reads_ahead(self) -> int:
        """None, as long as what goes back goes by gradient."""
        return 0

    def losses(self, x: Tensor, y: Tensor) -> Iterator[BlockLoss]:
        """One loss a segment."""
        return segment_losses(self, x, y, self.segments, cuts=self.cuts)

    @property
    def longest_segments(self) -> Sequence[Sequence[int]]:
        """The segments of the step whose gradient goes furthest."""
        return self.segments

    def use_checkpointing(self, x: Tensor) -> None:
        """Cut every segment of several blocks into chunks, by what each block saves (`checkpointing.find_cuts`)."""
        if all(len(segment) == 1 for segment in self.longest_segments):
            super().use_checkpointing(x)
        if self.gathers:
            raise InputError(
                f"activation checkpointing is not made for {self.twin_of.info.name!r}, a loss of which reads several blocks; "
                "leave recipe.checkpointing off"
            )
        self.cuts = find_cuts(self, x, self.longest_segments)


def _partner_class(twin: type[Twin], of: str | type[Rule]) -> type[BlockwiseRule]:
    """The class of ``of``.

    Raises:
        InputError: it has not one readout a block, or is a twin itself.
    """
    found = rule_class(of)
    if not issubclass(found, BlockwiseRule) or issubclass(found, Twin):
        raise InputError(
            f"{twin.info.name} can be the twin of a rule with one readout a block (BlockwiseRule), not of {of!r}"
        )
    return found


def _twin_class(twin: type[Twin], partner: type[BlockwiseRule]) -> type[Twin]:
    """The class of a twin of a rule: first the twin's methods, then the rule's; under the rule's name, and as the twin declares itself."""
    own = partner.info
    info = replace(
        twin.info, compares_samples=own.compares_samples, channel_groups=own.channel_groups,
        passes_per_step=own.passes_per_step, passes_per_prediction=own.passes_per_prediction, tried_on=own.tried_on,
    )  # fmt: skip
    content = {"info": info, "twin_of": partner, "__module__": partner.__module__}
    return type(partner.__name__, (twin, partner), content)


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
        of: str | type[Rule] = PARTNER,
        **options: Any,
    ) -> None:
        depth = network.depth
        super().__init__(
            network, num_classes=num_classes, segments=[range(depth)], readouts=[depth - 1], seed=seed, **options
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
        of: str | type[Rule] = PARTNER,
        **options: Any,
    ) -> None:
        super().__init__(network, num_classes=num_classes, segments=[range(network.depth)], seed=seed, **options)
        self.keep_readouts(ends_of(network, choose_segments(self, segment_size, segments)))


@register_rule
class Segmented(Twin):
    """Backprop inside segments, none across; one segment of all blocks is `bp`, one a block is the rule ``of`` itself.

    Args:
        network: what is trained.
        num_classes: K ≥ 2.
        segment_size: blocks a segment, ≥ 1; the last segment may be shorter.
        segments: blocks of each segment, ``"1-1-4"``, or ``"free"``: the fewest segments that save no more for backward at any moment than the
            rule ``of`` does with a boundary after every block (`free_segments`); goes before ``segment_size``.
        readouts: ``"ends"``: a readout and a loss at the end of each segment that is not frozen; ``"all"``: at every block, so that
            `bp-deepsup` without options is the twin.
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
        of: str | type[Rule] = PARTNER,
        **options: Any,
    ) -> None:
        if readouts not in ("ends", "all"):
            raise InputError(f"readouts must be 'ends' or 'all', got {readouts!r}")
        super().__init__(network, num_classes=num_classes, seed=seed, **options)
        self.segments = [list(segment) for segment in choose_segments(self, segment_size, segments)]
        if readouts == "ends":
            self.keep_readouts(ends_of(network, self.segments))

    @property
    def locality(self) -> Locality:
        """By the longest segment with a loss: one block, several, or the whole network."""
        if len(self.segments) == 1:
            return "global"
        read = [segment for segment in self.segments if not {*segment}.isdisjoint(self.readouts)]
        return "block" if all(len(segment) == 1 for segment in read) else "segment"
