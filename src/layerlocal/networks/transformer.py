"""Transformers: ``gpt`` for text (GPT-2) and ``vit`` for images (2010.11929), a block of attention and MLP each a block of the network.

Blocks are pre-norm; positions are learned; attention is torch's own (`scaled_dot_product_attention`). The first block has the embeddings, so
every parameter belongs to one block. Initial weights are GPT-2's without its factor for depth, so that a block starts the same at every depth;
there is no dropout and no head: what reads the answer off the tokens is the rule's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from layerlocal.networks.base import Network, build_blocks, check_depth
from layerlocal.options import whole_number
from layerlocal.types import InputError

__all__ = ["Attention", "PatchTokens", "TextTokens", "TransformerBlock", "gpt", "heads_of", "initial", "vit"]

HEAD_FEATURES = 32
MLP_FACTOR = 4
INITIAL_STD = 0.02


class Attention(nn.Module):
    """Each token looks at the others, or at those before it: (B, T, D) → the same shape.

    Args:
        features: D.
        heads: H, a divisor of D.
        causal: whether a token sees itself and those before it only.
    """

    def __init__(self, features: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.project = nn.Linear(features, 3 * features)
        self.join = nn.Linear(features, features)

    def forward(self, x: Tensor) -> Tensor:
        """softmax(q kᵀ / √(D / H)) v for each head, joined."""
        q, k, v = self.project(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, H, T, D / H)
        found = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        joined: Tensor = self.join(found.transpose(1, 2).flatten(2))
        return joined


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)): (B, T, D) → the same shape.

    Args:
        features: D.
        heads: of attention, a divisor of D.
        causal: whether a token sees itself and those before it only.
    """

    def __init__(self, features: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(features)
        self.attention = Attention(features, heads, causal=causal)
        self.mlp_norm = nn.LayerNorm(features)
        self.mlp = nn.Sequential(
            nn.Linear(features, MLP_FACTOR * features), nn.GELU(), nn.Linear(MLP_FACTOR * features, features)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Attention, then the MLP."""
        x = x + self.attention(self.attention_norm(x))
        found: Tensor = x + self.mlp(self.mlp_norm(x))
        return found


class TextTokens(nn.Module):
    """Numbers of tokens as vectors, with their position: (B, T) whole numbers → (B, T, D).

    Args:
        vocabulary: V; numbers are 0 to V − 1.
        context: T, or more.
        features: D.
    """

    def __init__(self, vocabulary: int, context: int, features: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, features)
        self.positions = nn.Parameter(torch.empty(context, features))

    def forward(self, x: Tensor) -> Tensor:
        """The token's vector plus that of its position."""
        found: Tensor = self.embed(x.long()) + self.positions[: x.shape[1]]
        return found


class PatchTokens(nn.Module):
    """Patches of an image as tokens, a class token before them: (B, C, S, S) → (B, 1 + (S / P)², D).

    Args:
        in_channels: C.
        image_size: S.
        patch: P, a divisor of S.
        features: D.
    """

    def __init__(self, in_channels: int, image_size: int, patch: int, features: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(in_channels, features, patch, stride=patch)
        self.class_token = nn.Parameter(torch.empty(features))
        self.positions = nn.Parameter(torch.empty(1 + (image_size // patch) ** 2, features))

    def forward(self, x: Tensor) -> Tensor:
        """Row by row."""
        patches = self.embed(x).flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(x.shape[0], 1, -1), patches], 1) + self.positions


def gpt(
    *,
    vocabulary: int,
    context: int,
    width: float = 1.0,
    depth: int = 6,
    hidden: int = 128,
    heads: int | None = None,
    seed: int | None = None,
) -> Network:
    """A causal transformer on tokens: (B, T) → (B, T, D); each token is read, for the next.

    Args:
        vocabulary: V, numbers of tokens; 256 for bytes.
        context: T, tokens of a sample.
        width: factor on ``hidden``, > 0; rounded to a whole number of features a head.
        depth: number of blocks, 1 to 1,000.
        hidden: D at width 1, ≥ 1.
        heads: of attention; ``None``: one for every 32 features.
        seed: of the initial weights, block by block.
    """
    features, heads = _sizes(width, depth, hidden, heads)
    makers = _makers(partial(TextTokens, vocabulary, context, features), features, heads, depth, causal=True)
    return Network(list(build_blocks(makers, seed)), sample_shape=(context,), vocabulary=vocabulary, tokens="every")


def vit(
    *,
    in_channels: int,
    image_size: int,
    width: float = 1.0,
    depth: int = 6,
    hidden: int = 128,
    heads: int | None = None,
    patch: int = 4,
    tokens: str = "class",
    seed: int | None = None,
) -> Network:
    """A transformer on the patches of an image: (B, C, S, S) → (B, 1 + (S / P)², D).

    Args:
        in_channels: C.
        image_size: S, in pixels.
        width: factor on ``hidden``, > 0; rounded to a whole number of features a head.
        depth: number of blocks, 1 to 1,000.
        hidden: D at width 1, ≥ 1.
        heads: of attention; ``None``: one for every 32 features.
        patch: side P of a patch in pixels, a divisor of S.
        tokens: what is read: the ``"class"`` token, or the ``"mean"`` of all.
        seed: of the initial weights, block by block.
    """
    features, heads = _sizes(width, depth, hidden, heads)
    whole_number("patch", patch, least=1)
    if image_size % patch:
        fits = [side for side in range(1, image_size + 1) if image_size % side == 0]
        near = min(fits, key=lambda side: abs(side - patch))
        raise InputError(f"patch={patch} does not divide images of {image_size} px; take {near}")
    if tokens not in ("class", "mean"):
        raise InputError(f"tokens must be 'class' or 'mean', got {tokens!r}")
    stem = partial(PatchTokens, in_channels, image_size, patch, features)
    makers = _makers(stem, features, heads, depth, causal=False)
    return Network(list(build_blocks(makers, seed)), sample_shape=(in_channels, image_size, image_size), tokens=tokens)


def _sizes(width: float, depth: int, hidden: int, heads: int | None) -> tuple[int, int]:
    """D and the number of heads, which divides it."""
    check_depth(depth)
    whole_number("hidden", hidden, least=1)
    if width <= 0:
        raise InputError(f"width must be positive, got {width}")
    wanted = hidden * width
    if heads is None:
        heads = max(1, round(wanted / HEAD_FEATURES))
    whole_number("heads", heads, least=1)
    return max(1, round(wanted / heads)) * heads, heads


def _makers(
    stem: Callable[[], nn.Module], features: int, heads: int, depth: int, *, causal: bool
) -> list[Callable[[], nn.Module]]:
    def make(first: bool) -> nn.Module:
        block = TransformerBlock(features, heads, causal=causal)
        return initial(nn.Sequential(stem(), block) if first else block)

    return [partial(make, index == 0) for index in range(depth)]


def heads_of(features: int) -> int:
    """Heads of attention for tokens of so many features: about one for every 32, a number that divides them."""
    wanted = max(1, round(features / HEAD_FEATURES))
    return min((n for n in range(1, features + 1) if features % n == 0), key=lambda n: abs(n - wanted))


def initial(block: nn.Module) -> nn.Module:
    """Weights from N(0, 0.02²), shifts 0, norms as they are."""
    for name, parameter in block.named_parameters():
        if parameter.dim() > 1 or name.endswith("class_token"):
            nn.init.normal_(parameter, std=INITIAL_STD)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    return block
