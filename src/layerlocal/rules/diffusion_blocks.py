"""DiffusionBlocks: every block learns to take noise off the label, at strengths of noise of its own, and never sees another block's activity.

Paper: DiffusionBlocks, arXiv:2506.14202 (ICLR 2026). Its text in others' accounts and a fork of its code for ViT
(sethnabarro-imi/DiffusionBlocks) were read. The noisy embedding z = e(y) + σ ε of the label is the class token; block l answers for
σ between σ_l+1 and σ_l, borders that split a log-normal distribution of σ into equal shares; with e at unit length and σ_d = 0.5,

    D(z) = c_skip z + c_out F(c_in z, image),  c_skip = σ_d² / (σ² + σ_d²),  c_out = σ σ_d / √(σ² + σ_d²),  c_in = 1 / √(σ² + σ_d²)
    loss_l = mean over σ of CE(W D(z), y)                                   F: the block's class token, layer-normalized

To predict, z begins as noise of the largest σ and each block takes one Euler step towards the expected embedding, z ← z + (σ' − σ)(z − ē) / σ.
Differs: all blocks learn at every step, not one drawn at random, so that a step costs what a step of every rule costs; blocks have no
conditioning on σ, which varies within a block's share only; noise is added to the class token, so that every weight of the network is used;
the noise that a prediction begins with is the same for all images, so that it depends on the image alone. The fork weighs the loss by
(σ² + σ_d²) / (σ σ_d)², but multiplies the means of the two, so that no sample is weighed; here nothing is. It steps towards embeddings of any
length that it noised at unit length; here they are at unit length in both.
There images pass through one embedding, labels through another, and W is one: ``embeddings="shared"``, declared global, as each block's loss
reaches them. ``"private"`` is strictly block-local: each block has its own embedding of images and its own W, and labels have an
embedding that is not learned, orthogonal as far as D allows: all blocks must agree on it, as each goes on from what the one before it left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerlocal.devices import drawn_from
from layerlocal.networks import Network
from layerlocal.networks.tokens import TokenReading
from layerlocal.networks.transformer import PatchTokens, TransformerBlock, initial
from layerlocal.rules.core.export import ChannelsLast, ExportParts, copied
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import Rule, RuleInfo
from layerlocal.types import BlockLoss, InputError, Locality, derive_seed

__all__ = ["DenoisedLabels", "DiffusionBlocks", "LabelDenoiser", "denoised", "noise_borders"]

LEAST, MOST = 0.002, 80.0
MEAN, DEVIATION = -1.2, 1.2
SIGMA_DATA = 0.5
"""Of the strengths of noise, and of log σ: as in the paper, after EDM (arXiv:2206.00364)."""


def noise_borders(blocks: int) -> list[float]:
    """The strengths of noise between which each block answers, from the largest to the smallest: blocks + 1 numbers.

    Equal shares of log σ ~ N(−1.2, 1.2²) between 0.002 and 80. arXiv:2506.14202.

    Example:
        >>> [round(border, 3) for border in noise_borders(2)]
        [80.0, 0.301, 0.002]
    """
    least, most = (_share(math.log(sigma)) for sigma in (LEAST, MOST))
    shares = torch.linspace(most, least, blocks + 1, dtype=torch.float64)
    return [MOST, *_strengths(shares[1:-1]).tolist(), LEAST]


def _share(log_sigma: float) -> float:
    return 0.5 * (1 + math.erf((log_sigma - MEAN) / (DEVIATION * 2**0.5)))


def _strengths(shares: Tensor) -> Tensor:
    return (MEAN + DEVIATION * torch.special.ndtri(shares)).exp()


def denoised(tokens: Tensor, block: nn.Module, z: Tensor, sigma: Tensor) -> Tensor:
    """D(z) (B, D): what a block makes of noisy labels z (B, D), given the images' tokens (B, T, D), class token first, and σ (B,)."""
    sigma = sigma[:, None]
    whole = sigma.square() + SIGMA_DATA**2
    first = tokens[:, :1] + (z / whole.sqrt())[:, None]
    found = block(torch.cat([first, tokens[:, 1:]], 1))[:, 0]
    return z * SIGMA_DATA**2 / whole + F.layer_norm(found, found.shape[1:]) * sigma * SIGMA_DATA / whole.sqrt()


