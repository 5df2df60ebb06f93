"""Blockwise decoder: every block predicts through a private decoder, a small transformer of its own, and hands its tokens on without gradient.

Source: F. Rasgreen, "Blockwise training" (frasgreen.com, 2026): the layers of a language model are cut into runs, one a machine; each run
learns next-token prediction through a decoder of its own, so that no gradient travels between machines. Its text was read in others' accounts;
no code was found. Runs of several blocks are `segmented` of this rule, ``segments="3-3"``. Differs: decoders have the form of our blocks
(pre-norm attention and MLP), m of them, then a layer normalization without weights, standardized features and a linear map, which is what every
rule here reads tokens by. Blocks before the last may answer too: scores are fused as in every rule; there the last run alone predicts
(``fusion="last"``).
"""

from __future__ import annotations

from torch import Tensor, nn

from layerlocal.networks import Network
from layerlocal.networks.tokens import read_tokens
from layerlocal.networks.transformer import TransformerBlock, heads_of, initial
from layerlocal.options import whole_number
from layerlocal.rules.core.auxiliary import AuxiliaryRule
from layerlocal.rules.core.readout import SpatialReadout
from layerlocal.rules.core.registry import register_rule
from layerlocal.rules.core.rule import RuleInfo
from layerlocal.types import InputError

__all__ = ["BlockwiseDecoder", "DecoderHead"]

MOST_LAYERS = 1000


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
        heads: of their attention; ``None``: one for every 32 features.
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
        whole_number("layers", layers, least=1, most=MOST_LAYERS)
        super().__init__(network, num_classes=num_classes, seed=seed, fusion=fusion, label_smoothing=label_smoothing)
        tokens = network.tokens
        for name, shape in zip(network.block_names, network.activity_shapes, strict=True):
            if tokens is None or len(shape) != 2:
                raise InputError(
                    f"rule 'blockwise-decoder' reads tokens (B, T, D), and {name} gives {('B', *shape)}; take the network 'vit' or 'gpt', or "
                    "'local-heads' with head='conv'"
                )
        sizes = [shape[1] for shape in network.activity_shapes]
        given = [heads_of(size) if heads is None else heads for size in sizes]
        for size, count in zip(sizes, given, strict=True):
            if whole_number("heads", count, least=1) and size % count:
                raise InputError(f"heads={count} does not divide the {size} features of a token")
        self.heads = self.head_per_block(
            lambda i: DecoderHead(
                sizes[i], num_classes, layers=layers, heads=given[i], tokens=str(tokens), factors=factors
            )
        )
        self.weigh_heads()

    def local_loss(self, index: int, activity: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of the decoder's scores; the first one warns of costs."""
        self.warn_of_costs()
        return super().local_loss(index, activity, y)
