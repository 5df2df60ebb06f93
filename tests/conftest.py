"""For all tests: one thread (tiny tensors are much faster on one, and sums then have one order) and a fresh seed each."""

from __future__ import annotations

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _reseed():
    torch.manual_seed(0)
