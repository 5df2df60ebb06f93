"""predsim: cross-entropy through a linear head, plus how far the similarities of a batch's samples are from those of their labels.

Paper: Nøkland & Eidnes, Training neural networks with local error signals, arXiv:1901.06656 (2019):

    loss_l = (1 − β) · CE(W_l pool(a_l), y) + β · mean_ij (S(net_l(a_l)) − S(onehot y))²_ij        (β = 0.99 there)

S_ij is the cosine of sample i's and sample j's features, each sample's features centred on their own mean; net_l is a 3×3 convolution of
as many channels without bias (a linear map where the activity is a vector), and a map's features are the standard deviations of its
channels. The authors' code (anokland/local-loss) takes the mean over pairs where the paper writes a sum; so does this one.
Differs: β = 0.5 by default, because 0.99 learns slowly (docs/rules/predsim.md); the head reads channels on a small grid, standardized over
the batch, as in `local-heads`, where the paper averages to at most a few thousand numbers; its weights do not start at 0; one optimizer
for all blocks; no dropout, and ReLU where the paper has leaky ReLU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerlocal.networks import Network
from layerlocal.rules.core.readout import SpatialReadout
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import RuleInfo
from layerlocal.rules.core.walk import BlockwiseRule
from layerlocal.types import InputError

__all__ = [
    "PredSim", "PredSimReadout", "label_similarity", "map_features", "predsim_loss", "similarity_matrix",
]  # fmt: skip

EPS = 1e-8
FEW_CHANNELS = 3


def map_features(maps: Tensor) -> Tensor:
    """What similarity compares: (B, C, H, W) → (B, C), each channel's standard deviation over positions; (B, D) as it is.

    Maps of one position, or of three channels and fewer, are flattened instead, as in the authors' code.
    """
    if maps.dim() == 2 or maps.shape[1] <= FEW_CHANNELS or maps[0, 0].numel() == 1:
        return maps.flatten(1)
    return maps.flatten(2).std(2)


def similarity_matrix(features: Tensor) -> Tensor:
    """S_ij = ⟨x̃_i, x̃_j⟩ / (‖x̃_i‖ ‖x̃_j‖), x̃ = x − its own mean over features: (B, D) → (B, B), in [−1, 1]."""
    centred = features - features.mean(1, keepdim=True)
    unit = F.normalize(centred, dim=1, eps=EPS)
    return unit @ unit.T


def label_similarity(y: Tensor, num_classes: int) -> Tensor:
    """`similarity_matrix` of one-hot labels: 1 for two samples of one class, −1 / (K − 1) otherwise. (B,) → (B, B)."""
    same = y[:, None] == y[None, :]
    return torch.where(same, 1.0, -1.0 / (num_classes - 1))


def predsim_loss(
    prediction: Tensor, features: Tensor, y: Tensor, *, num_classes: int, beta: float
) -> tuple[Tensor, Tensor]:
    """(1 − β) · prediction + β · mean_ij (S(features) − S(onehot y))²_ij, and the similarity loss by itself.

    Args:
        prediction: the cross-entropy, a scalar.
        features: (B, D).
        y: (B,).
        num_classes: K ≥ 2.
        beta: β in [0, 1].
    """
    similarity = F.mse_loss(similarity_matrix(features), label_similarity(y, num_classes))
    return (1 - beta) * prediction + beta * similarity, similarity


class PredSimReadout(SpatialReadout):
    """A `SpatialReadout` with the net beside it that similarity looks through in training; prediction does not use it.

    Args:
        activity_shape: (C, H, W) or (D,).
        num_classes: K.
        **reads: ``statistic``, ``grid`` and ``factors`` of `SpatialReadout`.
    """

    def __init__(self, activity_shape: Sequence[int], num_classes: int, **reads: Any) -> None:
        super().__init__(activity_shape, num_classes, **reads)
        size = activity_shape[0]
        self.similarity = (
            nn.Conv2d(size, size, 3, padding=1, bias=False)
            if len(activity_shape) == 3
            else nn.Linear(size, size, bias=False)
        )


@register_rule
class PredSim(BlockwiseRule):
    """loss_l = (1 − β) · CE(W_l r(a_l), y) + β · mean (S(net_l(a_l)) − S(onehot y))².

    Its similarity loss compares the samples of a batch: with β > 0 a batch cannot be cut into micro-batches.

    Args:
        network: what is trained.
        num_classes: K ≥ 2.
        seed: of the heads.
        beta: β in [0, 1), weight of the similarity loss; 0: cross-entropy alone ("pred"), `local-heads` with the same readout.
        readout: what the head reads of each channel in each cell: ``"rms"``, ``"mean"`` or ``"max"``.
        grid: cells a side, ≥ 1.
        fusion: ``"uniform"``, ``"fitted"``, ``"best"`` or ``"last"`` (`BlockwiseRule`).
        label_smoothing: of the cross-entropy, in [0, 1).
        factors: ``"AxB"`` where a class is a pair (`SpatialReadout`).

    Raises:
        InputError: a value out of its range.
    """

    info = RuleInfo(
        name="predsim",
        locality="block",
        summary="cross-entropy plus similarity matching: samples of one class are to be alike at every block",
        references=("arXiv:1901.06656",),
        compares_samples=True,
    )

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        beta: float = 0.5,
        readout: str = "rms",
        grid: int = 2,
        fusion: str = "uniform",
        label_smoothing: float = 0.0,
        factors: str | None = None,
    ) -> None:
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion, label_smoothing=label_smoothing)
        if not 0 <= beta < 1:
            why = "; at 1 nothing would train the heads that predict" if beta == 1 else ""
            raise InputError(f"beta must be in [0, 1), got {beta}{why}")
        self.beta = beta
        kind = PredSimReadout if beta else SpatialReadout
        shapes = self.read_shapes
        self.heads = self.head_per_block(
            lambda i: kind(shapes[i], num_classes, statistic=readout, grid=grid, factors=factors)
        )

    @property
    def compares_samples(self) -> bool:
        """Where β > 0."""
        return self.beta > 0

    def local_loss(self, index: int, activity: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The mixture, and its two parts to log."""
        prediction, metrics = super().local_loss(index, activity, y)
        if not self.beta:
            return prediction, metrics
        head = self.heads[f"block{index}"]
        assert isinstance(head, PredSimReadout)
        features = map_features(head.similarity(activity).float())
        loss, similarity = predsim_loss(prediction, features, y, num_classes=self.num_classes, beta=self.beta)
        return loss, {"pred": prediction.detach(), "sim": similarity.detach()}