class DenoisedLabels(nn.Module):
    """The prediction in plain operations: (B, C, S, S) → what each block answers, (L, B, K).

    Args:
        stems: what makes tokens of images, one a block, or one for all.
        blocks: of the network, the first without its stem.
        readouts: W, one a block, or one for all.
        embeddings: e of the labels at unit length, (K, D).
        start: the noise that z begins with, (D,).
        borders: strengths of noise, from the largest to the smallest, one more than blocks.
    """

    embeddings: Tensor
    start: Tensor

    def __init__(
        self,
        stems: Sequence[nn.Module],
        blocks: Sequence[nn.Module],
        readouts: Sequence[nn.Module],
        embeddings: Tensor,
        start: Tensor,
        borders: Sequence[float],
    ) -> None:
        super().__init__()
        self.stems, self.blocks, self.readouts = nn.ModuleList(stems), nn.ModuleList(blocks), nn.ModuleList(readouts)
        self.register_buffer("embeddings", embeddings.detach())
        self.register_buffer("start", start)
        self.borders = list(borders)

    def forward(self, x: Tensor) -> Tensor:
        """One Euler step a block."""
        z = self.start.expand(x.shape[0], -1)
        found = []
        for index, block in enumerate(self.blocks):
            stem, readout = (parts[min(index, len(parts) - 1)] for parts in (self.stems, self.readouts))
            sigma, after = self.borders[index : index + 2]
            scores = readout(denoised(stem(x), block, z, torch.full_like(z[:, 0], sigma)))
            z = z + (after - sigma) * (z - scores.softmax(1) @ self.embeddings) / sigma
            found.append(scores)
        return torch.stack(found)


class LastAnswer(nn.Module):
    """(L, B, K) → (B, K): the last block's answer, as log-probabilities."""

    def forward(self, block_scores: Tensor) -> Tensor:
        """Of all blocks' scores."""
        return block_scores[-1].log_softmax(-1)


@dataclass(frozen=True, kw_only=True)
class DenoisedParts(ExportParts):
    """What `DiffusionBlocks` is exported of: blocks that are no chain.

    Args:
        answers: (B, *sample_shape) → (L, B, K).
    """

    answers: nn.Module

    def join(self, network: Network, before: Sequence[nn.Module], *, reading: TokenReading = "vectors") -> nn.Module:
        """One module after another."""
        layout = [ChannelsLast()] if network.channels_last else []
        return nn.Sequential(*before, *layout, self.answers, self.fusion)


class LabelDenoiser(nn.Module):
    """What a block denoises labels with beside its own weights.

    Args:
        stem: its own embedding of images; ``None``: that of the network.
        features: D.
        num_classes: K.
        learns_labels: whether the embedding of labels is learned here.
    """

    def __init__(self, stem: PatchTokens | None, features: int, num_classes: int, *, learns_labels: bool) -> None:
        super().__init__()
        self.stem = stem
        self.labels = nn.Parameter(torch.randn(num_classes, features)) if learns_labels else None
        self.linear = nn.Linear(features, num_classes)

    @property
    def reads(self) -> str:
        """What it reads, in a few words."""
        return "the label that it takes noise off"


