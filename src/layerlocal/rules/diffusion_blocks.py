"""DiffusionBlocks: every block learns to take noise off the label, at strengths of noise of its own, and never sees another block's activity.

Paper: DiffusionBlocks, arXiv:2506.14202 (ICLR 2026). Its text in others' accounts and a fork of its code for ViT
(sethnabarro-imi/DiffusionBlocks) were read. The class token is replaced by the noisy embedding z = e(y) + σ ε of the label; block l answers for
σ between σ_l+1 and σ_l, borders that split a log-normal distribution of σ into equal shares; with e at unit length and σ_d = 0.5,

    D(z) = c_skip z + c_out F(c_in z, image),  c_skip = σ_d² / (σ² + σ_d²),  c_out = σ σ_d / √(σ² + σ_d²),  c_in = 1 / √(σ² + σ_d²)
    loss_l = mean over σ of CE(W D(z), y)                                   F: the block's class token, layer-normalized

To predict, z begins as noise of the largest σ and each block takes one Euler step towards the expected embedding, z ← z + (σ' − σ)(z − ē) / σ.
Differs: all blocks learn at every step, not one drawn at random, so that a step costs what a step of every rule costs; blocks have no
conditioning on σ, which varies within a block's share only; the noise that a prediction begins with is the same for all images, so that it
depends on the image alone. There images pass through one embedding, labels through another, and W is one: ``embeddings="shared"``, declared
global, as each block's loss reaches them. ``"private"`` ones, a set for each block, are strictly block-local.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerlocal.devices import drawn_from
from layerlocal.networks import Network
from layerlocal.networks.transformer import PatchTokens, TransformerBlock, initial
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import Rule, RuleInfo
from layerlocal.types import BlockLoss, InputError, Locality, derive_seed

__all__ = ["DiffusionBlocks", "LabelDenoiser", "noise_borders"]

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


class LabelDenoiser(nn.Module):
    """What a block denoises labels with beside its own weights: embeddings of images and labels, and the map to scores.

    Args:
        stem: of a vit; its weights are these at first, ``None``: the block's own are used.
        features: D.
        num_classes: K.
    """

    def __init__(self, stem: PatchTokens | None, features: int, num_classes: int) -> None:
        super().__init__()
        self.stem = stem
        self.labels = nn.Parameter(torch.randn(num_classes, features))
        self.linear = nn.Linear(features, num_classes)

    @property
    def reads(self) -> str:
        """What it reads, in a few words."""
        return "the label that it takes noise off"

    @property
    def embeddings(self) -> Tensor:
        """e (K, D), at unit length."""
        return F.normalize(self.labels, dim=1)


@register_rule
class DiffusionBlocks(Rule):
    """Each block takes noise off the label's embedding at strengths of its own: loss_l = CE(W D_l(e(y) + σ ε, image), y).

    Args:
        network: what is trained: a `vit` of ours that is read by its class token.
        num_classes: K ≥ 2.
        seed: of embeddings, of W and of the noise that a prediction begins with.
        embeddings: ``"private"``: each block has its own, and is trained alone; or ``"shared"``, as in the paper: declared global.
        overlap: γ ≥ 0, by which share of its width in log σ a block's range is made wider on both sides in training.

    Raises:
        InputError: another network, or a value out of its range.
    """

    info = RuleInfo(
        name="diffusion-blocks",
        locality="block",
        summary="each block takes noise off the label's embedding, at strengths of noise of its own; for a vit",
        references=("arXiv:2506.14202", "arXiv:2206.00364"),
    )
    start: Tensor

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
        self.shared = embeddings == "shared"
        self.overlap = overlap
        self.borders = noise_borders(network.depth)
        stem = _stem_of(network)
        features = network.activity_shapes[0][1]
        self.heads = nn.ModuleDict()
        for index, name in enumerate(network.block_names):
            with drawn_from(derive_seed(seed or 0, "head", 0 if self.shared else index)):
                if not index:
                    self.heads[name] = LabelDenoiser(None, features, self.num_classes)
                elif not self.shared:
                    own = PatchTokens(stem.embed.in_channels, network.sample_shape[1], stem.embed.stride[0], features)
                    self.heads[name] = LabelDenoiser(initial(own), features, self.num_classes)  # type: ignore[arg-type]
        with drawn_from(derive_seed(seed or 0, "noise")):
            self.register_buffer("start", MOST * torch.randn(features))

    @property
    def locality(self) -> Locality:
        """Global where embeddings are shared."""
        return "global" if self.shared and self.network.depth > 1 else "block"

    @property
    def locks(self) -> dict[str, bool]:
        """A block waits for no other."""
        return super().locks | {"forward": self.shared, "backward": self.shared, "weight_transport": False}

    def _parts(self, index: int) -> tuple[PatchTokens, TransformerBlock, LabelDenoiser]:
        """The embedding of images, the transformer and the denoiser of a block."""
        first = self.network.blocks[0]
        stem, block = first[0], (first[1] if not index else self.network.blocks[index])  # type: ignore[index]
        head = self.heads["block0" if self.shared else f"block{index}"]
        assert isinstance(head, LabelDenoiser) and isinstance(block, TransformerBlock)
        return head.stem or stem, block, head

    def denoised(self, index: int, x: Tensor, z: Tensor, sigma: Tensor) -> Tensor:
        """Scores (B, K) of block ``index`` for images x, noisy labels z (B, D) and the strength of their noise (B,)."""
        stem, block, head = self._parts(index)
        whole = (sigma**2 + SIGMA_DATA**2)[:, None]
        tokens = stem(x)
        first = (z / whole.sqrt() + stem.positions[0])[:, None]
        found = block(torch.cat([first, tokens[:, 1:]], 1))[:, 0]
        found = F.layer_norm(found, found.shape[1:])
        clean = z * SIGMA_DATA**2 / whole + found * sigma[:, None] * SIGMA_DATA / whole.sqrt()
        scores: Tensor = head.linear(clean)
        return scores

    def _draw(self, index: int, count: int, like: Tensor) -> Tensor:
        """Strengths of noise of a block's range, (count,), drawn as in the paper."""
        high, low = (math.log(border) for border in self.borders[index : index + 2])
        wider = self.overlap * (high - low)
        low, high = max(math.log(LEAST), low - wider), min(math.log(MOST), high + wider)
        shares = torch.rand(count, device=like.device, dtype=torch.float64)
        return _strengths(_share(low) + shares * (_share(high) - _share(low))).to(like.dtype)

    def losses(self, x: Tensor, y: Tensor) -> Iterator[BlockLoss]:
        """One loss a block; where embeddings are shared, each also trains those, which are the first block's."""
        x = self.network.prepare(x)
        for index, name in enumerate(self.network.block_names):
            sigma = self._draw(index, len(x), x)
            labels = self._parts(index)[2].embeddings[y]
            scores = self.denoised(index, x, labels + sigma[:, None] * torch.randn_like(labels), sigma)
            trains = f"block0-{index}" if self.shared and index else name
            yield BlockLoss(trains, F.cross_entropy(scores, y), {})

    def block_scores(self, x: Tensor) -> Tensor:
        """(L, B, K): what each block answers, its noisy label made by those before it."""
        x = self.network.prepare(x)
        z = self.start.expand(len(x), -1)
        found = []
        for index, (sigma, after) in enumerate(zip(self.borders, self.borders[1:], strict=False)):
            scores = self.denoised(index, x, z, torch.full((len(x),), sigma, device=x.device, dtype=x.dtype))
            expected = scores.softmax(1) @ self._parts(index)[2].embeddings
            z = z + (after - sigma) * (z - expected) / sigma
            found.append(scores)
        return torch.stack(found)

    def fuse(self, block_scores: Tensor) -> Tensor:
        """The last block's answer, as log-probabilities."""
        return block_scores[-1].log_softmax(-1)


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
            "rule 'diffusion-blocks' puts the noisy label in the place of the class token; take the network 'vit', read by its class token"
        )
    return parts[0]
