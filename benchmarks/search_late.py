"""A lossless first block, and other readers of the last blocks: another rule of `rule_search.py`.

With a fixed first block (`search_stem.py`) the second and the third fit as well as under deep supervision; what is left of the price opens from
the fourth on, where the nets of `committee` are narrower than the block and as deep as two of the layers that are still to come.
"""

from __future__ import annotations

from search_stem import Stem
from search_uneven import Nets
from search_variant import Net

from layerlocal.rules import RuleInfo, SpatialReadout
from layerlocal.rules.committee import CommitteeHead


class Late(Stem):
    """Blocks from ``late`` on are read by ``late_words``: ``layers@start`` of ``widest`` channels, or of ``late_budget`` over the positions."""

    info = RuleInfo(name="late", locality="block")

    def __init__(
        self, network, *, num_classes, seed=None, fusion="uniform", label_smoothing=0.0, stem="fixed", late=2,
        late_words="3@8 3@8", widest=64, late_budget=0, early=0, words="", budget=512,
    ):  # fmt: skip
        super().__init__(
            network, num_classes=num_classes, seed=seed, fusion=fusion, label_smoothing=label_smoothing, stem=stem, early=early,
            words=words, budget=budget,
        )  # fmt: skip
        found, shapes = self.heads, network.activity_shapes

        def head_of(index):
            if index < late:
                return found[network.block_names[index]]
            nets = [
                Net(shapes[index], num_classes, layers=int(layers), start=int(start), down="conv", factor=8.0, widest=widest, budget=late_budget)
                for layers, start in (word.split("@") for word in late_words.split())
            ]  # fmt: skip
            return CommitteeHead(Nets(nets), SpatialReadout(shapes[index], num_classes))

        self.heads = self.head_per_block(head_of)
        self.weigh_heads()
