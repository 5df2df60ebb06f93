"""The interface of a learning rule, and the walk over blocks that most rules share.

The loop of every rule (`layerlocal.training.train`) is

    for x, y in batches:
        for loss in rule.losses(x, y):     # one loss for backprop, one a segment for a local rule
            loss.value.backward()          # frees that segment's graph before the next one's forward
        optimizer.step()

so a rule only says what the losses are. Letters: B batch, K classes, L readouts.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerlocal.networks import Network
from layerlocal.networks.blocks import refuse_other_types
from layerlocal.rules.core.channels import refuse_uneven_channels
from layerlocal.rules.core.functional import fit_fusion_weights, fuse
from layerlocal.rules.core.info import RuleInfo, refuse_no_task
from layerlocal.rules.core.walk import LocalLoss, segment_loss, segment_losses, segment_name
from layerlocal.scale import Scale
from layerlocal.types import BlockLoss, InputError, Locality, derive_seed

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = [
    "BlockwiseRule",
    "LocalLoss",
    "Rule",
    "RuleInfo",
    "refuse_no_task",
    "segment_loss",
    "segment_losses",
    "segment_name",
]


_HOOKS = ("losses", "local_loss", "block_score", "block_scores", "inputs", "feed", "fuse", "calibrate", "rewind")
"""What a rule may write for itself: a name like one of these is a slip, and the default would be trained in its place."""


class Rule(nn.Module):
    """A way of assigning credit. It owns the network and its local heads, so ``.to``, ``.state_dict`` and ``.eval`` just work.

    A subclass sets ``info`` and writes ``losses`` and ``block_scores``; rules with one local loss a block start from `BlockwiseRule`.

    Args:
        network: what is trained; used, not copied.
        num_classes: K ≥ 2.

    Raises:
        InputError: what is no `Network`, weights that are not float32, or fewer than two classes.
    """

    info: ClassVar[RuleInfo]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in vars(cls):
            meant = difflib.get_close_matches(name, _HOOKS, n=1, cutoff=0.85)
            if meant and meant[0] not in vars(cls) and not hasattr(super(cls, cls), name):
                warnings.warn(f"{cls.__name__} defines {name}, which nothing calls: is {meant[0]} meant?", stacklevel=2)

    def __init__(self, network: Network, *, num_classes: int) -> None:
        super().__init__()
        self.num_classes = refuse_no_task(network, num_classes)
        refuse_other_types(network, "network")
        if self.info.channel_groups:
            refuse_uneven_channels(network, self.num_classes)
        self.network = network

    @property
    def locality(self) -> Locality:
        """What the rule declares; a rule whose options change it overrides this."""
        return self.info.locality

    @property
    def reads_ahead(self) -> int:
        """How many blocks further on parameters may change a block's update at one step, beyond those its own loss trains.

        0: nothing comes back but by gradient, as in backprop, or nothing at all, as in a local rule. Where a loss is read through later
        blocks, or an error is sent back by another way than the gradient, say how far; `measure_locality` finds out by intervention.
        """
        return 0

    @property
    def passes_per_step(self) -> int:
        """Forward passes through the network for one training sample."""
        return self.info.passes_per_step

    @property
    def passes_per_prediction(self) -> int:
        """Forward passes through the network to classify one sample."""
        passes = self.info.passes_per_prediction
        return self.num_classes if passes == "num_classes" else passes

    @property
    def compares_samples(self) -> bool:
        """Whether a loss compares the samples of a batch with one another (batch statistics of the network aside)."""
        return self.info.compares_samples

    @property
    def needs_whole_batches(self) -> str | None:
        """Why a batch must not be cut into micro-batches, as the end of a sentence; ``None``: it may be."""
        return "its loss compares the samples of a batch with one another" if self.compares_samples else None

    @property
    def locks(self) -> dict[str, bool]:
        """What a block has to wait for and what it asks of the hardware (locking as in arXiv:1608.05343).

        ``forward``: its forward waits for the blocks before it; ``update``: its update waits for the forward of blocks after it;
        ``backward``: its update waits for their backward; ``weight_transport``: the backward uses the weights of the forward to send
        errors between blocks; ``labels_everywhere``: labels are needed at more than one block.
        """
        reaches = self.locality != "block" and self.network.depth > 1
        labels = len(self.readout_blocks) > 1 and not self.info.unsupervised
        return {
            "forward": True, "update": reaches, "backward": reaches, "weight_transport": reaches, "labels_everywhere": labels,
        }  # fmt: skip

    @property
    def readout_blocks(self) -> list[str]:
        """Names of the blocks that `block_scores` answers for, in order."""
        return self.network.block_names

    @property
    def reads(self) -> str:
        """What a block's answer is read from, in a few words for a table: what the heads say of themselves, each thing once."""
        said = dict.fromkeys(getattr(head, "reads", "") for head in getattr(self, "heads", nn.ModuleDict()).values())
        return "; ".join(filter(None, said)) or "a readout of its own"

    def use_checkpointing(self, x: Tensor) -> None:
        """From now on keep only some activities of a segment for backward and compute the others again.

        Args:
            x: some samples (B, *sample_shape), to see what each block saves.

        Raises:
            InputError: no segment spans several blocks, so there is nothing to win.
        """
        raise InputError(
            f"activation checkpointing has no effect on {self.info.name!r}: no more than one block's graph exists at any moment; "
            "leave recipe.checkpointing off"
        )

    def losses(self, x: Tensor, y: Tensor) -> Iterator[BlockLoss]:
        """The losses of one batch, in forward order. Forward only: the loop calls backward and step.

        Args:
            x: (B, *sample_shape) normalized inputs.
            y: (B,) integer labels.
        """
        raise NotImplementedError(f"{type(self).__name__} has no losses; write losses(self, x, y)")

    def rewind(self) -> None:
        """Go back to the step that reaches furthest, in a rule whose steps differ: measures look at that one. Default: steps are alike."""

    def block_scores(self, x: Tensor) -> Tensor:
        """(L, B, K): what each readout alone would answer; takes no label."""
        raise NotImplementedError(f"{type(self).__name__} has no scores; write block_scores(self, x)")

    def fuse(self, block_scores: Tensor) -> Tensor:
        """(L, B, K) → (B, K): from every readout's answer to one."""
        return fuse(block_scores)

    def scores(self, x: Tensor) -> Tensor:
        """(B, K): the prediction, after fusion."""
        return self.fuse(self.block_scores(x))

    def to_module(
        self,
        *,
        mean: ArrayLike | Tensor | None = None,
        std: ArrayLike | Tensor | None = None,
        scale: Scale | None = None,
    ) -> nn.Module:
        """The trained network with its readouts and their fusion as a plain module: a copy, in evaluation mode, on the same device.

        It maps inputs (B, *sample_shape) to `scores` (B, K), goes through `torch.export` and to ONNX, and holds no rule.

        Args:
            mean: with ``std``: the module takes raw inputs and normalizes them itself; one number a channel (of pixels scaled to 0..1) or a
                feature, as in ``data.mean``.
            std: as ``data.std``.
            scale: ``data.scale``: the values of ``data``, in any type, are taken for what they were in training, and images on another scale
                are refused. Without it uint8 are pixels 0..255, and every other type is on the scale of ``mean``.

        Raises:
            InputError: one of the two alone, or not one number a channel.
        """
        from layerlocal.rules.core.export import trained_module

        return trained_module(self, mean=mean, std=std, scale=scale)

    @property
    def calibrates(self) -> bool:
        """Whether something is chosen on validation data after the last epoch."""
        return False

    def calibrate(self, block_scores: Tensor, y: Tensor) -> None:
        """Choose it: (L, N, K) scores, (N,) labels of the validation split. Default: nothing."""

    def block_parameters(self) -> dict[str, list[nn.Parameter]]:
        """Trainable parameters by the block that owns them: the block's own and those of its head in ``heads[name]``.

        Raises:
            InputError: a trainable parameter that belongs to no block, or to two.
        """
        heads = getattr(self, "heads", {})
        owned: dict[str, list[nn.Parameter]] = {}
        owner: dict[int, str] = {}
        names = {id(parameter): name for name, parameter in self.named_parameters()}
        for name, block in zip(self.network.block_names, self.network.blocks, strict=True):
            parts = [block, heads[name]] if name in heads else [block]
            owned[name] = [p for part in parts for p in part.parameters() if p.requires_grad]
            for parameter in owned[name]:
                if owner.setdefault(id(parameter), name) != name:
                    raise InputError(
                        f"{names[id(parameter)]} is shared by {owner[id(parameter)]} and {name}: that couples blocks; "
                        "give each its own (copy.deepcopy)"
                    )
        for key, name in names.items():
            if key not in owner and self.get_parameter(name).requires_grad:
                raise InputError(
                    f"{name} belongs to no block: keep the parameters of a block's head in self.heads['blockN']"
                )
        return owned


