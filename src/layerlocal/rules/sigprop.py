"""Signal propagation: the target travels forward through the same network as the sample, and every block brings the two together.

Paper: arXiv:2204.01723 (2022). Beside each sample its target goes through the blocks as an input of its own; a block's loss makes the
activity of a sample more like those of targets of its own class than like those of the others; nothing goes backward between blocks.
Differs: the target is a fixed input, a random sign at every place, not what a learned projection puts beside the first block's activity;
activities are compared by the cosine of their centred root mean squares on a grid, over a temperature, not by bare inner products; a
sample is classified, at every block, by the nearest class target, whose representations are averaged over steps in a buffer, so that
predicting takes one pass; the paper trains an output layer. Targets of one class are alike, but each sample brings its own, as in the paper.
A sample's loss is the mean over the targets of its own class; the released code (amassivek/signalpropagation) sums over them, which
``over_class="sum"`` does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from layerlocal.kernels import cells_of
from layerlocal.networks import Network
from layerlocal.rules.core.cells import CellAverage
from layerlocal.rules.core.readout import CellReader
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import RuleInfo
from layerlocal.rules.core.walk import BlockwiseRule
from layerlocal.rules.ff import label_patterns
from layerlocal.types import InputError

__all__ = ["ClassTargets", "SigProp", "target_loss"]


def target_loss(similarity: Tensor, y: Tensor, over_class: str = "mean") -> Tensor:
    """Cross-entropy of picking, among the targets of a batch, one of the sample's own class: a scalar. arXiv:2204.01723.

    −mean_i Σ_j q_ij log softmax_j(s_ij), where q_i is uniform over the targets j with y_j = y_i.

    Args:
        similarity: s (B, B), sample i to target j, over the temperature.
        y: (B,) labels of samples and targets.
        over_class: ``"mean"``, or ``"sum"``: q_ij = 1 for every target of the own class.
    """
    log_probabilities = similarity.log_softmax(1)
    same = (y[:, None] == y[None, :]).to(log_probabilities.dtype)
    own = log_probabilities * same
    if over_class == "mean":
        own = own / same.sum(1, keepdim=True)
    return -own.sum(1).mean()


class ClassTargets(CellReader):
    """What one block compares: activities as unit vectors, and the class targets among them, averaged over steps.

    Args:
        activity_shape: (C, H, W) or (D,).
        num_classes: K.
        grid: cells a side, ≥ 1; a map smaller than the grid has one position a cell.
        temperature: τ > 0.

    Raises:
        InputError: activities of another form.
    """

    classes: Tensor

    def __init__(
        self, activity_shape: Sequence[int], num_classes: int, *, grid: int = 4, temperature: float = 0.1
    ) -> None:
        super().__init__()
        if len(activity_shape) not in (1, 3):
            raise InputError(
                f"sigprop compares activities (B, D) or (B, C, H, W), got (B, {', '.join(map(str, activity_shape))})"
            )
        features = activity_shape[0]
        self.average: CellAverage | None = None
        if len(activity_shape) == 3:
            self.average = CellAverage(activity_shape[1], activity_shape[2], grid)
            features *= len(self.average.rows) * len(self.average.columns)
        self.grid = grid
        self.temperature = temperature
        self.register_buffer("classes", torch.zeros(num_classes, features))

    @property
    def reads(self) -> str:
        """What it reads, in a few words."""
        cells = f"RMS, {self.grid}×{self.grid} cells" if self.average else "units as they are"
        return f"{cells}, beside class targets"

    @property
    def rms_cells(self) -> int:
        """The grid's."""
        return self.grid

    def represent(self, activity: Tensor) -> Tensor:
        """Root mean squares of each channel in each cell (vectors: the numbers themselves), centred, at unit length: (B, ...) → (B, D)."""
        numbers = activity
        if self.average is not None and self.training:
            numbers = cells_of(activity, self.grid)
        elif self.average is not None:  # the same in operations that every exporter knows
            squares: Tensor = self.average(activity.square())  # (B, C, s, s)
            numbers = squares.clamp_min(1e-12).sqrt().permute(0, 2, 3, 1).flatten(1)
        return F.normalize(numbers - numbers.mean(1, keepdim=True), dim=1)

    def forward(self, activity: Tensor) -> Tensor:
        """cos(r(a), class target) / τ: (B, ...) → (B, K)."""
        return self.represent(activity) @ F.normalize(self.classes, dim=1).T / self.temperature

    @torch.no_grad()
    def follow(self, targets: Tensor, y: Tensor, momentum: float) -> None:
        """Move the average of each class of the batch towards its targets (B, D); classes that are not in it stay."""
        mine = F.one_hot(y, len(self.classes)).to(self.classes.dtype)  # (B, K)
        counts = mine.sum(0)[:, None]
        found = mine.T @ targets.to(self.classes.dtype) / counts.clamp_min(1)
        self.classes.lerp_(found, (1 - momentum) * (counts > 0))


