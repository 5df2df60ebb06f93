"""The fourth rule of `rule_search.py`: the third, its blocks in gradient-isolated segments, and heads as wide as the block times ``factor``."""

from __future__ import annotations

import sys
from itertools import accumulate
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from search_variant3 import Variant3

from layerlocal.rules import RuleInfo
from layerlocal.rules.base import segment_losses


class Variant4(Variant3):
    """Variant3 with ``segments``: blocks in each, ``"1-1-4"``; every block keeps its readout and its loss."""

    info = RuleInfo(name="variant4", locality="segment")

    def __init__(self, network, *, num_classes, seed=None, segments="1-1-4", factor=0.5, **options):
        super().__init__(network, num_classes=num_classes, seed=seed, factor=factor, **options)
        ends = list(accumulate(int(size) for size in segments.split("-")))
        self.parts = [range(a, b) for a, b in zip([0, *ends], ends, strict=False)]

    def losses(self, x, y):
        return segment_losses(self, x, y, self.parts)