class BlockwiseRule(Rule):
    """Rules with one readout and one local loss a block, and a gradient boundary between blocks.

    A subclass fills ``self.heads`` (`head_per_block`); `block_score`, `local_loss`, `feed` and `inputs` have defaults.
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

    def head_per_block(self, make: Callable[[int], nn.Module]) -> nn.ModuleDict:
        """``{"block0": make(0), ...}``, each head's initial weights drawn from a seed of its own."""
        heads = nn.ModuleDict()
        for index, name in enumerate(self.network.block_names):
            with torch.random.fork_rng(devices=[], enabled=self.seed is not None):
                if self.seed is not None:
                    torch.manual_seed(derive_seed(self.seed, "head", index))
                heads[name] = make(index)
            self._tell_block(index, heads[name])
        return heads

    def _tell_block(self, index: int, head: nn.Module | None) -> None:
        """A block whose head reads root mean squares of ``rms_cells`` cells a side can make them on the way (`kernels.norm_act`)."""
        block = self.network.blocks[index]
        if hasattr(block, "cells"):
            block.cells = getattr(head, "rms_cells", 0)  # type: ignore[arg-type]

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

    def feed(self, index: int, activity: Tensor) -> Tensor:
        """What the next block gets of block ``index``'s activity; same shape."""
        return activity

    def block_score(self, index: int, activity: Tensor) -> Tensor:
        """(B, K) scores of one block from its activity (B, ...). Default: what its head answers."""
        name = self.network.block_names[index]
        if name not in self.heads:
            raise InputError(
                f"{type(self).__name__} has no head for {name}: fill self.heads with self.head_per_block(...) in __init__, or write block_score"
            )
        scores: Tensor = self.heads[name](activity)
        return scores

    def local_loss(self, index: int, activity: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of one block (scalar with a graph) and detached scalars to log. Default: cross-entropy of `block_score`."""
        return F.cross_entropy(self.block_score(index, activity), y, label_smoothing=self.label_smoothing), {}

    def losses(self, x: Tensor, y: Tensor) -> Iterator[BlockLoss]:
        """One loss a block."""
        return segment_losses(self, x, y, [range(index, index + 1) for index in range(self.network.depth)])

    def block_scores(self, x: Tensor) -> Tensor:
        """(L, B, K): one forward pass, every readout."""
        h = self.network.prepare(x)
        found = []
        for index, block in enumerate(self.network.blocks):
            h = block(h)
            if index in self.readouts:
                found.append(self.block_score(index, h))
            if index + 1 < self.network.depth:
                h = self.feed(index, h)
        return torch.stack(found)

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
