"""Activities of tokens, (B, T, D): what a rule reads of them, once for all rules.

A readout reads vectors. Each token is layer-normalized first, as before the head of every transformer, with nothing learned; then the mean of
all tokens is read, or the first alone (the class token), or every token by itself, as if each were a sample of its own. So a rule that can
read vectors can read tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from layerlocal.types import InputError

__all__ = ["TOKENS", "ReadTokens", "TokenReading", "as_map", "by_token", "is_tokens", "read_tokens", "tokens_of"]

TokenReading = Literal["vectors", "positions", "tokens"]
TOKENS = ("mean", "class", "every")
"""What is read of the tokens: their mean, the first, or each by itself."""


def is_tokens(shape: Sequence[int]) -> bool:
    """Whether an activity of this shape, without the batch, is one of tokens, (T, D)."""
    return len(shape) == 2


def tokens_of(tokens: str | None, shapes: Sequence[Sequence[int]], vocabulary: int | None) -> str | None:
    """What a network's readouts read of tokens; ``None`` where no activity has any.

    Args:
        tokens: one of `TOKENS`, or ``None``: every token where the input is text, else their mean.
        shapes: of all activities, without the batch.
        vocabulary: of the input, where it is tokens.

    Raises:
        InputError: another word, or none of the activities is of tokens, or of as many as the others where each is read.
    """
    lengths = [shape[0] for shape in shapes if is_tokens(shape)]
    if tokens is not None and tokens not in TOKENS:
        raise InputError(f"tokens must be 'mean', 'class' or 'every', got {tokens!r}")
    if not lengths:
        if tokens is not None:
            raise InputError(f"tokens={tokens!r} is for activities (B, T, D), and no block gives one; leave it out")
        return None
    found = tokens or ("every" if vocabulary is not None else "mean")
    if found == "every" and (len(lengths) < len(shapes) or len(set(lengths)) > 1):
        raise InputError(
            f"with tokens='every' each block must give as many tokens as the others, got {', '.join(map(str, shapes))}; read their 'mean'"
        )
    return found


def read_tokens(activity: Tensor, tokens: str) -> Tensor:
    """(B, T, D) → vectors: (B, D), or (B·T, D) where every token is read, sample by sample."""
    features = activity.shape[-1:]
    if tokens == "class":
        return F.layer_norm(activity[:, 0], features)
    normalized = F.layer_norm(activity, features)
    return normalized.mean(1) if tokens == "mean" else normalized.flatten(0, 1)


def as_map(activity: Tensor) -> Tensor:
    """(B, T, D) → (B, D, T, 1): tokens as the positions of a map, at the length that they have."""
    return activity.transpose(1, 2)[..., None]


def by_token(operation: Callable[[Tensor], Tensor], activity: Tensor) -> Tensor:
    """An operation on vectors (N, D), or on maps, done to each token by itself: what one token is must not depend on those behind it."""
    if activity.dim() != 3:
        return operation(activity)
    return operation(activity.flatten(0, 1)).unflatten(0, activity.shape[:2])


class ReadTokens(nn.Module):
    """A readout as one of tokens: (B, T, D) → (B, K), or (B, T, K) where every token is read.

    Args:
        readout: (N, D) → (N, K); of ``"positions"`` (B, D, T, 1) → (B, K), of ``"tokens"`` (B, T, D) → (N, K).
        tokens: one of `TOKENS`.
        reading: what the readout is given.
    """

    def __init__(self, readout: nn.Module, tokens: str, reading: TokenReading = "vectors") -> None:
        super().__init__()
        self.readout = readout
        self.tokens = tokens
        self.reading = reading

    def forward(self, activity: Tensor) -> Tensor:
        """Class scores."""
        if self.reading == "vectors":
            read = read_tokens(activity, self.tokens)
        else:
            read = as_map(activity) if self.reading == "positions" else activity
        scores: Tensor = self.readout(read)
        return scores.unflatten(0, activity.shape[:2]) if self.tokens == "every" else scores