@register_rule
class SigProp(BlockwiseRule):
    """Samples near the targets of their class, at every block: loss_l = CE of cos(r(a_l), r(t_l)) / τ over the targets t of the batch.

    Args:
        network: what is trained; targets pass through it too.
        num_classes: K ≥ 2.
        seed: taken for the sake of the interface; nothing is drawn from it.
        temperature: τ > 0 of the similarities.
        grid: cells a side of what is compared, ≥ 1.
        target_momentum: share of the old average of a class's target kept at each step, in [0, 1).
        over_class: of a sample's loss over the targets of its own class: their ``"mean"`` or, as in the released code, their ``"sum"``.
        fusion: ``"uniform"``, ``"fitted"``, ``"best"`` or ``"last"`` (`BlockwiseRule`).

    Raises:
        InputError: an option out of its range.
    """

    info = RuleInfo(
        name="sigprop",
        locality="block",
        summary="signal propagation: targets go forward through the network, samples are drawn to those of their class",
        references=("arXiv:2204.01723",),
        passes_per_step=2,
        compares_samples=True,
    )
    makes_inputs = True
    patterns: Tensor

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        temperature: float = 0.1,
        grid: int = 4,
        target_momentum: float = 0.9,
        over_class: str = "mean",
        fusion: str = "uniform",
    ) -> None:
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion)
        if not 0 < temperature < math.inf:
            raise InputError(f"temperature must be positive and finite, got {temperature}")
        if grid < 1:
            raise InputError(f"grid must be at least 1, got {grid}")
        if not 0 <= target_momentum < 1:
            raise InputError(f"target_momentum must be in [0, 1), got {target_momentum}")
        if over_class not in ("mean", "sum"):
            raise InputError(f"over_class must be 'mean' or 'sum', got {over_class!r}")
        self.temperature = temperature
        self.grid = grid
        self.target_momentum = target_momentum
        self.over_class = over_class
        signs = label_patterns(num_classes, (torch.Size(network.sample_shape).numel(),))
        self.register_buffer("patterns", signs.view(num_classes, *network.sample_shape), persistent=False)
        shapes = self.read_shapes
        self.heads = self.head_per_block(
            lambda i: ClassTargets(shapes[i], num_classes, grid=grid, temperature=temperature)
        )

    def inputs(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The samples, then the target of each: (2B, ...)."""
        return self.network.prepare(torch.cat([x, self.patterns[y]])), y

    def local_loss(self, index: int, activity: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """`target_loss` of one block; in training its class targets follow."""
        head = self.heads[f"block{index}"]
        assert isinstance(head, ClassTargets)
        samples, targets = head.represent(activity).split(len(y))
        if self.training:
            head.follow(targets, y, self.target_momentum)
        return target_loss(samples @ targets.T / self.temperature, y, self.over_class), {}
