"""The interface of a learning rule.

The loop of every rule (`layerlocal.training.train`) is

    for x, y in batches:
        for loss in rule.losses(x, y):     # one loss for backprop, one a segment for a local rule
            loss.value.backward()          # frees that segment's graph before the next one's forward
        optimizer.step()

so a rule only says what the losses are. Most rules share one walk over blocks (`layerlocal.rules.core.walk`).
Letters: B batch, K classes, L readouts, P shape of a sample's labels, () or (T,).
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from layerlocal.networks import Network
from layerlocal.networks.blocks import refuse_other_types
from layerlocal.networks.tokens import TokenReading
from layerlocal.rules.core.channels import refuse_uneven_channels
from layerlocal.rules.core.export import ExportParts, RuleScores, copied_rule, finished, input_steps
from layerlocal.rules.core.functional import fuse
from layerlocal.rules.core.info import RuleInfo, refuse_no_task
from layerlocal.scale import Scale
from layerlocal.types import BlockLoss, InputError, Locality

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Rule", "RuleInfo", "parts_of", "refuse_no_task"]


_HOOKS = (
    "losses", "local_loss", "block_score", "block_scores", "all_scores", "inputs", "receive", "feed", "fuse", "calibrate", "rewind",
)  # fmt: skip
"""What a rule may write for itself: a name like one of these is a slip, and the default would be trained in its place."""


TOKENS_READ = {"mean": "mean of tokens", "class": "class token", "every": "every token"}


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
    predicts_by: ClassVar[tuple[str, ...]] = (
        "scores", "all_scores", "fuse", "block_scores", "block_score", "feed",
    )  # fmt: skip
    """Methods that make a prediction: a subclass with one of its own says `export_parts` anew, or is exported as it is (`parts_of`)."""

    token_reading: ClassVar[TokenReading] = "vectors"
    """How tokens (B, T, D) are read: as normalized ``"vectors"`` (`Network.read`); as ``"positions"`` of a map (B, D, T, 1), at the length that
    they have, where goodness is that length; or as the ``"tokens"`` that they are."""
    makes_inputs: ClassVar[bool] = False
    """Whether it makes inputs of its own (labels written into samples, sums of samples), which cannot be done to the numbers of tokens."""

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
        if (info := getattr(self, "info", None)) is not None and info.channel_groups:  # a base class has none
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
    def gathers(self) -> bool:
        """Whether a block's loss reads what blocks before it left in the rule, beside the activity that it is given."""
        return False

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
    def label_shape(self) -> tuple[int, ...]:
        """P of the labels (B, *P) and scores (B, *P, K): () for one label a sample, (T,) for one a token."""
        return self.network.label_shape

    @property
    def readout_blocks(self) -> list[str]:
        """Names of the blocks that `block_scores` answers for, in order."""
        return self.network.block_names

    @property
    def reads(self) -> str:
        """What a block's answer is read from, in a few words for a table: what the heads say of themselves, each thing once."""
        said = dict.fromkeys(getattr(head, "reads", "") for head in getattr(self, "heads", nn.ModuleDict()).values())
        found = "; ".join(filter(None, said)) or "a readout of its own"
        return found if self.network.tokens is None else f"{TOKENS_READ[self.network.tokens]}: {found}"

    def use_checkpointing(self, x: Tensor) -> None:
        """From now on keep only some activities of a segment for backward and compute the others again.

        Args:
            x: some samples (B, *sample_shape), to see what each block saves.

        Raises:
            InputError: no segment spans several blocks, so there is nothing to win; or it does, through a classifier that reads all.
        """
        if self.gathers and self.locality == "global":
            raise InputError(
                f"activation checkpointing is not made for {self.info.name!r}, whose loss reads all blocks; leave recipe.checkpointing off"
            )
        raise InputError(
            f"activation checkpointing has no effect on {self.info.name!r}: no more than one block's graph exists at any moment; "
            "leave recipe.checkpointing off"
        )

    def losses(self, x: Tensor, y: Tensor) -> Iterator[BlockLoss]:
        """The losses of one batch, in forward order. Forward only: the loop calls backward and step.

        Args:
            x: (B, *sample_shape) normalized inputs.
            y: (B, *P) integer labels, P = () or, where every token has one, (T,).
        """
        raise NotImplementedError(f"{type(self).__name__} has no losses; write losses(self, x, y)")

    def rewind(self) -> None:
        """Go back to the step that reaches furthest, in a rule whose steps differ: measures look at that one. Default: steps are alike."""

    def block_scores(self, x: Tensor) -> Tensor:
        """(L, B, *P, K): what each readout alone would answer; takes no label."""
        raise NotImplementedError(f"{type(self).__name__} has no scores; write block_scores(self, x)")

    def fuse(self, block_scores: Tensor) -> Tensor:
        """(L, B, *P, K) → (B, *P, K): from every readout's answer to one."""
        return fuse(block_scores)

    def all_scores(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`block_scores` (L, B, *P, K) and the prediction (B, *P, K), by one pass: accuracy is counted on these.

        Default: the prediction is `fuse` of the block scores. A rule whose prediction needs more than those says it here.
        """
        found = self.block_scores(x)
        return found, self.fuse(found)

    def scores(self, x: Tensor) -> Tensor:
        """(B, *P, K): the prediction, after fusion."""
        return self.all_scores(x)[1]

    def to_module(
        self,
        *,
        mean: ArrayLike | Tensor | None = None,
        std: ArrayLike | Tensor | None = None,
        scale: Scale | None = None,
    ) -> nn.Module:
        """The trained network with its readouts and their fusion as a plain module: a copy, in evaluation mode, on the same device.

        It maps inputs (B, *sample_shape) to `scores` (B, *P, K), goes through `torch.export` and to ONNX, and holds no rule.

        Args:
            mean: with ``std``: the module takes raw inputs and normalizes them itself; one number a channel (of pixels scaled to 0..1) or a
                feature, as in ``data.mean``.
            std: as ``data.std``.
            scale: ``data.scale``: the values of ``data``, in any type, are taken for what they were in training, and images on another scale
                are refused. Without it uint8 are pixels 0..255, and every other type is on the scale of ``mean``.

        Raises:
            InputError: one of the two alone, or not one number a channel.
        """
        before, parts = input_steps(self.network, mean, std, scale), parts_of(self)
        if parts is None:
            return finished(RuleScores(nn.Sequential(*before), copied_rule(self, self.network)), self)
        return finished(parts.join(self.network, before, reading=self.token_reading), self)

    def export_parts(self) -> ExportParts | None:
        """What `to_module` needs beside the blocks, as plain modules of their own; ``None``: the scores are those of a copy of the rule.

        It stands for the class that writes it, and for subclasses that predict in the same way (`parts_of`).
        """
        return None

    @property
    def calibrates(self) -> bool:
        """Whether something is chosen on validation data after the last epoch."""
        return False

    def calibrate(self, block_scores: Tensor, y: Tensor) -> None:
        """Choose it: (L, N, K) scores, (N,) labels of the validation split, one row a label. Default: nothing."""

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


def parts_of(rule: Rule) -> ExportParts | None:
    """`Rule.export_parts`, unless a more derived class than the one that wrote it predicts in a way of its own."""
    order = type(rule).__mro__

    def written(name: str) -> int:
        return next((place for place, kind in enumerate(order) if name in vars(kind)), len(order))

    return rule.export_parts() if all(written("export_parts") <= written(name) for name in rule.predicts_by) else None
