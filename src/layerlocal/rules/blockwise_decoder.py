"""Blockwise decoder: every block predicts through a private decoder, a small transformer of its own, and hands its tokens on without gradient.

Source: BLT, "cheaper pipeline parallelism" (frasgreen.com, 2026): the layers of a language model are cut into runs, one a rack; each run
learns next-token prediction through a private decoder of its own, so that no gradient travels between racks. Its text was read in others'
accounts; no code was found. Runs of several blocks are `segmented` of this rule, ``segments="3-3"``. Differs: decoders have the form of our
blocks (pre-norm attention and MLP), m of them, which see what the network's tokens see of one another; then a layer normalization without
weights, standardized features and a linear map, which is what every rule here reads tokens by. There the last run alone predicts
(``fusion="last"``); blocks before it may answer too.
"""

from __future__ import annotations

from torch import Tensor, nn

from layerlocal.networks import Network
from layerlocal.networks.tokens import is_tokens, read_tokens
from layerlocal.networks.transformer import TransformerBlock, heads_of, initial
from layerlocal.options import whole_number
from layerlocal.rules.core.auxiliary import AuxiliaryRule
from layerlocal.rules.core.readout import SpatialReadout
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import RuleInfo
from layerlocal.types import InputError

__all__ = ["BlockwiseDecoder", "DecoderHead"]

MOST_LAYERS = 1000
"""As many as a network may have blocks."""


class DecoderHead(nn.Module):
    """Transformer blocks, then a readout of their tokens: (B, T, D) → (B, K), or (B·T, K) where every token is read.

    Args:
        features: D.
        num_classes: K.
        layers: m ≥ 1 blocks.
        heads: of their attention.
        tokens: which of them are read, one of `networks.tokens.TOKENS`.
        factors: ``"AxB"`` where a class is a pair (`SpatialReadout`).
    """

    def __init__(
        self, features: int, num_classes: int, *, layers: int, heads: int, tokens: str, factors: str | None
    ) -> None:
        super().__init__()
        causal = tokens == "every"
        self.decoder = nn.Sequential(
            *(initial(TransformerBlock(features, heads, causal=causal)) for _ in range(layers))
        )
        self.tokens = tokens
        self.readout = SpatialReadout((features,), num_classes, factors=factors)

    @property
    def reads(self) -> str:
        """What it reads, in a few words."""
        return f"through {len(self.decoder)} transformer block{'s' * (len(self.decoder) > 1)}"

    def forward(self, activity: Tensor) -> Tensor:
        """Class scores, one row a label."""
        scores: Tensor = self.readout(read_tokens(self.decoder(activity), self.tokens))
        return scores


@register_rule
class BlockwiseDecoder(AuxiliaryRule):
    """Every block learns by cross-entropy through a decoder of its own: loss_l = CE(readout_l(decoder_l(a_l)), y).

    The first loss warns, once, that a decoder costs more than the block it reads, as one of a whole block does.

    Args:
        network: what is trained; every block gives tokens (B, T, D).
        num_classes: K ≥ 2.
        seed: of the decoders.
        layers: m, transformer blocks of a decoder, 1 to 1,000.
        heads: of their attention, a divisor of every block's features; ``None``: about one for every 32.
        fusion: ``"last"`` (the last block's answer), ``"uniform"``, ``"fitted"`` or ``"best"`` (`BlockwiseRule`).
        label_smoothing: in [0, 1).
        factors: ``"AxB"`` where a class is a pair (`SpatialReadout`).

    Raises:
        InputError: a block that gives no tokens, or a value out of its range.
    """

    info = RuleInfo(
        name="blockwise-decoder",
        locality="block",
        summary="cross-entropy through a private decoder, a small transformer at every block; for tokens",
        references=("https://frasgreen.com",),
        tried_on="vit",
    )
    token_reading = "tokens"

    def __init__(
        self,
        network: Network,
        *,
        num_classes: int,
        seed: int | None = None,
        layers: int = 1,
        heads: int | None = None,
        fusion: str = "last",
        label_smoothing: float = 0.0,
        factors: str | None = None,
    ) -> None:
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion, label_smoothing=label_smoothing)
        whole_number("layers", layers, least=1, most=MOST_LAYERS)
        features = _features_of(network)
        for size in features:
            if heads is not None and size % whole_number("heads", heads, least=1):
                raise InputError(
                    f"heads={heads} does not divide the {size} features of a token; take a number that does"
                )
        self.heads = self.head_per_block(
            lambda i: DecoderHead(
                features[i], num_classes, layers=layers, heads=heads or heads_of(features[i]), tokens=str(network.tokens), factors=factors,
            )
        )  # fmt: skip
        self.weigh_heads()

    def local_loss(self, index: int, activity: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of the decoder's scores; the first one warns of costs."""
        self.warn_of_costs()
        return super().local_loss(index, activity, y)


def _features_of(network: Network) -> list[int]:
    """D of every block's tokens.

    Raises:
        InputError: a block that gives no tokens.
    """
    for name, shape in zip(network.block_names, network.activity_shapes, strict=True):
        if not is_tokens(shape):
            raise InputError(
                f"rule 'blockwise-decoder' reads tokens (B, T, D), and {name} gives (B, {', '.join(map(str, shape))}); take the network 'vit' "
                "or 'gpt', or the rule 'local-heads'"
            )
    return [shape[1] for shape in network.activity_shapes]