@register_rule
class DiffusionBlocks(Rule):
    """Each block takes noise off the label's embedding at strengths of its own: loss_l = CE(W D_l(e(y) + σ ε, image), y).

    Args:
        network: what is trained: a `vit` of ours that is read by its class token.
        num_classes: K ≥ 2.
        seed: of embeddings, of W and of the noise that a prediction begins with.
        embeddings: ``"private"``: each block has its own of images and its own W, those of labels stay as they are, and each block is trained
            alone; or ``"shared"``, as in the paper: one of each for all blocks, learned by every loss; declared global.
        overlap: γ ≥ 0, by which share of its width in log σ a block's range is made wider on both sides in training.

    Raises:
        InputError: another network, or a value out of its range.
    """

    info = RuleInfo(
        name="diffusion-blocks",
        locality="block",
        summary="each block takes noise off the label's embedding, at strengths of noise of its own; for a vit",
        references=("arXiv:2506.14202", "arXiv:2206.00364"),
        tried_on="vit",
    )
    start: Tensor
    fixed_labels: Tensor

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        embeddings: str = "private",
        overlap: float = 0.1,
    ) -> None:
        super().__init__(network, num_classes=num_classes)
        if embeddings not in ("private", "shared"):
            raise InputError(f"embeddings must be 'private' or 'shared', got {embeddings!r}")
        if not 0 <= overlap < math.inf:
            raise InputError(f"overlap must be at least 0 and finite, got {overlap}")
        stem = _stem_of(network)
        self.shared = embeddings == "shared"
        self.overlap = overlap
        self.borders = noise_borders(network.depth)
        features = network.activity_shapes[0][1]
        self.heads = nn.ModuleDict()
        for index, name in enumerate(network.block_names[: 1 if self.shared else None]):
            with drawn_from(derive_seed(seed or 0, "head", index)):
                own = initial(_like(stem, network)) if index else None
                self.heads[name] = LabelDenoiser(own, features, self.num_classes, learns_labels=self.shared)  # type: ignore[arg-type]
        with drawn_from(derive_seed(seed or 0, "noise")):
            self.register_buffer("start", MOST * torch.randn(features))
            if not self.shared:
                self.register_buffer("fixed_labels", nn.init.orthogonal_(torch.empty(self.num_classes, features)))

    @property
    def locality(self) -> Locality:
        """Global where embeddings are shared."""
        return "global" if self.shared and self.network.depth > 1 else "block"

    @property
    def locks(self) -> dict[str, bool]:
        """No block's forward waits for another's; where embeddings are shared, their update waits for every loss."""
        return super().locks | {"forward": False, "weight_transport": False}

    @property
    def label_embeddings(self) -> Tensor:
        """e (K, D), at unit length."""
        return F.normalize(self._head(0).labels if self.shared else self.fixed_labels, dim=1)  # type: ignore[arg-type]

    def _head(self, index: int) -> LabelDenoiser:
        head = self.heads[self.network.block_names[0 if self.shared else index]]
        assert isinstance(head, LabelDenoiser)
        return head

    def _stem(self, index: int) -> nn.Module:
        return self._head(index).stem or self.network.blocks[0][0]  # type: ignore[index]

    def _block(self, index: int) -> nn.Module:
        block = self.network.blocks[index]
        return block if index else block[1]  # type: ignore[index]

    def _strengths_for(self, index: int, count: int, like: Tensor) -> Tensor:
        """σ (count,) of a block's range, drawn as in the paper."""
        high, low = (math.log(border) for border in self.borders[index : index + 2])
        wider = self.overlap * (high - low)
        least, most = (_share(each) for each in (max(math.log(LEAST), low - wider), min(math.log(MOST), high + wider)))
        return _strengths(least + (most - least) * torch.rand(count, device=like.device, dtype=torch.float64)).to(like)

    def denoising_loss(self, index: int, x: Tensor, y: Tensor) -> Tensor:
        """Of one block: images (B, C, S, S), labels (B,) → scalar; σ and ε are drawn from torch's generator."""
        sigma = self._strengths_for(index, len(x), x)
        labels = self.label_embeddings[y]
        noisy = labels + sigma[:, None] * torch.randn_like(labels)
        found = denoised(self._stem(index)(x), self._block(index), noisy, sigma)
        return F.cross_entropy(self._head(index).linear(found), y)

    def losses(self, x: Tensor, y: Tensor) -> Iterator[BlockLoss]:
        """One loss a block; where embeddings are shared, each also trains those, which are the first block's."""
        x = self.network.prepare(x)
        for index, name in enumerate(self.network.block_names):
            trains = f"block0-{index}" if self.shared and index else name
            yield BlockLoss(trains, self.denoising_loss(index, x, y), {})

    def _answers(self) -> DenoisedLabels:
        """The prediction, of the very modules that are trained."""
        indices = range(self.network.depth)
        kept = [0] if self.shared else indices
        return DenoisedLabels(
            [self._stem(index) for index in kept], [self._block(index) for index in indices],
            [self._head(index).linear for index in kept], self.label_embeddings, self.start, self.borders,
        )  # fmt: skip

    def block_scores(self, x: Tensor) -> Tensor:
        """(L, B, K): what each block answers, its noisy label made by those before it."""
        found: Tensor = self._answers()(self.network.prepare(x))
        return found

    def fuse(self, block_scores: Tensor) -> Tensor:
        """The last block's answer, as log-probabilities."""
        return block_scores[-1].log_softmax(-1)

    def export_parts(self) -> ExportParts:
        """Copies of all that predicts."""
        return DenoisedParts(readouts={}, fusion=LastAnswer(), answers=copied(self._answers()))


def _like(stem: PatchTokens, network: Network) -> PatchTokens:
    """Another of its sizes."""
    return PatchTokens(stem.embed.in_channels, network.sample_shape[1], stem.embed.stride[0], stem.embed.out_channels)


def _stem_of(network: Network) -> PatchTokens:
    """Of a vit of ours.

    Raises:
        InputError: another network.
    """
    first = network.blocks[0]
    parts = list(first) if isinstance(first, nn.Sequential) else []
    rest = list(network.blocks)[1:]
    if (
        network.tokens != "class"
        or len(parts) != 2
        or not isinstance(parts[0], PatchTokens)
        or not all(isinstance(block, TransformerBlock) for block in (parts[1], *rest))
    ):
        raise InputError(
            "rule 'diffusion-blocks' adds the noisy label to the class token of a vit of ours; take the network 'vit', read by its class token"
        )
    return parts[0]
