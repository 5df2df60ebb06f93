"""DTG-FF: Forward-Forward with a learned temperature a layer, decoupled normalization and multi-layer fusion (arXiv:2606.06539).

The paper's full text was not at hand. Two secondary sources that worked from it and agree, a formalization in Lean (MeTTapedia,
``TemperatureScaledLocalGoodness``) and a digest, give for layer l with activity a_l, whose input carries no gradient:

    T_l = T_min + (T_max − T_min) σ(α_l), α_l learned, 0 at first             learned, bounded temperature
    loss_l = CE(Rᵀ f(a_l) / T_l, y), R fixed and random                       local credit T_l⁻¹ R (p − e_y) at the features f
    the next layer gets LayerNorm(a_l)                                        decoupled: the goodness path is not normalized
    scores = a linear classifier on the global average pools of all layers, whose loss (the global classifier term) shares the layers'
    parameters: a hybrid, not strictly local

What they leave open is ours to choose: T_min and T_max; what f is; the weight of the classifier's term; the axes of LayerNorm (all of
a sample's, nothing learned). f is the mean of each channel in a few cells, standardized over the batch (no learned scale) unless told
otherwise, on the goodness path alone: raw means of squares learn worst. What was tried on validation data is in docs/rules/dtg-ff.md.

With ``fusion="stopped"``, the default, the classifier reads pools through the gradient boundary: it belongs to the last block, and every
block is trained by its own loss alone. With ``fusion="shared"`` its loss reaches every block, as the sources describe it: one loss, and
no block's update can be computed before the last block's forward, so the rule declares itself global. That form has a name of its own,
``dtg-ff-shared``, so that it stands beside the other in every table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerlocal.networks import Network
from layerlocal.rules.core.export import ExportParts, Temperature
from layerlocal.rules.core.functional import average_positions, bounded_temperature
from layerlocal.rules.core.readout import SpatialReadout
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import RuleInfo
from layerlocal.rules.core.walk import BlockwiseRule
from layerlocal.types import BlockLoss, InputError, Locality

__all__ = ["DTGFF", "DTGFFShared", "DTGHead", "layer_norm"]

CLASSIFIED = ("stopped", "shared")


def layer_norm(activity: Tensor) -> Tensor:
    """Each sample (of tokens each token) at mean 0 and variance 1 over all of its values, with nothing learned: same shape."""
    return F.layer_norm(activity, activity.shape[-1:] if activity.dim() == 3 else activity.shape[1:])


class DTGHead(SpatialReadout):
    """Features of one block under a projection, and the block's temperature: (B, C, H, W) → (B, K), not yet divided by it.

    Args:
        activity_shape: of the activity, without the batch dimension.
        num_classes: K.
        temperature: T_min and T_max.
        learned_temperature: whether α learns; otherwise T stays at its midpoint.
        projection: ``"random"``: R ~ N(0, 1 / features), fixed; ``"learned"``: a linear map that starts there.
        standardized: whether features are standardized over the batch.
        statistic: ``"mean"``, ``"rms"`` or ``"max"`` of each channel in each of ``grid`` × ``grid`` cells.
        grid: cells a side.

    Attributes:
        classifier: of the last block: the classifier on the pools of all blocks, where there is one.
    """

    classifier: nn.Linear | None

    def __init__(
        self,
        activity_shape: Sequence[int],
        num_classes: int,
        *,
        temperature: tuple[float, float],
        learned_temperature: bool,
        projection: str,
        standardized: bool,
        statistic: str,
        grid: int,
    ) -> None:
        super().__init__(activity_shape, num_classes, statistic=statistic, grid=grid)
        features = self.linear.in_features
        self.linear = nn.Linear(features, num_classes, bias=False)
        nn.init.normal_(self.linear.weight, std=features**-0.5)
        self.linear.weight.requires_grad_(projection == "learned")
        if not standardized:
            self.standardize = nn.Identity()  # type: ignore[assignment]
        self.low, self.high = temperature
        self.alpha = nn.Parameter(torch.zeros(()), requires_grad=learned_temperature)
        self.classifier = None

    @property
    def reads(self) -> str:
        """What it reads, in a few words."""
        return f"{super().reads}, {'a learned' if self.linear.weight.requires_grad else 'a fixed random'} projection"

    @property
    def temperature(self) -> Tensor:
        """T = T_min + (T_max − T_min) σ(α): a scalar."""
        return bounded_temperature(self.alpha, self.low, self.high)


@register_rule
class DTGFF(BlockwiseRule):
    """DTG-FF: loss_l = CE(Rᵀ f(a_l) / T_l, y) at every block; prediction by a classifier on the pools of all blocks.

    Args:
        network: what is trained.
        num_classes: K ≥ 2.
        seed: of projections and classifier.
        temperature_min: T_min > 0.
        temperature_max: T_max ≥ T_min.
        learned_temperature: whether α_l learns; off: T_l = (T_min + T_max) / 2.
        projection: ``"random"`` and fixed, or ``"learned"``.
        layer_norm: whether the next block is fed the activity layer-normalized; off: the activity itself.
        fusion: ``"stopped"`` or ``"shared"``: by the classifier, its gradient stopped at the blocks' boundaries or not; or one of
            `BlockwiseRule`'s, by the blocks' own scores and without a classifier.
        classifier_weight: of the classifier's loss beside the blocks', > 0.
        readout: f: ``"mean"``, ``"rms"`` (goodness) or ``"max"`` of each channel in each cell.
        grid: cells a side, ≥ 1.
        standardized: whether f is standardized over the batch.
        label_smoothing: in [0, 1).

    Raises:
        InputError: a value out of its range.
    """

    info = RuleInfo(
        name="dtg-ff",
        locality="block",
        summary="fixed random projection, learned temperature a block, LayerNorm onward, a classifier on the pools of all blocks",
        references=("arXiv:2606.06539", "arXiv:2212.13345"),
    )

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        temperature_min: float = 0.1,
        temperature_max: float = 2.0,
        learned_temperature: bool = True,
        projection: str = "random",
        layer_norm: bool = True,
        fusion: str = "stopped",
        classifier_weight: float = 1.0,
        readout: str = "mean",
        grid: int = 2,
        standardized: bool = True,
        label_smoothing: float = 0.0,
    ) -> None:
        _refuse_range(temperature_min, temperature_max, classifier_weight)
        if projection not in ("random", "learned"):
            raise InputError(f"projection must be 'random' or 'learned', got {projection!r}")
        if fusion not in (*CLASSIFIED, "uniform", "fitted", "best", "last"):
            raise InputError(
                f"fusion must be 'stopped', 'shared', 'uniform', 'fitted', 'best' or 'last', got {fusion!r}"
            )
        self.classified, self.shared = fusion in CLASSIFIED, fusion == "shared"
        base = "uniform" if self.classified else fusion
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=base, label_smoothing=label_smoothing)
        self.classifier_weight, self.layer_norm = classifier_weight, layer_norm
        self.pools: dict[int, Tensor] = {}
        shapes, last = self.read_shapes, network.depth - 1

        def head_of(index: int) -> DTGHead:
            head = DTGHead(
                shapes[index], num_classes, temperature=(temperature_min, temperature_max), learned_temperature=learned_temperature,
                projection=projection, standardized=standardized, statistic=readout, grid=grid,
            )  # fmt: skip
            if self.classified and index == last:
                head.classifier = nn.Linear(sum(shape[0] for shape in shapes), num_classes)
            return head

        self.heads = self.head_per_block(head_of)

    @property
    def locality(self) -> Locality:
        """Global where the classifier's loss is shared."""
        return "global" if self.shared and self.network.depth > 1 else "block"

    @property
    def gathers(self) -> bool:
        """Whether there is a classifier, which reads all blocks."""
        return self.classified

    def head(self, index: int) -> DTGHead:
        """Of a block that has one."""
        found = self.heads[self.network.block_names[index]]
        assert isinstance(found, DTGHead)
        return found

    @property
    def classifier(self) -> nn.Linear | None:
        """What reads the pools of all blocks; the last block's head owns it."""
        last = self.network.depth - 1
        return self.head(last).classifier if last in self.readouts else None

    def feed(self, index: int, activity: Tensor) -> Tensor:
        """The activity layer-normalized, or as it is; its pool is kept for the classifier, with gradient as far as the activity has one."""
        if self.classified:
            self.pools[index] = average_positions(self.read(activity))
        return self._onward(activity)

    def _onward(self, activity: Tensor) -> Tensor:
        return layer_norm(activity) if self.layer_norm else activity

    def block_score(self, index: int, activity: Tensor) -> Tensor:
        """Rᵀ f(a_l) / T_l: (B, K)."""
        return super().block_score(index, activity) / self.head(index).temperature

    def local_loss(self, index: int, activity: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """CE(Rᵀ f(a_l) / T_l, y); at the last block also the classifier's, whose gradient goes as far back as there is no boundary."""
        loss, metrics = super().local_loss(index, activity, y)
        metrics = metrics | {"temperature": self.head(index).temperature.detach()}
        if index == self.network.depth - 1 and self.classifier is not None:
            found = self.classifier(self._pools(activity))
            term = F.cross_entropy(found, y, label_smoothing=self.label_smoothing)
            self.pools = {before: pool.detach() for before, pool in self.pools.items()}
            loss, metrics = loss + self.classifier_weight * term, metrics | {"classifier": term.detach()}
        return loss, metrics

    def _pools(self, activity: Tensor) -> Tensor:
        """Of all blocks, the last of which has this activity: (B, ΣC)."""
        return torch.cat(
            [*(self.pools[index] for index in range(self.network.depth - 1)), average_positions(activity)], 1
        )

    def losses(self, x: Tensor, y: Tensor) -> Iterator[BlockLoss]:
        """One loss a block; where the classifier is shared, the sum of all as one."""
        if self.locality == "block":
            yield from super().losses(x, y)
            return
        h, y = self.inputs(self.network.prepare(x), y)
        values: list[Tensor] = []
        metrics: dict[str, Tensor] = {}
        for index, block in enumerate(self.network.blocks):
            h = block(h)
            value, found = self.block_loss(index, h, y)
            values.append(value)
            metrics |= {f"{name}/block{index}": metric for name, metric in found.items()}
            h = self.feed(index, h).detach()
        self.pools = {}
        yield BlockLoss("all", torch.stack(values).sum(), metrics)

    def all_scores(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What each block alone answers (L, B, K), and the classifier (B, K): one forward pass."""
        classifier = self.classifier
        if classifier is None:
            return super().all_scores(x)
        h = self.network.prepare(x)
        found, pools = [], []
        for index, block in enumerate(self.network.blocks):
            h = block(h)
            read = self.read(h)
            pools.append(average_positions(read))
            if index in self.readouts:
                found.append(self.block_score(index, read))
            h = self._onward(h)
        return self.by_label(torch.stack(found)), self.by_label(classifier(torch.cat(pools, 1)))

    def block_scores(self, x: Tensor) -> Tensor:
        """(L, B, K): what each block alone answers."""
        return super().block_scores(x) if self.classifier is None else self.all_scores(x)[0]

    @property
    def calibrates(self) -> bool:
        """Not where a classifier answers."""
        return super().calibrates and not self.classified

    def export_parts(self) -> ExportParts:
        """A share of the classifier at every block, and their sum; or the readouts and their fusion."""
        feed = LayerNorm() if self.layer_norm else nn.Identity()
        classifier = self.classifier
        if classifier is None:
            return replace(super().export_parts(), feed=feed)
        shares = classifier.weight.detach().split([shape[0] for shape in self.read_shapes], 1)
        assert classifier.bias is not None
        shifts = [*[torch.zeros_like(classifier.bias)] * (self.network.depth - 1), classifier.bias.detach()]
        readouts = map(Share, shares, shifts)
        return ExportParts(dict(zip(self.network.block_names, readouts, strict=True)), Sum(), feed)

    def export_readout(self, name: str) -> nn.Module:
        """The head, over a temperature that no longer moves."""
        index = self.network.block_names.index(name)
        return nn.Sequential(super().export_readout(name), Temperature(self.head(index).temperature))


@register_rule
class DTGFFShared(DTGFF):
    """DTG-FF as its sources describe it: the classifier's loss reaches every block.

    Backprop of it is that of `DTGFF`, so the two share their twins.

    Args:
        network: what is trained.
        num_classes: K ≥ 2.
        seed: of projections and classifier.
        temperature_min: as of `DTGFF`, like every option that follows.
        temperature_max: likewise.
        learned_temperature: likewise.
        projection: likewise.
        layer_norm: likewise.
        fusion: ``"shared"`` unless given.
        classifier_weight: likewise.
        readout: likewise.
        grid: likewise.
        standardized: likewise.
        label_smoothing: likewise.

    Raises:
        InputError: a value out of its range.
    """

    info = RuleInfo(
        name="dtg-ff-shared",
        locality="global",
        summary="dtg-ff whose classifier's loss reaches every block: a local loss a block and a global term",
        references=DTGFF.info.references,
        twins_of="dtg-ff",
    )

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        temperature_min: float = 0.1,
        temperature_max: float = 2.0,
        learned_temperature: bool = True,
        projection: str = "random",
        layer_norm: bool = True,
        fusion: str = "shared",
        classifier_weight: float = 1.0,
        readout: str = "mean",
        grid: int = 2,
        standardized: bool = True,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            network, num_classes=num_classes, seed=seed, temperature_min=temperature_min, temperature_max=temperature_max,
            learned_temperature=learned_temperature, projection=projection, layer_norm=layer_norm, fusion=fusion,
            classifier_weight=classifier_weight, readout=readout, grid=grid, standardized=standardized, label_smoothing=label_smoothing,
        )  # fmt: skip


class LayerNorm(nn.Module):
    """`layer_norm` as a module."""

    def forward(self, activity: Tensor) -> Tensor:
        """(B, ...) → the same shape."""
        return layer_norm(activity)


class Share(nn.Module):
    """What one block's pool adds to a classifier's scores: (B, C, ...) → (B, K).

    Args:
        weight: (K, C).
        shift: (K,).
    """

    weight: Tensor
    shift: Tensor

    def __init__(self, weight: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.clone())
        self.register_buffer("shift", shift.clone())

    def forward(self, activity: Tensor) -> Tensor:
        """The pool times the weight."""
        return F.linear(average_positions(activity), self.weight, self.shift)


class Sum(nn.Module):
    """Of what all blocks add: (L, B, K) → (B, K)."""

    def forward(self, shares: Tensor) -> Tensor:
        """The classifier's scores."""
        return shares.sum(0)


def _refuse_range(low: float, high: float, weight: float) -> None:
    if not 0 < low <= high:
        raise InputError(f"0 < temperature_min <= temperature_max is needed, got {low} and {high}")
    if not (math.isfinite(weight) and weight > 0):
        raise InputError(f"classifier_weight must be a number above 0, got {weight}")
